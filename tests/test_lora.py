# SPDX-License-Identifier: Apache-2.0
"""Tests of LoRA: where the adapters sit, what is trained, merged and kept, and resumption, on our model and others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CORPUS, LABELS, fails
from peft import PeftModel
from recipe_samples import write_recipe
from safetensors.torch import load_file
from test_trainer import encode, largest_difference, make_trainer, weights, without_dropout
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from scripts import train
from trainer_ext.data.batching import EmotionDataCollator
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext
from trainer_ext.evaluation.prediction import load_classifier
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.layers import count_parameters
from trainer_ext.training.lora import add_lora, merge_lora, save_adapter

# `PeftModel` asks for a property that transformers has given another name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

# The linear layers in a block, by hand.
BERT_LINEAR = {f"attention.self.{name}" for name in ("query", "key", "value")}
BERT_LINEAR |= {"attention.output.dense", "intermediate.dense", "output.dense"}
DEBERTA_LINEAR = {f"attention.self.{name}_proj" for name in ("query", "key", "value")}
DEBERTA_LINEAR |= {"attention.output.dense", "intermediate.dense", "output.dense"}
DISTILBERT_LINEAR = {f"attention.{name}_lin" for name in ("q", "k", "v", "out")} | {"ffn.lin1", "ffn.lin2"}
BLOCKS = {
    "bert": ("encoder.layer.{}.", BERT_LINEAR),
    "roberta": ("encoder.layer.{}.", BERT_LINEAR),
    "distilbert": ("transformer.layer.{}.", DISTILBERT_LINEAR),
    "electra": ("encoder.layer.{}.", BERT_LINEAR),
    "xlm-roberta": ("encoder.layer.{}.", BERT_LINEAR),
    "deberta-v2": ("encoder.layer.{}.", DEBERTA_LINEAR),
    "modernbert": ("layers.{}.", {"attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"}),
}
FIELDS: dict[str, Any] = {"num_rows": 16, "num_train_epochs": 2, "learning_rate": 1e-2, "warmup_steps": 0}
ADAPTER_FILES = {"adapter_config.json", "adapter_model.safetensors"}
Setup = tuple[PreTrainedModel, Any]


def make_arguments(folder: Path, **fields: Any) -> StackedEmotionTrainingArguments:
    return StackedEmotionTrainingArguments(str(folder), **{"precision": "fp32", "lora_r": 4} | fields)


def build_stack(folders: dict[str, Path]) -> StackedEmotionForSequenceClassification:
    torch.manual_seed(0)
    return StackedEmotionForSequenceClassification.from_encoders(
        folders, id2label=LABELS, meta_hidden_size=8, lstm_hidden_size=8
    )


def build_stock(folder: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=4, id2label=LABELS, problem_type="multi_label_classification"
    )


@pytest.fixture
def folders(encoder_folders: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Two encoders whose linear layers are named differently."""
    spec = ScratchEncoder("distilbert", vocab_size=150, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    torch.manual_seed(0)
    return {"bert": encoder_folders["bert_wp"], "distil": spec.build(BuildContext(CORPUS, tmp_path / "distil"))}


@pytest.fixture(params=["ours", "stock"])
def setup(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Setup:
    if request.param == "ours":
        return build_stack(folders), StackedEmotionTokenizer.from_encoders(folders)
    return build_stock(folders["bert"]), AutoTokenizer.from_pretrained(folders["bert"])


def fresh(setup: Setup, folders: dict[str, Path]) -> PreTrainedModel:
    """A model on the same encoders whose head is another one."""
    is_ours = isinstance(setup[0], StackedEmotionForSequenceClassification)
    model = build_stack(folders) if is_ours else build_stock(folders["bert"])
    nn.init.normal_(model.classifier.weight)
    return model


def logits(model: nn.Module, tokenizer: Any) -> torch.Tensor:
    batch = EmotionDataCollator(tokenizer)(list(encode(tokenizer, 16)))
    with torch.no_grad():
        return model.eval()(**batch)["logits"]


def trained_names(model: nn.Module) -> set[str]:
    """The paths in the model without peft of what is trained, adapters as `<layer>.lora`."""
    names = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
            names.add(plain.partition(".lora_")[0] + ".lora" if ".lora_" in plain else plain)
    return names


# ----------------------------------------------------------------------------------------------------- what is trained


def test_adapters_sit_on_all_linear_layers_of_the_blocks_of_seven_architectures(
    tmp_path: Path, corpus: list[str]
) -> None:
    kinds = ["wordpiece", "byte_bpe", "bpe", "unigram"]
    folders = {
        architecture.replace("-", "_"): ScratchEncoder(
            architecture, kinds[index % 4], 300, hidden_size=16, num_hidden_layers=2, num_attention_heads=2
        ).build(BuildContext(corpus, tmp_path / architecture))
        for index, architecture in enumerate(BLOCKS)
    }
    model = build_stack(folders)
    inside = "stacked_emotion.encoders."
    expected = {name for name, _ in model.named_parameters() if not name.startswith(inside)}
    # What follows the layers of an encoder is trained in full.
    expected.add(f"{inside}modernbert.final_norm.weight")
    for architecture, (block, names) in BLOCKS.items():
        path = inside + architecture.replace("-", "_")
        expected |= {f"{path}.{block.format(layer)}{name}.lora" for layer in range(2) for name in names}
    adapted = add_lora(model, make_arguments(tmp_path))
    assert trained_names(adapted) == expected
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    loss = adapted(**EmotionDataCollator(tokenizer)(list(encode(tokenizer, 4))))["loss"]
    loss.backward()
    # The second factor of an adapter starts at zero, so the first has no gradient yet; the auxiliary head has a loss
    # of its own.
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad and "lora_A" not in name and "auxiliary_classifier" not in name:
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("bert", {"bert.pooler.dense", "classifier"}),
        ("distilbert", {"pre_classifier", "classifier"}),
        ("roberta", {"classifier.dense", "classifier.out_proj"}),
        ("deberta-v2", {"pooler.dense", "classifier"}),
    ],
)
def test_adapters_of_a_stock_model(architecture: str, head: set[str], tmp_path: Path, corpus: list[str]) -> None:
    spec = ScratchEncoder(architecture, vocab_size=300, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    model = build_stock(spec.build(BuildContext(corpus, tmp_path / "encoder")))
    block, names = BLOCKS[architecture]
    expected = {f"{name}.{kind}" for name in head for kind in ("weight", "bias")}
    prefix = model.base_model_prefix
    expected |= {f"{prefix}.{block.format(layer)}{name}.lora" for layer in range(2) for name in names}
    assert trained_names(add_lora(model, make_arguments(tmp_path))) == expected


def test_only_the_layers_that_are_asked_for(folders: dict[str, Path], tmp_path: Path) -> None:
    model = build_stack(folders)
    adapted = add_lora(model, make_arguments(tmp_path, lora_r=3, lora_target_modules=["query", "attention.v_lin"]))
    path = "stacked_emotion.encoders."
    expected = {f"{path}distil.transformer.layer.{layer}.attention.v_lin.lora" for layer in (0, 1)}
    expected.add(f"{path}bert.encoder.layer.0.attention.self.query.lora")
    assert {name for name in trained_names(adapted) if name.endswith(".lora")} == expected
    num_trained, num_all = count_parameters(adapted)
    plain = count_parameters(build_stack(folders))[0]
    head = sum(value.numel() for name, value in build_stack(folders).named_parameters() if "encoders" not in name)
    # r * (inputs + outputs) for the square layers of widths 32, 16 and 16.
    num_adapter = 3 * (32 + 32 + 2 * (16 + 16))
    assert (num_trained, num_all) == (head + num_adapter, plain + num_adapter)


def test_unknown_layers_are_an_error(folders: dict[str, Path], tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path, lora_target_modules=["query", "gate"])
    # The meta-learner has a linear layer `gate`, but it is no encoder.
    expected = r"^`lora_target_modules`: no linear layer of the encoders is named 'gate'; they are dense, k_lin, .*\.$"
    with pytest.raises(ValueError, match=expected):
        add_lora(build_stack(folders), arguments)


def test_an_encoder_named_like_the_head_is_an_error(folders: dict[str, Path], tmp_path: Path) -> None:
    model = build_stack({"my_classifier": folders["bert"]})
    expected = r"^The encoder at 'stacked_emotion\.encoders\.my_classifier' is named like a part of the head"
    with pytest.raises(ValueError, match=expected):
        add_lora(model, make_arguments(tmp_path))


def test_adapters_of_frozen_layers_are_frozen(folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    adapted = add_lora(build_stack(folders), make_arguments(tmp_path))
    make_trainer((adapted, tokenizer), tmp_path, num_frozen_layers=1)
    adapters = {name for name in trained_names(adapted) if name.endswith(".lora")}
    prefix = "stacked_emotion.encoders.distil.transformer.layer.1."
    assert adapters == {f"{prefix}{name}.lora" for name in DISTILBERT_LINEAR}


# ------------------------------------------------------------------------------------------- merging, saving, resuming


def test_merged_and_reloaded_models_equal_the_trained_one(
    setup: Setup, folders: dict[str, Path], tmp_path: Path
) -> None:
    model, tokenizer = setup
    before = weights(model)
    adapted = add_lora(model, make_arguments(tmp_path))
    make_trainer((adapted, tokenizer), tmp_path / "run", **FIELDS).train()
    expected = logits(adapted, tokenizer)
    folder = save_adapter(adapted, tmp_path / "deep" / "adapter")
    assert {path.name for path in folder.iterdir()} == ADAPTER_FILES
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]
    reloaded = PeftModel.from_pretrained(fresh(setup, folders), folder)
    assert torch.equal(logits(reloaded, tokenizer), expected)
    merged = merge_lora(adapted)
    assert type(merged) is type(model)
    assert (logits(merged, tokenizer) - expected).abs().max() < 1e-5
    assert all(parameter.requires_grad for parameter in merged.parameters())
    # An ordinary model: the same names, adapted weights changed, embeddings and norms as they were.
    after = weights(merged)
    assert after.keys() == before.keys()
    base = "stacked_emotion.encoders.bert." if hasattr(model, "stacked_emotion") else "bert."
    adapted_weight = f"{base}encoder.layer.0.output.dense.weight"
    assert not torch.equal(after[adapted_weight], before[adapted_weight])
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.bias"):
        assert torch.equal(after[base + name], before[base + name])
    merged.save_pretrained(tmp_path / "published")
    published = type(model).from_pretrained(tmp_path / "published")
    assert torch.equal(logits(published, tokenizer), logits(merged, tokenizer))


def test_encoders_stored_in_half_precision_are_adapted_and_merged_in_fp32(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    half = {name: tmp_path / f"{name}_half" for name in folders}
    for name, folder in folders.items():
        AutoModel.from_pretrained(folder).half().save_pretrained(half[name])
    adapted = add_lora(build_stack(half), make_arguments(tmp_path))
    assert {parameter.dtype for parameter in adapted.parameters()} == {torch.float32}
    make_trainer((adapted, tokenizer), tmp_path / "run", **FIELDS).train()
    expected = logits(adapted, tokenizer)
    merged = merge_lora(adapted)
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.float32}
    assert (logits(merged, tokenizer) - expected).abs().max() < 1e-5


def test_saving_replaces_what_was_there(folders: dict[str, Path], tmp_path: Path) -> None:
    adapted = add_lora(build_stack(folders), make_arguments(tmp_path))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "old.txt").write_text("old")
    save_adapter(adapted, tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "old.txt").exists()


def test_without_adapters_nothing_is_merged(folders: dict[str, Path]) -> None:
    model = build_stack(folders).requires_grad_(False)
    assert merge_lora(model) is model
    assert not model.classifier.weight.requires_grad


@pytest.mark.parametrize("options", [{}, {"num_frozen_layers": 1, "layerwise_lr_decay": 0.5}])
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    setup: Setup, folders: dict[str, Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    def run(folder: str, checkpoint: str | None) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        adapted = add_lora(fresh(setup, folders), make_arguments(tmp_path))
        fields = FIELDS | {"save_strategy": "steps", "save_steps": 3, "save_total_limit": None} | options
        make_trainer((adapted, setup[1]), tmp_path / folder, **fields).train(resume_from_checkpoint=checkpoint)
        return weights(adapted)

    whole = run("whole", None)
    checkpoint = tmp_path / "whole" / "checkpoint-3"
    saved = load_file(checkpoint / "adapter_model.safetensors")
    assert not (checkpoint / "model.safetensors").exists()
    assert not [name for name in saved if "embeddings" in name]
    assert any("lora_B" in name for name in saved)
    resumed = run("resumed", str(checkpoint))
    assert largest_difference(whole, resumed) == 0.0
    name = next(name for name in saved if name.endswith("classifier.weight"))
    assert (saved[name] - whole[name.replace("classifier.", "classifier.modules_to_save.default.")]).abs().max() > 1e-4


def test_best_epoch_is_restored(folders: dict[str, Path], tmp_path: Path) -> None:
    values = iter([0.9, 0.1])
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    adapted = add_lora(build_stack(folders), make_arguments(tmp_path))
    options = FIELDS | {"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": None}
    trainer = make_trainer(
        (adapted, tokenizer),
        tmp_path / "run",
        load_best_model_at_end=True,
        compute_metrics=lambda _: {"macro_f1": next(values)},
        **options,
    )
    trainer.train()
    best = PeftModel.from_pretrained(build_stack(folders), tmp_path / "run" / "checkpoint-2")
    last = PeftModel.from_pretrained(build_stack(folders), tmp_path / "run" / "checkpoint-4")
    assert torch.equal(logits(adapted, tokenizer), logits(best, tokenizer))
    assert (logits(best, tokenizer) - logits(last, tokenizer)).abs().max() > 1e-3


def test_activation_checkpointing_and_bf16(setup: Setup, folders: dict[str, Path], tmp_path: Path) -> None:
    results = {}
    for name, options in {
        "plain": {},
        "checkpointing": {"activation_checkpointing": True},
        "bf16": {"precision": "bf16", "activation_checkpointing": True},
    }.items():
        torch.manual_seed(1)
        adapted = add_lora(fresh(setup, folders), make_arguments(tmp_path, lora_dropout=0.0))
        without_dropout(adapted)
        make_trainer((adapted, setup[1]), tmp_path / name, **FIELDS | options).train()
        results[name] = weights(adapted)
    assert any((value != 0).any() for name, value in results["plain"].items() if "lora_B" in name)
    assert largest_difference(results["plain"], results["checkpointing"]) < 1e-6
    moved = largest_difference(results["plain"], results["bf16"])
    assert 0 < moved < 0.1


# ------------------------------------------------------------------------------------------------------ scripts.train


@pytest.mark.usefixtures("blank_figures")
def test_command_publishes_an_ordinary_model_and_keeps_the_adapter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.main([str(write_recipe(tmp_path, lora_r=2, learning_rate=0.05))])
    folder = tmp_path / "output"
    assert re.search(
        r"^Training 0\.01 of 0\.03 million \(\d\d\.\d\d%\) parameters in fp32", capsys.readouterr().out, re.M
    )
    assert {path.name for path in (folder / "adapter").iterdir()} == ADAPTER_FILES
    published = load_file(folder / "model.safetensors")
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    model, _ = load_classifier(str(folder), "cpu")
    assert published.keys() == model.state_dict().keys()
    assert torch.equal(published["classifier.weight"], adapter["base_model.model.classifier.weight"])


def test_command_refuses_early_stopping_without_validation(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, early_stopping_patience=2, validation_file=None)
    assert "`early_stopping_patience` needs an `eval_strategy`" in fails(train.main, capfd, recipe)
