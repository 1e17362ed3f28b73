# SPDX-License-Identifier: Apache-2.0
"""The finished data set as files: its rows in Parquet, the report, the card and the figure, all of them or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .balancing import Selection
from .schema import CANDIDATE_SCHEMA, SOURCES

REPORT_NAME = "report.json"


def selected_rows(files: Iterable[str | os.PathLike[str]], selection: Selection) -> pa.Table:
    """
    The chosen candidates in the order of the selection; memory grows with what is chosen only.

    Args:
        files (`Iterable[str]`): The Parquet files that the pool was read from, in the same order.
        selection ([`Selection`]): What to take.

    Returns:
        `pa.Table`: In [`CANDIDATE_SCHEMA`]; where a row is taken more than once, there is a column `copy` that counts
        the copies of a text from 0.
    """
    wanted = np.sort(selection.indices)
    tables, start = [], 0
    for file in files:
        with pq.ParquetFile(file) as parquet:
            end = start + parquet.metadata.num_rows
            inside = wanted[(wanted >= start) & (wanted < end)] - start
            if inside.size:
                tables.append(parquet.read().take(inside))
        start = end
    rows = np.repeat(np.searchsorted(wanted, selection.indices), selection.copies)
    table = pa.concat_tables(tables).take(rows)
    if selection.copies.max() == 1:
        return table
    firsts = np.cumsum(selection.copies) - selection.copies
    copies = np.arange(len(rows)) - np.repeat(firsts, selection.copies)
    return table.append_column("copy", pa.array(copies, pa.int32()))


def augmented_rows(files: Iterable[str | os.PathLike[str]], selected: pa.Table) -> pa.Table:
    """
    All candidates of the first source, then what was selected of the others: what that source gains by them.

    Args:
        files (`Iterable[str]`): The Parquet files of the candidates.
        selected (`pa.Table`): Of [`selected_rows`].

    Returns:
        `pa.Table`: In [`CANDIDATE_SCHEMA`].
    """
    first = pc.field("source") == SOURCES[0]
    added = selected.filter(~first if "copy" not in selected.column_names else ~first & (pc.field("copy") == 0))
    whole = [pq.read_table(file, filters=first) for file in files]
    return pa.concat_tables([*whole, added.select(CANDIDATE_SCHEMA.names)])


def dataset_rows(table: pa.Table, label_names: Sequence[str]) -> pa.Table:
    """
    Rows as they are published: without the confidence, and with the features that `load_dataset` reads.

    Args:
        table (`pa.Table`): In [`CANDIDATE_SCHEMA`], with or without a column `copy`.
        label_names (`Sequence[str]`): What the ids in `labels` mean.
    """
    text = datasets.Value("string")
    features = {
        "text": text,
        "labels": datasets.List(datasets.ClassLabel(names=list(label_names))),
        "source": text,
        "teacher": text,
        "teacher_revision": text,
        "teacher_scores": datasets.List(datasets.Value("float16"), length=len(label_names)),
        "human_votes": text,
        "prompt_id": text,
        "split": text,
    }
    if "copy" in table.column_names:
        features["copy"] = datasets.Value("int32")
    return table.select(list(features)).cast(datasets.Features(features).arrow_schema)


def write_dataset_folder(
    folder: str | os.PathLike[str], splits: Mapping[str, pa.Table], files: Mapping[str, str | bytes]
) -> Path:
    """
    Write `<split>.parquet` and further files to `folder`; the report is moved there last.

    Everything is written to a folder inside it first and moved when complete, so that a full disk or a kill leaves
    what was there before. Where `report.json` stands, the files beside it are those that it describes.

    Args:
        folder (`str`): What else is in it stays.
        splits (`Mapping[str, pa.Table]`): File name without `.parquet` to rows.
        files (`Mapping[str, str | bytes]`): File name to text or bytes; `report.json` must be among them.

    Returns:
        `Path`: The folder.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for killed in target.glob(".partial_*"):
            shutil.rmtree(killed)
        with TemporaryDirectory(prefix=".partial_", dir=target) as name:
            partial = Path(name)
            for split, table in splits.items():
                pq.write_table(table, partial / f"{split}.parquet", compression="zstd")
            for file, content in files.items():
                (partial / file).write_bytes(content.encode() if isinstance(content, str) else content)
            (target / REPORT_NAME).unlink(missing_ok=True)
            for path in sorted(partial.iterdir(), key=lambda path: (path.name == REPORT_NAME, path.name)):
                path.replace(target / path.name)
    except OSError as error:
        raise OSError(
            f"{target} cannot be written ({str(error).strip()}): free some space or set `output_dir` to another disk, "
            "then run again; what is complete is kept."
        ) from error
    return target
