# SPDX-License-Identifier: Apache-2.0
"""Tests of the thresholds for micro-F1 and for the Jaccard index of the texts."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from trainer_ext.evaluation.joint_thresholds import JOINT_METRICS, tune_joint_thresholds
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.results import THRESHOLD_METRICS, choose_thresholds, rules_table, threshold_rules
from trainer_ext.recipe import DecisionArguments

Floats = npt.NDArray[np.float64]


def split(seed: int, num_rows: int = 60, *, shift: float = 0.0) -> tuple[Floats, Floats]:
    """Labels, a fifth of them unknown, and scores with ties; with a shift those of each label lie elsewhere."""
    generator = np.random.default_rng(seed)
    gold = (generator.random((num_rows, 4)) < [0.5, 0.2, 0.1, 0.4]).astype(np.float64)
    logits = 1.5 * gold + generator.normal(size=gold.shape) + shift * np.array([-3.0, 0.0, 3.0, 1.0])
    gold[generator.random(gold.shape) < 0.2] = math.nan
    return gold, np.round(1 / (1 + np.exp(-logits)), 2)


def value(gold: Floats, scores: Floats, thresholds: npt.ArrayLike, metric: str) -> float:
    return multilabel_metrics(gold, scores, thresholds=thresholds)[metric]


@pytest.mark.parametrize("metric", JOINT_METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_no_shared_threshold_is_better(metric: str, seed: int) -> None:
    gold, scores = split(seed)
    found = tune_joint_thresholds(gold, scores, metric, strategy="global")
    assert (found == found[0]).all()
    every = [value(gold, scores, threshold, metric) for threshold in np.arange(0.005, 1, 0.01)]
    assert value(gold, scores, found, metric) == pytest.approx(max(every), abs=1e-12)


@pytest.mark.parametrize("metric", JOINT_METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_no_label_gains_by_another_threshold(metric: str, seed: int) -> None:
    gold, scores = split(seed, 120, shift=1.0)
    found = tune_joint_thresholds(gold, scores, metric)
    assert len(set(found)) > 1
    best = value(gold, scores, found, metric)
    assert best > value(gold, scores, tune_joint_thresholds(gold, scores, metric, strategy="global"), metric)
    for label in range(4):
        for threshold in np.arange(0.005, 1, 0.01):
            other = found.copy()
            other[label] = threshold
            assert value(gold, scores, other, metric) <= best + 1e-12
    assert found.tolist() == tune_joint_thresholds(gold, scores, metric).tolist()


@pytest.mark.parametrize("metric", JOINT_METRICS)
def test_labels_with_scores_of_one_scale_share_a_threshold(metric: str) -> None:
    """Scores that are probabilities: thresholds per label would fit chance."""
    generator = np.random.default_rng(0)
    scores = generator.beta(0.5, 1.5, size=(100, 20))
    gold = generator.random(scores.shape) < scores
    assert len(set(tune_joint_thresholds(gold, scores, metric))) == 1


def test_a_label_that_does_harm_is_not_predicted() -> None:
    gold = np.zeros((50, 2))
    gold[:, 0] = np.arange(50) % 2
    scores = np.column_stack([0.1 + 0.8 * gold[:, 0], np.linspace(0.85, 0.95, 50)])
    found = tune_joint_thresholds(gold, scores, "samples_jaccard")
    assert value(gold, scores, found, "samples_jaccard") == 1.0
    assert 0.95 < found[1] < 1


@pytest.mark.parametrize("metric", JOINT_METRICS)
def test_few_and_certain_rows(metric: str) -> None:
    for gold, scores in (([[1, 0]], [[1.0, 0.0]]), ([[0, 0]], [[0.0, 0.0]]), ([[0, 0]], [[1.0, 1.0]])):
        found = tune_joint_thresholds(gold, scores, metric)
        assert ((found > 0) & (found < 1)).all()


def test_wrong_arguments() -> None:
    gold, scores = split(0)
    with pytest.raises(ValueError, match=r"`metric` must be one of micro_f1, samples_jaccard, got 'macro_f1'"):
        tune_joint_thresholds(gold, scores, "macro_f1")
    with pytest.raises(ValueError, match=r"`strategy` must be per_label or global for micro_f1, got 'expected_f1'"):
        tune_joint_thresholds(gold, scores, "micro_f1", strategy="expected_f1")


# --------------------------------------------------------------------------------------------------- the three rules


@pytest.mark.parametrize("strategy", ["per_label", "global", "expected_f1"])
def test_each_rule_is_the_best_for_its_metric(strategy: str) -> None:
    gold, scores = split(1, 200, shift=0.5)
    rules = threshold_rules(gold, scores, strategy, 0.0)
    assert list(rules) == list(THRESHOLD_METRICS)
    assert rules["macro_f1"].tolist() == choose_thresholds(gold, scores, strategy).tolist()
    lines = rules_table(gold, scores, rules).splitlines()
    assert lines[0].split() == ["thresholds", "for", *THRESHOLD_METRICS]
    cells = np.array([line.split()[1:] for line in lines[1:]], dtype=float)
    if strategy != "expected_f1":
        assert (cells.diagonal() == cells.max(axis=0)).all()
    expected = [value(gold, scores, rules["micro_f1"], metric) for metric in THRESHOLD_METRICS]
    assert cells[1].tolist() == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("metric", JOINT_METRICS)
def test_the_metric_is_chosen_by_its_name(metric: str) -> None:
    gold, scores = split(2)
    expected = tune_joint_thresholds(gold, scores, metric)
    assert choose_thresholds(gold, scores, "per_label", metric=metric).tolist() == expected.tolist()
    assert choose_thresholds(gold, scores, "none", metric=metric).tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold_metric": "accuracy"}, r"`threshold_metric` must be one of macro_f1, micro_f1, samples_jaccard"),
        (
            {"threshold_metric": "micro_f1", "threshold_strategy": "expected_f1"},
            r"`threshold_strategy` expected_f1 is for `threshold_metric: macro_f1`, got micro_f1",
        ),
        (
            {"threshold_metric": "samples_jaccard", "threshold_shrinkage": "auto"},
            r"`threshold_shrinkage` auto is for `threshold_metric: macro_f1`, got samples_jaccard",
        ),
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecisionArguments(**fields)
