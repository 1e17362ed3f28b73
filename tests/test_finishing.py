# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.finishing: from candidates to files, the same for any order of the input, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from candidate_samples import ANGER, candidate_files, make_table

from hub.dataset import finishing
from hub.dataset.arguments import BalancedDatasetArguments
from hub.dataset.finishing import write_balanced_dataset

FILES = [
    "README.md",
    "finished.json",
    "label_counts.png",
    "report.json",
    "test.parquet",
    "train.parquet",
    "train_augmented.parquet",
    "validation.parquet",
]
ROWS = [{"text": f"test {i}", "labels": [ANGER], "split": "test"} for i in range(4)]
EVALUATION = {"validation": make_table([ROWS[0] | {"split": "validation"}]), "test": make_table(ROWS)}


def finish(folder: Path, files: list[Path], **arguments: Any) -> dict[str, Any]:
    return write_balanced_dataset(folder, files, EVALUATION, name="Even", target=10, **arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_files_hold_what_the_report_says(tmp_path: Path) -> None:
    report = finish(tmp_path / "out", candidate_files(tmp_path))
    assert sorted(contents(tmp_path / "out")) == FILES
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    train = pq.read_table(tmp_path / "out" / "train.parquet")
    assert train.num_rows == sum(report["rows"]["train"].values())
    counts = np.bincount(np.concatenate(train["labels"].to_pylist()), minlength=28)
    assert counts.tolist() == list(report["counts"]["train_total"].values())
    augmented = pq.read_table(tmp_path / "out" / "train_augmented.parquet", columns=["text", "source"]).to_pylist()
    candidates = pa.concat_tables([pq.read_table(file) for file in candidate_files(tmp_path)]).to_pylist()
    human = [row["text"] for row in candidates if row["source"] == "goemotions"]
    added = [row["text"] for row in train.to_pylist() if row["source"] != "goemotions"]
    assert added
    assert [row["text"] for row in augmented] == human + added
    assert pq.read_table(tmp_path / "out" / "test.parquet")["text"].to_pylist() == [row["text"] for row in ROWS]
    assert (tmp_path / "out" / "README.md").read_text().count("# Even") == 1
    assert report["settings"] == {"target": 10, "tolerance": 0.5, "max_copies": 1, "seed": 42}


def test_order_of_the_candidates_changes_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = candidate_files(tmp_path)
    first = finish(tmp_path / "a", files)
    everything = pa.concat_tables([pq.read_table(file) for file in files])
    shuffled = everything.take(np.random.default_rng(0).permutation(everything.num_rows))
    pq.write_table(shuffled, tmp_path / "all.parquet")
    second = finish(tmp_path / "b", [tmp_path / "all.parquet"])
    assert first == second
    changed = {name for name, data in contents(tmp_path / "a").items() if data != contents(tmp_path / "b")[name]}
    # All of the first source stays in the order it came in.
    assert changed == {"finished.json", "train_augmented.parquet"}
    # Only the rows are of interest here; a figure takes a second.
    monkeypatch.setattr(finishing, "figure_bytes", lambda figure: b"")
    other = finish(tmp_path / "c", files, seed=1)
    assert other["counts"] == first["counts"]
    assert contents(tmp_path / "c")["train.parquet"] != contents(tmp_path / "a")["train.parquet"]


def test_finished_data_set_is_not_selected_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = candidate_files(tmp_path)
    report = finish(tmp_path / "out", files)

    def selecting(*args: Any, **kwargs: Any) -> Any:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(finishing, "read_pool", selecting)
        assert finish(tmp_path / "out", files) == report
        changes = (
            {"seed": 3},
            {"tolerance": 0.1},
            {"cleaning": {"written": {"read": 9}}},
            {"original": np.arange(28)},
        )
        for change in changes:
            with pytest.raises(InterruptedError):
                finish(tmp_path / "out", files, **change)


def test_files_that_are_gone_or_edited_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finishing, "figure_bytes", lambda figure: b"figure")
    files, out = candidate_files(tmp_path), tmp_path / "out"
    report = finish(out, files)
    before = contents(out)
    for name in FILES:
        (out / name).unlink()
        assert finish(out, files) == report
        assert contents(out) == before
        (out / name).write_bytes(before[name][:-9])
        assert finish(out, files) == report
        assert contents(out) == (before | {name: before[name][:-9]} if name == "README.md" else before)


@pytest.mark.parametrize(("name", "value", "least"), [("target", 0, 1), ("max_copies", 0, 1), ("tolerance", -0.5, 0)])
def test_bad_settings_are_named_before_anything_is_read(name: str, value: float, least: int) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be at least {least}, got {value}"):
        BalancedDatasetArguments(output_dir="x", **{name: value})  # type: ignore[arg-type]
