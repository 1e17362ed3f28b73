# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.pool: candidates from files, with hashes of their texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from candidate_samples import make_table

from hub.dataset.pool import read_pool


def write(path: Path, rows: list[tuple[str, list[int], str, float]]) -> Path:
    names = ("text", "labels", "source", "confidence")
    pq.write_table(make_table([dict(zip(names, row, strict=True)) for row in rows]), path)
    return path


def test_pool_is_read_from_files(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", [("x", [0, 27], "written", 1.0), ("y", [], "goemotions", 1.0)])
    second = write(tmp_path / "b.parquet", [("😢", [3], "sentiment140", 0.25)])
    pool = read_pool([first, second], 28, seed=1)
    assert [np.flatnonzero(row).tolist() for row in pool.labels] == [[0, 27], [], [3]]
    assert [pool.source_names[index] for index in pool.sources] == ["written", "goemotions", "sentiment140"]
    assert pool.confidence.tolist() == [1.0, 1.0, 0.25]
    assert len(set(pool.keys.tolist())) == 3
    swapped = read_pool([second, first], 28, seed=1)
    assert swapped.keys.tolist() == [pool.keys[2], pool.keys[0], pool.keys[1]]
    assert not set(read_pool([first, second], 28, seed=2).keys.tolist()) & set(pool.keys.tolist())


def test_bad_candidates_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [("x", [9], "written", 1.0)])
    with pytest.raises(ValueError, match=r"a.parquet: expected the sources \['goemotions'\], got 'written'"):
        read_pool([path], 28, seed=0, priorities=["goemotions"])
    with pytest.raises(ValueError, match=r"a.parquet: expected label ids below 9, got 9"):
        read_pool([path], 9, seed=0)
    with pytest.raises(ValueError, match="Expected candidates to select from, got none"):
        read_pool([], 28, seed=0)
