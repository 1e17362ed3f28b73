# SPDX-License-Identifier: Apache-2.0
"""Tests of the Trainer on our model and on a stock BERT: loss, optimizer, evaluation, order and resumption."""

from __future__ import annotations

import copy
import inspect
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from conftest import CORPUS, LABELS, stock_classifier
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)
from transformers.integrations import integration_utils
from transformers.trainer_utils import HPSearchBackend

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.data.batching import EmotionDataCollator, EpochLengthGroupedSampler, tokenize_dataset
from trainer_ext.errors import InputError
from trainer_ext.evaluation.label_statistics import compute_class_weights, label_correlation
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.prediction import predict_probabilities
from trainer_ext.evaluation.results import SAME_ANSWER, VALIDATION_METRICS, compute_validation_metrics
from trainer_ext.evaluation.thresholds import tune_thresholds
from trainer_ext.losses.base import FocalLoss
from trainer_ext.losses.hybrid import LossInputs
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.trainer import StackedEmotionTrainer

# What can be learnt from the tokens: punctuation, script, emoji, the first person.
ROWS = [
    [float(flag) for flag in ("!" in text, any("ء" <= char <= "ي" for char in text), "😂" in text, "I" in text)]
    for text in CORPUS
]
NAMES = list(LABELS.values())
Setup = tuple[PreTrainedModel, Any]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def ours(encoder_folders: dict[str, Path], tokenizer: StackedEmotionTokenizer) -> Setup:
    torch.manual_seed(0)
    model = StackedEmotionForSequenceClassification.from_encoders(
        encoder_folders, id2label=LABELS, meta_hidden_size=24, lstm_hidden_size=16
    )
    return model, tokenizer


@pytest.fixture
def stock(encoder_folders: dict[str, Path]) -> Setup:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    return stock_classifier(tokenizer), tokenizer


@pytest.fixture(params=["ours", "stock"])
def setup(request: pytest.FixtureRequest) -> Setup:
    """A model and its tokenizer: ours, and one of transformers."""
    return request.getfixturevalue(request.param)


def encode(tokenizer: Any, num_rows: int | None = None) -> datasets.Dataset:
    dataset = datasets.Dataset.from_dict({"text": CORPUS[:num_rows], "labels": ROWS[:num_rows]})
    return tokenize_dataset(dataset, tokenizer)[0]


def make_trainer(setup: Setup, folder: Path, num_rows: int | None = None, **options: Any) -> StackedEmotionTrainer:
    """A trainer on the first `num_rows` texts; `options` are training arguments, but for those of the trainer."""
    model, tokenizer = setup
    own = {key: options.pop(key) for key in ("compute_metrics", "optimizer_cls_and_kwargs") if key in options}
    fields = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "use_cpu": True}
    fields |= {"precision": "fp32", "disable_tqdm": True, "per_device_train_batch_size": 8, "logging_strategy": "no"}
    arguments = StackedEmotionTrainingArguments(str(folder), **{**fields, **options})
    rows = encode(tokenizer, num_rows)
    return StackedEmotionTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=EmotionDataCollator(tokenizer),
        processing_class=tokenizer,
        **own,
    )


def without_dropout(model: torch.nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


def bce(logits: torch.Tensor, labels: list[list[float]]) -> float:
    scores, gold = logits.detach().double().numpy(), np.array(labels)
    probabilities = 1 / (1 + np.exp(-scores))
    return float(-(gold * np.log(probabilities) + (1 - gold) * np.log(1 - probabilities)).mean())


# ---------------------------------------------------------------------------------------------------------- learning


def test_training_learns_and_the_metrics_are_named_as_documented(setup: Setup, tmp_path: Path) -> None:
    trainer = make_trainer(setup, tmp_path, num_train_epochs=8, learning_rate=1e-3, head_learning_rate=3e-3)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < 0.75 * before["eval_loss"]
    assert after["eval_macro_average_precision"] > before["eval_macro_average_precision"] + 0.1
    terms = ["base", "auxiliary"] if hasattr(setup[0], "stacked_emotion") else ["base"]
    timing = {"runtime", "samples_per_second", "steps_per_second", "model_preparation_time"}
    assert set(after) - {f"eval_{name}" for name in timing} - {"epoch"} == {
        "eval_loss",
        *(f"eval_{name}" for name in VALIDATION_METRICS),
        *(f"eval_loss/{name}" for name in terms),
    }
    assert after["eval_loss"] == pytest.approx(sum(after[f"eval_loss/{name}"] for name in terms), abs=1e-6)


# -------------------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_loss_is_the_weighted_sum_by_hand(ours: Setup, tmp_path: Path, weight: float) -> None:
    model, tokenizer = ours
    trainer = make_trainer(ours, tmp_path, auxiliary_loss_weight=weight)
    inputs = EmotionDataCollator(tokenizer)(list(encode(tokenizer, 7)))
    loss, outputs = trainer.compute_loss(model.eval(), inputs, return_outputs=True)
    plain, auxiliary = bce(outputs.logits, ROWS[:7]), bce(outputs.auxiliary_logits, ROWS[:7])
    assert abs(plain - auxiliary) > 1e-3
    assert loss.item() == pytest.approx(plain + weight * auxiliary, abs=1e-6)
    assert trainer.compute_loss(model, inputs) == loss


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_auxiliary_head_is_trained_by_its_own_loss_alone(ours: Setup, tmp_path: Path, weight: float) -> None:
    model, tokenizer = ours
    trainer = make_trainer(ours, tmp_path, auxiliary_loss_weight=weight)
    inputs = EmotionDataCollator(tokenizer)(list(encode(tokenizer, 7)))
    trainer.compute_loss(model.eval(), inputs, return_outputs=True)[0].backward()
    head = model.auxiliary_classifier
    if not weight:
        assert head.weight.grad is None
        return
    logits = model(**inputs).auxiliary_logits.detach()
    expected = weight * (logits.sigmoid() - inputs["labels"]).sum(dim=0) / logits.numel()
    assert torch.allclose(head.bias.grad, expected, atol=1e-7)
    assert head.weight.grad.abs().max() > 0


def test_every_encoder_has_a_loss_of_its_own(ours: Setup, tmp_path: Path) -> None:
    model, tokenizer = ours
    trainer = make_trainer(ours, tmp_path, encoder_loss_weight=2.0, auxiliary_loss_weight=0.0)
    inputs = EmotionDataCollator(tokenizer)(list(encode(tokenizer, 7)))
    loss, outputs = trainer.compute_loss(model.eval(), inputs, return_outputs=True)
    alone = [bce(logits, ROWS[:7]) for logits in outputs.encoder_logits.unbind(dim=1)]
    assert len(set(alone)) == len(model.config.encoders) > 1
    assert loss.item() == pytest.approx(bce(outputs.logits, ROWS[:7]) + 2.0 * np.mean(alone), abs=1e-6)


def test_loss_of_a_stock_model_is_its_own(stock: Setup, tmp_path: Path) -> None:
    model, tokenizer = stock
    trainer = make_trainer(stock, tmp_path)
    inputs = EmotionDataCollator(tokenizer)(list(encode(tokenizer, 7)))
    loss, outputs = trainer.compute_loss(model.eval(), inputs, return_outputs=True)
    assert loss.item() == pytest.approx(bce(outputs.logits, ROWS[:7]), abs=1e-6)


HYBRID: dict[str, Any] = {
    "class_weights": "sqrt",
    "correlation_loss": "laplacian",
    "contrastive_loss_weight": 0.1,
    "contrastive_memory_size": 16,
}


def term_names(model: torch.nn.Module) -> set[str]:
    auxiliary = {"auxiliary"} if hasattr(model, "stacked_emotion") else set()
    return {"base", "correlation", "contrastive"} | auxiliary


@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_terms_are_logged_and_sum_to_the_loss(setup: Setup, tmp_path: Path, accumulation_steps: int) -> None:
    # Eight batches an epoch, the last of which is smaller: a line of log spans two epochs.
    trainer = make_trainer(
        setup,
        tmp_path,
        num_train_epochs=2,
        gradient_accumulation_steps=accumulation_steps,
        logging_strategy="steps",
        logging_steps=5 if accumulation_steps == 1 else 2,
        eval_strategy="epoch",
        **HYBRID,
    )
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    evaluations = [line for line in trainer.state.log_history if "eval_loss" in line]
    assert len(lines) == 3
    assert len(evaluations) == 2
    for prefix, logged in (("", lines), ("eval_", evaluations)):
        for line in logged:
            terms = {key: value for key, value in line.items() if key.startswith(f"{prefix}loss/")}
            assert terms.keys() == {f"{prefix}loss/{name}" for name in term_names(setup[0])}
            assert sum(terms.values()) == pytest.approx(line[f"{prefix}loss"], rel=1e-4)


def test_contrastive_term_sees_the_mean_of_the_last_hidden_states_of_a_stock_model(
    stock: Setup, tmp_path: Path
) -> None:
    model, tokenizer = stock
    trainer = make_trainer(stock, tmp_path, **HYBRID)
    inputs = EmotionDataCollator(tokenizer)(list(encode(tokenizer, 7)))
    loss, outputs = trainer.compute_loss(model.eval(), inputs, return_outputs=True)
    assert set(outputs) == {"logits"}
    mask = inputs["attention_mask"]
    assert mask.min() == 0
    features = {key: value for key, value in inputs.items() if key != "labels"}
    hidden = model(**features, output_hidden_states=True).hidden_states[-1]
    states = torch.stack([row[flags.bool()].mean(dim=0) for row, flags in zip(hidden, mask, strict=True)])
    terms = trainer.args.create_loss(ROWS, NAMES)(LossInputs(outputs["logits"], inputs["labels"], states))
    assert terms["contrastive"] > 0.01
    assert loss.item() == pytest.approx(sum(value.item() for value in terms.values()), rel=1e-6)


def test_contrastive_term_sees_the_text_states_of_our_model(ours: Setup, tmp_path: Path) -> None:
    model, tokenizer = ours
    trainer = make_trainer(ours, tmp_path, **HYBRID)
    inputs = EmotionDataCollator(tokenizer)(list(encode(tokenizer, 7)))
    loss, outputs = trainer.compute_loss(model.eval(), inputs, return_outputs=True)
    terms = trainer.args.create_loss(ROWS, NAMES)(
        LossInputs(outputs.logits, inputs["labels"], outputs.pooler_output, outputs.auxiliary_logits)
    )
    assert terms.keys() == term_names(model)
    assert loss.item() == pytest.approx(sum(value.item() for value in terms.values()), rel=1e-6)


def test_memory_is_filled_in_training_alone(setup: Setup, tmp_path: Path) -> None:
    trainer = make_trainer(setup, tmp_path, max_steps=1, **HYBRID)
    trainer.evaluate()
    assert len(trainer.hybrid_loss.contrastive.memory_states) == 0
    trainer.train()
    assert len(trainer.hybrid_loss.contrastive.memory_states) == 8


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_training_stops_at_the_first_loss_that_is_not_finite(setup: Setup, tmp_path: Path, value: float) -> None:
    trainer = make_trainer(setup, tmp_path, 24, num_train_epochs=1, learning_rate=1e-3, warmup_steps=0)
    steps: list[dict[str, torch.Tensor]] = []
    compute_loss = trainer.compute_loss

    def break_the_second(*args: Any, **options: Any) -> Any:
        loss = compute_loss(*args, **options)
        steps.append(weights(setup[0]))
        if len(steps) == 2:
            trainer.last_terms["base"] = torch.tensor(value)
            return loss * value
        return loss

    trainer.compute_loss = break_the_second  # type: ignore[method-assign]
    expected = rf"^The loss of step 2 is not finite \(base {value}.*\): training stops\. Try a lower `learning_rate`"
    with pytest.raises(InputError, match=expected):
        trainer.train()
    # Its gradient has changed nothing.
    assert largest_difference(weights(setup[0]), steps[1]) == 0.0
    assert largest_difference(steps[0], steps[1]) > 0.0


@pytest.mark.parametrize("is_same", [True, False])
def test_model_that_says_the_same_of_every_text_is_called_so(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_same: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr("trainer_ext.training.trainer.logger.warning_once", said.append)
    if is_same:
        torch.nn.init.zeros_(setup[0].classifier.weight)
    rates = {"learning_rate": 1e-12, "head_learning_rate": 1e-12}
    trainer = make_trainer(setup, tmp_path, 16, num_train_epochs=1, eval_strategy="epoch", **rates)
    trainer.evaluate()
    assert said == []
    trainer.train()
    assert said == ([SAME_ANSWER] if is_same else [])


def test_statistics_of_the_training_set_are_the_loss_s(setup: Setup, tmp_path: Path) -> None:
    trainer = make_trainer(setup, tmp_path, label_weights={"joy": 3.5}, **HYBRID)
    known = trainer.hybrid_loss.statistics
    assert known.label_counts == np.array(ROWS).sum(axis=0).tolist()
    expected = np.sqrt(compute_class_weights(ROWS, "inverse", cap=100.0))
    expected[1] = 3.5
    assert known.class_weights == pytest.approx(expected)
    assert trainer.model.config.class_weights == known.class_weights.tolist()
    assert np.array_equal(trainer.model.config.label_correlation, label_correlation(ROWS, smoothing=10.0))


def test_weights_of_unknown_labels_are_an_error(stock: Setup, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^`label_weights` names 'grief'; the labels are anger, joy, sadness, "):
        make_trainer(stock, tmp_path, label_weights={"grief": 2.0})


def test_texts_are_tokenized_and_collated_by_default(setup: Setup, tmp_path: Path) -> None:
    model, tokenizer = setup
    texts = datasets.Dataset.from_dict({"text": CORPUS, "labels": ROWS})
    trainer = StackedEmotionTrainer(
        model, eval_dataset={"all": texts, "few": encode(tokenizer, 3)}, processing_class=tokenizer
    )
    assert trainer.eval_dataset["all"].column_names == trainer.eval_dataset["few"].column_names
    found = trainer.evaluate(trainer.eval_dataset["all"])
    expected = make_trainer(setup, tmp_path).evaluate()
    assert found["eval_loss"] == pytest.approx(expected["eval_loss"], abs=1e-6)
    assert found["eval_macro_f1"] == expected["eval_macro_f1"]


def test_of_several_gpus_in_one_process_one_is_used(
    ours: Setup, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("trainer_ext"), "propagate", True)
    model, tokenizer = ours
    args = StackedEmotionTrainingArguments(str(tmp_path), precision="fp32")
    args._n_gpu = 2
    trainer = StackedEmotionTrainer(model, args, eval_dataset=encode(tokenizer, 2))
    assert (trainer.args.n_gpu, trainer.args.train_batch_size) == (1, args.per_device_train_batch_size)
    assert "One of 2 GPUs is used: `accelerate launch` uses all." in caplog.text


def test_evaluation_without_a_training_set_reports_the_plain_loss(setup: Setup, tmp_path: Path) -> None:
    model, tokenizer = setup
    rows = encode(tokenizer)
    trainer = StackedEmotionTrainer(
        model=model,
        args=make_trainer(setup, tmp_path, **HYBRID).args,
        eval_dataset=rows,
        data_collator=EmotionDataCollator(tokenizer),
        processing_class=tokenizer,
    )
    found = trainer.evaluate()
    output = trainer.predict(rows)
    assert found["eval_loss/base"] == pytest.approx(bce(torch.from_numpy(output.predictions), ROWS), abs=1e-6)
    terms = [key for key in found if key.startswith("eval_loss/")]
    assert set(terms) == {f"eval_loss/{name}" for name in term_names(model) - {"correlation", "contrastive"}}
    assert sum(found[key] for key in terms) == pytest.approx(found["eval_loss"], rel=1e-5)
    assert output.metrics["test_loss/base"] == pytest.approx(found["eval_loss/base"], abs=1e-6)


@pytest.mark.parametrize(
    ("terms", "is_equal"),
    [
        ({}, True),
        pytest.param({"correlation_loss": "lca"}, True, marks=pytest.mark.slow),
        pytest.param({"correlation_loss": "laplacian", "correlation_loss_weight": 5.0}, True, marks=pytest.mark.slow),
        ({"correlation_loss": "matching", "correlation_loss_weight": 5.0}, False),
        pytest.param({"contrastive_loss_weight": 0.5}, False, marks=pytest.mark.slow),
        ({"contrastive_loss_weight": 0.5, "contrastive_memory_size": 8}, False),
    ],
)
def test_four_accumulated_batches_of_two_equal_one_batch_of_eight(
    setup: Setup, tmp_path: Path, terms: dict[str, Any], is_equal: bool
) -> None:
    """But for the terms that compare the texts of a batch with one another."""
    model, _ = setup
    without_dropout(model)
    start = weights(model)
    results = []
    for batch_size, steps in ((8, 1), (2, 4)):
        model.load_state_dict(start)
        # Plain SGD without clipping: Adam and clipping would hide a gradient that is too large by a factor.
        trainer = make_trainer(
            setup,
            tmp_path,
            num_rows=8,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=steps,
            num_train_epochs=1,
            optim="sgd",
            learning_rate=0.1,
            head_learning_rate=0.1,
            warmup_steps=0,
            max_grad_norm=0.0,
            **terms,
        )
        trainer.train()
        assert trainer.state.global_step == 1
        results.append(weights(model))
    assert largest_difference(start, results[0]) > 1e-3
    difference = largest_difference(*results)
    assert difference < 1e-6 if is_equal else difference > 1e-4


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_gpu_trains_the_hybrid_loss_without_nan(
    setup: Setup, tmp_path: Path, precision: str
) -> None:
    terms = {"correlation_loss": "matching", "contrastive_loss_weight": 0.1, "contrastive_memory_size": 16}
    options = {"num_train_epochs": 8, "learning_rate": 1e-3, "logging_strategy": "steps", "logging_steps": 1}
    trainer = make_trainer(setup, tmp_path, use_cpu=False, precision=precision, **terms, **options)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.args.device.type == "cuda"
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(losses) == trainer.state.global_step > 50
    assert np.isfinite(losses).all()
    assert trainer.evaluate()["eval_loss"] < before
    assert all(value.isfinite().all() for value in weights(trainer.model).values())


# --------------------------------------------------------------------------------------------------------- optimizer


def test_parameter_groups(setup: Setup, tmp_path: Path) -> None:
    model, _ = setup
    trainer = make_trainer(setup, tmp_path, learning_rate=2e-5, head_learning_rate=3e-3, weight_decay=0.07)
    optimizer = trainer.create_optimizer()
    assert isinstance(optimizer, torch.optim.AdamW)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names) == len(found)
    for name, parameter in model.named_parameters():
        is_encoder = name.startswith(("stacked_emotion.encoders.", "bert."))
        assert found[name] == (2e-5 if is_encoder else 3e-3, 0.07 if parameter.dim() > 1 else 0.0), name
    assert len(set(found.values())) == len(optimizer.param_groups) == 4


def test_both_learning_rates_are_what_a_step_is_as_long_as(setup: Setup, tmp_path: Path) -> None:
    model, _ = setup
    start = weights(model)
    make_trainer(
        setup,
        tmp_path,
        num_rows=8,
        max_steps=1,
        learning_rate=1e-4,
        head_learning_rate=1e-2,
        weight_decay=0.0,
        warmup_steps=0,
        lr_scheduler_type="constant",
    ).train()
    # The first step of Adam is as long as the learning rate wherever the gradient is not all but zero.
    for name, value in model.state_dict().items():
        longest = (value - start[name]).abs().max().item()
        if name == "classifier.weight":
            assert longest == pytest.approx(1e-2, rel=1e-3)
        elif name.endswith("word_embeddings.weight"):
            assert longest == pytest.approx(1e-4, rel=1e-2)


def test_frozen_parameters_are_in_no_group(ours: Setup, tmp_path: Path) -> None:
    model, _ = ours
    model.stacked_emotion.encoders.requires_grad_(False)
    optimizer = make_trainer(ours, tmp_path).create_optimizer()
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-3]
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


def test_another_optimizer_is_split_likewise(stock: Setup, tmp_path: Path) -> None:
    options = (torch.optim.SGD, {"lr": 0.25, "momentum": 0.5})
    trainer = make_trainer(stock, tmp_path, head_learning_rate=0.75, optimizer_cls_and_kwargs=options)
    optimizer = trainer.create_optimizer()
    assert isinstance(optimizer, torch.optim.SGD)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.75, 0.25, 0.75]
    assert {group["momentum"] for group in optimizer.param_groups} == {0.5}
    assert trainer.create_optimizer() is optimizer


# -------------------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("options", [{}, HYBRID])
def test_evaluation_keeps_only_the_logits(setup: Setup, tmp_path: Path, options: dict[str, Any]) -> None:
    seen: list[EvalPrediction] = []

    def metrics(prediction: EvalPrediction) -> dict[str, float]:
        seen.append(prediction)
        return {"num_rows": float(len(prediction.label_ids))}

    trainer = make_trainer(setup, tmp_path, compute_metrics=metrics, **options)
    assert trainer.evaluate()["eval_num_rows"] == len(CORPUS)
    assert isinstance(seen[0].predictions, np.ndarray)
    assert seen[0].predictions.shape == seen[0].label_ids.shape == (len(CORPUS), 4)


def test_predict_keeps_the_order_of_the_rows(setup: Setup, tmp_path: Path) -> None:
    model, tokenizer = setup
    trainer = make_trainer(setup, tmp_path, per_device_eval_batch_size=7)
    output = trainer.predict(trainer.eval_dataset)
    assert output.label_ids.tolist() == ROWS
    probabilities = predict_probabilities(model, tokenizer, CORPUS, precision="fp32")
    assert np.abs(1 / (1 + np.exp(-output.predictions)) - probabilities).max() < 1e-5
    assert np.ptp(probabilities, axis=0).min() > 5e-4
    assert trainer.args.train_sampling_strategy == "group_by_length"


@pytest.mark.parametrize("further", [False, True])
def test_validation_metrics_are_those_at_tuned_thresholds(further: bool) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((50, 3)) < 0.3).astype(np.float32)
    logits = rng.normal(2 * labels - 4, 1.0).astype(np.float32)
    predictions = (logits, np.zeros((50, 8))) if further else logits
    found = compute_validation_metrics(EvalPrediction(predictions=predictions, label_ids=labels))
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    gold = labels.astype(int)
    expected = multilabel_metrics(gold, probabilities, thresholds=tune_thresholds(gold, probabilities))
    assert found == {key: expected[key] for key in VALIDATION_METRICS}
    assert found["macro_f1"] > multilabel_metrics(gold, probabilities)["macro_f1"] + 0.3


def test_validation_metrics_of_separable_logits_are_perfect() -> None:
    labels = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    logits = np.array([[-1.0, -6.0], [-2.0, -4.0], [-3.0, -5.5], [-2.5, -5.0]])
    found = compute_validation_metrics(EvalPrediction(predictions=logits, label_ids=labels))
    assert found == dict.fromkeys(VALIDATION_METRICS, 1.0)


# --------------------------------------------------------------------------------------- order, checkpoints, resuming


def test_texts_of_like_length_share_a_batch(setup: Setup, tmp_path: Path) -> None:
    _, tokenizer = setup
    trainer = make_trainer(setup, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=3)
    sampler = trainer._get_train_sampler()
    assert isinstance(sampler, EpochLengthGroupedSampler)
    assert (sampler.batch_size, sampler.lengths) == (6, list(trainer.train_dataset["length"]))
    trainer.args.gradient_accumulation_steps = 1
    masks = [key for key in tokenizer.model_input_names if key.endswith("attention_mask")]

    def padding(strategy: str) -> float:
        trainer.args.train_sampling_strategy = strategy
        torch.manual_seed(0)
        batches = list(trainer.get_train_dataloader())
        assert sum(len(batch["labels"]) for batch in batches) == len(CORPUS)
        values = torch.cat([batch[key].flatten() for batch in batches for key in masks])
        return 1 - values.float().mean().item()

    assert padding("group_by_length") < 0.7 * padding("random")


def test_best_epoch_is_restored(setup: Setup, tmp_path: Path) -> None:
    values = iter([0.2, 0.9, 0.1])
    trainer = make_trainer(
        setup,
        tmp_path,
        num_rows=16,
        num_train_epochs=3,
        learning_rate=1e-3,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=None,
        load_best_model_at_end=True,
        compute_metrics=lambda _: {"macro_f1": next(values)},
    )
    trainer.train()
    assert trainer.state.best_metric == 0.9
    assert [trainer.state.best_model_checkpoint, trainer.state.global_step] == [str(tmp_path / "checkpoint-4"), 6]
    kept = {step: load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors") for step in (4, 6)}
    assert largest_difference(weights(trainer.model), kept[4]) == 0.0
    assert largest_difference(kept[4], kept[6]) > 1e-4


@pytest.mark.parametrize("step", [pytest.param(2, marks=pytest.mark.slow), 4, pytest.param(7, marks=pytest.mark.slow)])
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(ours: Setup, tmp_path: Path, step: int) -> None:
    """Four steps an epoch: resumed within the first epoch, between two epochs and within the second."""
    model, _ = ours
    start = weights(model)
    options: dict[str, Any] = {"num_train_epochs": 3, "learning_rate": 1e-3, "save_strategy": "steps"}

    def run(folder: str, checkpoint: str | None, save_steps: int) -> dict[str, torch.Tensor]:
        model.load_state_dict(start)
        trainer = make_trainer(
            ours, tmp_path / folder, num_rows=32, save_steps=save_steps, save_total_limit=None, **options
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        assert trainer.state.global_step == 12
        return weights(model)

    whole = run("whole", None, save_steps=step)
    assert largest_difference(whole, load_file(tmp_path / "whole" / f"checkpoint-{step}" / "model.safetensors")) > 1e-4
    resumed = run("resumed", str(tmp_path / "whole" / f"checkpoint-{step}"), save_steps=100)
    assert largest_difference(whole, resumed) == 0.0


# ---------------------------------------------------------------------------------------------------- early stopping

STOPPING: dict[str, Any] = {
    "num_rows": 16,
    "num_train_epochs": 8,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": None,
    "load_best_model_at_end": True,
    "early_stopping_patience": 2,
}


@pytest.mark.parametrize(("threshold", "last_epoch", "best"), [(0.0, 5, 0.35), (0.1, 3, 0.35)])
def test_training_stops_early(setup: Setup, tmp_path: Path, threshold: float, last_epoch: int, best: float) -> None:
    """The gain of 0.05 in the third epoch resets the count, unless the threshold is higher."""
    values = iter([0.3, 0.2, 0.35, 0.1, 0.1, 0.9])
    trainer = make_trainer(
        setup,
        tmp_path,
        compute_metrics=lambda _: {"macro_f1": next(values)},
        early_stopping_threshold=threshold,
        **STOPPING,
    )
    trainer.train()
    assert trainer.state.epoch == last_epoch
    assert trainer.state.best_metric == best


def test_a_resumed_run_goes_on_counting(stock: Setup, tmp_path: Path) -> None:
    model, _ = stock
    start = weights(model)

    def run(folder: str, metrics: list[float], checkpoint: str | None) -> tuple[float, dict[str, torch.Tensor]]:
        model.load_state_dict(start)
        values = iter(metrics)
        trainer = make_trainer(
            stock, tmp_path / folder, compute_metrics=lambda _: {"macro_f1": next(values)}, **STOPPING
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        return trainer.state.epoch, load_file(tmp_path / folder / "checkpoint-6" / "model.safetensors")

    epoch, whole = run("whole", [0.3, 0.2, 0.1], None)
    # One epoch without a gain is behind the checkpoint: the next one ends the training.
    resumed_epoch, resumed = run("resumed", [0.1, 0.9], str(tmp_path / "whole" / "checkpoint-4"))
    assert epoch == resumed_epoch == 3
    assert largest_difference(whole, resumed) == 0.0


@pytest.mark.parametrize("missing", [{"eval_strategy": "no"}, {"metric_for_best_model": None}])
def test_early_stopping_without_an_evaluation_is_an_error(
    stock: Setup, tmp_path: Path, missing: dict[str, Any]
) -> None:
    expected = r"^`early_stopping_patience` needs an `eval_strategy` and a `metric_for_best_model`: add a validation"
    with pytest.raises(ValueError, match=expected):
        make_trainer(stock, tmp_path, **STOPPING | {"load_best_model_at_end": False} | missing)


# ------------------------------------------------------------------------------- arguments are kept, or are refused


NOT_SAVED: dict[str, Any] = {"save_strategy": "no", "load_best_model_at_end": False}


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trials be plain dictionaries, as those of Weights & Biases are."""
    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: True)


def make_model_init(setup: Setup) -> Any:
    """What makes a copy of the model, the same each time."""
    model, _ = setup
    return lambda: copy.deepcopy(model)


def make_searching_trainer(setup: Setup, folder: Path, **options: Any) -> StackedEmotionTrainer:
    """A Trainer of `model_init`, whose trials are dictionaries of arguments."""
    arguments = make_trainer((copy.deepcopy(setup[0]), setup[1]), folder, **options).args
    rows = encode(setup[1], 16)
    trainer = StackedEmotionTrainer(
        model_init=make_model_init(setup),
        args=arguments,
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=setup[1],
    )
    # The search whose trials are plain dictionaries.
    trainer.hp_search_backend, trainer.compute_objective = HPSearchBackend.WANDB, lambda metrics: metrics["eval_loss"]
    trainer._get_output_dir = lambda trial: str(folder)
    return trainer


def test_a_model_of_model_init_is_frozen_and_weighed_as_any_other(setup: Setup, tmp_path: Path) -> None:
    options: dict[str, Any] = {"num_frozen_layers": -1, "class_weights": "sqrt", "max_steps": 2, "num_rows": 16}
    start = weights(setup[0])
    trainer = make_searching_trainer(setup, tmp_path, **options)
    trainer.train()
    encoders = [name for name in start if ".encoders." in name or name.startswith("bert.")]
    trained = weights(trainer.model)
    assert trainer.model is not setup[0]
    assert len(encoders) > 10
    assert all(torch.equal(start[name], trained[name]) for name in encoders)
    assert not torch.equal(start["classifier.weight"], trained["classifier.weight"])
    expected = np.sqrt(compute_class_weights(ROWS[:16], "inverse", cap=100.0))
    assert trainer.model.config.class_weights == pytest.approx(expected)
    direct = make_trainer(setup, tmp_path, **options)
    direct.train()
    assert largest_difference(weights(direct.model), trained) == 0.0


@pytest.mark.usefixtures("searches")
def test_every_trial_of_a_search_has_its_own_loss_and_layers(stock: Setup, tmp_path: Path) -> None:
    trials: list[dict[str, Any]] = [
        {"base_loss": "bce", "num_frozen_layers": 0},
        {"base_loss": "focal", "num_frozen_layers": -1, "class_weights": "inverse"},
        {"base_loss": "zlpr", "num_frozen_layers": 0, "class_weights": "none"},
    ]
    trainer = make_searching_trainer(stock, tmp_path, max_steps=2)
    losses, frozen, class_weights = [], [], []
    for params in trials:
        trainer.train(trial=params)
        losses.append(type(trainer.hybrid_loss.base).__name__)
        frozen.append(not any(value.requires_grad for value in trainer.model.bert.parameters()))
        class_weights.append(trainer.model.config.class_weights)
        direct = make_trainer((copy.deepcopy(stock[0]), stock[1]), tmp_path, num_rows=16, max_steps=2, **params)
        direct.train()
        assert largest_difference(weights(direct.model), weights(trainer.model)) == 0.0
    assert losses == ["BinaryCrossEntropy", "FocalLoss", "ZLPRLoss"]
    assert frozen == [False, True, False]
    assert class_weights[0] == class_weights[2] == [1.0] * 4
    assert class_weights[1] == pytest.approx(compute_class_weights(ROWS[:16], "inverse"))


@pytest.mark.usefixtures("searches")
def test_every_trial_of_a_search_stops_by_its_own_patience(stock: Setup, tmp_path: Path) -> None:
    trainer = make_searching_trainer(stock, tmp_path, **STOPPING | NOT_SAVED)
    trainer.compute_metrics = lambda _: {"macro_f1": 0.5}
    epochs = []
    for patience in (3, 1, 1):
        trainer.train(trial={"early_stopping_patience": patience})
        epochs.append(trainer.state.epoch)
    assert epochs == [4, 2, 2]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"base_loss": "hinge"}, r"^`base_loss` must be one of bce, "),
        ({"learning_rate": -1.0}, r"^`learning_rate` must be a finite number of 0 or more, got -1\.0\.$"),
        ({"precision": "bf16"}, r"^`precision` is the same in all trials of a search"),
    ],
)
def test_a_trial_is_checked(stock: Setup, tmp_path: Path, params: dict[str, Any], message: str) -> None:
    trainer = make_searching_trainer(stock, tmp_path, max_steps=1)
    with pytest.raises(ValueError, match=message):
        trainer.train(trial=params)


def test_the_loss_is_that_of_the_arguments_when_training_starts(stock: Setup, tmp_path: Path) -> None:
    trainer = make_trainer(stock, tmp_path, num_rows=8, max_steps=1)
    trainer.args.base_loss = "focal"
    trainer.train()
    assert isinstance(trainer.hybrid_loss.base, FocalLoss)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"lora_r": 4},
            r"^`lora_r` changes no model by itself: pass `add_lora\(model, args\)` of .*scripts\.train\.$",
        ),
        ({"encoder_learning_rates": {"nope": 1e-3}}, r"^`encoder_learning_rates` names 'nope'; the encoders are b"),
    ],
)
def test_what_would_be_without_effect_is_refused(
    setup: Setup, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(setup, tmp_path, **options)


def test_staged_training_is_not_the_trainer_s(stock: Setup, tmp_path: Path) -> None:
    trainer = make_trainer(stock, tmp_path, training_mode="staged")
    with pytest.raises(ValueError, match=r"^`train` trains jointly, but `training_mode` is staged: call `train_"):
        trainer.train()


def test_a_loss_function_of_one_s_own_is_refused(stock: Setup, tmp_path: Path) -> None:
    arguments = make_trainer(stock, tmp_path).args
    with pytest.raises(ValueError, match=r"^`compute_loss_func` would not be called: choose a `base_loss`, or "):
        StackedEmotionTrainer(
            stock[0], arguments, compute_loss_func=lambda outputs, labels, **_: outputs["logits"].sum()
        )


def test_arguments_of_the_stock_trainer_are_refused(stock: Setup, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^`args` must be StackedEmotionTrainingArguments, got TrainingArguments\.$"):
        StackedEmotionTrainer(stock[0], TrainingArguments(str(tmp_path), use_cpu=True))


def test_every_argument_of_the_stock_trainer_is_passed_on_or_refused(
    stock: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(stock, tmp_path, num_rows=8)
    names = [*inspect.signature(Trainer.__init__).parameters][1:]
    values: dict[str, Any] = {name: object() for name in names}
    values |= {"args": trainer.args, "train_dataset": trainer.train_dataset, "eval_dataset": trainer.eval_dataset}
    refused = []
    for name in names:
        passed: dict[str, Any] = {}

        def record(_: Any, **arguments: Any) -> None:
            passed.update(arguments)  # noqa: B023
            raise InterruptedError

        monkeypatch.setattr(Trainer, "__init__", record)
        try:
            StackedEmotionTrainer(**{name: values[name]})
        except InputError:
            refused.append(name)
        except InterruptedError:
            assert passed[name] is values[name]
    assert refused == ["compute_loss_func"]


def test_a_model_without_config_is_refused(stock: Setup, tmp_path: Path) -> None:
    arguments = make_trainer(stock, tmp_path).args
    with pytest.raises(ValueError, match=r"^`model` must be a model of transformers with a `config`, got Linear\.$"):
        StackedEmotionTrainer(torch.nn.Linear(2, 2), arguments)


# ----------------------------------------------------------------------------------- data as others bring them along


class Rows(torch.utils.data.Dataset):
    """A data set of torch: dictionaries, one after the other."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


class Stream(torch.utils.data.IterableDataset):
    """The same without a length."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self.rows


def texts(num_rows: int) -> datasets.Dataset:
    columns = {"id": list(range(num_rows)), "text": CORPUS[:num_rows], "labels": ROWS[:num_rows]}
    return datasets.Dataset.from_dict(columns)


def tensors(tokenizer: Any, num_rows: int) -> list[dict[str, torch.Tensor]]:
    """Rows that are padded to one length, as `TensorDataset` and the like want them."""
    batch = EmotionDataCollator(tokenizer)(list(encode(tokenizer, num_rows)))
    return [{key: values[index] for key, values in batch.items()} for index in range(num_rows)]


def stream_of_texts(tokenizer: Any, num_rows: int) -> datasets.IterableDataset:
    return texts(num_rows).to_iterable_dataset()


FORMS: dict[str, Any] = {
    "texts": lambda tokenizer, num_rows: texts(num_rows),
    "texts as tensors": lambda tokenizer, num_rows: texts(num_rows).with_format("torch"),
    "rows as tensors": lambda tokenizer, num_rows: encode(tokenizer, num_rows).with_format("torch"),
    "torch, texts": lambda tokenizer, num_rows: Rows(list(texts(num_rows))),
    "torch, tensors": lambda tokenizer, num_rows: Rows(tensors(tokenizer, num_rows)),
    "label": lambda tokenizer, num_rows: texts(num_rows).rename_column("labels", "label"),
    "label_ids": lambda tokenizer, num_rows: Rows(list(texts(num_rows).rename_column("labels", "label_ids"))),
    "stream of texts": stream_of_texts,
    "stream of rows": lambda tokenizer, num_rows: Stream(list(encode(tokenizer, num_rows))),
    "stream of tensors": lambda tokenizer, num_rows: Stream(tensors(tokenizer, num_rows)),
}


@pytest.mark.parametrize(
    "form",
    [
        name if name in ("texts", "torch, tensors", "stream of texts") else pytest.param(name, marks=pytest.mark.slow)
        for name in FORMS
    ],
)
def test_data_of_every_form_train_and_are_evaluated_alike(setup: Setup, tmp_path: Path, form: str) -> None:
    without_dropout(setup[0])
    results = []
    for name in ("texts", form):
        dataset = FORMS[name](setup[1], 8)
        trainer = StackedEmotionTrainer(
            copy.deepcopy(setup[0]),
            # One batch has all rows, so that their order does not count.
            make_trainer(setup, tmp_path, num_rows=8, max_steps=2).args,
            train_dataset=dataset,
            eval_dataset=dataset,
            processing_class=setup[1],
        )
        start = trainer.evaluate()["eval_loss"]
        trainer.train()
        output = trainer.predict(dataset)
        order = np.argsort(output.predictions[:, 0])
        results.append([start, trainer.evaluate(dataset)["eval_loss"], output.predictions[order].tolist()])
        assert sorted(output.label_ids.tolist()) == sorted(ROWS[:8])
    assert results[0][0] != results[0][1]
    for expected, found in zip(*results, strict=True):
        assert np.allclose(expected, found, atol=1e-5)


def test_raw_texts_are_evaluated_and_predicted_as_tokenized_ones_are(setup: Setup, tmp_path: Path) -> None:
    trainer = make_trainer(setup, tmp_path)
    raw = texts(20)
    assert trainer.predict(raw).predictions.tolist() == trainer.predict(encode(setup[1], 20)).predictions.tolist()
    assert trainer.evaluate(raw)["eval_loss"] == trainer.evaluate(encode(setup[1], 20))["eval_loss"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"class_weights": "sqrt"}, "class_weights"),
        ({"base_loss": "class_balanced"}, "base_loss"),
        ({"correlation_loss": "lca"}, "correlation_loss"),
    ],
)
def test_a_stream_has_no_statistics(stock: Setup, tmp_path: Path, options: dict[str, Any], field: str) -> None:
    arguments = make_trainer(stock, tmp_path, max_steps=2, **options).args
    with pytest.raises(ValueError, match=rf"^`{field}` needs the labels of all training texts, and a stream has"):
        StackedEmotionTrainer(
            stock[0], arguments, train_dataset=stream_of_texts(stock[1], 8), processing_class=stock[1]
        )


def test_a_stream_is_weighed_by_given_weights(stock: Setup, tmp_path: Path) -> None:
    arguments = make_trainer(stock, tmp_path, max_steps=2, label_weights={"joy": 3.0}, base_loss="focal").args
    trainer = StackedEmotionTrainer(
        stock[0], arguments, train_dataset=stream_of_texts(stock[1], 8), processing_class=stock[1]
    )
    trainer.train()
    assert isinstance(trainer.hybrid_loss.base, FocalLoss)
    assert trainer.model.config.class_weights == [1.0, 3.0, 1.0, 1.0]
    assert trainer.model.config.label_correlation is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"text": ["a", "b"], "labels": [1, 2]}, r"^`labels` must have shape \(num_samples, 4\), got \(2,\)\. Check "),
        ({"text": ["a", "b"], "labels": [[1], [0, 2]]}, r"^`labels` must have shape \(num_samples, 4\), got \(2,\)\."),
        ({"text": ["a", "b"]}, r"^The training set has no column `labels`: expected 0 or 1 for every label in each"),
        ({"text": [], "labels": []}, r"^A data set is empty: expected at least one row\.$"),
    ],
)
def test_labels_of_another_form_are_an_error(stock: Setup, tmp_path: Path, rows: dict[str, Any], message: str) -> None:
    arguments = make_trainer(stock, tmp_path).args
    with pytest.raises(ValueError, match=message):
        StackedEmotionTrainer(
            stock[0], arguments, train_dataset=datasets.Dataset.from_dict(rows), processing_class=stock[1]
        )


def test_batches_of_one_s_own_train(setup: Setup, tmp_path: Path) -> None:
    class OwnBatches(StackedEmotionTrainer):
        def get_train_dataloader(self) -> Any:
            return [self.data_collator(list(self.train_dataset))]

    arguments = make_trainer(setup, tmp_path, num_rows=8, num_train_epochs=2).args
    trainer = OwnBatches(
        copy.deepcopy(setup[0]), arguments, train_dataset=encode(setup[1], 8), processing_class=setup[1]
    )
    trainer.train()
    assert trainer.state.global_step == 2
    assert not torch.equal(trainer.model.classifier.weight, setup[0].classifier.weight)


def test_a_model_that_returns_tuples_trains(setup: Setup, tmp_path: Path) -> None:
    expected = make_trainer((copy.deepcopy(setup[0]), setup[1]), tmp_path, num_rows=8, max_steps=1)
    expected.train()
    setup[0].config.return_dict = False
    trainer = make_trainer(setup, tmp_path, num_rows=8, max_steps=1)
    trainer.train()
    assert largest_difference(weights(expected.model), weights(trainer.model)) == 0.0
    assert trainer.evaluate()["eval_macro_f1"] == expected.evaluate()["eval_macro_f1"]


# ------------------------------------------------------------------------------------------ metric of the best epoch

SAVED = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True, "num_train_epochs": 2}


@pytest.mark.parametrize("own", [None, lambda _: {"own": 1.0}])
def test_without_the_default_metric_the_loss_decides(
    stock: Setup, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, own: Any
) -> None:
    monkeypatch.setattr(logging.getLogger("trainer_ext"), "propagate", True)
    trainer = make_trainer(stock, tmp_path, num_rows=16, compute_metrics=own, **SAVED)
    trainer.train()
    losses = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
    assert len(losses) == 2
    assert trainer.state.best_metric == min(losses)
    assert caplog.text.count("The metrics have no macro_f1: the best epoch is that of the lowest loss.") == 1


def test_a_metric_of_one_s_own_decides(stock: Setup, tmp_path: Path) -> None:
    values = iter([0.9, 0.2])
    options = {"metric_for_best_model": "own", "compute_metrics": lambda _: {"own": next(values)}}
    trainer = make_trainer(stock, tmp_path, num_rows=16, **options, **SAVED)
    trainer.train()
    assert trainer.state.best_metric == 0.9


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({}, r"^`metric_for_best_model` is 'own', but the metrics are loss, macro_f1, micro_f1, "),
        ({"compute_metrics": None}, r"^`metric_for_best_model` is 'own', but the metrics are loss\.$"),
        (
            {"compute_metrics": lambda _: {"other": 1.0}},
            r"^`metric_for_best_model` is 'own', but the metrics are .*o",
        ),
    ],
)
def test_an_unknown_metric_is_an_error(stock: Setup, tmp_path: Path, own: dict[str, Any], message: str) -> None:
    trainer = make_trainer(stock, tmp_path, num_rows=16, metric_for_best_model="own", **own, **SAVED)
    with pytest.raises(ValueError, match=message):
        trainer.train()
    # What can be known is known before the first step.
    assert trainer.state.global_step == (2 if own.get("compute_metrics") else 0)


def test_of_several_evaluation_sets_one_decides(stock: Setup, tmp_path: Path) -> None:
    rows = {"all": encode(stock[1], 16), "few": encode(stock[1], 5)}

    def make(**options: Any) -> StackedEmotionTrainer:
        trainer = make_trainer(stock, tmp_path, num_rows=16, **options, **SAVED)
        trainer.eval_dataset = rows
        return trainer

    with pytest.raises(ValueError, match=r"^`metric_for_best_model` must begin with .*, such as all_macro_f1, got "):
        make().train()
    trainer = make(metric_for_best_model="few_loss")
    trainer.train()
    losses = [line["eval_few_loss"] for line in trainer.state.log_history if "eval_few_loss" in line]
    assert trainer.state.best_metric == min(losses)
