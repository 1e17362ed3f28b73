# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.validation.validate: a clean folder of every kind passes; missing files; the order of the checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from staged_samples import dataset_folder, demo_folder, metric_folder, model_folder

from hub.validation import validate as validation
from hub.validation.validate import file_problems, validate


def test_clean_folders_pass(encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model", encoder_folders["bert_wp"])
    (model / ".eval_results").mkdir()
    (model / ".eval_results" / "emotions.yaml").write_text("value: 0.5\n")
    (model / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    np.save(model / "scores.npy", np.zeros(3))
    np.savez(model / "scores.npz", np.zeros(3))
    assert file_problems(model, "model") == []
    assert file_problems(dataset_folder(tmp_path / "dataset"), "dataset") == []
    assert file_problems(metric_folder(tmp_path / "metric"), "metric") == []
    assert file_problems(demo_folder(tmp_path / "demo"), "demo") == []


def test_the_repository_is_loaded_only_where_its_files_are_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str, str]] = []

    def run_as_stranger(folder: Path, kind: str, repo_id: str) -> list[str]:
        calls.append((folder.name, kind, repo_id))
        return ["README.md:3: the snippet fails"]

    monkeypatch.setattr(validation, "run_as_stranger", run_as_stranger)
    folder = metric_folder(tmp_path / "folder")
    assert validate(folder, "metric", repo_id="ann/x") == ["README.md:3: the snippet fails"]
    (folder / "README.md").unlink()
    assert validate(folder, "metric", repo_id="ann/x") == ["README.md: is missing"]
    assert calls == [("folder", "metric", "ann/x")]
