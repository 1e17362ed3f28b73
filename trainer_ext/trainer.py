# SPDX-License-Identifier: Apache-2.0
"""The Trainer: any multi-label classifier of transformers, two learning rates, and the meta-learner's own loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import EvalPrediction, Trainer

from .metrics import multilabel_metrics
from .thresholds import tune_thresholds
from .training_args import StackedEmotionTrainingArguments

VALIDATION_METRICS = ("macro_f1", "micro_f1", "samples_jaccard", "macro_roc_auc", "macro_average_precision")


class StackedEmotionTrainer(Trainer):
    """
    [`Trainer`] for multi-label emotion classifiers, ours or any `AutoModelForSequenceClassification`.

    What it changes: parameters outside the encoders have a learning rate of their own, and the loss gets the BCE of
    the `auxiliary_logits` if the model returns any.
    """

    args: StackedEmotionTrainingArguments
    # `compute_loss` returns the mean of a batch: the Trainer divides it by the steps of gradient accumulation.
    loss_is_scaled_for_ga = False

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,  # noqa: ARG002  (part of the signature)
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """BCE of the logits, plus the weighted BCE of the auxiliary logits."""
        outputs = model(**inputs)
        loss = outputs["loss"]
        weight = self.args.auxiliary_loss_weight
        if weight and outputs.get("auxiliary_logits") is not None:
            loss = loss + weight * nn.functional.binary_cross_entropy_with_logits(
                outputs["auxiliary_logits"].float(), inputs["labels"].float()
            )
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimizer of the arguments, over encoders and head, each with and without weight decay."""
        if self.optimizer is None:
            optimized = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(optimized))
            groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
            for name, parameter in optimized.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((_is_encoder(optimized, name), name in decayed), []).append(parameter)
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, optimized)
            self.optimizer = optimizer_class(
                [
                    {
                        "params": parameters,
                        "lr": self.args.learning_rate if is_encoder else self.args.head_learning_rate,
                        "weight_decay": self.args.weight_decay if is_decayed else 0.0,
                    }
                    for (is_encoder, is_decayed), parameters in groups.items()
                ],
                **options,
            )
        return self.optimizer


def _is_encoder(model: nn.Module, name: str) -> bool:
    """Whether a parameter belongs to an encoder: ours sit in `encoders`, a stock model's under its base model."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    base = getattr(model, prefix[:-1], model)
    return name.startswith(f"{prefix}encoders." if hasattr(base, "encoders") else prefix)


def compute_validation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """
    A few metrics for an evaluation during training, at thresholds tuned on the very same rows.

    So they are a little too good, equally for every epoch, and serve to choose the best epoch, nothing else: what is
    reported comes from a split that chose no threshold.
    """
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    probabilities = 1.0 / (1.0 + np.exp(-np.asarray(logits, dtype=np.float64)))
    labels = np.asarray(prediction.label_ids).astype(np.int64)
    metrics = multilabel_metrics(labels, probabilities, thresholds=tune_thresholds(labels, probabilities))
    return {key: metrics[key] for key in VALIDATION_METRICS}
