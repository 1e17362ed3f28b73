# SPDX-License-Identifier: Apache-2.0
"""
Distil a trained model into a single encoder that needs no code but that of transformers.

Usage:
    python -m scripts.distill RECIPE.yaml --teacher DIR [--field value ...]

The student learns from the labels of the training texts and from the teacher's probabilities for these and for the
texts of `unlabelled_file`. Leaves in `output_dir` a stock `AutoModelForSequenceClassification` with thresholds in its
configuration, its calibration in its weights, a card and `eval_results.json`. The teacher's logits stay in
`teacher_logits/`: a run that was killed goes on from there.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts._command import command
from trainer_ext.errors import InputError

if TYPE_CHECKING:
    from hub.model.summary import TrainingSummary
    from scripts._starting import TaughtRows
    from trainer_ext.data.loading import EmotionData
    from trainer_ext.recipe import DataArguments, TeacherArguments
    from trainer_ext.stages.distillation import StudentArguments
    from trainer_ext.training.arguments import StackedEmotionTrainingArguments

# The student is one encoder, trained as a whole.
_NO_MEANING = ("training_mode", "lora_r")
_CARD_SETTINGS = (
    *("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("head_learning_rate", "weight_decay", "warmup_steps", "precision"),
    *("base_loss", "class_weights", "correlation_loss", "contrastive_loss_weight", "seed"),
)


class _Recipe(NamedTuple):
    data: DataArguments
    student: StudentArguments
    distillation: TeacherArguments
    training: StackedEmotionTrainingArguments


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.distill",
        usage="%(prog)s RECIPE.yaml [--teacher DIR] [--field value ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "recipe", metavar="RECIPE.yaml", help="the recipe, such as scripts/recipes/goemotions_distilled.yaml"
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Distil, evaluate, save; returns the results that are in `eval_results.json`."""
    options, overrides = make_parser().parse_known_args(argv)

    import transformers

    from scripts._finishing import evaluate_splits, save_model
    from scripts._starting import load_data, taught_rows
    from trainer_ext.stages.distillation import fold_calibration

    transformers.logging.disable_progress_bar()
    recipe = _load_recipe(options.recipe, overrides)
    data = load_data(recipe.data, recipe.training.seed)
    transformers.set_seed(recipe.training.seed)
    tokenizer, model = _build_student(recipe, data)
    taught = taught_rows(recipe.distillation, data, recipe.data.text_column, recipe.training)
    results, student = _train(recipe, data, taught, tokenizer, model)
    batch_size = recipe.training.per_device_eval_batch_size
    found = evaluate_splits(recipe.student, data, tokenizer, student, batch_size)
    if found.calibration is not None:
        fold_calibration(student, found.calibration)
    student.config.thresholds = found.thresholds.tolist()
    results |= found.results
    checkpoints = Path(str(recipe.training.output_dir))
    summary = _summarise(recipe, data, len(taught.rows), Path(options.recipe).stem)
    save_model(checkpoints.parent, student, tokenizer, results, found.reports, summary)
    shutil.rmtree(checkpoints, ignore_errors=True)
    print(f"\nSaved to {checkpoints.parent}: a complete model repository without custom code.")
    return results


def _load_recipe(path: str, overrides: Sequence[str]) -> _Recipe:
    from trainer_ext.recipe import DataArguments, TeacherArguments, load_fields
    from trainer_ext.stages.distillation import StudentArguments
    from trainer_ext.training.arguments import StackedEmotionTrainingArguments

    groups = {
        "data": DataArguments,
        "student": StudentArguments,
        "distillation": TeacherArguments,
        "training": StackedEmotionTrainingArguments,
    }
    recipe = _Recipe(**load_fields(path, groups, overrides))
    for name in _NO_MEANING:
        entry = StackedEmotionTrainingArguments.__dataclass_fields__[name]
        if getattr(recipe.training, name) != entry.default:
            raise InputError(f"`{name}` has no meaning in distillation: leave it out.")
    if not recipe.distillation.teachers:
        raise InputError("The recipe names no `teacher`: give it a folder or a Hub id.")
    return recipe


def _build_student(recipe: _Recipe, data: EmotionData) -> tuple[Any, Any]:
    from trainer_ext.encoders.stack import build_single

    return build_single(
        recipe.student.student,
        label_names=data.label_names,
        texts=data.splits["train"]["text"],
        seed=recipe.training.seed,
        max_tokens=recipe.student.max_tokens,
    )


def _train(
    recipe: _Recipe, data: EmotionData, taught: TaughtRows, tokenizer: Any, model: Any
) -> tuple[dict[str, float], Any]:
    from scripts._starting import remove_reports
    from trainer_ext.data.batching import tokenize_dataset
    from trainer_ext.training.checkpoints import checkpoint_folder, find_checkpoint
    from trainer_ext.training.trainer import StackedEmotionTrainer

    training = recipe.training
    training.output_dir = checkpoint_folder(str(training.output_dir))
    validation = None
    if "validation" in data.splits:
        validation, _ = tokenize_dataset(data.splits["validation"], tokenizer)
    else:
        training.eval_strategy, training.load_best_model_at_end = "no", False
    trainer = StackedEmotionTrainer(
        model=model,
        args=training,
        processing_class=tokenizer,
        train_dataset=taught.tokenized(tokenizer)[0],
        eval_dataset=validation,
        distillation_loss=recipe.distillation.create_loss(),
    )
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"Training {millions:.2f} million parameters in {training.chosen_precision} on {training.device}.")
    remove_reports(Path(training.output_dir).parent / "reports", trainer)
    checkpoint = find_checkpoint(training.resume_from_checkpoint, str(training.output_dir))
    outcome = trainer.train(resume_from_checkpoint=checkpoint)
    results = {key: outcome.metrics[key] for key in ("train_runtime", "train_samples_per_second", "train_loss")}
    return results, trainer.whole_model()


def _summarise(recipe: _Recipe, data: EmotionData, num_rows: int, name: str) -> TrainingSummary:
    from scripts._finishing import summarise

    settings = {"max_tokens": recipe.student.max_tokens}
    settings |= {key: getattr(recipe.training, key) for key in _CARD_SETTINGS}
    sizes = {split: len(rows) for split, rows in data.splits.items()}
    return summarise(
        name, recipe.data, sizes, {"student": recipe.student.student}, settings, recipe.distillation, num_rows
    )


if __name__ == "__main__":
    main()
