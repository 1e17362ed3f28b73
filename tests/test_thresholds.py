# SPDX-License-Identifier: Apache-2.0
"""Tests of the threshold search against brute force and at its limits."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import f1_score

from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.thresholds import cross_validated_shrinkage, tune_thresholds


def make_data(seed: int, num_decimals: int = 2) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((40, 4)) < [0.5, 0.3, 0.1, 0.2]).astype(np.int64)
    labels[:2] = [[1, 1, 1, 1], [0, 0, 0, 0]]
    scores = rng.normal(labels - 0.5, 1.0)
    return labels, np.round(1 / (1 + np.exp(-scores)), num_decimals)


def all_cuts(scores: npt.NDArray[np.float64]) -> list[float]:
    """List the middle of every gap between neighbouring distinct scores, and one cut above all of them."""
    edges = [0.0, *sorted(set(scores.ravel().tolist()) - {0.0})]
    return [(low + high) / 2 for low, high in itertools.pairwise(edges)] + [1.0]


@pytest.mark.parametrize("num_decimals", [1, 2, 12])
@pytest.mark.parametrize("seed", range(4))
def test_per_label_f1_equals_brute_force(seed: int, num_decimals: int) -> None:
    labels, probabilities = make_data(seed, num_decimals)
    thresholds = tune_thresholds(labels, probabilities)
    for gold, scores, threshold in zip(labels.T, probabilities.T, thresholds, strict=True):
        best = max(f1_score(gold, scores >= cut, zero_division=0.0) for cut in all_cuts(scores))
        assert f1_score(gold, scores >= threshold) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("num_decimals", [1, 2, 12])
@pytest.mark.parametrize("seed", range(4))
def test_global_macro_f1_equals_brute_force(seed: int, num_decimals: int) -> None:
    labels, probabilities = make_data(seed, num_decimals)
    thresholds = tune_thresholds(labels, probabilities, strategy="global")
    assert len(set(thresholds.tolist())) == 1
    values = [
        f1_score(labels, probabilities >= cut, average="macro", zero_division=0.0) for cut in all_cuts(probabilities)
    ]
    found = f1_score(labels, probabilities >= thresholds, average="macro")
    assert found == pytest.approx(max(values), abs=1e-12)


def test_threshold_is_the_middle_between_neighbouring_scores() -> None:
    thresholds = tune_thresholds([[1], [1], [0], [0]], [[0.9], [0.7], [0.3], [0.1]])
    assert thresholds.tolist() == pytest.approx([0.5])
    assert thresholds.dtype == np.float64
    assert thresholds.shape == (1,)


def test_ties_choose_the_widest_plateau() -> None:
    # F1 is 2/3 for thresholds in (0.8, 0.9], one right of one, and in (0.1, 0.5], two right of four.
    labels, scores = [[1], [0], [0], [1], [0]], [[0.9], [0.8], [0.7], [0.5], [0.1]]
    assert tune_thresholds(labels, scores).tolist() == pytest.approx([0.3])


def test_equally_wide_plateaus_choose_the_one_nearest_to_the_default() -> None:
    labels, scores = [[1], [0], [0], [1], [0]], [[0.8], [0.6], [0.5], [0.4], [0.2]]
    assert tune_thresholds(labels, scores, default=0.6).tolist() == pytest.approx([0.7])
    assert tune_thresholds(labels, scores, default=0.2).tolist() == pytest.approx([0.3])


def test_neighbouring_cuts_with_the_same_value_form_one_plateau() -> None:
    # The second label has no positive, so its scores between 0.2 and 0.8 change nothing in the macro-F1.
    labels = [[1, 0], [0, 0], [0, 0]]
    probabilities = [[0.8, 0.7], [0.2, 0.4], [0.1, 0.3]]
    assert tune_thresholds(labels, probabilities, strategy="global").tolist() == pytest.approx([0.5, 0.5])


def test_constant_scores_and_all_positive_labels_predict_everything() -> None:
    labels, probabilities = [[1, 1], [0, 1], [1, 1]], [[0.4, 0.9], [0.4, 0.6], [0.4, 0.2]]
    assert tune_thresholds(labels, probabilities).tolist() == pytest.approx([0.2, 0.1])


def test_labels_without_positives_get_the_global_threshold() -> None:
    labels, probabilities = make_data(0)
    labels[:, 2] = 0
    global_threshold = tune_thresholds(labels, probabilities, strategy="global")[2]
    assert tune_thresholds(labels, probabilities)[2] == global_threshold
    assert tune_thresholds(labels, probabilities, shrinkage=0.5)[2] == global_threshold


@pytest.mark.parametrize("strategy", ["per_label", "expected_f1", "global"])
@pytest.mark.parametrize("probabilities", [[[0.3, 0.6]], [[0.0, 0.0]]])
def test_default_is_used_without_any_information(strategy: str, probabilities: list[list[float]]) -> None:
    thresholds = tune_thresholds([[0, 0]], probabilities, strategy=strategy, default=0.4)
    assert thresholds.tolist() == [0.4, 0.4]


def test_positives_that_score_zero_are_out_of_reach() -> None:
    # The first label could be found only by the threshold 0, so it has no threshold of its own.
    thresholds = tune_thresholds([[1, 1], [0, 0]], [[0.0, 0.8], [0.2, 0.4]])
    assert thresholds.tolist() == pytest.approx([0.6, 0.6])


@pytest.mark.parametrize(
    "scores",
    [
        [1.0, np.nextafter(1.0, 0.0)],
        [1.0, 0.0],
        [np.nextafter(0.0, 1.0), 0.0],
        [0.5, np.nextafter(0.5, 0.0)],
    ],
)
@pytest.mark.parametrize("shrinkage", [0.0, 0.3, math.inf])
def test_extreme_scores_give_thresholds_inside_the_unit_interval(scores: list[float], shrinkage: float) -> None:
    labels, probabilities = [[1, 1], [0, 0]], [[scores[0]] * 2, [scores[1]] * 2]
    thresholds = tune_thresholds(labels, probabilities, shrinkage=shrinkage)
    assert ((thresholds > 0) & (thresholds < 1)).all()


def test_adjacent_floats_are_still_separated() -> None:
    low, high = 0.5, np.nextafter(0.5, 1.0)
    threshold = tune_thresholds([[1], [0]], [[high], [low]])[0]
    assert low < threshold <= high


def test_shrinkage_follows_the_formula_and_its_limits() -> None:
    labels, probabilities = make_data(3)
    per_label = tune_thresholds(labels, probabilities)
    global_thresholds = tune_thresholds(labels, probabilities, strategy="global")
    assert not np.allclose(per_label, global_thresholds)
    num_positives = labels.sum(axis=0)
    expected = (num_positives * per_label + 10 * global_thresholds) / (num_positives + 10)
    assert tune_thresholds(labels, probabilities, shrinkage=10.0) == pytest.approx(expected, abs=1e-12)
    assert tune_thresholds(labels, probabilities, shrinkage=0.0).tolist() == per_label.tolist()
    assert tune_thresholds(labels, probabilities, shrinkage=math.inf).tolist() == global_thresholds.tolist()


def test_result_depends_on_nothing_but_the_arguments() -> None:
    labels, probabilities = make_data(1)
    labels_before, probabilities_before = labels.copy(), probabilities.copy()
    first = tune_thresholds(labels, probabilities, shrinkage=2.0)
    tune_thresholds(*make_data(2), shrinkage=2.0)
    order = np.random.default_rng(0).permutation(len(labels))
    assert tune_thresholds(labels[order], probabilities[order], shrinkage=2.0).tolist() == first.tolist()
    assert np.array_equal(labels, labels_before)
    assert np.array_equal(probabilities, probabilities_before)


def test_float32_scores_give_the_same_thresholds_as_their_float64_values() -> None:
    labels, probabilities = make_data(4)
    single = probabilities.astype(np.float32)
    assert tune_thresholds(labels, single).tolist() == tune_thresholds(labels, single.astype(np.float64)).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "`strategy` must be one of per_label, expected_f1, global, got 'best'"),
        ({"shrinkage": -1.0}, "`shrinkage` must be a number of pseudo-positives >= 0, got -1.0"),
        ({"shrinkage": math.nan}, "`shrinkage` must be a number of pseudo-positives >= 0, got nan"),
        ({"default": 1.0}, "`default` must lie strictly between 0 and 1, got 1.0"),
    ],
)
def test_invalid_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tune_thresholds([[1]], [[0.5]], **options)


def make_calibrated(num_samples: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """One label whose probabilities are the truth; about every tenth sample is positive."""
    rng = np.random.default_rng(seed)
    probabilities = 1 / (1 + np.exp(-rng.normal(-3.5, 2.0, (num_samples, 1))))
    return (rng.random(probabilities.shape) < probabilities).astype(np.int64), probabilities


def test_threshold_of_the_expected_f1_is_half_of_it() -> None:
    labels, probabilities = make_calibrated(50_000, seed=0)
    ranked = sorted(probabilities[:, 0], reverse=True)
    best = max(2 * sum(ranked[:size]) / (size + sum(ranked)) for size in range(1_000, 9_000, 100))
    threshold = tune_thresholds(labels, probabilities, strategy="expected_f1")[0]
    assert threshold == pytest.approx(best / 2, abs=0.01)


def test_expected_f1_loses_less_than_the_f1_of_few_samples() -> None:
    labels, probabilities = make_calibrated(100_000, seed=1)
    reached: dict[str, list[float]] = {"per_label": [], "expected_f1": []}
    for seed in range(20):
        sample = make_calibrated(300, seed=100 + seed)
        for strategy, values in reached.items():
            values.append(f1_score(labels, probabilities >= tune_thresholds(*sample, strategy=strategy)))
    best = f1_score(labels, probabilities >= tune_thresholds(labels, probabilities))
    losses = {strategy: best - float(np.mean(values)) for strategy, values in reached.items()}
    assert losses["expected_f1"] < losses["per_label"] / 2


def test_expected_f1_decides_alike_on_any_scale_of_the_logits() -> None:
    labels, probabilities = make_calibrated(500, seed=2)
    shifted = 1 / (1 + np.exp(-(0.4 * np.log(probabilities / (1 - probabilities)) + 1.0)))
    thresholds = [tune_thresholds(labels, scores, strategy="expected_f1") for scores in (probabilities, shifted)]
    assert ((probabilities >= thresholds[0]) == (shifted >= thresholds[1])).all()
    assert not math.isclose(thresholds[0][0], thresholds[1][0], abs_tol=0.05)


def test_expected_f1_of_a_label_without_positives_is_the_global_threshold() -> None:
    labels, probabilities = make_data(0)
    labels[:, 2] = 0
    found = tune_thresholds(labels, probabilities, strategy="expected_f1")
    assert found[2] == tune_thresholds(labels, probabilities, strategy="global")[2]
    assert len(set(found.tolist())) == 4


def test_invalid_arrays_raise() -> None:
    with pytest.raises(ValueError, match=r"`probabilities` must have the shape of `labels`, \(1, 2\), got \(1, 1\)"):
        tune_thresholds([[1, 0]], [[0.5]])
    with pytest.raises(ValueError, match=r"`probabilities` must lie in \[0, 1\] without NaN, got values from nan"):
        tune_thresholds([[1]], [[math.nan]])
    with pytest.raises(ValueError, match=r"`labels` must lie in \[0, 1\], .* got 2"):
        tune_thresholds([[2]], [[0.5]])
    with pytest.raises(ValueError, match="`labels` must have at least one sample"):
        tune_thresholds(np.zeros((0, 2)), np.zeros((0, 2)))


# ------------------------------------------------------------------------------------------------ shrinkage by folds


def few_positives(num_samples: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated scores of labels with about eight positives each: own thresholds are noise, a common one is right."""
    generator = np.random.default_rng(seed)
    probabilities = generator.beta(0.2, 9.0, size=(num_samples, 12))
    return (generator.random(probabilities.shape) < probabilities).astype(int), probabilities


def test_shrinkage_is_chosen_where_labels_are_rare_and_not_where_they_differ() -> None:
    labels, probabilities = few_positives()
    assert cross_validated_shrinkage(labels, probabilities) > 0
    generator = np.random.default_rng(1)
    labels = (generator.random((2000, 4)) < 0.3).astype(int)
    # Every label has a scale of its own: the common threshold is wrong for all.
    scores = (labels + generator.normal(0, 0.3, labels.shape)).clip(-1, 2) + 1.0
    scores = scores / 3.0 * np.array([1.0, 0.3, 0.1, 0.03])
    assert cross_validated_shrinkage(labels, scores) == 0


def test_shrinkage_by_a_loop_over_folds() -> None:
    labels, probabilities = few_positives(num_samples=150, seed=3)
    candidates = (0.0, 10.0, 1000.0)
    generator, means = np.random.default_rng(7), np.zeros(3)
    for _ in range(2):
        folds = generator.permutation(150) % 3
        for index, shrinkage in enumerate(candidates):
            predictions = np.zeros_like(labels)
            for fold in range(3):
                rest = folds != fold
                thresholds = tune_thresholds(labels[rest], probabilities[rest], shrinkage=shrinkage)
                predictions[~rest] = probabilities[~rest] >= thresholds
            means[index] += multilabel_metrics(labels, predictions=predictions)["macro_f1"]
    chosen = cross_validated_shrinkage(
        labels, probabilities, candidates=candidates, num_folds=3, num_repeats=2, seed=7
    )
    assert chosen == candidates[int(np.argmax(means))]


def test_shrinkage_of_too_few_samples_and_errors() -> None:
    labels, probabilities = few_positives(num_samples=4)
    assert cross_validated_shrinkage(labels, probabilities) == 0
    with pytest.raises(ValueError, match="at least 1 candidate, 2 folds and 1 repeat, got 0, 5 and 4"):
        cross_validated_shrinkage(labels, probabilities, candidates=())
