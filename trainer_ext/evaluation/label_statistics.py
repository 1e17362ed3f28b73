# SPDX-License-Identifier: Apache-2.0
"""Statistics of the training labels: how frequent each is, and which come together."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .metrics import check_labels

CLASS_WEIGHT_METHODS = ("none", "inverse", "sqrt", "effective")


def compute_class_weights(
    labels: npt.ArrayLike, method: str, *, cap: float = 10.0, beta: float = 0.999
) -> npt.NDArray[np.float64]:
    """
    Weight of the positives of each label beside its negatives: the `pos_weight` of a binary cross-entropy.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Training labels, 0 or 1.
        method (`str`):
            `"none"` (1 everywhere), `"inverse"` (negatives / positives; King and Zeng, 2001, Logistic Regression in
            Rare Events Data), `"sqrt"` (its square root) or `"effective"` ((1 - beta^negatives) / (1 -
            beta^positives), the ratio of the effective numbers of Cui et al., 2019, Class-Balanced Loss Based on
            Effective Number of Samples).
        cap (`float`, *optional*, defaults to 10.0): The highest weight, at least 1; infinity for none.
        beta (`float`, *optional*, defaults to 0.999): Of `"effective"`, in [0, 1).

    Returns:
        `np.ndarray` of shape `(num_labels,)`: Finite weights in (0, `cap`]. A label without positives has the weight
        of one with a single positive: an infinite weight would make the loss NaN.

    Raises:
        `InputError`: If an argument is out of its range.
    """
    if method not in CLASS_WEIGHT_METHODS:
        raise InputError(f"`method` must be one of {', '.join(CLASS_WEIGHT_METHODS)}, got {method!r}.")
    if not cap >= 1.0:
        raise InputError(f"`cap` must be at least 1, got {cap}.")
    if not 0.0 <= beta < 1.0:
        raise InputError(f"`beta` must lie in [0, 1), got {beta}.")
    gold = check_labels(labels)
    counts = gold.sum(axis=0)
    positives, negatives = np.maximum(counts, 1.0), len(gold) - counts.astype(np.float64)
    if method == "none":
        return np.ones(gold.shape[1])
    if method == "effective":
        negatives, positives = 1.0 - beta**negatives, 1.0 - beta**positives
    weights = negatives / positives
    # A label that every text has must not lose its only examples.
    smallest = 1.0 / len(gold)
    return np.clip(np.sqrt(weights) if method == "sqrt" else weights, smallest, cap)


def frequency_groups(train_counts: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], list[str]]:
    """
    The labels from the most to the least frequent, in thirds.

    The frequent and the rare group are a third of the labels each, rounded up: 10 and 10 of 28. Of two labels with
    equal counts the earlier one is taken for the more frequent.

    Args:
        train_counts (`ArrayLike` of shape `(num_labels,)`): Training texts with each label; at least two labels.

    Returns:
        The labels' indices in that order, and beside them `"frequent"`, `"middle"` or `"rare"`.
    """
    order = np.argsort(-np.asarray(train_counts, dtype=np.float64), kind="stable")
    num_third = math.ceil(len(order) / 3)
    return order, ["frequent"] * num_third + ["middle"] * (len(order) - 2 * num_third) + ["rare"] * num_third


def label_correlation(labels: npt.ArrayLike, *, smoothing: float = 0.0) -> npt.NDArray[np.float64]:
    """
    How labels come together: the phi coefficient of every two, Pearson's correlation of two 0/1 variables (Pearson,
    1900; Yule, 1912, On the Methods of Measuring Association between Two Attributes).

    With the counts n_a, n_b of two labels and n_ab of both among n samples it is
    (n n_ab - n_a n_b) / sqrt(n_a (n - n_a) n_b (n - n_b)). Smoothing draws it towards the 0 of independent labels, the
    more the fewer samples could show the pair: times m / (m + smoothing) with m = min(n_a, n_b) (the m-estimate;
    Cestnik, 1990, Estimating Probabilities).

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): 0 or 1.
        smoothing (`float`, *optional*, defaults to 0.0): Pseudo-samples, at least 0.

    Returns:
        `np.ndarray` of shape `(num_labels, num_labels)`: The diagonal is 1. A label that no sample or every sample has
        is 0 with all others.

    Raises:
        `ValueError`: If an argument is out of its range.
    """
    if not smoothing >= 0.0:
        raise InputError(f"`smoothing` must be a number of pseudo-samples >= 0, got {smoothing}.")
    gold = check_labels(labels).astype(np.float64)
    total = len(gold)
    counts, both = gold.sum(axis=0), gold.T @ gold
    rows, columns = counts[:, None], counts[None, :]
    spread = np.sqrt((rows * (total - rows)) * (columns * (total - columns)))
    values = np.divide(total * both - rows * columns, spread, out=np.zeros_like(both), where=spread > 0)
    evidence = np.minimum(rows, columns)
    values *= evidence / np.maximum(evidence + smoothing, 1.0)
    np.fill_diagonal(values, 1.0)
    return values
