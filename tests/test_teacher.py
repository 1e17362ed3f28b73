# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.teacher: scores of the stock pipeline, by name; scores once made stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from transformers import pipeline

from hub.dataset.teacher import cached_scores, load_teacher
from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.errors import InputError

pytest_plugins = ["tiny_teachers"]

TEXTS = ["so happy", "I am sad", "what?", "the weather is nice " * 5, "😂", "", "I love it so much", "no"] * 3


@pytest.fixture(params=["our_teacher", "roberta_teacher"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def with_config(folder: Path, copy: Path, **changes: object) -> str:
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    return str(copy)


def test_scores_are_those_of_the_stock_pipeline_by_name(folder: Path) -> None:
    teacher = load_teacher(str(folder), tokens_per_batch=64)
    scores = teacher.score(TEXTS)
    assert (scores.shape, scores.dtype) == ((24, 28), np.float16)
    stock = pipeline("text-classification", model=teacher.model, tokenizer=teacher.tokenizer, top_k=None)
    for text, row in zip(TEXTS, scores, strict=True):
        by_name = {entry["label"]: entry["score"] for entry in stock([text])[0]}
        np.testing.assert_allclose(row, [by_name[name] for name in GOEMOTIONS_LABELS], atol=1e-3)
    assert np.ptp(scores, axis=0).min() > 0.01


def test_batch_size_changes_rounding_alone_and_the_key(folder: Path) -> None:
    small, large = (load_teacher(str(folder), tokens_per_batch=tokens) for tokens in (1, 4096))
    np.testing.assert_allclose(small.score(TEXTS), large.score(TEXTS), atol=1e-3)
    assert small.key != large.key
    assert load_teacher(str(folder), tokens_per_batch=1).key == small.key
    assert load_teacher(str(folder), tokens_per_batch=1, precision="bf16").key != small.key


def test_scores_in_bf16_are_near(folder: Path) -> None:
    exact = load_teacher(str(folder)).score(TEXTS).astype(np.float32)
    near = load_teacher(str(folder), precision="bf16").score(TEXTS).astype(np.float32)
    assert 0 < np.abs(exact - near).mean() < 0.02


def test_name_and_revision_of_a_folder(folder: Path, tmp_path: Path) -> None:
    teacher = load_teacher(str(folder))
    assert teacher.name == folder.name
    assert len(teacher.revision) == 32
    shutil.copytree(folder, tmp_path / "moved")
    assert load_teacher(str(tmp_path / "moved")).revision == teacher.revision
    changed = with_config(folder, tmp_path / "changed", initializer_range=0.5)
    assert load_teacher(changed).revision != teacher.revision


def test_teacher_of_other_labels(roberta_teacher: Path, tmp_path: Path) -> None:
    names = ["happiness" if name == "joy" else name for name in GOEMOTIONS_LABELS]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    message = "must have the 28 labels of GoEmotions: it lacks joy and has beside them happiness; choose another one"
    with pytest.raises(ValueError, match=message):
        load_teacher(with_config(roberta_teacher, tmp_path / "a", **labels))
    with pytest.raises(ValueError, match=r"must be a multi-label classifier, its `problem_type` is None: choose"):
        load_teacher(with_config(roberta_teacher, tmp_path / "b", problem_type=None))
    with pytest.raises(InputError, match="nowhere"):
        load_teacher(str(tmp_path / "nowhere"))


class Counting:
    """A scorer that gives text lengths and remembers how many texts it saw."""

    def __init__(self, key: str = "k") -> None:
        self.key = key
        self.num_texts = 0

    def score(self, texts: Sequence[str]) -> np.ndarray:
        self.num_texts += len(texts)
        return np.array([[len(text)] * 28 for text in texts], dtype=np.float16)


def test_texts_are_scored_once_and_again_only_for_other_texts_or_scorers(tmp_path: Path) -> None:
    folder, scorer = tmp_path / "scores", Counting()
    for _ in range(2):
        assert cached_scores(["a", "bb", "ccc"], scorer, folder)[:, 5].tolist() == [1, 2, 3]
    assert scorer.num_texts == 3
    assert cached_scores(["a", "bb", "cc"], scorer, folder)[:, 0].tolist() == [1, 2, 2]
    assert scorer.num_texts == 6
    cached_scores(["a", "bb", "cc"], other := Counting("other"), folder)
    assert other.num_texts == 3
    # Those of before are still there.
    cached_scores(["a", "bb", "ccc"], scorer, folder)
    assert scorer.num_texts == 6
    assert len(list(folder.iterdir())) == 3


def test_cached_scores_are_those_of_the_teacher(folder: Path, tmp_path: Path) -> None:
    teacher = load_teacher(str(folder))
    for texts in (TEXTS, []):
        scores = teacher.score(texts)
        for _ in range(2):
            assert np.array_equal(cached_scores(texts, teacher, tmp_path), scores)
    assert scores.shape == (0, 28)
