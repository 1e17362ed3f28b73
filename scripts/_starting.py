# SPDX-License-Identifier: Apache-2.0
"""What a training begins with: the data, the rows to learn from, and no reports of an earlier model."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np

from trainer_ext.data.batching import tokenize_dataset
from trainer_ext.data.loading import EmotionData, load_emotion_data
from trainer_ext.errors import InputError, reading
from trainer_ext.evaluation.prediction import load_classifier
from trainer_ext.recipe import DataArguments, TeacherArguments
from trainer_ext.stages.distillation import (
    add_teacher,
    distillation_rows,
    read_unlabelled,
    teacher_columns,
    teacher_logits,
)
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.checkpoints import find_checkpoint
from trainer_ext.training.trainer import StackedEmotionTrainer


def load_data(arguments: DataArguments, seed: int) -> EmotionData:
    """The splits of a recipe; says how many texts they have."""
    options = asdict(arguments)
    split_seed = options.pop("split_seed")
    data = load_emotion_data(**options, seed=seed if split_seed is None else split_seed)
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())
    print(f"Data: {sizes} texts; {len(data.label_names)} labels: {', '.join(data.label_names)}")
    return data


class TaughtRows(NamedTuple):
    """The texts to learn from, with the logits of the teacher if there is one, `(num_rows, num_labels)`."""

    rows: datasets.Dataset
    logits: np.ndarray | None

    def tokenized(self, tokenizer: Any) -> tuple[datasets.Dataset, int]:
        """As the Trainer takes them, and how many texts were cut."""
        encoded, num_cut = tokenize_dataset(self.rows, tokenizer)
        return (encoded if self.logits is None else add_teacher(encoded, self.logits)), num_cut


def taught_rows(
    arguments: TeacherArguments, data: EmotionData, text_column: str | None, training: StackedEmotionTrainingArguments
) -> TaughtRows:
    """The training rows and, for a teacher, those without labels; it is asked at once, or its answers are read."""
    train = data.splits["train"]
    if not arguments.teachers:
        return TaughtRows(train, None)
    unlabelled: list[str] = []
    teachers = []
    if training.world_size > 1:
        raise InputError("Distillation runs in one process: start it without `accelerate launch`.")
    if arguments.unlabelled_file:
        # What the student is measured on, it must not have seen.
        known = [text for split in data.splits.values() for text in split["text"]]
        unlabelled = read_unlabelled(arguments.unlabelled_file, text_column, known)
    for folder in arguments.teachers:
        with reading(f"teacher {folder} cannot be loaded"):
            teachers.append(load_classifier(folder))
        teacher_columns(teachers[-1][0], data.label_names)
    rows = distillation_rows(train, unlabelled, len(data.label_names))
    print(f"{len(teachers)} to learn from: {len(rows):,} texts, {len(unlabelled):,} of them without labels.")
    cache = arguments.teacher_cache_dir or Path(str(training.output_dir)) / "teacher_logits"
    batch_size, precision = training.per_device_eval_batch_size, training.chosen_precision
    logits = teacher_logits(teachers, data.label_names, rows["text"][:], cache, batch_size, precision)
    return TaughtRows(rows, logits)


def remove_reports(folder: Path, trainer: StackedEmotionTrainer) -> None:
    """
    Those of an earlier run, unless this one goes on from a checkpoint. The stages of a staged training have folders of
    their own within `folder`, which stay: those of a stage that is complete are not made again.
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
