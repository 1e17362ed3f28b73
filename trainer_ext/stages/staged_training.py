# SPDX-License-Identifier: Apache-2.0
"""
Training in stages: every encoder alone, then the head on cached word states, then, if wished, both together.

The stages are those of the first paper. Their trap: an encoder has memorised the labels of the texts it was trained
on, so that its states of these texts promise more than those of a new text hold, and the head learns to trust them too
much. Out-of-fold states (`num_folds`) avoid it (Wolpert 1992, Stacked Generalization): the head learns from states by
encoders that have not seen the text's labels. They cost `num_folds` more trainings of every encoder.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from torch import nn
from transformers import set_seed

from modeling_stacked_emotion import (
    StackedEmotionConfig,
    StackedEmotionForSequenceClassification,
    StackedEmotionTokenizer,
)

from ..data.batching import LENGTH_COLUMN, SOURCE_COLUMN, EmotionDataCollator
from ..data.stratification import divide_groups
from ..digests import rows_digest, weights_digest
from ..encoders.start import MEAN_STATE, format_shares, start_from_classifiers
from ..errors import InputError
from ..training.arguments import StackedEmotionTrainingArguments
from ..training.checkpoints import last_complete_checkpoint
from ..training.layers import find_encoders, split_encoder
from ..training.trainer import StackedEmotionTrainer
from .feature_cache import (
    ROW_COLUMN,
    EncoderFeatures,
    FeatureCollator,
    FeatureFile,
    check_space,
    encoder_columns,
    format_size,
    plan_features,
    write_features,
)
from .stage_folder import StageFolder, load_weights, stage_settings

_METRICS = ("train_runtime", "train_loss", "train_samples_per_second")


def train_staged(
    trainer: StackedEmotionTrainer,
    make_trainer: Callable[..., StackedEmotionTrainer],
    say: Callable[[str], Any],
    classifiers: Mapping[str, nn.Linear] | None = None,
) -> dict[str, float]:
    """
    Train the model of a Trainer stage by stage, in place.

    The stages are `encoder_<name>` (mean pooling and a linear classifier; with `num_folds` before it
    `encoder_<name>-fold_<k>`), the feature cache, `head` and, with `polish_num_train_epochs`, `polish`. The head
    starts as the weighted mean of the encoders' classifiers
    ([`~trainer_ext.encoders.start.start_from_classifiers`]); head and polish leave the model as it was before
    them if no epoch of theirs is better on the validation split. Each stage has a folder in `<output_dir>/stages` and
    is not repeated as long as its settings and inputs stay the same. An interrupted stage goes on from its last
    checkpoint with `resume_from_checkpoint`, else it begins anew.

    Args:
        trainer ([`StackedEmotionTrainer`]): Has the model, the arguments, the tokenised splits and their collator.
        make_trainer (`Callable`): Makes the Trainer of a stage from `stage` (its name), `model`, `args`,
            `train_dataset`, `eval_dataset` and `data_collator`.
        say (`Callable[[str], Any]`): Gets a line of text on each stage, in the main process.
        classifiers (`Mapping[str, nn.Linear]`, *optional*): Of encoders that are trained already and have no stage.

    Returns:
        `dict[str, float]`: `train_runtime` and `train_samples_per_second` of all stages together, `train_loss` of the
        last, and `train_runtime/<stage>` and `train_samples_per_second/<stage>` of each.

    Raises:
        `InputError`: If the disk is too small for the feature cache, or a trained encoder is to have folds.
    """
    if classifiers and trainer.args.num_folds:
        raise InputError(
            f"`num_folds` is for encoders that are yet to be trained, but {next(iter(classifiers))!r} has been "
            "trained on all texts."
        )
    return _StagedTraining(trainer, make_trainer, say, classifiers or {}).train()


@dataclass(frozen=True)
class _TextGroup:
    """Texts that share an encoder: their places among all texts, and the fold that it was not trained on."""

    split: str
    places: npt.NDArray[np.int64]
    fold: int | None = None


@dataclass(frozen=True)
class _StagePlan:
    """A stage: its model and rows, and the training arguments in which it differs from the whole training."""

    name: str
    model: StackedEmotionForSequenceClassification
    rows: dict[str, datasets.Dataset]
    collator: Any
    # Digests of the rows.
    data: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    # The model stays as it is if the validation split says that this is better.
    may_keep_start: bool = False


class _StagedTraining:
    """The stages of one training and what they share; the arguments are those of [`train_staged`]."""

    def __init__(
        self,
        trainer: StackedEmotionTrainer,
        make_trainer: Callable[..., StackedEmotionTrainer],
        say: Callable[[str], Any],
        classifiers: Mapping[str, nn.Linear],
    ) -> None:
        self.trainer = trainer
        self.make_trainer = make_trainer
        self.args: StackedEmotionTrainingArguments = trainer.args
        self.model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        self.is_main_process = trainer.is_world_process_zero()
        self.say = say if self.is_main_process else lambda _: None
        # Of the encoders that are trained; the stages add to them.
        self.classifiers = dict(classifiers)
        splits = {"train": trainer.train_dataset, "validation": trainer.eval_dataset}
        self.splits: dict[str, datasets.Dataset] = {name: rows for name, rows in splits.items() if rows is not None}
        self.folds = assign_folds(self.splits["train"], self.args.num_folds, self.args.seed)
        output = Path(str(self.args.output_dir))
        self.folder = output / "stages"
        self.cache_folder = Path(self.args.feature_cache_dir or output / "features")

    def train(self) -> dict[str, float]:
        stages: dict[str, dict[str, float]] = {}
        for name in self.model.stacked_emotion.encoders:
            if name in self.classifiers:
                self.say(f"Stage {_stage_name(name)}: trained before.")
                continue
            # The folds first: they begin with the weights that the encoder has before it is trained on all texts.
            for fold in (*range(self.args.num_folds), None):
                stages[_stage_name(name, fold)] = self._train_encoder(name, fold)
        start = time.perf_counter()
        features = self._encode()
        encoding_time = time.perf_counter() - start
        stages["head"] = self._train_head(features)
        if self.args.polish_num_train_epochs:
            stages["polish"] = self._polish()
        return _summary(stages, encoding_time)

    def _train_encoder(self, name: str, fold: int | None) -> dict[str, float]:
        """Fine-tune the model's own encoder on all training texts, or a copy on those outside of a fold."""
        encoder = self.model.stacked_emotion.encoders[name]
        columns = [*encoder_columns(name), "labels", LENGTH_COLUMN]
        rows = {split: part.select_columns([*columns, *_source_column(part)]) for split, part in self.splits.items()}
        if fold is not None:
            encoder = copy.deepcopy(encoder)
            rows["train"] = rows["train"].select(np.flatnonzero(self.folds != fold))
        # The new classifier must not depend on stages that ran in this process or were complete before.
        set_seed(self.args.seed)
        model = encoder_classifier(self.model, name, encoder)
        collator = EmotionDataCollator(_single_tokenizer(self.trainer.processing_class, name))
        num_frozen = self.args.num_frozen_layers
        if num_frozen > 0 and num_frozen > len(split_encoder(encoder)[0]):
            # All of an encoder that has fewer layers, as beside deeper ones.
            num_frozen = -1
        stage = _stage_name(name, fold)
        metrics = self._train(
            _StagePlan(stage, model, rows, collator, _digests(rows), {"num_frozen_layers": num_frozen})
        )
        if fold is None:
            self.classifiers[name] = model.classifier.cpu()
        return metrics

    def _encode(self) -> dict[str, EncoderFeatures]:
        """The word states of all texts, those of validation behind those of training; missing files are made."""
        encoders = list(self.model.stacked_emotion.encoders)
        groups = self._text_groups()
        files = {(name, group.split): self._plan_features(name, group) for name in encoders for group in groups}
        # Before any of them is made.
        missing = {key: file for key, file in files.items() if not file.path.exists()}
        check_space(list(missing.values()), self.cache_folder)
        self.trainer.accelerator.wait_for_everyone()
        size = format_size(sum(file.num_bytes for file in missing.values()))
        self.say(f"Feature cache in {self.cache_folder}: {len(missing)} of {len(files)} files to write, {size}.")
        if self.is_main_process:
            for (name, split), file in missing.items():
                group = next(group for group in groups if group.split == split)
                write_features(
                    file,
                    self._encoder_classifier(name, group.fold),
                    self._rows(group),
                    self.args.chosen_precision,
                    self.args.per_device_eval_batch_size,
                    bool(self.args.disable_tqdm),
                )
        self.trainer.accelerator.wait_for_everyone()
        places = np.concatenate([group.places for group in groups])
        return {
            name: EncoderFeatures([files[name, group.split].path for group in groups], places) for name in encoders
        }

    def _text_groups(self) -> list[_TextGroup]:
        num_train = len(self.folds)
        groups = [
            _TextGroup(f"train_fold_{fold}", np.flatnonzero(self.folds == fold), fold)
            for fold in range(self.args.num_folds)
        ] or [_TextGroup("train", np.arange(num_train))]
        if "validation" in self.splits:
            groups.append(_TextGroup("validation", num_train + np.arange(len(self.splits["validation"]))))
        return groups

    def _plan_features(self, name: str, group: _TextGroup) -> FeatureFile:
        model, rows = self._encoder_classifier(name, group.fold), self._rows(group)
        return plan_features(model, rows, self.args.chosen_precision, self.cache_folder, group.split)

    def _rows(self, group: _TextGroup) -> datasets.Dataset:
        return datasets.concatenate_datasets(list(self.splits.values())).select(group.places)

    def _encoder_classifier(self, name: str, fold: int | None) -> StackedEmotionForSequenceClassification:
        """A classifier of an encoder: the model's own, or a copy with the weights of a fold that is complete."""
        encoder = self.model.stacked_emotion.encoders[name]
        if fold is None:
            return encoder_classifier(self.model, name, encoder)
        single = encoder_classifier(self.model, name, copy.deepcopy(encoder))
        single.load_state_dict(load_weights(self.folder / _stage_name(name, fold)))
        return single

    def _train_head(self, features: dict[str, EncoderFeatures]) -> dict[str, float]:
        rows = self._head_rows(np.max([encoder.num_words for encoder in features.values()], axis=0))
        data = {
            "features": {name: encoder.file_names for name, encoder in features.items()},
            "rows": [rows_digest(part, ["labels"]) for part in rows.values()],
        }
        arguments = {
            "num_train_epochs": self.args.head_num_train_epochs,
            "per_device_train_batch_size": self.args.head_per_device_train_batch_size,
            # There are no encoders in this stage.
            "encoder_loss_weight": 0.0,
            "num_frozen_layers": 0,
            "layerwise_lr_decay": 1.0,
        }
        collator = FeatureCollator(features)
        with without_encoders(self.model):
            batch_size, precision = self.args.per_device_eval_batch_size, self.args.chosen_precision
            shares = start_from_classifiers(
                self.model, self.classifiers, rows.get("validation"), collator, batch_size, precision
            )
            if shares:
                self.say(f"The head starts as the mean of the encoders: {format_shares(shares)}.")
            return self._train(_StagePlan("head", self.model, rows, collator, data, arguments, bool(shares)))

    def _head_rows(self, lengths: npt.NDArray[np.int64]) -> dict[str, datasets.Dataset]:
        """Each text's place in the cache, number of words and labels, by split."""
        rows, first = {}, 0
        for split, part in self.splits.items():
            places = np.arange(first, first + len(part))
            columns = {ROW_COLUMN: places, LENGTH_COLUMN: lengths[places], "labels": list(part["labels"])}
            sources = {name: part[name][:] for name in _source_column(part)}
            rows[split] = datasets.Dataset.from_dict({**columns, **sources})
            first += len(part)
        return rows

    def _polish(self) -> dict[str, float]:
        arguments = {
            "num_train_epochs": self.args.polish_num_train_epochs,
            "learning_rate": self.args.polish_learning_rate,
            "head_learning_rate": self.args.polish_learning_rate,
            "encoder_learning_rates": None,
        }
        data, collator = _digests(self.splits), self.trainer.data_collator
        return self._train(_StagePlan("polish", self.model, self.splits, collator, data, arguments, True))

    def _train(self, stage: _StagePlan) -> dict[str, float]:
        """Bring the model to the end of the stage; returns its metrics."""
        may_keep_start = stage.may_keep_start and bool(self.args.load_best_model_at_end)
        changes: dict[str, Any] = {
            "output_dir": str(self.folder / stage.name),
            "eval_on_start": may_keep_start or self.args.eval_on_start,
            **stage.arguments,
        }
        args = replace(self.args, **changes)
        settings = stage_settings(args, stage.model.config, weights_digest(stage.model), stage.data)
        folder = StageFolder(self.folder / stage.name, settings)
        metrics = folder.metrics()
        self.trainer.accelerator.wait_for_everyone()
        if metrics is not None:
            self.say(f"Stage {stage.name}: complete already.")
            stage.model.load_state_dict(load_weights(folder.path))
            return metrics
        self.say(f"Stage {stage.name}: training.")
        if self.is_main_process:
            folder.begin(resume=bool(args.resume_from_checkpoint))
        self.trainer.accelerator.wait_for_everyone()
        metrics = self._run_trainer(stage, args, may_keep_start)
        if self.is_main_process:
            folder.complete(stage.model.state_dict(), metrics)
        self.trainer.accelerator.wait_for_everyone()
        return metrics

    def _run_trainer(
        self, stage: _StagePlan, args: StackedEmotionTrainingArguments, may_keep_start: bool
    ) -> dict[str, float]:
        """Train from the beginning or the last checkpoint of the stage, and choose between its end and its start."""
        checkpoint = last_complete_checkpoint(args.output_dir)
        # A run that goes on has evaluated its start: once more would count against the patience of early stopping.
        changes: dict[str, Any] = {
            "eval_on_start": bool(args.eval_on_start) and checkpoint is None,
            "training_mode": "joint",
            "encoder_learning_rates": _rates_of(stage.model, args),
        }
        trainer = self.make_trainer(
            stage=stage.name,
            model=stage.model,
            args=replace(args, **changes),
            train_dataset=stage.rows["train"],
            eval_dataset=stage.rows.get("validation"),
            data_collator=stage.collator,
        )
        start = copy.deepcopy(stage.model.state_dict()) if may_keep_start else {}
        outcome = trainer.train(resume_from_checkpoint=checkpoint)
        # So that the Trainer of the next stage does not wrap a wrapped model.
        trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        if may_keep_start and _start_was_better(trainer):
            self.say(f"No epoch of stage {stage.name} is better than what it began with, which is kept.")
            stage.model.load_state_dict(start)
        return {key: outcome.metrics[key] for key in _METRICS}


def _summary(stages: dict[str, dict[str, float]], encoding_time: float) -> dict[str, float]:
    runtime = sum(metrics["train_runtime"] for metrics in stages.values()) + encoding_time
    num_samples = sum(metrics["train_samples_per_second"] * metrics["train_runtime"] for metrics in stages.values())
    summary = {
        "train_runtime": runtime,
        "train_samples_per_second": num_samples / runtime,
        "train_loss": list(stages.values())[-1]["train_loss"],
    }
    for key in ("train_runtime", "train_samples_per_second"):
        summary |= {f"{key}/{stage}": metrics[key] for stage, metrics in stages.items()}
    return summary


def _rates_of(model: nn.Module, args: StackedEmotionTrainingArguments) -> dict[str, float]:
    """The learning rates of those encoders that the model of a stage has."""
    encoders = find_encoders(model)
    return {name: rate for name, rate in (args.encoder_learning_rates or {}).items() if name in encoders}


def _stage_name(name: str, fold: int | None = None) -> str:
    # An encoder's name has no hyphen, so that no two stages are called the same.
    return f"encoder_{name}" if fold is None else f"encoder_{name}-fold_{fold}"


def assign_folds(rows: datasets.Dataset, num_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """
    The fold of each training text, of like label frequencies; all are in fold 0 where there are no folds. Texts of the
    same tokens are in one fold: an encoder must not know the labels of a text that the head learns on.

    Raises:
        `InputError`: If there are more folds than texts.
    """
    labels = np.asarray(rows["labels"], np.float32)
    if num_folds > len(rows):
        raise InputError(f"`num_folds` must be at most the number of training texts, {len(rows)}, got {num_folds}.")
    columns = sorted(name for name in rows.column_names if name.endswith("input_ids"))
    keys = [tuple(map(tuple, ids)) for ids in zip(*(rows[name] for name in columns), strict=True)]
    return divide_groups(keys, labels, [1.0] * max(num_folds, 1), seed)[0]


def encoder_classifier(
    model: StackedEmotionForSequenceClassification, name: str, encoder: nn.Module
) -> StackedEmotionForSequenceClassification:
    """
    A classifier of one encoder: word states, their mean, a linear layer.

    Args:
        model ([`StackedEmotionForSequenceClassification`]): Gives labels, dropout and device.
        name (`str`): Name of one of its encoders.
        encoder (`nn.Module`): That encoder or a copy of it; it becomes part of the classifier.
    """
    config = model.config
    single = StackedEmotionForSequenceClassification(
        StackedEmotionConfig(
            encoders={name: config.encoders[name]},
            id2label=dict(config.id2label),
            **MEAN_STATE,
            dropout=config.dropout,
            prior_probability=config.prior_probability,
            initializer_range=config.initializer_range,
        )
    )
    single.stacked_emotion.encoders[name] = encoder
    return single.to(model.device)


def _single_tokenizer(tokenizer: StackedEmotionTokenizer, name: str) -> StackedEmotionTokenizer:
    return StackedEmotionTokenizer(
        {name: tokenizer.tokenizers[name]},
        {name: tokenizer.normalizations[name]},
        tokenizer.max_words,
        tokenizer.max_tokens,
    )


def _digests(rows: dict[str, datasets.Dataset]) -> list[str]:
    return [rows_digest(part, set(part.column_names) - {LENGTH_COLUMN, SOURCE_COLUMN}) for part in rows.values()]


def _start_was_better(trainer: StackedEmotionTrainer) -> bool:
    """Whether no epoch was better than the evaluation before the first step."""
    metric = str(trainer.args.metric_for_best_model)
    key = metric if metric.startswith("eval_") else f"eval_{metric}"
    at_start = next(entry[key] for entry in trainer.state.log_history if key in entry)
    best = trainer.state.best_metric
    return best is None or (at_start >= best if trainer.args.greater_is_better else at_start <= best)


@contextmanager
def without_encoders(model: StackedEmotionForSequenceClassification) -> Iterator[None]:
    """Take the encoders out of the model for a while, so that optimizer and checkpoints hold the head alone."""
    encoders = model.stacked_emotion.encoders
    model.stacked_emotion.encoders = nn.ModuleDict()
    try:
        yield
    finally:
        model.stacked_emotion.encoders = encoders


def _source_column(rows: datasets.Dataset) -> list[str]:
    """The column of sources, where the rows come from several."""
    return [name for name in rows.column_names if name == SOURCE_COLUMN]
