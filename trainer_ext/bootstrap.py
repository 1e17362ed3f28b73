# SPDX-License-Identifier: Apache-2.0
"""How sure a metric or a difference of F1 is: intervals by resampling the test texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .metrics import Counts, check_label_names, check_labels, metrics_of_counts, sample_scores

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
    hits = np.concatenate([run & gold for run in runs], axis=1).astype(np.float32)
    # Gold and predicted positives: the denominator of 2 TP / (gold + predicted).
    totals = np.concatenate([run.astype(np.float32) + gold for run in runs], axis=1)

    def mean_f1(counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        scores = 2.0 * (counts @ hits) / np.maximum(counts @ totals, 1.0)
        return scores.reshape(len(counts), len(runs), -1).mean(axis=1).astype(np.float64)

    resampled = [mean_f1(counts) for counts in _resamples(len(gold), num_resamples, seed)]
    return mean_f1(np.ones((1, len(gold)), dtype=np.float32))[0], np.concatenate(resampled)


def bootstrap_metrics(
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    label_names: Sequence[str] | None = None,
    zero_division: float = 0.0,
    num_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, npt.NDArray[np.float64]]:
    """
    The metrics of hard predictions on resamples of the test texts, the same texts as [`bootstrap_f1`] draws.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels, 0 or 1.
        predictions (`ArrayLike` of shape `(num_samples, num_labels)`): Predictions, 0 or 1.
        label_names (`Sequence[str]`, *optional*): As in [`~trainer_ext.metrics.multilabel_metrics`].
        zero_division (`float`, *optional*, defaults to 0.0): As there; a resample may leave a label without positives.
        num_resamples (`int`, *optional*, defaults to 2000): How many.
        seed (`int`, *optional*, defaults to 0): Which.

    Returns:
        `dict[str, np.ndarray]`: The keys that `multilabel_metrics` gives for hard predictions, without the supports,
        each with its value on every resample, `(num_resamples,)`.
    """
    gold, predicted = check_labels(labels), check_labels(predictions, "predictions")
    if predicted.shape != gold.shape:
        raise ValueError(f"`predictions` must have the shape of `labels`, {gold.shape}, got {predicted.shape}.")
    names = check_label_names(label_names, gold.shape[1])
    # One product with the counts of a resample sums all that the metrics need.
    columns = [gold & predicted, gold, predicted, *(scores[:, None] for scores in sample_scores(gold, predicted))]
    terms = np.concatenate(columns, axis=1, dtype=np.float32)
    sums = [counts @ terms for counts in _resamples(len(gold), num_resamples, seed)]
    per_label, means = np.split(np.concatenate(sums).astype(np.float64), [3 * len(names)], axis=1)
    both, positive, guessed = np.split(per_label, 3, axis=1)
    jaccard, exact = (means / len(gold)).T
    return metrics_of_counts(Counts(both, positive, guessed, jaccard, exact, len(gold)), names, zero_division)


def _resamples(num_samples: int, num_resamples: int, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """How often each sample is drawn, `(size, num_samples)`, some resamples at a time."""
    if num_resamples < 1:
        raise ValueError(f"`num_resamples` must be at least 1, got {num_resamples}.")
    generator = np.random.default_rng(seed)
    for start in range(0, num_resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, num_resamples - start)
        counts = generator.multinomial(num_samples, np.full(num_samples, 1.0 / num_samples), size=size)
        yield counts.astype(np.float32)


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
