# SPDX-License-Identifier: Apache-2.0
"""Parquet files that are complete or absent, and know what they were made from: stages stop and go on anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_KEY, _COUNTS = b"stage_key", b"stage_counts"


def digest(*parts: Any) -> str:
    """SHA-256 of what JSON can hold, the key of a shard made from it."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Stage:
    """
    The output of a stage: the shards `shard_00000.parquet`, ... of a folder.

    A shard stands under its name only when it is complete, and holds a key of all that it was made from. One with
    another key counts as absent and is written anew. `finished.json` says that all are there, until one is
    written.

    Args:
        folder (`Path`): Made when the first shard is written.
        schema (`pa.Schema`): Columns of the shards.
    """

    folder: Path
    schema: pa.Schema

    def path(self, index: int) -> Path:
        """Where shard `index` is or is to be."""
        return self.folder / f"shard_{index:05d}.parquet"

    def has(self, index: int, key: str) -> bool:
        """Whether the shard is complete and was made from what `key` stands for."""
        return self.path(index).is_file() and self._metadata(index)[_KEY] == key.encode()

    def write(self, index: int, key: str, table: pa.Table, counts: Mapping[str, Any] | None = None) -> None:
        """
        Write a shard: all of it or nothing.

        Args:
            index (`int`): Its number, from 0.
            key (`str`): See [`digest`].
            table (`pa.Table`): The rows.
            counts (`Mapping[str, Any]`, *optional*): What JSON can hold, kept for the report.

        Raises:
            OSError: The disk is full or the folder cannot be written.
        """
        # Before the shard: a kill between the two leaves no note that is wrong.
        self._note.unlink(missing_ok=True)
        metadata = {_KEY: key.encode(), _COUNTS: json.dumps(counts or {}).encode()}
        write_parquet(self.path(index), table.cast(self.schema).replace_schema_metadata(metadata))

    def read(self, index: int) -> pa.Table:
        """The rows of a shard."""
        return pq.read_table(self.path(index), partitioning=None).replace_schema_metadata()

    def key(self, index: int) -> str:
        """The key of a shard."""
        return self._metadata(index)[_KEY].decode()

    def counts(self, index: int) -> dict[str, Any]:
        """What was written with a shard."""
        return dict(json.loads(self._metadata(index)[_COUNTS]))

    def finish(self, num_shards: int, key: str) -> None:
        """Note that the stage is done, and remove shards of an earlier, longer run."""
        for number, path in enumerate(sorted(self.folder.glob("shard_*.parquet"))):
            if number >= num_shards:
                path.unlink()
        write_text(self._note, json.dumps({"key": key, "num_shards": num_shards}) + "\n")

    def num_shards(self, key: str | None = None) -> int | None:
        """The number of shards, or `None` if the stage is not finished or was not made from what `key` stands for."""
        noted = json.loads(self._note.read_text(encoding="utf-8")) if self._note.is_file() else {}
        return noted.get("num_shards") if key in (None, noted.get("key")) else None

    @property
    def _note(self) -> Path:
        return self.folder / "finished.json"

    def _metadata(self, index: int) -> dict[bytes, bytes]:
        return dict(pq.read_schema(self.path(index)).metadata)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file under a temporary name and rename it; a failure leaves nothing."""
    partial = _partial(path)
    try:
        pq.write_table(table, partial, compression="zstd")
        partial.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Likewise a text file in UTF-8."""
    partial = _partial(path)
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.partial")


def _cannot_write(path: Path, error: OSError) -> OSError:
    return OSError(
        f"{path} cannot be written ({str(error).strip()}): free some space or set `output_dir` to another disk, then "
        "run again; what is complete is kept."
    )
