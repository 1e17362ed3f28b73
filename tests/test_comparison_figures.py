# SPDX-License-Identifier: Apache-2.0
"""Tests of the figures of a comparison: every value is drawn where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from run_samples import make_variants

from trainer_ext.comparison.figures import draw_classes, draw_gains
from trainer_ext.comparison.variants import Summary, compare_variants
from trainer_ext.reports.plots import GROUPS, figure_png


@pytest.fixture(scope="module")
def summary() -> Summary:
    return compare_variants(make_variants(), num_resamples=200)


def test_gains_are_points_with_their_intervals(summary: Summary) -> None:
    figure = draw_gains(summary)
    axes = figure.axes
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["plain", "better", "same"]
    names = [
        "macro_f1",
        "macro_f1_gain",
        "macro_f1_rare_gain",
        "frequent_rare_gap_gain",
        "macro_average_precision_gain",
    ]
    for axis, name in zip(axes, names, strict=True):
        entries = [entry for entry in summary["variants"].values() if name in entry]
        assert len(axis.containers) == len(entries) == (2 if name.endswith("gain") else 3)
        for drawn, entry in zip(axis.containers, entries, strict=True):
            point, _, (bar,) = drawn.lines
            assert point.get_xdata()[0] == entry[name]
            segment = bar.get_segments()[0]
            np.testing.assert_allclose(segment[:, 0], [entry[f"{name}_low"], entry[f"{name}_high"]])
    better, same = (drawn.lines[0].get_markerfacecolor() for drawn in axes[1].containers)
    assert (better, same) == (GROUPS["frequent"][0], "white")
    assert figure_png(figure).startswith(b"\x89PNG")


def test_an_interval_beside_its_value_is_drawn(summary: Summary) -> None:
    # Resamples of few texts lack rare labels, so that the percentiles of macro-F1 may all be below the value.
    entry = summary["variants"]["plain"] | {"macro_f1": 1.0, "macro_f1_low": 0.7, "macro_f1_high": 0.9}
    figure = draw_gains({**summary, "variants": {**summary["variants"], "plain": entry}})
    _, _, (bar,) = figure.axes[0].containers[0].lines
    np.testing.assert_allclose(bar.get_segments()[0][:, 0], [0.7, 1.0])


def test_classes_are_drawn_over_their_frequency_beside_the_first_variant(summary: Summary) -> None:
    figure = draw_classes(summary)
    plain, better, _ = figure.axes
    assert plain.get_title() == f"plain\ngap {summary['variants']['plain']['frequent_rare_gap']:.3f}"
    before, after = (summary["variants"][name]["frequent_rare_gap"] for name in ("plain", "better"))
    assert better.get_title() == f"better\ngap {before:.3f} → {after:.3f}"
    points = np.vstack([drawn.get_offsets() for drawn in better.collections if isinstance(drawn, PathCollection)])
    expected = [(entry["train_count"], entry["f1"]["better"]) for entry in summary["labels"].values()]
    np.testing.assert_allclose(points, expected)
    lines = np.vstack([drawn.get_segments() for drawn in better.collections if isinstance(drawn, LineCollection)])
    starts = [entry["f1"]["plain"] for entry in summary["labels"].values()]
    np.testing.assert_allclose(lines[:, :, 1], np.stack([starts, [y for _, y in expected]], axis=1))
    assert figure_png(figure).startswith(b"\x89PNG")


def test_rows_that_are_not_full_leave_the_rest_blank(summary: Summary) -> None:
    names = [f"variant {index}" for index in range(6)]
    entry = summary["variants"]["plain"]
    labels = {
        label: {**row, "f1": dict.fromkeys(names, row["f1"]["plain"])} for label, row in summary["labels"].items()
    }
    figure = draw_classes({"variants": dict.fromkeys(names, entry), "labels": labels})
    assert [axis.axison for axis in figure.axes] == [True] * 6 + [False] * 2
