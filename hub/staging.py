# SPDX-License-Identifier: Apache-2.0
"""A staged folder: all of it or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(target: str | os.PathLike[str]) -> Iterator[Path]:
    """
    An empty folder beside `target` that takes its place when the block ends well, and is gone otherwise.

    An empty hidden file `.<name>.staged` beside the target says that the target may be replaced another time.

    Args:
        target (`str`): What was staged there before is replaced; any other content is not touched.

    Yields:
        `Path`: The folder to fill.

    Raises:
        FileExistsError: The target holds something that was not staged.
        OSError: The disk is full.
    """
    target = Path(target).absolute()
    partial, old, mark = (target.parent / f".{target.name}.{suffix}" for suffix in ("partial", "old", "staged"))
    is_occupied = target.exists() and not (target.is_dir() and not any(target.iterdir()))
    if is_occupied and not mark.is_file():
        raise FileExistsError(
            f"{target} holds what was not staged: name a folder that is new, empty or staged before."
        )
    try:
        _tidy(target, partial, old)
        partial.mkdir(parents=True)
        yield partial
        mark.touch()
        if target.exists():
            target.rename(old)
        partial.rename(target)
    except Exception as error:
        # Not every library that writes raises an OSError with a number.
        if "No space left on device" not in str(error):
            raise
        raise OSError(f"No space left to stage {target}: free some, or choose a folder on another disk.") from error
    finally:
        _tidy(target, partial, old)


def _tidy(target: Path, partial: Path, old: Path) -> None:
    """After a kill as well: between two renames the old folder is the only complete one."""
    if old.exists() and not target.exists():
        old.rename(target)
    for folder in (partial, old):
        shutil.rmtree(folder, ignore_errors=True)
