# SPDX-License-Identifier: Apache-2.0
"""Of the balanced data set: small files of all its sources, a recipe over them, and candidates that it is made of."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from recipe_samples import write_rows

from hub.dataset.candidates import CANDIDATE_SCHEMA
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

ANGER, GRIEF, JOY, NEUTRAL = (GOEMOTIONS_LABELS.index(name) for name in ("anger", "grief", "joy", "neutral"))
REVISION = "0123abcd"


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
    write_rows(folder / "written.jsonl", written)
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


# Of a human, a written and a tweeted source, with four of 28 labels.
def make_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Candidates from rows without the columns that are missing or 1.0 or `train` in them."""
    defaults = {"source": "goemotions", "confidence": 1.0, "split": "train"}
    return pa.Table.from_pylist([defaults | row for row in rows], schema=CANDIDATE_SCHEMA)


def human(number: int, labels: list[int]) -> dict[str, Any]:
    return {"text": f"human {number}", "labels": labels}


def sample_candidates() -> pa.Table:
    """40 human rows with 3 of grief, 6 written ones, 20 tweets; one of the written ones has votes."""
    rows = [human(i, [NEUTRAL]) for i in range(20)] + [human(20 + i, [JOY]) for i in range(9)]
    rows += [human(29 + i, [ANGER]) for i in range(8)] + [human(37 + i, [ANGER, GRIEF]) for i in range(3)]
    written = [{"text": f"written {i}", "labels": [GRIEF], "source": "written"} for i in range(6)]
    # As a text that a model wrote and people reviewed.
    written[0] |= {"human_votes": '{"ann": ["grief"]}', "teacher": "some-writer"}
    tweets = [
        {
            "text": f"tweet {i}",
            "labels": [GRIEF] if i % 2 else [JOY],
            "source": "sentiment140",
            "confidence": i / 20,
            "teacher": "someone/teacher",
            "teacher_revision": REVISION,
            "teacher_scores": [i / 20] * 28,
        }
        for i in range(20)
    ]
    return make_table([*rows, *written, *tweets])
