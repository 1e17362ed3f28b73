# SPDX-License-Identifier: Apache-2.0
"""Tests of gradual unfreezing: what is trained when, what the optimizer sees of it, and resumption."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import CORPUS, LABELS
from test_trainer import largest_difference, make_trainer, weights, without_dropout
from torch import nn
from transformers import Trainer, TrainerCallback

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext
from trainer_ext.training.unfreezing import GradualUnfreezingCallback

Weights = dict[str, torch.Tensor]
# Two steps an epoch, one more layer at each step: the head, then three parts of `high`, two of `low`.
FIELDS: dict[str, Any] = {"num_rows": 16, "num_train_epochs": 2, "learning_rate": 1e-2, "warmup_steps": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    sizes: dict[str, Any] = {"vocab_size": 150, "hidden_size": 16, "num_attention_heads": 2}
    root = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    return {
        "low": ScratchEncoder("distilbert", num_hidden_layers=1, **sizes).build(BuildContext(CORPUS, root / "low")),
        "high": ScratchEncoder("electra", num_hidden_layers=2, **sizes).build(BuildContext(CORPUS, root / "high")),
    }


@pytest.fixture(scope="module")
def tokenizer(folders: dict[str, Path]) -> StackedEmotionTokenizer:
    return StackedEmotionTokenizer.from_encoders(folders)


@pytest.fixture
def model(folders: dict[str, Path]) -> StackedEmotionForSequenceClassification:
    torch.manual_seed(0)
    return StackedEmotionForSequenceClassification.from_encoders(
        folders, id2label=LABELS, meta_hidden_size=8, lstm_hidden_size=8
    )


def distance(name: str) -> int | None:
    """By hand: the distance from the top of a parameter of `model`, None for the head."""
    if not name.startswith("stacked_emotion.encoders."):
        return None
    layer = re.search(r"\.layer\.(\d+)\.", name)
    num_layers = 1 if ".low." in name else 2
    return num_layers - 1 - int(layer.group(1)) if layer else num_layers


class Recorder(TrainerCallback):
    """The weights after every step."""

    def __init__(self) -> None:
        self.history: list[Weights] = []

    def on_step_end(self, *_: Any, model: nn.Module, **__: Any) -> None:
        self.history.append(weights(model))


class AsUnderDDP(GradualUnfreezingCallback):
    """What the callback does where every parameter must have a gradient."""

    def on_train_begin(self, args: Any, *rest: Any, **kwargs: Any) -> None:
        super().on_train_begin(SimpleNamespace(world_size=2), *rest, **kwargs)  # type: ignore[arg-type]

    def on_step_begin(self, args: Any, *rest: Any, **kwargs: Any) -> None:
        super().on_step_begin(SimpleNamespace(world_size=2), *rest, **kwargs)  # type: ignore[arg-type]


def test_one_layer_more_is_trained_at_each_step_and_the_rest_is_bit_equal(
    model: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    start = weights(model)
    trainer = make_trainer((model, tokenizer), tmp_path, unfreeze_every=0.5, **FIELDS)
    recorder = Recorder()
    trainer.add_callback(recorder)
    trainer.train()
    assert len(recorder.history) == 4
    parameters = dict(model.named_parameters())
    for step, (before, after) in enumerate(zip([start, *recorder.history], recorder.history, strict=False)):
        for name in parameters:
            depth = distance(name)
            is_trained = depth is None or depth < step
            assert torch.equal(before[name], after[name]) != is_trained, (name, step)
    # Moments and weight decay begin with the first step of a layer.
    for name, parameter in parameters.items():
        depth = distance(name)
        expected = 4 if depth is None else 3 - depth
        assert trainer.optimizer.state[parameter].get("step", 0) == expected, name
        assert parameter.requires_grad


def test_gradients_of_frozen_layers_do_not_count_for_clipping(
    model: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    start = weights(model)
    results = []
    # Plain SGD: the steps of Adam hardly depend on the length of the gradient.
    clipped = FIELDS | {"max_grad_norm": 1e-3, "optim": "sgd", "num_train_epochs": 1, "head_learning_rate": 10.0}
    for options in ({"num_frozen_layers": -1}, {"unfreeze_every": 1.0}):
        model.load_state_dict(start)
        model.requires_grad_(True)
        make_trainer((model, tokenizer), tmp_path, **clipped, **options).train()
        results.append(weights(model))
    assert largest_difference(start, results[0]) > 1e-4
    assert largest_difference(*results) == 0.0


@pytest.mark.parametrize("accumulation", [1, 2])
def test_masked_gradients_have_the_same_outcome(
    model: StackedEmotionForSequenceClassification,
    tokenizer: StackedEmotionTokenizer,
    tmp_path: Path,
    accumulation: int,
) -> None:
    start = weights(model)
    results = []
    options = FIELDS | {"gradient_accumulation_steps": accumulation, "per_device_train_batch_size": 8 // accumulation}
    for callback in (GradualUnfreezingCallback(0.5), AsUnderDDP(0.5)):
        model.load_state_dict(start)
        trainer = make_trainer((model, tokenizer), tmp_path, max_grad_norm=0.1, **options)
        trainer.add_callback(callback)
        trainer.train()
        results.append(weights(model))
        assert not any(parameter._backward_hooks for parameter in model.parameters())
    assert largest_difference(start, results[0]) > 1e-2
    # The norm to clip by may differ in its last bit, and Adam divides by the root of squares near zero.
    assert largest_difference(*results) < 1e-4


def test_what_is_frozen_for_good_stays_frozen(
    model: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    start = weights(model)
    make_trainer((model, tokenizer), tmp_path, unfreeze_every=0.1, num_frozen_layers=1, **FIELDS).train()
    for name, parameter in model.named_parameters():
        is_trained = distance(name) is None or name.startswith("stacked_emotion.encoders.high.encoder.layer.1.")
        assert torch.equal(start[name], parameter) != is_trained, name
        assert parameter.requires_grad == is_trained


def test_activation_checkpointing_changes_nothing(
    model: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    without_dropout(model)
    start = weights(model)
    results = []
    for checkpointing in (False, True):
        model.load_state_dict(start)
        options = FIELDS | {"activation_checkpointing": checkpointing, "unfreeze_every": 0.5}
        make_trainer((model, tokenizer), tmp_path, **options).train()
        results.append(weights(model))
    assert largest_difference(start, results[0]) > 1e-2
    assert largest_difference(*results) < 1e-6


@pytest.mark.parametrize("step", [1, 2, 3])
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    model: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, tmp_path: Path, step: int
) -> None:
    start = weights(model)

    def run(folder: str, checkpoint: str | None) -> Weights:
        model.load_state_dict(start)
        options = FIELDS | {"unfreeze_every": 0.5, "save_strategy": "steps", "save_steps": step}
        trainer = make_trainer((model, tokenizer), tmp_path / folder, save_total_limit=None, **options)
        trainer.train(resume_from_checkpoint=checkpoint)
        return weights(model)

    whole = run("whole", None)
    resumed = run("resumed", str(tmp_path / "whole" / f"checkpoint-{step}"))
    assert largest_difference(whole, start) > 1e-2
    assert largest_difference(whole, resumed) == 0.0


def test_sharded_parameters_are_refused(
    model: StackedEmotionForSequenceClassification,
    tokenizer: StackedEmotionTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = Trainer.create_accelerator_and_postprocess

    def create_sharded(self: Trainer) -> None:
        create(self)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", create_sharded)
    with pytest.raises(
        ValueError, match=r"^`unfreeze_every` cannot be used with FSDP or DeepSpeed; `num_frozen_layers` can\.$"
    ):
        make_trainer((model, tokenizer), tmp_path, unfreeze_every=1.0)


def test_every_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match=r"^`unfreeze_every` must be above 0, got 0\.0\.$"):
        GradualUnfreezingCallback(0.0)
