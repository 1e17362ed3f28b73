# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.labels: names, ids and vectors in one column give one matrix, wrong cells are named."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from emotion_samples import (
    COLUMNS_CSV,
    IDS,
    LABELS,
    MATRIX,
    NAMES,
    TEXTS,
    assert_refused,
    check,
    message,
    write,
    write_jsonl,
    write_parquet,
)

from trainer_ext.data.loading import read_file
from trainer_ext.errors import InputError

FEATURES = datasets.Features(
    {"text": datasets.Value("string"), "labels": datasets.Sequence(datasets.ClassLabel(names=LABELS))}
)


@pytest.mark.parametrize(
    "cells",
    [
        ["['joy']", "['anger', 'sadness']", '["sadness"]', "[]"],
        ["joy", "anger, sadness", "sadness", ""],
        ['["joy"]', '["anger", "sadness"]', " [ 'sadness' ]", " "],
        # As numpy writes arrays, and so `datasets` and pandas to csv files; as Python 2 wrote its texts.
        ["['joy']", "['anger'\n 'sadness']", '["sadness"]', "[]"],
        ["[u'joy']", "[u'anger', u'sadness']", "[ 'sadness',]", "[]"],
    ],
)
def test_column_of_names_in_strings(tmp_path: Path, cells: list[str]) -> None:
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *zip(TEXTS, cells, strict=True)])
    data, names = read_file(tmp_path / "a.csv")
    assert names == LABELS
    check(data)


def test_columns_of_lists_that_datasets_has_written(tmp_path: Path) -> None:
    for labels, label_names in ((NAMES, None), ([[LABELS.index(name) for name in row] for row in NAMES], LABELS)):
        datasets.Dataset.from_dict({"text": TEXTS, "labels": labels}).to_csv(str(tmp_path / "a.csv"))
        data, names = read_file(tmp_path / "a.csv", label_names=label_names)
        assert names == LABELS
        check(data)


@pytest.mark.parametrize("column", ["labels", "Emotions", "feeling"])
def test_column_of_name_lists(tmp_path: Path, column: str) -> None:
    for path in (
        write_jsonl(tmp_path, "a.jsonl", text=TEXTS, **{column: NAMES}),
        write_parquet(tmp_path, "a.parquet", text=TEXTS, **{column: NAMES}),
    ):
        data, names = read_file(path)
        assert names == LABELS
        check(data)
    data, names = read_file(path, label_names=["sadness", "fear", "joy", "anger"])
    assert names == ["sadness", "fear", "joy", "anger"]
    assert data[1]["labels"] == [1.0, 0.0, 0.0, 1.0]


def test_categories_in_parquet(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path,
        "a.parquet",
        text=pa.array(["a", "b", "a"]).dictionary_encode(),
        label=pa.array(["joy", "fear", "joy"]).dictionary_encode(),
    )
    data, names = read_file(path)
    assert names == ["fear", "joy"]
    check(data, ["a", "b", "a"], [[0, 1], [1, 0], [0, 1]])


@pytest.mark.parametrize("column", ["labels", "label_ids", "mood"])
def test_column_of_ids(tmp_path: Path, column: str) -> None:
    joined = [",".join(map(str, row)) for row in IDS]
    for values in (IDS, joined, [str(row) for row in IDS]):
        data, names = read_file(write_jsonl(tmp_path, "a.jsonl", text=TEXTS, **{column: values}), label_names=LABELS)
        assert names == LABELS
        check(data)


def test_single_ids(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], label=[2, 0])
    check(read_file(path, label_names=LABELS)[0], ["a", "b"], [[0, 0, 1], [1, 0, 0]])


def test_ids_with_class_names_in_the_features(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": TEXTS, "labels": IDS}, features=FEATURES).to_parquet(tmp_path / "a.parquet")
    data, names = read_file(tmp_path / "a.parquet")
    assert names == LABELS
    check(data)
    data, names = read_file(tmp_path / "a.parquet", label_names=["sadness", "joy", "anger"])
    check(data, TEXTS, [row[::-1] for row in MATRIX])


def test_own_format_is_read_back(tmp_path: Path) -> None:
    data, _ = read_file(write(tmp_path, "a.csv", COLUMNS_CSV))
    data.to_parquet(tmp_path / "b.parquet")
    check(read_file(tmp_path / "b.parquet", label_names=LABELS)[0])


def test_vectors_of_integers(tmp_path: Path) -> None:
    vectors = [[int(value) for value in row] for row in MATRIX]
    check(read_file(write_jsonl(tmp_path, "a.jsonl", text=TEXTS, labels=vectors), label_names=LABELS)[0])
    path = write_jsonl(tmp_path, "b.jsonl", text=["a", "b"], labels=[[0, 1], [1, 0]])
    check(read_file(path, label_names=["anger", "joy"])[0], ["a", "b"], [[0.0, 1.0], [1.0, 0.0]])


def test_lone_surrogates_are_replaced_and_pairs_and_nul_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", r'{"text": "a\ud83d b\u0000 \ud83d\ude00", "joy": 1}' + "\n")
    check(read_file(path)[0], ["a\ufffd b\x00 😀"], [[1.0]])
    path = write(tmp_path, "b.jsonl", r'{"text": "a", "labels": ["\ud83d"]}' + "\n")
    assert read_file(path)[1] == ["\ufffd"]


@pytest.mark.parametrize(
    ("content", "kwargs", "place", "parts"),
    [
        ("text,label\nx,['joy']\ny,['joy\n", {}, ", row 3, column 'label'", ["list of names or ids", 'got "[\'joy"']),
        # A comma is missing: to Python it is one text.
        (
            "text,label\nx,\"['joy' 'fear', 'awe']\"\n",
            {},
            ", row 2, column 'label'",
            ["list of names", "got \"['joy'"],
        ),
        ("text,label\nx,[f(1)]\n", {}, ", row 2, column 'label'", ["every label of the list", "got '[f(1)]'"]),
        ("text,label\nx,[i for i in j]\n", {}, ", row 2, column 'label'", ["list of names", "got '[i for"]),
        ('text,label\nx,"joy,,fear"\n', {}, ", row 2, column 'label'", ["every label of the list"]),
        ("text,label\nx,\ny,\n", {}, ", row 2, column 'label'", ["no row has a label"]),
        (
            "text,label\nx,joy\ny,joyy\n",
            {"label_names": LABELS},
            ", row 3, column 'label'",
            ["label 'joyy' is not among label_names (3 labels); did you mean 'joy'?"],
        ),
        ("text,label\nx,joy\ny,qqq\n", {"label_names": LABELS}, ", row 3, column 'label'", ["add it to label_names"]),
        ('text,label\nx,1\ny,"0,3"\n', {"label_names": LABELS}, ", row 3, column 'label'", ["from 0 to 2, got 3"]),
        ("text,label\nx,1\ny,-1\n", {"label_names": LABELS}, ", row 3, column 'label'", ["from 0 to 2, got -1"]),
        ("text,label\nx,1\ny,2x\n", {"label_names": LABELS}, ", row 3, column 'label'", ["label ids", "got '2x'"]),
        ("text,label\nx,1\ny,5\n", {}, ", row 2, column 'label'", ["label ids without names; give label_names"]),
        ('text,label\nx,"1,1"\ny,2\n', {"label_names": LABELS}, ", row 2, column 'label'", ["every label id once"]),
    ],
)
def test_broken_cells_in_csv(
    tmp_path: Path, content: str, kwargs: dict[str, Any], place: str, parts: list[str]
) -> None:
    path = write(tmp_path, "a.csv", content)
    assert_refused(path, place, *parts, **kwargs)


@pytest.mark.parametrize(
    ("columns", "place", "parts"),
    [
        ({"text": ["a", "b"], "labels": [["joy"], True]}, ", row 2, column 'labels'", ["list of names", "got True"]),
        ({"text": ["a", "b"], "labels": [["joy"], [{}]]}, ", row 2, column 'labels'", ["every label", "got [{}]"]),
        ({"text": ["a", "b"], "labels": [["joy"], [1]]}, ", row 2, column 'labels'", ["label names", "got 1"]),
        ({"text": ["a", "b"], "labels": [[1.0, 0.0], [1.0]]}, ", row 1, column 'labels'", ["vectors without names"]),
    ],
)
def test_broken_cells_in_jsonl(tmp_path: Path, columns: dict[str, Any], place: str, parts: list[str]) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", **columns)
    assert_refused(path, place, *parts)


@pytest.mark.parametrize(
    ("vector", "part"),
    [
        ([0.0, 1.0], "expected 3 numbers, one per label, got 2"),
        ([0, 1, 0, 1], "expected 3 numbers, one per label, got 4"),
        ([], "expected 3 numbers, one per label, got 0"),
        ([0.0, 0.5, 1.0], "expected numbers 0 or 1, got 0.5"),
    ],
)
def test_vectors_of_another_width_or_value(tmp_path: Path, vector: list[float], part: str) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], labels=[[0.0, 1.0, 0.0], vector])
    assert_refused(path, ", row 2, column 'labels'", part, label_names=LABELS)


def test_label_names_of_a_model_that_the_cells_do_not_match(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=["a", "b", "c"], labels=[["joy"], ["trust", "joy"], ["hope"]])
    part = "label 'trust' is not among label_names (3 labels; 2 labels missing there: 'trust', 'hope'); correct it"
    assert_refused(path, ", row 2, column 'labels'", part, label_names=LABELS)
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_dict({"text": TEXTS, "labels": IDS}, features=FEATURES).to_parquet(path)
    part = "label 'anger' is not among label_names (2 labels; 2 labels missing there: 'anger', 'sadness'); correct it"
    assert_refused(path, ", row 2, column 'labels'", part, label_names=["joy", "fear"])


def test_vectors_of_two_labels_are_not_read_as_ids(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], labels=[[0, 1], [1, 0]])
    assert_refused(path, ", row 1, column 'labels'", "expected 3 numbers", "got 2", label_names=LABELS)
    path = write_jsonl(tmp_path, "b.jsonl", text=["a", "b"], labels=[[0, 1], [1]])
    check(read_file(path, label_names=LABELS)[0], ["a", "b"], [[1, 1, 0], [0, 1, 0]])


# ---------------------------------------------------------------------------------------------- several in a cell


def write_cells(folder: Path, *cells: str, name: str = "a.csv") -> Path:
    """A file with one text per cell of labels; the texts are t0, t1 ..."""
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "labels"], *([f"t{i}", cell] for i, cell in enumerate(cells))])
    return folder / name


def labels_of(path: Path, **kwargs: Any) -> list[list[str]]:
    """The names of each row's labels; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, names = read_file(path, **kwargs)
    return [[name for name, value in zip(names, row, strict=True) if value] for row in data["labels"]]


@pytest.mark.parametrize("separator", [",", ";", "|", "#", " ; "])
def test_separator_is_found(tmp_path: Path, separator: str) -> None:
    path = write_cells(tmp_path, f"joy{separator}love", "joy", "", f"fear{separator}joy{separator}love")
    assert labels_of(path) == [["joy", "love"], ["joy"], [], ["fear", "joy", "love"]]
    ids = write_cells(tmp_path, f"1{separator}2", "0", name="ids.csv")
    assert labels_of(ids, label_names=LABELS) == [["joy", "sadness"], ["anger"]]


def test_two_separators_need_to_be_told_apart(tmp_path: Path) -> None:
    path = write_cells(tmp_path, "joy", "joy; love", "awe, wonder", "fear")
    part = "expected one separator of labels, got ',' in 'awe, wonder' beside ';'; name the right one with label_sep"
    with pytest.raises(InputError, match=message(path, ", row 4, column 'labels'", part)):
        read_file(path)
    assert labels_of(path, label_separator=";") == [["joy"], ["joy", "love"], ["awe, wonder"], ["fear"]]


@pytest.mark.parametrize("separator", [" ", "/", "&", "+"])
def test_possible_separator_is_warned_of_and_settled(tmp_path: Path, separator: str) -> None:
    joined = f"joy{separator}love"
    path = write_cells(tmp_path, joined, "joy", "love", "fear")
    expected = f"combinations of others: {joined!r} (1 of 4 labels); if they are, give label_separator={separator!r}; "
    with pytest.warns(UserWarning, match=message(path, ", column 'labels'", expected)) as caught:
        _, names = read_file(path)
    assert len(caught) == 1
    assert joined in names
    assert labels_of(path, label_separator=separator) == [["joy", "love"], ["joy"], ["love"], ["fear"]]
    assert labels_of(path, label_separator=",") == [[joined], ["joy"], ["love"], ["fear"]]


def test_names_with_blanks_are_not_combinations(tmp_path: Path) -> None:
    path = write_cells(tmp_path, "mild joy", "mild fear", "strong joy", "strong fear", "so/so")
    assert labels_of(path) == [["mild joy"], ["mild fear"], ["strong joy"], ["strong fear"], ["so/so"]]


def test_separator_that_is_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^label_separator is empty"):
        read_file(write_cells(tmp_path, "joy"), label_separator="")


# ---------------------------------------------------------------------------------------------- notations of lists


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["{'joy', 'love'}", "{'joy'}", "set()", "{'love'}"], [["joy", "love"], ["joy"], [], ["love"]]),
        (["('joy', 'love')", "('joy',)", "()", "('love')"], [["joy", "love"], ["joy"], [], ["love"]]),
        (["frozenset({'joy', 'love'})", "frozenset()"], [["joy", "love"], []]),
        (["array(['joy', 'love'], dtype=object)", "array([], dtype=object)"], [["joy", "love"], []]),
        (['{"joy": 1, "love": 1, "fear": 0}', "{'fear': True, 'joy': False}", "{}"], [["joy", "love"], ["fear"], []]),
        (['{"choices":["joy","love"]}', "joy", '{"choices": "love"}'], [["joy", "love"], ["joy"], ["love"]]),
        (["['joy', 'nan']", "nan", "NaN", " null "], [["joy"], [], [], []]),
    ],
)
def test_cells_of_other_tools(tmp_path: Path, cells: list[str], expected: list[list[str]]) -> None:
    assert labels_of(write_cells(tmp_path, *cells)) == expected


def test_mappings_and_null_in_jsonl(tmp_path: Path) -> None:
    cells = [{"joy": 1, "love": 0}, {"choices": ["joy", "love"]}, None, ["love"], {"love": 1.0, "joy": None}]
    path = write_jsonl(tmp_path, "a.jsonl", text=list("abcde"), labels=cells)
    assert labels_of(path) == [["joy"], ["joy", "love"], [], ["love"], ["love"]]
    path = write_parquet(tmp_path, "a.parquet", text=["a", "b"], labels=pa.array(["joy", None]))
    assert labels_of(path) == [["joy"], []]


@pytest.mark.parametrize(
    "cell",
    [
        "{joy, love}",
        "(joy, love)",
        "[joy, love]",
        "{'joy', 'love'",
        "{'joy' 'love'}",
        "{'joy': 2}",
        "set(joy)",
        "(f)(1)",
    ],
)
def test_cell_with_a_bracket_that_cannot_be_read_is_refused(tmp_path: Path, cell: str) -> None:
    path = write_cells(tmp_path, "joy", cell)
    with pytest.raises(InputError, match=message(path, ", row 3, column 'labels'", "expected", f"got {cell!r}"[:40])):
        read_file(path)


# ---------------------------------------------------------------------------------------------- none, and variants


def test_none_is_no_emotion_unless_it_is_declared(tmp_path: Path) -> None:
    path = write_cells(tmp_path, "joy", "none", "None", "fear")
    with pytest.warns(
        UserWarning, match=r"column 'labels': 'none' is read as no emotion \(rows: 2\); if it is a label"
    ):
        data, names = read_file(path)
    assert names == ["fear", "joy"]
    assert list(data["labels"]) == [[0, 1], [0, 0], [0, 0], [1, 0]]
    path = write_cells(tmp_path, "joy", "none", "fear")
    assert labels_of(path, label_names=["joy", "fear", "none"]) == [["joy"], ["none"], ["fear"]]
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["none", "joy"])}
    )
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features).to_parquet(
        tmp_path / "a.parquet"
    )
    assert labels_of(tmp_path / "a.parquet") == [["none"], ["joy"]]


def test_labels_that_differ_by_case_or_blanks_are_counted_and_joined(tmp_path: Path) -> None:
    path = write_cells(tmp_path, "Joy", "joy", "joy", "so sad", "so  sad", "fear")
    parts = [
        "labels that differ by case or blanks only: 'Joy' (1), 'joy' (2); 'so  sad' (1), 'so sad' (1); ",
        "join them with label_map={'Joy': 'joy', 'so sad': 'so  sad'}.",
    ]
    with pytest.warns(UserWarning, match=message(path, "", *parts)) as caught:
        read_file(path)
    assert len(caught) == 1
    joined = labels_of(path, label_map={"Joy": "joy", "so  sad": "so sad"})
    assert joined == [["joy"], ["joy"], ["joy"], ["so sad"], ["so sad"], ["fear"]]


def test_ids_are_renamed_by_the_names_of_the_features(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": TEXTS, "labels": IDS}, features=FEATURES).to_parquet(tmp_path / "a.parquet")
    data, names = read_file(tmp_path / "a.parquet", label_map={"sadness": "grief", "anger": "grief"})
    assert names == ["grief", "joy"]
    assert list(data["labels"]) == [[0, 1], [1, 0], [1, 0], [0, 0]]


def test_label_map_of_a_label_that_is_not_there(tmp_path: Path) -> None:
    path = write_cells(tmp_path, "joy", "fear")
    with pytest.raises(InputError, match=message(path, "", "label_map renames 'Joy', which is none of its labels")):
        read_file(path, label_map={"Joy": "joy"})
