# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import os
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
        `Path`: `.<name>.partial` in the same folder: what to write to.
    """
    target = Path(path)
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
