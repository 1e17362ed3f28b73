# SPDX-License-Identifier: Apache-2.0
"""Test cases of the metric, in the form of the `evaluate` template: the inputs and the result of `compute`."""

from __future__ import annotations

from typing import Any

test_cases: list[dict[str, Any]] = [
    {
        "references": [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]],
        "predictions": [[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]],
        "result": {
            "macro_f1": (0.8 + 2 / 3 + 0) / 3,
            "micro_f1": 6 / 8,
            "weighted_f1": (0.8 + 2 / 3) / 2,
            "samples_jaccard": (1 + 1 / 2 + 1 / 2 + 1) / 4,
            "micro_jaccard": 3 / 5,
            "hamming_loss": 2 / 12,
            "subset_accuracy": 2 / 4,
            "macro_precision": (2 / 3 + 1 + 0) / 3,
            "macro_recall": (1 + 1 / 2 + 0) / 3,
            "micro_precision": 3 / 4,
            "micro_recall": 3 / 4,
        },
    },
    {
        "references": [[1, 0], [0, 1]],
        "predictions": [[1, 0], [0, 1]],
        "result": {
            "macro_f1": 1.0,
            "micro_f1": 1.0,
            "weighted_f1": 1.0,
            "samples_jaccard": 1.0,
            "micro_jaccard": 1.0,
            "hamming_loss": 0.0,
            "subset_accuracy": 1.0,
            "macro_precision": 1.0,
            "macro_recall": 1.0,
            "micro_precision": 1.0,
            "micro_recall": 1.0,
        },
    },
    # Nothing gold and nothing predicted: every sample is right, every ratio is `zero_division`.
    {
        "references": [[0, 0], [0, 0]],
        "predictions": [[0, 0], [0, 0]],
        "result": {
            "macro_f1": 0.0,
            "micro_f1": 0.0,
            "weighted_f1": 0.0,
            "samples_jaccard": 1.0,
            "micro_jaccard": 0.0,
            "hamming_loss": 0.0,
            "subset_accuracy": 1.0,
            "macro_precision": 0.0,
            "macro_recall": 0.0,
            "micro_precision": 0.0,
            "micro_recall": 0.0,
        },
    },
]

# For the configuration "probabilities".
probability_test_cases: list[dict[str, Any]] = [
    {
        "references": [[1, 0], [0, 1], [1, 1], [0, 0]],
        "prediction_scores": [[0.9, 0.2], [0.6, 0.4], [0.7, 0.3], [0.1, 0.3]],
        "result": {
            "macro_f1": 0.8 / 2,
            "micro_f1": 4 / 7,
            "weighted_f1": 0.8 / 2,
            "samples_jaccard": (1 + 0 + 1 / 2 + 1) / 4,
            "micro_jaccard": 2 / 5,
            "hamming_loss": 3 / 8,
            "subset_accuracy": 2 / 4,
            "macro_precision": (2 / 3 + 0) / 2,
            "macro_recall": (1 + 0) / 2,
            "micro_precision": 2 / 3,
            "micro_recall": 2 / 4,
            "macro_roc_auc": (1.0 + 3.5 / 4) / 2,
            "macro_average_precision": (1.0 + (1 + 2 / 3) / 2) / 2,
        },
    },
]
