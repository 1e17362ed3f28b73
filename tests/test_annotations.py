# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.annotations: rejected and unclear rows are left out, rows of raters become one example."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import datasets
import pytest
from emotion_samples import check, message, write, write_jsonl, write_parquet

from trainer_ext.data.loading import load_emotion_data, read_file
from trainer_ext.errors import InputError

RATERS_CSV = (
    "text,id,author,rater_id,example_very_unclear,joy,love\n"
    "the bus,a,x,1,False,0,1\n"
    "the bus,a,x,2,False,1,1\n"
    "the bus,a,x,3,False,0,0\n"
    "a surprise,b,y,1,False,1,0\n"
    "a surprise,b,y,2,True,0,0\n"
    "my flat,c,y,1,False,1,0\n"
    "my flat,c,y,3,False,0,1\n"
    "my flat,c,y,2,True,0,0\n"
    "noise,d,y,2,TRUE,0,0\n"
    "hm,e,y,2,False,0,0\n"
)


def read_with_warnings(path: Path, **kwargs: Any) -> tuple[datasets.Dataset, list[str], list[str]]:
    """The data, the labels, and each warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data, names = read_file(path, **kwargs)
    return data, names, [str(warning.message) for warning in caught]


def test_rows_of_raters_are_one_example(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", RATERS_CSV)
    data, names, said = read_with_warnings(path)
    assert names == ["joy", "love"]
    check(data, ["the bus", "a surprise", "my flat", "hm"], [[0, 1], [1, 0], [0, 0], [0, 0]])
    assert said == [
        f"{path}: 3 rows with a true `example_very_unclear` are left out.",
        f"{path}: 7 rows of raters are 4 texts, each with the labels that most of its raters gave (no "
        "majority agrees on 1 of them: these have no label).",
    ]


def test_votes_on_names_are_joined(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "text": ["a", "b", "a", "a"],
        "annotator": ["x", "x", "y", "z"],
        "labels": [["joy"], ["fear"], ["joy", "fear"], ["awe"]],
    }
    for path in (write_jsonl(tmp_path, "a.jsonl", **columns), write_parquet(tmp_path, "a.parquet", **columns)):
        data, names, said = read_with_warnings(path)
        assert names == ["awe", "fear", "joy"]
        check(data, ["a", "b"], [[0, 0, 1], [0, 1, 0]])
        assert len(said) == 1


def test_rows_without_raters_stay_as_they_are(tmp_path: Path) -> None:
    data, _, said = read_with_warnings(write(tmp_path, "a.csv", "text,joy\na,1\na,0\n"))
    check(data, ["a", "a"], [[1], [0]])
    assert said == []
    data, _, said = read_with_warnings(write(tmp_path, "a.csv", "text,rater_id,joy\na,1,1\nb,1,0\n"))
    check(data, ["a", "b"], [[1], [0]])
    assert said == []


def test_rows_that_were_accepted(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path,
        "a.jsonl",
        text=["a", "b", "c", "d"],
        options=[[{"id": "joy"}]] * 4,
        accept=[["joy"], ["grief"], ["fear", "joy"], []],
        answer=["accept", "reject", "accept", "ignore"],
    )
    data, names, said = read_with_warnings(path)
    assert names == ["fear", "joy"]
    check(data, ["a", "c"], [[0, 1], [1, 1]])
    assert said == [f"{path}: 2 rows whose `answer` is not accept are left out."]


def test_one_label_per_accepted_row(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], label=["joy", "joy"], answer=["accept", "reject"])
    check(read_with_warnings(path)[0], ["a"], [[1]])


def test_answers_that_are_not_those_of_prodigy(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], answer=["yes, it is", "accept"], labels=["joy", "fear"])
    data, _, said = read_with_warnings(path)
    assert (len(data), said) == (2, [])


def test_row_of_an_error_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", RATERS_CSV + "so,f,z,1,False,5,0\n")
    with (
        pytest.warns(UserWarning, match="3 rows"),
        pytest.raises(InputError, match=message(path, ", row 12, column 'joy'", "got '5'")),
    ):
        read_file(path)


def test_no_row_is_left(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], accept=[["joy"], []], answer=["reject", "ignore"])
    with pytest.raises(InputError, match=message(path, "", "all 2 rows are left out: whose `answer` is not accept")):
        read_file(path)


def test_division_after_the_raters_are_joined(tmp_path: Path) -> None:
    content = "text,rater_id,joy,fear\n"
    content += "".join(f"t{i},{rater},{i % 2},{1 - i % 2}\n" for i in range(20) for rater in range(3))
    path = write(tmp_path, "a.csv", content)
    with pytest.warns(UserWarning, match="60 rows of raters are 20 texts") as caught:
        splits = load_emotion_data(train_file=path, validation_ratio=0.2, test_ratio=0.3).splits
    assert len(caught) == 1
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "validation": 4, "test": 6}
    assert len({text for split in splits.values() for text in split["text"]}) == 20
