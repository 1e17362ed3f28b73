# SPDX-License-Identifier: Apache-2.0
"""Tests of trainings that are killed, stopped, run twice at once or out of disk space."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import contents, fails
from filelock import FileLock
from recipe_samples import make_rows, write_recipe, write_rows
from safetensors.torch import load_file

from scripts import train
from scripts._command import command
from trainer_ext import files
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.trainer import StackedEmotionTrainer

pytestmark = pytest.mark.usefixtures("blank_figures")

ONE_ENCODER = {
    "words": {"architecture": "bert", "vocab_size": 120, "hidden_size": 8, "num_hidden_layers": 1}
    | {"num_attention_heads": 2}
}
# Eight steps an epoch.
FIELDS: dict[str, Any] = {
    "encoders": ONE_ENCODER,
    "num_train_epochs": 1,
    "eval_strategy": "no",
    "save_strategy": "steps",
    "save_steps": 3,
    "load_best_model_at_end": False,
    "save_total_limit": 2,
}
RESUME = ("--resume_from_checkpoint", "true")


class Kill(BaseException):
    """As `kill -9`: nothing behind it is done."""


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something in place of a step of the training."""
    step = StackedEmotionTrainer.training_step

    def stop(number: int, act: Callable[[], None]) -> None:
        def stopping(self: StackedEmotionTrainer, *arguments: Any, **keywords: Any) -> torch.Tensor:
            if self.state.global_step == number:
                act()
            return step(self, *arguments, **keywords)

        monkeypatch.setattr(StackedEmotionTrainer, "training_step", stopping)

    return stop


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def told(main: Callable[..., Any], capfd: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str]:
    """The exit status of a command and the last line that it says."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    said = capfd.readouterr().err
    assert "Traceback" not in said
    return int(str(stopped.value.code)), said.strip().splitlines()[-1]


def train_until_killed(recipe: Path, stop_at: Callable[..., None]) -> None:
    stop_at(5, raising(Kill()))
    with pytest.raises(Kill):
        train.main([str(recipe)])
    stop_at(-1, raising(Kill()))
    # The process would be gone.
    files._LOCKED.clear()


# ------------------------------------------------------------------------------------------ stopped by a signal


def check_stopping(
    recipe: Path, capfd: pytest.CaptureFixture[str], stop_at: Callable[..., None], number: int, status: int
) -> None:
    stop_at(5, lambda: os.kill(os.getpid(), number))
    go_on = f"stopped. Step 3 is saved; go on with: python -m scripts.train {recipe} --seed 3 {' '.join(RESUME)}"
    assert told(train.main, capfd, recipe, "--seed", "3") == (status, go_on)
    assert [path.name for path in recipe.parent.iterdir() if path.name.startswith(".")] == []
    assert [path.name for path in (recipe.parent / "output").iterdir()] == ["checkpoints"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_ends_a_training_with_the_command_that_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stop_at: Callable[..., None]
) -> None:
    check_stopping(write_recipe(tmp_path, **FIELDS), capfd, stop_at, signal.SIGINT, 130)


@pytest.mark.slow
def test_a_stopped_training_ends_as_one_that_was_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stop_at: Callable[..., None]
) -> None:
    recipe = write_recipe(tmp_path, **FIELDS)
    stop_at(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    begin_again = "stopped. No checkpoint was saved yet: begin again with the same command."
    assert told(train.main, capfd, recipe) == (143, begin_again)
    for _ in range(2):
        check_stopping(recipe, capfd, stop_at, signal.SIGTERM, 143)
    stop_at(-1, raising(Kill()))
    train.main([str(recipe), "--seed", "3", *RESUME])
    train.main([str(recipe), "--seed", "3", "--output_dir", str(tmp_path / "whole")])
    ends = [load_file(tmp_path / folder / "model.safetensors") for folder in ("output", "whole")]
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[1])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("is_dropped", [False, True])
def test_signals_end_any_command_with_one_line(
    capfd: pytest.CaptureFixture[str], number: int, status: int, is_dropped: bool
) -> None:
    class Collected:
        def __del__(self) -> None:
            os.kill(os.getpid(), number)
            # Python handles the signal here, and drops what it raises.
            time.sleep(0.01)

    @command
    def main(arguments: list[str]) -> None:
        if is_dropped:
            Collected()
            time.sleep(20)
        os.kill(os.getpid(), number)
        time.sleep(20)

    assert told(main, capfd) == (status, "stopped. Run the same command again: complete parts are kept.")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_until_a_run_ends_the_earlier_model_is_untouched(tmp_path: Path, stop_at: Callable[..., None]) -> None:
    recipe = write_recipe(tmp_path, **FIELDS | {"lora_r": 2, "eval_strategy": "steps", "eval_steps": 3})
    train.main([str(recipe)])
    before = contents(tmp_path / "output")
    assert {"adapter/adapter_model.safetensors", "reports/class_report_3.json"} <= before.keys()
    train_until_killed(write_recipe(tmp_path, **FIELDS), stop_at)
    during = contents(tmp_path / "output")
    assert {name: data for name, data in during.items() if not name.startswith("checkpoints/")} == before
    # Adapter and reports of the earlier model go with it.
    train.main([str(recipe), "--lora_r", "0", "--eval_strategy", "no"])
    after = contents(tmp_path / "output")
    assert not [name for name in after if name.startswith(("adapter/", "reports/", "checkpoints/"))]


# ---------------------------------------------------------------------------------------------- other settings

# A few of the fields; `test_checkpoints` compares without a training.
OTHERS = [
    (["--learning_rate", "1e-4"], r"`learning_rate` was 0.005 when \S+checkpoint-3 was saved and is 0.0001 now"),
    (["--num_train_epochs", "2"], "`num_train_epochs` was 1.0 when"),
    (["--lstm_hidden_size", "8"], "`lstm_hidden_size` was 16 when"),
    (["--base_loss", "focal"], "`base_loss` was 'bce' when"),
    (["--per_device_train_batch_size", "4"], "`per_device_train_batch_size` was 8 when"),
    (["--train_file", "OTHER"], r"`train_file` was '\S+train.jsonl' when"),
]


@pytest.mark.slow
def test_other_settings_are_refused_when_resuming(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stop_at: Callable[..., None]
) -> None:
    other = write_rows(tmp_path / "other.jsonl", make_rows(60, 5))
    recipe = write_recipe(tmp_path, **FIELDS)
    train_until_killed(recipe, stop_at)
    capfd.readouterr()
    files_given = [f"--{split}_file={tmp_path / split}.jsonl" for split in ("validation", "test")]
    for arguments, expected in OTHERS:
        given = [argument.replace("OTHER", str(other)) for argument in arguments]
        said = told(train.main, capfd, recipe, *files_given, *given, *RESUME)[1]
        assert re.search(expected, said), said
        assert said.endswith("go on with the old one, or begin anew without `resume_from_checkpoint`.")
    # The same rows under another name, and a field that matters only when training is over.
    (tmp_path / "train.jsonl").rename(tmp_path / "moved.jsonl")
    free = [f"--train_file={tmp_path / 'moved.jsonl'}", *files_given, "--threshold_strategy=none", "--logging_steps=1"]
    train.main([str(recipe), *free, *RESUME])
    assert "Going on from" in capfd.readouterr().out
    assert not (tmp_path / "output" / "checkpoints").exists()


@pytest.mark.slow
def test_changed_rows_and_earlier_checkpoints(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stop_at: Callable[..., None]
) -> None:
    recipe = write_recipe(tmp_path, **FIELDS)
    train_until_killed(recipe, stop_at)
    write_rows(tmp_path / "train.jsonl", make_rows(60, 5))
    assert "The digest of the train rows was '" in told(train.main, capfd, recipe, *RESUME)[1]
    stop_at(1, raising(Kill()))
    with pytest.raises(Kill):
        train.main([str(recipe), "--seed", "8"])
    checkpoints = tmp_path / "output" / "checkpoints"
    assert f"Removed 1 checkpoints of an earlier run from {checkpoints}." in capfd.readouterr().out
    assert not list(checkpoints.glob("checkpoint-*"))
    assert json.loads((checkpoints / "run.json").read_text(encoding="utf-8"))["arguments"]["seed"] == 8


# --------------------------------------------------------------------------------------- two at once, full disk


def test_a_second_training_in_the_folder_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, **FIELDS)
    with FileLock(tmp_path / ".output.lock"):
        said = fails(train.main, capfd, recipe)
    assert f"{tmp_path / 'output'} is being written by another process: wait until it has ended" in said
    assert not (tmp_path / "output").exists()


def test_a_full_disk_ends_with_the_command_that_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, **FIELDS)
    save = torch.save

    def full(content: Any, path: Any, *arguments: Any, **keywords: Any) -> None:
        if "checkpoint-6" in str(path):
            Path(path).write_bytes(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")
        save(content, path, *arguments, **keywords)

    monkeypatch.setattr(torch, "save", full)
    status, line = told(train.main, capfd, recipe)
    assert status == 2
    assert line.startswith(
        f"error: No space left on the disk of {tmp_path / 'output'}: free some, or set `output_dir`"
    )
    assert line.endswith(f"Step 3 is saved; go on with: python -m scripts.train {recipe} {' '.join(RESUME)}")
    checkpoints = tmp_path / "output" / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["checkpoint-3", "run.json"]


def test_half_a_checkpoint_by_name_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint-3").mkdir()
    recipe = write_recipe(tmp_path, **FIELDS)
    said = fails(train.main, capfd, recipe, RESUME[0], str(tmp_path / "checkpoint-3"))
    assert "checkpoint-3 is not whole, it has no trainer_state.json" in said


# ----------------------------------------------------------------------------------------------------- tokens

SECRET = "hf_abcDEFghiJKLmnoPQR"


def test_a_token_is_in_no_checkpoint(tmp_path: Path) -> None:
    args = StackedEmotionTrainingArguments(str(tmp_path), use_cpu=True, hub_token=SECRET)
    torch.save(args, tmp_path / "training_args.bin")
    assert SECRET.encode() not in (tmp_path / "training_args.bin").read_bytes()
    assert args.hub_token == SECRET
    assert SECRET not in f"{args} {args.to_json_string()}"


@pytest.mark.parametrize(
    "arguments", [["--hub_token", SECRET], ["--hub_tokn", SECRET], [SECRET], [f"--{SECRET}"], ["--seed", SECRET]]
)
def test_a_token_is_in_no_message(tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    said = fails(train.main, capfd, write_recipe(tmp_path, **FIELDS), *arguments)
    assert SECRET not in said
    assert not (tmp_path / "output").exists()
