# SPDX-License-Identifier: Apache-2.0
"""The global batch: what every process computed, in every process, with gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


class _AllGather(torch.autograd.Function):
    """Rows of all processes, in the order of their ranks; the gradient is the sum of what all processes want."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        ctx.num_rows = len(rows)
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        first = dist.get_rank() * ctx.num_rows
        return total[first : first + ctx.num_rows]


def gather_batch(rows: torch.Tensor) -> torch.Tensor:
    """
    The rows of all processes; in a single process the rows themselves.

    A loss of the gathered batch is the same in every process. Each of them sends back the whole gradient, so their sum
    is `num_processes` times what one process would get, and the mean that data parallelism takes is exact: `n`
    processes with `batch_size` rows equal one with `n * batch_size`.

    Args:
        rows (`torch.Tensor` of shape `(batch_size, ...)`): Of one batch size in all processes.

    Returns:
        `torch.Tensor` of shape `(num_processes * batch_size, ...)`.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows
    return _AllGather.apply(rows)
