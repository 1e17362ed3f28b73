# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.evaluation.sources: each source is measured on its rows and the labels that it knows."""

from __future__ import annotations

import numpy as np
import pytest

from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.sources import results_by_source, sources_table, thresholds_by_source

NAMES = ["anger", "joy", "fear"]
SOURCES = ["en", "de", "en", "de", "en", "xx"]
LABELS = np.array(
    [[1, 0, np.nan], [0, 1, 1], [0, 1, np.nan], [1, 1, 0], [1, 1, np.nan], [np.nan, np.nan, np.nan]], np.float32
)
PROBABILITIES = np.array(
    [[0.9, 0.2, 0.1], [0.4, 0.7, 0.8], [0.6, 0.3, 0.9], [0.7, 0.1, 0.2], [0.8, 0.6, 0.5], [0.5, 0.5, 0.5]]
)
THRESHOLDS = np.array([0.5, 0.4, 0.6])


def test_each_source_has_the_metrics_of_its_rows_and_labels() -> None:
    results = results_by_source("test", SOURCES, LABELS, PROBABILITIES, dict.fromkeys(SOURCES, THRESHOLDS), NAMES)
    english = multilabel_metrics(
        LABELS[[0, 2, 4]][:, :2], PROBABILITIES[[0, 2, 4]][:, :2], thresholds=THRESHOLDS[:2], label_names=NAMES[:2]
    )
    german = multilabel_metrics(LABELS[[1, 3]], PROBABILITIES[[1, 3]], thresholds=THRESHOLDS, label_names=NAMES)
    for source, expected in (("en", english), ("de", german)):
        for key, value in expected.items():
            assert results[f"test/{source}/{key}"] == pytest.approx(value, nan_ok=True)
    assert "test/en/f1/fear" not in results
    assert not [key for key in results if "/xx/" in key]
    mean = (english["macro_f1"] + german["macro_f1"]) / 2
    assert results["test/mean_of_sources/macro_f1"] == pytest.approx(mean)


def test_table_has_a_row_for_each_source_and_the_mean() -> None:
    results = results_by_source("test", SOURCES, LABELS, PROBABILITIES, dict.fromkeys(SOURCES, THRESHOLDS), NAMES)
    lines = sources_table("test", results).splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["source", "texts"], ["en", "3"], ["de", "2"]]
    assert lines[3].startswith("mean of sources")
    assert f"{results['test/en/macro_f1']:.3f}" in lines[1]


def test_thresholds_of_a_source_are_those_of_its_rows() -> None:
    def choose(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        return np.array([len(labels) / 10, probabilities[:, 1].max(), 0.9])

    common = np.array([0.11, 0.12, 0.13])
    thresholds = thresholds_by_source(SOURCES, LABELS, PROBABILITIES, common, choose)
    # The English rows know no fear, and the last source knows nothing at all.
    assert thresholds["en"].tolist() == [0.3, 0.6, 0.13]
    assert thresholds["de"].tolist() == [0.2, 0.7, 0.9]
    assert thresholds["xx"].tolist() == common.tolist()
    results = results_by_source("test", SOURCES, LABELS, PROBABILITIES, thresholds, NAMES)
    expected = multilabel_metrics(
        LABELS[[1, 3]], PROBABILITIES[[1, 3]], thresholds=thresholds["de"], label_names=NAMES
    )
    assert results["test/de/macro_f1"] == expected["macro_f1"]
