# SPDX-License-Identifier: Apache-2.0
"""Decision thresholds that maximise a metric which joins the labels: micro-F1, or the Jaccard index of the texts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .metrics import check_labels, check_probabilities, is_known, is_positive, sample_scores
from .thresholds import TOLERANCE, best_threshold, f1_curve, inside_unit_interval

JOINT_METRICS = ("micro_f1", "samples_jaccard")

# Each sweep raises the metric; in practice a handful is enough.
_MAX_SWEEPS = 20
_NUM_FOLDS = 5

_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]


def tune_joint_thresholds(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    metric: str,
    *,
    strategy: str = "per_label",
    default: float = 0.5,
    seed: int = 0,
) -> _Floats:
    """
    Find the thresholds with the best micro-F1 or mean Jaccard index of the texts, for `probability >= threshold`.

    First comes the shared threshold, exact over all cut points between neighbouring scores. From there coordinate
    ascent gives each label in turn its best threshold beside those of the others, until none of them gains. Thresholds
    per label fit chance as well: they are taken only if they beat the shared one on texts that neither was tuned on,
    over 5 folds together. Of equally good cut points the middle of the widest plateau is taken, as in
    [`tune_thresholds`].

    Unknown cells count neither as labels nor as predictions, texts that know no label not at all.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels of the validation split in [0, 1],
            positive from 0.5 on, NaN where unknown.
        probabilities (`ArrayLike` of shape `(num_samples, num_labels)`): Their probabilities in [0, 1].
        metric (`str`): `"micro_f1"` or `"samples_jaccard"`.
        strategy (`str`, *optional*, defaults to `"per_label"`): `"per_label"` as described, or `"global"` for the
            shared threshold in any case.
        default (`float`, *optional*, defaults to 0.5): Threshold in (0, 1) where the samples give no information.
        seed (`int`, *optional*, defaults to 0): Of the folds.

    Returns:
        `np.ndarray` of shape `(num_labels,)`: Thresholds in the open interval (0, 1), float64.

    Raises:
        `InputError`: If `metric` or `strategy` is unknown.
    """
    if metric not in JOINT_METRICS:
        raise InputError(f"`metric` must be one of {', '.join(JOINT_METRICS)}, got {metric!r}.")
    if strategy not in ("per_label", "global"):
        raise InputError(f"`strategy` must be per_label or global for {metric}, got {strategy!r}.")
    targets = check_labels(labels)
    known = is_known(targets)
    scores = check_probabilities(probabilities, targets.shape).astype(np.float64)
    rows = known.any(axis=1)
    # Below every threshold: an unknown cell is never predicted.
    gold, scores = is_positive(targets)[rows], np.where(known, scores, -1.0)[rows]
    shared = _shared_thresholds(gold, scores, metric, default)
    if strategy == "global" or not _gains_elsewhere(gold, scores, metric, default, seed):
        return inside_unit_interval(shared)
    return inside_unit_interval(_ascend(gold, scores, metric, shared, default))


def _gains_elsewhere(gold: _Bools, scores: _Floats, metric: str, default: float, seed: int) -> bool:
    """Whether thresholds per label beat a shared one on texts that they were not tuned on."""
    if len(gold) < _NUM_FOLDS:
        return False
    folds = np.random.default_rng(seed).permutation(len(gold)) % _NUM_FOLDS
    by_shared, by_label = np.zeros((2, *gold.shape), dtype=np.bool_)
    for fold in range(_NUM_FOLDS):
        held_out = folds == fold
        rest = gold[~held_out], scores[~held_out]
        shared = _shared_thresholds(*rest, metric, default)
        by_shared[held_out] = scores[held_out] >= shared
        by_label[held_out] = scores[held_out] >= _ascend(*rest, metric, shared, default)
    return _value(gold, by_label, metric) > _value(gold, by_shared, metric) + TOLERANCE


def _value(gold: _Bools, predicted: _Bools, metric: str) -> float:
    if metric == "samples_jaccard":
        return float(sample_scores(gold, predicted)[0].mean())
    return float(2.0 * (gold & predicted).sum() / max(predicted.sum() + gold.sum(), 1))


def _shared_thresholds(gold: _Bools, scores: _Floats, metric: str, default: float) -> _Floats:
    curve = _shared_jaccard_curve if metric == "samples_jaccard" else _shared_f1_curve
    threshold = best_threshold(*curve(gold, scores), default=default, fallback=default) if len(gold) else default
    return np.full(gold.shape[1], threshold)


def _shared_f1_curve(gold: _Bools, scores: _Floats) -> tuple[_Floats, _Floats]:
    return f1_curve(gold.ravel(), scores.ravel())


def _shared_jaccard_curve(gold: _Bools, scores: _Floats) -> tuple[_Floats, _Floats]:
    """The mean Jaccard index at each distinct score of any cell, from the highest down, and where nothing counts."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    # By text: with its first label, its first two, ...
    common = np.cumsum(np.take_along_axis(gold, order, axis=1), axis=1)
    either = gold.sum(axis=1, keepdims=True) + np.arange(1, gold.shape[1] + 1) - common
    nothing = ~gold.any(axis=1, keepdims=True)
    steps = np.diff(common / either, prepend=nothing.astype(np.float64), axis=1)
    pooled = np.argsort(-ranked, axis=None, kind="stable")
    by_count = nothing.sum() + np.concatenate([[0.0], np.cumsum(steps.ravel()[pooled])])
    return _at_cuts(ranked.ravel()[pooled], by_count / len(gold))


def _at_cuts(ranked: _Floats, by_count: _Floats) -> tuple[_Floats, _Floats]:
    """
    The curve of a threshold: falling scores, and the objective where the first 0, 1, 2, ... of them are predicted,
    at the places that a threshold can divide. It begins with the thresholds above all scores.
    """
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True) & (ranked > 0.0))
    counts, cuts = last + 1, ranked[last]
    if ranked[0] < 1.0:
        counts, cuts = np.append(0, counts), np.append(1.0, cuts)
    return cuts, by_count[counts]


def _ascend(gold: _Bools, scores: _Floats, metric: str, start: _Floats, default: float) -> _Floats:
    """Coordinate ascent: the thresholds of one label after the other, each the best beside the others."""
    thresholds, predicted = start.copy(), scores >= start
    orders = np.argsort(-scores, axis=0, kind="stable")
    by_count = _jaccard_by_count if metric == "samples_jaccard" else _f1_by_count
    value = _value(gold, predicted, metric)
    for _ in range(_MAX_SWEEPS):
        before = value
        for label, order in enumerate(orders.T):
            curve = _at_cuts(scores[order, label], by_count(gold, predicted, label, order))
            best = curve[1].max(initial=0.0)
            if best > value + TOLERANCE:
                thresholds[label] = best_threshold(*curve, default=default, fallback=thresholds[label])
                predicted[:, label] = scores[:, label] >= thresholds[label]
                value = best
        if value == before:
            break
    return thresholds


def _f1_by_count(gold: _Bools, predicted: _Bools, label: int, order: npt.NDArray[np.intp]) -> _Floats:
    """Micro-F1 with the first 0, 1, 2, ... texts of an order predicted to have the label."""
    rest = predicted.copy()
    rest[:, label] = False
    correct = (gold & rest).sum() + np.concatenate([[0], np.cumsum(gold[order, label])])
    return np.asarray(2.0 * correct / np.maximum(rest.sum() + gold.sum() + np.arange(len(gold) + 1), 1))


def _jaccard_by_count(gold: _Bools, predicted: _Bools, label: int, order: npt.NDArray[np.intp]) -> _Floats:
    """The mean Jaccard index with the first 0, 1, 2, ... texts of an order predicted to have the label."""
    rest = predicted.copy()
    rest[:, label] = False
    without, _ = sample_scores(gold, rest)
    rest[:, label] = True
    having, _ = sample_scores(gold, rest)
    steps = np.cumsum((having - without)[order])
    return np.asarray((without.sum() + np.concatenate([[0.0], steps])) / len(gold))
