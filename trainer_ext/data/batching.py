# SPDX-License-Identifier: Apache-2.0
"""From texts to batches: tokenised once, grouped by length, padded as little as possible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

LENGTH_COLUMN = "length"
TEXT_COLUMN = "text"
SOURCE_COLUMN = "source"
# What the Trainer of transformers takes for labels.
_LABEL_COLUMNS = ("labels", "label", "label_ids")


def label_column(columns: Iterable[str]) -> str | None:
    """The first of `labels`, `label` and `label_ids` that is among the columns, if any."""
    known = set(columns)
    return next((name for name in _LABEL_COLUMNS if name in known), None)


def tokenize_dataset(dataset: datasets.Dataset, tokenizer: Any) -> tuple[datasets.Dataset, int]:
    """
    Tokenise the column `text` of a data set and keep its `labels`, and the `source` of each row if there are several.

    Args:
        dataset ([`datasets.Dataset`]): With the columns `text` and, for training, `labels`.
        tokenizer: [`StackedEmotionTokenizer`] or any tokenizer of transformers.

    Returns:
        The data set with the tokenizer's columns, `labels` and `length` (tokens of the longest encoder, for batches of
        equal lengths), and the number of texts that the tokenizer had to cut (0 where it does not tell).
    """
    num_truncated = 0

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        nonlocal num_truncated
        if hasattr(tokenizer, "tokenizers"):
            encoded = tokenizer(batch["text"], return_truncated=True)
            num_truncated += sum(encoded.pop("truncated"))
        else:
            encoded = tokenizer(batch["text"], truncation=True)
        ids = [rows for key, rows in encoded.items() if key.endswith("input_ids")]
        lengths = [max(map(len, rows)) for rows in zip(*ids, strict=True)]
        return {**encoded, LENGTH_COLUMN: lengths}

    removed = [column for column in dataset.column_names if column not in ("labels", SOURCE_COLUMN)]
    encoded = dataset.map(encode, batched=True, remove_columns=removed, keep_in_memory=True, desc="Tokenizing")
    return encoded, num_truncated


def padded_rows(
    values: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], padding: int = 0
) -> npt.NDArray[np.int64]:
    """
    Some rows of a ragged column, filled up to the longest of them.

    Args:
        values, offsets (`np.ndarray`): The column, as [`~trainer_ext.digests.ragged_column`] returns it.
        rows (`np.ndarray` of shape `(batch_size,)`): Indices of the rows.
        padding (`int`, *optional*, defaults to 0): Stands behind the end of a row.

    Returns:
        `np.ndarray` of shape `(batch_size, seq_len)`: At least one column wide, even where all rows are empty.
    """
    lengths = np.diff(offsets)[rows]
    positions = np.arange(lengths.max(initial=1))
    mask = positions < lengths[:, None]
    padded = np.full(mask.shape, padding, dtype=np.int64)
    padded[mask] = values[(offsets[rows][:, None] + positions)[mask]]
    return padded


class EpochLengthGroupedSampler(LengthGroupedSampler):
    """
    [`LengthGroupedSampler`] with an order that follows from seed and epoch alone.

    The order of the original depends on every random number drawn before, so that a run resumed within an epoch would
    see some texts twice and others never, and processes could come to disagree.

    Args:
        batch_size (`int`): Texts to group: those of an optimizer step.
        lengths (`list[int]`): Length of every text.
        seed (`int`): Seed of the first epoch; the next one's is 1 higher.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator().manual_seed(seed))
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before every epoch."""
        self.generator.manual_seed(self.seed + epoch)


def stack_labels(rows: Sequence[Any]) -> torch.Tensor:
    """The labels of some rows as fp32, `(batch_size, num_labels)`; a missing one, `None`, is unknown as NaN is."""
    return torch.from_numpy(np.array([np.asarray(row) for row in rows]).astype(np.float32))


@dataclass(frozen=True)
class EmotionDataCollator:
    """
    Pads a batch, every encoder to its own longest row, and stacks the labels as floats, NaN where unknown. Rows with a
    column `text`, as those of a stream, are tokenised here.

    Args:
        tokenizer: The tokenizer that made the rows; its `pad` is used.
        pad_to_multiple_of (`int`, *optional*): Round the padded lengths up, 8 for fp16 on tensor cores.

    Example:
    ```python
    >>> collator = EmotionDataCollator(tokenizer)
    >>> batch = collator([
    ...     {"a_input_ids": [2, 7, 3], "a_attention_mask": [1, 1, 1], "a_word_ids": [0, 1, 0], "labels": [0.0, 1.0]},
    ...     {"a_input_ids": [2, 3], "a_attention_mask": [1, 1], "a_word_ids": [0, 0], "labels": [1.0, 0.0]},
    ... ])
    >>> batch["a_input_ids"].tolist(), batch["labels"].tolist()
    ([[2, 7, 3], [2, 3, 0]], [[0.0, 1.0], [1.0, 0.0]])
    ```
    """

    tokenizer: Any
    pad_to_multiple_of: int | None = None

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows, or texts, to tensors `(batch_size, seq_len)` and labels `(batch_size, num_labels)`."""
        labels = label_column(features[0])
        if TEXT_COLUMN in features[0]:
            encoded = self.tokenizer([row[TEXT_COLUMN] for row in features], truncation=True)
            inputs = [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
        else:
            left_out = (labels, LENGTH_COLUMN, SOURCE_COLUMN)
            inputs = [{key: value for key, value in row.items() if key not in left_out} for row in features]
        batch = dict(self.tokenizer.pad(inputs, pad_to_multiple_of=self.pad_to_multiple_of, return_tensors="pt"))
        if labels is not None:
            batch["labels"] = stack_labels([row[labels] for row in features])
        return batch
