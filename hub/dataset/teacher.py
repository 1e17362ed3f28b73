# SPDX-License-Identifier: Apache-2.0
"""Scores of a teacher for texts, kept on disk: several processes share the work, and a killed run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.digests import settings_digest, weights_digest
from trainer_ext.errors import InputError, reading
from trainer_ext.evaluation.prediction import predict_probabilities
from trainer_ext.files import replacing
from trainer_ext.loading import check_tokenizer, load_config, load_model, load_tokenizer

from .candidates import saving

# Tweets and comments are shorter; our own tokenizers have their own limit.
_MAX_TOKENS = 128
# Another one where the engine rounds differently.
_ENGINE = 3

ScoreArray = npt.NDArray[np.float16]


class Scorer(Protocol):
    """Gives texts their scores: [`Teacher`], or a stand-in where its forward pass is not wanted."""

    @property
    def key(self) -> str:
        """Changes whenever the scores do."""
        ...

    def score(self, texts: Sequence[str]) -> ScoreArray:
        """Probabilities of shape `(num_texts, 28)`, labels in the order of `GOEMOTIONS_LABELS`."""
        ...


class Teacher(NamedTuple):
    """
    A multi-label classifier with the labels of GoEmotions; see [`load_teacher`].

    Attributes:
        name (`str`): Hub id, or the name of its folder.
        revision (`str`): Commit on the Hub, or a digest of weights, configuration and tokenizer.
        model ([`PreTrainedModel`]): On its device.
        tokenizer: Its tokenizer.
        columns (`list[int]`): Place among its labels of each of `GOEMOTIONS_LABELS`.
        precision (`str`): `"fp32"`, `"bf16"` or `"fp16"`.
        tokens_per_batch (`int`, *optional*): Tokens of a forward pass, padding included, at most; by device if `None`.
    """

    name: str
    revision: str
    model: PreTrainedModel
    tokenizer: Any
    columns: list[int]
    precision: str
    tokens_per_batch: int | None

    @property
    def key(self) -> str:
        """Changes whenever the scores do: the rounding of a batch depends on its size, too."""
        return settings_digest([self.name, self.revision, self.precision, self.tokens_per_batch, _MAX_TOKENS, _ENGINE])

    def score(self, texts: Sequence[str]) -> ScoreArray:
        """
        Score texts.

        Args:
            texts (`Sequence[str]`): The texts; the batches, and with them the rounding, depend on all of them.

        Returns:
            `np.ndarray` of shape `(num_texts, 28)`: Probabilities in the order of `GOEMOTIONS_LABELS`, fp16.
        """
        options: dict[str, Any] = {"precision": self.precision, "tokens_per_batch": self.tokens_per_batch}
        return predict_probabilities(self.model, self.tokenizer, texts, **options)[:, self.columns].astype(np.float16)


def load_teacher(
    teacher: str,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    tokens_per_batch: int | None = None,
) -> Teacher:
    """
    Load a teacher.

    Args:
        teacher (`str`): Folder or Hub id of a text-classification model, one of ours or any of transformers.
        revision (`str`, *optional*): Git revision on the Hub.
        device (`str` or `torch.device`, *optional*, defaults to `"cpu"`): Where it runs.
        precision (`str`, *optional*, defaults to `"fp32"`): `"fp32"`, `"bf16"` or `"fp16"`.
        tokens_per_batch (`int`, *optional*): Tokens of a forward pass, at least 1; by default as the engine's.

    Raises:
        `InputError`: If there is no such model, it is no multi-label classifier, or its labels are not the 28 of
            GoEmotions.
    """
    config = load_config(teacher, revision)
    columns = _label_columns(teacher, config)
    tokenizer = load_tokenizer(teacher, revision)
    model = load_model(teacher, config=config, revision=revision, dtype=torch.float32)
    with reading(teacher):
        check_tokenizer(model, tokenizer)
    is_local = Path(teacher).is_dir()
    # A folder's place on this disk means nothing to others.
    name = Path(teacher).resolve().name if is_local else teacher
    commit = None if is_local else getattr(config, "_commit_hash", None)
    revision = commit or _model_digest(model, tokenizer)[:32]
    if not hasattr(tokenizer, "tokenizers"):
        tokenizer.model_max_length = min(tokenizer.model_max_length, _MAX_TOKENS)
    return Teacher(name, revision, model.to(device).eval(), tokenizer, columns, precision, tokens_per_batch)


def _label_columns(teacher: str, config: Any) -> list[int]:
    if config.problem_type != "multi_label_classification":
        raise InputError(
            f"The teacher {teacher} must be a multi-label classifier, its `problem_type` is {config.problem_type!r}: "
            "choose another one."
        )
    names = {name: int(index) for index, name in config.id2label.items()}
    missing = [name for name in GOEMOTIONS_LABELS if name not in names]
    others = [name for name in names if name not in GOEMOTIONS_LABELS]
    if missing or others:
        raise InputError(
            f"The teacher {teacher} must have the 28 labels of GoEmotions: it lacks {', '.join(missing) or 'none'} "
            f"and has beside them {', '.join(others) or 'none'}; choose another one or rename its labels."
        )
    return [names[name] for name in GOEMOTIONS_LABELS]


def _model_digest(model: PreTrainedModel, tokenizer: Any) -> str:
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        contents = [sha256(path.read_bytes()).hexdigest() for path in files]
    return settings_digest([model.config.to_json_string(), weights_digest(model), contents])


def cached_scores(texts: Sequence[str], scorer: Scorer, folder: Path) -> ScoreArray:
    """
    Scores of texts, from a file that is made where it is missing.

    Its name is a digest of the texts and of the scorer's key, so scores stay when other sources or settings change.

    Args:
        texts (`Sequence[str]`): The texts that are scored together.
        scorer ([`Scorer`]): Gives the scores.
        folder (`Path`): Where the files are.

    Raises:
        `OSError`: If the file cannot be written.
    """
    path = folder / f"{settings_digest([scorer.key, list(texts)])}.npy"
    if not path.is_file():
        scores = scorer.score(texts)
        with saving(path), replacing(path) as partial, partial.open("wb") as file:
            np.save(file, scores)
    return np.asarray(np.load(path))
