# SPDX-License-Identifier: Apache-2.0
"""Requests to the Hub: patient where it is busy, and with one clear line where they fail for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from json import JSONDecodeError
from typing import TypeVar

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import parse_ratelimit_headers

_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_WAITS = (1.0, 2.0, 4.0)
_LONGEST_WAIT = 60.0
_AGAIN = "A commit is made in whole or not at all: the same command finishes the job."

Result = TypeVar("Result")


def patiently(call: Callable[[], Result], *, after_cuts: bool = False) -> Result:
    """Repeat a call that the client itself does not, when the Hub is busy or fails, and on demand after a cut."""
    for wait in _WAITS:
        try:
            return call()
        except HTTPError as error:
            pause = _pause(error, wait, after_cuts)
            if pause is None:
                raise
        time.sleep(pause)
    return call()


def _pause(error: HTTPError, wait: float, after_cuts: bool) -> float | None:
    """Seconds until a call is worth another attempt, or `None`."""
    response = getattr(error, "response", None)
    if response is None:
        return wait if after_cuts else None
    if response.status_code not in _TRANSIENT:
        return None
    asked = _asked_wait(response.headers)
    return max(wait, asked or 0.0) if asked is None or asked <= _LONGEST_WAIT else None


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that the Hub asks to wait, in either of the headers that it uses."""
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    value = headers.get("Retry-After", "").strip()
    return float(value) if value.isdigit() else None


@contextmanager
def clear_errors(api: HfApi) -> Iterator[None]:
    """
    Around calls of the client: one line says what is wrong and how to mend it, without the token.

    Raises:
        PermissionError: The Hub does not accept the token, or the token has not the right.
        ConnectionError: There is no connection, or the Hub fails or limits the rate.
        RuntimeError: Someone else has changed the repository in between.
        ValueError: Anything else that the Hub refuses.
    """
    try:
        yield
    # The client wraps what went wrong with an upload; a Hub that is down may answer with a page instead of JSON.
    except (HTTPError, RuntimeError, JSONDecodeError) as error:
        cause: BaseException = error
        while isinstance(cause, RuntimeError) and cause.__cause__ is not None:
            cause = cause.__cause__
        clear = _clear_error(cause, api.endpoint)
        token = api.token if isinstance(api.token, str) else get_token()
        message = " ".join(str(clear).split())
        # Without the client's error, which may quote what was sent.
        raise type(clear)(message.replace(token, "<token>") if token else message) from None


def _clear_error(error: BaseException, endpoint: str) -> OSError | RuntimeError | ValueError:
    response = getattr(error, "response", None)
    if response is None:
        if isinstance(error, (HTTPError, JSONDecodeError)):
            reason = str(error) or type(error).__name__
            return ConnectionError(f"No connection to {endpoint}, or it was cut ({reason}). {_AGAIN}")
        return RuntimeError(str(error))
    status = response.status_code
    said = getattr(error, "server_message", None) or f"status {status}"
    where = f"{response.request.method} {response.request.url.path}"
    if status == 401:
        return PermissionError(
            f"The Hub does not accept the token ({said}): log in anew with `hf auth login`, or set HF_TOKEN."
        )
    if status == 403:
        return PermissionError(f"The token has not the right to do this ({said}): it needs write access.")
    if status == 412:
        return RuntimeError(
            "Someone else has changed the repository in between, and nothing was published: "
            "look at that change, then run the same command again."
        )
    if status == 429:
        asked = _asked_wait(response.headers)
        wait = "later" if asked is None else f"in {asked:.0f} seconds"
        return ConnectionError(f"The Hub limits the rate of requests: try again {wait}. {_AGAIN}")
    if status >= 500:
        return ConnectionError(f"The Hub failed at {where} ({status}: {said}). {_AGAIN}")
    return ValueError(f"The Hub refused {where} ({status}: {said}).")
