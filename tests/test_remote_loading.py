# SPDX-License-Identifier: Apache-2.0
"""A saved folder, copied elsewhere, works in a process that cannot import the project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_samples import CODE_FILES, TEXTS, run_isolated

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer

# Run in a process of its own; writes one JSON object, whose entries the tests below judge.
STRANGER = r"""
import json, sys
from pathlib import Path

folder, again, texts = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
# Even where the project is installed, this process is not to find it.
sys.modules["modeling_stacked_emotion"] = sys.modules["trainer_ext"] = None
found = {}
for name in ("modeling_stacked_emotion", "trainer_ext"):
    try:
        __import__(name)
        found[name] = "imported"
    except ImportError:
        found[name] = "not importable"

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

torch.set_num_threads(1)


def refusal(call, **options):
    try:
        call(folder, **options)
    except ValueError as error:
        return str(error)
    return "loaded"


def classify(tokenizer, model, texts):
    with torch.no_grad():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()


def scores(results):
    return [{entry["label"]: entry["score"] for entry in result} for result in results]


autos = (AutoConfig, AutoTokenizer, AutoModel, AutoModelForSequenceClassification)
found["refused"] = [refusal(auto.from_pretrained, trust_remote_code=False) for auto in autos]
# Nobody can answer the question on a closed standard input.
found["unasked"] = refusal(AutoModelForSequenceClassification.from_pretrained)

trust = {"trust_remote_code": True}
config, tokenizer, base, model = (auto.from_pretrained(folder, **trust) for auto in autos)
found["classes"] = [type(thing).__name__ for thing in (config, tokenizer, base, model)]
found["modules"] = [type(thing).__module__.split(".")[0] for thing in (config, tokenizer, base, model)]
found["labels"] = config.labels
found["thresholds"] = config.thresholds
np.save(again / "logits.npy", classify(tokenizer, model, texts))
np.save(again / "single.npy", np.concatenate([classify(tokenizer, model, [text]) for text in texts]))
with torch.no_grad():
    pooled = base(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
np.save(again / "pooled.npy", pooled.numpy())

stock = pipeline("text-classification", model=str(folder), top_k=None, **trust)
found["stock"] = scores(stock(texts))
found["stock_batched"] = scores(stock(texts, batch_size=2))
custom = pipeline(model=str(folder), **trust)
found["task"], found["pipeline"] = custom.task, type(custom).__name__
found["custom"] = custom(texts)
found["custom_named"] = pipeline("emotion-classification", model=str(folder), **trust)(texts, batch_size=2)

model.save_pretrained(again / "model")
tokenizer.save_pretrained(again / "model")
found["files"] = sorted(path.name for path in (again / "model").iterdir())
second = AutoModelForSequenceClassification.from_pretrained(again / "model", **trust)
np.save(again / "again.npy", classify(AutoTokenizer.from_pretrained(again / "model", **trust), second, texts))
found["custom_again"] = pipeline(model=str(again / "model"), **trust)(texts)
(again / "found.json").write_text(json.dumps(found))
"""


class Stranger:
    """What the other process said, and the arrays it left."""

    def __init__(
        self, found: dict[str, Any], said: str, folder: Path, output: Path, tokenizer: StackedEmotionTokenizer
    ) -> None:
        self.found = found
        self.said = said
        self.folder = folder
        self.output = output
        self.tokenizer = tokenizer

    def array(self, name: str) -> np.ndarray:
        array: np.ndarray = np.load(self.output / f"{name}.npy")
        return array


@pytest.fixture(scope="module", params=["transformers", pytest.param("static words", marks=pytest.mark.slow)])
def stranger(
    request: pytest.FixtureRequest,
    encoder_folders: dict[str, Path],
    static_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Stranger:
    root = tmp_path_factory.mktemp("elsewhere")
    torch.manual_seed(0)
    is_static = request.param == "static words"
    encoders = {"static": static_folder} if is_static else encoder_folders
    tokenizer = StackedEmotionTokenizer.from_encoders(encoders)
    model = StackedEmotionForSequenceClassification.from_encoders(
        encoders,
        id2label={0: "anger", 1: "joy", 2: "sadness", 3: "fear"},
        thresholds=[0.04, 0.05, 0.3, 0.0],
        mixer="convolutions" if is_static else "meta_learner",
    )
    model.config.calibration_scale, model.config.calibration_bias = [0.9, 1.0, 1.1, 1.2], [0.0, 0.2, 0.0, 0.3]
    model.save_pretrained(root / "saved")
    tokenizer.save_pretrained(root / "saved")
    folder = Path(shutil.copytree(root / "saved", root / "copies" / "my-model.v1"))
    shutil.rmtree(root / "saved")
    output, work = root / "output", root / "work"
    output.mkdir()
    work.mkdir()
    caches = {"HF_HOME": str(root / "hf"), "HF_MODULES_CACHE": str(root / "modules")}
    done = run_isolated(STRANGER, str(folder), str(output), json.dumps(TEXTS), cwd=work, **caches)
    found = json.loads((output / "found.json").read_text())
    return Stranger(found, done.stdout + done.stderr, folder, output, tokenizer)


@pytest.fixture(scope="module")
def at_home(stranger: Stranger) -> StackedEmotionForSequenceClassification:
    """The same folder, loaded with the project's own classes."""
    model = StackedEmotionForSequenceClassification.from_pretrained(stranger.folder)
    assert isinstance(model, StackedEmotionForSequenceClassification)
    return model


def home_logits(model: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer) -> np.ndarray:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        logits: np.ndarray = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.numpy()
    torch.set_num_threads(num_threads)
    return logits


def test_the_process_cannot_import_the_project(stranger: Stranger) -> None:
    assert stranger.found["modeling_stacked_emotion"] == stranger.found["trainer_ext"] == "not importable"
    assert stranger.found["modules"] == ["transformers_modules"] * 4


def test_auto_classes_give_the_right_classes(stranger: Stranger) -> None:
    assert stranger.found["classes"] == [
        "StackedEmotionConfig",
        "StackedEmotionTokenizer",
        "StackedEmotionModel",
        "StackedEmotionForSequenceClassification",
    ]
    assert stranger.found["labels"] == ["anger", "joy", "sadness", "fear"]
    assert stranger.found["thresholds"] == [0.04, 0.05, 0.3, 0.0]


def test_nothing_loads_without_trust(stranger: Stranger) -> None:
    assert len(stranger.found["refused"]) == 4
    for message in [*stranger.found["refused"], stranger.found["unasked"]]:
        assert "trust_remote_code=True" in message


def test_logits_are_bit_equal(stranger: Stranger, at_home: StackedEmotionForSequenceClassification) -> None:
    logits = stranger.array("logits")
    assert logits.shape == (5, 4)
    assert np.array_equal(logits, home_logits(at_home, stranger.tokenizer))
    np.testing.assert_allclose(stranger.array("single"), logits, rtol=0, atol=1e-5)


def test_base_model_gives_the_same_text_states(
    stranger: Stranger, at_home: StackedEmotionForSequenceClassification
) -> None:
    with torch.no_grad():
        pooled = at_home(**stranger.tokenizer(TEXTS, padding=True, return_tensors="pt")).pooler_output
    np.testing.assert_allclose(stranger.array("pooled"), pooled.numpy(), rtol=0, atol=1e-6)


def test_stock_pipeline_gives_the_sigmoid_of_the_logits(stranger: Stranger) -> None:
    expected = 1 / (1 + np.exp(-stranger.array("logits")))
    for results in (stranger.found["stock"], stranger.found["stock_batched"]):
        scores = [[result[label] for label in stranger.found["labels"]] for result in results]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


def test_custom_pipeline_gives_the_labels_over_their_thresholds(stranger: Stranger) -> None:
    assert stranger.found["task"] == "emotion-classification"
    assert stranger.found["pipeline"] == "StackedEmotionPipeline"
    probabilities = 1 / (1 + np.exp(-stranger.array("logits")))
    assert len(stranger.found["custom"]) == 5
    for text, row, result in zip(TEXTS, probabilities, stranger.found["custom"], strict=True):
        expected = {
            label: pytest.approx(score, abs=1e-5)
            for label, score, threshold in zip(
                stranger.found["labels"], row.tolist(), stranger.found["thresholds"], strict=True
            )
            if score >= threshold
        }
        assert {entry["label"]: entry["score"] for entry in result["emotions"]} == expected
        assert "fear" in expected
        assert "sadness" not in expected
        assert all(text[word["start"] : word["end"]] == word["word"] for word in result["attention"])
        assert len(result["attention"]) == (3 if text else 0)


def test_custom_pipeline_by_its_task_and_batched_gives_the_same(stranger: Stranger) -> None:
    for single, batched in zip(stranger.found["custom"], stranger.found["custom_named"], strict=True):
        scores = [{entry["label"]: entry["score"] for entry in result["emotions"]} for result in (single, batched)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_saved_again_by_the_stranger_it_still_works(stranger: Stranger) -> None:
    assert set(stranger.found["files"]) >= CODE_FILES
    np.testing.assert_allclose(stranger.array("again"), stranger.array("logits"), rtol=0, atol=1e-6)
    assert [result["text"] for result in stranger.found["custom_again"]] == TEXTS
    auto_map = json.loads((stranger.output / "model" / "config.json").read_text(encoding="utf-8"))["auto_map"]
    assert auto_map["AutoModel"] == "modeling_stacked_emotion.StackedEmotionModel"


def test_saved_folder_holds_the_code_and_no_path_of_this_machine(
    stranger: Stranger, encoder_folders: dict[str, Path]
) -> None:
    assert {path.name for path in stranger.folder.glob("*.py")} == CODE_FILES
    root = str(next(iter(encoder_folders.values())).parent)
    texts = [path.read_text(encoding="utf-8") for path in stranger.folder.rglob("*.json")]
    assert len(texts) > 2
    assert not [text for text in texts if root in text]


@pytest.mark.parametrize("word", ["UNEXPECTED", "MISSING", "newly initialized", "deprecated", "Warning", "Traceback"])
def test_the_process_was_not_warned(stranger: Stranger, word: str) -> None:
    assert word.lower() not in stranger.said.lower(), stranger.said
