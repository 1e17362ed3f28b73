# SPDX-License-Identifier: Apache-2.0
"""Tests of the benchmark of the balanced data set: it runs the stages, each size in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.dataset.tweets import read_tweets_file
from scripts import benchmark
from scripts.benchmarks import balanced_dataset


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_NUM_HUMAN": 60, "_NUM_VALIDATION": 20, "_NUM_TEST": 20, "_NUM_WORDS": 500}.items():
        monkeypatch.setattr(balanced_dataset, name, value)
    monkeypatch.setattr(balanced_dataset, "_ROWS_AT_A_TIME", 100)


def test_generated_tweets_are_read_and_are_different(tmp_path: Path) -> None:
    balanced_dataset._write_tweets(tmp_path / "tweets.csv", 250)
    rows = [row for table in read_tweets_file(str(tmp_path / "tweets.csv")) for row in table.to_pylist()]
    assert len(rows) == 250
    assert len({row["text"] for row in rows}) == 250
    assert {row["polarity"] for row in rows} == {0, 4}


def test_stages_run_from_the_file_to_the_data_set(tmp_path: Path) -> None:
    balanced_dataset._write_tweets(tmp_path / "tweets.csv", 250)
    found = balanced_dataset._run_stages(tmp_path)
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

    def run(module: str, tasks: list[dict[str, Any]]) -> list[dict[str, float]]:
        assert module == "scripts.benchmarks.balanced_dataset"
        assert [list(task) for task in tasks] == [["folder"]]
        return [measured]

    monkeypatch.setattr(balanced_dataset, "in_children", run)
    results = benchmark.main(["balanced_dataset", "10", "20", "--json", str(tmp_path / "out.json")])
    assert results["dataset_20_clean"] == 3.0
    assert len(results) == 12
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == results
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["10", "3.0", "1.0", "0.5", "0.5", "5.0", "4.0", "2", "700"]
