# SPDX-License-Identifier: Apache-2.0
"""The drawings of a comparison: gains with their intervals, and F1 over frequency beside the first variant."""

from __future__ import annotations

import math
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..reports.plots import GROUPS, LOOK, plain_ticks, with_minus
from .variants import Summary

_SIGNIFICANCE = 0.05
_COLUMNS = 4


def draw_gains(summary: Summary) -> Figure:
    """
    One line per variant: its macro-F1 with the 95 % interval, then its gain over the first variant, in all labels, in
    the rare third and in the gap between the frequent and the rare third, and its gain in average precision. Filled
    where p after Holm's correction is below 0.05.

    Args:
        summary (`dict`): Of [`~trainer_ext.comparison.variants.compare_variants`].
    """
    variants = summary["variants"]
    panels = {"macro-F1": "macro_f1", "gain in macro-F1": "macro_f1_gain"}
    panels |= {"gain, rare third": "macro_f1_rare_gain", "change of the gap": "frequent_rare_gap_gain"}
    panels["gain in average precision"] = "macro_average_precision_gain"
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(13.0, 0.28 * len(variants) + 1.2), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True)
        for axis, (title, name) in zip(axes, panels.items(), strict=True):
            _draw_intervals(axis, list(variants.values()), name)
            axis.set_title(title)
        axes[0].set_yticks(range(len(variants)), list(variants))
        axes[0].set_ylim(len(variants) - 0.5, -0.5)
        figure.supxlabel(f"95 % intervals; filled: p < {_SIGNIFICANCE} after Holm's correction", fontsize=9)
    return figure


def _draw_intervals(axis: Axes, entries: list[dict[str, Any]], name: str) -> None:
    """A point with its interval for every entry that has the value."""
    for position, entry in enumerate(entries):
        if name not in entry:
            continue
        value, low, high = (entry[f"{name}{end}"] for end in ("", "_low", "_high"))
        is_sure = entry.get(f"{name.removesuffix('_gain')}_p_holm", 0.0) < _SIGNIFICANCE
        axis.errorbar(
            value,
            position,
            # The percentiles of few texts may all lie on one side of the value.
            xerr=[[max(value - low, 0.0)], [max(high - value, 0.0)]],
            color=GROUPS["frequent"][0],
            markerfacecolor=GROUPS["frequent"][0] if is_sure else "white",
            marker="o",
            markersize=4.5,
            capsize=2,
            lw=1,
        )
    if name.endswith("_gain"):
        axis.axvline(0.0, color="0.6", lw=0.8, zorder=0)
    axis.grid(axis="x", color="0.93", lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def draw_classes(summary: Summary) -> Figure:
    """
    F1 of each label over its training texts: the first variant by itself, then each of the others, with a line from
    the first variant's F1 to its own. The level lines are the means of the thirds, dotted for the first variant.

    Args:
        summary (`dict`): Of [`~trainer_ext.comparison.variants.compare_variants`].
    """
    first, *others = summary["variants"]
    num_rows = math.ceil((1 + len(others)) / _COLUMNS)
    num_columns = min(1 + len(others), _COLUMNS)
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(2.9 * num_columns + 0.5, 2.5 * num_rows + 0.9), layout="constrained")
        axes = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axis, variant in zip(axes, (first, *others), strict=False):
            _draw_thirds(axis, summary, first, variant)
        num_panels = 1 + len(others)
        for axis in axes[num_panels:]:
            axis.set_axis_off()
        # The lowest of every column, not only those of the last row.
        for axis in axes[max(num_panels - num_columns, 0) : num_panels]:
            axis.tick_params(labelbottom=True)
        for group, (colour, marker) in GROUPS.items():
            axes[0].plot([], [], color=colour, marker=marker, lw=1.2, label=f"{group} third, its mean")
        axes[0].plot([], [], color="0.3", lw=1.0, ls=":", label=f"mean of {first}")
        figure.supxlabel("training texts with the label (log scale)", fontsize=9)
        figure.supylabel("F1", fontsize=9)
        figure.legend(loc="outside upper center", ncols=len(GROUPS) + 1)
    return figure


def _draw_thirds(axis: Axes, summary: Summary, first: str, variant: str) -> None:
    rows = summary["labels"].values()
    x = np.array([max(row["train_count"], 0.5) for row in rows])
    before, after = (np.array([row["f1"][name] for row in rows]) for name in (first, variant))
    groups = np.array([row["group"] for row in rows])
    axis.set_xscale("log")
    for group, (colour, marker) in GROUPS.items():
        chosen = groups == group
        if not chosen.any():
            continue
        axis.vlines(x[chosen], before[chosen], after[chosen], color=colour, lw=0.8, alpha=0.6)
        axis.scatter(x[chosen], after[chosen], s=16, color=colour, marker=marker, edgecolor="white", lw=0.4, zorder=3)
        ends = [x[chosen].min(), x[chosen].max()]
        axis.plot(ends, [after[chosen].mean()] * 2, color=colour, lw=1.2)
        if variant != first:
            axis.plot(ends, [before[chosen].mean()] * 2, color=colour, lw=1.0, ls=":")
    gaps = [summary["variants"][name]["frequent_rare_gap"] for name in dict.fromkeys((first, variant))]
    axis.set_title(f"{variant}\ngap {with_minus(' → '.join(f'{gap:.3f}' for gap in gaps))}", fontsize=8.5)
    axis.set_ylim(-0.03, 1.03)
    axis.grid(color="0.93", lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    plain_ticks(axis, x)
