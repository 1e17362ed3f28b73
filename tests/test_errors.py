# SPDX-License-Identifier: Apache-2.0
"""Tests of the one kind of error for input from outside, and of how commands end with it."""

from __future__ import annotations

import pytest
import torch
from safetensors import SafetensorError

from scripts._command import command
from trainer_ext.errors import InputError, MissingPackageError, check_integer, reading


@pytest.mark.parametrize("error", [ValueError, TypeError, OSError, ImportError, RuntimeError, SafetensorError])
def test_errors_of_libraries_become_input_errors(error: type[Exception]) -> None:
    with (
        pytest.raises(InputError, match=r"^encoder 'a' cannot be loaded: of two lines$"),
        reading("encoder 'a' cannot be loaded"),
    ):
        raise error("of two\n  lines")


def test_defects_stay_what_they_are() -> None:
    with pytest.raises(KeyError), reading("anything"):
        raise KeyError("a defect")


@pytest.mark.parametrize("value", [0, True, 1.0, "1", None])
def test_integers_are_checked(value: object) -> None:
    with pytest.raises(InputError, match=f"`count` must be an integer of at least 1, got {value!r}"):
        check_integer("count", value, 1)
    check_integer("count", 1, 1)


@pytest.mark.parametrize(
    "error", [InputError("wrong\nfield"), MissingPackageError("wrong field"), FileNotFoundError("wrong field")]
)
def test_commands_end_with_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: wrong field\n"


@pytest.mark.parametrize("error", [ValueError("a defect"), RuntimeError("a defect"), torch.OutOfMemoryError()])
def test_commands_show_the_traceback_of_a_defect(error: Exception) -> None:
    @command
    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        main()
