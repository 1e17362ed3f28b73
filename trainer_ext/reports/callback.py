# SPDX-License-Identifier: Apache-2.0
"""What the callbacks that leave a figure and its numbers at every evaluation have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import InputError
from .evaluation import EvaluationCallback
from .figures import figure_png
from .trackers import log_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ReportCallback(EvaluationCallback):
    """
    An [`EvaluationCallback`] that leaves a JSON file and a figure of the same name.

    Args:
        label_names (`Sequence[str]` of length `num_labels`): At least two, distinct, in the order of the logits.
        output_dir (`str` or `Path`, *optional*): Where the files go; by default to the `output_dir` of the Trainer.

    Raises:
        `ValueError`: If `label_names` is not as described, or does not fit the model when a Trainer is made with it.
    """

    name: str

    def __init__(self, label_names: Sequence[str], output_dir: str | Path | None = None) -> None:
        self.label_names = check_label_names(label_names)
        self.output_dir = output_dir

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

    def publish(
        self,
        args: TrainingArguments,
        state: TrainerState,
        prefix: str,
        callbacks: Sequence[TrainerCallback],
        report: Mapping[str, Any],
        figure: Figure,
    ) -> None:
        """
        Write the report and the figure of this step and hand the figure to the trackers.

        Args:
            args, state, prefix, callbacks: As `on_predictions` gets them.
            report (`Mapping[str, Any]`): What JSON can hold; the step is added.
            figure (`Figure`): The picture of it.
        """
        step = state.global_step
        split = prefix.removeprefix("eval").lstrip("_")
        name = "_".join(part for part in (self.name, split, str(step)) if part)
        write_report(self.output_dir or str(args.output_dir), name, {"step": step, **report}, figure)
        log_figure(callbacks, f"{prefix}/{self.name}", figure, step)


def check_label_names(label_names: Sequence[str]) -> list[str]:
    """The names as a list; fewer than two, or one name twice, are an error."""
    names = list(label_names)
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"`label_names` must be at least two distinct names, got {names}.")
    return names


def write_report(folder: str | Path, name: str, report: Mapping[str, Any], figure: Figure) -> None:
    """
    Write `<name>.json` and `<name>.png`, each to a temporary name first.

    Args:
        folder (`str` or `Path`): Where to; it is made if it does not exist.
        name (`str`): Without an ending.
        report (`Mapping[str, Any]`): What JSON can hold.
        figure (`Figure`): Saved at its own resolution, without an empty margin.
    """
    text = json.dumps(report, ensure_ascii=False, allow_nan=False) + "\n"
    Path(folder).mkdir(parents=True, exist_ok=True)
    for ending, content in ((".json", text.encode("utf-8")), (".png", figure_png(figure))):
        partial = Path(folder, f"{name}{ending}.partial")
        partial.write_bytes(content)
        partial.replace(Path(folder, f"{name}{ending}"))
