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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from torch import nn
from transformers import set_seed

from modeling_stacked_emotion import (
    StackedEmotionConfig,
    StackedEmotionForSequenceClassification,
    StackedEmotionTokenizer,
)

from ..data.batching import LENGTH_COLUMN, EmotionDataCollator
from ..data.stratification import iterative_stratification
from ..digests import rows_digest, weights_digest
from ..encoders.start import MEAN_STATE, format_shares, start_from_classifiers
from ..errors import InputError
from ..training.arguments import StackedEmotionTrainingArguments
from ..training.checkpoints import last_complete_checkpoint
from ..training.layers import split_encoder
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
from .stage import Stage, load_weights

# Training arguments that a stage's result does not depend on, by their beginnings.
_WITHOUT_EFFECT = (
    *("output_dir", "resume_from", "feature_cache_dir", "training_mode", "num_folds", "save_total_limit"),
    *("head_num_train", "head_per_device", "polish_", "log", "report_to", "run_name", "project", "trackio", "hub_"),
    *("push_", "disable_tqdm", "dataloader_num", "dataloader_pre", "dataloader_persist"),
)
# Fields of a configuration that are there only when a checkpoint has been saved.
_SET_BY_SAVING = ("architectures", "dtype", "transformers_version")
_METRICS = ("train_runtime", "train_loss", "train_samples_per_second")


@dataclass(frozen=True)
class _Part:
    """Texts that one encoder makes the word states of: their places, and the fold that it was not trained on."""

    split: str
    places: np.ndarray
    fold: int | None = None


@dataclass(frozen=True)
class _Job:
    """A file of the feature cache, and what it is made of."""

    name: str
    part: _Part
    rows: datasets.Dataset
    file: FeatureFile


@dataclass(frozen=True)
class _Run:
    """What every stage needs."""

    trainer: StackedEmotionTrainer
    make_trainer: Callable[..., StackedEmotionTrainer]
    model: StackedEmotionForSequenceClassification
    say: Callable[[str], Any]
    # Of the encoders that are trained; the stages add to them.
    classifiers: dict[str, nn.Linear]

    @property
    def args(self) -> StackedEmotionTrainingArguments:
        return self.trainer.args

    @property
    def tokenizer(self) -> StackedEmotionTokenizer:
        return self.trainer.processing_class

    @property
    def folder(self) -> Path:
        return Path(str(self.args.output_dir)) / "stages"

    @property
    def cache_folder(self) -> Path:
        return Path(self.args.feature_cache_dir or Path(str(self.args.output_dir)) / "features")

    @property
    def splits(self) -> dict[str, datasets.Dataset]:
        splits = {"train": self.trainer.train_dataset, "validation": self.trainer.eval_dataset}
        return {split: rows for split, rows in splits.items() if rows is not None}


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
    is not repeated as long as what it depends on stays the same. A stage that was interrupted goes on from its last
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
        `ValueError`: If the disk is too small for the feature cache, or a trained encoder is to have folds.
    """
    if classifiers and trainer.args.num_folds:
        raise InputError(
            f"`num_folds` is for encoders that are yet to be trained, but {next(iter(classifiers))!r} has been "
            "trained on all texts."
        )
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    speak = say if trainer.is_world_process_zero() else _say_nothing
    run = _Run(trainer, make_trainer, model, speak, dict(classifiers or {}))
    folds = _divide(run)
    stages: dict[str, dict[str, float]] = {}
    for name in model.stacked_emotion.encoders:
        if name in run.classifiers:
            run.say(f"Stage {_stage_name(name)}: trained before.")
            continue
        # The folds first: they begin with the weights that the encoder has before it is trained on all texts.
        for fold in (*range(run.args.num_folds), None):
            stages |= _train_encoder(run, name, folds, fold)
    start = time.perf_counter()
    features = _encode(run, folds)
    encoding_time = time.perf_counter() - start
    stages |= _train_head(run, features)
    if run.args.polish_num_train_epochs:
        stages |= _polish(run)
    return _summary(stages, encoding_time)


def _say_nothing(_: str) -> None:
    pass


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


def _stage_name(name: str, fold: int | None = None) -> str:
    # An encoder's name has no hyphen, so that no two stages are called the same.
    return f"encoder_{name}" if fold is None else f"encoder_{name}-fold_{fold}"


def _divide(run: _Run) -> np.ndarray:
    """The fold of each training text; all are in fold 0 where there are no folds."""
    num_folds = run.args.num_folds
    rows = run.splits["train"]
    if num_folds > len(rows):
        raise InputError(f"`num_folds` must be at most the number of training texts, {len(rows)}, got {num_folds}.")
    return iterative_stratification(np.asarray(rows["labels"]), [1.0] * max(num_folds, 1), run.args.seed)


def _single(run: _Run, name: str, fold: int | None = None) -> StackedEmotionForSequenceClassification:
    """A classifier of an encoder: the model's own, or a copy with the weights of a fold that is complete."""
    encoder = run.model.stacked_emotion.encoders[name]
    if fold is None:
        return encoder_classifier(run.model, name, encoder)
    single = encoder_classifier(run.model, name, copy.deepcopy(encoder))
    single.load_state_dict(load_weights(run.folder / _stage_name(name, fold)))
    return single


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


def _train_encoder(run: _Run, name: str, folds: np.ndarray, fold: int | None = None) -> dict[str, dict[str, float]]:
    """Fine-tune the model's own encoder on all training texts, or a copy on those outside of a fold."""
    encoder = run.model.stacked_emotion.encoders[name]
    columns = [*encoder_columns(name), "labels", LENGTH_COLUMN]
    rows = {split: part.select_columns(columns) for split, part in run.splits.items()}
    if fold is not None:
        encoder = copy.deepcopy(encoder)
        rows["train"] = rows["train"].select(np.flatnonzero(folds != fold))
    # What came before in this process, or did not because it was complete, must not change the new classifier.
    set_seed(run.args.seed)
    model = encoder_classifier(run.model, name, encoder)
    collator = EmotionDataCollator(_single_tokenizer(run.tokenizer, name))
    num_frozen = run.args.num_frozen_layers
    if num_frozen > 0 and num_frozen > len(split_encoder(encoder)[0]):
        # All of an encoder that has fewer layers, as beside deeper ones.
        num_frozen = -1
    metrics = _train(run, _stage_name(name, fold), model, _digests(rows), rows, collator, num_frozen_layers=num_frozen)
    if fold is None:
        run.classifiers[name] = model.classifier.cpu()
    return metrics


def _single_tokenizer(tokenizer: StackedEmotionTokenizer, name: str) -> StackedEmotionTokenizer:
    return StackedEmotionTokenizer(
        {name: tokenizer.tokenizers[name]},
        {name: tokenizer.normalizations[name]},
        tokenizer.max_words,
        tokenizer.max_tokens,
    )


def _digests(rows: dict[str, datasets.Dataset]) -> list[str]:
    return [rows_digest(part, set(part.column_names) - {LENGTH_COLUMN}) for part in rows.values()]


def _train(
    run: _Run,
    name: str,
    model: StackedEmotionForSequenceClassification,
    data: Any,
    rows: dict[str, datasets.Dataset],
    collator: Any,
    may_keep_start: bool = False,
    **changes: Any,
) -> dict[str, dict[str, float]]:
    """
    Bring the model to the end of the stage; returns the metrics under its name. With `may_keep_start` it stays as it
    is if the validation split says that this is better.
    """
    args = copy.copy(run.args)
    may_keep_start = may_keep_start and bool(args.load_best_model_at_end)
    changes |= {"output_dir": str(run.folder / name), "eval_on_start": may_keep_start or args.eval_on_start}
    for field, value in changes.items():
        setattr(args, field, value)
    effective = {field: value for field, value in args.to_dict().items() if not field.startswith(_WITHOUT_EFFECT)}
    config = {field: value for field, value in model.config.to_dict().items() if field not in _SET_BY_SAVING}
    settings = {"arguments": effective, "config": config, "weights": weights_digest(model)}
    stage = Stage(run.folder / name, settings | {"data": data})
    metrics = stage.metrics()
    run.trainer.accelerator.wait_for_everyone()
    if metrics is not None:
        run.say(f"Stage {name}: complete already.")
        model.load_state_dict(load_weights(stage.folder))
        return {name: metrics}
    run.say(f"Stage {name}: training.")
    if run.trainer.is_world_process_zero():
        stage.begin(resume=bool(args.resume_from_checkpoint))
    run.trainer.accelerator.wait_for_everyone()
    checkpoint = last_complete_checkpoint(stage.folder)
    # A run that goes on has evaluated its start: once more would count against the patience of early stopping.
    args.eval_on_start = bool(args.eval_on_start) and checkpoint is None
    stage_trainer = run.make_trainer(
        stage=name,
        model=model,
        args=args,
        train_dataset=rows["train"],
        eval_dataset=rows.get("validation"),
        data_collator=collator,
    )
    start = copy.deepcopy(model.state_dict()) if may_keep_start else {}
    outcome = stage_trainer.train(resume_from_checkpoint=checkpoint)
    # So that the Trainer of the next stage does not wrap what this one has wrapped.
    stage_trainer.accelerator.unwrap_model(stage_trainer.model, keep_fp32_wrapper=False)
    if may_keep_start and _start_was_better(stage_trainer):
        run.say(f"No epoch of stage {name} is better than what it began with, which is kept.")
        model.load_state_dict(start)
    metrics = {key: outcome.metrics[key] for key in _METRICS}
    if run.trainer.is_world_process_zero():
        stage.complete(model.state_dict(), metrics)
    run.trainer.accelerator.wait_for_everyone()
    return {name: metrics}


def _start_was_better(trainer: StackedEmotionTrainer) -> bool:
    """Whether no epoch was better than the evaluation before the first step."""
    metric = str(trainer.args.metric_for_best_model)
    key = metric if metric.startswith("eval_") else f"eval_{metric}"
    at_start = next(entry[key] for entry in trainer.state.log_history if key in entry)
    best = trainer.state.best_metric
    return best is None or (at_start >= best if trainer.args.greater_is_better else at_start <= best)


def _encode(run: _Run, folds: np.ndarray) -> dict[str, EncoderFeatures]:
    """The cached word states of all texts, those of validation behind those of training; what is missing is made."""
    precision = run.args.chosen_precision
    jobs = [
        _job(run, name, part, precision) for name in run.model.stacked_emotion.encoders for part in _parts(run, folds)
    ]
    # Before any of them is made.
    missing = [job for job in jobs if not job.file.path.exists()]
    check_space([job.file for job in missing], run.cache_folder)
    run.trainer.accelerator.wait_for_everyone()
    size = format_size(sum(job.file.num_bytes for job in missing))
    run.say(f"Feature cache in {run.cache_folder}: {len(missing)} of {len(jobs)} files to write, {size}.")
    if run.trainer.is_world_process_zero():
        for job in missing:
            write_features(
                job.file,
                _single(run, job.name, job.part.fold),
                job.rows,
                precision,
                run.args.per_device_eval_batch_size,
                bool(run.args.disable_tqdm),
            )
    run.trainer.accelerator.wait_for_everyone()
    places = np.concatenate([part.places for part in _parts(run, folds)])
    return {
        name: EncoderFeatures([job.file.path for job in jobs if job.name == name], places)
        for name in run.model.stacked_emotion.encoders
    }


def _parts(run: _Run, folds: np.ndarray) -> list[_Part]:
    num_train = len(folds)
    parts = [
        _Part(f"train_fold_{fold}", np.flatnonzero(folds == fold), fold) for fold in range(run.args.num_folds)
    ] or [_Part("train", np.arange(num_train))]
    if "validation" in run.splits:
        parts.append(_Part("validation", num_train + np.arange(len(run.splits["validation"]))))
    return parts


def _job(run: _Run, name: str, part: _Part, precision: str) -> _Job:
    rows = datasets.concatenate_datasets(list(run.splits.values())).select(part.places)
    single = _single(run, name, part.fold)
    return _Job(name, part, rows, plan_features(single, rows, precision, run.cache_folder, part.split))


@contextmanager
def without_encoders(model: StackedEmotionForSequenceClassification) -> Iterator[None]:
    """Take the encoders out of the model for a while, so that optimizer and checkpoints hold the head alone."""
    encoders = model.stacked_emotion.encoders
    model.stacked_emotion.encoders = nn.ModuleDict()
    try:
        yield
    finally:
        model.stacked_emotion.encoders = encoders


def _train_head(run: _Run, features: dict[str, EncoderFeatures]) -> dict[str, dict[str, float]]:
    lengths = np.max([entry.num_words for entry in features.values()], axis=0)
    rows, first = {}, 0
    for split, part in run.splits.items():
        places = np.arange(first, first + len(part))
        columns = {ROW_COLUMN: places, LENGTH_COLUMN: lengths[places]}
        rows[split] = datasets.Dataset.from_dict({**columns, "labels": list(part["labels"])})
        first += len(part)
    data = {
        "features": {name: entry.file_names for name, entry in features.items()},
        "rows": [rows_digest(part, ["labels"]) for part in rows.values()],
    }
    collator = FeatureCollator(features)
    with without_encoders(run.model):
        batch_size, precision = run.args.per_device_eval_batch_size, run.args.chosen_precision
        shares = start_from_classifiers(
            run.model, run.classifiers, rows.get("validation"), collator, batch_size, precision
        )
        if shares:
            run.say(f"The head starts as the mean of the encoders: {format_shares(shares)}.")
        return _train(
            run,
            "head",
            run.model,
            data,
            rows,
            collator,
            may_keep_start=bool(shares),
            num_train_epochs=run.args.head_num_train_epochs,
            per_device_train_batch_size=run.args.head_per_device_train_batch_size,
            # There are no encoders in this stage.
            encoder_loss_weight=0.0,
            num_frozen_layers=0,
            layerwise_lr_decay=1.0,
        )


def _polish(run: _Run) -> dict[str, dict[str, float]]:
    return _train(
        run,
        "polish",
        run.model,
        _digests(run.splits),
        run.splits,
        run.trainer.data_collator,
        may_keep_start=True,
        num_train_epochs=run.args.polish_num_train_epochs,
        learning_rate=run.args.polish_learning_rate,
        head_learning_rate=run.args.polish_learning_rate,
        encoder_learning_rates=None,
    )
