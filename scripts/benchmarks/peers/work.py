# SPDX-License-Identifier: Apache-2.0
"""The texts, the settings and the models that all sides of `scripts.benchmark peers` share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from hub.model.mini import mini_model
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.data.batching import tokenize_dataset
from trainer_ext.data.loading import read_file
from trainer_ext.errors import InputError, reading
from trainer_ext.evaluation.prediction import find_device, load_classifier
from trainer_ext.loading import load_config, load_model, load_tokenizer
from trainer_ext.precision import best_precision

from ..stack import named_encoders
from ..timing import Turns

# Mean pooling and a linear layer, as sentence-transformers with a classifier on it has them.
_LINEAR = {"mixer": "none", "lstm_num_layers": 0, "skip_connection": False, "pooling": "mean"}


@dataclass(frozen=True)
class Work:
    """
    What the sides work on; processes of their own get it as JSON.

    Attributes:
        data (`str`), label_names (`str`, *optional*): File of texts and labels, and of the names of its labels.
        num_texts (`int`), batch_size (`int`), rounds (`int`): As on the command line.
        device (`str`): Where everything runs.
        precisions (`list[str]`): fp32 and the others that the device has units for, its best last.
        stock (`str`): Folder of the encoder with the classifier of transformers, untrained.
        stocks (`list[str]`): Likewise for each encoder of the stack.
        linear, head, stack (`str`): Folders of ours, untrained: the encoder with a linear layer, with the whole head,
            and all encoders of the stack.
        trained (`dict[str, str]`): Name to folder or Hub id of trained models: `--model`, and the one that is shipped.
        model2vec (`str`, *optional*): Folder of a static model.
    """

    data: str
    label_names: str | None
    num_texts: int
    batch_size: int
    rounds: int
    device: str
    precisions: list[str]
    stock: str
    stocks: list[str]
    linear: str
    head: str
    stack: str
    trained: dict[str, str]
    model2vec: str | None

    @property
    def best(self) -> str:
        """The best precision of the device."""
        return self.precisions[-1]

    @property
    def device_type(self) -> str:
        """Such as `"cuda"`, where `device` may be `"cuda:1"`."""
        return torch.device(self.device).type

    def rows(self) -> datasets.Dataset:
        """The texts with their labels."""
        rows, _ = read_file(self.data, label_names=self.label_names)
        return rows.select(range(min(self.num_texts, len(rows))))

    def texts(self) -> list[str]:
        """The texts alone."""
        return list(self.rows()["text"])

    def load(self, folder: str) -> tuple[PreTrainedModel, Any]:
        """A model on the device, and its tokenizer."""
        return load_classifier(folder, self.device)

    def encoded(self, tokenizer: Any) -> datasets.Dataset:
        """The rows as a tokenizer makes them."""
        return tokenize_dataset(self.rows(), tokenizer)[0]

    def task(self, **more: Any) -> dict[str, Any]:
        """The task of a process of its own; see [`from_task`]."""
        return {"work": asdict(self), **more}


def from_task(task: dict[str, Any]) -> Work:
    """The work that `Work.task` made the task of."""
    return Work(**task["work"])


def prepare_work(options: argparse.Namespace, scratch: Path) -> Work:
    """Read the options, and build all untrained models in a scratch folder."""
    if options.model2vec and not Path(options.model2vec).is_dir():
        raise InputError(f"--model2vec takes the folder of a static model, got {options.model2vec!r}, which is none.")
    device = find_device(options.device)
    rows, labels = read_file(options.data, label_names=options.label_names)
    encoders = named_encoders(options.encoders, list(rows["text"]), scratch / "encoders")
    encoder = options.encoder or next(iter(encoders.values()))
    id2label = dict(enumerate(labels))
    folders = {name: str(scratch / name) for name in ("linear", "head", "stack")}
    torch.manual_seed(0)
    for name, fields in (("linear", _LINEAR), ("head", {}), ("stack", {})):
        _save_ours(encoders if name == "stack" else {"encoder": encoder}, folders[name], id2label=id2label, **fields)
    stocks = [_save_stock(folder, scratch / f"stock_{name}", id2label) for name, folder in encoders.items()]
    named = {Path(options.model).name: options.model} if options.model else {}
    return Work(
        data=options.data,
        label_names=options.label_names,
        num_texts=options.num_texts,
        batch_size=options.batch_size,
        rounds=options.rounds,
        device=str(device),
        precisions=_precisions(device),
        stock=_save_stock(encoder, scratch / "stock", id2label),
        stocks=stocks,
        **folders,
        trained=named | {"stacked-emotion-mini": mini_model()},
        model2vec=options.model2vec,
    )


def report(
    part: str, title: str, sides: Sequence[str], turns: Turns, num_texts: int, **columns: Sequence[float]
) -> dict[str, float]:
    """
    Print a Markdown table of sides that took turns; all but the first are compared with the first.

    Args:
        part (`str`): Begins the names of the numbers.
        title (`str`): Above the table.
        sides (`Sequence[str]`): A row each.
        turns ([`Turns`]): Their seconds.
        num_texts (`int`): Texts of a turn.
        columns (`Sequence[float]`): Further numbers of each side, by their names, such as `peak_mb`.

    Returns:
        `dict[str, float]`: `<part>/<side>/<number>`, with those of [`Turns.numbers`].
    """
    numbers = [
        turns.numbers(index, num_texts) | {name: values[index] for name, values in columns.items()}
        for index in range(len(sides))
    ]
    print_table(
        title,
        ["", "texts/s", f"times as fast as {sides[0]}", *(name.replace("_mb", ", MB") for name in columns)],
        [
            [
                side,
                _rounded(row["texts_per_second"]),
                f"{row['speedup']:.2f} ({row['speedup_low']:.2f} to {row['speedup_high']:.2f})",
                *(_rounded(row[name]) for name in columns),
            ]
            for side, row in zip(sides, numbers, strict=True)
        ],
    )
    return {
        f"{part}/{side}/{name}": value for side, row in zip(sides, numbers, strict=True) for name, value in row.items()
    }


def print_table(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a heading and a Markdown table below it."""
    lines = [titles, ["---"] * len(titles), *rows]
    print(f"### {title}\n")
    print("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n", flush=True)


def _rounded(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _precisions(device: torch.device) -> list[str]:
    best = best_precision(device.type == "cpu")
    others = ["fp32", "fp16"] if device.type == "cuda" else ["fp32"]
    return [*(name for name in others if name != best), best]


def _save_ours(encoders: dict[str, str], folder: str, **fields: Any) -> None:
    with reading("the encoders cannot be loaded"):
        StackedEmotionForSequenceClassification.from_encoders(encoders, **fields).save_pretrained(folder)
        StackedEmotionTokenizer.from_encoders(encoders).save_pretrained(folder)


def _save_stock(encoder: str, folder: Path, id2label: dict[int, str]) -> str:
    config = load_config(encoder)
    config.update({"id2label": id2label, "problem_type": "multi_label_classification"})
    model = load_model(
        encoder,
        AutoModelForSequenceClassification,
        config=config,
        dtype=torch.float32,
        # A new classifier, and in some architectures a pooler below it.
        may_lack=lambda _, name: "classifier" in name or "pooler" in name,
    )
    model.save_pretrained(folder)
    load_tokenizer(encoder).save_pretrained(folder)
    return str(folder)
