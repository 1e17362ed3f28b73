# SPDX-License-Identifier: Apache-2.0
"""Tests of files and folders that are written whole or not at all, by one process at a time."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import contents
from filelock import FileLock
from safetensors import SafetensorError

from trainer_ext import files
from trainer_ext.errors import InputError
from trainer_ext.files import (
    FullDiskError,
    locked,
    naming_full_disk,
    remove_leftovers,
    replacing,
    replacing_folder,
    updating_folder,
    write_file,
)

OLD = {"config.json": b"old", "weights/a.bin": b"old", "notes.txt": b"mine", "work/cache.bin": b"kept"}
NEW = {"config.json": b"new", "card.md": b"new", "notes.txt": b"mine", "work/cache.bin": b"kept"}


class Kill(BaseException):
    """As `kill -9`: nothing behind it is done."""


def test_a_file_is_replaced_when_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.json"
    write_file(target, "é")
    assert target.read_bytes() == "é".encode()
    write_file(target, b"\x00\xff")
    assert target.read_bytes() == b"\x00\xff"
    assert [path.name for path in target.parent.iterdir()] == ["a.json"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_file(target, "before")
    with pytest.raises(OSError, match="disk full"), replacing(target) as partial:  # noqa: PT012
        partial.write_text("half")
        raise OSError("disk full")
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    for name in ("first", "second"):
        with replacing_folder(target) as folder:
            assert list(folder.iterdir()) == []
            (folder / name).touch()
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


# ------------------------------------------------------------------------------------- killed at every step


def write_old(target: Path) -> None:
    for name, content in OLD.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)


def update(target: Path) -> None:
    with updating_folder(target, lambda name: name == "weights") as folder:
        (folder / "config.json").write_bytes(b"new")
        (folder / "card.md").write_bytes(b"new")


def killing(monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool) -> Callable[[], int]:
    """Let the process end before or after its `at`-th call that changes a name; returns how many calls there were."""
    calls = [0]

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            calls[0] += 1
            # A process that has ended does nothing any more, in no `finally` either.
            if calls[0] > at or (calls[0] == at and not after):
                raise Kill
            result = original(*arguments, **keywords)
            if calls[0] == at:
                raise Kill
            return result

        monkeypatch.setattr(owner, name, call)

    for owner, name in ((Path, "rename"), (Path, "mkdir"), (Path, "write_bytes"), (Path, "unlink")):
        watch(owner, name)
    for owner, name in ((files, "_swap"), (files, "_link_file"), (files.shutil, "rmtree")):
        watch(owner, name)
    return lambda: calls[0]


@pytest.mark.parametrize("can_swap", [True, False])
def test_killed_at_any_step_a_folder_is_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_swap: bool
) -> None:
    if can_swap and sys.platform != "linux":
        pytest.skip("exchanges names on Linux only")
    seen = set()
    for at in range(1, 100):
        for after in (False, True):
            target = tmp_path / f"{at}{after}" / "model"
            write_old(target)
            with monkeypatch.context() as patch:
                if not can_swap:
                    patch.setattr(files, "_swap", lambda new, target: False)
                num_calls = killing(patch, at, after=after)
                with suppress(Kill):
                    update(target)
            files._LOCKED.clear()
            # The lock of a process that has ended is free; this one's is when it is collected.
            gc.collect()
            if not can_swap and not target.exists():
                remove_leftovers(target)
            assert contents(target) in (OLD, NEW), (at, after)
            seen.add(contents(target) == NEW)
            # The next run finishes the job and leaves nothing beside it.
            update(target)
            assert contents(target) == NEW
            assert [path.name for path in target.parent.iterdir()] == ["model"], (at, after)
        if num_calls() < at:
            break
    assert at > 8
    assert seen == {False, True}


def test_other_files_are_hard_links_or_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    write_old(target)
    before = (target / "work" / "cache.bin").stat().st_ino
    update(target)
    assert (target / "work" / "cache.bin").stat().st_ino == before

    def no_links(*arguments: Any, **keywords: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    update(target)
    assert contents(target) == NEW


# ---------------------------------------------------------------------------------------------- one at a time


def test_a_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "model"
    # Another descriptor of the same file, as another process has it.
    other = FileLock(tmp_path / ".model.lock")
    with other, pytest.raises(InputError, match=r"model is being written by another process: wait until"):
        update(target)
    assert not target.exists()
    with locked(target):
        # The stages and the end of one training.
        update(target)
        assert (tmp_path / ".model.lock").exists()
        with pytest.raises(Exception, match="could not be acquired"):
            other.acquire(timeout=0)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = "import os, sys\nfrom trainer_ext.files import locked\nwith locked(sys.argv[1]):\n    os._exit(9)\n"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=False)
    assert done.returncode == 9
    assert [path.name for path in tmp_path.iterdir()] == [".model.lock"]
    update(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# --------------------------------------------------------------------------------------------------- full disk


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_full_disk_is_named_whoever_says_so(error: Exception) -> None:
    expected = r"^No space left on the disk of out: free some\.$"
    with pytest.raises(FullDiskError, match=expected), naming_full_disk("out", "free some."):
        raise error


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), RuntimeError("a defect")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, naming_full_disk("out", "free some."):
        raise error
    assert raised.value is error
