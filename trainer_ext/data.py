# SPDX-License-Identifier: Apache-2.0
"""Reads multi-label emotion data of every common layout into one form: a text and a 0/1 vector per row.

Four label layouts are told apart by looking at the table:

- one 0/1 (or boolean) column per label, as in SemEval-2018 E-c and BRIGHTER;
- one column of label names: a list, a JSON or Python list in a string, or names separated by commas; empty = no label;
- one column of label ids: a list, or ids separated by commas, with `label_names` given or known from the features;
- one column of 0/1 vectors, with `label_names` given.

The headerless GoEmotions file (text, ids, comment id) is the third layout with the columns `text`, `labels` and `id`.
Every text is kept exactly as it stands in the file, except that lone surrogates (which JSON can spell and Arrow cannot
store) become U+FFFD. Strings such as "null" or "NA" are texts like any other.
"""

from __future__ import annotations

import ast
import csv
import difflib
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
from typing import Any, NamedTuple

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

GOEMOTIONS_LABELS = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire"),
    *("disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy"),
    *("love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise"),
    "neutral",
)
"""The 28 labels of GoEmotions in the order of their official ids."""

TEXT_COLUMNS = ("text", "tweet", "sentence", "comment", "content")
LABEL_COLUMNS = ("labels", "label", "emotions", "emotion", "label_ids", "label_names", "emotion_ids", "emotion_names")

_IGNORED = frozenset(
    [
        *("", "id", "ids", "idx", "index", "uuid", "guid", "key", "split", "source", "lang", "language", "dialect"),
        *("date", "time", "timestamp", "created_at", "created_utc", "user", "username", "author", "subreddit", "url"),
        *("example_very_unclear", "__index_level_0__"),
    ]
)
_BINARY = {0: 0, 1: 1, "0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_INTEGERS = re.compile(r"[0-9]+(\s*,\s*[0-9]+)*")
_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"

FloatArray = npt.NDArray[np.float32]


class DataError(ValueError):
    """Says in one line which file, row and column is wrong, what was expected and got, and how to mend it.

    A row is the 1-based line of the file at which the record starts, header and blank lines counted, as an editor
    shows it; in Parquet files and Hub datasets it is the 1-based row.
    """


@dataclass(frozen=True)
class EmotionData:
    """Multi-label data, every split with the same labels in the same order.

    Args:
        label_names (`list[str]`): The labels; label `i` is entry `i` of every row of `labels`.
        splits (`dict[str, datasets.Dataset]`): `train` and, where there are such, `validation` and `test`; each with
            the columns `text` (string) and `labels` (list of `num_labels` float32, each 0.0 or 1.0).
    """

    label_names: list[str]
    splits: dict[str, datasets.Dataset]


@dataclass(frozen=True)
class _Table:
    """One file or Hub split as read, before text and labels are found in it."""

    source: str
    columns: dict[str, Any]
    rows: Sequence[int]
    header_row: int | None = None
    class_names: dict[str, list[str]] = field(default_factory=dict)

    def values(self, column: str) -> list[Any]:
        """Return a column as Python values."""
        values = self.columns[column]
        if not isinstance(values, pa.ChunkedArray):
            return list(values)
        if values.null_count == 0 and (pa.types.is_primitive(values.type) and not pa.types.is_temporal(values.type)):
            return list(values.to_numpy().tolist())
        return list(values.to_pylist())

    def error(self, problem: str, *, index: int | None = None, column: str | None = None) -> DataError:
        """Build the error for one cell; `index` counts the records from 0."""
        return _error(self.source, problem, row=None if index is None else self.rows[index], column=column)

    def header_error(self, problem: str, *, column: str | None = None) -> DataError:
        """Build the error for a column that is missing, superfluous or ambiguous."""
        present = ", ".join(map(repr, self.columns))
        return _error(self.source, f"{problem} (columns present: {present})", row=self.header_row, column=column)


@dataclass(frozen=True)
class _Wanted:
    """What the caller asked for; `learned_from` is the training data where `label_names` come from there."""

    text_column: str | None
    label_column: str | None
    label_names: list[str] | None
    learned_from: str | None = None

    def describe_names(self) -> str:
        """Say which labels are known and where from."""
        return f"the labels of {self.learned_from}" if self.learned_from else "label_names"


class _Part(NamedTuple):
    """Texts and labels of shape `(num_rows, num_labels)`."""

    texts: list[str]
    labels: FloatArray


def _error(source: str, problem: str, *, row: int | None = None, column: str | None = None) -> DataError:
    place = source + (f", row {row}" if row is not None else "")
    place += f", column {column!r}" if column is not None else ""
    return DataError(f"{place}: {problem}")


def _short(value: object) -> str:
    """Return a value as an error message shows it: on one line, at most 60 characters."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def load_emotion_data(
    *,
    train_file: str | os.PathLike[str] | None = None,
    validation_file: str | os.PathLike[str] | None = None,
    test_file: str | os.PathLike[str] | None = None,
    dataset_name: str | None = None,
    dataset_config: str | None = None,
    dataset_revision: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | str | os.PathLike[str] | None = None,
    train_split: str = "train",
    validation_split: str = "validation",
    test_split: str = "test",
    validation_ratio: float = 0.0,
    test_ratio: float = 0.0,
    seed: int = 42,
) -> EmotionData:
    """Read the training data and, where there are such, validation and test data, from local files or from the Hub.

    Without `label_names` the labels are those of the training data: 0/1 columns in their order in the file, names in
    alphabetical order, ids by the names in the dataset's features, or as [`GOEMOTIONS_LABELS`] where exactly the ids
    0 to 27 occur. A label that only validation or test data have is an error.

    Args:
        train_file (`str` or `os.PathLike`, *optional*): Training data; see [`read_file`] for the formats. Either this
            or `dataset_name` is needed.
        validation_file (`str` or `os.PathLike`, *optional*): Validation data.
        test_file (`str` or `os.PathLike`, *optional*): Test data.
        dataset_name (`str`, *optional*): Hub id or local folder for `datasets.load_dataset`.
        dataset_config (`str`, *optional*): Configuration of that dataset.
        dataset_revision (`str`, *optional*): Git revision of that dataset.
        text_column (`str`, *optional*, defaults to the first of `TEXT_COLUMNS` that is there): Column of the texts.
        label_column (`str`, *optional*, defaults to the layout found): Column of label names, ids or 0/1 vectors.
        label_names (`Sequence[str]`, `str` or `os.PathLike`, *optional*): The labels in order, or the path of a text
            file with one label per line. With 0/1 columns they also choose which columns are labels.
        train_split (`str`, *optional*, defaults to `"train"`): Name of the training split on the Hub.
        validation_split (`str`, *optional*, defaults to `"validation"`): Name of the validation split on the Hub; only
            the default name may be missing there.
        test_split (`str`, *optional*, defaults to `"test"`): Name of the test split on the Hub; likewise.
        validation_ratio (`float`, *optional*, defaults to 0.0): Share of the training data, in [0, 1), that becomes
            the validation split where there is none; see [`iterative_stratification`].
        test_ratio (`float`, *optional*, defaults to 0.0): Likewise for the test split; both sum to less than 1.
        seed (`int`, *optional*, defaults to 42): Seed of that division; at least 0.

    Returns:
        `EmotionData`: The label names and the splits that exist.

    Raises:
        DataError: The arguments contradict each other, or the data are not as expected.
    """
    names = _check_label_names(label_names)
    ratios = {"validation": validation_ratio, "test": test_ratio}
    _check_ratios(ratios)
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    if dataset_name is None:
        tables = _read_tables(files)
    elif any(path is not None for path in files.values()):
        given = ", ".join(f"{split}_file" for split, path in files.items() if path is not None)
        raise DataError(f"dataset_name and {given} are both given, expected one source; leave one of them out")
    else:
        split_names = {"train": train_split, "validation": validation_split, "test": test_split}
        tables = _load_tables(dataset_name, dataset_config, dataset_revision, split_names)

    names, parts = _read_parts(tables, _Wanted(text_column, label_column, names))
    ratios = {split: ratio for split, ratio in ratios.items() if ratio > 0 and split not in parts}
    if ratios:
        parts |= _carve(parts["train"], ratios, seed, tables["train"].source)
    return EmotionData(names, {split: _to_dataset(parts[split]) for split in files if split in parts})


def read_file(
    path: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | str | os.PathLike[str] | None = None,
) -> tuple[datasets.Dataset, list[str]]:
    """Read one file of texts and labels.

    Args:
        path (`str` or `os.PathLike`): A `.csv`, `.tsv`, `.txt` (tab separated), `.jsonl`, `.json` (one object per
            line) or `.parquet` file; all but the last may be compressed (`.gz`). Text is UTF-8, with or without BOM.
        text_column (`str`, *optional*, defaults to the first of `TEXT_COLUMNS` that is there): Column of the texts.
        label_column (`str`, *optional*, defaults to the layout found): Column of label names, ids or 0/1 vectors.
        label_names (`Sequence[str]`, `str` or `os.PathLike`, *optional*): The labels in order (a model's, say), or
            the path of a text file with one label per line; without them the labels are those of the file.

    Returns:
        `tuple[datasets.Dataset, list[str]]`: The data with the columns `text` (string) and `labels` (list of
        `num_labels` float32, each 0.0 or 1.0), and the label names.

    Raises:
        DataError: The file is missing or not as expected.
    """
    wanted = _Wanted(text_column, label_column, _check_label_names(label_names))
    part, names = _read_part(_read_table(path), wanted)
    return _to_dataset(part), names


def _read_tables(files: dict[str, str | os.PathLike[str] | None]) -> dict[str, _Table]:
    if files["train"] is None:
        raise DataError("neither train_file nor dataset_name is given, expected one of them; name the training data")
    return {split: _read_table(path) for split, path in files.items() if path is not None}


def _load_tables(
    name: str, config: str | None, revision: str | None, split_names: dict[str, str]
) -> dict[str, _Table]:
    loaded = datasets.load_dataset(name, config, revision=revision)
    source = name if config is None else f"{name} ({config})"
    tables = {}
    for split, split_name in split_names.items():
        if split_name in loaded:
            data = loaded[split_name]
            table = data.with_format("arrow")[:]
            tables[split] = _from_arrow(f"{source}, split {split_name!r}", table, data.features)
        elif split == "train" or split_name != split:
            raise DataError(
                f"{source}: has no split {split_name!r}, expected it as {split}_split; "
                f"name one of: {', '.join(map(repr, loaded))}"
            )
    return tables


def _read_parts(tables: dict[str, _Table], wanted: _Wanted) -> tuple[list[str], dict[str, _Part]]:
    part, names = _read_part(tables["train"], wanted)
    learned_from = tables["train"].source if wanted.label_names is None else None
    wanted = _Wanted(wanted.text_column, wanted.label_column, names, learned_from)
    others = {split: _read_part(table, wanted)[0] for split, table in tables.items() if split != "train"}
    return names, {"train": part, **others}


def _read_part(table: _Table, wanted: _Wanted) -> tuple[_Part, list[str]]:
    text_column = _find_text_column(table, wanted.text_column)
    texts = table.values(text_column)
    if set(map(type, texts)) != {str}:
        index = next(i for i, text in enumerate(texts) if type(text) is not str)
        problem = f"expected a text, got {_short(texts[index])}; write a string (it may be empty) or drop the row"
        raise table.error(problem, index=index, column=text_column)
    labels, names = _read_labels(table, text_column, wanted)
    return _Part(texts, labels), names


def _to_dataset(part: _Part) -> datasets.Dataset:
    num_rows, num_labels = part.labels.shape
    try:
        texts = pa.array(part.texts, pa.string())
    except UnicodeEncodeError:
        texts = pa.array([_SURROGATE.sub("\ufffd", text) for text in part.texts], pa.string())
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * num_labels)
    labels = pa.ListArray.from_arrays(offsets, pa.array(part.labels.ravel(), pa.float32()))
    return datasets.Dataset(pa.table({"text": texts, "labels": labels}))


# --- arguments ---


def _check_label_names(label_names: Sequence[str] | str | os.PathLike[str] | None) -> list[str] | None:
    if label_names is None:
        return None
    source = "label_names"
    if isinstance(label_names, str | os.PathLike):
        source = str(label_names)
        if not Path(source).is_file():
            problem = "is no file; give label_names as a list, or as the path of a text file with one label per line"
            raise _error(f"label_names {source!r}", problem)
        label_names = [line for line in _read_text(Path(source)).splitlines() if line.strip()]
    for name in label_names:
        if not isinstance(name, str) or not name.strip():
            raise _error(source, f"expected names, got {_short(name)}; write every label as a string, in quotes")
    names = [name.strip() for name in label_names]
    if not names:
        raise _error(source, "expected at least one label, got none; name the labels or leave label_names out")
    duplicate = _first_duplicate(names)
    if duplicate is not None:
        raise _error(source, f"label {duplicate!r} occurs twice, expected different labels; remove one of them")
    return names


def _check_ratios(ratios: dict[str, float]) -> None:
    if min(ratios.values()) < 0 or not sum(ratios.values()) < 1:
        got = " and ".join(f"{split}_ratio {ratio}" for split, ratio in ratios.items())
        raise DataError(f"{got}: expected ratios of at least 0 that sum to less than 1; lower them")


def _first_duplicate(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


# --- files to tables ---


def _read_table(path: str | os.PathLike[str]) -> _Table:
    file = Path(path)
    source = str(path)
    if not file.is_file():
        problem = "is a folder, expected a file" if file.is_dir() else "no such file"
        raise _error(source, f"{problem}; correct the path")
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    if file.name.lower().endswith(".parquet"):
        return _read_parquet(file)
    if suffix not in _PARSERS:
        problem = f"expected a file in {', '.join(_PARSERS)} (each also as .gz) or .parquet, got {suffix!r}"
        raise _error(source, f"{problem}; convert or rename it")
    text = _read_text(file)
    if not text.strip():
        raise _error(source, "the file is empty, expected texts and labels; check how it was written")
    return _PARSERS[suffix](source, text)


def _read_text(path: Path) -> str:
    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise _error(str(path), f"expected gzip, got {error}; compress the file again") from error
    start = len(_BOM) if raw.startswith(_BOM) else 0
    try:
        return raw[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start + error.start
        problem = f"expected UTF-8, got byte 0x{raw[offset]:02x} at offset {offset}; save the file as UTF-8"
        raise _error(str(path), problem, row=raw.count(b"\n", 0, offset) + 1) from error


def _read_parquet(path: Path) -> _Table:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise _error(str(path), f"expected a Parquet file, got {reason!r}; write it again") from error
    # Only files that datasets wrote say what the ids mean; its features lack some Arrow types of other files.
    is_described = b"huggingface" in (table.schema.metadata or {})
    features = datasets.Features.from_arrow_schema(table.schema) if is_described else datasets.Features()
    return _from_arrow(str(path), table, features)


def _from_arrow(source: str, table: pa.Table, features: datasets.Features) -> _Table:
    _check_columns(source, table.column_names, None)
    if table.num_rows == 0:
        raise _error(source, "has columns but no rows, expected at least one; check how it was written")
    class_names = {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, datasets.ClassLabel) and inner.names:
            class_names[name] = list(inner.names)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    return _Table(source, columns, range(1, table.num_rows + 1), class_names=class_names)


def _parse_csv(source: str, text: str, delimiter: str = ",") -> _Table:
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
        raise _error(source, problem, row=line) from error
    return _from_records(source, records, lines)


def _parse_tsv(source: str, text: str) -> _Table:
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
    return any(cell.startswith('"') and not _QUOTED.fullmatch(cell) for record in records for cell in record)


def _from_records(source: str, records: list[list[str]], lines: list[int], header: list[str] | None = None) -> _Table:
    header_row = None
    if header is None:
        header, header_row = [name.strip() for name in records[0]], lines[0]
        records, lines = records[1:], lines[1:]
    _check_columns(source, header, header_row)
    if not records:
        problem = "has a header but no rows, expected at least one; check how it was written"
        raise _error(source, problem, row=header_row)
    for record, line in zip(records, lines, strict=True):
        if len(record) != len(header):
            problem = f"expected {len(header)} fields, got {len(record)}; quote fields that hold the separator"
            raise _error(source, problem, row=line)
    columns = dict(zip(header, zip(*records, strict=True), strict=True))
    return _Table(source, columns, lines, header_row)


def _parse_jsonl(source: str, text: str) -> _Table:
    records, lines = [], []
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if line.strip():
            records.append(_parse_json_line(source, line, number))
            lines.append(number)
    names = dict.fromkeys(chain.from_iterable(records))
    return _Table(source, {name: [record.get(name) for record in records] for name in names}, lines)


def _parse_json_line(source: str, line: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
        problem = f"expected one JSON object per line, got {_short(line.strip())}: {reason}; correct the line"
        raise _error(source, problem, row=number) from error
    if not isinstance(record, dict):
        problem = f"expected one JSON object per line, got {_short(line.strip())}; correct the line"
        raise _error(source, problem, row=number)
    return record


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError(f"key {_first_duplicate(key for key, _ in pairs)!r} occurs twice")
    return record


_PARSERS: dict[str, Callable[[str, str], _Table]] = {
    ".csv": _parse_csv,
    ".tsv": _parse_tsv,
    ".txt": _parse_tsv,
    ".jsonl": _parse_jsonl,
    ".json": _parse_jsonl,
}


def _check_columns(source: str, names: list[str], header_row: int | None) -> None:
    duplicate = _first_duplicate(name for name in names if name)
    if duplicate is not None:
        problem = "the column occurs twice, expected different columns; rename or remove one of them"
        raise _error(source, problem, row=header_row, column=duplicate)


# --- tables to labels ---


def _find_text_column(table: _Table, text_column: str | None) -> str:
    if text_column is not None:
        _require_column(table, text_column, "text_column")
        return text_column
    found = _find_column(table.columns, TEXT_COLUMNS)
    if found is None:
        raise table.header_error(
            f"no text column, expected one of {', '.join(TEXT_COLUMNS)}; name it with text_column"
        )
    return found


def _find_column(columns: Iterable[str], names: Sequence[str]) -> str | None:
    by_lower = {column.lower(): column for column in reversed(list(columns))}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _require_column(table: _Table, column: str, argument: str) -> None:
    if column not in table.columns:
        problem = f"no such column, expected it for {argument}; correct the name or the file"
        raise table.header_error(problem, column=column)


def _read_labels(table: _Table, text_column: str, wanted: _Wanted) -> tuple[FloatArray, list[str]]:
    """Find out the layout and return the labels of shape `(num_rows, num_labels)` and their names."""
    if wanted.label_column is not None:
        _require_column(table, wanted.label_column, "label_column")
        return _read_label_column(table, wanted.label_column, wanted)
    others = [column for column in table.columns if column != text_column and not _is_ignored(column)]
    names = wanted.label_names
    if names is not None and any(name in table.columns and name != text_column for name in names):
        for name in names:
            _require_column(table, name, wanted.describe_names())
        if wanted.learned_from is not None:
            _check_no_new_label(table, [column for column in others if column not in names], wanted)
        return _read_binary_columns(table, names), names

    flags = {column: _to_binary(table.values(column)) for column in others}
    binary = [column for column in others if np.mean(flags[column] >= 0) >= 0.5]
    label_column = _find_column(others, LABEL_COLUMNS)
    if label_column is None and len(others) == 1 and not binary:
        label_column = others[0]
    if label_column is not None:
        _check_not_ambiguous(table, label_column, [column for column in binary if column != label_column])
        return _read_label_column(table, label_column, wanted)
    if names is not None:
        raise table.header_error(
            f"no label column, expected {_short(names[0])} or a column called labels; name it with label_column"
        )
    if not binary:
        raise table.header_error(
            "no labels, expected 0/1 columns or a column called labels; name it with label_column"
        )
    _check_all_binary(table, flags, binary)
    return _read_binary_columns(table, binary), binary


def _is_ignored(column: str) -> bool:
    name = column.lower()
    return name in _IGNORED or name.endswith("_id") or name.startswith("unnamed:")


def _to_binary(values: list[Any]) -> npt.NDArray[np.int8]:
    """Return 0 or 1 for every value that means it, -1 for any other."""
    if set(map(type, values)) & {list, dict}:
        values = [None if isinstance(value, list | dict) else value for value in values]
    meaning = {
        value: _BINARY.get(value.strip().lower() if isinstance(value, str) else value, -1) for value in set(values)
    }
    return np.fromiter(map(meaning.__getitem__, values), np.int8, len(values))


def _read_binary_columns(table: _Table, columns: list[str]) -> FloatArray:
    labels = np.stack([_to_binary(table.values(column)) for column in columns], axis=1)
    if labels.min() < 0:
        # Row by row, so that the first wrong row of the file is named, whatever its column.
        index, position = divmod(int(np.argmax(labels.ravel() < 0)), len(columns))
        raise _not_binary(table, index, columns[position], "correct the value")
    return labels.astype(np.float32)


def _not_binary(table: _Table, index: int, column: str, remedy: str) -> DataError:
    got = _short(table.values(column)[index])
    return table.error(f"expected 0 or 1, got {got}; {remedy}", index=index, column=column)


def _check_all_binary(table: _Table, flags: dict[str, npt.NDArray[np.int8]], binary: list[str]) -> None:
    for column, values in flags.items():
        if column not in binary:
            remedy = "it stands beside 0/1 columns, so name the columns that are labels with label_names"
            raise _not_binary(table, int(np.argmax(values < 0)), column, remedy)


def _check_not_ambiguous(table: _Table, label_column: str, binary: list[str]) -> None:
    if binary:
        problem = f"stands beside the 0/1 column {binary[0]!r}, expected one layout"
        remedy = f"give label_column={label_column!r}, or the 0/1 columns as label_names"
        raise table.header_error(f"{problem}; {remedy}", column=label_column)


def _check_no_new_label(table: _Table, columns: list[str], wanted: _Wanted) -> None:
    for column in columns:
        if np.mean(_to_binary(table.values(column)) >= 0) >= 0.5:
            problem = f"label {column!r} is not among {wanted.describe_names()}; remove the column or name the labels"
            raise table.header_error(f"{problem} with label_names", column=column)


class _Cells(NamedTuple):
    """The distinct cells of a label column: many rows share few combinations, so each is parsed once."""

    table: _Table
    column: str
    tokens: list[list[Any]]
    first: list[int]
    codes: npt.NDArray[np.int64]

    def error(self, cell: int, problem: str) -> DataError:
        """Build the error for the first row that holds a distinct cell."""
        return self.table.error(problem, index=self.first[cell], column=self.column)


def _read_label_column(table: _Table, column: str, wanted: _Wanted) -> tuple[FloatArray, list[str]]:
    cells = _parse_cells(table, column)
    known = wanted.label_names
    kind = _kind_of(cells.tokens, known)
    if kind == "vectors":
        return _encode_vectors(cells, known)
    if kind == "ids":
        id_names = table.class_names.get(column, known)
        tokens = _to_names(cells, id_names)
        cells = cells._replace(tokens=tokens)
        known = known or id_names or list(GOEMOTIONS_LABELS)
    return _encode_names(cells, known, wanted)


def _parse_cells(table: _Table, column: str) -> _Cells:
    values = table.values(column)
    index: dict[str, int] = {}
    # By repr, since lists cannot be keys and 1, 1.0 and True would be one.
    codes = np.fromiter((index.setdefault(key, len(index)) for key in map(repr, values)), np.int64, len(values))
    first = np.unique(codes, return_index=True)[1].tolist()
    tokens = []
    for row in first:
        parsed = _parse_cell(values[row])
        if isinstance(parsed, str):
            raise table.error(f"{parsed}, got {_short(values[row])}; correct the cell", index=row, column=column)
        tokens.append(parsed)
    return _Cells(table, column, tokens, first, codes)


def _parse_cell(value: object) -> list[Any] | str:
    """Return the names, ids or numbers in a cell, or what was expected of it."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            value = _parse_list(text)
        else:
            value = [token.strip() for token in text.split(",")] if text else []
    elif isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list):
        return "expected a list of names or ids (empty for no label)"
    tokens = [_SURROGATE.sub("\ufffd", token.strip()) if isinstance(token, str) else token for token in value]
    if any(token == "" or not isinstance(token, str | int | float) for token in tokens):
        return "expected every label of the list to be a name or an id"
    return tokens


def _parse_list(text: str) -> list[Any] | None:
    """Parse a JSON or Python list of constants; None if it is neither."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        return parsed if isinstance(parsed, list) else None
    try:
        body = ast.parse(text, mode="eval").body
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if not isinstance(body, ast.List):
        return None
    return [node.value if isinstance(node, ast.Constant) else None for node in body.elts]


def _kind_of(tokens: list[list[Any]], known: list[str] | None) -> str:
    """Tell `names`, `ids` and 0/1 `vectors` apart by the first cell that is not empty; later ones must agree."""
    first = next((cell for cell in tokens if cell), [])
    if any(isinstance(token, float | bool) for token in first):
        return "vectors"
    if not all(_is_id(token) for token in first) or not first or (known and first[0] in known):
        return "names"
    # Ids of one row differ; a row of zeros and ones with a repetition, or rows as wide as the labels, are vectors.
    cells = [_to_binary(cell).tolist() for cell in tokens]
    if not any(-1 in cell for cell in cells):
        repeated = any(len(set(cell)) < len(cell) for cell in cells)
        if repeated or (known and all(len(cell) == len(known) for cell in cells)):
            return "vectors"
    return "ids"


def _is_id(token: object) -> bool:
    if isinstance(token, str):
        return _INTEGER.fullmatch(token) is not None
    return isinstance(token, int) and not isinstance(token, bool)


def _encode_vectors(cells: _Cells, known: list[str] | None) -> tuple[FloatArray, list[str]]:
    if known is None:
        raise cells.error(0, "has 0/1 vectors without names; give label_names")
    rows = [_to_binary(cell) for cell in cells.tokens]
    for cell, row in enumerate(rows):
        if len(row) != len(known):
            problem = f"expected {len(known)} numbers, one per label, got {len(row)}; correct the row or label_names"
            raise cells.error(cell, problem)
        if row.min() < 0:
            wrong = _short(cells.tokens[cell][int(np.argmax(row < 0))])
            raise cells.error(cell, f"expected numbers 0 or 1, got {wrong}; correct the value")
    return np.stack(rows).astype(np.float32)[cells.codes], known


def _to_names(cells: _Cells, id_names: list[str] | None) -> list[list[str]]:
    """Replace the label ids of every cell by names."""
    for cell, tokens in enumerate(cells.tokens):
        wrong = [token for token in tokens if not _is_id(token)]
        if wrong:
            raise cells.error(cell, f"expected label ids as in the rows before, got {_short(wrong[0])}; write its id")
        if len({int(token) for token in tokens}) < len(tokens):
            problem = "expected every label id once (0/1 vectors need one number per label in every row)"
            raise cells.error(cell, f"{problem}, got {_short(tokens)}; correct the row")
    ids = [[int(token) for token in tokens] for tokens in cells.tokens]
    if id_names is None:
        if set(chain.from_iterable(ids)) != set(range(len(GOEMOTIONS_LABELS))):
            raise cells.error(0, "has label ids without names; give label_names in the order of the ids")
        id_names = list(GOEMOTIONS_LABELS)
    for cell, row in enumerate(ids):
        for label_id in row:
            if not 0 <= label_id < len(id_names):
                problem = f"expected label ids from 0 to {len(id_names) - 1}, got {label_id}"
                raise cells.error(cell, f"{problem}; correct it or give the right label_names")
    return [[id_names[label_id] for label_id in row] for row in ids]


def _encode_names(cells: _Cells, known: list[str] | None, wanted: _Wanted) -> tuple[FloatArray, list[str]]:
    for cell, tokens in enumerate(cells.tokens):
        wrong = [token for token in tokens if not isinstance(token, str)]
        if wrong:
            raise cells.error(
                cell, f"expected label names as in the rows before, got {_short(wrong[0])}; write its name"
            )
    names = known if known is not None else sorted(set(chain.from_iterable(cells.tokens)))
    if not names:
        raise cells.error(0, "no row has a label, expected label names; correct the file or give label_names")
    positions = {name: position for position, name in enumerate(names)}
    encoded = np.zeros((len(cells.tokens), len(names)), np.float32)
    for cell, tokens in enumerate(cells.tokens):
        for token in tokens:
            if token not in positions:
                raise cells.error(cell, _unknown_label(token, names, wanted))
            encoded[cell, positions[token]] = 1.0
    return encoded[cells.codes], names


def _unknown_label(name: str, names: list[str], wanted: _Wanted) -> str:
    closest = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean {closest[0]!r}?" if closest else "correct it, or add it to label_names"
    return f"label {_short(name)} is not among {wanted.describe_names()} ({len(names)} labels); {remedy}"


# --- splits ---


def iterative_stratification(labels: npt.ArrayLike, ratios: Sequence[float], seed: int) -> npt.NDArray[np.int64]:
    """Divide rows into subsets that keep the frequency of every label, the rarest labels first.

    Algorithm 1 of Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-label Data" (ECML PKDD 2011): the
    label with the fewest rows left is dealt out, each of its rows to the subset that still wants most of that label,
    then most rows; rows without labels come last. Remaining ties go to the first label or subset.

    Args:
        labels (`array-like` of shape `(num_rows, num_labels)`): The 0/1 labels.
        ratios (`Sequence[float]`): Size of every subset, relative to their sum; each above 0.
        seed (`int`): Seed of the order in which the rows are dealt out; at least 0.

    Returns:
        `np.ndarray` of shape `(num_rows,)`: The subset of every row, from 0 to `len(ratios) - 1`.
    """
    positive = np.asarray(labels) > 0
    shares = np.asarray(ratios, dtype=np.float64) / np.sum(ratios)
    rng = np.random.default_rng(seed)
    subsets = np.full(len(positive), -1, dtype=np.int64)
    num_left = positive.sum(axis=0)
    label_need = shares[:, None] * num_left
    row_need = (shares * len(positive)).tolist()
    while num_left.any():
        label = int(np.argmin(np.where(num_left > 0, num_left, len(positive) + 1)))
        rows = rng.permutation(np.flatnonzero(positive[:, label] & (subsets < 0)))
        subsets[rows] = _deal_out(len(rows), label_need[:, label].tolist(), row_need)
        for subset in range(len(shares)):
            label_need[subset] -= positive[rows[subsets[rows] == subset]].sum(axis=0)
        num_left -= positive[rows].sum(axis=0)
    rows = rng.permutation(np.flatnonzero(subsets < 0))
    subsets[rows] = _deal_out(len(rows), list(row_need), row_need)
    return subsets


def _deal_out(num_rows: int, need: list[float], row_need: list[float]) -> list[int]:
    """Choose a subset for each of `num_rows` rows; both needs are lowered in place."""
    chosen = []
    for _ in range(num_rows):
        subset = max(range(len(need)), key=lambda subset: (need[subset], row_need[subset]))
        need[subset] -= 1
        row_need[subset] -= 1
        chosen.append(subset)
    return chosen


def _carve(train: _Part, ratios: dict[str, float], seed: int, source: str) -> dict[str, _Part]:
    shares = {"train": 1 - sum(ratios.values()), **ratios}
    subsets = iterative_stratification(train.labels, list(shares.values()), seed)
    parts = {}
    for subset, split in enumerate(shares):
        rows = np.flatnonzero(subsets == subset)
        if len(rows) == 0:
            problem = f"{len(train.texts)} rows leave none for {split} at a ratio of {shares[split]:.3g}"
            raise _error(source, f"{problem}, expected at least one; change the ratios or add rows")
        parts[split] = _Part([train.texts[row] for row in rows], train.labels[rows])
    return parts
