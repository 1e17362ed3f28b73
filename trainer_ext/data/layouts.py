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

import warnings
from dataclasses import dataclass

import numpy as np

from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates

from .annotations import UNCLEAR_COLUMN, is_prodigy, select_rows
from .cells import NUMBERS, Notation
from .headers import TEXT_COLUMNS, find_column
from .labels import LabelOptions, read_label_column, warn_of_variants
from .tables import Table, short, short_list
from .targets import (
    FloatArray,
    LabelledTexts,
    TargetOptions,
    find_notation,
    first_wrong_target,
    is_blank_column,
    is_target_column,
    join_targets,
    may_be_target_column,
    read_target_columns,
    warn_of_low_intensities,
    worded_columns,
)
from .votes import RATER_COLUMNS, join_raters, rater_columns, read_rater_columns

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
    if raters := rater_columns(table):
        others = [column for column in table.columns if column not in (text_column, *raters)]
        label_column = options.label_column or find_column(others, LABEL_COLUMNS)
        rows, names = read_rater_columns(table, texts, raters, label_column, options.labels)
    else:
        labels, names = _read_labels(table, text_column, options)
        rows = join_raters(table, texts, labels, options.labels.targets)
    if options.labels.names is None:
        warn_of_variants(table.source, names, rows.labels)
    warn_of_low_intensities(table.source, rows.labels, options.labels.targets)
    return rows, names


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
    targets = options.labels.targets
    names = options.labels.names
    if names is not None:
        columns = [column for column in table.columns if column != text_column]
        if {*names} & {*map(options.labels.rename, columns)}:
            _check_label_columns(table, columns, others, options.labels)
            return _read_target_columns(table, columns, names, options.labels)

    columns = [column for column in others if is_target_column(table, column, NUMBERS, targets)]
    label_column = _find_label_column(table, others)
    if label_column is None and not columns:
        columns = worded_columns(table, others)
        if not columns and len(others) == 1:
            label_column = others[0]
    if label_column is not None:
        _check_not_ambiguous(table, label_column, [column for column in columns if column != label_column])
        return read_label_column(table, label_column, options.labels)
    if names is not None:
        raise table.header_error(
            f"no label column, expected {short(names[0])} or a column called labels "
            f"({_count_missing(names, names)}); name it with label_column"
        )
    columns = _with_blank_columns(table, others, columns, targets)
    if not columns:
        raise table.header_error(
            "no labels, expected 0/1 columns or a column called labels; name it with label_column"
        )
    options.labels.check_renames(table.source, columns)
    return _read_target_columns(table, columns, options.labels.rename_all(columns), options.labels)


def _find_label_column(table: Table, others: list[str]) -> str | None:
    return find_column(others, (*LABEL_COLUMNS, "accept") if is_prodigy(table) else LABEL_COLUMNS)


def _is_ignored(column: str) -> bool:
    name = column.lower()
    return name in _IGNORED or name.endswith("_id") or name.startswith("unnamed:")


def _with_blank_columns(table: Table, others: list[str], columns: list[str], targets: TargetOptions) -> list[str]:
    """The label columns, and those that are blank in part or throughout; every other column must be one of them."""
    notation = find_notation(table, columns or others, targets)
    found = [column for column in others if may_be_target_column(table, column, notation, targets)]
    if all(is_blank_column(table, column) for column in found):
        return []
    for column in others:
        if column not in found:
            remedy = f"it stands beside {_columns_of(notation)}, so name the columns that are labels with label_names"
            raise first_wrong_target(table, column, notation, targets, remedy)
    return found


def _read_target_columns(
    table: Table, columns: list[str], names: list[str], options: LabelOptions
) -> tuple[FloatArray, list[str]]:
    """The targets of those columns that have one of `names`; a name without a column is unknown."""
    columns = [column for column in columns if options.rename(column) in names]
    columns.sort(key=lambda column: names.index(str(options.rename(column))))
    cells = read_target_columns(table, columns, options.targets)
    labels = np.full((len(cells), len(names)), np.nan, np.float32)
    for position, name in enumerate(names):
        of_name = [index for index, column in enumerate(columns) if options.rename(column) == name]
        if of_name:
            labels[:, position] = join_targets(cells[:, of_name])
    return labels, names


def _columns_of(notation: Notation) -> str:
    return "0/1 columns" if notation is NUMBERS else f"columns of {notation.expected}"


def _check_not_ambiguous(table: Table, label_column: str, columns: list[str]) -> None:
    if columns:
        problem = f"stands beside the 0/1 column {short(columns[0])}, expected one layout"
        remedy = f"give label_column={short(label_column)}, or the 0/1 columns as label_names"
        raise table.header_error(f"{problem}; {remedy}", column=label_column)


def _check_label_columns(table: Table, columns: list[str], others: list[str], options: LabelOptions) -> None:
    """Say which labels the table does not know; refuse one that the training data lack."""
    names = options.names or []
    if options.learned_from is not None:
        for column in others:
            renamed = options.rename(column)
            if renamed is None or renamed in names:
                continue
            if is_target_column(table, column, NUMBERS, options.targets):
                problem = f"label {short(column)} is not among {options.origin}; remove the column or name the labels"
                raise table.header_error(f"{problem} with label_names", column=column)
    present = {*map(options.rename, columns)}
    missing = [name for name in names if name not in present]
    if missing and not options.may_lack:
        problem = f"no such column, expected it for {options.origin} ({_count_missing(missing, names)})"
        raise table.header_error(f"{problem}; correct the name or the file", column=missing[0])
    if missing:
        known = short_list([name for name in names if name in present])
        warnings.warn(
            f"{table.source}: knows {known} only ({_count_missing(missing, names)}); the others are unknown there.",
            stacklevel=2,
        )


def _count_missing(missing: list[str], names: list[str]) -> str:
    return f"{len(missing)} of {len(names)} labels missing: {short_list(missing)}"
