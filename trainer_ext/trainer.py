# SPDX-License-Identifier: Apache-2.0
"""The Trainer: any multi-label classifier of transformers, two learning rates, and the meta-learner's own loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput

from modeling_stacked_emotion import StackedEmotionConfig
from modeling_stacked_emotion.layers_stacked_emotion import average_words

from .batching import EpochLengthGroupedSampler
from .losses.gathering import gather_batch
from .losses.hybrid import HybridLoss, LabelStatistics
from .metrics import multilabel_metrics
from .precision import read_precision, write_precision
from .thresholds import tune_thresholds
from .training_args import StackedEmotionTrainingArguments

_LOSS_FILE = "hybrid_loss.pt"
VALIDATION_METRICS = ("macro_f1", "micro_f1", "samples_jaccard", "macro_roc_auc", "macro_average_precision")


class StackedEmotionTrainer(Trainer):
    """
    [`Trainer`] for multi-label emotion classifiers, ours or any `AutoModelForSequenceClassification`.

    What it changes: the loss is the hybrid loss of the arguments, over the batch of all processes, each of its terms
    logged as `loss/<term>` and `eval_loss/<term>`; parameters outside the encoders have a learning rate of their own;
    grouping by length neither changes the order of the training texts when a run is resumed nor that of the rows that
    `predict` returns; a run is resumed in the order of its epoch in several processes, too.

    In several processes an epoch ends with a full batch, its last places taken by texts of the epoch's beginning, as
    Accelerate does it; an evaluation counts every text once.
    """

    args: StackedEmotionTrainingArguments
    # `compute_loss` returns the mean of a batch: the Trainer divides it by the steps of gradient accumulation.
    loss_is_scaled_for_ga = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.world_size > 1 and not self.args.accelerator_config.even_batches:
            raise ValueError(
                "`accelerator_config.even_batches` must be true in several processes, got false: "
                "the loss is that of the batches of all, which must be of one size."
            )
        self.add_callback(_EpochOrderCallback)
        self.hybrid_loss = self.create_loss()
        self.train_terms, self.eval_terms = TermMeter(), TermMeter()

    def create_loss(self) -> HybridLoss:
        """The loss that the arguments describe; its statistics are those of the training set."""
        if self.train_dataset is None:
            # Nothing is trained, and what an evaluation is to be compared with is the plain loss.
            return HybridLoss(LabelStatistics.from_labels(np.zeros((1, self.model.config.num_labels))))
        labels = dataset_labels(self.train_dataset)
        names = [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]
        if labels.shape[1:] != (len(names),):
            raise ValueError(
                f"`labels` must have shape (num_samples, {len(names)}), got {labels.shape}. Check `config.num_labels`."
            )
        return self.args.create_loss(labels, names).to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,  # noqa: ARG002  (part of the signature)
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """The sum of the terms of the hybrid loss over the batch of all processes."""
        labels = inputs["labels"]
        needs_hidden = self.hybrid_loss.needs_states and not _has_text_states(self.model)
        outputs = model(
            **{key: value for key, value in inputs.items() if key != "labels"},
            **({"output_hidden_states": True} if needs_hidden else {}),
        )
        states = None
        if needs_hidden:
            states = average_words(outputs["hidden_states"][-1], inputs["attention_mask"].bool())
            # An evaluation gathers every output.
            outputs = {key: value for key, value in outputs.items() if key != "hidden_states"}
        elif self.hybrid_loss.needs_states:
            states = outputs["pooler_output"]
        # The last batch of an evaluation is filled up with texts that have been seen: they are left out again.
        gather = gather_batch if model.training else self.accelerator.gather_for_metrics
        labels = gather(labels)
        states, auxiliary_logits = (
            None if tensor is None else gather(tensor) for tensor in (states, outputs.get("auxiliary_logits"))
        )
        terms = self.hybrid_loss.train(model.training)(gather(outputs["logits"]), labels, states, auxiliary_logits)
        (self.train_terms if model.training else self.eval_terms).add(terms, len(labels))
        loss = torch.stack(list(terms.values())).sum()
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The parent's, with the mean of every term since the last line of log."""
        if "loss" in logs:
            logs |= self.train_terms.means("loss/")
        super().log(logs, start_time)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """The parent's, with the mean of every term of the loss."""
        self.eval_terms.means()
        output = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        output.metrics.update(self.eval_terms.means(f"{prefix}_loss/"))
        return output

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

    def whole_model(self) -> nn.Module:
        """
        The trained model without any wrapper; to be asked for in every process.

        Where the weights are sharded (FSDP), the main process gets a new model of all of them on the CPU, the others
        their share as it is.
        """
        model: nn.Module = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if not self.is_fsdp_enabled:
            return model
        weights = self.accelerator.get_state_dict(self.model)
        if not self.is_world_process_zero():
            return model
        whole = type(model)(model.config)
        whole.load_state_dict(weights)
        return whole

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            torch.save(self.hybrid_loss.state_dict(), Path(output_dir) / _LOSS_FILE)
            write_precision(output_dir, self.args.chosen_precision)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        self._check_precision(checkpoint)
        if (Path(checkpoint) / _LOSS_FILE).is_file():
            # In several processes the device is "cpu:0", where torch 2.13 restores nothing.
            state = torch.load(Path(checkpoint) / _LOSS_FILE, map_location="cpu", weights_only=True)
            self.hybrid_loss.load_state_dict(state)
            self.hybrid_loss.to(self.args.device)

    def _check_precision(self, checkpoint: str) -> None:
        before, now = read_precision(checkpoint), self.args.chosen_precision
        if self.args.precision == "auto" and before not in (None, now):
            raise ValueError(
                f'{checkpoint} was trained in {before}, but `precision` "auto" has chosen {now}: name the checkpoint '
                f'in `resume_from_checkpoint` of the arguments, or set `precision` to "{before}" or "{now}".'
            )

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        sampler = super()._get_train_sampler(train_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            batch_size = self._num_batch_parts() * sampler.batch_size
            return EpochLengthGroupedSampler(batch_size, list(sampler.lengths), seed)
        return sampler

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        sampler = super()._get_eval_sampler(eval_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            sampler.batch_size *= self._num_batch_parts()
        return sampler

    def _num_batch_parts(self) -> int:
        """How many batches of the sampler are one batch of all processes."""
        return 1 if self.args.accelerator_config.split_batches else self.args.world_size

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """The batches of `predict`, in the order of the rows; `evaluate` may group them by length."""
        strategy, self.args.train_sampling_strategy = self.args.train_sampling_strategy, "random"
        try:
            return super().get_test_dataloader(test_dataset)
        finally:
            self.args.train_sampling_strategy = strategy


class _EpochOrderCallback(TrainerCallback):
    """
    Tells the sampler which epoch it is. The Trainer does so only after it has wrapped the batches that a resumed run
    skips, and then, in several processes, no longer reaches the sampler (transformers 5.23, accelerate 1.15).
    """

    def on_epoch_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002  (part of the signature)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002  (part of the signature)
        **kwargs: Any,
    ) -> None:
        kwargs["train_dataloader"].set_epoch(int(state.epoch))


class TermMeter:
    """Means of the terms of a loss, kept on their device until they are asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.num_rows = 0

    def add(self, terms: dict[str, torch.Tensor], num_rows: int) -> None:
        """Count the terms of a batch of `num_rows` texts."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + num_rows * value.detach()
        self.num_rows += num_rows

    def means(self, prefix: str = "") -> dict[str, float]:
        """The means since the last call, `prefix` before each name."""
        values = {prefix + name: (value / self.num_rows).item() for name, value in self.sums.items()}
        self.sums, self.num_rows = {}, 0
        return values


def dataset_labels(dataset: Any) -> np.ndarray:
    """
    The labels of a data set as an array of shape `(num_samples, num_labels)`.

    Args:
        dataset ([`datasets.Dataset`] or a sequence of rows): With `labels`, 0 or 1, in every row.
    """
    if hasattr(dataset, "column_names"):
        return np.asarray(dataset.with_format("numpy")["labels"][:])
    return np.stack([np.asarray(dataset[index]["labels"]) for index in range(len(dataset))])


def _has_text_states(model: nn.Module) -> bool:
    return isinstance(getattr(model, "config", None), StackedEmotionConfig)


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
