# SPDX-License-Identifier: Apache-2.0
"""The event that the callbacks of transformers lack: the labels and the probabilities of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import TrainerCallback, TrainerState, TrainingArguments


class EvaluationCallback(TrainerCallback):
    """
    A [`TrainerCallback`] with one more event, which [`StackedEmotionTrainer`] calls at the end of every evaluation, in
    every process, before the metrics are logged; `predict` does not call it.
    """

    def on_predictions(
        self,
        args: TrainingArguments,
        state: TrainerState,
        labels: np.ndarray,
        probabilities: np.ndarray,
        *,
        prefix: str = "eval",
        callbacks: Sequence[TrainerCallback] = (),
    ) -> dict[str, float]:
        """
        Look at the predictions of a whole evaluation split, gathered from all processes.

        Args:
            args (`TrainingArguments`): The Trainer's.
            state (`TrainerState`): The Trainer's; files are written only if `state.is_world_process_zero`.
            labels (`np.ndarray` of shape `(num_samples, num_labels)`): Gold labels, 0 or 1.
            probabilities (`np.ndarray` of shape `(num_samples, num_labels)`): In [0, 1], float64.
            prefix (`str`, *optional*, defaults to `"eval"`):
                The evaluation's name: `"eval"`, or `"eval_<name>"` with several evaluation sets.
            callbacks (`Sequence[TrainerCallback]`, *optional*): All of the Trainer's, for [`log_figure`].

        Returns:
            `dict[str, float]`: Numbers that join the metrics as `<prefix>_<key>`, the same in every process.
        """
        raise NotImplementedError
