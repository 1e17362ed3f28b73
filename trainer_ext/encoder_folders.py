# SPDX-License-Identifier: Apache-2.0
"""Folders of encoders that are made here, to be used wherever the Hub id of an encoder is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from safetensors.torch import save_model
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME


def save_encoder(encoder: PreTrainedModel, tokenizer: Any, folder: str | os.PathLike[str]) -> Path:
    """Write configuration, weights and tokenizer, in every process that asks for it; returns the folder."""
    encoder.config.architectures = [type(encoder).__name__]
    encoder.config.save_pretrained(folder)
    # Not the model's `save_pretrained`: it writes in the first of several processes only (transformers 5.23).
    save_model(encoder, str(Path(folder) / SAFE_WEIGHTS_NAME), metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    return Path(folder)
