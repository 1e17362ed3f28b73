# SPDX-License-Identifier: Apache-2.0
"""Weights in fewer bits on disk: rounded while the model is in memory, so that saving it loses nothing."""

from collections.abc import Mapping

import torch
from torch import nn

from .static_words_stacked_emotion import StaticWordsModel

WEIGHTS_DTYPES = ("float32", "float8")

_FLOAT8 = torch.float8_e4m3fn
_FLOAT8_MAX = torch.finfo(_FLOAT8).max


@torch.no_grad()
def round_weights(model: nn.Module, weights_dtype: str = "float32") -> None:
    """
    Round weights, in place, to values that fewer bits can hold; their dtype stays.

    Args:
        model (`nn.Module`): Any model.
        weights_dtype (`str`, *optional*, defaults to `"float32"`): `"float32"` rounds the tables of static words, to
            fp16. `"float8"` rounds every weight of two or more dimensions to 8 bits, 4 of them for the exponent and 3
            for the mantissa (e4m3; Micikevicius et al. 2022, FP8 Formats for Deep Learning).

    Raises:
        `ValueError`: If `weights_dtype` is not one of `WEIGHTS_DTYPES`.
    """
    if weights_dtype not in WEIGHTS_DTYPES:
        raise ValueError(f"`weights_dtype` must be one of {', '.join(WEIGHTS_DTYPES)}, got {weights_dtype!r}.")
    if weights_dtype == "float8":
        for weight in filter(_is_matrix, model.state_dict().values()):
            # Beyond the largest number of 8 bits torch 2.8 has none.
            weight.copy_(weight.clamp(-_FLOAT8_MAX, _FLOAT8_MAX).to(_FLOAT8))
        return
    for module in model.modules():
        if isinstance(module, StaticWordsModel):
            module.table.copy_(module.table.to(torch.float16))


def stored_weights(model: nn.Module, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    The weights as they are to be written, each in no more bits than it needs: all matrices in 8 bits after
    [`round_weights`] to `"float8"`, else tables of static words in fp16 if that loses nothing.

    Args:
        model (`nn.Module`): The model.
        state_dict (`dict[str, torch.Tensor]`): Its weights, or the part of them that this process holds.
    """
    matrices = [name for name, weight in state_dict.items() if _is_matrix(weight)]
    if matrices and all(_is_exact(state_dict[name], _FLOAT8) for name in matrices):
        return state_dict | {name: state_dict[name].to(_FLOAT8) for name in matrices}
    tables = [f"{name}.table" for name, module in model.named_modules() if isinstance(module, StaticWordsModel)]
    exact = [name for name in tables if name in state_dict and _is_exact(state_dict[name], torch.float16)]
    return state_dict | {name: state_dict[name].to(torch.float16) for name in exact}


def not_finite(weights: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the first of the weights that holds NaN or an infinite number; `None` where all are finite."""
    for name, weight in weights.items():
        if weight.device.type == "meta" or not weight.is_floating_point():
            continue
        # Numbers in 8 bits have no test of their own (torch 2.13).
        if not torch.isfinite(weight.float() if weight.element_size() == 1 else weight).all():
            return name
    return None


def _is_matrix(weight: torch.Tensor) -> bool:
    return weight.is_floating_point() and weight.dim() >= 2


def _is_exact(weight: torch.Tensor, dtype: torch.dtype) -> bool:
    return weight.device.type != "meta" and torch.equal(weight.to(dtype).to(weight.dtype), weight)
