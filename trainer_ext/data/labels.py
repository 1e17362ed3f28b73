# SPDX-License-Identifier: Apache-2.0
"""Reads a column whose every value holds all labels of a row: names, ids or a 0/1 vector."""

from __future__ import annotations

import ast
import difflib
import json
import re
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates

from ..errors import InputError
from .tables import Table, short, short_list

GOEMOTIONS_LABELS = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire"),
    *("disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy"),
    *("love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise"),
    "neutral",
)
"""The 28 labels of GoEmotions in the order of their official ids."""

_BINARY = {0: 0, 1: 1, "0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_INTEGER = re.compile(r"[+-]?[0-9]+")
# An array as numpy writes it has only white space between its elements: to Python `'joy' 'love'` would be one string.
_STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_NUMPY_ELEMENT = rf"(?:{_STRING}|(?:0|[1-9][0-9]*)\.?)"
_NUMPY_LIST = re.compile(rf"\[\s*(?:{_NUMPY_ELEMENT}(?:\s+|(?=\])))*\]", re.DOTALL)

FloatArray = npt.NDArray[np.float32]


def to_binary(values: list[Any]) -> npt.NDArray[np.int8]:
    """0 or 1 for every value that means it, -1 for any other."""
    if set(map(type, values)) & {list, dict}:
        values = [None if isinstance(value, list | dict) else value for value in values]
    meaning = {
        value: _BINARY.get(value.strip().lower() if isinstance(value, str) else value, -1) for value in set(values)
    }
    return np.fromiter(map(meaning.__getitem__, values), np.int8, len(values))


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


def read_label_column(table: Table, column: str, known: list[str] | None, origin: str) -> tuple[FloatArray, list[str]]:
    """
    Read a column whose values are the names, ids or 0/1 vectors of a row's labels.

    Args:
        table (`Table`): The table, with at least one row.
        column (`str`): The column.
        known (`list[str]`, *optional*): The labels, where they are known before the column is read.
        origin (`str`): Where those come from, as error messages name it.

    Returns:
        `tuple[np.ndarray, list[str]]`: The labels of shape `(num_rows, num_labels)`, and their names.

    Raises:
        `InputError`: If a value is not as expected or has a label that is not known, or ids or vectors have no names.
    """
    values = _parse_column(table, column)
    kind = _kind_of(values.tokens, known)
    if kind == "vectors":
        return _encode_vectors(values, known)
    if kind == "ids":
        ids = _to_ids(values)
        id_names = table.class_names.get(column, known) or _goemotions_names(values, ids)
        values = values._replace(tokens=_to_names(values, ids, id_names))
        known = known or id_names
    return _encode_names(values, known, origin)


def _parse_column(table: Table, column: str) -> _DistinctValues:
    values = table.values(column)
    index: dict[str, int] = {}
    # By repr, since lists cannot be keys and 1, 1.0 and True would be one.
    codes = np.fromiter((index.setdefault(key, len(index)) for key in map(repr, values)), np.int64, len(values))
    first_rows = np.unique(codes, return_index=True)[1].tolist()
    tokens = []
    for row in first_rows:
        parsed = _parse_value(values[row])
        if parsed is None or any(token == "" or not isinstance(token, str | int | float) for token in parsed):
            expected = "every label of the list to be a name or an id"
            if parsed is None:
                expected = "a list of names or ids (empty for no label)"
            problem = f"expected {expected}, got {short(values[row])}; correct the value"
            raise table.error(problem, index=row, column=column)
        tokens.append(parsed)
    return _DistinctValues(table, column, tokens, first_rows, codes)


def _parse_value(value: object) -> list[Any] | None:
    """The names, ids or numbers of a value; None if it is no list of them."""
    if isinstance(value, str) and value.strip().startswith("["):
        value = _parse_list(value.strip())
    elif isinstance(value, str):
        value = value.split(",") if value.strip() else []
    elif isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list):
        return None
    return [clean_surrogates(token.strip()) if isinstance(token, str) else token for token in value]


def _parse_list(text: str) -> list[Any] | None:
    """A list of constants as JSON, numpy or Python write it; None if it is none."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        return parsed if isinstance(parsed, list) else None
    try:
        if _NUMPY_LIST.fullmatch(text):
            return [ast.literal_eval(element) for element in re.findall(_NUMPY_ELEMENT, text, re.DOTALL)]
        body = ast.parse(text, mode="eval").body
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if not isinstance(body, ast.List) or any(_is_fused(node, text) for node in body.elts):
        return None
    return [node.value if isinstance(node, ast.Constant) else None for node in body.elts]


def _is_fused(node: ast.expr, text: str) -> bool:
    """Whether it is a string of several in a row, between which a comma is missing."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return False
    return re.fullmatch(rf"[A-Za-z]*{_STRING}", ast.get_source_segment(text, node) or "", re.DOTALL) is None


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


def _encode_names(values: _DistinctValues, known: list[str] | None, origin: str) -> tuple[FloatArray, list[str]]:
    for index, tokens in enumerate(values.tokens):
        wrong = [token for token in tokens if not isinstance(token, str)]
        if wrong:
            problem = f"expected label names as in the rows before, got {short(wrong[0])}; write its name"
            raise values.error(index, problem)
    names = known if known is not None else sorted(set(chain.from_iterable(values.tokens)))
    if not names:
        raise values.error(0, "no row has a label, expected label names; correct the file or give label_names")
    positions = {name: position for position, name in enumerate(names)}
    unknown = [name for name in dict.fromkeys(chain.from_iterable(values.tokens)) if name not in positions]
    if unknown:
        index = next(index for index, tokens in enumerate(values.tokens) if unknown[0] in tokens)
        raise values.error(index, _unknown_labels(unknown, names, origin))
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
