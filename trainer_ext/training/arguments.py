# SPDX-License-Identifier: Apache-2.0
"""Training arguments: those of transformers, with what multi-label emotion training adds."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import TrainingArguments

from ..errors import InputError
from ..evaluation.label_statistics import CLASS_WEIGHTS, CORRELATION_METHODS, class_weights
from ..losses.base import BASE_LOSSES
from ..losses.correlation import CORRELATION_TERMS
from ..losses.hybrid import HybridLoss, HybridLossWeights, LabelStatistics
from ..precision import best_precision

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TRAINING_MODES = ("joint", "staged")


@dataclass
class StackedEmotionTrainingArguments(TrainingArguments):
    """
    [`TrainingArguments`] with what is trained of a classifier and how fast, and defaults that suit encoders and short
    texts.

    Args:
        head_learning_rate (`float`, *optional*, defaults to 1e-3):
            Learning rate of everything that is not an encoder; `learning_rate` is the encoders' own.
        encoder_learning_rates (`dict[str, float]`, *optional*):
            Encoder to its own learning rate in place of `learning_rate`: a table of words learns from each text only
            in a few rows, and needs a higher one.
        layerwise_lr_decay (`float`, *optional*, defaults to 1.0):
            Factor, in `(0, 1]`, from the learning rate of one layer of an encoder to that of the layer below; the top
            layer has `learning_rate`, the embeddings have the lowest (Howard and Ruder, 2018, "Universal Language
            Model Fine-tuning for Text Classification", divide by 2.6; Clark et al., 2020, "ELECTRA", take 0.8).
        num_frozen_layers (`int`, *optional*, defaults to 0):
            Layers of every encoder, from the bottom, that are not trained, nor are the embeddings then; -1 trains the
            head alone.
        unfreeze_every (`float`, *optional*):
            Epochs after which one layer more of every encoder is trained, from the top; the head is from the start.
            See [`GradualUnfreezingCallback`].
        lora_r (`int`, *optional*, defaults to 0):
            Rank of the adapters that [`add_lora`] puts on the encoders; 0 for none.
        lora_alpha (`int`, *optional*, defaults to 32):
            The adapters' output is multiplied by `lora_alpha / lora_r`.
        lora_dropout (`float`, *optional*, defaults to 0.05):
            Dropout ratio of the adapters' input, in `[0, 1)`.
        lora_target_modules (`list[str]`, *optional*):
            Ends of the paths of the linear layers that get adapters, such as `["query", "value"]`; by default all
            linear layers in the blocks of the encoders.
        early_stopping_patience (`int`, *optional*):
            Evaluations without a better `metric_for_best_model` after which the training stops.
        early_stopping_threshold (`float`, *optional*, defaults to 0.0):
            By how much the metric has to be better.
        base_loss (`str`, *optional*, defaults to `"bce"`):
            What each label is worth on its own: `"bce"`, `"focal"`, `"asymmetric"`, `"class_balanced"`,
            `"distribution_balanced"` or `"zlpr"`; see `trainer_ext.losses.base`.
        base_loss_options (`dict[str, Any]`, *optional*):
            Arguments of that loss, such as `{"gamma": 2.0}`.
        class_weights (`str`, *optional*, defaults to `"none"`):
            Weight of the positives of each label: `"inverse"`, `"sqrt"` or `"effective"`; see
            [`~trainer_ext.evaluation.label_statistics.class_weights`].
        class_weight_cap (`float`, *optional*, defaults to 10.0):
            The highest weight that is computed.
        label_weights (`dict[str, float]`, *optional*):
            Label to a weight that takes the place of the computed one.
        base_loss_weight, auxiliary_loss_weight, encoder_loss_weight, correlation_loss_weight,
        contrastive_loss_weight (`float`, *optional*, default to 1.0, 0.3, 0.0, 0.2 and 0.0):
            Weights of the terms; a term of weight 0 is not computed. The auxiliary term is the base loss of the
            meta-learner's own classifier. The encoder term is that of the classifier for each encoder alone: one keeps
            learning where another has explained the labels (Wang et al. 2020, What Makes Training Multi-Modal
            Classification Networks Hard?). For joint training of encoders of about the same strength, with the skip
            connection; the stage of the head goes without.
        correlation_loss (`str`, *optional*, defaults to `"none"`):
            `"laplacian"`, `"matching"` or `"lca"`; see `trainer_ext.losses.correlation`.
        label_correlation (`str`, *optional*, defaults to `"phi"`):
            How the correlation of two labels is estimated: `"phi"`, `"conditional"` or `"cosine"`; `"matching"` takes
            the first only.
        correlation_smoothing (`float`, *optional*, defaults to 10.0):
            Pseudo-samples that draw the correlations of rare labels to those of independent ones.
        contrastive_temperature (`float`, *optional*, defaults to 0.1):
            Of the contrastive term.
        contrastive_memory_size (`int`, *optional*, defaults to 0):
            Texts of the batches before that the contrastive term compares with.
        evaluation_reports (`bool`, *optional*, defaults to `True`):
            Whether `scripts.train` leaves label correlations and the F1 of each label, as numbers and figures, in
            `<output_dir>/reports` at every evaluation.
        precision (`str`, *optional*, defaults to `"auto"`):
            `"fp32"`, `"bf16"`, `"fp16"`, or `"auto"`: what the device has units for
            ([`~trainer_ext.precision.best_precision`]). The flags `--bf16` and `--fp16` and a setting of
            `accelerate launch` other than `no` come first and are written here.
        ddp_find_unused_parameters (`bool`, *optional*):
            Whether several processes look for weights that the loss does not depend on. By default only where
            `base_loss_weight` or `auxiliary_loss_weight` is 0; an encoder with weights that have no part in its output
            needs it, too.
        resume_from_checkpoint (`str` or `bool`, *optional*):
            A checkpoint's folder, or true for the last complete one in `output_dir`, if there is any.
        training_mode (`str`, *optional*, defaults to `"joint"`):
            `"joint"`, or `"staged"`: every encoder alone, then the head, which starts from their classifiers, on their
            cached word states; see [`~trainer_ext.stages.staged_training.train_staged`]. The other fields below are
            for `"staged"` alone.
        num_folds (`int`, *optional*, defaults to 0):
            The head learns from out-of-fold states: each by an encoder trained on the other `num_folds - 1` folds.
            0 takes the states of encoders that have seen the labels of the very same texts.
        feature_cache_dir (`str`, *optional*, defaults to a folder in `output_dir`):
            Folder of the cached word states; runs may share it.
        head_num_train_epochs (`float`, *optional*, defaults to 10):
            Epochs of the head on the cache; `num_train_epochs` are those of every encoder.
        head_per_device_train_batch_size (`int`, *optional*, defaults to 256):
            Texts per step and device of the head on the cache.
        polish_num_train_epochs (`float`, *optional*, defaults to 0):
            Epochs of a last joint training of encoders and head.
        polish_learning_rate (`float`, *optional*, defaults to 1e-5):
            Learning rate of encoders and head in these.

    Gradient accumulation: `gradient_accumulation_steps` batches are one larger batch for every term that is a mean
    over texts: all base losses, the auxiliary and the encoder term, `"laplacian"` and `"lca"`. The contrastive term
    and `"matching"` compare the texts of a batch with one another, and see only the pairs within each of the
    accumulated batches; `contrastive_memory_size` brings the contrastive term the texts of the batches before, without
    gradients. Several processes, on the contrary, are one larger batch for every term.
    """

    learning_rate: float = field(default=5e-5, metadata={"help": "Learning rate of the encoders."})
    head_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of everything but the encoders."})
    encoder_learning_rates: dict[str, float] | None = field(
        default=None, metadata={"help": "Encoder to a learning rate of its own: {fasttext: 3e-3}."}
    )
    layerwise_lr_decay: float = field(
        default=1.0, metadata={"help": "Learning rate of an encoder's layer, as a share of the next higher layer's."}
    )
    num_frozen_layers: int = field(
        default=0, metadata={"help": "Lowest layers of every encoder not to train, with the embeddings; -1 for all."}
    )
    unfreeze_every: float | None = field(
        default=None, metadata={"help": "Epochs from the training of one layer to that of the next lower one, too."}
    )
    lora_r: int = field(default=0, metadata={"help": "Rank of LoRA adapters on the encoders; 0 for none."})
    lora_alpha: int = field(default=32, metadata={"help": "Their output is multiplied by lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout ratio of their input."})
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "Names of the linear layers that get adapters; all of the encoders if unset."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Evaluations without a better metric before training stops."}
    )
    early_stopping_threshold: float = field(default=0.0, metadata={"help": "By how much better it has to be."})
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
    encoder_loss_weight: float = field(default=0.0, metadata={"help": "Weight of the loss of each encoder alone."})
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
    evaluation_reports: bool = field(default=True, metadata={"help": "Figures and numbers of every evaluation."})
    precision: str = field(
        default="auto",
        metadata={"help": "fp32, bf16, fp16, or auto: what the device has units for.", "choices": PRECISIONS},
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
    head_per_device_train_batch_size: int = field(
        default=256, metadata={"help": "Staged: texts per step of the head."}
    )
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
            raise InputError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {self.precision!r}.")
        if self.head_learning_rate < 0:
            raise InputError(f"`head_learning_rate` must not be negative, got {self.head_learning_rate}.")
        self._read_encoder_learning_rates()
        self._check_loss()
        self._check_stages()
        # transformers takes bf16 for a wish for a GPU unless the CPU is asked for.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        self._choose_precision()
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = not (self.base_loss_weight and self.auxiliary_loss_weight)
        super().__post_init__()
        self._check_what_is_trained()

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
        if self.bf16 or self.fp16:
            self.precision = "bf16" if self.bf16 else "fp16"
            return
        if launched in PRECISIONS:
            self.precision = launched
        chosen = self.precision
        if chosen == "auto":
            chosen = best_precision(self.use_cpu)
        self.bf16, self.fp16 = chosen == "bf16", chosen == "fp16"

    @property
    def chosen_precision(self) -> str:
        """`"fp32"`, `"bf16"` or `"fp16"`: what training is done in."""
        return "bf16" if self.bf16 else "fp16" if self.fp16 else "fp32"

    def derive(self, **changes: Any) -> StackedEmotionTrainingArguments:
        """A copy with other values of some fields; without a change of `precision` it has the same one."""
        # The flags hold the outcome of the first choice, and would come before another `precision`.
        return replace(self, **({"bf16": False, "fp16": False} | changes))

    def _check_loss(self) -> None:
        """Every slip in the fields of the loss is found here rather than after the data is read."""
        choices = {"class_weights": CLASS_WEIGHTS, "label_correlation": CORRELATION_METHODS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"`{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        if not self.class_weight_cap >= 1:
            raise InputError(f"`class_weight_cap` must be at least 1, got {self.class_weight_cap}.")
        if not self.correlation_smoothing >= 0:
            raise InputError(f"`correlation_smoothing` must not be negative, got {self.correlation_smoothing}.")
        if self.correlation_loss == "matching" and self.label_correlation != "phi":
            raise InputError(
                '`correlation_loss` "matching" compares Pearson\'s correlations: `label_correlation` must be "phi", '
                f"got {self.label_correlation!r}."
            )
        names = list(self.label_weights or {}) or ["any"]
        # Any labels do, but for such as are balanced: their class weights would be 1.
        self.create_loss(np.eye(3, len(names), dtype=np.int64), names)

    def _check_stages(self) -> None:
        if self.training_mode not in TRAINING_MODES:
            raise InputError(
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
                raise InputError(f"`{name}` must be {expected}, got {getattr(self, name)}.")
        if self.training_mode == "joint":
            used = [name for name in (*ranges, "feature_cache_dir") if getattr(self, name) != _default(name)]
            if used:
                raise InputError(f"`{used[0]}` is for `training_mode: staged`, got {self.training_mode}.")
            return
        self._check_staged()

    def _check_staged(self) -> None:
        for name in ("lora_r", "unfreeze_every"):
            if getattr(self, name):
                raise InputError(f"`{name}` is for `training_mode: joint`, got {self.training_mode}.")
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

    def create_loss(self, labels: npt.ArrayLike, label_names: Sequence[str]) -> HybridLoss:
        """
        The hybrid loss of these arguments.

        Args:
            labels (`ArrayLike` of shape `(num_samples, num_labels)`): Training labels, 0 or 1.
            label_names (`Sequence[str]` of length `num_labels`): What `label_weights` speaks of.

        Raises:
            `ValueError`: If an argument of the loss is unknown or out of its range.
            `TypeError`: If a number is something else.
        """
        weights = class_weights(labels, self.class_weights, cap=self.class_weight_cap)
        for label, weight in (self.label_weights or {}).items():
            if label not in label_names:
                raise InputError(f"`label_weights` names {label!r}; the labels are {', '.join(label_names)}.")
            # YAML reads 1e-1 as a word.
            if not isinstance(weight, int | float):
                raise InputError(f"`label_weights`: the weight of {label!r} must be a number, got {weight!r}.")
            if not weight > 0:
                raise InputError(f"`label_weights`: the weight of {label!r} must be above 0, got {weight}.")
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
                encoder=self.encoder_loss_weight,
                correlation=self.correlation_loss_weight,
                contrastive=self.contrastive_loss_weight,
            ),
        )

    def _check_what_is_trained(self) -> None:
        patience = self.early_stopping_patience
        ranges = {
            "layerwise_lr_decay": (0 < self.layerwise_lr_decay <= 1, "above 0 and at most 1"),
            "num_frozen_layers": (self.num_frozen_layers >= -1, "-1 (all) or more"),
            "unfreeze_every": (self.unfreeze_every is None or self.unfreeze_every > 0, "above 0"),
            "lora_r": (self.lora_r >= 0, "0 (no adapters) or more"),
            "lora_alpha": (self.lora_alpha > 0, "above 0"),
            "lora_dropout": (0 <= self.lora_dropout < 1, "from 0 to below 1"),
            "early_stopping_patience": (patience is None or patience >= 1, "at least 1"),
            "early_stopping_threshold": (self.early_stopping_threshold >= 0, "0 or more"),
        }
        for name, (holds, expected) in ranges.items():
            if not holds:
                raise InputError(f"`{name}` must be {expected}, got {getattr(self, name)}.")
        if self.num_frozen_layers == -1 and (self.lora_r or self.unfreeze_every):
            raise InputError("`num_frozen_layers=-1` trains no encoder: leave out `lora_r` and `unfreeze_every`.")
        if self.lora_r and self._shards_weights():
            raise InputError("`lora_r` cannot be used with FSDP or DeepSpeed: train without one of the two.")
        if (self.activation_checkpointing_kwargs or {}).get("use_reentrant") and (
            self.num_frozen_layers or self.lora_r or self.unfreeze_every
        ):
            raise InputError(
                "With `use_reentrant=True` nothing above frozen embeddings gets a gradient: "
                "leave it out of `activation_checkpointing_kwargs`."
            )


def _default(name: str) -> Any:
    return StackedEmotionTrainingArguments.__dataclass_fields__[name].default
