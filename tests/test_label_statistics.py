# SPDX-License-Identifier: Apache-2.0
"""Tests of class weights and label correlations against naive loops, numpy and the cases at their limits."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from trainer_ext.evaluation.label_statistics import CLASS_WEIGHT_METHODS, compute_class_weights, label_correlation


def make_labels(seed: int, num_samples: int = 60) -> npt.NDArray[np.int64]:
    """Five labels, one rare and two that come together; each has a positive and a negative."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_samples, 5)) < [0.5, 0.3, 0.05, 0.2, 0.2]).astype(np.int64)
    labels[:, 4] |= labels[:, 3]
    labels[:2] = [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]
    return labels


# ----------------------------------------------------------------------------------------------------- class weights


def naive_weight(column: npt.NDArray[np.int64], method: str, cap: float, beta: float) -> float:
    num_positives, num_negatives = sum(column == 1), sum(column == 0)
    weight = {
        "none": 1.0,
        "inverse": num_negatives / num_positives,
        "sqrt": math.sqrt(num_negatives / num_positives),
        "effective": sum(beta**power for power in range(num_negatives))
        / sum(beta**power for power in range(num_positives)),
    }[method]
    return min(max(weight, 1.0 / len(column)), cap)


@pytest.mark.parametrize(("cap", "beta"), [(10.0, 0.999), (2.0, 0.5), (math.inf, 0.0)])
@pytest.mark.parametrize("method", CLASS_WEIGHT_METHODS)
def test_class_weights_equal_a_naive_count(method: str, cap: float, beta: float) -> None:
    labels = make_labels(0)
    found = compute_class_weights(labels, method, cap=cap, beta=beta)
    assert found == pytest.approx([naive_weight(column, method, cap, beta) for column in labels.T], rel=1e-12)
    assert found.dtype == np.float64


def test_class_weights_by_hand() -> None:
    labels = np.zeros((100, 3))
    labels[:50, 0], labels[:4, 1], labels[:80, 2] = 1, 1, 1
    assert compute_class_weights(labels, "none").tolist() == [1.0, 1.0, 1.0]
    assert compute_class_weights(labels, "inverse").tolist() == [1.0, 10.0, 0.25]
    assert compute_class_weights(labels, "inverse", cap=30).tolist() == [1.0, 24.0, 0.25]
    assert compute_class_weights(labels, "sqrt").tolist() == [1.0, math.sqrt(24), 0.5]
    assert compute_class_weights(labels, "effective", beta=0.0).tolist() == [1.0, 1.0, 1.0]
    # Towards beta = 1 the effective number of samples is their number.
    assert compute_class_weights(labels, "effective", beta=1 - 1e-9) == pytest.approx(
        compute_class_weights(labels, "inverse")
    )


@pytest.mark.parametrize("method", CLASS_WEIGHT_METHODS)
def test_label_that_every_or_no_text_has_keeps_the_loss_finite(method: str) -> None:
    labels = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    weights = compute_class_weights(labels, method, cap=math.inf)
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.from_numpy(weights))
    assert loss(torch.zeros(4, 3, dtype=torch.float64), torch.from_numpy(labels).double()).isfinite()


def test_unseen_label_has_the_weight_of_a_single_positive() -> None:
    labels = np.zeros((8, 2))
    labels[0, 1] = 1
    assert compute_class_weights(labels, "inverse").tolist() == [8.0, 7.0]
    assert compute_class_weights(np.ones((8, 1)), "inverse").tolist() == [1 / 8]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "balanced"}, r"`method` must be one of none, inverse, sqrt, effective, got 'balanced'"),
        ({"cap": 0.5}, r"`cap` must be at least 1, got 0.5"),
        ({"cap": math.nan}, r"`cap` must be at least 1, got nan"),
        ({"beta": 1.0}, r"`beta` must lie in \[0, 1\), got 1.0"),
        ({"beta": -0.1}, r"`beta` must lie in \[0, 1\), got -0.1"),
        ({"labels": [[0, 2]]}, r"`labels` must lie in \[0, 1\], .* got 2"),
        ({"labels": [0, 1]}, r"`labels` must have shape \(num_samples, num_labels\), got \(2,\)"),
        ({"labels": np.zeros((0, 2))}, r"`labels` must have at least one sample"),
    ],
)
def test_wrong_arguments_of_class_weights(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_class_weights(**{"labels": [[0, 1]], "method": "inverse", **arguments})


# ------------------------------------------------------------------------------------------------- label correlation


def naive_correlation(labels: npt.NDArray[np.int64], smoothing: float) -> npt.NDArray[np.float64]:
    total, num_labels = labels.shape
    values = np.eye(num_labels)
    for a, b in itertools.permutations(range(num_labels), 2):
        num_a, num_b = int(labels[:, a].sum()), int(labels[:, b].sum())
        num_both = sum(1 for row in labels if row[a] and row[b])
        if not num_a or not num_b:
            continue
        spread = math.sqrt(num_a * (total - num_a) * num_b * (total - num_b))
        value = (total * num_both - num_a * num_b) / spread if spread else 0.0
        evidence = min(num_a, num_b)
        values[a, b] = evidence * value / (evidence + smoothing)
    return values


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 10.0])
def test_correlation_equals_a_naive_loop(smoothing: float) -> None:
    labels = make_labels(1)
    # A label that no text has, and one that every text has.
    labels = np.hstack([labels, np.zeros((60, 1), dtype=np.int64), np.ones((60, 1), dtype=np.int64)])
    found = label_correlation(labels, smoothing=smoothing)
    assert np.abs(found - naive_correlation(labels, smoothing)).max() < 1e-12
    assert found.dtype == np.float64


@pytest.mark.parametrize("seed", range(3))
def test_phi_is_the_correlation_of_numpy(seed: int) -> None:
    labels = make_labels(seed)
    assert np.abs(label_correlation(labels) - np.corrcoef(labels.T)).max() < 1e-12


def test_correlation_is_exactly_symmetric() -> None:
    values = label_correlation(make_labels(0, 500), smoothing=3.0)
    assert (values == values.T).all()


@pytest.mark.parametrize("num_samples", [3, 7, 30, 1001])
def test_phi_of_equal_and_opposite_labels_is_exactly_one(num_samples: int) -> None:
    column = np.arange(num_samples) % 3 == 0
    values = label_correlation(np.stack([column, column, ~column], axis=1))
    assert values.tolist() == [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]


def test_unseen_and_ever_present_labels() -> None:
    labels = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 0]])
    assert label_correlation(labels).tolist() == np.eye(3).tolist()


def test_smoothing_draws_rare_pairs_further_than_frequent_ones() -> None:
    """Two rare labels that always come together, and two frequent ones."""
    labels = np.zeros((1000, 4))
    labels[:2, :2] = 1
    labels[500:900, 2:] = 1
    plain, smoothed = (label_correlation(labels, smoothing=value) for value in (0.0, 8.0))
    assert plain[0, 1] == plain[2, 3] == 1.0
    assert smoothed[0, 1] == pytest.approx(2 / 10)
    assert smoothed[2, 3] == pytest.approx(400 / 408)
    assert label_correlation(labels, smoothing=math.inf).tolist() == np.eye(4).tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"smoothing": -1.0}, r"`smoothing` must be a number of pseudo-samples >= 0, got -1.0"),
        ({"smoothing": math.nan}, r"`smoothing` must be a number of pseudo-samples >= 0, got nan"),
        ({"labels": [[-0.5, 1.0]]}, r"`labels` must lie in \[0, 1\], .* got -0.5"),
        ({"labels": [1, 0]}, r"`labels` must have shape \(num_samples, num_labels\), got \(2,\)"),
    ],
)
def test_wrong_arguments_of_label_correlation(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_correlation(**{"labels": [[0, 1]], **arguments})
