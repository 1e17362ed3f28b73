# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.model.folder: a folder is written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.model.folder import write_model_folder
from modeling_stacked_emotion import StackedEmotionForSequenceClassification
from modeling_stacked_emotion import StackedEmotionTokenizer as Tokenizer
from trainer_ext import files as files_module


class Kill(BaseException):
    """As `kill -9`."""


class Breaking:
    """A tokenizer whose disk is full."""

    def save_pretrained(self, folder: Path) -> None:
        (folder / "tokenizer_config.json").write_text("half")
        raise OSError("No space left on device")


def test_folder_loads_and_what_else_was_there_stays(
    tmp_path: Path, model: StackedEmotionForSequenceClassification, tokenizer: Tokenizer
) -> None:
    target = tmp_path / "deep" / "repository"
    (target / "bert_wp_tokenizer").mkdir(parents=True)
    (target / "bert_wp_tokenizer" / "old.json").write_text("old")
    (target / "README.md").write_text("old")
    (target / "notes.txt").write_text("mine")
    for name in ("reliability.png", "label_statistics.json"):
        (target / name).write_text("of an earlier model")
    assert write_model_folder(target, model, tokenizer, {"README.md": "nouveau é", "a.png": b"\x89\r\n"}) == target
    assert (target / "a.png").read_bytes() == b"\x89\r\n"
    assert (target / "README.md").read_text(encoding="utf-8") == "nouveau é"
    assert (target / "notes.txt").read_text() == "mine"
    assert not (target / "reliability.png").exists()
    assert not (target / "label_statistics.json").exists()
    assert not (target / "bert_wp_tokenizer" / "old.json").exists()
    loaded = StackedEmotionForSequenceClassification.from_pretrained(target)
    assert (loaded.classifier.weight == model.classifier.weight).all()
    assert Tokenizer.from_pretrained(target)("hm")["roberta_bb_input_ids"] == tokenizer("hm")["roberta_bb_input_ids"]
    assert [path.name for path in target.parent.iterdir()] == ["repository"]


def test_killed_at_any_step_the_folder_is_one_whole_model(
    tmp_path: Path,
    model: StackedEmotionForSequenceClassification,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, reports = tmp_path / "repository", tmp_path / "reports"
    reports.mkdir()
    (reports / "a_1.png").write_bytes(b"new")
    old = {"config.json": "old", "model-00001-of-00002.safetensors": "old", "old_tokenizer/tokenizer.json": "old"}
    old |= {
        "vocab.txt": "old",
        "model.onnx": "old",
        "README.md": "old",
        "eval_results.json": "old",
        "reports/b": "old",
    }
    kept = {"notes.txt": "mine", "checkpoints/stages/a.bin": "mine"}

    def write() -> None:
        files = {"README.md": "new", "eval_results.json": "new"}
        write_model_folder(target, model, tokenizer, files, {"reports": reports}, ["dropped"])

    def names() -> set[str]:
        return {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}

    for name, text in (old | kept | {"dropped/checkpoint": "old"}).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text)
    before = names()
    for step in range(1, 20):
        calls = []
        with monkeypatch.context() as patch:
            for name in ("_link_file", "_swap"):
                patch.setattr(files_module, name, killing_at(step, calls, getattr(files_module, name)))
            # A process that has ended tidies nothing up.
            patch.setattr(files_module, "remove_leftovers", lambda target: None)
            try:
                write()
            except Kill:
                assert (names(), (target / "config.json").read_text()) == (before, "old")
            else:
                break
        shutil.rmtree(tmp_path / ".repository.partial")
    assert step > 3
    assert {name for name in names() if name in old | kept} == {"config.json", "README.md", "eval_results.json", *kept}
    assert (target / "reports" / "a_1.png").read_bytes() == b"new"
    assert not (target / "dropped").exists()
    assert Tokenizer.from_pretrained(target)("hm")["roberta_bb_input_ids"] == tokenizer("hm")["roberta_bb_input_ids"]


def killing_at(step: int, calls: list[str], original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        calls.append(original.__name__)
        if len(calls) == step:
            raise Kill
        return original(*arguments)

    return call


def test_failure_leaves_the_folder_as_it_was(tmp_path: Path, model: StackedEmotionForSequenceClassification) -> None:
    target = tmp_path / "repository"
    target.mkdir()
    (target / "config.json").write_text("old")
    with pytest.raises(OSError, match="No space left on device"):
        write_model_folder(target, model, Breaking(), {"README.md": "new"})
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("config.json", "old")]
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
