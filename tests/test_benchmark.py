# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.benchmark: its commands, their mistakes, and the turns by which they measure."""

from __future__ import annotations

import pytest
from conftest import fails

from scripts import benchmark
from scripts.benchmarks import timing
from scripts.benchmarks.timing import take_turns


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "`python -m scripts.benchmark stack`"),
        (["--texts", "test.tsv"], "`python -m scripts.benchmark stack`"),
        (["--models", "folder"], "`python -m scripts.benchmark models`"),
        (["--texts", "test.tsv", "--onnx=folder"], "`python -m scripts.benchmark onnx`"),
        (["--labelling", "teacher", "--tweets", "file"], "`python -m scripts.benchmark labelling`"),
        (["--balanced_dataset"], "`python -m scripts.benchmark balanced_dataset`"),
        (["--metric"], "`python -m scripts.benchmark metric`"),
        (["metric", "--rounds", "0"], "`--rounds` must be an integer of at least 1, got 0."),
        (["balanced_dataset", "0"], "`NUM_TWEETS` must be an integer of at least 1, got 0."),
        (["stack", "--encoders", "bert"], "--encoders takes NAME=FOLDER, got 'bert'."),
        (["stack", "--texts", "nothing.csv"], "nothing.csv: no such file"),
        (["models", "nothing"], "nothing cannot be loaded: "),
        (["onnx", "nothing"], "nothing cannot be loaded: "),
    ],
)
def test_mistake_is_one_line(capfd: pytest.CaptureFixture[str], arguments: list[str], part: str) -> None:
    assert part in fails(benchmark.main, capfd, *arguments)


@pytest.mark.parametrize("name", benchmark.COMMANDS)
def test_every_command_has_its_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        benchmark.main([name, "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: python -m scripts.benchmark {name} ")
    assert "--json OUT" in printed


def test_labelling_needs_tweets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(["labelling", "teacher"])
    assert stopped.value.code == 2
    assert "the following arguments are required: --tweets" in capsys.readouterr().err


def test_numbers_are_the_medians_of_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([3.0, 1.0, 8.0, 2.0, 5.0, 1.0])
    monkeypatch.setattr(timing, "seconds", lambda function: next(times))
    turns = take_turns([lambda: None, lambda: None], rounds=3)
    assert (turns.per_second(0, 10), turns.per_second(1, 10)) == (2.0, 10.0)
    assert (turns.speedup(0), turns.speedup(1)) == (1.0, 4.0)
    assert turns.speedups(1) == [3.0, 4.0, 5.0]
