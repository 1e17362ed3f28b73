# SPDX-License-Identifier: Apache-2.0
"""The results on each of several data sets, and their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .metrics import is_positive, multilabel_metrics
from .metrics_table import align_rows

MEAN_OF_SOURCES = "mean_of_sources"
# Columns of the table: a metric, where it is measured, and its heading.
_COLUMNS = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "samples_jaccard": "Jaccard",
    "macro_average_precision": "AP",
    "macro_pearson": "Pearson",
}


def results_by_source(
    split: str,
    sources: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    thresholds: Mapping[str, np.ndarray],
    label_names: Sequence[str],
) -> dict[str, float]:
    """
    The metrics of each source's rows, over the labels that it knows, and their plain mean.

    Args:
        split (`str`): Name of the split.
        sources (`Sequence[str]` of length `num_samples`): Source of every row.
        labels, probabilities (`np.ndarray` of shape `(num_samples, num_labels)`): Targets, NaN where unknown, and
            calibrated probabilities.
        thresholds (`dict[str, np.ndarray]`): Source to thresholds of shape `(num_labels,)`.
        label_names (`Sequence[str]` of length `num_labels`): Names.

    Returns:
        `dict[str, float]`: `<split>/<source>/<metric>` for each metric of [`multilabel_metrics`], and
        `<split>/mean_of_sources/<metric>` for those of whole splits that all sources have.
    """
    results: dict[str, float] = {}
    summaries = []
    for source in dict.fromkeys(sources):
        rows = np.asarray(sources) == source
        known = np.flatnonzero(~np.isnan(labels[rows]).all(axis=0))
        if not len(known):
            continue
        metrics = multilabel_metrics(
            labels[rows][:, known],
            probabilities[rows][:, known],
            thresholds=thresholds[source][known],
            label_names=[label_names[index] for index in known.tolist()],
        )
        metrics["num_texts"] = float(rows.sum())
        results |= {f"{split}/{source}/{key}": value for key, value in metrics.items()}
        summaries.append({key: metrics[key] for key in _COLUMNS if key in metrics})
    for key in _COLUMNS:
        values = [summary[key] for summary in summaries if key in summary]
        if values and len(values) == len(summaries):
            results[f"{split}/{MEAN_OF_SOURCES}/{key}"] = float(np.nanmean(values))
    return results


def thresholds_by_source(
    sources: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    common: np.ndarray,
    choose: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    """
    The thresholds of each source's validation rows, and the common ones for labels that none of them has.

    Args:
        sources, labels, probabilities: Of the validation split, as in [`results_by_source`].
        common (`np.ndarray` of shape `(num_labels,)`): Thresholds of all rows together.
        choose (`Callable`): Labels and probabilities to thresholds.
    """
    thresholds = {}
    for source in dict.fromkeys(sources):
        rows = np.asarray(sources) == source
        chosen = choose(labels[rows], probabilities[rows])
        thresholds[source] = np.where(is_positive(labels[rows]).any(axis=0), chosen, common)
    return thresholds


def sources_table(split: str, results: Mapping[str, float]) -> str:
    """The results of [`results_by_source`] as a plain table: a row for each source, and their mean."""
    names = list(dict.fromkeys(key.split("/")[1] for key in results if key.startswith(f"{split}/")))
    keys = [key for key in _COLUMNS if any(f"{split}/{name}/{key}" in results for name in names)]
    rows = [["source", "texts", *(_COLUMNS[key] for key in keys)]]
    for name in names:
        texts = results.get(f"{split}/{name}/num_texts")
        values = [results.get(f"{split}/{name}/{key}", np.nan) for key in keys]
        shown = ["-" if np.isnan(value) else f"{value:.3f}" for value in values]
        rows.append([name.replace("_", " "), "" if texts is None else f"{texts:,.0f}", *shown])
    return "\n".join(align_rows(rows))
