# SPDX-License-Identifier: Apache-2.0
"""Results: the metrics of a split at tuned thresholds and at 0.5, as flat keys and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from ..errors import InputError
from .bootstrap import bootstrap_f1, percentile_interval
from .calibration import Calibration, calibrated_probabilities, calibration_metrics, fit_calibration
from .joint_thresholds import JOINT_METRICS, tune_joint_thresholds
from .metrics import check_labels, is_known, multilabel_metrics
from .metrics_table import align_rows, format_metrics_table
from .thresholds import TUNED_STRATEGIES, cross_validated_shrinkage, tune_thresholds

AT_DEFAULT = "_at_0.5"
VALIDATION_METRICS = ("macro_f1", "micro_f1", "samples_jaccard", "macro_roc_auc", "macro_average_precision")
THRESHOLD_STRATEGIES = (*TUNED_STRATEGIES, "none")
THRESHOLD_METRICS = ("macro_f1", *JOINT_METRICS)
_NUM_RESAMPLES = 1000
# Logits that differ by less from text to text say nothing of the text.
MIN_SPREAD = 1e-3
SAME_ANSWER = (
    "Warning: the model says the same of every text. An encoder that has collapsed does not recover: train again with "
    "a lower learning rate, with warm-up, or with another seed."
)


def labels_and_probabilities(prediction: EvalPrediction | EvalLoopOutput) -> tuple[np.ndarray, np.ndarray]:
    """
    Gold labels, NaN where unknown, and the sigmoid of the logits, both `float64`, `(num_samples, num_labels)`.

    Raises:
        `InputError`: If a logit is not finite.
    """
    logits = _logits(prediction.predictions)
    if not np.isfinite(logits).all():
        raise InputError(
            "The logits of an evaluation are not finite: training has diverged. Try a lower `learning_rate` and "
            "`head_learning_rate`, or `precision` fp32."
        )
    return np.asarray(prediction.label_ids, dtype=np.float64), expit(logits)


def says_the_same(predictions: Any) -> bool:
    """Whether the logits of an evaluation, alone or the first of several outputs, are those of a collapsed model."""
    logits = None if predictions is None else _logits(predictions)
    return logits is not None and len(logits) > 1 and logit_spread(logits) < MIN_SPREAD


def logit_spread(logits: np.ndarray) -> float:
    """How much logits `(num_samples, num_labels)` differ: the standard deviation of the label where it is largest."""
    return float(logits.std(axis=0).max()) if len(logits) else 0.0


def _logits(predictions: Any) -> np.ndarray:
    return np.asarray(predictions[0] if isinstance(predictions, tuple) else predictions, dtype=np.float64)


def compute_validation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """
    A few metrics for an evaluation during training, at thresholds tuned on the very same rows.

    So they are a little too good, equally for every epoch, and serve to choose the best epoch, nothing else: reported
    results come from a split that chose no threshold.
    """
    labels, probabilities = labels_and_probabilities(prediction)
    metrics = multilabel_metrics(labels, probabilities, thresholds=tune_thresholds(labels, probabilities))
    return {key: metrics[key] for key in VALIDATION_METRICS}


def choose_calibration(labels: np.ndarray, logits: np.ndarray, method: str) -> Calibration | None:
    """[`fit_calibration`] on the validation split, or `None` for the method `"none"`."""
    return None if method == "none" else fit_calibration(labels, logits, method)


def choose_thresholds(
    labels: np.ndarray,
    probabilities: np.ndarray,
    strategy: str,
    shrinkage: float | str = 0.0,
    metric: str = "macro_f1",
) -> np.ndarray:
    """
    Thresholds of shape `(num_labels,)` from the validation split.

    Args:
        labels, probabilities (`np.ndarray` of shape `(num_samples, num_labels)`): Of the validation split.
        strategy (`str`): One of [`tune_thresholds`], or `"none"` for 0.5 everywhere.
        shrinkage (`float` or `"auto"`, *optional*, defaults to 0.0): As in [`tune_thresholds`], or found by
            [`cross_validated_shrinkage`]; for macro-F1 alone.
        metric (`str`, *optional*, defaults to `"macro_f1"`): The metric to maximise, one of `THRESHOLD_METRICS`; the
            others than macro-F1 by [`tune_joint_thresholds`].
    """
    if strategy == "none":
        return np.full(labels.shape[1], 0.5)
    if metric != "macro_f1":
        return tune_joint_thresholds(labels, probabilities, metric, strategy=strategy)
    if shrinkage == "auto":
        shrinkage = cross_validated_shrinkage(labels, probabilities) if strategy == "per_label" else 0.0
    return tune_thresholds(labels, probabilities, strategy=strategy, shrinkage=float(shrinkage))


def evaluate_split(
    split: str, labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, label_names: Sequence[str]
) -> dict[str, float]:
    """
    Every metric of a split, with the split's name before each key.

    Returns:
        `dict[str, float]`: `<split>_macro_f1`, ..., `<split>_f1/<label>`, ..., at `thresholds`; all of them again at
        0.5, with the suffix `_at_0.5`; `<split>_macro_f1_low` and `_high`, the 95 % interval of other texts of the
        same kind; `<split>_macro_calibration_error`, ... of [`calibration_metrics`]; and `<split>_logit_spread` of
        [`logit_spread`].
    """
    tuned = multilabel_metrics(labels, probabilities, thresholds=thresholds, label_names=label_names)
    default = multilabel_metrics(labels, probabilities, thresholds=0.5, label_names=label_names)
    metrics = tuned | {f"{key}{AT_DEFAULT}": value for key, value in default.items()}
    metrics["macro_f1_low"], metrics["macro_f1_high"] = _macro_f1_interval(labels, probabilities >= thresholds)
    metrics |= calibration_metrics(labels, probabilities, label_names)
    metrics["logit_spread"] = logit_spread(logit(np.clip(np.asarray(probabilities, np.float64), 1e-12, 1 - 1e-12)))
    return {f"{split}_{key}": value for key, value in metrics.items()}


def _macro_f1_interval(labels: np.ndarray, predictions: np.ndarray) -> tuple[float, float]:
    known = is_known(check_labels(labels)).any(axis=0)
    if not known.any():
        return np.nan, np.nan
    resampled = bootstrap_f1(labels, predictions[None], num_resamples=_NUM_RESAMPLES)
    _, low, high = percentile_interval(np.nan, resampled[:, 0, known].mean(axis=1))
    return low, high


def threshold_rules(
    labels: np.ndarray, probabilities: np.ndarray, strategy: str, shrinkage: float | str = 0.0
) -> dict[str, np.ndarray]:
    """The thresholds for each of `THRESHOLD_METRICS`; the arguments are those of [`choose_thresholds`]."""
    joint_strategy = "per_label" if strategy == "expected_f1" else strategy
    return {"macro_f1": choose_thresholds(labels, probabilities, strategy, shrinkage)} | {
        metric: choose_thresholds(labels, probabilities, joint_strategy, metric=metric) for metric in JOINT_METRICS
    }


def rules_table(labels: np.ndarray, probabilities: np.ndarray, rules: Mapping[str, np.ndarray]) -> str:
    """The metrics of `THRESHOLD_METRICS`, a column each, at the thresholds that were chosen for them, a row each."""
    rows = [["thresholds for", *rules]]
    for name, thresholds in rules.items():
        metrics = multilabel_metrics(labels, probabilities, thresholds=thresholds)
        rows.append([name, *(f"{metrics[key]:.3f}" for key in rules)])
    return "\n".join(align_rows(rows))


def uncalibrated_errors(
    split: str, labels: np.ndarray, logits: np.ndarray, label_names: Sequence[str]
) -> dict[str, float]:
    """The calibration errors before calibration, `<split>_macro_calibration_error_uncalibrated`, ..."""
    errors = calibration_metrics(labels, calibrated_probabilities(logits, None), label_names)
    return {f"{split}_{key}_uncalibrated": value for key, value in errors.items()}


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
    """The results of one split as a table (tuned thresholds, 0.5, a baseline if given) and the calibration error."""
    prefix = f"{split}_"
    metrics = {key.removeprefix(prefix): value for key, value in results.items() if key.startswith(prefix)}
    tuned = {key: value for key, value in metrics.items() if not key.endswith(AT_DEFAULT)}
    default = {key.removesuffix(AT_DEFAULT): metrics[key] for key in metrics if key.endswith(AT_DEFAULT)}
    columns = {"at 0.5": default}
    if baseline is not None:
        columns["always frequent"] = dict(baseline)
    table = format_metrics_table(tuned, label_names, name="tuned", columns=columns)
    error = f"Expected calibration error, mean over the labels: {metrics['macro_calibration_error']:.3f}"
    uncalibrated = metrics.get("macro_calibration_error_uncalibrated")
    before = "" if uncalibrated is None else f", {uncalibrated:.3f} before calibration"
    low, high = metrics["macro_f1_low"], metrics["macro_f1_high"]
    interval = f"95 % interval of macro_f1 (bootstrap over the texts): {low:.3f} to {high:.3f}."
    warning = f"\n\n{SAME_ANSWER}" if metrics["logit_spread"] < MIN_SPREAD else ""
    return f"{table}\n\n{interval}\n{error}{before}.{warning}"
