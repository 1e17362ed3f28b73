# SPDX-License-Identifier: Apache-2.0
"""The rows of any data set that a Trainer may get: texts, tensors, tokenised rows, streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
from transformers.trainer_utils import has_length

from ..errors import InputError
from .batching import TEXT_COLUMN, label_column, stack_labels, tokenize_dataset


def prepare_rows(dataset: Any, tokenizer: Any) -> Any:
    """
    The rows that batches are made of: texts are tokenised, by `tokenize_dataset` where all rows are at hand, and the
    labels are called `labels`. Several evaluation sets one by one.
    """
    if isinstance(dataset, dict):
        return {name: prepare_rows(part, tokenizer) for name, part in dataset.items()}
    if dataset is None or not has_length(dataset):
        return dataset
    if not len(dataset):
        raise InputError("A data set is empty: expected at least one row.")
    if not isinstance(dataset, datasets.Dataset):
        if tokenizer is None or not isinstance(dataset[0], Mapping) or TEXT_COLUMN not in dataset[0]:
            return dataset
        dataset = datasets.Dataset.from_list([_plain_row(dataset[index]) for index in range(len(dataset))])
    labels = label_column(dataset.column_names)
    if labels not in (None, "labels"):
        dataset = dataset.rename_column(labels, "labels")
    if tokenizer is None or TEXT_COLUMN not in dataset.column_names:
        return dataset
    return tokenize_dataset(dataset, tokenizer)[0]


def _plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without tensors."""
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in row.items()}


def dataset_labels(dataset: Any) -> np.ndarray:
    """
    The labels of a data set as an array of shape `(num_samples, num_labels)`.

    Args:
        dataset ([`datasets.Dataset`] or a sequence of rows): With labels in every row; a missing one becomes NaN.

    Raises:
        `InputError`: If the rows have no labels.
    """
    column = label_column(dataset.column_names if hasattr(dataset, "column_names") else dataset[0])
    if column is None:
        raise InputError("The training set has no column `labels`: expected 0 or 1 for every label in each row.")
    if hasattr(dataset, "column_names"):
        return np.asarray(dataset.with_format("numpy")[column][:])
    return stack_labels([dataset[index][column] for index in range(len(dataset))]).numpy()
