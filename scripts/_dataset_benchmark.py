# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of the balanced data set: its stages on generated tweets, and labelling against the stock pipeline."""

from __future__ import annotations

import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
from scripts._timing import seconds
from trainer_ext.data.labels import GOEMOTIONS_LABELS

# As many as GoEmotions has.
_NUM_HUMAN, _NUM_VALIDATION, _NUM_TEST = 43_410, 5_426, 5_427
_NUM_WORDS = 50_000
_ROWS_AT_A_TIME = 50_000
_STOCK_BATCH_SIZE = 32


class _RandomScores:
    """In the place of a teacher; most scores are low, as real ones are."""

    key = "random"

    def score(self, texts: Sequence[str]) -> np.ndarray:
        generator = np.random.default_rng(len("".join(texts)))
        return (generator.random((len(texts), len(GOEMOTIONS_LABELS))) ** 20).astype(np.float16)


def measure_stages(num_rows: Sequence[int]) -> dict[str, float]:
    """Seconds of each stage, of the processor, and the peak of memory for each number of tweets, each in a process."""
    results: dict[str, float] = {}
    titles = ("clean", "scores", "accept", "select", "all", "CPU")
    print(f"{'tweets':>10} {' '.join(f'{title:>8}' for title in titles)} {'tweets/s':>9} {'peak MB':>8}")
    for rows in num_rows:
        with tempfile.TemporaryDirectory() as folder:
            _write_tweets(Path(folder) / "tweets.csv", rows)
            command = [sys.executable, "-m", "scripts._dataset_benchmark", folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        total = sum(found[stage] for stage in ("clean", "scores", "accept", "select"))
        measured = [*(found[stage] for stage in ("clean", "scores", "accept", "select")), total, found["cpu"]]
        columns = " ".join(f"{value:>8.1f}" for value in measured)
        print(f"{rows:>10,} {columns} {rows / total:>9,.0f} {found['peak_mb']:>8,.0f}", flush=True)
        results |= {f"dataset_{rows}_{name}": value for name, value in found.items()}
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
        write_balanced_dataset(candidates, evaluation, arguments, original=original, cleaning={}, yields={})

    parts = {"clean": clean, "scores": score, "accept": accept, "select": select}
    before = time.process_time()
    taken = {name: seconds(part) for name, part in parts.items()}
    # On a busy machine the processor's time says more than the clock's.
    taken["cpu"] = time.process_time() - before
    return taken | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


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


def measure_labelling(teacher: str, tweets: str, num_texts: int, precision: str, rounds: int) -> dict[str, float]:
    """
    Tweets a second of the teacher here and in the stock pipeline with batches of 32, by turns on the same tweets.

    The pipeline runs in the same precision; the ratio is the median of the rounds'.
    """
    import torch
    from transformers import pipeline

    from hub.dataset.teacher import load_teacher
    from trainer_ext.precision import autocast

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    texts = _first_tweets(tweets, num_texts)
    loaded = load_teacher(teacher, device=device or "cpu", precision=precision)
    stock = pipeline(
        "text-classification",
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        top_k=None,
        batch_size=_STOCK_BATCH_SIZE,
        device=device,
    )

    def ours() -> None:
        loaded.score(texts)

    def theirs(dtype: str) -> Callable[[], None]:
        def run() -> None:
            with autocast(loaded.model.device.type, dtype):
                stock(texts)

        return run

    print(f"{len(texts):,} tweets, {loaded.name}, {precision} on {device}, {torch.get_num_threads()} threads")
    results: dict[str, float] = {}
    for name, other in {"same": theirs(precision), "fp32": theirs("fp32")}.items():
        if name == "fp32" and precision == "fp32":
            continue
        times = [(seconds(ours), seconds(other)) for _ in range(rounds)]
        ratio = statistics.median(stock_time / our_time for our_time, stock_time in times)
        own, stock_rate = (len(texts) / statistics.median(column) for column in zip(*times, strict=True))
        title = f"pipeline in {precision if name == 'same' else name}"
        print(f"labelling {own:,.0f} tweets/s, {title} {stock_rate:,.0f} tweets/s, ratio {ratio:.2f}")
        results |= {f"labelling_{name}_ratio": ratio, f"labelling_{name}_pipeline_tweets_per_second": stock_rate}
        results["labelling_tweets_per_second"] = own
    return results


def _first_tweets(path: str, num_texts: int) -> list[str]:
    from hub.dataset.tweets import clean_tweets

    def texts() -> Iterator[str]:
        for table in read_tweets_file(path):
            yield from filter(None, clean_tweets(table["text"].combine_chunks()).to_pylist())

    return [text for text, _ in zip(texts(), range(num_texts), strict=False)]


if __name__ == "__main__":
    print(json.dumps(_run_stages(Path(sys.argv[1]))))
