# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.layouts: text and label columns are found, wrong ones named with row and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from emotion_samples import (
    LABELS,
    MATRIX,
    NAMES,
    TEXTS,
    assert_refused,
    check,
    write,
    write_jsonl,
    write_parquet,
)

from trainer_ext.data.loading import read_file
from trainer_ext.errors import InputError


@pytest.mark.parametrize("kind", [int, float, bool])
def test_label_columns_in_jsonl_and_parquet(tmp_path: Path, kind: type) -> None:
    columns = {name: [kind(row[i]) for row in MATRIX] for i, name in enumerate(LABELS)}
    for path in (
        write_jsonl(tmp_path, "a.jsonl", tweet_id=[1, 2, 3, 4], text=TEXTS, **columns),
        write_jsonl(tmp_path, "a.json", text=TEXTS, **columns),
        write_parquet(tmp_path, "a.parquet", tweet_id=[1, 2, 3, 4], text=TEXTS, **columns),
    ):
        data, names = read_file(path)
        assert names == LABELS
        check(data)


@pytest.mark.parametrize(
    ("zero", "one"),
    [
        *(("False", "True"), ("0.0", "1.0"), (" 0", "1 "), ("false", "TRUE"), ("0.00", "1.000"), ("0.", "1.")),
        *(("no", "yes"), ("No ", "YES"), ("n", "y"), ("", "x"), (" ", "X"), ("", "✓")),
    ],
)
def test_spellings_of_zero_and_one(tmp_path: Path, zero: str, one: str) -> None:
    content = f"text,anger,joy\na,{zero},{one}\nb,{one},{zero}\n"
    data, names = read_file(write(tmp_path, "a.csv", content))
    assert names == ["anger", "joy"]
    check(data, ["a", "b"], [[0.0, 1.0], [1.0, 0.0]])


def test_label_names_choose_and_order_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,anger,note,joy\na,0,hm,1\nb,1,,0\n")
    data, names = read_file(path, label_names=["joy", "anger"])
    assert names == ["joy", "anger"]
    check(data, ["a", "b"], [[1.0, 0.0], [0.0, 1.0]])
    check(read_file(path, label_names=["joy"])[0], ["a", "b"], [[1.0], [0.0]])


def test_text_column_is_found_in_order_and_case_insensitively(tmp_path: Path) -> None:
    check(read_file(write(tmp_path, "a.csv", "Content,joy\na,1\n"))[0], ["a"], [[1.0]])
    path = write(tmp_path, "b.csv", "content,TEXT,joy\nc,t,1\n")
    check(read_file(path, label_names=["joy"])[0], ["t"], [[1.0]])
    check(read_file(path, text_column="content", label_names=["joy"])[0], ["c"], [[1.0]])


def test_label_column_is_chosen(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=TEXTS, mood=NAMES, note=["x", "y", "z", "w"])
    check(read_file(path, label_column="mood")[0])


@pytest.mark.parametrize(
    ("content", "kwargs", "place", "parts"),
    [
        ("a,joy\nx,1\n", {}, ", row 1", ["no text column, expected one of text, tweet", "present: 'a', 'joy'"]),
        ("text,joy\nx,1\n", {"text_column": "t"}, ", row 1, column 't'", ["text_column", "present: 'text', 'joy'"]),
        ("text,joy\nx,1\n", {"label_column": "l"}, ", row 1, column 'l'", ["label_column", "'text', 'joy'"]),
        ("text,joy\nx,1\n", {"label_names": ["joy", "fear"]}, ", row 1, column 'fear'", ["no such column"]),
        ("text,id\nx,1\n", {}, ", row 1", ["no labels, expected 0/1 columns or a column called labels"]),
        ("text,a,b\nx,y,z\n", {"label_names": ["joy"]}, ", row 1", ["no label column", "label_column"]),
        ("text,joy,fear\nx,1,0\ny,0,1\nz,2,0\n", {}, ", row 4, column 'joy'", ["expected 0 or 1, got '2'"]),
        ("text,joy,fear\nx,1,0\ny,0,\nz,2,0\n", {}, ", row 3, column 'fear'", ["expected 0 or 1, got ''"]),
        ("text,joy,likes\nx,1,17\n", {}, ", row 2, column 'likes'", ["got '17'", "name the columns", "label_names"]),
        ("text,joy,label\nx,1,fear\n", {}, ", row 1, column 'label'", ["beside the 0/1 column 'joy'"]),
        ('text,joy\n"x\ny",1\nz,no\n', {}, ", row 4, column 'joy'", ["expected 0 or 1, got 'no'"]),
        ("text,joy\nx,yes\ny,no\nz,maybe\n", {}, ", row 4, column 'joy'", ["expected yes or no, got 'maybe'"]),
        ("text,joy,note\nx,x,hm\n", {}, ", row 2, column 'note'", ["x or nothing, got 'hm'", "label_names"]),
        ("text,joy,fear\nx,x,?\ny,,x\n", {}, ", row 2, column 'fear'", ["expected x or nothing, got '?'"]),
        ("text,joy,note\nx,1,yes\n", {}, ", row 2, column 'note'", ["expected 0 or 1, got 'yes'", "label_names"]),
        ("text,joy,fear\nx,1,1\ny,0,\nz,1,\n", {}, ", row 3, column 'fear'", ["got ''; give blank_labels"]),
        ("text,joy,fear\nx,,\n", {}, ", row 1", ["no labels, expected 0/1 columns"]),
    ],
)
def test_broken_columns_in_csv(
    tmp_path: Path, content: str, kwargs: dict[str, Any], place: str, parts: list[str]
) -> None:
    path = write(tmp_path, "a.csv", content)
    assert_refused(path, place, *parts, **kwargs)


@pytest.mark.parametrize(
    ("columns", "place", "parts"),
    [
        ({"text": ["a", None], "joy": [1, 0]}, ", row 2, column 'text'", ["expected a text, got null"]),
        ({"text": ["a", 5], "joy": [1, 0]}, ", row 2, column 'text'", ["expected a text, got 5"]),
        ({"text": ["a", float("nan")], "joy": [1, 0]}, ", row 2, column 'text'", ["expected a text, got nan"]),
        ({"text": ["a", "b"], "joy": [1, None]}, ", row 2, column 'joy'", ["expected 0 or 1, got null"]),
        ({"text": ["a", "b"], "joy": [1, [1]]}, ", row 2, column 'joy'", ["expected 0 or 1, got [1]"]),
    ],
)
def test_broken_columns_in_jsonl(tmp_path: Path, columns: dict[str, Any], place: str, parts: list[str]) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", **columns)
    assert_refused(path, place, *parts)


def test_missing_text_in_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, "a.parquet", text=["a", "b", None], joy=[1, 0, 1])
    assert_refused(path, ", row 3, column 'text'", "expected a text, got null")


def test_long_values_are_cut_in_messages(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"text,joy\nx,1\ny,{'z' * 1000}\n")
    with pytest.raises(InputError, match=r"got 'z{56}[.]{3}; correct the value$"):
        read_file(path)


def test_label_names_of_a_model_that_the_columns_do_not_match(tmp_path: Path) -> None:
    columns = {"text": ["a", "b"], "joy": [0, 1], "anger": [1, 0]}
    path = write_jsonl(tmp_path, "a.jsonl", **columns)
    parts = ["no such column, expected it for label_names (2 of 3 labels missing: 'fear', 'grief'); correct the name"]
    assert_refused(
        path, ", column 'fear'", *parts, "present: 'text', 'joy', 'anger'", label_names=["fear", "joy", "grief"]
    )
    parts = ["no label column, expected 'fear' or a column called labels (2 of 2 labels missing: 'fear', 'grief'); "]
    assert_refused(path, "", *parts, "present: 'text', 'joy', 'anger'", label_names=["fear", "grief"])
    assert_refused(
        path,
        ", column 'c0'",
        "(28 of 30 labels missing: 'c0', ",
        "'c27')",
        label_names=["joy", "anger", *(f"c{i}" for i in range(28))],
    )


def test_yes_and_no_do_not_stand_beside_a_column_of_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,verified,labels\na,yes,joy\nb,no,fear\n")
    data, names = read_file(path)
    assert names == ["fear", "joy"]
    check(data, ["a", "b"], [[0, 1], [1, 0]])


def test_one_column_of_yes_and_no_is_one_label(tmp_path: Path) -> None:
    data, names = read_file(write(tmp_path, "a.csv", "text,joy\na,yes\nb,no\n"))
    assert names == ["joy"]
    check(data, ["a", "b"], [[1], [0]])
    check(read_file(write(tmp_path, "a.csv", "text,joy\na,no\nb,no\n"))[0], ["a", "b"], [[0], [0]])


def test_columns_that_differ_by_case_are_counted_and_joined(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,Joy,fear,joy\na,1,0,0\nb,0,0,1\nc,0,1,1\n")
    with pytest.warns(UserWarning, match=r"case or blanks only: 'Joy' \(1\), 'joy' \(2\); join them with label_map"):
        assert read_file(path)[1] == ["Joy", "fear", "joy"]
    data, names = read_file(path, label_map={"Joy": "joy"})
    assert names == ["joy", "fear"]
    check(data, ["a", "b", "c"], [[1, 0], [1, 0], [1, 1]])
    check(
        read_file(path, label_map={"Joy": "joy"}, label_names=["fear", "joy"])[0],
        list("abc"),
        [[0, 1], [0, 1], [1, 1]],
    )
    with pytest.raises(InputError, match="label_map renames 'glee', which is none of its labels"):
        read_file(path, label_map={"glee": "joy"})
