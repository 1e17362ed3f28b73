# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.model.folder: a folder is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.model.folder import write_model_folder
from modeling_stacked_emotion import StackedEmotionForSequenceClassification
from modeling_stacked_emotion import StackedEmotionTokenizer as Tokenizer


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


def test_failure_leaves_the_folder_as_it_was(tmp_path: Path, model: StackedEmotionForSequenceClassification) -> None:
    target = tmp_path / "repository"
    target.mkdir()
    (target / "config.json").write_text("old")
    with pytest.raises(OSError, match="No space left on device"):
        write_model_folder(target, model, Breaking(), {"README.md": "new"})
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("config.json", "old")]
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
