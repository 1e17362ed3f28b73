# SPDX-License-Identifier: Apache-2.0
"""How sure a metric or a difference of two is: intervals and p-values by resampling the test texts and the runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .metrics import (
    Counts,
    check_label_names,
    check_labels,
    check_predictions,
    count_known,
    is_known,
    is_positive,
    metrics_of_counts,
    sample_scores,
)

_RESAMPLES_AT_ONCE = 250


class Interval(NamedTuple):
    """
    A value with its percentile interval.

    Attributes:
        mean (`float`): On the texts and runs as they are.
        low, high (`float`): Ends of the interval.
    """

    mean: float
    low: float
    high: float


def bootstrap_f1(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, *, num_resamples: int = 10_000, seed: int = 0
) -> npt.NDArray[np.float32]:
    """
    F1 of every run and label on resamples of the test texts (Efron, 1979, Bootstrap Methods).

    All runs see the same texts in a resample, and so do two calls with one `seed`, whatever the predictions: their
    differences are a paired bootstrap. A label without a positive and without a prediction in a resample has an F1 of
    0 there, as in [`multilabel_metrics`]; only texts that know a label count for it.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels in [0, 1], positive from 0.5 on, NaN
            where unknown.
        predictions (`ArrayLike` of shape `(num_runs, num_samples, num_labels)`): Predictions of one or more runs.
        num_resamples (`int`, *optional*, defaults to 10000): How many.
        seed (`int`, *optional*, defaults to 0): Which.

    Returns:
        `np.ndarray` of shape `(num_resamples, num_runs, num_labels)`.
    """
    targets = check_labels(labels)
    gold, known = is_positive(targets), is_known(targets)
    runs = np.asarray(predictions, dtype=bool)
    _check_runs(runs, gold, "predictions")
    positives = gold.astype(np.float32)
    resampled = np.empty((num_resamples, len(runs), gold.shape[1]), dtype=np.float32)
    for part, counts in _resamples(len(gold), num_resamples, seed):
        gold_sums = counts @ positives
        # One run after the other: all of them as floats would be large.
        for index, run in enumerate(runs):
            run = run & known
            hits, predicted = np.split(counts @ np.hstack([run & gold, run]).astype(np.float32), 2, axis=1)
            resampled[part, index] = 2.0 * hits / np.maximum(predicted + gold_sums, 1.0)
    return resampled


def bootstrap_average_precision(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, num_resamples: int = 2000, seed: int = 0
) -> npt.NDArray[np.float32]:
    """
    Average precision of every run and label on resamples of the test texts, the same texts as [`bootstrap_f1`] draws.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): As there.
        probabilities (`ArrayLike` of shape `(num_runs, num_samples, num_labels)`): Scores of one or more runs.
        num_resamples (`int`, *optional*, defaults to 2000): How many.
        seed (`int`, *optional*, defaults to 0): Which.

    Returns:
        `np.ndarray` of shape `(num_resamples, num_runs, num_labels)`: NaN where a resample leaves a label without a
        positive or without a negative, which [`multilabel_metrics`] does not count either.
    """
    targets, runs = check_labels(labels), np.asarray(probabilities)
    gold, known = is_positive(targets), is_known(targets)
    _check_runs(runs, gold, "probabilities")
    # Best first, and the last place with a score as high as that of each positive: among all texts, among positives.
    rankings = {}
    for run, label in np.ndindex(len(runs), gold.shape[1]):
        order = np.argsort(-runs[run, :, label], kind="stable")
        order = order[known[order, label]]
        scores, is_hit = -runs[run, order, label], gold[order, label]
        positive = scores[is_hit]
        last, last_positive = (np.searchsorted(values, positive, side="right") - 1 for values in (scores, positive))
        rankings[run, label] = order, is_hit, last, last_positive
    resampled = np.empty((num_resamples, len(runs), gold.shape[1]), dtype=np.float32)
    for part, counts in _resamples(len(gold), num_resamples, seed):
        for (run, label), (order, is_hit, last, last_positive) in rankings.items():
            drawn = counts[:, order]
            positives = drawn[:, is_hit]
            above = np.cumsum(drawn, axis=1)[:, last]
            hits = np.cumsum(positives, axis=1)[:, last_positive]
            total = positives.sum(axis=1)
            summed = (positives * hits / np.maximum(above, 1.0)).sum(axis=1)
            defined = (total > 0) & (total < drawn.sum(axis=1))
            resampled[part, run, label] = np.where(defined, summed / np.maximum(total, 1.0), np.nan)
    return resampled


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
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): As in [`bootstrap_f1`].
        predictions (`ArrayLike` of shape `(num_samples, num_labels)`): Predictions, 0 or 1.
        label_names (`Sequence[str]`, *optional*): As in [`multilabel_metrics`].
        zero_division (`float`, *optional*, defaults to 0.0): As there; a resample may leave a label without positives.
        num_resamples (`int`, *optional*, defaults to 2000): How many.
        seed (`int`, *optional*, defaults to 0): Which.

    Returns:
        `dict[str, np.ndarray]`: The keys that `multilabel_metrics` gives for hard predictions, without the supports,
        each with its value on every resample, `(num_resamples,)`.
    """
    targets = check_labels(labels)
    gold, known = is_positive(targets), is_known(targets)
    predicted = check_predictions(predictions, gold.shape) & known
    names = check_label_names(label_names, gold.shape[1])
    num_known, has_known = count_known(targets)
    # One product with the counts of a resample sums all that the metrics need.
    columns: list[npt.NDArray[Any]] = [gold & predicted, gold, predicted]
    columns += [(scores * has_known)[:, None] for scores in sample_scores(gold, predicted)]
    if not known.all():
        columns += [has_known[:, None], known]
    terms = np.concatenate(columns, axis=1, dtype=np.float32)
    sums = np.concatenate([counts @ terms for _, counts in _resamples(len(gold), num_resamples, seed)])
    ends = np.cumsum([3 * len(names), 2, 1])
    per_label, means, num_texts, known_sums = np.split(sums.astype(np.float64), ends, axis=1)
    if known.all():
        num_texts, known_sums = np.full((len(sums), 1), len(gold)), num_known
    both, positive, guessed = np.split(per_label, 3, axis=1)
    jaccard, exact = np.where(num_texts > 0, means / np.maximum(num_texts, 1), np.nan).T
    return metrics_of_counts(Counts(both, positive, guessed, known_sums, jaccard, exact), names, zero_division)


def mean_over_resampled_runs(resampled: npt.ArrayLike, seed: int | list[int] = 0) -> npt.NDArray[np.float64]:
    """
    The mean over runs that are drawn as well: resampled twice, values speak of other texts and of other seeds
    (Sellam et al., 2022, The MultiBERTs: BERT Reproductions for Robustness Analysis, section 4).

    Of `num_runs` runs `num_runs - 1` are drawn with replacement: with as many draws as runs the variance of their mean
    would come out too small by the factor `(num_runs - 1) / num_runs`, a third for three runs (Rao and Wu, 1988,
    Resampling Inference with Complex Survey Data). A single run says nothing of others: then only the texts count.

    Args:
        resampled (`ArrayLike` of shape `(num_resamples, num_runs, ...)`): Values of each run on resampled texts.
        seed (`int` or `list[int]`, *optional*, defaults to 0): Of the draws. Variants with seeds of their own here are
            taken as independent of each other given the texts.

    Returns:
        `np.ndarray` of shape `(num_resamples, ...)`.
    """
    values = np.asarray(resampled, dtype=np.float64)
    num_resamples, num_runs = values.shape[:2]
    if num_runs == 1:
        return values[:, 0]
    draws = np.random.default_rng(seed).multinomial(num_runs - 1, np.full(num_runs, 1.0 / num_runs), num_resamples)
    return np.einsum("rs,rs...->r...", draws / (num_runs - 1), values)


def percentile_interval(value: float, resampled: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """
    The interval between two percentiles of the resamples (Efron and Tibshirani, 1993, An Introduction to the
    Bootstrap, chapter 13).

    Args:
        value (`float`): On the texts and runs as they are.
        resampled (`ArrayLike` of shape `(num_resamples,)`): On the resamples; NaN where one leaves it undefined.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside, in (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"`confidence` must lie in (0, 1), got {confidence}.")
    tail = (1.0 - confidence) / 2.0
    values = np.asarray(resampled)
    values = values[~np.isnan(values)]
    low, high = np.quantile(values, [tail, 1.0 - tail]) if len(values) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high))


def bootstrap_p_value(resampled: npt.ArrayLike) -> float:
    """
    Two-sided p-value of a difference of 0: twice the smaller share of the resampled differences at or beyond 0, the
    level at which the percentile interval begins to leave 0 out (Efron and Tibshirani, 1993, An Introduction to the
    Bootstrap, section 15.4). With one added to both counts, so that it is never 0 (Davison and Hinkley, 1997,
    Bootstrap Methods and their Application, equation 4.11).

    Args:
        resampled (`ArrayLike` of shape `(num_resamples,)`): Differences on the resamples.
    """
    differences = np.asarray(resampled)
    beyond = min((differences <= 0.0).sum(), (differences >= 0.0).sum())
    return float(min(2.0 * (1.0 + beyond) / (1.0 + len(differences)), 1.0))


def holm_correction(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """
    p-values of several tests, corrected so that the probability of any false discovery is kept (Holm, 1979, A Simple
    Sequentially Rejective Multiple Test Procedure): the i-th smallest of m, from 0, times m - i, at most 1 and never
    below the one before.

    Args:
        p_values (`ArrayLike` of shape `(num_tests,)`): Each in [0, 1].

    Returns:
        `np.ndarray` of shape `(num_tests,)`: In the order given.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return corrected


def _check_runs(runs: npt.NDArray[Any], gold: npt.NDArray[np.bool_], name: str) -> None:
    if runs.ndim != 3 or runs.shape[1:] != gold.shape:
        raise ValueError(f"`{name}` must have shape (num_runs, {gold.shape[0]}, {gold.shape[1]}), got {runs.shape}.")


def _resamples(num_samples: int, num_resamples: int, seed: int) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Some resamples at a time: which ones, and how often each sample is drawn, `(size, num_samples)`."""
    if num_resamples < 1:
        raise ValueError(f"`num_resamples` must be at least 1, got {num_resamples}.")
    generator = np.random.default_rng(seed)
    for start in range(0, num_resamples, _RESAMPLES_AT_ONCE):
        part = slice(start, min(start + _RESAMPLES_AT_ONCE, num_resamples))
        shares = np.full(num_samples, 1.0 / num_samples)
        yield part, generator.multinomial(num_samples, shares, size=part.stop - start).astype(np.float32)
