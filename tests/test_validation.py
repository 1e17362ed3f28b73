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


@pytest.mark.parametrize(("name", "kind"), [("app.py", "metric"), ("requirements.txt", "metric"), ("app.py", "demo")])
def test_missing_files_are_named(tmp_path: Path, name: str, kind: str) -> None:
    folder = (metric_folder if kind == "metric" else demo_folder)(tmp_path / "space")
    (folder / name).unlink()
    assert f"{name}: is missing" in file_problems(folder, kind)


def test_a_model_needs_its_settings(tmp_path: Path) -> None:
    problems = file_problems(tmp_path, "model")
    assert problems[:2] == ["config.json: is missing", "tokenizer_config.json: is missing"]


def test_what_cannot_be_read_is_named_alone(tmp_path: Path) -> None:
    folder = demo_folder(tmp_path / "demo")
    (folder / "app.py").write_text("x = = 1\n")
    (folder / "README.md").unlink()
    assert file_problems(folder, "demo") == ["app.py:1: is not Python (invalid syntax)"]


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
    (folder / "app.py").unlink()
    assert validate(folder, "metric", repo_id="ann/x") == ["app.py: is missing"]
    assert calls == [("folder", "metric", "ann/x")]


def test_unknown_kind_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected one of the kinds model, dataset, metric, demo, got 'space'"):
        validate(tmp_path, "space", repo_id="ann/x")
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder: stage the model first\."):
        validate(tmp_path / "nowhere", "model", repo_id="ann/x")
