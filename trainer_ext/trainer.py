# SPDX-License-Identifier: Apache-2.0
"""The Trainer: any multi-label classifier of transformers, two learning rates, and the meta-learner's own loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput

from .batching import EpochLengthGroupedSampler
from .callbacks.evaluation import EvaluationCallback
from .metrics import multilabel_metrics
from .thresholds import tune_thresholds
from .training_args import StackedEmotionTrainingArguments

VALIDATION_METRICS = ("macro_f1", "micro_f1", "samples_jaccard", "macro_roc_auc", "macro_average_precision")


class StackedEmotionTrainer(Trainer):
    """
    [`Trainer`] for multi-label emotion classifiers, ours or any `AutoModelForSequenceClassification`.

    What it changes: parameters outside the encoders have a learning rate of their own, the loss gets the BCE of the
    `auxiliary_logits` if the model returns any, and grouping by length neither changes the order of the training texts
    when a run is resumed nor that of the rows that `predict` returns.
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
        """The Trainer's own optimizer, its groups (with and without weight decay) split into encoders and head."""
        if self.optimizer is not None:
            return self.optimizer
        optimizer = super().create_optimizer(model)
        optimized = self.model if model is None else model
        heads = {id(value) for name, value in optimized.named_parameters() if not _is_encoder(optimized, name)}
        groups = []
        for group in optimizer.param_groups:
            encoder = [parameter for parameter in group["params"] if id(parameter) not in heads]
            head = [parameter for parameter in group["params"] if id(parameter) in heads]
            groups.append({**group, "params": encoder})
            groups.append({**group, "params": head, "lr": self.args.head_learning_rate})
        optimizer.param_groups = [group for group in groups if group["params"]]
        return optimizer

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        sampler = super()._get_train_sampler(train_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            return EpochLengthGroupedSampler(sampler.batch_size, list(sampler.lengths), seed)
        return sampler

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """The batches of `predict`, in the order of the rows; `evaluate` may group them by length."""
        strategy, self.args.train_sampling_strategy = self.args.train_sampling_strategy, "random"
        try:
            return super().get_test_dataloader(test_dataset)
        finally:
            self.args.train_sampling_strategy = strategy

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The Trainer's own, after which every [`EvaluationCallback`] adds its numbers to those of an evaluation."""
        observers = [one for one in self.callback_handler.callbacks if isinstance(one, EvaluationCallback)]
        observed = bool(observers) and description == "Evaluation"
        if observed and self.compute_metrics is None:
            # `evaluate` asks for the loss alone if no function wants the predictions.
            prediction_loss_only = None
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix=metric_key_prefix
        )
        if not observed or output.predictions is None or output.label_ids is None:
            return output
        logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        probabilities = 1.0 / (1.0 + np.exp(-np.asarray(logits, dtype=np.float64)))
        labels = np.asarray(output.label_ids).astype(np.int64)
        for observer in observers:
            numbers = observer.on_predictions(
                self.args,
                self.state,
                labels,
                probabilities,
                prefix=metric_key_prefix,
                callbacks=self.callback_handler.callbacks,
            )
            output.metrics.update({f"{metric_key_prefix}_{key}": value for key, value in numbers.items()})
        return output


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
