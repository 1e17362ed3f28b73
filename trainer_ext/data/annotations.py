# SPDX-License-Identifier: Apache-2.0
"""Which rows of an annotation tool's export count, and the labels that several raters of one text agree on."""

from __future__ import annotations

import warnings

import numpy as np

from .cells import to_binary
from .headers import find_column
from .labels import FloatArray
from .tables import Table, error_at

RATER_COLUMNS = ("rater_id", "rater", "annotator_id", "_annotator_id", "annotator", "worker_id", "coder_id")
UNCLEAR_COLUMN = "example_very_unclear"
_ANSWERS = {"accept", "reject", "ignore"}


def is_prodigy(table: Table) -> bool:
    """Whether it is an export of Prodigy, whose column `answer` says which rows the annotator accepted."""
    return "answer" in table.columns and {str(value) for value in table.values("answer")} <= _ANSWERS


def select_rows(table: Table) -> Table:
    """
    The rows that count: those that were accepted (Prodigy), and that are not marked as unclear (raw GoEmotions). A
    warning says how many others there are.

    Raises:
        `InputError`: If none is left.
    """
    if is_prodigy(table):
        is_kept = [value == "accept" for value in table.values("answer")]
        table = _keep(table, is_kept, "whose `answer` is not accept")
    if UNCLEAR_COLUMN in table.columns:
        is_kept = (to_binary(table.values(UNCLEAR_COLUMN)) != 1).tolist()
        table = _keep(table, is_kept, f"with a true `{UNCLEAR_COLUMN}`")
    return table


def _keep(table: Table, is_kept: list[bool], reason: str) -> Table:
    indices = [index for index, kept in enumerate(is_kept) if kept]
    if not indices:
        raise error_at(table.source, f"all {len(is_kept)} rows are left out: {reason}; check how it was written")
    if len(indices) == len(is_kept):
        return table
    num_left_out = len(is_kept) - len(indices)
    warnings.warn(f"{table.source}: {num_left_out:,} rows {reason} are left out.", stacklevel=2)
    return table.select(indices)


def join_raters(table: Table, texts: list[str], labels: FloatArray) -> tuple[list[str], FloatArray]:
    """
    One example per text of a table that has a row per text and rater: it has the labels that more than half of its
    rows have. Other tables stay as they are. A warning says how many texts there are, and how many no majority
    agrees on.

    Args:
        table (`Table`): The table; a column of [`RATER_COLUMNS`] makes its rows votes.
        texts (`list[str]`): Its texts.
        labels (`np.ndarray` of shape `(num_rows, num_labels)`): The labels of its rows.

    Returns:
        `tuple[list[str], np.ndarray]`: The texts in the order of their first rows, and their labels.
    """
    index: dict[str, int] = {}
    groups = np.array([index.setdefault(text, len(index)) for text in texts])
    if find_column(table.columns, RATER_COLUMNS) is None or len(index) == len(texts):
        return texts, labels
    votes = np.zeros((len(index), labels.shape[1]))
    np.add.at(votes, groups, labels)
    joined = (votes > np.bincount(groups)[:, None] / 2).astype(np.float32)
    num_split = int(np.sum(votes.any(axis=1) & ~joined.any(axis=1)))
    warnings.warn(
        f"{table.source}: {len(texts):,} rows of raters are {len(index):,} texts, each with the labels that most of "
        f"its raters gave (no majority agrees on {num_split:,} of them: these have no label).",
        stacklevel=2,
    )
    return list(index), joined
