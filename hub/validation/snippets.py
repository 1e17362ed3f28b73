# SPDX-License-Identifier: Apache-2.0
"""The Python blocks of a card, run as a stranger would; the Hub is a local server that has the folder only."""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_BLOCK = re.compile(r"^([ \t]*)```(?:python|py)(?=\s)[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = re.compile(
    rf"/api/(?P<kind>models|datasets|spaces)/{_REPO}(?:/(?P<call>revision|tree|paths-info)/(?P<rest>.+))?"
)
_FILE = re.compile(rf"/(?:(?P<kind>datasets|spaces)/)?{_REPO}/resolve/[^/]+/(?P<path>.+)")
# Every revision is this one.
_COMMIT = "0" * 40


def python_blocks(card: str) -> list[tuple[int, str]]:
    """
    The Python blocks of a card; of interactive sessions (`>>>`) only what is typed.

    Args:
        card (`str`): Markdown.

    Returns:
        `list[tuple[int, str]]`: The line on which the code starts, from 1, and the code.
    """
    blocks = []
    for match in _BLOCK.finditer(card):
        code = textwrap.dedent(match[2])
        code = doctest.script_from_examples(code) if code.lstrip().startswith(">>>") else code
        blocks.append((card.count("\n", 0, match.start(2)) + 1, code))
    return blocks


def run_snippets(folder: Path, repo_type: str, *, repo_id: str | None = None, timeout: float = 600) -> list[str]:
    """
    Run the Python blocks of `README.md` in order in one new process, which starts in an empty folder with empty
    caches, cannot import the project and reaches no other machine.

    Args:
        folder (`Path`): The staged repository; it answers to every revision.
        repo_type (`str`): `model`, `dataset` or `space`.
        repo_id (`str`, *optional*): What the repository will be called; by default it answers to every name.
        timeout (`float`, *optional*, defaults to 600): In seconds, for all blocks together.

    Returns:
        `list[str]`: What failed, in one line; empty when all ran.
    """
    blocks = python_blocks((folder / "README.md").read_text(encoding="utf-8"))
    if not blocks:
        return []
    with TemporaryDirectory(ignore_cleanup_errors=True) as name, _serve(folder, repo_type, repo_id) as endpoint:
        home, work, said = (Path(name) / part for part in ("home", "work", "said.txt"))
        work.mkdir()
        command = [sys.executable, "-P", str(Path(__file__).with_name("_snippet_process.py")), str(said)]
        try:
            done = subprocess.run(
                command,
                input=json.dumps(blocks).encode(),
                cwd=work,
                env=_environment(home, endpoint),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [f"README.md: the snippets do not end within {timeout:g} seconds"]
        if said.is_file():
            return [said.read_text(encoding="utf-8")]
        return [f"README.md: the snippets end their process with code {done.returncode}"] if done.returncode else []


def _environment(home: Path, endpoint: str) -> dict[str, str]:
    """Without tokens, caches, proxies and paths of whoever stages."""
    foreign = re.compile(
        r"(?:HF_|HUGGING|TRANSFORMERS_|PYTHONPATH|.*_PROXY$|.*TOKEN|.*SECRET|.*API_KEY)", re.IGNORECASE
    )
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    return kept | {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    }


@contextmanager
def _serve(folder: Path, repo_type: str, repo_id: str | None) -> Iterator[str]:
    class Handler(_Handler):
        root, kind, name = folder.resolve(), f"{repo_type}s", repo_id

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    """As much of the Hub as reading one repository needs."""

    root: Path
    kind: str
    name: str | None
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        # Whatever the answer: what is left unread would be the next request.
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path = urlsplit(self.path).path
        asked, file = _API.fullmatch(path), _FILE.fullmatch(path)
        if not self._is_served(asked or file):
            self._fail("RepoNotFound")
        elif file:
            self._send_file(unquote(file["path"]))
        elif asked and asked["call"] == "tree":
            self._send_tree(unquote(asked["rest"].partition("/")[2]))
        elif asked and asked["call"] == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
            self._send_json([self._entry(path) for path in wanted if (self.root / path).exists()])
        else:
            files = [{"rfilename": path} for path in self._paths("**/*") if (self.root / path).is_file()]
            self._send_json({"id": asked and unquote(asked["repo"]), "sha": _COMMIT, "siblings": files})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is printed."""

    def _is_served(self, match: re.Match[str] | None) -> bool:
        return match is not None and (match["kind"] or "models") == self.kind and self.name in (None, match["repo"])

    def _paths(self, pattern: str) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))

    def _entry(self, path: str) -> dict[str, Any]:
        file = self.root / path
        size = file.stat().st_size if file.is_file() else 0
        return {"type": "file" if file.is_file() else "directory", "path": path, "size": size, "oid": _object_id(path)}

    def _send_tree(self, folder: str) -> None:
        if not (self.root / folder).is_dir():
            return self._fail("EntryNotFound")
        is_recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
        prefix = f"{folder}/" if folder else ""
        return self._send_json([self._entry(path) for path in self._paths(prefix + ("**/*" if is_recursive else "*"))])

    def _send_file(self, path: str) -> None:
        file = (self.root / path).resolve()
        if not file.is_file() or not file.is_relative_to(self.root):
            return self._fail("EntryNotFound")
        size = file.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), min(int(asked[2] or size - 1), size - 1)) if asked else (0, size - 1)
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{_object_id(path)}"')
        self.send_header("X-Repo-Commit", _COMMIT)
        self.send_header("Content-Length", str(end - start + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        with file.open("rb") as stream:
            stream.seek(start)
            if asked:
                self.wfile.write(stream.read(end - start + 1))
            else:
                shutil.copyfileobj(stream, self.wfile)
        return None

    def _send_json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", _COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fail(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _object_id(path: str) -> str:
    """Caches take it as the content's name; content does not change here."""
    return sha1(path.encode()).hexdigest()
