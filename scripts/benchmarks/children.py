# SPDX-License-Identifier: Apache-2.0
"""Measurements in fresh processes, whose memory is theirs alone."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_READY = "ready"

Numbers = dict[str, float]


def in_children(module: str, tasks: Sequence[dict[str, Any]]) -> list[Numbers]:
    """
    Give each task to a process of its own, `python -m MODULE`, which answers through [`answer_task`]; all begin when
    the last one has prepared itself.

    Args:
        module (`str`): Its main part calls [`answer_task`].
        tasks (`Sequence[dict]`): Anything that JSON can hold.

    Raises:
        `OSError`: If a process ends without an answer; its own messages are on standard error.
    """
    with ExitStack() as stack:
        children = []
        for task in tasks:
            child = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            children.append(stack.enter_context(child))
            # Called first: a process that still waits when another one has failed is not waited for.
            stack.callback(child.kill)
        for child in children:
            while _next_line(child, module) != _READY:
                pass
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        return [_answer(child, module) for child in children]


def answer_task(prepare: Callable[[dict[str, Any]], Callable[[], Numbers]]) -> None:
    """The whole life of such a process: prepare the task of the command line, wait for the word, print the numbers."""
    hide_progress()
    run = prepare(json.loads(sys.argv[1]))
    print(_READY, flush=True)
    sys.stdin.readline()
    print(json.dumps(run()), flush=True)


def hide_progress() -> None:
    """No bars of transformers and datasets."""
    import transformers
    from datasets.utils.logging import disable_progress_bar

    transformers.logging.disable_progress_bar()
    disable_progress_bar()


def peak_mb(device_type: str = "cpu") -> float:
    """
    The most memory that this process has held, in MB: of the GPU on `"cuda"`, else of the machine.

    On Linux that of its own program: the other number that the system keeps, `ru_maxrss`, begins with what the process
    that started this one held.
    """
    if device_type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    if _STATUS.is_file():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    # Bytes on macOS, the only other system that is served here.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _next_line(child: subprocess.Popen[str], module: str) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise _no_answer(child, module)
    return line.rstrip("\n")


def _answer(child: subprocess.Popen[str], module: str) -> Numbers:
    """The last line: libraries print before it."""
    assert child.stdout is not None
    printed = child.stdout.read()
    if child.wait() or not printed:
        raise _no_answer(child, module)
    numbers: Numbers = json.loads(printed.splitlines()[-1])
    return numbers


def _no_answer(child: subprocess.Popen[str], module: str) -> OSError:
    return OSError(f"A process of `python -m {module}` has ended without an answer (exit status {child.wait()}).")
