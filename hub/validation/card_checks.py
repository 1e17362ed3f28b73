# SPDX-License-Identifier: Apache-2.0
"""Checks of a repository's card, before strangers read it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard, ModelCard, RepoCard, SpaceCard

from trainer_ext.errors import InputError

_CARD = "README.md"
_CARDS: dict[str, type[RepoCard]] = {
    "model": ModelCard,
    "dataset": DatasetCard,
    "metric": SpaceCard,
    "demo": SpaceCard,
}
_FIELDS = {
    "model": ("license", "library_name", "pipeline_tag", "tags"),
    "dataset": ("license", "pretty_name", "task_categories", "configs"),
    "metric": ("title", "sdk", "sdk_version"),
    "demo": ("title", "sdk", "sdk_version"),
}
_UNFILLED = re.compile(
    r"\$\{[a-z_]+\}|\$[a-z_]{3,}(?![\w$])|PATH_OR_ID|\b(?:TODO|FIXME)\b|\{\{.*?\}\}|More Information Needed"
)
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)[^)]*\)")
_CODE = re.compile(r"^[ \t]*```.*?^[ \t]*```", re.MULTILINE | re.DOTALL)


def card_problems(folder: Path, kind: str) -> list[str]:
    """
    A missing card, metadata that huggingface_hub does not accept, unfilled fields, links to files that are not there.

    Args:
        folder (`Path`): The staged repository.
        kind (`str`): `model`, `dataset`, `metric` or `demo`.

    Returns:
        `list[str]`: A line each.
    """
    path = folder / _CARD
    if not path.is_file():
        return [f"{_CARD}: is missing"]
    problems = [problem for file in (path, *sorted(folder.rglob("*.y*ml"))) for problem in _unfilled(folder, file)]
    card = path.read_text(encoding="utf-8")
    problems += _links(folder, card)
    try:
        metadata = _metadata(card, kind)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        return [*problems, f"{_CARD}: huggingface_hub refuses its metadata: {' '.join(str(error).split())}"]
    return [*problems, *_fields(metadata, kind)]


def _metadata(card: str, kind: str) -> dict[str, Any]:
    if not card.startswith("---\n"):
        raise InputError("it does not start with a block of YAML between lines of three dashes")
    _CARDS[kind](card)
    metadata: dict[str, Any] = yaml.safe_load(card.split("\n---", 1)[0])
    return metadata


def _unfilled(folder: Path, path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    for match in _UNFILLED.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield f"{path.relative_to(folder).as_posix()}:{line}: has an unfilled field, {match[0]}"


def _links(folder: Path, card: str) -> Iterator[str]:
    card = _CODE.sub(lambda match: "\n" * match[0].count("\n"), card)
    for match in _LINK.finditer(card):
        if not (folder / match[1]).exists():
            line = card.count("\n", 0, match.start()) + 1
            yield f"{_CARD}:{line}: links to {match[1]}, which is not there"


def _fields(metadata: Mapping[str, Any], kind: str) -> list[str]:
    missing = [name for name in _FIELDS[kind] if name not in metadata]
    empty = [name for name, value in metadata.items() if value in (None, "", [], {}, "None")]
    return [f"{_CARD}: its metadata has no `{name}`" for name in missing] + [
        f"{_CARD}: `{name}` of its metadata is empty" for name in empty
    ]
