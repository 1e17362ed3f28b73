# SPDX-License-Identifier: Apache-2.0
"""Decision thresholds that maximise F1 on a validation split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from ..errors import InputError
from .calibration import fit_calibration
from .metrics import Labels, check_labels, check_probabilities, count_known, is_known, is_positive

TUNED_STRATEGIES = ("per_label", "expected_f1", "global")

# The candidates of `cross_validated_shrinkage`.
SHRINKAGES = (0.0, 5.0, 20.0, 50.0, float("inf"))
# Sums of F1 values in different order differ by rounding, so nearly equal objectives count as equal.
TOLERANCE = 1e-12


def tune_thresholds(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    strategy: str = "per_label",
    shrinkage: float = 0.0,
    default: float = 0.5,
) -> npt.NDArray[np.float64]:
    """Find the thresholds with the best F1 on the given samples, for `probability >= threshold`.

    The search is exact: F1 changes only at the scores, so all cut points between neighbouring scores are compared.
    Neighbouring cut points with the same best value form one plateau. The threshold is the middle of the widest
    plateau, the farthest from any change on either side; among equally wide ones the plateau nearest to `default`
    wins, then the higher one. The interval below the lowest score ends at 0.

    The global threshold maximises macro-F1. A label for which no threshold reaches an F1 above 0, such as a label
    without a positive sample, gets the global threshold. If no label has one, all get `default`. A label's F1 is that
    over the samples that know it, and macro-F1 the mean over the labels that any sample knows.

    A threshold from few positives is noisy. Shrinkage moves it towards the global threshold:
    `(num_positives * label_threshold + shrinkage * global_threshold) / (num_positives + shrinkage)`, the posterior
    mean of a normal model with `shrinkage` pseudo-positives (empirical Bayes; Efron and Morris, 1973,
    "Stein's estimation rule and its competitors").

    `"expected_f1"` asks less of few positives: a curve of two parameters (Platt scaling) instead of the place of each
    of them. It takes the calibrated probabilities q for the truth and maximises the F1 that is then to be expected,
    2 sum of the predicted q / (number of predictions + sum of all q). Its threshold is half of that F1 (Lipton et al.,
    2014, Optimal Thresholding of Classifiers to Maximize F1 Measure, theorem 1), brought back to the given scale.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels of the validation split in [0, 1],
            positive from 0.5 on, NaN where unknown.
        probabilities (`ArrayLike` of shape `(num_samples, num_labels)`): Their probabilities in [0, 1].
        strategy (`str`, *optional*, defaults to `"per_label"`): `"per_label"` for one threshold per label,
            `"expected_f1"` for one per label by calibrated probabilities, `"global"` for the same for all labels.
        shrinkage (`float`, *optional*, defaults to 0.0): Number of pseudo-positives, from 0 (none) to infinity (the
            global threshold). Used by `"per_label"` only.
        default (`float`, *optional*, defaults to 0.5): Threshold in (0, 1) where the samples give no information.

    Returns:
        `np.ndarray` of shape `(num_labels,)`: Thresholds in the open interval (0, 1), float64.

    Raises:
        `ValueError`: If an argument is out of its range or the shapes of `labels` and `probabilities` differ.
    """
    _check_options(strategy, shrinkage, default)
    targets = check_labels(labels)
    gold, known = is_positive(targets), is_known(targets)
    scores = check_probabilities(probabilities, gold.shape).astype(np.float64)
    has_rows = count_known(targets)[0] > 0
    columns = zip(gold.T, np.ascontiguousarray(scores.T), known.T, strict=True)
    curves = [f1_curve(positive[rows], score[rows]) for positive, score, rows in columns]

    known_curves = [curve for curve, is_any in zip(curves, has_rows, strict=True) if is_any]
    global_threshold = default
    if known_curves:
        global_threshold = best_threshold(*_macro_f1_curve(known_curves), default=default, fallback=default)
    if strategy == "global":
        return inside_unit_interval(np.full(gold.shape[1], global_threshold))
    if strategy == "expected_f1":
        expected = _expected_f1_thresholds(targets, scores)
        return inside_unit_interval(np.where(gold.any(axis=0), expected, global_threshold))
    tuned = np.array([best_threshold(*curve, default=default, fallback=global_threshold) for curve in curves])
    num_positives = gold.sum(axis=0)
    # A weight, not the quotient as a whole, keeps the limits exact: 1 without shrinkage, 0 with infinite shrinkage.
    weights = num_positives / np.maximum(num_positives + shrinkage, 1.0)
    return inside_unit_interval(weights * tuned + (1.0 - weights) * global_threshold)


def cross_validated_shrinkage(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    candidates: Sequence[float] = SHRINKAGES,
    num_folds: int = 5,
    num_repeats: int = 4,
    seed: int = 0,
) -> float:
    """Find the shrinkage whose thresholds do best on samples that they were not tuned on.

    The samples are split into folds at random, several times over. The thresholds for each fold come from the others;
    the measure is the macro-F1 of all folds together, the mean over the repeats (Stone, 1974, Cross-Validatory Choice
    and Assessment of Statistical Predictions). Among equals the first candidate wins.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): As in [`tune_thresholds`].
        probabilities (`ArrayLike` of shape `(num_samples, num_labels)`): Their probabilities in [0, 1].
        candidates (`Sequence[float]`, *optional*, defaults to 0, 5, 20, 50 and infinity): Shrinkages to compare.
        num_folds (`int`, *optional*, defaults to 5): Folds, at least 2.
        num_repeats (`int`, *optional*, defaults to 4): Random splits, at least 1.
        seed (`int`, *optional*, defaults to 0): Of the splits.

    Returns:
        `float`: One of the candidates; the first if there are fewer samples than folds.

    Raises:
        `ValueError`: If there are no candidates, or a number is out of its range.
    """
    if not candidates or num_folds < 2 or num_repeats < 1:
        raise InputError(
            "Expected at least 1 candidate, 2 folds and 1 repeat, "
            f"got {len(candidates)}, {num_folds} and {num_repeats}."
        )
    targets = check_labels(labels)
    gold, known = is_positive(targets), is_known(targets)
    scores = check_probabilities(probabilities, gold.shape).astype(np.float64)
    if len(gold) < num_folds:
        return candidates[0]
    generator = np.random.default_rng(seed)
    totals = np.zeros(len(candidates))
    for _ in range(num_repeats):
        folds = generator.permutation(len(gold)) % num_folds
        predictions = np.zeros((len(candidates), *gold.shape), dtype=bool)
        for fold in range(num_folds):
            held_out = folds == fold
            for index, shrinkage in enumerate(candidates):
                thresholds = tune_thresholds(targets[~held_out], scores[~held_out], shrinkage=shrinkage)
                predictions[index, held_out] = (scores[held_out] >= thresholds) & known[held_out]
        hits = (predictions & gold).sum(axis=1)
        f1 = 2.0 * hits / np.maximum(predictions.sum(axis=1) + gold.sum(axis=0), 1)
        totals += np.where(known.any(axis=0), f1, 0.0).mean(axis=1)
    return float(candidates[int(np.argmax(totals))])


def inside_unit_interval(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Move values that rounding has put on 0 or 1 to the next float inside."""
    return np.clip(thresholds, np.nextafter(0.0, 1.0), np.nextafter(1.0, 0.0))


def _check_options(strategy: str, shrinkage: float, default: float) -> None:
    if strategy not in TUNED_STRATEGIES:
        raise InputError(f"`strategy` must be one of {', '.join(TUNED_STRATEGIES)}, got {strategy!r}.")
    if not shrinkage >= 0.0:
        raise InputError(f"`shrinkage` must be a number of pseudo-positives >= 0, got {shrinkage}.")
    if not 0.0 < default < 1.0:
        raise InputError(f"`default` must lie strictly between 0 and 1, got {default}.")


def _expected_f1_thresholds(labels: Labels, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The thresholds of the highest expected F1 under calibrated probabilities, on the scale of `scores`."""
    smallest = np.finfo(np.float32).eps
    logits = logit(np.clip(scores, smallest, 1.0 - smallest))
    calibration = fit_calibration(labels, logits, "platt")
    # An unknown cell adds neither a positive nor, at the end of the ranking, a prediction worth making.
    probabilities = np.where(is_known(labels), expit(calibration.scale * logits + calibration.bias), 0.0)
    ranked = np.sort(probabilities, axis=0)[::-1]
    num_predicted = np.arange(1, len(ranked) + 1)[:, None]
    f1 = (2.0 * ranked.cumsum(axis=0) / (num_predicted + ranked.sum(axis=0))).max(axis=0)
    return expit((logit(f1 / 2.0) - calibration.bias) / calibration.scale)


def f1_curve(
    gold: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the F1 of one label at each distinct score, from the highest down, if all scores from it on count.

    A score of 0 is left out: no threshold above 0 reaches it.
    """
    order = np.argsort(scores)[::-1]
    ranked = scores[order]
    ends_tie = np.append(ranked[1:] != ranked[:-1], True) & (ranked > 0.0)
    last = np.flatnonzero(ends_tie)
    num_correct = np.cumsum(gold[order])[last]
    # The F1 score is 2 TP / (number of positives + number of predictions).
    return ranked[last], 2.0 * num_correct / (gold.sum() + last + 1)


def _macro_f1_curve(
    curves: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Add up the F1 curves of all labels, step functions of one threshold, at each distinct score from the top."""
    cuts = np.concatenate([cut for cut, _ in curves])
    steps = np.concatenate([np.diff(f1, prepend=0.0) for _, f1 in curves])
    order = np.argsort(cuts)[::-1]
    ranked = cuts[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else order
    return ranked[last], np.cumsum(steps[order])[last] / len(curves)


def best_threshold(
    cuts: npt.NDArray[np.float64], objective: npt.NDArray[np.float64], *, default: float, fallback: float
) -> float:
    """Return the middle of the widest plateau of the best objective, or `fallback` if it is 0 everywhere.

    Each of the falling `cuts` stands for the thresholds from the next lower one (exclusive) up to itself.
    """
    best = objective.max(initial=0.0)
    if best <= TOLERANCE:
        return fallback
    is_best = np.concatenate(([False], objective >= best - TOLERANCE, [False]))
    changes = np.flatnonzero(is_best[1:] != is_best[:-1])
    upper, lower = cuts[changes[::2]], np.append(cuts, 0.0)[changes[1::2]]
    middle = (lower + upper) / 2.0
    # Rounded, so that widths that are equal in decimal notation count as equal.
    widest = np.lexsort((np.abs(middle - default), -np.round(upper - lower, 12)))[0]
    # Between adjacent floats the middle may round down to the lower score, which must stay below the threshold.
    return float(middle[widest] if middle[widest] > lower[widest] else upper[widest])
