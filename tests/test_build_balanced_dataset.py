# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.build_balanced_dataset: sources, leaks, going on after a kill, clear errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced_samples import write_balanced_recipe, write_tweets
from conftest import contents, fails

from hub.dataset import build as building
from hub.dataset.candidates import candidate_rows
from hub.dataset.teacher import Teacher
from scripts import build_balanced_dataset
from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.recipe_file import load_fields

pytest_plugins = ["tiny_teachers"]

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "scripts" / "datasets").glob("*.yaml"))


def build(recipe: Path, *arguments: str) -> dict[str, Any]:
    return build_balanced_dataset.main([str(recipe), *arguments])


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The rows that a data set was selected from, once it is built."""
    rows: list[dict[str, Any]] = []
    write = building.write_balanced_dataset

    def record(table: pa.Table, *arguments: Any, **numbers: Any) -> dict[str, Any]:
        rows[:] = table.to_pylist()
        return write(table, *arguments, **numbers)

    monkeypatch.setattr(building, "write_balanced_dataset", record)
    return rows


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(path: Path) -> None:
    arguments = load_fields(str(path), {"dataset": build_balanced_dataset.BalancedDatasetArguments})["dataset"]
    assert all((ROOT / file).is_file() for file in arguments.written_files)


def test_sources_become_candidates(
    roberta_teacher: Path, tmp_path: Path, candidates: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    report = build(write_balanced_recipe(tmp_path, roberta_teacher))
    output = tmp_path / "output"
    assert json.loads((output / "sources.json").read_text(encoding="utf-8")) == report
    names = ("read", "unusable", "in_evaluation", "near_evaluation", "duplicate", "kept")
    assert {source: tuple(counts[name] for name in names) for source, counts in report["sources"].items()} == {
        "goemotions": (63, 0, 1, 1, 1, 60),
        "written": (32, 0, 1, 0, 1, 30),
        "sentiment140": (109, 3, 2, 1, 3, 100),
    }
    by_source: dict[str, list[dict[str, Any]]] = {}
    for row in candidates:
        by_source.setdefault(row["source"], []).append(row)
    assert [len(by_source[source]) for source in ("goemotions", "written")] == [60, 30]
    tweets = report["tweets"]
    assert len(by_source["sentiment140"]) == tweets["accepted_tweets"]
    assert tweets["accepted_tweets"] + tweets["contradicting_tweets"] <= 100 == tweets["tweets"]
    assert min(tweets["accepted_tweets"], tweets["contradicting_tweets"]) > 10
    assert len({" ".join(row["text"].lower().split()) for row in candidates}) == len(candidates)
    for row in by_source["sentiment140"]:
        assert "@" not in row["text"]
        assert "http" not in row["text"]
        assert row["teacher"] == roberta_teacher.name == tweets["teacher"]
        reached = [label for label, score in enumerate(row["teacher_scores"]) if float(score) >= 0.9]
        assert row["labels"] == reached or row["labels"] == [label for label in reached if label != 27]
    for label, name in enumerate(GOEMOTIONS_LABELS):
        accepted = sum(label in row["labels"] for row in by_source["sentiment140"])
        assert tweets["labels"][name]["accepted"] == accepted
    assert pq.read_table(output / "validation.parquet").num_rows == 40
    assert 0 < pq.read_table(output / "train.parquet").num_rows < len(candidates)
    assert f"{tweets['accepted_tweets']:,} of 100 tweets accepted" in capsys.readouterr().out


def test_cut_offs_come_from_validation(roberta_teacher: Path, tmp_path: Path) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher, acceptance="precision")
    limits = ["--wanted_precision", "0.3", "--least_precision", "0.05", "--min_support", "3"]
    tweets = build(recipe, *limits)["tweets"]
    assert (tweets["wanted_precision"], tweets["acceptance"]) == (0.3, "precision")
    values = {entry["value"] for entry in tweets["labels"].values()}
    assert len(values) > 10
    assert any(value is None for value in values)
    scores = [np.load(path) for path in (tmp_path / "output" / "work" / "scores").iterdir()]
    # Of validation and of the tweets.
    assert sorted(map(len, scores))[-1] == 40
    assert sum(map(len, scores)) == 140


def test_second_run_scores_nothing_and_gives_the_same(
    roberta_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher)
    report, before = build(recipe), contents(tmp_path / "output")
    monkeypatch.setattr(Teacher, "score", lambda *arguments: pytest.fail("A text was scored again."))
    assert build(recipe) == report
    assert contents(tmp_path / "output") == before


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


def scoring(num_shards: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stop as a kill would after so many shards; the list is filled with the sizes of those that were scored."""
    sizes: list[int] = []
    score = Teacher.score

    def counted(self: Teacher, texts: Sequence[str]) -> Any:
        if len(sizes) == num_shards:
            raise KeyboardInterrupt
        sizes.append(len(texts))
        return score(self, texts)

    monkeypatch.setattr(Teacher, "score", counted)
    return sizes


@pytest.mark.parametrize("num_shards", [0, 3])
def test_killed_while_labelling_it_goes_on_to_the_same_bytes(
    roberta_teacher: Path, tmp_path: Path, num_shards: int
) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        expected = scoring(-1, patch)
        build(write_balanced_recipe(tmp_path / "whole", roberta_teacher))
    assert len(expected) == 4
    recipe = write_balanced_recipe(tmp_path / "killed", roberta_teacher)
    with pytest.MonkeyPatch.context() as patch:
        first = scoring(num_shards, patch)
        with pytest.raises(SystemExit, match="130"):
            build(recipe)
    with pytest.MonkeyPatch.context() as patch:
        second = scoring(-1, patch)
        build(recipe)
    # Nothing was scored twice.
    assert first + second == expected
    assert contents(tmp_path / "killed" / "output") == contents(tmp_path / "whole" / "output")


def test_killed_run_of_another_recipe_leaves_none_of_its_rows(roberta_teacher: Path, tmp_path: Path) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher)
    build(recipe)
    expected = contents(tmp_path / "output")
    with pytest.MonkeyPatch.context() as patch:
        assert not scoring(2, patch)
        with pytest.raises(SystemExit, match="130"):
            build(recipe, "--shard_size", "16")
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
        scores = tmp_path / "killed" / "output" / "work" / "scores"
        deadline = time.monotonic() + 300
        while len(list(scores.glob("*.npy"))) < 3:
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


def test_human_sources_need_no_teacher(tmp_path: Path, candidates: list[dict[str, Any]]) -> None:
    recipe = write_balanced_recipe(tmp_path, tmp_path / "nowhere", tweets_file=None)
    report = build(recipe)
    assert list(report) == ["sources"]
    assert len(candidates) == 90


def test_generated_candidates_are_a_source(tmp_path: Path, candidates: list[dict[str, Any]]) -> None:
    labels = np.zeros((2, 28), dtype=bool)
    labels[:, 21] = True
    table = candidate_rows(["we did it, all of us", "my little sister won"], labels, "generated")
    pq.write_table(table, tmp_path / "generated.parquet")
    recipe = write_balanced_recipe(tmp_path, tmp_path / "nowhere", tweets_file=None)
    report = build(recipe, "--generated_files", json.dumps([str(tmp_path / "generated.parquet")]))
    assert report["sources"]["generated"]["kept"] == 2
    assert [row["text"] for row in candidates][-2:] == table["text"].to_pylist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tweet_file", "x"], "unknown field `tweet_file`; did you mean `tweets_file`?"),
        (["--acceptance", "none"], "`acceptance` must be one of precision, flat, got 'none'"),
        (["--precision", "fp8"], "`precision` must be one of auto, fp32, bf16, fp16, got 'fp8'"),
        (["--shard_size", "0"], "`shard_size` must be at least 1, got 0"),
        (["--tokens_per_batch", "0"], "`tokens_per_batch` must be at least 1, got 0"),
        (["--target", "0"], "`target` must be at least 1, got 0"),
        (["--max_copies", "0"], "`max_copies` must be at least 1, got 0"),
        (["--min_support", "0"], "`min_support` must be at least 1, got 0"),
        (["--tolerance", "-0.5"], "`tolerance` must be at least 0, got -0.5"),
        (["--seed", "-1"], "`seed` must be at least 0, got -1"),
        (["--near_duplicate_threshold", "0.69"], "`near_duplicate_threshold` must be from 0.7 to 1, got"),
        (["--near_duplicate_threshold", "1.01"], "`near_duplicate_threshold` must be from 0.7 to 1, got"),
        (["--near_duplicate_threshold", ".nan"], "`near_duplicate_threshold` must be from 0.7 to 1, got"),
        (["--wanted_precision", "0.3"], "`wanted_precision` < 1 and 0 < `flat_cut_off` < 1, got 0.35, 0.3 and 0.9."),
        (["--flat_cut_off", "1"], "`wanted_precision` < 1 and 0 < `flat_cut_off` < 1, got 0.35, 0.6 and 1.0."),
        (["--tweets_dataset_name", "some/tweets", "--tweets_file", "no.csv"], "both given"),
        (["--tweets_file", "no.csv"], "There is no file no.csv of tweets"),
        (["--generated_files", "[no.parquet]"], "There is no file no.parquet of candidates"),
        (["--generated_files", "[torn.parquet]"], "expected a Parquet file with the columns text, labels"),
        (["--generated_files", "[narrow.parquet]"], "expected a Parquet file with the columns text, labels"),
        (["--test_file", "null"], "GoEmotions needs its test split, which stays as it is: set `test_file`"),
    ],
)
def test_bad_input_is_one_line(
    roberta_teacher: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher)
    monkeypatch.chdir(tmp_path)
    Path("torn.parquet").write_bytes(b"x")
    pq.write_table(pa.table({"text": ["x"]}), "narrow.parquet")
    assert message in fails(build_balanced_dataset.main, capfd, recipe, *arguments)
    assert not list((tmp_path / "output").rglob("*.parquet"))


def test_missing_recipe(capfd: pytest.CaptureFixture[str]) -> None:
    assert "There is no recipe no.yaml" in fails(build_balanced_dataset.main, capfd, "no.yaml")


def test_broken_tweets_leave_nothing(roberta_teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = write_balanced_recipe(tmp_path, roberta_teacher)
    tweets = tmp_path / "tweets.csv"
    whole = tweets.read_bytes()
    tweets.write_bytes(whole + b'"4","5","Mon"\n')
    message = fails(build_balanced_dataset.main, capfd, recipe)
    assert "tweets.csv: CSV parse error: Row #110: Expected 6 columns, got 3" in message
    write_tweets(tweets, [], 0)
    assert "tweets.csv: has no rows, expected tweets" in fails(build_balanced_dataset.main, capfd, recipe)
    assert not (tmp_path / "output").exists()
    tweets.write_bytes(whole)
    assert build(recipe)["sources"]["sentiment140"]["kept"] == 100
