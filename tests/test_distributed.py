# SPDX-License-Identifier: Apache-2.0
"""Tests with real processes: two of them with a batch each do what one does with both batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CORPUS, free_port
from distributed_worker import Results, run
from recipe_samples import write_recipe
from test_trainer import largest_difference

from scripts import train

HERE = Path(__file__).resolve().parent
DEFAULT = ["train-ours-unknown_labels"]
SLOW = [
    *("train-stock-laplacian", "resume-ours-group_by_length", "refusal-stock-none"),
    *(f"train-ours-{terms}" for terms in ("laplacian", "lca_weighted", "accumulated", "no_auxiliary", "no_base")),
    "train-ours-matching_memory",
    *(f"train-stock-{terms}" for terms in ("matching_memory", "lca_weighted", "accumulated", "no_base")),
    *("resume-ours-random", "resume-stock-group_by_length", "fsdp-ours-none"),
]


def run_two_processes(encoders: Path, folder: Path, names: list[str]) -> list[Results]:
    """Run the jobs in two processes that talk over gloo; what each of them found."""
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    environment |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(HERE / "distributed_worker.py"), str(encoders), str(folder), *names]
    processes = [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def encoders(encoder_folders: dict[str, Path]) -> Path:
    return encoder_folders["bert_wp"].parent


@pytest.fixture(scope="module")
def found(encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    return run_two_processes(encoders, tmp_path_factory.mktemp("two"), DEFAULT)


@pytest.fixture(scope="module")
def found_slowly(encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    return run_two_processes(encoders, tmp_path_factory.mktemp("two_slow"), SLOW)


@pytest.fixture(scope="module")
def alone(encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Results]:
    """What one process finds at a job."""
    folder = tmp_path_factory.mktemp("one")
    return cache(lambda name: run(name, encoders, folder, 1))


@pytest.fixture
def results(request: pytest.FixtureRequest) -> tuple[str, list[Results]]:
    """The name of a job, and what each of two processes found."""
    name = request.param
    per_process = request.getfixturevalue("found" if name in DEFAULT else "found_slowly")
    return name, [result[name] for result in per_process]


def jobs(kind: str) -> list[Any]:
    """The names of the jobs of a kind as parameters, most of them slow."""
    fast = [name for name in DEFAULT if name.startswith(kind)]
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in SLOW if name.startswith(kind)]
    return [*fast, *slow]


def assert_same_numbers(first: dict[str, float], second: dict[str, float], atol: float) -> None:
    assert first.keys() == second.keys()
    for key in first:
        assert first[key] == pytest.approx(second[key], abs=atol), key


@pytest.mark.parametrize("results", jobs("train"), indirect=True)
def test_two_processes_equal_one_with_twice_the_batch(
    results: tuple[str, list[Results]], alone: Callable[[str], Results]
) -> None:
    name, (two, other) = results
    one = alone(name)
    assert largest_difference(one["start"], two["start"]) == 0.0

    assert len(one["losses"]) == len(two["losses"]) > 3
    for expected, got in zip(one["losses"], two["losses"], strict=True):
        assert_same_numbers(got, expected, 1e-5)

    reached = {key: value for key, value in one["gradients"].items() if value is not None}
    assert {key for key, value in two["gradients"].items() if value is not None} == set(reached)
    for key, value in reached.items():
        assert torch.allclose(two["gradients"][key], value, rtol=0, atol=1e-6), key
    assert max(value.abs().max() for value in reached.values()) > 1e-3

    assert largest_difference(one["weights"], two["weights"]) < 1e-5
    assert largest_difference(one["start"], one["weights"]) > 1e-3
    assert largest_difference(two["weights"], other["weights"]) == 0.0


@pytest.mark.parametrize("results", jobs("train"), indirect=True)
def test_ddp_looks_for_unused_parameters_only_where_a_head_has_no_loss(results: tuple[str, list[Results]]) -> None:
    name, per_process = results
    has_unused = name.endswith(("no_base", "no_auxiliary"))
    for result in per_process:
        assert result["find_unused"] is has_unused
        assert any(gradient is None for gradient in result["gradients"].values()) is has_unused


@pytest.mark.parametrize("results", jobs("train"), indirect=True)
def test_evaluation_in_two_processes_counts_every_text_once(
    results: tuple[str, list[Results]], alone: Callable[[str], Results]
) -> None:
    """Metrics, thresholds, loss and terms; 62 texts are no whole number of batches."""
    name, (two, other) = results
    assert len(CORPUS) % 8 == 6
    one = alone(name)["evaluation"]
    assert one["eval_num_rows"] == two["evaluation"]["eval_num_rows"] == len(CORPUS)
    assert_same_numbers(two["evaluation"], one, 1e-5)
    assert {"eval_macro_f1", "eval_threshold_3", "eval_loss"} < one.keys()
    assert_same_numbers(other["evaluation"], two["evaluation"], 0.0)


@pytest.mark.parametrize("results", jobs("resume"), indirect=True)
def test_two_processes_resume_within_the_second_epoch(results: tuple[str, list[Results]]) -> None:
    _, per_process = results
    for result in per_process:
        assert largest_difference(result["whole"], result["resumed"]) == 0.0


@pytest.mark.parametrize("results", jobs("refusal"), indirect=True)
def test_batches_of_several_sizes_are_refused(results: tuple[str, list[Results]]) -> None:
    for result in results[1]:
        assert result["message"] == (
            "`accelerator_config.even_batches` must be true in several processes, got false: "
            "the loss is that of the batches of all, which must be of one size."
        )


@pytest.mark.parametrize("results", jobs("fsdp"), indirect=True)
def test_sharded_model_trains_as_a_whole_one_and_is_put_together_again(
    results: tuple[str, list[Results]], alone: Callable[[str], Results]
) -> None:
    name, (two, other) = results
    one = alone(name)
    assert (one["num_shares"], two["num_shares"]) == (0, two["num_all"])
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-6)
    assert two["losses"] == other["losses"]
    assert largest_difference(one["weights"], two["weights"]) < 1e-6
    assert other["weights"] == {}


# ----------------------------------------------------------------------------------------------- accelerate launch


def launch(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """`accelerate launch` with two CPU processes, run in `folder`."""
    config = HERE.parent / "scripts" / "accelerate" / "two_cpu_processes.yaml"
    code = "from accelerate.commands.launch import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "--config_file", str(config), *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_launched_command_does_in_two_processes_what_it_does_in_one(tmp_path: Path) -> None:
    encoder = {"architecture": "bert", "vocab_size": 120, "hidden_size": 8, "num_hidden_layers": 1, "dropout": 0.0}
    fields: dict[str, Any] = {"encoders": {"words": encoder | {"num_attention_heads": 2}}, "dropout": 0.0}
    recipe = str(write_recipe(tmp_path, **fields, per_device_train_batch_size=5, correlation_loss="matching"))
    done = launch(tmp_path, "-m", "scripts.train", recipe, "--output_dir", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    for line in ("Data: ", "in fp32 on cpu:0 in 2 processes.", "Results on test", "Saved to "):
        assert done.stdout.count(line) == 1, line
    one = train.main([recipe, "--output_dir", str(tmp_path / "one"), "--per_device_train_batch_size", "10"])
    two = json.loads((tmp_path / "two" / "eval_results.json").read_text(encoding="utf-8"))
    assert two["train_loss"] == pytest.approx(one["train_loss"], abs=1e-4)
    for key in ("validation_macro_roc_auc", "test_macro_roc_auc", "test_macro_f1"):
        assert two[key] == pytest.approx(one[key], abs=0.02), key
    first, second = (sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("one", "two"))
    assert first == second


@pytest.mark.slow
def test_bad_input_of_one_process_ends_all_of_them(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    script = tmp_path / "one_lacks_a_file.py"
    script.write_text(
        "import os\nfrom scripts import train\n"
        "lacking = ['--test_file', 'nothing.csv'] if os.environ['RANK'] == '1' else []\n"
        f"train.main([{str(recipe)!r}, *lacking])\n"
    )
    done = launch(tmp_path, str(script))
    assert done.returncode != 0
    assert "error: nothing.csv: no such file" in done.stderr
    assert not (tmp_path / "output" / "config.json").exists()
