# SPDX-License-Identifier: Apache-2.0
"""This project beside the other ways to the same answers and the same training, on the same texts, by turns."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from trainer_ext.errors import InputError
from trainer_ext.files import write_file

PARTS = ("answers", "training", "start", "scaling", "peak")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Print a Markdown table for each of the parts that `--only` names, and return all numbers."""
    # Here, since the parts run as modules in processes of their own.
    import torch
    import transformers

    from . import answers, peak, scaling, start, training
    from .figures import draw_lengths, draw_numbers
    from .work import Work, prepare_work

    chosen = options.only.split(",")
    if unknown := [part for part in chosen if part not in PARTS]:
        raise InputError(f"--only takes some of {', '.join(PARTS)}, got {unknown[0]!r}.")
    if options.figures and "scaling" not in chosen:
        raise InputError("--figures draws the part scaling, which --only leaves out.")
    measures: dict[str, Callable[[Work], dict[str, float]]] = {
        "answers": answers.measure,
        "training": training.measure,
        "start": start.measure,
        "scaling": lambda work: scaling.measure(work, options.max_texts),
        "peak": peak.measure,
    }
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = prepare_work(options, Path(scratch))
        name = torch.cuda.get_device_name(work.device) if work.device_type == "cuda" else work.device
        print(
            f"{name}, {torch.get_num_threads()} threads, {work.best}; torch {torch.__version__}, "
            f"transformers {transformers.__version__}, onnxruntime {version('onnxruntime')}; "
            f"{work.rounds} rounds, median (least to most)\n"
        )
        for part in PARTS:
            if part in chosen:
                results |= measures[part](work)
    if options.figures:
        folder = Path(options.figures)
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / "lengths.png", draw_lengths(results))
        write_file(folder / "numbers.png", draw_numbers(results))
    return results
