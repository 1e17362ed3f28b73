# SPDX-License-Identifier: Apache-2.0
"""A local server that speaks the OpenAI protocol of chat completions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class ChatServer:
    """Replies with what `reply(number, request)` gives: a text, or a status code, or any JSON."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.reply: Callable[[int, dict[str, Any]], Any] = lambda number, request: good_reply(number, request)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(request | {"path": self.path})
                server.headers.append(self.headers.get("Authorization"))
                reply = server.reply(len(server.requests) - 1, request)
                body: Any = reply
                if isinstance(reply, str):
                    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": reply}}]}
                self.send_response(reply if isinstance(reply, int) else 200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps({"error": "no"} if isinstance(reply, int) else body).encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def good_reply(number: int, request: dict[str, Any]) -> str:
    content = request["messages"][1]["content"]
    asked = re.match(r"Write (\d+) posts that express (\w+)", content)
    assert asked is not None
    label = asked[2]
    texts = [{"text": f"{label} {request['seed']} {i}", "labels": [label]} for i in range(int(asked[1]))]
    return f"Sure, here they are:\n```json\n{json.dumps(texts)}\n```"
