# SPDX-License-Identifier: Apache-2.0
"""Data, encoders and settings of a training, as `training_summary.json` in the model's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer_ext.errors import InputError

SUMMARY_NAME = "training_summary.json"


@dataclass(frozen=True)
class TrainingSummary:
    """
    Facts for the card. It is published: file names without folders, Hub ids, no path of a machine.

    Attributes:
        name (`str`): The recipe's or the folder's name.
        encoders (`dict[str, str]`): Encoder name to Hub id, or to a few words such as `from scratch`.
        dataset (`str`, *optional*): Hub id of the data set.
        dataset_config (`str`, *optional*): Its configuration.
        dataset_revision (`str`, *optional*): Its branch, tag or commit.
        files (`dict[str, str]`): Split to file name, where the data are files.
        num_texts (`dict[str, int]`): Split to number of texts.
        settings (`dict[str, Any]`): Training settings worth knowing.
        versions (`dict[str, str]`): Package to version.
        teachers (`list[str]`): The models that this one was distilled from, in a few words or by Hub id.
    """

    name: str
    encoders: dict[str, str] = field(default_factory=dict)
    dataset: str | None = None
    dataset_config: str | None = None
    dataset_revision: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    num_texts: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    teachers: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """The content of `training_summary.json`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def read_summary(folder: Path) -> TrainingSummary:
    """
    Read `training_summary.json`; a folder without one has only its name.

    Raises:
        `InputError`: If the file is not such a summary.
    """
    path = folder / SUMMARY_NAME
    if not path.is_file():
        return TrainingSummary(folder.resolve().name)
    try:
        return TrainingSummary(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} is not the summary of a training: {error}. Train again, or delete it.") from error
