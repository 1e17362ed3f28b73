# SPDX-License-Identifier: Apache-2.0
"""Tests of the class report: F1 beside frequency, the thirds and their gap, the callback's files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.metrics import f1_score
from transformers import TrainerState, TrainingArguments

from trainer_ext.evaluation.thresholds import tune_thresholds
from trainer_ext.reports.callback import EvaluationPredictions
from trainer_ext.reports.class_report import ClassReportCallback

NAMES = ["anger", "joy", "غضب", "fear", "love"]
COUNTS = [40, 900, 7, 0, 130]


def make_rows(seed: int, num_labels: int = 5) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return (rng.random((60, num_labels)) < 0.3).astype(np.int64)


# ------------------------------------------------------------------------------------------------------------- report


def test_rows_are_in_the_order_of_frequency_with_the_f1_of_scikit_learn() -> None:
    labels, predictions = make_rows(0), make_rows(1)
    report = ClassReportCallback(NAMES, COUNTS).report(labels, predictions)
    f1 = dict(zip(NAMES, f1_score(labels, predictions, average=None), strict=True))
    assert [row.label for row in report.rows] == ["joy", "love", "anger", "غضب", "fear"]
    assert [row.train_count for row in report.rows] == [900, 130, 40, 7, 0]
    assert [row.group for row in report.rows] == ["frequent", "frequent", "middle", "rare", "rare"]
    assert [row.f1 for row in report.rows] == pytest.approx([f1[row.label] for row in report.rows])
    assert [row.support for row in report.rows] == [labels[:, NAMES.index(row.label)].sum() for row in report.rows]
    assert report.macro_f1 == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert report.macro_f1_frequent == pytest.approx((f1["joy"] + f1["love"]) / 2)
    assert report.macro_f1_rare == pytest.approx((f1["غضب"] + f1["fear"]) / 2)
    assert report.frequent_rare_gap == report.macro_f1_frequent - report.macro_f1_rare
    assert abs(report.frequent_rare_gap) > 1e-3


def test_a_label_that_no_text_knows_has_no_f1_and_no_part_in_the_means(tmp_path: Path) -> None:
    labels = make_rows(0).astype(np.float64)
    labels[::2, 0], labels[:, 1] = np.nan, np.nan
    callback = ClassReportCallback(NAMES, COUNTS)
    report = callback.report(labels, make_rows(1))
    by_name = {row.label: row for row in report.rows}
    assert (by_name["joy"].f1, by_name["joy"].support) == (None, 0)
    assert by_name["anger"].support == np.nansum(labels[:, 0])
    assert by_name["anger"].f1 == pytest.approx(f1_score(labels[1::2, 0], make_rows(1)[1::2, 0]))
    assert report.macro_f1_frequent == by_name["love"].f1
    state = TrainerState(global_step=1, is_world_process_zero=True)
    probabilities = 0.1 + 0.8 * make_rows(1)
    callback.on_predictions(TrainingArguments(str(tmp_path)), state, EvaluationPredictions(labels, probabilities))
    written = json.loads((tmp_path / "class_report_1.json").read_text(encoding="utf-8"))
    assert next(row for row in written["rows"] if row["label"] == "joy")["f1"] is None


def test_gap_by_hand() -> None:
    """The frequent label is predicted perfectly, the middle one half right, the rare one never."""
    labels = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [1, 0, 1]])
    predictions = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]])
    report = ClassReportCallback(["a", "b", "c"], [30, 20, 10]).report(labels, predictions)
    assert (report.macro_f1, report.macro_f1_frequent, report.macro_f1_rare) == (0.5, 1.0, 0.0)
    assert report.frequent_rare_gap == 1.0


@pytest.mark.parametrize(("num_labels", "third"), [(2, 1), (3, 1), (4, 2), (5, 2), (11, 4), (28, 10)])
def test_a_third_is_rounded_up(num_labels: int, third: int) -> None:
    rows = make_rows(0, num_labels)
    names = [f"label {index}" for index in range(num_labels)]
    report = ClassReportCallback(names, np.arange(num_labels)).report(rows, rows)
    groups = [row.group for row in report.rows]
    assert groups == ["frequent"] * third + ["middle"] * (num_labels - 2 * third) + ["rare"] * third
    assert [row.label for row in report.rows] == names[::-1]


def test_of_equal_counts_the_earlier_label_comes_first() -> None:
    rows = make_rows(0)
    assert [row.label for row in ClassReportCallback(NAMES, [5, 9, 5, 9, 5]).report(rows, rows).rows] == [
        "joy",
        "fear",
        "anger",
        "غضب",
        "love",
    ]


def test_label_that_is_neither_gold_nor_predicted_counts_zero() -> None:
    rows = make_rows(0)
    rows[:, 1] = 0
    report = ClassReportCallback(NAMES, COUNTS).report(rows, rows)
    assert report.rows[0] == type(report.rows[0])("joy", "frequent", 900, 0, 0.0)
    assert report.macro_f1_frequent == 0.5


def test_drawing_names_the_gap() -> None:
    report = ClassReportCallback(NAMES, COUNTS).report(make_rows(0), make_rows(1))
    axis = report.draw().axes[0]
    assert axis.get_title().startswith(f"macro-F1 {report.macro_f1:.3f}, frequent third less rare third ")
    assert axis.get_title().replace("−", "-").endswith(f" {report.frequent_rare_gap:.3f}")
    assert [text.get_text() for text in axis.texts] == [row.label for row in report.rows]


# ----------------------------------------------------------------------------------------------------------- callback


def test_callback_writes_the_report_at_tuned_thresholds(tmp_path: Path) -> None:
    labels, probabilities = make_rows(0), np.random.default_rng(3).random((60, 5)) / 2
    callback = ClassReportCallback(NAMES, COUNTS)
    state = TrainerState(global_step=7, is_world_process_zero=True)
    predictions = EvaluationPredictions(labels, probabilities)
    numbers = callback.on_predictions(TrainingArguments(str(tmp_path)), state, predictions)
    expected = callback.report(labels, probabilities >= tune_thresholds(labels, probabilities))
    assert numbers == {
        "macro_f1_frequent": expected.macro_f1_frequent,
        "macro_f1_rare": expected.macro_f1_rare,
        "frequent_rare_gap": expected.frequent_rare_gap,
    }
    assert expected.macro_f1 > 0.3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class_report_7.json", "class_report_7.png"]
    report = json.loads((tmp_path / "class_report_7.json").read_text(encoding="utf-8"))
    assert report == {"step": 7, **asdict(expected)}
    with Image.open(tmp_path / "class_report_7.png") as image:
        assert (image.width > 900, image.height > 600) == (True, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_names": ["joy"], "train_counts": [1]}, r"`label_names` must be at least two distinct names"),
        ({"train_counts": [1, 2]}, r"`train_counts` must be 5 numbers of texts, one per label, got \[1.0, 2.0\]"),
        ({"train_counts": make_rows(0)}, r"`train_counts` must be .* got shape \(60, 5\); sum the rows"),
        ({"train_counts": [1, 2, 3, 4, -1]}, r"`train_counts` must be 5 numbers of texts"),
        ({"train_counts": [1, 2, 3, 4, 0.5]}, r"`train_counts` must be 5 numbers of texts"),
        ({"train_counts": [1, 2, 3, 4, np.inf]}, r"`train_counts` must be 5 numbers of texts"),
        ({"train_counts": [1, 2, 3, 4, np.nan]}, r"`train_counts` must be 5 numbers of texts"),
    ],
)
def test_wrong_arguments_of_the_callback(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassReportCallback(**{"label_names": NAMES, "train_counts": COUNTS, **arguments})
