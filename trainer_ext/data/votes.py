# SPDX-License-Identifier: Apache-2.0
"""
Several raters of one text: their votes become one target per label, and their agreement is measured.

Three layouts: a row per text and rater, told by a column such as `rater_id`; a column per rater with the labels that
they gave; and a row per text and emotion, with a column per rater.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .cells import is_missing
from .headers import TEXT_COLUMNS, find_column
from .labels import LabelOptions, read_label_column
from .stratification import text_key
from .tables import Table, error_at, short
from .targets import FloatArray, LabelledTexts, TargetOptions, number_of

RATER_COLUMNS = ("rater_id", "rater", "annotator_id", "_annotator_id", "annotator", "worker_id", "coder_id")
# A file of votes may have an `id` for each vote beside that of the text, so the general name comes last.
ID_COLUMNS = ("text_id", "comment_id", "tweet_id", "post_id", "sentence_id", "document_id", "doc_id", "uuid", "id")
_COLUMN_OF_A_RATER = re.compile(r"(?:rater|annotator|coder|worker|judge)[ _-]?[0-9]+", re.IGNORECASE)


class Votes(NamedTuple):
    """
    The votes on some texts, each array of shape `(num_texts, num_labels)`.

    Attributes:
        given: How many raters gave the label, in any intensity.
        total: The sum of their values: the same, or less where intensities are below the greatest one.
        asked: How many raters were asked.
    """

    given: npt.NDArray[np.float64]
    total: npt.NDArray[np.float64]
    asked: npt.NDArray[np.float64]

    def targets(self, options: TargetOptions) -> FloatArray:
        """A target per label, NaN where no rater was asked; see `vote_targets` of [`TargetOptions`]."""
        unknown = np.where(self.asked > 0, 0.0, np.nan)
        if options.vote_targets == "share":
            return (self.total / np.maximum(self.asked, 1) + unknown).astype(np.float32)
        return ((self.given > self.asked / 2) + unknown).astype(np.float32)


def join_raters(table: Table, texts: list[str], labels: FloatArray, options: TargetOptions) -> LabelledTexts:
    """
    One example per text of a table that has a row per text and rater. Other tables stay as they are. A warning says
    how many texts there are, and how many no majority agrees on.

    Args:
        table (`Table`): The table; a column of [`RATER_COLUMNS`] makes its rows votes.
        texts (`list[str]`): Its texts.
        labels (`np.ndarray` of shape `(num_rows, num_labels)`): The targets of its rows.
        options ([`TargetOptions`]): How votes become targets.
    """
    if find_column(table.columns, RATER_COLUMNS) is None or len({*texts}) == len(texts):
        return LabelledTexts(texts, labels)
    return _join(table.source, "rows of raters", texts, labels, options)


def rater_columns(table: Table) -> list[str]:
    """The columns that stand for a rater each, if there are at least two."""
    columns = [column for column in table.columns if _COLUMN_OF_A_RATER.fullmatch(column.strip())]
    return columns if len(columns) > 1 else []


def read_rater_columns(
    table: Table, texts: list[str], raters: Sequence[str], label_column: str | None, options: LabelOptions
) -> tuple[LabelledTexts, list[str]]:
    """
    The texts and labels of a table with a column per rater.

    Args:
        table (`Table`), texts (`list[str]`): The table and its texts.
        raters (`Sequence[str]`): The columns of the raters; a blank says that a rater was not asked.
        label_column (`str`, *optional*): The column of emotions, where there is a row for each: the raters' columns
            have 0, or the intensity. Without it the raters' columns have the labels.
        options ([`LabelOptions`]): How labels are read.

    Returns:
        `tuple[LabelledTexts, list[str]]`: The texts with their targets, and the label names.

    Raises:
        `InputError`: If a value is not as expected.
    """
    if label_column is not None:
        return _read_intensities(table, texts, raters, label_column, options)
    cells = [
        (row, value)
        for row, values in enumerate(zip(*map(table.values, raters), strict=True))
        for value in values
        if not (value is None or value == "")
    ]
    column = ", ".join(raters)
    melted = Table(table.source, {column: [value for _, value in cells]}, [table.rows[row] for row, _ in cells])
    labels, names = read_label_column(melted, column, options)
    joined = _join(table.source, "votes", [texts[row] for row, _ in cells], labels, options.targets)
    return joined, names


def match_votes(
    votes: Table, train: Table, texts: Sequence[str], kept: Sequence[str], text_column: str | None
) -> tuple[Table, str, str]:
    """
    Votes whose texts are training texts: by their text where any of them is one, otherwise by id.

    Args:
        votes, train (`Table`): The file of the votes and that of the training texts.
        texts (`Sequence[str]`): The text of every row of `train`.
        kept (`Sequence[str]`): Those of them that are trained on.
        text_column (`str`, *optional*): The column of the texts in both files; by default the first of a usual name.

    Returns:
        `tuple[Table, str, str]`: The votes, their text column, and by what they were joined.

    Raises:
        `InputError`: If neither joins any.
    """
    train_keys = {*map(text_key, kept)}
    expected = (text_column,) if text_column is not None else TEXT_COLUMNS
    column = text_column if text_column in votes.columns else find_column(votes.columns, expected)
    if column is None:
        by_text = f"it has no text column ({', '.join(expected)})"
    elif any(isinstance(text, str) and text.strip() and text_key(text) in train_keys for text in votes.values(column)):
        return votes, column, f"text (column {short(column)})"
    else:
        by_text = f"none of its texts is among the training texts (column {short(column)})"

    votes_id, train_id = _find_id_columns(votes, train)
    if votes_id is None or train_id is None:
        lacking = "it" if votes_id is None else train.source
        by_id = f"{lacking} has no id column ({', '.join(ID_COLUMNS)})"
    else:
        keys = [*map(text_key, texts)]
        text_by_id = {
            text_id: key for text_id, key in _read_text_ids(train, train_id, keys).items() if key in train_keys
        }
        column = column or expected[0]
        selected = _select_by_id(votes, votes_id, column, text_by_id)
        if selected.rows:
            return selected, column, f"id (column {short(votes_id)} to {short(train_id)})"
        by_id = f"none of its ids is among the training data's (column {short(votes_id)} to {short(train_id)})"
    raise error_at(votes.source, f"no vote is on a training text; by text: {by_text}; by id: {by_id}")


def _find_id_columns(votes: Table, train: Table) -> tuple[str | None, str | None]:
    """The columns of text ids in both tables: of a name that both have, or else the first of `ID_COLUMNS` in each."""
    both = [name for name in ID_COLUMNS if all(find_column(table.columns, [name]) for table in (votes, train))]
    names = both[:1] or ID_COLUMNS
    return find_column(votes.columns, names), find_column(train.columns, names)


def _select_by_id(votes: Table, id_column: str, text_column: str, text_by_id: Mapping[str, str]) -> Table:
    """
    The rows of votes on texts of known id, each with the text of its id.

    Args:
        votes (`Table`): The votes.
        id_column (`str`): Its column of text ids.
        text_column (`str`): The column that gets the texts; it is replaced or added.
        text_by_id (`dict[str, str]`): The texts.
    """
    ids = [str(value).strip() for value in votes.values(id_column)]
    indices = [index for index, text_id in enumerate(ids) if text_id in text_by_id]
    selected = votes.select(indices)
    texts = [text_by_id[ids[index]] for index in indices]
    return replace(selected, columns={**selected.columns, text_column: texts})


def _read_text_ids(table: Table, id_column: str, texts: Sequence[str]) -> dict[str, str]:
    """Each id of a table with its text; an id that is blank or stands for different texts is left out."""
    texts_by_id: dict[str, set[str]] = {}
    for value, text in zip(table.values(id_column), texts, strict=True):
        if not is_missing(value):
            texts_by_id.setdefault(str(value).strip(), set()).add(text)
    return {text_id: next(iter(found)) for text_id, found in texts_by_id.items() if len(found) == 1}


def krippendorff_alpha(given: npt.ArrayLike, asked: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """
    Agreement on a yes-or-no question: 1 where raters always agree, 0 where they do as by chance. Texts that fewer than
    two raters were asked about are left out (Krippendorff, 2011, Computing Krippendorff's Alpha-Reliability, for
    nominal data with missing values).

    Args:
        given (`ArrayLike` of shape `(num_texts, num_labels)`): Raters who said yes.
        asked (`ArrayLike` of shape `(num_texts, num_labels)`): Raters who were asked.

    Returns:
        `np.ndarray` of shape `(num_labels,)`: NaN for a label that all say yes to, or no.
    """
    yes, total = np.asarray(given, np.float64), np.asarray(asked, np.float64)
    is_pairable = total >= 2
    yes, total = np.where(is_pairable, yes, 0.0), np.where(is_pairable, total, 0.0)
    observed = (yes * (total - yes) / np.maximum(total - 1, 1)).sum(axis=0)
    num_yes, num_values = yes.sum(axis=0), total.sum(axis=0)
    expected = num_yes * (num_values - num_yes) / np.maximum(num_values - 1, 1)
    return 1.0 - np.divide(observed, expected, out=np.full(expected.shape, np.nan), where=expected > 0)


def _read_intensities(
    table: Table, texts: list[str], raters: Sequence[str], label_column: str, options: LabelOptions
) -> tuple[LabelledTexts, list[str]]:
    """A row per text and emotion becomes a row per text."""
    chosen, names = read_label_column(table, label_column, options)
    if (wrong := np.flatnonzero(chosen.sum(axis=1) > 1)).size:
        problem = "expected one emotion, as each rater has a column"
        raise table.error(problem, index=int(wrong[0]), column=label_column)
    values = np.stack([_intensities(table, rater, options.targets) for rater in raters], axis=1)
    index = {text: position for position, text in enumerate(dict.fromkeys(texts))}
    rows = np.flatnonzero(chosen.any(axis=1))
    places = np.array([index[texts[row]] for row in rows], np.int64), chosen[rows].argmax(axis=1)
    given, total, asked = (np.zeros((len(index), len(names))) for _ in Votes._fields)
    np.add.at(given, places, (values[rows] > 0).sum(axis=1))
    np.add.at(total, places, np.nansum(values[rows], axis=1))
    np.add.at(asked, places, (~np.isnan(values[rows])).sum(axis=1))
    return _joined(
        table.source, f"{len(texts):,} rows of votes", list(index), Votes(given, total, asked), options.targets
    ), names


def _intensities(table: Table, column: str, options: TargetOptions) -> FloatArray:
    """In [0, 1], NaN for a blank; without `max_intensity` every number above 0 is a vote."""
    greatest = options.max_intensity or np.inf
    numbers = np.array([np.nan if is_missing(value) else number_of(value) for value in table.values(column)])
    is_wrong = np.array([not is_missing(value) for value in table.values(column)]) & ~(
        (numbers >= 0) & (numbers <= greatest)
    )
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        expected = "a number of at least 0" if options.max_intensity is None else options.expected_number
        problem = f"expected {expected}, got {short(table.values(column)[row])}; correct the value"
        raise table.error(problem, index=row, column=column)
    if options.max_intensity is None:
        return np.where(np.isnan(numbers), numbers, numbers > 0).astype(np.float32)
    return (numbers / greatest).astype(np.float32)


def _join(source: str, kind: str, texts: list[str], labels: FloatArray, options: TargetOptions) -> LabelledTexts:
    """One example per text of rows that are a rater's labels each."""
    index: dict[str, int] = {}
    groups = np.array([index.setdefault(text, len(index)) for text in texts])
    given, total, asked = (np.zeros((len(index), labels.shape[1])) for _ in Votes._fields)
    np.add.at(given, groups, labels > 0)
    np.add.at(total, groups, np.nan_to_num(labels))
    np.add.at(asked, groups, ~np.isnan(labels))
    return _joined(source, f"{len(texts):,} {kind}", list(index), Votes(given, total, asked), options)


def _joined(source: str, rows: str, texts: list[str], votes: Votes, options: TargetOptions) -> LabelledTexts:
    is_split = votes.given.any(axis=1) & ~(votes.given > votes.asked / 2).any(axis=1)
    if options.vote_targets == "share":
        meaning = "each label with the share of the raters who gave it"
    else:
        meaning = (
            "each with the labels that most of its raters gave (no majority agrees on "
            f"{int(np.sum(is_split)):,} of them: these have no label)"
        )
    warnings.warn(f"{source}: {rows} are {len(texts):,} texts, {meaning}.", stacklevel=2)
    return LabelledTexts(texts, votes.targets(options), krippendorff_alpha(votes.given, votes.asked))


def agreement_by_label(names: Sequence[str], agreement: npt.NDArray[np.float64] | None) -> dict[str, Any]:
    """The agreement of raters by label, without those that have none."""
    if agreement is None:
        return {}
    return {name: float(value) for name, value in zip(names, agreement, strict=True) if not np.isnan(value)}
