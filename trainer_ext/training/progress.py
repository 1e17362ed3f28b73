# SPDX-License-Identifier: Apache-2.0
"""What a training says while it runs: a bar, and one line for each evaluation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback

_LOSS = "_loss"


class EvaluationLineCallback(ProgressCallback):
    """
    The bars of [`ProgressCallback`], and in place of its dictionaries one line for each evaluation, such as
    `epoch 2.0, step 170 of 510: loss 0.231, eval loss 0.220, macro-F1 0.412, 4 min left`; where nothing is evaluated,
    one for each log.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The parent's; the clock starts."""
        super().on_train_begin(args, state, control, **kwargs)
        self._start = (time.monotonic(), state.global_step)
        self._losses: dict[str, float] = {}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Say the line of an evaluation, and keep the training loss for the next one."""
        logs = logs or {}
        self._losses.update({key: logs[key] for key in ("loss",) if key in logs})
        sets = [key.removesuffix(_LOSS) for key in logs if key.startswith("eval") and key.endswith(_LOSS)]
        if self.training_bar is None or not (sets or (args.eval_strategy == "no" and "loss" in logs)):
            return
        values = dict(self._losses)
        for name in sets:
            values[f"{name.replace('_', ' ')} loss"] = logs[f"{name}{_LOSS}"]
            if (score := logs.get(f"{name}_macro_f1")) is not None:
                values["macro-F1" if name == "eval" else f"{name.removeprefix('eval_')} macro-F1"] = score
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        place = f"epoch {state.epoch or 0:.1f}, step {state.global_step:,} of {state.max_steps:,}"
        self.training_bar.write(f"{place}: {numbers}{self._time_left(state)}")

    def _time_left(self, state: TrainerState) -> str:
        """At the pace since the start, evaluations included; nothing before the first step."""
        began, first_step = self._start
        if state.global_step == first_step:
            return ""
        pace = (time.monotonic() - began) / (state.global_step - first_step)
        return f", {format_duration(pace * (state.max_steps - state.global_step))} left"


def format_duration(seconds: float) -> str:
    """Such as `40 s`, `12 min` or `3 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
