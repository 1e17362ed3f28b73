# SPDX-License-Identifier: Apache-2.0
"""One kind of error for input from outside, and how it is shown on a terminal."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

# A field, whether a value is in its range, and the range in words.
Range = tuple[str, Callable[[Any], bool], str]

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_CHARACTERS = 1_000
# Any error from within them, where they read input from outside, is about the input: 0 heads divide by zero.
_LIBRARIES = ("transformers", "torch")


def one_line(message: object) -> str:
    """A message in one line of at most 1,000 characters; of a longer one the middle is left out."""
    line = " ".join(str(message).split())
    half = _MAX_CHARACTERS // 2
    return line if len(line) <= _MAX_CHARACTERS else f"{line[:half]} [...] {line[-half:]}"


class InputError(ValueError):
    """
    Arguments, files, models or answers of the Hub that cannot be used. The message is one line: what was expected,
    what was got, how to mend it. Commands print it; any other error is a defect of ours and shows its traceback.
    """

    def __init__(self, message: object) -> None:
        super().__init__(one_line(message))


class MissingPackageError(InputError, ImportError):
    """An optional package is not installed; the message has the pip line."""


def printable(text: str) -> str:
    """A text of the same length with a blank for every control character, which would command the terminal."""
    return _CONTROLS.sub(" ", text)


@contextmanager
def reading(about: str | None = None) -> Iterator[None]:
    """
    Around one call of a library that reads input from outside: the library's error becomes an
    [`InputError`].

    Args:
        about (`str`, *optional*): The thing that is read, to be named before a message that does not name it.

    Raises:
        `InputError`: In place of the library's error.
    """
    try:
        yield
    except BaseException as error:
        if not (_is_about_input(error) if isinstance(error, Exception) else _is_panic(error)):
            raise
        # A lookup's message is the name that it did not find.
        message = f"{type(error).__name__} {error}" if isinstance(error, LookupError | ArithmeticError) else str(error)
        raise InputError(message if about is None else f"{about}: {message}") from error


def check_integer(name: str, value: object, minimum: int) -> None:
    """An [`InputError`] unless `value` is an integer (true and false are none) of at least `minimum`."""
    if type(value) is not int or value < minimum:
        raise InputError(f"`{name}` must be an integer of at least {minimum}, got {value!r}.")


def check_choices(arguments: Any) -> None:
    """An [`InputError`] if a field of a dataclass is none of the `choices` that its metadata name."""
    for entry in fields(arguments):
        choices, value = entry.metadata.get("choices"), getattr(arguments, entry.name)
        if choices and value is not None and value not in choices:
            raise InputError(f"`{entry.name}` must be one of {', '.join(choices)}, got {value!r}.")


def check_ranges(arguments: Any, ranges: Iterable[Range]) -> None:
    """An [`InputError`] for the first of the fields whose value is out of its range."""
    for name, is_inside, expected in ranges:
        value = getattr(arguments, name)
        if not is_inside(value):
            raise InputError(f"`{name}` must be {expected}, got {value}.")


def _is_about_input(error: Exception) -> bool:
    # Imported only when something is wrong. Both are plain exceptions.
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    # torch and transformers say RuntimeError of an unknown device and of weights of another shape.
    kinds = (ValueError, TypeError, OSError, ImportError, RuntimeError, SafetensorError, StrictDataclassError)
    # The plain one is raised by tokenizers.
    return isinstance(error, kinds) or type(error) is Exception or _raised_in(error).startswith(_LIBRARIES)


def _is_panic(error: BaseException) -> bool:
    # How a library in Rust, such as tokenizers, fails where it did not expect to; no class to import, no `Exception`.
    return type(error).__name__ == "PanicException"


def _raised_in(error: Exception) -> str:
    """The name of the module that raised it."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"])
