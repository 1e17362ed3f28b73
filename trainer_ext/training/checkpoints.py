# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that a run can go on from, and the settings that it must go on with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer import SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import InputError
from ..files import write_file

# Beside the checkpoints: the settings of the run that they are of.
_SETTINGS_FILE = "run.json"
# `modeling_*.py`, the code beside the weights, is no weight.
_WEIGHTS = "*model[._-]*"
# Files without which a checkpoint was cut short; the others are missing from one of the model alone, too.
_OF_EVERY_CHECKPOINT = (TRAINER_STATE_NAME, _WEIGHTS)


def last_complete_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """
    The checkpoint with the most steps that was written to its end.

    The Trainer (transformers 5.23) writes `trainer_state.json` last. Weights, optimizer, scheduler and random state
    are looked for all the same: a kill while an old checkpoint is deleted leaves some of its files.

    Args:
        folder (`str` or `os.PathLike`): Holds `checkpoint-<step>` folders; need not exist.

    Returns:
        `str`, *optional*: The checkpoint's folder; `None` if there is none to go on from, as when only models were
        saved (`save_only_model`).
    """
    steps = {}
    for path in _checkpoints(folder):
        step = path.name.rpartition("-")[2]
        if step.isdecimal() and not missing_part(path):
            steps[int(step)] = str(path)
    return steps[max(steps)] if steps else None


def missing_part(checkpoint: str | os.PathLike[str]) -> str:
    """The first file, as a pattern, that a checkpoint lacks to be gone on from; empty if it is whole."""
    folder = Path(checkpoint)
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return TRAINER_STATE_NAME
    patterns = (_WEIGHTS, "optimizer*", SCHEDULER_NAME, "rng_state*.pth")
    return next((pattern for pattern in patterns if not any(folder.glob(pattern))), "")


def remove_checkpoints(folder: str | os.PathLike[str], only_halves: bool = False) -> int:
    """
    Remove the checkpoints in a folder.

    Args:
        folder (`str` or `os.PathLike`): Holds `checkpoint-<step>` folders; need not exist.
        only_halves (`bool`, *optional*, defaults to `False`): Only those that a kill or a full disk has cut short.

    Returns:
        `int`: How many.
    """
    removed = [path for path in _checkpoints(folder) if not only_halves or missing_part(path) in _OF_EVERY_CHECKPOINT]
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)
    return len(removed)


def find_checkpoint(resume: str | bool | None, folder: str | os.PathLike[str]) -> str | None:
    """
    The checkpoint that `resume_from_checkpoint` asks for.

    Args:
        resume (`str` or `bool`, *optional*): A checkpoint's folder, or true for the last complete one of `folder`.
        folder (`str` or `os.PathLike`): The folder that the run writes its checkpoints to.

    Returns:
        `str`, *optional*: The checkpoint's folder; `None` to begin at the start.
    """
    return last_complete_checkpoint(folder) if resume is True else resume or None


def write_settings(folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
    """Write the settings of the run whose checkpoints will be in `folder`; see [`check_settings`]."""
    write_file(Path(folder) / _SETTINGS_FILE, _as_json(settings))


def check_settings(checkpoint: str, settings: Mapping[str, Any]) -> None:
    """
    Check that a checkpoint is of a run with these settings; of one without a record nothing is known.

    Args:
        checkpoint (`str`): Its folder, beside the file of [`write_settings`].
        settings (`Mapping[str, Any]`): `arguments` by field; `rows`, digests of the data by split; and `data`, the
            fields that say where the data are, which count only where the rows are others.

    Raises:
        `InputError`: For the first setting that is another one.
    """
    record = Path(checkpoint).parent / _SETTINGS_FILE
    if not record.is_file():
        return
    try:
        saved = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{record} is not the record of a run: begin anew without `resume_from_checkpoint`."
        ) from error
    current = json.loads(_as_json(settings))
    groups = ["arguments", *(("data", "rows") if saved.get("rows") != current["rows"] else ())]
    for group in groups:
        for name, value in current[group].items():
            before = saved.get(group, {}).get(name)
            if before != value:
                raise InputError(
                    f"{_subject(group, name)} {before!r} when {checkpoint} was saved and is {value!r} now: go on with "
                    "the old one, or begin anew without `resume_from_checkpoint`."
                )


def _subject(group: str, name: str) -> str:
    return f"The digest of the {name} rows was" if group == "rows" else f"`{name}` was"


def _as_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False, default=str) + "\n"


def _checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    return sorted(Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"))
