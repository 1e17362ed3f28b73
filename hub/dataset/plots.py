# SPDX-License-Identifier: Apache-2.0
"""The figure of a balanced data set: texts per label before and after."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_LOOK: dict[Any, Any] = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
    "text.usetex": False,
}
# Okabe and Ito (2008), Color Universal Design; in this order also told apart in grey.
_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#F0E442")


def draw_label_counts(report: Mapping[str, Any]) -> Figure:
    """
    Texts per label, the first source on the left, the selection by source on the right, labels by their count before.

    Args:
        report (`Mapping[str, Any]`): Of [`build_report`].
    """
    counts = report["counts"]
    labels = sorted(report["labels"], key=lambda label: counts["original"][label])
    # The candidates name every source in the order of use, so that a source keeps its colour.
    colours = dict(zip(counts["candidates"], _COLOURS, strict=False))
    first = next(iter(counts["candidates"]))
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(9.0, 0.19 * len(labels) + 1.5), layout="compressed")
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_bars(left, labels, {first: counts["original"]}, colours)
        _draw_bars(right, labels, counts["train"], colours)
        left.set_title(f"Before: {_sum(counts['original'])} labels, {_most_to_least(report, 'before')}")
        right.set_title(f"After: {_sum(counts['train_total'])} labels, {_most_to_least(report, 'after')}")
        right.axvline(
            report["target"], color="black", linewidth=0.9, linestyle="--", label=f"target {report['target']:,}"
        )
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=len(_COLOURS) + 1)
    return figure


def figure_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = BytesIO()
    # Without matplotlib's version, so that the same numbers give the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_bars(
    axis: Axes, labels: list[str], counts: Mapping[str, Mapping[str, int]], colours: Mapping[str, str]
) -> None:
    """Stacked bars with their total at the end."""
    ends = np.zeros(len(labels), dtype=np.int64)
    for source, by_label in counts.items():
        widths = np.array([by_label[label] for label in labels])
        axis.barh(labels, widths, left=ends, height=0.74, color=colours[source], label=source)
        ends += widths
    for position, end in enumerate(ends.tolist()):
        axis.annotate(
            f"{end:,}", (end, position), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5
        )
    axis.set_xlim(0, max(1, ends.max()) * 1.14)
    axis.set_ylim(-0.6, len(labels) - 0.4)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel("texts")
    axis.tick_params(axis="y", length=0)


def _sum(counts: Mapping[str, int]) -> str:
    return f"{sum(counts.values()):,}"


def _most_to_least(report: Mapping[str, Any], when: str) -> str:
    ratio = report["ratio"][when]
    return "a label without texts" if ratio is None else f"most to least {ratio:.2f}"
