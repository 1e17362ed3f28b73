# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.folder: the rows that were selected, as files that load_dataset reads, all or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from candidate_samples import GRIEF, NEUTRAL, REVISION, candidate_files, make_table

from hub.dataset.balancing import Selection
from hub.dataset.folder import augmented_rows, dataset_rows, selected_rows, write_dataset_folder
from hub.dataset.schema import LABEL_NAMES
from trainer_ext.data.loading import load_emotion_data


def make_selection(indices: list[int], copies: list[int]) -> Selection:
    counts = np.zeros(28, dtype=np.int64)
    return Selection(np.array(indices), np.array(copies), counts, counts, 1, 1, (), {})


def test_rows_are_taken_from_their_files_in_the_order_of_the_selection(tmp_path: Path) -> None:
    files = candidate_files(tmp_path)
    everything = pa.concat_tables([pq.read_table(file) for file in files])
    indices = [65, 3, 41, 0, 40]
    table = selected_rows(files, make_selection(indices, [1] * 5))
    assert table.to_pylist() == everything.take(indices).to_pylist()
    assert "copy" not in table.column_names


def test_copies_are_marked(tmp_path: Path) -> None:
    table = selected_rows(candidate_files(tmp_path), make_selection([41, 2, 50], [3, 1, 2]))
    assert table["text"].to_pylist() == ["written 1"] * 3 + ["human 2"] + ["tweet 4"] * 2
    assert table["copy"].to_pylist() == [0, 1, 2, 0, 0, 1]
    assert dataset_rows(table, LABEL_NAMES)["copy"].to_pylist() == [0, 1, 2, 0, 0, 1]


def test_first_source_is_augmented_without_copies(tmp_path: Path) -> None:
    files = candidate_files(tmp_path)
    selected = selected_rows(files, make_selection([41, 2, 50], [3, 1, 2]))
    assert augmented_rows(files, selected)["text"].to_pylist() == [
        *(f"human {i}" for i in range(40)),
        "written 1",
        "tweet 4",
    ]


def write(folder: Path, files: list[Path], report: str = "{}") -> None:
    rows = dataset_rows(selected_rows(files, make_selection([45, 0, 65], [1, 1, 1])), LABEL_NAMES)
    evaluation = dataset_rows(make_table([{"text": "x", "labels": [1], "split": "test"}]), LABEL_NAMES)
    splits = {"train": rows, "validation": evaluation, "test": evaluation}
    write_dataset_folder(folder, splits, {"report.json": report, "README.md": "# x", "a.png": b"\x89"})


def test_folder_loads_with_class_labels(tmp_path: Path) -> None:
    write(tmp_path / "out", candidate_files(tmp_path))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    train = loaded["train"]
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 3, "validation": 1, "test": 1}
    columns = "text labels source teacher teacher_revision teacher_scores human_votes prompt_id split"
    assert train.column_names == columns.split()
    assert train.features["labels"].feature.names == list(LABEL_NAMES)
    assert train["labels"][:] == [[GRIEF], [NEUTRAL], [GRIEF]]
    assert train["teacher_revision"][:] == [None, None, REVISION]
    assert train["teacher_scores"][2] == pytest.approx([0.95] * 28, abs=1e-3)


def test_trainer_reads_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "out", candidate_files(tmp_path))
    data = load_emotion_data(
        train_file=tmp_path / "out" / "train.parquet", test_file=tmp_path / "out" / "test.parquet"
    )
    assert data.label_names == list(LABEL_NAMES)
    assert data.splits["train"]["text"][:] == ["written 5", "human 0", "tweet 19"]
    assert np.flatnonzero(data.splits["train"]["labels"][0]).tolist() == [GRIEF]


def test_same_rows_give_the_same_bytes_and_leave_other_files(tmp_path: Path) -> None:
    files, out = candidate_files(tmp_path), tmp_path / "out"
    write(out, files)
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "work").mkdir()
    # What a kill leaves.
    (out / ".partial_x").mkdir()
    write(out, files)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == first
    assert sorted(first) == [
        "README.md",
        "a.png",
        "report.json",
        "test.parquet",
        "train.parquet",
        "validation.parquet",
    ]
    assert (out / "work").is_dir()


def test_nothing_changes_when_a_file_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, out = candidate_files(tmp_path), tmp_path / "out"
    write(out, files)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "report.json":
            raise OSError(28, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"out cannot be written \(\[Errno 28\] No space left on device\): free some"):
        write(out, files, report='{"new": 1}')
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_report_is_moved_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between two moves leaves no report beside files that it does not describe."""
    files, out = candidate_files(tmp_path), tmp_path / "out"
    write(out, files)
    replace = Path.replace
    moved: list[str] = []

    def killed(self: Path, target: Any) -> Path:
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(out, files)
    assert not (out / "report.json").exists()
    monkeypatch.undo()
    write(out, files)
    assert (out / "report.json").read_text() == "{}"
