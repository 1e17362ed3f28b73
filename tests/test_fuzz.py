# SPDX-License-Identifier: Apache-2.0
"""
Fuzz test: recipes, data files, configurations and tokenizer files made from sound ones by chance. Each is accepted or
refused in one line; anything else is a defect. `pytest -m slow -s -n 0 tests/test_fuzz.py` prints the counts.
"""

from __future__ import annotations

import copy
import gzip
import json
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import LABELS, stock_classifier
from emotion_samples import NAMES, TEXTS, write_parquet
from recipe_samples import write_recipe
from transformers import AutoTokenizer

from hub.model.mini import MINI_MODEL
from hub.model.quick import quick_classifier
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.data.loading import iter_texts, read_file
from trainer_ext.encoders.stack import encoder_source
from trainer_ext.errors import InputError
from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities
from trainer_ext.recipe import GROUPS, load_recipe
from trainer_ext.recipe_file import recipe_fields

# Far more than any case takes: only a hang passes it.
MAX_SECONDS = 60
MAX_MESSAGE = 2000
# The first is part of every run.
COUNTS = {"recipes": (60, 500), "data files": (60, 500), "model files": (25, 300)}

DAMAGE = (
    *(b"[", b"{", b"}", b"'", b'"', b",", b";", b"\t", b"\n", b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"|", b"#"),
    *(b"nan", b"null", b"none", b"yes", b"x", b"-1", b"1e999", b"9" * 5000, b"set(", b"[" * 5000, b"\\ud800", b"NaN"),
    *(b"&a ", b"*a", b"!!python/object:os.system ", b"!!bool ", b"<<: ", b"- ", b": "),
)
OTHERS = (
    *(None, True, False, 0, 1, -1, 7, 2.5, 10**9, 10**400, -(10**20), 1e-300, float("nan"), float("inf"), "", "a"),
    *("os.system", "../a", "joy", "1e-4", "x" * 100_000, "\ud800", "\x1b[2J", [], {}, [1, 2], [[]], ["a", None]),
    *({"a": {"b": [None]}}, {"0": "joy"}, [{"a": 1}], [float("nan")] * 4, [0.5], [0] * 1000),
)
SOUND_DATA = {
    "a.csv": 'text,joy,fear\n"so, at last",1,0\nb,0,1\n',
    "b.csv": "text;labels\na;joy|fear\nb;{'joy': 1}\n",
    "a.tsv": "text\tlabels\n\"a\tb\"\t['joy']\nb\tset()\n",
    "b.tsv": "a\t0,1\tx\nb\t1\ty\n",
    "a.jsonl": '{"text": "a", "accept": ["joy"], "answer": "accept"}\n{"text": "b", "answer": "ignore"}\n',
    "a.json": '[{"text": "a", "labels": ["joy"]}, {"text": "b", "labels": null}]',
}

Rng = np.random.Generator
Case = tuple[str, Callable[[], object]]


class HangError(Exception):
    """A case takes longer than `MAX_SECONDS`."""


def counts(kind: str) -> Any:
    quick, whole = COUNTS[kind]
    return pytest.mark.parametrize("num_cases", [quick, pytest.param(whole, marks=pytest.mark.slow)])


def run(kind: str, cases: Iterator[Case]) -> None:
    """
    Try each case, a name and a call (a data file has two, one per reader); print the counts; fail for every one
    that is neither accepted nor refused in one line.
    """
    numbers = dict.fromkeys(("inputs", "refused with one line", "accepted", "tracebacks", "hangs"), 0)
    failures = []
    for name, call in cases:
        numbers["inputs"] += 1
        try:
            with warnings.catch_warnings(), time_limit():
                warnings.simplefilter("ignore")
                call()
        except (InputError, OSError) as error:
            message = str(error)
            if "\n" in message or len(message) > MAX_MESSAGE:
                failures.append(f"{name}: no line of its own: {message[:500]!r}")
            numbers["refused with one line"] += 1
        except HangError:
            numbers["hangs"] += 1
            failures.append(f"{name}: hangs")
        # Panics of Rust are no `Exception`.
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            numbers["tracebacks"] += 1
            failures.append(f"{name}: {type(error).__name__} {str(error)[:300]!a} {place(error)}")
        else:
            numbers["accepted"] += 1
    print(f"\n{kind}: " + ", ".join(f"{number} {name}" for name, number in numbers.items()))  # noqa: T201
    assert not failures, "\n".join(failures)
    assert numbers["accepted"] > 0
    assert numbers["refused with one line"] > 0


def place(error: BaseException) -> str:
    trace, places = error.__traceback__, []
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(places[::-1][:8])


@contextmanager
def time_limit() -> Iterator[None]:
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MAX_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# ------------------------------------------------------------------------------------------------------- mutations


def damaged(rng: Rng, content: bytes) -> bytes:
    """Bytes put in, taken out or cut off at one to four places."""
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        start = int(rng.integers(len(damaged) + 1))
        end = start + int(rng.integers(4))
        damaged[start:end] = DAMAGE[rng.integers(len(DAMAGE))] if rng.random() < 0.8 else b""
    return bytes(damaged[: rng.integers(len(damaged) + 1)] if rng.random() < 0.1 else damaged)


def changed(rng: Rng, tree: Any) -> Any:
    """A tree of mappings and lists with one or two entries removed, doubled, nested or of another kind."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.integers(1, 3)):
        node, parents = tree, []
        while isinstance(node, dict | list) and node and (not parents or rng.random() < 0.7):
            # Of long lists, such as vocabularies, the beginning.
            keys = list(node) if isinstance(node, dict) else list(range(min(len(node), 1000)))
            key = keys[rng.integers(len(keys))]
            parents.append((node, key))
            node = node[key]
        if parents:
            change_entry(rng, *parents[-1])
        else:
            tree = other(rng)
    return tree


def change_entry(rng: Rng, parent: Any, key: Any) -> None:
    value = parent[key]
    match rng.integers(7):
        case 0:
            del parent[key]
        case 1 if isinstance(value, int | float) and not isinstance(value, bool):
            parent[key] = value * [-1, 0, 10, 10**7, 10**30][rng.integers(5)]
        case 2 if isinstance(parent, dict):
            parent[f"{key}x"] = parent.pop(key)
        case 2 | 3 if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(value))
        case 4:
            parent[key] = [value]
        case 5:
            parent[key] = {str(key): value}
        case _:
            parent[key] = other(rng, type(value) if rng.random() < 0.7 else object)


def other(rng: Rng, kind: type = object) -> Any:
    """A hostile value, of a kind if there is one."""
    values = [value for value in OTHERS if isinstance(value, kind)] or OTHERS
    return copy.deepcopy(values[rng.integers(len(values))])


# ----------------------------------------------------------------------------------------------------- three kinds


@counts("recipes")
def test_recipes(tmp_path: Path, num_cases: int) -> None:
    path = write_recipe(tmp_path, normalizations={"words": "tweet"}, label_map={"joy": "happy"}, label_names=["joy"])
    sound = path.read_bytes()
    extras = {"encoder_learning_rates": {"words": 1e-3}, "label_weights": {"joy": 2.0}, "base_loss_options": {}}
    defaults = {name: field.default for cls in GROUPS.values() for name, field in recipe_fields(cls).items()}
    tree = {name: value for name, value in defaults.items() if isinstance(value, int | float | str | None)}
    tree = tree | yaml.safe_load(sound) | extras | {"lr_scheduler_kwargs": {"a": 1}, "training_mode": "staged"}
    # They ask for a machine that is not there, or another package, or are no fields of a recipe.
    for name in ("fsdp", "deepspeed", "parallelism_config", "hub_token"):
        tree.pop(name, None)

    def load() -> None:
        recipe = load_recipe(str(path), ["--use_cpu"])
        for name, origin in recipe.model.encoders.items():
            encoder_source(name, origin)

    def cases() -> Iterator[Case]:
        rng = np.random.default_rng(1)
        for number in range(num_cases):
            if number % 2:
                content = damaged(rng, sound)
            else:
                dumped = yaml.safe_dump(changed(rng, tree), sort_keys=False, allow_unicode=True)
                content = dumped.encode("utf-8", "surrogatepass")
            path.write_bytes(content)
            yield f"recipe {number}", load

    run("recipes", cases())


@counts("data files")
def test_data_files(tmp_path: Path, num_cases: int) -> None:
    write_parquet(tmp_path, "a.parquet", text=TEXTS, labels=NAMES)
    sound = {name: content.encode() for name, content in SOUND_DATA.items()}
    sound |= {
        "a.parquet": (tmp_path / "a.parquet").read_bytes(),
        "a.jsonl.gz": gzip.compress(sound["a.jsonl"] * 20, mtime=0),
    }

    def cases() -> Iterator[Case]:
        rng = np.random.default_rng(2)
        for number in range(num_cases):
            name = list(sound)[number % len(sound)]
            path = tmp_path / name
            path.write_bytes(damaged(rng, sound[name]))
            for read in (read_file, lambda path: list(iter_texts(path))):
                yield f"{name} {number}", partial(read, path)

    run("data files", cases())


@counts("model files")
def test_model_files(
    tmp_path: Path,
    num_cases: int,
    model: StackedEmotionForSequenceClassification,
    tokenizer: StackedEmotionTokenizer,
    encoder_folders: dict[str, Path],
) -> None:
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "stacked")
    stock_tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    for stock_part in (stock_classifier(stock_tokenizer, id2label=LABELS, thresholds=[0.5] * 4), stock_tokenizer):
        stock_part.save_pretrained(tmp_path / "stock")
    shutil.copytree(MINI_MODEL, tmp_path / "mini")
    files = [
        path
        for folder in ("stacked", "stock", "mini")
        for path in sorted((tmp_path / folder).rglob("*.json"))
        if path.name in ("config.json", "tokenizer_config.json", "tokenizer.json", "vocabulary.json")
    ]

    def answer(folder: Path) -> None:
        classifier = quick_classifier(folder)
        if classifier is None:
            loaded, loaded_tokenizer = load_classifier(str(folder), "cpu")
            predict_probabilities(loaded, loaded_tokenizer, ["so happy, ☕"])
        else:
            json.dumps(classifier(["so happy, ☕"])).encode()

    def cases() -> Iterator[Case]:
        rng = np.random.default_rng(3)
        for number in range(num_cases):
            path = files[number % len(files)]
            sound = path.read_bytes()
            if rng.random() < 0.3:
                path.write_bytes(damaged(rng, sound))
            else:
                path.write_text(json.dumps(changed(rng, json.loads(sound))), encoding="utf-8")
            folder = tmp_path / path.relative_to(tmp_path).parts[0]
            yield f"{path.relative_to(tmp_path)} {number}", partial(answer, folder)
            path.write_bytes(sound)

    run("model files", cases())
