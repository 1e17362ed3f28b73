# SPDX-License-Identifier: Apache-2.0
"""Tests of what all commands have in common: how long their threads spin, and how they warn."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import warnings

import pytest

from scripts._command import add_output_options, command, speaking_as


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_threads_spin_briefly_unless_told_otherwise(given: dict[str, str], expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    code = "import os, sys, scripts; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, env=environment | given, capture_output=True, text=True, check=True).stdout
    # Before torch is loaded: later it would be too late.
    assert said.split() == [expected, "False"]


def test_warning_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command replaces it for good.
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)

    @command
    def main() -> str:
        return warnings.formatwarning("two\n texts recur", UserWarning, "loading.py", 7) + warnings.formatwarning(
            "old", DeprecationWarning, "other.py", 8, "code()"
        )

    assert main() == "warning: two texts recur\nother.py:8: DeprecationWarning: old\n  code()\n"


@pytest.mark.parametrize(
    ("flags", "output", "errors"),
    [([], "said\n", ""), (["--quiet"], "", ""), (["--json"], '{"macro_f1": 0.5}\n', "said\n")],
)
def test_results_are_said_as_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], output: str, errors: str
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "0")
    parser = argparse.ArgumentParser()
    add_output_options(parser)
    with speaking_as(parser.parse_args(flags)) as print_results:
        sys.stdout.write("said\n")
        print_results({"macro_f1": 0.5})
    assert os.environ["TQDM_DISABLE"] == str(int("--quiet" in flags))
    assert tuple(capsys.readouterr()) == (output, errors)
    with pytest.raises(SystemExit):
        parser.parse_args(["--quiet", "--json"])
