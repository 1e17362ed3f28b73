# SPDX-License-Identifier: Apache-2.0
"""Tests of the results of a split: keys, values, thresholds and the table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score
from transformers import EvalPrediction

from trainer_ext.errors import InputError
from trainer_ext.evaluation.calibration import CALIBRATION_METHODS, calibration_metrics, fit_calibration
from trainer_ext.evaluation.metrics import always_frequent_baseline, multilabel_metrics
from trainer_ext.evaluation.results import (
    SAME_ANSWER,
    THRESHOLD_STRATEGIES,
    choose_calibration,
    choose_thresholds,
    compute_validation_metrics,
    evaluate_split,
    results_table,
    says_the_same,
    uncalibrated_errors,
)
from trainer_ext.evaluation.thresholds import tune_thresholds

NAMES = ["anger", "joy", "حزن"]
SUMMARY = [
    "macro_f1",
    "micro_f1",
    "weighted_f1",
    "samples_jaccard",
    "hamming_loss",
    "subset_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_roc_auc",
    "macro_average_precision",
]


def make_data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that are too low for 0.5 to be a good threshold."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((80, 3)) < [0.5, 0.2, 0.1]).astype(np.int64)
    labels[0], labels[1] = 1, 0
    return labels, 1 / (1 + np.exp(-rng.normal(2.0 * labels - 3.0, 1.0)))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_key_of_the_contract_is_there(split: str) -> None:
    labels, probabilities = make_data(0)
    results = evaluate_split(split, labels, probabilities, np.full(3, 0.2), NAMES)
    wanted = [*SUMMARY, *(f"{key}/{name}" for key in ("f1", "support") for name in NAMES)]
    assert {f"{split}_{key}{suffix}" for key in wanted for suffix in ("", "_at_0.5")} <= set(results)
    assert all(type(value) is float and math.isfinite(value) for value in results.values())


def test_values_are_those_of_the_metrics() -> None:
    labels, probabilities = make_data(1)
    thresholds = np.array([0.3, 0.2, 0.1])
    results = evaluate_split("test", labels, probabilities, thresholds, NAMES)
    tuned = multilabel_metrics(labels, probabilities, thresholds=thresholds, label_names=NAMES)
    default = multilabel_metrics(labels, probabilities, label_names=NAMES)
    calibration = calibration_metrics(labels, probabilities, NAMES)
    spread = max(np.log(column / (1 - column)).std() for column in probabilities.T)
    assert results.pop("test_logit_spread") == pytest.approx(spread, rel=1e-6)
    low, high = results.pop("test_macro_f1_low"), results.pop("test_macro_f1_high")
    assert low < results["test_macro_f1"] < high
    assert results == {f"test_{key}": value for key, value in (tuned | calibration).items()} | {
        f"test_{key}_at_0.5": value for key, value in default.items()
    }
    expected = f1_score(labels, probabilities >= thresholds, average=None)
    assert [results[f"test_f1/{name}"] for name in NAMES] == pytest.approx(expected.tolist(), abs=1e-12)
    expected = f1_score(labels, probabilities >= 0.5, average="macro")
    assert results["test_macro_f1_at_0.5"] == pytest.approx(expected, abs=1e-12)
    assert results["test_macro_f1"] > results["test_macro_f1_at_0.5"] + 0.1
    assert results["test_support/joy"] == labels[:, 1].sum()


def test_label_without_positives_has_no_auc_and_counts_as_zero() -> None:
    labels, probabilities = make_data(2)
    labels[:, 2] = 0
    results = evaluate_split("test", labels, probabilities, np.full(3, 0.2), NAMES)
    assert results["test_f1/حزن"] == results["test_support/حزن"] == 0.0
    assert "test_roc_auc/حزن" not in results
    assert results["test_macro_roc_auc"] == pytest.approx(
        (results["test_roc_auc/anger"] + results["test_roc_auc/joy"]) / 2, abs=1e-12
    )


def test_thresholds_by_strategy() -> None:
    labels, probabilities = make_data(3)
    per_label = choose_thresholds(labels, probabilities, "per_label")
    assert per_label.tolist() == tune_thresholds(labels, probabilities).tolist()
    shared = choose_thresholds(labels, probabilities, "global")
    assert shared.tolist() == tune_thresholds(labels, probabilities, strategy="global").tolist()
    assert len(set(shared.tolist())) == 1
    assert len(set(per_label.tolist())) == 3
    assert choose_thresholds(labels, probabilities, "none").tolist() == [0.5, 0.5, 0.5]
    shrunk = choose_thresholds(labels, probabilities, "per_label", shrinkage=10.0)
    counts = labels.sum(axis=0)
    assert shrunk == pytest.approx((counts * per_label + 10 * shared) / (counts + 10), abs=1e-12)


def test_calibration_by_method() -> None:
    labels, probabilities = make_data(3)
    logits = np.log(probabilities / (1 - probabilities))
    assert choose_calibration(labels, logits, "none") is None
    for method in CALIBRATION_METHODS:
        found, expected = choose_calibration(labels, logits, method), fit_calibration(labels, logits, method)
        assert found is not None
        assert (found.scale.tolist(), found.bias.tolist()) == (expected.scale.tolist(), expected.bias.tolist())


def test_errors_before_calibration_are_those_of_the_logits() -> None:
    labels, probabilities = make_data(3)
    logits = np.log(probabilities / (1 - probabilities)).astype(np.float32)
    found = uncalibrated_errors("validation", labels, logits, NAMES)
    expected = calibration_metrics(labels, probabilities, NAMES)
    assert found == pytest.approx(
        {f"validation_{key}_uncalibrated": value for key, value in expected.items()}, abs=1e-6
    )


def test_strategies_are_those_that_work() -> None:
    labels, probabilities = make_data(3)
    for strategy in THRESHOLD_STRATEGIES:
        assert choose_thresholds(labels, probabilities, strategy).shape == (3,)
    with pytest.raises(ValueError, match="`strategy` must be"):
        choose_thresholds(labels, probabilities, "best")


def test_test_labels_change_no_threshold() -> None:
    labels, probabilities = make_data(4)
    validation, test = slice(0, 40), slice(40, 80)
    thresholds = choose_thresholds(labels[validation], probabilities[validation], "per_label")
    before = thresholds.copy()
    for gold in (labels[test], 1 - labels[test]):
        results = evaluate_split("test", gold, probabilities[test], thresholds, NAMES)
        assert thresholds.tolist() == before.tolist()
        expected = f1_score(gold, probabilities[test] >= before, average="macro")
        assert results["test_macro_f1"] == pytest.approx(expected, abs=1e-12)
    best = tune_thresholds(1 - labels[test], probabilities[test])
    assert f1_score(1 - labels[test], probabilities[test] >= best, average="macro") > expected + 0.05


def test_table_shows_every_label_and_each_column() -> None:
    labels, probabilities = make_data(5)
    results = evaluate_split("validation", labels, probabilities, np.full(3, 0.9), NAMES)
    results |= evaluate_split("test", labels, probabilities, np.full(3, 0.2), NAMES)
    baseline = always_frequent_baseline(labels, labels, label_names=NAMES)
    lines = [line.split() for line in results_table("test", results, NAMES, baseline).splitlines()]
    assert lines[0] == ["metric", "tuned", "at", "0.5", "always", "frequent"]
    rows = {line[0]: line[1:] for line in lines if line}
    assert set(SUMMARY) | set(NAMES) <= set(rows)
    for key in SUMMARY:
        values = [results[f"test_{key}"], results[f"test_{key}_at_0.5"], baseline.get(key)]
        assert rows[key] == ["-" if value is None else f"{value:.3f}" for value in values]
    values = [results["test_f1/joy"], results["test_roc_auc/joy"], results["test_f1/joy_at_0.5"], baseline["f1/joy"]]
    assert rows["joy"][0] == f"{labels[:, 1].sum()}"
    assert rows["joy"][3:] == [f"{value:.3f}" for value in values]


def test_interval_of_macro_f1_is_that_of_other_texts() -> None:
    labels, probabilities = make_data(7)
    unknown = labels.astype(float)
    unknown[:, 2] = math.nan
    thresholds, names = np.full(3, 0.2), NAMES
    widths = []
    for gold in (labels, np.tile(labels, (4, 1)), unknown):
        scores = np.tile(probabilities, (len(gold) // len(labels), 1))
        results = evaluate_split("test", gold, scores, thresholds, names)
        low, high = results["test_macro_f1_low"], results["test_macro_f1_high"]
        assert low < results["test_macro_f1"] < high
        widths.append(high - low)
        line = f"95 % interval of macro_f1 (bootstrap over the texts): {low:.3f} to {high:.3f}."
        assert line in results_table("test", results, names).splitlines()
    # Four times the texts, half the width.
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.15)


def test_table_ends_with_the_calibration_error() -> None:
    labels, probabilities = make_data(5)
    results = evaluate_split("test", labels, probabilities, np.full(3, 0.2), NAMES)
    error = f"Expected calibration error, mean over the labels: {results['test_macro_calibration_error']:.3f}"
    assert results_table("test", results, NAMES).splitlines()[-1] == f"{error}."
    results["test_macro_calibration_error_uncalibrated"] = 0.125
    assert results_table("test", results, NAMES).splitlines()[-1] == f"{error}, 0.125 before calibration."


def test_table_without_a_baseline() -> None:
    labels, probabilities = make_data(5)
    results = evaluate_split("test", labels, probabilities, np.full(3, 0.2), NAMES)
    assert results_table("test", results, NAMES).splitlines()[0].split() == ["metric", "tuned", "at", "0.5"]


@pytest.mark.parametrize(("spread", "is_same"), [(0.0, True), (9e-4, True), (2e-3, False)])
def test_a_table_warns_of_a_model_that_says_the_same_of_every_text(spread: float, is_same: bool) -> None:
    labels, _ = make_data(0)
    logits = np.full(labels.shape, [-1.0, 0.5, 2.0])
    logits[::2, 1] += 2 * spread
    results = evaluate_split("test", labels, 1 / (1 + np.exp(-logits)), np.full(3, 0.5), NAMES)
    assert results["test_logit_spread"] == pytest.approx(spread, abs=1e-9)
    assert results_table("test", results, NAMES).endswith(SAME_ANSWER) == is_same
    assert says_the_same((logits, labels)) == is_same
    assert not says_the_same(None)
    assert not says_the_same(logits[:1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_have_no_metrics(value: float) -> None:
    labels, _ = make_data(0)
    logits = np.zeros(labels.shape)
    logits[3, 1] = value
    with pytest.raises(InputError, match=r"^The logits of an evaluation are not finite: training has diverged"):
        compute_validation_metrics(EvalPrediction(predictions=logits, label_ids=labels))
