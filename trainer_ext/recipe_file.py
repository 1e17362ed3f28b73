# SPDX-License-Identifier: Apache-2.0
"""Dataclasses from one flat mapping of fields: a YAML file, and options of the command line."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from argparse import SUPPRESS
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from .errors import InputError, reading

# Far more than a recipe needs: its bytes, and its values with those that aliases repeat.
_MAX_BYTES, _MAX_VALUES = 1_000_000, 10_000


class _Loader(yaml.SafeLoader):
    """
    Only `true` and `false` are booleans, as in YAML 1.2: in `eval_strategy: no` stands a word. A mapping has each key
    once, and aliases repeat no more than can be printed.
    """

    def get_single_node(self) -> yaml.Node | None:
        """The root of the document, or none where it is empty."""
        node = super().get_single_node()
        if node is not None and _num_values(node, {}) > _MAX_VALUES:
            raise InputError(f"expected at most {_MAX_VALUES:,} values, those repeated by aliases included")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, merged with those that `<<` names."""
        keys = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if repeated := [value for (_, value), number in keys.items() if number > 1]:
            raise InputError(f"from line {node.start_mark.line + 1}: the key `{repeated[0]}` stands there twice")
        return super().construct_mapping(node, deep)


def _num_values(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node stands for; a node within itself stands for no end of them."""
    if id(node) not in known:
        known[id(node)] = math.inf
        children = chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
        is_scalar = isinstance(node, yaml.ScalarNode)
        known[id(node)] = 1 if is_scalar else 1 + sum(_num_values(child, known) for child in children)
    return known[id(node)]


_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("^(?:true|false)$", re.IGNORECASE), list("tTfF"))

# Removed fields, and the way to do without each.
REMOVED_FIELDS = {
    "unfreeze_every": "freeze layers by `num_frozen_layers`, or slow the lower ones down by `layerwise_lr_decay`",
    "label_correlation": "leave it out, the correlation of labels is always their phi coefficient",
    "evaluation_reports": "leave it out, the reports are always written",
    "hub_token": "log in with `hf auth login`, or set HF_TOKEN",
}
# Fields with a value of another type that may also be true or false.
_ALSO_FLAGS = ("resume_from_checkpoint",)


def load_fields(path: str, groups: Mapping[str, type], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """
    Read dataclasses from one flat mapping.

    Args:
        path (`str`): The YAML file. A field `output_dir` that it lacks becomes `outputs/<name of the file>`.
        groups (`dict[str, type]`): The dataclasses by a name; of two with the same field the first has it.
        overrides (`list[str]`): `--field value` or `--field=value` in YAML's own notation; `--encoders.bert PATH` sets
            one entry of a mapping, a flag without a value is true. A field whose metadata name others as `in_place_of`
            removes these from the recipe: `--train_file PATH` the recipe's `dataset_name`.

    Returns:
        `dict[str, Any]`: An instance of each dataclass, by its name.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `InputError`: If it is no mapping, or for an unknown field or a value of another type; in one line.
    """
    arguments, _ = read_fields(path, overrides, groups)
    return make_fields(arguments, groups)


def make_fields(arguments: Mapping[str, dict[str, Any]], groups: Mapping[str, type]) -> dict[str, Any]:
    """An instance of each dataclass, by its name, of the fields that [`read_fields`] returned."""
    # transformers raises errors of its own for its fields.
    with reading():
        return {group: cls(**arguments[group]) for group, cls in groups.items()}


def read_fields(
    path: str, overrides: Sequence[str], groups: Mapping[str, type]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """By group the values of its fields, each of the field's type; and the values of the command line by option."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no recipe {path}.")
    values = read_yaml(file)
    if not isinstance(values, dict):
        raise InputError(f"{path} must be a mapping of fields, got {type(values).__name__}.")
    values.setdefault("output_dir", f"outputs/{file.stem}")
    given = {name: _override(values, name, text) for name, text in _options(overrides)}
    # Two sources on the command line are one too many: their reader says so.
    for entry in chain.from_iterable(map(fields, groups.values())):
        if given.get(entry.name) is not None:
            for other in {*entry.metadata.get("in_place_of", ())} - given.keys():
                values.pop(other, None)
    return typed_fields(path, values, groups), given


def read_yaml(path: Path) -> Any:
    """The content of a YAML file as of [`parse_yaml`]; an `OSError` if there is none."""
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise InputError(f"{path} is too long to be a recipe: expected at most {_MAX_BYTES:,} bytes.")
    return parse_yaml(text, str(path))


def parse_yaml(text: str | bytes, source: str) -> Any:
    """A YAML text in the notation of recipes; `source` names it in the [`InputError`] of a text that is none."""
    try:
        return yaml.load(text, _Loader)
    # All but the first and the last come from PyYAML's readers of tags, as of `!!bool maybe`.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(f"{source} is not YAML: {error}") from error


def _options(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and value of each option."""
    waiting = list(overrides)
    while waiting:
        option = waiting.pop(0)
        if not option.startswith("--"):
            raise InputError(f"Expected `--field value`, got {option!r}.")
        name, has_value, text = option[2:].partition("=")
        if not has_value:
            text = waiting.pop(0) if waiting and not waiting[0].startswith("--") else "true"
        yield name, text


def _override(values: dict[str, Any], name: str, text: str) -> Any:
    """Set a field, or an entry of a mapping; returns the value."""
    *parents, last = name.split(".")
    for depth, parent in enumerate(parents):
        # An encoder's Hub id or folder makes way for `--encoders.NAME.trained FOLDER`.
        if depth and isinstance(values.get(parent), str):
            values[parent] = {}
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise InputError(f"`--{name}`: `{parent}` is not a mapping.")
    # In a path, YAML may see a comment or a mapping.
    is_plain = not text.startswith(tuple("{['\"")) and (" #" in text or ": " in text)
    values[last] = text if is_plain else parse_yaml(text, f"The value of `--{name}`")
    return values[last]


def typed_fields(path: str, values: Mapping[str, Any], groups: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """By group the fields that it has, each value of the field's type; `path` names the mapping in errors."""
    known: dict[str, tuple[str, Any]] = {}
    for group, cls in groups.items():
        hints = get_type_hints(cls)
        for name in recipe_fields(cls):
            known.setdefault(name, (group, hints[name] | bool if name in _ALSO_FLAGS else hints[name]))
    arguments: dict[str, dict[str, Any]] = {group: {} for group in groups}
    for name, value in values.items():
        if name in REMOVED_FIELDS:
            raise InputError(f"{path}: there is no field `{name}` any more: {REMOVED_FIELDS[name]}.")
        if name not in known:
            close = difflib.get_close_matches(str(name)[:100], known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else "; `--help` lists them all."
            raise InputError(f"{path}: unknown field `{name}`{hint}")
        group, annotation = known[name]
        arguments[group][name] = _checked(name, annotation, value)
    return arguments


def _checked(name: str, annotation: Any, value: Any) -> Any:
    """The value in the field's type: YAML reads `1e-4` as a string, and `7` where a float is meant as an integer."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kinds = [get_origin(member) or member for member in members]
    if float in kinds and type(value) in (int, str):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    # Not `isinstance`: a boolean would pass for an integer.
    if type(value) in kinds:
        return _with_checked_entries(name, members[kinds.index(type(value))], value)
    if str in kinds and type(value) in (int, float):
        return str(value)
    raise InputError(f"`{name}` must be of type {type_name(annotation)}, got {value!r}.")


def _with_checked_entries(name: str, annotation: Any, value: Any) -> Any:
    """The value with its entries in their types: those of a `list[str]`, or the values of a `dict[str, float]`."""
    *_, kind = get_args(annotation) or (Any,)
    if isinstance(value, dict):
        entries = {_checked(f"the keys of {name}", str, key): entry for key, entry in value.items()}
        return entries if kind is Any else {key: _checked(f"{name}.{key}", kind, entries[key]) for key in entries}
    if isinstance(value, list) and kind is not Any:
        return [_checked(f"{name}[{index}]", kind, entry) for index, entry in enumerate(value)]
    return value


def type_name(annotation: Any) -> str:
    """An annotation as it is written, without the names of modules."""
    return re.sub(r"\w+\.", "", inspect.formatannotation(annotation))


def recipe_fields(cls: Any) -> dict[str, Field[Any]]:
    """Those that a recipe may have."""
    return {entry.name: entry for entry in fields(cls) if entry.init and entry.metadata.get("help") != SUPPRESS}
