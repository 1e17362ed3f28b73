# SPDX-License-Identifier: Apache-2.0
"""Tweets a second of a teacher as it labels the balanced data set, and in the stock pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import islice

import torch
from transformers import pipeline

from hub.dataset.teacher import load_teacher
from hub.dataset.tweets import clean_tweets, read_tweets_file
from trainer_ext.errors import reading
from trainer_ext.evaluation.prediction import find_device
from trainer_ext.precision import autocast

from .timing import chosen_precision, take_turns

_STOCK_BATCH_SIZE = 32


def measure(options: argparse.Namespace) -> dict[str, float]:
    """
    Tweets a second of the teacher here and in the stock pipeline with batches of 32, by turns on the same tweets.

    The pipeline runs in the same precision, and in fp32; the ratio is the median of the rounds'.
    """
    precision = chosen_precision(options.precision)
    device = find_device()
    texts = list(islice(_tweets(options.tweets), options.num_texts))
    with reading(f"teacher {options.teacher} cannot be loaded"):
        teacher = load_teacher(options.teacher, device=device, precision=precision)
    stock = pipeline(
        "text-classification",
        model=teacher.model,
        tokenizer=teacher.tokenizer,
        top_k=None,
        batch_size=_STOCK_BATCH_SIZE,
        device=device,
    )

    def theirs(stock_precision: str) -> None:
        with autocast(teacher.model.device.type, stock_precision):
            stock(texts)

    print(f"{len(texts):,} tweets, {teacher.name}, {precision} on {device}, {torch.get_num_threads()} threads")
    results: dict[str, float] = {}
    stock_precisions = {"same": precision} if precision == "fp32" else {"same": precision, "fp32": "fp32"}
    for name, stock_precision in stock_precisions.items():
        turns = take_turns([partial(theirs, stock_precision), partial(teacher.score, texts)], options.rounds)
        stock_rate, own_rate = turns.per_second(0, len(texts)), turns.per_second(1, len(texts))
        ratio = turns.speedup(1)
        print(
            f"labelling {own_rate:,.0f} tweets/s, pipeline in {stock_precision} {stock_rate:,.0f} tweets/s, "
            f"ratio {ratio:.2f}"
        )
        results |= {f"labelling_{name}_ratio": ratio, f"labelling_{name}_pipeline_tweets_per_second": stock_rate}
        results["labelling_tweets_per_second"] = own_rate
    return results


def _tweets(path: str) -> Iterator[str]:
    for table in read_tweets_file(path):
        yield from filter(None, clean_tweets(table["text"].combine_chunks()).to_pylist())
