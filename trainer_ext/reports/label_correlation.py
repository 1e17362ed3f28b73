# SPDX-License-Identifier: Apache-2.0
"""Which emotions come together in the labels, which in the predictions, and how far apart the two pictures are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.label_order import cluster_order
from ..evaluation.label_statistics import label_correlation
from ..evaluation.metrics import check_labels, is_known
from .callback import Report, ReportCallback
from .plots import draw_heat_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Pseudo-samples; without any, a single text would move the value of a rare pair far.
_SMOOTHING = 10.0


@dataclass(frozen=True)
class LabelCorrelationReport(Report):
    """
    The label correlations of a split beside those of the predictions for it.

    Attributes:
        label_names (`list[str]` of length `num_labels`): Of the rows and columns.
        distance (`float`): Root mean square of the differences over all pairs of two labels, from 0 to 2.
        gold (`list[list[float]]` of shape `(num_labels, num_labels)`): Of the labels.
        predicted (`list[list[float]]` of shape `(num_labels, num_labels)`): Of the predictions.
    """

    label_names: list[str]
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


class LabelCorrelationCallback(ReportCallback):
    """
    Compares, at every evaluation, which labels come together in the predictions and in the gold labels.

    Adds `label_correlation_distance` to the metrics, and leaves a [`LabelCorrelationReport`], as [`ReportCallback`]
    says. At a threshold of 0.5 a model does not predict its rare labels at all for many epochs, and the distance would
    show that instead of which labels go together. The arguments are those of [`ReportCallback`].
    """

    name = "label_correlation"

    def report(self, labels: np.ndarray, predictions: np.ndarray) -> LabelCorrelationReport:
        """
        Compare the [`label_correlation`] of the two, smoothed by 10 pseudo-samples, over the texts that know both
        labels of a pair.
        """
        comparable = np.where(is_known(check_labels(labels)), predictions, np.nan)
        gold, predicted = (label_correlation(rows, smoothing=_SMOOTHING) for rows in (labels, comparable))
        differences = (gold - predicted)[~np.eye(len(gold), dtype=np.bool_)]
        distance = float(np.sqrt(np.mean(differences**2)))
        return LabelCorrelationReport(self.label_names, distance, gold.tolist(), predicted.tolist())
