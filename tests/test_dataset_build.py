# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.build: from candidates to files that load, the same for any order of rows, all or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced_samples import ANGER, GRIEF, human, make_table, sample_candidates
from conftest import contents

from hub.dataset import build
from hub.dataset.arguments import BalancedDatasetArguments
from hub.dataset.balancing import Selection
from hub.dataset.build import augmented_rows, selected_rows, write_balanced_dataset

FILES = ["README.md", "label_counts.png", "report.json", "test.parquet"]
FILES += ["train.parquet", "train_augmented.parquet", "validation.parquet"]
ROWS = [{"text": f"test {i}", "labels": [ANGER], "split": "test"} for i in range(4)]
EVALUATION = {"validation": make_table([ROWS[0] | {"split": "validation"}]), "test": make_table(ROWS)}


def select_and_write(folder: Path, candidates: pa.Table | None = None, **settings: Any) -> dict[str, Any]:
    arguments = BalancedDatasetArguments(output_dir=str(folder), target=10, **settings)
    numbers: dict[str, Any] = {
        "original": np.arange(28),
        "cleaning": {"goemotions": {"read": 40, "kept": 40}},
        "yields": {},
    }
    table = sample_candidates() if candidates is None else candidates
    return write_balanced_dataset(table, EVALUATION, arguments, **numbers)


@pytest.fixture
def without_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the rows are of interest; a figure takes a second."""
    monkeypatch.setattr(build, "figure_png", lambda figure: b"figure")


def test_files_hold_the_rows_of_the_report(tmp_path: Path) -> None:
    report = select_and_write(tmp_path / "Even")
    assert sorted(contents(tmp_path / "Even")) == FILES
    assert json.loads((tmp_path / "Even" / "report.json").read_text()) == report
    train = pq.read_table(tmp_path / "Even" / "train.parquet")
    assert train.num_rows == sum(report["rows"]["train"].values())
    counts = np.bincount(np.concatenate(train["labels"].to_pylist()), minlength=28)
    assert counts.tolist() == list(report["counts"]["train_total"].values())
    augmented = pq.read_table(tmp_path / "Even" / "train_augmented.parquet", columns=["text"])["text"].to_pylist()
    added = [row["text"] for row in train.to_pylist() if row["source"] != "goemotions"]
    assert added
    assert augmented == [f"human {i}" for i in range(40)] + added
    assert pq.read_table(tmp_path / "Even" / "test.parquet")["text"].to_pylist() == [row["text"] for row in ROWS]
    assert (tmp_path / "Even" / "README.md").read_text().count("# Even") == 1
    assert report["settings"] == {"target": 10, "tolerance": 0.5, "max_copies": 1, "seed": 42}


@pytest.mark.usefixtures("without_figure")
def test_order_of_the_candidates_changes_no_row(tmp_path: Path) -> None:
    candidates = sample_candidates()
    first = select_and_write(tmp_path / "a" / "set")
    shuffled = candidates.take(np.random.default_rng(0).permutation(candidates.num_rows))
    assert select_and_write(tmp_path / "b" / "set", shuffled) == first
    one, other = contents(tmp_path / "a" / "set"), contents(tmp_path / "b" / "set")
    # All of the first source stays in the order it came in.
    assert {name for name, data in one.items() if data != other[name]} == {"train_augmented.parquet"}
    seeded = select_and_write(tmp_path / "c" / "set", seed=1)
    assert seeded["counts"] == first["counts"]
    assert contents(tmp_path / "c" / "set")["train.parquet"] != one["train.parquet"]


@pytest.mark.usefixtures("without_figure")
def test_built_again_all_is_as_it_was_but_an_edited_card_stays(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    report = select_and_write(folder)
    before = contents(folder)
    for name in FILES:
        (folder / name).unlink()
        assert select_and_write(folder) == report
        assert contents(folder) == before
        (folder / name).write_bytes(b"edited")
        assert select_and_write(folder) == report
        assert contents(folder) == (before | {name: b"edited"} if name == "README.md" else before)
        (folder / name).write_bytes(before[name])
    # Beside another report it would be wrong.
    (folder / "README.md").write_bytes(b"edited")
    select_and_write(folder, seed=1)
    assert contents(folder)["README.md"] == before["README.md"]


def test_training_text_in_the_test_split_is_refused(tmp_path: Path) -> None:
    leak = pa.concat_tables([sample_candidates(), make_table([human(0, [GRIEF]) | {"text": "TEST  3"}])])
    with pytest.raises(ValueError, match=r"train shares 1 texts with validation or test, such as 'TEST 3'"):
        select_and_write(tmp_path, leak)
    assert not list(tmp_path.iterdir())


def make_selection(indices: list[int], copies: list[int]) -> Selection:
    counts = np.zeros(28, dtype=np.int64)
    return Selection(np.array(indices), np.array(copies), counts, counts, 1, 1, (), {})


def test_rows_are_taken_in_the_order_of_the_selection() -> None:
    indices = [65, 3, 41, 0, 40]
    table = selected_rows(sample_candidates(), make_selection(indices, [1] * 5))
    assert table.equals(sample_candidates().take(indices))


def test_copies_are_marked() -> None:
    table = selected_rows(sample_candidates(), make_selection([41, 2, 50], [3, 1, 2]))
    assert table["text"].to_pylist() == ["written 1"] * 3 + ["human 2"] + ["tweet 4"] * 2
    assert table["copy"].to_pylist() == [0, 1, 2, 0, 0, 1]


def test_first_source_is_augmented_without_copies() -> None:
    selected = selected_rows(sample_candidates(), make_selection([41, 2, 50], [3, 1, 2]))
    expected = [*(f"human {i}" for i in range(40)), "written 1", "tweet 4"]
    assert augmented_rows(sample_candidates(), selected)["text"].to_pylist() == expected
