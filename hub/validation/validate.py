# SPDX-License-Identifier: Apache-2.0
"""Problems of a staged repository, before anybody sees it."""

from __future__ import annotations

from pathlib import Path

from .card_checks import card_problems
from .files import private_paths, secrets, unwanted_files
from .stranger import run_as_stranger


def validate(folder: Path, kind: str, *, repo_id: str) -> list[str]:
    """
    Look for content that must not be published, then load the repository as a stranger would, see [`run_as_stranger`].

    Args:
        folder (`Path`): The staged repository; nothing in it is changed.
        kind (`str`): `model`, `dataset`, `metric`, `demo` or `browser`.
        repo_id (`str`): The name that the repository will have.

    Returns:
        `list[str]`: Problems, one clear line each with file and, where there is one, line; empty when all is well.
    """
    return file_problems(folder, kind) or run_as_stranger(folder, kind, repo_id)


def file_problems(folder: Path, kind: str) -> list[str]:
    """The problems that show without running anything; arguments and result as of [`validate`]."""
    return [
        *unwanted_files(folder),
        *card_problems(folder, kind),
        *secrets(folder),
        *private_paths(folder),
    ]
