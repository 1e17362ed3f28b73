# SPDX-License-Identifier: Apache-2.0
"""Tests of resuming: a killed run, started again, ends as if it had not been killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recipe_samples import write_recipe
from safetensors.torch import load_file

from scripts import train
from scripts._training import remove_reports
from trainer_ext.training.arguments import StackedEmotionTrainingArguments

ROOT = Path(__file__).resolve().parent.parent
# Eight steps an epoch: checkpoints lie within it.
FIELDS: dict[str, Any] = {
    "num_train_epochs": 3,
    "eval_strategy": "no",
    "save_strategy": "steps",
    "save_steps": 3,
    "load_best_model_at_end": False,
    "correlation_loss": "matching",
    "contrastive_loss_weight": 0.1,
    "contrastive_memory_size": 24,
    "logging_strategy": "no",
}
KILL_AT = 12
# One thread, as in this process: the sums of two may end in another bit.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def train_and_kill(recipe: Path, output: Path) -> Path:
    """Start the command, kill it with SIGKILL once the checkpoint within the second epoch is there."""
    checkpoint = output / "checkpoints" / f"checkpoint-{KILL_AT}"
    # Steps so slow that the kill comes in the middle.
    code = (
        "import time\nfrom scripts import train\nfrom trainer_ext.training.trainer import StackedEmotionTrainer as T\n"
        "step = T.training_step\n"
        "def slow(self, *args, **kwargs):\n"
        f"    time.sleep(30 if self.state.global_step == {KILL_AT + 2} else 0)\n"
        "    return step(self, *args, **kwargs)\n"
        f"T.training_step = slow\ntrain.main([{str(recipe)!r}, '--output_dir', {str(output)!r}])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + 300
        while not (checkpoint / "trainer_state.json").is_file() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (output / "model.safetensors").exists()
    return checkpoint


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, precision: str) -> None:
    recipe = write_recipe(tmp_path, **FIELDS, precision=precision)
    checkpoint = train_and_kill(recipe, tmp_path / "killed")
    command = [sys.executable, "-m", "scripts.train", str(recipe), "--output_dir", str(tmp_path / "killed")]
    command += ["--resume_from_checkpoint", str(checkpoint)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    train.main([str(recipe), "--output_dir", str(tmp_path / "whole")])
    killed = load_file(tmp_path / "killed" / "model.safetensors")
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    assert killed.keys() == whole.keys()
    assert all((killed[name] == whole[name]).all() for name in whole)


def arguments(folder: Path, **options: Any) -> StackedEmotionTrainingArguments:
    return StackedEmotionTrainingArguments(str(folder), use_cpu=True, **options)


@pytest.mark.parametrize(
    ("resume", "is_main", "kept"), [(False, True, []), (False, False, ["a.png"]), (True, True, ["a.png"])]
)
def test_resumed_run_keeps_its_reports(tmp_path: Path, resume: bool, is_main: bool, kept: list[str]) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "a.png").touch()
    args = arguments(tmp_path / "checkpoints", resume_from_checkpoint=str(tmp_path) if resume else True)
    remove_reports(reports, SimpleNamespace(args=args, is_world_process_zero=lambda: is_main))  # type: ignore[arg-type]
    assert [path.name for path in reports.glob("*")] == kept
