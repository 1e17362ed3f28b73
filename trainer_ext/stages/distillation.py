# SPDX-License-Identifier: Apache-2.0
"""Distillation: a model learns from the labels and from the probabilities of trained models."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from scipy.special import expit
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel

from ..data.batching import SOURCE_COLUMN
from ..data.loading import read_texts
from ..digests import settings_digest, weights_digest
from ..errors import InputError, reading
from ..evaluation.calibration import Calibration, mean_logits
from ..evaluation.engine import prepare
from ..evaluation.prediction import load_classifier, predict_logits
from ..files import replacing
from ..training.trainer import TEACHER_COLUMN

# Texts whose logits are one file: a killed run repeats no more of them.
_TEXTS_PER_FILE = 4096


def teacher_logits(
    teachers: Sequence[tuple[PreTrainedModel, Any]],
    label_names: Sequence[str],
    texts: Sequence[str],
    folder: str | os.PathLike[str],
    precision: str = "fp32",
) -> np.ndarray:
    """
    The logits to learn from: those of one teacher, or those of the mean of the probabilities of several.

    Args:
        teachers (`Sequence[tuple]`): Classifiers with their tokenizers, as `load_classifier` returns them.
        label_names (`Sequence[str]` of length `num_labels`): The labels to learn; each teacher may have more.
        texts, folder, precision: As in [`cached_logits`].

    Returns:
        `np.ndarray` of shape `(num_texts, num_labels)`: fp32.

    Raises:
        `InputError`: If a teacher does not know a label.
    """
    columns = [teacher_columns(model, label_names) for model, _ in teachers]
    logits = [
        cached_logits(model, tokenizer, texts, folder, precision)[:, places]
        for (model, tokenizer), places in zip(teachers, columns, strict=True)
    ]
    return logits[0] if len(logits) == 1 else mean_logits([expit(values) for values in logits])


def cached_logits(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Sequence[str],
    folder: str | os.PathLike[str],
    precision: str = "fp32",
) -> np.ndarray:
    """
    The logits of texts, kept on disk: a run that was killed goes on where it was, another one reads them.

    Args:
        model ([`PreTrainedModel`]): The classifier.
        tokenizer: Its tokenizer.
        texts (`Sequence[str]`): The texts.
        folder (`str`): Where the files are; each is named by the digest of weights, settings and its texts.
        precision (`str`, *optional*, defaults to `"fp32"`): `"fp32"`, `"bf16"` or `"fp16"`.

    Returns:
        `np.ndarray` of shape `(num_texts, num_labels)`: fp32.
    """
    settings = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    teacher = settings_digest([weights_digest(model), settings, repr(tokenizer), precision])
    prepared = prepare(model, precision)
    logits = []
    for start in tqdm(range(0, len(texts), _TEXTS_PER_FILE), desc="Teacher", unit=" files"):
        batch = list(texts[start : start + _TEXTS_PER_FILE])
        file = Path(folder) / f"{settings_digest([teacher, batch])[:32]}.npy"
        if not file.is_file():
            values = predict_logits(prepared, tokenizer, batch, precision=precision)
            with replacing(file) as partial, partial.open("wb") as stream:
                np.save(stream, values)
        logits.append(np.load(file))
    return np.concatenate(logits)


def load_teachers(folders: Sequence[str], label_names: Sequence[str]) -> list[tuple[PreTrainedModel, Any]]:
    """
    The classifiers to learn from, each with its tokenizer.

    Args:
        folders (`Sequence[str]`): Their folders or Hub ids.
        label_names (`Sequence[str]` of length `num_labels`): The labels to learn.

    Raises:
        `InputError`: If one cannot be loaded or does not know a label.
    """
    teachers = []
    for folder in folders:
        with reading(f"teacher {folder} cannot be loaded"):
            teachers.append(load_classifier(folder))
        teacher_columns(teachers[-1][0], label_names)
    return teachers


def teacher_columns(model: PreTrainedModel, label_names: Sequence[str]) -> list[int]:
    """The place of each label among the teacher's; raises `InputError` for one that the teacher does not know."""
    places = {label: index for index, label in model.config.id2label.items()}
    if unknown := [name for name in label_names if name not in places]:
        raise InputError(f"The teacher does not know {', '.join(unknown)}: its labels are {', '.join(places)}.")
    return [places[name] for name in label_names]


def read_unlabelled(path: str, text_column: str | None, known: Sequence[str]) -> list[str]:
    """The different texts of a file that are not in `known`, in the order of the file; see [`read_texts`]."""
    seen = set(known)
    return [text for text in dict.fromkeys(read_texts(path, text_column)) if text not in seen]


def distillation_rows(train: datasets.Dataset, unlabelled: Sequence[str], num_labels: int) -> datasets.Dataset:
    """The training rows, then the unlabelled texts, which know no label; beside several sources they are one."""
    columns: dict[str, list[Any]] = {"text": list(unlabelled), "labels": [[math.nan] * num_labels] * len(unlabelled)}
    if SOURCE_COLUMN in train.column_names:
        columns[SOURCE_COLUMN] = ["unlabelled"] * len(unlabelled)
    return datasets.concatenate_datasets([train, datasets.Dataset.from_dict(columns, features=train.features)])


def add_teacher(rows: datasets.Dataset, logits: np.ndarray) -> datasets.Dataset:
    """The rows with the teacher's logits, `(num_rows, num_labels)`, as the Trainer looks for them."""
    return rows.add_column(TEACHER_COLUMN, list(logits.astype(np.float32)))


@torch.no_grad()
def fold_calibration(model: PreTrainedModel, calibration: Calibration) -> None:
    """
    Make a calibration part of a stock classifier: scale and bias go into its last linear layer, so that its logits
    are calibrated wherever it is loaded.

    Raises:
        `InputError`: If the model has no linear layer with an output per label.
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
