# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.candidates: rows of any source, and files that are complete or absent."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from balanced_samples import GRIEF, JOY, make_table, sample_candidates

from hub.dataset.candidates import (
    CANDIDATE_SCHEMA,
    candidate_rows,
    label_matrix,
    read_candidates,
    write_candidates,
)


def test_rows_of_people_are_sure_and_have_no_teacher() -> None:
    labels = np.zeros((2, 28))
    labels[0, [JOY, GRIEF]] = labels[1, JOY] = 1
    table = candidate_rows(["a", "ü"], labels, "written", "test")
    rows = [{"text": "a", "labels": sorted([JOY, GRIEF])}, {"text": "ü", "labels": [JOY]}]
    assert table.equals(make_table([row | {"source": "written", "split": "test"} for row in rows]))
    assert np.array_equal(label_matrix(table), labels.astype(bool))
    assert candidate_rows([], np.zeros((0, 28)), "written").num_rows == 0


def test_written_candidates_are_read_as_generated(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.parquet"
    write_candidates(path, sample_candidates())
    table = read_candidates(path)
    assert set(table["source"].to_pylist()) == {"generated"}
    assert table.schema == CANDIDATE_SCHEMA
    assert table.drop_columns("source").equals(sample_candidates().drop_columns("source"))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.parquet"]


def test_labels_that_do_not_exist_are_named(tmp_path: Path) -> None:
    pq.write_table(make_table([{"text": "x", "labels": [28]}]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: expected label ids below 28, got 28\. Label the rows again"):
        read_candidates(tmp_path / "a.parquet")


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files of more than 4 kB cannot be written, with the error that a full disk gives but for its number."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("full_disk")
def test_full_disk_is_one_line_and_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("of before")
    texts = [{"text": str(np.random.default_rng(row).random(20)), "labels": [1]} for row in range(50)]
    with pytest.raises(OSError, match=r"a\.parquet cannot be written .*free some space .* run again") as full:
        write_candidates(path, make_table(texts))
    assert "\n" not in str(full.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.parquet"]
    assert path.read_text() == "of before"
