# SPDX-License-Identifier: Apache-2.0
"""What the selection knows of the candidates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from trainer_ext.errors import InputError

from .schema import SOURCES


@dataclass(frozen=True)
class Pool:
    """
    What the selection needs to know of the candidates: about 40 bytes a row, without their texts.

    Args:
        labels (`np.ndarray` of shape `(num_rows, num_labels)`): Booleans.
        sources (`np.ndarray` of shape `(num_rows,)`): Ids in `source_names`.
        confidence (`np.ndarray` of shape `(num_rows,)`): 0 to 1.
        keys (`np.ndarray` of shape `(num_rows,)`): Seeded hashes of the texts: they break ties and shuffle the rows.
        source_names (`tuple[str, ...]`): The sources, the one to be used first first.
    """

    labels: npt.NDArray[np.bool_]
    sources: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    keys: npt.NDArray[np.uint64]
    source_names: tuple[str, ...]


def read_pool(
    files: Iterable[str | os.PathLike[str]], num_labels: int, *, seed: int, priorities: Sequence[str] = SOURCES
) -> Pool:
    """
    Read what the selection needs from Parquet files of candidates, one after the other.

    Args:
        files (`Iterable[str]`): Files in [`CANDIDATE_SCHEMA`]; row numbers count through them in this order.
        num_labels (`int`): Number of labels.
        seed (`int`): Seed of the hashes, at least 0.
        priorities (`Sequence[str]`, *optional*): The sources, the one to be used first first.

    Raises:
        ValueError: There is no row, a source is not in `priorities`, or a label id is `num_labels` or more.
    """
    parts = []
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(columns=["text", "labels", "source", "confidence"]):
                parts.append(_read_columns(os.fspath(file), batch, num_labels, seed, list(priorities)))
    if not parts:
        raise InputError("Expected candidates to select from, got none. Check the sources and what was accepted.")
    labels, sources, confidence, keys = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Pool(labels, sources, confidence, keys, tuple(priorities))


def _read_columns(
    file: str, batch: pa.RecordBatch, num_labels: int, seed: int, priorities: list[str]
) -> tuple[npt.NDArray[Any], ...]:
    names = batch["source"].dictionary_encode()
    unknown = sorted(set(names.dictionary.to_pylist()) - set(priorities))
    if unknown:
        raise InputError(f"{file}: expected the sources {priorities}, got {unknown[0]!r}. Add it to `priorities`.")
    positions = np.array([priorities.index(name) for name in names.dictionary.to_pylist()], dtype=np.uint8)
    ids = batch["labels"].flatten().to_numpy()
    if ids.size and ids.max() >= num_labels:
        raise InputError(f"{file}: expected label ids below {num_labels}, got {ids.max()}. Label the rows again.")
    lengths = batch["labels"].value_lengths().to_numpy()
    labels = np.zeros((len(batch), num_labels), dtype=np.bool_)
    labels[np.repeat(np.arange(len(batch)), lengths), ids] = True
    salt = seed.to_bytes(8, "little")
    digests = b"".join(blake2b(text.encode(), digest_size=8, salt=salt).digest() for text in batch["text"].to_pylist())
    sources = positions[names.indices.to_numpy()]
    return labels, sources, batch["confidence"].to_numpy(), np.frombuffer(digests, dtype="<u8").astype(np.uint64)
