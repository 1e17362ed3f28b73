# SPDX-License-Identifier: Apache-2.0
"""Reads a column whose every value holds all labels of a row: names, ids or a 0/1 vector."""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .cells import BRACKETED, parse_cell, to_binary
from .tables import Table, short, short_list
from .targets import FloatArray, TargetOptions

GOEMOTIONS_LABELS = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire"),
    *("disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy"),
    *("love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise"),
    "neutral",
)
"""The 28 labels of GoEmotions in the order of their official ids."""

# Marks that divide the labels of a cell: surely, or perhaps.
_SEPARATORS = (",", ";", "|", "#")
_POSSIBLE_SEPARATORS = (" ", "/", "&", "+")
_NO_EMOTION = "none"
_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class LabelOptions:
    """
    How labels are read.

    Args:
        names (`list[str]`, *optional*): The labels, where they are known before the data are read.
        learned_from (`str`, *optional*): The training data, where the labels come from them.
        separator (`str`, *optional*): The mark between the labels of a cell, where the caller gives it.
        renames (`dict[str, str]`): Labels of the data that have another name in the model, or none: they are dropped.
        targets ([`TargetOptions`]): How cells and votes become targets.
        may_lack (`bool`): Whether labels without a column are unknown rather than an error.
        may_rename_others (`bool`): Whether `renames` may name labels that the data lack.
    """

    names: list[str] | None = None
    learned_from: str | None = None
    separator: str | None = None
    renames: Mapping[str, str | None] = field(default_factory=dict)
    targets: TargetOptions = field(default_factory=TargetOptions)
    may_lack: bool = False
    may_rename_others: bool = False

    @property
    def origin(self) -> str:
        """The origin of the label names, as error messages name it."""
        return f"the labels of {self.learned_from}" if self.learned_from else "label_names"

    def rename(self, name: str) -> str | None:
        """The name in the model of a label of the data, if it has one."""
        return self.renames.get(name, name)

    def rename_all(self, names: Iterable[str]) -> list[str]:
        """The names in the model of labels of the data, each once."""
        return list(dict.fromkeys(name for name in map(self.rename, names) if name is not None))

    def check_renames(self, source: str, present: Iterable[str]) -> None:
        """An [`InputError`] if a label is to be renamed that the data lack."""
        missing = sorted({*self.renames} - {*present})
        if missing and not self.may_rename_others:
            raise InputError(f"{source}: label_map renames {missing[0]!r}, which is none of its labels; correct it")


class _DistinctValues(NamedTuple):
    """
    The distinct values of a label column: many rows share few combinations, so each is parsed once.

    Attributes:
        table (`Table`), column (`str`): Where they stand.
        tokens (`list[list[Any]]`): The names, ids or numbers of each value.
        first_rows (`list[int]`): The first row with each value.
        codes (`np.ndarray` of shape `(num_rows,)`): The index of every row's value.
    """

    table: Table
    column: str
    tokens: list[list[Any]]
    first_rows: list[int]
    codes: npt.NDArray[np.int64]

    def error(self, index: int, problem: str) -> InputError:
        """The error for the first row that holds a value."""
        return self.table.error(problem, index=self.first_rows[index], column=self.column)


def read_label_column(table: Table, column: str, options: LabelOptions) -> tuple[FloatArray, list[str]]:
    """
    Read a column whose values are the names, ids or 0/1 vectors of a row's labels.

    Args:
        table (`Table`): The table, with at least one row.
        column (`str`): The column.
        options (`LabelOptions`): How labels are read.

    Returns:
        `tuple[np.ndarray, list[str]]`: The labels of shape `(num_rows, num_labels)`, and their names.

    Raises:
        `InputError`: If a value is not as expected or has a label that is not known, or ids or vectors have no names.
    """
    known = options.names
    values = _parse_column(table, column, options.separator)
    if _NO_EMOTION not in (known or table.class_names.get(column) or []):
        values = _without_none(values)
    kind = _kind_of(values.tokens, known)
    if kind == "vectors":
        return _encode_vectors(values, known)
    if kind == "ids":
        ids = _to_ids(values)
        id_names = table.class_names.get(column, known) or _goemotions_names(values, ids)
        values = values._replace(tokens=_to_names(values, ids, id_names))
        known = known or options.rename_all(id_names)
    elif known is None and options.separator is None:
        _warn_of_combinations(values)
    return _encode_names(values, known, options)


def _parse_column(table: Table, column: str, separator: str | None) -> _DistinctValues:
    values = table.values(column)
    index: dict[str, int] = {}
    # By repr, since lists cannot be keys and 1, 1.0 and True would be one.
    codes = np.fromiter((index.setdefault(key, len(index)) for key in map(repr, values)), np.int64, len(values))
    first_rows = np.unique(codes, return_index=True)[1].tolist()
    separator = separator or _find_separator(table, column, values, first_rows)
    tokens = []
    for row in first_rows:
        parsed = parse_cell(values[row], separator)
        if parsed is None or any(token == "" or not isinstance(token, str | int | float) for token in parsed):
            expected = "every label of the list to be a name or an id"
            if parsed is None:
                expected = "a list of names or ids (empty for no label)"
            problem = f"expected {expected}, got {short(values[row])}; correct the value"
            raise table.error(problem, index=row, column=column)
        tokens.append(parsed)
    return _DistinctValues(table, column, tokens, first_rows, codes)


def _find_separator(table: Table, column: str, values: Sequence[Any], first_rows: list[int]) -> str:
    """The separator of the cells that are no lists; a comma where there is none."""
    first_with: dict[str, int] = {}
    for row in first_rows:
        if isinstance(values[row], str) and not BRACKETED.match(values[row].strip()):
            for separator in _SEPARATORS:
                if separator in values[row]:
                    first_with.setdefault(separator, row)
    if len(first_with) > 1:
        (first, _), (second, row), *_ = sorted(first_with.items(), key=lambda entry: entry[1])
        problem = f"expected one separator of labels, got {second!r} in {short(values[row])} beside {first!r}"
        raise table.error(f"{problem}; name the right one with label_separator", index=row, column=column)
    return next(iter(first_with), ",")


def _without_none(values: _DistinctValues) -> _DistinctValues:
    """The same without the label `none`, which says that there is no emotion; a warning has its count."""
    has_none = [any(_is_none(token) for token in tokens) for tokens in values.tokens]
    if not any(has_none):
        return values
    num_rows = int(np.sum(np.array(has_none)[values.codes]))
    warnings.warn(
        f"{values.table.source}, column {values.column!r}: {_NO_EMOTION!r} is read as no emotion (rows: "
        f"{num_rows:,}); if it is a label, name all labels with label_names.",
        stacklevel=2,
    )
    tokens = [[token for token in tokens if not _is_none(token)] for tokens in values.tokens]
    return values._replace(tokens=tokens)


def _is_none(token: object) -> bool:
    return isinstance(token, str) and token.lower() == _NO_EMOTION


def _warn_of_combinations(values: _DistinctValues) -> None:
    """Warn of labels such as `joy/love` whose parts are labels as well."""
    names = sorted({token for token in chain.from_iterable(values.tokens) if isinstance(token, str)})
    for separator in _POSSIBLE_SEPARATORS:
        parts = {name: {part.strip() for part in name.split(separator)} - {""} for name in names}
        counts = Counter(chain.from_iterable(parts.values()))
        combinations = [
            name
            for name in names
            if len(parts[name]) > 1 and parts[name] & {*names} and all(counts[part] > 1 for part in parts[name])
        ]
        if combinations:
            warnings.warn(
                f"{values.table.source}, column {values.column!r}: labels that look like combinations of others: "
                f"{short_list(combinations[:3])} ({len(combinations)} of {len(names)} labels); if they are, give "
                f"label_separator={separator!r}; if not, label_separator=','.",
                stacklevel=2,
            )


def warn_of_variants(source: str, names: list[str], labels: FloatArray) -> None:
    """Warn of labels that differ by case or blanks only, with their counts."""
    variants: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        variants.setdefault("".join(name.split()).casefold(), []).append(position)
    several = [positions for positions in variants.values() if len(positions) > 1]
    if not several:
        return
    counts = np.nansum(labels, axis=0)
    groups = "; ".join(", ".join(f"{names[i]!r} ({counts[i]:.0f})" for i in group) for group in several)
    renames = {
        names[i]: names[max(group, key=lambda i: (counts[i], names[i].islower()))] for group in several for i in group
    }
    example = ", ".join(f"{old!r}: {new!r}" for old, new in renames.items() if old != new)
    warnings.warn(
        f"{source}: labels that differ by case or blanks only: {groups}; join them with label_map={{{example}}}.",
        stacklevel=2,
    )


def _kind_of(tokens: list[list[Any]], known: list[str] | None) -> str:
    """Tell `names`, `ids` and 0/1 `vectors` apart by the first value that is not empty; later ones must agree."""
    first = next((row for row in tokens if row), [])
    if any(isinstance(token, float | bool) for token in first):
        return "vectors"
    if not all(_is_id(token) for token in first) or not first or (known and first[0] in known):
        return "names"
    # Ids of one row differ; a row of zeros and ones with a repetition, or rows as wide as the labels, are vectors.
    # So are rows that are all [0, 1] or [1, 0], since as ids they would mean the same.
    rows = [to_binary(row).tolist() for row in tokens]
    if not any(-1 in row for row in rows):
        is_repeated = any(len(set(row)) < len(row) for row in rows)
        is_wide = known is not None and all(len(row) == len(known) for row in rows)
        is_pair = known is not None and {tuple(row) for row in rows} == {(0, 1), (1, 0)}
        if is_repeated or is_wide or is_pair:
            return "vectors"
    return "ids"


def _is_id(token: object) -> bool:
    if isinstance(token, str):
        return _INTEGER.fullmatch(token) is not None
    return isinstance(token, int) and not isinstance(token, bool)


def _encode_vectors(values: _DistinctValues, known: list[str] | None) -> tuple[FloatArray, list[str]]:
    if known is None:
        raise values.error(0, "has 0/1 vectors without names; give label_names")
    rows = [to_binary(row) for row in values.tokens]
    for index, row in enumerate(rows):
        if len(row) != len(known):
            problem = f"expected {len(known)} numbers, one per label, got {len(row)}; correct the row or label_names"
            raise values.error(index, problem)
        if row.min() < 0:
            wrong = short(values.tokens[index][int(np.argmax(row < 0))])
            raise values.error(index, f"expected numbers 0 or 1, got {wrong}; correct the value")
    return np.stack(rows).astype(np.float32)[values.codes], known


def _to_ids(values: _DistinctValues) -> list[list[int]]:
    for index, tokens in enumerate(values.tokens):
        wrong = [token for token in tokens if not _is_id(token)]
        if wrong:
            raise values.error(index, f"expected label ids as in the rows before, got {short(wrong[0])}; write its id")
        if len({int(token) for token in tokens}) < len(tokens):
            problem = "expected every label id once (0/1 vectors need one number per label in every row)"
            raise values.error(index, f"{problem}, got {short(tokens)}; correct the row")
    return [[int(token) for token in tokens] for tokens in values.tokens]


def _goemotions_names(values: _DistinctValues, ids: list[list[int]]) -> list[str]:
    if set(chain.from_iterable(ids)) != set(range(len(GOEMOTIONS_LABELS))):
        raise values.error(0, "has label ids without names; give label_names in the order of the ids")
    return list(GOEMOTIONS_LABELS)


def _to_names(values: _DistinctValues, ids: list[list[int]], id_names: list[str]) -> list[list[str]]:
    for index, row in enumerate(ids):
        for label_id in row:
            if not 0 <= label_id < len(id_names):
                problem = f"expected label ids from 0 to {len(id_names) - 1}, got {label_id}"
                raise values.error(index, f"{problem}; correct it or give the right label_names")
    return [[id_names[label_id] for label_id in row] for row in ids]


def _encode_names(
    values: _DistinctValues, known: list[str] | None, options: LabelOptions
) -> tuple[FloatArray, list[str]]:
    for index, tokens in enumerate(values.tokens):
        wrong = [token for token in tokens if not isinstance(token, str)]
        if wrong:
            problem = f"expected label names as in the rows before, got {short(wrong[0])}; write its name"
            raise values.error(index, problem)
    options.check_renames(values.table.source, chain.from_iterable(values.tokens))
    values = values._replace(tokens=[options.rename_all(tokens) for tokens in values.tokens])
    names = known if known is not None else sorted(set(chain.from_iterable(values.tokens)))
    if not names:
        raise values.error(0, "no row has a label, expected label names; correct the file or give label_names")
    positions = {name: position for position, name in enumerate(names)}
    unknown = [name for name in dict.fromkeys(chain.from_iterable(values.tokens)) if name not in positions]
    if unknown:
        index = next(index for index, tokens in enumerate(values.tokens) if unknown[0] in tokens)
        raise values.error(index, _unknown_labels(unknown, names, options.origin))
    encoded = np.zeros((len(values.tokens), len(names)), np.float32)
    for index, tokens in enumerate(values.tokens):
        encoded[index, [positions[name] for name in tokens]] = 1.0
    return encoded[values.codes], names


def _unknown_labels(unknown: list[str], names: list[str], origin: str) -> str:
    """The problem with labels that are not among `names`: the first of them, and all if there are more."""
    closest = difflib.get_close_matches(unknown[0], names, n=1)
    remedy = f"did you mean {closest[0]!r}?" if closest else "correct it, or add it to label_names"
    others = f"; {len(unknown)} labels missing there: {short_list(unknown)}" if len(unknown) > 1 else ""
    return f"label {short(unknown[0])} is not among {origin} ({len(names)} labels{others}); {remedy}"
