# SPDX-License-Identifier: Apache-2.0
"""Trained models beside each other: size, macro-F1, training and inference, time to the first answer."""

from __future__ import annotations

import argparse
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

from hub.model.mini import mini_model
from modeling_stacked_emotion import decision_thresholds, label_names
from trainer_ext.data.batching import LENGTH_COLUMN, EmotionDataCollator, tokenize_dataset
from trainer_ext.data.loading import read_file
from trainer_ext.errors import reading
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities
from trainer_ext.precision import autocast

from .timing import Turns, chosen_precision, seconds, take_turns

_TRAINING_BATCHES = 8
_LEARNING_RATE = 1e-6
# Fresh processes whose first answer is waited for.
_ANSWERS = 5
TEXT = "I did not see that coming!"
_TITLES = (
    *("MB", "macro-F1", "reported", "one core, texts/s", "inference, texts/s", "training, texts/s"),
    "first answer, s",
)


class _Contestant(NamedTuple):
    folder: str
    model: PreTrainedModel
    tokenizer: Any

    @property
    def name(self) -> str:
        return "/".join(Path(self.folder).parts[-2:])


def measure(options: argparse.Namespace) -> dict[str, float]:
    """
    Print and return the size, quality and speed of each saved classifier, and its speed beside the first's.

    Inference goes from texts to probabilities, on one core in fp32, too; training from collated batches to the
    optimizer's step (clipping and fused AdamW included). Macro-F1 is that of all texts of the file, at the thresholds
    of the model's config; beside it stands the one in its `eval_results.json`, and of which split. The first answer is
    that of `scripts.predict`, from the start of its process; the median of several.
    """
    contestants = [_load(folder) for folder in options.folders or [mini_model()]]
    rows = read_file(options.texts, label_names=label_names(contestants[0].model.config))[0]
    timed = rows.select(range(min(options.num_texts, len(rows))))
    precision = chosen_precision(options.precision)
    macro_f1 = [_macro_f1(contestant, rows, precision) for contestant in contestants]
    rates = _rates(contestants, timed, options.batch_size, precision, options.rounds)
    print(
        f"{len(timed):,} texts, training in batches of {options.batch_size}, {precision}, "
        f"{torch.get_num_threads()} threads\n"
    )
    print(f"{'model':<32} " + " ".join(f"{title:>18}" for title in _TITLES))
    results: dict[str, float] = {}
    for index, contestant in enumerate(contestants):
        reported = _reported(contestant.folder)
        numbers = {"mb": _megabytes(contestant.folder), "macro_f1": macro_f1[index]}
        numbers |= {f"{split}_macro_f1": value for split, value in reported.items()}
        columns = [f"{numbers['mb']:.1f}", f"{numbers['macro_f1']:.3f}"]
        columns.append(", ".join(f"{value:.3f} ({split})" for split, value in reported.items()) or "–")
        for part, (turns, num_texts) in rates.items():
            per_second, speedup = turns.per_second(index, num_texts), turns.speedup(index)
            numbers |= {f"{part}_texts_per_second": per_second, f"{part}_speedup": speedup}
            columns.append(f"{per_second:,.0f} ({speedup:.2f}x)")
        waits = [seconds(partial(first_answer, contestant.folder)) for _ in range(_ANSWERS)]
        numbers["first_answer_seconds"] = statistics.median(waits)
        columns.append(f"{numbers['first_answer_seconds']:.1f} ({min(waits):.1f} to {max(waits):.1f})")
        print(f"{contestant.name:<32} " + " ".join(f"{column:>18}" for column in columns), flush=True)
        results |= {f"{contestant.name}/{key}": value for key, value in numbers.items()}
    return results


def _load(folder: str) -> _Contestant:
    with reading(f"{folder} cannot be loaded"):
        return _Contestant(folder, *load_classifier(folder))


def _rates(
    contestants: Sequence[_Contestant], rows: datasets.Dataset, batch_size: int, precision: str, rounds: int
) -> dict[str, tuple[Turns, int]]:
    """The turns of each part of the work, and how many texts a run of it has."""
    texts = rows["text"][:]

    def turns(runs: Sequence[Callable[[], None]]) -> Turns:
        for run in runs:
            run()
        return take_turns(runs, rounds)

    with _one_core():
        one_core = turns([partial(_infer, contestant, texts, "fp32") for contestant in contestants])
    inference = turns([partial(_infer, contestant, texts, precision) for contestant in contestants])
    training = turns([_training(contestant, rows, batch_size, precision) for contestant in contestants])
    return {
        "one_core": (one_core, len(rows)),
        "inference": (inference, len(rows)),
        "training": (training, _TRAINING_BATCHES * min(batch_size, len(rows))),
    }


def _reported(folder: str) -> dict[str, float]:
    """Macro-F1 of the split that the model's own results are of; nothing where there are none, as for a Hub id."""
    path = Path(folder) / "eval_results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    split = next((split for split in ("test", "validation") if f"{split}_macro_f1" in results), None)
    return {} if split is None else {split: results[f"{split}_macro_f1"]}


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


def _infer(contestant: _Contestant, texts: Sequence[str], precision: str) -> None:
    predict_probabilities(contestant.model, contestant.tokenizer, texts, precision=precision)


def _training(contestant: _Contestant, rows: datasets.Dataset, batch_size: int, precision: str) -> Callable[[], None]:
    model = contestant.model
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, fused=True)
    encoded, _ = tokenize_dataset(rows, contestant.tokenizer)
    encoded = encoded.select(np.argsort(encoded[LENGTH_COLUMN], kind="stable"))
    starts = np.linspace(0, max(len(encoded) - batch_size, 0), _TRAINING_BATCHES).astype(int).tolist()
    collate = EmotionDataCollator(contestant.tokenizer)
    slices = [range(start, min(start + batch_size, len(encoded))) for start in starts]
    batches = [collate(encoded.__getitems__(list(indices))) for indices in slices]

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


def _megabytes(folder: str) -> float:
    """The size of the model's own files: weights, graph, tokenizers, code and configuration."""
    patterns = ("*.safetensors", "*.onnx", "*.json", "*.py", "*.txt", "*tokenizer*/*")
    return sum(path.stat().st_size for pattern in patterns for path in Path(folder).glob(pattern)) / 1e6


def _macro_f1(contestant: _Contestant, rows: Any, precision: str) -> float:
    probabilities = predict_probabilities(contestant.model, contestant.tokenizer, rows["text"], precision=precision)
    thresholds = decision_thresholds(contestant.model.config)
    return multilabel_metrics(np.asarray(rows["labels"]), probabilities, thresholds=thresholds)["macro_f1"]


def first_answer(folder: str) -> None:
    """Let a fresh process of `scripts.predict` answer about one text."""
    command = [sys.executable, "-m", "scripts.predict", "--model", folder, TEXT]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
