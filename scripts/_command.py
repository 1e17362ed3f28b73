# SPDX-License-Identifier: Apache-2.0
"""The common part of all commands: the form of their help, and one clear line and a non-zero exit for bad input."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TextIO, TypeVar

from trainer_ext.errors import InputError, check_integer, printable

EXIT_BAD_INPUT = 2
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{12,}")

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


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """`--quiet` and `--json`, which [`speaking_as`] heeds."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    group.add_argument("--json", action="store_true", help="print the results as JSON, and all else to standard error")


@contextmanager
def speaking_as(options: argparse.Namespace) -> Iterator[Callable[[Any], None]]:
    """
    Within it, what is said goes where `--quiet` and `--json` want it. The function that it gives prints the results,
    where they are wanted. To be entered before tqdm is imported: its bars are silent with `--quiet`.
    """
    output = sys.stdout
    if options.quiet:
        os.environ["TQDM_DISABLE"] = "1"
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        place = nowhere if options.quiet else sys.stderr if options.json else output
        with redirect_stdout(place):
            yield lambda results: print(json.dumps(results), file=output) if options.json else None


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """`--device`, `--precision` and `--tokens_per_batch`, of the commands that predict."""
    parser.add_argument("--device", help="cpu, cuda ... (default: the accelerator if there is one)")
    add_precision(parser)
    parser.add_argument(
        "--tokens_per_batch",
        type=int,
        metavar="N",
        help="tokens of a forward pass, padding included (default: by device)",
    )
    parser.add_argument("--batch_size", action=_Renamed, help=argparse.SUPPRESS)


def add_precision(parser: argparse.ArgumentParser) -> None:
    """`--precision`."""
    choices = ("auto", "fp32", "bf16", "fp16")
    parser.add_argument(
        "--precision", choices=choices, default="auto", help="of the encoders (default: auto, the best of the device)"
    )


def check_engine_options(options: argparse.Namespace) -> None:
    """An [`InputError`] for values that are out of range."""
    if options.tokens_per_batch is not None:
        check_integer("--tokens_per_batch", options.tokens_per_batch, 1)


class _Renamed(argparse.Action):
    def __call__(self, *_: Any) -> None:
        raise InputError(
            "There is no --batch_size any more: --tokens_per_batch is the size of a forward pass in tokens."
        )


def command(main: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The `main` of a script, whose [`InputError`], `OSError` and `UserWarning` become one line on standard error."""

    @wraps(main)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        warnings.formatwarning = _format_warning
        try:
            with _stopping(), _standard_output():
                return main(*args, **kwargs)
        except (InputError, OSError) as error:
            _close_bars()
            print(f"error: {_in_one_line(str(error), *_notes(error))}", file=sys.stderr)
            raise SystemExit(EXIT_BAD_INPUT) from error
        except KeyboardInterrupt as stopped:
            _close_bars()
            # Processes that train together are stopped together.
            if os.environ.get("RANK", "0") == "0":
                advice = _notes(stopped) or ["Run the same command again: complete parts are kept."]
                print(f"stopped. {_in_one_line(*advice)}", file=sys.stderr)
            raise SystemExit(128 + _number(stopped)) from None

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


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def _stopping() -> Iterator[None]:
    """Let SIGTERM raise [`_Terminated`], and no signal be lost; where signals may be handled and nobody else does."""
    is_free = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread() or not is_free:
        yield
        return
    report = sys.unraisablehook

    def terminate(*_: Any) -> None:
        raise _Terminated

    def again(ignored: Any) -> None:
        """Python drops what a signal raises in a `__del__`: send the signal another time."""
        if not isinstance(ignored.exc_value, KeyboardInterrupt):
            return report(ignored)
        arguments = (os.getpid(), _number(ignored.exc_value))
        return threading.Timer(0.05, os.kill, arguments).start()

    signal.signal(signal.SIGTERM, terminate)
    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = report
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _number(stopped: KeyboardInterrupt) -> int:
    """The signal behind it."""
    return signal.SIGTERM if isinstance(stopped, _Terminated) else signal.SIGINT


def _close_bars() -> None:
    """End the lines of progress bars, which would come behind the message otherwise."""
    if "tqdm" in sys.modules:
        for bar in list(getattr(sys.modules["tqdm"].tqdm, "_instances", ())):
            bar.close()


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _in_one_line(*parts: str) -> str:
    """The text of a message for the terminal, without tokens of the Hub."""
    return _TOKEN.sub("<token>", printable(" ".join(" ".join(parts).split())))


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A plain `UserWarning`, which is meant for the user, without the line of code that it comes from."""
    if category is UserWarning:
        return f"warning: {' '.join(str(message).split())}\n"
    return _format_in_two_lines(message, category, filename, lineno, line)
