# SPDX-License-Identifier: Apache-2.0
"""Tests of the model, its config and its tokenizer among their neighbours: peft and the Auto classes."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from conftest import CORPUS, LABELS, contents
from datasets.fingerprint import Hasher
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    TorchAoConfig,
    Trainer,
    TrainingArguments,
)

from modeling_stacked_emotion import (
    StackedEmotionConfig,
    StackedEmotionForSequenceClassification,
    StackedEmotionModel,
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


# ------------------------------------------------------------------------------------------------ Trainer and data


def stock_trainer(model: torch.nn.Module, tokenizer: StackedEmotionTokenizer, folder: Path) -> Trainer:
    """A Trainer of transformers with its defaults on tokenised texts beside which the text stands."""
    rows = [[float(index == row % 4) for index in range(4)] for row in range(8)]
    dataset = datasets.Dataset.from_dict({"text": CORPUS[:8], "labels": rows}).map(tokenizer, input_columns="text")
    args = TrainingArguments(str(folder), max_steps=2, use_cpu=True, disable_tqdm=True, save_strategy="no")
    collator = DataCollatorWithPadding(tokenizer)
    return Trainer(model, args, train_dataset=dataset, eval_dataset=dataset, data_collator=collator)


# peft 0.21 asks for a property that transformers 5.23 has given another name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("is_adapted", [False, True])
def test_the_stock_trainer_keeps_the_columns_of_all_encoders(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path, is_adapted: bool
) -> None:
    trained: Any = model
    if is_adapted:
        trained = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"]))
    trainer = stock_trainer(trained, tokenizer, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch.keys() == {*tokenizer.model_input_names, "labels"}
    assert trainer.train().training_loss > 0
    inputs = tokenizer(CORPUS[:8], padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = trained.eval()(**inputs).logits
    logits = trainer.predict(trainer.eval_dataset).predictions
    logits = logits[0] if isinstance(logits, tuple) else logits
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=0, atol=1e-5)


def test_the_signature_of_forward_survives_copies(model: Model) -> None:
    for twin in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        parameters = inspect.signature(twin.forward).parameters
        assert [*parameters][:2] == ["labels", "return_dict"]
        assert {*model.dummy_inputs} < {*parameters}
        assert twin.forward.__self__ is twin
    assert [*inspect.signature(Model.forward).parameters] == [
        "self",
        "labels",
        "return_dict",
        "output_word_parts",
        "inputs",
    ]


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_tokenizer_has_one_fingerprint(
    tokenizer: StackedEmotionTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_remote: bool
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    tokenizer.save_pretrained(tmp_path / "model")
    loader: Any = AutoTokenizer if is_remote else StackedEmotionTokenizer
    loaded, again = (loader.from_pretrained(tmp_path / "model", trust_remote_code=True) for _ in range(2))
    before = Hasher.hash(loaded)
    loaded(["so glad", "why"], padding=True)
    loaded.tokenizers["bert_wp"](["so glad", "why"], padding=True, truncation=True, max_length=8)
    assert Hasher.hash(loaded) == Hasher.hash(again) == before
    assert Hasher.hash(loader.from_pretrained(tmp_path / "model", trust_remote_code=True, max_words=5)) != before
    assert pickle.loads(pickle.dumps(loaded))("so glad") == copy.deepcopy(loaded)("so glad") == again("so glad")
    # In a file, as those of `load_dataset` are: results of texts in memory are never cached.
    datasets.Dataset.from_dict({"text": CORPUS[:4]}).save_to_disk(tmp_path / "texts")
    texts = datasets.load_from_disk(tmp_path / "texts")
    first, second = (texts.map(one, input_columns="text") for one in (loaded, again))
    assert first.cache_files == second.cache_files
    assert len(first.cache_files) == 1


# ------------------------------------------------------------------------------------------------ graphs and weights


@pytest.mark.slow
def test_the_whole_model_is_exported(model: Model, tokenizer: StackedEmotionTokenizer) -> None:
    auto = torch.export.Dim.AUTO
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    shapes = {name: {0: auto, 1: auto} for name in batch}
    program = torch.export.export(model, (), batch, dynamic_shapes=shapes)
    for texts in (TEXTS, ["one"], [*TEXTS, CORPUS[5], CORPUS[23]]):
        inputs = dict(tokenizer(texts, padding=True, return_tensors="pt"))
        logits = program.module()(**inputs).logits
        torch.testing.assert_close(logits, model(**inputs).logits, rtol=0, atol=1e-5)


def test_int8_weights_of_torchao(model: Model, batch: dict[str, torch.Tensor], tmp_path: Path) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    model.save_pretrained(tmp_path)
    config = TorchAoConfig(quantization.Int8WeightOnlyConfig())
    loaded = StackedEmotionForSequenceClassification.from_pretrained(tmp_path, quantization_config=config)
    assert type(loaded.classifier.weight).__name__ == "Int8Tensor"
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, rtol=0, atol=0.05)


def without(folder: Path, *beginnings: str) -> None:
    """Take the weights whose names begin so out of a saved model."""
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(beginnings)}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("auto_class", [AutoModelForSequenceClassification, AutoModel])
def test_a_model_that_is_not_whole_is_refused_by_its_own_code(model: Model, tmp_path: Path, auto_class: Any) -> None:
    model.save_pretrained(tmp_path)
    without(tmp_path, "stacked_emotion.encoders.bert_wp.embeddings.w", "stacked_emotion.bilstm")
    message = r" lacks 9 weights of a StackedEmotion\w+, e\.g\. (stacked_emotion\.)?bilstm\.lstm\.bias_hh_l0: "
    with pytest.raises(OSError, match=message):
        auto_class.from_pretrained(tmp_path, trust_remote_code=True)
    auto_class.from_pretrained(tmp_path, trust_remote_code=True, ignore_mismatched_sizes=True)


def test_a_classifier_without_its_head_is_refused(model: Model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    without(tmp_path, "classifier.")
    assert StackedEmotionModel.from_pretrained(tmp_path).config.architectures == [Model.__name__]
    with pytest.raises(OSError, match=r" lacks 2 weights of a StackedEmotionForSequence\w+, e\.g\. classifier\.bias"):
        Model.from_pretrained(tmp_path)


def test_a_new_head_may_start_at_random(model: Model, tmp_path: Path) -> None:
    model.stacked_emotion.save_pretrained(tmp_path / "base")
    model.save_pretrained(tmp_path / "shards", max_shard_size="100KB", variant="v")
    headed = Model.from_pretrained(tmp_path / "base", id2label=LABELS)
    weight = "stacked_emotion.bilstm.lstm.weight_ih_l0"
    assert torch.equal(headed.get_parameter(weight), model.get_parameter(weight))
    assert len(contents(tmp_path / "shards")) > 10
    assert torch.equal(
        Model.from_pretrained(tmp_path / "shards", variant="v").get_parameter(weight), headed.get_parameter(weight)
    )
    fewer = Model.from_pretrained(tmp_path / "shards", variant="v", id2label={0: "joy"}, ignore_mismatched_sizes=True)
    assert fewer.classifier.out_features == 1
