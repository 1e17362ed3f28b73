# SPDX-License-Identifier: Apache-2.0
"""Tests of the README: its Python runs, and the files that it names exist."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from recipe_samples import LABELS, make_rows
from transformers import BertConfig, BertForSequenceClassification

from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BERT = "google-bert/bert-base-uncased"


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_a_stock_classifier_is_trained_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, flags=re.S) if BERT in block]
    for file, seed in (("train.csv", 0), ("dev.csv", 1)):
        with (tmp_path / file).open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["text", *LABELS])
            rows.writerows(
                [row["text"], *(int(label in row["labels"]) for label in LABELS)] for row in make_rows(40, seed)
            )
    texts = [row["text"] for row in make_rows(40, 0)]
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = ScratchEncoder("bert", "wordpiece", 200, **size).build(BuildContext(texts, tmp_path / BERT))
    BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=len(LABELS))).save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    (*_, checkpoint) = sorted((tmp_path / "outputs" / "bert").glob("checkpoint-*"))
    trained = BertForSequenceClassification.from_pretrained(checkpoint)
    assert trained.config.id2label == dict(enumerate(LABELS))
    assert len(set(trained.config.class_weights)) > 1
