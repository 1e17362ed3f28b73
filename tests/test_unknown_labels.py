# SPDX-License-Identifier: Apache-2.0
"""
Tests of labels that are unknown (NaN) or graded through the whole evaluation: a number of a label is that of the rows
that know it, a number of a row that of the labels that it knows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from trainer_ext.data.stratification import divide_texts, iterative_stratification
from trainer_ext.encoders.start import fit_shares
from trainer_ext.evaluation.bootstrap import bootstrap_average_precision, bootstrap_f1, bootstrap_metrics
from trainer_ext.evaluation.calibration import CALIBRATION_METHODS, calibration_metrics, fit_calibration
from trainer_ext.evaluation.joint_thresholds import tune_joint_thresholds
from trainer_ext.evaluation.label_statistics import (
    CLASS_WEIGHT_METHODS,
    compute_class_weights,
    count_positives,
    label_correlation,
)
from trainer_ext.evaluation.metrics import (
    always_frequent_baseline,
    check_labels,
    is_positive,
    multilabel_metrics,
)
from trainer_ext.evaluation.metrics_table import format_metrics_table
from trainer_ext.evaluation.thresholds import TUNED_STRATEGIES, cross_validated_shrinkage, tune_thresholds

NAN = math.nan
# The last label is known to no row, the last row knows none.
NUM_KNOWN_LABELS = 4
NAMES = ["joy", "fear", "anger", "awe", "pride"]
Floats = npt.NDArray[np.float64]


def targets(num_rows: int = 200, seed: int = 0, *, is_graded: bool = False) -> tuple[Floats, Floats]:
    """Labels, 40 % of them unknown, and probabilities that know something of them."""
    generator = np.random.default_rng(seed)
    shape = num_rows, len(NAMES)
    shares = generator.random(shape) * [0.8, 0.6, 0.9, 0.7, 1.0]
    gold = np.round(shares, 1) if is_graded else (shares > 0.5).astype(np.float64)
    logits = 3 * shares - 1.5 + generator.normal(size=shape)
    gold[generator.random(shape) < 0.4] = NAN
    gold[:, NUM_KNOWN_LABELS:] = NAN
    gold[-1] = NAN
    return gold, 1 / (1 + np.exp(-logits))


def known_rows(gold: Floats, label: int) -> npt.NDArray[np.intp]:
    return np.flatnonzero(~np.isnan(gold[:, label]))


def hard(gold: Floats) -> Floats:
    return np.where(np.isnan(gold), NAN, gold >= 0.5)


# ------------------------------------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize("is_graded", [False, True])
def test_metrics_of_known_cells(is_graded: bool) -> None:
    gold, scores = targets(is_graded=is_graded)
    found = multilabel_metrics(gold, scores, thresholds=0.4, label_names=NAMES)
    per_label = {}
    for label in range(NUM_KNOWN_LABELS):
        rows = known_rows(gold, label)
        alone = multilabel_metrics(hard(gold)[rows, [label]][:, None], scores[rows, [label]][:, None], thresholds=0.4)
        per_label[NAMES[label]] = alone
        for key in ("f1", "precision", "recall", "support", "roc_auc"):
            assert found[f"{key}/{NAMES[label]}"] == pytest.approx(alone[f"{key}/0"], abs=1e-12)
    for key in ("macro_f1", "macro_precision", "macro_recall", "macro_roc_auc", "macro_average_precision"):
        assert found[key] == pytest.approx(np.mean([alone[key] for alone in per_label.values()]), abs=1e-12)
    weights = [alone["support/0"] for alone in per_label.values()]
    f1 = [alone["f1/0"] for alone in per_label.values()]
    assert found["weighted_f1"] == pytest.approx(np.average(f1, weights=weights), abs=1e-12)

    both = either = wrong = predicted = positives = num_cells = 0
    jaccards, exact = [], []
    for row, values in zip(gold, scores, strict=True):
        known = [(target >= 0.5, value >= 0.4) for target, value in zip(row, values, strict=True) if target == target]
        hits, union = (sum(op) for op in zip(*((g and p, g or p) for g, p in known), strict=True)) if known else (0, 0)
        both, either, num_cells = both + hits, either + union, num_cells + len(known)
        wrong += sum(g != p for g, p in known)
        predicted, positives = predicted + sum(p for _, p in known), positives + sum(g for g, _ in known)
        if known:
            jaccards.append(hits / union if union else 1.0)
            exact.append(all(g == p for g, p in known))
    assert len(jaccards) < len(gold)
    expected = {
        "micro_f1": 2 * both / (predicted + positives),
        "micro_precision": both / predicted,
        "micro_recall": both / positives,
        "micro_jaccard": both / either,
        "hamming_loss": wrong / num_cells,
        "samples_jaccard": np.mean(jaccards),
        "subset_accuracy": np.mean(exact),
    }
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-12), key
    assert multilabel_metrics(gold, predictions=scores >= 0.4)["macro_f1"] == found["macro_f1"]


def test_a_label_that_no_row_knows_has_no_values_and_no_part_in_the_means() -> None:
    gold, scores = targets()
    found = multilabel_metrics(gold, scores, label_names=NAMES)
    assert found["support/pride"] == 0.0
    assert all(math.isnan(found[f"{key}/pride"]) for key in ("f1", "precision", "recall"))
    assert "roc_auc/pride" not in found
    without = multilabel_metrics(gold[:, :-1], scores[:, :-1], label_names=NAMES[:-1])
    assert without == {key: value for key, value in found.items() if not key.endswith("/pride")}
    row = next(line for line in format_metrics_table(found, NAMES).splitlines() if line.startswith("pride"))
    assert row.split() == ["pride", "0", "-", "-", "-", "-"]


def test_metrics_of_nothing_known_are_nan_without_warnings() -> None:
    found = multilabel_metrics(np.full((3, 2), NAN), np.full((3, 2), 0.7))
    for key in ("macro_f1", "samples_jaccard", "subset_accuracy", "hamming_loss", "macro_roc_auc"):
        assert math.isnan(found[key]), key


def test_graded_gold_has_pearson_and_mean_absolute_error() -> None:
    gold, scores = targets(is_graded=True)
    gold[:, 3] = np.where(np.isnan(gold[:, 3]), NAN, 0.3)
    found = multilabel_metrics(gold, scores, label_names=NAMES)
    pearson, errors = [], []
    for label in range(NUM_KNOWN_LABELS):
        rows = known_rows(gold, label)
        target, score = gold[rows, label], scores[rows, label]
        errors.append(sum(abs(a - b) for a, b in zip(target, score, strict=True)) / len(rows))
        assert found[f"mae/{NAMES[label]}"] == pytest.approx(errors[-1])
        if label < 3:
            a, b = target - target.mean(), score - score.mean()
            pearson.append((a @ b) / math.sqrt((a @ a) * (b @ b)))
            assert found[f"pearson/{NAMES[label]}"] == pytest.approx(pearson[-1])
    # A constant label has no correlation.
    assert not {"pearson/awe", "pearson/pride", "mae/pride"} & found.keys()
    assert found["macro_pearson"] == pytest.approx(np.mean(pearson))
    assert found["macro_mae"] == pytest.approx(np.mean(errors))
    assert "pearson" in format_metrics_table(found, NAMES).splitlines()[-6]


def test_hard_labels_beside_graded_targets_decide_the_hard_metrics() -> None:
    gold, scores = (values[:, :NUM_KNOWN_LABELS] for values in targets(is_graded=True))
    strict = np.where(np.isnan(gold), NAN, gold >= 0.8)
    found = multilabel_metrics(strict, scores, targets=gold)
    plain, graded = multilabel_metrics(strict, scores), multilabel_metrics(gold, scores)
    assert "macro_pearson" not in plain
    assert plain["macro_f1"] != graded["macro_f1"]
    assert found.items() >= plain.items()
    assert all(found[key] == graded[key] for key in ("macro_pearson", "macro_mae", "mae/0"))
    with pytest.raises(ValueError, match=r"`targets` must have the shape of `labels`"):
        multilabel_metrics(strict, scores, targets=gold[:, :2])


def test_baseline_takes_a_label_for_as_frequent_as_among_the_rows_that_know_it() -> None:
    train = [[1, NAN, 0], [0, NAN, 0], [1, NAN, NAN], [0, 1, 1]]
    found = always_frequent_baseline(train, [[0, 1, 0], [1, 1, NAN]], label_names=["a", "b", "c"])
    # Shares of 1/2, 1 and 1/3: two labels, the second first.
    assert (found["f1/a"], found["f1/b"], found["f1/c"]) == (pytest.approx(2 / 3), 1.0, 0.0)


# ----------------------------------------------------------------------------------------------------------- bootstrap


@pytest.mark.parametrize("is_graded", [False, True])
def test_resamples_are_the_metrics_on_drawn_rows(is_graded: bool) -> None:
    gold, scores = targets(30, is_graded=is_graded)
    predicted = scores >= 0.4
    resampled = bootstrap_metrics(gold, predicted, num_resamples=20, seed=3)
    f1 = bootstrap_f1(gold, predicted[None], num_resamples=20, seed=3)
    precision = bootstrap_average_precision(gold, scores[None], num_resamples=20, seed=3)
    drawn = np.random.default_rng(3).multinomial(30, np.full(30, 1 / 30), size=20)
    for index, counts in enumerate(drawn):
        rows = np.repeat(np.arange(30), counts)
        expected = multilabel_metrics(gold[rows], predictions=predicted[rows])
        for key, values in resampled.items():
            assert values[index] == pytest.approx(expected[key], abs=1e-6, nan_ok=True), key
        for label in range(NUM_KNOWN_LABELS):
            known = rows[~np.isnan(gold[rows, label])]
            alone = multilabel_metrics(hard(gold)[known, label][:, None], scores[known, label][:, None])
            assert f1[index, 0, label] == pytest.approx(np.nan_to_num(expected[f"f1/{label}"]), abs=1e-6)
            assert precision[index, 0, label] == pytest.approx(alone["macro_average_precision"], abs=1e-6, nan_ok=True)


# ---------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("method", CLASS_WEIGHT_METHODS)
def test_class_weights_count_known_rows(method: str) -> None:
    gold, _ = targets()
    found = compute_class_weights(gold, method)
    for label in range(NUM_KNOWN_LABELS):
        alone = compute_class_weights(gold[known_rows(gold, label), label][:, None], method)
        assert found[label] == alone[0]
    assert found[-1] == 1.0
    graded = np.array([[0.5], [0.25], [0.25], [NAN], [1.0]])
    expected = {"none": 1.0, "inverse": 1.0, "sqrt": 1.0, "effective": 1.0}
    assert compute_class_weights(graded, method)[0] == pytest.approx(expected[method])


@pytest.mark.parametrize("is_graded", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 10.0])
def test_correlation_is_that_of_the_rows_that_know_both(is_graded: bool, smoothing: float) -> None:
    gold, _ = targets(is_graded=is_graded)
    gold[:90, 0], gold[90:, 1] = NAN, NAN
    found = label_correlation(gold, smoothing=smoothing)
    for a in range(len(NAMES)):
        for b in range(len(NAMES)):
            rows = np.flatnonzero(~np.isnan(gold[:, a] + gold[:, b]))
            expected = float(a == b)
            # The first two are never known together, the last to no row.
            if a != b and len(rows):
                first, second = gold[rows, a], gold[rows, b]
                evidence = min(first.sum(), second.sum())
                expected = np.corrcoef(first, second)[0, 1] * evidence / (evidence + smoothing)
            assert found[a, b] == pytest.approx(expected, abs=1e-12), (a, b)
    assert found[0, 1] == 0.0


def test_a_constant_graded_label_is_correlated_with_nothing() -> None:
    gold = np.column_stack([np.full(50, 0.3), np.linspace(0, 1, 50)])
    assert label_correlation(gold).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_positives_are_those_from_one_half_on() -> None:
    rows = np.array([[0.5, 0.49, NAN], [1.0, 0.0, NAN], [NAN, 1.0, NAN]])
    assert count_positives(rows).tolist() == [2, 1, 0]
    assert is_positive(check_labels(rows)).tolist() == (rows >= 0.5).tolist()


# --------------------------------------------------------------------------------------------- thresholds, calibration


@pytest.mark.parametrize("strategy", TUNED_STRATEGIES)
def test_thresholds_of_known_rows(strategy: str) -> None:
    gold, scores = targets()
    found = tune_thresholds(gold, scores, strategy=strategy)
    if strategy == "global":
        # A score of no row changes nothing: the same as with each unknown cell a certain negative.
        expected = tune_thresholds(np.nan_to_num(gold), np.where(np.isnan(gold), 0.0, scores), strategy=strategy)
        assert (found == found[0]).all()
        assert found.tolist() == expected.tolist()
        return
    for label in range(NUM_KNOWN_LABELS):
        rows = known_rows(gold, label)
        alone = tune_thresholds(gold[rows, label][:, None], scores[rows, label][:, None], strategy=strategy)
        assert found[label] == pytest.approx(alone[0], abs=1e-9)
    assert found[-1] == tune_thresholds(gold, scores, strategy="global")[0]
    assert cross_validated_shrinkage(gold, scores) in (0.0, 5.0, 20.0, 50.0, math.inf)


def test_thresholds_of_nothing_known_are_the_default() -> None:
    nothing, scores = np.full((8, 2), NAN), np.full((8, 2), 0.7)
    assert tune_thresholds(nothing, scores).tolist() == [0.5, 0.5]
    assert tune_joint_thresholds(nothing, scores, "micro_f1").tolist() == [0.5, 0.5]
    assert tune_joint_thresholds(nothing, scores, "samples_jaccard").tolist() == [0.5, 0.5]


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
@pytest.mark.parametrize("is_graded", [False, True])
def test_calibration_of_known_rows(method: str, is_graded: bool) -> None:
    gold, scores = targets(is_graded=is_graded)
    logits = np.log(scores / (1 - scores))
    found = fit_calibration(gold, logits, method)
    if method == "temperature":
        known = ~np.isnan(gold)
        alone = fit_calibration(gold[known][:, None], logits[known][:, None], method)
        assert found.scale == pytest.approx(np.full(len(NAMES), alone.scale[0]), abs=1e-9)
        return
    for label in range(NUM_KNOWN_LABELS):
        rows = known_rows(gold, label)
        alone = fit_calibration(gold[rows, label][:, None], logits[rows, label][:, None], method)
        assert found.scale[label] == pytest.approx(alone.scale[0], abs=1e-6)
        assert found.bias[label] == pytest.approx(alone.bias[0], abs=1e-6)
    assert (found.scale[-1], found.bias[-1]) == (1.0, 0.0)


def test_graded_labels_are_calibrated_to_their_shares() -> None:
    """A row with the label 0.7 is worth seven positive rows of ten."""
    logits = np.linspace(-2, 2, 21)
    shares = np.round(1 / (1 + np.exp(-0.5 * logits + 0.4)), 1)
    votes = np.concatenate([[1.0] * round(10 * share) + [0.0] * round(10 - 10 * share) for share in shares])
    graded = fit_calibration(np.repeat(shares, 10)[:, None], np.repeat(logits, 10)[:, None], "platt")
    hard_votes = fit_calibration(votes[:, None], np.repeat(logits, 10)[:, None], "platt")
    assert graded.scale[0] == pytest.approx(hard_votes.scale[0], abs=1e-9)
    assert graded.bias[0] == pytest.approx(hard_votes.bias[0], abs=1e-9)
    assert (graded.scale[0], graded.bias[0]) == (pytest.approx(0.5, abs=0.05), pytest.approx(-0.4, abs=0.05))


def test_calibration_errors_of_known_cells() -> None:
    gold, scores = targets(is_graded=True)
    found = calibration_metrics(gold, scores, NAMES)
    errors = []
    for label in range(NUM_KNOWN_LABELS):
        rows = known_rows(gold, label)
        error = 0.0
        for number in range(15):
            inside = rows[np.minimum((scores[rows, label] * 15).astype(int), 14) == number]
            error += abs(gold[inside, label].sum() - scores[inside, label].sum()) / len(rows)
        assert found[f"calibration_error/{NAMES[label]}"] == pytest.approx(error)
        errors.append(error)
    assert math.isnan(found["calibration_error/pride"])
    assert found["macro_calibration_error"] == pytest.approx(np.mean(errors))
    assert found["brier_score"] == pytest.approx(np.nanmean((gold - scores) ** 2))


# ------------------------------------------------------------------------------------------------------ stratification


def test_an_unknown_label_is_not_positive_for_the_splits() -> None:
    gold, _ = targets(60)
    expected = iterative_stratification(np.nan_to_num(gold), [0.5, 0.5], 0)
    assert iterative_stratification(gold, [0.5, 0.5], 0).tolist() == expected.tolist()
    texts = ["same", "other", "same", *(f"text {row}" for row in range(57))]
    subsets, num_recurring = divide_texts(texts, gold.astype(np.float32), [0.5, 0.5], 0)
    assert num_recurring == 1
    assert subsets[0] == subsets[2]
    # Graded labels are read as the metrics read them.
    graded, _ = targets(60, is_graded=True)
    expected = iterative_stratification(is_positive(graded), [0.5, 0.5], 0)
    assert iterative_stratification(graded, [0.5, 0.5], 0).tolist() == expected.tolist()


# ------------------------------------------------------------------------------------------------- where a head starts


def test_shares_of_classifiers_come_from_known_cells() -> None:
    gold, _ = targets()
    signal = np.nan_to_num(gold) * np.reshape([1, 3], (2, 1, 1))
    logits = np.random.default_rng(1).normal(size=(2, *gold.shape)) + signal
    found = fit_shares(gold, logits)
    other = np.where(np.isnan(gold), 50.0, logits)
    assert found.tolist() == pytest.approx(fit_shares(gold, other).tolist(), abs=1e-6)
    assert found[1] > found[0]
    label = known_rows(gold, 0)
    alone = fit_shares(gold[label, 0][:, None], logits[:, label, 0][..., None])
    only = np.where(np.arange(len(NAMES)) == 0, gold, NAN)
    assert fit_shares(only, logits).tolist() == pytest.approx(alone.tolist(), abs=1e-4)
