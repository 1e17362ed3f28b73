# SPDX-License-Identifier: Apache-2.0
"""Results: the metrics of a split at tuned thresholds and at 0.5, as flat keys and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from .metrics import format_metrics_table, multilabel_metrics
from .thresholds import tune_thresholds

AT_DEFAULT = "_at_0.5"
THRESHOLD_STRATEGIES = ("per_label", "global", "none")


def choose_thresholds(
    labels: np.ndarray, probabilities: np.ndarray, strategy: str, shrinkage: float = 0.0
) -> np.ndarray:
    """
    Thresholds of shape `(num_labels,)` from the validation split.

    Args:
        labels, probabilities (`np.ndarray` of shape `(num_samples, num_labels)`): Of the validation split.
        strategy (`str`): `"per_label"`, `"global"`, or `"none"` for 0.5 everywhere.
        shrinkage (`float`, *optional*, defaults to 0.0): As in [`tune_thresholds`].
    """
    if strategy == "none":
        return np.full(labels.shape[1], 0.5)
    return tune_thresholds(labels, probabilities, strategy=strategy, shrinkage=shrinkage)


def evaluate_split(
    split: str, labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, label_names: Sequence[str]
) -> dict[str, float]:
    """
    Every metric of a split, with the split's name before each key.

    Returns:
        `dict[str, float]`: `<split>_macro_f1`, ..., `<split>_f1/<label>`, ..., at `thresholds`; and all of them again
        at 0.5, with the suffix `_at_0.5`.
    """
    tuned = multilabel_metrics(labels, probabilities, thresholds=thresholds, label_names=label_names)
    default = multilabel_metrics(labels, probabilities, thresholds=0.5, label_names=label_names)
    return {f"{split}_{key}": value for key, value in tuned.items()} | {
        f"{split}_{key}{AT_DEFAULT}": value for key, value in default.items()
    }


def results_json(results: Mapping[str, float]) -> str:
    """The results as a JSON file's text. JSON has no NaN: a label without positives has no AUC, and so no key."""
    finite = {key: value for key, value in results.items() if value == value}
    return json.dumps(finite, indent=2, ensure_ascii=False) + "\n"


def results_table(
    split: str,
    results: Mapping[str, float],
    label_names: Sequence[str],
    baseline: Mapping[str, float] | None = None,
) -> str:
    """The results of one split as a table: tuned thresholds, 0.5 and, if given, a baseline beside them."""
    prefix = f"{split}_"
    own = {key[len(prefix) :]: value for key, value in results.items() if key.startswith(prefix)}
    tuned = {key: value for key, value in own.items() if not key.endswith(AT_DEFAULT)}
    columns = {"at 0.5": {key[: -len(AT_DEFAULT)]: value for key, value in own.items() if key.endswith(AT_DEFAULT)}}
    if baseline is not None:
        columns["always frequent"] = dict(baseline)
    return format_metrics_table(tuned, label_names, name="tuned", columns=columns)
