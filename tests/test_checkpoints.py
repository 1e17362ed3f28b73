# SPDX-License-Identifier: Apache-2.0
"""Tests of the choice of a checkpoint: the last that is complete, whatever a kill has left beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer_ext.errors import InputError
from trainer_ext.training.checkpoints import (
    check_settings,
    find_checkpoint,
    last_complete_checkpoint,
    missing_part,
    remove_checkpoints,
    write_settings,
)

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "modeling_stacked_emotion.py")


def write(folder: Path, step: int, without: str = "", state: str | None = '{"global_step": 1}') -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for name in FILES:
        if name != without:
            (checkpoint / name).write_bytes(b"x")
    if state is not None:
        (checkpoint / "trainer_state.json").write_text(state, encoding="utf-8")
    return checkpoint


def test_last_is_that_of_most_steps_not_of_the_last_name(tmp_path: Path) -> None:
    for step in (900, 1000, 20):
        write(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1000")


@pytest.mark.parametrize("state", [None, "", '{"global_step": 1'])
def test_checkpoint_without_its_end_is_skipped(tmp_path: Path, state: str | None) -> None:
    write(tmp_path, 4)
    write(tmp_path, 8, state=state)
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")


@pytest.mark.parametrize("name", FILES[:-1])
def test_checkpoint_that_was_being_deleted_is_skipped(tmp_path: Path, name: str) -> None:
    write(tmp_path, 4)
    write(tmp_path, 8, without=name)
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin"]
)
def test_weights_may_have_other_names(tmp_path: Path, name: str) -> None:
    checkpoint = write(tmp_path, 4, without="model.safetensors")
    assert last_complete_checkpoint(tmp_path) is None
    (checkpoint / name).write_bytes(b"x")
    assert last_complete_checkpoint(tmp_path) == str(checkpoint)


def test_without_a_folder_there_is_none(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path / "nothing") is None


def test_what_resume_from_checkpoint_stands_for(tmp_path: Path) -> None:
    assert find_checkpoint(True, tmp_path) is None
    checkpoint = str(write(tmp_path, 4))
    assert find_checkpoint(True, tmp_path) == checkpoint
    assert [find_checkpoint(value, tmp_path) for value in (None, False, "mine")] == [None, None, "mine"]


def test_halves_are_removed_and_models_alone_are_not(tmp_path: Path) -> None:
    for step, options in ((4, {}), (8, {"state": None}), (12, {"without": "model.safetensors"})):
        write(tmp_path, step, **options)
    write(tmp_path, 16, without="optimizer.pt")
    assert missing_part(tmp_path / "checkpoint-16") == "optimizer*"
    assert remove_checkpoints(tmp_path, only_halves=True) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-16", "checkpoint-4"]
    assert remove_checkpoints(tmp_path) == 2
    assert remove_checkpoints(tmp_path / "nothing") == 0


SETTINGS: dict[str, dict[str, Any]] = {
    "arguments": {"learning_rate": 1e-3, "encoders": {"a": "x/y"}, "label_weights": None},
    "data": {"train_file": "a.csv"},
    "rows": {"labels": ["joy"], "train": "12ab"},
}


@pytest.mark.parametrize(
    ("group", "name", "value", "expected"),
    [
        ("arguments", "learning_rate", 1e-4, "`learning_rate` was 0.001 when .*checkpoint-4 was saved and is 0.0001"),
        ("arguments", "encoders", {"a": "x/z"}, "`encoders` was {'a': 'x/y'} when .* and is {'a': 'x/z'} now: go on"),
        ("rows", "train", "34cd", "The digest of the train rows was '12ab' when .* and is '34cd' now"),
        ("data", "train_file", "b.csv", None),
    ],
)
def test_a_run_goes_on_with_its_settings(
    tmp_path: Path, group: str, name: str, value: Any, expected: str | None
) -> None:
    checkpoint = str(write(tmp_path, 4))
    check_settings(checkpoint, SETTINGS)
    write_settings(tmp_path, SETTINGS)
    check_settings(checkpoint, SETTINGS)
    others = SETTINGS | {group: SETTINGS[group] | {name: value}}
    if expected is None:
        # Where the same rows lie is of no matter, and is named where the rows are others.
        check_settings(checkpoint, others)
        others["rows"] = {**others["rows"], "train": "34cd"}
        expected = "`train_file` was 'a.csv' when"
    with pytest.raises(InputError, match=expected):
        check_settings(checkpoint, others)


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json is not the record of a run: begin anew"):
        check_settings(str(write(tmp_path, 4)), SETTINGS)
