# SPDX-License-Identifier: Apache-2.0
"""Several data sets with labels of their own as one: a label that a source does not have is unknown for its texts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np

from ..errors import InputError
from .batching import SOURCE_COLUMN
from .loading import EmotionData, load_emotion_data, read_file, to_dataset
from .targets import LabelledTexts

_EVALUATION_FILES = {"validation": "validation_file", "test": "test_file"}
# The arguments of a source without training data: those of `read_file`.
_READING = ("text_column", "label_column", "label_separator", "label_map", "blank_labels", "max_intensity")


def load_sources(sources: Mapping[str, Mapping[str, Any]], *, seed: int = 42) -> EmotionData:
    """
    Read several data sets with one list of labels: those of the first source that has training data in their order,
    then those of the second that are new, and so on.

    Args:
        sources (`dict[str, dict]`): Name to arguments of [`load_emotion_data`]. A source without `train_file` and
            `dataset_name` is evaluated on only, for the labels of the others, as a language that is not trained on.
        seed (`int`, *optional*, defaults to 42): Seed of divisions by ratios.

    Returns:
        `EmotionData`: With the column `source` in every split. A target is NaN where a source lacks the label.

    Raises:
        `InputError`: If a source is not as expected, or none has training data.
    """
    parts = {
        name: _of_source(name, load_emotion_data, **{"seed": seed, **arguments})
        for name, arguments in sources.items()
        if _has_training_data(arguments)
    }
    if not parts:
        raise InputError("None of the `sources` has training data: give at least one a train_file or dataset_name.")
    names = list(dict.fromkeys(label for part in parts.values() for label in part.label_names))
    for name, arguments in sources.items():
        if name not in parts:
            parts[name] = _evaluated_only(name, arguments, names)
    splits = {
        split: datasets.concatenate_datasets(
            [_widened(parts[name], split, names, name) for name in sources if split in parts[name].splits]
        )
        for split in ("train", *_EVALUATION_FILES)
        if any(split in part.splits for part in parts.values())
    }
    agreement = {f"{name}/{label}": alpha for name, part in parts.items() for label, alpha in part.agreement.items()}
    return EmotionData(names, splits, agreement)


def _has_training_data(arguments: Mapping[str, Any]) -> bool:
    return any(arguments.get(name) is not None for name in ("train_file", "dataset_name"))


def _of_source(name: str, read: Any, *arguments: Any, **options: Any) -> Any:
    """The result of a reader, whose errors name the source."""
    try:
        return read(*arguments, **options)
    except InputError as error:
        raise InputError(f"source {name}: {error}") from error


def _evaluated_only(name: str, arguments: Mapping[str, Any], names: list[str]) -> EmotionData:
    files: dict[str, str | os.PathLike[str]] = {
        split: arguments[argument] for split, argument in _EVALUATION_FILES.items() if arguments.get(argument)
    }
    if not files:
        raise InputError(f"source {name}: names no data; give it a train_file, dataset_name, or test_file.")
    options = {key: arguments[key] for key in _READING if arguments.get(key) is not None}
    read = {
        split: _of_source(name, read_file, path, label_names=names, may_lack_labels=True, **options)[0]
        for split, path in files.items()
    }
    return EmotionData(names, read)


def _widened(data: EmotionData, split: str, names: list[str], source: str) -> datasets.Dataset:
    """A split of a source with the labels of all."""
    rows = data.splits[split]
    labels = np.full((len(rows), len(names)), np.nan, np.float32)
    labels[:, [names.index(name) for name in data.label_names]] = rows.with_format("numpy")["labels"][:]
    widened = to_dataset(LabelledTexts(rows["text"][:], labels))
    return widened.add_column(SOURCE_COLUMN, [source] * len(rows))
