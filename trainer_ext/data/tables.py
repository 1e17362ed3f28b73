# SPDX-License-Identifier: Apache-2.0
"""Reads CSV, TSV, JSON Lines and Parquet files into tables that know the file's name and every record's line.

A TSV file is read as its producers write it: the headerless GoEmotions file (text, ids, comment id) gets the columns
`text`, `labels` and `id`; in SemEval-2018 files and wherever quoting would be malformed, quotes are plain characters.
Values are kept exactly as they stand in the file: strings such as "null" or "NA" are texts like any other.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError

_INTEGERS = re.compile(r"[0-9]+(\s*,\s*[0-9]+)*")
_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_BOM = b"\xef\xbb\xbf"
_MAX_LISTED = 30
"""How many names a message lists; GoEmotions, the largest common set of labels, has 28."""


def error_at(source: str, problem: str, *, row: int | None = None, column: str | None = None) -> InputError:
    """
    The error that says in one line which file, row and column is wrong, what was expected and got, and how to mend it.

    Args:
        source (`str`): The file, or the data set and its split.
        problem (`str`): What was expected, what was got, and how to mend it.
        row (`int`, *optional*): The 1-based line of the file at which the record starts, header and blank lines
            counted, as an editor shows it; in Parquet files and Hub datasets the 1-based row.
        column (`str`, *optional*): The column's name.
    """
    place = source + (f", row {row}" if row is not None else "")
    place += f", column {column!r}" if column is not None else ""
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

    def error(self, problem: str, *, index: int, column: str) -> InputError:
        """The error for one value; `index` counts the records from 0."""
        return error_at(self.source, problem, row=self.rows[index], column=column)

    def header_error(self, problem: str, *, column: str | None = None) -> InputError:
        """The error for a column that is missing, superfluous or ambiguous."""
        present = ", ".join(map(repr, self.columns))
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


def read_table(path: str | os.PathLike[str]) -> Table:
    """
    Read one file into a table; its ending says how.

    Args:
        path (`str` or `os.PathLike`): A `.csv`, `.tsv`, `.txt` (tab separated), `.jsonl`, `.json` (one object per
            line) or `.parquet` file; all but the last may be compressed (`.gz`). Text is UTF-8, with or without BOM.

    Returns:
        `Table`: The values, strings in CSV and TSV files, and the line of every record.

    Raises:
        `InputError`: If The file is missing, empty, of another format or malformed.
    """
    file = Path(path)
    source = str(path)
    if not file.is_file():
        problem = "is a folder, expected a file" if file.is_dir() else "no such file"
        raise error_at(source, f"{problem}; correct the path")
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    if file.name.lower().endswith(".parquet"):
        return _read_parquet(file)
    if suffix not in _PARSERS:
        problem = f"expected a file in {', '.join(_PARSERS)} (each also as .gz) or .parquet, got {suffix!r}"
        raise error_at(source, f"{problem}; convert or rename it")
    text = read_text(file)
    if not text.strip():
        raise error_at(source, "the file is empty, expected texts and labels; check how it was written")
    return _PARSERS[suffix](source, text)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without BOM, compressed where its name ends in `.gz`."""
    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise error_at(str(path), f"expected gzip, got {error}; compress the file again") from error
    start = len(_BOM) if raw.startswith(_BOM) else 0
    try:
        return raw[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start + error.start
        problem = f"expected UTF-8, got byte 0x{raw[offset]:02x} at offset {offset}; save the file as UTF-8"
        raise error_at(str(path), problem, row=raw.count(b"\n", 0, offset) + 1) from error


def _read_parquet(path: Path) -> Table:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise error_at(str(path), f"expected a Parquet file, got {reason!r}; write it again") from error
    # Only files that datasets wrote say what the ids mean; its features lack some Arrow types of other files.
    is_described = b"huggingface" in (table.schema.metadata or {})
    features = datasets.Features.from_arrow_schema(table.schema) if is_described else datasets.Features()
    return table_from_arrow(str(path), table, features)


def table_from_arrow(source: str, table: pa.Table, features: datasets.Features) -> Table:
    """The table of a Parquet file or Hub split; `features` may say what the ids of its columns mean."""
    _check_columns(source, table.column_names, None)
    if table.num_rows == 0:
        raise error_at(source, "has columns but no rows, expected at least one; check how it was written")
    class_names = {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, datasets.ClassLabel) and inner.names:
            class_names[name] = list(inner.names)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    return Table(source, columns, range(1, table.num_rows + 1), class_names=class_names)


def _parse_csv(source: str, text: str, delimiter: str = ",") -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records, lines = [], []
    line = 1
    try:
        for record in reader:
            if record:
                records.append(record)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        problem = f"expected well-formed CSV, got {str(error)!r}; close every quote and double quotes inside quotes"
        raise error_at(source, problem, row=line) from error
    return _from_records(source, records, lines)


def _parse_tsv(source: str, text: str) -> Table:
    numbered = [
        (number, line.rstrip("\r\n").split("\t"))
        for number, line in enumerate(io.StringIO(text, newline=""), 1)
        if line.rstrip("\r\n")
    ]
    lines, records = [number for number, _ in numbered], [record for _, record in numbered]
    first = records[0]
    if len(first) == 3 and _INTEGERS.fullmatch(first[1].strip()):
        return _from_records(source, records, lines, header=["text", "labels", "id"])
    is_semeval = first[:2] == ["ID", "Tweet"] or source.lower().removesuffix(".gz").endswith(".txt")
    if is_semeval or '"' not in text or _is_unquoted(records):
        return _from_records(source, records, lines)
    return _parse_csv(source, text, "\t")


def _is_unquoted(records: list[list[str]]) -> bool:
    """Whether quotes are plain characters: every line is a whole record and some quoted field would be malformed."""
    if len(set(map(len, records))) != 1:
        return False
    return any(value.startswith('"') and not _QUOTED.fullmatch(value) for record in records for value in record)


def _from_records(source: str, records: list[list[str]], lines: list[int], header: list[str] | None = None) -> Table:
    header_row = None
    if header is None:
        header, header_row = [name.strip() for name in records[0]], lines[0]
        records, lines = records[1:], lines[1:]
    _check_columns(source, header, header_row)
    if not records:
        problem = "has a header but no rows, expected at least one; check how it was written"
        raise error_at(source, problem, row=header_row)
    for record, line in zip(records, lines, strict=True):
        if len(record) != len(header):
            problem = f"expected {len(header)} fields, got {len(record)}; quote fields that hold the separator"
            raise error_at(source, problem, row=line)
    columns = dict(zip(header, zip(*records, strict=True), strict=True))
    return Table(source, columns, lines, header_row)


def _parse_jsonl(source: str, text: str) -> Table:
    records, lines = [], []
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if line.strip():
            records.append(_parse_json_line(source, line, number))
            lines.append(number)
    names = dict.fromkeys(chain.from_iterable(records))
    return Table(source, {name: [record.get(name) for record in records] for name in names}, lines)


def _parse_json_line(source: str, line: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
        problem = f"expected one JSON object per line, got {short(line.strip())}: {reason}; correct the line"
        raise error_at(source, problem, row=number) from error
    if not isinstance(record, dict):
        problem = f"expected one JSON object per line, got {short(line.strip())}; correct the line"
        raise error_at(source, problem, row=number)
    return record


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise InputError(f"key {first_duplicate(key for key, _ in pairs)!r} occurs twice")
    return record


_PARSERS: dict[str, Callable[[str, str], Table]] = {
    ".csv": _parse_csv,
    ".tsv": _parse_tsv,
    ".txt": _parse_tsv,
    ".jsonl": _parse_jsonl,
    ".json": _parse_jsonl,
}


def _check_columns(source: str, names: list[str], header_row: int | None) -> None:
    duplicate = first_duplicate(name for name in names if name)
    if duplicate is not None:
        problem = "the column occurs twice, expected different columns; rename or remove one of them"
        raise error_at(source, problem, row=header_row, column=duplicate)
