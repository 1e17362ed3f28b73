# SPDX-License-Identifier: Apache-2.0
"""Bad input ends a command with one clear line and a non-zero exit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_BAD_INPUT = 2


@contextmanager
def user_errors() -> Iterator[None]:
    """Around the part of a command that reads what the user gave: arguments, files, models. Nothing else."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from error
