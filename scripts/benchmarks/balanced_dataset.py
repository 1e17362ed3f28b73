# SPDX-License-Identifier: Apache-2.0
"""The stages of the balanced data set on generated tweets, all but the teacher's forward pass."""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from accelerate import PartialState

from hub.dataset.acceptance import CutOff, accept_tweets
from hub.dataset.arguments import BalancedDatasetArguments
from hub.dataset.build import Sources, clean_rows, score_shards, write_balanced_dataset
from hub.dataset.candidates import candidate_rows, label_matrix
from hub.dataset.tweets import read_tweets_file
from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.errors import check_integer

from .children import answer_task, in_children, peak_mb
from .timing import seconds

# As many as GoEmotions has.
_NUM_HUMAN, _NUM_VALIDATION, _NUM_TEST = 43_410, 5_426, 5_427
_NUM_WORDS = 50_000
_ROWS_AT_A_TIME = 50_000


class _RandomScores:
    """In the place of a teacher; most scores are low, as real ones are."""

    key = "random"

    def score(self, texts: Sequence[str]) -> np.ndarray:
        generator = np.random.default_rng(len("".join(texts)))
        return (generator.random((len(texts), len(GOEMOTIONS_LABELS))) ** 20).astype(np.float16)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of each stage, of the processor, and the peak of memory for each number of tweets, each in a process."""
    for size in options.sizes:
        check_integer("NUM_TWEETS", size, 1)
    results: dict[str, float] = {}
    stages = ("clean", "scores", "accept", "select")
    titles = " ".join(f"{title:>8}" for title in (*stages, "all", "CPU"))
    print(f"{'tweets':>10} {titles} {'tweets/s':>9} {'peak MB':>8}")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            _write_tweets(Path(folder) / "tweets.csv", size)
            (numbers,) = in_children("scripts.benchmarks.balanced_dataset", [{"folder": folder}])
        times = [numbers[stage] for stage in stages]
        total = sum(times)
        columns = " ".join(f"{value:>8.1f}" for value in (*times, total, numbers["cpu"]))
        print(f"{size:>10,} {columns} {size / total:>9,.0f} {numbers['peak_mb']:>8,.0f}", flush=True)
        results |= {f"dataset_{size}_{name}": value for name, value in numbers.items()}
    return results


def _run_stages(folder: Path) -> dict[str, float]:
    texts = _texts(_NUM_HUMAN + _NUM_VALIDATION + _NUM_TEST, seed=1)
    labels = np.random.default_rng(1).random((_NUM_HUMAN + _NUM_VALIDATION, len(GOEMOTIONS_LABELS))) < 0.05
    human, evaluated = texts[:_NUM_HUMAN], texts[_NUM_HUMAN:]
    validation, test = evaluated[:_NUM_VALIDATION], evaluated[_NUM_VALIDATION:]
    arguments = BalancedDatasetArguments(output_dir=str(folder))
    evaluation = {
        "validation": candidate_rows(validation, labels[_NUM_HUMAN:], "goemotions", "validation"),
        "test": candidate_rows(test, labels[:_NUM_TEST], "goemotions", "test"),
    }
    sources = Sources([candidate_rows(human, labels[:_NUM_HUMAN], "goemotions")], evaluation)
    cut_offs = [CutOff(arguments.flat_cut_off)] * len(GOEMOTIONS_LABELS)
    results: dict[str, Any] = {}

    def clean() -> None:
        results["rows"] = clean_rows(sources, read_tweets_file(str(folder / "tweets.csv")), arguments)

    def score() -> None:
        texts = [table["text"] for table in results["rows"].tweets]
        results["scores"] = score_shards(texts, _RandomScores(), folder / "work" / "scores", PartialState())

    def accept() -> None:
        shards = list(zip(results["rows"].tweets, results["scores"], strict=True))
        results["tweets"], _ = accept_tweets(
            shards, cut_offs, teacher="random", teacher_revision="1", check_polarity=False
        )

    def select() -> None:
        original = label_matrix(sources.human[0]).sum(axis=0)
        candidates = pa.concat_tables([results["rows"].human, results["tweets"]])
        cleaning = results["rows"].counts
        write_balanced_dataset(candidates, evaluation, arguments, original=original, cleaning=cleaning, yields={})

    parts = {"clean": clean, "scores": score, "accept": accept, "select": select}
    before = time.process_time()
    taken = {name: seconds(part) for name, part in parts.items()}
    # On a busy machine the processor's time says more than the clock's.
    taken["cpu"] = time.process_time() - before
    return taken | {"peak_mb": peak_mb()}


def _texts(num_texts: int, seed: int) -> list[str]:
    """Sentences of 5 to 20 words that are as unevenly frequent as real ones (Zipf's law)."""
    generator = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    lengths = generator.integers(2, 9, _NUM_WORDS)
    words = np.array(["".join(letters[generator.integers(0, 26, length)]) for length in lengths])
    shares = 1 / np.arange(1, _NUM_WORDS + 1)
    ends = np.cumsum(generator.integers(5, 21, num_texts))
    chosen = words[generator.choice(_NUM_WORDS, ends[-1], p=shares / shares.sum())].tolist()
    return [" ".join(chosen[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _write_tweets(path: Path, num_rows: int) -> None:
    with path.open("w", encoding="latin-1", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        for start in range(0, num_rows, _ROWS_AT_A_TIME):
            for index, text in enumerate(_texts(min(_ROWS_AT_A_TIME, num_rows - start), seed=start + 2), start):
                name = f"@user{index} " if index % 2 else ""
                end = (" &amp; http://bit.ly/x1", "!!!", "", " :(")[index % 4]
                writer.writerow([(0, 4)[index % 3 % 2], index, "Mon Apr 06", "NO_QUERY", "user", name + text + end])


if __name__ == "__main__":
    answer_task(lambda task: partial(_run_stages, Path(task["folder"])))
