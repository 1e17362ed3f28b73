# SPDX-License-Identifier: Apache-2.0
"""Trainings from start to end on several data sets, one of which is evaluated on only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipe_samples import LABELS, make_rows, write_recipe, write_rows

from modeling_stacked_emotion import decision_thresholds, label_names
from scripts import train
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities

pytestmark = pytest.mark.usefixtures("blank_figures")

STAGED = {"training_mode": "staged", "num_train_epochs": 1, "head_num_train_epochs": 1}


def write_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """One source of all labels, one without `fear`, and a test file."""
    few = [row | {"labels": [name for name in row["labels"] if name != "fear"]} for row in make_rows(30, 11)]
    files = {"few_train": few, "few_test": few[:12], "other_test": make_rows(16, 12)}
    paths = {name: str(write_rows(folder / f"{name}.jsonl", rows)) for name, rows in files.items()}
    return {
        "all": {"language": "en-GB"},
        "few": {
            **{"train_file": paths["few_train"], "test_file": paths["few_test"], "validation_file": None},
            **{"language": "sw", "weight": 2},
        },
        "other": {
            **{"train_file": None, "validation_file": None, "test_file": paths["other_test"]},
            **{"language": "ha", "evaluated_only": True},
        },
    }


@pytest.mark.parametrize(
    "fields", [{"num_train_epochs": 1}, pytest.param(STAGED, marks=pytest.mark.slow)], ids=["joint", "staged"]
)
def test_several_data_sets_make_one_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any]
) -> None:
    sources = write_sources(tmp_path)
    path = write_recipe(
        tmp_path, sources=sources, source_temperature=2, languages=None, source_thresholds=True, **fields
    )
    results = train.main([str(path)])
    folder = tmp_path / "output"
    model, tokenizer = load_classifier(folder)
    assert label_names(model.config) == LABELS
    assert model.config.languages == ["en-GB", "sw"]
    rows = make_rows(16, 12)
    gold = np.array([[name in row["labels"] for name in LABELS] for row in rows], np.float32)
    probabilities = predict_probabilities(model, tokenizer, [row["text"] for row in rows])
    expected = multilabel_metrics(gold, probabilities, thresholds=model.config.thresholds, label_names=LABELS)
    assert results["test/other/macro_f1"] == pytest.approx(expected["macro_f1"], abs=1e-6)
    assert results["test/few/num_texts"] == 12
    assert ("test/few/f1/joy" in results, "test/few/f1/fear" in results) == (True, False)
    means = [results[f"test/{name}/micro_f1"] for name in sources]
    assert results["test/mean_of_sources/micro_f1"] == pytest.approx(np.mean(means))
    assert "\nmean of sources " in capsys.readouterr().out
    summary = json.loads((folder / "training_summary.json").read_text(encoding="utf-8"))
    assert summary["files"] == {}
    (own,) = model.config.source_thresholds.values()
    assert decision_thresholds(model.config, "all") == own == model.config.thresholds
    with pytest.raises(ValueError, match=r"`source` must be one of all, got 'few'"):
        decision_thresholds(model.config, "few")
    assert summary["sources"]["few"]["files"] == {"train": "few_train.jsonl", "test": "few_test.jsonl"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Trained on 3 data sets together (" in card
    assert "| other | other_test.jsonl | ha | evaluated only | 16 |" in card
