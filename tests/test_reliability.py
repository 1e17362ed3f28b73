# SPDX-License-Identifier: Apache-2.0
"""Tests of the reliability diagram: what its lines and bars stand for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from scipy.stats import binomtest

from trainer_ext.reports.plots import figure_png
from trainer_ext.reports.reliability import reliability_figure


def make_data() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    probabilities = generator.beta(0.5, 1.0, (300, 3))
    return (generator.random((300, 3)) < probabilities).astype(np.int64), probabilities


@pytest.fixture(scope="module")
def figure() -> Figure:
    labels, probabilities = make_data()
    return reliability_figure(labels, {"before": probabilities**2, "after": probabilities}, num_bins=5)


def test_points_are_the_means_of_the_bins_with_their_intervals(figure: Figure) -> None:
    labels, probabilities = (array.ravel() for array in make_data())
    container = figure.axes[1].containers[0]
    points = container[0].get_xydata()
    segments = container[2][0].get_segments()
    assert len(points) == len(segments) == 5
    for index, (point, segment) in enumerate(zip(points, segments, strict=True)):
        inside = np.minimum((probabilities * 5).astype(int), 4) == index
        assert point == pytest.approx([probabilities[inside].mean(), labels[inside].mean()], abs=1e-9)
        interval = binomtest(int(labels[inside].sum()), int(inside.sum())).proportion_ci(method="wilson")
        assert segment[:, 1] == pytest.approx([interval.low, interval.high], abs=1e-4)


def test_each_label_has_a_line_of_its_well_filled_bins(figure: Figure) -> None:
    labels, probabilities = make_data()
    thin = [line for line in figure.axes[1].lines if line.get_linewidth() < 1]
    assert len(thin) == 3
    for index, line in enumerate(thin):
        bins = np.minimum((probabilities[:, index] * 5).astype(int), 4)
        kept = [bin_ for bin_ in range(5) if (bins == bin_).sum() >= 20]
        expected = [
            [values[bins == bin_].mean() for values in (probabilities[:, index], labels[:, index])] for bin_ in kept
        ]
        assert line.get_xydata() == pytest.approx(np.array(expected), abs=1e-9)


def test_bars_count_the_probabilities_and_titles_name_the_errors(figure: Figure) -> None:
    _, probabilities = make_data()
    counts, _ = np.histogram(probabilities, bins=5, range=(0, 1))
    assert [bar.get_height() for bar in figure.axes[3].patches] == counts.tolist()
    titles = [axes.get_title().split("\n") for axes in figure.axes[:2]]
    assert [title[0] for title in titles] == ["before", "after"]
    errors = [float(title[1].split("macro ")[1].split(",")[0]) for title in titles]
    assert errors[0] > errors[1] + 0.05


def test_one_column_and_empty_bins() -> None:
    figure = reliability_figure([[1], [0]], {"only": [[1.0], [0.0]]})
    assert len(figure.axes) == 2
    assert figure.axes[0].containers[0][0].get_xydata().tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_unknown_labels_are_in_no_bin() -> None:
    nan = float("nan")
    figure = reliability_figure([[1, nan], [0.5, nan], [nan, nan]], {"only": [[0.9, 0.1], [0.9, 0.1], [0.1, 0.1]]})
    assert figure.axes[0].containers[0][0].get_xydata().tolist() == [[pytest.approx(0.9), pytest.approx(0.75)]]
    assert "macro 0.150, micro 0.150" in figure.axes[0].get_title()


def test_picture_has_the_resolution_asked_for(figure: Figure) -> None:
    coarse, fine = (image.imread(io.BytesIO(figure_png(figure, dpi=dpi))) for dpi in (50, 100))
    assert 0.9 < coarse.shape[1] / (9.2 * 50) < 1.1
    np.testing.assert_allclose(np.divide(fine.shape[:2], coarse.shape[:2]), 2.0, rtol=0.02)
    assert fine[..., :3].std() > 0.05


def test_probabilities_of_another_shape_are_an_error() -> None:
    with pytest.raises(ValueError, match="`probabilities` must have the shape of `labels`"):
        reliability_figure([[1], [0]], {"only": [[1.0, 0.0]]})
