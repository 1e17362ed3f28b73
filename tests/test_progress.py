# SPDX-License-Identifier: Apache-2.0
"""Tests of what a training says: one line for each evaluation."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from trainer_ext.training.progress import EvaluationLineCallback, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3540, "59 min"), (3600, "1 h 0 min"), (18305, "5 h 5 min")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def said(capsys: pytest.CaptureFixture[str], logs: list[dict[str, float]], eval_strategy: str = "epoch") -> list[str]:
    callback, control = EvaluationLineCallback(), TrainerControl()
    arguments = TrainingArguments("unused", eval_strategy=eval_strategy)
    state = TrainerState(max_steps=1200, global_step=0, epoch=0.0)
    callback.on_train_begin(arguments, state, control)
    state.global_step, state.epoch = 1000, 2.5
    for values in logs:
        callback.on_log(arguments, state, control, logs=values)
    callback.on_train_end(arguments, state, control)
    return [line.rpartition(", ")[0] for line in capsys.readouterr().out.splitlines()]


def test_an_evaluation_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = {"eval_loss": 0.22, "eval_macro_f1": 0.4123, "eval_micro_f1": 0.5, "eval_runtime": 3.0}
    lines = said(
        capsys, [{"loss": 0.231, "learning_rate": 1e-5}, evaluation, {"train_runtime": 1.0, "train_loss": 1.0}]
    )
    assert lines == ["epoch 2.5, step 1,000 of 1,200: loss 0.231, eval loss 0.220, macro-F1 0.412"]


def test_each_evaluation_set_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, [{"eval_arq_loss": 0.3, "eval_arq_macro_f1": 0.5}])
    assert lines == ["epoch 2.5, step 1,000 of 1,200: eval arq loss 0.300, arq macro-F1 0.500"]


def test_without_evaluations_each_log_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, [{"loss": 0.231, "grad_norm": 1.0}, {"loss": 0.2}], eval_strategy="no")
    assert lines == [f"epoch 2.5, step 1,000 of 1,200: loss {loss}" for loss in ("0.231", "0.200")]


def test_the_time_left_goes_by_the_pace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([100.0, 400.0])
    monkeypatch.setattr("trainer_ext.training.progress.time", SimpleNamespace(monotonic=lambda: next(times)))
    callback, control, arguments = EvaluationLineCallback(), TrainerControl(), TrainingArguments("unused")
    # Resumed at step 100: 300 s for 150 steps, and 750 are left.
    state = TrainerState(max_steps=1000, global_step=100)
    callback.on_train_begin(arguments, state, control)
    callback.on_log(arguments, state, control, logs={"eval_loss": 1.0})
    assert capsys.readouterr().out.endswith(": eval loss 1.000\n")
    state.global_step = 250
    callback.on_log(arguments, state, control, logs={"eval_loss": 1.0})
    assert capsys.readouterr().out.endswith(", 25 min left\n")
