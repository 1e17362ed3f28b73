# SPDX-License-Identifier: Apache-2.0
"""Tests of confidence intervals against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from trainer_ext.evaluation.intervals import wilson_interval


def test_intervals_are_scipys() -> None:
    successes, counts = np.array([1, 3, 5, 90, 0]), np.array([1, 3, 10, 100, 7])
    low, high = wilson_interval(successes / counts, counts, 1.959964)
    pairs = zip(successes.tolist(), counts.tolist(), strict=True)
    expected = [binomtest(some, count).proportion_ci(method="wilson") for some, count in pairs]
    np.testing.assert_allclose(low, [interval.low for interval in expected], atol=1e-6)
    np.testing.assert_allclose(high, [interval.high for interval in expected], atol=1e-6)
    # Agresti and Coull's textbook value of 9 in 10 at 95 %.
    assert wilson_interval(np.array([0.9]), np.array([10]))[0] == pytest.approx(0.5958, abs=1e-4)
