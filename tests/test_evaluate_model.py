# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.evaluate_model: the numbers of training again, and one clear line for every bad input."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from conftest import fails
from recipe_samples import LABELS, make_rows, write_rows
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from scripts import evaluate_model
from trainer_ext.evaluation.calibration import calibration_metrics

if TYPE_CHECKING:
    from trained_model import Trained

pytest_plugins = ["trained_model"]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_numbers_are_those_of_training(trained: Trained, tmp_path: Path, split: str) -> None:
    data, out = trained.data / f"{split}.jsonl", tmp_path / "results.json"
    returned = evaluate_model.main(
        ["--model", str(trained.folder), "--data", str(data), "--json", str(out), "--split", split]
    )
    written = json.loads(out.read_text(encoding="utf-8"))
    expected = {
        key: value
        for key, value in trained.results.items()
        if key.startswith(f"{split}_") and not key.endswith(("_always_frequent", "_uncalibrated"))
        # Of the training's own evaluation alone.
        if "encoder_weight/" not in key
    }
    assert len(expected) > 50
    assert written == pytest.approx(expected, abs=1e-6)
    assert written == returned


def test_probabilities_of_a_stock_model_are_its_own(
    trained: Trained, encoder_folders: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    torch.manual_seed(0)
    stock = AutoModelForSequenceClassification.from_pretrained(
        encoder_folders["bert_wp"], problem_type="multi_label_classification", id2label=dict(enumerate(LABELS))
    )
    stock.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    data = ["--data", str(trained.data / "test.jsonl"), "--precision", "fp32"]
    results = evaluate_model.main(["--model", str(tmp_path), *data])
    texts = [row["text"] for row in make_rows(30, 2)]
    gold = np.array([[label in row["labels"] for label in LABELS] for row in make_rows(30, 2)])
    with torch.no_grad():
        probabilities = stock.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits.sigmoid().numpy()
    errors = calibration_metrics(gold, probabilities, LABELS)
    assert {key: results[f"test_{key}"] for key in errors} == pytest.approx(errors, abs=1e-6)
    assert results["test_macro_f1"] == results["test_macro_f1_at_0.5"]


def test_every_layout_gives_the_same_numbers(trained: Trained, tmp_path: Path) -> None:
    rows = make_rows(30, 2)
    vectors = [[int(label in row["labels"]) for label in LABELS] for row in rows]
    header = "text\t" + "\t".join(reversed(LABELS))
    lines = ["\t".join([row["text"], *map(str, reversed(vector))]) for row, vector in zip(rows, vectors, strict=True)]
    (tmp_path / "columns.tsv").write_text("\n".join([header, *lines]), encoding="utf-8")
    ids = [
        {"sentence": row["text"], "which": [i for i in range(4) if vector[i]]}
        for row, vector in zip(rows, vectors, strict=True)
    ]
    write_rows(tmp_path / "ids.jsonl", ids)
    named = ["--text_column", "sentence", "--label_column", "which"]
    for name, options in (("columns.tsv", []), ("ids.jsonl", named)):
        data = ["--data", str(tmp_path / name), "--tokens_per_batch", "70", *options]
        results = evaluate_model.main(["--model", str(trained.folder), *data])
        assert results["test_macro_f1"] == pytest.approx(trained.results["test_macro_f1"], abs=1e-6)
        assert results["test_macro_roc_auc"] == pytest.approx(trained.results["test_macro_roc_auc"], abs=1e-6)


def test_file_that_knows_some_of_the_labels_is_evaluated_on_these(trained: Trained, tmp_path: Path) -> None:
    rows = make_rows(40, 4)
    file = tmp_path / "some.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["text", LABELS[1], LABELS[0]])
        table.writerows([row["text"], *(int(name in row["labels"]) for name in LABELS[1::-1])] for row in rows)
    write_rows(tmp_path / "all.jsonl", rows)
    with pytest.warns(UserWarning, match=f"knows '{LABELS[0]}', '{LABELS[1]}' only"):
        some = evaluate_model.main(["--model", str(trained.folder), "--data", str(file)])
    every = evaluate_model.main(["--model", str(trained.folder), "--data", str(tmp_path / "all.jsonl")])
    f1 = [some[f"test_f1/{name}"] for name in LABELS[:2]]
    assert f1 == [every[f"test_f1/{name}"] for name in LABELS[:2]]
    assert some["test_macro_f1"] == pytest.approx(np.mean(f1))


def test_table_shows_the_numbers(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    results = evaluate_model.main(
        ["--model", str(trained.folder), "--data", str(trained.data / "test.jsonl"), "--split", "mine"]
    )
    out = capsys.readouterr().out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("macro_f1 ")]
    assert row[1:3] == [f"{results['mine_macro_f1']:.3f}", f"{results['mine_macro_f1_at_0.5']:.3f}"]
    for label in LABELS:
        (row,) = [line.split() for line in out.splitlines() if line.startswith(f"{label} ")]
        assert row[1] == f"{results[f'mine_support/{label}']:.0f}"


BAD_FILES: list[tuple[str, bytes, list[str]]] = [
    ("vectors.jsonl", b'{"text": "a", "labels": [0, 1, 0]}\n{"text": "b", "labels": [1, 1, 0]}\n', ["row 1", "got 3"]),
    ("more.csv", b"text,labels\na,joy\nb,envy\n", ["row 3", "'labels'", "'envy'"]),
    ("ids.csv", b"text,labels\na,1\nb,4\n", ["row 3", "'labels'", "from 0 to 3, got 4"]),
    ("no_text.csv", b"words,labels\na,joy\n", ["row 1", "no text column"]),
    ("ragged.csv", b"text,labels\na,joy\nb\n", ["row 3", "expected 2 fields, got 1"]),
    ("latin.csv", "text,labels\né,joy\n".encode("latin-1"), ["row 2", "UTF-8"]),
    ("empty.jsonl", b"", ["empty"]),
]


@pytest.mark.parametrize(("name", "content", "parts"), BAD_FILES, ids=[case[0] for case in BAD_FILES])
def test_bad_file_is_named_with_row_and_column(
    trained: Trained,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    content: bytes,
    parts: list[str],
) -> None:
    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out.json"
    output = fails(evaluate_model.main, capfd, "--model", trained.folder, "--data", tmp_path / name, "--json", out)
    assert output.startswith(f"error: {tmp_path / name}")
    for part in parts:
        assert part in output
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--data", "nothing.csv"], "nothing.csv: no such file"),
        (
            ["--data", "nothing.csv", "--tokens_per_batch", "0"],
            "`--tokens_per_batch` must be an integer of at least 1, got 0",
        ),
        (["--data", "nothing.csv", "--device", "abacus"], "The device 'abacus' cannot be used"),
        (["--probes", "nothing.csv"], "nothing.csv: no such file"),
        (["--probes", "nothing.csv", "--label_column", "x"], "--label_column is for --data: leave it out."),
    ],
)
def test_bad_option(trained: Trained, capfd: pytest.CaptureFixture[str], options: list[str], part: str) -> None:
    assert part in fails(evaluate_model.main, capfd, "--model", trained.folder, *options)


def test_results_that_cannot_be_written(
    trained: Trained, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--model", trained.folder, "--data", trained.data / "test.jsonl", "--json"]
    (tmp_path / "folder").mkdir()
    assert "is there and is no file" in fails(evaluate_model.main, capfd, *arguments, tmp_path / "folder")

    def fill_disk(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    (tmp_path / "out.json").write_text("old")
    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    assert "No space left on device" in fails(evaluate_model.main, capfd, *arguments, tmp_path / "out.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "out.json"]
    assert (tmp_path / "out.json").read_text() == "old"


PROBES = """kind,language,code,text,labels,misleading
negation,English,en,I am not happy at all,anger sadness,joy
negation,English,en,no love lost,envy,love
negation,Arabic,ar,لست سعيدا,sadness,joy
"""


def test_probes_are_measured(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "probes.csv", tmp_path / "results.json"
    file.write_text(PROBES, encoding="utf-8")
    arguments = ["--model", str(trained.folder), "--probes", str(file)]
    results = evaluate_model.main([*arguments, "--json", str(out)])
    assert json.loads(out.read_text(encoding="utf-8")) == results
    assert "negation   English      1         1" in capsys.readouterr().out
    # `envy` is none of the model's labels, and Arabic none of its languages.
    assert {key: value for key, value in results.items() if "num_" in key} == {
        "negation/English/num_texts": 1.0,
        "negation/English/num_left_out": 1.0,
    }
    folder = Path(shutil.copytree(trained.folder, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"languages": None}), encoding="utf-8")
    all_results = evaluate_model.main(["--model", str(folder), "--probes", str(file)])
    assert all_results.items() > results.items()
    assert all_results["negation/Arabic/num_texts"] == 1.0


def test_missing_model_is_named(capfd: pytest.CaptureFixture[str], trained: Trained) -> None:
    output = fails(evaluate_model.main, capfd, "--model", "no_such_folder", "--data", trained.data / "test.jsonl")
    assert output.startswith("error: --model no_such_folder cannot be loaded: ")
