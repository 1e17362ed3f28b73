# SPDX-License-Identifier: Apache-2.0
"""Tests of the bootstrap: F1 against the metrics, resamples against a loop, intervals against known coverage."""

from __future__ import annotations

import numpy as np
import pytest

from trainer_ext.bootstrap import bootstrap_f1, bootstrap_metrics, percentile_interval
from trainer_ext.metrics import multilabel_metrics


def arrays(num_samples: int = 60, num_labels: int = 4, num_runs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    labels = generator.random((num_samples, num_labels)) < [0.5, 0.3, 0.1, 0.0]
    return labels, labels ^ (generator.random((num_runs, num_samples, num_labels)) < 0.2)


def test_f1_is_the_mean_over_runs_of_the_metric() -> None:
    labels, runs = arrays()
    f1, resampled = bootstrap_f1(labels, runs, num_resamples=10)
    expected = [[multilabel_metrics(labels, predictions=run)[f"f1/{label}"] for label in range(4)] for run in runs]
    np.testing.assert_allclose(f1, np.mean(expected, axis=0), atol=1e-6)
    assert resampled.shape == (10, 4)


def test_resamples_are_the_metric_on_drawn_texts() -> None:
    labels, runs = arrays()
    _, resampled = bootstrap_f1(labels, runs, num_resamples=3, seed=11)
    counts = np.random.default_rng(11).multinomial(60, np.full(60, 1 / 60), size=3)
    for row, count in zip(resampled, counts, strict=True):
        drawn = np.repeat(np.arange(60), count)
        expected = [
            [multilabel_metrics(labels[drawn], predictions=run[drawn])[f"f1/{label}"] for label in range(4)]
            for run in runs
        ]
        np.testing.assert_allclose(row, np.mean(expected, axis=0), atol=1e-6)


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
def test_resamples_of_every_metric_are_the_metric_on_drawn_texts(zero_division: float) -> None:
    labels, runs = arrays()
    names = ["joy", "fear", "awe", "none"]
    options = {"label_names": names, "zero_division": zero_division}
    resampled = bootstrap_metrics(labels, runs[0], num_resamples=3, seed=11, **options)
    counts = np.random.default_rng(11).multinomial(60, np.full(60, 1 / 60), size=3)
    for resample, repeats in enumerate(counts):
        drawn = np.repeat(np.arange(60), repeats)
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


def test_two_calls_draw_the_same_texts() -> None:
    labels, runs = arrays()
    _, first = bootstrap_f1(labels, runs, num_resamples=300)
    _, again = bootstrap_f1(labels, runs, num_resamples=300)
    _, other = bootstrap_f1(labels, runs, num_resamples=300, seed=1)
    assert (first == again).all()
    assert (first != other).any()


def test_interval_of_normal_resamples_is_the_normal_one() -> None:
    resampled = np.random.default_rng(0).normal(2.0, 0.5, size=200_000)
    interval = percentile_interval(2.0, resampled)
    assert interval.mean == 2.0
    assert interval.low == pytest.approx(2.0 - 1.96 * 0.5, abs=0.01)
    assert interval.high == pytest.approx(2.0 + 1.96 * 0.5, abs=0.01)


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
