# SPDX-License-Identifier: Apache-2.0
"""Distillation: a model learns from the labels and from the probabilities of trained models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from scipy.special import expit
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel

from ..data.loading import read_texts
from ..digests import settings_digest, weights_digest
from ..errors import InputError
from ..evaluation.calibration import Calibration, mean_logits
from ..evaluation.prediction import predict_logits
from ..losses.distillation import NO_LABEL
from ..precision import autocast
from ..recipe import DecisionArguments
from ..training.trainer import TEACHER_COLUMN

# Texts whose logits are one file: what a killed run has to repeat at most.
_TEXTS_PER_FILE = 4096
_MIN_TOKENS = 8


@dataclass
class StudentArguments(DecisionArguments):
    """Who learns, and how it decides."""

    student: str | dict[str, Any] | None = field(
        default=None, metadata={"help": "Hub id or folder of an encoder, or a mapping: an encoder to be made."}
    )
    max_tokens: int = field(default=128, metadata={"help": "Tokens that the student keeps of a text."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.student:
            raise InputError("The recipe names no `student`: give it a folder or a Hub id.")
        if self.max_tokens < _MIN_TOKENS:
            raise InputError(f"`max_tokens` must be at least {_MIN_TOKENS}, got {self.max_tokens}.")


def teacher_logits(
    teachers: Sequence[tuple[PreTrainedModel, Any]],
    label_names: Sequence[str],
    texts: Sequence[str],
    folder: str | os.PathLike[str],
    batch_size: int = 64,
    precision: str = "fp32",
) -> np.ndarray:
    """
    What there is to learn from: the logits of one teacher, of several those of the mean of their probabilities.

    Args:
        teachers (`Sequence[tuple]`): Classifiers with their tokenizers, as `load_classifier` returns them.
        label_names (`Sequence[str]` of length `num_labels`): The labels to learn; each teacher may have more.
        texts, folder, batch_size, precision: As in [`cached_logits`].

    Returns:
        `np.ndarray` of shape `(num_texts, num_labels)`: fp32.

    Raises:
        `ValueError`: If a teacher does not know a label.
    """
    columns = [teacher_columns(model, label_names) for model, _ in teachers]
    logits = [
        cached_logits(*teacher, texts, folder, batch_size, precision)[:, places]
        for teacher, places in zip(teachers, columns, strict=True)
    ]
    return logits[0] if len(logits) == 1 else mean_logits([expit(part) for part in logits])


def cached_logits(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Sequence[str],
    folder: str | os.PathLike[str],
    batch_size: int = 64,
    precision: str = "fp32",
) -> np.ndarray:
    """
    The logits of texts, kept on disk: a run that was killed goes on where it was, another one reads them.

    Args:
        model ([`PreTrainedModel`]): The classifier.
        tokenizer: Its tokenizer.
        texts (`Sequence[str]`): The texts.
        folder (`str`): Where the files are; each is named by the digest of weights, settings and its texts.
        batch_size (`int`, *optional*, defaults to 64): Texts per forward pass.
        precision (`str`, *optional*, defaults to `"fp32"`): `"fp32"`, `"bf16"` or `"fp16"`.

    Returns:
        `np.ndarray` of shape `(num_texts, num_labels)`: fp32.
    """
    cache = Path(folder)
    cache.mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    teacher = settings_digest([weights_digest(model), settings, repr(tokenizer), precision])
    parts = []
    for start in tqdm(range(0, len(texts), _TEXTS_PER_FILE), desc="Teacher", unit=" files"):
        part = list(texts[start : start + _TEXTS_PER_FILE])
        file = cache / f"{settings_digest([teacher, part])[:32]}.npy"
        if not file.is_file():
            with autocast(model.device.type, precision):
                logits = predict_logits(model, tokenizer, part, batch_size)
            partial = file.with_suffix(".partial")
            with partial.open("wb") as stream:
                np.save(stream, logits)
            partial.replace(file)
        parts.append(np.load(file))
    return np.concatenate(parts)


def teacher_columns(model: PreTrainedModel, label_names: Sequence[str]) -> list[int]:
    """The place of each label among the teacher's; raises `ValueError` for one that the teacher does not know."""
    known = {label: index for index, label in model.config.id2label.items()}
    if unknown := [name for name in label_names if name not in known]:
        raise InputError(f"The teacher does not know {', '.join(unknown)}: its labels are {', '.join(known)}.")
    return [known[name] for name in label_names]


def read_unlabelled(path: str, text_column: str | None, known: Sequence[str]) -> list[str]:
    """The different texts of a file that are not in `known`, in the order of the file; see [`read_texts`]."""
    seen = set(known)
    return [text for text in dict.fromkeys(read_texts(path, text_column)) if text not in seen]


def distillation_rows(train: datasets.Dataset, unlabelled: Sequence[str], num_labels: int) -> datasets.Dataset:
    """The training rows, then the unlabelled texts with [`NO_LABEL`] for every label."""
    labels = [[NO_LABEL] * num_labels] * len(unlabelled)
    further = datasets.Dataset.from_dict({"text": list(unlabelled), "labels": labels}, features=train.features)
    return datasets.concatenate_datasets([train, further])


def add_teacher(rows: datasets.Dataset, logits: np.ndarray) -> datasets.Dataset:
    """The rows with the teacher's logits, `(num_rows, num_labels)`, as the Trainer looks for them."""
    return rows.add_column(TEACHER_COLUMN, list(logits.astype(np.float32)))


@torch.no_grad()
def fold_calibration(model: PreTrainedModel, calibration: Calibration) -> None:
    """
    Make a calibration part of a stock classifier: scale and bias go into its last linear layer, so that its logits
    are calibrated wherever it is loaded.

    Raises:
        `ValueError`: If the model has no linear layer with an output per label.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == model.config.num_labels
    ]
    if not layers or layers[-1].bias is None:
        raise InputError(f"{type(model).__name__} has no linear layer with a bias and an output per label.")
    scale, bias = (torch.from_numpy(values).to(layers[-1].weight) for values in calibration)
    layers[-1].weight.mul_(scale.unsqueeze(-1))
    layers[-1].bias.mul_(scale).add_(bias)
