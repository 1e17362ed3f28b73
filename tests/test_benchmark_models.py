# SPDX-License-Identifier: Apache-2.0
"""Tests of the benchmark of trained models: it measures the saved models, and compares them with the first."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from scripts import benchmark
from scripts.benchmarks import models
from trainer_ext.errors import InputError

if TYPE_CHECKING:
    from trained_model import Trained

pytest_plugins = ["trained_model"]


def test_models_are_measured_as_they_were_saved(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(models.subprocess, "run", lambda command, **options: called.append(command))
    before = {path: path.read_bytes() for path in trained.folder.iterdir() if path.is_file()}
    files = ["--texts", str(trained.data / "test.jsonl"), "--json", str(tmp_path / "out.json")]
    small = ["--num_texts", "12", "--batch_size", "4", "--rounds", "1", "--precision", "fp32"]
    results = benchmark.main(["models", str(trained.folder), str(trained.folder), *files, *small])
    assert json.loads((tmp_path / "out.json").read_text()) == results
    name = f"{trained.folder.parent.name}/{trained.folder.name}"
    assert results[f"{name}/macro_f1"] == pytest.approx(trained.results["test_macro_f1"])
    weights = (trained.folder / "model.safetensors").stat().st_size / 1e6
    assert weights < results[f"{name}/mb"] < weights + 2
    for part in ("one_core", "inference", "training"):
        assert results[f"{name}/{part}_texts_per_second"] > 0
    assert {path: path.read_bytes() for path in trained.folder.iterdir() if path.is_file()} == before
    assert [command[1:5] for command in called] == [["-m", "scripts.predict", "--model", str(trained.folder)]] * 10
    assert results[f"{name}/test_macro_f1"] == trained.results["test_macro_f1"]
    printed = capsys.readouterr().out
    assert f"{results[f'{name}/macro_f1']:.3f}" in printed
    assert f" {trained.results['test_macro_f1']:.3f} (test) " in printed


def test_reported_macro_f1_is_that_of_test_if_there_is_one(tmp_path: Path) -> None:
    assert models._reported(str(tmp_path)) == {}
    assert models._reported("user/model") == {}
    for results, expected in (
        ({"validation_macro_f1": 0.5, "test_macro_f1": 0.25}, {"test": 0.25}),
        ({"validation_macro_f1": 0.5}, {"validation": 0.5}),
    ):
        (tmp_path / "eval_results.json").write_text(json.dumps(results), encoding="utf-8")
        assert models._reported(str(tmp_path)) == expected


def test_one_core_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with models._one_core():
        assert (torch.get_num_threads(), os.environ["TOKENIZERS_PARALLELISM"]) == (1, "false")
    assert (torch.get_num_threads(), os.environ["TOKENIZERS_PARALLELISM"]) == (2, "true")
    monkeypatch.delenv("TOKENIZERS_PARALLELISM")
    with models._one_core():
        pass
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    torch.set_num_threads(num_threads)


def test_the_model_of_the_repository_is_measured_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "mini_model", lambda: "the/model")

    def load(folder: str) -> None:
        raise InputError(f"load {folder}")

    monkeypatch.setattr(models, "load_classifier", load)
    with pytest.raises(InputError, match="load the/model"):
        models.measure(benchmark.make_parser().parse_args(["models"]))


@pytest.mark.slow
def test_first_answer_is_that_of_the_command(trained: Trained) -> None:
    models.first_answer(str(trained.folder))
    with pytest.raises(subprocess.CalledProcessError):
        models.first_answer(str(trained.data / "nothing"))
