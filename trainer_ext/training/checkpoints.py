# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that a run can go on from."""

from __future__ import annotations

import json
import os
from pathlib import Path

from transformers.trainer import SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


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
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        step = path.name.rpartition("-")[2]
        if step.isdecimal() and _is_complete(path):
            steps[int(step)] = str(path)
    return steps[max(steps)] if steps else None


def _is_complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    # `modeling_*.py`, the code beside the weights, is no weight.
    patterns = ("*model[._-]*", "optimizer*", SCHEDULER_NAME, "rng_state*.pth")
    return all(any(checkpoint.glob(pattern)) for pattern in patterns)


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
