# SPDX-License-Identifier: Apache-2.0
"""Runs in a process of its own: Python blocks from standard input, as if pasted one after the other by a stranger."""

from __future__ import annotations

import json
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

_CARD = "README.md"
# Even where the project is installed, a stranger does not have it.
_PROJECT = ("modeling_stacked_emotion", "trainer_ext", "hub", "scripts")
_LOCAL = {"127.0.0.1", "localhost", "::1", None}


def main() -> None:
    """Write to the file that the argument names why a block failed, in one line; nothing when all ran."""
    for name in _PROJECT:
        sys.modules[name] = None  # type: ignore[assignment]
    _refuse_other_machines()
    names: dict[str, Any] = {"__name__": "__main__"}
    for line, code in json.load(sys.stdin):
        try:
            # Empty lines before it, so that the lines are those of the card.
            exec(compile("\n" * (line - 1) + code, _CARD, "exec"), names)
        except BaseException as error:
            said = " ".join("".join(traceback.format_exception_only(error)).split())
            Path(sys.argv[1]).write_text(f"{_CARD}:{_line(error, line)}: the snippet fails: {said}", encoding="utf-8")
            raise


def _refuse_other_machines() -> None:
    look_up = socket.getaddrinfo

    def guarded(host: Any, *arguments: Any, **options: Any) -> Any:
        if (host.decode() if isinstance(host, bytes) else host) not in _LOCAL:
            raise socket.gaierror(f"no network while a card is checked, asked for {host!r}")
        return look_up(host, *arguments, **options)

    socket.getaddrinfo = guarded


def _line(error: BaseException, default: int) -> int:
    if isinstance(error, SyntaxError) and error.filename == _CARD and error.lineno:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == _CARD and frame.lineno), default)


if __name__ == "__main__":
    main()
