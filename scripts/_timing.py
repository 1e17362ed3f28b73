# SPDX-License-Identifier: Apache-2.0
"""How long a piece of work takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def seconds(function: Callable[[], Any]) -> float:
    """Seconds of the clock that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
