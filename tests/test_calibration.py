# SPDX-License-Identifier: Apache-2.0
"""Tests of calibration: the fits against independent optimisers, their limits, and the errors against loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from trainer_ext.evaluation.calibration import (
    CALIBRATION_METHODS,
    Calibration,
    calibrated_probabilities,
    calibration_metrics,
    expected_calibration_error,
    fit_calibration,
)

Array = np.ndarray
SCALES, BIASES = np.array([0.4, 1.7, 0.8, 1.0]), np.array([0.5, -2.0, 1.0, 0.0])


def make_data(num_samples: int = 400, seed: int = 0) -> tuple[Array, Array]:
    """Labels drawn from known logits, and logits that these are an affine function of, per label."""
    generator = np.random.default_rng(seed)
    true_logits = generator.normal([-2.0, -3.0, 0.0, 1.0], 2.0, (num_samples, 4))
    labels = generator.random((num_samples, 4)) < 1 / (1 + np.exp(-true_logits))
    return labels.astype(np.int64), (true_logits - BIASES) / SCALES


def smoothed(gold: Array) -> Array:
    """Platt's targets of one column."""
    positives, negatives = int(gold.sum()), int((1 - gold).sum())
    return np.array([(positives + 1) / (positives + 2) if value else 1 / (negatives + 2) for value in gold])


def loss(parameters: Array, scores: Array, targets: Array) -> float:
    logits = parameters[0] * scores + (parameters[1] if len(parameters) > 1 else 0.0)
    return float((np.logaddexp(0.0, logits) - targets * logits).sum())


def best(scores: Array, gold: Array, num_parameters: int) -> Array:
    """Minimise without gradients, from somewhere else than the code under test."""
    options = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000, "maxfev": 4000}
    start = np.array([1.0, 0.3])[:num_parameters]
    found: Array = minimize(loss, start, (scores, smoothed(gold)), method="Nelder-Mead", options=options).x
    return found


# ----------------------------------------------------------------------------------------------- fits


def test_platt_equals_a_general_optimiser() -> None:
    labels, logits = make_data()
    found = fit_calibration(labels, logits, "platt")
    for index in range(4):
        expected = best(logits[:, index], labels[:, index], 2)
        assert [found.scale[index], found.bias[index]] == pytest.approx(expected, abs=1e-5)


def test_platt_equals_logistic_regression_on_weighted_copies() -> None:
    """A target t is a positive of weight t and a negative of weight 1 - t."""
    labels, logits = make_data(seed=1)
    found = fit_calibration(labels, logits, "platt")
    for index in range(4):
        targets, column = smoothed(labels[:, index]), logits[:, [index]]
        model = LogisticRegression(C=math.inf, tol=1e-10, max_iter=1000)
        classes = np.repeat([1, 0], len(targets))
        model.fit(np.concatenate([column, column]), classes, np.concatenate([targets, 1 - targets]))
        assert found.scale[index] == pytest.approx(model.coef_[0, 0], abs=1e-4)
        assert found.bias[index] == pytest.approx(model.intercept_[0], abs=1e-4)


def test_temperatures_equal_a_general_optimiser() -> None:
    labels, logits = make_data(seed=2)
    per_label = fit_calibration(labels, logits, "temperature_per_label")
    for index in range(4):
        expected = best(logits[:, index], labels[:, index], 1)
        assert per_label.scale[index] == pytest.approx(expected[0], abs=1e-6)
    pooled = fit_calibration(labels, logits, "temperature")
    expected = best(logits.ravel(), labels.ravel(), 1)
    assert pooled.scale == pytest.approx(np.full(4, expected[0]), abs=1e-6)
    assert per_label.bias.tolist() == pooled.bias.tolist() == [0.0] * 4


def test_platt_recovers_the_calibration_that_the_labels_were_drawn_with() -> None:
    labels, logits = make_data(60_000)
    found = fit_calibration(labels, logits, "platt")
    assert found.scale == pytest.approx(SCALES, rel=0.05)
    assert found.bias == pytest.approx(BIASES, abs=0.1)


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_calibrated_logits_need_next_to_no_calibration(method: str) -> None:
    labels, logits = make_data(2000)
    first = fit_calibration(labels, logits, method)
    again = fit_calibration(labels, first.scale * logits + first.bias, method)
    assert again.scale == pytest.approx(np.ones(4), abs=1e-6)
    assert again.bias == pytest.approx(np.zeros(4), abs=1e-6)


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_rankings_stay_and_likelihood_rises(method: str) -> None:
    labels, logits = make_data(seed=3)
    found = fit_calibration(labels, logits, method)
    calibrated = found.scale * logits + found.bias
    assert (found.scale > 0).all()
    for index in range(4):
        assert roc_auc_score(labels[:, index], calibrated[:, index]) == roc_auc_score(
            labels[:, index], logits[:, index]
        )
    before, after = (log_loss(labels.ravel(), 1 / (1 + np.exp(-values.ravel()))) for values in (logits, calibrated))
    assert after < before


@pytest.mark.parametrize("method", ["temperature_per_label", "platt"])
def test_labels_that_cannot_be_fitted_keep_the_identity(method: str) -> None:
    labels, logits = make_data(seed=4)
    labels[:, 0], labels[:, 1] = 0, 1
    logits[:, 2] = -3.0
    alone = fit_calibration(labels[:, 3:], logits[:, 3:], method)
    found = fit_calibration(labels, logits, method)
    assert found.scale[:3].tolist() == [1.0] * 3
    assert found.bias[:3].tolist() == [0.0] * 3
    assert (found.scale[3], found.bias[3]) == pytest.approx((alone.scale[0], alone.bias[0]), abs=1e-12)
    assert abs(found.scale[3] - 1.0) > 1e-3


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_reversed_rankings_keep_the_identity(method: str) -> None:
    logits = np.linspace(-2.0, 2.0, 40)[:, None]
    found = fit_calibration(logits < 0.1, logits, method)
    assert (found.scale.tolist(), found.bias.tolist()) == ([1.0], [0.0])


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
@pytest.mark.parametrize("width", [1e-6, 1.0, 1e3])
def test_separable_labels_stay_finite_whatever_the_width_of_the_logits(method: str, width: float) -> None:
    """Every positive then gets Platt's target at most, or nearly: (3 + 1) / (3 + 2)."""
    logits = width * np.array([[2.0], [2.0], [2.0], *[[-2.0]] * 37])
    found = fit_calibration(logits > 0, logits, method)
    assert np.isfinite(found).all()
    positive = 1 / (1 + np.exp(-(found.scale * logits[0] + found.bias)))
    if method == "platt":
        assert positive == pytest.approx(0.8, abs=1e-6)
        assert found.scale[0] * logits[-1] + found.bias[0] == pytest.approx(-math.log(38), abs=1e-6)
    else:
        assert 0.8 < positive[0] < 0.97


def test_nearly_equal_logits_far_from_zero_are_fitted() -> None:
    generator = np.random.default_rng(5)
    deviations = generator.normal(size=(200, 1))
    logits = (-8.0 + 1e-5 * deviations).astype(np.float32)
    labels = generator.random((200, 1)) < 1 / (1 + np.exp(2.0 - deviations))
    found = fit_calibration(labels, logits, "platt")
    assert 3e4 < found.scale[0] < 3e5
    probabilities = 1 / (1 + np.exp(-(found.scale * logits.astype(np.float64) + found.bias)))
    assert probabilities.mean() == pytest.approx(smoothed(labels[:, 0].astype(int)).mean(), abs=1e-6)


def test_extreme_logits_are_fitted() -> None:
    labels, logits = make_data(seed=6)
    plain, wide = fit_calibration(labels, logits, "platt"), fit_calibration(labels, 1e4 * logits, "platt")
    assert 1e4 * wide.scale == pytest.approx(plain.scale, rel=1e-6)
    assert wide.bias == pytest.approx(plain.bias, rel=1e-6)


def test_the_fit_meets_the_share_of_positives() -> None:
    """At the best bias the mean probability is the mean target."""
    labels, logits = make_data(seed=7)
    found = fit_calibration(labels, logits, "platt")
    means = (1 / (1 + np.exp(-(found.scale * logits + found.bias)))).mean(axis=0)
    assert means == pytest.approx(np.array([smoothed(column).mean() for column in labels.T]), abs=1e-9)


@pytest.mark.parametrize(
    ("logits", "method", "message"),
    [
        ([[0.0]], "isotonic", "`method` must be one of temperature, temperature_per_label, platt, got 'isotonic'"),
        ([[0.0, 1.0]], "platt", r"`logits` must have the shape of `labels`, \(1, 1\), got \(1, 2\)"),
        ([[math.nan]], "platt", "`logits` must be finite, got NaN or infinity"),
        ([[math.inf]], "temperature", "`logits` must be finite, got NaN or infinity"),
    ],
)
def test_invalid_arguments_of_the_fit_raise(logits: Any, method: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_calibration([[1]], logits, method)


def test_probabilities_are_the_sigmoid_of_scaled_logits() -> None:
    logits = np.array([[-3.0, 0.5], [100.0, -100.0]], dtype=np.float32)
    calibration = Calibration(np.array([0.5, 2.0]), np.array([1.0, -1.0]))
    found = calibrated_probabilities(logits, calibration)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx([1 / (1 + math.exp(0.5)), 0.5], abs=1e-7)
    assert found[1].tolist() == [1.0, 0.0]
    assert calibrated_probabilities(logits, None)[0, 1] == pytest.approx(1 / (1 + math.exp(-0.5)), abs=1e-7)


# ----------------------------------------------------------------------------------------------- errors


def naive_error(gold: list[int], scores: list[float], num_bins: int) -> float:
    total = 0.0
    for index in range(num_bins):
        low, high = index / num_bins, (index + 1) / num_bins
        members = [
            (label, score)
            for label, score in zip(gold, scores, strict=True)
            if low <= score < high or (score == 1.0 and index == num_bins - 1)
        ]
        if members:
            share = sum(label for label, _ in members) / len(members)
            mean = sum(score for _, score in members) / len(members)
            total += len(members) / len(gold) * abs(share - mean)
    return total


@pytest.mark.parametrize("num_bins", [1, 4, 15])
def test_error_equals_a_loop(num_bins: int) -> None:
    generator = np.random.default_rng(8)
    probabilities = generator.beta(0.4, 1.0, (150, 3))
    probabilities[:5] = [[0.0, 1.0, 0.25]] * 5
    labels = (generator.random((150, 3)) < probabilities**1.5).astype(np.int64)
    found = expected_calibration_error(labels, probabilities, num_bins)
    columns = zip(labels.T.tolist(), probabilities.T.tolist(), strict=True)
    assert found == pytest.approx([naive_error(gold, scores, num_bins) for gold, scores in columns], abs=1e-12)


def test_error_of_right_and_of_wrong_probabilities() -> None:
    labels = np.array([[1, 0], [0, 1], [0, 0], [0, 1]])
    assert expected_calibration_error(labels, labels.astype(float)).tolist() == [0.0, 0.0]
    assert expected_calibration_error(labels, 1.0 - labels).tolist() == [1.0, 1.0]
    assert expected_calibration_error(labels, np.full((4, 2), 0.25)) == pytest.approx([0.0, 0.25], abs=1e-12)


def test_metrics_hold_the_means_and_every_label() -> None:
    labels, logits = make_data(seed=9)
    probabilities = calibrated_probabilities(logits.astype(np.float32), None)
    names = ["anger", "joy", "حزن", "fear"]
    found = calibration_metrics(labels, probabilities, names)
    errors = expected_calibration_error(labels, probabilities)
    assert [found[f"calibration_error/{name}"] for name in names] == errors.tolist()
    assert found["macro_calibration_error"] == pytest.approx(errors.mean(), abs=1e-12)
    pooled = naive_error(labels.ravel().tolist(), probabilities.astype(float).ravel().tolist(), 15)
    assert found["micro_calibration_error"] == pytest.approx(pooled, abs=1e-9)
    briers = [brier_score_loss(labels[:, index], probabilities[:, index]) for index in range(4)]
    assert found["brier_score"] == pytest.approx(np.mean(briers), abs=1e-6)
    assert len(found) == 7
    assert {type(value) for value in found.values()} == {float}


def test_calibration_lowers_the_errors_of_other_samples() -> None:
    labels, logits = make_data(4000, seed=10)
    found = fit_calibration(labels[:2000], logits[:2000], "platt")
    scores = logits[2000:].astype(np.float32)
    before, after = (
        calibration_metrics(labels[2000:], calibrated_probabilities(scores, calibration), "abcd")
        for calibration in (None, found)
    )
    assert before["macro_calibration_error"] > 0.05
    assert after["macro_calibration_error"] < 0.03
    assert after["brier_score"] < before["brier_score"]


@pytest.mark.parametrize(
    ("probabilities", "num_bins", "message"),
    [
        ([[0.5]], 0, "`num_bins` must be at least 1, got 0"),
        ([[1.5]], 15, r"`probabilities` must lie in \[0, 1\]"),
        ([[0.5, 0.5]], 15, "`probabilities` must have the shape of `labels`"),
    ],
)
def test_invalid_arguments_of_the_error_raise(probabilities: Any, num_bins: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error([[1]], probabilities, num_bins)
