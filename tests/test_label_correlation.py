# SPDX-License-Identifier: Apache-2.0
"""Tests of the comparison of label correlations: the distance, the order of the labels, the callback's files."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from transformers import TrainerState, TrainingArguments

from trainer_ext.evaluation.label_order import cluster_order
from trainer_ext.evaluation.label_statistics import label_correlation
from trainer_ext.reports.callback import EvaluationPredictions
from trainer_ext.reports.label_correlation import LabelCorrelationCallback

NAMES = ["anger", "joy", "غضب", "fear"]


def make_rows(seed: int, num_labels: int = 4) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return (rng.random((80, num_labels)) < rng.uniform(0.1, 0.5, num_labels)).astype(np.int64)


# ------------------------------------------------------------------------------------------------------------- report


def test_distance_is_the_root_mean_square_over_pairs() -> None:
    labels, predictions = make_rows(0), make_rows(1)
    report = LabelCorrelationCallback(NAMES).report(labels, predictions)
    gold, predicted = (label_correlation(rows, smoothing=10.0) for rows in (labels, predictions))
    assert (report.gold, report.predicted) == (gold.tolist(), predicted.tolist())
    squares = [(gold[a, b] - predicted[a, b]) ** 2 for a, b in itertools.permutations(range(4), 2)]
    assert report.distance == pytest.approx(math.sqrt(sum(squares) / 12), rel=1e-12)
    assert report.distance > 0.05


def test_predictions_are_compared_on_the_texts_that_know_both_labels() -> None:
    labels, predictions = make_rows(0).astype(np.float64), make_rows(1)
    labels[::2, 0] = np.nan
    report = LabelCorrelationCallback(NAMES).report(labels, predictions)
    for name, rows in (("gold", labels), ("predicted", predictions)):
        expected = label_correlation(rows[1::2], smoothing=10.0)[0]
        assert getattr(report, name)[0] == pytest.approx(expected.tolist()), name
    assert report.predicted[1][2] == pytest.approx(label_correlation(predictions, smoothing=10.0)[1, 2])


def test_distance_at_its_limits() -> None:
    together, apart = np.array([[1, 1], [0, 0]] * 5), np.array([[1, 0], [0, 1]] * 5)
    callback = LabelCorrelationCallback(["a", "b"])
    assert callback.report(together, together).distance == 0.0
    # Five texts have each label, beside 10 pseudo-samples: a third of the largest distance, 2.
    assert callback.report(together, apart).distance == pytest.approx(2 / 3)


# -------------------------------------------------------------------------------------------------------------- order


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_come_together_stand_together(seed: int) -> None:
    """Three groups of correlated labels, shuffled, and one label by itself."""
    groups = np.random.default_rng(seed).permutation([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
    correlation = np.where(groups[:, None] == groups, 0.5, -0.1)
    np.fill_diagonal(correlation, 1.0)
    order = cluster_order(correlation)
    assert sorted(order) == list(range(10))
    assert len([group for group, _ in itertools.groupby(groups[order])]) == 4


def test_neighbours_are_as_near_as_the_tree_allows() -> None:
    """A chain: each label is correlated with the next one, and less with those further off."""
    shuffled = np.random.default_rng(0).permutation(8)
    chain = 0.8 ** np.abs(shuffled[:, None] - shuffled)
    found = shuffled[cluster_order(chain)].tolist()
    assert found in (list(range(8)), list(range(7, -1, -1)))


def test_order_takes_the_mean_of_both_directions() -> None:
    correlation = np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.2], [0.3, 0.2, 1.0]])
    assert cluster_order(correlation) == cluster_order(correlation.T)
    assert cluster_order(correlation)[1] == 2
    assert sorted(cluster_order(np.eye(2))) == [0, 1]


def test_drawing_orders_both_matrices_alike() -> None:
    labels = np.zeros((60, 4), dtype=np.int64)
    labels[:20, [0, 2]], labels[20:40, [1, 3]] = 1, 1
    predictions = labels.copy()
    predictions[:5, 0], predictions[20:23, 3] = 0, 0
    report = LabelCorrelationCallback(NAMES).report(labels, predictions)
    left, right, bar = report.draw().axes
    shown = [text.get_text() for text in left.get_yticklabels()]
    assert {frozenset(shown[:2]), frozenset(shown[2:])} == {frozenset(["anger", "غضب"]), frozenset(["joy", "fear"])}
    order = [NAMES.index(name) for name in shown]
    off_diagonal = ~np.eye(4, dtype=bool)
    for axis, matrix in ((left, report.gold), (right, report.predicted)):
        expected = [[matrix[row][column] for column in order] for row in order]
        assert (np.asarray(axis.images[0].get_array().data)[off_diagonal] == np.array(expected)[off_diagonal]).all()
    assert left.figure.get_suptitle() == f"Label correlation, distance {report.distance:.4f}"
    assert bar.get_ylabel() == "phi coefficient"


# ----------------------------------------------------------------------------------------------------------- callback


def test_callback_compares_at_thresholds_tuned_on_the_rows(tmp_path: Path) -> None:
    labels = make_rows(0)
    # In the right order, and all below 0.5.
    probabilities = 0.01 + 0.1 * labels
    callback = LabelCorrelationCallback(NAMES)
    state = TrainerState(global_step=12, is_world_process_zero=True)
    predictions = EvaluationPredictions(labels, probabilities)
    numbers = callback.on_predictions(TrainingArguments(str(tmp_path)), state, predictions)
    assert numbers == {"label_correlation_distance": 0.0}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "label_correlation_12.json",
        "label_correlation_12.png",
    ]
    report = json.loads((tmp_path / "label_correlation_12.json").read_text(encoding="utf-8"))
    assert report == {"step": 12, **asdict(callback.report(labels, labels))}
    assert report["label_names"] == NAMES
    with Image.open(tmp_path / "label_correlation_12.png") as image:
        assert min(image.size) > 400


def test_callback_writes_to_a_folder_of_its_own(tmp_path: Path) -> None:
    labels, probabilities = make_rows(0), np.random.default_rng(2).random((80, 4))
    folder = tmp_path / "figures"
    callback = LabelCorrelationCallback(NAMES, folder)
    state = TrainerState(global_step=3, is_world_process_zero=True)
    arguments = TrainingArguments(str(tmp_path / "unused"))
    predictions = EvaluationPredictions(labels, probabilities, "eval_arabic")
    numbers = callback.on_predictions(arguments, state, predictions)
    report = json.loads((folder / "label_correlation_arabic_3.json").read_text(encoding="utf-8"))
    assert report["gold"] == label_correlation(labels, smoothing=10.0).tolist()
    assert numbers == {"label_correlation_distance": report["distance"]}
    assert report["distance"] > 0.02
    assert not (tmp_path / "unused").exists()


def test_other_processes_compute_and_write_nothing(tmp_path: Path) -> None:
    predictions = EvaluationPredictions(make_rows(0), np.random.default_rng(2).random((80, 4)))
    callback, numbers = LabelCorrelationCallback(NAMES, tmp_path), []
    for is_first in (False, True):
        state = TrainerState(is_world_process_zero=is_first)
        numbers.append(callback.on_predictions(TrainingArguments(str(tmp_path)), state, predictions))
        assert bool(list(tmp_path.iterdir())) == is_first
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_names": ["joy"]}, r"`label_names` must be at least two distinct names, got \['joy'\]"),
        ({"label_names": ["joy", "joy"]}, r"`label_names` must be at least two distinct names"),
    ],
)
def test_wrong_arguments_of_the_callback(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelCorrelationCallback(**{"label_names": NAMES, **arguments})
