# SPDX-License-Identifier: Apache-2.0
"""Encoders of trained classifiers, to be stacked again: trained alone first, then together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import InputError, check_integer
from ..evaluation.prediction import load_classifier
from ..training.layers import find_encoders
from .pruned import cut_vocabulary
from .source import BuildContext, save_encoder
from .start import mean_state_classifier


@dataclass(frozen=True)
class TrainedEncoder:
    """
    An encoder to be taken out of a trained classifier, ours or any `AutoModelForSequenceClassification`.

    Args:
        trained (`str`): Hub id or folder of the classifier.
        encoder (`str`, *optional*): Its name there; not needed if it is the only one.
        vocab_size (`int`, *optional*): Most entries of its vocabulary, as of [`PrunedEncoder`].
        finished (`bool`, *optional*, defaults to `False`): Whether no stage trains it further, although it knows only
            some of the stack's labels, as an encoder of another language may: it has nothing to say of the others.

    Raises:
        `InputError`: If a name is not a string, `vocab_size` not an integer of at least 1, or `finished` no boolean.
    """

    trained: str
    encoder: str | None = None
    vocab_size: int | None = None
    finished: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.trained, str) or not isinstance(self.encoder, str | None):
            raise InputError(f"`trained` and `encoder` must be strings, got {self.trained!r} and {self.encoder!r}.")
        if self.vocab_size is not None:
            check_integer("vocab_size", self.vocab_size, 1)
        if not isinstance(self.finished, bool):
            raise InputError(f"`finished` must be true or false, got {self.finished!r}.")

    def __str__(self) -> str:
        return f"from the trained model {self.trained}"

    def build(self, context: BuildContext) -> Path:
        """
        Save the encoder and its tokenizer; see [`~source.EncoderSource`].

        Raises:
            `InputError`: If the classifier cannot be loaded, it has no such encoder, the encoder was trained with
                another normalization, or its vocabulary cannot be cut.
        """
        with context.loading(self.trained):
            model, tokenizer = load_classifier(self.trained, "cpu")
        encoders = find_encoders(model)
        name = self.encoder or next(iter(encoders))
        if name not in encoders or (self.encoder is None and len(encoders) > 1):
            raise InputError(f"`encoder` must be one of those of {self.trained}: {', '.join(encoders)}.")
        normalization = getattr(tokenizer, "normalizations", {}).get(name, "none")
        if context.normalization != normalization:
            raise InputError(
                f"{self.trained}: {name} was trained with the normalization {normalization}, "
                f"not {context.normalization}; set it in `normalizations`."
            )
        own_tokenizer = getattr(tokenizer, "tokenizers", {name: tokenizer})[name]
        if self.vocab_size is not None:
            own_tokenizer = cut_vocabulary(encoders[name], own_tokenizer, self.vocab_size, context, self.trained)
        return save_encoder(encoders[name], own_tokenizer, context.folder)


def trained_classifiers(origins: Mapping[str, Any], labels: Sequence[str]) -> dict[str, nn.Linear]:
    """
    The classifiers that a stack of these encoders can start from.

    Args:
        origins (`Mapping[str, Any]`): The `encoders` of a recipe.
        labels (`Sequence[str]`): Label names of the stack, in their order.

    Returns:
        `dict[str, nn.Linear]`: Encoder to the classifier over its mean word state that it was trained with, if so.

    Raises:
        `InputError`: If an encoder is to be finished that has no such classifier.
    """
    classifiers = {}
    for name, origin in origins.items():
        if isinstance(origin, Mapping) and "trained" in origin:
            model, _ = load_classifier(origin["trained"], "cpu")
            is_finished = bool(origin.get("finished"))
            if (classifier := mean_state_classifier(model, labels, may_lack=is_finished)) is not None:
                classifiers[name] = classifier
            elif is_finished:
                raise InputError(
                    f"`encoders.{name}`: a finished encoder must be alone in {origin['trained']}, below the mean of "
                    "its words and a linear layer, with some of the labels of the stack and no others."
                )
    return classifiers
