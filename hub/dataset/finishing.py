# SPDX-License-Identifier: Apache-2.0
"""From candidates to the finished data set: select, describe, write."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .balancing import select_balanced
from .card import render_card
from .folder import REPORT_NAME, augmented_rows, dataset_rows, selected_rows, write_dataset_folder
from .plots import draw_label_counts, figure_bytes
from .pool import read_pool
from .report import build_report
from .schema import LABEL_NAMES
from .shards import digest, write_text

# To be raised whenever the selection or what is written changes.
_VERSION = 4
_FILES = (
    "train.parquet",
    "train_augmented.parquet",
    "validation.parquet",
    "test.parquet",
    REPORT_NAME,
    "README.md",
    "label_counts.png",
)


def write_balanced_dataset(
    folder: str | os.PathLike[str],
    candidates: Sequence[str | os.PathLike[str]],
    evaluation: Mapping[str, pa.Table],
    *,
    name: str,
    target: int | None = None,
    tolerance: float = 0.5,
    max_copies: int = 1,
    seed: int = 42,
    original: npt.NDArray[np.int64] | None = None,
    cleaning: Mapping[str, Mapping[str, int]] | None = None,
    yields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Select from candidates and write `train.parquet`, `validation.parquet`, `test.parquet`, `train_augmented.parquet`
    (see [`augmented_rows`]), `report.json`, the card `README.md` and its figure `label_counts.png`. Nothing is done
    where they were written from the same before and stand as they were written, which `finished.json` says; the card
    may have been edited.

    Args:
        folder (`str`): Where the files go.
        candidates (`Sequence[str]`): Parquet files in [`CANDIDATE_SCHEMA`].
        evaluation (`Mapping[str, pa.Table]`): `validation` and `test`, in [`CANDIDATE_SCHEMA`].
        name (`str`): The data set's name in its card.
        target (`int`, *optional*), tolerance (`float`, *optional*, defaults to 0.5),
            max_copies (`int`, *optional*, defaults to 1): See [`select_balanced`].
        seed (`int`, *optional*, defaults to 42): Breaks ties and shuffles the rows.
        original (`np.ndarray`), cleaning (`Mapping`), yields (`Mapping`), all *optional*: See [`build_report`].

    Returns:
        `dict[str, Any]`: What is in `report.json`.

    Raises:
        ValueError: The candidates cannot be selected from, or a training text is in validation or test.
        OSError: The folder cannot be written.
    """
    settings = {"target": target, "tolerance": tolerance, "max_copies": max_copies, "seed": seed}
    given = None if original is None else original.tolist()
    key = digest(
        _VERSION,
        [sha256(Path(file).read_bytes()).hexdigest() for file in candidates],
        {split: sha256(json.dumps(table.to_pylist()).encode()).hexdigest() for split, table in evaluation.items()},
        [name, settings, given, cleaning, yields],
    )
    path = Path(folder) / "finished.json"
    if path.is_file() and path.read_text(encoding="utf-8") == _note(path.parent, key):
        return dict(json.loads((path.parent / REPORT_NAME).read_text(encoding="utf-8")))
    pool = read_pool(candidates, len(LABEL_NAMES), seed=seed)
    selection = select_balanced(pool, target=target, tolerance=tolerance, max_copies=max_copies)
    train = selected_rows(candidates, selection)
    report = build_report(
        pool,
        selection,
        train,
        evaluation,
        LABEL_NAMES,
        settings=settings,
        original=original,
        cleaning=cleaning,
        yields=yields,
    )
    splits = {"train": train, "train_augmented": augmented_rows(candidates, train), **evaluation}
    write_dataset_folder(
        folder,
        {split: dataset_rows(rows, LABEL_NAMES) for split, rows in splits.items()},
        {
            REPORT_NAME: json.dumps(report, indent=2) + "\n",
            "README.md": render_card(report, name),
            "label_counts.png": figure_bytes(draw_label_counts(report)),
        },
    )
    write_text(path, _note(path.parent, key))
    return report


def _note(folder: Path, key: str) -> str:
    """What the files of a folder were made from, and their digests; of the card only that it is there."""
    paths = [folder / name for name in _FILES]
    digests = {
        path.name: sha256(b"" if path.suffix == ".md" else path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()
    }
    return json.dumps({"key": key, "files": digests}, indent=2) + "\n"
