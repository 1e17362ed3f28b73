# SPDX-License-Identifier: Apache-2.0
"""A training from its recipe to the model's folder: the work of `scripts.train`."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import transformers
from accelerate import PartialState
from transformers.trainer_callback import ProgressCallback

from hub.model.card import CardContext, render_card
from hub.model.evaluation import SplitEvaluation, evaluate_splits
from hub.model.folder import write_model_folder
from hub.model.summary import SUMMARY_NAME, summarise_training
from modeling_stacked_emotion import round_weights
from modeling_stacked_emotion.scripts_stacked_emotion import count_scripts, frequent_scripts
from trainer_ext.data.batching import EmotionDataCollator, tokenize_dataset
from trainer_ext.data.loading import EmotionData, load_emotion_data
from trainer_ext.data.rows import dataset_labels
from trainer_ext.data.sources import load_sources
from trainer_ext.encoders.stack import build_single, build_stack, encoder_source
from trainer_ext.encoders.start import format_shares, start_from_classifiers
from trainer_ext.encoders.trained import trained_classifiers
from trainer_ext.errors import InputError, check_integer
from trainer_ext.evaluation.label_statistics import count_positives
from trainer_ext.evaluation.results import MIN_SPREAD, SAME_ANSWER, results_json
from trainer_ext.files import locked, remove_leftovers
from trainer_ext.recipe import DataArguments, DecisionArguments, ModelArguments, Recipe
from trainer_ext.reports.callback import ReportCallback
from trainer_ext.reports.class_report import ClassReportCallback
from trainer_ext.reports.label_correlation import LabelCorrelationCallback
from trainer_ext.stages.distillation import (
    add_teacher,
    distillation_rows,
    fold_calibration,
    load_teachers,
    read_unlabelled,
    teacher_logits,
)
from trainer_ext.stages.staged_training import train_staged
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.checkpoints import (
    check_settings,
    find_checkpoint,
    missing_part,
    remove_checkpoints,
    write_settings,
)
from trainer_ext.training.layers import count_parameters
from trainer_ext.training.lora import add_lora, merge_lora, save_adapter
from trainer_ext.training.paths import RunPaths
from trainer_ext.training.progress import EvaluationLineCallback
from trainer_ext.training.trainer import StackedEmotionTrainer

from ._resuming import run_settings

_MIN_STUDENT_TOKENS = 8
# Of labels in the line on the data.
_MAX_NAMES = 50
_SHARED_MODEL_FIELDS = {"student", "max_tokens", "languages", *(entry.name for entry in fields(DecisionArguments))}
# A student is one encoder of transformers, trained as a whole.
_NOT_FOR_A_STUDENT = {
    *("lora_r", "encoder_learning_rates"),
    *(entry.name for entry in fields(ModelArguments) if entry.name not in _SHARED_MODEL_FIELDS),
}


class TrainingOutcome(NamedTuple):
    """
    A finished training.

    Args:
        results (`dict[str, float]`): Speed and loss of the training and, in the main process, all metrics.
        data ([`EmotionData`]): The texts of all splits.
        evaluation ([`SplitEvaluation`], *optional*): In the main process.
    """

    results: dict[str, float]
    data: EmotionData
    evaluation: SplitEvaluation | None = None


@dataclass(frozen=True)
class _Run:
    """One training: its recipe, the arguments of its Trainer, its paths, texts and tokenizer."""

    recipe: Recipe
    args: StackedEmotionTrainingArguments
    paths: RunPaths
    data: EmotionData
    tokenizer: Any

    def make_trainer(self, stage: str = "", **arguments: Any) -> StackedEmotionTrainer:
        """The Trainer of the whole model or of a stage; it reports to a folder of its own."""
        folder, names = self.paths.reports / stage, self.data.label_names
        reports: list[ReportCallback] = []
        # Both compare labels with one another.
        if len(names) > 1:
            counts = count_positives(dataset_labels(self.data.splits["train"]))
            reports.append(LabelCorrelationCallback(names, output_dir=folder))
            reports.append(ClassReportCallback(names, counts, output_dir=folder))
        trainer = StackedEmotionTrainer(
            processing_class=self.tokenizer,
            distillation_loss=self.recipe.distillation.create_loss(),
            callbacks=reports,
            **arguments,
        )
        if not trainer.args.disable_tqdm:
            trainer.remove_callback(ProgressCallback)
            trainer.add_callback(EvaluationLineCallback)
        remove_reports(folder, trainer)
        return trainer


def say(text: str) -> None:
    """Print a line in the main process."""
    PartialState().print(text)


def train(recipe: Recipe, name: str) -> TrainingOutcome:
    """Train, evaluate and save the model of a recipe; the card calls it by `name`."""
    transformers.logging.disable_progress_bar()
    if recipe.training.process_index:
        datasets.disable_progress_bars()
    _check(recipe)
    paths = RunPaths(Path(str(recipe.training.output_dir)))
    if recipe.training.process_index:
        return _train_model(recipe, name, paths)
    with locked(paths.repository):
        remove_leftovers(paths.repository)
        return _train_model(recipe, name, paths)


def _train_model(recipe: Recipe, name: str, paths: RunPaths) -> TrainingOutcome:
    """[`train`] in a folder that no other process writes."""
    data = load_data(recipe.data, recipe.training.seed)
    changes: dict[str, Any] = {"output_dir": str(paths.checkpoints)}
    if "validation" not in data.splits:
        say("No validation split: the last epoch is kept, and every threshold is 0.5.")
        changes |= {"eval_strategy": "no", "load_best_model_at_end": False}
    weights = {name: source.weight for name, source in recipe.data.named_sources().items() if source.weight != 1}
    if weights:
        changes["source_weights"] = weights
    args = replace(recipe.training, **changes)
    checkpoint = find_checkpoint(args.resume_from_checkpoint, paths.checkpoints)
    settings = run_settings(replace(recipe, training=args), data)
    # The stages of a staged training look after their own.
    if checkpoint is not None and args.training_mode == "joint":
        check_settings(checkpoint, settings)
        say(f"Going on from {checkpoint}.")
    transformers.set_seed(args.seed)
    tokenizer, model = _build(recipe.model, data, args.seed)
    model.config.languages = recipe.model.languages or recipe.data.languages()
    model.config.scripts = frequent_scripts(sum(map(count_scripts, data.splits["train"]["text"]), Counter()))
    run = _Run(recipe, args, paths, data, tokenizer)
    rows = _tokenize(run)
    if args.training_mode == "joint" and not args.process_index:
        _keep_checkpoints_of(settings, checkpoint, paths)
    trainer, results = _train(run, model, rows)
    trained = _take_model(trainer, paths)
    if not trainer.is_world_process_zero():
        return TrainingOutcome(results, data)
    # Before the evaluation: its numbers are those of the weights that are saved.
    round_weights(trained, recipe.model.weights_dtype)
    evaluation = evaluate_splits(recipe.model, data, tokenizer, trained)
    if evaluation.table:
        say(f"\n{evaluation.table}")
    _configure(trained, evaluation, is_stock=bool(recipe.model.student))
    results |= evaluation.results
    _save(run, name, len(rows["train"]), trained, results, evaluation)
    return TrainingOutcome(results, data, evaluation)


def _keep_checkpoints_of(settings: Mapping[str, Any], checkpoint: str | None, paths: RunPaths) -> None:
    """Remove halves, those of an earlier run unless this one goes on from it, and note whose the next ones are."""
    if num_removed := remove_checkpoints(paths.checkpoints, only_halves=checkpoint is not None):
        say(f"Removed {num_removed} checkpoints of an earlier run from {paths.checkpoints}.")
    write_settings(paths.checkpoints, settings)


def _check(recipe: Recipe) -> None:
    """Find slips that would show only when the training begins, or after it."""
    model, training = recipe.model, recipe.training
    if model.source_thresholds and not recipe.data.sources:
        raise InputError("`source_thresholds` is for a recipe with `sources`: leave it out.")
    if model.student:
        _check_student(recipe)
    elif not model.encoders:
        raise InputError("The recipe names no `encoders`: give each a name and a Hub id or folder.")
    _check_output(Path(str(training.output_dir)))
    if unknown := sorted({*(training.encoder_learning_rates or {})} - {*model.encoders}):
        known = ", ".join(model.encoders)
        raise InputError(f"`encoder_learning_rates` names {unknown[0]!r}; the encoders are {known}.")
    if training.encoder_loss_weight and len(model.encoders) > 1 and not model.skip_connection:
        raise InputError("`encoder_loss_weight` needs `skip_connection: true`: without, no encoder has logits alone.")
    if recipe.distillation.teachers and training.training_mode == "staged":
        raise InputError("`teacher` is for `training_mode: joint`, got staged.")
    if recipe.distillation.teachers and training.world_size > 1:
        raise InputError("Distillation runs in one process: start it without `accelerate launch`.")
    checkpoint = training.resume_from_checkpoint
    if isinstance(checkpoint, str) and not Path(checkpoint).is_dir():
        raise FileNotFoundError(f"`resume_from_checkpoint` must be the folder of a checkpoint, got {checkpoint!r}.")
    if isinstance(checkpoint, str) and (part := missing_part(checkpoint)):
        raise InputError(f"`resume_from_checkpoint`: {checkpoint} is not whole, it has no {part}. Try true instead.")


def _check_output(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"`output_dir` must be a folder, but {existing} is a file.")
    if folder.is_mount():
        raise InputError(f"`output_dir` is replaced as a whole, but {folder} is a mounted disk: name a folder on it.")


def _check_student(recipe: Recipe) -> None:
    if useless := sorted(recipe.given & _NOT_FOR_A_STUDENT):
        raise InputError(f"`{useless[0]}` has no meaning for a `student`: leave it out.")
    if not recipe.distillation.teachers:
        raise InputError("The recipe names no `teacher`: give it a folder or a Hub id.")
    check_integer("max_tokens", recipe.model.max_tokens, _MIN_STUDENT_TOKENS)


def load_data(arguments: DataArguments, seed: int) -> EmotionData:
    """The splits of a recipe; prints how many texts they have."""
    split_seed = seed if arguments.split_seed is None else arguments.split_seed
    if arguments.sources:
        sources = arguments.named_sources()
        data = load_sources(
            {name: source.reading() for name, source in sources.items()},
            evaluated_only=[name for name, source in sources.items() if source.evaluated_only],
            seed=split_seed,
        )
    else:
        data = load_emotion_data(**arguments.reading(), seed=split_seed)
    names = ", ".join(data.label_names[:_MAX_NAMES]) + (", ..." if len(data.label_names) > _MAX_NAMES else "")
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())
    say(f"Data: {sizes} texts; {len(data.label_names)} labels: {names}")
    return data


def _build(arguments: ModelArguments, data: EmotionData, seed: int) -> tuple[Any, Any]:
    """The tokenizer and the model with an untrained head."""
    texts = data.splits["train"]["text"]
    if arguments.student:
        return build_single(
            arguments.student,
            label_names=data.label_names,
            texts=texts,
            seed=seed,
            max_tokens=arguments.max_tokens,
        )
    for name, origin in arguments.encoders.items():
        say(f"Encoder {name}: {encoder_source(name, origin)}.")
    return build_stack(
        arguments.encoders,
        label_names=data.label_names,
        texts=texts,
        seed=seed,
        normalizations=arguments.normalizations,
        max_words=arguments.max_words,
        max_tokens=arguments.max_tokens,
        attn_implementation=arguments.attn_implementation,
        config_fields=arguments.config_fields(),
    )


def _tokenize(run: _Run) -> dict[str, datasets.Dataset]:
    """The rows of training and, if there is one, validation split as the Trainer takes them."""
    rows, logits = _rows_to_learn_from(run)
    tokenized = {"train": tokenize_dataset(rows, run.tokenizer)}
    if "validation" in run.data.splits:
        tokenized["validation"] = tokenize_dataset(run.data.splits["validation"], run.tokenizer)
    for split, (encoded, num_cut) in tokenized.items():
        if num_cut:
            say(f"{num_cut:,} of {len(encoded):,} {split} texts were cut to the limit.")
    splits = {split: encoded for split, (encoded, _) in tokenized.items()}
    return splits if logits is None else splits | {"train": add_teacher(splits["train"], logits)}


def _rows_to_learn_from(run: _Run) -> tuple[datasets.Dataset, np.ndarray | None]:
    """The training split; with a teacher also the texts without labels, and its logits of all these."""
    arguments, args, label_names = run.recipe.distillation, run.args, run.data.label_names
    train_split = run.data.splits["train"]
    if not arguments.teachers:
        return train_split, None
    unlabelled: list[str] = []
    if arguments.unlabelled_file:
        # The student must not have seen the texts that it is measured on.
        known = [text for split in run.data.splits.values() for text in split["text"]]
        unlabelled = read_unlabelled(arguments.unlabelled_file, run.recipe.data.text_column, known)
    teachers = load_teachers(arguments.teachers, label_names)
    rows = distillation_rows(train_split, unlabelled, len(label_names))
    say(f"{len(teachers)} to learn from: {len(rows):,} texts, {len(unlabelled):,} of them without labels.")
    cache = arguments.teacher_cache_dir or run.paths.teacher_logits
    return rows, teacher_logits(teachers, label_names, rows["text"][:], cache, args.chosen_precision)


def _train(
    run: _Run, model: Any, rows: Mapping[str, datasets.Dataset]
) -> tuple[StackedEmotionTrainer, dict[str, float]]:
    """Train in the mode of the recipe; returns the Trainer of the whole model, and time, speed and loss."""
    args, validation = run.args, rows.get("validation")
    classifiers = trained_classifiers(run.recipe.model.encoders, run.data.label_names)
    checkpoint = find_checkpoint(args.resume_from_checkpoint, run.paths.checkpoints)
    if classifiers and args.training_mode == "joint" and checkpoint is None:
        collator = EmotionDataCollator(run.tokenizer)
        batch_size, precision = args.per_device_eval_batch_size, args.chosen_precision
        shares = start_from_classifiers(model, classifiers, validation, collator, batch_size, precision)
        if shares:
            say(f"The stack starts as the mean of its encoders: {format_shares(shares)}.")
    if args.lora_r:
        model = add_lora(model, args)
    trainer = run.make_trainer(model=model, args=args, train_dataset=rows["train"], eval_dataset=validation)
    num_trained, num_parameters = count_parameters(model)
    share = f"{num_trained / 1e6:.2f} of {num_parameters / 1e6:.2f} million ({num_trained / num_parameters:.2%})"
    processes = f" in {args.world_size} processes" if args.world_size > 1 else ""
    say(f"Training {share} parameters in {args.chosen_precision} on {args.device}{processes}.")
    if args.training_mode == "staged":
        return trainer, train_staged(trainer, run.make_trainer, say, classifiers)
    metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
    return trainer, {key: metrics[key] for key in ("train_runtime", "train_samples_per_second", "train_loss")}


def remove_reports(folder: Path, trainer: StackedEmotionTrainer) -> None:
    """
    Remove the reports of an earlier run, unless this one goes on from a checkpoint. The stages of a staged training
    have folders of their own within `folder`, which stay: a stage that is complete does not make its reports again.
    """
    args = trainer.args
    if not trainer.is_world_process_zero() or find_checkpoint(args.resume_from_checkpoint, str(args.output_dir)):
        return
    if args.training_mode == "joint":
        shutil.rmtree(folder, ignore_errors=True)
    elif not args.polish_num_train_epochs:
        shutil.rmtree(folder / "polish", ignore_errors=True)
    for path in folder.glob("*.*"):
        path.unlink()


def _take_model(trainer: StackedEmotionTrainer, paths: RunPaths) -> Any:
    """The trained model, with adapters merged into its weights; the processes part here."""
    model = trainer.whole_model()
    if trainer.args.lora_r:
        if trainer.is_world_process_zero():
            save_adapter(model, paths.adapter)
        model = merge_lora(model)
    # The best checkpoint is deleted only when all have read it. Then each goes its own way: the main process may work
    # for longer than processes wait for one another.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    return model


def _configure(model: Any, evaluation: SplitEvaluation, is_stock: bool) -> None:
    """Make thresholds and calibration part of the model: a stock classifier has its calibration in its weights."""
    model.config.thresholds = evaluation.thresholds.tolist()
    if evaluation.source_thresholds:
        own = evaluation.source_thresholds.items()
        model.config.source_thresholds = {source: thresholds.tolist() for source, thresholds in own}
    if evaluation.calibration is None:
        return
    if is_stock:
        fold_calibration(model, evaluation.calibration)
    else:
        scale, bias = evaluation.calibration
        model.config.calibration_scale, model.config.calibration_bias = scale.tolist(), bias.tolist()


def _save(
    run: _Run, name: str, num_rows: int, model: Any, results: Mapping[str, float], evaluation: SplitEvaluation
) -> None:
    folder, data = run.paths.repository, run.data
    num_texts = {split: len(rows) for split, rows in data.splits.items()}
    if run.recipe.distillation.unlabelled_file:
        num_texts["unlabelled"] = num_rows - num_texts["train"]
    split = "test" if "test" in data.splits else "validation"
    warnings = [SAME_ANSWER] if results.get(f"{split}_logit_spread", 1.0) < MIN_SPREAD else []
    summary = summarise_training(run.recipe, name, num_texts, data.agreement, warnings, evaluation.precision)
    labels = dataset_labels(data.splits["train"])
    reports: dict[str, str | bytes] = {
        "label_statistics.json": _label_statistics(labels, data.label_names, model.config),
        **evaluation.figures,
    }
    files: dict[str, str | bytes] = {
        "README.md": render_card(
            CardContext(
                model.config,
                results,
                summary,
                f"./{folder.name}",
                languages=model.config.languages or (),
                figures=sorted(reports),
            )
        ),
        run.paths.results.name: results_json(results),
        SUMMARY_NAME: summary.to_json(),
        **reports,
    }
    folders = {path.name: path for path in (run.paths.reports, run.paths.adapter) if path.is_dir()}
    # A later run repeats only the stages that have changed.
    dropped = [run.paths.checkpoints.name] if run.recipe.training.training_mode == "joint" else []
    write_model_folder(folder, model, run.tokenizer, files, folders, dropped)
    say(f"\nSaved to {folder}: a complete model repository, with {run.paths.results.name}.")


def _label_statistics(labels: np.ndarray, names: Sequence[str], config: Any) -> str:
    """The statistics of the training labels that the loss works with, as JSON."""
    counts, known = count_positives(labels).tolist(), (~np.isnan(labels)).sum(axis=0).tolist()
    columns = zip(names, counts, known, config.class_weights, config.label_correlation, strict=True)
    entries = {
        name: {
            "count": count,
            "known": num_known,
            "class_weight": weight,
            "correlation": dict(zip(names, row, strict=True)),
        }
        for name, count, num_known, weight, row in columns
    }
    return json.dumps({"num_texts": len(labels), "labels": entries}, indent=2, ensure_ascii=False) + "\n"
