# SPDX-License-Identifier: Apache-2.0
"""Tests of the choice of a checkpoint: the last that is complete, whatever a kill has left beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer_ext.training.checkpoints import find_checkpoint, last_complete_checkpoint

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
