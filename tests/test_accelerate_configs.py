# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts/accelerate: what Accelerate's own reader and launcher make of each file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env

from trainer_ext.training.arguments import StackedEmotionTrainingArguments

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "scripts" / "accelerate"
# Processes per machine, machines, number format.
EXPECTED = {
    "one_gpu": (1, 1, "no"),
    "several_gpus_bf16": (4, 1, "bf16"),
    "several_gpus_fp16": (4, 1, "fp16"),
    "several_machines": (4, 2, "bf16"),
    "fsdp": (4, 1, "bf16"),
    "two_cpu_processes": (2, 1, "no"),
}


def test_every_file_is_tested() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_launcher_takes_the_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    num_local, num_machines, precision = EXPECTED[name]
    file = FOLDER / f"{name}.yaml"
    config = load_config_from_file(str(file))
    assert (config.num_processes, config.num_machines) == (num_local * num_machines, num_machines)

    command = re.findall(r"^#   accelerate launch (.+)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(command) == 1
    assert command[0].startswith(f"--config_file scripts/accelerate/{name}.yaml ")
    arguments = launch_command_parser().parse_args(command[0].replace("scripts/", f"{ROOT}/scripts/").split())
    arguments, _, _ = _validate_launch_command(arguments)
    assert (arguments.module, arguments.training_script) == (True, "scripts.train")
    if num_local == 1:
        environment = prepare_simple_launcher_cmd_env(arguments)[1]
    else:
        # Otherwise Accelerate would start one process only.
        assert arguments.multi_gpu != arguments.use_fsdp
        environment = prepare_multi_gpu_env(arguments)
        assert arguments.nproc_per_node == str(num_local)
    assert environment["ACCELERATE_MIXED_PRECISION"] == precision
    assert environment.get("ACCELERATE_USE_FSDP", "false") == str(name == "fsdp").lower()


def test_fsdp_is_of_version_2_and_wraps_what_the_model_names(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = launch_command_parser().parse_args(
        ["--config_file", str(FOLDER / "fsdp.yaml"), "-m", "scripts.train", "recipe.yaml"]
    )
    environment = prepare_multi_gpu_env(_validate_launch_command(arguments)[0])
    assert environment["FSDP_VERSION"] == "2"
    assert environment["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"
    assert "FSDP_TRANSFORMER_CLS_TO_WRAP" not in environment


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("launched", ["no", "bf16"])
def test_no_of_the_launcher_leaves_the_precision_to_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, launched: str
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)
    monkeypatch.setattr("transformers.TrainingArguments._setup_devices", "cpu")
    arguments = StackedEmotionTrainingArguments(str(tmp_path), use_cpu=True, precision=precision)
    assert arguments.chosen_precision == ("bf16" if launched == "bf16" else "fp32")
    assert arguments.precision == ("bf16" if launched == "bf16" else precision)
