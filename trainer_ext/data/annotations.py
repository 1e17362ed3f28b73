# SPDX-License-Identifier: Apache-2.0
"""Which rows of an annotation tool's export count."""

from __future__ import annotations

import warnings

from .cells import to_binary
from .tables import Table, error_at

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
