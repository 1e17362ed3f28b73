# SPDX-License-Identifier: Apache-2.0
"""Tests of the benchmark of explanations: the table tells faithful words from others, for any classifier."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CORPUS, LABELS, fails, stock_classifier
from transformers import AutoTokenizer

from modeling_stacked_emotion import (
    StackedEmotionForSequenceClassification,
    StackedEmotionTokenizer,
    split_words,
)
from scripts import benchmark
from scripts.benchmarks.explanations import _Case, _gradient_times_input, _rests, _Subject


def test_first_words_are_left_out_and_kept_alone() -> None:
    text = "a b c d e f g h i j"
    rests = _rests(_Case(text, split_words(text), 0), np.arange(10.0))
    assert rests[:5] == ["a b c d e f g h i", "a b c d e f g h i", "a b c d e f g h i", "a b c d e f g h", "a b c d e"]
    assert rests[5:] == ["j", "j", "j", "i j", "f g h i j"]


def test_gradient_times_input_is_exact_where_the_logit_is_linear_in_the_words(static_folder: Path) -> None:
    folders = {"words": static_folder}
    model = StackedEmotionForSequenceClassification.from_encoders(
        folders, id2label=LABELS, mixer="none", lstm_num_layers=0, pooling="mean", skip_connection=False
    )
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    cases = [_Case(text, split_words(text), label) for label, text in ((1, CORPUS[3]), (2, "so happy today!"))]
    scores = _gradient_times_input(_Subject(model, tokenizer, "fp32"), cases)
    for (text, words, label), own in zip(cases, scores, strict=True):
        with torch.no_grad():
            states = model.stacked_emotion.encode_words(**tokenizer([text], return_tensors="pt"))[0][0]
            assert own == pytest.approx((states @ model.classifier.weight[label] / len(words)).numpy(), abs=1e-5)


def test_leaving_words_out_is_more_faithful_than_chance(
    encoder_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    tokenizer.save_pretrained(tmp_path)
    stock_classifier(tokenizer).save_pretrained(tmp_path)
    lines = (json.dumps({"text": text}) + "\n" for text in CORPUS[:20])
    (tmp_path / "texts.jsonl").write_text("".join(lines), encoding="utf-8")
    arguments = ["explanations", str(tmp_path), "--precision", "fp32", "--texts", str(tmp_path / "texts.jsonl")]
    results = benchmark.main([*arguments, "--num_texts", "12"])
    for name in ("leave-one-out", "gradient, fixed norms", "gradient x input", "random"):
        assert results[f"{name}/time"] > 0
        assert all(math.isfinite(results[f"{name}/{key}"]) for key in ("comprehensiveness", "sufficiency"))
    assert results["leave-one-out/comprehensiveness"] > results["random/comprehensiveness"] + 0.01
    assert "attention" not in capsys.readouterr().out


def test_texts_without_an_emotion_are_an_error(
    encoder_folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    tokenizer.save_pretrained(tmp_path)
    stock_classifier(tokenizer, thresholds=[1.0] * 4).save_pretrained(tmp_path)
    (tmp_path / "texts.jsonl").write_text('{"text": "so happy"}\n', encoding="utf-8")
    said = fails(benchmark.main, capfd, "explanations", tmp_path, "--texts", tmp_path / "texts.jsonl")
    assert "no text of two words or more has a label over its threshold." in said
