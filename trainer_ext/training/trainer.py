# SPDX-License-Identifier: Apache-2.0
"""The Trainer: any multi-label classifier of transformers, several learning rates, and the hybrid loss."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput, has_length
from transformers.utils import logging

from modeling_stacked_emotion import StackedEmotionConfig, label_names
from modeling_stacked_emotion.layers_stacked_emotion import average_words

from ..data.batching import SOURCE_COLUMN, EmotionDataCollator, EpochLengthGroupedSampler
from ..data.rows import dataset_labels, prepare_rows
from ..data.sampling import SourceSampler, source_sizes
from ..errors import InputError
from ..evaluation.results import (
    SAME_ANSWER,
    VALIDATION_METRICS,
    compute_validation_metrics,
    labels_and_probabilities,
    says_the_same,
)
from ..losses.distillation import DistillationLoss
from ..losses.gathering import gather_batch
from ..losses.hybrid import HybridLoss, LabelStatistics, LossInputs
from ..losses.meter import TermMeter
from ..memory import freed_memory_kept
from ..reports.callback import EvaluationPredictions, ReportCallback
from .arguments import StackedEmotionTrainingArguments
from .cpu import fewer_passes
from .layers import find_encoders, freeze_layers, layers_from_top

logger = logging.get_logger(__name__)

# Column of the rows that learn from a teacher; see `trainer_ext.stages.distillation`.
TEACHER_COLUMN = "teacher_logits"

_LOSS_FILE = "hybrid_loss.pt"


class StackedEmotionTrainer(Trainer):
    """
    [`Trainer`] for multi-label emotion classifiers, ours or any `AutoModelForSequenceClassification`.

    It differs from its parent in this: the loss is the hybrid loss of the arguments, over the batch of all processes,
    each of its terms logged as `loss/<term>` and `eval_loss/<term>`; parameters outside the encoders have a learning
    rate of their own, and the layers of the encoders may have lower ones towards the bottom or stay frozen; grouping
    by length neither changes the order of the training texts when a run is resumed nor that of the rows that `predict`
    returns; a run is resumed in the order of its epoch in several processes, too.

    In several processes an epoch ends with a full batch, its last places taken by texts of the epoch's beginning, as
    Accelerate does it; an evaluation counts every text once.

    The arguments are those of [`Trainer`], some with another default:

    Args:
        train_dataset, eval_dataset ([`datasets.Dataset`], *optional*):
            Rows of `tokenize_dataset`; with a column `text` they are tokenised by `processing_class`, as those of
            `evaluate` and `predict` are. Any data set of torch will do, of rows with texts or tensors, and a stream
            with `max_steps`.
        data_collator (*optional*, defaults to [`EmotionDataCollator`] of `processing_class`): Makes the batches.
        compute_metrics (`Callable`, *optional*, defaults to [`compute_validation_metrics`]):
            Metrics of an evaluation; `None` for the loss alone.
        distillation_loss ([`DistillationLoss`], *optional*): How rows with a column `teacher_logits` learn from it.

    Loss, class statistics, frozen layers and early stopping are made from the arguments when a training starts, for
    the model that is trained then: with `model_init` and in `hyperparameter_search`, each trial has its own.

    Raises:
        `InputError`: If an argument cannot be used with the model or the data sets, or would be without effect.
    """

    args: StackedEmotionTrainingArguments
    # `compute_loss` returns the mean of a batch: the Trainer divides it by the steps of gradient accumulation.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: nn.Module | None = None,
        args: StackedEmotionTrainingArguments | None = None,
        data_collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        *,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = compute_validation_metrics,
        distillation_loss: DistillationLoss | None = None,
        **kwargs: Any,
    ) -> None:
        args = args or StackedEmotionTrainingArguments()
        if not isinstance(args, StackedEmotionTrainingArguments):
            raise InputError(f"`args` must be StackedEmotionTrainingArguments, got {type(args).__name__}.")
        if kwargs.get("compute_loss_func") is not None:
            raise InputError(
                "`compute_loss_func` would not be called: choose a `base_loss`, or override `create_loss`."
            )
        if args.n_gpu > 1:
            # `nn.DataParallel` cannot join outputs that are as wide as the longest text of each GPU.
            logger.warning(f"One of {args.n_gpu} GPUs is used: `accelerate launch` uses all.")
            args._n_gpu = 1
        if data_collator is None and processing_class is not None:
            data_collator = EmotionDataCollator(processing_class)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=prepare_rows(train_dataset, processing_class),
            eval_dataset=prepare_rows(eval_dataset, processing_class),
            processing_class=processing_class,
            compute_metrics=compute_metrics,
            **kwargs,
        )
        if self.args.world_size > 1 and not self.args.accelerator_config.even_batches:
            raise InputError(
                "`accelerator_config.even_batches` must be true in several processes, got false: "
                "the loss is that of the batches of all, which must be of one size."
            )
        self.add_callback(_EpochOrderCallback)
        self.distillation_loss = distillation_loss or DistillationLoss()
        self._early_stopping: EarlyStoppingCallback | None = None
        self._set_up_training()

    def _set_up_training(self) -> None:
        """Make the state that depends on model and arguments, anew for each model of `model_init` and each trial."""
        self._check_model()
        self.hybrid_loss = self.create_loss()
        self.train_terms, self.eval_terms = TermMeter(), TermMeter()
        self.last_terms: dict[str, torch.Tensor] = {}
        if self.args.num_frozen_layers:
            freeze_layers(self.model, self.args.num_frozen_layers)
        if self._early_stopping is not None:
            self.remove_callback(self._early_stopping)
            self._early_stopping = None
        if self.args.early_stopping_patience:
            self._add_early_stopping()

    def _check_model(self) -> None:
        """An [`InputError`] if an argument of the encoders would be without effect on this model."""
        args, encoders = self.args, find_encoders(self.model)
        if not hasattr(self.model, "config"):
            raise InputError(
                f"`model` must be a model of transformers with a `config`, got {type(self.model).__name__}."
            )
        if unknown := sorted({*(args.encoder_learning_rates or {})} - {*encoders}):
            raise InputError(
                f"`encoder_learning_rates` names {unknown[0]!r}; the encoders are {', '.join(encoders) or 'none'}."
            )
        if args.neftune_noise_alpha is not None and len(encoders) > 1:
            raise InputError("`neftune_noise_alpha` would reach the first encoder alone: leave it out.")
        if args.lora_r and not hasattr(self.model, "peft_config"):
            raise InputError(
                "`lora_r` changes no model by itself: pass `add_lora(model, args)` of trainer_ext.training.lora, "
                "or train with scripts.train."
            )

    def _check_best_metric(self) -> None:
        """Before a training: whether its evaluations will have `metric_for_best_model`, as far as can be known."""
        metric = self.args.metric_for_best_model
        if self.args.eval_strategy == "no" or metric is None:
            return
        name = metric.removeprefix("eval_")
        if isinstance(self.eval_dataset, dict):
            prefix = next((f"{split}_" for split in self.eval_dataset if name.startswith(f"{split}_")), None)
            if prefix is None:
                raise InputError(
                    f"`metric_for_best_model` must begin with the name of an evaluation set, "
                    f"such as {next(iter(self.eval_dataset))}_{name}, got {metric!r}."
                )
            name = name.removeprefix(prefix)
        if self.compute_metrics not in (None, compute_validation_metrics) or self._observers():
            # Metrics of another's making show at the first evaluation.
            return
        known = ["loss", *(VALIDATION_METRICS if self.compute_metrics else ())]
        if name not in known and not name.startswith("loss/"):
            self._go_by_loss(known)

    def _go_by_loss(self, known: Sequence[str]) -> None:
        """If the metrics lack the default `metric_for_best_model`, the loss decides; another name is an error."""
        metric = self.args.metric_for_best_model
        if metric != StackedEmotionTrainingArguments.metric_for_best_model or "loss" not in known:
            raise InputError(f"`metric_for_best_model` is {metric!r}, but the metrics are {', '.join(known)}.")
        logger.warning(f"The metrics have no {metric}: the best epoch is that of the lowest loss.")
        self.args.metric_for_best_model, self.args.greater_is_better = "loss", False

    def train(self, resume_from_checkpoint: str | bool | None = None, *arguments: Any, **kwargs: Any) -> Any:
        """
        The parent's.

        Raises:
            `InputError`: If an argument would be without effect.
        """
        if self.args.training_mode == "staged":
            raise InputError(
                "`train` trains jointly, but `training_mode` is staged: call `train_staged` of "
                "trainer_ext.stages.staged_training, or train with scripts.train."
            )
        with freed_memory_kept(self.args.device.type):
            return super().train(resume_from_checkpoint, *arguments, **kwargs)

    def _hp_search_setup(self, trial: Any) -> None:
        """The parent's, at the start of every training: the model and the arguments are those to train with now."""
        precision = self.args.precision
        super()._hp_search_setup(trial)
        self.args.check()
        self._check_best_metric()
        if self.args.precision != precision:
            raise InputError("`precision` is the same in all trials of a search: leave it out of `hp_space`.")
        # Reports draw at the end of a training, before TensorBoard closes its file.
        self.callback_handler.callbacks.sort(key=lambda callback: not isinstance(callback, ReportCallback))
        self._set_up_training()

    def create_loss(self) -> HybridLoss:
        """The loss of the arguments, with statistics of the training set, which go into the model's config too."""
        names = label_names(self.model.config)
        if self.train_dataset is None and not self.is_in_train:
            # Nothing is trained: evaluations are compared with one another by the plain loss.
            return HybridLoss(LabelStatistics.from_labels(np.zeros((1, len(names))))).to(self.args.device)
        if self.train_dataset is None or not has_length(self.train_dataset):
            return self._create_loss_without_labels(names)
        labels = dataset_labels(self.train_dataset)
        if labels.ndim != 2 or labels.shape[1] != len(names):
            raise InputError(
                f"`labels` must have shape (num_samples, {len(names)}), got {labels.shape}. Check `config.num_labels`."
            )
        loss = self.args.create_loss(labels, names)
        self.model.config.class_weights = loss.statistics.class_weights.tolist()
        self.model.config.label_correlation = loss.statistics.correlation.tolist()
        return loss.to(self.args.device)

    def _create_loss_without_labels(self, names: list[str]) -> HybridLoss:
        """The loss for a stream or batches of one's own, of which nothing can be counted beforehand."""
        if field := self.args.field_of_statistics():
            raise InputError(
                f"`{field}` needs the labels of all training texts, and a stream has no length: pass a "
                "datasets.Dataset, or `label_weights` in place of `class_weights`."
            )
        loss = self.args.create_loss(np.zeros((1, len(names))), names)
        self.model.config.class_weights = loss.statistics.class_weights.tolist()
        self.model.config.label_correlation = None
        return loss.to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """The sum of the terms of the hybrid loss over the batch of all processes."""
        needs_hidden = self.hybrid_loss.needs_states and not _has_text_states(self.model)
        options = {"output_hidden_states": True} if needs_hidden else {}
        if not getattr(getattr(self.model, "config", None), "return_dict", True):
            options["return_dict"] = True
        outputs = model(
            **{key: value for key, value in inputs.items() if key not in ("labels", TEACHER_COLUMN)}, **options
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
        batch = LossInputs(
            logits=outputs["logits"],
            labels=inputs["labels"],
            states=states,
            auxiliary_logits=outputs.get("auxiliary_logits"),
            encoder_logits=outputs.get("encoder_logits"),
        ).map(gather)
        hybrid_loss = self.hybrid_loss.train(model.training)
        if TEACHER_COLUMN in inputs:
            terms = self.distillation_loss(hybrid_loss, batch, gather(inputs[TEACHER_COLUMN]))
        else:
            terms = hybrid_loss(batch)
        if model.training:
            # As the Trainer averages its own loss: batches within a step, then steps.
            self.train_terms.add(terms, 1.0 / self.current_gradient_accumulation_steps)
            self.last_terms = {name: value.detach() for name, value in terms.items()}
        else:
            self.eval_terms.add(terms, len(batch.labels))
        loss = torch.stack(list(terms.values())).sum()
        return (loss, outputs) if return_outputs else loss

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """
        The parent's; the weights stay as they are when the loss is not finite.

        Raises:
            `InputError`: At the first loss that is not finite.
        """
        precision = self.args.chosen_precision
        # A compiled model fuses its passes by itself; activations computed again would not meet the same functions.
        is_plain = not (self.args.torch_compile or self.args.activation_checkpointing)
        with fewer_passes(self.args.device.type, precision) if is_plain else nullcontext():
            loss = super().training_step(model, inputs, num_items_in_batch)
        # Costs nothing: the parent asks the same of the loss next (`logging_nan_inf_filter`, transformers 5.23).
        if not torch.isfinite(loss):
            terms = ", ".join(f"{name} {value.item():.3g}" for name, value in self.last_terms.items())
            raise InputError(
                f"The loss of step {self.state.global_step + 1} is not finite ({terms}): training stops. Try a lower "
                "`learning_rate` and `head_learning_rate`, or `precision` fp32."
            )
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The parent's, with the mean of every term since the last line of log."""
        if "loss" in logs:
            logs |= self.train_terms.means("loss/")
        super().log(logs, start_time)

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The parent's, with the mean of every term of the loss and the numbers of every [`ReportCallback`]."""
        self.eval_terms.means()
        observers = self._observers()
        is_observed = bool(observers) and description == "Evaluation"
        if is_observed and self.compute_metrics is None:
            # `evaluate` asks for the loss alone if no function wants the predictions.
            prediction_loss_only = None
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix=metric_key_prefix
        )
        output.metrics.update(self.eval_terms.means(f"{metric_key_prefix}_loss/"))
        # Before the first step nothing has been learnt that could be lost.
        if self.state.global_step and says_the_same(output.predictions):
            logger.warning_once(SAME_ANSWER)
        if is_observed and output.predictions is not None and output.label_ids is not None:
            output.metrics.update(self._observe(observers, output, metric_key_prefix))
        metric = self.args.metric_for_best_model
        if self.is_in_train and metric is not None and metric_key_prefix == "eval":
            names = [key.removeprefix("eval_") for key in output.metrics]
            if metric.removeprefix("eval_") not in names:
                self._go_by_loss(names)
        return output

    def _observers(self) -> list[ReportCallback]:
        return [callback for callback in self.callback_handler.callbacks if isinstance(callback, ReportCallback)]

    def _observe(self, observers: Sequence[ReportCallback], output: EvalLoopOutput, prefix: str) -> dict[str, float]:
        """The numbers that the observers make of the predictions of an evaluation."""
        numbers: dict[str, float] = {}
        predictions = EvaluationPredictions(*labels_and_probabilities(output), prefix)
        for observer in observers:
            own = observer.on_predictions(self.args, self.state, predictions, self.callback_handler.callbacks)
            numbers |= {f"{prefix}_{key}": value for key, value in own.items()}
        return numbers

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """
        The Trainer's own optimizer, its groups (with and without weight decay) split by learning rate: the encoders'
        layers from the top down, then the head.
        """
        if self.optimizer is not None:
            return self.optimizer
        optimizer = super().create_optimizer(model)
        optimized = self.model if model is None else model
        encoders = find_encoders(optimized)
        own_rates = {
            id(value): rate
            for name, rate in (self.args.encoder_learning_rates or {}).items()
            for value in encoders[name].parameters()
        }
        if self.args.layerwise_lr_decay == 1:
            layers = [[value for encoder in encoders.values() for value in encoder.parameters()]]
        else:
            layers = layers_from_top(optimized)
        distances = {id(value): distance for distance, layer in enumerate(layers) for value in layer}
        groups = []
        for group in optimizer.param_groups:
            parts = defaultdict(list)
            for value in group["params"]:
                parts[distances.get(id(value), math.inf), own_rates.get(id(value), group["lr"])].append(value)
            for (distance, top), values in sorted(parts.items()):
                rate = self.args.head_learning_rate
                if distance != math.inf:
                    rate = top * self.args.layerwise_lr_decay**distance
                groups.append({**group, "params": values, "lr": rate})
        optimizer.param_groups = groups
        return optimizer

    def _add_early_stopping(self) -> None:
        args = self.args
        if args.eval_strategy == "no" or args.metric_for_best_model is None:
            raise InputError(
                "`early_stopping_patience` needs an `eval_strategy` and a `metric_for_best_model`: "
                "add a validation split or leave it out."
            )
        # Otherwise a resumed run would count from zero.
        args.restore_callback_states_from_checkpoint = True
        self._early_stopping = EarlyStoppingCallback(args.early_stopping_patience, args.early_stopping_threshold)
        self.add_callback(self._early_stopping)

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

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        if (Path(checkpoint) / _LOSS_FILE).is_file():
            # In several processes the device is "cpu:0", where torch 2.13 restores nothing.
            state = torch.load(Path(checkpoint) / _LOSS_FILE, map_location="cpu", weights_only=True)
            self.hybrid_loss.load_state_dict(state)
            self.hybrid_loss.to(self.args.device)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        sampler = super()._get_train_sampler(train_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            batch_size = self._num_batch_parts() * sampler.batch_size
            if self.args.samples_sources:
                return self._source_sampler(train_dataset or self.train_dataset, sampler.lengths, batch_size, seed)
            return EpochLengthGroupedSampler(batch_size, list(sampler.lengths), seed)
        return sampler

    def _source_sampler(self, rows: Any, lengths: Any, batch_size: int, seed: int) -> SourceSampler:
        if SOURCE_COLUMN not in rows.column_names:
            raise InputError("`source_temperature` and `source_weights` need a column `source` in the training set.")
        sources = rows[SOURCE_COLUMN][:]
        sizes = source_sizes(Counter(sources), self.args.source_temperature, self.args.source_weights)
        return SourceSampler(batch_size, lengths, sources, sizes, seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        sampler = super()._get_eval_sampler(eval_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            sampler.batch_size *= self._num_batch_parts()
        return sampler

    def _num_batch_parts(self) -> int:
        """How many batches of the sampler are one batch of all processes."""
        return 1 if self.args.accelerator_config.split_batches else self.args.world_size

    def _get_dataloader(self, dataset: Any, *arguments: Any, **kwargs: Any) -> DataLoader:
        """The parent's, on texts as well, whatever the way they came in."""
        return super()._get_dataloader(prepare_rows(dataset, self.processing_class), *arguments, **kwargs)

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
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        # Batches of one's own may have no epochs.
        if hasattr(kwargs["train_dataloader"], "set_epoch"):
            kwargs["train_dataloader"].set_epoch(int(state.epoch))


def _has_text_states(model: nn.Module) -> bool:
    return isinstance(getattr(model, "config", None), StackedEmotionConfig)
