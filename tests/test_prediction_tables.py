# SPDX-License-Identifier: Apache-2.0
"""Tests of tables of predictions: rows as they were, columns of labels, four forms, whole or not at all."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer_ext.data.prediction_tables import check_output, rows_of_file, rows_of_texts, write_predictions
from trainer_ext.data.table_files import read_table
from trainer_ext.errors import InputError

FORMS = ["csv", "tsv", "jsonl", "parquet"]
HARD = [
    'so "happy"\r\ntoday',
    "",
    "a\rb",
    " tab\there ",
    '"quoted"',
    "semi;colon, comma",
    "=1+1",
    "null",
    "é 😂 \u2028",
]


def lengths(texts: Iterable[str]) -> Iterator[list[int]]:
    """Whether a text is longer than 1 and longer than 3 characters."""
    return ([int(len(text) > 1), int(len(text) > 3)] for text in texts)


def predicted(source: Path, output: Path, labels: Sequence[str] = ("joy", "fear")) -> list[dict[str, Any]]:
    """The rows that are read of `output` after predicting for `source`."""
    rows = rows_of_file(source)
    table_rows = write_predictions(output, rows, labels, lengths)
    table = read_table(output)
    assert len(table.rows) == table_rows == rows.num_rows
    columns = {name: table.values(name) for name in table.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl"])
def test_rows_come_out_as_they_went_in(tmp_path: Path, form: str, name: str) -> None:
    expected = [{"id": f"x{number}", "text": text, "note": text[::-1]} for number, text in enumerate(HARD)]
    source = tmp_path / name
    if name == "a.jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in expected), encoding="utf-8")
    else:
        with (tmp_path / "a.csv").open("w", encoding="utf-16", newline="") as file:
            writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
            writer.writerows([list(expected[0]), *(list(row.values()) for row in expected)])
        if name == "a.csv.gz":
            source.write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    found = predicted(source, tmp_path / f"b.{form}")
    assert [list(row) for row in found] == [["id", "text", "note", "joy", "fear"]] * len(HARD)
    kind = str if form in ("csv", "tsv") else int
    for row, before in zip(found, expected, strict=True):
        assert row == {**before, "joy": kind(int(len(before["text"]) > 1)), "fear": kind(int(len(before["text"]) > 3))}


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_bytes_of_a_table(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfid;text;;\n07;"a;b, c";1;2\n')
    predicted(tmp_path / "a.csv", tmp_path / f"b.{form}", ["joy", "fe\x1b[2Jar"])
    expected = 'id,text,,Unnamed: 3,joy,fe [2Jar\n07,"a;b, c",1,2,1,1\n'
    if form == "tsv":
        expected = expected.replace('"a;b, c"', "a;b! c").replace(",", "\t").replace("!", ",")
    assert (tmp_path / f"b.{form}").read_text(encoding="utf-8") == expected


def test_columns_of_labels_keep_their_place(tmp_path: Path) -> None:
    header = "id\tTweet\tsadness\tfear\tanger\tjoy\n"
    (tmp_path / "a.tsv").write_text(header + "1\tyes\tNONE\tNONE\t\t0\n", encoding="utf-8")
    (row,) = predicted(tmp_path / "a.tsv", tmp_path / "b.csv", ["joy", "fear"])
    assert list(row.items()) == [
        *(("id", "1"), ("Tweet", "yes"), ("sadness", "NONE"), ("fear", "0"), ("anger", ""), ("joy", "1"))
    ]


def test_quotes_of_a_semeval_file_are_characters(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('ID\tTweet\tjoy\n7\t"so" "happy"\tNONE\n8\t"all of it"\tNONE\n', encoding="utf-8")
    rows = rows_of_file(tmp_path / "a.tsv")
    write_predictions(tmp_path / "b.tsv", rows, ["joy", "fear"], lengths)
    assert (tmp_path / "b.tsv").read_text() == 'ID\tTweet\tjoy\tfear\n7\t"so" "happy"\t1\t1\n8\t"all of it"\t1\t1\n'
    (tmp_path / "c.csv").write_text('ID,Tweet\n7,"so\thappy"\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"^A field holds a tab .*'so\\thappy'; write \.csv\.$"):
        write_predictions(
            tmp_path / "d.tsv", rows_of_file(tmp_path / "c.csv"), ["joy"], lambda texts: ([0] for _ in texts)
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tsv", "b.tsv", "c.csv"]


VALUES: list[dict[str, Any]] = [
    {"text": "a", "list": [1, "\ud83d"], "some": None, "number": 1, "nan": float("nan"), "flag": True},
    {"text": "bc", "list": [], "some": {"x": 1.5}, "number": 2.5, "nan": 0.0, "flag": False, "late": "here"},
]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_values_of_json(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in VALUES), encoding="utf-8")
    first, second = predicted(tmp_path / "a.jsonl", tmp_path / f"b.{form}", ["joy", "fear"])
    assert list(first) == list(second) == [*VALUES[1], "joy", "fear"]
    if form == "jsonl":
        assert first == {**VALUES[0], "list": [1, "\ufffd"], "nan": None, "late": None, "joy": 0, "fear": 0}
        assert second == {**VALUES[1], "joy": 1, "fear": 0}
    else:
        assert [*first.values()] == ["a", '[1, "\ufffd"]', "", "1", "", "true", "", "0", "0"]
        assert [*second.values()] == ["bc", "[]", '{"x": 1.5}', "2.5", "0.0", "false", "here", "1", "0"]


def test_types_of_parquet_stay(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "bcde"], pa.large_string()),
            "day": pa.array([datetime.date(2026, 1, 2), None], pa.date32()),
            "votes": pa.array([[1], [2, 3]], pa.list_(pa.int8())),
            "lang": pa.array(["en", "de"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    write_predictions(tmp_path / "b.parquet", rows_of_file(tmp_path / "a.parquet"), ["joy", "fear"], lengths)
    expected = table.append_column("joy", pa.array([0, 1])).append_column("fear", pa.array([0, 1]))
    assert pq.read_table(tmp_path / "b.parquet").equals(expected)
    write_predictions(tmp_path / "b.csv", rows_of_file(tmp_path / "a.parquet"), ["joy", "fear"], lengths)
    assert (tmp_path / "b.csv").read_text().splitlines()[1:] == ["a,2026-01-02,[1],en,0,0", 'bcde,,"[2, 3]",de,1,1']


def test_types_of_json_are_common_to_all_pieces(tmp_path: Path) -> None:
    lines = ['{"text": "a", "score": null}\n'] * 1000 + [
        '{"text": "a", "score": 1}\n',
        '{"text": "a", "score": 0.5}\n',
    ]
    (tmp_path / "a.jsonl").write_text("".join(lines), encoding="utf-8")
    assert [row["score"] for row in predicted(tmp_path / "a.jsonl", tmp_path / "b.parquet")[999:]] == [None, 1.0, 0.5]
    for number in (1, 1000):
        (tmp_path / "a.jsonl").write_text("".join(lines[-1:] * number) + '{"text": "a", "score": "x"}\n')
        with pytest.raises(InputError, match=r"^Column 'score' (holds values of several types|cannot be written as)"):
            predicted(tmp_path / "a.jsonl", tmp_path / "c.parquet")
        assert predicted(tmp_path / "a.jsonl", tmp_path / "c.jsonl")[-1]["score"] == "x"
        assert not (tmp_path / "c.parquet").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [("a.csv", "id,tweet\n", ["id", "tweet"]), ("a.csv", "", ["text"]), ("a.jsonl", "\n", ["text"])],
)
def test_no_rows_make_a_header(tmp_path: Path, form: str, name: str, content: str, columns: list[str]) -> None:
    (tmp_path / name).write_text(content)
    output = tmp_path / f"b.{form}"
    assert write_predictions(output, rows_of_file(tmp_path / name), ["joy"], lengths) == 0
    if form == "parquet":
        assert pq.read_table(output).column_names == [*columns, "joy"]
    else:
        mark = {"csv": ",", "tsv": "\t", "jsonl": ""}[form]
        assert output.read_text() == (mark.join([*columns, "joy"]) + "\n" if mark else "")


def test_texts_alone_are_a_column(tmp_path: Path) -> None:
    scores = [[0.25, 1e-06], [0.5, 1.0]]
    rows = rows_of_texts(["so \ud83d", "b"], 2)
    assert write_predictions(tmp_path / "b.csv", rows, ["joy", "fear"], lambda texts: scores, float) == 2
    assert (tmp_path / "b.csv").read_text(encoding="utf-8") == "text,joy,fear\nso \ufffd,0.25,1e-06\nb,0.5,1.0\n"
    write_predictions(tmp_path / "b.parquet", rows_of_texts([]), ["joy"], lengths, float)
    assert pq.read_schema(tmp_path / "b.parquet").field("joy").type == pa.float64()


def test_name_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.xlsx: expected a file in \.csv, .* \.parquet, got '\.xlsx'"):
        check_output(tmp_path / "b.xlsx")


def test_label_called_as_the_column_of_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^Column 'text' holds the texts and has the name of a label; rename it\.$"):
        write_predictions(tmp_path / "b.csv", rows_of_texts(["a"]), ["text"], lengths)


@pytest.mark.parametrize("form", FORMS)
def test_failure_leaves_the_old_file_and_no_other(tmp_path: Path, form: str) -> None:
    output = tmp_path / f"b.{form}"
    output.write_text("old")

    def fail(texts: Iterable[str]) -> Iterator[list[int]]:
        for number, _ in enumerate(texts):
            if number == 2:
                raise OSError("disk full")
            yield [0]

    with pytest.raises(OSError, match="disk full"):
        write_predictions(output, rows_of_texts("abc"), ["joy"], fail)
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    assert output.read_text() == "old"


def test_all_rows_are_checked_before_the_first_is_predicted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n" + "1,a\n" * 3000 + "1\n")
    with pytest.raises(InputError, match="row 3002: expected 2 fields, got 1"):
        rows_of_file(tmp_path / "a.csv")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.csv").write_text("id,text\n" + f"1,{'so happy ' * 200}\n" * 7000)
    tracemalloc.start()
    write_predictions(tmp_path / f"b.{form}", rows_of_file(tmp_path / "a.csv"), ["joy", "fear"], lengths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Of the 12.6 MB of the file, two pieces of 1,000 rows.
    assert peak < 5_000_000


def test_parquet_is_written_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer_ext.data.prediction_tables._ROWS_OF_A_GROUP", 2)
    write_predictions(tmp_path / "b.parquet", rows_of_texts("abcde"), ["joy", "fear"], lengths)
    with pq.ParquetFile(tmp_path / "b.parquet") as file:
        assert [file.metadata.row_group(index).num_rows for index in range(3)] == [2, 2, 1]
        assert file.read().column("text").to_pylist() == [*"abcde"]
