# SPDX-License-Identifier: Apache-2.0
"""
The drawings of the reports, in one look that survives print and colour-blindness.

They are built on [`matplotlib.figure.Figure`], so no window, no pyplot state and no backend is involved. matplotlib
3.11 shapes Arabic and orders it from right to left by itself. Its own font, DejaVu Sans, has Latin, Greek, Cyrillic,
Arabic and Hebrew letters; for labels in other scripts name an installed font in `matplotlib.rcParams["font.family"]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

LOOK: dict[Any, Any] = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.titlesize": 11,
    "legend.frameon": False,
    # A dollar sign in a label begins no formula.
    "text.parse_math": False,
    "text.usetex": False,
}
# Okabe and Ito (2008), Color Universal Design; with the markers also told apart in grey.
GROUPS = {"frequent": ("#0072B2", "o"), "middle": ("#7F7F7F", "s"), "rare": ("#D55E00", "^")}
_MAX_LABELS_WITH_VALUES = 14
# More labels are drawn in the same size, with the names of every second, third, ... of them.
_MAX_LABELS_WITH_NAMES = 40
# Of more points, these are named: half of them the lowest, half the highest.
_MAX_POINTS_WITH_NAMES = 40


def draw_heat_maps(
    matrices: Mapping[str, npt.NDArray[np.float64]], label_names: Sequence[str], *, title: str, value_name: str
) -> Figure:
    """
    Square matrices side by side, in one order of the labels and on one colour scale around 0.

    Args:
        matrices (`Mapping[str, np.ndarray]` of shape `(num_labels, num_labels)`):
            By the title of the panel. The diagonals are left blank. The first matrix sets the scale, which ends at
            its largest absolute value, at least 0.1: so epochs with the same first matrix have the same colours.
        label_names (`Sequence[str]` of length `num_labels`): Of the rows and the columns.
        title (`str`): Above all panels.
        value_name (`str`): Beside the colour bar.

    Returns:
        `Figure`: With numbers in the squares up to 14 labels, and the name of each label up to 40.
    """
    num_labels = len(label_names)
    named = range(0, num_labels, math.ceil(num_labels / _MAX_LABELS_WITH_NAMES))
    names = [label_names[index] for index in named]
    blank = np.eye(num_labels, dtype=np.bool_)
    largest = [float(np.abs(matrix[~blank]).max()) for matrix in matrices.values()]
    limit = max(largest[0], 0.1)
    colours = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.88")
    side = max(
        2.4,
        0.21 * min(num_labels, _MAX_LABELS_WITH_NAMES),
        0.42 * num_labels if num_labels <= _MAX_LABELS_WITH_VALUES else 0.0,
    )
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(side * len(matrices) + 1.9, side + 1.6), layout="compressed")
        axes = figure.subplots(1, len(matrices), sharey=True, squeeze=False)[0]
        for axis, (name, matrix) in zip(axes, matrices.items(), strict=True):
            image = axis.imshow(np.ma.masked_array(matrix, blank), cmap=colours, vmin=-limit, vmax=limit)
            axis.set_title(name)
            axis.set_xticks(named, names, rotation=90)
            axis.set_yticks(named, names)
            axis.tick_params(length=0)
            if num_labels <= _MAX_LABELS_WITH_VALUES:
                _write_values(axis, matrix, limit)
        extend = "both" if max(largest) > limit else "neither"
        figure.colorbar(image, ax=list(axes), label=value_name, extend=extend, fraction=0.05, pad=0.02, aspect=30)
        figure.suptitle(title)
    return figure


def draw_class_scatter(
    counts: Sequence[int], values: Sequence[float], groups: Sequence[str], label_names: Sequence[str], *, title: str
) -> Figure:
    """
    One point per label: its F1 over its number of training texts, with the mean of each group of labels. Of more than
    40 labels, the 20 with the lowest and the 20 with the highest F1 are named.

    Args:
        counts (`Sequence[int]` of length `num_labels`):
            Training texts with the label, on a logarithmic axis; a label without any is drawn at one half.
        values (`Sequence[float]` of length `num_labels`): F1 in [0, 1].
        groups (`Sequence[str]` of length `num_labels`): `"frequent"`, `"middle"` or `"rare"`.
        label_names (`Sequence[str]` of length `num_labels`): Written beside the points.
        title (`str`): Above the axes.
    """
    x, y, members = np.maximum(counts, 0.5), np.asarray(values, dtype=np.float64), np.asarray(groups)
    margin = max((x.max() / x.min()) ** 0.03, 1.02)
    means = []
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(7.0, 4.8), layout="constrained")
        axis = figure.subplots()
        axis.set_xscale("log")
        for group, (colour, marker) in GROUPS.items():
            chosen = members == group
            if not chosen.any():
                continue
            mean = y[chosen].mean()
            axis.scatter(x[chosen], y[chosen], s=34, color=colour, marker=marker, edgecolor="white", lw=0.5, zorder=3)
            ends = [x[chosen].min() / margin, x[chosen].max() * margin]
            axis.plot(ends, [mean, mean], color=colour, lw=1.2, alpha=0.6)
            means.append([(end, mean) for end in ends])
            axis.plot([], [], color=colour, marker=marker, lw=1.2, label=f"{group} third, mean F1 {mean:.3f}")
        axis.set(title=title, xlabel="training texts with the label (log scale)", ylabel="F1", ylim=(-0.04, 1.04))
        axis.margins(x=0.06)
        axis.grid(color="0.93", lw=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        plain_ticks(axis, x)
        figure.legend(loc="outside lower center", ncols=len(GROUPS))
        ranked, half = np.argsort(y, kind="stable"), _MAX_POINTS_WITH_NAMES // 2
        named = ranked if len(ranked) <= _MAX_POINTS_WITH_NAMES else np.concatenate([ranked[:half], ranked[-half:]])
        named.sort()
        _name_points(figure, axis, np.stack([x, y], axis=1), np.array(means), label_names, named)
    return figure


def figure_png(figure: Figure, dpi: float | None = None) -> bytes:
    """
    The figure as the bytes of a PNG file, without an empty margin.

    Args:
        figure (`Figure`): Of matplotlib.
        dpi (`float`, *optional*, defaults to the figure's own): Resolution, pixels per inch.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi or figure.dpi, bbox_inches="tight", pad_inches=0.08)
    return buffer.getvalue()


def with_minus(number: str) -> str:
    """A number as it is set in print, with a minus instead of a hyphen."""
    return number.replace("-", "\N{MINUS SIGN}")


def _write_values(axis: Axes, matrix: npt.NDArray[np.float64], limit: float) -> None:
    """The numbers in the squares, but for the diagonal."""
    for row, column in zip(*np.nonzero(~np.eye(len(matrix), dtype=np.bool_)), strict=True):
        value = round(float(matrix[row, column]), 2) + 0.0
        colour = "white" if abs(value) > 0.6 * limit else "black"
        axis.text(column, row, with_minus(f"{value:.2f}"), ha="center", va="center", color=colour, fontsize=7)


def plain_ticks(axis: Axes, counts: npt.NDArray[np.float64]) -> None:
    """Plain numbers at the ticks, closer together where the counts span less than a decade or two."""
    decades = math.log10(counts.max() / counts.min())
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _name_points(
    figure: Figure,
    axis: Axes,
    points: npt.NDArray[np.float64],
    lines: npt.NDArray[np.float64],
    names: Sequence[str],
    named: npt.NDArray[np.int64],
) -> None:
    """Write the chosen names at the nearest free place around their points, with a line to one that is not beside."""
    texts = [
        axis.annotate(
            names[index],
            points[index],
            xytext=(0.0, 0.0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7.5,
            arrowprops={"arrowstyle": "-", "color": "0.55", "lw": 0.5, "shrinkA": 0.0, "shrinkB": 3.0},
        )
        for index in named
    ]
    figure.draw_without_rendering()
    # The names must not move the axes again.
    figure.set_layout_engine("none")
    boxes = [text.get_window_extent() for text in texts]
    sizes = np.array([(box.width, box.height) for box in boxes])
    point = figure.dpi / 72
    centres = axis.transData.transform(points)
    ends = axis.transData.transform(lines.reshape(-1, 2)).reshape(-1, 4)
    taken = np.vstack([_grown(np.hstack([centres, centres]), 3.5 * point), _grown(ends, point)])
    offsets = _free_offsets(centres[named], sizes, taken, np.array(axis.get_window_extent().extents), point)
    for text, offset, size in zip(texts, offsets, sizes, strict=True):
        text.set_position(tuple(offset / point))
        if text.arrow_patch is not None:
            text.arrow_patch.set_visible((np.abs(offset) - size / 2).max() > 8.0 * point)


def _grown(boxes: npt.NDArray[np.float64], margin: float) -> npt.NDArray[np.float64]:
    """Boxes (left, bottom, right, top) with a margin on all sides."""
    return boxes + margin * np.array([-1.0, -1.0, 1.0, 1.0])


def _free_offsets(
    centres: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    taken: npt.NDArray[np.float64],
    frame: npt.NDArray[np.float64],
    point: float,
) -> npt.NDArray[np.float64]:
    """
    Where the middle of each box goes, from its own centre: one after the other to the place in the frame that covers
    the least of the taken boxes, then to the nearest. All in pixels; `point` is the size of a typographic point.
    """
    angles = np.arange(16) * np.pi / 8
    directions = np.clip(1.4 * np.stack([np.cos(angles), np.sin(angles)], axis=1), -1.0, 1.0)
    gaps = point * np.array([4.0, 7.0, 11.0, 16.0, 22.0, 29.0, 37.0])
    offsets = np.zeros_like(centres)
    for index, (centre, size) in enumerate(zip(centres, sizes, strict=True)):
        candidates = (directions * (size / 2 + gaps[:, None, None])).reshape(-1, 2)
        boxes = np.hstack([centre + candidates - size / 2, centre + candidates + size / 2])
        covered = _overlaps(boxes, taken).sum(axis=1)
        outside = size.prod() - _overlaps(boxes, frame[None])[:, 0]
        # Rounded, so that of equal places the first is taken, the one on the right.
        best = np.argmin(np.round(covered + outside + 0.1 * np.repeat(gaps, len(directions)), 3))
        offsets[index] = candidates[best]
        taken = np.vstack([taken, boxes[best]])
    return offsets


def _overlaps(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The area that each of the first boxes shares with each of the second."""
    sides = np.minimum(first[:, None, 2:], second[:, 2:]) - np.maximum(first[:, None, :2], second[:, :2])
    return np.prod(np.maximum(sides, 0.0), axis=2)
