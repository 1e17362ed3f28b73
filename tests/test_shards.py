# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.shards: complete or absent, recognised by their key, equal bytes."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pyarrow as pa
import pytest

from hub.dataset.shards import Stage, digest, write_text

SCHEMA = pa.schema([pa.field("text", pa.string(), nullable=False)])


def table(*texts: str) -> pa.Table:
    return pa.table({"text": list(texts)})


def test_shard_is_there_for_its_own_key_only(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage", SCHEMA)
    assert not stage.has(0, "a")
    stage.write(0, "a", table("x", "ü"), {"read": 3})
    assert stage.has(0, "a")
    assert not stage.has(0, "b")
    assert not stage.has(1, "a")
    assert stage.key(0) == "a"
    assert stage.counts(0) == {"read": 3}
    assert stage.read(0) == pa.table({"text": ["x", "ü"]}, schema=SCHEMA)
    assert stage.read(0).schema.metadata is None
    assert [path.name for path in stage.folder.iterdir()] == ["shard_00000.parquet"]


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    stage = Stage(tmp_path, SCHEMA)
    stage.write(0, "k", table("a", "b"))
    stage.write(1, "k", pa.concat_tables([table("a"), table("b")]).combine_chunks())
    assert stage.path(0).read_bytes() == stage.path(1).read_bytes()


def test_finished_stage_forgets_shards_of_a_longer_run(tmp_path: Path) -> None:
    stage = Stage(tmp_path, SCHEMA)
    for index in range(3):
        stage.write(index, "k", table("a"))
    assert stage.num_shards() is None
    stage.finish(2, "stage")
    assert (stage.num_shards(), stage.num_shards("stage"), stage.num_shards("other")) == (2, 2, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "finished.json",
        "shard_00000.parquet",
        "shard_00001.parquet",
    ]


def test_stage_is_not_finished_once_a_shard_is_written_anew(tmp_path: Path) -> None:
    stage = Stage(tmp_path, SCHEMA)
    stage.write(0, "k", table("a"))
    stage.finish(1, "stage")
    stage.write(0, "other", table("b"))
    assert stage.num_shards("stage") is None


def test_digest_depends_on_every_part() -> None:
    keys = {digest(1, "a"), digest(1, "b"), digest("1", "a"), digest(1, ["a"]), digest({"x": 1, "y": 2})}
    assert len(keys) == 5
    assert digest({"y": 2, "x": 1}) in keys


@pytest.fixture
def full_disk() -> object:
    """Files of more than 4 kB cannot be written, with the error that a full disk gives but for its number."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("full_disk")
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, SCHEMA)
    stage.write(0, "k", table("small"))
    many = table(*(digest(index) for index in range(1000)))
    with pytest.raises(
        OSError, match=r"shard_00001\.parquet cannot be written .*free some space .* run again"
    ) as full:
        stage.write(1, "k", many)
    assert "\n" not in str(full.value)
    # Nor is what stood there before.
    with pytest.raises(OSError, match="cannot be written"):
        stage.write(0, "other", many)
    with pytest.raises(OSError, match="cannot be written"):
        write_text(tmp_path / "report.json", "x" * 10_000)
    assert stage.has(0, "k")
    assert [path.name for path in tmp_path.iterdir()] == ["shard_00000.parquet"]
