# SPDX-License-Identifier: Apache-2.0
"""Problems of a staged repository, before anybody sees it."""

from __future__ import annotations

from pathlib import Path

from trainer_ext.errors import InputError

from .card_checks import card_problems
from .files import private_paths, secrets, unreadable_files, unwanted_files
from .stranger import run_as_stranger

_NEEDED = {
    "model": ("config.json", "tokenizer_config.json"),
    "dataset": (),
    "metric": ("app.py", "requirements.txt"),
    "demo": ("app.py", "requirements.txt"),
}


def validate(folder: Path, kind: str, *, repo_id: str) -> list[str]:
    """
    Look for what must not be published, then load the repository as a stranger would, see [`run_as_stranger`].

    Args:
        folder (`Path`): The staged repository; nothing in it is changed.
        kind (`str`): `model`, `dataset`, `metric` or `demo`.
        repo_id (`str`): The name that the repository will have.

    Returns:
        `list[str]`: Problems, one clear line each with file and, where there is one, line; empty when all is well.

    Raises:
        `InputError`: If there is no such kind.
        `FileNotFoundError`: If there is no such folder.
    """
    return file_problems(folder, kind) or run_as_stranger(folder, kind, repo_id)


def file_problems(folder: Path, kind: str) -> list[str]:
    """The problems that show without running anything; arguments, result and errors as of [`validate`]."""
    if kind not in _NEEDED:
        raise InputError(f"Expected one of the kinds {', '.join(_NEEDED)}, got {kind!r}.")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: stage the {kind} first.")
    return list(unreadable_files(folder)) or [
        *(f"{name}: is missing" for name in _NEEDED[kind] if not (folder / name).is_file()),
        *unwanted_files(folder),
        *card_problems(folder, kind),
        *secrets(folder),
        *private_paths(folder),
    ]
