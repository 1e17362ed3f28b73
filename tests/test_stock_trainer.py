# SPDX-License-Identifier: Apache-2.0
"""
Our Trainer and that of transformers on the same data: with one learning rate and plain BCE they do the same.

They differ on purpose in this:

- Ours logs the terms of its loss (`loss/base`, `eval_loss/base`) and keeps their state (`hybrid_loss.pt`).
- Ours divides the loss of a stock model by the steps of gradient accumulation (`loss_is_scaled_for_ga`). The other one
  takes it for a loss that counts the items of the whole step, and a mean is then added up; with our model, which says
  `accepts_loss_kwargs = False`, both divide.
- Ours groups by length with a generator of its own, seeded per epoch; the other one draws from the global generator.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from conftest import CORPUS, LABELS, stock_classifier
from transformers import (
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.data.batching import EmotionDataCollator, tokenize_dataset
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.trainer import StackedEmotionTrainer

NUM_ROWS = 24
EVENTS = [name for name in dir(TrainerCallback) if name.startswith("on_")]
# Those of both: fields in whose defaults the two differ, and a rate for all weights.
COMMON: dict[str, Any] = {
    **{"num_train_epochs": 2, "learning_rate": 1e-3, "per_device_train_batch_size": 4, "weight_decay": 0.01},
    **{"per_device_eval_batch_size": 16, "warmup_steps": 0, "logging_steps": 1, "eval_strategy": "epoch"},
    **{"save_strategy": "epoch", "save_total_limit": None, "load_best_model_at_end": True, "use_cpu": True},
    **{"metric_for_best_model": "loss", "train_sampling_strategy": "random", "remove_unused_columns": False},
    **{"disable_tqdm": True, "report_to": "none"},
}
# Of a line of log, those that no clock decides.
TIMES = ("runtime", "_per_second")
Setup = tuple[PreTrainedModel, Any]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def ours(encoder_folders: dict[str, Path], tokenizer: StackedEmotionTokenizer) -> Setup:
    torch.manual_seed(0)
    folders = {name: encoder_folders[name] for name in ("bert_wp", "electra_uni")}
    options: dict[str, Any] = {"meta_hidden_size": 16, "lstm_hidden_size": 8, "id2label": LABELS}
    model = StackedEmotionForSequenceClassification.from_encoders(folders, **options)
    return model, StackedEmotionTokenizer.from_encoders(folders)


@pytest.fixture
def stock(encoder_folders: dict[str, Path]) -> Setup:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    return stock_classifier(tokenizer), tokenizer


class Recorder(TrainerCallback):
    """Notes the events, and the batches by the collator, which it takes the place of."""

    def __init__(self, tokenizer: Any) -> None:
        self.collate = EmotionDataCollator(tokenizer)
        self.events: list[str] = []
        self.batches: list[list[int]] = []
        for name in EVENTS:
            setattr(self, name, self._note(name))

    def _note(self, name: str) -> Any:
        return lambda *_, **__: self.events.append(name)

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        self.batches.append([row["row"] for row in rows])
        return self.collate([{key: value for key, value in row.items() if key != "row"} for row in rows])


def make_pair(setup: Setup, folder: Path, **options: Any) -> list[tuple[Trainer, Recorder]]:
    """The Trainer of transformers and ours, on copies of one model, with what they note."""
    model, tokenizer = setup
    patience = options.pop("patience", None)
    own = {key: options.pop(key) for key in ("model_init",) if key in options}
    labels = [[float((row >> bit) & 1) for bit in range(4)] for row in range(NUM_ROWS)]
    rows = tokenize_dataset(datasets.Dataset.from_dict({"text": CORPUS[:NUM_ROWS], "labels": labels}), tokenizer)[0]
    rows = rows.add_column("row", list(range(NUM_ROWS)))
    fields = COMMON | options
    rates = {"head_learning_rate": fields["learning_rate"], "auxiliary_loss_weight": 0.0, "precision": "fp32"}
    pair: list[tuple[Trainer, Recorder]] = []
    for is_ours in (False, True):
        recorder, name = Recorder(tokenizer), "ours" if is_ours else "theirs"
        data: dict[str, Any] = {"train_dataset": rows, "eval_dataset": rows, "processing_class": tokenizer}
        data |= {"data_collator": recorder, "callbacks": [recorder], **own}
        if not own:
            data["model"] = copy.deepcopy(model)
        if is_ours:
            # One parameter group of the same rate, and nothing beside BCE.
            args = StackedEmotionTrainingArguments(
                str(folder / name), early_stopping_patience=patience, **rates, **fields
            )
            pair.append((StackedEmotionTrainer(args=args, compute_metrics=None, **data), recorder))
        else:
            trainer = Trainer(args=TrainingArguments(str(folder / name), **fields), **data)
            if patience:
                trainer.add_callback(EarlyStoppingCallback(patience))
            pair.append((trainer, recorder))
    return pair


def train(pair: list[tuple[Trainer, Recorder]], **options: Any) -> None:
    for trainer, _ in pair:
        # A Trainer seeds the generators when it is made.
        set_seed(trainer.args.seed)
        trainer.train(**options)


def lines_of_log(trainer: Trainer) -> list[dict[str, float]]:
    """The lines of log, without times and the terms of our loss."""
    return [
        {key: value for key, value in line.items() if "loss/" not in key and not key.endswith(TIMES)}
        for line in trainer.state.log_history
    ]


def assert_equal_runs(pair: list[tuple[Trainer, Recorder]], tolerance: float = 1e-4) -> None:
    (theirs, their_notes), (ours, our_notes) = pair
    assert our_notes.batches == their_notes.batches
    assert our_notes.events == their_notes.events
    their_lines, our_lines = lines_of_log(theirs), lines_of_log(ours)
    assert len(their_lines) > 2
    assert [line.keys() for line in our_lines] == [line.keys() for line in their_lines]
    for line, expected in zip(our_lines, their_lines, strict=True):
        assert line == pytest.approx(expected, rel=tolerance, abs=1e-6)
    assert ours.state.best_global_step == theirs.state.best_global_step
    expected_weights = theirs.model.state_dict()
    for name, value in ours.model.state_dict().items():
        torch.testing.assert_close(value, expected_weights[name], rtol=0, atol=1e-4)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ours", {}),
        (
            "stock",
            {"max_steps": 5, "eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2},
        ),
        pytest.param(
            *("ours", {"num_train_epochs": 1.5, "logging_steps": 4, "data_seed": 7, "lr_scheduler_type": "cosine"}),
            marks=pytest.mark.slow,
        ),
        ("stock", {"max_grad_norm": 0.1, "warmup_steps": 3, "num_train_epochs": 1, "dataloader_drop_last": True}),
    ],
    ids=["epochs", "max_steps", "part_of_an_epoch", "clipping"],
)
def test_both_train_evaluate_and_save_alike(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    pair = make_pair(request.getfixturevalue(kind), tmp_path, **options)
    train(pair)
    assert_equal_runs(pair)
    assert any("grad_norm" in line for line in lines_of_log(pair[1][0]))
    (theirs, ours) = (trainer for trainer, _ in pair)
    saved = files(tmp_path / "ours")
    # The terms of the loss, as a checkpoint of ours keeps them.
    assert {name for name in saved if not name.endswith("hybrid_loss.pt")} == files(tmp_path / "theirs")
    assert any(name.endswith("hybrid_loss.pt") for name in saved)
    rows = ours.eval_dataset
    expected, predicted = theirs.predict(rows), ours.predict(rows)
    logits = [output.predictions for output in (expected, predicted)]
    first, second = (value[0] if isinstance(value, tuple) else value for value in logits)
    np.testing.assert_allclose(second, first, rtol=0, atol=1e-3)
    assert np.array_equal(predicted.label_ids, expected.label_ids)
    assert predicted.metrics["test_loss"] == pytest.approx(expected.metrics["test_loss"], rel=1e-3)


def test_both_accumulate_gradients_of_our_model_alike(ours: Setup, tmp_path: Path) -> None:
    pair = make_pair(ours, tmp_path, gradient_accumulation_steps=2, num_train_epochs=1)
    train(pair)
    assert_equal_runs(pair)


@pytest.mark.slow
def test_a_stock_model_s_mean_loss_is_added_up_by_the_other_alone(stock: Setup, tmp_path: Path) -> None:
    options: dict[str, Any] = {"gradient_accumulation_steps": 2, "max_steps": 1}
    (theirs, _), (ours, _) = make_pair(stock, tmp_path, save_strategy="no", load_best_model_at_end=False, **options)
    for trainer in (theirs, ours):
        set_seed(0)
        trainer.train()
    their_loss, our_loss = (lines_of_log(trainer)[0]["loss"] for trainer in (theirs, ours))
    assert their_loss == pytest.approx(2 * our_loss, rel=1e-4)


@pytest.mark.parametrize("kind", [pytest.param("ours", marks=pytest.mark.slow), "stock"])
def test_both_resume_alike(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    setup = request.getfixturevalue(kind)
    whole = make_pair(setup, tmp_path, load_best_model_at_end=False)
    train(whole)
    resumed = make_pair(setup, tmp_path, load_best_model_at_end=False)
    for trainer, _ in resumed:
        trainer.train(resume_from_checkpoint=str(Path(trainer.args.output_dir) / "checkpoint-6"))
    assert_equal_runs(resumed)
    for (first, _), (second, _) in zip(whole, resumed, strict=True):
        assert lines_of_log(first)[:-1] == lines_of_log(second)[:-1]
        assert all(
            torch.equal(value, second.model.state_dict()[name]) for name, value in first.model.state_dict().items()
        )


@pytest.mark.slow
def test_both_stop_early_alike(stock: Setup, tmp_path: Path) -> None:
    # So high a rate that the loss gets worse.
    pair = make_pair(stock, tmp_path, patience=1, num_train_epochs=6, learning_rate=0.5)
    train(pair)
    steps = [trainer.state.global_step for trainer, _ in pair]
    assert steps[0] == steps[1] < 36
    assert pair[0][0].state.best_global_step == pair[1][0].state.best_global_step


@pytest.mark.slow
def test_both_make_the_model_of_a_trial_alike(stock: Setup, tmp_path: Path) -> None:
    pair = make_pair(stock, tmp_path, model_init=lambda: copy.deepcopy(stock[0]), num_train_epochs=1)
    for _ in range(2):
        train(pair)
    assert_equal_runs(pair)


def test_both_group_by_length_each_in_its_order(stock: Setup, tmp_path: Path) -> None:
    options: dict[str, Any] = {"train_sampling_strategy": "group_by_length", "save_strategy": "no"}
    pair = make_pair(stock, tmp_path, load_best_model_at_end=False, eval_strategy="no", **options)
    train(pair)
    for _, notes in pair:
        for epoch in (notes.batches[:6], notes.batches[6:]):
            assert sorted(row for batch in epoch for row in batch) == list(range(NUM_ROWS))
    assert pair[0][1].batches != pair[1][1].batches
