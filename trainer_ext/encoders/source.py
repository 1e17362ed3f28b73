# SPDX-License-Identifier: Apache-2.0
"""Encoders that are made here: read from the mappings of a recipe, written as folders that stand for Hub ids."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save_model
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from ..errors import InputError

_Kind = TypeVar("_Kind")


def from_fields(kind: type[_Kind], fields: Mapping[str, Any], name: str) -> _Kind:
    """The dataclass with these fields; a `ValueError` that names the encoder if it has no such field."""
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    if unknown := sorted(set(fields) - set(known)):
        raise InputError(f"Encoder {name!r}: unknown fields {unknown}; expected some of {', '.join(known)}.")
    return kind(**fields)


def save_encoder(encoder: PreTrainedModel, tokenizer: Any, folder: str | os.PathLike[str]) -> Path:
    """Write configuration, weights and tokenizer, in every process that asks for it; returns the folder."""
    encoder.config.architectures = [type(encoder).__name__]
    encoder.config.save_pretrained(folder)
    # Not the model's `save_pretrained`: it writes in the first of several processes only (transformers 5.23).
    save_model(encoder, str(Path(folder) / SAFE_WEIGHTS_NAME), metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    return Path(folder)
