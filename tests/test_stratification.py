# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.stratification."""

from __future__ import annotations

import numpy as np
import pytest

from trainer_ext.data.stratification import iterative_stratification


def naive_stratification(labels: np.ndarray, ratios: list[float], seed: int) -> list[int]:
    """Deal out one row at a time as Sechidis et al. (2011) write it, recounting everything at each step."""
    rng = np.random.default_rng(seed)
    num_rows, num_labels = labels.shape
    chosen = [-1] * num_rows
    totals = labels.sum(axis=0)
    while -1 in chosen:
        left = [row for row in range(num_rows) if chosen[row] == -1]
        counts = {label: sum(labels[row, label] for row in left) for label in range(num_labels)}
        counts = {label: count for label, count in counts.items() if count > 0}
        label = min(counts, key=lambda label: counts[label]) if counts else None
        for row in rng.permutation([row for row in left if label is None or labels[row, label]]):
            sizes = [ratio * num_rows - chosen.count(subset) for subset, ratio in enumerate(ratios)]
            wants = list(sizes)
            if label is not None:
                for subset, ratio in enumerate(ratios):
                    members = [i for i in range(num_rows) if chosen[i] == subset]
                    wants[subset] = ratio * totals[label] - labels[members, label].sum()
            chosen[row] = max(range(len(ratios)), key=lambda subset: (wants[subset], sizes[subset]))
    return chosen


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stratification_matches_the_naive_algorithm(seed: int) -> None:
    # Ratios and counts are exact in binary, so both orders of subtraction give the same ties.
    labels = (np.random.default_rng(seed).random((60, 5)) < [0.5, 0.3, 0.1, 0.1, 0.03]).astype(int)
    expected = naive_stratification(labels, [0.5, 0.25, 0.25], seed)
    assert iterative_stratification(labels, [0.5, 0.25, 0.25], seed).tolist() == expected
