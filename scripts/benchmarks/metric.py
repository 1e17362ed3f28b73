# SPDX-License-Identifier: Apache-2.0
"""The metrics: the core, scikit-learn for the same values, and the core called through `evaluate`."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import numpy.typing as npt
import sklearn.metrics as sk

from hub.metric.staging import stage_metric
from trainer_ext.evaluation.metrics import multilabel_metrics

# As many as all of GoEmotions.
_NUM_SAMPLES, _NUM_LABELS = 54_263, 28


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of the clock and of the processor for each way, medians of the rounds; by turns in one run."""
    labels, scores = _data()
    predicted = scores >= 0.4
    with tempfile.TemporaryDirectory() as folder:
        hard, soft = _evaluate_modules(Path(folder))
        ways: dict[str, Callable[[], Any]] = {
            "core_predictions": lambda: multilabel_metrics(labels, predictions=predicted),
            "core_probabilities": lambda: multilabel_metrics(labels, scores, thresholds=0.4),
            "sklearn_predictions": lambda: _sklearn_counts(labels, predicted),
            "sklearn_probabilities": lambda: (_sklearn_counts(labels, predicted), _sklearn_ranking(labels, scores)),
            "evaluate_predictions": lambda: hard.compute(references=labels, predictions=predicted),
            "evaluate_probabilities": lambda: soft.compute(references=labels, prediction_scores=scores),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                times[name].append(_milliseconds(way))
    print(f"{_NUM_SAMPLES:,} x {_NUM_LABELS} {scores.dtype} values, milliseconds, median of {options.rounds} rounds")
    print(f"{'':>24} {'clock':>9} {'processor':>9}")
    results: dict[str, float] = {}
    for name, measured in times.items():
        clock, processor = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"{name.replace('_', ', '):>24} {clock:>9,.1f} {processor:>9,.1f}")
        results |= {f"metric_{name}_ms": clock, f"metric_{name}_cpu_ms": processor}
    return results


def _data() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Labels as unevenly frequent as GoEmotions', and probabilities of a fair model."""
    generator = np.random.default_rng(0)
    labels = generator.random((_NUM_SAMPLES, _NUM_LABELS)) < np.geomspace(0.3, 0.002, _NUM_LABELS)
    logits = generator.normal(size=labels.shape) - 2 + 2.5 * labels
    return labels, (1 / (1 + np.exp(-logits))).astype(np.float32)


def _evaluate_modules(folder: Path) -> tuple[Any, Any]:
    stage_metric(folder, repo_id="user/multilabel_emotion")
    path = str(folder / "multilabel_emotion.py")
    return evaluate.load(path), evaluate.load(path, "probabilities", thresholds=0.4)


def _sklearn_counts(labels: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]) -> list[Any]:
    return [
        *(
            sk.precision_recall_fscore_support(labels, predicted, average=average, zero_division=0.0)
            for average in (None, "macro", "micro", "weighted")
        ),
        *(sk.jaccard_score(labels, predicted, average=average, zero_division=0.0) for average in ("micro", "samples")),
        sk.hamming_loss(labels, predicted),
        sk.accuracy_score(labels, predicted),
    ]


def _sklearn_ranking(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32]) -> list[Any]:
    return [sk.roc_auc_score(labels, scores, average=None), sk.average_precision_score(labels, scores)]


def _milliseconds(way: Callable[[], Any]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    way()
    return 1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - processor)
