# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.validation: a clean folder of every kind passes, and each planted defect is named."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from staged_samples import DATASET_CARD, dataset_folder, demo_folder, metric_folder, model_folder

from hub.validation import validate as validation
from hub.validation.validate import validate

Spoil = Callable[[Path], Any]


@pytest.fixture(scope="module")
def clean_model(encoder_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("clean") / "model", encoder_folders["bert_wp"])


@pytest.fixture
def model(clean_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(clean_model, tmp_path / "model")


def only_problem(folder: Path, kind: str) -> str:
    problems = validate(folder, kind, snippets=False)
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    return problems[0]


def test_clean_folders_pass(model: Path, tmp_path: Path) -> None:
    (model / ".eval_results").mkdir()
    (model / ".eval_results" / "emotions.yaml").write_text("value: 0.5\n")
    (model / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    np.save(model / "scores.npy", np.zeros(3))
    np.savez(model / "scores.npz", np.zeros(3))
    assert validate(model, "model", snippets=False) == []
    assert validate(dataset_folder(tmp_path / "dataset"), "dataset", snippets=False) == []
    assert validate(metric_folder(tmp_path / "metric"), "metric", snippets=False) == []
    assert validate(demo_folder(tmp_path / "demo"), "demo") == []


# ------------------------------------------------------------------------------------------------------------- pickles


def zip_of(name: str, content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        with zipfile.ZipFile(folder / "extra.dat", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)

    return spoil


def object_array(folder: Path) -> None:
    np.save(folder / "extra.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def records_with_objects(folder: Path) -> None:
    np.savez_compressed(folder / "extra.npz", np.array([(1, "a")], dtype=[("x", int), ("y", object)]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "training_args.bin").write_bytes(b""), "training_args.bin: is a pickle by its name"),
        (lambda folder: (folder / "scaler.joblib").write_bytes(b""), "scaler.joblib: is a pickle by its name"),
        (lambda folder: (folder / "extra.dat").write_bytes(pickle.dumps([1])), "extra.dat: holds a pickle"),
        (lambda folder: (folder / "notes.txt").write_bytes(pickle.dumps({"a": 1}, 0)), "notes.txt: holds a pickle"),
        (lambda folder: torch.save([torch.ones(2)], folder / "extra.dat"), "extra.dat: holds a pickle"),
        (lambda folder: (folder / "extra.dat").write_bytes(pickle.dumps(1) + b"more"), "extra.dat: holds a pickle"),
        (lambda folder: (folder / "model.PKL.gz").write_bytes(b""), "model.PKL.gz: is a pickle by its name"),
        (zip_of("weights/data.pkl", b""), "extra.dat: holds a pickle"),
        (object_array, "extra.npy: holds a pickle"),
        (records_with_objects, "extra.npz: holds a pickle"),
    ],
)
def test_pickles_are_refused(tmp_path: Path, spoil: Spoil, message: str) -> None:
    folder = demo_folder(tmp_path / "demo")
    spoil(folder)
    assert only_problem(folder, "demo").startswith(message)


# ------------------------------------------------------------------------------------------------------- odd files


def link(folder: Path) -> None:
    (folder / "link.py").symlink_to(folder / "words.py")


def compiled(folder: Path) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "app.pyc").write_bytes(b"\xa7\r\r\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (link, "link.py: is a symbolic link: copy the file"),
        (lambda folder: (folder / "link.json").symlink_to("nowhere"), "link.json: is a symbolic link: copy the file"),
        (lambda folder: (folder / "parts").symlink_to(".."), "parts: is a symbolic link: copy the file"),
        (compiled, "__pycache__: is hidden or a cache"),
        (lambda folder: (folder / "README.md").write_bytes(b"---\n\xff"), "README.md: is not text in UTF-8"),
        (lambda folder: (folder / ".env").write_text("x"), ".env: is hidden or a cache"),
        (lambda folder: (folder / "all.csv").write_bytes(b"x" * (11 << 20)), "all.csv: has 11 MiB and an ending that"),
    ],
)
def test_odd_files_are_refused(tmp_path: Path, spoil: Spoil, message: str) -> None:
    folder = demo_folder(tmp_path / "demo")
    spoil(folder)
    assert only_problem(folder, "demo").startswith(message)


def test_large_files_may_be_named_for_lfs(tmp_path: Path) -> None:
    folder = demo_folder(tmp_path / "demo")
    for name in ("all.csv", "all.parquet", "tokenizer.json"):
        (folder / name).write_bytes(b"x" * (11 << 20))
    (folder / ".gitattributes").write_text("*.csv filter=lfs diff=lfs merge=lfs -text\n")
    assert validate(folder, "demo", snippets=False) == []


# --------------------------------------------------------------------------------------------------------------- model


def change_json(name: str, **entries: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | entries
        (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return spoil


def trust_in_an_encoder(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["encoders"]["tiny"]["auto_map"] = {"AutoModel": "modeling_other.Other"}
    (folder / "config.json").write_text(json.dumps(config))


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])


def missing_shard(folder: Path) -> None:
    os.rename(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


CLASSES = {"AutoConfig": "configuration_stacked_emotion.StackedEmotionConfig"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            change_json("config.json", auto_map=CLASSES | {"AutoModel": "modeling_stacked_emotion.Absent"}),
            "config.json: `auto_map.AutoModel` names modeling_stacked_emotion.Absent, a class that no file",
        ),
        (
            change_json("config.json", auto_map=CLASSES | {"AutoModel": "other/repo--modeling_other.Model"}),
            "config.json: `auto_map.AutoModel` names other/repo--modeling_other.Model, a class",
        ),
        (
            change_json("tokenizer_config.json", auto_map={"AutoTokenizer": [None, "tokenization_gone.Tokenizer"]}),
            "tokenizer_config.json: `auto_map.AutoTokenizer` names tokenization_gone.Tokenizer, a class",
        ),
        (
            change_json("config.json", custom_pipelines={"emotion-classification": {"impl": "pipeline_x.Pipe"}}),
            "config.json: `custom_pipelines.emotion-classification` names pipeline_x.Pipe, a class",
        ),
        (trust_in_an_encoder, "config.json: has an `auto_map` inside"),
        (
            change_json("tiny_tokenizer/tokenizer_config.json", tokenizer_class="X", auto_map={}),
            "tiny_tokenizer/tokenizer_config.json: has an `auto_map` inside",
        ),
        (change_json("config.json", problem_type=None), "config.json: `problem_type` is None, not 'multi_label_"),
        (change_json("config.json", id2label={"0": "LABEL_0"}), "config.json: `id2label` does not name the labels"),
        (change_json("config.json", id2label=None), "config.json: `id2label` does not name the labels"),
        (change_json("config.json", thresholds=[0.5] * 3), "config.json: has 3 thresholds for 2 labels"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: is not JSON (Expecting"),
        (change_json("config.json", auto_map=None, id2label=[]), "config.json: `id2label` does not name the labels"),
        (lambda folder: (folder / "tokenizer_config.json").unlink(), "tokenizer_config.json: is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors: is missing"),
        (cut_weights, "model.safetensors: is not a complete safetensors file"),
        (missing_shard, "model-00002-of-00002.safetensors: is missing, model.safetensors.index.json names it"),
        (
            lambda folder: (folder / "layers_stacked_emotion.py").unlink(),
            "modeling_stacked_emotion.py:19: reads like an import of .layers_stacked_emotion, for which there is no",
        ),
    ],
)
def test_defects_of_a_model_are_named(model: Path, spoil: Spoil, message: str) -> None:
    spoil(model)
    assert only_problem(model, "model").startswith(message)


# ------------------------------------------------------------------------------------------------------------ data set


def change_card(old: str, new: str) -> Spoil:
    return lambda folder: (folder / "README.md").write_text(DATASET_CARD.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            change_card("path: train.parquet", "path: rows/*.parquet"),
            "README.md: the configuration default names rows/*",
        ),
        (
            lambda folder: (folder / "train.parquet").write_bytes(b"PAR1"),
            "train.parquet: is not a complete Parquet file",
        ),
        (lambda folder: (folder / "data.py").write_text("import datasets\n"), "data.py:1: imports datasets, which is"),
    ],
)
def test_defects_of_a_data_set_are_named(tmp_path: Path, spoil: Spoil, message: str) -> None:
    folder = dataset_folder(tmp_path / "dataset")
    spoil(folder)
    assert only_problem(folder, "dataset").startswith(message)


@pytest.mark.parametrize(
    "files", ["train.parquet", "['*.parquet']", "{split: train, path: train.parquet}", "[{path: [train.parquet]}]"]
)
def test_data_files_are_given_in_every_form_that_datasets_reads(tmp_path: Path, files: str) -> None:
    folder = dataset_folder(tmp_path / "dataset")
    card = DATASET_CARD.replace("\n  - split: train\n    path: train.parquet", f" {files}")
    (folder / "README.md").write_text(card)
    assert f"data_files: {files}" in card
    assert validate(folder, "dataset", snippets=False) == []
    (folder / "README.md").write_text(card.replace(".parquet", ".csv"))
    assert "names " in only_problem(folder, "dataset")


def test_broken_code_is_named(model: Path) -> None:
    (model / "pipeline_stacked_emotion.py").write_text("x = = 1\n")
    assert (
        validate(model, "model", snippets=False)[0] == "pipeline_stacked_emotion.py:1: is not Python (invalid syntax)"
    )


def test_data_set_needs_rows(tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path / "dataset")
    (folder / "train.parquet").unlink()
    problems = validate(folder, "dataset", snippets=False)
    assert problems[0] == "*.parquet: there is no file of rows"
    assert len(problems) == 2


@pytest.mark.parametrize(("name", "kind"), [("app.py", "metric"), ("requirements.txt", "metric"), ("app.py", "demo")])
def test_spaces_need_an_app(tmp_path: Path, name: str, kind: str) -> None:
    folder = (metric_folder if kind == "metric" else demo_folder)(tmp_path / "space")
    (folder / name).unlink()
    assert f"{name}: is missing" in validate(folder, kind, snippets=False)


# ----------------------------------------------------------------------------------------------------------- arguments


def test_snippets_run_last_and_only_where_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def run_snippets(folder: Path, repo_type: str, *, repo_id: str | None) -> list[str]:
        calls.append((folder.name, repo_type, repo_id))
        return ["README.md:3: the snippet fails"]

    monkeypatch.setattr(validation, "run_snippets", run_snippets)
    folders = {"dataset": dataset_folder(tmp_path / "dataset"), "metric": metric_folder(tmp_path / "metric")}
    for kind, folder in folders.items():
        assert validate(folder, kind, repo_id="ann/x") == ["README.md:3: the snippet fails"]
        assert validate(folder, kind, snippets=False) == []
    assert calls == [("dataset", "dataset", "ann/x"), ("metric", "space", "ann/x")]
    (folders["metric"] / "app.py").unlink()
    assert validate(folders["metric"], "metric") == ["app.py: is missing"]
    assert validate(demo_folder(tmp_path / "demo"), "demo") == []
    assert len(calls) == 2


def test_unknown_kind_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected one of the kinds model, dataset, metric, demo, got 'space'"):
        validate(tmp_path, "space")
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder: stage the model first\."):
        validate(tmp_path / "nowhere", "model")
