# SPDX-License-Identifier: Apache-2.0
"""Distillation: a small classifier of transformers learns from the labels and from a trained model's probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm
from transformers import PreTrainedModel

from .batching import tokenize_dataset
from .calibration import Calibration
from .label_layouts import read_texts
from .losses.hybrid import HybridLoss, LabelStatistics
from .prediction import predict_logits
from .recipe import DecisionArguments
from .stages.digests import settings_digest, weights_digest
from .table_files import read_table
from .trainer import StackedEmotionTrainer

TEACHER_COLUMN = "teacher_logits"
# The label of a text that has none.
NO_LABEL = -1.0

# Texts whose logits are one file: what a killed run has to repeat at most.
_TEXTS_PER_FILE = 4096
_MIN_TOKENS = 8


@dataclass
class DistillationArguments(DecisionArguments):
    """Who learns from whom, and how."""

    teacher: str | None = field(default=None, metadata={"help": "Folder of the trained model to learn from."})
    student: str | dict[str, Any] | None = field(
        default=None, metadata={"help": "Hub id or folder of an encoder, or a mapping: an encoder to be made."}
    )
    max_tokens: int = field(default=128, metadata={"help": "Tokens that the student keeps of a text."})
    unlabelled_file: str | None = field(
        default=None, metadata={"help": "csv, tsv, jsonl or parquet file of further texts, which need no labels."}
    )
    distillation_weight: float = field(
        default=0.5, metadata={"help": "Share of the teacher in the loss, in [0, 1]; the labels have the rest."}
    )
    distillation_temperature: float = field(
        default=1.0, metadata={"help": "What the logits of both are divided by, above 0."}
    )
    teacher_cache_dir: str | None = field(
        default=None, metadata={"help": "Folder of the teacher's logits (default: teacher_logits in output_dir)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("teacher", "student"):
            if not getattr(self, name):
                raise ValueError(f"The recipe names no `{name}`: give it a folder or a Hub id.")
        if self.max_tokens < _MIN_TOKENS:
            raise ValueError(f"`max_tokens` must be at least {_MIN_TOKENS}, got {self.max_tokens}.")
        if not 0 <= self.distillation_weight <= 1:
            raise ValueError(f"`distillation_weight` must be in [0, 1], got {self.distillation_weight}.")
        if not self.distillation_temperature > 0:
            raise ValueError(f"`distillation_temperature` must be above 0, got {self.distillation_temperature}.")


def cached_logits(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[str], folder: str | os.PathLike[str], batch_size: int = 64
) -> np.ndarray:
    """
    The logits of texts, kept on disk: a run that was killed goes on where it was, another one reads them.

    Args:
        model ([`PreTrainedModel`]): The classifier.
        tokenizer: Its tokenizer.
        texts (`Sequence[str]`): The texts.
        folder (`str`): Where the files are; each is named by the digest of weights, settings and its texts.
        batch_size (`int`, *optional*, defaults to 64): Texts per forward pass.

    Returns:
        `np.ndarray` of shape `(num_texts, num_labels)`: fp32.
    """
    cache = Path(folder)
    cache.mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    teacher = settings_digest([weights_digest(model), settings, repr(tokenizer)])
    parts = []
    for start in tqdm(range(0, len(texts), _TEXTS_PER_FILE), desc="Teacher", unit=" files"):
        part = list(texts[start : start + _TEXTS_PER_FILE])
        file = cache / f"{settings_digest([teacher, part])[:32]}.npy"
        if not file.is_file():
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
        raise ValueError(f"The teacher does not know {', '.join(unknown)}: its labels are {', '.join(known)}.")
    return [known[name] for name in label_names]


def read_unlabelled(path: str, text_column: str | None, known: Sequence[str]) -> list[str]:
    """The different texts of a file that are not in `known`, in the order of the file."""
    seen = set(known)
    return [text for text in dict.fromkeys(read_texts(read_table(path), text_column)[0]) if text not in seen]


def distillation_rows(train: datasets.Dataset, unlabelled: Sequence[str], num_labels: int) -> datasets.Dataset:
    """The training rows, then the unlabelled texts with [`NO_LABEL`] for every label."""
    labels = [[NO_LABEL] * num_labels] * len(unlabelled)
    further = datasets.Dataset.from_dict({"text": list(unlabelled), "labels": labels}, features=train.features)
    return datasets.concatenate_datasets([train, further])


def tokenize_rows(rows: datasets.Dataset, teacher_logits: np.ndarray, tokenizer: Any) -> datasets.Dataset:
    """The rows of [`distillation_rows`] as the student reads them, with the teacher's logits beside."""
    encoded, _ = tokenize_dataset(rows, tokenizer)
    return encoded.add_column(TEACHER_COLUMN, list(teacher_logits.astype(np.float32)))


@dataclass(frozen=True)
class DistillationLoss:
    """
    (1 - w) BCE(z, y) + w T^2 BCE(z / T, sigmoid(t / T)), with student's logits z, labels y and teacher's logits t.

    The second term is that of Hinton et al. (2015, Distilling the Knowledge in a Neural Network), for labels that do
    not exclude each other: T^2 keeps its gradient's size whatever the temperature. A text without labels has the
    second term only. Both are means over all texts of the batch and their labels.

    Args:
        weight (`float`): w, in [0, 1].
        temperature (`float`): T, above 0.
    """

    weight: float
    temperature: float

    def __call__(
        self, logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """
        *Shape:* three times `(batch_size, num_labels)` to the terms `base` and `distillation`, each of shape `()`,
        whose sum is the loss.
        """
        logits = logits.float()
        has_labels = (labels != NO_LABEL).all(dim=-1, keepdim=True)
        gold = binary_cross_entropy_with_logits(logits, labels.clamp(min=0), reduction="none")
        soft = torch.sigmoid(teacher_logits / self.temperature)
        distance = binary_cross_entropy_with_logits(logits / self.temperature, soft)
        return {
            "base": (1 - self.weight) * (gold * has_labels).mean(),
            "distillation": self.weight * self.temperature**2 * distance,
        }


class DistillationTrainer(StackedEmotionTrainer):
    """
    [`StackedEmotionTrainer`] with a [`DistillationLoss`]; an evaluation's loss is the plain one of the labels.

    Args:
        args, kwargs: Those of [`StackedEmotionTrainer`]; the training rows are those of [`tokenize_rows`].
        distillation_loss ([`DistillationLoss`]): The loss.
    """

    def __init__(self, *args: Any, distillation_loss: DistillationLoss, **kwargs: Any) -> None:
        self.distillation_loss = distillation_loss
        super().__init__(*args, **kwargs)

    def create_loss(self) -> HybridLoss:
        """The plain loss, for evaluations; nothing of it goes into the student's config."""
        statistics = LabelStatistics.from_labels(np.zeros((1, self.model.config.num_labels)))
        return HybridLoss(statistics).to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """The distillation loss of a training batch, the parent's of any other."""
        if TEACHER_COLUMN not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        extra = ("labels", TEACHER_COLUMN)
        outputs = model(**{key: value for key, value in inputs.items() if key not in extra})
        terms = self.distillation_loss(outputs["logits"], *(inputs[key] for key in extra))
        self.train_terms.add(terms, 1.0 / self.current_gradient_accumulation_steps)
        loss = torch.stack(list(terms.values())).sum()
        return (loss, outputs) if return_outputs else loss


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
        raise ValueError(f"{type(model).__name__} has no linear layer with a bias and an output per label.")
    scale, bias = (torch.from_numpy(values).to(layers[-1].weight) for values in calibration)
    layers[-1].weight.mul_(scale.unsqueeze(-1))
    layers[-1].bias.mul_(scale).add_(bias)
