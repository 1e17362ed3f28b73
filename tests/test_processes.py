# SPDX-License-Identifier: Apache-2.0
"""Tests of several processes that share texts: order, errors, an end before its time; and the launched commands."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import CORPUS, stock_classifier
from recipe_samples import make_rows, write_rows
from test_distributed import launch
from transformers import AutoTokenizer

from scripts import evaluate_model, predict
from trainer_ext.evaluation import prediction
from trainer_ext.evaluation.engine import Outputs
from trainer_ext.evaluation.prediction import iter_predictions, predict_logits
from trainer_ext.evaluation.processes import Processes, launched_processes

if TYPE_CHECKING:
    from trained_model import Trained

pytest_plugins = ["trained_model"]

SIZE = 3


class Threads(Processes):
    """Threads in the place of processes: what is sent lies in a queue for each of them."""

    def __init__(self, rank: int, mail: list[Queue[Any]]) -> None:
        super().__init__(rank, SIZE)
        self.mail = mail
        self.num_shares: list[int] = []

    def _scatter(self, shares: list[Any]) -> Any:
        if self.is_main:
            for rank in range(1, SIZE):
                self.mail[rank].put(shares[rank])
        share = shares[0] if self.is_main else self.mail[self.rank].get(timeout=60)
        self.num_shares.append(-1 if share is None else len(share))
        return share

    def collect(self, outputs: Outputs) -> list[Outputs]:
        self.mail[SIZE + self.rank].put(outputs)
        return [self.mail[SIZE + rank].get(timeout=60) for rank in range(SIZE)] if self.is_main else []


@pytest.fixture
def shared(encoder_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, Threads]]:
    """A model, its tokenizer and the main one of several processes; all of them end with it. Ten texts are a share."""
    monkeypatch.setattr(prediction, "TEXTS_PER_CHUNK", 10)
    mail: list[Queue[Any]] = [Queue() for _ in range(2 * SIZE)]
    members = [Threads(rank, mail) for rank in range(SIZE)]
    tokenizers = [AutoTokenizer.from_pretrained(encoder_folders["bert_wp"]) for _ in members]
    model = stock_classifier(tokenizers[0]).eval()
    found: list[list[Any]] = []

    def serve(member: Threads) -> None:
        tokenizer = tokenizers[member.rank]
        found.append(list(iter_predictions(model, tokenizer, (), precision="fp32", processes=member)))

    others = [threading.Thread(target=serve, args=[member], daemon=True) for member in members[1:]]
    for other in others:
        other.start()
    yield model, tokenizers[0], members[0]
    for other in others:
        other.join(timeout=60)
        assert not other.is_alive()
    assert found == [[]] * (SIZE - 1)


@pytest.mark.parametrize("number", [0, 1, 62])
def test_answers_are_in_order_and_shares_even(shared: tuple[Any, Any, Threads], number: int) -> None:
    model, tokenizer, main = shared
    reported: list[int] = []
    options: dict[str, Any] = {"precision": "fp32", "report": reported.append, "processes": main}
    results = list(iter_predictions(model, tokenizer, iter(CORPUS[:number]), **options))
    assert [result.text for result in results] == CORPUS[:number]
    assert sum(reported) == number
    assert main.num_shares == {0: [-1], 1: [0, -1], 62: [10, 10, 0, -1]}[number]
    if number:
        logits = np.stack([result.logits for result in results])
        assert np.abs(logits - predict_logits(model, tokenizer, CORPUS[:number], precision="fp32")).max() < 1e-4


def test_an_error_of_the_texts_comes_last_and_ends_all(shared: tuple[Any, Any, Threads]) -> None:
    def texts() -> Iterator[str]:
        yield from CORPUS[:35]
        raise OSError("the disk is gone")

    model, tokenizer, main = shared
    answered: list[str] = []
    with pytest.raises(OSError, match="the disk is gone"):
        answered.extend(result.text for result in iter_predictions(model, tokenizer, texts(), processes=main))
    assert answered == CORPUS[:35]


def test_closed_early_it_ends_all(shared: tuple[Any, Any, Threads]) -> None:
    model, tokenizer, main = shared
    results = iter_predictions(model, tokenizer, CORPUS * 9, processes=main)
    assert next(results).text == CORPUS[0]
    results.close()
    assert main.num_shares[-1] == -1
    assert len(main.num_shares) < 5


def test_one_process_is_not_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with launched_processes() as processes:
        assert processes is None


# ----------------------------------------------------------------------------------------------- accelerate launch


@pytest.mark.slow
def test_launched_prediction_writes_what_one_process_writes(trained: Trained, tmp_path: Path) -> None:
    rows = make_rows(4500, 3)
    (tmp_path / "texts.txt").write_text("".join(f"{row['text']}\n" for row in rows), encoding="utf-8")
    shared = ["--model", str(trained.folder), "--input", str(tmp_path / "texts.txt"), "--precision", "fp32"]
    done = launch(tmp_path, "-m", "scripts.predict", *shared, "--output", "two.jsonl", "--probabilities")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("4,500 texts") == 1
    predict.main([*shared, "--output", str(tmp_path / "one.jsonl"), "--probabilities"])
    one, two = (
        [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
        for name in ("one.jsonl", "two.jsonl")
    )
    assert [row["text"] for row in two] == [row["text"] for row in rows]
    assert [list(row.values())[1:] for row in two] == [pytest.approx(list(row.values())[1:], abs=1e-5) for row in one]


@pytest.mark.slow
def test_launched_evaluation_finds_what_one_process_finds(trained: Trained, tmp_path: Path) -> None:
    write_rows(tmp_path / "data.jsonl", make_rows(300, 3))
    # Each text by itself: a batch of others would round otherwise, and swap neighbours of a ranking.
    shared = ["--model", str(trained.folder), "--data", str(tmp_path / "data.jsonl"), "--precision", "fp32"]
    shared += ["--tokens_per_batch", "1"]
    done = launch(tmp_path, "-m", "scripts.evaluate_model", *shared, "--json", "two.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Results on") == 1
    two = json.loads((tmp_path / "two.json").read_text(encoding="utf-8"))
    assert two == pytest.approx(evaluate_model.main(shared), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(b"so happy\n" * 5000 + b"tr\xe8s\n"), "row 5001: not UTF-8"),
        (lambda path: path.unlink(missing_ok=True), "No such file"),
    ],
)
def test_bad_input_of_the_main_process_ends_all_in_one_line(
    trained: Trained, tmp_path: Path, change: Callable[[Path], Any], message: str
) -> None:
    change(tmp_path / "texts.txt")
    arguments = ["--model", str(trained.folder), "--input", str(tmp_path / "texts.txt"), "--output", "out.csv"]
    done = launch(tmp_path, "-m", "scripts.predict", *arguments)
    assert done.returncode != 0
    assert done.stderr.count(message) == 1, done.stderr
    assert "RuntimeError" not in done.stderr
    assert not (tmp_path / "out.csv").exists()
