# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.sources: several data sets with labels of their own become one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emotion_samples import write, write_jsonl

from trainer_ext.data.sources import load_sources
from trainer_ext.errors import InputError

UNKNOWN = np.nan


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    written = {
        "english": write(tmp_path, "english.csv", "text,anger,fear,joy\nwe won,0,0,1\nwho is there,0,1,0\n"),
        "german": write(tmp_path, "german.csv", "text,anger,disgust,joy\nhurra,0,0,1\nwie ekelhaft,0,1,0\n"),
        "names": write_jsonl(tmp_path, "names.jsonl", text=["so glad"], labels=[["happiness", "pride"]]),
        "swahili": write(tmp_path, "swahili.csv", "text,anger,joy,hope\nnimefurahi,0,1,0\n"),
    }
    return {name: str(path) for name, path in written.items()}


def test_labels_are_the_union_and_unknown_where_a_source_lacks_them(files: dict[str, str]) -> None:
    data = load_sources(
        {
            "en": {"train_file": files["english"], "test_file": files["english"]},
            "de": {"train_file": files["german"]},
            "names": {"train_file": files["names"], "label_map": {"happiness": "joy", "pride": None}},
        }
    )
    assert data.label_names == ["anger", "fear", "joy", "disgust"]
    train = data.splits["train"]
    assert train["source"][:] == ["en", "en", "de", "de", "names"]
    assert train["text"][:] == ["we won", "who is there", "hurra", "wie ekelhaft", "so glad"]
    expected = [
        [0, 0, 1, UNKNOWN],
        [0, 1, 0, UNKNOWN],
        [0, UNKNOWN, 1, 0],
        [0, UNKNOWN, 0, 1],
        [UNKNOWN, UNKNOWN, 1, UNKNOWN],
    ]
    np.testing.assert_array_equal(np.array(train["labels"][:]), expected)
    assert data.splits["test"]["source"][:] == ["en", "en"]
    assert "validation" not in data.splits


def test_source_without_training_data_is_evaluated_on(files: dict[str, str]) -> None:
    sources = {
        "sw": {"test_file": files["swahili"], "label_map": {"hope": None}},
        "en": {"train_file": files["english"], "test_file": files["english"]},
    }
    with pytest.warns(UserWarning, match="swahili.csv: knows 'anger', 'joy' only"):
        data = load_sources(sources, evaluated_only=["sw"])
    assert data.label_names == ["anger", "fear", "joy"]
    assert data.splits["train"]["source"][:] == ["en", "en"]
    assert data.splits["test"]["source"][:] == ["sw", "en", "en"]
    np.testing.assert_array_equal(data.splits["test"]["labels"][0], [0, UNKNOWN, 1])


def test_errors_name_the_source(files: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"source sw: there is nothing to evaluate on; give it a test_file"):
        load_sources({"en": {"train_file": files["english"]}, "sw": {}}, evaluated_only=["sw"])
    with pytest.raises(InputError, match=r"source en: .*no such file"):
        load_sources({"en": {"train_file": "gone.csv"}})
    with pytest.raises(InputError, match=r"None of the `sources` is trained on"):
        load_sources({"en": {"test_file": files["english"]}}, evaluated_only=["en"])
