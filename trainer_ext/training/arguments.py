# SPDX-License-Identifier: Apache-2.0
"""Training arguments: those of transformers, and those that multi-label emotion training adds."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from transformers import TrainingArguments

from ..errors import InputError, Range, check_choices, check_ranges
from ..evaluation.label_statistics import CLASS_WEIGHT_METHODS, compute_class_weights
from ..losses.base import BASE_LOSSES, LOSSES_WITH_STATISTICS
from ..losses.correlation import CORRELATION_TERMS
from ..losses.hybrid import HybridLoss, HybridLossWeights, LabelStatistics
from ..precision import best_precision

if TYPE_CHECKING:
    _JsonOrNone: TypeAlias = None
else:
    # The parser of transformers takes JSON where a field may be a string; `__post_init__` reads it.
    _JsonOrNone = str | None

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TRAINING_MODES = ("joint", "staged")
# For `training_mode: staged` alone.
STAGED_FIELDS = (
    *("num_folds", "feature_cache_dir", "head_num_train_epochs", "head_per_device_train_batch_size"),
    *("polish_num_train_epochs", "polish_learning_rate"),
)
_RANGES: tuple[Range, ...] = (
    ("output_dir", lambda folder: folder is None or bool(str(folder).strip()), "the name of a folder"),
    ("num_train_epochs", lambda number: 0 < number < math.inf, "a finite number above 0"),
    ("max_steps", lambda number: number == -1 or 1 <= number < math.inf, "-1 (by epochs) or at least 1"),
    ("learning_rate", lambda rate: 0 <= rate < math.inf, "a finite number of 0 or more"),
    ("head_learning_rate", lambda rate: 0 <= rate < math.inf, "a finite number of 0 or more"),
    ("layerwise_lr_decay", lambda factor: 0 < factor <= 1, "above 0 and at most 1"),
    ("weight_decay", lambda rate: 0 <= rate < math.inf, "a finite number of 0 or more"),
    ("warmup_steps", lambda number: 0 <= number < math.inf, "a finite number of 0 or more"),
    ("max_grad_norm", lambda norm: 0 <= norm < math.inf, "a finite number of 0 (no clipping) or more"),
    ("adam_beta1", lambda ratio: 0 <= ratio < 1, "from 0 to below 1"),
    ("adam_beta2", lambda ratio: 0 <= ratio < 1, "from 0 to below 1"),
    ("adam_epsilon", lambda number: 0 < number < math.inf, "a finite number above 0"),
    ("per_device_train_batch_size", lambda number: number >= 1, "at least 1"),
    ("per_device_eval_batch_size", lambda number: number >= 1, "at least 1"),
    ("gradient_accumulation_steps", lambda number: number >= 1, "at least 1"),
    ("label_smoothing_factor", lambda ratio: ratio == 0, "0: the labels of a text are smoothed by no `base_loss`"),
    ("num_frozen_layers", lambda number: number >= -1, "-1 (all) or more"),
    ("lora_r", lambda rank: rank >= 0, "0 (no adapters) or more"),
    ("lora_alpha", lambda scale: 0 < scale < math.inf, "a finite number above 0"),
    ("lora_dropout", lambda ratio: 0 <= ratio < 1, "from 0 to below 1"),
    ("early_stopping_patience", lambda number: number is None or number >= 1, "at least 1"),
    ("early_stopping_threshold", lambda gain: 0 <= gain < math.inf, "a finite number of 0 or more"),
    ("class_weight_cap", lambda weight: weight >= 1, "at least 1"),
    ("correlation_smoothing", lambda number: 0 <= number < math.inf, "a finite number of 0 or more"),
    *(
        (f"{term}_loss_weight", lambda weight: weight < math.inf, "a finite number")
        for term in ("base", "auxiliary", "encoder", "correlation", "contrastive")
    ),
    ("contrastive_temperature", lambda number: 0 < number < math.inf, "a finite number above 0"),
    ("num_folds", lambda number: number == 0 or number >= 2, "0 (none) or at least 2"),
    ("head_num_train_epochs", lambda number: 0 < number < math.inf, "above 0"),
    ("head_per_device_train_batch_size", lambda number: number >= 1, "at least 1"),
    ("source_temperature", lambda number: 1 <= number < math.inf, "a finite number of at least 1"),
    ("polish_num_train_epochs", lambda number: 0 <= number < math.inf, "0 (none) or more"),
    ("polish_learning_rate", lambda rate: 0 < rate < math.inf, "above 0"),
)
# Ends of the names of metrics that are better the smaller they are.
_ENDS_OF_SMALL_METRICS = ("loss", "error", "distance")


@dataclass
class StackedEmotionTrainingArguments(TrainingArguments):
    """
    [`TrainingArguments`] with the fields of multi-label emotion training, and defaults that suit encoders and short
    texts. `docs/fields.md` and `--help` describe every field, from the `help` in its metadata.

    Gradient accumulation: `gradient_accumulation_steps` batches are one larger batch for every term that is a mean
    over texts: all base losses, the auxiliary and the encoder term, `"laplacian"` and `"lca"`. With unknown labels
    each batch is the mean over its own known ones. The contrastive term and `"matching"` compare the texts of a batch
    with one another, and see only the pairs within each of the accumulated batches; `contrastive_memory_size` brings
    the contrastive term the texts of the batches before, without gradients. Several processes, on the contrary, are
    one larger batch for every term, and the known labels of all of them count.

    Raises:
        `InputError`: If a field, or two of them together, cannot be used.
    """

    learning_rate: float = field(default=5e-5, metadata={"help": "Learning rate of the encoders."})
    head_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of everything but the encoders."})
    encoder_learning_rates: dict[str, float] | _JsonOrNone = field(
        default=None,
        metadata={
            "help": "Encoder to a learning rate of its own: {fasttext: 3e-3}. A table of words learns from each text "
            "only in a few rows, and needs a higher one."
        },
    )
    layerwise_lr_decay: float = field(
        default=1.0,
        metadata={
            "help": "Factor from the learning rate of an encoder's layer to that of the next lower one. The top layer "
            "has `learning_rate`, the embeddings have the lowest (Howard and Ruder, 2018, Universal Language Model "
            "Fine-tuning for Text Classification, divide by 2.6; Clark et al., 2020, ELECTRA, take 0.8)."
        },
    )
    num_frozen_layers: int = field(
        default=0,
        metadata={
            "help": "Lowest layers of every encoder not to train, with the embeddings. -1 trains the head alone."
        },
    )
    lora_r: int = field(default=0, metadata={"help": "Rank of the LoRA adapters on the encoders; 0 for none."})
    lora_alpha: int = field(
        default=32, metadata={"help": "The adapters' output is multiplied by `lora_alpha / lora_r`."}
    )
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout ratio of the adapters' input."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Linear layers that get adapters. Ends of their paths, such as [query, value]; by default all "
            "linear layers in the blocks of the encoders."
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Evaluations without a better `metric_for_best_model` after which the training stops."},
    )
    early_stopping_threshold: float = field(
        default=0.0, metadata={"help": "The least gain of the metric that counts as better."}
    )
    base_loss: str = field(
        default="bce",
        metadata={"help": "Loss of each label on its own; see `trainer_ext.losses.base`.", "choices": (*BASE_LOSSES,)},
    )
    base_loss_options: dict[str, Any] | _JsonOrNone = field(
        default=None, metadata={"help": "Options of the base loss: {gamma: 2.0}."}
    )
    class_weights: str = field(
        default="none",
        metadata={
            "help": "Weight of the positives of each label. `inverse` is negatives / positives, `sqrt` its square "
            "root, `effective` the ratio of the effective numbers of samples (Cui et al., 2019, Class-Balanced Loss "
            "Based on Effective Number of Samples).",
            "choices": CLASS_WEIGHT_METHODS,
        },
    )
    class_weight_cap: float = field(default=10.0, metadata={"help": "The highest class weight that is computed."})
    label_weights: dict[str, float] | _JsonOrNone = field(
        default=None, metadata={"help": "Label to a weight that takes the place of the computed one."}
    )
    base_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of the base loss. A term of weight 0 is not computed."}
    )
    auxiliary_loss_weight: float = field(
        default=0.3, metadata={"help": "Weight of the base loss of the meta-learner's own classifier."}
    )
    encoder_loss_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the base loss of each encoder alone. One keeps learning where another has explained "
            "the labels (Wang et al., 2020, What Makes Training Multi-Modal Classification Networks Hard?). For joint "
            "training of encoders of about the same strength, with the skip connection; the stage of the head goes "
            "without."
        },
    )
    correlation_loss: str = field(
        default="none",
        metadata={
            "help": "Term on labels that come together; see `trainer_ext.losses.correlation`.",
            "choices": CORRELATION_TERMS,
        },
    )
    correlation_loss_weight: float = field(default=0.2, metadata={"help": "Weight of the correlation term."})
    correlation_smoothing: float = field(
        default=10.0, metadata={"help": "Pseudo-samples that draw the correlations of rare labels towards 0."}
    )
    contrastive_loss_weight: float = field(default=0.0, metadata={"help": "Weight of the contrastive term."})
    contrastive_temperature: float = field(default=0.1, metadata={"help": "Temperature of the contrastive term."})
    contrastive_memory_size: int = field(
        default=0, metadata={"help": "Texts of the batches before that the contrastive term compares with."}
    )
    precision: str = field(
        default="auto",
        metadata={
            "help": "Number format of the training; auto takes that for which the device has units. The flags `bf16` "
            "and `fp16` and a setting of `accelerate launch` other than `no` come first and are written here.",
            "choices": PRECISIONS,
        },
    )
    # Declared as in transformers, whose parser of command lines knows no `str | bool | None`.
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "Folder of a checkpoint, or true for the last complete one in `output_dir`, if there is any."
        },
    )
    training_mode: str = field(
        default="joint",
        metadata={
            "help": "All at once, or staged: encoders first, then the head. In stages every encoder is trained alone; "
            "the head starts from their classifiers and learns on their cached word states.",
            "choices": TRAINING_MODES,
        },
    )
    num_folds: int = field(
        default=0,
        metadata={
            "help": "Staged: folds of the out-of-fold states, 2 or more. The head learns from states that each come "
            "from an encoder trained on the other folds; with 0 from encoders that have seen the labels of the very "
            "same texts."
        },
    )
    feature_cache_dir: str | None = field(
        default=None,
        metadata={"help": "Staged: folder of the cached word states. Runs may share it; by default in `output_dir`."},
    )
    head_num_train_epochs: float = field(
        default=10,
        metadata={"help": "Staged: epochs of the head on the cache. `num_train_epochs` are those of every encoder."},
    )
    head_per_device_train_batch_size: int = field(
        default=256, metadata={"help": "Staged: texts per step and device of the head on the cache."}
    )
    polish_num_train_epochs: float = field(
        default=0, metadata={"help": "Staged: epochs of a last joint training of encoders and head."}
    )
    polish_learning_rate: float = field(default=1e-5, metadata={"help": "Staged: learning rate of these epochs."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay; biases and norms have none."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps of warm-up; below 1 a share of all steps."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Texts per step and device."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Texts per evaluation batch and device."})
    source_temperature: float = field(
        default=1.0,
        metadata={"help": "Sources of unlike size: 1 takes every row once an epoch; the greater, the more alike."},
    )
    source_weights: dict[str, float] | None = field(
        default=None, metadata={"help": "Source to how often its rows come, 1 for the others; before the temperature."}
    )
    train_sampling_strategy: str = field(
        default="group_by_length", metadata={"help": "Texts of like length share a batch: little padding."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Off: encoders' columns have free names."})
    ddp_find_unused_parameters: bool | None = field(
        default=None,
        metadata={
            "help": "Whether processes look for weights that the loss does not depend on. By default only where "
            "`base_loss_weight` or `auxiliary_loss_weight` is 0; an encoder with weights that have no part in its "
            "output needs it, too."
        },
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate on the validation split."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept, besides the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best epoch, not the last."})
    metric_for_best_model: str | None = field(default="macro_f1", metadata={"help": "Metric of the best epoch."})
    logging_steps: float = field(default=50, metadata={"help": "Steps between two lines of log."})
    # Copied with the others by `dataclasses.replace`: flags that still say this are nobody's wish.
    derived_precision: str = field(default="fp32", repr=False, metadata={"help": argparse.SUPPRESS})

    def __post_init__(self) -> None:
        self._read_json()
        self.check()
        self._read_encoder_learning_rates()
        # transformers takes bf16 for a wish for a GPU unless the CPU is asked for.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        self._choose_precision()
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = not (self.base_loss_weight and self.auxiliary_loss_weight)
        metric = self.metric_for_best_model
        if metric is not None and self.greater_is_better is None:
            self.greater_is_better = not is_small_metric(metric)
        super().__post_init__()
        self._check_layers()
        if self.training_mode == "staged":
            self._check_staged()

    def __getstate__(self) -> dict[str, Any]:
        """Without the token of the Hub: the Trainer pickles the arguments into every checkpoint."""
        return {**self.__dict__, "hub_token": None}

    def check(self) -> None:
        """An [`InputError`] for the first field that cannot be used by itself; each trial of a search is checked."""
        check_choices(self)
        check_ranges(self, _RANGES)
        self._check_loss()

    def _read_json(self) -> None:
        """Dicts of the fields that may have come as JSON from a command line."""
        for name in ("encoder_learning_rates", "base_loss_options", "label_weights"):
            value: Any = getattr(self, name)
            if not isinstance(value, str):
                continue
            try:
                parsed = json.loads(value)
            except ValueError:
                parsed = None
            if not isinstance(parsed, dict):
                raise InputError(f'`{name}` must be a dict, as JSON {{"name": value}}, got {value!r}.')
            setattr(self, name, parsed)

    def _read_encoder_learning_rates(self) -> None:
        """Numbers of them: YAML reads 3e-3 as a word."""
        rates = {}
        for name, rate in (self.encoder_learning_rates or {}).items():
            try:
                number = float(rate)
            except (TypeError, ValueError):
                number = math.nan
            if not 0 <= number < math.inf:
                raise InputError(f"`encoder_learning_rates`: that of {name!r} must be a number >= 0, got {rate!r}.")
            rates[name] = number
        self.encoder_learning_rates = rates or None

    def _choose_precision(self) -> None:
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if self.chosen_precision not in ("fp32", self.derived_precision):
            self.precision = self.chosen_precision
        elif launched in PRECISIONS:
            self.precision = launched
        chosen = best_precision(self.use_cpu) if self.precision == "auto" else self.precision
        self.bf16, self.fp16 = chosen == "bf16", chosen == "fp16"
        self.derived_precision = chosen

    @property
    def chosen_precision(self) -> str:
        """The number format of the training: `"fp32"`, `"bf16"` or `"fp16"`."""
        return "bf16" if self.bf16 else "fp16" if self.fp16 else "fp32"

    @property
    def samples_sources(self) -> bool:
        """Whether the rows of several sources come more or less often than once an epoch."""
        return self.source_temperature > 1 or bool(self.source_weights)

    def _check_loss(self) -> None:
        """Every slip in the fields of the loss is found here rather than after the data is read."""
        names = list(self.label_weights or {}) or ["any"]
        # Any labels do, but for such as are balanced: their class weights would be 1.
        self.create_loss(np.eye(3, len(names), dtype=np.int64), names)

    def _check_layers(self) -> None:
        if self.num_frozen_layers == -1 and self.lora_r:
            raise InputError("`num_frozen_layers=-1` trains no encoder: leave out `lora_r`.")
        if self.lora_r and self._shards_weights():
            raise InputError("`lora_r` cannot be used with FSDP or DeepSpeed: train without one of the two.")
        if isinstance(self.activation_checkpointing_kwargs, str):
            raise InputError(
                f"`activation_checkpointing_kwargs` must be a mapping, got {self.activation_checkpointing_kwargs!r}."
            )
        is_reentrant = (self.activation_checkpointing_kwargs or {}).get("use_reentrant")
        if is_reentrant and (self.num_frozen_layers or self.lora_r):
            raise InputError(
                "With `use_reentrant=True` nothing above frozen embeddings gets a gradient: "
                "leave it out of `activation_checkpointing_kwargs`."
            )

    def _check_staged(self) -> None:
        if self.lora_r:
            raise InputError("`lora_r` is for `training_mode: joint`, got staged.")
        if self.max_steps > 0:
            raise InputError(
                f"`max_steps` cannot count the steps of several stages, got {self.max_steps}: "
                "use `num_train_epochs` and `head_num_train_epochs`."
            )
        if isinstance(self.resume_from_checkpoint, str):
            raise InputError(
                "Staged training finds its checkpoints itself: `resume_from_checkpoint` must be true or false, "
                f"got {self.resume_from_checkpoint!r}."
            )
        if self._shards_weights():
            raise InputError("`training_mode: staged` keeps each encoder whole: use it without FSDP and DeepSpeed.")

    def _shards_weights(self) -> bool:
        return bool(self.fsdp or self.deepspeed or os.environ.get("ACCELERATE_USE_FSDP") == "true")

    def field_of_statistics(self) -> str | None:
        """The first field whose term of the loss is made from the labels of the whole training set, if any."""
        needs = {
            "class_weights": self.class_weights != "none",
            "base_loss": self.base_loss in LOSSES_WITH_STATISTICS,
            "correlation_loss": self.correlation_loss != "none",
        }
        return next((name for name, is_needed in needs.items() if is_needed), None)

    def create_loss(self, labels: npt.ArrayLike, label_names: Sequence[str]) -> HybridLoss:
        """
        The hybrid loss of these arguments.

        Args:
            labels (`ArrayLike` of shape `(num_samples, num_labels)`): Training labels in [0, 1], NaN where unknown.
            label_names (`Sequence[str]` of length `num_labels`): The labels that `label_weights` may name.

        Raises:
            `ValueError`: If an argument of the loss is unknown or out of its range.
            `TypeError`: If a number is something else.
        """
        weights = compute_class_weights(labels, self.class_weights, cap=self.class_weight_cap)
        for label, weight in (self.label_weights or {}).items():
            if label not in label_names:
                raise InputError(f"`label_weights` names {label!r}; the labels are {', '.join(label_names)}.")
            # YAML reads 1e-1 as a word.
            if not isinstance(weight, int | float):
                raise InputError(f"`label_weights`: the weight of {label!r} must be a number, got {weight!r}.")
            if not 0 < weight < math.inf:
                raise InputError(f"`label_weights`: the weight of {label!r} must be above 0, got {weight}.")
            weights[list(label_names).index(label)] = weight
        return HybridLoss(
            LabelStatistics.from_labels(
                labels,
                class_weights=weights,
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
                encoder=self.encoder_loss_weight,
                correlation=self.correlation_loss_weight,
                contrastive=self.contrastive_loss_weight,
            ),
        )


def is_small_metric(name: str) -> bool:
    """Whether a metric is better the smaller it is: a loss, one of its terms (`loss/base`), an error, a distance."""
    return "loss/" in name or name.endswith(_ENDS_OF_SMALL_METRICS)
