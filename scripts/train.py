# SPDX-License-Identifier: Apache-2.0
"""
Train a model from a recipe.

Usage:
    python -m scripts.train RECIPE.yaml [--field value ...]
    accelerate launch -m scripts.train RECIPE.yaml [--field value ...]

Leaves in `output_dir` a complete Hub repository (code, weights, tokenizers, configuration with labels and thresholds,
card) and `eval_results.json`. With `lora_r` the adapters are merged into the weights, and also kept in `adapter/`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts._command import command
from trainer_ext.errors import InputError

if TYPE_CHECKING:
    import datasets
    from torch import nn

    from hub.model.summary import TrainingSummary
    from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
    from scripts._finishing import SplitEvaluation
    from scripts._starting import TaughtRows
    from trainer_ext.data.loading import EmotionData
    from trainer_ext.recipe import ModelArguments, Recipe
    from trainer_ext.training.arguments import StackedEmotionTrainingArguments
    from trainer_ext.training.trainer import StackedEmotionTrainer


_CARD_SETTINGS = (
    *("training_mode", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("learning_rate", "head_learning_rate", "weight_decay", "warmup_steps", "lora_r", "precision"),
    *("base_loss", "class_weights", "correlation_loss", "contrastive_loss_weight", "seed"),
)
_CONFIG_FIELDS = (
    *("mixer", "meta_hidden_size", "convolution_widths", "convolution_hidden_size", "lstm_hidden_size"),
    *("lstm_num_layers", "pooling", "skip_connection", "dropout", "word_dropout", "prior_probability"),
)
_CARD_STAGES = ("head_num_train_epochs", "num_folds", "polish_num_train_epochs")


def make_parser(with_fields: bool = False) -> argparse.ArgumentParser:
    """The parser; listing the fields imports torch, so only `--help` asks for it."""
    epilog = None
    if with_fields:
        from trainer_ext.fields import format_fields

        epilog = "fields, in the recipe or on the command line:\n" + format_fields()
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train",
        usage="%(prog)s RECIPE.yaml [--field value ...]",
        description="Train a stacked emotion model from a recipe.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE.yaml", help="the recipe, such as scripts/recipes/quickstart.yaml")
    return parser


@command
def main(
    argv: Sequence[str] | None = None, keep: Callable[[EmotionData, SplitEvaluation], None] | None = None
) -> dict[str, float]:
    """
    Train, evaluate, save; returns the results that are in `eval_results.json`. `keep` gets the data and all that the
    evaluation has found, when the folder is complete.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, overrides = make_parser("--help" in arguments or "-h" in arguments).parse_known_args(arguments)

    import transformers

    from modeling_stacked_emotion import round_weights
    from scripts._starting import load_data, taught_rows
    from trainer_ext.encoders.trained import trained_classifiers
    from trainer_ext.recipe import load_recipe
    from trainer_ext.training.lora import add_lora, merge_lora, save_adapter

    transformers.logging.disable_progress_bar()
    recipe = load_recipe(options.recipe, overrides)
    if recipe.training.process_index:
        _be_quiet()
    _check(recipe)
    data = load_data(recipe.data, recipe.training.seed)
    if "validation" not in data.splits:
        print("No validation split: the last epoch is kept, and every threshold is 0.5.")
    transformers.set_seed(recipe.training.seed)
    tokenizer, model = _build_model(recipe.model, data, recipe.training.seed)
    classifiers = trained_classifiers(recipe.model.encoders, data.label_names)
    taught = taught_rows(recipe.distillation, data, recipe.data.text_column, recipe.training)
    encoded = _encode(data, taught, tokenizer)
    if recipe.training.training_mode == "joint":
        _start(model, classifiers, tokenizer, encoded.get("validation"), recipe.training)
    if recipe.training.lora_r:
        model = add_lora(model, recipe.training)
    trainer, make_trainer = _make_trainer(recipe, data, encoded, tokenizer, model)
    results = _train(trainer, make_trainer, classifiers)
    trained = trainer.whole_model()
    if recipe.training.lora_r:
        if trainer.is_world_process_zero():
            save_adapter(trained, Path(recipe.training.output_dir).parent / "adapter")
        trained = merge_lora(trained)
    # The best checkpoint is deleted only when all have read it. Then each goes its own way: what the main process has
    # still to do may take longer than processes wait for one another.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    if trainer.is_world_process_zero():
        # Before the evaluation: its numbers are those of the weights that are saved.
        round_weights(trained, recipe.model.weights_dtype)
        found = _evaluate(recipe, data, tokenizer, trained)
        results |= found.results
        summary = _summarise(recipe, data, len(taught.rows), Path(options.recipe).stem)
        _save(recipe, results, found.reports, tokenizer, trained, summary)
        if keep is not None:
            keep(data, found)
    return results


def _be_quiet() -> None:
    """The main process speaks for all; errors are heard from each."""
    import datasets

    datasets.disable_progress_bars()
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  (open until the process ends)


def _check(recipe: Recipe) -> None:
    """What would be found out only when training begins, or after it."""
    training = recipe.training
    if not recipe.model.encoders:
        raise InputError("The recipe names no `encoders`: give each a name and a Hub id or folder.")
    folder = Path(str(training.output_dir))
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"`output_dir` must be a folder, but {existing} is a file.")
    for field in ("per_device_train_batch_size", "per_device_eval_batch_size"):
        if getattr(training, field) < 1:
            raise InputError(f"`{field}` must be at least 1, got {getattr(training, field)}.")
    if unknown := sorted({*(training.encoder_learning_rates or {})} - {*recipe.model.encoders}):
        known = ", ".join(recipe.model.encoders)
        raise InputError(f"`encoder_learning_rates` names {unknown[0]!r}; the encoders are {known}.")
    if training.encoder_loss_weight and len(recipe.model.encoders) > 1 and not recipe.model.skip_connection:
        raise InputError("`encoder_loss_weight` needs `skip_connection: true`: without, no encoder has logits alone.")
    if recipe.distillation.teachers and training.training_mode == "staged":
        raise InputError("`teacher` is for `training_mode: joint`, got staged.")
    checkpoint = training.resume_from_checkpoint
    if isinstance(checkpoint, str) and not Path(checkpoint).is_dir():
        raise FileNotFoundError(f"`resume_from_checkpoint` must be the folder of a checkpoint, got {checkpoint!r}.")


def _build_model(
    arguments: ModelArguments, data: EmotionData, seed: int
) -> tuple[StackedEmotionTokenizer, StackedEmotionForSequenceClassification]:
    from trainer_ext.encoders.stack import build_stack, encoder_source

    for name, origin in arguments.encoders.items():
        print(f"Encoder {name}: {encoder_source(name, origin)}.")
    return build_stack(
        arguments.encoders,
        label_names=data.label_names,
        texts=data.splits["train"]["text"],
        seed=seed,
        normalizations=arguments.normalizations,
        max_words=arguments.max_words,
        max_tokens=arguments.max_tokens,
        attn_implementation=arguments.attn_implementation,
        config_fields={field: getattr(arguments, field) for field in _CONFIG_FIELDS},
    )


def _encode(data: EmotionData, taught: TaughtRows, tokenizer: Any) -> dict[str, datasets.Dataset]:
    """The rows of training and, if there is one, validation split as the Trainer takes them."""
    from trainer_ext.data.batching import tokenize_dataset

    encoded = {"train": taught.tokenized(tokenizer)}
    if "validation" in data.splits:
        encoded["validation"] = tokenize_dataset(data.splits["validation"], tokenizer)
    for split, (rows, num_cut) in encoded.items():
        if num_cut:
            print(f"{num_cut:,} of {len(rows):,} {split} texts were cut to the limit.")
    return {split: rows for split, (rows, _) in encoded.items()}


def _start(
    model: StackedEmotionForSequenceClassification,
    classifiers: Mapping[str, nn.Linear],
    tokenizer: StackedEmotionTokenizer,
    validation: datasets.Dataset | None,
    training: StackedEmotionTrainingArguments,
) -> None:
    """From the classifiers of encoders that were trained alone, if there are any and the run begins at its start."""
    from trainer_ext.data.batching import EmotionDataCollator
    from trainer_ext.encoders.start import format_shares, start_from_classifiers
    from trainer_ext.training.checkpoints import checkpoint_folder, find_checkpoint

    if find_checkpoint(training.resume_from_checkpoint, checkpoint_folder(str(training.output_dir))):
        return
    batch_size, precision = training.per_device_eval_batch_size, training.chosen_precision
    collator = EmotionDataCollator(tokenizer)
    shares = start_from_classifiers(model, classifiers, validation, collator, batch_size, precision)
    if shares:
        print(f"The stack starts as the mean of its encoders: {format_shares(shares)}.")


def _make_trainer(
    recipe: Recipe, data: EmotionData, encoded: Mapping[str, datasets.Dataset], tokenizer: Any, model: Any
) -> tuple[StackedEmotionTrainer, Callable[..., StackedEmotionTrainer]]:
    """The Trainer of the whole model, and what makes the Trainers of the stages."""
    from scripts._starting import remove_reports
    from trainer_ext.training.checkpoints import checkpoint_folder
    from trainer_ext.training.layers import count_parameters
    from trainer_ext.training.trainer import StackedEmotionTrainer

    training = recipe.training
    if "validation" not in encoded:
        training.eval_strategy, training.load_best_model_at_end = "no", False
    reports = Path(str(training.output_dir)) / "reports"
    training.output_dir = checkpoint_folder(str(training.output_dir))

    def make_trainer(stage: str = "", **arguments: Any) -> StackedEmotionTrainer:
        trainer = StackedEmotionTrainer(
            processing_class=tokenizer,
            distillation_loss=recipe.distillation.create_loss(),
            callbacks=_reports(reports / stage, data),
            **arguments,
        )
        remove_reports(reports / stage, trainer)
        return trainer

    trainer = make_trainer(
        model=model,
        args=training,
        train_dataset=encoded["train"],
        eval_dataset=encoded.get("validation"),
    )
    num_trained, num_parameters = count_parameters(model)
    share = f"{num_trained / 1e6:.2f} of {num_parameters / 1e6:.2f} million ({num_trained / num_parameters:.2%})"
    processes = f" in {training.world_size} processes" if training.world_size > 1 else ""
    print(f"Training {share} parameters in {training.chosen_precision} on {training.device}{processes}.")
    return trainer, make_trainer


def _train(
    trainer: StackedEmotionTrainer,
    make_trainer: Callable[..., StackedEmotionTrainer],
    classifiers: Mapping[str, nn.Linear],
) -> dict[str, float]:
    """Train in the mode of the recipe; returns time, speed and loss."""
    from trainer_ext.stages.staged_training import train_staged
    from trainer_ext.training.checkpoints import find_checkpoint

    args = trainer.args
    if args.training_mode == "staged":
        return train_staged(trainer, make_trainer, print, classifiers)
    outcome = trainer.train(resume_from_checkpoint=find_checkpoint(args.resume_from_checkpoint, str(args.output_dir)))
    return {key: outcome.metrics[key] for key in ("train_runtime", "train_samples_per_second", "train_loss")}


def _reports(folder: Path, data: EmotionData) -> list[Any]:
    from trainer_ext.reports.class_report import ClassReportCallback
    from trainer_ext.reports.label_correlation import LabelCorrelationCallback
    from trainer_ext.training.trainer import dataset_labels

    counts = dataset_labels(data.splits["train"]).sum(axis=0)
    return [
        LabelCorrelationCallback(data.label_names, output_dir=folder),
        ClassReportCallback(data.label_names, counts, output_dir=folder),
    ]


def _evaluate(recipe: Recipe, data: EmotionData, tokenizer: Any, model: Any) -> SplitEvaluation:
    """Both splits, in fp32; calibration and thresholds from validation and the statistics go into the config."""
    from scripts._finishing import evaluate_splits
    from trainer_ext.training.trainer import dataset_labels

    found = evaluate_splits(recipe.model, data, tokenizer, model, recipe.training.per_device_eval_batch_size)
    model.config.thresholds = found.thresholds.tolist()
    if found.calibration is not None:
        model.config.calibration_scale, model.config.calibration_bias = (row.tolist() for row in found.calibration)
    labels = dataset_labels(data.splits["train"]).astype(int)
    statistics = _label_statistics(labels, data.label_names, model.config)
    return found._replace(reports={"label_statistics.json": statistics, **found.reports})


def _label_statistics(labels: Any, names: Sequence[str], config: Any) -> str:
    """What the loss knows of the training labels, as JSON."""
    counts, weights = labels.sum(axis=0).tolist(), config.class_weights
    entries = {
        name: {"count": count, "class_weight": weight, "correlation": dict(zip(names, row, strict=True))}
        for name, count, weight, row in zip(names, counts, weights, config.label_correlation, strict=True)
    }
    return json.dumps({"num_texts": len(labels), "labels": entries}, indent=2, ensure_ascii=False) + "\n"


def _save(
    recipe: Recipe,
    results: dict[str, float],
    reports: dict[str, str | bytes],
    tokenizer: Any,
    model: Any,
    summary: TrainingSummary,
) -> None:
    from scripts._finishing import save_model

    checkpoints = Path(recipe.training.output_dir)
    folder = checkpoints.parent
    save_model(folder, model, tokenizer, results, reports, summary)
    # A later run repeats only the stages that have changed.
    if recipe.training.training_mode == "joint":
        shutil.rmtree(checkpoints, ignore_errors=True)
    print(f"\nSaved to {folder}: a complete model repository, with eval_results.json.")


def _summarise(recipe: Recipe, data: EmotionData, num_rows: int, name: str) -> TrainingSummary:
    from scripts._finishing import summarise

    training = recipe.training
    names = (*_CARD_SETTINGS, *(_CARD_STAGES if training.training_mode == "staged" else ()))
    settings = {key: getattr(training, key) for key in names} | {"weights_dtype": recipe.model.weights_dtype}
    sizes = {split: len(rows) for split, rows in data.splits.items()}
    return summarise(name, recipe.data, sizes, recipe.model.encoders, settings, recipe.distillation, num_rows)


if __name__ == "__main__":
    main()
