# SPDX-License-Identifier: Apache-2.0
"""ONNX files say what torch says, and run where there is no torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import fails
from recipe_samples import write_rows
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import hub.model.onnx_export as onnx_export
from hub.model.onnx_export import export_onnx
from hub.model.onnx_weights import graph_of_weights
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from scripts import benchmark
from scripts import export_onnx as export_command

LABELS = {0: "anger", 1: "joy", 2: "sadness", 3: "fear"}
STACKED: dict[str, dict[str, Any]] = {
    "meta_learner": {"lstm_num_layers": 2, "calibration_scale": [0.5, 1.0, 2.0, 1.5], "calibration_bias": [0.1] * 4},
    "convolutions": {"mixer": "convolutions", "pooling": "max", "skip_connection": False},
    "last": {"mixer": "none", "pooling": "last"},
    "mean": {"mixer": "none", "pooling": "mean", "lstm_num_layers": 0},
}
# Who loads it is told of no torch and no transformers.
WITHOUT_TORCH = """
import json, runpy, sys
sys.modules["torch"] = sys.modules["transformers"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def save_stacked(folder: Path, encoders: dict[str, Path], **fields: Any) -> Path:
    torch.manual_seed(0)
    model = StackedEmotionForSequenceClassification.from_encoders(
        encoders, id2label=LABELS, thresholds=[0.02, 0.03, 0.04, 0.5], **fields
    )
    # Far from the prior, so that a difference shows.
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    normalizations = {next(iter(encoders)): "tweet"}
    StackedEmotionTokenizer.from_encoders(encoders, normalizations, max_tokens=48).save_pretrained(folder)
    return folder


def save_stock(folder: Path, encoder: Path) -> Path:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder, id2label=LABELS, problem_type="multi_label_classification"
    )
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder, model_max_length=64).save_pretrained(folder)
    return folder


def torch_outputs(folder: Path, texts: list[str]) -> tuple[dict[str, np.ndarray], Any]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        options = {"output_word_parts": True} if hasattr(model, "logit_parts") else {}
        outputs = model(**batch, **options)
    return {name: value.numpy() for name, value in batch.items()}, outputs


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, encoder_folders: dict[str, Path], static_folder: Path) -> Path:
    """An encoder and static words, with meta-learner, calibration and two layers of Bi-LSTM."""
    folder = tmp_path_factory.mktemp("stacked")
    encoders = {"roberta_bb": encoder_folders["roberta_bb"], "words": static_folder}
    save_stacked(folder, encoders, **STACKED["meta_learner"])
    export_onnx(folder, folder)
    return folder


def assert_parity(folder: Path, corpus: list[str]) -> None:
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    for texts in (corpus[:7], corpus[-2:], [""], ["word " * 200, "", "!"]):
        inputs, outputs = torch_outputs(folder, texts)
        assert [node.name for node in session.get_inputs()] == list(inputs)
        found = dict(zip([node.name for node in session.get_outputs()], session.run(None, inputs), strict=True))
        for name, value in found.items():
            np.testing.assert_allclose(value, outputs[name].numpy(), atol=1e-4, rtol=0, err_msg=name)


@pytest.mark.slow
def test_stack_says_what_torch_says(exported: Path, corpus: list[str]) -> None:
    assert_parity(exported, corpus)
    session = onnxruntime.InferenceSession(exported / "onnx" / "model.onnx")
    assert [node.name for node in session.get_outputs()] == ["logits", "word_attention", "word_parts"]
    shapes = {node.name: node.shape for node in session.get_inputs()}
    assert shapes["roberta_bb_input_ids"] == ["batch_size", "roberta_bb_seq_len"]
    assert shapes["words_word_ids"] == ["batch_size", "words_seq_len"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convolutions", "last", "mean"])
def test_other_heads_on_one_encoder(
    name: str, tmp_path: Path, encoder_folders: dict[str, Path], corpus: list[str]
) -> None:
    save_stacked(tmp_path, {"bert_wp": encoder_folders["bert_wp"]}, **STACKED[name])
    export_onnx(tmp_path, tmp_path, int8=False)
    assert_parity(tmp_path, corpus)
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == ["model.onnx"]


@pytest.mark.slow
def test_int8_is_smaller_and_close(exported: Path, corpus: list[str]) -> None:
    small, large = (exported / "onnx" / name for name in ("model_int8.onnx", "model.onnx"))
    assert small.stat().st_size < 0.6 * large.stat().st_size
    kinds = {node.op_type for node in onnx.load(small).graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLSTM"} <= kinds
    inputs, outputs = torch_outputs(exported, corpus)
    logits = onnxruntime.InferenceSession(small).run(["logits"], inputs)[0]
    distance = np.abs(logits - outputs.logits.numpy())
    assert 1e-4 < distance.mean() < 0.1 * outputs.logits.std().item()


@pytest.mark.slow
def test_files_are_the_same_each_time_and_name_no_path(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "old.onnx").touch()
    export_onnx(exported, tmp_path)
    code = ["checks_stacked_emotion.py", "description_stacked_emotion.py", "onnx", "onnx_example.py"]
    code += ["scripts_stacked_emotion.py", "text_stacked_emotion.py"]
    assert sorted(path.name for path in tmp_path.iterdir()) == code
    names = sorted(path.name for path in (tmp_path / "onnx").iterdir())
    assert names == ["model.onnx", "model_int8.onnx"]
    for name in names:
        content = (tmp_path / "onnx" / name).read_bytes()
        assert content == (exported / "onnx" / name).read_bytes()
        assert str(Path(onnx_export.__file__).parents[2]).encode() not in content


def run_example(folder: Path, texts: list[str], *options: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(folder / "onnx_example.py"), *texts, *options]
    # JSON is UTF-8, whatever the terminal is.
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", cwd=folder.parent, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_example_agrees(folder: Path, texts: list[str]) -> None:
    answers = run_example(folder, texts, "--file", "model.onnx")
    _, outputs = torch_outputs(folder, texts)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    thresholds = config.get("thresholds") or [0.5] * len(LABELS)
    assert [answer["text"] for answer in answers] == texts
    for answer, row in zip(answers, outputs.logits.sigmoid().tolist(), strict=True):
        wanted = {LABELS[index]: score for index, score in enumerate(row) if score >= thresholds[index]}
        scores = {emotion["label"]: emotion["score"] for emotion in answer["emotions"]}
        assert scores == pytest.approx(wanted, abs=1e-4)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert 0 < sum(len(answer["emotions"]) for answer in answers) < len(texts) * len(LABELS)


@pytest.mark.slow
def test_example_runs_without_torch_on_a_stack(exported: Path, corpus: list[str]) -> None:
    assert_example_agrees(exported, [*corpus[:5], "", "@ann sooooo gooood http://a.b", corpus[-3], "word " * 200])
    # The int8 file is what it takes by itself.
    assert len(run_example(exported, ["hello"])) == 1


@pytest.mark.slow
def test_graph_reads_its_weights_from_the_file_beside_it(exported: Path, tmp_path: Path, corpus: list[str]) -> None:
    standalone = exported / "onnx" / "model.onnx"
    # A copy, so that nothing but what lies beside the graph can be read.
    weights = Path(shutil.copy(exported / "model.safetensors", tmp_path))
    graph = graph_of_weights(standalone, weights)
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    places = [{entry.key: entry.value for entry in weight.external_data} for weight in graph.graph.initializer]
    referred = [place for place in places if place]
    assert {place["location"] for place in referred} == {"model.safetensors"}
    # All but those of the Bi-LSTM, whose gates stand in another order, and what is smaller than a reference.
    saved = standalone.stat().st_size - (tmp_path / "model.onnx").stat().st_size
    assert saved > 0.9 * sum(int(place["length"]) for place in referred) > 400_000
    assert {node.op_type for node in graph.graph.node} >= {"Cast", "Transpose"}
    inputs, _ = torch_outputs(exported, corpus[:5])
    whole, shared = (onnxruntime.InferenceSession(path) for path in (standalone, tmp_path / "model.onnx"))
    for one, other in zip(whole.run(None, inputs), shared.run(None, inputs), strict=True):
        # Two units in the last place of fp32 at the largest logit.
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    # Other weights in the file are other weights of the graph.
    weights.write_bytes(bytes(weights.stat().st_size))
    changed = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(["logits"], inputs)[0]
    assert np.abs(changed - whole.run(["logits"], inputs)[0]).max() > 1e-3


def test_export_into_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = fails(export_command.main, capsys, tmp_path / "nowhere")
    assert error == f"error: {tmp_path / 'nowhere'} is no folder; give that of a trained model."
    assert fails(export_command.main, capsys, tmp_path).startswith(f"error: {tmp_path} cannot be exported: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_benchmark_runs_all_four_on_the_same_texts(
    exported: Path, corpus: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": text, "labels": [LABELS[index % 4]]} for index, text in enumerate(corpus[:10])]
    texts = write_rows(tmp_path / "texts.jsonl", rows)
    arguments = ["onnx", str(exported), "--texts", str(texts), "--num_texts", "8", "--batch_size", "3"]
    results = benchmark.main([*arguments, "--rounds", "2", "--json", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == results
    assert len(results) == 4 * 4
    assert results["torch_fp32_speedup"] == 1.0
    assert results["onnx_fp32_max_logit_distance"] < 1e-4 < results["onnx_int8_max_logit_distance"]
    assert results["onnx_fp32_macro_f1"] == results["torch_fp32_macro_f1"]
    assert "8 texts in batches of 3 on the CPU" in capsys.readouterr().out


@pytest.mark.slow
def test_stock_classifier_and_its_example(tmp_path: Path, encoder_folders: dict[str, Path], corpus: list[str]) -> None:
    save_stock(tmp_path, encoder_folders["bert_wp"])
    export_onnx(tmp_path, tmp_path)
    assert_parity(tmp_path, corpus)
    assert_example_agrees(tmp_path, [*corpus[:5], "", "word " * 200])


@pytest.mark.slow
def test_other_logits_are_refused_and_nothing_is_left(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(exported, source)
    target.mkdir()
    model = AutoModelForSequenceClassification.from_pretrained(source)
    with torch.no_grad():
        model.classifier.bias[0] += 0.01
    model.save_pretrained(source)
    old = exported / "onnx" / "model.onnx"
    monkeypatch.setattr(onnx_export, "_write_fp32", lambda model, batch, path: shutil.copyfile(old, path))
    # The calibration halves the difference.
    with pytest.raises(ValueError, match=r"is not the model: logits differ by 0\.005, more than 0\.0001"):
        export_onnx(source, target)
    assert list(target.iterdir()) == []


def test_what_cannot_be_exported(tmp_path: Path, encoder_folders: dict[str, Path], monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match="bert_wp is no multi-label classifier"):
        export_onnx(encoder_folders["bert_wp"], tmp_path)
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ImportError, match=r"need onnxscript: pip install 'stacked-emotion\[onnx\]'"):
        export_onnx(encoder_folders["bert_wp"], tmp_path)
    assert list(tmp_path.iterdir()) == []
