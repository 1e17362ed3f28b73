# SPDX-License-Identifier: Apache-2.0
"""Tests of the metric's Space: what its lines mean, what its tables hold, its card, and the running app."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import gradio
import pytest
import yaml
from huggingface_hub import SpaceCard

from hub.metric.staging import stage_metric
from trainer_ext.evaluation.metrics import SUMMARY_METRICS, multilabel_metrics

REPO_ID = "user/multilabel_emotion"
STARTS_WITHIN = 120.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    staged = tmp_path_factory.mktemp("space")
    stage_metric(staged, repo_id=REPO_ID)
    return staged


@pytest.fixture(scope="module")
def app(folder: Path, evaluate_caches: None) -> ModuleType:
    """The staged `app.py`, imported."""
    spec = importlib.util.spec_from_file_location("metric_space_app", folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_dict(table: dict[str, list]) -> dict[str, list]:
    return {row[0]: row[1:] for row in table["data"]}


def test_lines_are_samples_and_commas_part_labels(app: ModuleType) -> None:
    assert app.parse_lines("joy, love\n\nنشوة: 0.5 ,fear:1e-3\n1:2: 0.25") == [
        {"joy": None, "love": None},
        {},
        {"نشوة": 0.5, "fear": 0.001},
        {"1:2": 0.25},
    ]
    assert app.parse_lines("time: now") == [{"time: now": None}]


def test_tables_of_hard_predictions(app: ModuleType) -> None:
    summary, per_label = app.evaluate_texts("joy\njoy, fear\nfear\n", "joy\njoy\njoy, fear\n", labels="awe, joy")
    # The labels in the order of "Further labels", then of the texts; the final line break is no sample.
    gold, predicted = [[0, 1, 0], [0, 1, 1], [0, 0, 1]], [[0, 1, 0], [0, 1, 0], [0, 1, 1]]
    expected = multilabel_metrics(gold, predictions=predicted, label_names=["awe", "joy", "fear"])
    assert summary["headers"] == ["metric", "value"]
    assert as_dict(summary) == {key: [round(expected[key], 4)] for key in SUMMARY_METRICS if key in expected}
    assert per_label == {
        "headers": ["label", "support", "precision", "recall", "f1"],
        "data": [["joy", 2, 0.6667, 1, 0.8], ["fear", 2, 1, 0.5, 0.6667], ["awe", 0, 0, 0, 0]],
    }


def test_tables_of_probabilities_with_intervals(app: ModuleType) -> None:
    lines = "joy: 0.9, fear: 0.2\njoy: 0.6, fear: 0.45\nfear: 0.4"
    summary, per_label = app.evaluate_texts("joy\njoy, fear\nfear", lines, "", 0.4, 1.0, True)
    gold, scores = [[1, 0], [1, 1], [0, 1]], [[0.9, 0.2], [0.6, 0.45], [0.0, 0.4]]
    expected = multilabel_metrics(gold, scores, thresholds=0.4, zero_division=1.0)
    assert summary["headers"] == ["metric", "value", "low", "high"]
    rows = as_dict(summary)
    assert {key: row[0] for key, row in rows.items()} == {key: round(expected[key], 4) for key in SUMMARY_METRICS}
    assert rows["subset_accuracy"] == [1.0, 1.0, 1.0]
    assert rows["macro_roc_auc"] == [1.0, None, None]
    assert per_label["headers"] == ["label", "support", "precision", "recall", "f1", "roc_auc"]


@pytest.mark.parametrize(
    ("references", "predictions", "lengths"),
    [("a\nb\n", "a\nb\n", 2), ("a\nb\n", "a\nb", 2), ("a\nb", "a\n", 2), ("a\nb\n", "a\n", 2), ("a\n\n", "a\n", 2)],
)
def test_a_final_line_break_is_a_sample_only_where_the_other_text_has_one(
    app: ModuleType, references: str, predictions: str, lengths: int
) -> None:
    gold, predicted = app.parse_lines(references), app.parse_lines(predictions)
    app._drop_final_line_break(gold, predicted)
    assert len(gold) == len(predicted) == lengths


def test_a_ratio_without_a_value_is_an_empty_cell(app: ModuleType) -> None:
    summary, per_label = app.evaluate_texts("joy\njoy", "joy: 0.3\njoy: 0.8")
    assert as_dict(summary)["macro_roc_auc"] == [None]
    assert per_label["headers"] == ["label", "support", "precision", "recall", "f1"]


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ("joy\nfear", "joy", "one line per sample, got 2 lines of gold labels and 1 of predictions"),
        ("joy: 0.5", "joy", "Gold labels have no probabilities"),
        ("joy", "joy: 0.5, fear", "Either all predicted labels have a probability, as in `joy: 0.9`, or none"),
        ("joy", "joy, joy", "Line 1 names 'joy' twice"),
        ("joy", "joy: 1.5", r"must lie in \[0, 1\] without NaN, got values from 1.5 to 1.5"),
        ("", "", "Between 1 and 200 labels are needed, got 0"),
        ("\njoy" * 2001, "\njoy" * 2001, "takes 2,000 lines, got 2,002; load the metric instead"),
    ],
)
def test_lines_that_do_not_fit_are_shown_as_errors(
    app: ModuleType, references: str, predictions: str, message: str
) -> None:
    with pytest.raises(gradio.exceptions.Error, match=message):
        app._answer(references, predictions)


def test_card_is_that_of_a_space_with_the_version_that_was_tried(folder: Path) -> None:
    card = SpaceCard.load(folder / "README.md")
    assert card.data.sdk == "gradio"
    assert card.data.tags == ["evaluate", "metric"]
    assert (folder / card.data.app_file).is_file()
    constraints = Path(__file__).resolve().parent.parent / "constraints.txt"
    assert f"gradio=={card.data.sdk_version}\n" in constraints.read_text(encoding="utf-8")
    assert set(yaml.safe_load(card.content.split("---")[1])) >= {"title", "emoji", "colorFrom", "colorTo", "license"}
    for heading in ("Metric Description", "How to Use", "Limitations and Bias", "Citation"):
        assert f"\n## {heading}\n" in card.content
    for heading in ("Inputs", "Output Values", "Examples"):
        assert f"\n### {heading}\n" in card.content


@pytest.mark.slow
def test_app_answers_a_client(folder: Path, app: ModuleType, tmp_path: Path) -> None:
    from gradio_client import Client

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "HF_HOME": str(tmp_path / "home")}
    log = (tmp_path / "log").open("w+", encoding="utf-8")
    process = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline, "the app did not start"
                time.sleep(0.2)
        client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=str(tmp_path))
        answer = client.predict(*app.SCORE_EXAMPLE, "", 0.5, 0.0, True, api_name="/compute")
        with pytest.raises(Exception, match="Line 1 names 'joy' twice"):
            client.predict("joy", "joy, joy", "", 0.5, 0.0, False, api_name="/compute")
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()
    expected = app.evaluate_texts(*app.SCORE_EXAMPLE, with_intervals=True)
    for got, table in zip(answer, expected, strict=True):
        assert got["headers"] == table["headers"]
        assert got["data"] == table["data"]
