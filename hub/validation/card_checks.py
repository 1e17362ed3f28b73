# SPDX-License-Identifier: Apache-2.0
"""What the card of a repository must have before strangers read it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard, ModelCard, RepoCard, SpaceCard

from trainer_ext.errors import InputError

CARD_NAME = "README.md"
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
    path = folder / CARD_NAME
    if not path.is_file():
        return [f"{CARD_NAME}: is missing"]
    problems = [problem for file in (path, *sorted(folder.rglob("*.y*ml"))) for problem in _unfilled(folder, file)]
    problems += _links(folder, path.read_text(encoding="utf-8"))
    try:
        metadata = read_metadata(folder, kind)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        return [*problems, f"{CARD_NAME}: huggingface_hub refuses its metadata: {' '.join(str(error).split())}"]
    return [*problems, *_fields(metadata, kind)]


def read_metadata(folder: Path, kind: str) -> dict[str, Any]:
    """
    The YAML block of the card.

    Args:
        folder (`Path`): The staged repository.
        kind (`str`): `model`, `dataset`, `metric` or `demo`.

    Raises:
        ValueError: There is no block, or huggingface_hub cannot read it, such as a wrong `model-index`.
        yaml.YAMLError: It is not YAML.
    """
    text = (folder / CARD_NAME).read_text(encoding="utf-8")
    if not text.startswith("---\n"):
        raise InputError("it does not start with a block of YAML between lines of three dashes")
    _CARDS[kind](text)
    metadata: dict[str, Any] = yaml.safe_load(text.split("\n---", 1)[0])
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
            yield f"{CARD_NAME}:{line}: links to {match[1]}, which is not there"


def _fields(metadata: Mapping[str, Any], kind: str) -> list[str]:
    missing = [name for name in _FIELDS[kind] if name not in metadata]
    empty = [name for name, value in metadata.items() if value in (None, "", [], {}, "None")]
    return [f"{CARD_NAME}: its metadata has no `{name}`" for name in missing] + [
        f"{CARD_NAME}: `{name}` of its metadata is empty" for name in empty
    ]
