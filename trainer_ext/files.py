# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are there whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
def scratch_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """
    An empty folder beside `target`, on the same disk, that is gone when the block ends.

    Args:
        target (`str`): A folder, whether it exists or not; those above it are made.

    Yields:
        `Path`: `.<name>.partial`. One that a kill has left behind is emptied first.
    """
    target = Path(target).absolute()
    scratch = target.with_name(f".{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def replacing_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """
    An empty folder beside `target` that takes its place when the block ends well, and is gone otherwise.

    Args:
        target (`str`): The folder; its content stays until the end, and is gone then.

    Yields:
        `Path`: The [`scratch_folder`] to fill.
    """
    target = Path(target).absolute()
    old = target.with_name(f".{target.name}.old")
    try:
        _restore(target, old)
        with scratch_folder(target) as scratch:
            yield scratch
            if target.exists():
                target.rename(old)
            scratch.rename(target)
    finally:
        _restore(target, old)


def _restore(target: Path, old: Path) -> None:
    """Put the old folder back where a kill between two renames left no other; remove it elsewhere."""
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
