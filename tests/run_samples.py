# SPDX-License-Identifier: Apache-2.0
"""Runs of a comparison made by hand: random gold labels, and probabilities that are more or less near to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer_ext.comparison.runs import RunPredictions

NAMES = ["joy", "anger", "fear", "grief", "pride"]
# The order of frequency is not that of the labels.
COUNTS = [40, 90, 20, 2, 1]
FREQUENCIES = [0.4, 0.5, 0.3, 0.1, 0.1]


def make_run(noise: float, seed: int, **fields: Any) -> RunPredictions:
    """A run on the same 150 validation and 200 test texts as all others; `fields` take the place of its own."""
    texts, model = np.random.default_rng(0), np.random.default_rng([1, seed])
    arrays: dict[str, Any] = {
        "label_names": np.array(NAMES),
        "train_counts": np.array(COUNTS),
        "thresholds": np.array([0.5, 0.4, 0.5, 0.3, 0.6]),
    }
    for split, size in (("validation", 150), ("test", 200)):
        labels = texts.random((size, len(NAMES))) < FREQUENCIES
        logits = 2.0 * (labels - 0.5) + model.normal(0.0, noise, labels.shape)
        arrays[f"{split}_labels"] = labels
        arrays[f"{split}_probabilities"] = (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
        arrays[f"{split}_digest"] = np.array(f"hash of {split}")
    return RunPredictions(**{**arrays, **fields})


def make_variants() -> dict[str, list[RunPredictions]]:
    """Three variants with three runs each; the second is better, the third is about as good as the first."""
    return {
        name: [make_run(noise, seed) for seed in seeds]
        for name, noise, seeds in (("plain", 1.5, (1, 2, 3)), ("better", 0.5, (4, 5, 6)), ("same", 1.5, (7, 8, 9)))
    }
