# SPDX-License-Identifier: Apache-2.0
"""Candidates: the rows that all sources of the balanced data set become, and Parquet files of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.errors import InputError
from trainer_ext.files import replacing

SOURCES = ("goemotions", "written", "generated", "sentiment140")
"""Where a row comes from, the most trusted first: of equal texts the first one stays."""

CANDIDATE_SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        # Sorted ids of GOEMOTIONS_LABELS.
        pa.field("labels", pa.list_(pa.uint8()), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        # 1.0 where people gave the labels, else how far the scores are above their cut-offs, 0 to 1.
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("teacher", pa.string()),
        pa.field("teacher_revision", pa.string()),
        pa.field("teacher_scores", pa.list_(pa.float16(), len(GOEMOTIONS_LABELS))),
        # JSON: annotator to label names.
        pa.field("human_votes", pa.string()),
        pa.field("prompt_id", pa.string()),
        pa.field("split", pa.string(), nullable=False),
    ]
)
"""A row that may be selected for the balanced data set."""


def candidate_rows(texts: Any, labels: npt.ArrayLike, source: str, split: str = "train", **columns: Any) -> pa.Table:
    """
    Candidates in `CANDIDATE_SCHEMA`, with a confidence of 1.

    Args:
        texts (`Sequence[str]` or an array of pyarrow): The texts.
        labels (`ArrayLike` of shape `(num_rows, 28)`): In the order of `GOEMOTIONS_LABELS`.
        source (`str`): One of `SOURCES`.
        split (`str`, *optional*, defaults to `"train"`): The split they belong to.
        columns: Further columns by their names, each one value for all rows or an array; absent ones are null.
    """
    given = {"text": texts, "labels": label_lists(np.asarray(labels, dtype=np.bool_))}
    given |= {"source": source, "confidence": 1.0, "split": split} | columns
    arrays = []
    for field in CANDIDATE_SCHEMA:
        value = given.get(field.name)
        if value is None or isinstance(value, str | float):
            value = pa.repeat(pa.scalar(value, field.type), len(texts))
        arrays.append(value if isinstance(value, pa.ChunkedArray | pa.Array) else pa.array(value, field.type))
    return pa.Table.from_arrays(arrays, names=CANDIDATE_SCHEMA.names).cast(CANDIDATE_SCHEMA)


def label_lists(labels: npt.NDArray[np.bool_]) -> pa.ListArray:
    """Each row's label ids, sorted."""
    offsets = np.concatenate([[0], np.cumsum(labels.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.nonzero(labels)[1].astype(np.uint8)))


def label_matrix(table: pa.Table) -> npt.NDArray[np.bool_]:
    """The labels of candidates, `(num_rows, 28)`."""
    lists = table["labels"].combine_chunks()
    labels = np.zeros((len(lists), len(GOEMOTIONS_LABELS)), dtype=np.bool_)
    labels[np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy()), lists.flatten().to_numpy()] = True
    return labels


def read_candidates(path: str | os.PathLike[str]) -> pa.Table:
    """
    Read generated candidates.

    Args:
        path (`str`): A Parquet file with the columns of `CANDIDATE_SCHEMA`.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `InputError`: If it is no Parquet file, or has other columns or labels.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path} of candidates: correct `generated_files`.")
    try:
        table = pq.read_table(path, partitioning=None).select(CANDIDATE_SCHEMA.names).cast(CANDIDATE_SCHEMA)
    except (pa.ArrowInvalid, KeyError) as error:
        raise InputError(
            f"{path}: expected a Parquet file with the columns {', '.join(CANDIDATE_SCHEMA.names)}, "
            f"got {str(error).splitlines()[0]}; write it again."
        ) from error
    ids = table["labels"].combine_chunks().flatten().to_numpy()
    if ids.size and ids.max() >= len(GOEMOTIONS_LABELS):
        raise InputError(
            f"{path}: expected label ids below {len(GOEMOTIONS_LABELS)}, got {ids.max()}. Label the rows again."
        )
    source = pa.repeat("generated", table.num_rows)
    return table.set_column(2, CANDIDATE_SCHEMA.field("source"), source).replace_schema_metadata()


def write_candidates(path: str | os.PathLike[str], table: pa.Table) -> None:
    """Write a Parquet file, whole or not at all; see [`saving`]."""
    with saving(path), replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")


@contextmanager
def saving(path: str | os.PathLike[str]) -> Iterator[None]:
    """
    Around the writing of a file or folder.

    Raises:
        `OSError`: If it cannot be written; the message says how to go on.
    """
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({str(error).strip()}): free some space or set `output_dir` to another disk, "
            "then run again; what is complete is kept."
        ) from error
