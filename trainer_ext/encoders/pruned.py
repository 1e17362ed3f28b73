# SPDX-License-Identifier: Apache-2.0
"""Small encoders cut out of pretrained ones: their lowest layers, and the word pieces that the training texts use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates, normalize

from ..errors import InputError, check_integer
from ..loading import load_config, load_model, load_tokenizer
from .pieces import Vocabulary
from .source import BuildContext, save_encoder


@dataclass(frozen=True)
class PrunedEncoder:
    """
    An encoder to be cut out of a pretrained one.

    Args:
        pruned (`str`): Hub id or folder of the pretrained encoder.
        num_hidden_layers (`int`, *optional*): How many of the lowest layers are kept; all of them by default.
        vocab_size (`int`, *optional*): Most entries of the vocabulary: the special tokens, every single character but
            those of scripts that the training texts hardly have, and the pieces that are most frequent in these texts.
            Pieces that no text uses are left out. By default the vocabulary stays as it is.

    Raises:
        `InputError`: If `pruned` is not a string, or a number not an integer of at least 1.
    """

    pruned: str
    num_hidden_layers: int | None = None
    vocab_size: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pruned, str):
            raise InputError(f"`pruned` must be the Hub id or folder of an encoder, got {self.pruned!r}.")
        for name in ("num_hidden_layers", "vocab_size"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)

    def __str__(self) -> str:
        return f"cut out of {self.pruned}"

    def build(self, context: BuildContext) -> Path:
        """
        Cut the encoder and its tokenizer down, in fp32; see [`~source.EncoderSource`].

        A text that loses no piece keeps its pieces under new ids, and the layers that are left give it the same hidden
        states as before.

        Raises:
            `InputError`: If the encoder cannot be loaded, it has fewer layers, its layers or its tokenizer cannot be
                cut, or `vocab_size` leaves no room for its special tokens and characters.
        """
        encoder = self._load_layers(context)
        with context.loading(self.pruned):
            tokenizer = load_tokenizer(self.pruned)
        if self.vocab_size is not None:
            tokenizer = cut_vocabulary(encoder, tokenizer, self.vocab_size, context, self.pruned)
        return save_encoder(encoder, tokenizer, context.folder)

    def _load_layers(self, context: BuildContext) -> PreTrainedModel:
        """The encoder with its lowest layers only, in fp32."""
        with context.loading(self.pruned):
            config = load_config(self.pruned)
        if self.num_hidden_layers is not None:
            _cut_config(config, self.num_hidden_layers, self.pruned)
        with context.loading(self.pruned):
            # A pooler, which the stack leaves out, is new in encoders that came without one.
            encoder: PreTrainedModel = load_model(
                self.pruned,
                AutoModel,
                may_lack=lambda _, weight: "pooler" in weight,
                config=config,
                dtype=torch.float32,
            )
        # Saved as such with the config.
        encoder.config.dtype = torch.float32
        return encoder


def cut_vocabulary(encoder: PreTrainedModel, tokenizer: Any, size: int, context: BuildContext, origin: str) -> Any:
    """
    Cut the table of an encoder's tokens down to the pieces that the training texts use, in place.

    Args:
        encoder (`PreTrainedModel`): The encoder.
        tokenizer: Its tokenizer.
        size (`int`): Most pieces; see `vocab_size` of [`PrunedEncoder`].
        context ([`BuildContext`]): Has the texts.
        origin (`str`): Where the encoder comes from, for errors.

    Returns:
        The tokenizer of these pieces.

    Raises:
        `InputError`: If the tokenizer cannot be cut, or `size` leaves no room for its special tokens and characters.
    """
    vocabulary = Vocabulary(tokenizer, origin)
    normalized = (normalize(clean_surrogates(text), context.normalization).text for text in context.texts)
    kept_ids = vocabulary.choose(normalized, size, _fixed_ids(encoder))
    _cut_embeddings(encoder, kept_ids)
    return vocabulary.cut(kept_ids)


def _cut_config(config: PreTrainedConfig, num_hidden_layers: int, origin: str) -> None:
    """Every architecture has its own name for the number of layers; the config's attribute map knows it."""
    num_layers = getattr(config, "num_hidden_layers", None)
    if type(num_layers) is int and num_hidden_layers > num_layers:
        raise InputError(
            f"`num_hidden_layers` must be at most {num_layers}, the layers of {origin}, got {num_hidden_layers}."
        )
    try:
        if type(num_layers) is not int:
            raise NotImplementedError
        config.num_hidden_layers = num_hidden_layers
    except NotImplementedError as error:
        raise InputError(
            f"{origin}: the layers of a {config.model_type} model cannot be cut; leave `num_hidden_layers` out."
        ) from error
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:num_hidden_layers]


def _named_ids(config: PreTrainedConfig) -> dict[str, int]:
    """Such as `pad_token_id`."""
    return {
        name: value for name, value in config.to_dict().items() if name.endswith("_token_id") and type(value) is int
    }


def _fixed_ids(encoder: PreTrainedModel) -> Iterator[int]:
    """The ids that the config names, and those before padding's where positions are counted from there (RoBERTa)."""
    yield from _named_ids(encoder.config).values()
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx:
            yield from range(module.padding_idx)


def _cut_embeddings(encoder: PreTrainedModel, kept_ids: list[int]) -> None:
    """The rows `kept_ids` of the table of tokens, and the config to it."""
    places = {old: new for new, old in enumerate(kept_ids)}
    config = encoder.config
    table = encoder.get_input_embeddings()
    table.weight = nn.Parameter(table.weight.detach()[kept_ids])
    config.vocab_size = len(kept_ids)
    for name, value in _named_ids(config).items():
        if value in places:
            setattr(config, name, places[value])
