# SPDX-License-Identifier: Apache-2.0
"""The finished data set as files: written whole, and staged as a repository of the Hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.errors import InputError
from trainer_ext.files import updating_folder

from .candidates import CANDIDATE_SCHEMA, saving
from .deduplication import check_apart
from .report import render_card

REPORT_NAME = "report.json"
CARD_NAME = "README.md"
FIGURE_NAME = "label_counts.png"
_TRAIN = {"default": "train", "augmented": "train_augmented"}
_EVALUATION = ("validation", "test")
_FILES = (*_TRAIN.values(), *_EVALUATION)


def published_rows(table: pa.Table) -> pa.Table:
    """Candidates without the confidence, and with the features that `load_dataset` reads."""
    text, score = datasets.Value("string"), datasets.Value("float16")
    features = dict.fromkeys((name for name in CANDIDATE_SCHEMA.names if name != "confidence"), text)
    features["labels"] = datasets.List(datasets.ClassLabel(names=list(GOEMOTIONS_LABELS)))
    features["teacher_scores"] = datasets.List(score, length=len(GOEMOTIONS_LABELS))
    if "copy" in table.column_names:
        features["copy"] = datasets.Value("int32")
    return table.select(list(features)).cast(datasets.Features(features).arrow_schema)


def write_dataset_folder(
    folder: Path, splits: Mapping[str, pa.Table], report: Mapping[str, Any], files: dict[str, bytes]
) -> None:
    """
    Write `<split>.parquet`, further files and `report.json`, all of them or none.

    The new folder is made beside it and takes its place as a whole: a full disk or a kill leaves the earlier data set,
    or all of the new one. A card beside the same report stays as it is: it may have been edited.

    Args:
        folder (`Path`): Other files in it stay.
        splits (`Mapping[str, pa.Table]`): Name to rows.
        report (`Mapping[str, Any]`): Of [`build_report`].
        files (`dict[str, bytes]`): Name to content.

    Raises:
        `OSError`: If the disk is full or the folder cannot be written.
    """
    content = (json.dumps(report, indent=2) + "\n").encode()
    report_path = folder / REPORT_NAME
    with saving(folder):
        is_same = report_path.is_file() and report_path.read_bytes() == content
        if is_same and (folder / CARD_NAME).is_file():
            files = {name: data for name, data in files.items() if name != CARD_NAME}
        with updating_folder(folder) as partial:
            for split, table in splits.items():
                pq.write_table(published_rows(table), partial / f"{split}.parquet", compression="zstd")
            for name, data in (files | {REPORT_NAME: content}).items():
                (partial / name).write_bytes(data)


def stage_dataset(source: Path, folder: Path, *, repo_id: str) -> None:
    """
    Fill a folder with the files of a data set repository: Parquet files as they were built, the report, the figure,
    and a card for this name. `load_dataset` then has the configurations `default` and `augmented`.

    Args:
        source (`Path`): As `scripts.build_balanced_dataset` left it.
        folder (`Path`): Empty.
        repo_id (`str`): Such as `user/data`.

    Raises:
        `FileNotFoundError`: If the source is not complete.
        `InputError`: If the files are not those that the report describes, a training text is also in validation or
            test, or a teacher is named by a path of this machine.
    """
    names = [REPORT_NAME, FIGURE_NAME, *(f"{file}.parquet" for file in _FILES)]
    missing = [name for name in names if not (source / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{source} has no {', '.join(missing)}: expected the files of `python -m scripts.build_balanced_dataset`."
        )
    report = _read_report(source / REPORT_NAME)
    tables = {file: _read_rows(source / f"{file}.parquet", report["labels"]) for file in _FILES}
    _check_counts(tables, report, source)
    training = {f"{source / file}.parquet": tables[file] for file in _TRAIN.values()}
    check_apart(training, (tables[split] for split in _EVALUATION))
    _check_teachers(tables, report, source)
    infos = [_info(config, tables[train], tables) for config, train in _TRAIN.items()]
    card = render_card(report, repo_id.rpartition("/")[2], repo_id=repo_id, infos=infos)
    (folder / CARD_NAME).write_text(card, encoding="utf-8")
    for name in names:
        shutil.copyfile(source / name, folder / name)


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = {"labels", "rows", "counts", "copied_rows", "teachers"} - set(report)
        if missing:
            raise InputError(f"it has no {', '.join(sorted(missing))}")
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not the report of a data set ({error}): build the data set again.") from error
    return report


def _read_rows(path: Path, labels: list[str]) -> pa.Table:
    try:
        table = pq.read_table(path)
        features = datasets.Features.from_arrow_schema(table.schema)
        names = features["labels"].feature.names
    except (OSError, pa.ArrowException, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} does not hold texts with class labels ({' '.join(str(error).split())}): build the data set again."
        ) from error
    if names != labels:
        raise InputError(f"{path} has other labels than {REPORT_NAME}: build the data set again.")
    return table


def _check_counts(tables: Mapping[str, pa.Table], report: Mapping[str, Any], source: Path) -> None:
    rows, counts = report["rows"], report["counts"]
    first = next(iter(rows["candidates"]))
    train = tables["train"]
    is_other = pc.not_equal(train["source"], first)
    if "copy" in train.column_names:
        is_other = pc.and_(is_other, pc.equal(train["copy"], 0))
    num_others = pc.sum(is_other).as_py() or 0
    expected = {
        "train": (sum(rows["train"].values()), counts["train_total"]),
        "train_augmented": (rows["candidates"][first] + num_others, None),
        **{split: (rows[split], counts[split]) for split in _EVALUATION},
    }
    for file, (num_rows, by_label) in expected.items():
        if tables[file].num_rows != num_rows:
            raise InputError(
                f"{source / file}.parquet has {tables[file].num_rows:,} rows, {REPORT_NAME} says {num_rows:,}: "
                "build the data set again."
            )
        totals = np.bincount(pc.list_flatten(tables[file]["labels"]).to_numpy(), minlength=len(report["labels"]))
        if by_label is not None and totals.tolist() != list(by_label.values()):
            raise InputError(
                f"{source / file}.parquet has other counts per label than {REPORT_NAME}: build the data set again."
            )


def _check_teachers(tables: Mapping[str, pa.Table], report: Mapping[str, Any], source: Path) -> None:
    teachers = {entry["teacher"] for entry in report["teachers"]} | {report.get("yields", {}).get("teacher")}
    for file in _TRAIN.values():
        teachers |= set(pc.unique(tables[file]["teacher"]).to_pylist())
    for name in sorted(teachers - {None}):
        if name.count("/") > 1 or "\\" in name or name.startswith(("/", ".")):
            raise InputError(f"{source} names the teacher {name}, a path: expected a Hub id or a folder's name.")


def _info(config: str, train: pa.Table, tables: Mapping[str, pa.Table]) -> dict[str, Any]:
    """The features and sizes that the Hub shows without reading rows, and `load_dataset` checks after reading."""
    splits = {"train": train} | {split: tables[split] for split in _EVALUATION}
    info = datasets.DatasetInfo(
        config_name=config,
        features=datasets.Features.from_arrow_schema(train.schema),
        splits=datasets.SplitDict(
            {
                split: datasets.SplitInfo(split, num_bytes=table.nbytes, num_examples=table.num_rows)
                for split, table in splits.items()
            }
        ),
    )
    return {"config_name": config} | info._to_yaml_dict()
