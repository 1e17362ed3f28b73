# SPDX-License-Identifier: Apache-2.0
"""From raw rows to rows worth a label: cleaned, none twice, none from validation or test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer_ext.errors import InputError

from .cleaning import clean_tweets
from .deduplication import EvaluationTexts, SeenTexts, exact_hashes
from .schema import CANDIDATE_SCHEMA, SOURCES
from .sentiment140 import TweetSource, rebatch
from .shards import Stage, digest

# To be raised whenever cleaning or comparing changes what is kept.
_VERSION = 1


def human_rows(texts: Sequence[str], labels: npt.NDArray[np.bool_], source: str, split: str = "train") -> pa.Table:
    """
    Candidates from rows whose labels people gave.

    Args:
        texts (`Sequence[str]`): The texts.
        labels (`np.ndarray` of shape `(num_rows, 28)`): In the order of `LABEL_NAMES`.
        source (`str`): One of `SOURCES`.
        split (`str`, *optional*, defaults to `"train"`): The split they belong to.
    """
    columns: dict[str, Any] = {
        "text": pa.array(texts, pa.string()),
        "labels": label_lists(labels),
        "source": pa.repeat(source, len(texts)),
        "confidence": pa.repeat(np.float32(1), len(texts)),
        "split": pa.repeat(split, len(texts)),
    }
    nulls = {field.name: pa.nulls(len(texts), field.type) for field in CANDIDATE_SCHEMA if field.name not in columns}
    return pa.table(columns | nulls).select(CANDIDATE_SCHEMA.names).cast(CANDIDATE_SCHEMA)


def read_candidates(path: str) -> pa.Table:
    """
    Read generated candidates.

    Args:
        path (`str`): A Parquet file with the columns of `CANDIDATE_SCHEMA`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no Parquet file, or its columns are others.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path} of candidates: correct `generated_files`.")
    try:
        table = pq.read_table(path, partitioning=None).select(CANDIDATE_SCHEMA.names).cast(CANDIDATE_SCHEMA)
    except (pa.ArrowInvalid, KeyError) as error:
        raise InputError(
            f"{path}: expected a Parquet file with the columns {', '.join(CANDIDATE_SCHEMA.names)}, "
            f"got {str(error).splitlines()[0]}; write it again."
        ) from error
    return table.set_column(
        2, CANDIDATE_SCHEMA.field("source"), pa.repeat("generated", table.num_rows)
    ).replace_schema_metadata()


def label_lists(labels: npt.NDArray[np.bool_]) -> pa.ListArray:
    """Each row's label ids, sorted."""
    offsets = np.concatenate([[0], np.cumsum(labels.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.nonzero(labels)[1].astype(np.uint8)))


def prepare_human(stage: Stage, tables: Sequence[pa.Table], evaluation: EvaluationTexts, shard_size: int) -> str:
    """
    Write the shards of the human sources.

    Their texts stay as they are; a text that occurs again, in any source, is dropped, and so is one from validation or
    test. Of equal texts the one from the first of `SOURCES` stays, of one source the first.

    Args:
        stage (`Stage`): With `CANDIDATE_SCHEMA`.
        tables (`Sequence[pa.Table]`): Candidates, each table of one source.
        evaluation (`EvaluationTexts`): The texts of validation and test.
        shard_size (`int`): Rows that are read for one shard.

    Returns:
        `str`: The key of the stage, of which `stage.num_shards` makes a number.
    """
    tables = [table for table in tables if table.num_rows]
    tables.sort(key=lambda table: SOURCES.index(table["source"][0].as_py()))
    contents = [hashlib.sha256(json.dumps(table.to_pylist()).encode()).hexdigest() for table in tables]
    key = digest(_VERSION, contents, evaluation.key, shard_size)
    blocks = (block for table in tables for block in rebatch([table], shard_size))
    _write_shards(stage, key, blocks, evaluation, SeenTexts(), lambda block: block)
    return key


def prepare_tweets(
    stage: Stage, source: TweetSource, human: Stage, human_key: str, evaluation: EvaluationTexts, shard_size: int
) -> str:
    """
    Write the shards of the tweets: [`prepare_human`], but cleaned and without those that humans labelled already.

    Args:
        stage (`Stage`): With `TWEET_SCHEMA`.
        source (`TweetSource`): Where they come from; not read if the stage is finished.
        human (`Stage`), human_key (`str`): The finished stage of [`prepare_human`].
        evaluation (`EvaluationTexts`): The texts of validation and test.
        shard_size (`int`): Rows that are read for one shard.

    Returns:
        `str`: The key of the stage.
    """
    key = digest(_VERSION, source.key, human_key, evaluation.key, shard_size)
    seen = SeenTexts()
    for index in range(human.num_shards() or 0):
        seen.add(exact_hashes(human.read(index)["text"]))

    def prepare(block: pa.Table) -> pa.Table:
        return block.set_column(0, block.schema.field("text"), clean_tweets(block["text"].combine_chunks()))

    _write_shards(stage, key, rebatch(source.tables, shard_size), evaluation, seen, prepare)
    return key


def _write_shards(
    stage: Stage,
    key: str,
    blocks: Iterator[pa.Table],
    evaluation: EvaluationTexts,
    seen: SeenTexts,
    prepare: Callable[[pa.Table], pa.Table],
) -> None:
    if stage.num_shards(key) is not None:
        return
    num_shards = 0
    for index, block in enumerate(blocks):
        shard_key = digest(key, index)
        if stage.has(index, shard_key):
            seen.add(exact_hashes(stage.read(index)["text"]))
        else:
            table, counts = _kept(prepare(block), evaluation, seen)
            stage.write(index, shard_key, table, counts)
        num_shards = index + 1
    stage.finish(num_shards, key)


def _kept(table: pa.Table, evaluation: EvaluationTexts, seen: SeenTexts) -> tuple[pa.Table, dict[str, Any]]:
    """The rows that stay, and how many go for which reason, the first that holds."""
    source = table["source"][0].as_py() if "source" in table.column_names else "sentiment140"
    counts = {"source": source, "read": table.num_rows}
    is_usable = pc.not_equal(pc.utf8_trim_whitespace(table["text"]), "")
    if "labels" in table.column_names:
        is_usable = pc.and_(is_usable, pc.greater(pc.list_value_length(table["labels"]), 0))
    table = table.filter(is_usable)
    texts = table["text"].combine_chunks()
    hashes = exact_hashes(texts)
    is_same = evaluation.has_exactly(hashes)
    is_near = evaluation.has_nearly(texts) & ~is_same
    # After what is dropped for its own sake, so that a shard's texts are what `seen` has of it.
    keep = ~is_same & ~is_near
    keep[keep] = seen.add(hashes[keep])
    counts |= {
        "unusable": counts["read"] - table.num_rows,
        "in_evaluation": int(is_same.sum()),
        "near_evaluation": int(is_near.sum()),
        "duplicate": int((~is_same & ~is_near & ~keep).sum()),
        "kept": int(keep.sum()),
    }
    return table.filter(pa.array(keep)), counts
