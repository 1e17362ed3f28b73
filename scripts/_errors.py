# SPDX-License-Identifier: Apache-2.0
"""Bad input ends a command with one clear line and a non-zero exit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_BAD_INPUT = 2


@contextmanager
def user_errors(about: str | None = None) -> Iterator[None]:
    """
    Around the part of a command that reads what the user gave: arguments, files, models. Nothing else.

    Args:
        about (`str`, *optional*): What is read, to be named before messages of libraries that do not name it.
    """
    try:
        yield
    except Exception as error:
        if not _is_bad_input(error):
            raise
        message = str(error) if about is None else f"{about}: {error}"
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from error


def _is_bad_input(error: Exception) -> bool:
    # Imported only when something is wrong: `--help` is to be quick. Both are plain exceptions.
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    # torch and transformers say RuntimeError of an unknown device and of weights of another shape.
    kinds = (ValueError, TypeError, OSError, ImportError, RuntimeError, SafetensorError, StrictDataclassError)
    return isinstance(error, kinds)
