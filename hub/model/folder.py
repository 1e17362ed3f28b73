# SPDX-License-Identifier: Apache-2.0
"""A model's folder, as training leaves it: all of it or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer_ext.files import scratch_folder
from trainer_ext.loading import check_finite

# Files that training leaves beside the model where it has the data for them.
REPORTS = ("label_statistics.json", "reliability.png")


def write_model_folder(
    folder: str | os.PathLike[str], model: Any, tokenizer: Any, files: Mapping[str, str | bytes]
) -> Path:
    """
    Write code, weights, configuration, tokenizers and further files to `folder`.

    Everything is written to a folder beside it first and moved when complete, so that a full disk or a kill leaves
    the earlier files.

    Args:
        folder (`str`): The repository's folder; its other files stay, but for tokenizers and reports of an earlier
            model.
        model ([`PreTrainedModel`]): Saved as safetensors.
        tokenizer: Its tokenizer.
        files (`dict[str, str | bytes]`): File name to text, such as the card, or bytes, such as a picture.

    Returns:
        `Path`: The folder.

    Raises:
        `InputError`: If weights of the model are not finite; nothing is written then.
    """
    check_finite(model, "The model")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with scratch_folder(target.resolve()) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        for name, content in files.items():
            (scratch / name).write_bytes(content.encode() if isinstance(content, str) else content)
        written = {path.name for path in scratch.iterdir()}
        for stale in {path.name for path in target.glob("*_tokenizer")} - written:
            shutil.rmtree(target / stale)
        for stale in set(REPORTS) - written:
            (target / stale).unlink(missing_ok=True)
        for entry in sorted(scratch.iterdir()):
            destination = target / entry.name
            if entry.is_dir() and destination.exists():
                shutil.rmtree(destination)
            entry.replace(destination)
    return target
