# SPDX-License-Identifier: Apache-2.0
"""Encoders of trained classifiers, stacked anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recipe_samples import LABELS, write_recipe, write_vectors
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from scripts import train
from trainer_ext.encoders.source import BuildContext
from trainer_ext.encoders.static_words import StaticWords
from trainer_ext.encoders.trained import TrainedEncoder
from trainer_ext.evaluation.prediction import load_classifier

pytestmark = pytest.mark.usefixtures("blank_figures")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, encoder_folders: dict[str, Path]) -> Path:
    """A classifier of two encoders, a BERT and words, none of whose weights are those that it was made of."""
    folder = tmp_path_factory.mktemp("trained")
    words = StaticWords(str(write_vectors(folder / "words.vec"))).build(
        BuildContext(["so sad today", "so happy"], folder / "words")
    )
    encoders = {"bert": encoder_folders["bert_wp"], "words": words}
    torch.manual_seed(0)
    model = StackedEmotionForSequenceClassification.from_encoders(encoders, id2label=dict(enumerate(LABELS)))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(folder)
    StackedEmotionTokenizer.from_encoders(encoders, {"words": "tweet"}).save_pretrained(folder)
    return folder


def test_encoder_and_tokenizer_are_those_of_the_classifier(
    trained: Path, tmp_path: Path, corpus: list[str], encoder_folders: dict[str, Path]
) -> None:
    folder = TrainedEncoder(str(trained), "bert").build(BuildContext([], tmp_path / "bert"))
    batch = AutoTokenizer.from_pretrained(folder)(corpus[:4], padding=True, return_tensors="pt")
    original = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])(corpus[:4], padding=True)
    assert batch["input_ids"].tolist() == original["input_ids"]
    model, _ = load_classifier(str(trained), "cpu")
    with torch.no_grad():
        expected = model.base_model.encoders["bert"](**batch).last_hidden_state
        found = AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    assert torch.equal(found, expected)


def test_vocabulary_is_cut_to_the_texts(trained: Path, tmp_path: Path, corpus: list[str]) -> None:
    whole, cut = (
        TrainedEncoder(str(trained), "bert", size).build(BuildContext(corpus[:4], tmp_path / str(size)))
        for size in (None, 200)
    )
    states = []
    for folder in (whole, cut):
        batch = AutoTokenizer.from_pretrained(folder)(corpus[:4], padding=True, return_tensors="pt")
        with torch.no_grad():
            states.append(AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state)
    assert len(AutoTokenizer.from_pretrained(cut)) < len(AutoTokenizer.from_pretrained(whole))
    assert torch.equal(*states)


def test_table_of_words_is_that_of_the_classifier(trained: Path, tmp_path: Path) -> None:
    folder = TrainedEncoder(str(trained), "words").build(BuildContext([], tmp_path / "words", normalization="tweet"))
    stack = StackedEmotionForSequenceClassification.from_encoders({"again": folder}, id2label=dict(enumerate(LABELS)))
    model, tokenizer = load_classifier(str(trained), "cpu")
    assert torch.equal(stack.base_model.encoders["again"].table, model.base_model.encoders["words"].table)
    again = StackedEmotionTokenizer.from_encoders({"again": folder}, {"again": "tweet"})
    text = "so SAD @someone"
    assert again(text)["again_input_ids"] == tokenizer(text)["words_input_ids"]


def test_the_encoder_of_a_stock_classifier(encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder_folders["bert_wp"], problem_type="multi_label_classification", num_labels=3
    )
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.add_(1.0)
    model.save_pretrained(tmp_path / "stock")
    AutoTokenizer.from_pretrained(encoder_folders["bert_wp"]).save_pretrained(tmp_path / "stock")
    folder = TrainedEncoder(str(tmp_path / "stock")).build(BuildContext([], tmp_path / "encoder"))
    found = AutoModel.from_pretrained(folder).embeddings.word_embeddings.weight
    assert torch.equal(found, model.bert.embeddings.word_embeddings.weight)


def test_a_recipe_stacks_trained_encoders(trained: Path, tmp_path: Path) -> None:
    words = {"trained": str(trained), "encoder": "words"}
    bert = {"trained": str(trained), "encoder": "bert"}
    recipe = write_recipe(
        tmp_path,
        encoders={"bert": bert, "words": words},
        normalizations={"words": "tweet"},
        learning_rate=0.0,
        max_steps=1,
    )
    train.main([str(recipe), "--encoder_learning_rates.words", "0.01"])
    before, after = (load_classifier(str(folder), "cpu")[0] for folder in (trained, tmp_path / "output"))
    for name, weight in before.base_model.encoders["bert"].named_parameters():
        assert torch.equal(after.base_model.encoders["bert"].get_parameter(name), weight), name
    changed = after.base_model.encoders["words"].table - before.base_model.encoders["words"].table
    assert 0 < changed.abs().max() < 0.02


@pytest.mark.parametrize(
    ("options", "normalization", "message"),
    [
        ({}, "none", "`encoder` must be one of those of .*: bert, words."),
        ({"encoder": "bort"}, "none", "`encoder` must be one of those of .*: bert, words."),
        ({"encoder": "words"}, "none", "words was trained with the normalization tweet, not none"),
    ],
)
def test_what_does_not_fit_is_an_error(
    options: dict[str, Any], normalization: str, message: str, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        TrainedEncoder(str(trained), **options).build(BuildContext([], tmp_path, normalization=normalization))
