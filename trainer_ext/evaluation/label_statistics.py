# SPDX-License-Identifier: Apache-2.0
"""Statistics of the training labels: how frequent each is, and which come together."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .metrics import Labels, check_labels, count_known, is_known, is_positive

CLASS_WEIGHT_METHODS = ("none", "inverse", "sqrt", "effective")
# The least variance of a label, beside its mean square, that is no rounding error.
_MIN_VARIANCE = 1e-12


def count_labels(labels: Labels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The sum of each label's targets, which for 0/1 labels is its positives, and how many samples know it."""
    return np.nansum(labels, axis=0, dtype=np.float64), count_known(labels)[0]


def count_positives(labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The samples that have each label, `(num_labels,)`, of labels `(num_samples, num_labels)` as [`check_labels`]."""
    return np.asarray(is_positive(check_labels(labels)).sum(axis=0))


def compute_class_weights(
    labels: npt.ArrayLike, method: str, *, cap: float = 10.0, beta: float = 0.999
) -> npt.NDArray[np.float64]:
    """
    Weight of the positives of each label beside its negatives: the `pos_weight` of a binary cross-entropy.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Training labels in [0, 1], NaN where unknown. A
            label's positives are the sum of its targets, its negatives the samples that know it less these.
        method (`str`):
            `"none"` (1 everywhere), `"inverse"` (negatives / positives; King and Zeng, 2001, Logistic Regression in
            Rare Events Data), `"sqrt"` (its square root) or `"effective"` ((1 - beta^negatives) / (1 -
            beta^positives), the ratio of the effective numbers of Cui et al., 2019, Class-Balanced Loss Based on
            Effective Number of Samples).
        cap (`float`, *optional*, defaults to 10.0): The highest weight, at least 1; infinity for none.
        beta (`float`, *optional*, defaults to 0.999): Of `"effective"`, in [0, 1).

    Returns:
        `np.ndarray` of shape `(num_labels,)`: Finite weights in (0, `cap`]. A label without positives has the weight
        of one with a single positive: an infinite weight would make the loss NaN. One that no sample knows has 1.

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
    counts, known = count_labels(gold)
    positives, negatives = np.maximum(counts, 1.0), known - counts
    if method == "none":
        return np.ones(gold.shape[1])
    if method == "effective":
        negatives, positives = 1.0 - beta**negatives, 1.0 - beta**positives
    weights = negatives / positives
    # A label that every text has must not lose its only examples.
    smallest = 1.0 / np.maximum(known, 1.0)
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
    How labels come together: Pearson's correlation of every two, for 0/1 labels the phi coefficient (Pearson, 1900;
    Yule, 1912, On the Methods of Measuring Association between Two Attributes).

    Over the n samples that know both labels, with the sums n_a, n_b of their targets, s_a, s_b of the squares and n_ab
    of the products, it is (n n_ab - n_a n_b) / sqrt((n s_a - n_a^2) (n s_b - n_b^2)). Smoothing draws it towards the 0
    of independent labels, the more the fewer samples could show the pair: times m / (m + smoothing) with
    m = min(n_a, n_b) (the m-estimate; Cestnik, 1990, Estimating Probabilities).

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): In [0, 1], NaN where unknown.
        smoothing (`float`, *optional*, defaults to 0.0): Pseudo-samples, at least 0.

    Returns:
        `np.ndarray` of shape `(num_labels, num_labels)`: The diagonal is 1. A label that no sample or every sample has
        is 0 with all others, and so are two labels that no sample knows both of.

    Raises:
        `ValueError`: If an argument is out of its range.
    """
    if not smoothing >= 0.0:
        raise InputError(f"`smoothing` must be a number of pseudo-samples >= 0, got {smoothing}.")
    gold = check_labels(labels)
    known, targets = is_known(gold).astype(np.float64), np.nan_to_num(gold.astype(np.float64))
    total, both = known.T @ known, targets.T @ targets
    # Of the label of the row, over the samples that know that of the column as well.
    rows, squares = targets.T @ known, (targets**2).T @ known
    columns = rows.T
    variances = total * squares - rows**2
    variances[variances <= _MIN_VARIANCE * total * squares] = 0.0
    spread = np.sqrt(variances * variances.T)
    values = np.divide(total * both - rows * columns, spread, out=np.zeros_like(both), where=spread > 0)
    evidence = np.minimum(rows, columns)
    values *= evidence / np.maximum(evidence + smoothing, 1.0)
    np.fill_diagonal(values, 1.0)
    return values
