# SPDX-License-Identifier: Apache-2.0
"""Training arguments: those of transformers, with what multi-label emotion training adds."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from .precision import fastest_precision

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass
class StackedEmotionTrainingArguments(TrainingArguments):
    """
    [`TrainingArguments`] with a learning rate for the head and defaults that suit encoders and short texts.

    Args:
        head_learning_rate (`float`, *optional*, defaults to 1e-3):
            Learning rate of everything that is not an encoder; `learning_rate` is the encoders' own.
        auxiliary_loss_weight (`float`, *optional*, defaults to 0.3):
            Weight of the meta-learner's own BCE beside that of the classifier; 0 leaves its head untrained.
        precision (`str`, *optional*, defaults to `"auto"`):
            `"fp32"`, `"bf16"`, `"fp16"`, or `"auto"`: what is measured to be the fastest on this device. The flags
            `--bf16` and `--fp16` and the setting of `accelerate launch` come first.
    """

    learning_rate: float = field(default=5e-5, metadata={"help": "Learning rate of the encoders."})
    head_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of everything but the encoders."})
    auxiliary_loss_weight: float = field(default=0.3, metadata={"help": "Weight of the meta-learner's own loss."})
    precision: str = field(
        default="auto", metadata={"help": "auto (measured on this device), fp32, bf16 or fp16.", "choices": PRECISIONS}
    )
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
        for name in ("head_learning_rate", "auxiliary_loss_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        # transformers takes bf16 for a wish for a GPU unless the CPU is asked for.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if not (self.bf16 or self.fp16):
            chosen = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
            if chosen == "no":
                chosen = fastest_precision(self.use_cpu) if self.precision == "auto" else self.precision
            self.bf16, self.fp16 = chosen == "bf16", chosen == "fp16"
        super().__post_init__()
