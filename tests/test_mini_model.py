# SPDX-License-Identifier: Apache-2.0
"""Tests of the model that ships with the repository: small, loaded without a network, right where it is easy."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import fails
from safetensors import safe_open

from hub.demo import app
from hub.demo.analysis import EmotionModel
from hub.model import answers as answering
from hub.model import mini
from hub.model.mini import MINI_MODEL, mini_model
from hub.model.probes import PROBE_RESULTS, probe_rows
from hub.model.quick import quick_classifier
from hub.model.staging import stage_model
from hub.validation.stranger import python_blocks
from scripts import demo, evaluate_model, export_onnx, predict
from trainer_ext.evaluation import prediction
from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities

ROOT = Path(__file__).resolve().parent.parent
ENCODERS = {"minilm": "sentence-transformers/all-MiniLM-L6-v2", "me5": "intfloat/multilingual-e5-small"}
CHECKS = ROOT / "scripts" / "data" / "checks"
OBVIOUS = {"I love you": "love", "Thank you so much": "gratitude", "أنا حزين جدا اليوم": "sadness"}


def test_folder_is_small_and_holds_no_code() -> None:
    files = [path for path in MINI_MODEL.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert names >= {"config.json", "model.safetensors", "tokenizer_config.json", "README.md", "eval_results.json"}
    assert not [name for name in names if name.endswith(".py")]
    assert sum(path.stat().st_size for path in files) <= 30e6
    with safe_open(MINI_MODEL / "model.safetensors", "pt") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys() if "bias" not in name}  # noqa: SIM118
    assert "F8_E4M3" in kinds


def test_it_knows_what_is_obvious() -> None:
    model, tokenizer = load_classifier(mini_model(), "cpu")
    assert {weight.dtype for weight in model.state_dict().values()} == {torch.float32}
    assert model.config.num_labels == 30
    probabilities = predict_probabilities(model, tokenizer, list(OBVIOUS))
    best = [model.config.id2label[index] for index in probabilities.argmax(axis=1).tolist()]
    assert best == list(OBVIOUS.values())
    over = probabilities.max(axis=1) >= [model.config.thresholds[model.config.label2id[label]] for label in best]
    assert over.all()


def test_probes_are_those_of_the_card(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    command = ["--model", str(MINI_MODEL), "--probes", str(CHECKS / "probes.csv"), "--json", str(out)]
    evaluate_model.main([*command, "--device", "cpu"])
    results, shipped = (json.loads(path.read_text(encoding="utf-8")) for path in (out, MINI_MODEL / PROBE_RESULTS))
    # A text may be on the edge in another precision.
    assert results == pytest.approx(shipped, abs=0.101)
    dialects = [row for row in probe_rows(shipped) if row.kind == "dialects"]
    assert len(dialects) == 5
    assert sum(row.num_texts * (row.found or 0) for row in dialects) >= 40
    card = (MINI_MODEL / "README.md").read_text(encoding="utf-8")
    for row in probe_rows(shipped):
        shares = ("–" if share is None else f"{share:.3f}" for share in (row.found, row.misled))
        assert f"| {row.kind} | {row.language} | {row.num_texts} | 0 | {' | '.join(shares)} |" in card


def test_emoji_alone_are_understood() -> None:
    def labels_of(file: Path) -> dict[str, str]:
        with file.open(encoding="utf-8", newline="") as stream:
            return {row["text"]: row["labels"] for row in csv.DictReader(stream)}

    right = labels_of(CHECKS / "emoji.csv")
    assert len(right) == 20
    model, tokenizer = load_classifier(mini_model(), "cpu")
    best = predict_probabilities(model, tokenizer, list(right)).argmax(axis=1).tolist()
    labels = zip(right.values(), (model.config.id2label[index] for index in best), strict=True)
    assert sum(label in known.split() for known, label in labels) >= 17
    assert not labels_of(CHECKS.parent / "emoji" / "train.csv").keys() & right.keys()


def test_results_are_of_the_test_split() -> None:
    results = json.loads((MINI_MODEL / "eval_results.json").read_text(encoding="utf-8"))
    assert 0.3 < results["test_macro_f1"] < 0.7


def test_predict_asks_it_by_default() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "scripts.predict", "--json", *OBVIOUS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["emotions"][0]["label"] for result in results] == list(OBVIOUS.values())


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from scripts import predict
predict.main(sys.argv[1:])
"""
TEXTS = [
    *OBVIOUS,
    "",
    "I am so angry, and so sad \U0001f622 about what you did to us all!",
    "Мне очень грустно",
    "أنا حزين جدا اليوم",
    "so " * 300,
    "@ann ok",
]
UNFAMILIAR = "A text is in a script that the model was not trained on (Cyrillic): do not rely on its answer.\n"


def test_texts_in_other_scripts_are_named_once_and_counted(capfd: pytest.CaptureFixture[str]) -> None:
    predict.main(["--json", "Мне грустно", "I love you", "我很難過", "😢", "أنا حزين جدا"])
    captured = capfd.readouterr()
    scripts = [json.loads(line).get("unfamiliar_script") for line in captured.out.splitlines()]
    assert scripts == ["Cyrillic", None, "Han", None, None]
    assert captured.err == UNFAMILIAR + "2 of 5 texts are in scripts that the model was not trained on.\n"


def test_a_few_texts_are_answered_without_torch(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "--json", "--top_words", "5", *TEXTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, UNFAMILIAR)
    capfd.readouterr()
    predict.main(["--device", "cpu", "--precision", "fp32", "--json", "--top_words", "5", *TEXTS])
    captured = capfd.readouterr()
    assert captured.err == UNFAMILIAR
    by_torch = [json.loads(line) for line in captured.out.splitlines()]
    quick = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(quick) == len(by_torch) == len(TEXTS)
    for actual, expected in zip(quick, by_torch, strict=True):
        assert actual["text"] == expected["text"]
        assert actual.get("unfamiliar_script") == expected.get("unfamiliar_script")
        assert [entry["label"] for entry in actual["emotions"]] == [entry["label"] for entry in expected["emotions"]]
        for name, key in (("emotions", "score"), ("emotions", "threshold"), ("attention", "weight")):
            values = [[entry[key] for entry in answer[name]] for answer in (actual, expected)]
            assert values[0] == pytest.approx(values[1], abs=1e-4)
        for own, other in zip(actual["emotions"], expected["emotions"], strict=True):
            parts = [[word["part"] for word in emotion["words"]] for emotion in (own, other)]
            assert parts[0] == pytest.approx(parts[1], abs=1e-4)
        # Equal shares may stand in any order.
        for entry in actual["attention"]:
            assert entry["word"] == actual["text"][entry["start"] : entry["end"]]
    assert sum(len(answer["emotions"]) for answer in quick) > 3


def test_lines_of_a_stream_are_answered_without_torch() -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.writelines(f"{text}\n" for text in OBVIOUS)
        process.stdin.close()
        answers = [json.loads(line) for line in process.stdout]
    assert {answer["text"]: answer["emotions"][0]["label"] for answer in answers} == OBVIOUS


class Terminal(io.BytesIO):
    """Lines that somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "few", "has_torch"), [(io.BytesIO, 3, False), (io.BytesIO, 1, True), (Terminal, 1, False)]
)
def test_one_engine_answers_all_texts(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.BytesIO],
    few: int,
    has_torch: bool,
) -> None:
    loaded: list[Any] = []
    for module, name in ((prediction, "load_classifier"), (answering, "quick_classifier")):
        load = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, load=load, name=name: loaded.append(name) or load(*given))
    content = "".join(f"{text}\n" for text in OBVIOUS).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream(content), encoding="utf-8"))
    monkeypatch.setattr(predict, "_FEW", few)
    predict.main(["--json"])
    answers = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {answer["text"]: answer["emotions"][0]["label"] for answer in answers} == OBVIOUS
    assert loaded == (["load_classifier"] if has_torch else ["quick_classifier"])


def test_rows_before_an_unreadable_one_are_answered(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_bytes(b"I love you\ntr\xe8s\nso sad\n")
    with pytest.raises(SystemExit) as stopped:
        predict.main(["--json", "--input", str(tmp_path / "texts.txt")])
    assert stopped.value.code == 2
    captured = capfd.readouterr()
    assert [json.loads(line)["text"] for line in captured.out.splitlines()] == ["I love you"]
    assert captured.err.startswith(f"error: {tmp_path / 'texts.txt'}, row 2: not UTF-8 (byte 3 of the line)")


def test_one_threshold_is_for_all_labels(capfd: pytest.CaptureFixture[str]) -> None:
    predict.main(["--json", "--threshold", "0", "--top_words", "0", "hm", "hm\udc80"])
    answers = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [len(answer["emotions"]) for answer in answers] == [30, 30]
    assert [answer["attention"] for answer in answers] == [[], []]
    assert not any(emotion["words"] for answer in answers for emotion in answer["emotions"])
    assert answers[1]["text"] == "hm\ufffd"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.onnx", lambda content: content[:1000]),
        ("model.safetensors", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("model.safetensors", lambda content: content[:5_000_000]),
        ("config.json", lambda content: content.replace(b'"joy"', b'"JOY"')),
    ],
)
def test_a_graph_of_other_files_is_not_used(tmp_path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MINI_MODEL, folder)
    assert quick_classifier(folder) is not None
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(change(content))
    assert (folder / name).read_bytes() != content
    assert quick_classifier(folder) is None


@pytest.mark.slow
def test_its_graph_is_what_the_command_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MINI_MODEL, folder)
    (folder / "model.onnx").unlink()
    export_onnx.main([str(folder)])
    assert capsys.readouterr().out == f"{folder / 'model.onnx'}: 0.6 MB.\n"
    assert (folder / "model.onnx").read_bytes() == (MINI_MODEL / "model.onnx").read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in MINI_MODEL.iterdir()}


def test_demo_loads_it_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[EmotionModel] = []
    monkeypatch.setattr(app, "launch", lambda model, **options: served.append(model))
    demo.main([])
    actual = served[0].analyse(list(OBVIOUS))
    assert [entry.predicted[0].label for entry in actual] == list(OBVIOUS.values())
    # The classes of this project, not a copy of them.
    assert type(served[0].model).__module__.startswith("modeling_stacked_emotion.")


@pytest.mark.slow
def test_published_it_has_its_code(tmp_path: Path) -> None:
    stage_model(MINI_MODEL, tmp_path, repo_id="user/stacked-emotion-mini", language=["en", "ar"], encoders=ENCODERS)
    assert (tmp_path / "modeling_stacked_emotion.py").is_file()
    assert (tmp_path / "storage_stacked_emotion.py").is_file()
    assert (tmp_path / "model.safetensors").read_bytes() == (MINI_MODEL / "model.safetensors").read_bytes()


def test_without_code_the_card_shows_how_a_checkout_loads_it(tmp_path: Path) -> None:
    options: dict[str, Any] = {"repo_id": "user/stacked-emotion-mini", "encoders": ENCODERS, "with_code": False}
    stage_model(MINI_MODEL, tmp_path, **options)
    assert {path.name for path in tmp_path.iterdir()} - {path.name for path in MINI_MODEL.iterdir()} == set()
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "# stacked-emotion-mini\n" in card
    assert "trust_remote_code" not in card
    assert (
        "| `me5` | [intfloat/multilingual-e5-small](https://huggingface.co/intfloat/multilingual-e5-small) | mit |"
        in card
    )
    (code,) = [code for _, code in python_blocks(card)]
    output: dict[str, Any] = {}
    exec(code, output)
    assert output["probabilities"].shape == (1, 30)


@pytest.mark.parametrize("command", [predict, demo])
def test_missing_folder_is_named(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mini, "MINI_MODEL", tmp_path / "stacked-emotion-mini")
    error = fails(command.main, capsys, *(["text"] if command is predict else []))
    assert error.startswith(f"error: There is no model in {tmp_path / 'stacked-emotion-mini'}, which comes with a ")
    with pytest.raises(FileNotFoundError, match="name another model with --model"):
        mini_model()


def test_half_a_folder_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(Path(__file__), tmp_path / "config.json")
    monkeypatch.setattr(mini, "MINI_MODEL", tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no model in"):
        mini_model()
