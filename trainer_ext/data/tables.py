# SPDX-License-Identifier: Apache-2.0
"""Tables as they were read, and the errors that name a file, its row and its column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import datasets
import pyarrow as pa

from ..errors import InputError

_MAX_LISTED = 30
"""How many names a message lists; GoEmotions, the largest common set of labels, has 28."""


def error_at(source: str, problem: str, *, row: int | None = None, column: str | None = None) -> InputError:
    """
    The error that says in one line which file, row and column is wrong, what was expected and got, and how to mend it.

    Args:
        source (`str`): The file, or the data set and its split.
        problem (`str`): The expectation, the value that was there, and the remedy.
        row (`int`, *optional*): The 1-based line of the file at which the record starts, header and blank lines
            counted, as an editor shows it; in Parquet files and Hub datasets the 1-based row.
        column (`str`, *optional*): The column's name.
    """
    place = source + (f", row {row}" if row is not None else "")
    place += f", column {short(column)}" if column is not None else ""
    return InputError(f"{place}: {problem}")


@dataclass(frozen=True)
class Table:
    """
    One file or Hub split as read, before text and labels are found in it.

    Args:
        source (`str`): The file, or the data set and its split, as error messages name it.
        columns (`dict[str, Any]`): The values by the name of their column: a sequence or a `pyarrow.ChunkedArray`.
        rows (`Sequence[int]`): The 1-based line of the file at which every record starts, or its 1-based row.
        header_row (`int`, *optional*): The line of the header, where the file has one.
        class_names (`dict[str, list[str]]`, *optional*): The names that the features give the ids of a column.
    """

    source: str
    columns: dict[str, Any]
    rows: Sequence[int]
    header_row: int | None = None
    class_names: dict[str, list[str]] = field(default_factory=dict)

    def values(self, column: str) -> list[Any]:
        """The values of a column as Python objects."""
        values = self.columns[column]
        return values.to_pylist() if isinstance(values, pa.ChunkedArray) else list(values)

    def select(self, indices: list[int]) -> Table:
        """The table of some of its records, counted from 0."""
        columns = {
            name: values.take(pa.array(indices, pa.int64()))
            if isinstance(values, pa.ChunkedArray)
            else [values[i] for i in indices]
            for name, values in self.columns.items()
        }
        return replace(self, columns=columns, rows=[self.rows[index] for index in indices])

    def piece(self, start: int, num_rows: int) -> Table:
        """The table of the records from `start`, counted from 0, at most `num_rows` of them."""
        end = start + num_rows
        columns = {name: values[start:end] for name, values in self.columns.items()}
        return replace(self, columns=columns, rows=self.rows[start:end])

    def error(self, problem: str, *, index: int, column: str) -> InputError:
        """The error for one value; `index` counts the records from 0."""
        return error_at(self.source, problem, row=self.rows[index], column=column)

    def header_error(self, problem: str, *, column: str | None = None) -> InputError:
        """The error for a column that is missing, superfluous or ambiguous."""
        present = ", ".join(map(short, self.columns))
        return error_at(self.source, f"{problem} (columns present: {present})", row=self.header_row, column=column)


def short(value: object) -> str:
    """A value as an error message shows it: on one line, at most 60 characters."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def short_list(names: Sequence[str]) -> str:
    """Names as an error message lists them, the first 30 at most."""
    return ", ".join(map(short, names[:_MAX_LISTED])) + (", ..." if len(names) > _MAX_LISTED else "")


def first_duplicate(names: Iterable[str]) -> str | None:
    """The first name that occurs a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def require_rows(table: Table) -> Table:
    """The table, or an [`InputError`] if it has no rows."""
    if not table.rows:
        has = "a header" if table.header_row else "columns"
        problem = f"has {has} but no rows, expected at least one; check how it was written"
        raise error_at(table.source, problem, row=table.header_row)
    return table


def table_from_arrow(source: str, table: pa.Table, features: datasets.Features) -> Table:
    """The table of a Parquet file or Hub split; `features` may name the ids of its columns."""
    check_columns(source, table.column_names, None)
    class_names = {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, datasets.ClassLabel) and inner.names:
            class_names[name] = list(inner.names)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    return Table(source, columns, range(1, table.num_rows + 1), class_names=class_names)


def check_columns(source: str, names: list[str], header_row: int | None) -> None:
    """An [`InputError`] if two columns of a table have the same name."""
    duplicate = first_duplicate(name for name in names if name)
    if duplicate is not None:
        problem = "the column occurs twice, expected different columns; rename or remove one of them"
        raise error_at(source, problem, row=header_row, column=duplicate)
