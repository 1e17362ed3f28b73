# SPDX-License-Identifier: Apache-2.0
"""The page on a dialect's tweets: its commands and its code, run in order as they are printed, by tiny encoders."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hub_client import TOKEN
from hub_server import HubServer

from trainer_ext import load_emotion_data
from trainer_ext.data.sources import load_sources
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext
from trainer_ext.recipe import load_recipe

pytest_plugins = ["hub_client"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "dialect.md").read_text(encoding="utf-8")
RECIPE = ROOT / "scripts" / "recipes" / "arabic_dialect.yaml"
LABELS = ["anger", "disgust", "fear", "joy", "sadness", "surprise"]
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
# A page of thousands of steps in some minutes.
SHORT = "--num_train_epochs 1 --disable_tqdm true"


class Block(NamedTuple):
    """A block of the page: its language and its text."""

    language: str
    text: str


BLOCKS = [Block(*found) for found in re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.S)]


def embedded_rows(language: str, split: str) -> list[dict[str, object]]:
    """Texts with 0 and 1 in a column for each of `LABELS`."""
    path = ROOT / "scripts" / "data" / language / f"{split}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{"text": row["text"], **{label: int(label in row["labels"]) for label in LABELS}} for row in rows]


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["text", *LABELS])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """
    A newcomer's folder: commands, `tweets.csv`, other data sets, texts without labels. A folder with the name of
    a Hub id is read in place of the Hub: tiny encoders.
    """
    desk = tmp_path / "desk"
    arabic = {split: embedded_rows("arabic", name) for split, name in SPLITS.items()}
    write_csv(desk / "tweets.csv", [row for rows in arabic.values() for row in rows])
    for split, name in SPLITS.items():
        write_csv(desk / "brighter" / "eng" / f"{split}.csv", embedded_rows("english", name)[:200])
        # Of texts that are the target's own nothing could be learnt of a division.
        write_csv(
            desk / "brighter" / "ary" / f"{split}.csv",
            [row | {"text": f"{row['text']} زعما"} for row in arabic[split]],
        )
    texts = [str(row["text"]) for row in arabic["train"]]
    (desk / "more_tweets.txt").write_text("".join(f"{text} والله\n" for text in texts[:100]), encoding="utf-8")
    (desk / "scripts").symlink_to(ROOT / "scripts")
    for index, hub_id in enumerate(yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["encoders"].values()):
        size: dict[str, Any] = {"hidden_size": 16 + 8 * index, "num_hidden_layers": 1, "num_attention_heads": 2}
        ScratchEncoder("bert", "wordpiece", 300 + 50 * index, **size).build(BuildContext(texts, desk / hub_id))
    return desk


def run(desk: Path, hub: HubServer, home: Path, *command: str) -> str:
    """Standard output of a command in the newcomer's folder, which must end well."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(home), "HF_HOME": str(home / "hf")}
    environment |= {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, cwd=desk, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def commands(block: str) -> Iterator[str]:
    """The commands of a block, each in one line; trainings are shortened."""
    for line in block.replace("\\\n", " ").splitlines():
        yield f"{line} {SHORT}" if "scripts.train " in line else line


@pytest.mark.slow
def test_the_page_from_first_to_last(desk: Path, hub: HubServer, tmp_path: Path) -> None:
    hub.add_user(TOKEN, "USER")
    printed = ""
    for language, text in BLOCKS:
        if language == "yaml":
            (desk / text.splitlines()[0].removeprefix("# ")).write_text(text, encoding="utf-8")
        elif language == "python":
            printed += run(desk, hub, tmp_path, sys.executable, "-c", text)
        elif language == "bash":
            for command in commands(text):
                printed += run(desk, hub, tmp_path, "bash", "-c", command)
    results = {
        folder.parent.name: json.loads(folder.read_text()) for folder in desk.glob("outputs/*/eval_results.json")
    }
    assert results.keys() == {"first", "joined", "second", "stack", "taught"}
    assert "test/mine/macro_f1" in results["joined"]
    assert {"README.md", "config.json", "model.safetensors"} <= hub.repo("USER/my-dialect").files().keys()
    assert "refs/tags/v1.0.0" in hub.repo("USER/my-dialect").refs
    # Steps 5 and 7: the encoder of step 4 is taken as it is, and nothing is trained for other thresholds.
    assert printed.count("Stage encoder_me5: trained before.") == 2
    assert printed.count("complete already.") == 4
    assert "missed:" in printed
    config = json.loads(hub.repo("USER/my-dialect").files()["config.json"])
    assert config["languages"] == ["arq"]
    assert len(config["encoders"]) == 4


def test_no_step_trains_on_a_test_tweet(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The division of the other data sets' step is that of the others."""
    monkeypatch.chdir(desk)
    (joined,) = [text for language, text in BLOCKS if language == "yaml"]
    Path("joined.yaml").write_text(joined, encoding="utf-8")
    recipe = load_recipe("joined.yaml")
    sources = {name: source.reading() for name, source in recipe.data.named_sources().items()}
    splits = load_sources(sources, seed=recipe.training.seed).splits
    alone = load_emotion_data(
        train_file="tweets.csv", validation_ratio=0.15, test_ratio=0.15, seed=load_recipe(str(RECIPE)).training.seed
    ).splits
    for split, rows in alone.items():
        mine = [
            text
            for text, source in zip(splits[split]["text"], splits[split]["source"], strict=True)
            if source == "mine"
        ]
        assert mine == list(rows["text"])
    assert len(alone["test"]) > 50


def test_training_commands_divide_alike() -> None:
    trainings = [command for language, text in BLOCKS if language == "bash" for command in commands(text)]
    trainings = [command for command in trainings if "arabic_dialect.yaml" in command]
    assert len(trainings) == 5
    assert all("--train_file tweets.csv" in command for command in trainings)
    assert all("--validation_ratio 0.15 --test_ratio 0.15" in command for command in trainings)
