# SPDX-License-Identifier: Apache-2.0
"""
Callbacks that leave a report on every evaluation, and a figure of the last one.

The Trainer imports this module: matplotlib is imported where a figure is drawn, not here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

from ..errors import InputError
from ..evaluation.thresholds import tune_thresholds
from ..files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class EvaluationPredictions:
    """
    The predictions for a whole evaluation split, gathered from all processes.

    Attributes:
        labels (`np.ndarray` of shape `(num_samples, num_labels)`): Gold labels in [0, 1], NaN where unknown.
        probabilities (`np.ndarray` of shape `(num_samples, num_labels)`): In [0, 1], float64.
        prefix (`str`, *optional*, defaults to `"eval"`):
            The evaluation's name: `"eval"`, or `"eval_<name>"` with several evaluation sets.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    prefix: str = "eval"


@dataclass(frozen=True)
class Report:
    """The base of the reports: a dataclass whose fields JSON can hold."""

    def metrics(self) -> dict[str, float]:
        """The numbers that join the metrics of the evaluation."""
        raise NotImplementedError

    def draw(self) -> Figure:
        """The picture of the report."""
        raise NotImplementedError


class ReportCallback(TrainerCallback):
    """
    A [`TrainerCallback`] that leaves `<name>_<step>.json`, a [`Report`] and the step, of every evaluation, and the
    figure `<name>_<step>.png` of the last one, which takes seconds and which TensorBoard gets as well. With several
    evaluation sets the files are named `<name>_<set>_<step>`. [`StackedEmotionTrainer`] calls it at the end of every
    evaluation, in every process, before the metrics are logged; `predict` does not call it.

    The predictions are those at thresholds tuned on the very rows that are evaluated, so all values are a little too
    good: they serve to compare epochs, and are no results to report.

    Args:
        label_names (`Sequence[str]` of length `num_labels`): At least two, distinct, in the order of the logits.
        output_dir (`str` or `Path`, *optional*): Where the files go; by default to the `output_dir` of the Trainer.

    Raises:
        `InputError`: If `label_names` is not as described, or does not fit the model when a Trainer is made with it.
    """

    name: str

    def __init__(self, label_names: Sequence[str], output_dir: str | Path | None = None) -> None:
        self.label_names = list(label_names)
        if len(self.label_names) < 2 or len(set(self.label_names)) < len(self.label_names):
            raise InputError(f"`label_names` must be at least two distinct names, got {self.label_names}.")
        self.output_dir = output_dir
        # While a model is trained: how to draw the latest report of each evaluation set.
        self._latest: dict[str, Callable[[], None]] | None = None

    def report(self, labels: np.ndarray, predictions: np.ndarray) -> Report:
        """
        Compare predictions with the gold labels.

        Args:
            labels (`np.ndarray` of shape `(num_samples, num_labels)`): In [0, 1], NaN where unknown.
            predictions (`np.ndarray` of shape `(num_samples, num_labels)`): 0 or 1.
        """
        raise NotImplementedError

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        """Fail before the training, not at its first evaluation."""
        num_labels = getattr(getattr(model, "config", None), "num_labels", len(self.label_names))
        if num_labels != len(self.label_names):
            raise InputError(
                f"`label_names` must name the {num_labels} labels of the model, got {len(self.label_names)} names."
            )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on figures wait for the end."""
        self._latest = {}

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draw the last report of every evaluation set."""
        latest, self._latest = self._latest or {}, None
        for draw in latest.values():
            draw()

    def on_predictions(
        self,
        args: TrainingArguments,
        state: TrainerState,
        predictions: EvaluationPredictions,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> dict[str, float]:
        """
        Report and write; draw, during a training at its end.

        Args:
            args (`TrainingArguments`): The Trainer's.
            state (`TrainerState`): The Trainer's; files are written only if `state.is_world_process_zero`.
            predictions ([`EvaluationPredictions`]): Labels and probabilities.
            callbacks (`Sequence[TrainerCallback]`, *optional*): All of the Trainer's.

        Returns:
            `dict[str, float]`: Numbers that join the metrics as `<prefix>_<key>`, the same in every process.
        """
        labels, probabilities = predictions.labels, predictions.probabilities
        report = self.report(labels, probabilities >= tune_thresholds(labels, probabilities))
        if state.is_world_process_zero:
            split = predictions.prefix.removeprefix("eval").lstrip("_")
            stem = "_".join(filter(None, (self.name, split, str(state.global_step))))
            path = Path(self.output_dir or str(args.output_dir), stem)
            content = {"step": state.global_step, **asdict(report)}
            write_file(f"{path}.json", json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
            tag = f"{predictions.prefix}/{self.name}"
            draw = partial(_draw, report, Path(f"{path}.png"), tag, state.global_step, callbacks)
            if self._latest is None:
                draw()
            else:
                self._latest[split] = draw
        return report.metrics()


def _draw(report: Report, path: Path, tag: str, step: int, callbacks: Sequence[TrainerCallback]) -> None:
    """The figure of a report, as a file and for TensorBoard."""
    from .plots import figure_png

    figure = report.draw()
    write_file(path, figure_png(figure))
    for callback in callbacks:
        # It opens its file when training begins.
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            # Closing is for figures of pyplot.
            callback.tb_writer.add_figure(tag, figure, step, close=False)
