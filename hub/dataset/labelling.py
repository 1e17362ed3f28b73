# SPDX-License-Identifier: Apache-2.0
"""Scores of a teacher for texts, in shards that several processes share and that stay when one is killed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

import modeling_stacked_emotion  # noqa: F401  (registers its classes)
from trainer_ext.errors import InputError

from .schema import CANDIDATE_SCHEMA, LABEL_NAMES
from .shards import Stage, digest

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SCORES_SCHEMA = pa.schema([pa.field("scores", CANDIDATE_SCHEMA.field("teacher_scores").type, nullable=False)])

# Tweets and comments are shorter; our own tokenizers have their own limit.
_MAX_TOKENS = 128

ScoreArray = npt.NDArray[np.float16]


class Scorer(Protocol):
    """What gives texts their scores: [`Teacher`], or a stand-in where its forward pass is not wanted."""

    @property
    def key(self) -> str:
        """Changes whenever the scores do."""
        ...

    def score(self, texts: Sequence[str]) -> ScoreArray:
        """Probabilities of shape `(num_texts, 28)`, labels in the order of `LABEL_NAMES`."""
        ...


class Teacher(NamedTuple):
    """
    A multi-label classifier with the labels of GoEmotions; see [`load_teacher`].

    Attributes:
        name (`str`): Hub id, or the name of its folder.
        revision (`str`): Commit on the Hub, or the first half of the SHA-256 of weights, configuration and tokenizer.
        model ([`PreTrainedModel`]): On its device.
        tokenizer: Its tokenizer.
        columns (`list[int]`): Place among its labels of each of `LABEL_NAMES`.
        precision (`str`): `"fp32"`, `"bf16"` or `"fp16"`.
        tokens_per_batch (`int`): Tokens of a forward pass, padding included, at most.
    """

    name: str
    revision: str
    model: PreTrainedModel
    tokenizer: Any
    columns: list[int]
    precision: str
    tokens_per_batch: int

    @property
    def key(self) -> str:
        """Changes whenever the scores do: the rounding of a batch depends on its size, too."""
        return digest(self.name, self.revision, self.precision, self.tokens_per_batch, _MAX_TOKENS)

    @torch.inference_mode()
    def score(self, texts: Sequence[str]) -> ScoreArray:
        """
        Score texts: tokenised in one go, batched by length.

        Args:
            texts (`Sequence[str]`): The texts; the batches, and with them the rounding, depend on all of them.

        Returns:
            `np.ndarray` of shape `(num_texts, 28)`: Probabilities in the order of `LABEL_NAMES`, fp16.
        """
        is_ours = hasattr(self.tokenizer, "tokenizers")
        limit = {} if is_ours else {"max_length": _MAX_TOKENS}
        encoded = self.tokenizer(list(texts), truncation=True, **limit)
        columns = {key: _ragged(rows) for key, rows in encoded.items()}
        lengths = np.max([np.diff(offsets) for _, offsets in columns.values()], axis=0)
        padding = {} if is_ours else {"input_ids": self.tokenizer.pad_token_id}
        scores = np.empty((len(texts), len(LABEL_NAMES)), dtype=np.float16)
        device = self.model.device
        for rows in _batches(lengths, self.tokens_per_batch):
            inputs = {
                key: torch.from_numpy(_padded(*column, rows, padding.get(key, 0))).to(device)
                for key, column in columns.items()
            }
            with torch.autocast(device.type, PRECISIONS[self.precision], enabled=self.precision != "fp32"):
                logits = self.model(**inputs).logits
            scores[rows] = logits[:, self.columns].float().sigmoid().half().cpu().numpy()
        return scores


def load_teacher(
    teacher: str,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    tokens_per_batch: int = 4096,
) -> Teacher:
    """
    Load a teacher.

    Args:
        teacher (`str`): Folder or Hub id of a text-classification model, one of ours or any of transformers. Remote
            code is not run.
        revision (`str`, *optional*): Git revision on the Hub.
        device (`str` or `torch.device`, *optional*, defaults to `"cpu"`): Where it runs.
        precision (`str`, *optional*, defaults to `"fp32"`): `"fp32"`, or `"bf16"` or `"fp16"` by autocast.
        tokens_per_batch (`int`, *optional*, defaults to 4096): Tokens of a forward pass, at least 1.

    Raises:
        OSError: There is no such model.
        ValueError: It is no multi-label classifier, or its labels are not the 28 of GoEmotions.
    """
    config = AutoConfig.from_pretrained(teacher, revision=revision)
    columns = _label_columns(teacher, config)
    tokenizer = AutoTokenizer.from_pretrained(teacher, revision=revision)
    model = AutoModelForSequenceClassification.from_pretrained(teacher, revision=revision, dtype=torch.float32)
    is_local = Path(teacher).is_dir()
    # A folder's place on this disk means nothing to others.
    name = Path(teacher).resolve().name if is_local else teacher
    commit = None if is_local else getattr(config, "_commit_hash", None)
    found = commit or _model_digest(model, tokenizer)[:32]
    return Teacher(name, found, model.to(device).eval(), tokenizer, columns, precision, tokens_per_batch)


def _label_columns(teacher: str, config: Any) -> list[int]:
    if config.problem_type != "multi_label_classification":
        raise InputError(
            f"The teacher {teacher} must be a multi-label classifier, its `problem_type` is {config.problem_type!r}: "
            "choose another one."
        )
    names = {name: int(index) for index, name in config.id2label.items()}
    missing = [name for name in LABEL_NAMES if name not in names]
    others = [name for name in names if name not in LABEL_NAMES]
    if missing or others:
        raise InputError(
            f"The teacher {teacher} must have the 28 labels of GoEmotions: it lacks {', '.join(missing) or 'none'} "
            f"and has beside them {', '.join(others) or 'none'}; choose another one or rename its labels."
        )
    return [names[name] for name in LABEL_NAMES]


def _model_digest(model: PreTrainedModel, tokenizer: Any) -> str:
    found = hashlib.sha256(model.config.to_json_string().encode())
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        found.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            found.update(file.read_bytes())
    return found.hexdigest()


def score_shard(stage: Stage, index: int, texts: pa.ChunkedArray, scorer: Scorer) -> None:
    """Write the scores of a shard's texts, unless they are there."""
    rows = texts.to_pylist()
    key = scores_key(texts, scorer)
    if stage.has(index, key):
        return
    scores = scorer.score(rows) if rows else np.empty((0, len(LABEL_NAMES)), dtype=np.float16)
    array = pa.FixedSizeListArray.from_arrays(pa.array(scores.reshape(-1)), len(LABEL_NAMES))
    stage.write(index, key, pa.table([array], names=["scores"]))


def scores_key(texts: pa.ChunkedArray, scorer: Scorer) -> str:
    """Key of a shard of scores: the texts themselves, so that scores stay when other sources change."""
    return digest(scorer.key, hashlib.sha256("\0".join(texts.to_pylist()).encode()).hexdigest())


def scores_array(table: pa.Table) -> ScoreArray:
    """The scores of a shard, `(num_texts, 28)`."""
    values = table["scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(-1, len(LABEL_NAMES))


def _batches(lengths: npt.NDArray[np.int64], tokens_per_batch: int) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of like length together, the longest first; a batch times its longest row has at most so many tokens."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(tokens_per_batch // int(lengths[order[start]]), 1)
        yield order[start : start + size]
        start += size


def _ragged(rows: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    offsets = np.concatenate([[0], np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))])
    return np.fromiter(chain.from_iterable(rows), np.int64, offsets[-1]), offsets


def _padded(
    values: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], padding: int
) -> npt.NDArray[np.int64]:
    lengths = np.diff(offsets)[rows]
    positions = np.arange(lengths.max())
    mask = positions < lengths[:, None]
    padded = np.full(mask.shape, padding, dtype=np.int64)
    padded[mask] = values[(offsets[rows][:, None] + positions)[mask]]
    return padded
