# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.model.staging and hub.model.widget: a repository is complete, has no more, and runs elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from conftest import LABELS, contents
from huggingface_hub import ModelCard, parse_eval_result_entries
from model_samples import RESULTS, run_as_stranger, save_classifier, save_stock_classifier, snippets
from required_packages import MODEL, lacking_packages
from transformers import AutoTokenizer

from hub.languages import known_languages
from hub.model.probes import PROBE_RESULTS
from hub.model.staging import stage_model
from hub.model.widget import TEXTS, widget_examples
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.evaluation.prediction import predict_probabilities

if TYPE_CHECKING:
    from trained_model import Trained

pytest_plugins = ["trained_model"]

CODE = {path.name for path in (Path(__file__).parent.parent / "modeling_stacked_emotion").glob("*_stacked_emotion.py")}
REPOSITORY = {
    *("README.md", "LICENSE", "config.json", "model.safetensors", "tokenizer_config.json", "eval_results.json"),
    *("training_summary.json", "label_statistics.json", "reliability.png", "label_correlation.png"),
    *("handler.py", "requirements.txt"),
}
TRAINED = (
    REPOSITORY
    | CODE
    | {
        f"{name}_tokenizer/{file}"
        for name in ("bytes", "words")
        for file in ("tokenizer.json", "tokenizer_config.json")
    }
)
LEFT_BEHIND = (
    *("train.log", "test_predictions.npy", "training_args.bin", "pytorch_model.bin", "trainer_state.json"),
    *("checkpoint-3/optimizer.pt", "adapter/adapter_model.safetensors", "runs/events.out", ".cache/x", "notes.ipynb"),
    *("words_tokenizer/old.bin", "other_stacked_emotion.py", "own.env"),
)


def stage(source: Path, folder: Path, **options: Any) -> Path:
    folder.mkdir(parents=True)
    stage_model(source, folder, **({"repo_id": "user/emotions"} | options))
    return folder


@pytest.fixture(scope="module")
def source(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained folder among what trainings and people leave in it."""
    folder = Path(shutil.copytree(trained.folder, tmp_path_factory.mktemp("source") / "trained"))
    for name in LEFT_BEHIND:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"left behind")
    return folder


@pytest.fixture(scope="module")
def staged(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(source, tmp_path_factory.mktemp("staged") / "folder", revision="v1.0.0")


@pytest.fixture(scope="module")
def stock_source(encoder_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    return save_stock_classifier(tmp_path_factory.mktemp("stock") / "student", tokenizer)


def test_a_repository_has_exactly_its_files(staged: Path, source: Path) -> None:
    found = contents(staged)
    assert set(found) == TRAINED
    for name in ("config.json", "model.safetensors", "eval_results.json", "training_summary.json", *CODE):
        assert found[name] == (source / name).read_bytes(), name
    assert lacking_packages(staged, MODEL) == set()
    links = re.findall(r"\]\((?!https?:|#)([^)\s]+)", found["README.md"].decode())
    assert "reliability.png" in links
    assert set(links) <= set(found)


def test_results_of_probes_go_along_and_into_the_card(source: Path, tmp_path: Path) -> None:
    with_probes = Path(shutil.copytree(source, tmp_path / "source"))
    results = {"negation/English/num_texts": 20, "negation/English/num_left_out": 0, "negation/English/found": 0.25}
    (with_probes / PROBE_RESULTS).write_text(json.dumps(results), encoding="utf-8")
    found = contents(stage(with_probes, tmp_path / "folder"))
    assert set(found) == {*TRAINED, PROBE_RESULTS}
    assert "| negation | English | 20 | 0 | 0.250 | – |" in found["README.md"].decode()
    # A figure that lies beside the model, as in a copy of its repository, goes along as well.
    again = stage(tmp_path / "folder", tmp_path / "again")
    assert contents(again) == found


def test_older_code_in_the_folder_is_not_published(source: Path, staged: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(source, tmp_path / "source"))
    (older / "text_stacked_emotion.py").unlink()
    (older / "pipeline_stacked_emotion.py").write_text("raise ImportError", encoding="utf-8")
    assert contents(stage(older, tmp_path / "folder", revision="v1.0.0")) == contents(staged)


def test_the_bytes_are_the_same_every_time(staged: Path, source: Path, tmp_path: Path) -> None:
    assert contents(stage(source, tmp_path / "again", revision="v1.0.0")) == contents(staged)


def test_weights_are_readable_by_all(staged: Path, source: Path) -> None:
    (source / "model.safetensors").chmod(0o600)
    assert (staged / "model.safetensors").stat().st_mode == (staged / "README.md").stat().st_mode


@pytest.mark.slow
def test_a_stranger_runs_the_snippets_of_the_card(staged: Path, tmp_path: Path) -> None:
    code = snippets((staged / "README.md").read_text(encoding="utf-8"))
    assert code.count("from transformers import") == 3
    lines = run_as_stranger(code, staged, "user/emotions", "v1.0.0", tmp_path).splitlines()
    assert len(lines) == 3
    emotions, (scores,) = (eval(line) for line in lines[:2])
    predicted = eval(lines[2].removeprefix(TEXTS["en"][0]))
    (first, *_) = ModelCard.load(staged / "README.md").data["widget"]
    assert [entry["label"] for entry in scores] == [entry["label"] for entry in first["output"]]
    assert [entry["score"] for entry in scores] == pytest.approx([o["score"] for o in first["output"]], abs=1e-3)
    assert {entry["label"] for entry in emotions} == set(predicted)
    assert all("words" in entry for entry in emotions)


def test_the_widget_shows_what_the_model_says(staged: Path, source: Path) -> None:
    model = StackedEmotionForSequenceClassification.from_pretrained(source)
    tokenizer = StackedEmotionTokenizer.from_pretrained(source)
    texts = TEXTS["en"]
    probabilities = predict_probabilities(model, tokenizer, texts, precision="fp32")
    examples = widget_examples(staged, ["en"])
    assert [example["text"] for example in examples] == list(texts)
    for example, row in zip(examples, probabilities, strict=True):
        scores = {model.config.id2label[index]: float(score) for index, score in enumerate(row)}
        assert {entry["label"]: entry["score"] for entry in example["output"]} == pytest.approx(scores, abs=6e-4)
        shown = [entry["score"] for entry in example["output"]]
        assert shown == sorted(shown, reverse=True)
        assert all(score == round(score, 3) for score in shown)
        over = {
            label
            for (label, score), limit in zip(scores.items(), model.config.thresholds, strict=True)
            if score >= limit
        }
        assert {entry["label"] for entry in example["emotions"]} == over
    assert [len(example["output"]) for example in widget_examples(staged, ["en"], top_k=2)] == [2] * 5


def test_widget_texts_are_those_of_the_languages(staged: Path) -> None:
    assert [example["text"] for example in widget_examples(staged, ["ar"])] == list(TEXTS["ar"])
    both = [example["text"] for example in widget_examples(staged, ["en", "fr", "ar"])]
    assert both == [*TEXTS["en"][:3], *TEXTS["ar"][:3]]
    assert widget_examples(staged, ["fr"]) == []


def test_dialects_and_regions_have_the_texts_of_their_language() -> None:
    assert known_languages(["arq", "ary", "en-GB", "fr"], TEXTS) == ["ar", "en"]
    assert known_languages(["eng", "ara"], TEXTS) == ["en", "ar"]
    assert known_languages([], TEXTS) == []


def test_publisher_names_what_training_did_not_know(source: Path, tmp_path: Path) -> None:
    minilm = "sentence-transformers/all-MiniLM-L6-v2"
    folder = stage(
        source, tmp_path / "folder", encoders={"words": minilm}, dataset="user/tweets:plain", language=["ar"]
    )
    data = ModelCard.load(folder / "README.md").data
    assert data.base_model == [minilm]
    assert data.datasets == ["user/tweets"]
    assert data.language == ["ar"]
    assert data["widget"][0]["text"] == TEXTS["ar"][0]
    summary = json.loads((folder / "training_summary.json").read_text(encoding="utf-8"))
    assert summary["encoders"] == {"words": minilm, "bytes": "from scratch"}
    assert (summary["dataset"], summary["dataset_config"]) == ("user/tweets", "plain")
    text = (folder / ".eval_results" / "tweets.yaml").read_text(encoding="utf-8")
    assert f"value: {json.loads((folder / 'eval_results.json').read_text())['test_macro_f1']:.4f}"[:12] in text
    assert "pinned" not in text


def test_languages_are_those_of_the_training_texts_if_they_are_known(source: Path, tmp_path: Path) -> None:
    folder = stage(source, tmp_path / "folder", encoders={"bytes": "asafaya/bert-base-arabic"})
    data = ModelCard.load(folder / "README.md").data
    assert data.language == ["en"]
    assert [entry["text"] for entry in data["widget"]] == list(TEXTS["en"])


def test_languages_are_those_of_the_encoders(source: Path, tmp_path: Path) -> None:
    encoders = {"words": "google-bert/bert-base-uncased", "bytes": "asafaya/bert-base-arabic"}
    source = Path(shutil.copytree(source, tmp_path / "source"))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (source / "config.json").write_text(json.dumps(config | {"languages": None}), encoding="utf-8")
    folder = stage(source, tmp_path / "folder", encoders=encoders)
    data = ModelCard.load(folder / "README.md").data
    assert data.language == ["en", "ar"]
    assert len(data["widget"]) == 6


def test_the_last_correlation_figure_is_shown(source: Path, tmp_path: Path) -> None:
    reports = source / "reports"
    for step in (9, 1000):
        (reports / f"label_correlation_{step}.png").write_bytes(f"step {step}".encode())
    folder = stage(source, tmp_path / "folder")
    assert (folder / "label_correlation.png").read_bytes() == b"step 1000"
    assert "(label_correlation.png)" in (folder / "README.md").read_text(encoding="utf-8")
    # Of a model trained in stages those of the whole stack, not of an encoder alone.
    for path in reports.glob("*.png"):
        path.unlink()
    for last, expected in (("encoder_bytes", []), ("head", [b"head"]), ("polish", [b"polish"])):
        (reports / last).mkdir()
        (reports / last / "label_correlation_20.png").write_bytes(last.encode())
        folder = stage(source, tmp_path / f"after_{last}")
        assert [path.read_bytes() for path in folder.glob("label_correlation.png")] == expected


def test_weights_in_several_files(
    tmp_path: Path, model: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer
) -> None:
    folder = save_classifier(tmp_path / "source", model, tokenizer)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    shards = {path.name for path in folder.glob("model-*.safetensors")}
    assert len(shards) > 1
    with pytest.warns(UserWarning, match="not recorded"):
        staged = stage(folder, tmp_path / "folder")
    assert {path.name for path in staged.glob("model*.safetensors*")} == {*shards, "model.safetensors.index.json"}
    (folder / sorted(shards)[0]).unlink()
    with pytest.warns(UserWarning, match="not recorded"), pytest.raises(FileNotFoundError, match="has no model-00001"):
        stage(folder, tmp_path / "other")


@pytest.mark.slow
def test_a_stock_model_is_staged_without_code(stock_source: Path, tmp_path: Path) -> None:
    encoders = {"encoder": "google-bert/bert-base-uncased"}
    folder = stage(stock_source, tmp_path / "folder", revision="main", encoders=encoders)
    assert set(contents(folder)) == {
        *("README.md", "LICENSE", "config.json", "model.safetensors", "eval_results.json", "training_summary.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == ["google-bert/bert-base-uncased"]
    assert "trust_remote_code" not in card.text
    code = snippets(card.content)
    (tmp_path / "home").mkdir()
    (emotions,) = (
        eval(line) for line in run_as_stranger(code, folder, "user/emotions", "main", tmp_path / "home").splitlines()
    )
    scores = widget_examples(folder, ["en"])[0]["output"]
    limits = dict(zip(LABELS.values(), [0.1, 0.2, 0.9, 0.4], strict=True))
    expected = [entry["label"] for entry in scores if entry["score"] >= limits[entry["label"]]]
    assert [entry["label"] for entry in emotions] == expected
    assert 0 < len(expected) < 4


def test_onnx_is_an_option(stock_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    stub = types.ModuleType("hub.model.onnx_export")
    stub.export_onnx = lambda source, target: calls.append((source, target))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hub.model.onnx_export", stub)
    encoders = {"encoder": "from scratch"}
    folder = stage(stock_source, tmp_path / "folder", onnx=True, encoders=encoders)
    assert calls == [(stock_source, folder)]
    assert "### ONNX" in (folder / "README.md").read_text(encoding="utf-8")
    assert "ONNX" not in (stage(stock_source, tmp_path / "b", encoders=encoders) / "README.md").read_text("utf-8")


def test_another_licence_brings_no_apache_text(stock_source: Path, tmp_path: Path) -> None:
    folder = stage(stock_source, tmp_path / "folder", license="mit", encoders={"encoder": "roberta-base"})
    assert not (folder / "LICENSE").exists()
    assert ModelCard.load(folder / "README.md").data.license == "mit"


def test_results_on_the_hub_are_readable(stock_source: Path, tmp_path: Path) -> None:
    import yaml

    folder = stage(stock_source, tmp_path / "folder", dataset="user/tweets", encoders={"encoder": "from scratch"})
    (entry,) = parse_eval_result_entries(
        yaml.safe_load((folder / ".eval_results" / "tweets.yaml").read_text(encoding="utf-8"))
    )
    assert (entry.dataset_id, entry.task_id) == ("user/tweets", "default")
    assert entry.value == round(RESULTS["test_macro_f1"], 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoders": {"bert": "a/b"}}, "`encoders` may name encoder; got bert"),
        ({"encoders": {"encoder": "facebook/fasttext-en-vectors"}}, "`license` must be 'cc-by-sa-3.0'"),
        ({"encoders": {"encoder": "from scratch"}, "license": "other"}, "`license` must be an identifier of the Hub"),
    ],
)
def test_wrong_arguments_are_refused(
    stock_source: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        stage(stock_source, tmp_path / "folder", **options)


@pytest.mark.parametrize("name", ["config.json", "eval_results.json", "tokenizer_config.json", "model.safetensors"])
def test_a_missing_file_is_named(stock_source: Path, tmp_path: Path, name: str) -> None:
    source = Path(shutil.copytree(stock_source, tmp_path / "source"))
    (source / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {name}"):
        stage(source, tmp_path / "folder", encoders={"encoder": "from scratch"})


def test_a_missing_tokenizer_of_an_encoder_is_named(source: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(source, tmp_path / "source"))
    (broken / "words_tokenizer" / "tokenizer_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no words_tokenizer/tokenizer_config\.json"):
        stage(broken, tmp_path / "folder")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"problem_type": None}, "`problem_type` must be 'multi_label_classification', got None"),
        ({"id2label": {str(i): f"LABEL_{i}" for i in range(4)}, "label2id": {}}, "`id2label` must name the labels"),
        ({"model_type": "unheard_of"}, "is not the folder of a trained model: "),
        ({"model_type": "x", "auto_map": {"AutoConfig": "own.Config"}}, "is not the folder of a trained model: "),
    ],
)
def test_a_wrong_configuration_is_refused(
    stock_source: Path, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    source = Path(shutil.copytree(stock_source, tmp_path / "source"))
    config = json.loads((source / "config.json").read_text(encoding="utf-8")) | fields
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        stage(source, tmp_path / "folder")
