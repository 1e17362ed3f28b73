# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.targets: cells are numbers between 0 and 1, or unknown."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emotion_samples import message, write, write_jsonl

from trainer_ext.data.loading import load_emotion_data, read_file
from trainer_ext.data.targets import TargetOptions, join_targets
from trainer_ext.errors import InputError

UNKNOWN = np.nan
INTENSITIES = "id,text,anger,fear,joy\n1,a,0,0,3\n2,b,0,2,0\n3,c,3,1,0\n"
BLANKS = "text,anger,fear,joy\na,,,1\nb,,1,\nc,1,,\n"


def labels_of(path: Path, **options: Any) -> np.ndarray:
    return np.array(read_file(path, **options)[0]["labels"][:])


def test_intensities_are_divided_by_the_greatest(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", INTENSITIES)
    expected = np.array([[0, 0, 1], [0, 2 / 3, 0], [1, 1 / 3, 0]], np.float32)
    np.testing.assert_array_equal(labels_of(path, max_intensity=3), expected)
    np.testing.assert_array_equal(labels_of(path, max_intensity=4), expected * np.float32(0.75))
    shares = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], joy=[0.25, 1], fear=[0, 0.5])
    np.testing.assert_array_equal(labels_of(shares, max_intensity=1), [[0.25, 0], [1, 0.5]])


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({}, ["expected 0 or 1, got '3'; correct the value, or give max_intensity"]),
        ({"max_intensity": 2}, ["expected a number from 0 to 2, got '3'; correct the value"]),
    ],
)
def test_intensities_beyond_the_greatest_are_refused(
    tmp_path: Path, options: dict[str, Any], parts: list[str]
) -> None:
    path = write(tmp_path, "a.csv", INTENSITIES)
    with pytest.raises(InputError, match=message(path, ", row 2, column 'joy'", *parts)):
        read_file(path, label_names=["anger", "fear", "joy"], **options)


@pytest.mark.parametrize(("blank", "value"), [("negative", 0.0), ("unknown", UNKNOWN)])
def test_blanks_among_values_mean_what_they_are_said_to(tmp_path: Path, blank: str, value: float) -> None:
    path = write(tmp_path, "a.csv", BLANKS)
    expected = np.full((3, 3), value)
    expected[[0, 1, 2], [2, 1, 0]] = 1
    np.testing.assert_array_equal(labels_of(path, blank_labels=blank), expected)


def test_blanks_among_values_are_refused_without_a_meaning(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", BLANKS)
    with pytest.raises(InputError, match=message(path, ", row 2, column 'anger'", "give blank_labels: negative if")):
        read_file(path)


def test_intensities_that_are_too_low_for_any_emotion_are_said(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,anger,joy\na,0,1\nb,0,0\n")
    with pytest.warns(UserWarning, match=r"a\.csv: the greatest intensity is 1 of 3, .* Is max_intensity right"):
        np.testing.assert_array_equal(labels_of(path, max_intensity=3), [[0, np.float32(1 / 3)], [0, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels_of(write(tmp_path, "b.csv", "text,anger,joy\na,0,2\nb,0,0\n"), max_intensity=3)
        labels_of(write(tmp_path, "c.csv", "text,anger,joy\na,0,0\nb,0,0\n"), max_intensity=3)


def test_column_of_blanks_is_a_label_that_the_file_does_not_know(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,text,anger,disgust,joy\n1,a,0,,1\n2,b,1,,0\n")
    np.testing.assert_array_equal(labels_of(path), [[0, UNKNOWN, 1], [1, UNKNOWN, 0]])
    with pytest.warns(UserWarning, match=r"no row knows 'disgust' \(blank throughout\); left out"):
        data = load_emotion_data(train_file=path)
    assert data.label_names == ["anger", "joy"]
    assert list(data.splits["train"]["labels"]) == [[0, 1], [1, 0]]


def test_labels_that_a_file_lacks_are_unknown_where_that_is_allowed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,joy\na,1\n")
    with pytest.warns(UserWarning, match="knows 'joy' only"):
        labels = labels_of(path, label_names=["anger", "joy"], may_lack_labels=True)
    np.testing.assert_array_equal(labels, [[UNKNOWN, 1]])
    with pytest.raises(InputError, match="column 'anger': no such column"):
        read_file(path, label_names=["anger", "joy"])


def test_labels_are_dropped_by_label_map(tmp_path: Path) -> None:
    columns = write(tmp_path, "a.csv", "text,joy,neutral\na,1,0\nb,0,1\n")
    names = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], labels=[["joy"], ["neutral"]])
    for path in (columns, names):
        data, labels = read_file(path, label_map={"neutral": None})
        assert labels == ["joy"]
        assert list(data["labels"]) == [[1], [0]]


@pytest.mark.parametrize(
    ("cells", "joined"),
    [([1, 0], 1), ([1, UNKNOWN], 1), ([0, UNKNOWN], UNKNOWN), ([UNKNOWN, UNKNOWN], UNKNOWN), ([0.25, 0.5], 0.5)],
)
def test_columns_of_one_label_are_joined(cells: list[float], joined: float) -> None:
    np.testing.assert_array_equal(join_targets(np.array([cells], np.float32)), [joined])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"blank_labels": "zero"}, "`blank_labels` must be one of unknown, negative, got 'zero'"),
        ({"vote_targets": "mean"}, "`vote_targets` must be one of majority, share, got 'mean'"),
        ({"max_intensity": 0}, "`max_intensity` must be a number above 0, got 0"),
    ],
)
def test_options_out_of_their_range_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        TargetOptions(**options)
