# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.model: a folder that is written whole or not at all, and a card whose numbers are the results'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hub.model.card import render_card
from hub.model.folder import write_model_folder
from modeling_stacked_emotion import StackedEmotionConfig, StackedEmotionForSequenceClassification
from modeling_stacked_emotion import StackedEmotionTokenizer as Tokenizer

if TYPE_CHECKING:
    from trained_model import Trained

pytest_plugins = ["trained_model"]

RESULTS = {
    **{
        "test_macro_f1": 0.51234,
        "test_macro_f1_at_0.5": 0.25,
        "test_hamming_loss": 0.0625,
        "validation_macro_f1": 0.9,
    },
    **{"test_f1/joy": 0.75, "test_precision/joy": 0.625, "test_recall/joy": 0.9375, "test_support/joy": 16.0},
    **{"test_f1/anger": 0.0, "test_support/anger": 40.0},
}
SETTINGS = {"num_train_epochs": 3.0, "learning_rate": 5e-05, "seed": 1000000}


def card(results: dict[str, float], encoders: dict[str, str], **fields: Any) -> tuple[dict[str, Any], str]:
    """The card's metadata and its text."""
    config = StackedEmotionConfig(id2label={0: "joy", 1: "anger"}, **fields)
    text = render_card("mine", config, results, encoders, "train.csv", SETTINGS, {"torch": "2.13.0"})
    _, metadata, body = text.split("---\n", 2)
    return yaml.safe_load(metadata), body


def table(body: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


def test_card_shows_the_test_results() -> None:
    _, body = card(RESULTS, {"a": "google-bert/bert-base-uncased"}, thresholds=[0.3125, 0.125])
    rows = table(body)
    assert rows["macro_f1"] == ["0.512", "0.250"]
    assert rows["hamming_loss"] == ["0.062", "–"]
    assert rows["joy"] == ["16", "0.312", "0.625", "0.938", "0.750"]
    assert rows["anger"][:2] == ["40", "0.125"]
    assert [rows[f"`{key}`"] for key in SETTINGS] == [["3"], ["5e-05"], ["1000000"]]
    assert list(rows).index("anger") < list(rows).index("joy")
    assert "Split: test;" in body
    assert "Labels (2): `joy`, `anger`." in body
    assert "torch 2.13.0" in body


def test_card_falls_back_to_validation_and_to_one_half() -> None:
    _, body = card({"validation_macro_f1": 0.9}, {"a": "google-bert/bert-base-uncased"})
    assert "Split: validation;" in body
    assert table(body)["macro_f1"] == ["0.900", "–"]
    assert table(body)["joy"][1] == "0.500"


def test_card_tells_the_calibration_error() -> None:
    errors = {"test_macro_calibration_error": 0.0125, "test_macro_calibration_error_uncalibrated": 0.25}
    encoders = {"a": "google-bert/bert-base-uncased"}
    _, body = card(RESULTS | errors, encoders, calibration_scale=[1.0, 2.0], calibration_bias=[0.0, 0.5])
    assert "Expected calibration error, mean over the labels: 0.013, before calibration 0.250." in body
    _, body = card(RESULTS | errors, encoders)
    assert "The probabilities are not calibrated; expected calibration error, mean over the labels: 0.013." in body


def test_card_names_hub_encoders_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "secret" / "my-bert").mkdir(parents=True)
    encoders = {"a": "google-bert/bert-base-uncased", "b": str(tmp_path / "secret" / "my-bert"), "c": "from scratch"}
    metadata, body = card(RESULTS, encoders)
    assert metadata["base_model"] == ["google-bert/bert-base-uncased"]
    assert "- `a`: google-bert/bert-base-uncased" in body
    assert "- `b`: `my-bert` (not on the Hub)" in body
    assert "secret" not in body
    assert "$" not in body


def test_card_metadata_without_hub_encoders() -> None:
    metadata, _ = card(RESULTS, {"a": "from scratch"})
    assert "base_model" not in metadata
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "text-classification"


def test_card_of_a_training_has_its_numbers(trained: Trained) -> None:
    text = (trained.folder / "README.md").read_text(encoding="utf-8")
    rows = table(text)
    thresholds = json.loads((trained.folder / "config.json").read_text(encoding="utf-8"))["thresholds"]
    for key in ("macro_f1", "samples_jaccard", "macro_roc_auc"):
        assert rows[key][0] == f"{trained.results[f'test_{key}']:.3f}"
    assert rows["fear"][:2] == [f"{trained.results['test_support/fear']:.0f}", f"{thresholds[1]:.3f}"]
    assert rows["`num_train_epochs`"] == ["2"]
    assert str(trained.data) not in text


class Breaking:
    """A tokenizer whose disk is full."""

    def save_pretrained(self, folder: Path) -> None:
        (folder / "tokenizer_config.json").write_text("half")
        raise OSError("No space left on device")


def test_folder_loads_and_what_else_was_there_stays(
    tmp_path: Path, model: StackedEmotionForSequenceClassification, tokenizer: Tokenizer
) -> None:
    target = tmp_path / "deep" / "repository"
    (target / "bert_wp_tokenizer").mkdir(parents=True)
    (target / "bert_wp_tokenizer" / "old.json").write_text("old")
    (target / "README.md").write_text("old")
    (target / "notes.txt").write_text("mine")
    assert write_model_folder(target, model, tokenizer, {"README.md": "nouveau é", "a.png": b"\x89\r\n"}) == target
    assert (target / "a.png").read_bytes() == b"\x89\r\n"
    assert (target / "README.md").read_text(encoding="utf-8") == "nouveau é"
    assert (target / "notes.txt").read_text() == "mine"
    assert not (target / "bert_wp_tokenizer" / "old.json").exists()
    loaded = StackedEmotionForSequenceClassification.from_pretrained(target)
    assert (loaded.classifier.weight == model.classifier.weight).all()
    assert Tokenizer.from_pretrained(target)("hm")["roberta_bb_input_ids"] == tokenizer("hm")["roberta_bb_input_ids"]
    assert [path.name for path in target.parent.iterdir()] == ["repository"]


def test_failure_leaves_the_folder_as_it_was(tmp_path: Path, model: StackedEmotionForSequenceClassification) -> None:
    target = tmp_path / "repository"
    target.mkdir()
    (target / "config.json").write_text("old")
    with pytest.raises(OSError, match="No space left on device"):
        write_model_folder(target, model, Breaking(), {"README.md": "new"})
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("config.json", "old")]
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
