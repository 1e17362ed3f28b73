# SPDX-License-Identifier: Apache-2.0
"""The folder of one stage of a training: done once, known by its settings, its result in a file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..digests import settings_digest
from ..files import replacing, write_file
from ..training.arguments import StackedEmotionTrainingArguments

RESULT_ARGUMENTS = frozenset(
    (
        # Optimizer, schedule and steps.
        *("learning_rate", "head_learning_rate", "encoder_learning_rates", "layerwise_lr_decay", "weight_decay"),
        *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "num_train_epochs", "max_grad_norm"),
        *("optim", "optim_args", "optim_target_modules", "adam_beta1", "adam_beta2", "adam_epsilon"),
        # Batches and their order.
        *("per_device_train_batch_size", "auto_find_batch_size", "gradient_accumulation_steps", "accelerator_config"),
        *("average_tokens_across_devices", "dataloader_drop_last", "dataloader_in_order", "train_sampling_strategy"),
        *("source_temperature", "source_weights"),
        *("length_column_name", "seed", "data_seed", "parallelism_config"),
        # Numbers and devices.
        *("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32", "use_cpu", "full_determinism"),
        *("activation_checkpointing", "activation_checkpointing_kwargs", "gradient_checkpointing"),
        *("gradient_checkpointing_kwargs", "use_liger_kernel", "liger_kernel_config"),
        *("torch_compile", "torch_compile_backend", "torch_compile_mode"),
        # Loss and noise.
        *("base_loss", "base_loss_options", "base_loss_weight", "auxiliary_loss_weight", "encoder_loss_weight"),
        *("class_weights", "class_weight_cap", "label_weights", "label_smoothing_factor", "neftune_noise_alpha"),
        *("correlation_loss", "correlation_loss_weight", "correlation_smoothing"),
        *("contrastive_loss_weight", "contrastive_temperature", "contrastive_memory_size"),
        # Layers that are trained.
        "num_frozen_layers",
        # The epoch that is kept.
        *("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "save_strategy", "save_steps"),
        *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
        *("early_stopping_patience", "early_stopping_threshold"),
    )
)
"""Training arguments that shape the result of a stage; all others may change without repeating it."""

# Fields of a configuration that are there only when a checkpoint has been saved.
_SET_BY_SAVING = ("architectures", "dtype", "transformers_version")
_RECORD = "stage.json"
_WEIGHTS = "model.safetensors"


def stage_settings(
    args: StackedEmotionTrainingArguments, config: PreTrainedConfig, weights: str, data: Any
) -> dict[str, Any]:
    """
    All that the result of a stage depends on.

    Args:
        args ([`StackedEmotionTrainingArguments`]): The stage's own; those in [`RESULT_ARGUMENTS`] count.
        config ([`PreTrainedConfig`]): Of the model.
        weights (`str`): Digest of the weights that the stage begins with.
        data (`Any`): Digests of the rows.
    """
    arguments = {field: value for field, value in args.to_dict().items() if field in RESULT_ARGUMENTS}
    fields = {field: value for field, value in config.to_dict().items() if field not in _SET_BY_SAVING}
    return {"arguments": arguments, "config": fields, "weights": weights, "data": data}


@dataclass(frozen=True)
class StageFolder:
    """
    The folder of a stage.

    `stage.json` holds the digest of the settings from the beginning on, and the metrics when all else is written: so
    a stage is complete only with them, and a stage of other settings is not mistaken for this one.

    Args:
        path (`Path`): The folder.
        settings (`Mapping[str, Any]`): All that the stage's result depends on; see [`stage_settings`].
    """

    path: Path
    settings: Mapping[str, Any]

    def metrics(self) -> dict[str, float] | None:
        """Those of the completed stage; `None` if it is not complete or had other settings."""
        record = self._record()
        return record.get("metrics") if record.get("settings") == settings_digest(self.settings) else None

    def begin(self, resume: bool) -> None:
        """Make the folder; empty, unless the stage has begun with these settings and is to be resumed."""
        if resume and self._record().get("settings") == settings_digest(self.settings):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self._write_record(None)

    def complete(self, weights: Mapping[str, torch.Tensor], metrics: Mapping[str, float]) -> None:
        """Write the result, then that it is complete; the checkpoints are of no use then."""
        with replacing(self.path / _WEIGHTS) as partial:
            save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, partial)
        self._write_record(dict(metrics))
        for checkpoint in self.path.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            shutil.rmtree(checkpoint)

    def _record(self) -> dict[str, Any]:
        try:
            return json.loads((self.path / _RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def _write_record(self, metrics: dict[str, float] | None) -> None:
        record = {"settings": settings_digest(self.settings), "metrics": metrics}
        write_file(self.path / _RECORD, json.dumps(record, indent=2) + "\n")


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The result of the completed stage in a folder."""
    return load_file(folder / _WEIGHTS)
