# SPDX-License-Identifier: Apache-2.0
"""A model's folder, as training leaves it: all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from trainer_ext.files import link, updating_folder
from trainer_ext.loading import check_finite

from .probes import PROBE_RESULTS

# Files beside a model that tell of it, where there are any: of its training, and of an evaluation on probes.
REPORTS = ("label_statistics.json", "reliability.png", "label_correlation.png", PROBE_RESULTS)
# Files and folders that would lie about another model; the graph is one of these very weights.
_OF_A_MODEL = (
    *("config.json", "*.safetensors", "*.safetensors.index.json", "*_stacked_emotion.py", "*.onnx", "adapter"),
    *("*_tokenizer", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "vocabulary.json", "*.model", "reports", *REPORTS),
)


def write_model_folder(
    folder: str | os.PathLike[str],
    model: Any,
    tokenizer: Any,
    files: Mapping[str, str | bytes],
    folders: Mapping[str, Path] | None = None,
    dropped: Sequence[str] = (),
) -> Path:
    """
    Write code, weights, configuration, tokenizers and further files to `folder`.

    The new folder is made beside it and takes its place as a whole: a full disk or a kill leaves the earlier model,
    or all of the new one.

    Args:
        folder (`str`): The repository's folder; its other files stay, but for those of an earlier model.
        model ([`PreTrainedModel`]): Saved as safetensors.
        tokenizer: Its tokenizer.
        files (`dict[str, str | bytes]`): File name to text, such as the card, or bytes, such as a picture.
        folders (`dict[str, Path]`, *optional*): Name to a folder that is to be there under this name as well.
        dropped (`Sequence[str]`, *optional*): Names of further files and folders that do not stay.

    Returns:
        `Path`: The folder.

    Raises:
        `InputError`: If weights of the model are not finite; nothing is written then.
    """
    check_finite(model, "The model")

    def is_replaced(name: str) -> bool:
        return name in dropped or any(fnmatch(name, pattern) for pattern in _OF_A_MODEL)

    target = Path(folder)
    with updating_folder(target, is_replaced) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        for name, content in files.items():
            (scratch / name).write_bytes(content.encode() if isinstance(content, str) else content)
        for name, source in (folders or {}).items():
            link(source, scratch / name)
    return target
