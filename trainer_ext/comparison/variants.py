# SPDX-License-Identifier: Apache-2.0
"""Variants of a recipe side by side: means over seeds, and differences to the first with intervals and p-values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..evaluation.bootstrap import (
    bootstrap_average_precision,
    bootstrap_f1,
    bootstrap_p_value,
    holm_correction,
    mean_over_resampled_runs,
    percentile_interval,
)
from ..evaluation.label_statistics import count_positives, frequency_groups
from ..evaluation.metrics import check_labels, count_known, multilabel_metrics
from .runs import RunPredictions, check_same_texts

SUMMARY = ("macro_f1", "micro_f1", "samples_jaccard", "macro_roc_auc", "macro_average_precision")
# Means of the labels' F1, so that one bootstrap serves them all.
F1_MEANS = ("macro_f1", "macro_f1_frequent", "macro_f1_rare", "frequent_rare_gap")
TESTED = (*F1_MEANS, "macro_average_precision")
# It needs a ranking of the texts for every label and resample.
_MAX_RANKINGS = 2000

Summary = dict[str, dict[str, dict[str, Any]]]


def compare_variants(
    variants: Mapping[str, Sequence[RunPredictions]], *, num_resamples: int = 10_000, seed: int = 0
) -> Summary:
    """
    Summarise the runs of each variant on the test texts.

    Intervals and p-values are those of one bootstrap over texts and runs: see
    `trainer_ext.evaluation.bootstrap`.

    Args:
        variants (`Mapping[str, Sequence[RunPredictions]]`): Variant to its runs. The others are compared with the
            first, whose training texts say which labels are rare.
        num_resamples (`int`, *optional*, defaults to 10000): Of the bootstrap; for the average precision 2,000 of them
            at most.
        seed (`int`, *optional*, defaults to 0): Of the bootstrap.

    Returns:
        `dict` of two:
        - `"variants"`: of each `num_runs`, and `<metric>` and `<metric>_sd`, mean and sample standard deviation over
          the runs (`None` for one run), of the metrics in `SUMMARY` and `TESTED` (`macro_f1_frequent` and
          `macro_f1_rare` are the means of the thirds of [`~trainer_ext.evaluation.label_statistics.frequency_groups`],
          `frequent_rare_gap` is their difference); for those in `TESTED` the 95 % interval, `<metric>_low` and
          `<metric>_high`; and, but for the first variant, the difference to it, `<metric>_gain`, with
          `<metric>_gain_low`, `<metric>_gain_high`, `<metric>_p` and `<metric>_p_holm`, which is corrected over the
          variants.
        - `"labels"`, those that any test text knows, from the most to the least frequent: `group`, `train_count`,
          `support` in the test texts and `f1`, variant to the mean over its runs.

    Raises:
        `InputError`: If the runs have different labels or test texts, or there are fewer than two labels.
    """
    all_runs = [run for runs in variants.values() for run in runs]
    first = all_runs[0]
    for run in all_runs:
        check_same_texts(first, run)
    if len(first.label_names) < 2:
        raise InputError(f"Frequent and rare labels need at least 2 labels, got {len(first.label_names)}.")
    order, groups = frequency_groups(first.train_counts)
    gold = first.test_labels
    is_known = count_known(check_labels(gold))[0] > 0
    weights = _f1_weights(order, np.asarray(groups), is_known)
    predictions = np.stack([run.test_predictions for run in all_runs])
    probabilities = np.stack([run.test_probabilities for run in all_runs])
    rankings = min(num_resamples, _MAX_RANKINGS)
    resampled = (
        bootstrap_f1(gold, predictions, num_resamples=num_resamples, seed=seed) @ weights,
        _mean_of_defined(bootstrap_average_precision(gold, probabilities, num_resamples=rankings, seed=seed)),
    )
    ends = np.cumsum([len(runs) for runs in variants.values()])[:-1]
    summary: dict[str, dict[str, Any]] = {}
    means: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    f1: dict[str, npt.NDArray[np.float64]] = {}
    samples = zip(*(np.split(values, ends, axis=1) for values in resampled), strict=True)
    for index, ((name, runs), (by_f1, by_rank)) in enumerate(zip(variants.items(), samples, strict=True)):
        # Other draws for every variant: a run of one has nothing to do with a run of another.
        drawn = [mean_over_resampled_runs(values, [seed, index]) for values in (by_f1, by_rank)]
        means[name] = dict(zip(TESTED, [*drawn[0].T, drawn[1]], strict=True))
        summary[name], f1[name] = _entry(runs, weights, means[name])
    _add_gains(summary, means)
    supports = count_positives(gold)
    labels = {
        str(first.label_names[index]): {
            "group": group,
            "train_count": int(first.train_counts[index]),
            "support": int(supports[index]),
            "f1": {name: float(values[index]) for name, values in f1.items()},
        }
        for index, group in zip(order, groups, strict=True)
        if is_known[index]
    }
    return {"variants": summary, "labels": labels}


def _f1_weights(
    order: npt.NDArray[np.intp], groups: npt.NDArray[np.str_], is_known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The weight of each label's F1 in each of `F1_MEANS`, `(num_labels, 4)`; 0 for one that no test text knows."""
    members = [np.isin(np.arange(len(order)), order[groups == group]) & is_known for group in ("frequent", "rare")]
    every, frequent, rare = (chosen / max(chosen.sum(), 1) for chosen in (is_known, *members))
    return np.stack([every, frequent, rare, frequent - rare], axis=1)


def _mean_of_defined(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The mean over the last axis without NaN; 0 where all are NaN, as in a resample of a handful of texts."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0.0).sum(axis=-1) / np.maximum(defined.sum(axis=-1), 1)


def _entry(
    runs: Sequence[RunPredictions], weights: npt.NDArray[np.float64], resampled: Mapping[str, npt.NDArray[np.float64]]
) -> tuple[dict[str, Any], npt.NDArray[np.float64]]:
    """One variant by itself, and the F1 of its labels."""
    metrics = [multilabel_metrics(run.test_labels, run.test_probabilities, thresholds=run.thresholds) for run in runs]
    f1 = np.nan_to_num([[metric[f"f1/{label}"] for label in range(len(weights))] for metric in metrics])
    values = {name: np.array([metric[name] for metric in metrics]) for name in SUMMARY}
    values |= dict(zip(F1_MEANS, (f1 @ weights).T, strict=True))
    entry: dict[str, Any] = {"num_runs": len(runs)}
    for name, column in values.items():
        entry[name] = float(np.mean(column))
        entry[f"{name}_sd"] = float(np.std(column, ddof=1)) if len(runs) > 1 else None
    for name, column in resampled.items():
        _, entry[f"{name}_low"], entry[f"{name}_high"] = percentile_interval(entry[name], column)
    return entry, f1.mean(axis=0)


def _add_gains(summary: dict[str, dict[str, Any]], means: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]) -> None:
    """Differences to the first variant into the entries of the others."""
    first, *others = summary
    for name in TESTED:
        for other in others:
            entry, differences = summary[other], means[other][name] - means[first][name]
            gain = percentile_interval(entry[name] - summary[first][name], differences)
            entry[f"{name}_gain"], entry[f"{name}_gain_low"], entry[f"{name}_gain_high"] = gain
            entry[f"{name}_p"] = bootstrap_p_value(differences)
        corrected = holm_correction([summary[other][f"{name}_p"] for other in others])
        for other, p_value in zip(others, corrected, strict=True):
            summary[other][f"{name}_p_holm"] = float(p_value)
