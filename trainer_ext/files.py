# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are there whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError

# Folders that this process has the lock of.
_LOCKED: set[Path] = set()
# Of <fcntl.h> and <linux/fs.h>.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """
    A temporary name beside `path` that takes its place when the block ends well, and is gone otherwise.

    Args:
        path (`str`): The file; its folder is made if there is none. A file of that name stays until the end.

    Yields:
        `Path`: `.<name>.partial` in the same folder, to be written.

    Raises:
        `OSError`: If `path` is a folder, a device or the like, or cannot be written.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{path} is there and is no file, expected the name of a file; give another name.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_file(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write text, as UTF-8, or bytes; see [`replacing`]."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def locked(target: str | os.PathLike[str]) -> Iterator[None]:
    """
    Around all work on a folder that no other process may do at the same time. The lock is the system's, on a hidden
    file beside the folder: it ends with the process, however that ends. Within a process it may be taken again.

    Args:
        target (`str`): The folder, whether it exists or not; those above it are made.

    Raises:
        `InputError`: If another process has it.
        `OSError`: If nothing can be written beside the folder.
    """
    folder = Path(target).resolve()
    if folder in _LOCKED:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f".{folder.name}.lock")
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{folder} is being written by another process: wait until it has ended, or name another folder."
        ) from error
    _LOCKED.add(folder)
    try:
        yield
    finally:
        _LOCKED.discard(folder)
        # Before others can have it: they would hold a file that is gone.
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def scratch_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """
    An empty folder beside `target`, on the same disk, that is gone when the block ends.

    Args:
        target (`str`): A folder, whether it exists or not; those above it are made.

    Yields:
        `Path`: `.<name>.partial`. One that a kill has left behind is emptied first.

    Raises:
        `InputError`: If another process is writing the folder.
    """
    target = Path(target).resolve()
    scratch = target.with_name(f".{target.name}.partial")
    with locked(target):
        try:
            remove_leftovers(target)
            scratch.mkdir()
            yield scratch
        finally:
            remove_leftovers(target)


@contextmanager
def replacing_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """
    An empty folder beside `target` that takes its place when the block ends well, and is gone otherwise.

    Where the system can exchange two names (Linux), `target` is at any moment the whole old folder or the whole new
    one. Elsewhere it is away between two renames, and one that a kill leaves so comes back with the next call.

    Args:
        target (`str`): The folder; its content stays until the end, and is gone then. Those above it are made.

    Yields:
        `Path`: The [`scratch_folder`] to fill.
    """
    target = Path(target).resolve()
    with scratch_folder(target) as scratch:
        yield scratch
        _exchange(scratch, target)


@contextmanager
def updating_folder(
    target: str | os.PathLike[str], is_replaced: Callable[[str], bool] | None = None
) -> Iterator[Path]:
    """
    [`replacing_folder`] that keeps the other entries of `target`: they are hard links in the new folder, or copies
    where the disk has none.

    Args:
        target (`str`): The folder.
        is_replaced (`Callable[[str], bool]`, *optional*): Whether an entry of this name goes even if the block writes
            none of that name.

    Yields:
        `Path`: The folder to fill.
    """
    target = Path(target).resolve()
    with replacing_folder(target) as scratch:
        yield scratch
        for entry in sorted(target.iterdir()) if target.is_dir() else ():
            if is_replaced is None or not is_replaced(entry.name):
                link(entry, scratch / entry.name)


def link(source: Path, target: Path) -> None:
    """Let a file or folder have a second name as well, unless there is something of that name; see `os.link`."""
    if target.exists():
        return
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=_link_file)
    else:
        _link_file(source, target)


def remove_leftovers(target: str | os.PathLike[str]) -> None:
    """Tidy up beside a folder after a kill: bring back one that is away, remove halves. The caller has the lock."""
    target = Path(target).resolve()
    scratch, old = (target.with_name(f".{target.name}.{name}") for name in ("partial", "old"))
    if old.exists() and not target.exists():
        old.rename(target)
    for path in (scratch, old):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def naming_full_disk(path: str | os.PathLike[str], advice: str) -> Iterator[None]:
    """
    Around the writing of files: libraries have errors of their own for a full disk, which seldom name a path.

    Args:
        path (`str`): The folder that is written to.
        advice (`str`): The way to mend it, for the message.

    Raises:
        `FullDiskError`: In place of any error that comes from a full disk.
    """
    try:
        yield
    except FullDiskError:
        raise
    except Exception as error:
        if not _is_of_full_disk(error):
            raise
        raise FullDiskError(f"No space left on the disk of {path}: {advice}") from error


class FullDiskError(OSError):
    """A disk is full; the message names the path and the way to go on."""


def _is_of_full_disk(error: Exception) -> bool:
    # safetensors and pyarrow quote the system.
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return True
    # torch 2.13 says of a file that cannot be written neither why nor which.
    return "PytorchStreamWriter" in str(error) or "unexpected pos" in str(error)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def _exchange(new: Path, target: Path) -> None:
    """Give `new` the name `target`; what was there may have the name `new` then."""
    if not target.exists():
        new.rename(target)
    elif not _swap(new, target):
        target.rename(target.with_name(f".{target.name}.old"))
        new.rename(target)


def _swap(first: Path, second: Path) -> bool:
    """Exchange two names in one step, by renameat2(2) of Linux; whether the system could."""
    if sys.platform != "linux":
        return False
    try:
        function = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    status: int = function(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return status == 0
