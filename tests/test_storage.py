# SPDX-License-Identifier: Apache-2.0
"""Tests of storage_stacked_emotion: weights in 8 bits on disk are the weights that were evaluated, wherever loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LABELS
from model_samples import save_classifier
from recipe_samples import write_recipe, write_vectors
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from hub.model.folder import write_model_folder
from hub.model.staging import stage_model
from modeling_stacked_emotion import (
    StackedEmotionForSequenceClassification,
    StackedEmotionTokenizer,
    StaticWordsModel,
    round_weights,
)
from scripts import train
from trainer_ext.data.loading import load_emotion_data
from trainer_ext.evaluation.calibration import calibrated_probabilities
from trainer_ext.evaluation.prediction import load_classifier, predict_logits
from trainer_ext.evaluation.results import evaluate_split

TEXTS = ["I am so happy today!", "", "أنا سعيد جدا اليوم 🎉 xyzzy"]


@pytest.fixture
def folders(encoder_folders: dict[str, Path], static_folder: Path) -> dict[str, Path]:
    return {"bert_wp": encoder_folders["bert_wp"], "words": static_folder}


@pytest.fixture
def stack(folders: dict[str, Path]) -> StackedEmotionForSequenceClassification:
    """A transformers encoder beside static words, at random, with weights that 8 bits do not hold."""
    torch.manual_seed(0)
    model = StackedEmotionForSequenceClassification.from_encoders(folders, id2label=LABELS)
    with torch.no_grad():
        model.classifier.weight[0, :2] = torch.tensor([1000.0, -1e-4])
    assert isinstance(model, StackedEmotionForSequenceClassification)
    return model


def logits_of(model: torch.nn.Module, tokenizer: StackedEmotionTokenizer) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits


def test_rounding_is_to_the_nearest_of_8_bits(stack: StackedEmotionForSequenceClassification) -> None:
    before = {name: weight.clone() for name, weight in stack.state_dict().items()}
    round_weights(stack, "float8")
    # All numbers of 8 bits, from their definition: 4 bits of exponent, 3 of mantissa, no infinity, one NaN.
    numbers = {mantissa / 8 * 2.0**-6 for mantissa in range(8)}
    numbers |= {(1 + mantissa / 8) * 2.0 ** (exponent - 7) for exponent in range(1, 16) for mantissa in range(8)}
    numbers.discard(480.0)
    grid = torch.tensor(sorted(numbers | {-number for number in numbers}))
    num_rounded = 0
    for name, weight in stack.state_dict().items():
        if weight.dim() < 2:
            assert torch.equal(weight, before[name])
            continue
        assert torch.isin(weight, grid).all()
        nearest = (before[name].flatten()[:300, None] - grid).abs().amin(dim=1)
        torch.testing.assert_close((before[name] - weight).flatten()[:300].abs(), nearest, rtol=0, atol=1e-7)
        num_rounded += not torch.equal(weight, before[name])
    assert num_rounded > 5
    assert stack.classifier.weight[0, :2].tolist() == [448.0, 0.0]
    assert stack.dtype == torch.float32


def test_saved_model_is_the_rounded_one(
    stack: StackedEmotionForSequenceClassification, folders: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    plain = logits_of(stack, tokenizer)
    round_weights(stack, "float8")
    expected = logits_of(stack, tokenizer)
    assert not torch.equal(expected, plain)
    folder = write_model_folder(tmp_path / "model", stack, tokenizer, {})
    stored = load_file(folder / "model.safetensors")
    for name, weight in stored.items():
        assert weight.dtype == (torch.float8_e4m3fn if weight.dim() >= 2 else torch.float32), name
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["dtype"] == "float32"
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    assert {weight.dtype for weight in loaded.state_dict().values()} == {torch.float32}
    assert torch.equal(logits_of(loaded, tokenizer), expected)
    # Once more from the loaded one: nothing is lost, and nothing grows.
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").stat().st_size == (folder / "model.safetensors").stat().st_size


def test_a_model_that_was_trained_further_is_saved_whole(
    stack: StackedEmotionForSequenceClassification, tmp_path: Path
) -> None:
    round_weights(stack, "float8")
    with torch.no_grad():
        stack.classifier.weight[1, 1] = 1 / 3
    stack.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    # The numbers of 8 bits are numbers of 16 bits, too.
    tables = {f"{name}.table" for name, module in stack.named_modules() if isinstance(module, StaticWordsModel)}
    for name, weight in stored.items():
        assert weight.dtype == (torch.float16 if name in tables else torch.float32)
        assert torch.equal(weight.float(), stack.state_dict()[name])


def test_a_repository_keeps_the_8_bits(
    stack: StackedEmotionForSequenceClassification, folders: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    round_weights(stack, "float8")
    source = save_classifier(tmp_path / "model", stack, tokenizer)
    (tmp_path / "staged").mkdir()
    with pytest.warns(UserWarning, match="not recorded"):
        stage_model(source, tmp_path / "staged", repo_id="user/small", language=["en"])
    assert (tmp_path / "staged" / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert (tmp_path / "staged" / "storage_stacked_emotion.py").is_file()


@pytest.mark.slow
def test_onnx_files_are_made_of_8_bits(
    stack: StackedEmotionForSequenceClassification, folders: dict[str, Path], tmp_path: Path
) -> None:
    from hub.model.onnx_export import export_onnx

    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    round_weights(stack, "float8")
    source = save_classifier(tmp_path / "model", stack, tokenizer)
    # Raises if the logits are not torch's.
    export_onnx(source, source, int8=False)
    assert (source / "onnx" / "model.onnx").stat().st_size > 2 * (source / "model.safetensors").stat().st_size


@pytest.mark.slow
def test_results_are_those_of_the_weights_that_are_saved(tmp_path: Path) -> None:
    encoders = {
        "words": {"architecture": "static_words", "word_vectors": str(write_vectors(tmp_path / "words.vec"))},
        "pieces": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 200},
    }
    train.main([str(write_recipe(tmp_path, encoders=encoders, weights_dtype="float8"))])
    folder = tmp_path / "output"
    stored = load_file(folder / "model.safetensors")
    assert {weight.dtype for weight in stored.values() if weight.dim() >= 2} == {torch.float8_e4m3fn}
    data = load_emotion_data(train_file=tmp_path / "train.jsonl", test_file=tmp_path / "test.jsonl")
    model, tokenizer = load_classifier(str(folder), "cpu")
    rows = data.splits["test"]
    logits = predict_logits(model, tokenizer, rows["text"], precision="fp32")
    labels, thresholds = np.asarray(rows["labels"]), np.asarray(model.config.thresholds)
    found = evaluate_split("test", labels, calibrated_probabilities(logits, None), thresholds, data.label_names)
    results = json.loads((folder / "eval_results.json").read_text(encoding="utf-8"))
    for key in ("test_macro_f1", "test_macro_roc_auc", "test_macro_average_precision", "test_hamming_loss"):
        assert found[key] == pytest.approx(results[key], abs=1e-9), key
    assert "| `weights_dtype` | float8 |" in (folder / "README.md").read_text(encoding="utf-8")


def test_unknown_dtype(stack: StackedEmotionForSequenceClassification) -> None:
    with pytest.raises(ValueError, match="`weights_dtype` must be one of float32, float8, got 'int8'"):
        round_weights(stack, "int8")
