# SPDX-License-Identifier: Apache-2.0
"""Benchmark of the ONNX files beside torch: texts a second and macro-F1 of each, on the same batches in one run."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hub.model.onnx_export import FOLDER, FP32_FILE, INT8_FILE, export_onnx
from modeling_stacked_emotion import decision_thresholds, label_names
from scripts._timing import seconds
from trainer_ext.data.loading import read_file
from trainer_ext.evaluation.calibration import calibrated_probabilities
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.prediction import load_classifier

_Batch = dict[str, torch.Tensor]
_Side = Callable[[_Batch], np.ndarray]


def measure_onnx(folder: str, texts_file: str, num_texts: int, batch_size: int, rounds: int) -> dict[str, float]:
    """
    Texts a second of torch in fp32 and bf16 and of onnxruntime in fp32 and int8, and the macro-F1 of each.

    All run on the CPU with as many threads as torch has; batches are tokenised before, texts of like length together.
    The ONNX files are those of the folder, or are made for the run where it has none.
    """
    model, tokenizer = load_classifier(folder, "cpu")
    rows = read_file(texts_file, label_names=label_names(model.config))[0]
    rows = rows.select(range(min(num_texts, len(rows))))
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]["text"]))
    rows = rows.select(order)
    labels = np.asarray(rows["labels"], dtype=np.int64)
    batches = [
        dict(tokenizer(list(part["text"]), padding=True, truncation=True, return_tensors="pt"))
        for part in rows.iter(batch_size)
    ]
    threads = torch.get_num_threads()
    print(f"{len(rows):,} texts in batches of {batch_size} on the CPU, {threads} threads\n")
    with tempfile.TemporaryDirectory() as scratch:
        if not (Path(folder) / FOLDER / INT8_FILE).is_file():
            export_onnx(Path(folder), Path(scratch))
            folder = scratch
        sides = {
            "torch_fp32": _torch_side(model, None),
            "torch_bf16": _torch_side(model, torch.bfloat16),
            "onnx_fp32": _onnx_side(Path(folder) / FOLDER / FP32_FILE, threads),
            "onnx_int8": _onnx_side(Path(folder) / FOLDER / INT8_FILE, threads),
        }
        # The first pass warms up and gives the logits.
        logits = {name: np.concatenate([side(batch) for batch in batches]) for name, side in sides.items()}
        passes = {name: partial(_pass, side, batches) for name, side in sides.items()}
        measured = [{name: seconds(run) for name, run in passes.items()} for _ in range(rounds)]
    results: dict[str, float] = {}
    thresholds = np.asarray(decision_thresholds(model.config))
    print(f"{'':<12}{'texts/s':>9}{'x torch_fp32':>14}{'macro-F1':>10}{'logits off by':>15}")
    for name in sides:
        probabilities = calibrated_probabilities(logits[name], None)
        found = {
            "texts_per_second": len(rows) / statistics.median(times[name] for times in measured),
            "speedup": statistics.median(times["torch_fp32"] / times[name] for times in measured),
            "macro_f1": multilabel_metrics(labels, probabilities, thresholds=thresholds)["macro_f1"],
            "max_logit_distance": float(np.abs(logits[name] - logits["torch_fp32"]).max()),
        }
        speed, ratio, macro_f1, distance = found.values()
        print(f"{name:<12}{speed:>9,.0f}{ratio:>14.2f}{macro_f1:>10.4f}{distance:>15.1e}")
        results |= {f"{name}_{key}": value for key, value in found.items()}
    return results


def _torch_side(model: Any, dtype: torch.dtype | None) -> _Side:
    def run(batch: _Batch) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            return model(**batch).logits.float().numpy()

    return run


def _pass(side: _Side, batches: list[_Batch]) -> None:
    for batch in batches:
        side(batch)


def _onnx_side(path: Path, threads: int) -> _Side:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(["logits"], {name: value.numpy() for name, value in batch.items()})[0]
