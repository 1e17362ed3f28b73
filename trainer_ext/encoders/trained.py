# SPDX-License-Identifier: Apache-2.0
"""Encoders of trained classifiers, to be stacked anew: first each one alone, then all of them together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import InputError
from ..evaluation.prediction import load_classifier
from ..training.layers import find_encoders
from .source import from_fields, save_encoder
from .start import mean_state_classifier


@dataclass(frozen=True)
class TrainedEncoder:
    """
    An encoder to be taken out of a trained classifier, ours or any `AutoModelForSequenceClassification`.

    Args:
        trained (`str`): Hub id or folder of the classifier.
        encoder (`str`, *optional*): Its name there; not needed if it is the only one.

    Raises:
        `TypeError`: If one is not a string.
    """

    trained: str
    encoder: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.trained, str) or not isinstance(self.encoder, str | None):
            raise InputError(f"`trained` and `encoder` must be strings, got {self.trained!r} and {self.encoder!r}.")

    def build(self, folder: str | os.PathLike[str], normalization: str = "none") -> Path:
        """
        Save the encoder and its tokenizer as any encoder is saved.

        Args:
            folder (`str`): Where to write.
            normalization (`str`, *optional*, defaults to `"none"`): The one that the encoder will have.

        Returns:
            `Path`: The folder, to be used wherever an encoder's Hub id or folder is expected.

        Raises:
            `OSError`: If there is no such classifier.
            `ValueError`: If it has no such encoder, or the encoder was trained with another normalization.
        """
        model, tokenizer = load_classifier(self.trained, "cpu")
        encoders = find_encoders(model)
        name = self.encoder or next(iter(encoders))
        if name not in encoders or (self.encoder is None and len(encoders) > 1):
            raise InputError(f"`encoder` must be one of those of {self.trained}: {', '.join(encoders)}.")
        before = getattr(tokenizer, "normalizations", {}).get(name, "none")
        if normalization != before:
            raise InputError(
                f"{self.trained}: {name} was trained with the normalization {before}, not {normalization}; "
                "set it in `normalizations`."
            )
        own = getattr(tokenizer, "tokenizers", {name: tokenizer})[name]
        return save_encoder(encoders[name], own, folder)


def trained_encoder(origin: Any, name: str) -> TrainedEncoder | None:
    """
    The encoder that a recipe's mapping with `trained` describes, `None` for any other entry of `encoders`; `name` is
    for the error if a field is unknown.
    """
    if not isinstance(origin, Mapping) or "trained" not in origin:
        return None
    return from_fields(TrainedEncoder, origin, name)


def trained_classifiers(origins: Mapping[str, Any], labels: Sequence[str]) -> dict[str, nn.Linear]:
    """
    What a stack of these encoders can start from.

    Args:
        origins (`Mapping[str, Any]`): The `encoders` of a recipe.
        labels (`Sequence[str]`): Label names of the stack, in their order.

    Returns:
        `dict[str, nn.Linear]`: Encoder to the classifier over its mean word state that it was trained with, if so.
    """
    trained = {name: trained_encoder(origin, name) for name, origin in origins.items()}
    found = {
        name: mean_state_classifier(load_classifier(encoder.trained, "cpu")[0], labels)
        for name, encoder in trained.items()
        if encoder is not None
    }
    return {name: classifier for name, classifier in found.items() if classifier is not None}
