# SPDX-License-Identifier: Apache-2.0
"""Multi-label classification metrics in numpy alone.

A gold label is a target in [0, 1] or NaN: unknown, because the data say nothing of this label for this sample. Every
metric counts known cells alone.

The definitions equal those of scikit-learn, with two exceptions that `multilabel_metrics` documents: samples without
any gold and predicted label count 1 in `samples_jaccard`, and labels with one class only are left out of the ranking
metrics. The module needs only numpy and the standard library, so it also works as a stand-alone file.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

SUMMARY_METRICS = (
    "macro_f1",
    "micro_f1",
    "weighted_f1",
    "samples_jaccard",
    "micro_jaccard",
    "hamming_loss",
    "subset_accuracy",
    "macro_precision",
    "macro_recall",
    "micro_precision",
    "micro_recall",
    "macro_roc_auc",
    "macro_average_precision",
)
# Per label, and as means over the labels; beside graded gold alone.
GRADED_METRICS = ("pearson", "mae")

# Booleans where every cell is 0 or 1; else targets, NaN where a label is not known.
Labels: TypeAlias = npt.NDArray[np.bool_] | npt.NDArray[np.float64]


class Counts(NamedTuple):
    """The sums that give the metrics of hard predictions; the leading dimensions `(...)` are those of a resample.

    Attributes:
        correct, gold, predicted (`np.ndarray` of shape `(..., num_labels)`): How many samples have the label both in
            gold and predicted, in gold, and predicted, among those that know it.
        known (`np.ndarray` of shape `(..., num_labels)`): How many samples know the label.
        jaccard, exact (`np.ndarray` of shape `(...)`): Means of [`sample_scores`] over the samples that know a label.
    """

    correct: npt.NDArray[np.floating]
    gold: npt.NDArray[np.floating]
    predicted: npt.NDArray[np.floating]
    known: npt.NDArray[np.floating]
    jaccard: npt.NDArray[np.floating]
    exact: npt.NDArray[np.floating]


def check_labels(values: npt.ArrayLike, name: str = "labels") -> Labels:
    """Check a matrix of targets in [0, 1], NaN where a label is not known.

    Args:
        values (`ArrayLike` of shape `(num_samples, num_labels)`): Of any numeric or boolean type.
        name (`str`, *optional*, defaults to `"labels"`): How error messages call the argument.

    Returns:
        `np.ndarray` of shape `(num_samples, num_labels)`: Booleans if every cell is 0 or 1, else float64.

    Raises:
        `ValueError`: If the shape is not two-dimensional, a dimension is empty, or a value lies outside [0, 1].
    """
    array = _check_matrix(values, name)
    if array.dtype == np.bool_:
        return array
    if ((array == 0) | (array == 1)).all():
        return np.asarray(array != 0, dtype=np.bool_)
    targets = array.astype(np.float64)
    is_valid = np.isnan(targets) | ((targets >= 0) & (targets <= 1))
    if not is_valid.all():
        raise ValueError(
            f"`{name}` must lie in [0, 1], or be NaN where a label is unknown, got {array[~is_valid].tolist()[0]!r}; "
            "pass multi-hot rows, not label ids, padding or logits."
        )
    return targets


def check_predictions(
    values: npt.ArrayLike, shape: tuple[int, ...], name: str = "predictions"
) -> npt.NDArray[np.bool_]:
    """Check a 0/1 matrix of predictions against the shape of the labels and return it as booleans.

    Raises:
        `ValueError`: If the shape differs from `shape`, or a value is neither 0 nor 1.
    """
    array = _check_matrix(values, name)
    if array.dtype != np.bool_ and not (is_valid := (array == 0) | (array == 1)).all():
        raise ValueError(
            f"`{name}` must hold only 0 and 1, got {array[~is_valid].tolist()[0]!r}; "
            "pass multi-hot rows, not label ids, padding or scores."
        )
    _check_same_shape(array, shape, name)
    return np.asarray(array != 0, dtype=np.bool_)


def is_positive(labels: Labels) -> npt.NDArray[np.bool_]:
    """The hard labels of targets: positive from 0.5 on; an unknown cell is not positive."""
    return np.asarray(labels if labels.dtype == np.bool_ else labels >= 0.5, dtype=np.bool_)


def is_known(labels: Labels) -> npt.NDArray[np.bool_]:
    """Which cells are known."""
    return np.ones(labels.shape, np.bool_) if labels.dtype == np.bool_ else np.asarray(~np.isnan(labels))


def count_known(labels: Labels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """How many samples know each label, `(num_labels,)`, and which samples know any, `(num_samples,)`."""
    if labels.dtype == np.bool_:
        return np.full(labels.shape[1], float(len(labels))), np.ones(len(labels), np.bool_)
    known = is_known(labels)
    return known.sum(axis=0, dtype=np.float64), np.asarray(known.any(axis=1))


def mean_of_known(values: npt.ArrayLike, known: npt.NDArray[np.bool_]) -> float:
    """The mean of the values that are known; NaN if none is. Where all are, it is their mean to the last bit."""
    if not known.any():
        return math.nan
    return float(np.where(known, values, 0.0).mean() * (known.size / known.sum()))


def _check_matrix(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape (num_samples, num_labels), got {array.shape}; "
            "pass one row per sample and one column per label."
        )
    if 0 in array.shape:
        raise ValueError(f"`{name}` must have at least one sample and one label, got shape {array.shape}.")
    # None, which JSON and Arrow have in place of NaN, becomes NaN.
    return array.astype(np.float64) if array.dtype == np.object_ else array


def check_probabilities(
    values: npt.ArrayLike, shape: tuple[int, ...], name: str = "probabilities"
) -> npt.NDArray[np.floating]:
    """Check a matrix of probabilities against the shape of the labels.

    Args:
        values (`ArrayLike` of shape `(num_samples, num_labels)`): Probabilities in [0, 1].
        shape (`tuple[int, ...]`): The shape of the labels.
        name (`str`, *optional*, defaults to `"probabilities"`): How error messages call the argument.

    Returns:
        `np.ndarray` of shape `(num_samples, num_labels)`: The probabilities in float32 or float64.

    Raises:
        `ValueError`: If the shape differs from `shape`, or a value is NaN or outside [0, 1].
    """
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    _check_same_shape(array, shape, name)
    low, high = float(array.min()), float(array.max())
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(
            f"`{name}` must lie in [0, 1] without NaN, got values from {low:g} to {high:g}; "
            "apply a sigmoid to logits first."
        )
    return array


def check_label_names(label_names: Sequence[str] | None, num_labels: int) -> list[str]:
    """Check names for the labels, or number the labels.

    Args:
        label_names (`Sequence[str]` of length `num_labels`, *optional*): Distinct names.
        num_labels (`int`): Number of labels.

    Returns:
        `list[str]`: The names; by default `"0"`, `"1"`, and so on.

    Raises:
        `ValueError`: If there are more or fewer names than labels, or a name is there twice.
    """
    names = [str(index) for index in range(num_labels)] if label_names is None else list(label_names)
    if len(names) != num_labels:
        raise ValueError(f"`label_names` must have one name per label ({num_labels}), got {len(names)} names.")
    if len(set(names)) != num_labels:
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`label_names` must be distinct, got {repeated!r} more than once.")
    return names


def multilabel_metrics(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike | None = None,
    predictions: npt.ArrayLike | None = None,
    *,
    thresholds: npt.ArrayLike = 0.5,
    targets: npt.ArrayLike | None = None,
    label_names: Sequence[str] | None = None,
    zero_division: float = 0.0,
) -> dict[str, float]:
    """Compute multi-label metrics from probabilities and thresholds, or from hard predictions.

    A label is judged by the samples that know it, a sample by the labels that it knows; micro means and `hamming_loss`
    count known cells. Macro means leave out labels that no sample knows, and means over samples those that know no
    label. A graded label is positive from 0.5 on.

    All definitions are those of scikit-learn, except for two points:

    - `samples_jaccard`: a sample with neither gold nor predicted labels counts 1, because the prediction is exactly
      right (scikit-learn counts it `zero_division`).
    - `macro_roc_auc` and `macro_average_precision` are means over the labels that have both a positive and a negative
      sample; the others also have no `roc_auc/<label>`. If no label is left, the two means are NaN.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels in [0, 1], NaN where unknown.
        probabilities (`ArrayLike` of shape `(num_samples, num_labels)`, *optional*): Probabilities in [0, 1]. A label
            is predicted where `probability >= threshold`, compared in float64.
        predictions (`ArrayLike` of shape `(num_samples, num_labels)`, *optional*): Hard predictions, 0 or 1. Exactly
            one of `probabilities` and `predictions` must be given; the ranking metrics need `probabilities`.
        thresholds (`float` or `ArrayLike` of shape `(num_labels,)`, *optional*, defaults to 0.5): Thresholds in
            [0, 1]; not used with `predictions`.
        targets (`ArrayLike` of shape `(num_samples, num_labels)`, *optional*): Graded gold in [0, 1], NaN where
            unknown, beside hard `labels`; by default `labels`, if a value of theirs lies between 0 and 1.
        label_names (`Sequence[str]` of length `num_labels`, *optional*): Distinct names for the keys per label. By
            default the index of the label, `"0"`, `"1"`, and so on.
        zero_division (`float`, *optional*, defaults to 0.0): The value in [0, 1] of a ratio whose denominator is 0,
            such as the precision of a label that is never predicted.

    Returns:
        `dict[str, float]`: `macro_f1`, `micro_f1`, `weighted_f1`, `samples_jaccard`, `micro_jaccard`, `hamming_loss`,
        `subset_accuracy`, `macro_precision`, `macro_recall`, `micro_precision`, `micro_recall`; per label
        `f1/<label>`, `precision/<label>`, `recall/<label>` (NaN where no sample knows the label), `support/<label>`
        (the number of positives); and with `probabilities` also `macro_roc_auc`, `macro_average_precision` and
        `roc_auc/<label>`. Probabilities beside graded gold have `pearson/<label>`, Pearson's correlation of the two
        (absent where one of them is constant), `mae/<label>`, their mean absolute difference, and the means over the
        labels, `macro_pearson` and `macro_mae`.

    Raises:
        `ValueError`: If a shape does not fit, a value is out of its range, there are no samples, or not exactly one of
            `probabilities` and `predictions` is given.
    """
    gold = check_labels(labels)
    names = check_label_names(label_names, gold.shape[1])
    if not 0.0 <= zero_division <= 1.0:
        raise ValueError(f"`zero_division` must lie in [0, 1], got {zero_division}.")
    if predictions is not None and probabilities is None:
        return _count_metrics(gold, check_predictions(predictions, gold.shape), names, zero_division)
    if probabilities is None or predictions is not None:
        raise ValueError(
            "Pass exactly one of `probabilities` and `predictions`, "
            f"got {'none' if probabilities is None else 'both'} of them."
        )
    scores = check_probabilities(probabilities, gold.shape)
    # One float64 value per label, so that a scalar and a vector of thresholds compare alike for float32 scores.
    predicted = scores >= _check_thresholds(thresholds, gold.shape[1])
    metrics = _count_metrics(gold, predicted, names, zero_division) | _ranking_metrics(gold, scores, names)
    if targets is not None:
        graded = check_labels(targets, "targets")
        _check_same_shape(graded, gold.shape, "targets")
        metrics |= _graded_metrics(graded, scores, names)
    elif gold.dtype != np.bool_ and ((gold > 0) & (gold < 1)).any():
        metrics |= _graded_metrics(gold, scores, names)
    return metrics


def sample_scores(
    gold: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Compute the scores of each sample whose means are `samples_jaccard` and `subset_accuracy`.

    Args:
        gold, predicted (`np.ndarray` of shape `(num_samples, num_labels)`): Booleans, false where unknown.

    Returns:
        The Jaccard index of each sample, `(num_samples,)`, 1 where both sets are empty, and whether its prediction is
        exactly right, `(num_samples,)`.
    """
    # A product with ones takes a fifth of the time of a sum over short rows; float32 counts exactly up to 2 ** 24.
    ones = np.ones(gold.shape[1], dtype=np.float32)
    common, either = (gold & predicted) @ ones, (gold | predicted) @ ones
    return _divide(common, either, 1.0), common == either


def metrics_of_counts(
    counts: Counts, names: Sequence[str], zero_division: float
) -> dict[str, npt.NDArray[np.float64]]:
    """Compute the metrics of hard predictions from counts, of one evaluation or of many at once.

    Args:
        counts ([`Counts`]): With any leading dimensions `(...)`.
        names (`Sequence[str]` of length `num_labels`): Names for the keys per label.
        zero_division (`float`): As for `multilabel_metrics`.

    Returns:
        `dict[str, np.ndarray]`: The keys of `multilabel_metrics` for hard predictions, without the supports, each of
        shape `(...)`.
    """
    precision = _divide(counts.correct, counts.predicted, zero_division)
    recall = _divide(counts.correct, counts.gold, zero_division)
    f1 = _divide(2 * counts.correct, counts.gold + counts.predicted, zero_division)
    correct, gold, predicted, known = (np.sum(per_label, axis=-1) for per_label in counts[:4])
    has_rows = counts.known > 0
    # 1 where all labels are known: their mean is then that of all, to the last bit.
    share = _divide(len(names), has_rows.sum(axis=-1), math.nan)

    def macro(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.where(has_rows, values, 0.0).mean(axis=-1) * share)

    metrics = {
        "macro_f1": macro(f1),
        "micro_f1": _divide(2 * correct, gold + predicted, zero_division),
        # Without any positive all weights are 0, and scikit-learn takes the plain mean.
        "weighted_f1": np.where(gold, _divide((f1 * counts.gold).sum(axis=-1), gold, 0.0), macro(f1)),
        "samples_jaccard": counts.jaccard,
        "micro_jaccard": _divide(correct, gold + predicted - correct, zero_division),
        "hamming_loss": _divide(gold + predicted - 2 * correct, known, math.nan),
        "subset_accuracy": counts.exact,
        "macro_precision": macro(precision),
        "macro_recall": macro(recall),
        "micro_precision": _divide(correct, predicted, zero_division),
        "micro_recall": _divide(correct, gold, zero_division),
    }
    for key, values in (("f1", f1), ("precision", precision), ("recall", recall)):
        values = np.where(has_rows, values, math.nan)
        metrics.update({f"{key}/{name}": values[..., index] for index, name in enumerate(names)})
    return metrics


def always_frequent_baseline(
    train_labels: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    label_names: Sequence[str] | None = None,
    zero_division: float = 0.0,
) -> dict[str, float]:
    """Compute the metrics of a constant predictor: the most frequent training labels for every sample.

    It predicts as many labels as a training sample has on average, rounded half up and at least 1. A label is as
    frequent as among the training samples that know it. Among labels that are equally frequent, those with the lower
    index come first.

    Args:
        train_labels (`ArrayLike` of shape `(num_train_samples, num_labels)`): Training labels in [0, 1], NaN where
            unknown, from which the constant prediction is taken.
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels to evaluate on, likewise.
        label_names (`Sequence[str]` of length `num_labels`, *optional*): As for `multilabel_metrics`.
        zero_division (`float`, *optional*, defaults to 0.0): As for `multilabel_metrics`.

    Returns:
        `dict[str, float]`: The result of `multilabel_metrics` for this prediction. The ranking metrics are those of
        chance, as all samples have one score: the average precision is the share of positives, ROC AUC 0.5.

    Raises:
        `ValueError`: If the two label matrices differ in `num_labels`, or a value lies outside [0, 1].
    """
    train, gold = check_labels(train_labels, "train_labels"), check_labels(labels)
    if train.shape[1] != gold.shape[1]:
        raise ValueError(
            f"`train_labels` and `labels` must have the same num_labels, got {train.shape[1]} and {gold.shape[1]}."
        )
    counts = is_positive(train).sum(axis=0) * (len(train) / np.maximum(count_known(train)[0], 1.0))
    num_predicted = max(1, math.floor(counts.sum() / len(train) + 0.5))
    most_frequent = np.argsort(-counts, kind="stable")[:num_predicted]
    scores = np.zeros(gold.shape)
    scores[:, most_frequent] = 1.0
    return multilabel_metrics(gold, scores, label_names=label_names, zero_division=zero_division)


def _check_same_shape(array: npt.NDArray[np.generic], shape: tuple[int, ...], name: str) -> None:
    if array.shape != shape:
        raise ValueError(f"`{name}` must have the shape of `labels`, {shape}, got {array.shape}.")


def _check_thresholds(thresholds: npt.ArrayLike, num_labels: int) -> npt.NDArray[np.float64]:
    array = np.asarray(thresholds, dtype=np.float64)
    if array.shape not in ((), (num_labels,)):
        raise ValueError(f"`thresholds` must be one number or have shape ({num_labels},), got shape {array.shape}.")
    if not ((array >= 0.0) & (array <= 1.0)).all():
        raise ValueError(f"`thresholds` must lie in [0, 1] without NaN, got {array.tolist()}.")
    return np.broadcast_to(array, (num_labels,))


def _divide(numerator: npt.ArrayLike, denominator: npt.ArrayLike, zero_division: float) -> npt.NDArray[np.float64]:
    """Divide elementwise, with `zero_division` where the denominator is 0."""
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient = np.full(np.broadcast_shapes(top.shape, bottom.shape), zero_division, dtype=np.float64)
    np.divide(top, bottom, out=quotient, where=bottom != 0)
    return quotient


def _count_metrics(
    labels: Labels, predicted: npt.NDArray[np.bool_], names: list[str], zero_division: float
) -> dict[str, float]:
    gold, ones = is_positive(labels), np.ones(len(labels))
    known, has_known = count_known(labels)
    if labels.dtype != np.bool_:
        predicted = predicted & is_known(labels)
    means = (np.array(mean_of_known(scores, has_known)) for scores in sample_scores(gold, predicted))
    counts = Counts(ones @ (gold & predicted), ones @ gold, ones @ predicted, known, *means)
    metrics = metrics_of_counts(counts, names, zero_division)
    metrics.update(zip((f"support/{name}" for name in names), counts.gold, strict=True))
    return {key: float(value) for key, value in metrics.items()}


def _ranking_metrics(labels: Labels, scores: npt.NDArray[np.floating], names: list[str]) -> dict[str, float]:
    gold, is_complete = is_positive(labels), labels.dtype == np.bool_
    columns = zip(names, *map(np.ascontiguousarray, (labels.T, gold.T, scores.T)), strict=True)
    per_label = {}
    for name, targets, label_gold, label_scores in columns:
        if not is_complete:
            known = ~np.isnan(targets)
            label_gold, label_scores = label_gold[known], label_scores[known]
        if label_gold.any() and not label_gold.all():
            per_label[name] = _roc_auc_and_average_precision(label_gold, label_scores)
    macro = np.mean(list(per_label.values()), axis=0) if per_label else (math.nan, math.nan)
    metrics = {"macro_roc_auc": float(macro[0]), "macro_average_precision": float(macro[1])}
    return metrics | {f"roc_auc/{name}": roc_auc for name, (roc_auc, _) in per_label.items()}


def _graded_metrics(labels: Labels, scores: npt.NDArray[np.floating], names: list[str]) -> dict[str, float]:
    """Compute Pearson's correlation and the mean absolute difference of targets and probabilities, label by label."""
    known = is_known(labels)
    pearson, mae = {}, {}
    for index, name in enumerate(names):
        rows = known[:, index]
        target, score = labels[rows, index].astype(np.float64), scores[rows, index].astype(np.float64)
        if len(target):
            mae[f"mae/{name}"] = float(np.abs(target - score).mean())
        if len(target) and np.ptp(target) > 0 and np.ptp(score) > 0:
            pearson[f"pearson/{name}"] = float(np.corrcoef(target, score)[0, 1])
    means = {f"macro_{key}": [*values.values()] for key, values in zip(GRADED_METRICS, (pearson, mae), strict=True)}
    return {key: float(np.mean(values)) if values else math.nan for key, values in means.items()} | pearson | mae


def _roc_auc_and_average_precision(
    gold: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]
) -> tuple[float, float]:
    """Compute both ranking metrics of one label from the ranks of its positives.

    ROC AUC is the Mann-Whitney statistic: the share of (positive, negative) pairs in the right order, where ties count
    one half. Average precision is the mean, over the positives, of the precision among all samples that score at least
    as high; with ties this equals the step sum over distinct scores in scikit-learn.
    """
    # Sorting two arrays of values takes half the time of one argsort over all samples.
    positives, negatives = np.sort(scores[gold]), np.sort(scores[~gold])
    num_below = np.searchsorted(negatives, positives, side="left")
    num_not_above = np.searchsorted(negatives, positives, side="right")
    roc_auc = (num_below + num_not_above).sum() / (2 * len(positives) * len(negatives))

    true_positives = len(positives) - np.searchsorted(positives, positives, side="left")
    false_positives = len(negatives) - num_below
    average_precision = (true_positives / (true_positives + false_positives)).mean()
    return float(roc_auc), float(average_precision)
