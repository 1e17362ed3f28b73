# SPDX-License-Identifier: Apache-2.0
"""Tests of the jobs of a comparison: how runs are started, their failures, and the time that is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer_ext.comparison import jobs
from trainer_ext.comparison.jobs import Run, check_settings, gpus, time_left, train_runs

ROOT = Path(__file__).resolve().parent.parent


def make_runs(folder: Path, *names: str) -> list[Run]:
    recipe = folder / "recipe.yaml"
    recipe.write_text("lstm_num_layers: 1\n", encoding="utf-8")
    return [Run(name, 1, folder / name / "seed_1", str(recipe), ["--seed", "1"]) for name in names]


@pytest.fixture
def programme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of Python: prints its arguments and devices, and fails for a run called `bad`."""
    script = tmp_path / "python"
    script.write_text(
        '#!/bin/sh\necho "$@"\necho "gpu=$CUDA_VISIBLE_DEVICES threads=$OMP_NUM_THREADS"\n'
        'case "$*" in */bad/*) echo "error: a bad run"; exit 2;; esac\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(jobs.sys, "executable", str(script))
    monkeypatch.setattr(jobs.os, "cpu_count", lambda: 6)


def test_runs_share_gpus_and_cores(tmp_path: Path, programme: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "gpus", lambda: ["3", "5"])
    runs = make_runs(tmp_path, "a", "b", "c", "d", "e")
    assert train_runs(runs, 2, "module", print) == []
    logs = [(run.folder / "train.log").read_text().splitlines() for run in runs]
    for run, log in zip(runs, logs, strict=True):
        assert log[0] == f"-m module {run.recipe} --seed 1 --output_dir {run.folder}"
    assert {log[1] for log in logs} == {"gpu=3 threads=3", "gpu=5 threads=3"}
    settings = json.loads((runs[0].folder / "settings.json").read_text(encoding="utf-8"))
    assert settings == {"recipe": {"lstm_num_layers": 1}, "overrides": ["--seed", "1"]}


def test_more_jobs_than_gpus_take_turns(tmp_path: Path, programme: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "gpus", lambda: ["0"])
    runs = make_runs(tmp_path, "a", "b", "c")
    assert train_runs(runs, 3, "module", print) == []
    assert {(run.folder / "train.log").read_text().splitlines()[1] for run in runs} == {"gpu=0 threads=2"}


def test_a_failure_is_reported_and_does_not_stop_the_others(
    tmp_path: Path, programme: None, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = make_runs(tmp_path, "bad", "good")
    (failure,) = train_runs(runs, 1, "module", print)
    assert failure == f"bad/seed_1 failed; see {runs[0].folder / 'train.log'}: error: a bad run"
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"1 of 2: {failure}; about 0 s left."
    assert second == "2 of 2: good/seed_1 finished in 0 s; about 0 s left."
    train_runs(runs[:1], 1, "module", print)
    # The log of an earlier attempt is kept.
    assert (runs[0].folder / "train.log").read_text().count("error: a bad run") == 2


def test_interrupted_it_ends_the_runs(tmp_path: Path, programme: None) -> None:
    (tmp_path / "python").write_text('#!/bin/sh\necho $$ > "$0.pid"\nexec sleep 60\n')
    number = tmp_path / "python.pid"

    def interrupt() -> None:
        while not (number.exists() and number.read_text().endswith("\n")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    others = {*threading.enumerate()}
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        train_runs(make_runs(tmp_path, "a", "b"), 1, "module", print)
    # The threads that wait for the runs, as Python does when it ends.
    for thread in {*threading.enumerate()} - others:
        thread.join(timeout=30)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


def test_a_run_waits_for_those_that_it_needs(
    tmp_path: Path, programme: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, bad, second, third, fourth = make_runs(tmp_path, "first", "bad", "second", "third", "fourth")
    waiting = [
        replace(second, needs=[first.folder]),
        replace(fourth, needs=[third.folder]),
        replace(third, needs=[first.folder, bad.folder]),
    ]
    ended: list[str] = []
    train_one = jobs._train

    def recorded(run: Run, *arguments: Any) -> tuple[str, float]:
        # The first one is the slowest: who does not wait is before it.
        result = train_one(run, *arguments)
        if run is first:
            time.sleep(0.5)
        ended.append(run.variant)
        return result

    monkeypatch.setattr(jobs, "_train", recorded)
    failures = train_runs([first, bad, *waiting], 4, "module", print)
    assert ended.index("first") < ended.index("second")
    left_out = [f"{run} was left out: a run that it needs has failed" for run in (third, fourth)]
    assert failures[1:] == left_out
    assert not third.folder.exists()
    assert not fourth.folder.exists()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" of 5: ")[0] for line in lines] == ["1", "2", "3", "4", "5"]
    assert {f"{line}." for line in left_out} < {line.partition(" of 5: ")[2] for line in lines}


def test_a_run_that_waits_keeps_nobody_waiting(
    tmp_path: Path, programme: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, waiting, other = make_runs(tmp_path, "slow", "waiting", "other")
    is_other_over = threading.Event()
    train_one = jobs._train

    def recorded(run: Run, *arguments: Any) -> tuple[str, float]:
        if run is slow:
            assert is_other_over.wait(timeout=30)
        result = train_one(run, *arguments)
        if run is other:
            is_other_over.set()
        return result

    monkeypatch.setattr(jobs, "_train", recorded)
    assert train_runs([slow, replace(waiting, needs=[slow.folder]), other], 2, "module", print) == []


def test_gpus_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7")
    assert gpus() == ["4", "GPU-7"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpus() == []


def test_a_run_of_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    (run,) = make_runs(tmp_path, "a")
    check_settings([run])
    run.folder.mkdir(parents=True)
    (run.folder / "settings.json").write_text(json.dumps(run.settings()), encoding="utf-8")
    check_settings([run])
    other = Run(run.variant, run.seed, run.folder, run.recipe, ["--seed", "2"])
    with pytest.raises(ValueError, match=r"a/seed_1 was begun with other settings, .*settings\.json: remove .*seed_1"):
        check_settings([run, other])
    Path(run.recipe).write_text("# the same\nlstm_num_layers: 1\n", encoding="utf-8")
    check_settings([run])
    Path(run.recipe).write_text("lstm_num_layers: 2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="begun with other settings"):
        check_settings([run])


def test_time_left_by_hand() -> None:
    seconds = {"a": [10.0, 20.0], "b": [60.0]}
    assert time_left(["a", "a", "b"], seconds, 1) == 15 + 15 + 60
    assert time_left(["a", "c"], seconds, 1) == 15 + 30
    assert time_left(["a", "a", "b"], seconds, 2) == 45
    assert time_left(["b"], seconds, 4) == 60
    assert time_left([], seconds, 2) == 0


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_run_ends_with_what_started_it_or_by_itself(is_killed: bool) -> None:
    code = "import time\nfrom scripts import _train_run\n_train_run.end_with_parent()\nprint('started', flush=True)\n"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}time.sleep({120 if is_killed else 0.2})"],
        cwd=ROOT,
        env=os.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        if is_killed:
            assert process.poll() is None
            process.stdin.close()
        assert process.wait(timeout=60) == int(is_killed)
