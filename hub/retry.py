# SPDX-License-Identifier: Apache-2.0
"""Requests are repeated where the other side is busy or fails, not where it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from huggingface_hub import set_client_factory
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import parse_ratelimit_headers
from huggingface_hub.utils._http import default_client_factory

_BUSY = frozenset({429, 500, 502, 503, 504})
_WAITS = (1.0, 2.0, 4.0)
_LONGEST_WAIT = 60.0
# Seconds without a byte in either direction, however long the whole of an upload takes.
LONGEST_SILENCE = 120.0

Result = TypeVar("Result")


def retry(call: Callable[[], Result], *, after_cuts: bool = False) -> Result:
    """
    The result of a call that may be made several times; its last error after three repetitions.

    Args:
        call (`Callable`): Sends requests through huggingface_hub.
        after_cuts (`bool`, *optional*, defaults to `False`): Whether it is repeated when cut without an answer, too.
    """
    for wait in _WAITS:
        try:
            return call()
        except HTTPError as error:
            pause = _pause(error, wait, after_cuts)
            if pause is None:
                raise
        time.sleep(pause)
    return call()


def limit_silence() -> None:
    """Let requests of huggingface_hub (2.4: they wait for ever) fail after [`LONGEST_SILENCE`]."""

    def limit(request: Any) -> None:
        # Not as the client's own limit: some of its calls say that they have none.
        given = request.extensions.get("timeout", {})
        limits = {kind: given.get(kind) or LONGEST_SILENCE for kind in ("connect", "read", "write", "pool")}
        request.extensions = {**request.extensions, "timeout": limits}

    def make_client() -> Any:
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "request": [*hooks["request"], limit]}
        return client

    set_client_factory(make_client)


def is_silence(error: BaseException) -> bool:
    """Whether the other side has taken the request and said nothing, or does not read on."""
    # By name: huggingface_hub 1 makes its requests with httpx, 2 with httpx2.
    return type(error).__name__ in ("ReadTimeout", "WriteTimeout")


def requested_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, in either of the headers that the Hub uses."""
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    value = headers.get("Retry-After", "").strip()
    return float(value) if value.isdigit() else None


def _pause(error: HTTPError, wait: float, after_cuts: bool) -> float | None:
    """Seconds until a call is worth another attempt, or `None`."""
    response = getattr(error, "response", None)
    if response is None:
        # Who says nothing for so long will say nothing the next time.
        return wait if after_cuts and not is_silence(error) else None
    if response.status_code not in _BUSY:
        return None
    requested = requested_wait(response.headers) or 0.0
    return max(wait, requested) if requested <= _LONGEST_WAIT else None
