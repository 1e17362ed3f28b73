# SPDX-License-Identifier: Apache-2.0
"""A recipe that trains in seconds: two encoders from scratch on sixty made-up texts with four emotions."""

from __future__ import annotations

import json
import random
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

LABELS = ["anger", "fear", "joy", "sadness"]
SPLITS = {"train": 60, "validation": 30, "test": 30}
CUES = {
    "anger": ["furious", "how dare you", "I hate this 😡"],
    "fear": ["terrified", "so scared", "it gives me chills 😱"],
    "joy": ["wonderful", "so happy", "what a lovely day 🎉"],
    "sadness": ["heartbroken", "I miss her", "crying again 😢"],
}
TOPICS = ["the exam", "my sister", "that film", "our old house", "the night bus", "work", "قهوة الصباح"]

Row = dict[str, Any]


def make_rows(num_rows: int, seed: int) -> list[Row]:
    """Texts with the cues of none, one or two emotions; the first rows cover every emotion."""
    generator = random.Random(seed)
    rows = []
    for index in range(num_rows):
        labels = [LABELS[index % 4]] if index < 8 else generator.sample(LABELS, generator.choice((0, 1, 1, 2)))
        pieces = [*(generator.choice(CUES[label]) for label in labels), f"about {generator.choice(TOPICS)}"]
        generator.shuffle(pieces)
        rows.append({"text": ", ".join(pieces), "labels": sorted(labels)})
    return rows


def write_rows(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_vectors(path: Path, hidden_size: int = 16) -> Path:
    """A `.vec` file of random vectors for the words of all cues and topics."""
    generator = random.Random(0)
    words = sorted({word for phrase in chain(*CUES.values(), TOPICS) for word in phrase.lower().split()})
    lines = [f"{word} {' '.join(str(generator.gauss(0, 1)) for _ in range(hidden_size))}" for word in words]
    path.write_text("\n".join([f"{len(words)} {hidden_size}", *lines]) + "\n", encoding="utf-8")
    return path


def write_recipe(folder: Path, **fields: Any) -> Path:
    """Write data files and `recipe.yaml` to `folder`; `fields` override the recipe's, None leaves one out."""
    files = {
        f"{split}_file": str(write_rows(folder / f"{split}.jsonl", make_rows(num_rows, seed)))
        for seed, (split, num_rows) in enumerate(SPLITS.items())
    }
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    recipe: dict[str, Any] = {
        **files,
        "languages": ["en-GB"],
        "encoders": {
            "words": {"architecture": "bert", "tokenizer": "wordpiece", "vocab_size": 200, **size},
            "bytes": {"architecture": "roberta", "tokenizer": "byte_bpe", "vocab_size": 300, **size},
        },
        "max_tokens": 64,
        "meta_hidden_size": 16,
        "lstm_hidden_size": 16,
        "output_dir": str(folder / "output"),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 5e-3,
        "head_learning_rate": 5e-3,
        "precision": "fp32",
        "disable_tqdm": True,
        "seed": 7,
    }
    recipe = {name: value for name, value in (recipe | fields).items() if value is not None}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path
