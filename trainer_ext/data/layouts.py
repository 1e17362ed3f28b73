# SPDX-License-Identifier: Apache-2.0
"""Finds the texts and 0/1 labels in a table of one of four layouts, told apart by looking at the table.

- one 0/1 (or boolean) column per label, as in SemEval-2018 E-c and BRIGHTER; or yes and no, or x and nothing;
- one column of label names: a list, set, tuple or mapping, in JSON or Python where it is a string, or names separated
  by a comma, semicolon, bar or hash; empty, `nan`, null and `none` = no label;
- one column of label ids: a list, or ids separated by commas, with `label_names` given or known from the features;
- one column of 0/1 vectors, with `label_names` given.

Texts and names are kept as they are, except that lone surrogates (which JSON can spell and Arrow cannot store) become
U+FFFD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates

from ..errors import InputError
from .annotations import RATER_COLUMNS, UNCLEAR_COLUMN, is_prodigy, join_raters, select_rows
from .cells import MARKS, NUMBERS, WORDS, Notation, to_binary
from .headers import TEXT_COLUMNS, find_column
from .labels import FloatArray, LabelOptions, read_label_column, warn_of_variants
from .tables import Table, short, short_list

LABEL_COLUMNS = ("labels", "label", "emotions", "emotion", "label_ids", "label_names", "emotion_ids", "emotion_names")

_IGNORED = frozenset(
    [
        *("", "id", "ids", "idx", "index", "uuid", "guid", "key", "split", "source", "lang", "language", "dialect"),
        *("date", "time", "timestamp", "created_at", "created_utc", "user", "username", "author", "subreddit", "url"),
        *(UNCLEAR_COLUMN, *RATER_COLUMNS, "updated_at", "lead_time", "__index_level_0__"),
    ]
)


@dataclass(frozen=True)
class LayoutOptions:
    """Columns that the caller named, and how labels are read."""

    text_column: str | None
    label_column: str | None
    labels: LabelOptions


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
    table = select_rows(table)
    texts, text_column = find_texts(table, options.text_column)
    labels, names = _read_labels(table, text_column, options)
    texts, labels = join_raters(table, texts, labels)
    if options.labels.names is None:
        warn_of_variants(table.source, names, labels)
    return LabelledTexts(texts, labels), names


def find_texts(table: Table, text_column: str | None) -> tuple[list[str], str]:
    """The texts of a table and their column, which is found by its name if it is not given."""
    column = _find_text_column(table, text_column)
    texts = table.values(column)
    if not set(map(type, texts)) <= {str}:
        index = next(i for i, text in enumerate(texts) if type(text) is not str)
        problem = f"expected a text, got {short(texts[index])}; write a string (it may be empty) or drop the row"
        raise table.error(problem, index=index, column=column)
    return [clean_surrogates(text) for text in texts], column


def _find_text_column(table: Table, text_column: str | None) -> str:
    if text_column is not None:
        _require_column(table, text_column, "text_column")
        return text_column
    text_column = find_column(table.columns, TEXT_COLUMNS)
    if text_column is None:
        raise table.header_error(
            f"no text column, expected one of {', '.join(TEXT_COLUMNS)}; name it with text_column"
        )
    return text_column


def _require_column(table: Table, column: str, argument: str) -> None:
    if column not in table.columns:
        problem = f"no such column, expected it for {argument}; correct the name or the file"
        raise table.header_error(problem, column=column)


def _read_labels(table: Table, text_column: str, options: LayoutOptions) -> tuple[FloatArray, list[str]]:
    """The labels of shape `(num_rows, num_labels)` and their names, whatever the layout."""
    if options.label_column is not None:
        _require_column(table, options.label_column, "label_column")
        return read_label_column(table, options.label_column, options.labels)
    others = [column for column in table.columns if column != text_column and not _is_ignored(column)]
    names = options.labels.names
    if names is not None:
        columns = [column for column in table.columns if column != text_column]
        if {*names} & {*map(options.labels.rename, columns)}:
            _check_label_columns(table, columns, others, options.labels)
            return _read_binary_columns(table, columns, names, options.labels)

    binary = [column for column in others if _is_mostly_binary(table, column, NUMBERS)]
    label_column = _find_label_column(table, others)
    if label_column is None and not binary:
        binary = _worded_columns(table, others)
        if not binary and len(others) == 1:
            label_column = others[0]
    if label_column is not None:
        _check_not_ambiguous(table, label_column, [column for column in binary if column != label_column])
        return read_label_column(table, label_column, options.labels)
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
    options.labels.check_renames(table.source, binary)
    return _read_binary_columns(table, binary, list(dict.fromkeys(map(options.labels.rename, binary))), options.labels)


def _find_label_column(table: Table, others: list[str]) -> str | None:
    return find_column(others, (*LABEL_COLUMNS, "accept") if is_prodigy(table) else LABEL_COLUMNS)


def _is_ignored(column: str) -> bool:
    name = column.lower()
    return name in _IGNORED or name.endswith("_id") or name.startswith("unnamed:")


def _is_mostly_binary(table: Table, column: str, notation: Notation) -> bool:
    """Whether a column is meant to be 0/1: at least half of its values are, the others being mistakes to report."""
    return bool(np.mean(to_binary(table.values(column), notation) >= 0) >= 0.5)


def _worded_columns(table: Table, columns: list[str]) -> list[str]:
    """The columns that say yes and no, or have an x or nothing."""
    for notation in (WORDS, MARKS):
        worded = [column for column in columns if _is_mostly_binary(table, column, notation)]
        if worded and _find_notation(table, worded) is notation:
            return worded
    return []


def _find_notation(table: Table, columns: list[str]) -> Notation:
    """The first notation that some value of the columns is written in; nothing is a mark only beside an x."""
    values = [value for column in columns for value in table.values(column)]
    for notation, least in ((NUMBERS, 0), (WORDS, 0), (MARKS, 1)):
        if (to_binary(values, notation) >= least).any():
            return notation
    return NUMBERS


def _read_binary_columns(
    table: Table, columns: list[str], names: list[str], options: LabelOptions
) -> tuple[FloatArray, list[str]]:
    """The labels of those columns that have one of `names`; 1 where one of several columns of a name has 1."""
    columns = [column for column in columns if options.rename(column) in names]
    columns.sort(key=lambda column: names.index(options.rename(column)))
    notation = _find_notation(table, columns)
    bits = np.stack([to_binary(table.values(column), notation) for column in columns], axis=1)
    if bits.min() < 0:
        # Row by row, so that the first wrong row of the file is named, whatever its column.
        index, position = divmod(int(np.argmax(bits.ravel() < 0)), len(columns))
        raise _not_binary(table, index, columns[position], notation, "correct the value")
    labels = np.zeros((len(bits), len(names)), np.float32)
    for column, values in zip(columns, bits.T, strict=True):
        position = names.index(options.rename(column))
        labels[:, position] = np.maximum(labels[:, position], values)
    return labels, names


def _not_binary(table: Table, index: int, column: str, notation: Notation, remedy: str) -> InputError:
    got = short(table.values(column)[index])
    return table.error(f"expected {notation.expected}, got {got}; {remedy}", index=index, column=column)


def _check_all_binary(table: Table, columns: list[str], binary: list[str]) -> None:
    notation = _find_notation(table, binary)
    for column in columns:
        if column not in binary:
            index = int(np.argmax(to_binary(table.values(column), notation) < 0))
            remedy = f"it stands beside {_columns_of(notation)}, so name the columns that are labels with label_names"
            raise _not_binary(table, index, column, notation, remedy)


def _columns_of(notation: Notation) -> str:
    return "0/1 columns" if notation is NUMBERS else f"columns of {notation.expected}"


def _check_not_ambiguous(table: Table, label_column: str, binary: list[str]) -> None:
    if binary:
        problem = f"stands beside the 0/1 column {short(binary[0])}, expected one layout"
        remedy = f"give label_column={short(label_column)}, or the 0/1 columns as label_names"
        raise table.header_error(f"{problem}; {remedy}", column=label_column)


def _check_label_columns(table: Table, columns: list[str], others: list[str], options: LabelOptions) -> None:
    names = options.names or []
    present = {*map(options.rename, columns)}
    missing = [name for name in names if name not in present]
    if missing:
        problem = f"no such column, expected it for {options.origin} ({_count_missing(missing, names)})"
        raise table.header_error(f"{problem}; correct the name or the file", column=missing[0])
    if options.learned_from is None:
        return
    for column in others:
        if options.rename(column) not in names and _is_mostly_binary(table, column, NUMBERS):
            problem = f"label {short(column)} is not among {options.origin}; remove the column or name the labels"
            raise table.header_error(f"{problem} with label_names", column=column)


def _count_missing(missing: list[str], names: list[str]) -> str:
    return f"{len(missing)} of {len(names)} labels missing: {short_list(missing)}"
