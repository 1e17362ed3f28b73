# SPDX-License-Identifier: Apache-2.0
"""Tests of the benchmarks of the balanced data set: they do what they time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from balanced_samples import write_tweets

from hub.dataset.teacher import Teacher
from hub.dataset.tweets import read_tweets_file
from scripts import _dataset_benchmark, benchmark

pytest_plugins = ["tiny_teachers"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_NUM_HUMAN": 60, "_NUM_VALIDATION": 20, "_NUM_TEST": 20, "_NUM_WORDS": 500}.items():
        monkeypatch.setattr(_dataset_benchmark, name, value)
    monkeypatch.setattr(_dataset_benchmark, "_ROWS_AT_A_TIME", 100)


def test_generated_tweets_are_read_and_are_different(tmp_path: Path) -> None:
    _dataset_benchmark._write_tweets(tmp_path / "tweets.csv", 250)
    rows = [row for table in read_tweets_file(str(tmp_path / "tweets.csv")) for row in table.to_pylist()]
    assert len(rows) == 250
    assert len({row["text"] for row in rows}) == 250
    assert {row["polarity"] for row in rows} == {0, 4}


def test_stages_run_from_the_file_to_the_data_set(tmp_path: Path) -> None:
    _dataset_benchmark._write_tweets(tmp_path / "tweets.csv", 250)
    found = _dataset_benchmark._run_stages(tmp_path)
    assert sorted(found) == ["accept", "clean", "cpu", "peak_mb", "scores", "select"]
    assert min(found.values()) > 0
    assert len(list((tmp_path / "work" / "scores").iterdir())) == 1
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["rows"]["candidates"]["sentiment140"] > 20
    assert (tmp_path / "train.parquet").is_file()


def test_each_size_is_a_process_and_its_numbers_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = {"clean": 3.0, "scores": 1.0, "accept": 0.5, "select": 0.5, "cpu": 4.0, "peak_mb": 700.0}

    def run(command: list[str], **keywords: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["-m", "scripts._dataset_benchmark"]
        return subprocess.CompletedProcess(command, 0, stdout=f"said before\n{json.dumps(measured)}\n")

    monkeypatch.setattr(subprocess, "run", run)
    results = benchmark.main(["--balanced_dataset", "10", "20", "--json", str(tmp_path / "out.json")])
    assert results["dataset_20_clean"] == 3.0
    assert len(results) == 12
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == results
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["10", "3.0", "1.0", "0.5", "0.5", "5.0", "4.0", "2", "700"]


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
    arguments = ["--labelling", str(roberta_teacher), "--tweets", str(tmp_path / "tweets.csv")]
    results = benchmark.main([*arguments, "--num_texts", "2", "--rounds", "2", "--precision", "fp32"])
    assert seen == [["so happy & glad", "never again"]] * 2
    assert sorted(results) == [
        "labelling_same_pipeline_tweets_per_second",
        "labelling_same_ratio",
        "labelling_tweets_per_second",
    ]
    assert min(results.values()) > 0
    assert "2 tweets, roberta, fp32 on" in capsys.readouterr().out


def test_labelling_without_tweets_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(["--labelling", "somewhere"])
    assert stopped.value.code == 2
    assert capfd.readouterr().err == "error: --labelling needs --tweets, the Sentiment140 file.\n"
