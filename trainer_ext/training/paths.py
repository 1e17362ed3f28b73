# SPDX-License-Identifier: Apache-2.0
"""
Where a run writes: every path follows from the folder that becomes the model's repository.

A run in progress writes to `checkpoints` alone: until it ends, the rest is the earlier model, if there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """
    The paths of a run.

    Args:
        repository (`Path`): The recipe's `output_dir`, which becomes the model's repository.
    """

    repository: Path

    @property
    def checkpoints(self) -> Path:
        """The `output_dir` of the Trainer, apart from the files of the repository."""
        return self.repository / "checkpoints"

    @property
    def reports(self) -> Path:
        """Numbers and figures of every evaluation during training; at the end `reports` of the repository."""
        return self.checkpoints / "reports"

    @property
    def teacher_logits(self) -> Path:
        """The cached logits of teachers, which are those of any model."""
        return self.repository / "teacher_logits"

    @property
    def adapter(self) -> Path:
        """The LoRA adapters, before they are merged into the weights; at the end `adapter` of the repository."""
        return self.checkpoints / "adapter"

    @property
    def results(self) -> Path:
        """The metrics of the finished model."""
        return self.repository / "eval_results.json"
