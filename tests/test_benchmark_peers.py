# SPDX-License-Identifier: Apache-2.0
"""Tests of `scripts.benchmark peers`: every part runs on tiny encoders, and its ratios are those of its times."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CORPUS, fails
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from scripts import benchmark
from scripts.benchmarks import peers
from scripts.benchmarks.peers import answers, figures, peak, scaling, start, training
from scripts.benchmarks.peers.work import Work, _precisions, prepare_work, report
from scripts.benchmarks.timing import Turns
from trainer_ext.evaluation.prediction import predict_probabilities
from trainer_ext.loading import load_model

TEXTS = CORPUS[:3]


@pytest.fixture(scope="module")
def work(encoder_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("peers")
    rows = [json.dumps({"text": text, "labels": [label]}) for text, label in zip(TEXTS, "abc", strict=True)]
    (folder / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    encoders = [f"{name}={path}" for name, path in encoder_folders.items()]
    arguments = ["peers", "--data", str(folder / "texts.jsonl"), "--encoders", *encoders, "--device", "cpu"]
    options = benchmark.make_parser().parse_args([*arguments, "--batch_size", "2", "--rounds", "1"])
    made = prepare_work(options, folder)
    assert list(made.trained) == ["stacked-emotion-mini"]
    # One that is quick to load.
    return replace(made, trained={"trained": made.head})


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The tasks, each prepared and run here, after a journey through JSON."""
    seen: list[dict[str, Any]] = []

    def run(prepare: Callable[[dict[str, Any]], Callable[[], Any]]) -> Callable[..., list[Any]]:
        def in_children(module: str, tasks: list[dict[str, Any]]) -> list[Any]:
            assert module.startswith("scripts.benchmarks.peers.")
            seen.extend(tasks)
            return [prepare(json.loads(json.dumps(task)))() for task in tasks]

        return in_children

    for module in (training, scaling):
        monkeypatch.setattr(module, "in_children", run(module.prepare))
    return seen


def test_work_has_one_encoder_and_one_number_of_labels_on_all_sides(work: Work) -> None:
    linear, head, stack = (work.load(folder)[0] for folder in (work.linear, work.head, work.stack))
    stock = work.load(work.stock)[0]
    assert {model.config.num_labels for model in (linear, head, stack, stock)} == {3}
    for model in (linear, head):
        (encoder,) = model.base_model.encoders.values()
        for name, weight in encoder.state_dict().items():
            assert torch.equal(weight, stock.base_model.state_dict()[name])
    # Nothing but the classifier on the states.
    others = {name for name, _ in linear.named_parameters() if ".encoders." not in name}
    assert others == {"classifier.weight", "classifier.bias"}
    assert len(stack.base_model.encoders) == len(work.stocks) == 3
    assert work.precisions[0] == "fp32" or work.precisions == [work.best]


def test_report_compares_with_the_first_side(capsys: pytest.CaptureFixture[str]) -> None:
    turns = Turns([[2.0, 1.0], [6.0, 2.0], [4.0, 4.0]])
    results = report("part", "A title", ["a", "b"], turns, 8, peak_mb=[10.0, 2000.0])
    assert results == {
        **{"part/a/texts_per_second": 2.0, "part/a/speedup": 1.0, "part/a/speedup_low": 1.0},
        **{"part/a/speedup_high": 1.0, "part/a/peak_mb": 10.0},
        **{"part/b/texts_per_second": 4.0, "part/b/speedup": 2.0, "part/b/speedup_low": 1.0},
        **{"part/b/speedup_high": 3.0, "part/b/peak_mb": 2000.0},
    }
    title, _, head, line, _, last, _ = capsys.readouterr().out.split("\n")[:7]
    assert title == "### A title"
    assert head == "|  | texts/s | times as fast as a | peak, MB |"
    assert line == "| --- | --- | --- | --- |"
    assert last == "| b | 4 | 2.00 (1.00 to 3.00) | 2,000 |"


def test_answers_of_all_ways(work: Work, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(answers, "find_spec", lambda name: None)
    results = answers.measure(work)
    sides = [name.split("/")[1] for name in results if name.startswith("answers/") and name.endswith("/speedup")]
    assert sides[:3] == ["pipeline, batches of 32", "pipeline", "sorted loop, fp32"]
    assert {"ours, linear layer, fp32", "ours, whole head, fp32", f"trained, {work.best}"} < set(sides)
    assert results["answers/pipeline, batches of 32/speedup"] == 1.0
    for part in ("tokenising, stack", "forward, stack", "tokenising, one encoder", "forward, one encoder"):
        assert results[f"{part}/{part.split(', ')[1]}/speedup"] > 0
    printed = capsys.readouterr().out
    assert "onnxruntime, int8: left out, `pip install onnxruntime onnx onnxscript` brings it." in printed
    assert "sentence-transformers: left out, `pip install sentence-transformers` brings it." in printed
    assert "model2vec: left out, name its folder with --model2vec." in printed


def test_loop_gives_the_answers_of_the_pipeline_and_of_ours(work: Work) -> None:
    model, tokenizer = work.load(work.stock)
    texts = [*CORPUS[:20], "so " * 40]
    found = answers.sorted_loop(model, tokenizer, texts, 4, "fp32")
    piped = answers.stock_pipeline(work)(texts, truncation=True)
    expected = [{entry["label"]: entry["score"] for entry in entries} for entries in piped]
    names = model.config.id2label
    np.testing.assert_allclose(found, [[row[names[label]] for label in range(3)] for row in expected], atol=1e-5)
    np.testing.assert_allclose(found, predict_probabilities(model, tokenizer, texts, precision="fp32"), atol=1e-5)


@pytest.mark.slow
def test_integer_graph_and_installed_libraries(work: Work, tmp_path: Path) -> None:
    model, tokenizer = work.load(work.stock)
    sides = answers._library_sides(work, model, tokenizer, TEXTS, tmp_path)
    assert "onnxruntime, int8" in sides
    for run in sides.values():
        run()


@pytest.mark.slow
def test_training_sides_train_the_same_texts(work: Work, in_this_process: list[dict[str, Any]]) -> None:
    results = training.measure(work)
    sides = list(training._sides(work))
    assert [task["side"] for task in in_this_process] == sides
    assert sides[0] == "Trainer, fp32"
    assert any(side.startswith("ours, 3 encoders") for side in sides)
    assert results["training/Trainer, fp32/speedup"] == 1.0
    for side in sides:
        ratio = results[f"training/{side}/texts_per_second"] / results["training/Trainer, fp32/texts_per_second"]
        assert results[f"training/{side}/speedup"] == pytest.approx(ratio)
        assert results[f"training/{side}/peak_mb"] > 0


def test_loop_by_hand_trains_all_weights(work: Work) -> None:
    model, tokenizer = work.load(work.stock)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    training._loop_training(work, model, tokenizer, {}, work.encoded(tokenizer))()
    assert [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])] == []


def test_start_compares_fresh_processes(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(start, "first_answer", asked.append)
    monkeypatch.setattr(start.subprocess, "run", lambda command, **_: asked.append(command[3]))
    results = start.measure(work)
    assert asked == [work.stock, work.head, work.head]
    assert results["start/scripts.predict, trained/seconds"] > 0


def test_scaling_has_the_numbers_of_two_figures(
    work: Work, in_this_process: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "_LENGTHS", (2, 5))
    results = scaling.measure(work, 10) | scaling.processes(work, (1, 2))
    assert {name.split("/")[2] for name in results if name.startswith("words/")} == {"2", "5"}
    assert [task["count"] for task in in_this_process] == [1, 1, 10, 10, 3, 3, 3]
    assert results["texts/pipeline/10/peak_mb"] > 0
    assert results["processes/2/texts_per_second"] > 0
    for draw, panels in ((figures.draw_lengths, 1), (figures.draw_numbers, 2)):
        image = Image.open(BytesIO(draw(results)))
        assert image.width > 500 * panels


def test_lines_of_a_figure_are_the_numbers() -> None:
    results = {"texts/a/1/seconds": 0.5, "texts/a/10/seconds": 2.0, "texts/a/1/peak_mb": 3.0, "words/a/1/seconds": 9.0}
    assert figures._lines(results, "texts", "seconds") == {"a": {1: 0.5, 10: 2.0}}


def test_peak_has_shares(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "_CPU_SIDE", 64)
    results = peak.measure(work)
    for precision in work.precisions:
        assert results[f"peak/{precision}/peak_gflops"] > 0
        assert results[f"peak/{precision}/encoder_share"] > 0


def test_operations_are_those_that_torch_counts(encoder_folders: dict[str, Path]) -> None:
    from transformers import AutoModel

    for folder in (encoder_folders["bert_wp"], encoder_folders["electra_uni"]):
        encoder = load_model(str(folder), AutoModel, attn_implementation="eager", may_lack=lambda *_: True)
        encoder.pooler = None
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            encoder(input_ids=torch.ones(2, 7, dtype=torch.int64))
        assert peak.forward_flops(encoder, [7, 7]) == counter.get_total_flops()


def test_mistakes_are_one_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, part in (
        (["--only", "answers,speed"], "--only takes some of answers, training, start, scaling, peak, got 'speed'."),
        (["--only", "peak", "--figures", str(tmp_path)], "--figures draws the part scaling"),
        (
            ["--only", "peak", "--model2vec", "nothing"],
            "--model2vec takes the folder of a static model, got 'nothing'",
        ),
        (["--max_texts", "0"], "`--max_texts` must be an integer of at least 1, got 0."),
    ):
        assert part in fails(benchmark.main, capfd, "peers", *arguments)
    assert peers.PARTS[0] == "answers"


@pytest.mark.gpu
def test_parts_run_on_a_gpu(work: Work) -> None:
    on_gpu = replace(work, device="cuda", precisions=_precisions(torch.device("cuda")))
    results = answers.measure(on_gpu)
    assert results[f"answers/sorted loop, {on_gpu.best}, torch.compile/texts_per_second"] > 0
    assert results["answers/ours, whole head, fp16/texts_per_second"] > 0
    assert scaling.processes(on_gpu, (2,))["processes/2/texts_per_second"] > 0
    assert training.prepare(on_gpu.task(side="Trainer, fp32"))()["peak_mb"] > 0


@pytest.mark.slow
def test_command_writes_numbers_and_tables(
    encoder_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = encoder_folders["bert_wp"]
    small = ["--num_texts", "2", "--rounds", "1", "--max_texts", "1", "--device", "cpu"]
    files = ["--json", str(tmp_path / "out.json"), "--figures", str(tmp_path / "figures")]
    encoders = ["--encoders", f"bert_wp={folder}", "--only", "scaling,peak"]
    results = benchmark.main(["peers", *small, *files, *encoders])
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == results
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["lengths.png", "numbers.png"]
    assert "| texts | ours, whole head, s |" in capsys.readouterr().out
