# SPDX-License-Identifier: Apache-2.0
"""Variants of a recipe side by side: means over seeds, and differences to the first one with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .bootstrap import Interval, bootstrap_f1, percentile_interval

SUMMARY = ("macro_f1", "micro_f1", "samples_jaccard", "macro_roc_auc", "macro_average_precision")


def compare_variants(
    labels: npt.ArrayLike,
    predictions: Mapping[str, npt.ArrayLike],
    results: Mapping[str, Sequence[Mapping[str, float]]],
    train_counts: npt.ArrayLike,
    num_rare: int = 10,
) -> dict[str, dict[str, Any]]:
    """
    Summarise the runs of each variant.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels of the test split.
        predictions (`dict[str, ArrayLike]`): Variant to its predictions there, `(num_runs, num_samples, num_labels)`.
            The first variant is what the others are compared with.
        results (`dict[str, list[dict]]`): Variant to the `eval_results.json` of its runs.
        train_counts (`ArrayLike` of shape `(num_labels,)`): Positives in the training split: they say what is rare.
        num_rare (`int`, *optional*, defaults to 10): How many labels are called rare.

    Returns:
        `dict[str, dict]`: For each variant `num_runs`; `<metric>` and `<metric>_sd` of the test split, mean and sample
        standard deviation over the runs; `macro_f1_rare`; the 95 % intervals `macro_f1_interval` and
        `macro_f1_rare_interval` over the test texts; and, but for the first, `macro_f1_gain` and `macro_f1_rare_gain`,
        the differences to it, with `..._gain_interval` by a paired bootstrap.
    """
    rare = np.argsort(np.asarray(train_counts), kind="stable")[:num_rare]
    summary: dict[str, dict[str, Any]] = {}
    first: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None
    for variant, rows in predictions.items():
        f1, resampled = bootstrap_f1(labels, rows)
        first = first or (f1, resampled)
        entry: dict[str, Any] = {"num_runs": len(results[variant])}
        for metric in SUMMARY:
            values = [result[f"test_{metric}"] for result in results[variant]]
            entry[metric] = float(np.mean(values))
            entry[f"{metric}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        for name, chosen in (("macro_f1", slice(None)), ("macro_f1_rare", rare)):
            entry[name], *entry[f"{name}_interval"] = _interval(f1[chosen], resampled[:, chosen])
            if variant != next(iter(predictions)):
                difference = _interval((f1 - first[0])[chosen], (resampled - first[1])[:, chosen])
                entry[f"{name}_gain"], *entry[f"{name}_gain_interval"] = difference
        summary[variant] = entry
    return summary


def _interval(f1: npt.NDArray[np.float64], resampled: npt.NDArray[np.float64]) -> Interval:
    return percentile_interval(f1.mean(), resampled.mean(axis=1))


def comparison_rows(summary: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The summary as the rows of a table, the header first."""
    header = [
        "variant",
        "runs",
        "macro-F1",
        "gain [95 %]",
        "rare labels",
        "gain [95 %]",
        "micro-F1",
        "Jaccard",
        "AUC",
        "AP",
    ]
    rows = [header]
    for variant, entry in summary.items():
        row = [variant, str(entry["num_runs"]), f"{entry['macro_f1']:.3f} ± {entry['macro_f1_sd']:.3f}"]
        row += [_gain(entry, "macro_f1"), f"{entry['macro_f1_rare']:.3f}", _gain(entry, "macro_f1_rare")]
        row += [f"{entry[metric]:.3f}" for metric in SUMMARY[1:]]
        rows.append(row)
    return rows


def _gain(entry: Mapping[str, Any], name: str) -> str:
    if f"{name}_gain" not in entry:
        return "–"
    low, high = entry[f"{name}_gain_interval"]
    return f"{entry[f'{name}_gain']:+.3f} [{low:+.3f}, {high:+.3f}]"
