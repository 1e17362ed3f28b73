# SPDX-License-Identifier: Apache-2.0
"""The processes of `accelerate launch`: one reads the texts and has the answers, all of them compute."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from .engine import Outputs


class Processes:
    """
    What the processes say to each other, over gloo. All of them deal and collect by turns.

    Args:
        rank (`int`): Number of this one; 0 is the main one.
        size (`int`): How many there are, at least 2.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._is_closed = False

    @property
    def is_main(self) -> bool:
        """Whether this process reads and writes."""
        return self.rank == 0

    def deal(self, chunks: Iterable[list[str]]) -> Iterator[list[str]]:
        """
        This process's share of each chunk of the main one; a share may be empty. An error of `chunks` comes out when
        all before it has been dealt.

        Args:
            chunks (`Iterable[list[str]]`): In the main process the texts; not read in the others.
        """
        iterator, failure = iter(chunks), None
        while True:
            shares: list[list[str] | None] = [None] * self.size
            if self.is_main and not self._is_closed:
                try:
                    shares = self._divide(next(iterator, None))
                except Exception as error:
                    failure, self._is_closed = error, True
            if (share := self._scatter(shares)) is None:
                break
            yield share
        if failure is not None:
            raise failure

    def _divide(self, chunk: list[str] | None) -> list[list[str] | None]:
        if chunk is None:
            return [None] * self.size
        bounds = [len(chunk) * rank // self.size for rank in range(self.size + 1)]
        return [chunk[start:stop] for start, stop in pairwise(bounds)]

    def _scatter(self, shares: list[Any]) -> Any:
        from torch import distributed

        received: list[Any] = [None]
        with self._hearing():
            distributed.scatter_object_list(received, shares if self.is_main else None, src=0)
        return received[0]

    def collect(self, outputs: Outputs) -> list[Outputs]:
        """In the main process the outputs of all, in order; nothing in the others."""
        from torch import distributed

        gathered: list[Any] | None = [None] * self.size if self.is_main else None
        with self._hearing():
            distributed.gather_object(outputs, gathered, dst=0)
        return gathered or []

    def close(self) -> None:
        """Nothing more is dealt from now on."""
        self._is_closed = True

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if self.is_main:
                raise
            raise InputError("The main process has ended before its time; its message says why.") from error


@contextmanager
def launched_processes() -> Iterator[Processes | None]:
    """
    The processes that `accelerate launch` or `torchrun` has started this one with, each with an accelerator of its own
    if there are several; `None` where it runs alone.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield None
        return
    import torch
    from torch import distributed

    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", "0")) % torch.accelerator.device_count())
    distributed.init_process_group("gloo")
    try:
        yield Processes(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
