# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals of counted shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def wilson_interval(
    shares: npt.NDArray[np.floating], counts: npt.NDArray[np.number], z: float = 1.96
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """
    The interval of binomial shares, sensible at 0 and 1 as well (Wilson, 1927, "Probable Inference, the Law of
    Succession, and Statistical Inference").

    Args:
        shares (`np.ndarray`): Of successes among the trials, each in [0, 1].
        counts (`np.ndarray` of the same shape): Trials, each above 0.
        z (`float`, *optional*, defaults to 1.96): Standard deviations; 1.96 for 95 %.

    Returns:
        The lower and the upper ends, arrays of the same shape.
    """
    centre = shares + z**2 / (2 * counts)
    spread = z * np.sqrt(shares * (1 - shares) / counts + z**2 / (4 * counts**2))
    scale = 1 + z**2 / counts
    return np.asarray((centre - spread) / scale), np.asarray((centre + spread) / scale)
