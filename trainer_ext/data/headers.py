# SPDX-License-Identifier: Apache-2.0
"""The first line of a table: its delimiter and the column of texts. The demo has a copy of this file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence

TEXT_COLUMNS = ("text", "tweet", "sentence", "comment", "content")


def find_delimiter(lines: Iterable[str]) -> str:
    """The comma, semicolon or tab that divides the first record of a csv file into most fields; commas in a tie."""
    first = list(_first_record(lines))
    try:
        return max(",;\t", key=lambda delimiter: len(next(csv.reader(first, delimiter=delimiter), ())))
    except csv.Error:
        # A quote that nothing closes: whoever reads the records says so.
        return ","


def _first_record(lines: Iterable[str]) -> Iterable[str]:
    num_quotes = 0
    for line in lines:
        num_quotes += line.count('"')
        if line.strip("\r\n"):
            yield line
            if num_quotes % 2 == 0:
                return


def find_column(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """The column that has the first of `names` that is there, in any case; the leftmost of several such columns."""
    by_lower = {column.strip().lower(): column for column in reversed(list(columns))}
    return next((by_lower[name] for name in names if name in by_lower), None)
