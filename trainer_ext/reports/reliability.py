# SPDX-License-Identifier: Apache-2.0
"""Reliability diagrams: how often a label is there when the model says so with some probability."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.calibration import bin_sums, expected_calibration_error
from ..evaluation.intervals import wilson_interval
from ..evaluation.metrics import check_labels, check_probabilities, mean_of_known

# With fewer samples the share of positives in a bin of one label is mostly chance.
_MIN_SAMPLES = 20


def reliability_figure(
    labels: npt.ArrayLike, probabilities: Mapping[str, npt.ArrayLike], num_bins: int = 15
) -> Figure:
    """
    Share of positives against mean probability, bin by bin (Niculescu-Mizil and Caruana, 2005, Predicting Good
    Probabilities with Supervised Learning), and below it how many probabilities each bin holds.

    The thick line pools all labels, with 95 % intervals (Wilson, 1927, Probable Inference, the Law of Succession, and
    Statistical Inference); each thin one is a label. On the diagonal the probabilities are right.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels in [0, 1], NaN where unknown; the share
            of positives is their mean.
        probabilities (`dict[str, ArrayLike]`):
            Title to probabilities `(num_samples, num_labels)`, one column of the figure each, such as those before
            and after calibration.
        num_bins (`int`, *optional*, defaults to 15): Bins of equal width.

    Returns:
        `matplotlib.figure.Figure`: To be saved; it is bound to no window.

    Raises:
        `ValueError`: If an argument is out of its range or the shapes differ.
    """
    gold = check_labels(labels)
    figure = Figure(figsize=(4.6 * len(probabilities), 5.6), layout="constrained")
    axes = figure.subplots(2, len(probabilities), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
    for (title, values), (curve, histogram) in zip(probabilities.items(), axes.T, strict=True):
        scores = check_probabilities(values, gold.shape)
        errors = expected_calibration_error(gold, scores, num_bins)
        pooled = expected_calibration_error(gold.reshape(-1, 1), scores.reshape(-1, 1), num_bins)[0]
        macro = mean_of_known(errors, ~np.isnan(errors))
        curve.set_title(f"{title}\ncalibration error: macro {macro:.3f}, micro {pooled:.3f}", fontsize=10)
        _draw(curve, histogram, *bin_sums(gold, scores, num_bins))
    axes[0, 0].set(xlim=(0, 1), ylim=(0, 1), ylabel="share of positives")
    axes[0, 0].legend(loc="upper left", frameon=False, fontsize=9)
    axes[1, 0].set(ylabel="count", yscale="log")
    axes[1, 0].set_ylim(bottom=0.5)
    return figure


def _draw(
    curve: Axes,
    histogram: Axes,
    counts: npt.NDArray[np.float64],
    positives: npt.NDArray[np.float64],
    mass: npt.NDArray[np.float64],
) -> None:
    curve.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1, label="perfect")
    for index, (count, positive, total) in enumerate(zip(counts, positives, mass, strict=True)):
        shown = count >= _MIN_SAMPLES
        name = "one label" if index == 0 else None
        x, y = total[shown] / count[shown], positive[shown] / count[shown]
        curve.plot(x, y, color="tab:blue", alpha=0.25, linewidth=0.8, label=name)
    count, positive, total = (array.sum(axis=0) for array in (counts, positives, mass))
    shown = count > 0
    count, share, mean = count[shown], positive[shown] / count[shown], total[shown] / count[shown]
    low, high = wilson_interval(share, count)
    bars = np.maximum([share - low, high - share], 0.0)
    curve.errorbar(mean, share, bars, color="tab:blue", marker="o", markersize=4, capsize=2, label="all labels")
    num_bins = len(shown)
    edges = np.arange(num_bins)[shown] / num_bins
    histogram.bar(edges, count, width=1 / num_bins, align="edge", color="tab:blue", alpha=0.6, edgecolor="white")
    histogram.set_xlabel("probability")
    for axes in (curve, histogram):
        axes.spines[["top", "right"]].set_visible(False)
