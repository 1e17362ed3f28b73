# SPDX-License-Identifier: Apache-2.0
"""
Train a model from a recipe.

Usage:
    python -m scripts.train RECIPE.yaml [--field value ...]
    accelerate launch -m scripts.train RECIPE.yaml [--field value ...]

Leaves in `output_dir` a complete Hub repository (code, weights, tokenizers, configuration with labels and thresholds,
card) and `eval_results.json`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from scripts._errors import user_errors

if TYPE_CHECKING:
    from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
    from trainer_ext.data import EmotionData
    from trainer_ext.recipe import ModelArguments, Recipe
    from trainer_ext.trainer import StackedEmotionTrainer


_CARD_SETTINGS = ("num_train_epochs", "per_device_train_batch_size", "learning_rate", "head_learning_rate", "seed")


def make_parser(with_fields: bool = False) -> argparse.ArgumentParser:
    """The parser; listing the fields imports torch, so only `--help` asks for it."""
    epilog = None
    if with_fields:
        from trainer_ext.recipe import format_fields

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


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Train, evaluate, save; returns the results that are in `eval_results.json`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, overrides = make_parser("--help" in arguments or "-h" in arguments).parse_known_args(arguments)

    import transformers

    from trainer_ext.recipe import load_recipe

    transformers.logging.disable_progress_bar()
    with user_errors():
        recipe = load_recipe(options.recipe, overrides)
        _check(recipe)
        data = _load_data(recipe)
        transformers.set_seed(recipe.training.seed)
        tokenizer, model = _build_model(recipe.model, data)
    trainer, make_trainer = _make_trainer(recipe, data, tokenizer, model)
    results = _train(trainer, make_trainer)
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if trainer.is_world_process_zero():
        results |= _evaluate(recipe, data, tokenizer, trained)
        _save(recipe, results, tokenizer, trained, Path(options.recipe).stem)
    trainer.accelerator.wait_for_everyone()
    return results


def _check(recipe: Recipe) -> None:
    """What would be found out only when training begins, or after it."""
    training = recipe.training
    if not recipe.model.encoders:
        raise ValueError("The recipe names no `encoders`: give each a name and a Hub id or folder.")
    folder = Path(str(training.output_dir))
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"`output_dir` must be a folder, but {existing} is a file.")
    for field in ("per_device_train_batch_size", "per_device_eval_batch_size"):
        if getattr(training, field) < 1:
            raise ValueError(f"`{field}` must be at least 1, got {getattr(training, field)}.")
    checkpoint = training.resume_from_checkpoint
    if isinstance(checkpoint, str) and not Path(checkpoint).is_dir():
        raise FileNotFoundError(f"`resume_from_checkpoint` must be the folder of a checkpoint, got {checkpoint!r}.")


def _load_data(recipe: Recipe) -> EmotionData:
    from trainer_ext.data import load_emotion_data

    data = load_emotion_data(**asdict(recipe.data), seed=recipe.training.seed)
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())
    print(f"Data: {sizes} texts; {len(data.label_names)} labels: {', '.join(data.label_names)}")
    if "validation" not in data.splits:
        print("No validation split: the last epoch is kept, and every threshold is 0.5.")
    return data


def _build_model(
    arguments: ModelArguments, data: EmotionData
) -> tuple[StackedEmotionTokenizer, StackedEmotionForSequenceClassification]:
    from transformers import AutoConfig, AutoTokenizer

    from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
    from trainer_ext.scratch_encoders import scratch_encoder

    with TemporaryDirectory() as scratch:
        encoders: dict[str, str] = {}
        for name, origin in arguments.encoders.items():
            if isinstance(origin, dict):
                texts = data.splits["train"]["text"]
                origin = str(scratch_encoder(origin, name).build(texts, Path(scratch) / name))
            encoders[name] = str(origin)
            with user_errors(f"encoder {name!r}, {origin}, cannot be loaded"):
                AutoConfig.from_pretrained(encoders[name])
                AutoTokenizer.from_pretrained(encoders[name])
        tokenizer = StackedEmotionTokenizer.from_encoders(
            encoders, arguments.normalizations, arguments.max_words, arguments.max_tokens
        )
        model = StackedEmotionForSequenceClassification.from_encoders(
            encoders,
            attn_implementation=arguments.attn_implementation,
            id2label=dict(enumerate(data.label_names)),
            mixer=arguments.mixer,
            meta_hidden_size=arguments.meta_hidden_size,
            lstm_hidden_size=arguments.lstm_hidden_size,
            lstm_num_layers=arguments.lstm_num_layers,
            pooling=arguments.pooling,
            skip_connection=arguments.skip_connection,
            dropout=arguments.dropout,
            prior_probability=arguments.prior_probability,
        )
    return tokenizer, model


def _make_trainer(
    recipe: Recipe, data: EmotionData, tokenizer: Any, model: Any
) -> tuple[StackedEmotionTrainer, Callable[..., StackedEmotionTrainer]]:
    """The Trainer of the whole model, and what makes the Trainers of the stages."""
    from trainer_ext.batching import EmotionDataCollator, tokenize_dataset
    from trainer_ext.trainer import StackedEmotionTrainer, compute_validation_metrics

    training = recipe.training
    encoded = {}
    for split in ("train", "validation"):
        if split in data.splits:
            encoded[split], num_cut = tokenize_dataset(data.splits[split], tokenizer)
            if num_cut:
                print(f"{num_cut:,} of {len(encoded[split]):,} {split} texts were cut to the limit.")
    if "validation" not in encoded:
        training.eval_strategy, training.load_best_model_at_end = "no", False
    # The checkpoints are not part of the repository that the folder becomes.
    training.output_dir = str(Path(training.output_dir) / "checkpoints")
    make_trainer = partial(
        StackedEmotionTrainer, processing_class=tokenizer, compute_metrics=compute_validation_metrics
    )
    with user_errors():
        trainer = make_trainer(
            model=model,
            args=training,
            train_dataset=encoded["train"],
            eval_dataset=encoded.get("validation"),
            data_collator=EmotionDataCollator(tokenizer),
        )
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    precision = "bf16" if training.bf16 else "fp16" if training.fp16 else "fp32"
    print(f"Training {num_parameters / 1e6:.1f} million parameters in {precision} on {training.device}.")
    return trainer, make_trainer


def _train(trainer: StackedEmotionTrainer, make_trainer: Callable[..., StackedEmotionTrainer]) -> dict[str, float]:
    """Train in the mode of the recipe; returns time, speed and loss."""
    from trainer_ext.checkpoints import find_checkpoint
    from trainer_ext.stages.staged_training import train_staged

    args = trainer.args
    if args.training_mode == "staged":
        with user_errors():
            return train_staged(trainer, make_trainer, print)
    outcome = trainer.train(resume_from_checkpoint=find_checkpoint(args.resume_from_checkpoint, str(args.output_dir)))
    return {key: outcome.metrics[key] for key in ("train_runtime", "train_samples_per_second", "train_loss")}


def _evaluate(recipe: Recipe, data: EmotionData, tokenizer: Any, model: Any) -> dict[str, float]:
    """Thresholds from the validation split into the config, then the metrics of both splits, in fp32."""
    import numpy as np

    from trainer_ext.evaluation import choose_thresholds, evaluate_split, results_table
    from trainer_ext.metrics import always_frequent_baseline
    from trainer_ext.prediction import predict_probabilities

    names = data.label_names
    thresholds = np.full(len(names), 0.5)
    results: dict[str, float] = {}
    labels = {split: np.asarray(rows["labels"], dtype=np.int64) for split, rows in data.splits.items()}
    for split in ("validation", "test"):
        if split not in data.splits:
            continue
        texts = data.splits[split]["text"]
        probabilities = predict_probabilities(model, tokenizer, texts, recipe.training.per_device_eval_batch_size)
        if split == "validation":
            model_arguments = recipe.model
            thresholds = choose_thresholds(
                labels[split], probabilities, model_arguments.threshold_strategy, model_arguments.threshold_shrinkage
            )
        results |= evaluate_split(split, labels[split], probabilities, thresholds, names)
        if split == "test" or "test" not in data.splits:
            baseline = always_frequent_baseline(labels["train"], labels[split], label_names=names)
            results |= {f"{split}_{key}_always_frequent": baseline[key] for key in ("macro_f1", "micro_f1")}
            print(f"\nResults on {split} (thresholds from validation):\n")
            print(results_table(split, results, names, baseline))
    model.config.thresholds = [float(value) for value in thresholds]
    return results


def _save(recipe: Recipe, results: dict[str, float], tokenizer: Any, model: Any, name: str) -> None:
    import torch
    import transformers

    from hub.model.card import render_card
    from hub.model.folder import write_model_folder
    from trainer_ext.evaluation import results_json

    checkpoints = Path(recipe.training.output_dir)
    folder = checkpoints.parent
    training, data = recipe.training, recipe.data
    card = render_card(
        name,
        model.config,
        results,
        {key: value if isinstance(value, str) else "from scratch" for key, value in recipe.model.encoders.items()},
        data.dataset_name or Path(str(data.train_file)).name,
        {key: getattr(training, key) for key in _CARD_SETTINGS},
        {"transformers": transformers.__version__, "torch": torch.__version__},
    )
    write_model_folder(folder, model, tokenizer, {"README.md": card, "eval_results.json": results_json(results)})
    # A later run repeats only the stages that have changed.
    if training.training_mode == "joint":
        shutil.rmtree(checkpoints, ignore_errors=True)
    print(f"\nSaved to {folder}: a complete model repository, with eval_results.json.")


if __name__ == "__main__":
    main()
