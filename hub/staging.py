# SPDX-License-Identifier: Apache-2.0
"""A staged folder: all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from trainer_ext.errors import InputError
from trainer_ext.files import naming_full_disk, replacing_folder


@contextmanager
def staged(target: str | os.PathLike[str]) -> Iterator[Path]:
    """
    [`replacing_folder`] for a target that is new, empty or was staged before; no other is touched.

    An empty hidden file `.<name>.staged` beside the target says that the target may be replaced another time.

    Args:
        target (`str`): The staged folder.

    Yields:
        `Path`: The folder to fill.

    Raises:
        `FileExistsError`: If the target holds something that was not staged.
        `OSError`: If the disk is full.
    """
    target = Path(target).absolute()
    mark = target.with_name(f".{target.name}.staged")
    is_occupied = target.exists() and not (target.is_dir() and not any(target.iterdir()))
    if is_occupied and not mark.is_file():
        raise FileExistsError(
            f"{target} holds something that was not staged: name a folder that is new, empty or staged before."
        )
    advice = "free some, or choose a folder on another disk."
    with naming_full_disk(target, advice), replacing_folder(target) as folder:
        yield folder
        mark.touch()


def check_repo_id(field: str, value: str) -> None:
    """
    Check a repository's name.

    Args:
        field (`str`): Name of the argument, for the message.
        value (`str`): The name to check.

    Raises:
        `InputError`: If it is not `owner/name`, in the characters that the Hub takes.
    """
    # The Hub's own check lets a name without an owner pass.
    if value.count("/") != 1:
        raise InputError(f"`{field}` must be `owner/name`, got {value!r}.")
    try:
        validate_repo_id(value)
    except HFValidationError as error:
        raise InputError(f"`{field}` must be `owner/name`, got {value!r}: {error}") from error
