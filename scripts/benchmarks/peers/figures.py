# SPDX-License-Identifier: Apache-2.0
"""The drawings of `scripts.benchmark peers`: cost against the length of a text, and against the number of texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer_ext.reports.plots import GROUPS, LOOK, figure_png, plain_ticks


def draw_lengths(results: Mapping[str, float]) -> bytes:
    """
    Milliseconds of a text over its words, as PNG.

    Args:
        results (`dict[str, float]`): Of [`~scripts.benchmarks.peers.scaling.lengths`].
    """
    return _draw(results, "words", "words of a text (log scale)", {"ms_per_text": "milliseconds a text"})


def draw_numbers(results: Mapping[str, float]) -> bytes:
    """
    Seconds and the peak of memory over the number of texts, as PNG.

    Args:
        results (`dict[str, float]`): Of [`~scripts.benchmarks.peers.scaling.numbers`].
    """
    return _draw(results, "texts", "texts (log scale)", {"seconds": "seconds", "peak_mb": "peak of memory, MB"})


def _draw(results: Mapping[str, float], part: str, x_name: str, panels: dict[str, str]) -> bytes:
    """A panel for each number, a line in it for each side; times on a logarithmic axis."""
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(4.4 * len(panels) + 0.4, 3.4), layout="constrained")
        for axis, (number, title) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            _draw_lines(axis, _lines(results, part, number))
            axis.set(xlabel=x_name, ylabel=title)
            if number == "peak_mb":
                axis.set_ylim(bottom=0)
            else:
                axis.set_yscale("log")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=len(GROUPS))
        return figure_png(figure)


def _draw_lines(axis: Axes, lines: Mapping[str, Mapping[int, float]]) -> None:
    axis.set_xscale("log")
    for (side, points), (colour, marker) in zip(lines.items(), list(GROUPS.values())[::2], strict=True):
        axis.plot(list(points), list(points.values()), color=colour, marker=marker, ms=4.5, lw=1.2, label=side)
    axis.grid(color="0.93", lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    plain_ticks(axis, np.array([x for points in lines.values() for x in points], dtype=np.float64))


def _lines(results: Mapping[str, float], part: str, number: str) -> dict[str, dict[int, float]]:
    """Side to x to the number, of names such as `texts/pipeline/100/seconds`."""
    lines: dict[str, dict[int, float]] = defaultdict(dict)
    for name, value in results.items():
        if name.startswith(f"{part}/") and name.endswith(f"/{number}"):
            _, side, x, _ = name.split("/")
            lines[side][int(x)] = value
    return lines
