# SPDX-License-Identifier: Apache-2.0
"""Four labelled texts in every layout, and helpers that write files, check data and match messages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer_ext.data.loading import read_file
from trainer_ext.errors import InputError

LABELS = ["anger", "joy", "sadness"]
TEXTS = ["so glad, at last", 'he said "no"', "أنا حزين 😢", "nothing"]
MATRIX = [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
NAMES = [["joy"], ["anger", "sadness"], ["sadness"], []]
IDS = [[1], [0, 2], [2], []]
COLUMNS_CSV = (
    "id,text,anger,joy,sadness\n"
    '1,"so glad, at last",0,1,0\n'
    '2,"he said ""no""",1,0,1\n'
    "3,أنا حزين 😢,0,0,1\n"
    "4,nothing,0,0,0\n"
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def write_jsonl(folder: Path, name: str, **columns: list[Any]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return write(folder, name, "".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(folder: Path, name: str, **columns: list[Any] | pa.Array) -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def check(data: datasets.Dataset, texts: list[str] = TEXTS, labels: list[list[float]] = MATRIX) -> None:
    assert data.column_names == ["text", "labels"]
    assert data.features["text"] == datasets.Value("string")
    assert data.features["labels"].feature == datasets.Value("float32")
    assert list(data["text"]) == texts
    assert list(data["labels"]) == labels


def assert_refused(path: Path, place: str, *parts: str, **options: Any) -> None:
    """Check that the file is refused with a message of that place and those parts; `options` are of `read_file`."""
    with pytest.raises(InputError, match=message(path, place, *parts)):
        read_file(path, **options)


def message(path: Path, place: str, *parts: str) -> str:
    """Return the pattern of a one-line message that starts with file and place and holds the parts in order."""
    return "^" + re.escape(f"{path}{place}: ") + "".join(f".*{re.escape(part)}" for part in parts) + "[^\n]*$"
