# SPDX-License-Identifier: Apache-2.0
"""Several data sets with labels of their own as one: a label that a source does not have is unknown for its texts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import datasets
import numpy as np

from ..errors import InputError
from .batching import SOURCE_COLUMN
from .loading import EmotionData, load_emotion_data, load_evaluation_splits, to_dataset
from .targets import LabelledTexts

_FOR_TRAINING = (
    *("train_file", "label_names", "vote_targets", "votes_file", "train_split", "validation_ratio", "test_ratio"),
    "seed",
)


def load_sources(
    sources: Mapping[str, Mapping[str, Any]], *, evaluated_only: Collection[str] = (), seed: int = 42
) -> EmotionData:
    """
    Read several data sets with one list of labels: those of the first source that has training data in their order,
    then those of the second that are new, and so on.

    Args:
        sources (`dict[str, dict]`): Name to arguments of [`load_emotion_data`].
        evaluated_only (`Collection[str]`, *optional*): Names of sources whose training data are left alone, as of a
            language that is not trained on, and of those that have none; their labels are those of the others.
        seed (`int`, *optional*, defaults to 42): Seed of divisions by ratios.

    Returns:
        `EmotionData`: With the column `source` in every split. A target is NaN where a source lacks the label.

    Raises:
        `InputError`: If a source is not as expected, or none has training data.
    """
    for name, arguments in sources.items():
        if name not in evaluated_only and arguments.get("train_file") is arguments.get("dataset_name") is None:
            raise InputError(
                f"source {name}: names no training data; give it a train_file or dataset_name, or evaluated_only: true"
            )
    parts = {
        name: _of_source(name, load_emotion_data, **{"seed": seed, **arguments})
        for name, arguments in sources.items()
        if name not in evaluated_only
    }
    if not parts:
        raise InputError("None of the `sources` is trained on: give at least one a train_file or dataset_name.")
    names = list(dict.fromkeys(label for part in parts.values() for label in part.label_names))
    for name in sources:
        if name not in parts:
            options = {key: value for key, value in sources[name].items() if key not in _FOR_TRAINING}
            parts[name] = EmotionData(names, _of_source(name, load_evaluation_splits, names, **options))
    splits = {
        split: datasets.concatenate_datasets(
            [_widened(parts[name], split, names, name) for name in sources if split in parts[name].splits]
        )
        for split in ("train", "validation", "test")
        if any(split in part.splits for part in parts.values())
    }
    agreement = {f"{name}/{label}": alpha for name, part in parts.items() for label, alpha in part.agreement.items()}
    return EmotionData(names, splits, agreement)


def _of_source(name: str, read: Any, *arguments: Any, **options: Any) -> Any:
    """The result of a reader, whose errors name the source."""
    try:
        return read(*arguments, **options)
    except InputError as error:
        raise InputError(f"source {name}: {error}") from error


def _widened(data: EmotionData, split: str, names: list[str], source: str) -> datasets.Dataset:
    """A split of a source with the labels of all."""
    rows = data.splits[split]
    labels = np.full((len(rows), len(names)), np.nan, np.float32)
    labels[:, [names.index(name) for name in data.label_names]] = rows.with_format("numpy")["labels"][:]
    widened = to_dataset(LabelledTexts(rows["text"][:], labels))
    return widened.add_column(SOURCE_COLUMN, [source] * len(rows))
