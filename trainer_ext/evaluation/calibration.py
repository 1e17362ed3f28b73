# SPDX-License-Identifier: Apache-2.0
"""Calibration on the validation split: of 100 texts with a probability of 0.8 about 80 shall be positive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError
from .label_statistics import count_labels
from .metrics import Labels, check_labels, check_probabilities, count_known, is_known, mean_of_known

CALIBRATION_METHODS = ("temperature", "temperature_per_label", "platt")

_MAX_STEPS = 1000
# Gain in log-likelihood that one more step could bring.
_TOLERANCE = 1e-12


class Calibration(NamedTuple):
    """
    Logits become `scale * logit + bias`: the `calibration_scale` and `calibration_bias` of [`StackedEmotionConfig`].

    Attributes:
        scale (`np.ndarray` of shape `(num_labels,)`): Above 0, float64.
        bias (`np.ndarray` of shape `(num_labels,)`): Finite, float64.
    """

    scale: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]


def fit_calibration(labels: npt.ArrayLike, logits: npt.ArrayLike, method: str) -> Calibration:
    """
    Find the calibration with the highest likelihood on the given samples.

    - `"temperature"`: one scale 1 / T for all labels, biases of 0 (Guo et al., 2017, On Calibration of Modern Neural
      Networks).
    - `"temperature_per_label"`: one scale per label, biases of 0.
    - `"platt"`: scale and bias per label (Platt, 1999, Probabilistic Outputs for Support Vector Machines and
      Comparisons to Regularized Likelihood Methods).

    In place of 1 and 0 all of them aim at Platt's targets, (num_positives + 1) / (num_positives + 2) and
    1 / (num_negatives + 2): the fit is finite even where logits separate a label, and a rare label does not run away.
    A graded label y lies between the two, the share y of the way, and counts as y positives. The likelihood is that of
    the known cells.
    The loss is convex; Newton's method minimises it with short steps.

    A label keeps scale 1 and bias 0 if it is not fitted by itself: without a positive or a negative sample, with equal
    logits everywhere, or where the best scale is not above 0, which would reverse the ranking. With `"temperature"`
    this holds for all labels taken together.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels of the validation split in [0, 1], NaN
            where unknown.
        logits (`ArrayLike` of shape `(num_samples, num_labels)`): Their logits, from a model without calibration.
        method (`str`): One of the three.

    Returns:
        [`Calibration`]: It is fitted to these samples, so their own calibration error is too good afterwards.

    Raises:
        `ValueError`: If `method` is unknown, a shape does not fit or a logit is not finite.
    """
    if method not in CALIBRATION_METHODS:
        raise InputError(f"`method` must be one of {', '.join(CALIBRATION_METHODS)}, got {method!r}.")
    gold = check_labels(labels)
    scores = np.asarray(logits, dtype=np.float64)
    if scores.shape != gold.shape:
        raise InputError(f"`logits` must have the shape of `labels`, {gold.shape}, got {scores.shape}.")
    if not np.isfinite(scores).all():
        raise InputError("`logits` must be finite, got NaN or infinity.")
    num_labels = gold.shape[1]
    if method == "temperature":
        pooled = _fit(gold.reshape(-1, 1), scores.reshape(-1, 1), with_bias=False)
        return Calibration(np.repeat(pooled.scale, num_labels), np.repeat(pooled.bias, num_labels))
    return _fit(gold, scores, with_bias=method == "platt")


def _fit(gold: Labels, scores: npt.NDArray[np.float64], with_bias: bool) -> Calibration:
    """Fit every column by itself."""
    num_positives, num_known = count_labels(gold)
    num_negatives = num_known - num_positives
    high, low = (num_positives + 1.0) / (num_positives + 2.0), 1.0 / (num_negatives + 2.0)
    known, shares = is_known(gold), np.nan_to_num(gold.astype(np.float64))
    targets = shares * high + (1.0 - shares) * low
    # Centred, or a label with nearly equal logits would give a singular system.
    means = np.where(known, scores, 0.0).mean(axis=0) * (len(gold) / np.maximum(num_known, 1.0))
    # An unknown cell has features of 0: it moves nothing.
    features = np.stack([scores - means * with_bias, np.ones_like(scores)][: 1 + with_bias]) * known
    highest = np.where(known, scores, -np.inf).max(axis=0)
    lowest = np.where(known, scores, np.inf).min(axis=0)
    can_fit = (num_positives > 0) & (num_negatives > 0) & (highest > lowest)
    parameters = np.zeros((len(can_fit), 2))
    parameters[can_fit, : 1 + with_bias] = _newton(features[..., can_fit], targets[:, can_fit])
    slope, intercept = parameters.T
    is_rising = slope > 0
    bias = intercept - slope * means * with_bias
    return Calibration(np.where(is_rising, slope, 1.0), np.where(is_rising, bias, 0.0))


def _newton(features: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """
    Logistic regressions side by side: features (num_features, num_samples, num_labels), targets (num_samples,
    num_labels), parameters (num_labels, num_features).

    A step that moves no logit by more than 1 never raises the loss (Bach, 2010, Self-Concordant Analysis for Logistic
    Regression, proposition 1), so Newton's method needs no line search.
    """
    parameters = np.zeros((features.shape[2], features.shape[0]))
    for _ in range(_MAX_STEPS):
        probabilities = sigmoid(np.einsum("fsl,lf->sl", features, parameters))
        gradient = np.einsum("fsl,sl->lf", features, probabilities - targets)
        curvature = probabilities * (1.0 - probabilities)
        hessian = np.einsum("fsl,gsl,sl->lfg", features, features, curvature)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        longest = np.abs(np.einsum("fsl,lf->sl", features, step)).max(axis=0)
        parameters -= step / np.maximum(longest, 1.0)[:, None]
        if ((gradient * step).sum(axis=1) < _TOLERANCE).all():
            break
    return parameters


def sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Without overflow at any logit."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def calibrated_probabilities(logits: npt.NDArray[np.float32], calibration: Calibration | None) -> np.ndarray:
    """
    The sigmoid of calibrated logits, equal to the bit to the answers of a model that holds the calibration.

    Args:
        logits (`np.ndarray` of shape `(num_samples, num_labels)`): From the model without calibration, fp32.
        calibration ([`Calibration`], *optional*): `None` leaves the logits as they are.

    Returns:
        `np.ndarray` of shape `(num_samples, num_labels)`: Probabilities, fp32.
    """
    scores = torch.from_numpy(logits)
    if calibration is not None:
        scale, bias = torch.from_numpy(np.stack(calibration)).float()
        scores = scale * scores + bias
    # The last bit of an fp32 sigmoid depends on the shape of its array.
    return scores.double().sigmoid().float().numpy()


def probability_logits(probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The inverse of [`sigmoid`], finite for 0 and 1, too."""
    values = np.asarray(probabilities, dtype=np.float64)
    inside = np.clip(values, np.finfo(np.float32).tiny, 1.0 - np.finfo(np.float32).epsneg)
    return np.log(inside) - np.log1p(-inside)


def mean_logits(probabilities: Sequence[npt.NDArray[np.floating]]) -> npt.NDArray[np.float32]:
    """Logits of the mean of several models' probabilities, all of one shape; fp32 and finite."""
    return probability_logits(np.mean(probabilities, axis=0, dtype=np.float64)).astype(np.float32)


def weighted_logits(
    probabilities: Sequence[npt.NDArray[np.floating]], shares: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """The mean of several models' logits, weighted by shares that sum to 1; fp32."""
    return np.tensordot(np.asarray(shares), probability_logits(probabilities), axes=1).astype(np.float32)


def expected_calibration_error(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, num_bins: int = 15
) -> npt.NDArray[np.float64]:
    """
    How far probabilities are from the shares of positives, per label.

    The sum over the bins of |share of positives - mean probability|, weighted by the share of the samples that fall
    into the bin (Naeini et al., 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning; with 15 bins of
    equal width as in Guo et al., 2017). Bins are closed on the left, the last one on both sides. Bins with equally
    many samples (Nixon et al., 2019, Measuring Calibration in Deep Learning) would see more of a rare label, of which
    most probabilities fall into the lowest bin, but with few positives they would see chance.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels in [0, 1], NaN where unknown. The share
            of positives is the mean of the known ones.
        probabilities (`ArrayLike` of shape `(num_samples, num_labels)`): Probabilities in [0, 1].
        num_bins (`int`, *optional*, defaults to 15): At least 1.

    Returns:
        `np.ndarray` of shape `(num_labels,)`: Errors in [0, 1]; NaN for a label that no sample knows.

    Raises:
        `ValueError`: If an argument is out of its range or the shapes differ.
    """
    gold = check_labels(labels)
    counts, positives, mass = bin_sums(gold, check_probabilities(probabilities, gold.shape), num_bins)
    totals = counts.sum(axis=1)
    errors = np.full(len(totals), np.nan)
    return np.divide(np.abs(positives - mass).sum(axis=1), totals, out=errors, where=totals > 0)


def bin_sums(
    gold: Labels, probabilities: npt.NDArray[np.floating], num_bins: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """
    Per label and bin of equal width, over the samples that know the label: samples, the sum of their labels, and that
    of their probabilities, each `(num_labels, num_bins)`.
    """
    if num_bins < 1:
        raise InputError(f"`num_bins` must be at least 1, got {num_bins}.")
    num_labels = gold.shape[1]
    values = probabilities.astype(np.float64)
    bins = np.minimum((values * num_bins).astype(np.int64), num_bins - 1) + num_bins * np.arange(num_labels)

    def total(weights: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        sums = np.bincount(bins.ravel(), weights=weights.ravel(), minlength=num_bins * num_labels)
        return sums.astype(np.float64).reshape(num_labels, num_bins)

    known = is_known(gold)
    return total(known), total(np.nan_to_num(gold)), total(values * known)


def calibration_metrics(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, label_names: Sequence[str]
) -> dict[str, float]:
    """
    Calibration in numbers; lower is better, 0 best.

    Args:
        labels, probabilities (`ArrayLike` of shape `(num_samples, num_labels)`): As above.
        label_names (`Sequence[str]` of length `num_labels`): For the keys.

    Returns:
        `dict[str, float]`: `calibration_error/<label>`, the expected calibration error; `macro_calibration_error`,
        its mean over the labels that any sample knows; `micro_calibration_error`, that of all labels pooled into one;
        `brier_score`, the mean of (probability - label)² over the known cells (Brier, 1950, Verification of Forecasts
        Expressed in Terms of Probability).
    """
    gold = check_labels(labels)
    scores = check_probabilities(probabilities, gold.shape).astype(np.float64)
    errors = expected_calibration_error(gold, scores)
    pooled = expected_calibration_error(gold.reshape(-1, 1), scores.reshape(-1, 1))
    return {
        "macro_calibration_error": mean_of_known(errors, count_known(gold)[0] > 0),
        "micro_calibration_error": float(pooled[0]),
        "brier_score": mean_of_known(np.square(scores - gold), is_known(gold)),
    } | {f"calibration_error/{name}": float(error) for name, error in zip(label_names, errors, strict=True)}
