# SPDX-License-Identifier: Apache-2.0
"""How sure a difference of F1 is: intervals by resampling the test texts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .metrics import check_labels

_RESAMPLES_AT_ONCE = 250


class Interval(NamedTuple):
    """
    A mean over runs with its percentile interval.

    Attributes:
        mean (`float`): On the texts as they are.
        low, high (`float`): Ends of the interval.
    """

    mean: float
    low: float
    high: float


def bootstrap_f1(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, *, num_resamples: int = 2000, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """
    F1 of every label on the test texts and on resamples of them (Efron, 1979, Bootstrap Methods).

    The same texts are drawn for the same `seed`, whatever the predictions: the difference of two calls is a paired
    bootstrap. A label without a positive and without a prediction in a resample has an F1 of 0 there, as in
    [`~trainer_ext.metrics.multilabel_metrics`].

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels, 0 or 1.
        predictions (`ArrayLike` of shape `(num_runs, num_samples, num_labels)`): Predictions of one or more runs.
        num_resamples (`int`, *optional*, defaults to 2000): How many.
        seed (`int`, *optional*, defaults to 0): Which.

    Returns:
        F1 per label, mean over the runs, `(num_labels,)`, and the same on every resample, `(num_resamples,
        num_labels)`.
    """
    gold = check_labels(labels)
    runs = np.asarray(predictions, dtype=bool)
    if runs.ndim != 3 or runs.shape[1:] != gold.shape:
        raise ValueError(
            f"`predictions` must have shape (num_runs, {gold.shape[0]}, {gold.shape[1]}), got {runs.shape}."
        )
    if num_resamples < 1:
        raise ValueError(f"`num_resamples` must be at least 1, got {num_resamples}.")
    hits = np.concatenate([run & gold for run in runs], axis=1).astype(np.float32)
    # Gold and predicted positives: the denominator of 2 TP / (gold + predicted).
    totals = np.concatenate([run.astype(np.float32) + gold for run in runs], axis=1)

    def mean_f1(counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        scores = 2.0 * (counts @ hits) / np.maximum(counts @ totals, 1.0)
        return scores.reshape(len(counts), len(runs), -1).mean(axis=1).astype(np.float64)

    generator = np.random.default_rng(seed)
    resampled = []
    for start in range(0, num_resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, num_resamples - start)
        counts = generator.multinomial(len(gold), np.full(len(gold), 1.0 / len(gold)), size=size)
        resampled.append(mean_f1(counts.astype(np.float32)))
    return mean_f1(np.ones((1, len(gold)), dtype=np.float32))[0], np.concatenate(resampled)


def percentile_interval(value: float, resampled: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """
    The interval between two percentiles of the resamples (Efron and Tibshirani, 1993, An Introduction to the
    Bootstrap, chapter 13).

    Args:
        value (`float`): On the texts as they are.
        resampled (`ArrayLike` of shape `(num_resamples,)`): On the resamples.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside, in (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"`confidence` must lie in (0, 1), got {confidence}.")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.asarray(resampled), [tail, 1.0 - tail])
    return Interval(float(value), float(low), float(high))
