# SPDX-License-Identifier: Apache-2.0
"""An epoch of training, each side in a process of its own: the Trainer of transformers, a loop by hand, and ours."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from transformers import PreTrainedModel, Trainer, TrainingArguments

from trainer_ext.data.batching import LENGTH_COLUMN, EmotionDataCollator
from trainer_ext.data.length_batches import length_batches
from trainer_ext.precision import autocast
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.trainer import StackedEmotionTrainer

from ..children import Numbers, answer_task, in_children, peak_mb
from ..timing import Turns, seconds, synchronize
from .work import Work, from_task, report

_LEARNING_RATE = 5e-5
# Nothing but training: no evaluation, no checkpoint, no line of log.
_QUIET: dict[str, Any] = {
    **{"num_train_epochs": 1, "learning_rate": _LEARNING_RATE, "eval_strategy": "no", "save_strategy": "no"},
    **{"load_best_model_at_end": False, "logging_strategy": "no", "report_to": "none", "disable_tqdm": True},
}

# From rows to the function that trains on them.
Training = Callable[[datasets.Dataset], Callable[[], Any]]


def measure(work: Work) -> dict[str, float]:
    """Texts a second and the peak of memory of each side, by turns; the peak is that of the processes' greatest."""
    sides = _sides(work)
    rounds = [[in_children(__name__, [work.task(side=side)])[0] for side in sides] for _ in range(work.rounds)]
    turns = Turns([[numbers["seconds"] for numbers in turn] for turn in rounds])
    peaks = [max(turn[index]["peak_mb"] for turn in rounds) for index in range(len(sides))]
    num_texts = len(work.rows())
    title = f"Training, {num_texts:,} texts, batches of {work.batch_size}"
    return report("training", title, list(sides), turns, num_texts, peak_mb=peaks)


def _sides(work: Work) -> dict[str, Callable[[], Iterator[tuple[Training, Any]]]]:
    """
    The sides by name: each gives, in its process, its trainings with their tokenizers, one at a time. The first is the
    Trainer of transformers as it comes; a side with several trainings takes the sum of their times.
    """
    best = work.best
    half = {} if best == "fp32" else {best: True}
    grouped = {**half, "train_sampling_strategy": "group_by_length"}

    def trainings(train: Callable[..., Any], *folders: str, **arguments: Any) -> Iterator[tuple[Training, Any]]:
        for folder in folders:
            yield _loaded(work, train, folder, arguments)

    stock, loop, ours = (partial(trainings, train) for train in (_stock_training, _loop_training, _our_training))
    num_encoders = len(work.stocks)
    return {
        "Trainer, fp32": partial(stock, work.stock),
        **({f"Trainer, {best}": partial(stock, work.stock, **half)} if half else {}),
        f"Trainer, {best}, grouped by length": partial(stock, work.stock, **grouped),
        f"loop by hand, {best}": partial(loop, work.stock),
        f"ours, linear layer, {best}": partial(ours, work.linear),
        f"ours, whole head, {best}": partial(ours, work.head),
        f"Trainer, {num_encoders} encoders in turn, {best}, grouped by length": partial(
            stock, *work.stocks, **grouped
        ),
        f"ours, {num_encoders} encoders, {best}": partial(ours, work.stack),
    }


def _until_done(epoch: Callable[[], Any]) -> None:
    epoch()
    synchronize()


def prepare(task: dict[str, Any]) -> Callable[[], Numbers]:
    """A side in its process: each of its trainings is warmed up by a batch, timed, and forgotten."""
    work = from_task(task)
    transformers.set_seed(0)

    def run() -> Numbers:
        taken = 0.0
        for train, tokenizer in _sides(work)[task["side"]]():
            rows = work.encoded(tokenizer)
            train(rows.select(range(min(work.batch_size, len(rows)))))()
            epoch = train(rows)
            taken += seconds(partial(_until_done, epoch))
            # The next one begins with the memory that it would have alone.
            del train, epoch
            gc.collect()
        return {"seconds": taken, "peak_mb": peak_mb(work.device_type)}

    return run


def _loaded(work: Work, train: Callable[..., Any], folder: str, arguments: dict[str, Any]) -> tuple[Training, Any]:
    model, tokenizer = work.load(folder)
    return partial(train, work, model, tokenizer, arguments), tokenizer


def _arguments(work: Work, kind: type[TrainingArguments], **more: Any) -> TrainingArguments:
    size = {"per_device_train_batch_size": work.batch_size, "use_cpu": work.device_type == "cpu"}
    return kind(str(Path(work.stock).with_name("trainer")), **_QUIET, **size, **more)


def _stock_training(
    work: Work, model: PreTrainedModel, tokenizer: Any, more: dict[str, Any], rows: datasets.Dataset
) -> Callable[[], Any]:
    arguments = _arguments(work, TrainingArguments, **more)
    return Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer).train


def _our_training(
    work: Work, model: PreTrainedModel, tokenizer: Any, more: dict[str, Any], rows: datasets.Dataset
) -> Callable[[], Any]:
    arguments = _arguments(work, StackedEmotionTrainingArguments, precision=work.best, **more)
    return StackedEmotionTrainer(model, arguments, train_dataset=rows, processing_class=tokenizer).train


def _loop_training(
    work: Work, model: PreTrainedModel, tokenizer: Any, _: dict[str, Any], rows: datasets.Dataset
) -> Callable[[], Any]:
    """Batches by length in random order, loss, clipping, AdamW."""
    collate = EmotionDataCollator(tokenizer)
    batches = list(length_batches(rows[LENGTH_COLUMN], work.batch_size))
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, fused=True)
    scaler = torch.amp.GradScaler(work.device_type, enabled=work.best == "fp16")

    def train() -> None:
        model.train()
        for index in np.random.default_rng(0).permutation(len(batches)):
            batch = collate(rows.__getitems__(batches[index].tolist()))
            with autocast(model.device.type, work.best):
                loss = model(**{key: value.to(model.device) for key, value in batch.items()}).loss
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

    return train


if __name__ == "__main__":
    answer_task(prepare)
