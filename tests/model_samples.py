# SPDX-License-Identifier: Apache-2.0
"""Small folders of trained models as publishing finds them, and the ways a stranger runs what was published."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import stock_classifier
from transformers import PreTrainedTokenizerBase

from hub.validation.stranger import python_blocks

# Of many lengths, one of them without a word.
TEXTS = [
    "I am so happy today!",
    "",
    "she loves him, he loves tea ☕ and I can't believe he said that to her... nothing matters any more",
    "أنا سعيد جدا اليوم",
    "the family 👨‍👩‍👧 is together again 🎉",
]
RESULTS = {
    **{"test_macro_f1": 0.51234, "test_macro_f1_at_0.5": 0.25, "test_micro_f1": 0.6, "test_hamming_loss": 0.0625},
    **{"validation_macro_f1": 0.9, "train_runtime": 90.0, "train_samples_per_second": 1234.5},
    **{"test_f1/joy": 0.75, "test_precision/joy": 0.625, "test_recall/joy": 0.9375, "test_support/joy": 16.0},
    **{"test_f1/anger": 0.0, "test_support/anger": 40.0},
}
# What a saved model brings along.
CODE_FILES = {
    f"{part}_stacked_emotion.py"
    for part in (
        *("alignment", "checks", "configuration", "description", "encoders", "encoding", "explanation", "inputs"),
        *("layers", "modeling", "outputs", "pipeline", "scripts", "static_tokenizer", "static_words", "storage"),
        *("text", "tokenization", "word_parts"),
    )
}
# Where the project is installed, a stranger's process is not to find it.
_STRANGER = (
    'import sys\nsys.modules["modeling_stacked_emotion"] = sys.modules["trainer_ext"] = sys.modules["hub"] = None\n'
)


def write_results(folder: Path, results: dict[str, float]) -> Path:
    """Add `eval_results.json` to a saved model."""
    (folder / "eval_results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


def save_classifier(folder: Path, model: Any, tokenizer: Any, **config: Any) -> Path:
    """One of our models as `scripts.train` leaves it, without figures."""
    for name, value in config.items():
        setattr(model.config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return write_results(folder, RESULTS)


def save_stock_classifier(folder: Path, tokenizer: PreTrainedTokenizerBase, **config: Any) -> Path:
    """A stock multi-label classifier with our thresholds in its configuration."""
    config = {"thresholds": [0.1, 0.2, 0.9, 0.4], **config}
    stock_classifier(tokenizer, **config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return write_results(folder, RESULTS)


def run_isolated(code: str, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `code` without a network, in a process with none of the settings of this one; `variables` are added."""
    hidden = ("PYTHON", "HF_", "TRANSFORMERS_", "PYTEST")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-c", code, *arguments],
        cwd=cwd,
        env=environment | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def run_as_stranger(code: str, folder: Path, repo_id: str, revision: str, home: Path) -> str:
    """
    What `code` prints in a process that cannot import the project and has `repo_id` at `revision` in its Hub cache.
    """
    cache = home / "hub" / f"models--{repo_id.replace('/', '--')}"
    commit = "0" * 40
    shutil.copytree(folder, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / revision).write_text(commit)
    return run_isolated(_STRANGER + code, cwd=home, HF_HOME=str(home)).stdout


def snippets(card: str) -> str:
    """The card's Python blocks, one after the other."""
    return "\n".join(code for _, code in python_blocks(card))
