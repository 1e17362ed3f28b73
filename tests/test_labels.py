# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.labels: names, ids and vectors in one column give one matrix, wrong cells are named."""

from __future__ import annotations

import csv
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
    write,
    write_jsonl,
    write_parquet,
)

from trainer_ext.data.loading import read_file

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
        ({"text": ["a", "b"], "labels": [["joy"], None]}, ", row 2, column 'labels'", ["list of names", "got null"]),
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
