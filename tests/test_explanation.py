# SPDX-License-Identifier: Apache-2.0
"""Tests of explanations: the deciding word is named, parts of encoders are a sum, passes are bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import LABELS, stock_classifier
from model_samples import TEXTS
from transformers import AutoTokenizer

from modeling_stacked_emotion import (
    StackedEmotionForSequenceClassification,
    StackedEmotionTokenizer,
    split_words,
)
from modeling_stacked_emotion.explanation_stacked_emotion import (
    Explanation,
    describe_explanation,
    explain_texts,
    group_words,
    leave_out,
)
from modeling_stacked_emotion.word_parts_stacked_emotion import attended_words, word_summands
from trainer_ext.evaluation.prediction import iter_predictions, predict_logits

DECIDED = [("so happy today!", "happy"), ("أنا سعيد جدا اليوم", "سعيد"), ("we laughed until we cried 😂😂", "😂")]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("a lovely day", ["lovely"], "a day"),
        ("a lovely day", ["a"], "lovely day"),
        ("a lovely day", ["day"], "a lovely"),
        ("a lovely day", ["a", "day"], "lovely"),
        ("a lovely day", ["a", "lovely", "day"], ""),
        ("now,please", [","], "now please"),
        ("so sad!", ["!"], "so sad"),
        ("so (very) sad", ["very"], "so () sad"),
        ("我很高兴", ["很"], "我高兴"),
        ("أنا سعيد جدا", ["سعيد"], "أنا جدا"),
        ("great😂😂 fun", ["😂"], "great😂 fun"),
        ("a  b\n c", ["b"], "a  c"),
        ("as it is", [], "as it is"),
    ],
)
def test_words_are_left_out_with_their_white_space(text: str, words: list[str], expected: str) -> None:
    spans = [next(span for span in split_words(text) if text[slice(*span)] == word) for word in words]
    assert leave_out(text, spans) == expected


@pytest.mark.parametrize(("num_words", "num_pieces"), [(0, 0), (1, 1), (32, 32), (33, 32), (128, 32), (5000, 32)])
def test_pieces_are_words_or_runs_of_them_and_bounded(num_words: int, num_pieces: int) -> None:
    words = [(2 * index, 2 * index + 1) for index in range(num_words)]
    pieces = group_words(words)
    assert len(pieces) == num_pieces
    own = [[word for word in words if start <= word[0] and word[1] <= end] for start, end in pieces]
    assert [word for piece in own for word in piece] == words
    assert not own or max(map(len, own)) - min(map(len, own)) <= 1


def test_long_texts_take_32_passes_and_ends_that_are_not_read_stay_out() -> None:
    asked: list[str] = []

    def answer(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[text.count("b"), -len(text)] for text in texts], dtype=np.float32)

    text = "a b " * 64 + "unread"
    words = split_words(text)[:-1]
    (long, none) = explain_texts([text, ""], [words, []], answer([text, ""]), answer)
    assert len(asked) == 2 + 32
    assert not any("unread" in variant for variant in asked[2:])
    assert long.falls[:, 0].tolist() == [2.0] * 32
    assert (none.pieces, none.falls.shape) == ([], (0, 2))


def test_answer_names_the_words_for_each_emotion_and_the_parts_of_its_logit() -> None:
    answer = {"text": "so sad", "emotions": [{"label": "fear", "score": 0.5}, {"label": "joy", "score": 0.4}]}
    explanation = Explanation([(0, 2), (3, 6)], np.array([[-1.0, 0.25], [0.5, 0.75]]))
    parts = np.array([[1.0, 2.0], [3.0, 4.0], [0.5, 0.25], [-4.0, -5.0]])
    described = describe_explanation(answer, ["joy", "fear"], explanation, parts, ["a", "b"])
    so, sad = {"word": "so", "start": 0, "end": 2}, {"word": "sad", "start": 3, "end": 6}
    assert described["emotions"] == [
        {
            "label": "fear",
            "score": 0.5,
            "words": [sad | {"fall": 0.75}, so | {"fall": 0.25}],
            "parts": {"encoders": {"a": 2.0, "b": 4.0}, "rest": 0.25, "bias": -5.0},
        },
        {
            "label": "joy",
            "score": 0.4,
            "words": [sad | {"fall": 0.5}],
            "parts": {"encoders": {"a": 1.0, "b": 3.0}, "rest": 0.5, "bias": -4.0},
        },
    ]
    (fear, _) = describe_explanation(answer, ["joy", "fear"], explanation, top_words=1)["emotions"]
    assert fear["words"] == [sad | {"fall": 0.75}]
    assert "parts" not in fear


# ---------------------------------------------------------------------------------------------------------- models


def deciding_model(static_folder: Path, text: str, word: str) -> tuple[Any, StackedEmotionTokenizer]:
    """A model of word vectors whose second logit is 8 times the share of one word among those of the text."""
    folders = {"words": static_folder}
    model: Any = StackedEmotionForSequenceClassification.from_encoders(
        folders, id2label=LABELS, mixer="none", lstm_num_layers=0, pooling="mean", skip_connection=False
    )
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    batch = tokenizer([text], return_tensors="pt", return_words=True)
    is_word = [text[slice(*span)] == word for span in batch.pop("words")[0]]
    with torch.no_grad():
        states = model.stacked_emotion.encode_words(**batch)[0][0]
        wanted = 8 * torch.tensor(is_word).float()
        model.classifier.weight.zero_()
        model.classifier.weight[1] = torch.linalg.pinv(states) @ wanted
    return model, tokenizer


@pytest.mark.parametrize(("text", "word"), DECIDED)
def test_the_word_that_decides_is_named(static_folder: Path, text: str, word: str) -> None:
    model, tokenizer = deciding_model(static_folder, text, word)
    (prediction,) = iter_predictions(model, tokenizer, [text], explain=True)
    words, falls = [text[slice(*span)] for span in split_words(text)], prediction.explanation.falls
    assert [text[slice(*span)] for span in prediction.explanation.pieces] == words
    number, share = len(words), words.count(word)
    expected = [share / number - (share - (own == word)) / (number - 1) for own in words]
    assert falls[:, 1] == pytest.approx([8 * fall for fall in expected], abs=1e-3)
    assert falls[:, [0, 2, 3]] == pytest.approx(0, abs=1e-5)
    answer = model.emotion_pipeline(tokenizer)(text, explain=True, threshold=0.0)
    named = {emotion["label"]: [found["word"] for found in emotion["words"]] for emotion in answer["emotions"]}
    assert {*named["joy"]} == {word}
    assert "parts" not in answer["emotions"][0]


def test_pipeline_and_engine_explain_alike_and_batches_change_nothing(
    model: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer
) -> None:
    pipeline = model.emotion_pipeline(tokenizer)
    predictions = list(iter_predictions(model, tokenizer, TEXTS, precision="fp32", explain=True))
    plain = list(iter_predictions(model, tokenizer, TEXTS, precision="fp32"))
    for options in ({}, {"batch_size": 3}):
        answers = pipeline(TEXTS, explain=True, threshold=0.0, top_words=99, **options)
        for answer, prediction, bare in zip(answers, predictions, plain, strict=True):
            assert prediction.logits == pytest.approx(bare.logits, abs=1e-6)
            assert bare.explanation is None
            expected = describe_explanation(
                {key: answer[key] for key in ("text", "emotions")},
                list(LABELS.values()),
                prediction.explanation,
                prediction.logit_parts,
                list(model.config.encoders),
                99,
            )
            for own, other in zip(answer["emotions"], expected["emotions"], strict=True):
                falls = [{word["start"]: word["fall"] for word in emotion["words"]} for emotion in (own, other)]
                for start in {*falls[0], *falls[1]}:
                    assert falls[0].get(start, 0.0) == pytest.approx(falls[1].get(start, 0.0), abs=1e-5)
                assert own["parts"]["encoders"] == pytest.approx(other["parts"]["encoders"], abs=1e-5)
    assert all(emotion["words"] == [] for emotion in pipeline("", explain=True, threshold=0.0)["emotions"])
    assert "parts" not in pipeline(TEXTS[0], threshold=0.0)["emotions"][0]


@pytest.mark.parametrize("is_calibrated", [False, True])
def test_parts_of_the_encoders_with_the_rest_and_the_bias_are_the_logits(
    model: Any, tokenizer: StackedEmotionTokenizer, is_calibrated: bool
) -> None:
    scale, shift = np.ones(4), np.zeros(4)
    if is_calibrated:
        scale, shift = np.array([0.5, 2.0, 1.0, 0.25]), np.array([0.5, -1.0, 2.0, 0.0])
        model.config.calibration_scale, model.config.calibration_bias = scale.tolist(), shift.tolist()
    (name, place), *_ = model.stacked_emotion.skip_places.items()
    with torch.no_grad():
        output = model(**tokenizer(TEXTS, padding=True, return_tensors="pt"))
        parts = model.logit_parts(output.pooler_output)
        weight, bias = model.classifier.weight.double().numpy(), model.classifier.bias.double().numpy()
        own = output.pooler_output[:, place].double().numpy() @ weight[:, place].T
        assert (name, parts.shape) == ("bert_wp", (len(TEXTS), 5, 4))
        assert parts.sum(dim=1).numpy() == pytest.approx(output.logits.numpy(), abs=1e-5)
        assert parts[:, 0].numpy() == pytest.approx(scale * own, abs=1e-5)
        assert parts[:, 4].numpy() == pytest.approx(np.tile(scale * bias + shift, (len(TEXTS), 1)), abs=1e-5)
        model.classifier.weight[:, place] = 0.0
        without = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    assert (output.logits - without).numpy() == pytest.approx(parts[:, 0].numpy(), abs=1e-5)
    model.config.skip_connection = False
    assert model.logit_parts(output.pooler_output) is None


def test_any_classifier_of_transformers_is_explained(encoder_folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    tokenizer.model_max_length = 32
    model = stock_classifier(tokenizer, max_position_embeddings=32).eval()
    texts = ["so happy today!", "", "أنا سعيد", "no way " * 60]
    predictions = list(iter_predictions(model, tokenizer, texts, precision="fp32", explain=True))
    for text, prediction in zip(texts[:3], predictions, strict=False):
        pieces, falls = prediction.explanation
        assert pieces == split_words(text)
        variants = [leave_out(text, [piece]) for piece in pieces]
        expected = prediction.logits - predict_logits(model, tokenizer, variants, precision="fp32")
        assert falls == pytest.approx(expected, abs=1e-5)
        assert (prediction.words, prediction.logit_parts) == ([], None)
    assert 5 < len(predictions[3].explanation.pieces) <= 30


@pytest.mark.parametrize(
    "fields", [{}, {"weighted_skip_connection": True}, {"skip_connection": False, "pooling": "mean"}]
)
def test_parts_of_the_words_and_the_bias_are_the_logits(
    encoder_folders: dict[str, Path], tokenizer: StackedEmotionTokenizer, fields: dict[str, Any]
) -> None:
    calibration = {"calibration_scale": [0.5, 1.0, 2.0, 1.5], "calibration_bias": [0.1, -0.2, 0.3, 0.0]}
    torch.manual_seed(0)
    model: Any = StackedEmotionForSequenceClassification.from_encoders(
        encoder_folders, id2label=LABELS, **calibration, **fields
    )
    torch.nn.init.normal_(model.classifier.weight)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        outputs, plain = model(**batch, output_word_parts=True), model(**batch)
    assert plain.word_parts is None
    torch.testing.assert_close(outputs.logits, plain.logits)
    scale, shift = (torch.tensor(values) for values in calibration.values())
    bias = scale * model.classifier.bias + shift
    torch.testing.assert_close(outputs.word_parts.sum(dim=1) + bias, outputs.logits, atol=1e-4, rtol=0)
    # Padding adds nothing.
    lengths = [max(len(split_words(text)), 1) for text in TEXTS]
    assert not any(parts[length:].any() for parts, length in zip(outputs.word_parts, lengths, strict=True))


@pytest.mark.parametrize("pooling", ["max", "last"])
def test_no_parts_of_words_where_the_text_state_is_no_sum(
    encoder_folders: dict[str, Path], tokenizer: StackedEmotionTokenizer, pooling: str
) -> None:
    model: Any = StackedEmotionForSequenceClassification.from_encoders(
        encoder_folders, id2label=LABELS, pooling=pooling
    )
    answer = model.emotion_pipeline(tokenizer)("so happy today", threshold=0.0)
    assert [emotion["words"] for emotion in answer["emotions"]] == [[]] * 4
    assert answer["attention"]


def test_words_attend_to_words_by_the_tokens_of_both() -> None:
    # Two words of one and two tokens between two special ones; the heads look at different tokens.
    word_ids = torch.tensor([[0, 1, 2, 2, 0]])
    attention = torch.zeros(1, 2, 5, 5)
    attention[0, 0, 1] = torch.tensor([0.5, 0.0, 0.25, 0.25, 0.0])
    attention[0, 1, 1] = torch.tensor([0.0, 0.5, 0.0, 0.0, 0.5])
    attention[0, :, 2] = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    attention[0, :, 3] = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    expected = [[[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]]
    torch.testing.assert_close(attended_words(attention, word_ids, 3), torch.tensor(expected))


def test_a_share_of_a_part_goes_to_the_words_attended_to() -> None:
    words, shares = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[0.25, 0.75]])
    skipped = {"a": torch.tensor([[[10.0], [20.0]]]), "b": torch.tensor([[[1.0], [2.0]]])}
    attended = {"a": torch.tensor([[[0.0, 1.0], [0.5, 0.5]]])}
    # Of encoder a 0.8 x 10 + 0.2 x 0.5 x 20 and 0.8 x 20 + 0.2 x (10 + 0.5 x 20); b has no attention.
    expected = [[[0.25, 10.0, 1.0], [2.25, 20.0, 2.0]]]
    torch.testing.assert_close(word_summands(words, shares, skipped, attended), torch.tensor(expected))


@pytest.mark.parametrize(("text", "word"), DECIDED)
def test_the_word_that_decides_has_the_greatest_part(static_folder: Path, text: str, word: str) -> None:
    model, tokenizer = deciding_model(static_folder, text, word)
    (joy,) = [
        emotion
        for emotion in model.emotion_pipeline(tokenizer)(text, threshold=0.0)["emotions"]
        if emotion["label"] == "joy"
    ]
    assert joy["words"][0]["word"] == word
    number = len(split_words(text))
    assert joy["words"][0]["part"] == pytest.approx(8 / number, abs=1e-3)
