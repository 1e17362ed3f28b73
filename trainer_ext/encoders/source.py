# SPDX-License-Identifier: Apache-2.0
"""Where an encoder comes from: the one interface of all sources, and the source that is there already."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save_model
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from ..errors import reading
from ..loading import load_config, load_tokenizer


@dataclass(frozen=True)
class BuildContext:
    """
    Everything that a source needs to build an encoder.

    Args:
        texts (`Iterable[str]`): The training texts.
        folder (`str`): Where to write.
        name (`str`, *optional*, defaults to `"encoder"`): Name of the encoder, for errors.
        normalization (`str`, *optional*, defaults to `"none"`): The one that the encoder will have.
        seed (`int`, *optional*, defaults to 0): Of the training of word vectors. Other random weights follow the
            seed of torch.
    """

    texts: Iterable[str]
    folder: str | os.PathLike[str]
    name: str = "encoder"
    normalization: str = "none"
    seed: int = 0

    def loading(self, origin: str) -> AbstractContextManager[None]:
        """Context of the call that loads `origin`: its errors become an [`InputError`] that names the encoder."""
        return reading(f"encoder {self.name!r}, {origin}, cannot be loaded")


class EncoderSource(Protocol):
    """An entry of a recipe's `encoders`. Its `str` says in a few words where the encoder comes from."""

    def build(self, context: BuildContext) -> Path:
        """
        Make the encoder and its tokenizer, saved as any encoder is saved.

        Returns:
            `Path`: The folder, or the Hub id of an encoder that is there already, to be used wherever an encoder's
            Hub id or folder is expected.

        Raises:
            `InputError`, `OSError`: If something that the encoder is made of cannot be used.
        """


@dataclass(frozen=True)
class PretrainedEncoder:
    """
    An encoder that is there already.

    Args:
        origin (`str`): Hub id or folder.
    """

    origin: str

    def __str__(self) -> str:
        return self.origin

    def build(self, context: BuildContext) -> Path:
        """Check that configuration and tokenizer can be loaded; see [`EncoderSource`]."""
        with context.loading(self.origin):
            load_config(self.origin)
            load_tokenizer(self.origin)
        return Path(self.origin)


def save_encoder(encoder: PreTrainedModel, tokenizer: Any, folder: str | os.PathLike[str]) -> Path:
    """Write configuration, weights and tokenizer, in every process that asks for it; returns the folder."""
    encoder.config.architectures = [type(encoder).__name__]
    encoder.config.save_pretrained(folder)
    # Not the model's `save_pretrained`: it writes in the first of several processes only (transformers 5.23).
    save_model(encoder, str(Path(folder) / SAFE_WEIGHTS_NAME), metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    return Path(folder)
