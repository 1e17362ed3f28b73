# SPDX-License-Identifier: Apache-2.0
"""Tests of the processes of a benchmark: each answers for itself, with the memory that it held itself."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from scripts.benchmarks import children
from scripts.benchmarks.children import in_children

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))


@pytest.mark.slow
def test_each_process_answers_and_its_memory_is_its_own() -> None:
    held = bytearray(b"x") * 800_000_000
    answers = in_children("benchmark_child", [{"megabytes": 10}, {"megabytes": 200}])
    assert [answer["size"] for answer in answers] == [10_000_000, 200_000_000]
    small, large = (answer["peak_mb"] for answer in answers)
    assert small + 150 < large < small + 250
    # Not what the process that started them holds.
    assert large < 700 < len(held) / 1e6


@pytest.mark.slow
def test_a_process_that_fails_is_one_line() -> None:
    with pytest.raises(OSError, match=r"`python -m benchmark_child` has ended without an answer \(exit status 3\)"):
        in_children("benchmark_child", [{"megabytes": 0}])


def test_a_process_that_cannot_start_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match=r"`python -m nothing` has ended without an answer \(exit status 1\)"):
        in_children("nothing", [{}])
    assert "No module named nothing" in capfd.readouterr().err


def test_peak_is_near_the_one_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if children._STATUS.is_file():
        (line,) = [line for line in children._STATUS.read_text().splitlines() if line.startswith("VmHWM")]
        assert children.peak_mb() >= int(line.split()[1]) * 1024 / 1e6
    monkeypatch.setattr(children, "_STATUS", tmp_path / "nothing")
    assert children.peak_mb() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
