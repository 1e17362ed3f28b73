# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.table_files: every format read to the same table, broken files named with their place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from emotion_samples import COLUMNS_CSV, LABELS, check, message, write, write_parquet

from trainer_ext.data import table_files
from trainer_ext.data.loading import read_file
from trainer_ext.data.table_files import iter_tables, read_table
from trainer_ext.errors import InputError


@pytest.mark.parametrize("content", [COLUMNS_CSV, "\ufeff" + COLUMNS_CSV, COLUMNS_CSV.replace("\n", "\r\n")])
def test_csv_with_label_columns(tmp_path: Path, content: str) -> None:
    data, names = read_file(write(tmp_path, "a.csv", content))
    assert names == LABELS
    check(data)


def test_gzip_is_read(tmp_path: Path) -> None:
    check(read_file(write(tmp_path, "a.csv.gz", gzip.compress(COLUMNS_CSV.encode())))[0])


def test_semeval_2018_file_keeps_quotes(tmp_path: Path) -> None:
    content = 'ID\tTweet\tanger\tjoy\n2018-1\t"Worry is a down payment\t0\t1\n2018-2\t"whole"\t1\t0\n'
    for name in ("E-c-En-train.txt", "a.tsv"):
        data, names = read_file(write(tmp_path, name, content))
        assert names == ["anger", "joy"]
        check(data, ['"Worry is a down payment', '"whole"'], [[0.0, 1.0], [1.0, 0.0]])


def test_tsv_with_quoted_fields(tmp_path: Path) -> None:
    content = 'text\tjoy\n"a\tb ""c"""\t1\n"two\nlines"\t0\nit\'s 5" long\t1\n'
    check(
        read_file(write(tmp_path, "a.tsv", content))[0], ['a\tb "c"', "two\nlines", "it's 5\" long"], [[1], [0], [1]]
    )


def test_tsv_with_plain_quotes(tmp_path: Path) -> None:
    content = 'text\tjoy\n"Worry" he said\t1\n"open\t0\nend"\t1\n'
    check(read_file(write(tmp_path, "a.tsv", content))[0], ['"Worry" he said', '"open', 'end"'], [[1], [0], [1]])


def test_headerless_goemotions_file(tmp_path: Path) -> None:
    content = 'I said "hi\t1\tabc\n"quoted"\t0,2\tdef\n2 3\t2\tghi\n'
    path = write(tmp_path, "a.tsv", content)
    names_file = write(tmp_path, "names.txt", "anger\r\njoy\r\nsadness\r\n\r\n")
    for label_names in (LABELS, names_file, str(names_file)):
        data, names = read_file(path, label_names=label_names)
        assert names == LABELS
        check(data, ['I said "hi', '"quoted"', "2 3"], [[0, 1, 0], [1, 0, 1], [0, 0, 1]])


def test_texts_are_kept_exactly(tmp_path: Path) -> None:
    texts = ["null", "NA", "nan", "None", "", " padded ", "1"]
    path = write(tmp_path, "a.csv", "text,joy\n" + "".join(f"{text},1\n" for text in texts))
    check(read_file(path)[0], texts, [[1.0]] * 7)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message(tmp_path / "a.csv", "", "no such file; correct the path")):
        read_table(tmp_path / "a.csv")
    with pytest.raises(InputError, match=message(tmp_path, "", "is a folder, expected a file")):
        read_table(tmp_path)


NEWLINE_CSV = 'text,joy\n"one\ntwo\r\nthree",1\n\n'


@pytest.mark.parametrize(
    ("name", "content", "place", "parts"),
    [
        ("a.xlsx", "x", "", ["expected a file in .csv, .tsv, .txt, .jsonl, .json", "got '.xlsx'"]),
        ("a.csv", "", "", ["the file is empty"]),
        ("a.jsonl", "\ufeff\n \n", "", ["the file is empty"]),
        ("a.csv", "text,joy\n\n", ", row 1", ["has a header but no rows"]),
        ("a.tsv", "\ntext\tjoy\n", ", row 2", ["has a header but no rows"]),
        ("a.csv", b"text,joy\nok,1\ncaf\xe9,0\n", ", row 3", ["UTF-8, got byte 0xe9 at offset 17; save the file as"]),
        ("a.csv", b"\xef\xbb\xbftext,joy\n\xff,1\n", ", row 2", ["got byte 0xff at offset 12"]),
        ("a.csv.gz", "text,joy\n", "", ["expected gzip", "compress the file again"]),
        ("a.parquet", "text,joy\na,1\n", "", ["expected a Parquet file"]),
        ("a.csv", NEWLINE_CSV + "a,1,0\n", ", row 6", ["expected 2 fields, got 3"]),
        ("a.csv", NEWLINE_CSV + "a\n", ", row 6", ["expected 2 fields, got 1"]),
        ("a.csv", NEWLINE_CSV + 'b,1\n"open,1\nc,0\n', ", row 7", ["well-formed CSV", "close every quote"]),
        ("a.csv", 'text,joy\na,1\n"b" c,1\n', ", row 3", ["well-formed CSV"]),
        ("a.tsv", "text\tjoy\r\na\t1\r\nb\r\n", ", row 3", ["expected 2 fields, got 1"]),
        ("a.tsv", "a\t1\tx\nb\t1,2\n", ", row 2", ["expected 3 fields, got 2"]),
        ("a.csv", "text,joy,fear,joy\na,1,0,1\n", ", row 1, column 'joy'", ["the column occurs twice"]),
        ("a.jsonl", '{"text": "a", "joy": 1}\n\n{"text": "b", \n', ", row 3", ["one JSON object", "at character"]),
        ("a.jsonl", '{"text": "a", "joy": 1}\n[1]\n', ", row 2", ["expected one JSON object per line, got '[1]'"]),
        ("a.jsonl", '{"text": "a", "joy": 1, "joy": 0}\n', ", row 1", ["key 'joy' occurs twice"]),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: str | bytes, place: str, parts: list[str]) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message(path, place, *parts)):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content", "place", "parts"),
    [
        ("a.json", "[]", "", ["the file is empty"]),
        ("a.json", '[{"text": "a"}, 5]', "", ["expected a JSON array of objects, got 5 as entry 2"]),
        ("a.json", '[\n{"text": "a"},\n{"text" "b"}]', ", row 3", ["JSON array of objects: Expecting ':' delimiter"]),
        ("a.json", '[{"text": "a", "text": "b"}]', "", ["JSON array of objects: key 'text' occurs twice"]),
        ("a.json", "[" * 100_000, "", ["expected a JSON array of objects"]),
        ("a.csv", "text;joy;fear\na;1\n", ", row 2", ["expected 3 fields, got 2"]),
        ("a.csv", b"\xff\xfet\x00e", "", ["UTF-16 by its first bytes"]),
        ("a.csv", "text,joy\na,1\n".encode("utf-16-le") + b"\x00", "", ["UTF-16-LE by its first bytes, got trunc"]),
    ],
)
def test_broken_arrays_delimiters_and_encodings(
    tmp_path: Path, name: str, content: str | bytes, place: str, parts: list[str]
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message(path, place, *parts)):
        read_table(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_encoding_is_known_by_the_first_bytes(tmp_path: Path, encoding: str, is_compressed: bool) -> None:
    raw = COLUMNS_CSV.encode(encoding)
    check(read_file(write(tmp_path, *(("a.csv.gz", gzip.compress(raw)) if is_compressed else ("a.csv", raw))))[0])


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_with_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    rows = [["id", "text", "joy", "fear"], ["1", '"we won, at; last\t!"', "1", "0"]]
    path = write(tmp_path, "a.csv", "".join(delimiter.join(row) + "\n" for row in rows))
    data, names = read_file(path)
    assert names == ["joy", "fear"]
    check(data, ["we won, at; last\t!"], [[1.0, 0.0]])


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
def test_json_array(tmp_path: Path, name: str) -> None:
    text = json.dumps([{"text": "a", "labels": ["joy"]}, {"text": "b\u2028", "labels": []}], indent=2)
    raw = text.encode()
    path = write(tmp_path, name, gzip.compress(raw) if name.endswith(".gz") else raw)
    table = read_table(path)
    assert list(table.rows) == [1, 2]
    assert (table.values("text"), table.values("labels")) == (["a", "b\u2028"], [["joy"], []])


def test_large_fields(tmp_path: Path) -> None:
    text = "so happy, " * 20_000
    check(read_file(write(tmp_path, "a.csv", f'text,joy\n"{text}",1\n'))[0], [text], [[1.0]])


def test_compressed_file_that_grows_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "_MAX_BYTES", 3_000_000)
    path = write(tmp_path, "a.jsonl.gz", gzip.compress(b"0" * 100_000_000))
    with pytest.raises(
        InputError, match=message(path, "", "holds more than 3,000,000 bytes of text", "decompress it")
    ):
        read_table(path)
    check(read_file(write(tmp_path, "a.csv.gz", gzip.compress(COLUMNS_CSV.encode())))[0])


def test_parquet_whose_texts_are_not_utf8(tmp_path: Path) -> None:
    texts = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 4], pa.int32()).buffers()[1], pa.py_buffer(b"caf\xe9")]
    )
    path = write_parquet(tmp_path, "a.parquet", text=texts, joy=[1])
    with pytest.raises(InputError, match=message(path, "", "expected texts in UTF-8", "write it again")):
        read_table(path)


def test_parquet_whose_features_are_broken(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], "joy": [1]}).replace_schema_metadata({"huggingface": '{"info": {"features": 5}}'})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a.parquet: the features in its metadata cannot be read: "):
        read_table(tmp_path / "a.parquet")


PIECES = {
    "a.csv": NEWLINE_CSV + "b,0\nc,1\n",
    "b.csv": "text;joy\na;1\nb;0\nc;1\n",
    "a.tsv": 'text\tjoy\n"a\n2"\t1\nb\t0\nc\t1\n',
    "b.tsv": 'text\tjoy\n"a" b\t1\nb\t0\nc\t1\n',
    "c.tsv": "a\t1\tx\nb\t0\ty\nc\t1,0\tz\n",
    "a.jsonl": '{"text": "a", "joy": 1}\n\n{"text": "b", "joy": 0}\n{"text": "c", "joy": 1}\n',
    "a.json": '[{"text": "a", "joy": 1}, {"text": "b", "joy": 0}, {"text": "c", "joy": 1}]',
}


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_pieces_are_the_whole(tmp_path: Path, name: str, encoding: str) -> None:
    path = write(tmp_path, name, PIECES[name].encode(encoding))
    whole = read_table(path)
    pieces = list(iter_tables(path, 2))
    assert [len(piece.rows) for piece in pieces] == [2, 1]
    assert [row for piece in pieces for row in piece.rows] == list(whole.rows)
    assert {piece.header_row for piece in pieces} == {whole.header_row}
    for column in whole.columns:
        assert [value for piece in pieces for value in piece.values(column)] == whole.values(column)


def test_files_that_are_read_as_a_whole_come_in_pieces(tmp_path: Path) -> None:
    for path, first_row in (
        (write_parquet(tmp_path, "a.parquet", text=["a", "b", "c"]), 1),
        (write(tmp_path, "a.csv.gz", gzip.compress(b"text\na\nb\nc\n")), 2),
    ):
        pieces = list(iter_tables(path, 2))
        assert [piece.values("text") for piece in pieces] == [["a", "b"], ["c"]]
        assert [row for piece in pieces for row in piece.rows] == [first_row, first_row + 1, first_row + 2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.tsv", b"\n"),
        ("a.jsonl", b" \n"),
        ("a.json", b"[]"),
        ("a.csv.gz", gzip.compress(b"\n", mtime=0)),
    ],
)
def test_empty_file_has_no_pieces(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path, name, content)
    assert list(iter_tables(path, 2)) == []
    with pytest.raises(InputError, match=message(path, "", "the file is empty")):
        read_table(path)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz", "a.parquet"])
def test_header_alone_is_a_piece_of_no_rows(tmp_path: Path, name: str) -> None:
    if name == "a.parquet":
        path = write_parquet(tmp_path, name, id=[], text=[])
    else:
        content = "id,text\n" if name == "a.csv" else gzip.compress(b"id\ttext\n")
        path = write(tmp_path, name, content)
    (piece,) = iter_tables(path, 2)
    assert (list(piece.columns), piece.values("text"), list(piece.rows)) == (["id", "text"], [], [])
    with pytest.raises(InputError, match="but no rows, expected at least one"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content", "place", "part"),
    [
        ("a.csv", b"text,joy\nok,1\nok,1\ncaf\xe9,0\n", ", row 4", "expected UTF-8, got byte 0xe9 at offset 22"),
        ("a.csv", b"text,joy\nok,1\nok,1\na\n", ", row 4", "expected 2 fields, got 1"),
        ("a.xlsx", b"PK", "", "got '.xlsx'; convert or rename it"),
    ],
)
def test_broken_files_in_pieces(tmp_path: Path, name: str, content: bytes, place: str, part: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message(path, place, part)):
        list(iter_tables(path, 2))


def test_field_that_swallows_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,joy\na,1\n"b,1\n' + "some text,1\n" * 20000)
    with pytest.raises(InputError, match=message(path, ", row 3", "close every quote")):
        read_table(path)


def test_parquet_without_rows_and_with_a_duplicated_column(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, "a.parquet", text=pa.array([], pa.string()), joy=pa.array([], pa.int8()))
    with pytest.raises(InputError, match=message(path, "", "has columns but no rows")):
        read_table(path)
    pq.write_table(pa.table([pa.array(["a"]), pa.array([1]), pa.array([0])], names=["text", "joy", "joy"]), path)
    with pytest.raises(InputError, match=message(path, ", column 'joy'", "the column occurs twice")):
        read_table(path)


def test_rows_are_the_lines_where_records_start(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", "\n" + NEWLINE_CSV + "a,0\n"))
    assert (table.header_row, list(table.rows)) == (2, [3, 7])
    assert table.values("text") == ["one\ntwo\r\nthree", "a"]
    table = read_table(write(tmp_path, "a.tsv", "a\t1\tx\n\nb\t2\ty\n"))
    assert (table.header_row, list(table.rows)) == (None, [1, 3])
    table = read_table(write(tmp_path, "a.jsonl", '\n{"text": "a"}\n\n{"joy": 1}\n'))
    assert (table.header_row, list(table.rows)) == (None, [2, 4])
    assert table.values("text") == ["a", None]
    table = read_table(write_parquet(tmp_path, "a.parquet", text=["a", "b"]))
    assert (table.header_row, list(table.rows)) == (None, [1, 2])
