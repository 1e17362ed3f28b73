# SPDX-License-Identifier: Apache-2.0
"""Small encoders cut out of pretrained ones: their lowest layers, and the word pieces that the training texts use."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerFast as FastTokenizer

from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates, normalize

from ..errors import InputError, check_integer
from ..loading import load_config, load_model, load_tokenizer
from .source import BuildContext, save_encoder

_TEXTS_AT_A_TIME = 1024


@dataclass(frozen=True)
class PrunedEncoder:
    """
    An encoder to be cut out of a pretrained one.

    Args:
        pruned (`str`): Hub id or folder of the pretrained encoder.
        num_hidden_layers (`int`, *optional*): How many of the lowest layers are kept; all of them by default.
        vocab_size (`int`, *optional*): Most entries of the vocabulary: the special tokens, every single character that
            the original has, at the beginning and inside of a word, and the pieces that are most frequent in the
            training texts. Pieces that no text uses are left out. By default the vocabulary stays as it is.

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
            `InputError`: If the encoder cannot be loaded, it has fewer layers, its layers cannot be cut, its tokenizer
                is not a WordPiece one, or `vocab_size` leaves no room for its special tokens and characters.
        """
        encoder = self._load_layers(context)
        with context.loading(self.pruned):
            tokenizer = load_tokenizer(self.pruned)
        if self.vocab_size is not None:
            fast = _check_wordpiece(tokenizer, self.pruned)
            normalized = (normalize(clean_surrogates(text), context.normalization).text for text in context.texts)
            kept_ids = _choose_pieces(fast, _count_pieces(fast, normalized), self.vocab_size, self.pruned)
            tokenizer = _cut_tokenizer(tokenizer, kept_ids)
            _cut_embeddings(encoder, kept_ids)
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


def _check_wordpiece(tokenizer: Any, origin: str) -> Tokenizer:
    """A copy of the fast tokenizer, which neither pads nor truncates."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    kind = type(tokenizer).__name__ if fast is None else type(fast.model).__name__
    if fast is None or kind != "WordPiece":
        raise InputError(
            f"{origin}: `vocab_size` needs a fast tokenizer of word pieces (WordPiece), got {kind}; leave it out."
        )
    copy = Tokenizer.from_str(fast.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _count_pieces(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[int]:
    counts: Counter[int] = Counter()
    iterator = iter(texts)
    while batch := list(islice(iterator, _TEXTS_AT_A_TIME)):
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        counts.update(chain.from_iterable(encoding.ids for encoding in encodings))
    return counts


def _choose_pieces(tokenizer: Tokenizer, counts: Counter[int], vocab_size: int, origin: str) -> list[int]:
    """The ids that stay, in their order."""
    added = tokenizer.get_added_tokens_decoder()
    prefix = tokenizer.model.continuing_subword_prefix
    vocab = tokenizer.get_vocab(with_added_tokens=False)
    kept_ids = {*added, *(index for piece, index in vocab.items() if len(piece.removeprefix(prefix)) == 1)}
    # The unknown token may be an ordinary piece.
    kept_ids.add(vocab[tokenizer.model.unk_token])
    if vocab_size < len(kept_ids):
        raise InputError(
            f"`vocab_size` must be at least {len(kept_ids)}, the special tokens and characters of {origin}, "
            f"got {vocab_size}."
        )
    others = sorted(counts.keys() - kept_ids, key=lambda index: (-counts[index], index))
    return sorted(kept_ids.union(others[: vocab_size - len(kept_ids)]))


def _cut_tokenizer(tokenizer: Any, kept_ids: list[int]) -> FastTokenizer:
    """The tokenizer with the pieces `kept_ids`, numbered anew in their order."""
    places = {old: new for new, old in enumerate(kept_ids)}
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    parts["truncation"] = parts["padding"] = None
    vocab = parts["model"]["vocab"]
    parts["model"]["vocab"] = {piece: places[index] for piece, index in vocab.items() if index in places}
    for token in parts["added_tokens"]:
        token["id"] = places[token["id"]]
    processor = parts["post_processor"] or {}
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [places[index] for index in token["ids"]]
    # In the processors of BERT and RoBERTa these are pairs of a token and its id.
    for role in ("cls", "sep"):
        if role in processor:
            processor[role][1] = places[processor[role][1]]
    return FastTokenizer(
        tokenizer_object=Tokenizer.from_str(json.dumps(parts)),
        model_max_length=tokenizer.model_max_length,
        model_input_names=tokenizer.model_input_names,
        **tokenizer.special_tokens_map,
    )


def _cut_embeddings(encoder: PreTrainedModel, kept_ids: list[int]) -> None:
    """The rows `kept_ids` of the table of tokens, and the config to it."""
    places = {old: new for new, old in enumerate(kept_ids)}
    config = encoder.config
    table = encoder.get_input_embeddings()
    table.weight = nn.Parameter(table.weight.detach()[kept_ids])
    config.vocab_size = len(kept_ids)
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and value in places:
            setattr(config, name, places[value])
