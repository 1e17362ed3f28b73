# SPDX-License-Identifier: Apache-2.0
"""Trainings from start to end on texts that know only some of the labels."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from recipe_samples import LABELS, write_recipe
from run_samples import make_variants

from scripts import _training, train
from trainer_ext.comparison.runs import RunPredictions
from trainer_ext.comparison.variants import compare_variants
from trainer_ext.data.batching import stack_labels
from trainer_ext.data.loading import EmotionData
from trainer_ext.data.rows import dataset_labels
from trainer_ext.digests import rows_digest
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities

pytestmark = pytest.mark.usefixtures("blank_figures")


def blanked(data: EmotionData) -> EmotionData:
    """Every other text does not know `anger`; no test text knows `fear`; the third text knows nothing."""
    splits = {}
    for name, rows in data.splits.items():
        labels = np.asarray(rows["labels"], dtype=np.float32)
        labels[::2, 0] = np.nan
        labels[2] = np.nan
        if name == "test":
            labels[:, 1] = np.nan
        splits[name] = datasets.Dataset.from_dict(
            {"text": rows["text"][:], "labels": labels.tolist()}, features=rows.features
        )
    return dataclasses.replace(data, splits=splits)


@pytest.mark.parametrize(
    "fields",
    [
        {
            **{"base_loss": "distribution_balanced", "class_weights": "sqrt", "correlation_loss": "matching"},
            **{"contrastive_loss_weight": 0.1, "contrastive_memory_size": 8, "threshold_metric": "samples_jaccard"},
        },
        {"training_mode": "staged", "num_train_epochs": 1, "head_num_train_epochs": 1},
    ],
    ids=["joint", "staged"],
)
def test_half_of_the_texts_do_not_know_a_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fields: dict[str, Any]
) -> None:
    load_data, seen = _training.load_data, []

    def load_blanked(*arguments: Any) -> EmotionData:
        seen.append(blanked(load_data(*arguments)))
        return seen[0]

    monkeypatch.setattr(_training, "load_data", load_blanked)
    returned = train.main([str(write_recipe(tmp_path, **fields))])
    folder, gold = tmp_path / "output", np.asarray(seen[0].splits["test"]["labels"])
    results = json.loads((folder / "eval_results.json").read_text(encoding="utf-8"))
    assert math.isnan(returned["test_f1/fear"])
    assert "test_f1/fear" not in results
    assert results["test_support/fear"] == 0

    model, tokenizer = load_classifier(folder)
    probabilities = predict_probabilities(model, tokenizer, seen[0].splits["test"]["text"])
    expected = multilabel_metrics(gold, probabilities, thresholds=model.config.thresholds, label_names=LABELS)
    for key in ("macro_f1", "micro_f1", "samples_jaccard", "hamming_loss", "support/anger", "f1/joy"):
        assert results[f"test_{key}"] == pytest.approx(expected[key], abs=1e-6), key
    assert expected["support/anger"] < gold[:, 3].size / 2

    statistics = json.loads((folder / "label_statistics.json").read_text(encoding="utf-8"))
    train_labels = np.asarray(seen[0].splits["train"]["labels"])
    for index, label in enumerate(LABELS):
        entry = statistics["labels"][label]
        assert entry["count"] == np.nansum(train_labels[:, index])
        assert entry["known"] == (~np.isnan(train_labels[:, index])).sum()
    assert statistics["labels"]["anger"]["known"] == 30
    assert "\nthresholds for   macro_f1  micro_f1  samples_jaccard\n" in capsys.readouterr().out
    assert not re.search(r"\bnan\b", (folder / "README.md").read_text(encoding="utf-8"), re.IGNORECASE)


def test_a_missing_label_is_read_as_nan_is() -> None:
    with_none = datasets.Dataset.from_dict({"labels": [[1.0, None], [None, 0.5]]})
    with_nan = datasets.Dataset.from_dict({"labels": [[1.0, math.nan], [math.nan, 0.5]]})
    expected = np.array([[1.0, math.nan], [math.nan, 0.5]], dtype=np.float32)
    for rows in (with_none, with_nan, [dict(row) for row in with_none]):
        np.testing.assert_array_equal(dataset_labels(rows), expected)
        found = stack_labels([row["labels"] for row in rows])
        np.testing.assert_array_equal(found.numpy(), expected)
    assert rows_digest(with_none, ["labels"]) == rows_digest(with_nan, ["labels"])


def test_variants_are_compared_on_the_cells_that_are_known() -> None:
    variants = make_variants()
    labels = variants["plain"][0].test_labels.astype(np.float64)
    labels[::2, 0], labels[:, 1] = math.nan, math.nan
    runs = {name: [dataclasses.replace(run, test_labels=labels) for run in runs] for name, runs in variants.items()}
    summary = compare_variants(runs, num_resamples=200)
    expected = [
        multilabel_metrics(labels, one.test_probabilities, thresholds=one.thresholds) for one in runs["better"]
    ]
    entry = summary["variants"]["better"]
    for key in ("macro_f1", "micro_f1", "macro_average_precision"):
        assert entry[key] == pytest.approx(np.mean([metrics[key] for metrics in expected])), key
    assert entry["macro_f1_low"] < entry["macro_f1"] < entry["macro_f1_high"]
    assert list(summary["labels"]) == ["joy", "fear", "grief", "pride"]
    assert summary["labels"]["joy"]["support"] == np.nansum(labels[:, 0])
    # Of the two frequent labels only one is known.
    assert entry["macro_f1_frequent"] == pytest.approx(np.mean([metrics["f1/0"] for metrics in expected]))


def test_predictions_of_a_run_keep_what_is_unknown(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.Value("float32"))}
    )
    rows = {"text": ["a", "b"], "labels": [[1.0, math.nan], [0.0, 1.0]]}
    whole = {"text": ["a", "b"], "labels": [[1.0, 0.0], [0.0, 1.0]]}
    splits = {name: datasets.Dataset.from_dict(part, features) for name, part in (("train", rows), ("test", rows))}
    data = EmotionData(["joy", "fear"], splits)
    run = RunPredictions.from_data(data, np.full(2, 0.5), {"test": np.zeros((2, 2), dtype=np.float32)})
    run.save(tmp_path / "run.npz")
    loaded = RunPredictions.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(loaded.test_labels, [[1.0, math.nan], [0.0, 1.0]])
    assert loaded.train_counts.tolist() == [1, 1]
    complete = dataclasses.replace(data, splits=splits | {"test": datasets.Dataset.from_dict(whole, features)})
    other = RunPredictions.from_data(complete, np.full(2, 0.5), {"test": np.zeros((2, 2), dtype=np.float32)})
    assert other.test_labels.dtype == np.bool_
    assert other.test_digest != loaded.test_digest
