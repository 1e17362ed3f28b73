# SPDX-License-Identifier: Apache-2.0
"""Tests of the training arguments and of the choice of the number format."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import HfArgumentParser

from trainer_ext.errors import InputError
from trainer_ext.evaluation.label_statistics import label_correlation
from trainer_ext.losses.base import FocalLoss
from trainer_ext.losses.correlation import LaplacianTerm
from trainer_ext.losses.hybrid import LossInputs
from trainer_ext.precision import best_precision
from trainer_ext.recipe import load_recipe
from trainer_ext.training import arguments as training_args
from trainer_ext.training.arguments import StackedEmotionTrainingArguments


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)


def make(folder: Path, **fields: Any) -> StackedEmotionTrainingArguments:
    return StackedEmotionTrainingArguments(str(folder), use_cpu=True, **fields)


def flags(arguments: StackedEmotionTrainingArguments) -> tuple[bool, bool, str]:
    return arguments.bf16, arguments.fp16, arguments.mixed_precision


@pytest.mark.parametrize(
    ("units", "expected"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "fp32"), ({"avx512_f": True, "amx_bf16": False}, "fp32")],
)
def test_cpu_goes_by_its_units(monkeypatch: pytest.MonkeyPatch, units: dict[str, bool], expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert best_precision(use_cpu=True) == expected


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16")])
def test_cuda_devices_go_by_their_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert best_precision() == expected


def test_other_accelerators_stay_at_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert best_precision() == "fp32"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"precision": "fp32"}, (False, False, "no")),
        ({"precision": "bf16"}, (True, False, "bf16")),
        ({"precision": "fp16"}, (False, True, "fp16")),
        ({"precision": "fp32", "bf16": True}, (True, False, "bf16")),
        ({"precision": "bf16", "fp16": True}, (False, True, "fp16")),
    ],
)
def test_precision_sets_the_flags_and_the_flags_come_first(
    tmp_path: Path, fields: dict[str, Any], expected: tuple[bool, bool, str]
) -> None:
    assert flags(make(tmp_path, **fields)) == expected


@pytest.mark.parametrize(
    ("fields", "change", "expected"),
    [
        ({"precision": "bf16"}, {"precision": "fp32"}, "fp32"),
        ({"precision": "fp32"}, {"precision": "fp16"}, "fp16"),
        ({}, {"precision": "fp32"}, "fp32"),
        ({"bf16": True}, {"precision": "fp32"}, "fp32"),
        ({"precision": "fp32"}, {"bf16": True}, "bf16"),
        ({"precision": "bf16"}, {"bf16": False, "fp16": True}, "fp16"),
        ({"precision": "bf16"}, {"seed": 1}, "bf16"),
        ({"bf16": True}, {"seed": 1}, "bf16"),
        ({}, {"seed": 1}, "bf16"),
    ],
)
def test_a_copy_goes_by_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    monkeypatch.setattr(training_args, "best_precision", lambda use_cpu: "bf16")
    copied = replace(make(tmp_path, **fields), **change)
    assert flags(copied) == (expected == "bf16", expected == "fp16", {"fp32": "no"}.get(expected, expected))
    # What the copy decides is no wish either.
    assert replace(copied, precision="fp32").chosen_precision == "fp32"


@pytest.mark.parametrize(
    ("best", "expected"),
    [("bf16", (True, False, "bf16")), ("fp16", (False, True, "fp16")), ("fp32", (False, False, "no"))],
)
def test_auto_takes_what_suits_the_device_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: str, expected: tuple[bool, bool, str]
) -> None:
    monkeypatch.setattr(training_args, "best_precision", {True: best, False: "another device's"}.get)
    assert flags(make(tmp_path)) == expected


@pytest.mark.parametrize(
    ("launched", "expected"),
    [("bf16", (True, False, "bf16")), ("fp16", (False, True, "fp16")), ("no", (False, False, "no"))],
)
@pytest.mark.parametrize("wish", ["fp32", "auto"])
def test_accelerate_launch_comes_before_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: str, expected: tuple[bool, bool, str], wish: str
) -> None:
    monkeypatch.setattr(training_args, "best_precision", lambda use_cpu: "fp32")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    assert flags(make(tmp_path, precision=wish)) == expected


def test_without_an_accelerator_the_cpu_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    arguments = StackedEmotionTrainingArguments(str(tmp_path), precision="bf16")
    assert arguments.use_cpu
    assert arguments.device == torch.device("cpu")


def test_defaults(tmp_path: Path) -> None:
    arguments = make(tmp_path, precision="fp32")
    assert (arguments.learning_rate, arguments.head_learning_rate) == (5e-5, 1e-3)
    assert (arguments.auxiliary_loss_weight, arguments.weight_decay, arguments.warmup_steps) == (0.3, 0.01, 0.1)
    assert arguments.train_sampling_strategy == "group_by_length"
    assert not arguments.remove_unused_columns
    assert (arguments.eval_strategy, arguments.save_strategy) == ("epoch", "epoch")
    assert arguments.load_best_model_at_end
    assert (arguments.metric_for_best_model, arguments.greater_is_better) == ("macro_f1", True)
    # A share of all steps, rounded up.
    assert arguments.get_warmup_steps(205) == 21


def test_unknown_precision_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^`precision` must be one of auto, fp32, bf16, fp16, got 'fp8'\.$"):
        make(tmp_path, precision="fp8")


def test_learning_rates_of_encoders_are_numbers(tmp_path: Path) -> None:
    rates = {"words": "3e-3", "bert": 1}
    arguments = StackedEmotionTrainingArguments(str(tmp_path), precision="fp32", encoder_learning_rates=rates)
    assert arguments.encoder_learning_rates == {"words": 3e-3, "bert": 1.0}
    for wrong in ("high", -1e-3, None):
        with pytest.raises(ValueError, match=f"that of 'words' must be a number >= 0, got {wrong!r}"):
            StackedEmotionTrainingArguments(str(tmp_path), precision="fp32", encoder_learning_rates={"words": wrong})


BAD_LOSSES: list[tuple[dict[str, Any], str]] = [
    ({"base_loss": "hinge"}, "`base_loss` must be one of bce, .*, zlpr, got 'hinge'"),
    ({"base_loss_options": {"gamma": 2.0}}, "`base_loss_options` of bce are none; there is no 'gamma'"),
    ({"base_loss": "focal", "base_loss_options": {"gamma": -1.0}}, "`gamma` must not be negative, got -1.0"),
    ({"class_weights": "rare"}, "`class_weights` must be one of none, .*, effective, got 'rare'"),
    ({"class_weights": "sqrt", "base_loss": "zlpr"}, '`base_loss` "zlpr" .*: `class_weights` must be "none"'),
    ({"class_weight_cap": 0.5}, "`class_weight_cap` must be at least 1, got 0.5"),
    ({"label_weights": {"joy": 0.0}}, "`label_weights`: the weight of 'joy' must be above 0, got 0.0"),
    ({"label_weights": {"joy": 2}, "base_loss": "zlpr"}, '`base_loss` "zlpr" .*: `class_weights` must be "none"'),
    ({"base_loss_weight": -1.0}, "`base_loss_weight` must not be negative, got -1.0"),
    ({"base_loss_weight": 0.0}, "`base_loss_weight` or `contrastive_loss_weight` must be above 0, got 0 for both"),
    ({"correlation_loss": "graph"}, "`correlation_loss` must be one of none, .*, lca, got 'graph'"),
    ({"correlation_loss_weight": -0.2}, "`correlation_loss_weight` must not be negative, got -0.2"),
    ({"correlation_smoothing": -1.0}, "`correlation_smoothing` must be a finite number of 0 or more, got -1.0"),
    ({"auxiliary_loss_weight": -0.1}, "`auxiliary_loss_weight` must not be negative, got -0.1"),
    ({"contrastive_loss_weight": -0.1}, "`contrastive_loss_weight` must not be negative, got -0.1"),
    ({"contrastive_temperature": 0.0}, "`contrastive_temperature` must be a finite number above 0, got 0.0"),
    ({"contrastive_memory_size": -1}, "`contrastive_memory_size` must not be negative, got -1"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_LOSSES)
def test_bad_fields_of_the_loss_are_an_error_of_one_line(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}\.$"):
        make(tmp_path, precision="fp32", **fields)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**fields, "precision": "fp32", "use_cpu": True}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{message}\.$"):
        load_recipe(str(recipe))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "base_loss: focal\nbase_loss_options: {gamma: high}",
            "`base_loss_options`: `gamma` must be a number, got 'high'",
        ),
    ],
)
def test_words_in_place_of_numbers_are_an_error_of_one_line(tmp_path: Path, fields: str, message: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{fields}\nprecision: fp32\nuse_cpu: true\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{message}\.$"):
        load_recipe(str(recipe))


def test_fields_of_the_loss_reach_it(tmp_path: Path) -> None:
    labels = [[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 1]]
    arguments = make(
        tmp_path,
        precision="fp32",
        base_loss="focal",
        base_loss_options={"gamma": 3.0},
        class_weights="inverse",
        class_weight_cap=2.5,
        label_weights={"joy": 7},
        base_loss_weight=0.9,
        auxiliary_loss_weight=0.4,
        encoder_loss_weight=0.5,
        correlation_loss="laplacian",
        correlation_loss_weight=0.6,
        correlation_smoothing=2.0,
        contrastive_loss_weight=0.1,
        contrastive_temperature=0.3,
        contrastive_memory_size=12,
    )
    loss = arguments.create_loss(labels, ["anger", "joy", "fear"])
    assert isinstance(loss.base, FocalLoss)
    assert isinstance(loss.correlation, LaplacianTerm)
    assert loss.base.gamma == 3.0
    weights = {"base": 0.9, "auxiliary": 0.4, "encoder": 0.5, "correlation": 0.6, "contrastive": 0.1}
    assert vars(loss.weights) == weights
    assert (loss.contrastive.temperature, loss.contrastive.memory_size) == (0.3, 12)
    assert (loss.statistics.label_counts, loss.statistics.num_samples) == ([4, 2, 1], [4, 4, 4])
    # Every text has the first label; the third has three negatives to a positive, more than the cap.
    assert loss.statistics.class_weights.tolist() == [0.25, 7.0, 2.5]
    assert np.array_equal(loss.statistics.correlation, label_correlation(labels, smoothing=2.0))


def test_the_loss_of_the_defaults_is_binary_cross_entropy(tmp_path: Path) -> None:
    loss = make(tmp_path, precision="fp32").create_loss([[1, 0], [0, 0], [0, 1]], ["a", "b"])
    logits, labels = torch.tensor([[1.5, -2.0]]), torch.tensor([[0.0, 1.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    assert loss(LossInputs(logits, labels)) == {"base": expected}
    assert not loss.needs_states


def test_weights_of_unknown_labels_are_an_error(tmp_path: Path) -> None:
    arguments = make(tmp_path, precision="fp32", label_weights={"joy": 2.0})
    with pytest.raises(ValueError, match=r"^`label_weights` names 'joy'; the labels are anger, fear\.$"):
        arguments.create_loss([[1, 0], [0, 1]], ["anger", "fear"])


def test_derived_arguments_keep_the_precision_unless_it_is_changed(tmp_path: Path) -> None:
    arguments = make(tmp_path, precision="bf16")
    assert flags(replace(arguments, output_dir=str(tmp_path / "other"))) == (True, False, "bf16")
    assert flags(replace(arguments, precision="fp32")) == (False, False, "no")
    assert flags(replace(make(tmp_path, precision="fp32", bf16=True), seed=3)) == (True, False, "bf16")
    assert (arguments.output_dir, flags(arguments)) == (str(tmp_path), (True, False, "bf16"))


def test_arguments_parse_from_a_command_line(tmp_path: Path) -> None:
    command = ["--output_dir", str(tmp_path), "--use_cpu", "--precision", "bf16", "--head_learning_rate", "1e-2"]
    (arguments,) = HfArgumentParser(StackedEmotionTrainingArguments).parse_args_into_dataclasses(command)
    assert flags(arguments) == (True, False, "bf16")
    assert (arguments.head_learning_rate, arguments.learning_rate) == (1e-2, 5e-5)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("head_learning_rate", -0.1, "a finite number of 0 or more"),
        ("head_learning_rate", float("nan"), "a finite number of 0 or more"),
        ("layerwise_lr_decay", 0.0, "above 0 and at most 1"),
        ("layerwise_lr_decay", 1.5, "above 0 and at most 1"),
        ("num_frozen_layers", -2, r"-1 \(all\) or more"),
        ("lora_r", -1, r"0 \(no adapters\) or more"),
        ("lora_alpha", 0, "a finite number above 0"),
        ("lora_dropout", 1.0, "from 0 to below 1"),
        ("early_stopping_patience", 0, "at least 1"),
        ("early_stopping_threshold", -0.5, "a finite number of 0 or more"),
        ("num_folds", 1, r"0 \(none\) or at least 2"),
    ],
)
def test_values_out_of_range_are_an_error(tmp_path: Path, field: str, value: float, expected: str) -> None:
    with pytest.raises(ValueError, match=rf"^`{field}` must be {expected}, got {value}\.$"):
        make(tmp_path, precision="fp32", **{field: value})


def test_adapters_on_frozen_encoders_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^`num_frozen_layers=-1` trains no encoder: leave out `lora_r`\.$"):
        make(tmp_path, precision="fp32", num_frozen_layers=-1, lora_r=4)


@pytest.mark.parametrize("options", [{"lora_r": 4}, {"num_frozen_layers": 1}])
def test_reentrant_checkpointing_above_frozen_embeddings_is_an_error(
    tmp_path: Path, options: dict[str, float]
) -> None:
    reentrant = {"precision": "fp32", "activation_checkpointing_kwargs": {"use_reentrant": True}}
    make(tmp_path, **reentrant)
    with pytest.raises(ValueError, match=r"^With `use_reentrant=True` nothing above frozen embeddings gets a grad"):
        make(tmp_path, **reentrant, **options)


def test_names_of_layers_parse_from_a_command_line(tmp_path: Path) -> None:
    command = ["--output_dir", str(tmp_path), "--precision", "fp32", "--layerwise_lr_decay", "0.5"]
    command += ["--activation_checkpointing_kwargs", '{"use_reentrant": false}']
    command += ["--lora_r", "8", "--lora_target_modules", "query", "value", "--early_stopping_patience", "2"]
    (arguments,) = HfArgumentParser(StackedEmotionTrainingArguments).parse_args_into_dataclasses(command)
    assert (arguments.lora_r, arguments.lora_target_modules) == (8, ["query", "value"])
    assert (arguments.layerwise_lr_decay, arguments.early_stopping_patience) == (0.5, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_train_epochs": -3}, "`num_train_epochs` must be a finite number above 0, got -3"),
        ({"num_train_epochs": float("nan")}, "`num_train_epochs` must be a finite number above 0, got nan"),
        ({"num_train_epochs": float("inf")}, "`num_train_epochs` must be a finite number above 0, got inf"),
        ({"max_steps": -5}, "`max_steps` must be -1 (by epochs) or at least 1, got -5"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be a finite number of 0 or more, got nan"),
        ({"learning_rate": -1e-5}, "`learning_rate` must be a finite number of 0 or more, got -1e-05"),
        ({"head_learning_rate": float("inf")}, "`head_learning_rate` must be a finite number of 0 or more, got inf"),
        ({"weight_decay": -0.1}, "`weight_decay` must be a finite number of 0 or more, got -0.1"),
        ({"warmup_steps": -1.0}, "`warmup_steps` must be a finite number of 0 or more, got -1.0"),
        (
            {"max_grad_norm": float("nan")},
            "`max_grad_norm` must be a finite number of 0 (no clipping) or more, got",
        ),
        ({"adam_beta2": 1.0}, "`adam_beta2` must be from 0 to below 1, got 1.0"),
        ({"adam_epsilon": 0.0}, "`adam_epsilon` must be a finite number above 0, got 0.0"),
        ({"gradient_accumulation_steps": 0}, "`gradient_accumulation_steps` must be at least 1, got 0"),
        ({"per_device_train_batch_size": 0}, "`per_device_train_batch_size` must be at least 1, got 0"),
        (
            {"label_smoothing_factor": 0.9},
            "`label_smoothing_factor` must be 0: the labels of a text are smoothed",
        ),
        ({"base_loss_weight": float("inf")}, "`base_loss_weight` must be a finite number, got inf"),
        ({"contrastive_temperature": float("inf")}, "`contrastive_temperature` must be a finite number above 0, got"),
        ({"label_weights": {"joy": float("inf")}}, "`label_weights`: the weight of 'joy' must be above 0, got inf"),
        (
            {"base_loss": "focal", "base_loss_options": {"gamma": float("inf")}},
            "`base_loss_options`: `gamma` must be a number, got inf",
        ),
        ({"polish_learning_rate": float("inf")}, "`polish_learning_rate` must be above 0, got inf"),
    ],
)
def test_numbers_that_train_nothing_or_diverge_are_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        make(tmp_path, **fields)


@pytest.mark.parametrize("folder", ["", "  "])
def test_an_empty_output_dir_is_refused(folder: str) -> None:
    with pytest.raises(InputError, match=r"^`output_dir` must be the name of a folder, got '? *'?\.$"):
        StackedEmotionTrainingArguments(folder, use_cpu=True)


@pytest.mark.parametrize(
    ("metric", "is_greater_better"),
    [
        ("macro_f1", True),
        ("loss", False),
        ("loss/base", False),
        ("eval_loss/auxiliary", False),
        ("eval_validation_loss/base", False),
        ("hamming_loss", False),
        ("label_correlation_distance", False),
        ("samples_jaccard", True),
    ],
)
def test_losses_are_to_be_small(tmp_path: Path, metric: str, is_greater_better: bool) -> None:
    assert make(tmp_path, metric_for_best_model=metric).greater_is_better is is_greater_better
    assert make(tmp_path, metric_for_best_model=metric, greater_is_better=True).greater_is_better


def test_the_parser_of_transformers_reads_dicts_as_json_and_lists(tmp_path: Path) -> None:
    words = ["--output_dir", str(tmp_path), "--use_cpu", "--base_loss", "focal", "--base_loss_options", '{"gamma": 3}']
    words += ["--label_weights", '{"joy": 2.5}', "--encoder_learning_rates", '{"bert": "1e-3"}']
    words += ["--lora_target_modules", "query", "value"]
    (arguments,) = HfArgumentParser(StackedEmotionTrainingArguments).parse_args_into_dataclasses(words)
    assert arguments.base_loss_options == {"gamma": 3}
    assert arguments.label_weights == {"joy": 2.5}
    assert arguments.encoder_learning_rates == {"bert": 1e-3}
    assert arguments.lora_target_modules == ["query", "value"]


@pytest.mark.parametrize("value", ["gamma", "[2]", "{gamma: 2"])
@pytest.mark.parametrize("name", ["base_loss_options", "label_weights", "encoder_learning_rates"])
def test_words_that_are_no_json_of_a_dict_are_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"^`{name}` must be a dict, as JSON "):
        make(tmp_path, **{name: value})
