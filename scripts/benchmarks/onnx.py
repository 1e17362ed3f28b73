# SPDX-License-Identifier: Apache-2.0
"""The ONNX files beside torch: texts a second and macro-F1 of each, on the same batches in one run."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hub.model.onnx_export import FOLDER, FP32_FILE, INT8_FILE, export_onnx
from modeling_stacked_emotion import decision_thresholds, label_names
from trainer_ext.data.length_batches import length_batches
from trainer_ext.data.loading import read_file
from trainer_ext.errors import reading
from trainer_ext.evaluation.calibration import calibrated_probabilities
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.prediction import load_classifier
from trainer_ext.precision import autocast

from .timing import take_turns

_Batch = dict[str, torch.Tensor]
_Engine = Callable[[_Batch], np.ndarray]


def measure(options: argparse.Namespace) -> dict[str, float]:
    """
    Texts a second of torch in fp32 and bf16 and of onnxruntime in fp32 and int8, and the macro-F1 of each.

    All run on the CPU with as many threads as torch has; batches are tokenised before, texts of like length together.
    The ONNX files are those of the folder, or are made for the run where it has none.
    """
    with reading(f"{options.model} cannot be loaded"):
        model, tokenizer = load_classifier(options.model, "cpu")
    rows = read_file(options.texts, label_names=label_names(model.config))[0]
    texts = rows["text"][: options.num_texts]
    batches = list(length_batches([len(text) for text in texts], options.batch_size))
    labels = np.asarray(rows["labels"][: options.num_texts], dtype=np.int64)[np.concatenate(batches)]
    encoded = [
        dict(tokenizer([texts[row] for row in batch], padding=True, truncation=True, return_tensors="pt"))
        for batch in batches
    ]
    threads = torch.get_num_threads()
    print(f"{len(texts):,} texts in batches of {options.batch_size} on the CPU, {threads} threads\n")
    with tempfile.TemporaryDirectory() as scratch:
        engines = _engines(model, Path(options.model), Path(scratch), threads)
        # The first pass warms up and gives the logits.
        logits = {name: np.concatenate(_run(engine, encoded)) for name, engine in engines.items()}
        turns = take_turns([partial(_run, engine, encoded) for engine in engines.values()], options.rounds)
    results: dict[str, float] = {}
    thresholds = np.asarray(decision_thresholds(model.config))
    print(f"{'':<12}{'texts/s':>9}{'x torch_fp32':>14}{'macro-F1':>10}{'logits off by':>15}")
    for index, name in enumerate(engines):
        speed, speedup = turns.per_second(index, len(texts)), turns.speedup(index)
        probabilities = calibrated_probabilities(logits[name], None)
        macro_f1 = multilabel_metrics(labels, probabilities, thresholds=thresholds)["macro_f1"]
        distance = float(np.abs(logits[name] - logits["torch_fp32"]).max())
        print(f"{name:<12}{speed:>9,.0f}{speedup:>14.2f}{macro_f1:>10.4f}{distance:>15.1e}")
        results |= {f"{name}_texts_per_second": speed, f"{name}_speedup": speedup}
        results |= {f"{name}_macro_f1": macro_f1, f"{name}_max_logit_distance": distance}
    return results


def _engines(model: Any, folder: Path, scratch: Path, threads: int) -> dict[str, _Engine]:
    """The engines by name; all others are compared with the first."""
    if not (folder / FOLDER / INT8_FILE).is_file():
        export_onnx(folder, scratch)
        folder = scratch
    return {
        "torch_fp32": partial(_torch_logits, model, "fp32"),
        "torch_bf16": partial(_torch_logits, model, "bf16"),
        "onnx_fp32": onnx_engine(folder / FOLDER / FP32_FILE, threads),
        "onnx_int8": onnx_engine(folder / FOLDER / INT8_FILE, threads),
    }


def _torch_logits(model: Any, precision: str, batch: _Batch) -> np.ndarray:
    with torch.inference_mode(), autocast("cpu", precision):
        return model(**batch).logits.float().numpy()


def onnx_engine(path: Path, threads: int) -> _Engine:
    """From a batch of int64 tensors to the logits of a graph, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(["logits"], {name: value.numpy() for name, value in batch.items()})[0]


def _run(engine: _Engine, batches: list[_Batch]) -> list[np.ndarray]:
    return [engine(batch) for batch in batches]
