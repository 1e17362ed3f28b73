# SPDX-License-Identifier: Apache-2.0
"""The global batch: the rows of all processes, in every process, with gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


class _AllGather(torch.autograd.Function):
    """
    The rows of all processes in the order of their ranks. The gradient is that of the own rows, times the number of
    processes.
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        ctx.num_rows = len(rows)
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        first = dist.get_rank() * ctx.num_rows
        return dist.get_world_size() * gradients[0][first : first + ctx.num_rows]


def gather_batch(rows: torch.Tensor) -> torch.Tensor:
    """
    Gather the rows of all processes; in a single process these are the rows themselves.

    Every process computes the same loss L of the gathered batch, and sends `num_processes` times the gradient of L
    back to the rows that are its own. Data parallelism takes the mean of the processes' gradients, which is then the
    sum over all rows: the gradient of L, as one process with `num_processes * batch_size` rows would compute it.

    Args:
        rows (`torch.Tensor` of shape `(batch_size, ...)`): Of one shape in all processes.

    Returns:
        `torch.Tensor` of shape `(num_processes * batch_size, ...)`.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows
    return _AllGather.apply(rows)
