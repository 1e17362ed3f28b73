# SPDX-License-Identifier: Apache-2.0
"""Models with untrained heads: a stack of the encoders that a recipe names, or a stock classifier of one encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from modeling_stacked_emotion import (
    StackedEmotionForSequenceClassification,
    StackedEmotionTokenizer,
    StaticWordsConfig,
)

from ..errors import InputError, reading
from ..loading import check_tokenizer, load_model, load_tokenizer
from .pruned import PrunedEncoder
from .scratch import ScratchEncoder
from .source import BuildContext, EncoderSource, PretrainedEncoder
from .static_words import VECTOR_FILES, StaticWords
from .trained import TrainedEncoder

# The field of a mapping that tells its kind; a mapping without any of them is built from scratch.
_SOURCES: dict[str, type] = {"trained": TrainedEncoder, "pruned": PrunedEncoder}


def encoder_source(name: str, origin: Any) -> EncoderSource:
    """
    The source that an entry of a recipe's `encoders` describes.

    Args:
        name (`str`): Name of the encoder, for errors.
        origin: A Hub id, a folder, a file of word vectors, or a mapping with the fields of [`TrainedEncoder`],
            [`PrunedEncoder`], [`ScratchEncoder`] or, with `architecture: static_words`, [`StaticWords`].

    Raises:
        `InputError`: If a mapping has an unknown field, or a field is out of its range.
    """
    if not isinstance(origin, Mapping):
        is_vectors = str(origin).lower().endswith(VECTOR_FILES)
        return StaticWords(word_vectors=str(origin)) if is_vectors else PretrainedEncoder(str(origin))
    arguments = dict(origin)
    if arguments.get("architecture") == StaticWordsConfig.model_type:
        del arguments["architecture"]
        kind: type = StaticWords
    else:
        kind = next((source for key, source in _SOURCES.items() if key in origin), ScratchEncoder)
    known = [field.name for field in fields(kind)]
    if unknown := sorted(set(arguments) - set(known)):
        raise InputError(f"Encoder {name!r}: unknown fields {unknown}; expected some of {', '.join(known)}.")
    source: EncoderSource = kind(**arguments)
    return source


def build_stack(
    encoders: Mapping[str, Any],
    *,
    label_names: Sequence[str],
    texts: Iterable[str],
    seed: int,
    normalizations: Mapping[str, str],
    max_words: int,
    max_tokens: int,
    attn_implementation: str | None,
    config_fields: Mapping[str, Any],
) -> tuple[StackedEmotionTokenizer, StackedEmotionForSequenceClassification]:
    """
    A stack with an untrained head, and its tokenizer.

    Args:
        encoders (`Mapping[str, Any]`): Encoder name to its origin, as for [`encoder_source`].
        label_names (`Sequence[str]`): In the order of the logits.
        texts (`Iterable[str]`): The training texts, gone through once for each encoder that is made of them.
        seed (`int`): Of word vectors that are trained; other random weights follow the seed of torch.
        normalizations (`Mapping[str, str]`): Encoder name to its normalization, `"none"` where it is not named.
        max_words, max_tokens (`int`): Limits of the tokenizer.
        attn_implementation (`str`, *optional*): Passed to every encoder.
        config_fields (`Mapping[str, Any]`): Further fields of [`StackedEmotionConfig`].

    Raises:
        `InputError`: If an encoder cannot be built or loaded, takes fewer tokens, or a field is out of its range.
        `OSError`: If a file is missing.
    """
    sources = {name: encoder_source(name, origin) for name, origin in encoders.items()}
    with TemporaryDirectory() as scratch:
        folders = {}
        for name, source in sources.items():
            normalization = normalizations.get(name, "none")
            folders[name] = str(source.build(BuildContext(texts, Path(scratch) / name, name, normalization, seed)))
        with reading():
            tokenizer = StackedEmotionTokenizer.from_encoders(folders, normalizations, max_words, max_tokens)
        with reading():
            model = StackedEmotionForSequenceClassification.from_encoders(
                folders,
                attn_implementation=attn_implementation,
                id2label=dict(enumerate(label_names)),
                **config_fields,
            )
    check_tokenizer(model, tokenizer)
    return tokenizer, model


def build_single(
    origin: Any, *, label_names: Sequence[str], texts: Iterable[str], seed: int, max_tokens: int
) -> tuple[Any, Any]:
    """
    A stock classifier of one encoder with an untrained head, such as a student, and its tokenizer.

    Args:
        origin: As for [`encoder_source`]; word vectors are refused, since no stock classifier reads them.
        label_names, texts, seed: As for [`build_stack`].
        max_tokens (`int`): Tokens that the tokenizer keeps of a text.

    Raises:
        `InputError`: If the encoder cannot be built or loaded, or takes fewer tokens.
        `OSError`: If a file is missing.
    """
    source = encoder_source("student", origin)
    if isinstance(source, StaticWords):
        raise InputError(f"The student must be an encoder of transformers, got {source}.")
    with TemporaryDirectory() as scratch:
        folder = str(source.build(BuildContext(texts, scratch, "student", seed=seed)))
        with reading(f"student {source} cannot be loaded"):
            tokenizer = load_tokenizer(folder)
            model = load_model(
                folder,
                # The head is new.
                may_lack=lambda model, weight: not weight.startswith(f"{model.base_model_prefix}."),
                dtype=torch.float32,
                problem_type="multi_label_classification",
                id2label=dict(enumerate(label_names)),
                label2id={label: index for index, label in enumerate(label_names)},
            )
            check_tokenizer(model, tokenizer)
    if max_tokens > tokenizer.model_max_length:
        raise InputError(f"`max_tokens` is {max_tokens}, but the student takes at most {tokenizer.model_max_length}.")
    tokenizer.model_max_length = max_tokens
    return tokenizer, model
