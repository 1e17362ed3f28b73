# SPDX-License-Identifier: Apache-2.0
"""Which number format is the fastest here: measured, because neither the device's name nor its age tells."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What the names of precisions stand for in an autocast."""

# A product as in the feed-forward part of a small encoder: big enough for the matrix units, a few milliseconds long.
_SHAPE = (1024, 1024)
_REPEATS = 7
# bf16 has to pay for its conversions: a smaller gain in bare products is none in training.
_MIN_SPEEDUP = 1.5
_PRECISION_FILE = "precision.txt"


def autocast(device_type: str, precision: str) -> torch.autocast:
    """The context in which a model runs in a precision, a key of `DTYPES`, on a device of a type such as `"cuda"`."""
    return torch.autocast(device_type, DTYPES[precision], enabled=precision != "fp32")


@cache
def fastest_precision(use_cpu: bool = False) -> str:
    """
    The fastest mixed precision of the device that training will run on.

    Args:
        use_cpu (`bool`, *optional*, defaults to `False`): Look at the CPU even where there is a GPU.

    Returns:
        `str`: `"bf16"`, `"fp16"` or `"fp32"`. GPUs with bf16 units get bf16, other CUDA devices fp16; a CPU is
        measured (some are 4 times faster in bf16, some slower), but gets fp32 in several processes: each would measure
        for itself, and they must agree.
    """
    if not use_cpu and torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"
    if not use_cpu and torch.accelerator.is_available():
        return "fp32"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
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


def write_precision(checkpoint: str | os.PathLike[str], precision: str) -> None:
    """Note in the folder of a checkpoint what it was trained in."""
    file = Path(checkpoint) / _PRECISION_FILE
    partial = file.with_suffix(".partial")
    partial.write_text(precision, encoding="utf-8")
    partial.replace(file)


def read_precision(folder: str | os.PathLike[str]) -> str | None:
    """What the newest checkpoint in a folder, or the folder itself, was trained in; `None` where nothing is noted."""
    files = sorted(Path(folder).rglob(_PRECISION_FILE), key=lambda file: file.stat().st_mtime)
    return files[-1].read_text(encoding="utf-8") if files else None
