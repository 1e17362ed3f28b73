# SPDX-License-Identifier: Apache-2.0
"""Tests of the benchmark of labelling: the teacher and the stock pipeline get the same texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from balanced_samples import write_tweets

from hub.dataset.teacher import Teacher
from scripts import benchmark

pytest_plugins = ["tiny_teachers"]


def test_labelling_gives_both_sides_the_same_texts(
    roberta_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tweets(tmp_path / "tweets.csv", ["@ann so happy &amp; glad", "@bob", "never again", "what a night"], 0)
    seen: list[list[str]] = []
    score = Teacher.score

    def recorded(self: Teacher, texts: list[str]) -> Any:
        seen.append(texts)
        return score(self, texts)

    monkeypatch.setattr(Teacher, "score", recorded)
    arguments = ["labelling", str(roberta_teacher), "--tweets", str(tmp_path / "tweets.csv")]
    results = benchmark.main([*arguments, "--num_texts", "2", "--rounds", "2", "--precision", "fp32"])
    assert seen == [["so happy & glad", "never again"]] * 2
    assert sorted(results) == [
        "labelling_same_pipeline_tweets_per_second",
        "labelling_same_ratio",
        "labelling_tweets_per_second",
    ]
    assert min(results.values()) > 0
    assert "2 tweets, roberta, fp32 on" in capsys.readouterr().out
