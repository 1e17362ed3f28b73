# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: a local Hub, its real client, and a folder to publish; test files name it in `pytest_plugins`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from hub_server import HubServer
from huggingface_hub import HfApi

TOKEN = "hf_tokenOfTheOwner"
READ_TOKEN = "hf_tokenThatReads"
OTHER_TOKEN = "hf_tokenOfSomeoneElse"
WRONG_TOKEN = "hf_tokenThatIsWrong"
ROOT = Path(__file__).resolve().parent.parent

# What a stranger does with user/repo: its arguments are a revision and, in JSON, the texts.
STOCK_AND_CUSTOM = """
import json, sys

# Even where the project is installed, this process is not to find it.
sys.modules["modeling_stacked_emotion"] = None

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

revision, texts = sys.argv[1], json.loads(sys.argv[2])
options = {"revision": revision, "trust_remote_code": True}
tokenizer = AutoTokenizer.from_pretrained("user/repo", **options)
model = AutoModelForSequenceClassification.from_pretrained("user/repo", **options)
with torch.no_grad():
    logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
stock = pipeline("text-classification", model="user/repo", top_k=None, **options)
custom = pipeline(model="user/repo", **options)
results = [{entry["label"]: entry["score"] for entry in result} for result in stock(texts)]
print(json.dumps({"logits": logits.tolist(), "stock": results, "custom": custom(texts), "task": custom.task}))
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    # Read at import, where conftest keeps the client from the network.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with HubServer() as server:
        server.add_user(TOKEN, "user")
        server.add_user(READ_TOKEN, "user", can_write=False)
        server.add_user(OTHER_TOKEN, "other")
        yield server


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKEN)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Nobody waits; who would have, `client` or `project`, and how many seconds."""
    found: dict[str, list[float]] = {"client": [], "project": []}
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=found["client"].append))
    monkeypatch.setattr("hub.retry.time", SimpleNamespace(sleep=found["project"].append))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three small files and a large one."""
    return write_folder(tmp_path / "staged")


def write_folder(folder: Path) -> Path:
    (folder / "vectors").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A card\n", encoding="utf-8")
    (folder / "config.json").write_text('{"hidden_size": 8}\n', encoding="utf-8")
    (folder / "vectors" / "words.txt").write_text("الحب\n", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 1024)
    return folder


def run_stranger(hub: HubServer, home: Path, code: str, *arguments: str) -> str:
    """What `code` prints in a fresh process elsewhere, with an empty cache, that knows only the local Hub."""
    home.mkdir(parents=True, exist_ok=True)
    return _run(hub, home, home, "-c", code, *arguments)


def run_command(hub: HubServer, home: Path, *arguments: str) -> str:
    """What `python -m scripts.push_to_hub` prints, in a process of its own."""
    return _run(hub, home, ROOT, "-m", "scripts.push_to_hub", *arguments)


def _run(hub: HubServer, home: Path, folder: Path, *arguments: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    environment = kept | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout
