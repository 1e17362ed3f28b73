# SPDX-License-Identifier: Apache-2.0
"""Small files of all sources of the balanced data set, and a recipe over them."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import yaml

from trainer_ext.data.labels import GOEMOTIONS_LABELS

WORDS = [
    "happy",
    "sad",
    "exam",
    "sister",
    "never",
    "night",
    "what",
    "lovely",
    "weather",
    "love",
    "work",
    "home",
    "dog",
]
SPLITS = {"train": 60, "validation": 40, "test": 20}


def text(generator: random.Random) -> str:
    return " ".join(generator.choices(WORDS, k=generator.randint(4, 12))) + generator.choice(["", "!", " 😂", "?"])


def write_goemotions(path: Path, texts: list[str], seed: int) -> Path:
    generator = random.Random(seed)
    rows = [
        f"{line}\t{','.join(map(str, sorted(generator.sample(range(28), generator.choice((1, 1, 2))))))}\te{index}"
        for index, line in enumerate(texts)
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def write_tweets(path: Path, texts: list[str], seed: int) -> Path:
    """In the form of the original file."""
    generator = random.Random(seed)
    with path.open("w", encoding="latin-1", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for index, line in enumerate(texts):
            as_read = line.encode().decode("latin-1")
            writer.writerow([generator.choice("04"), index, "Mon Apr 06", "NO_QUERY", "ann", as_read])
    return path


def write_balanced_recipe(folder: Path, teacher: Path, **fields: Any) -> Path:
    """
    Write all files and `balanced.yaml` to `folder`; `fields` override the recipe's, None leaves one out.

    Two train texts, one written text and three tweets are those of validation or test; two tweets are human texts, and
    three have no letter.
    """
    generator = random.Random(0)
    texts = {split: [f"{text(generator)} {split} {index}" for index in range(size)] for split, size in SPLITS.items()}
    texts["train"] += [texts["validation"][3], texts["test"][4].upper() + "!", texts["train"][5]]
    files = {
        f"{split}_file": str(write_goemotions(folder / f"{split}.tsv", lines, seed))
        for seed, (split, lines) in enumerate(texts.items())
    }
    written = [{"text": text(generator), "labels": [GOEMOTIONS_LABELS[index % 28]]} for index in range(30)]
    written += [{"text": texts["test"][0], "labels": ["joy"]}, {"text": texts["train"][1], "labels": ["joy"]}]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in written]
    (folder / "written.jsonl").write_text("".join(lines), encoding="utf-8")
    tweets = [f"@ann{index} {text(generator)} http://x.org/{index}" for index in range(100)]
    tweets += [f"@bob {line}" for line in (*texts["test"][7:9], texts["validation"][0] + "!!")]
    tweets += [texts["train"][2], str(written[3]["text"]), "@ann", "http://x.org", "...", tweets[0]]
    random.Random(1).shuffle(tweets)
    recipe: dict[str, Any] = {
        **files,
        "written_files": [str(folder / "written.jsonl")],
        "tweets_file": str(write_tweets(folder / "tweets.csv", tweets, 3)),
        "teacher": str(teacher),
        "precision": "fp32",
        "tokens_per_batch": 256,
        "acceptance": "flat",
        "flat_cut_off": 0.9,
        "shard_size": 32,
        "output_dir": str(folder / "output"),
    }
    recipe = {name: value for name, value in (recipe | fields).items() if value is not None}
    path = folder / "balanced.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path
