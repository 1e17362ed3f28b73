# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.build_balanced_dataset: sources, leaks, going on after a kill, clear errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced_samples import write_balanced_recipe, write_tweets

from hub.dataset import finishing, shards
from hub.dataset.labelling import Teacher
from hub.dataset.schema import LABEL_NAMES
from hub.dataset.sources import human_rows
from scripts import build_balanced_dataset
from trainer_ext.recipe import load_fields

pytest_plugins = ["tiny_teachers"]

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "scripts" / "datasets").glob("*.yaml"))


def build(recipe: Path, *arguments: str) -> dict[str, Any]:
    return build_balanced_dataset.main([str(recipe), *arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def candidates(folder: Path) -> list[dict[str, Any]]:
    files = [file for stage in ("human", "accepted") for file in sorted((folder / "work" / stage).glob("*.parquet"))]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def fails(capfd: pytest.CaptureFixture[str], recipe: Path, *arguments: str) -> str:
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        build(recipe, *arguments)
    assert stopped.value.code == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(path: Path) -> None:
    arguments = load_fields(str(path), {"dataset": build_balanced_dataset.BalancedDatasetArguments})["dataset"]
    assert all((ROOT / file).is_file() for file in arguments.written_files)


def test_sources_become_candidates(roberta_teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = build(write_balanced_recipe(tmp_path, roberta_teacher))
    output = tmp_path / "output"
    assert json.loads((output / "sources.json").read_text(encoding="utf-8")) == report
    names = ("read", "unusable", "in_evaluation", "near_evaluation", "duplicate", "kept")
    found = {source: tuple(counts[name] for name in names) for source, counts in report["sources"].items()}
    assert found == {
        "goemotions": (63, 0, 1, 1, 1, 60),
        "written": (32, 0, 1, 0, 1, 30),
        "sentiment140": (109, 3, 2, 1, 3, 100),
    }
    rows = candidates(output)
    by_source: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_source.setdefault(row["source"], []).append(row)
    assert [len(by_source[source]) for source in ("goemotions", "written")] == [60, 30]
    tweets = report["tweets"]
    assert len(by_source["sentiment140"]) == tweets["accepted_tweets"]
    assert tweets["accepted_tweets"] + tweets["contradicting_tweets"] <= 100 == tweets["tweets"]
    assert min(tweets["accepted_tweets"], tweets["contradicting_tweets"]) > 10
    assert len({" ".join(row["text"].lower().split()) for row in rows}) == len(rows)
    for row in by_source["sentiment140"]:
        assert "@" not in row["text"]
        assert "http" not in row["text"]
        assert row["teacher"] == roberta_teacher.name == tweets["teacher"]
        reached = [label for label, score in enumerate(row["teacher_scores"]) if float(score) >= 0.9]
        assert row["labels"] == reached or row["labels"] == [label for label in reached if label != 27]
    for label, name in enumerate(LABEL_NAMES):
        accepted = sum(label in row["labels"] for row in by_source["sentiment140"])
        assert tweets["labels"][name]["accepted"] == accepted
    assert pq.read_table(output / "validation.parquet").num_rows == 40
    assert 0 < pq.read_table(output / "train.parquet").num_rows < len(rows)
    said = capsys.readouterr().out
    assert f"{tweets['accepted_tweets']:,} of 100 tweets accepted" in said


def test_cut_offs_come_from_validation(roberta_teacher: Path, tmp_path: Path) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher, acceptance="precision")
    limits = ["--wanted_precision", "0.3", "--least_precision", "0.05", "--min_support", "3"]
    tweets = build(recipe, *limits)["tweets"]
    assert (tweets["wanted_precision"], tweets["acceptance"]) == (0.3, "precision")
    values = {entry["value"] for entry in tweets["labels"].values()}
    assert len(values) > 10
    assert any(value is None for value in values)
    scores = pq.read_table(tmp_path / "output" / "work" / "validation_scores" / "shard_00000.parquet")
    assert scores.num_rows == 40


def test_second_run_does_nothing_and_gives_the_same(
    roberta_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher)
    report, before = build(recipe), contents(tmp_path / "output")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "output").rglob("*.parquet")}
    monkeypatch.setattr(Teacher, "score", lambda *arguments: pytest.fail("A text was scored again."))
    assert build(recipe) == report
    assert contents(tmp_path / "output") == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "output").rglob("*.parquet")} == times


def test_scores_stay_when_a_written_file_is_added(
    roberta_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher)
    build(recipe)
    row = {"text": "a new one, quite unlike the others", "labels": ["pride"]}
    (tmp_path / "more.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    monkeypatch.setattr(Teacher, "score", lambda *arguments: pytest.fail("A text was scored again."))
    report = build(
        recipe, "--written_files", json.dumps([str(tmp_path / name) for name in ("written.jsonl", "more.jsonl")])
    )
    assert report["sources"]["written"]["kept"] == 31


def kill_after(num_writes: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Stop at a write as a kill would, leaving part of a file; returns a function that gives the files written."""
    written: list[str] = []
    original = shards.write_parquet

    def write(path: Path, table: pa.Table) -> None:
        if len(written) == num_writes:
            path.parent.mkdir(parents=True, exist_ok=True)
            shards._partial(path).write_bytes(b"PAR1 half of it")
            raise KeyboardInterrupt
        original(path, table)
        written.append(f"{path.parent.name}/{path.name}")

    monkeypatch.setattr(shards, "write_parquet", write)
    return lambda: list(written)


def interrupt(*arguments: Any, **keywords: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_to_the_same_bytes(roberta_teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    build(write_balanced_recipe(tmp_path / "whole", roberta_teacher))
    expected = contents(tmp_path / "whole" / "output")
    num_shards = sum("shard_" in name for name in expected)
    assert num_shards == 15
    for num_writes in (0, 4, 8, 13, 15):
        folder = tmp_path / f"killed_{num_writes}"
        folder.mkdir()
        recipe = write_balanced_recipe(folder, roberta_teacher)
        with pytest.MonkeyPatch.context() as patch:
            first = kill_after(num_writes, patch)
            patch.setattr(finishing, "select_balanced", interrupt)
            with pytest.raises(KeyboardInterrupt):
                build(recipe)
        with pytest.MonkeyPatch.context() as patch:
            second = kill_after(-1, patch)
            build(recipe)
        assert contents(folder / "output") == expected
        # Nothing was written twice.
        assert len(first()) == num_writes
        assert sorted([*first(), *second()]) == sorted(set(first()) | set(second()))
        assert len(first()) + len(second()) == num_shards


@pytest.mark.parametrize(("num_writes", "last"), [(1, "human/shard_00000.parquet"), (7, "tweets/shard_00000.parquet")])
def test_killed_run_of_another_recipe_leaves_none_of_its_rows(
    roberta_teacher: Path, tmp_path: Path, num_writes: int, last: str
) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher)
    build(recipe)
    expected = contents(tmp_path / "output")
    with pytest.MonkeyPatch.context() as patch:
        written = kill_after(num_writes, patch)
        with pytest.raises(KeyboardInterrupt):
            build(recipe, "--shard_size", "16")
    assert written()[-1] == last
    build(recipe)
    assert expected.items() <= contents(tmp_path / "output").items()


@pytest.mark.slow
def test_killed_process_leaves_what_goes_on_to_the_same_bytes(roberta_teacher: Path, tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    build(write_balanced_recipe(tmp_path / "whole", roberta_teacher, shard_size=2))
    recipe = write_balanced_recipe(tmp_path / "killed", roberta_teacher, shard_size=2)
    command = [sys.executable, "-m", "scripts.build_balanced_dataset", str(recipe)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        scores = tmp_path / "killed" / "output" / "work" / "tweet_scores"
        deadline = time.monotonic() + 300
        while len(list(scores.glob("shard_*.parquet"))) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "killed" / "output" / "sources.json").exists()
    build(recipe)
    assert contents(tmp_path / "killed" / "output") == contents(tmp_path / "whole" / "output")


@pytest.mark.slow
def test_several_processes_give_the_same_bytes(roberta_teacher: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    build(write_balanced_recipe(tmp_path / "one", roberta_teacher))
    recipe = write_balanced_recipe(tmp_path / "two", roberta_teacher)
    launcher = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_cpu_threads_per_process", "1"]
    command = [sys.executable, "-m", *launcher, "-m", "scripts.build_balanced_dataset", str(recipe)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tweets accepted") == 1
    assert contents(tmp_path / "two" / "output") == contents(tmp_path / "one" / "output")


def test_human_sources_need_no_teacher(tmp_path: Path) -> None:
    recipe = write_balanced_recipe(tmp_path, tmp_path / "nowhere", tweets_file=None)
    report = build(recipe)
    assert list(report) == ["sources"]
    assert len(candidates(tmp_path / "output")) == 90


def test_generated_candidates_are_a_source(tmp_path: Path) -> None:
    labels = np.zeros((2, 28), dtype=bool)
    labels[:, 21] = True
    table = human_rows(["we did it, all of us", "my little sister won"], labels, "generated")
    pq.write_table(table, tmp_path / "generated.parquet")
    recipe = write_balanced_recipe(tmp_path, tmp_path / "nowhere", tweets_file=None)
    report = build(recipe, "--generated_files", json.dumps([str(tmp_path / "generated.parquet")]))
    assert report["sources"]["generated"]["kept"] == 2
    assert [row["text"] for row in candidates(tmp_path / "output")][-2:] == table["text"].to_pylist()


def test_bad_input_is_one_line(roberta_teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher)
    assert "There is no recipe no.yaml" in fails(capfd, Path("no.yaml"))
    assert "unknown field `tweet_file`; did you mean `tweets_file`?" in fails(capfd, recipe, "--tweet_file", "x")
    assert "`acceptance` must be one of precision, flat, got 'none'" in fails(capfd, recipe, "--acceptance", "none")
    assert "`precision` must be auto, fp32, bf16 or fp16, got 'fp8'" in fails(capfd, recipe, "--precision", "fp8")
    assert "`shard_size` must be at least 1, got 0" in fails(capfd, recipe, "--shard_size", "0")
    assert "`tokens_per_batch` must be at least 1, got 0" in fails(capfd, recipe, "--tokens_per_batch", "0")
    assert "`min_support` must be at least 1, got 0" in fails(capfd, recipe, "--min_support", "0")
    expected = "Expected 0 < `least_precision` <= `wanted_precision` < 1 and 0 < `flat_cut_off` < 1, got 0.35,"
    assert f"{expected} 0.3 and 0.9." in fails(capfd, recipe, "--wanted_precision", "0.3")
    assert f"{expected} 0.6 and 1.0." in fails(capfd, recipe, "--flat_cut_off", "1")
    both = ("--tweets_dataset_name", "some/tweets", "--tweets_file", "no.csv")
    assert "both given" in fails(capfd, recipe, *both)
    assert "There is no file no.csv of tweets" in fails(capfd, recipe, "--tweets_file", "no.csv")
    assert "There is no file no.parquet of candidates" in fails(capfd, recipe, "--generated_files", "[no.parquet]")
    (tmp_path / "other.parquet").write_bytes(b"x")
    other = json.dumps([str(tmp_path / "other.parquet")])
    assert "expected a Parquet file with the columns text, labels" in fails(capfd, recipe, "--generated_files", other)
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "other.parquet")
    assert "expected a Parquet file with the columns text, labels" in fails(capfd, recipe, "--generated_files", other)
    incomplete = write_balanced_recipe(tmp_path, roberta_teacher, test_file=None)
    assert "GoEmotions needs its test split, which stays as it is: set `test_file`" in fails(capfd, incomplete)
    assert not list((tmp_path / "output").rglob("*.parquet"))


def test_broken_tweets_leave_complete_shards_only(
    roberta_teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher)
    tweets = tmp_path / "tweets.csv"
    whole = tweets.read_bytes()
    tweets.write_bytes(whole + b'"4","5","Mon"\n')
    message = fails(capfd, recipe)
    assert "tweets.csv, row 110: expected 6 columns" in message
    write_tweets(tweets, [], 0)
    assert "tweets.csv: has no rows, expected tweets" in fails(capfd, recipe)
    work = tmp_path / "output" / "work"
    assert not (work / "tweets" / "finished.json").exists()
    assert not list(work.rglob(".*"))
    tweets.write_bytes(whole)
    assert build(recipe)["sources"]["sentiment140"]["kept"] == 100
