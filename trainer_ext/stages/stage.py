# SPDX-License-Identifier: Apache-2.0
"""One stage of a training in a folder of its own: done once, known by its settings, its result in a file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..digests import settings_digest

_RECORD = "stage.json"
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Stage:
    """
    A stage's folder.

    `stage.json` holds the digest of the settings from the beginning on, and the metrics when all else is written: so
    a stage is complete only with them, and a stage of other settings is not mistaken for this one.

    Args:
        folder (`Path`): The stage's own.
        settings (`Mapping[str, Any]`): All that its result depends on.
    """

    folder: Path
    settings: Mapping[str, Any]

    def metrics(self) -> dict[str, float] | None:
        """Those of the completed stage; `None` if it is not complete or had other settings."""
        record = self._record()
        return record.get("metrics") if record.get("settings") == settings_digest(self.settings) else None

    def begin(self, resume: bool) -> None:
        """Make the folder; empty, unless the stage has begun with these settings and is to be resumed."""
        if resume and self._record().get("settings") == settings_digest(self.settings):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._write_record(None)

    def complete(self, weights: Mapping[str, torch.Tensor], metrics: Mapping[str, float]) -> None:
        """Write the result, then that it is complete; the checkpoints are of no use then."""
        partial = self.folder / f"{_WEIGHTS}.partial"
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, partial)
        partial.replace(self.folder / _WEIGHTS)
        self._write_record(dict(metrics))
        for checkpoint in self.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            shutil.rmtree(checkpoint)

    def _record(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def _write_record(self, metrics: dict[str, float] | None) -> None:
        partial = self.folder / f"{_RECORD}.partial"
        record = {"settings": settings_digest(self.settings), "metrics": metrics}
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        partial.replace(self.folder / _RECORD)


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The result of the completed stage in a folder."""
    return load_file(folder / _WEIGHTS)
