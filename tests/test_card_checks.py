# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.validation.card_checks: a card that is missing, unfilled or not accepted is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from staged_samples import DATASET_CARD, DEMO_CARD, MODEL_CARD

from hub.validation.card_checks import card_problems

CARDS = {"model": MODEL_CARD, "dataset": DATASET_CARD, "demo": DEMO_CARD, "metric": DEMO_CARD}


def problems(folder: Path, card: str, kind: str = "model") -> list[str]:
    (folder / "README.md").write_text(card)
    (folder / "config.json").write_text("{}")
    return card_problems(folder, kind)


@pytest.mark.parametrize(("kind", "card"), CARDS.items())
def test_good_cards_pass(tmp_path: Path, kind: str, card: str) -> None:
    assert problems(tmp_path, card, kind) == []


def test_missing_card_is_named(tmp_path: Path) -> None:
    assert card_problems(tmp_path, "model") == ["README.md: is missing"]


@pytest.mark.parametrize(
    "field", ["$name", "${num_labels}", "PATH_OR_ID", "TODO", "FIXME", "{{ model_id }}", "More Information Needed"]
)
def test_unfilled_fields_are_named(tmp_path: Path, field: str) -> None:
    line = MODEL_CARD.count("\n") + 1
    assert problems(tmp_path, f"{MODEL_CARD}A model of {field}.\n") == [
        f"README.md:{line}: has an unfilled field, {field}"
    ]
    (tmp_path / ".eval_results").mkdir()
    (tmp_path / ".eval_results" / "x.yaml").write_text(f'\nname: "{field}"\n')
    assert problems(tmp_path, MODEL_CARD) == [f".eval_results/x.yaml:2: has an unfilled field, {field}"]


def test_money_mathematics_and_variables_are_no_fields(tmp_path: Path) -> None:
    text = "It costs $5, $x_i$ and $$n_{ij}$$ are formulas, $HF_TOKEN is a variable, {x} a set.\n"
    assert problems(tmp_path, MODEL_CARD + text) == []


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("# emotions\n", "it does not start with a block of YAML between lines of three dashes"),
        ("---\n- a\n- b\n---\n", "repo card metadata block should be a dict"),
        ("---\nlicense: [mit\n---\n", "while parsing a flow sequence"),
        (
            MODEL_CARD.replace("    metrics:\n    - type: f1\n      value: 0.5\n", ""),
            "Invalid `model_index` in metadata",
        ),
        (MODEL_CARD.replace("      name: Emotions\n", ""), "Invalid `model_index` in metadata"),
    ],
)
def test_metadata_that_the_hub_does_not_accept_is_named(tmp_path: Path, card: str, message: str) -> None:
    (found,) = problems(tmp_path, card)
    assert found.startswith(f"README.md: huggingface_hub refuses its metadata: {message}")
    assert "\n" not in found
