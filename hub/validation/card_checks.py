# SPDX-License-Identifier: Apache-2.0
"""Checks of a repository's card, before strangers read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from huggingface_hub import DatasetCard, ModelCard, RepoCard, SpaceCard

from trainer_ext.errors import InputError

_CARD = "README.md"
_CARDS: dict[str, type[RepoCard]] = {
    "model": ModelCard,
    "dataset": DatasetCard,
    "metric": SpaceCard,
    "demo": SpaceCard,
    "browser": SpaceCard,
}
_UNFILLED = re.compile(
    r"\$\{[a-z_]+\}|\$[a-z_]{3,}(?![\w$])|PATH_OR_ID|\b(?:TODO|FIXME)\b|\{\{.*?\}\}|More Information Needed"
)


def card_problems(folder: Path, kind: str) -> list[str]:
    """
    A missing card, metadata that huggingface_hub does not accept, unfilled fields.

    Args:
        folder (`Path`): The staged repository.
        kind (`str`): `model`, `dataset`, `metric`, `demo` or `browser`.

    Returns:
        `list[str]`: A line each.
    """
    path = folder / _CARD
    if not path.is_file():
        return [f"{_CARD}: is missing"]
    problems = [problem for file in (path, *sorted(folder.rglob("*.y*ml"))) for problem in _unfilled(folder, file)]
    card = path.read_text(encoding="utf-8")
    try:
        if not card.startswith("---\n"):
            raise InputError("it does not start with a block of YAML between lines of three dashes")
        _CARDS[kind](card)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        problems.append(f"{_CARD}: huggingface_hub refuses its metadata: {' '.join(str(error).split())}")
    return problems


def _unfilled(folder: Path, path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    for match in _UNFILLED.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield f"{path.relative_to(folder).as_posix()}:{line}: has an unfilled field, {match[0]}"
