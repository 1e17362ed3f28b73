# SPDX-License-Identifier: Apache-2.0
"""Tests of the drawings: what they show, that names are legible, and that Arabic is joined and runs leftwards."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from trainer_ext.reports.plots import draw_class_scatter, draw_heat_maps, figure_png


def make_matrix(num_labels: int, scale: float, seed: int = 0) -> npt.NDArray[np.float64]:
    values = np.random.default_rng(seed).uniform(-scale, scale, (num_labels, num_labels))
    values = np.round((values + values.T) / 2, 3)
    np.fill_diagonal(values, 1.0)
    return values


def draw(gold: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64], names: list[str]) -> Figure:
    return draw_heat_maps({"gold": gold, "predicted": predicted}, names, title="a title", value_name="phi")


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


# --------------------------------------------------------------------------------------------------------- heat maps


def test_both_matrices_are_shown_on_one_scale_that_the_first_sets() -> None:
    gold, predicted = make_matrix(5, 0.4), make_matrix(5, 0.9, seed=1)
    names = ["anger", "joy", "fear", "love", "trust"]
    left, right, bar = draw(gold, predicted, names).axes
    blank = np.eye(5, dtype=bool)
    limit = np.abs(gold[~blank]).max()
    for axis, matrix in ((left, gold), (right, predicted)):
        shown = axis.images[0].get_array()
        assert isinstance(shown, np.ma.MaskedArray)
        assert (shown.mask == blank).all()
        assert (shown.data[~blank] == matrix[~blank]).all()
        assert axis.images[0].get_clim() == (-limit, limit)
        assert [text.get_text() for text in axis.get_xticklabels()] == names
    assert [text.get_text() for text in left.get_yticklabels()] == names
    assert [left.get_title(), right.get_title(), bar.get_ylabel()] == ["gold", "predicted", "phi"]
    assert np.abs(predicted[~blank]).max() > limit
    assert right.images[0].colorbar is not None
    assert right.images[0].colorbar.extend == "both"


def test_weak_correlations_look_weak() -> None:
    gold = np.array([[1.0, -0.004], [-0.004, 1.0]])
    figure = draw(gold, gold, ["a", "b"])
    assert figure.axes[0].images[0].get_clim() == (-0.1, 0.1)
    assert figure.axes[0].images[0].colorbar is None
    assert figure.axes[1].images[0].colorbar.extend == "neither"


def test_cells_hold_numbers_only_where_there_is_room() -> None:
    gold = np.array([[1.0, -0.5, 0.25], [-0.5, 1.0, -0.004], [0.25, -0.004, 1.0]])
    figure = draw(gold, gold, ["a", "b", "c"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["−0.50", "0.25", "−0.50", "0.00", "0.25", "0.00"]
    many = make_matrix(28, 0.3)
    assert not draw(many, many, [f"label {index}" for index in range(28)]).axes[0].texts


def test_of_many_points_the_extremes_are_named() -> None:
    names = [f"label {index}" for index in range(300)]
    values = np.random.default_rng(0).permutation(300) / 299
    figure = draw_class_scatter(range(1, 301), values.tolist(), ["frequent"] * 300, names, title="many")
    named = {text.get_text() for text in figure.axes[0].texts}
    assert named == {names[index] for index in np.argsort(values)[[*range(20), *range(-20, 0)]]}


@pytest.mark.parametrize("num_labels", [2, 11, 28])
def test_names_of_a_heat_map_do_not_overlap(num_labels: int) -> None:
    matrix = make_matrix(num_labels, 0.3)
    figure = draw(matrix, matrix, ["disappointment"] * num_labels)
    figure.draw_without_rendering()
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        boxes = [text.get_window_extent() for text in labels]
        assert not any(first.overlaps(second) for first, second in itertools.pairwise(boxes))
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(matplotlib.rcParams)
    matrix = make_matrix(3, 0.3)
    draw(matrix, matrix, ["a", "b", "c"])
    assert dict(matplotlib.rcParams) == before


# ------------------------------------------------------------------------------------------------------------ scatter


def draw_scatter(counts: list[int], values: list[float], names: list[str]) -> Figure:
    third = -(-len(counts) // 3)
    groups = ["frequent"] * third + ["middle"] * (len(counts) - 2 * third) + ["rare"] * third
    return draw_class_scatter(counts, values, groups, names, title="a title")


def test_scatter_shows_every_label_and_the_mean_of_each_third() -> None:
    figure = draw_scatter([900, 300, 60, 40, 12, 10], [0.9, 0.7, 0.5, 0.4, 0.1, 0.3], list("abcdef"))
    axis = figure.axes[0]
    assert axis.get_xscale() == "log"
    points = np.vstack([np.asarray(collection.get_offsets()) for collection in axis.collections])
    assert points.tolist() == [[900, 0.9], [300, 0.7], [60, 0.5], [40, 0.4], [12, 0.1], [10, 0.3]]
    means = [line.get_ydata() for line in axis.lines if len(np.asarray(line.get_ydata()))]
    assert np.array(means) == pytest.approx(np.array([[0.8, 0.8], [0.45, 0.45], [0.2, 0.2]]))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "frequent third, mean F1 0.800",
        "middle third, mean F1 0.450",
        "rare third, mean F1 0.200",
    ]
    assert [text.get_text() for text in axis.texts] == list("abcdef")


@pytest.mark.parametrize("seed", range(2))
def test_names_of_28_labels_are_legible(seed: int) -> None:
    """Nearly in line, as frequency and F1 go together, and more than half within a decade."""
    rng = np.random.default_rng(seed)
    counts = np.sort(np.exp(rng.normal(6.8, 1.1, 28)).astype(int))[::-1]
    values = np.clip(0.1 * np.log(counts) - 0.2 + rng.normal(0, 0.08, 28), 0, 1)
    figure = draw_scatter(counts.tolist(), values.tolist(), [f"embarrassm {index}" for index in range(28)])
    figure.draw_without_rendering()
    axis = figure.axes[0]
    boxes = [Text.get_window_extent(text) for text in axis.texts]
    assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))
    frame = axis.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 for box in boxes)
    for box, point in zip(boxes, axis.transData.transform(np.stack([counts, values], axis=1)), strict=True):
        assert not box.contains(*point)
        distance = np.maximum([box.x0 - point[0], box.y0 - point[1]], [point[0] - box.x1, point[1] - box.y1]).max()
        assert distance < 40 * figure.dpi / 72


def test_names_stay_beside_their_points_at_another_resolution(tmp_path: Path) -> None:
    figure = draw_scatter([100, 30, 10], [0.8, 0.5, 0.2], ["a", "b", "c"])
    shifts = []
    for dpi in (75, 300):
        figure.savefig(tmp_path / "figure.png", dpi=dpi)
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        axis = figure.axes[0]
        box = Text.get_window_extent(axis.texts[0])
        shifts.append((box.x0 - axis.transData.transform((100, 0.8))[0]) / dpi)
    assert shifts[0] == pytest.approx(shifts[1], rel=0.05)


@pytest.mark.parametrize("counts", [[0, 0], [5, 0], [7, 7], [100_000, 1]])
def test_scatter_of_any_counts(counts: list[int]) -> None:
    figure = draw_scatter(counts, [0.4, 0.0], ["a", "b"])
    assert pixels(figure).std() > 1
    points = [np.asarray(collection.get_offsets())[0, 0] for collection in figure.axes[0].collections]
    assert points == [max(count, 0.5) for count in counts]


# --------------------------------------------------------------------------------------------------------------- text


def picture_of(name: str) -> npt.NDArray[np.uint8]:
    """The names below the left panel, cut out."""
    matrix = make_matrix(2, 0.3)
    figure = draw(matrix, matrix, [name, name])
    image = pixels(figure)
    box = figure.axes[0].get_yticklabels()[0].get_window_extent()
    height = image.shape[0]
    return image[height - int(box.y1) - 2 : height - int(box.y0) + 2, int(box.x0) - 2 : int(box.x1) + 2]


def test_arabic_letters_are_joined_and_run_from_right_to_left() -> None:
    joined = picture_of("غضب")
    forms = ["\N{ARABIC LETTER GHAIN INITIAL FORM}", "\N{ARABIC LETTER DAD MEDIAL FORM}"]
    forms.append("\N{ARABIC LETTER BEH FINAL FORM}")
    assert np.array_equal(joined, picture_of("".join(forms)))
    apart = picture_of("\N{ZERO WIDTH NON-JOINER}".join("غضب"))
    assert joined.shape != apart.shape or not np.array_equal(joined, apart)
    leftwards = "\N{LEFT-TO-RIGHT OVERRIDE}" + "".join(reversed(forms))
    assert joined.shape == picture_of(leftwards).shape
    ink = joined[..., 0] < 128
    assert (ink == (picture_of(leftwards)[..., 0] < 128)).mean() > 0.99
    assert (ink == (picture_of("\N{LEFT-TO-RIGHT OVERRIDE}" + "".join(forms))[..., 0] < 128)).mean() < 0.95


@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_can_be_drawn() -> None:
    names = ["😂 joy", "حزن 😢", "تفاؤل (optimism)", "$5 or $6", "a_b^{", r"\frac", "50%", "爱"]
    matrix = make_matrix(len(names), 0.3)
    figure = draw(matrix, matrix, names)
    figure.draw_without_rendering()
    assert min(text.get_window_extent().height for text in figure.axes[0].get_xticklabels()) > 10
    scatter = draw_scatter([90, 80, 70, 60, 50, 40, 30, 20], [0.4] * 8, names)
    scatter.draw_without_rendering()
    assert min(Text.get_window_extent(text).width for text in scatter.axes[0].texts) > 5


def test_dollar_signs_begin_no_formula() -> None:
    assert picture_of("$x$").shape[1] > picture_of("x").shape[1] + 10


# -------------------------------------------------------------------------------------------------------------- files


def test_picture_has_no_empty_margin() -> None:
    matrix = make_matrix(28, 0.3)
    figure = draw(matrix, matrix, [f"label {index}" for index in range(28)])
    with Image.open(io.BytesIO(figure_png(figure))) as image:
        width, height = image.size
        grey = np.asarray(image.convert("L"))
    assert 1800 < width < 2400
    assert 900 < height < 1300
    # Nor is it mostly one colour.
    assert all((edge < 128).any() for edge in (grey[:40], grey[-40:], grey[:, :40], grey[:, -40:]))
    assert len(np.unique(grey)) > 100


def test_many_labels_are_drawn_in_the_size_of_forty() -> None:
    names = [f"label {index}" for index in range(300)]
    figures = [
        draw_heat_maps({"gold": np.full((size, size), 0.5)}, names[:size], title="many", value_name="phi")
        for size in (40, 300)
    ]
    assert figures[0].get_size_inches().tolist() == figures[1].get_size_inches().tolist()
    shown = [[text.get_text() for text in figure.axes[0].get_yticklabels()] for figure in figures]
    assert shown == [names[:40], names[::8]]
