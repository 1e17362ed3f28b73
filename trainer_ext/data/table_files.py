# SPDX-License-Identifier: Apache-2.0
"""Reads CSV, TSV, JSON and Parquet files into tables that know the file's name and every record's line.

A CSV file may have semicolons or tabs for commas, as its header tells. A TSV file is read as its producers write it:
the headerless GoEmotions file (text, ids, comment id) gets the columns `text`, `labels` and `id`; in SemEval-2018
files and wherever quoting would be malformed, quotes are plain characters. Values are kept exactly as they stand in
the file: strings such as "null" or "NA" are texts like any other.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, reading
from .headers import find_delimiter
from .tables import Table, check_columns, error_at, first_duplicate, require_rows, short, table_from_arrow

_INTEGERS = re.compile(r"[0-9]+(\s*,\s*[0-9]+)*")
_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_BOM = b"\xef\xbb\xbf"
_MAX_CELL = 2**24
"""Most characters of a field of a csv file; the default of Python is 131,072."""
_MAX_BYTES = 2**30
"""Most bytes that a compressed file may hold: a small one can hold any number of zeros."""

# Opens the lines of a file, with their ends; it is called once for every pass.
_OpenLines = Callable[[], Iterable[str]]
# The line at which a record starts, and its fields.
_Record = tuple[int, list[str]]


def read_table(path: str | os.PathLike[str]) -> Table:
    """
    Read one file into a table; its ending says how.

    Args:
        path (`str` or `os.PathLike`): A `.csv`, `.tsv`, `.txt` (tab separated), `.jsonl` or `.json` (one object per
            line, or an array of objects) or `.parquet` file; all but the last may be compressed (`.gz`). Text is
            UTF-8, with or without BOM, or UTF-16.

    Returns:
        `Table`: The values, strings in CSV and TSV files, and the line of every record.

    Raises:
        `InputError`: If the file is missing, empty, of another format or malformed.
    """
    file, suffix = _check_file(path)
    table = _read_whole(file, suffix)
    if table is None:
        raise error_at(str(path), "the file is empty, expected texts and labels; check how it was written")
    return require_rows(table)


def iter_tables(path: str | os.PathLike[str], num_rows: int) -> Iterator[Table]:
    """
    Read one file in pieces. Text that is not compressed takes the memory of one piece, unless it is one JSON array;
    other files are first read as a whole.

    Args:
        path (`str` or `os.PathLike`): A file as of [`read_table`].
        num_rows (`int`): Most records of a piece.

    Yields:
        `Table`: The next records, as [`read_table`] reads them: one table of no rows where a file has only a header or
        columns, none where it is empty.

    Raises:
        `InputError`: If the file is missing, of another format or malformed.
    """
    file, suffix = _check_file(path)
    if suffix == ".parquet" or _is_compressed(file):
        whole = _read_whole(file, suffix)
        if whole is not None:
            yield from (whole.piece(start, num_rows) for start in range(0, len(whole.rows) or 1, num_rows))
        return
    try:
        yield from _PARSERS[suffix](str(path), lambda: _file_lines(file), num_rows)
    except UnicodeDecodeError:
        # It says at which byte and in which row.
        read_text(file)
        raise


def _check_file(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """The file and its ending without that of compression."""
    file = Path(path)
    source = str(path)
    if not file.is_file():
        problem = "is a folder, expected a file" if file.is_dir() else "no such file"
        raise error_at(source, f"{problem}; correct the path")
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    if file.name.lower().endswith(".parquet"):
        return file, ".parquet"
    if suffix not in _PARSERS:
        problem = f"expected a file in {', '.join(_PARSERS)} (each also as .gz) or .parquet, got {suffix!r}"
        raise error_at(source, f"{problem}; convert or rename it")
    return file, suffix


def _is_compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _read_whole(file: Path, suffix: str) -> Table | None:
    """The table of a file, which may have no rows; none where the file is empty."""
    if suffix == ".parquet":
        return _read_parquet(file)
    text = read_text(file)
    if not text.strip():
        return None
    return next(_PARSERS[suffix](str(file), lambda: io.StringIO(text, newline=""), None), None)


def _file_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        encoding = json.detect_encoding(file.read(4))
    with path.open(encoding=encoding, newline="") as lines:
        yield from lines


def read_text(path: Path) -> str:
    """The text of a UTF-8 or UTF-16 file, with or without BOM, compressed where its name ends in `.gz`."""
    raw = _decompress(path) if _is_compressed(path) else path.read_bytes()
    encoding = json.detect_encoding(raw)
    start = len(_BOM) if raw.startswith(_BOM) else 0
    try:
        return raw[start:].decode(encoding)
    except UnicodeDecodeError as error:
        if not encoding.startswith("utf-8"):
            problem = f"expected {encoding.upper()} by its first bytes, got {error.reason} at offset {error.start}"
            raise error_at(str(path), f"{problem}; save the file as UTF-8") from error
        offset = start + error.start
        problem = f"expected UTF-8, got byte 0x{raw[offset]:02x} at offset {offset}; save the file as UTF-8"
        raise error_at(str(path), problem, row=raw.count(b"\n", 0, offset) + 1) from error


def _decompress(path: Path) -> bytes:
    raw = bytearray()
    try:
        with gzip.open(path) as file:
            while piece := file.read(2**20):
                raw += piece
                if len(raw) > _MAX_BYTES:
                    problem = f"holds more than {_MAX_BYTES:,} bytes of text, which is the most for a compressed file"
                    raise error_at(str(path), f"{problem}; decompress it yourself, or divide it")
    except (OSError, EOFError, zlib.error) as error:
        raise error_at(str(path), f"expected gzip, got {error}; compress the file again") from error
    return bytes(raw)


def _read_parquet(path: Path) -> Table:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise error_at(str(path), f"expected a Parquet file, got {reason!r}; write it again") from error
    try:
        # Reading does not look at strings.
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise error_at(str(path), f"expected texts in UTF-8, got {reason!r}; write it again") from error
    # Only files that datasets wrote name the ids; its features lack some Arrow types of other files.
    is_described = b"huggingface" in (table.schema.metadata or {})
    with reading(f"{path}: the features in its metadata cannot be read"):
        features = datasets.Features.from_arrow_schema(table.schema) if is_described else datasets.Features()
    return table_from_arrow(str(path), table, features)


def _csv_tables(source: str, open_lines: _OpenLines, num_rows: int | None) -> Iterator[Table]:
    delimiter = find_delimiter(open_lines())
    return _delimited_tables(source, _csv_records(source, open_lines(), delimiter), num_rows)


def _csv_records(source: str, lines: Iterable[str], delimiter: str) -> Iterator[_Record]:
    # Of the whole process: never lower than other readers have it.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    try:
        for record in reader:
            if record:
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        problem = f"expected well-formed CSV, got {str(error)!r}; close every quote and double quotes inside quotes"
        raise error_at(source, problem, row=line) from error


def _tsv_tables(source: str, open_lines: _OpenLines, num_rows: int | None) -> Iterator[Table]:
    first = next((record for _, record in _tsv_records(open_lines())), [])
    if len(first) == 3 and _INTEGERS.fullmatch(first[1].strip()):
        return _delimited_tables(source, _tsv_records(open_lines()), num_rows, header=["text", "labels", "id"])
    is_plain = is_semeval(first) or source.lower().removesuffix(".gz").endswith(".txt")
    has_quotes = not is_plain and any('"' in line for line in open_lines())
    if not has_quotes or _is_unquoted(_tsv_records(open_lines())):
        return _delimited_tables(source, _tsv_records(open_lines()), num_rows)
    return _delimited_tables(source, _csv_records(source, open_lines(), "\t"), num_rows)


def is_semeval(header: list[str]) -> bool:
    """Whether it is the header of a SemEval-2018 file, in which quotes are plain characters."""
    return header[:2] == ["ID", "Tweet"]


def _tsv_records(lines: Iterable[str]) -> Iterator[_Record]:
    for number, line in enumerate(lines, 1):
        if content := line.rstrip("\r\n"):
            yield number, content.split("\t")


def _is_unquoted(records: Iterable[_Record]) -> bool:
    """Whether quotes are plain characters: every line is a whole record and some quoted field would be malformed."""
    widths, has_malformed = set(), False
    for _, record in records:
        widths.add(len(record))
        has_malformed |= any(value.startswith('"') and not _QUOTED.fullmatch(value) for value in record)
    return has_malformed and len(widths) == 1


def _delimited_tables(
    source: str, records: Iterator[_Record], num_rows: int | None, header: list[str] | None = None
) -> Iterator[Table]:
    """Tables of `num_rows` records each, or one of all; the first record is the header where none is given."""
    header_row = None
    if header is None:
        header_row, names = next(records, (0, []))
        if not names:
            return
        header = _name_columns(names)
    check_columns(source, header, header_row)
    has_rows = False
    while piece := list(islice(records, num_rows)):
        has_rows = True
        for line, record in piece:
            if len(record) != len(header):
                problem = f"expected {len(header)} fields, got {len(record)}; quote fields that hold the separator"
                raise error_at(source, problem, row=line)
        lines, rows = zip(*piece, strict=True)
        yield Table(source, dict(zip(header, zip(*rows, strict=True), strict=True)), lines, header_row)
    if not has_rows:
        yield Table(source, dict.fromkeys(header, ()), (), header_row)


def _name_columns(names: list[str]) -> list[str]:
    """The names of a header. Of several columns without one, all but the first are named as pandas names them."""
    header = [name.strip() for name in names]
    first_blank = header.index("") if "" in header else None
    return [name or ("" if index == first_blank else f"Unnamed: {index}") for index, name in enumerate(header)]


def _json_tables(source: str, open_lines: _OpenLines, num_rows: int | None) -> Iterator[Table]:
    first = next((line.strip() for line in open_lines() if line.strip()), None)
    if first is None:
        return
    if first.startswith("["):
        records = _json_array(source, "".join(open_lines()))
    else:
        records = _json_lines(source, open_lines())
    while piece := list(islice(records, num_rows)):
        lines, objects = zip(*piece, strict=True)
        names = dict.fromkeys(chain.from_iterable(objects))
        yield Table(source, {name: [record.get(name) for record in objects] for name in names}, lines)


def _json_lines(source: str, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _parse_json_line(source, line, number)


def _json_array(source: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        records = json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        row = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise error_at(source, f"expected a JSON array of objects: {reason}; correct it", row=row) from error
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            problem = f"expected a JSON array of objects, got {short(record)} as entry {number}; correct it"
            raise error_at(source, problem)
        yield number, record


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


_PARSERS: dict[str, Callable[[str, _OpenLines, int | None], Iterator[Table]]] = {
    ".csv": _csv_tables,
    ".tsv": _tsv_tables,
    ".txt": _tsv_tables,
    ".jsonl": _json_tables,
    ".json": _json_tables,
}
