# SPDX-License-Identifier: Apache-2.0
"""Benchmark of trained models beside each other: size, macro-F1, training and inference, time to the first answer."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
from transformers import PreTrainedModel

from modeling_stacked_emotion import decision_thresholds, label_names
from scripts._timing import seconds
from trainer_ext.data.batching import LENGTH_COLUMN, EmotionDataCollator, tokenize_dataset
from trainer_ext.data.loading import read_file
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities
from trainer_ext.precision import autocast

_TRAINING_BATCHES = 8
_LEARNING_RATE = 1e-6
# Fresh processes whose first answer is waited for.
_ANSWERS = 5
_TITLES = (
    *("MB", "macro-F1", "reported", "one core, texts/s", "inference, texts/s", "training, texts/s"),
    "first answer, s",
)


class _Contestant(NamedTuple):
    name: str
    model: PreTrainedModel
    tokenizer: Any


def measure_models(
    folders: Sequence[str], data: str, num_texts: int, batch_size: int, precision: str, rounds: int
) -> dict[str, float]:
    """
    Print and return what each saved classifier needs, in turns, and how many times as fast as the first it is.

    Inference goes from texts to probabilities, on one core in fp32, too; training from collated batches to the
    optimizer's step (clipping and fused AdamW included). Macro-F1 is that of all texts of the file, at the thresholds
    of the model's config; beside it stands what its `eval_results.json` reports, and of which split. The first answer
    is that of `scripts.predict`, from the start of its process; the median of several.

    Args:
        folders (`Sequence[str]`): Folders or Hub ids; the others are compared with the first.
        data (`str`): File of texts with the models' labels.
        num_texts (`int`): Texts to time, from the start of the file.
        batch_size (`int`): Texts per batch.
        precision (`str`): `"fp32"`, `"bf16"` or `"fp16"`.
        rounds (`int`): Rounds; medians are reported.
    """
    contestants = [_Contestant(_short(folder), *load_classifier(folder)) for folder in folders]
    rows = read_file(data, label_names=label_names(contestants[0].model.config))[0]
    timed = rows.select(range(min(num_texts, len(rows))))
    macro_f1 = [_macro_f1(each, rows, batch_size) for each in contestants]
    inference = [_inference(each, timed["text"][:], batch_size, precision) for each in contestants]
    training = [_training(each, timed, batch_size, precision) for each in contestants]
    with _one_core():
        one_core = _rates(
            [_inference(each, timed["text"][:], batch_size, "fp32") for each in contestants], len(timed), rounds
        )
    rates = {
        "one_core": one_core,
        "inference": _rates(inference, len(timed), rounds),
        "training": _rates(training, _TRAINING_BATCHES * min(batch_size, len(timed)), rounds),
    }
    print(f"{len(timed):,} texts, batches of {batch_size}, {precision}, {torch.get_num_threads()} threads\n")
    print(f"{'model':<32} " + " ".join(f"{title:>18}" for title in _TITLES))
    results: dict[str, float] = {}
    for index, (each, folder) in enumerate(zip(contestants, folders, strict=True)):
        measured = {"mb": _megabytes(folder), "macro_f1": macro_f1[index]}
        reported = _reported(folder)
        measured |= {f"{split}_macro_f1": value for split, value in reported.items()}
        shown = ", ".join(f"{value:.3f} ({split})" for split, value in reported.items()) or "–"
        cells = [f"{measured['mb']:.1f}", f"{measured['macro_f1']:.3f}", shown]
        for part, (per_second, ratios) in rates.items():
            measured |= {f"{part}_texts_per_second": per_second[index], f"{part}_speedup": ratios[index]}
            cells.append(f"{per_second[index]:,.0f} ({ratios[index]:.2f}x)")
        waits = [seconds(partial(_answer, folder)) for _ in range(_ANSWERS)]
        measured["first_answer_seconds"] = statistics.median(waits)
        cells.append(f"{measured['first_answer_seconds']:.1f} ({min(waits):.1f} to {max(waits):.1f})")
        print(f"{each.name:<32} " + " ".join(f"{cell:>18}" for cell in cells), flush=True)
        results |= {f"{each.name}/{key}": value for key, value in measured.items()}
    return results


def _short(folder: str) -> str:
    return "/".join(Path(folder).parts[-2:])


def _reported(folder: str) -> dict[str, float]:
    """Macro-F1 of the split that the model's own results are of; nothing where there are none, as for a Hub id."""
    path = Path(folder) / "eval_results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {split: results[f"{split}_macro_f1"] for split in ("test", "validation") if f"{split}_macro_f1" in results}
    return dict([*found.items()][:1])


@contextmanager
def _one_core() -> Iterator[None]:
    """Without threads, those of the tokenizers included."""
    num_threads, parallelism = torch.get_num_threads(), os.environ.get("TOKENIZERS_PARALLELISM")
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
        del os.environ["TOKENIZERS_PARALLELISM"]
        if parallelism is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = parallelism


def _inference(contestant: _Contestant, texts: Sequence[str], batch_size: int, precision: str) -> Callable[[], None]:
    def run() -> None:
        with autocast(contestant.model.device.type, precision):
            predict_probabilities(contestant.model, contestant.tokenizer, texts, batch_size)

    return run


def _training(contestant: _Contestant, rows: datasets.Dataset, batch_size: int, precision: str) -> Callable[[], None]:
    model = contestant.model
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, fused=True)
    encoded, _ = tokenize_dataset(rows, contestant.tokenizer)
    encoded = encoded.select(np.argsort(encoded[LENGTH_COLUMN], kind="stable"))
    starts = np.linspace(0, max(len(encoded) - batch_size, 0), _TRAINING_BATCHES).astype(int).tolist()
    collate = EmotionDataCollator(contestant.tokenizer)
    slices = [range(start, min(start + batch_size, len(encoded))) for start in starts]
    batches = [collate(encoded.__getitems__(list(part))) for part in slices]

    def run() -> None:
        model.train()
        for batch in batches:
            with autocast(contestant.model.device.type, precision):
                loss = model(**{key: value.to(model.device) for key, value in batch.items()}).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return run


def _rates(runs: Sequence[Callable[[], None]], num_texts: int, rounds: int) -> tuple[list[float], list[float]]:
    """Texts a second of each, and its speed beside the first's: the median of the rounds' ratios."""
    for run in runs:
        run()
    times = [[seconds(run) for run in runs] for _ in range(rounds)]
    per_second = [num_texts / statistics.median(column) for column in zip(*times, strict=True)]
    return per_second, [statistics.median(row[0] / row[index] for row in times) for index in range(len(runs))]


def _megabytes(folder: str) -> float:
    """What the model's own files take: weights, graph, tokenizers, code and configuration."""
    patterns = ("*.safetensors", "*.onnx", "*.json", "*.py", "*.txt", "*tokenizer*/*")
    return sum(path.stat().st_size for pattern in patterns for path in Path(folder).glob(pattern)) / 1e6


def _macro_f1(contestant: _Contestant, rows: Any, batch_size: int) -> float:
    probabilities = predict_probabilities(contestant.model, contestant.tokenizer, rows["text"], batch_size)
    thresholds = decision_thresholds(contestant.model.config)
    return multilabel_metrics(np.asarray(rows["labels"]), probabilities, thresholds=thresholds)["macro_f1"]


def _answer(folder: str) -> None:
    command = [sys.executable, "-m", "scripts.predict", "--model", folder, "I did not see that coming!"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
