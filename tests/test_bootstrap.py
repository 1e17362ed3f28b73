# SPDX-License-Identifier: Apache-2.0
"""Tests of the bootstrap: resamples against a loop, variances and intervals against known ones, p-values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trainer_ext.evaluation.bootstrap import (
    bootstrap_average_precision,
    bootstrap_f1,
    bootstrap_metrics,
    bootstrap_p_value,
    holm_correction,
    mean_over_resampled_runs,
    percentile_interval,
)
from trainer_ext.evaluation.metrics import multilabel_metrics


def arrays(num_samples: int = 60, num_labels: int = 4, num_runs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    labels = generator.random((num_samples, num_labels)) < [0.5, 0.3, 0.1, 0.0]
    return labels, labels ^ (generator.random((num_runs, num_samples, num_labels)) < 0.2)


def drawn_texts(num_resamples: int) -> list[np.ndarray]:
    """The texts of each resample with the seed 11, those drawn twice twice."""
    counts = np.random.default_rng(11).multinomial(60, np.full(60, 1 / 60), size=num_resamples)
    return [np.repeat(np.arange(60), count) for count in counts]


def test_resamples_are_the_metric_on_drawn_texts() -> None:
    labels, runs = arrays()
    resampled = bootstrap_f1(labels, runs, num_resamples=3, seed=11)
    assert resampled.shape == (3, 3, 4)
    for row, drawn in zip(resampled, drawn_texts(3), strict=True):
        expected = [
            [multilabel_metrics(labels[drawn], predictions=run[drawn])[f"f1/{label}"] for label in range(4)]
            for run in runs
        ]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_resamples_of_the_average_precision_are_the_metric_on_drawn_texts() -> None:
    labels, _ = arrays()
    # The third label is rare enough to be missing from a resample, the fourth has no positive, the last no negative.
    labels = np.hstack([labels, np.ones((60, 1), dtype=bool)])
    labels[:, 2] = np.arange(60) < 2
    scores = np.random.default_rng(6).random((2, 60, 5))
    # Ties, also between positives and negatives.
    scores[1] = scores[1].round(1)
    resampled = bootstrap_average_precision(labels, scores, num_resamples=20, seed=11)
    assert resampled.shape == (20, 2, 5)
    for row, drawn in zip(resampled, drawn_texts(20), strict=True):
        expected = [
            [
                multilabel_metrics(labels[drawn][:, [label]], run[drawn][:, [label]])["macro_average_precision"]
                for label in range(5)
            ]
            for run in scores
        ]
        np.testing.assert_allclose(row, expected, atol=1e-5)
    missing = np.isnan(resampled).all(axis=1)
    assert missing[:, 3:].all()
    assert 0 < missing[:, 2].sum() < 20


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
def test_resamples_of_every_metric_are_the_metric_on_drawn_texts(zero_division: float) -> None:
    labels, runs = arrays()
    names = ["joy", "fear", "awe", "none"]
    options = {"label_names": names, "zero_division": zero_division}
    resampled = bootstrap_metrics(labels, runs[0], num_resamples=3, seed=11, **options)
    for resample, drawn in enumerate(drawn_texts(3)):
        expected = multilabel_metrics(labels[drawn], predictions=runs[0][drawn], **options)
        expected = {key: value for key, value in expected.items() if not key.startswith("support/")}
        assert {key: values[resample] for key, values in resampled.items()} == pytest.approx(expected, abs=1e-6)


def test_resamples_without_any_positive_are_the_metric_as_well() -> None:
    nothing = np.zeros((5, 2), dtype=bool)
    resampled = bootstrap_metrics(nothing, nothing, num_resamples=2, zero_division=1.0)
    expected = multilabel_metrics(nothing, predictions=nothing, zero_division=1.0)
    assert {key: values.tolist() for key, values in resampled.items()} == {
        key: [value] * 2 for key, value in expected.items() if not key.startswith("support/")
    }


def test_two_calls_and_all_runs_see_the_same_texts() -> None:
    labels, runs = arrays()
    together = bootstrap_f1(labels, runs, num_resamples=300)
    alone = bootstrap_f1(labels, runs[1:2], num_resamples=300)
    assert (together[:, 1:2] == alone).all()
    assert (together != bootstrap_f1(labels, runs, num_resamples=300, seed=1)).any()


def test_runs_are_drawn_and_averaged_as_in_a_loop() -> None:
    values = np.random.default_rng(2).normal(size=(50, 4, 3))
    mean = mean_over_resampled_runs(values, 9)
    draws = np.random.default_rng(9).multinomial(3, [0.25] * 4, 50)
    for row, runs, counts in zip(mean, values, draws, strict=True):
        np.testing.assert_allclose(row, np.repeat(runs, counts, axis=0).mean(axis=0))
    assert (mean_over_resampled_runs(values, 8) != mean).any()


@pytest.mark.parametrize("num_runs", [2, 3, 5])
def test_variance_over_runs_is_that_of_their_mean(num_runs: int) -> None:
    """Without a spread over texts: the unbiased variance of the runs, divided by their number."""
    runs = np.random.default_rng(num_runs).normal(size=num_runs)
    mean = mean_over_resampled_runs(np.broadcast_to(runs, (200_000, num_runs)))
    assert mean.var() == pytest.approx(runs.var(ddof=1) / num_runs, rel=0.02)
    assert mean.mean() == pytest.approx(runs.mean(), abs=0.01)


def test_a_single_run_is_taken_as_it_is() -> None:
    values = np.random.default_rng(0).normal(size=(20, 1, 2))
    assert (mean_over_resampled_runs(values) == values[:, 0]).all()


def test_interval_of_normal_resamples_is_the_normal_one() -> None:
    resampled = np.random.default_rng(0).normal(2.0, 0.5, size=200_000)
    interval = percentile_interval(2.0, resampled)
    assert interval.mean == 2.0
    assert interval.low == pytest.approx(2.0 - 1.96 * 0.5, abs=0.01)
    assert interval.high == pytest.approx(2.0 + 1.96 * 0.5, abs=0.01)


def test_p_value_by_hand() -> None:
    # Two of nine at or below 0, then three with an exact 0, which counts on both sides.
    assert bootstrap_p_value([-1, -1, 1, 1, 1, 1, 1, 1, 1]) == pytest.approx(2 * 3 / 10)
    assert bootstrap_p_value([1, 1, 1, 1, 1, 1, -1, -1, 0]) == pytest.approx(2 * 4 / 10)
    assert bootstrap_p_value(np.ones(999)) == pytest.approx(2 / 1000)
    assert bootstrap_p_value(-np.ones(999)) == pytest.approx(2 / 1000)
    assert bootstrap_p_value(np.zeros(5)) == 1.0


def test_p_value_of_normal_resamples_is_the_normal_one() -> None:
    resampled = np.random.default_rng(0).normal(1.96, 1.0, size=200_000)
    assert bootstrap_p_value(resampled) == pytest.approx(0.05, abs=0.002)
    low = percentile_interval(1.96, resampled).low
    assert low == pytest.approx(0.0, abs=0.02)


def holm_by_loop(values: list[float]) -> list[float]:
    """The definition: the largest of all steps up to one's own."""
    ranked = sorted(values)
    steps = [(len(values) - index) * value for index, value in enumerate(ranked)]
    return [min(1.0, max(steps[: ranked.index(value) + 1])) for value in values]


def test_holm_by_hand_and_by_loop() -> None:
    np.testing.assert_allclose(holm_correction([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    values = np.random.default_rng(4).random(12) ** 3
    np.testing.assert_allclose(holm_correction(values), holm_by_loop(values.tolist()))
    assert holm_correction([0.3]).tolist() == [0.3]
    assert holm_correction([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm_correction([]).shape == (0,)


def test_errors_say_what_was_expected() -> None:
    labels, runs = arrays()
    with pytest.raises(ValueError, match=r"must have shape \(num_runs, 60, 4\), got \(60, 4\)"):
        bootstrap_f1(labels, runs[0])
    with pytest.raises(ValueError, match="`num_resamples` must be at least 1, got 0"):
        bootstrap_f1(labels, runs, num_resamples=0)
    with pytest.raises(ValueError, match=r"`predictions` must have the shape of `labels`, \(60, 4\), got \(60, 3\)"):
        bootstrap_metrics(labels, runs[0][:, :3])
    with pytest.raises(ValueError, match=r"`confidence` must lie in \(0, 1\), got 1"):
        percentile_interval(0.0, [0.0], confidence=1)
