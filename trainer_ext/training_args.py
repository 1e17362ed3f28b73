# SPDX-License-Identifier: Apache-2.0
"""Training arguments: those of transformers, with what multi-label emotion training adds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import TrainingArguments

from .label_statistics import CLASS_WEIGHTS, CORRELATION_METHODS, class_weights
from .losses.base import BASE_LOSSES
from .losses.correlation import CORRELATION_TERMS
from .losses.hybrid import HybridLoss, HybridLossWeights, LabelStatistics
from .precision import fastest_precision

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TRAINING_MODES = ("joint", "staged")


@dataclass
class StackedEmotionTrainingArguments(TrainingArguments):
    """
    [`TrainingArguments`] with a learning rate for the head and defaults that suit encoders and short texts.

    Args:
        head_learning_rate (`float`, *optional*, defaults to 1e-3):
            Learning rate of everything that is not an encoder; `learning_rate` is the encoders' own.
        base_loss (`str`, *optional*, defaults to `"bce"`):
            What each label is worth on its own: `"bce"`, `"focal"`, `"asymmetric"`, `"class_balanced"`,
            `"distribution_balanced"` or `"zlpr"`; see `trainer_ext.losses.base`.
        base_loss_options (`dict[str, Any]`, *optional*):
            Arguments of that loss, such as `{"gamma": 2.0}`.
        class_weights (`str`, *optional*, defaults to `"none"`):
            Weight of the positives of each label: `"inverse"`, `"sqrt"` or `"effective"`; see
            [`~trainer_ext.label_statistics.class_weights`].
        class_weight_cap (`float`, *optional*, defaults to 10.0):
            The highest weight that is computed.
        label_weights (`dict[str, float]`, *optional*):
            Label to a weight that takes the place of the computed one.
        base_loss_weight, auxiliary_loss_weight, correlation_loss_weight, contrastive_loss_weight (`float`,
        *optional*, default to 1.0, 0.3, 0.2 and 0.0):
            Weights of the terms; a term of weight 0 is not computed. The auxiliary term is the base loss of the
            meta-learner's own classifier.
        correlation_loss (`str`, *optional*, defaults to `"none"`):
            `"laplacian"`, `"matching"` or `"lca"`; see `trainer_ext.losses.correlation`.
        label_correlation (`str`, *optional*, defaults to `"phi"`):
            How the correlation of two labels is estimated: `"phi"`, `"conditional"` or `"cosine"`.
        correlation_smoothing (`float`, *optional*, defaults to 10.0):
            Pseudo-samples that draw the correlations of rare labels to 0.
        contrastive_temperature (`float`, *optional*, defaults to 0.1):
            Of the contrastive term.
        contrastive_memory_size (`int`, *optional*, defaults to 0):
            Texts of the batches before that the contrastive term compares with.
        precision (`str`, *optional*, defaults to `"auto"`):
            `"fp32"`, `"bf16"`, `"fp16"`, or `"auto"`: what is measured to be the fastest on this device. The flags
            `--bf16` and `--fp16` and the setting of `accelerate launch` come first.
        resume_from_checkpoint (`str` or `bool`, *optional*):
            A checkpoint's folder, or true for the last complete one in `output_dir`, if there is any.
        training_mode (`str`, *optional*, defaults to `"joint"`):
            `"joint"`, or `"staged"`: every encoder alone, then the head on their cached word states; see
            [`~trainer_ext.stages.staged_training.train_staged`]. The other fields below are for `"staged"` alone.
        num_folds (`int`, *optional*, defaults to 0):
            The head learns from out-of-fold states: each by an encoder trained on the other `num_folds - 1` folds.
            0 takes the states of encoders that have seen the labels of the very same texts.
        feature_cache_dir (`str`, *optional*, defaults to a folder in `output_dir`):
            Folder of the cached word states; runs may share it.
        head_num_train_epochs (`float`, *optional*, defaults to 10):
            Epochs of the head on the cache; `num_train_epochs` are those of every encoder.
        head_per_device_train_batch_size (`int`, *optional*, defaults to 64):
            Texts per step and device of the head on the cache.
        polish_num_train_epochs (`float`, *optional*, defaults to 0):
            Epochs of a last joint training of encoders and head.
        polish_learning_rate (`float`, *optional*, defaults to 1e-5):
            Learning rate of encoders and head in these.
    """

    learning_rate: float = field(default=5e-5, metadata={"help": "Learning rate of the encoders."})
    head_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of everything but the encoders."})
    base_loss: str = field(default="bce", metadata={"help": f"{', '.join(BASE_LOSSES)}.", "choices": (*BASE_LOSSES,)})
    base_loss_options: dict[str, Any] | None = field(default=None, metadata={"help": "Its arguments: {gamma: 2}."})
    class_weights: str = field(
        default="none",
        metadata={"help": f"Weight of positives: {', '.join(CLASS_WEIGHTS)}.", "choices": CLASS_WEIGHTS},
    )
    class_weight_cap: float = field(default=10.0, metadata={"help": "The highest class weight that is computed."})
    label_weights: dict[str, float] | None = field(
        default=None, metadata={"help": "Label to a weight in place of the computed one."}
    )
    base_loss_weight: float = field(default=1.0, metadata={"help": "Weight of the base loss."})
    auxiliary_loss_weight: float = field(default=0.3, metadata={"help": "Weight of the meta-learner's own loss."})
    correlation_loss: str = field(
        default="none", metadata={"help": f"{', '.join(CORRELATION_TERMS)}.", "choices": CORRELATION_TERMS}
    )
    correlation_loss_weight: float = field(default=0.2, metadata={"help": "Weight of the correlation term."})
    label_correlation: str = field(
        default="phi", metadata={"help": f"{', '.join(CORRELATION_METHODS)}.", "choices": CORRELATION_METHODS}
    )
    correlation_smoothing: float = field(default=10.0, metadata={"help": "Pseudo-samples against chance pairs."})
    contrastive_loss_weight: float = field(default=0.0, metadata={"help": "Weight of the contrastive term."})
    contrastive_temperature: float = field(default=0.1, metadata={"help": "Temperature of the contrastive term."})
    contrastive_memory_size: int = field(default=0, metadata={"help": "Past texts that the contrastive term sees."})
    precision: str = field(
        default="auto", metadata={"help": "auto (measured on this device), fp32, bf16 or fp16.", "choices": PRECISIONS}
    )
    # Declared as in transformers, whose parser of command lines knows no `str | bool | None`.
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "Folder of a checkpoint, or true for the last complete one in output_dir."}
    )
    training_mode: str = field(
        default="joint",
        metadata={"help": "joint, or staged: encoders first, then the head.", "choices": TRAINING_MODES},
    )
    num_folds: int = field(default=0, metadata={"help": "Staged: folds of the out-of-fold states, 2 or more."})
    feature_cache_dir: str | None = field(default=None, metadata={"help": "Staged: folder of the cached word states."})
    head_num_train_epochs: float = field(default=10, metadata={"help": "Staged: epochs of the head on the cache."})
    head_per_device_train_batch_size: int = field(default=64, metadata={"help": "Staged: texts per step of the head."})
    polish_num_train_epochs: float = field(default=0, metadata={"help": "Staged: epochs of a last joint training."})
    polish_learning_rate: float = field(default=1e-5, metadata={"help": "Staged: learning rate of these epochs."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay; biases and norms have none."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps of warm-up; below 1 a share of all steps."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Texts per step and device."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Texts per evaluation batch and device."})
    train_sampling_strategy: str = field(
        default="group_by_length", metadata={"help": "Texts of like length share a batch: little padding."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Off: encoders' columns have free names."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate on the validation split."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept, besides the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best epoch, not the last."})
    metric_for_best_model: str | None = field(default="macro_f1", metadata={"help": "What the best epoch is best in."})
    logging_steps: float = field(default=50, metadata={"help": "Steps between two lines of log."})

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {self.precision!r}.")
        if self.head_learning_rate < 0:
            raise ValueError(f"`head_learning_rate` must not be negative, got {self.head_learning_rate}.")
        self._check_stages()
        # Any labels do for finding a slip now rather than after the data is read.
        self.create_loss(np.eye(2), None)
        # transformers takes bf16 for a wish for a GPU unless the CPU is asked for.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if not (self.bf16 or self.fp16):
            chosen = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
            if chosen == "no":
                chosen = fastest_precision(self.use_cpu) if self.precision == "auto" else self.precision
            self.bf16, self.fp16 = chosen == "bf16", chosen == "fp16"
        super().__post_init__()

    def _check_stages(self) -> None:
        if self.training_mode not in TRAINING_MODES:
            raise ValueError(
                f"`training_mode` must be one of {', '.join(TRAINING_MODES)}, got {self.training_mode!r}."
            )
        ranges = {
            "num_folds": (self.num_folds == 0 or self.num_folds >= 2, "0 (none) or at least 2"),
            "head_num_train_epochs": (self.head_num_train_epochs > 0, "above 0"),
            "head_per_device_train_batch_size": (self.head_per_device_train_batch_size >= 1, "at least 1"),
            "polish_num_train_epochs": (self.polish_num_train_epochs >= 0, "0 (none) or more"),
            "polish_learning_rate": (self.polish_learning_rate > 0, "above 0"),
        }
        for name, (holds, expected) in ranges.items():
            if not holds:
                raise ValueError(f"`{name}` must be {expected}, got {getattr(self, name)}.")
        if self.training_mode == "joint":
            used = [name for name in (*ranges, "feature_cache_dir") if getattr(self, name) != _default(name)]
            if used:
                raise ValueError(f"`{used[0]}` is for `training_mode: staged`, got {self.training_mode}.")
            return
        if self.max_steps > 0:
            raise ValueError(
                f"`max_steps` cannot count the steps of several stages, got {self.max_steps}: "
                "use `num_train_epochs` and `head_num_train_epochs`."
            )
        if isinstance(self.resume_from_checkpoint, str):
            raise ValueError(
                "Staged training finds its checkpoints itself: `resume_from_checkpoint` must be true or false, "
                f"got {self.resume_from_checkpoint!r}."
            )
        if self.fsdp or self.deepspeed or os.environ.get("ACCELERATE_USE_FSDP") == "true":
            raise ValueError("`training_mode: staged` keeps each encoder whole: use it without FSDP and DeepSpeed.")

    def create_loss(self, labels: npt.ArrayLike, label_names: Sequence[str] | None) -> HybridLoss:
        """
        The hybrid loss of these arguments.

        Args:
            labels (`ArrayLike` of shape `(num_samples, num_labels)`): Training labels, 0 or 1.
            label_names (`Sequence[str]` of length `num_labels`, *optional*): What `label_weights` speaks of; without
                names it is left out.

        Raises:
            `ValueError`: If an argument of the loss is unknown or out of its range.
        """
        weights = class_weights(labels, self.class_weights, cap=self.class_weight_cap)
        for label, weight in (self.label_weights or {}).items():
            if label_names is not None and label not in label_names:
                raise ValueError(f"`label_weights` names {label!r}; the labels are {', '.join(label_names)}.")
            if label_names is not None:
                weights[list(label_names).index(label)] = weight
        return HybridLoss(
            LabelStatistics.from_labels(
                labels,
                class_weights=weights,
                correlation=self.label_correlation,
                smoothing=self.correlation_smoothing,
            ),
            base=self.base_loss,
            base_options=self.base_loss_options,
            correlation=self.correlation_loss,
            temperature=self.contrastive_temperature,
            memory_size=self.contrastive_memory_size,
            weights=HybridLossWeights(
                base=self.base_loss_weight,
                auxiliary=self.auxiliary_loss_weight,
                correlation=self.correlation_loss_weight,
                contrastive=self.contrastive_loss_weight,
            ),
        )


def _default(name: str) -> Any:
    return StackedEmotionTrainingArguments.__dataclass_fields__[name].default
