# SPDX-License-Identifier: Apache-2.0
"""Seconds of pieces of work, timed by turns, and the precision in which models run meanwhile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainer_ext.precision import best_precision


@dataclass(frozen=True)
class Turns:
    """
    Seconds of several runs that took turns.

    Attributes:
        seconds (`list[list[float]]` of shape `(num_rounds, num_runs)`): Of the clock.
    """

    seconds: list[list[float]]

    def per_second(self, index: int, num_items: int) -> float:
        """Items a second of a run: the median of the rounds."""
        return num_items / statistics.median(turn[index] for turn in self.seconds)

    def speedups(self, index: int) -> list[float]:
        """How many times as fast as the first a run was, in each round."""
        return [turn[0] / turn[index] for turn in self.seconds]

    def speedup(self, index: int) -> float:
        """The median of the rounds' speedups."""
        return statistics.median(self.speedups(index))

    def numbers(self, index: int, num_texts: int) -> dict[str, float]:
        """Texts a second of a run, and how many times as fast as the first it was: median, least and most."""
        ratios = self.speedups(index)
        speedups = {"speedup": self.speedup(index), "speedup_low": min(ratios), "speedup_high": max(ratios)}
        return {"texts_per_second": self.per_second(index, num_texts), **speedups}


def seconds(function: Callable[[], Any]) -> float:
    """Seconds of the clock that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def take_turns(runs: Sequence[Callable[[], Any]], rounds: int) -> Turns:
    """Time every run once a round; the first calls, which warm up, are the caller's."""
    return Turns([[seconds(run) for run in runs] for _ in range(rounds)])


def chosen_precision(name: str) -> str:
    """The precision that `--precision` names; the best of the device for `"auto"`."""
    return best_precision() if name == "auto" else name


def synchronize() -> None:
    """Wait until an accelerator has done what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
