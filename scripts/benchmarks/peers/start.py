# SPDX-License-Identifier: Apache-2.0
"""From the start of a fresh process to its first answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from ..models import TEXT, first_answer
from ..timing import take_turns
from .work import Work, report

_PIPELINE = (
    "import sys; from transformers import pipeline; "
    "print(pipeline('text-classification', model=sys.argv[1], top_k=None, device=sys.argv[2])(sys.argv[3]))"
)


def measure(work: Work) -> dict[str, float]:
    """Seconds of each way, by turns: the pipeline, `scripts.predict` with torch, and with each trained model."""
    sides: dict[str, Callable[[], Any]] = {
        "pipeline": partial(_pipeline_answer, work),
        "scripts.predict, the same encoder": partial(first_answer, work.head),
    }
    sides |= {f"scripts.predict, {name}": partial(first_answer, folder) for name, folder in work.trained.items()}
    turns = take_turns(list(sides.values()), work.rounds)
    waits = [1 / turns.per_second(index, 1) for index in range(len(sides))]
    return report("start", "Start to first answer", list(sides), turns, 1, seconds=waits)


def _pipeline_answer(work: Work) -> None:
    command = [sys.executable, "-c", _PIPELINE, work.stock, work.device, TEXT]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
