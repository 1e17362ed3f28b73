# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin with Chromium and staged Spaces of models, served on this machine; test files name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import LABELS

from hub.browser.npm import ONNXRUNTIME, TOKENIZERS, cached_archive
from hub.browser.staging import stage_browser
from hub.model.mini import MINI_MODEL
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from scripts.benchmarks.browser import CHROMIUM, serving

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
TEXTS = {"en": "so happy about the exam, thank you! 🎉", "ar": "الحمد لله نجحت أختي في الامتحان 😍 thanks"}
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> ${alert(3)} {{value}} &amp;"


def staged_space(model: Path, folder: Path) -> Path:
    """The Space of a model; skips where the packages of npm have not been fetched before."""
    for package in (ONNXRUNTIME, TOKENIZERS):
        if not cached_archive(package).is_file():
            pytest.skip(f"needs {package.name} {package.version}: python -m hub.browser.npm")
    folder.mkdir()
    stage_browser(model, folder, repo_id="ann/emotions-browser", model_id="ann/emotions")
    return folder


def watched_page(browser: Any, home: str, complaints: list[str], viewport: dict[str, int], scheme: str) -> Any:
    """A page without an address that writes down what goes wrong, and what is asked of other hosts than `home`."""
    page = browser.new_page(viewport=viewport, color_scheme=scheme)
    page.set_default_timeout(300_000)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    # Those of workers are the context's.
    page.context.on("request", lambda request: complaints.extend(_leaving(request.url, home)))
    return page


def _leaving(url: str, home: str) -> list[str]:
    return [] if url.startswith((home, "data:", f"blob:{home}")) else [f"request: {url}"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if not CHROMIUM.is_file():
        pytest.skip(f"needs Chromium as {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def space_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Space of the model that comes along."""
    with serving(staged_space(MINI_MODEL, tmp_path_factory.mktemp("mini") / "space")) as url:
        yield url


@pytest.fixture(scope="session")
def tiny_folder(encoder_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of three tiny encoders with three kinds of tokenizers and normalisations."""
    torch.manual_seed(0)
    model = StackedEmotionForSequenceClassification.from_encoders(encoder_folders, id2label=LABELS).eval()
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    normalizations = {"bert_wp": "arabert", "roberta_bb": "tweet"}
    folder = tmp_path_factory.mktemp("tiny") / "model"
    model.save_pretrained(folder)
    StackedEmotionTokenizer.from_encoders(encoder_folders, normalizations, 40, 48).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_space(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Space of that model, its graph made on the way."""
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    return staged_space(tiny_folder, tmp_path_factory.mktemp("tiny_space") / "space")
