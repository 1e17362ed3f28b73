# SPDX-License-Identifier: Apache-2.0
"""Finds the texts and 0/1 labels in a table of one of four layouts, told apart by looking at the table.

- one 0/1 (or boolean) column per label, as in SemEval-2018 E-c and BRIGHTER;
- one column of label names: a list, a JSON or Python list in a string, or names separated by commas; empty = no label;
- one column of label ids: a list, or ids separated by commas, with `label_names` given or known from the features;
- one column of 0/1 vectors, with `label_names` given.

Texts and names are kept as they are, except that lone surrogates (which JSON can spell and Arrow cannot store) become
U+FFFD.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates

from ..errors import InputError
from .labels import FloatArray, read_label_column, to_binary
from .tables import Table, short, short_list

TEXT_COLUMNS = ("text", "tweet", "sentence", "comment", "content")
LABEL_COLUMNS = ("labels", "label", "emotions", "emotion", "label_ids", "label_names", "emotion_ids", "emotion_names")

_IGNORED = frozenset(
    [
        *("", "id", "ids", "idx", "index", "uuid", "guid", "key", "split", "source", "lang", "language", "dialect"),
        *("date", "time", "timestamp", "created_at", "created_utc", "user", "username", "author", "subreddit", "url"),
        *("example_very_unclear", "__index_level_0__"),
    ]
)


@dataclass(frozen=True)
class LayoutOptions:
    """Columns and labels that the caller named; `learned_from` is the training data where the labels come from."""

    text_column: str | None
    label_column: str | None
    label_names: list[str] | None
    learned_from: str | None = None

    @property
    def names_origin(self) -> str:
        """The origin of the label names, as error messages name it."""
        return f"the labels of {self.learned_from}" if self.learned_from else "label_names"


class LabelledTexts(NamedTuple):
    """Texts and labels of shape `(num_rows, num_labels)`."""

    texts: list[str]
    labels: FloatArray


def read_labelled_texts(table: Table, options: LayoutOptions) -> tuple[LabelledTexts, list[str]]:
    """
    Find the texts and labels of a table.

    Args:
        table (`Table`): The table, with at least one row.
        options (`LayoutOptions`): The columns and labels that the caller named; the others are found out.

    Returns:
        `tuple[LabelledTexts, list[str]]`: The texts with their labels, and the label names.

    Raises:
        `InputError`: If the table has none of the layouts or more than one, or a value is not as expected.
    """
    texts, text_column = find_texts(table, options.text_column)
    labels, names = _read_labels(table, text_column, options)
    return LabelledTexts(texts, labels), names


def find_texts(table: Table, text_column: str | None) -> tuple[list[str], str]:
    """The texts of a table and their column, which is found by its name if it is not given."""
    column = _find_text_column(table, text_column)
    texts = table.values(column)
    if set(map(type, texts)) != {str}:
        index = next(i for i, text in enumerate(texts) if type(text) is not str)
        problem = f"expected a text, got {short(texts[index])}; write a string (it may be empty) or drop the row"
        raise table.error(problem, index=index, column=column)
    return [clean_surrogates(text) for text in texts], column


def _find_text_column(table: Table, text_column: str | None) -> str:
    if text_column is not None:
        _require_column(table, text_column, "text_column")
        return text_column
    text_column = _find_column(table.columns, TEXT_COLUMNS)
    if text_column is None:
        raise table.header_error(
            f"no text column, expected one of {', '.join(TEXT_COLUMNS)}; name it with text_column"
        )
    return text_column


def _find_column(columns: Iterable[str], names: Sequence[str]) -> str | None:
    by_lower = {column.lower(): column for column in reversed(list(columns))}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _require_column(table: Table, column: str, argument: str) -> None:
    if column not in table.columns:
        problem = f"no such column, expected it for {argument}; correct the name or the file"
        raise table.header_error(problem, column=column)


def _read_labels(table: Table, text_column: str, options: LayoutOptions) -> tuple[FloatArray, list[str]]:
    """The labels of shape `(num_rows, num_labels)` and their names, whatever the layout."""
    if options.label_column is not None:
        _require_column(table, options.label_column, "label_column")
        return read_label_column(table, options.label_column, options.label_names, options.names_origin)
    others = [column for column in table.columns if column != text_column and not _is_ignored(column)]
    names = options.label_names
    if names is not None and any(name in table.columns and name != text_column for name in names):
        _check_label_columns(table, names, others, options)
        return _read_binary_columns(table, names), names

    binary = [column for column in others if _is_mostly_binary(table, column)]
    label_column = _find_column(others, LABEL_COLUMNS)
    if label_column is None and len(others) == 1 and not binary:
        label_column = others[0]
    if label_column is not None:
        _check_not_ambiguous(table, label_column, [column for column in binary if column != label_column])
        return read_label_column(table, label_column, names, options.names_origin)
    if names is not None:
        raise table.header_error(
            f"no label column, expected {short(names[0])} or a column called labels "
            f"({_count_missing(names, names)}); name it with label_column"
        )
    if not binary:
        raise table.header_error(
            "no labels, expected 0/1 columns or a column called labels; name it with label_column"
        )
    _check_all_binary(table, others, binary)
    return _read_binary_columns(table, binary), binary


def _is_ignored(column: str) -> bool:
    name = column.lower()
    return name in _IGNORED or name.endswith("_id") or name.startswith("unnamed:")


def _is_mostly_binary(table: Table, column: str) -> bool:
    """Whether a column is meant to be 0/1: at least half of its values are, the others being mistakes to report."""
    return bool(np.mean(to_binary(table.values(column)) >= 0) >= 0.5)


def _read_binary_columns(table: Table, columns: list[str]) -> FloatArray:
    labels = np.stack([to_binary(table.values(column)) for column in columns], axis=1)
    if labels.min() < 0:
        # Row by row, so that the first wrong row of the file is named, whatever its column.
        index, position = divmod(int(np.argmax(labels.ravel() < 0)), len(columns))
        raise _not_binary(table, index, columns[position], "correct the value")
    return labels.astype(np.float32)


def _not_binary(table: Table, index: int, column: str, remedy: str) -> InputError:
    got = short(table.values(column)[index])
    return table.error(f"expected 0 or 1, got {got}; {remedy}", index=index, column=column)


def _check_all_binary(table: Table, columns: list[str], binary: list[str]) -> None:
    for column in columns:
        if column not in binary:
            index = int(np.argmax(to_binary(table.values(column)) < 0))
            remedy = "it stands beside 0/1 columns, so name the columns that are labels with label_names"
            raise _not_binary(table, index, column, remedy)


def _check_not_ambiguous(table: Table, label_column: str, binary: list[str]) -> None:
    if binary:
        problem = f"stands beside the 0/1 column {binary[0]!r}, expected one layout"
        remedy = f"give label_column={label_column!r}, or the 0/1 columns as label_names"
        raise table.header_error(f"{problem}; {remedy}", column=label_column)


def _check_label_columns(table: Table, names: list[str], others: list[str], options: LayoutOptions) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        problem = f"no such column, expected it for {options.names_origin} ({_count_missing(missing, names)})"
        raise table.header_error(f"{problem}; correct the name or the file", column=missing[0])
    if options.learned_from is None:
        return
    for column in others:
        if column not in names and _is_mostly_binary(table, column):
            problem = f"label {column!r} is not among {options.names_origin}; remove the column or name the labels"
            raise table.header_error(f"{problem} with label_names", column=column)


def _count_missing(missing: list[str], names: list[str]) -> str:
    return f"{len(missing)} of {len(names)} labels missing: {short_list(missing)}"
