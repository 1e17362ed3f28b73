# SPDX-License-Identifier: Apache-2.0
"""The stock text-classification pipeline and the one stored with the model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from model_samples import TEXTS
from transformers import pipeline

from modeling_stacked_emotion import (
    StackedEmotionForSequenceClassification,
    StackedEmotionPipeline,
    StackedEmotionTokenizer,
    split_words,
)
from modeling_stacked_emotion.description_stacked_emotion import describe_emotions

LABELS = ["anger", "joy", "sadness", "fear"]


@pytest.fixture
def spread(model: StackedEmotionForSequenceClassification) -> StackedEmotionForSequenceClassification:
    """The model with scores from near 0 to near 1, and thresholds among them."""
    with torch.no_grad():
        model.classifier.weight.mul_(20)
        model.classifier.bias.copy_(torch.tensor([-2.0, 2.0, 0.0, 1.0]))
    model.config.thresholds = [0.3, 0.95, 0.5, 0.6]
    return model


@pytest.fixture
def emotions(spread: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer) -> Any:
    return spread.emotion_pipeline(tokenizer)


def probabilities(model: StackedEmotionForSequenceClassification, tokenizer: Any, text: str) -> dict[str, float]:
    with torch.no_grad():
        logits = model(**tokenizer([text], padding=True, return_tensors="pt")).logits[0]
    return dict(zip(LABELS, logits.sigmoid().tolist(), strict=True))


# ---------------------------------------------------------------------------------------------------- stock pipeline


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_stock_pipeline_gives_the_sigmoid_of_every_label(
    spread: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, batch_size: int
) -> None:
    classifier = pipeline("text-classification", model=spread, tokenizer=tokenizer, top_k=None)
    results = classifier(TEXTS, batch_size=batch_size)
    assert len(results) == 5
    for text, result in zip(TEXTS, results, strict=True):
        scores = {entry["label"]: entry["score"] for entry in result}
        assert scores == pytest.approx(probabilities(spread, tokenizer, text), abs=1e-5)


def test_stock_pipeline_from_a_folder(
    spread: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    spread.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    classifier = pipeline("text-classification", model=str(tmp_path), top_k=None)
    scores = {entry["label"]: entry["score"] for entry in classifier([TEXTS[0]])[0]}
    assert scores == pytest.approx(probabilities(spread, tokenizer, TEXTS[0]), abs=1e-6)


def test_both_pipelines_from_a_folder_give_calibrated_scores(
    spread: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    scale, bias = [0.5, 2.0, 1.0, 0.25], [0.5, -1.0, 2.0, 0.0]
    with torch.no_grad():
        logits = spread(**tokenizer(TEXTS[:1], padding=True, return_tensors="pt")).logits[0].tolist()
    calibrated = [scale[index] * logit + bias[index] for index, logit in enumerate(logits)]
    expected = {label: 1 / (1 + math.exp(-value)) for label, value in zip(LABELS, calibrated, strict=True)}
    spread.config.calibration_scale, spread.config.calibration_bias = scale, bias
    spread.config.thresholds = [0.0] * 4
    spread.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    stock = pipeline("text-classification", model=str(tmp_path), top_k=None)(TEXTS[:1])[0]
    loaded = StackedEmotionForSequenceClassification.from_pretrained(tmp_path)
    own = loaded.emotion_pipeline(tokenizer)(TEXTS[0])["emotions"]
    for entries in (stock, own):
        assert {entry["label"]: entry["score"] for entry in entries} == pytest.approx(expected, abs=1e-4)


# ---------------------------------------------------------------------------------------------------- own pipeline


def test_pipeline_gives_exactly_the_labels_at_or_over_their_thresholds(
    emotions: Any, spread: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer
) -> None:
    num_emotions = 0
    for text, result in zip(TEXTS, emotions(TEXTS), strict=True):
        scores = probabilities(spread, tokenizer, text)
        thresholds = dict(zip(LABELS, spread.config.thresholds, strict=True))
        expected = {label: score for label, score in scores.items() if score >= thresholds[label]}
        actual = result["emotions"]
        assert {entry["label"]: entry["score"] for entry in actual} == pytest.approx(expected, abs=1e-5)
        assert all(entry["threshold"] == thresholds[entry["label"]] for entry in actual)
        assert [entry["score"] for entry in actual] == sorted((entry["score"] for entry in actual), reverse=True)
        num_emotions += len(actual)
    assert 0 < num_emotions < 20


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, 4), (1.0, 0)])
def test_one_threshold_for_all_labels(emotions: Any, threshold: float, expected: int) -> None:
    actual = emotions(TEXTS[0], threshold=threshold)["emotions"]
    assert len(actual) == expected
    assert {entry["threshold"] for entry in actual} <= {threshold}


def test_a_data_set_may_have_thresholds_of_its_own(emotions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = emotions.model.config
    monkeypatch.setattr(config, "source_thresholds", {"arq": [0.0, 1.0, 0.0, 1.0]})
    actual = emotions(TEXTS[0], source="arq")["emotions"]
    assert {entry["label"] for entry in actual} == {LABELS[0], LABELS[2]}
    with pytest.raises(ValueError, match=r"`source` must be one of arq, got 'ary'\.$"):
        emotions(TEXTS[0], source="ary")
    with pytest.raises(ValueError, match="`threshold` and `source` both name thresholds"):
        emotions(TEXTS[0], source="arq", threshold=0.5)


def test_thresholds_are_one_half_where_the_model_has_none(emotions: Any) -> None:
    emotions.model.config.thresholds = None
    actual = emotions(TEXTS[0])["emotions"]
    assert {entry["threshold"] for entry in actual} == {0.5}
    assert min(entry["score"] for entry in actual) >= 0.5


def test_a_score_equal_to_its_threshold_counts() -> None:
    thresholds, words = [0.3, 0.95, 0.5, 0.6], [(0, 2), (3, 6)]
    result = describe_emotions("so sad", LABELS, [0.3, 0.94, 0.5, 0.59], thresholds, words, (), [0.25, 0.75, 0.0])
    assert [entry["label"] for entry in result["emotions"]] == ["sadness", "anger"]
    assert result["attention"] == [
        {"word": "sad", "start": 3, "end": 6, "weight": 0.75},
        {"word": "so", "start": 0, "end": 2, "weight": 0.25},
    ]
    # As long as the longest text of the batch, or up to the last word with a token: the answer is the same.
    for attention in ([1.0], [1.0, 0.0], [1.0, 0.0, 0.0]):
        result = describe_emotions("so \u0301", LABELS, [0.0] * 4, 0.5, [(0, 2), (3, 4)], (), attention)
        assert [(word["word"], word["weight"]) for word in result["attention"]] == [("so", 1.0)]


@pytest.mark.parametrize(("scripts", "named"), [(None, None), (["Arabic", "Latin"], None), (["Latin"], "Arabic")])
def test_a_script_that_the_model_was_not_trained_on_is_named(
    emotions: Any, scripts: list[str] | None, named: str | None
) -> None:
    emotions.model.config.scripts = scripts
    assert emotions("أنا سعيد جدا").get("unfamiliar_script") == named
    assert "unfamiliar_script" not in emotions("so happy 😢")


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_batched_equals_single(emotions: Any, batch_size: int) -> None:
    for text, batched in zip(TEXTS, emotions(TEXTS, batch_size=batch_size, threshold=0.0, top_words=99), strict=True):
        single = emotions(text, threshold=0.0, top_words=99)
        assert batched["text"] == single["text"] == text
        for field, key in (("emotions", "score"), ("attention", "weight")):
            name = "word" if field == "attention" else "label"
            first = sorted((entry.get("start", 0), entry[name], entry[key]) for entry in batched[field])
            second = sorted((entry.get("start", 0), entry[name], entry[key]) for entry in single[field])
            assert [entry[:2] for entry in first] == [entry[:2] for entry in second]
            assert [entry[2] for entry in first] == pytest.approx([entry[2] for entry in second], abs=1e-5)


def test_words_are_those_of_the_text_with_their_shares(
    emotions: Any, spread: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer
) -> None:
    for text in TEXTS:
        words = emotions(text, top_words=99)["attention"]
        assert sorted((word["start"], word["end"]) for word in words) == split_words(text)
        assert all(text[word["start"] : word["end"]] == word["word"] for word in words)
        assert [word["weight"] for word in words] == sorted((word["weight"] for word in words), reverse=True)
        with torch.no_grad():
            attention = spread(**tokenizer([text], padding=True, return_tensors="pt")).word_attention[0].tolist()
        in_order = [word["weight"] for word in sorted(words, key=lambda word: word["start"])]
        assert in_order == pytest.approx(attention[: len(words)], abs=1e-6)
    assert emotions(TEXTS[1])["attention"] == []


@pytest.mark.parametrize(("options", "expected"), [({}, 3), ({"top_words": 1}, 1), ({"top_words": 0}, 0)])
def test_top_words(emotions: Any, options: dict[str, int], expected: int) -> None:
    words = emotions(TEXTS[0], **options)["attention"]
    assert words == emotions(TEXTS[0], top_words=99)["attention"][:expected]
    assert len(words) == expected


def test_tokenizer_options_are_passed_on(emotions: Any) -> None:
    assert len(emotions(TEXTS[2], top_words=99, max_length=12)["attention"]) < len(split_words(TEXTS[2])) / 2
    # Those of the stock pipeline are understood as well.
    for padding in (True, False, "max_length"):
        scores, expected = (
            [entry["score"] for entry in emotions(TEXTS[0], threshold=0.0, **options)["emotions"]]
            for options in ({"padding": padding, "truncation": True}, {})
        )
        assert scores == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_out_of_range_is_an_error(emotions: Any, threshold: float) -> None:
    with pytest.raises(ValueError, match=r"`threshold` must be in \[0, 1\], got"):
        emotions(TEXTS[0], threshold=threshold)


def test_negative_top_words_are_an_error(emotions: Any) -> None:
    with pytest.raises(ValueError, match="`top_words` must be at least 0, got -1"):
        emotions(TEXTS[0], top_words=-1)


def test_a_text_that_is_no_string_is_an_error(emotions: Any) -> None:
    with pytest.raises(TypeError, match="must be a string, got int"):
        emotions(7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pipeline_in_half_precision(
    spread: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, dtype: torch.dtype
) -> None:
    expected = spread.emotion_pipeline(tokenizer)(TEXTS[0], threshold=0.0)["emotions"]
    classifier = spread.to(dtype).emotion_pipeline(tokenizer)
    assert isinstance(classifier, StackedEmotionPipeline)
    scores = {entry["label"]: entry["score"] for entry in classifier(TEXTS[0], threshold=0.0)["emotions"]}
    assert scores == pytest.approx({entry["label"]: entry["score"] for entry in expected}, abs=0.03)
