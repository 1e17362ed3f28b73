# SPDX-License-Identifier: Apache-2.0
"""Tests of the benchmark of the metrics: its ways compute the same values, and its numbers are written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scripts import benchmark
from scripts.benchmarks import metric
from trainer_ext.evaluation.metrics import multilabel_metrics


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, evaluate_caches: None) -> None:
    monkeypatch.setattr(metric, "_NUM_SAMPLES", 200)
    monkeypatch.setattr(metric, "_NUM_LABELS", 5)


def test_ways_compute_the_same_values(tmp_path: Path) -> None:
    labels, scores = metric._data()
    expected = multilabel_metrics(labels, scores, thresholds=0.4)
    _, macro, _, weighted, *_ = metric._sklearn_counts(labels, scores >= 0.4)
    roc_auc, average_precision = metric._sklearn_ranking(labels, scores)
    assert expected["macro_f1"] == pytest.approx(macro[2])
    assert expected["weighted_f1"] == pytest.approx(weighted[2])
    assert expected["macro_roc_auc"] == pytest.approx(np.mean(roc_auc))
    assert expected["macro_average_precision"] == pytest.approx(average_precision)
    (tmp_path / "staged").mkdir()
    hard, soft = metric._evaluate_modules(tmp_path / "staged")
    found = soft.compute(references=labels, prediction_scores=scores)
    assert found == {key: expected[key] for key in found}
    assert hard.compute(references=labels, predictions=scores >= 0.4)["macro_f1"] == expected["macro_f1"]


def test_numbers_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = benchmark.main(["metric", "--rounds", "1", "--json", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == results
    assert len(results) == 12
    assert results["metric_core_predictions_ms"] > 0
    printed = capsys.readouterr().out
    assert "200 x 5 float32 values" in printed
    assert "evaluate, probabilities" in printed
