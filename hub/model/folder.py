# SPDX-License-Identifier: Apache-2.0
"""A complete model repository as a folder: all of it or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

# What a training leaves beside the model, if it has the data for it.
REPORTS = ("label_statistics.json", "reliability.png")


def write_model_folder(
    folder: str | os.PathLike[str], model: Any, tokenizer: Any, files: Mapping[str, str | bytes]
) -> Path:
    """
    Write code, weights, configuration, tokenizers and further files to `folder`.

    Everything is written to a folder beside it first and moved when complete, so that a full disk or a kill leaves
    what was there before.

    Args:
        folder (`str`): The repository's folder; what else is in it stays, but for tokenizers and reports of an earlier
            model.
        model ([`PreTrainedModel`]): Saved as safetensors.
        tokenizer: Its tokenizer.
        files (`dict[str, str | bytes]`): File name to text, such as the card, or bytes, such as a picture.

    Returns:
        `Path`: The folder.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{target.name}.", dir=target.resolve().parent))
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        for name, content in files.items():
            (partial / name).write_bytes(content.encode() if isinstance(content, str) else content)
        written = {path.name for path in partial.iterdir()}
        for stale in {path.name for path in target.glob("*_tokenizer")} - written:
            shutil.rmtree(target / stale)
        for stale in set(REPORTS) - written:
            (target / stale).unlink(missing_ok=True)
        for entry in sorted(partial.iterdir()):
            destination = target / entry.name
            if entry.is_dir() and destination.exists():
                shutil.rmtree(destination)
            entry.replace(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
