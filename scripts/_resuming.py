# SPDX-License-Identifier: Apache-2.0
"""A training that is stopped and goes on: with the same settings, from a whole checkpoint, told by one line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from trainer_ext.data.loading import EmotionData
from trainer_ext.data.rows import dataset_labels
from trainer_ext.digests import settings_digest
from trainer_ext.files import FullDiskError, naming_full_disk
from trainer_ext.recipe import DecisionArguments, Recipe
from trainer_ext.stages.stage_folder import RESULT_ARGUMENTS
from trainer_ext.training.checkpoints import last_complete_checkpoint, remove_checkpoints
from trainer_ext.training.paths import RunPaths

# Fields that a run may go on with in another way: the device may be another, and these are used when training is over
# or name a place. All other fields of the model and the teacher count, and of the training arguments those that shape
# a result.
FREE_FIELDS = frozenset(
    {
        "use_cpu",
        "weights_dtype",
        "teacher_cache_dir",
        "languages",
        *(entry.name for entry in fields(DecisionArguments)),
    }
)
_OF_A_JOINT_RUN = ("training_mode", "max_steps", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")


def run_settings(recipe: Recipe, data: EmotionData) -> dict[str, Any]:
    """
    All that the weights of a joint training depend on.

    Args:
        recipe ([`Recipe`]): With the training arguments as they are used.
        data ([`EmotionData`]): The texts and labels of its splits.

    Returns:
        `dict[str, Any]`: `arguments` by field; `data`, the fields that name the rows; and `rows`, digests of these.
    """
    training = recipe.training.to_dict() | {"world_size": recipe.training.world_size}
    names = (*RESULT_ARGUMENTS, *_OF_A_JOINT_RUN, "world_size")
    arguments = {name: training[name] for name in names} | asdict(recipe.model) | asdict(recipe.distillation)
    rows = {split: _rows_digest(part) for split, part in data.splits.items() if split != "test"}
    if recipe.distillation.unlabelled_file:
        rows["unlabelled"] = sha256(Path(recipe.distillation.unlabelled_file).read_bytes()).hexdigest()
    return {
        "arguments": {name: arguments[name] for name in sorted(arguments) if name not in FREE_FIELDS},
        "data": asdict(recipe.data),
        "rows": {"labels": data.label_names, **rows},
    }


def _rows_digest(rows: Any) -> str:
    labels = dataset_labels(rows)
    return settings_digest([rows["text"][:], str(labels.dtype), sha256(labels.tobytes()).hexdigest()])


@contextmanager
def telling_how_to_go_on(paths: RunPaths, command: Sequence[str]) -> Iterator[None]:
    """
    Around a training: if it is interrupted or its disk is full, the error gets a note with the command that goes on,
    and halves of checkpoints are removed.

    Args:
        paths ([`RunPaths`]): Of the run.
        command (`Sequence[str]`): The one that has begun it.
    """
    try:
        with naming_full_disk(paths.repository, "free some, or set `output_dir` to another disk."):
            yield
    except (KeyboardInterrupt, FullDiskError) as stopped:
        if os.environ.get("RANK", "0") == "0":
            remove_checkpoints(paths.checkpoints, only_halves=True)
        stopped.add_note(_how_to_go_on(paths, command))
        raise


def _how_to_go_on(paths: RunPaths, command: Sequence[str]) -> str:
    checkpoint = last_complete_checkpoint(paths.checkpoints)
    if checkpoint is None and not any(paths.checkpoints.glob("stages/*")):
        return "No checkpoint was saved yet: begin again with the same command."
    place = "the stages so far are kept" if checkpoint is None else f"step {checkpoint.rpartition('-')[2]} is saved"
    resume = ["--resume_from_checkpoint", "true"]
    if [*command[-2:]] != resume:
        command = [*command, *resume]
    return f"{place[0].upper()}{place[1:]}; go on with: {shlex.join(command)}"
