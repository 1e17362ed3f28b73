# SPDX-License-Identifier: Apache-2.0
"""Which emotions come together in the labels, which in the predictions, and how far apart the two pictures are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..evaluation.label_order import cluster_order
from ..evaluation.label_statistics import label_correlation
from .callback import Report, ReportCallback, check_label_names
from .plots import draw_heat_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LabelCorrelationReport(Report):
    """
    The label correlations of a split beside those of the predictions for it.

    Attributes:
        label_names (`list[str]` of length `num_labels`): Of the rows and columns.
        smoothing (`float`): Pseudo-samples.
        distance (`float`): Root mean square of the differences over all pairs of two labels, from 0 to 2.
        gold (`list[list[float]]` of shape `(num_labels, num_labels)`): Of the labels.
        predicted (`list[list[float]]` of shape `(num_labels, num_labels)`): Of the predictions.
    """

    label_names: list[str]
    smoothing: float
    distance: float
    gold: list[list[float]]
    predicted: list[list[float]]

    def metrics(self) -> dict[str, float]:
        """The distance."""
        return {"label_correlation_distance": self.distance}

    def draw(self) -> Figure:
        """Both matrices side by side, their labels in the [`cluster_order`] of the gold one."""
        order = cluster_order(self.gold)
        matrices = {
            title: np.asarray(matrix)[np.ix_(order, order)]
            for title, matrix in (("gold labels", self.gold), ("predicted labels", self.predicted))
        }
        return draw_heat_maps(
            matrices,
            [self.label_names[index] for index in order],
            title=f"Label correlation, distance {self.distance:.4f}",
            value_name="phi coefficient",
        )


def label_correlation_report(
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    label_names: Sequence[str],
    *,
    smoothing: float = 10.0,
) -> LabelCorrelationReport:
    """
    Compare which labels come together in the gold labels and in hard predictions.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): 0 or 1.
        predictions (`ArrayLike` of shape `(num_samples, num_labels)`): 0 or 1.
        label_names (`Sequence[str]` of length `num_labels`): At least two, distinct.
        smoothing (`float`, *optional*, defaults to 10.0):
            As in [`label_correlation`]; without it a single text moves the value of a rare pair far.

    Raises:
        `ValueError`: If an argument is out of its range or the shapes do not fit.
    """
    names = check_label_names(label_names)
    shapes = np.shape(labels), np.shape(predictions)
    if shapes[0] != shapes[1] or shapes[0][1:] != (len(names),):
        raise InputError(
            f"`labels` and `predictions` must have shape (num_samples, {len(names)}), one column per name in "
            f"`label_names`, got {shapes[0]} and {shapes[1]}."
        )
    gold, predicted = (label_correlation(rows, smoothing=smoothing) for rows in (labels, predictions))
    differences = (gold - predicted)[~np.eye(len(gold), dtype=np.bool_)]
    distance = float(np.sqrt(np.mean(differences**2)))
    return LabelCorrelationReport(names, smoothing, distance, gold.tolist(), predicted.tolist())


class LabelCorrelationCallback(ReportCallback):
    """
    Compares, at every evaluation, which labels come together in the predictions and in the gold labels.

    Adds `label_correlation_distance` to the metrics, and leaves a [`LabelCorrelationReport`], as [`ReportCallback`]
    says. At a threshold of 0.5 a model does not predict its rare labels at all for many epochs, and the distance would
    show that instead of which labels go together.

    Args:
        label_names (`Sequence[str]` of length `num_labels`): At least two, distinct, in the order of the logits.
        output_dir (`str` or `Path`, *optional*): Where the files go; by default to the `output_dir` of the Trainer.
        smoothing (`float`, *optional*, defaults to 10.0): As in [`label_correlation`].

    Raises:
        `InputError`: If an argument is out of its range, or `label_names` does not fit the model of the Trainer.
    """

    name = "label_correlation"

    def __init__(
        self,
        label_names: Sequence[str],
        output_dir: str | Path | None = None,
        smoothing: float = 10.0,
    ) -> None:
        super().__init__(label_names, output_dir)
        # Checks it.
        label_correlation([[0, 1]], smoothing=smoothing)
        self.smoothing = smoothing

    def report(self, labels: np.ndarray, predictions: np.ndarray) -> LabelCorrelationReport:
        """[`label_correlation_report`] with the callback's smoothing."""
        return label_correlation_report(labels, predictions, self.label_names, smoothing=self.smoothing)
