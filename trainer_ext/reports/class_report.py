# SPDX-License-Identifier: Apache-2.0
"""How well the rare emotions are predicted beside the frequent ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..evaluation.label_statistics import frequency_groups
from ..evaluation.metrics import multilabel_metrics
from .callback import Report, ReportCallback
from .plots import draw_class_scatter, with_minus

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ClassReportRow:
    """
    One label.

    Attributes:
        label (`str`): Its name.
        group (`str`): `"frequent"`, `"middle"` or `"rare"`.
        train_count (`int`): Training texts with it.
        support (`int`): Evaluated texts with it.
        f1 (`float`, *optional*): In [0, 1]; 0 for a label that is neither in the gold labels nor predicted, `None` for
            one that no evaluated text knows.
    """

    label: str
    group: str
    train_count: int
    support: int
    f1: float | None


@dataclass(frozen=True)
class ClassReport(Report):
    """
    F1 of every label beside its frequency. Means leave out labels that no evaluated text knows; a mean of none is 0.

    Attributes:
        macro_f1 (`float`): Mean F1 of all labels.
        macro_f1_frequent (`float`): Mean F1 of the third of the labels that has most training texts.
        macro_f1_rare (`float`): Mean F1 of the third that has fewest.
        frequent_rare_gap (`float`): The first minus the second.
        rows (`list[ClassReportRow]` of length `num_labels`): From the most to the least frequent label.
    """

    macro_f1: float
    macro_f1_frequent: float
    macro_f1_rare: float
    frequent_rare_gap: float
    rows: list[ClassReportRow]

    def metrics(self) -> dict[str, float]:
        """The means of the thirds and their gap."""
        return {key: getattr(self, key) for key in ("macro_f1_frequent", "macro_f1_rare", "frequent_rare_gap")}

    def draw(self) -> Figure:
        """F1 over the number of training texts, one named point per label."""
        gap = f"{self.frequent_rare_gap:.3f}"
        shown = [(row, row.f1) for row in self.rows if row.f1 is not None]
        return draw_class_scatter(
            [row.train_count for row, _ in shown],
            [f1 for _, f1 in shown],
            [row.group for row, _ in shown],
            [row.label for row, _ in shown],
            title=f"macro-F1 {self.macro_f1:.3f}, frequent third less rare third {with_minus(gap)}",
        )


class ClassReportCallback(ReportCallback):
    """
    Sets, at every evaluation, the F1 of each label beside its frequency in training.

    Adds `macro_f1_frequent`, `macro_f1_rare` and `frequent_rare_gap` to the metrics, and leaves a [`ClassReport`], as
    [`ReportCallback`] says; rare labels gain most from thresholds tuned on the rows that are evaluated.

    Args:
        train_counts (`ArrayLike` of shape `(num_labels,)`): Training texts with each label, the sum of their rows.
        label_names, output_dir: As in [`ReportCallback`].

    Raises:
        `InputError`: If an argument is out of its range, or `label_names` does not fit the model of the Trainer.
    """

    name = "class_report"

    def __init__(
        self, label_names: Sequence[str], train_counts: npt.ArrayLike, output_dir: str | Path | None = None
    ) -> None:
        super().__init__(label_names, output_dir)
        counts = np.asarray(train_counts, dtype=np.float64)
        is_count = np.isfinite(counts) & (counts >= 0) & (counts == np.round(counts))
        if counts.shape != (len(self.label_names),) or not is_count.all():
            raise InputError(
                f"`train_counts` must be {len(self.label_names)} numbers of texts, one per label, got "
                f"{counts.tolist() if counts.ndim == 1 else f'shape {counts.shape}'}; "
                "sum the rows of the training labels."
            )
        self.train_counts = counts

    def report(self, labels: np.ndarray, predictions: np.ndarray) -> ClassReport:
        """F1 of every label, and the means of the thirds that [`frequency_groups`] makes by the training counts."""
        metrics = multilabel_metrics(labels, predictions=predictions, label_names=self.label_names)
        order, groups = frequency_groups(self.train_counts)
        rows = []
        for index, group in zip(order, groups, strict=True):
            label, count = self.label_names[index], int(self.train_counts[index])
            f1 = None if np.isnan(metrics[f"f1/{label}"]) else metrics[f"f1/{label}"]
            rows.append(ClassReportRow(label, group, count, int(metrics[f"support/{label}"]), f1))
        known = [(row.group, row.f1) for row in rows if row.f1 is not None]
        frequent, rare = (
            float(np.mean([f1 for group, f1 in known if group == name] or [0.0])) for name in ("frequent", "rare")
        )
        return ClassReport(float(np.nan_to_num(metrics["macro_f1"])), frequent, rare, frequent - rare, rows)
