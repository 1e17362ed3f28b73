# SPDX-License-Identifier: Apache-2.0
"""Which number format is the fastest here: measured, because neither the device's name nor its age tells."""

from __future__ import annotations

import time
from functools import cache

import torch

# A product as in the feed-forward part of a small encoder: big enough for the matrix units, a few milliseconds long.
_SHAPE = (1024, 1024)
_REPEATS = 7
# bf16 has to pay for its conversions: a smaller gain in bare products is none in training.
_MIN_SPEEDUP = 1.5


@cache
def fastest_precision(use_cpu: bool = False) -> str:
    """
    The fastest mixed precision of the device that training will run on.

    Args:
        use_cpu (`bool`, *optional*, defaults to `False`): Look at the CPU even where there is a GPU.

    Returns:
        `str`: `"bf16"`, `"fp16"` or `"fp32"`. GPUs with bf16 units get bf16, other CUDA devices fp16; a CPU is
        measured (some are 4 times faster in bf16, some slower).
    """
    if not use_cpu and torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"
    if not use_cpu and torch.accelerator.is_available():
        return "fp32"
    return "bf16" if _seconds(torch.float32) > _MIN_SPEEDUP * _seconds(torch.bfloat16) else "fp32"


def _seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(_SHAPE, dtype=dtype)
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return min(times)
