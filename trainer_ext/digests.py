# SPDX-License-Identifier: Apache-2.0
"""Digests by which weights, rows and settings are recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of all parameters and buffers that are saved: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def rows_digest(rows: datasets.Dataset, columns: Iterable[str]) -> str:
    """SHA-256 of columns of lists: every row's length and values, row by row; the columns by their names."""
    digest = hashlib.sha256()
    for column in sorted(columns):
        values, offsets = ragged_column(rows, column)
        digest.update(f"{column} {values.dtype};".encode())
        digest.update(np.diff(offsets).tobytes())
        digest.update(values.tobytes())
    return digest.hexdigest()


def settings_digest(settings: Any) -> str:
    """SHA-256 of settings as JSON; a value that JSON cannot hold counts as its text."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def ragged_column(rows: datasets.Dataset, column: str) -> tuple[np.ndarray, np.ndarray]:
    """
    A column of lists without its lists.

    Returns:
        The values of all rows, one after the other, and `len(rows) + 1` offsets: row `i` has the values from
        `offsets[i]` to `offsets[i + 1]`.
    """
    lists = rows.with_format("arrow")[:][column].combine_chunks()
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    values: pa.Array = lists.flatten()
    return values.to_numpy(zero_copy_only=False), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
