# SPDX-License-Identifier: Apache-2.0
"""How much the page that runs a model in the browser loads, and how long it takes, in Chromium without a window."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from hub.browser.staging import PAGE, stage_browser
from hub.model.mini import mini_model
from hub.model.widget import TEXTS
from trainer_ext.errors import InputError, MissingPackageError

CHROMIUM = Path("/usr/bin/chromium")
_FIRST, _NEXT = TEXTS["en"][0], TEXTS["ar"][0]


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address at which a folder is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def measure(options: argparse.Namespace) -> dict[str, float]:
    """
    Print and return the bytes that the page of a model loads, and, as medians over rounds in a browser that has never
    seen it: seconds from the address to the loaded model, from a typed text to its answer, and to that of a second
    text. Served on this machine; the page itself waits 0.15 s for the next letter.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingPackageError("The browser needs playwright: pip install playwright.") from error
    if not CHROMIUM.is_file():
        raise InputError(f"The browser is wanted as {CHROMIUM}: install Chromium.")
    rounds: list[list[float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = Path(options.model or mini_model())
        stage_browser(model, folder, repo_id="user/browser", model_id="user/model")
        files = json.loads((folder / "space.json").read_text(encoding="utf-8"))["files"]
        vendored = folder / "vendor" / "ort.wasm.bundle.min.mjs"
        files |= {"the page itself": sum((folder / name).stat().st_size for name in PAGE) + vendored.stat().st_size}
        with serving(folder) as url, sync_playwright() as driver:
            for _ in range(options.rounds):
                browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
                rounds.append(_round(browser.new_page(), url))
                browser.close()
    for name, size in sorted(files.items(), key=lambda file: -file[1]):
        print(f"{size / 1e6:8.2f} MB  {name}")
    results = {"megabytes": sum(files.values()) / 1e6}
    print(f"{results['megabytes']:8.2f} MB in all\n")
    for name, values in zip(("load", "first answer", "second answer"), zip(*rounds, strict=True), strict=True):
        results[f"{name}/seconds"] = statistics.median(values)
        print(f"{name:<14}{results[f'{name}/seconds']:6.2f} s ({min(values):.2f} to {max(values):.2f})", flush=True)
    return results


def _round(page: Any, url: str) -> list[float]:
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("#loading", state="hidden")
    seconds = [time.perf_counter() - start]
    for text in (_FIRST, _NEXT):
        start = time.perf_counter()
        page.fill("#text", text)
        page.wait_for_function("text => document.querySelector('#words').textContent === text", arg=text)
        seconds.append(time.perf_counter() - start)
    return seconds
