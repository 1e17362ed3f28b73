# SPDX-License-Identifier: Apache-2.0
"""Predictions as a table: the rows of a file as they are, and a column for every label.

Rows are read with the reader of training and written as UTF-8, in the form that the ending of the file names.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, tee
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates

from ..errors import InputError, printable, reading
from ..files import replacing
from .layouts import find_texts
from .table_files import is_semeval, iter_tables
from .tables import error_at, short

_ROWS_IN_MEMORY = 1000
_ROWS_OF_A_GROUP = 10_000
_QUOTABLE = re.compile(r'["\r\n]')
_DEFAULT_COLUMN = "text"

# Every column and the type of its values.
_Columns = dict[str, pa.DataType | None]
# Rows as they are written, each with all columns in their order.
_Records = Iterator[dict[str, Any]]


class TextRow(NamedTuple):
    """A row: its text, and the values of all columns as they stand in the file."""

    text: str
    values: dict[str, Any]


@dataclass(frozen=True)
class TextRows:
    """
    Rows with a text each.

    Args:
        rows (`Iterable[TextRow]`): The rows, with the same columns in the same order.
        columns (`dict[str, pa.DataType]`): Every column and the type of its values; `None` where they have several.
        text_column (`str`): The column of the texts.
        num_rows (`int`, *optional*): The number of rows, where it is known.
    """

    rows: Iterable[TextRow]
    columns: dict[str, pa.DataType | None]
    text_column: str
    num_rows: int | None


def rows_of_texts(texts: Iterable[str], num_rows: int | None = None) -> TextRows:
    """Rows of one column, `text`."""
    rows = (TextRow(text, {_DEFAULT_COLUMN: text}) for text in map(clean_surrogates, texts))
    return TextRows(rows, {_DEFAULT_COLUMN: pa.string()}, _DEFAULT_COLUMN, num_rows)


def rows_of_file(path: str | os.PathLike[str], text_column: str | None = None) -> TextRows:
    """
    The rows of a table, in the memory that [`~trainer_ext.data.table_files.iter_tables`] takes.

    The file is read twice: first all of it is checked, its rows are counted and its columns found.

    Args:
        path (`str` or `os.PathLike`): A file as of [`~trainer_ext.data.table_files.read_table`], or one of no rows.
        text_column (`str`, *optional*): Column of the texts, by default found by its name.

    Raises:
        `InputError`: If the file is missing or malformed, or has no such column, or a row has no text.
    """
    num_rows = 0
    columns: dict[str, pa.DataType | None] = {}
    for table in iter_tables(path, _ROWS_IN_MEMORY):
        text_column = find_texts(table, text_column)[1]
        num_rows += len(table.rows)
        for name, values in table.columns.items():
            kind = _type_of(values)
            columns[name] = _common_type(columns[name], kind) if name in columns else kind
    if not columns:
        columns = {text_column or _DEFAULT_COLUMN: pa.string()}
    return TextRows(_iter_rows(path, text_column, list(columns)), columns, text_column or _DEFAULT_COLUMN, num_rows)


def _iter_rows(path: str | os.PathLike[str], text_column: str | None, columns: list[str]) -> Iterator[TextRow]:
    for table in iter_tables(path, _ROWS_IN_MEMORY):
        texts, _ = find_texts(table, text_column)
        # A JSON object may lack keys that others have.
        values = [table.values(name) if name in table.columns else [None] * len(texts) for name in columns]
        for text, *row in zip(texts, *values, strict=True):
            yield TextRow(text, dict(zip(columns, row, strict=True)))


def _type_of(values: Any) -> pa.DataType | None:
    if isinstance(values, pa.ChunkedArray):
        return values.type
    try:
        return pa.infer_type(values)
    except (pa.ArrowException, OverflowError):
        return None


def _common_type(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    if one is None or other is None or one == other:
        return one if one == other else None
    try:
        return pa.unify_schemas([pa.schema({"": one}), pa.schema({"": other})], promote_options="permissive").types[0]
    except pa.ArrowException:
        return None


# ------------------------------------------------------------------------------------------------------------ writing


def check_output(path: str | os.PathLike[str]) -> None:
    """An [`InputError`] if the ending names no form of a table."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise error_at(str(path), f"expected a file in {', '.join(_WRITERS)}, got {suffix!r}; rename it")


def write_predictions(
    path: str | os.PathLike[str],
    rows: TextRows,
    labels: Sequence[str],
    predict: Callable[[Iterable[str]], Iterable[Sequence[float]]],
    label_type: type[int] | type[float] = int,
) -> int:
    """
    Write the columns of the rows, in their order, and one more for every label. A column of the name of a label gives
    its place to the label. The file is there when all rows are written, or not at all; see [`replacing`].

    Args:
        path (`str` or `os.PathLike`): A `.csv`, `.tsv`, `.jsonl` or `.parquet` file, written as the rows are read.
        rows ([`TextRows`]): The rows; consumed as the predictions are.
        labels (`Sequence[str]` of length `num_labels`): Names of the columns; their control characters, which would
            command a terminal, become blanks.
        predict (`Callable`): Gives for texts the `num_labels` values of each, in order.
        label_type (`type`, *optional*, defaults to `int`): Type of these values, `int` or `float`.

    Returns:
        `int`: The number of rows.

    Raises:
        `InputError`: If the column of texts has the name of a label, or a row cannot be written in that form.
    """
    check_output(path)
    names = [printable(label) for label in labels]
    if rows.text_column in names:
        raise InputError(f"Column {short(rows.text_column)} holds the texts and has the name of a label; rename it.")
    columns = rows.columns | dict.fromkeys(names, pa.int64() if label_type is int else pa.float64())
    read, kept = tee(rows.rows)
    num_rows = 0

    def records() -> _Records:
        nonlocal num_rows
        for row, values in zip(kept, predict(row.text for row in read), strict=True):
            num_rows += 1
            yield row.values | dict(zip(names, values, strict=True))

    with replacing(path) as partial:
        _WRITERS[Path(path).suffix.lower()](partial, columns, records())
    return num_rows


def _write_csv(path: Path, columns: _Columns, records: _Records) -> None:
    _write_lines(path, (_delimited(row, ",") for row in chain([columns], map(dict.values, records))))


def _write_tsv(path: Path, columns: _Columns, records: _Records) -> None:
    line = _unquoted if is_semeval(list(columns)) else lambda row: _delimited(row, "\t")
    _write_lines(path, (line(row) for row in chain([columns], map(dict.values, records))))


def _write_jsonl(path: Path, columns: _Columns, records: _Records) -> None:  # noqa: ARG001
    _write_lines(path, map(_to_json, records))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for line in lines:
            file.write(f"{clean_surrogates(line)}\n")


def _write_parquet(path: Path, columns: _Columns, records: _Records) -> None:
    for name, kind in columns.items():
        if kind is None:
            problem = "holds values of several types, which Parquet has no column for; write .jsonl or .csv"
            raise InputError(f"Column {short(name)} {problem}.")
    schema = pa.schema({clean_surrogates(name): kind for name, kind in columns.items()})
    with pq.ParquetWriter(path, schema) as writer:
        while piece := list(islice(records, _ROWS_OF_A_GROUP)):
            arrays = []
            for name, kind in columns.items():
                with reading(f"Column {short(name)} cannot be written as Parquet"):
                    arrays.append(pa.array([_map_values(record[name], _clean) for record in piece], kind))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


_WRITERS: dict[str, Callable[[Path, _Columns, _Records], None]] = {
    ".csv": _write_csv,
    ".tsv": _write_tsv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}


def _delimited(row: Iterable[Any], delimiter: str) -> str:
    """One record; the csv module leaves a carriage return in a field unquoted, which ends the record for readers."""
    # Most fields are answers.
    return delimiter.join(str(value) if type(value) is int else _quoted(_to_field(value), delimiter) for value in row)


def _quoted(field: str, delimiter: str) -> str:
    is_plain = not _QUOTABLE.search(field) and delimiter not in field
    return field if is_plain else '"{}"'.format(field.replace('"', '""'))


def _unquoted(row: Iterable[Any]) -> str:
    """One record of a file in which quotes are plain characters."""
    fields = [*map(_to_field, row)]
    for field in fields:
        if any(mark in field for mark in "\t\r\n"):
            problem = "holds a tab or the end of a line, which a SemEval file (ID, Tweet) has no form for"
            raise InputError(f"A field {problem}: {short(field)}; write .csv.")
    return "\t".join(fields)


def _to_field(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return _to_json(value) if isinstance(value, bool | list | dict) else str(value)


def _to_json(value: Any) -> str:
    return json.dumps(_map_values(value, _json_value), ensure_ascii=False)


def _map_values(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value with every string and number in it changed."""
    if isinstance(value, dict):
        return {change(key): _map_values(element, change) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map_values(element, change) for element in value)
    return change(value)


def _clean(value: Any) -> Any:
    return clean_surrogates(value) if isinstance(value, str) else value


def _json_value(value: Any) -> Any:
    """The value, as text where JSON has no form for it; null for numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
