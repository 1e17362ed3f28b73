# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.predict: texts from anywhere, hard ones too, JSON and bars, clear errors, constant memory."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from conftest import fails
from recipe_samples import LABELS, make_rows

from scripts import predict
from trainer_ext.evaluation.prediction import load_classifier, predict_logits, predict_probabilities

if TYPE_CHECKING:
    from trained_model import Trained

pytest_plugins = ["trained_model"]

ROOT = Path(__file__).resolve().parent.parent
TEXTS = [row["text"] for row in make_rows(20, 5)]


def run_json(capfd: pytest.CaptureFixture[str], trained: Trained, *arguments: str) -> list[dict[str, Any]]:
    capfd.readouterr()
    predict.main(["--model", str(trained.folder), "--json", *arguments])
    output = capfd.readouterr()
    assert "Traceback" not in output.err
    return [json.loads(line) for line in output.out.split("\n")[:-1]]


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put `content` on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


# ---------------------------------------------------------------------------------------------- what is said


def test_json_has_the_labels_at_their_thresholds(trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    # Words are named by attention that is computed step by step, which in bf16 rounds otherwise.
    results = run_json(capfd, trained, "--precision", "fp32", *TEXTS)
    model, tokenizer = load_classifier(str(trained.folder), "cpu")
    thresholds = json.loads((trained.folder / "config.json").read_text(encoding="utf-8"))["thresholds"]
    assert len(results) == 20
    num_emotions = 0
    for text, row, result in zip(
        TEXTS, predict_probabilities(model, tokenizer, TEXTS, precision="fp32"), results, strict=True
    ):
        over = [index for index in range(4) if row[index] >= thresholds[index]]
        num_emotions += len(over)
        expected = sorted(
            ((LABELS[index], float(row[index]), thresholds[index]) for index in over), key=lambda entry: -entry[1]
        )
        actual = [(entry["label"], entry["score"], entry["threshold"]) for entry in result["emotions"]]
        assert [entry[0] for entry in actual] == [entry[0] for entry in expected]
        assert [entry[1:] for entry in actual] == [pytest.approx(entry[1:], abs=1e-5) for entry in expected]
        assert result["text"] == text
        assert all(text[word["start"] : word["end"]] == word["word"] for word in result["attention"])
    assert 0 < num_emotions < 80


@pytest.mark.parametrize(("threshold", "num_labels"), [("0", 4), ("1", 0)])
def test_threshold_option_is_for_all_labels(
    trained: Trained, capfd: pytest.CaptureFixture[str], threshold: str, num_labels: int
) -> None:
    results = run_json(capfd, trained, "--threshold", threshold, *TEXTS[:3])
    assert [len(result["emotions"]) for result in results] == [num_labels] * 3


def test_top_words(trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    (result,) = run_json(capfd, trained, "--top_words", "2", "so happy about the exam")
    assert len(result["attention"]) == 2
    (everything,) = run_json(capfd, trained, "--top_words", "9", "so happy about the exam")
    assert sorted(word["word"] for word in everything["attention"]) == ["about", "exam", "happy", "so", "the"]
    assert sum(word["weight"] for word in everything["attention"]) == pytest.approx(1, abs=1e-4)
    assert everything["attention"][:2] == result["attention"]


def test_arguments_file_and_standard_input_agree(
    trained: Trained, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from_arguments = run_json(capfd, trained, "--precision", "fp32", *TEXTS)
    content = "\n".join(TEXTS).encode()
    feed(monkeypatch, content)
    assert run_json(capfd, trained, "--precision", "fp32") == from_arguments
    (tmp_path / "texts.txt").write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n") + b"\r\n")
    from_file = run_json(capfd, trained, "--precision", "fp32", "--input", str(tmp_path / "texts.txt"))
    assert from_file == from_arguments


def test_order_is_kept_over_many_chunks(
    trained: Trained, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{'so ' * (index % 7)}happy {index}" for index in range(150)]
    feed(monkeypatch, "\n".join(texts).encode())
    assert [result["text"] for result in run_json(capfd, trained)] == texts


def test_no_input_no_output(
    trained: Trained, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, b"")
    assert run_json(capfd, trained) == []


def test_bars_are_as_long_as_the_scores(trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    (result,) = run_json(capfd, trained, "--threshold", "0", "so happy [bold] :joy:")
    predict.main(["--model", str(trained.folder), "--threshold", "0", "so happy [bold] :joy:"])
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "so happy [bold] :joy:"
    bars = [line for line in lines if "░" in line or "█" in line]
    for line, emotion in zip(bars, result["emotions"], strict=True):
        label, bar, score = line.split()
        assert (label, score) == (emotion["label"], f"{emotion['score']:.2f}")
        assert (bar.count("█"), len(bar)) == (round(20 * emotion["score"]), 20)
    named = [line.lstrip() for line in lines if line.lstrip().startswith("words: ")]
    best = [emotion["words"][0] for emotion in result["emotions"] if emotion["words"]]
    assert len(named) == len(best) > 0
    for line, word in zip(named, best, strict=True):
        assert line.startswith(f"words: {word['word']} {word['part']:.2f}")
    assert "\x1b" not in "".join(lines)


def test_explained_emotions_name_their_words_and_encoders(trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    text = "so happy about the exam"
    options = ["--threshold", "0", "--explain", "--precision", "fp32"]
    (result,) = run_json(capfd, trained, *options, "--top_words", "2", text)
    model, tokenizer = load_classifier(str(trained.folder), "cpu")
    for emotion in result["emotions"]:
        label = LABELS.index(emotion["label"])
        falls = [word["fall"] for word in emotion["words"]]
        assert len(falls) <= 2
        assert falls == sorted(falls, reverse=True)
        variants = [" ".join(other for other in text.split() if other != word["word"]) for word in emotion["words"]]
        logits = predict_logits(model, tokenizer, [text, *variants], precision="fp32")[:, label]
        assert falls == pytest.approx((logits[0] - logits[1:]).tolist(), abs=1e-4)
        parts = emotion["parts"]
        assert list(parts["encoders"]) == list(model.config.encoders)
        assert sum([*parts["encoders"].values(), parts["rest"], parts["bias"]]) == pytest.approx(logits[0], abs=1e-4)
    assert any(emotion["words"] for emotion in result["emotions"])
    predict.main(["--model", str(trained.folder), *options, text])
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == text
    assert sum(line.lstrip().startswith("encoders: ") for line in lines) == 4
    words = [line for line in lines if line.lstrip().startswith("words: ")]
    best = next(emotion["words"][0] for emotion in result["emotions"] if emotion["words"])
    assert words[0].lstrip().startswith(f"words: {best['word']} {best['fall']:.2f}")
    said = fails(predict.main, capfd, "--model", trained.folder, "--explain", "--output", "a.csv", text)
    assert "--explain has no place in a table" in said


def test_nothing_over_its_threshold_is_said(trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    predict.main(["--model", str(trained.folder), "--threshold", "1", "hm"])
    assert "no emotion over its threshold" in capfd.readouterr().out


def test_highlight_stands_on_its_word_and_the_text_does_not_command_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    text = "a\x07b\rc\x1b[2J happy"
    start = text.index("happy")
    words = [{"word": "happy", "start": start, "end": start + 5, "part": 1.0}]
    predict._Printer()({"text": text, "emotions": [{"label": "joy", "score": 0.9, "words": words}]})
    shown = written.getvalue()
    assert "a b c [2J " in shown
    assert "\x1b[2J" not in shown
    assert "mhappy\x1b[0m" in shown


@pytest.mark.parametrize(("form", "shown"), [("json", "so sad 😢"), ("bars", r"so sad \U0001f622")])
def test_standard_output_that_is_not_utf8(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, form: str, shown: str
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    predict.main(["--model", str(trained.folder), *(["--json"] if form == "json" else []), "so sad 😢"])
    output = written.getvalue().decode("utf-8")
    assert (json.loads(output)["text"] if form == "json" else output.splitlines()[0]) == shown


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("posts.csv", 'id,text\n7,"so happy, at last"\n8,what a bad day\n'),
        ("posts.csv", "id;Tweet\n7;so happy, at last\n8;what a bad day\n"),
        ("posts.tsv", "id\tcomment\n7\tso happy, at last\n8\twhat a bad day\n"),
        ("posts.jsonl", '{"id": 7, "text": "so happy, at last"}\n{"id": 8, "text": "what a bad day"}\n'),
        ("posts.json", '[{"id": 7, "text": "so happy, at last"},\n{"id": 8, "text": "what a bad day"}]'),
    ],
)
@pytest.mark.parametrize("few", [1, 64])
def test_texts_of_a_table(
    trained: Trained,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    content: str,
    few: int,
) -> None:
    monkeypatch.setattr(predict, "_FEW", few)
    (tmp_path / name).write_text(content, encoding="utf-8")
    results = run_json(capfd, trained, "--input", str(tmp_path / name), "--precision", "fp32")
    expected = run_json(capfd, trained, "so happy, at last", "what a bad day", "--precision", "fp32")
    assert [result["text"] for result in results] == ["so happy, at last", "what a bad day"]
    assert [result["emotions"] for result in results] == [
        [pytest.approx(emotion, abs=1e-5) for emotion in result["emotions"]] for result in expected
    ]


def test_texts_of_a_named_column(trained: Trained, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "posts.csv").write_text("text,post\nshort,so happy\n", encoding="utf-8")
    arguments = ["--input", str(tmp_path / "posts.csv"), "--text_column", "post"]
    assert [result["text"] for result in run_json(capfd, trained, *arguments)] == ["so happy"]


@pytest.mark.parametrize("labels", [None, "joy,fear", ' "fear" , joy'])
def test_labels_restrict(trained: Trained, capfd: pytest.CaptureFixture[str], labels: str | None) -> None:
    everything = run_json(capfd, trained, *TEXTS)
    chosen = run_json(capfd, trained, *TEXTS, *(["--labels", labels] if labels else []))
    allowed = LABELS if labels is None else ["fear", "joy"]
    for whole, part in zip(everything, chosen, strict=True):
        assert part == whole | {"emotions": [entry for entry in whole["emotions"] if entry["label"] in allowed]}


def test_source_has_thresholds_of_its_own(trained: Trained, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained.folder, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["source_thresholds"] = {"arq": [0.0] * len(LABELS)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    predict.main(["--model", str(folder), "--json", "--source", "arq", TEXTS[0]])
    answer = json.loads(capfd.readouterr().out)
    assert {entry["label"] for entry in answer["emotions"]} == {*LABELS}
    error = fails(predict.main, capfd, "--model", folder, "--source", "ary", TEXTS[0])
    assert error == "error: `source` must be one of arq, got 'ary'."


# ---------------------------------------------------------------------------------------------- tables


def test_table_holds_the_decisions_and_the_scores(
    trained: Trained, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, output = tmp_path / "posts.csv", tmp_path / "new" / "predictions.csv"
    source.write_text("id,text,fear,note\n" + "".join(f'{row},"{text}",,n\n' for row, text in enumerate(TEXTS)))
    fp32 = ("--precision", "fp32")
    shared = ["--model", str(trained.folder), "--input", str(source), *fp32]
    predict.main([*shared, "--output", str(output)])
    said = capfd.readouterr()
    assert said.out == ""
    replaced, closing = said.err.splitlines()
    assert replaced == f"{source}: predictions replace the columns 'fear'."
    assert re.fullmatch(rf"20 texts, [\d,]+ texts/s: {re.escape(str(output))}", closing)
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "text", "fear", "note", *(label for label in LABELS if label != "fear")]
    for number, (row, answer) in enumerate(zip(rows, run_json(capfd, trained, *fp32, *TEXTS), strict=True)):
        assert (row["id"], row["text"], row["note"]) == (str(number), TEXTS[number], "n")
        assert {label for label in LABELS if row[label] == "1"} == {entry["label"] for entry in answer["emotions"]}
        assert {row[label] for label in LABELS} <= {"0", "1"}
    predict.main([*shared, "--output", str(tmp_path / "b.jsonl"), "--probabilities", "--labels", "joy,anger"])
    answers = run_json(capfd, trained, "--threshold", "0", *fp32, *TEXTS)
    scores = [{entry["label"]: entry["score"] for entry in answer["emotions"]} for answer in answers]
    for line, score in zip((tmp_path / "b.jsonl").read_text().splitlines(), scores, strict=True):
        row = json.loads(line)
        assert list(row) == ["id", "text", "fear", "note", "joy", "anger"]
        assert [row["joy"], row["anger"]] == [pytest.approx(score[name], abs=1e-5) for name in ("joy", "anger")]
        assert row["joy"] == round(row["joy"], 6)


@pytest.mark.parametrize("origin", ["arguments", "file", "standard input"])
def test_texts_alone_make_a_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"I love you\nso sad\n")
    feed(monkeypatch, (tmp_path / "a.txt").read_bytes())
    given = {"arguments": ["I love you", "so sad"], "file": ["--input", str(tmp_path / "a.txt")], "standard input": []}
    predict.main([*given[origin], "--output", str(tmp_path / "b.csv"), "--labels", "love,sadness"])
    assert (tmp_path / "b.csv").read_text() == "text,love,sadness\nI love you,1,0\nso sad,0,1\n"


def test_progress_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    arguments = ["I love you", "so sad", "--output", str(tmp_path / "b.csv")]
    predict.main(arguments)
    assert "/2 [" not in capfd.readouterr().err
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    predict.main(arguments)
    assert "0/2 [" in shown.getvalue()
    # The bar is gone in the end.
    assert re.search(r"\r +\r2 texts, [\d,]+ texts/s: .*b\.csv\n$", shown.getvalue())


# ---------------------------------------------------------------------------------------------- hard texts

HARD = {
    "empty": "",
    "spaces": "   \t  ",
    "emoji": "😢👨‍👩‍👧👍🏿🇪🇬",
    "controls": "so \x00 happy \x01\x02\x7f\x9b\x1b[31m",
    "surrogate": "so \ud83d happy",
    "directions": "\u202eso\u202c \u200fسعيد\u200f \u2067جدا\u2069",
    "unknown": "ᚠᛇᚻ 𓀀𓂀 ﷽",
    "marks": "a" + "\u0301" * 3000,
    "newline": "so\nhappy\u2028today",
}


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("form", ["json", "bars"])
def test_hard_text_is_classified(trained: Trained, capfd: pytest.CaptureFixture[str], kind: str, form: str) -> None:
    text = HARD[kind]
    arguments = ["--model", str(trained.folder), "--threshold", "0", text]
    capfd.readouterr()
    predict.main([*arguments, "--json"] if form == "json" else arguments)
    output = capfd.readouterr()
    # Runes and hieroglyphs.
    assert output.err.endswith("not trained on (Other): do not rely on its answer.\n" if kind == "unknown" else "")
    assert output.err.count("\n") == (kind == "unknown")
    if form == "bars":
        assert [label for label in LABELS if output.out.count(f"  {label} ") == 1] == LABELS
        return
    (line,) = output.out.split("\n")[:-1]
    result = json.loads(line)
    assert result["text"] == text.replace("\ud83d", "\ufffd")
    assert sorted(emotion["label"] for emotion in result["emotions"]) == LABELS
    assert all(0 <= emotion["score"] <= 1 for emotion in result["emotions"])
    assert all(result["text"][word["start"] : word["end"]] == word["word"] for word in result["attention"])
    if kind in ("empty", "spaces"):
        assert result["attention"] == []


def test_a_megabyte_in_one_line(
    trained: Trained, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["so happy " * 110_000, "x" * 1_000_000, "😢" * 250_000, "so happy"]
    feed(monkeypatch, "\n".join(texts).encode())
    results = run_json(capfd, trained, "--threshold", "0")
    assert [len(result["text"]) for result in results] == [990_000, 1_000_000, 250_000, 8]
    assert all(len(result["emotions"]) == 4 for result in results)


def test_hard_texts_do_not_change_their_neighbours(trained: Trained, capfd: pytest.CaptureFixture[str]) -> None:
    (alone,) = run_json(capfd, trained, "--threshold", "0", "so happy about the exam")
    among = run_json(capfd, trained, "--threshold", "0", *HARD.values(), "so happy about the exam")[-1]
    scores = [{entry["label"]: entry["score"] for entry in result["emotions"]} for result in (alone, among)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


# ---------------------------------------------------------------------------------------------- errors


def test_line_that_is_not_utf8_names_its_row(
    trained: Trained, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = "so happy\nso sad\ntrès\n".encode("latin-1")
    (tmp_path / "texts.txt").write_bytes(content)
    output = fails(predict.main, capfd, "--model", trained.folder, "--input", tmp_path / "texts.txt")
    assert output.startswith(f"error: {tmp_path / 'texts.txt'}, row 3: not UTF-8 (byte 3 of the line)")
    feed(monkeypatch, content)
    assert "standard input, row 3: not UTF-8" in fails(predict.main, capfd, "--model", trained.folder, "--json")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["text", "--input", "file.txt"], "Give texts as arguments or a file with --input, not both."),
        (["--input", "no/such/file.txt"], "no/such/file.txt"),
        (["text", "--text_column", "post"], "--text_column is for a table with --input"),
        (["--input", "texts.txt", "--text_column", "post"], "--text_column is for a table with --input"),
        (["text", "--threshold", "1.5"], "--threshold must be in [0, 1], got 1.5"),
        (["text", "--tokens_per_batch", "0"], "`--tokens_per_batch` must be an integer of at least 1"),
        (["text", "--batch_size", "8"], "There is no --batch_size any more: --tokens_per_batch is the size"),
        (["text", "--top_words", "-1"], "`--top_words` must be an integer of at least 0"),
        (["text", "--device", "abacus"], "The device 'abacus' cannot be used"),
        (["text", "--labels", "joy,envy"], f"--labels: the model has no label 'envy', only {', '.join(LABELS)}."),
        (["text", "--labels", "joy,,fear"], "--labels must be different names with commas between them"),
        (["text", "--labels", "joy,joy"], "--labels must be different names with commas between them"),
        (["text", "--labels", ""], "--labels must be different names with commas between them"),
        (["text", "--probabilities"], "--probabilities is for a table: name it with --output."),
        (["text", "--output", "a.txt"], "a.txt: expected a file in .csv, .tsv, .jsonl, .parquet, got '.txt'"),
        (["text", "--output", "a.jsonl", "--json"], "--json prints, --output writes a file"),
        (["text", "--output", "a.csv", "--probabilities", "--threshold", "0"], "--threshold decides between 0 and 1"),
        (["--input", "no/such/file.csv", "--output", "a.csv"], "no/such/file.csv: no such file"),
    ],
)
def test_bad_option(trained: Trained, capfd: pytest.CaptureFixture[str], arguments: list[str], part: str) -> None:
    assert part in fails(predict.main, capfd, "--model", trained.folder, *arguments)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("posts.xlsx", b"PK", "posts.xlsx: expected a file in .csv, .tsv, .txt, .jsonl, .json"),
        ("posts", b"so happy\n", "posts: expected a file in .csv, .tsv, .txt, .jsonl, .json"),
        ("posts.csv", b"id,words\n1,so happy\n", "no text column, expected one of text, tweet"),
        ("posts.csv", b"id,text\n1,caf\xe9\n", "posts.csv, row 2: expected UTF-8, got byte 0xe9"),
        ("posts.jsonl", b'{"text": null}\n', "posts.jsonl, row 1, column 'text': expected a text, got null"),
    ],
)
def test_tables_that_cannot_be_read(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str, content: bytes, part: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert part in fails(predict.main, capfd, "--input", tmp_path / name)


@pytest.mark.parametrize(
    ("output", "part"),
    [("posts.csv", "is the file of --input; give another name."), ("folder.csv", "is there and is no file")],
)
def test_output_that_would_take_the_place_of_another(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, output: str, part: str
) -> None:
    (tmp_path / "posts.csv").write_text("text\nso happy\n")
    (tmp_path / "folder.csv").mkdir()
    assert part in fails(predict.main, capfd, "--input", tmp_path / "posts.csv", "--output", tmp_path / output)
    assert (tmp_path / "posts.csv").read_text() == "text\nso happy\n"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert "The device 'cuda' cannot be used (" in fails(predict.main, capfd, "text", "--device", "cuda")


@pytest.mark.parametrize("model", ["no_such_folder", "/no/such/folder"])
def test_missing_model_is_named(capfd: pytest.CaptureFixture[str], model: str) -> None:
    assert fails(predict.main, capfd, "--model", model, "text").startswith(
        f"error: --model {model} cannot be loaded: "
    )


def test_folder_that_is_no_classifier(capfd: pytest.CaptureFixture[str], encoder_folders: dict[str, Path]) -> None:
    output = fails(predict.main, capfd, "--model", encoder_folders["bert_wp"], "text")
    assert "is no multi-label classifier" in output


def test_torn_weights(trained: Trained, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for path in trained.folder.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(trained.folder)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((trained.folder / "model.safetensors").read_bytes()[:5000])
    output = fails(predict.main, capfd, "--model", tmp_path, "text")
    assert output.startswith(f"error: --model {tmp_path} cannot be loaded: ")


# ---------------------------------------------------------------------------------------------- other processes


CLOSED_IN = "error: Standard input is closed; give texts as arguments, or a file with --input.\n"
CLOSED_OUT = "error: Standard output is closed; send it to a file, or to /dev/null.\n"
FULL = "error: [Errno 28] No space left on device: 'standard output'\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("line", "status", "errors"),
    [
        ("predict <&-", 2, CLOSED_IN),
        ("predict x >&-", 2, CLOSED_OUT),
        ("evaluate_model --model m --data d >&-", 2, CLOSED_OUT),
        ("predict --help > /dev/full", 2, FULL),
        ("predict --help | head -1", 0, ""),
        pytest.param("predict x <&-", 0, "", marks=pytest.mark.slow),
        pytest.param("predict x > /dev/full", 2, FULL, marks=pytest.mark.slow),
        pytest.param("predict x --json > /dev/full", 2, FULL, marks=pytest.mark.slow),
        pytest.param("predict < MANY | head -1", 0, "", marks=pytest.mark.slow),
        pytest.param("predict --json < MANY | head -1", 0, "", marks=pytest.mark.slow),
        pytest.param("predict < MANY > /dev/full", 2, FULL[:40], marks=pytest.mark.slow),
    ],
)
def test_streams_that_are_closed_or_full(tmp_path: Path, line: str, status: int, errors: str) -> None:
    (tmp_path / "many.txt").write_text("so happy about the exam\n" * 800)
    shell = f"python -m scripts.{line}; exit ${{PIPESTATUS[0]}}"
    shell = shell.replace("python", sys.executable).replace("MANY", str(tmp_path / "many.txt"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == status
    assert done.stderr.startswith(errors)
    assert done.stderr.count("\n") == errors.count("\n") or errors == FULL[:40]
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.slow
def test_killed_run_leaves_the_old_table(tmp_path: Path) -> None:
    source, output = tmp_path / "posts.csv", tmp_path / "b.csv"
    source.write_text("text\n" + "so happy about the exam\n" * 100_000)
    output.write_text("old")
    command = [sys.executable, "-m", "scripts.predict", "--input", str(source), "--output", str(output)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        partial = tmp_path / ".b.csv.partial"
        while process.poll() is None and not (partial.exists() and partial.stat().st_size > 0):
            time.sleep(0.05)
        process.kill()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.csv.partial", "b.csv", "posts.csv"]
    assert output.read_text() == "old"
    source.write_text("text\nso happy\n")
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.csv", "posts.csv"]
    assert len(output.read_text().splitlines()) == 2


@pytest.mark.slow
def test_closed_pipe_ends_without_a_complaint(trained: Trained) -> None:
    lines = "so happy about the exam\n" * 3000
    command = [sys.executable, "-m", "scripts.predict", "--model", str(trained.folder), "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(lines.encode())
        process.stdin.close()
        first = json.loads(process.stdout.readline())
        process.stdout.close()
        output = process.stderr.read().decode()
        process.wait(timeout=60)
    assert first["text"] == "so happy about the exam"
    assert output == ""


_MEASURE = """
import resource, sys
from scripts import predict

predict.main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_lines(trained: Trained, tmp_path: Path) -> None:
    peaks = []
    for num_lines in (20_000, 200_000):
        path = tmp_path / "texts.txt"
        with path.open("w", encoding="utf-8") as file:
            # Numbers make nearly every line and many words new: what remembers them would grow.
            file.writelines(f"so happy {index} about qahwa{index % 50_000} 😱\n" for index in range(num_lines))
        command = [sys.executable, "-c", _MEASURE, "--model", str(trained.folder), "--input", str(path), "--json"]
        with (tmp_path / "results.jsonl").open("wb") as output:
            done = subprocess.run(
                command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, check=True, env=os.environ, timeout=600
            )
        with (tmp_path / "results.jsonl").open("rb") as results:
            assert sum(1 for _ in results) == num_lines
        peaks.append(int(done.stderr.split()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 30, f"{peaks[0]:.0f} MB for 20,000 lines, {peaks[1]:.0f} MB for 200,000"
