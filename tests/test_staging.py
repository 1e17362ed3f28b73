# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.staging: the folder appears complete or not at all, and nothing of somebody else's is replaced."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hub.staging import staged


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def stage(target: Path, text: str) -> None:
    with staged(target) as folder:
        assert folder.is_dir()
        assert not any(folder.iterdir())
        (folder / "README.md").write_text(text)


def test_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with staged(target) as folder:
        (folder / "onnx").mkdir()
        (folder / "onnx" / "model.onnx").write_text("weights")
        assert folder.parent == target.parent
        assert not target.exists()
    assert content(target) == {"onnx/model.onnx": "weights"}
    assert sorted(path.name for path in target.parent.iterdir()) == [".model.staged", "model"]


def test_staged_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    stage(target, "first")
    (target / "left.txt").write_text("of the first")
    stage(target, "second")
    assert content(target) == {"README.md": "second"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".model.staged", "model"]


def fail(target: Path, error: BaseException) -> None:
    with staged(target) as folder:
        (folder / "README.md").write_text("half")
        raise error


@pytest.mark.parametrize("error", [KeyError("labels"), KeyboardInterrupt()])
def test_error_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    stage(tmp_path / "model", "first")
    for name in ("model", "other"):
        with pytest.raises(type(error)):
            fail(tmp_path / name, error)
    assert content(tmp_path / "model") == {"README.md": "first"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".model.staged", "model"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    for name in (".model.partial", ".model.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stale.txt").write_text("stale")
    (tmp_path / ".model.staged").touch()
    stage(tmp_path / "model", "new")
    assert content(tmp_path / "model") == {"README.md": "new"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".model.staged", "model"]


def test_folder_that_a_kill_left_aside_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "model"
    stage(target, "first")
    target.rename(tmp_path / ".model.old")
    with pytest.raises(KeyError):
        fail(target, KeyError("labels"))
    assert content(target) == {"README.md": "first"}


def test_foreign_folders_and_files_are_not_replaced(tmp_path: Path) -> None:
    folder, file = tmp_path / "trained", tmp_path / "notes"
    folder.mkdir()
    (folder / "model.safetensors").write_text("weeks of work")
    file.write_text("notes")
    for target in (folder, file):
        with pytest.raises(FileExistsError, match=f"{target.name} holds something that was not staged: name a folder"):
            stage(target, "new")
    assert content(folder) == {"model.safetensors": "weeks of work"}
    assert file.read_text() == "notes"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("I/O: No space left on device (os error 28)")],
)
def test_full_disk_is_one_clear_line(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(OSError, match=r"^No space left on the disk of .*model: free some, or choose") as raised:
        fail(tmp_path / "model", error)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
