# SPDX-License-Identifier: Apache-2.0
"""The common part of all commands: the form of their help, and one clear line and a non-zero exit for bad input."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TextIO, TypeVar

from trainer_ext.errors import InputError, printable

EXIT_BAD_INPUT = 2

_format_in_two_lines = warnings.formatwarning

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def command_parser(name: str, description: str | None, **options: Any) -> argparse.ArgumentParser:
    """The parser of `scripts.<name>`, whose help shows the description as it stands; options are those of argparse."""
    return argparse.ArgumentParser(
        prog=f"python -m scripts.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )


def command(main: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The `main` of a script, whose [`InputError`], `OSError` and `UserWarning` become one line on standard error."""

    @wraps(main)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        warnings.formatwarning = _format_warning
        try:
            with _standard_output():
                return main(*args, **kwargs)
        except (InputError, OSError) as error:
            print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
            raise SystemExit(EXIT_BAD_INPUT) from error

    return run


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at the stream, which is `None` where it is closed."""
    return stream is not None and stream.isatty()


@contextmanager
def _standard_output() -> Iterator[None]:
    """
    Around a command: all that it prints is written before its end, so that a failure is an `OSError` like any other.
    A reader who closes the pipe before the end has seen enough, which is no failure.
    """
    if sys.stdout is None:
        raise InputError("Standard output is closed; send it to a file, or to /dev/null.")
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except OSError as error:
            # Python would try again on exit, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                raise OSError(error.errno, error.strerror, "standard output") from error


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A plain `UserWarning`, which is meant for the user, without the line of code that it comes from."""
    if category is UserWarning:
        return f"warning: {' '.join(str(message).split())}\n"
    return _format_in_two_lines(message, category, filename, lineno, line)
