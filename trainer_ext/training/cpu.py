# SPDX-License-Identifier: Apache-2.0
"""What makes a training step shorter on a CPU: the same layers in fewer and cheaper passes over memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812  (its usual name)
from torch.overrides import TorchFunctionMode

# Ratios of dropout are rounded to 1 / 65,536: a mask takes 16 random bits an entry.
_STEPS = 1 << 16
# Up to so many tokens attention takes less time step by step, and its weights little memory.
_MAX_TOKENS = 128


class FewerPasses(TorchFunctionMode):
    """
    Within this context three functions of torch, whatever model calls them, run as a CPU with units for bf16 has them
    fastest under autocast. The backward pass does not meet it: no activations may be computed again there.

    - `dropout` makes its mask of 16 random bits for each entry, where torch draws a number of 64;
    - `layer_norm` returns bf16, the type in which all that follows multiplies, so that sums, dropouts and casts
      between the layers move half the bytes;
    - `scaled_dot_product_attention` of short texts, or with dropout, is a product, a softmax and a product.

    Random numbers come from the generator of torch: a resumed run draws the same ones.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call the function, or what takes its place."""
        return _REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))


def dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """That of torch, with `p` rounded to a multiple of 1 / 65,536, in which the scale is exact."""
    num_dropped = round(p * _STEPS)
    if not training or not 0 < num_dropped < _STEPS:
        return F.dropout(input, p, training, inplace)
    # From the least number of 64 bits on, with no end: the numbers that `random_` draws by itself leave out the sign.
    bits = torch.empty(math.ceil(input.numel() / 4), dtype=torch.int64).random_(-(1 << 63), None)
    numbers = bits.view(torch.int16)[: input.numel()].view(input.shape)
    mask = torch.ge(numbers, num_dropped - _STEPS // 2, out=torch.empty(input.shape, dtype=input.dtype))
    mask.mul_(_STEPS / (_STEPS - num_dropped))
    return input.mul_(mask) if inplace else input * mask


def layer_norm(*args: Any, **kwargs: Any) -> torch.Tensor:
    """That of torch, its result in the type of the autocast."""
    output = F.layer_norm(*args, **kwargs)
    return output.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else output


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """
    That of torch, which itself goes step by step where there is dropout.

    *Shape:* `(..., num_queries, head_size)` and two times `(..., num_keys, head_size)` to that of the queries.
    """
    is_long = key.shape[-2] > _MAX_TOKENS and not dropout_p
    if is_causal or enable_gqa or is_long or not torch.is_autocast_enabled("cpu"):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            least = torch.finfo(scores.dtype).min
            attn_mask = torch.zeros(attn_mask.shape, dtype=scores.dtype).masked_fill_(~attn_mask, least)
        scores = scores + attn_mask.to(scores.dtype)
    return dropout(torch.softmax(scores, dim=-1), dropout_p) @ value


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.dropout: dropout,
    F.layer_norm: layer_norm,
    F.scaled_dot_product_attention: attention,
}


def fewer_passes(device_type: str, precision: str) -> AbstractContextManager[Any]:
    """[`FewerPasses`] where it helps: on a CPU in bf16; no change elsewhere."""
    return FewerPasses() if device_type == "cpu" and precision == "bf16" else nullcontext()
