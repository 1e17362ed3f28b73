# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.encoders.stack: the entries of a recipe become sources, and these a stack or one classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from trainer_ext.encoders.pruned import PrunedEncoder
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import EncoderSource, PretrainedEncoder
from trainer_ext.encoders.stack import build_single, build_stack, encoder_source
from trainer_ext.encoders.static_words import StaticWords
from trainer_ext.encoders.trained import TrainedEncoder
from trainer_ext.errors import InputError

NAMES = ["joy", "fear"]


def stack_of(encoders: dict[str, Any], texts: list[str], **options: Any) -> tuple[Any, Any]:
    defaults: dict[str, Any] = {
        **{"label_names": NAMES, "texts": texts, "seed": 0, "normalizations": {}, "max_words": 16, "max_tokens": 20},
        **{"attn_implementation": None, "config_fields": {}},
    }
    return build_stack(encoders, **(defaults | options))


@pytest.mark.parametrize(
    ("origin", "source", "description"),
    [
        ("some/encoder", PretrainedEncoder("some/encoder"), "some/encoder"),
        ("cc.en.vec.GZ", StaticWords("cc.en.vec.GZ"), "word vectors, cc.en.vec.GZ"),
        ("MODEL.BIN", StaticWords("MODEL.BIN"), "word vectors, MODEL.BIN"),
        (
            {"architecture": "static_words", "num_ngrams": 9},
            StaticWords(num_ngrams=9),
            "word vectors, to be trained on the texts",
        ),
        ({}, ScratchEncoder(), "a new bert, its tokenizer trained on the texts"),
        (
            {"architecture": "electra", "tokenizer": "bpe", "lowercase": False},
            ScratchEncoder("electra", "bpe", lowercase=False),
            "a new electra, its tokenizer trained on the texts",
        ),
        (
            {"pruned": "some/encoder", "vocab_size": 9},
            PrunedEncoder("some/encoder", None, 9),
            "cut out of some/encoder",
        ),
        ({"trained": "folder"}, TrainedEncoder("folder"), "from the trained model folder"),
    ],
)
def test_an_entry_of_a_recipe_is_a_source(origin: Any, source: EncoderSource, description: str) -> None:
    assert encoder_source("a", origin) == source
    assert str(source) == description


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({"layers": 1, "size": 3}, r"Encoder 'a': unknown fields \['layers', 'size'\]; expected some of architecture"),
        ({"architecture": "static_words", "size": 3}, r"Encoder 'a': .*\['size'\]; expected some of word_vectors"),
        ({"pruned": "b", "layers": 2}, r"Encoder 'a': unknown fields \['layers'\]; expected some of pruned, num"),
        ({"trained": "b", "layers": 2}, r"Encoder 'a': unknown fields \['layers'\]; expected some of trained, enc"),
        ({"pruned": None}, "`pruned` must be the Hub id or folder of an encoder, got None"),
        ({"trained": 3}, "`trained` and `encoder` must be strings, got 3 and None"),
    ],
)
def test_entries_with_wrong_fields(origin: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder_source("a", origin)


def test_a_stack_of_several_sources(encoder_folders: dict[str, Path], corpus: list[str]) -> None:
    encoders = {
        "new": {"vocab_size": 200, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        "cut": {"pruned": str(encoder_folders["bert_wp"]), "vocab_size": 250},
        "there": str(encoder_folders["roberta_bb"]),
    }
    torch.manual_seed(0)
    texts = [*corpus, "@the " * 9]
    tokenizer, model = stack_of(
        encoders, texts, normalizations={"cut": "tweet"}, config_fields={"mixer": "none", "pooling": "mean"}
    )
    assert (tokenizer.max_words, tokenizer.max_tokens) == (16, 20)
    assert tokenizer.normalizations == {"new": "none", "cut": "tweet", "there": "none"}
    assert {name: encoder.config.hidden_size for name, encoder in model.stacked_emotion.encoders.items()} == {
        **{"cut": 32, "new": 16, "there": 24}
    }
    assert (model.config.labels, model.config.mixer, model.config.pooling) == (NAMES, "none", "mean")
    logits = model(**tokenizer(corpus[:3], padding=True, return_tensors="pt")).logits
    assert logits.shape == (3, 2)


@pytest.mark.parametrize("origin", ["no/where", {"pruned": "no/where"}, {"trained": "no/where"}])
def test_what_cannot_be_loaded_is_named(origin: Any, corpus: list[str]) -> None:
    with pytest.raises(InputError, match=r"^encoder 'a', no/where, cannot be loaded: "):
        stack_of({"a": origin}, corpus)


def test_fields_of_the_config_are_checked(encoder_folders: dict[str, Path], corpus: list[str]) -> None:
    with pytest.raises(InputError, match="`mixer` must be one of"):
        stack_of({"a": encoder_folders["bert_wp"]}, corpus, config_fields={"mixer": "blender"})


def test_more_tokens_than_the_encoder_has_positions_for(encoder_folders: dict[str, Path], corpus: list[str]) -> None:
    folder = encoder_folders["bert_wp"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(InputError, match="encoder 'a' takes at most 128 tokens"):
        stack_of({"a": folder}, corpus, max_tokens=tokenizer.model_max_length + 1)


def test_one_encoder_becomes_a_stock_classifier(encoder_folders: dict[str, Path], corpus: list[str]) -> None:
    origin = {"pruned": str(encoder_folders["bert_wp"]), "vocab_size": 250}
    tokenizer, model = build_single(origin, label_names=NAMES, texts=corpus, seed=0, max_tokens=20)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert (model.config.id2label, model.config.problem_type) == (
        dict(enumerate(NAMES)),
        "multi_label_classification",
    )
    assert len(tokenizer("so " * 50, truncation=True)["input_ids"]) == 20


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("no/where", "^encoder 'student', no/where, cannot be loaded: "),
        ("words.vec", "The student must be an encoder of transformers, got word vectors, words.vec"),
    ],
)
def test_wrong_students(origin: str, message: str, corpus: list[str]) -> None:
    with pytest.raises(InputError, match=message):
        build_single(origin, label_names=NAMES, texts=corpus, seed=0, max_tokens=20)
