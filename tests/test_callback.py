# SPDX-License-Identifier: Apache-2.0
"""Tests of the callbacks in a Trainer, on our model and a stock BERT: numbers, files, and images for TensorBoard."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import LABELS, stock_classifier
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_trainer import CORPUS, ROWS, Setup, make_trainer
from transformers import (
    AutoTokenizer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import TensorBoardCallback

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.evaluation.thresholds import tune_thresholds
from trainer_ext.reports.callback import EvaluationPredictions, ReportCallback
from trainer_ext.reports.class_report import ClassReportCallback
from trainer_ext.reports.label_correlation import LabelCorrelationCallback
from trainer_ext.training.trainer import StackedEmotionTrainer

NAMES = list(LABELS.values())
COUNTS = [int(count) for count in np.sum(ROWS, axis=0)]


@pytest.fixture(params=["ours", "stock"])
def setup(
    request: pytest.FixtureRequest,
    encoder_folders: dict[str, Path],
    model: StackedEmotionForSequenceClassification,
    tokenizer: StackedEmotionTokenizer,
) -> Setup:
    """A model and its tokenizer: ours, and one of transformers that returns its hidden states as well."""
    if request.param == "ours":
        return model, tokenizer
    stock_tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    return stock_classifier(stock_tokenizer, output_hidden_states=True), stock_tokenizer


class Recorder(ReportCallback):
    """Keeps what it is called with and returns a number of its own."""

    def __init__(self) -> None:
        super().__init__(NAMES)
        self.calls: list[tuple[EvaluationPredictions, Sequence[TrainerCallback]]] = []

    def on_predictions(
        self,
        args: TrainingArguments,
        state: TrainerState,
        predictions: EvaluationPredictions,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> dict[str, float]:
        self.calls.append((predictions, callbacks))
        return {"num_calls": float(len(self.calls))}


# ---------------------------------------------------------------------------------------------------------- the event


@pytest.mark.parametrize("with_metrics", [True, False])
def test_callback_gets_labels_and_probabilities_of_all_rows(setup: Setup, tmp_path: Path, with_metrics: bool) -> None:
    options = {} if with_metrics else {"compute_metrics": None}
    trainer = make_trainer(setup, tmp_path, train_sampling_strategy="random", **options)
    recorder = Recorder()
    trainer.add_callback(recorder)
    metrics = trainer.evaluate()
    output = trainer.predict(trainer.eval_dataset)
    # `predict` is no evaluation.
    assert len(recorder.calls) == 1
    predictions, callbacks = recorder.calls[0]
    assert predictions.labels.tolist() == ROWS
    assert predictions.labels.dtype == np.float64
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    assert np.abs(predictions.probabilities - 1 / (1 + np.exp(-logits.astype(np.float64)))).max() < 1e-6
    assert predictions.probabilities.dtype == np.float64
    assert predictions.probabilities.shape == (len(CORPUS), 4)
    assert (predictions.prefix, callbacks) == ("eval", trainer.callback_handler.callbacks)
    assert metrics["eval_num_calls"] == 1.0
    assert ("eval_macro_f1" in metrics) == with_metrics
    assert "test_num_calls" not in output.metrics


def test_each_named_evaluation_set_has_its_own_numbers(setup: Setup, tmp_path: Path) -> None:
    trainer = make_trainer(setup, tmp_path)
    recorder = Recorder()
    trainer.add_callback(recorder)
    trainer.add_callback(LabelCorrelationCallback(NAMES, tmp_path / "figures"))
    rows = trainer.eval_dataset
    metrics = trainer.evaluate({"all": rows, "half": rows.select(range(31))})
    assert [predictions.prefix for predictions, _ in recorder.calls] == ["eval_all", "eval_half"]
    assert [len(predictions.labels) for predictions, _ in recorder.calls] == [len(CORPUS), 31]
    assert (metrics["eval_all_num_calls"], metrics["eval_half_num_calls"]) == (1.0, 2.0)
    written = sorted(path.name for path in (tmp_path / "figures").glob("*.json"))
    assert written == ["label_correlation_all_0.json", "label_correlation_half_0.json"]


def test_trainer_without_such_callbacks_evaluates_as_before(setup: Setup, tmp_path: Path) -> None:
    trainer = make_trainer(setup, tmp_path, compute_metrics=None)
    called: list[Any] = []
    trainer.preprocess_logits_for_metrics = lambda logits, _: called.append(logits) or logits
    assert "eval_loss" in trainer.evaluate()
    assert not called


@pytest.mark.parametrize("callback", [LabelCorrelationCallback(["a", "b"]), ClassReportCallback(["a", "b"], [1, 2])])
def test_wrong_number_of_names_fails_when_the_trainer_is_made(
    setup: Setup, tmp_path: Path, callback: TrainerCallback
) -> None:
    trainer = make_trainer(setup, tmp_path)
    with pytest.raises(ValueError, match=r"`label_names` must name the 4 labels of the model, got 2 names"):
        StackedEmotionTrainer(model=trainer.model, args=trainer.args, callbacks=[callback])


# -------------------------------------------------------------------------------------------------------- in training


def test_training_with_both_callbacks_and_tensorboard(setup: Setup, tmp_path: Path) -> None:
    trainer = make_trainer(
        setup,
        tmp_path,
        num_rows=32,
        num_train_epochs=2,
        learning_rate=1e-3,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1_rare",
        report_to=["tensorboard"],
    )
    trainer.add_callback(LabelCorrelationCallback(NAMES))
    trainer.add_callback(ClassReportCallback(NAMES, COUNTS, tmp_path / "classes"))
    trainer.train()
    logged = {entry["step"]: entry for entry in trainer.state.log_history if "eval_loss" in entry}
    assert list(logged) == [4, 8]
    for step, entry in logged.items():
        correlation = json.loads((tmp_path / f"label_correlation_{step}.json").read_text(encoding="utf-8"))
        classes = json.loads((tmp_path / "classes" / f"class_report_{step}.json").read_text(encoding="utf-8"))
        assert correlation["step"] == classes["step"] == step
        assert correlation["distance"] == entry["eval_label_correlation_distance"]
        for key in ("macro_f1", "macro_f1_frequent", "macro_f1_rare", "frequent_rare_gap"):
            assert classes[key] == pytest.approx(entry[f"eval_{key}"])
        assert [row["train_count"] for row in classes["rows"]] == sorted(COUNTS, reverse=True)
    # The numbers can choose the best epoch.
    assert trainer.state.best_metric == max(entry["eval_macro_f1_rare"] for entry in logged.values())

    # Figures are drawn once, at the end, and at once where nothing is trained.
    assert [path.name for path in tmp_path.rglob("label_correlation_*.png")] == ["label_correlation_8.png"]
    assert [path.name for path in tmp_path.rglob("class_report_*.png")] == ["class_report_8.png"]
    (events,) = tmp_path.glob("runs/*")
    accumulator = EventAccumulator(str(events), size_guidance={"images": 0, "scalars": 0})
    accumulator.Reload()
    scalars = {event.step: event.value for event in accumulator.Scalars("eval/label_correlation_distance")}
    assert scalars == pytest.approx({step: entry["eval_label_correlation_distance"] for step, entry in logged.items()})
    for name in ("eval/label_correlation", "eval/class_report"):
        images = accumulator.Images(name)
        assert [event.step for event in images] == [8]
        with Image.open(io.BytesIO(images[0].encoded_image_string)) as image:
            assert image.size == (images[0].width, images[0].height)
            assert np.asarray(image.convert("L")).std() > 5


# -------------------------------------------------------------------------------------------------------------- files


def test_report_is_written_whole_and_replaced(tmp_path: Path) -> None:
    names, labels = ["غضب", "b"], np.array([[1, 0], [0, 1], [1, 1]])
    callback = LabelCorrelationCallback(names, tmp_path / "not" / "there")
    arguments, state = TrainingArguments(str(tmp_path)), TrainerState(global_step=7, is_world_process_zero=True)
    for rows in (labels, labels[::-1]):
        callback.on_predictions(arguments, state, EvaluationPredictions(labels, rows.astype(float)))
    folder = tmp_path / "not" / "there"
    assert sorted(path.name for path in folder.iterdir()) == ["label_correlation_7.json", "label_correlation_7.png"]
    written = (folder / "label_correlation_7.json").read_text(encoding="utf-8")
    last = callback.report(labels, labels[::-1] >= tune_thresholds(labels, labels[::-1].astype(float)))
    assert json.loads(written) == {"step": 7, **asdict(last)}
    assert "غضب" in written


def test_tensorboard_that_has_no_file_yet_gets_nothing(tmp_path: Path) -> None:
    callback, labels = LabelCorrelationCallback(["a", "b"]), np.array([[1, 0], [0, 1]])
    state = TrainerState(is_world_process_zero=True)
    others = [TrainerCallback(), TensorBoardCallback()]
    predictions = EvaluationPredictions(labels, labels.astype(float))
    callback.on_predictions(TrainingArguments(str(tmp_path)), state, predictions, others)
    assert others[1].tb_writer is None
    assert (tmp_path / "label_correlation_0.png").exists()
