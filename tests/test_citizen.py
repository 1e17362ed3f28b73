# SPDX-License-Identifier: Apache-2.0
"""Tests of the model, its config and its tokenizer among their neighbours: peft and the Auto classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer

from modeling_stacked_emotion import (
    StackedEmotionConfig,
    StackedEmotionForSequenceClassification,
    StackedEmotionTokenizer,
)
from trainer_ext.errors import InputError
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.trainer import StackedEmotionTrainer

Model = StackedEmotionForSequenceClassification
TEXTS = ["I am so happy today, really", "why"]


@pytest.fixture
def batch(tokenizer: StackedEmotionTokenizer) -> dict[str, torch.Tensor]:
    return dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))


# peft 0.21 asks for a property that transformers 5.23 has given another name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_peft_adapts_trains_saves_and_reloads(model: Model, batch: dict[str, torch.Tensor], tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    config = LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"])
    adapted = get_peft_model(model, config).train()
    start = adapted.eval()(**batch).logits
    optimizer = torch.optim.SGD([value for value in adapted.parameters() if value.requires_grad], lr=1.0)
    adapted(**batch, labels=torch.ones(2, 4)).loss.backward()
    optimizer.step()
    trained = adapted(**batch).logits
    assert (trained - start).abs().max() > 1e-3
    adapted.save_pretrained(tmp_path / "adapter")
    base = StackedEmotionForSequenceClassification.from_pretrained(tmp_path / "model")
    reloaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert torch.equal(reloaded(**batch).logits, trained)


def test_the_first_encoder_s_ids_are_the_main_input(model: Model, batch: dict[str, torch.Tensor]) -> None:
    assert model.main_input_name == model.stacked_emotion.main_input_name == "bert_wp_input_ids"
    encoder = model.stacked_emotion.encoders["bert_wp"]
    assert model.get_input_embeddings() is encoder.get_input_embeddings()
    assert model.dummy_inputs.keys() == batch.keys()
    assert model(**model.dummy_inputs).logits.shape == (2, 4)


def test_noise_on_the_embeddings_of_one_encoder_of_several_is_refused(model: Model, tmp_path: Path) -> None:
    args = StackedEmotionTrainingArguments(str(tmp_path), neftune_noise_alpha=5.0, precision="fp32", use_cpu=True)
    args.eval_strategy = "no"
    with pytest.raises(
        InputError, match=r"^`neftune_noise_alpha` would reach the first encoder alone: leave it out\.$"
    ):
        StackedEmotionTrainer(model, args)


def test_a_saved_config_has_the_same_fields(model: Model, tmp_path: Path) -> None:
    model.config.save_pretrained(tmp_path)
    loaded = StackedEmotionConfig.from_pretrained(tmp_path)
    assert loaded.encoders == model.config.encoders
    assert set(loaded.encoders["bert_wp"]["id2label"]) == {0, 1}
    assert loaded.to_dict() == StackedEmotionConfig.from_pretrained(tmp_path).to_dict()


def test_the_auto_tokenizer_takes_the_names_of_transformers(
    tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True).max_tokens == tokenizer.max_tokens
    for field in ("model_max_length", "max_tokens"):
        loaded = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True, use_fast=True, **{field: 32})
        assert (loaded.max_tokens, loaded.model_max_length) == (32, 32)
    with pytest.raises(
        TypeError, match=r"^Unknown keyword 'max_lenght': the settings are normalizations, max_words, "
    ):
        AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True, max_lenght=32)
