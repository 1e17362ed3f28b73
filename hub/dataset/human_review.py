# SPDX-License-Identifier: Apache-2.0
"""Human review: texts go to annotators as CSV files, and come back as labels by majority with their agreement."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.errors import InputError, MissingPackageError
from trainer_ext.files import write_file

from .candidates import CANDIDATE_SCHEMA, label_lists, saving

_COLUMNS = ("id", "text", "labels")


def export_for_review(candidates: pa.Table, path: str | os.PathLike[str]) -> None:
    """
    Write a CSV file with the columns `id`, `text` and `labels`, to be copied for each annotator.

    `labels` is empty, so that nobody is led by the labels that a text was written for: annotators fill in one or more
    names, separated by commas.

    Args:
        candidates (`pa.Table`): In [`CANDIDATE_SCHEMA`].
        path (`str`): The file to write.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    writer.writerows((_id(text), text, "") for text in candidates["text"].to_pylist())
    with saving(path):
        write_file(path, file.getvalue())


def import_reviews(candidates: pa.Table, files: Sequence[str | os.PathLike[str]]) -> tuple[pa.Table, dict[str, Any]]:
    """
    Replace the labels of the candidates by those that more than half of the annotators gave.

    Args:
        candidates (`pa.Table`): Those that were exported, in [`CANDIDATE_SCHEMA`].
        files (`Sequence[str]`): One filled-in file of each annotator, named after them; the case of a label does not
            count.

    Returns:
        `tuple[pa.Table, dict[str, Any]]`: The candidates for which some label has a majority, with all votes in
        `human_votes` and a confidence of 1; and a report that JSON can hold: `annotators`, their names in the order of
        the files (in the votes, which are published, they are `annotator_1`, `annotator_2` and so on), `texts`,
        `kept`, `without_majority`, and Krippendorff's `alpha` (Krippendorff, Content Analysis, 2004, nominal) of each
        label and, as `overall`, of all decisions on a label and a text together. It is 1 for full agreement, 0 for
        chance, and `None` where all decisions are the same.

    Raises:
        `MissingPackageError`: If krippendorff is not installed.
        `FileNotFoundError`: If a file does not exist.
        `InputError`: If there are fewer than two files, two of one name, or a file that does not hold each text once
            with labels that exist; the message names file and row.
    """
    paths = [Path(file) for file in files]
    repeated = [name for name, count in Counter(path.stem for path in paths).items() if count > 1]
    if len(paths) < 2 or repeated:
        got = f"two files of {repeated[0]!r}" if repeated else f"{len(paths)}"
        raise InputError(
            f"Expected the files of two or more annotators, named after them, got {got}. Rename or add one."
        )
    texts = {_id(text): text for text in candidates["text"].to_pylist()}
    by_annotator = {path.stem: _read_review(path, texts) for path in paths}
    votes = np.zeros((len(paths), len(candidates), len(GOEMOTIONS_LABELS)), dtype=np.bool_)
    for annotator, review in enumerate(by_annotator.values()):
        for row, key in enumerate(map(_id, candidates["text"].to_pylist())):
            votes[annotator, row, review[key]] = True
    majority = 2 * votes.sum(axis=0) > len(paths)
    kept = majority.any(axis=1)
    reviewed = _with_labels(candidates, majority, votes).filter(pa.array(kept))
    return reviewed, {
        "annotators": list(by_annotator),
        "texts": len(candidates),
        "kept": int(kept.sum()),
        "without_majority": int((~kept).sum()),
        "alpha": {
            "overall": _alpha(votes),
            "labels": {name: _alpha(votes[:, :, label]) for label, name in enumerate(GOEMOTIONS_LABELS)},
        },
    }


def _id(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _read_review(path: Path, texts: Mapping[str, str]) -> dict[str, list[int]]:
    """Label ids by the id of the text."""
    ids = {name.lower(): label for label, name in enumerate(GOEMOTIONS_LABELS)}
    review: dict[str, list[int]] = {}
    for row, record in _records(path):
        key = record["id"].strip()
        names = [name.strip() for name in record["labels"].split(",") if name.strip()]
        unknown = [name for name in names if name.lower() not in ids]
        if key not in texts:
            problem = f"expected the id of an exported text, got {key!r}; restore the column from the export"
        elif key in review:
            problem = f"expected every id once, got {key!r} again; remove one of the rows"
        elif not names:
            problem = "expected at least one label, got none; fill in the cell"
        elif unknown:
            problem = f"expected labels of {', '.join(GOEMOTIONS_LABELS)}, got {unknown[0]!r}; correct it"
        else:
            review[key] = sorted({ids[name.lower()] for name in names})
            continue
        raise InputError(f"{path}, row {row}: {problem}.")
    missing = [key for key in texts if key not in review]
    if missing:
        first = f"{missing[0]!r} ({texts[missing[0]]!r:.40})"
        raise InputError(
            f"{path}: expected all {len(texts)} exported texts, got {len(review)}, without {first}; "
            "restore the rows from the export and label them."
        )
    return review


def _records(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The records with the lines at which they start."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected an annotator's CSV file. Correct the path.")
    try:
        # Excel writes a byte order mark.
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        header, end = next(reader, []), reader.line_num
        lines = []
        for cells in reader:
            lines.append((end + 1, cells))
            end = reader.line_num
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected well-formed CSV in UTF-8, got: {error}. Save it as CSV UTF-8.") from error
    if tuple(header) != _COLUMNS:
        raise InputError(f"{path}, row 1: expected the columns {', '.join(_COLUMNS)}, got {header}. Keep the header.")
    for row, cells in lines:
        if cells and len(cells) != len(_COLUMNS):
            raise InputError(
                f"{path}, row {row}: expected {len(_COLUMNS)} cells, got {len(cells)}; quote labels with commas."
            )
    return [(row, dict(zip(header, cells, strict=True))) for row, cells in lines if cells]


def _with_labels(candidates: pa.Table, majority: npt.NDArray[np.bool_], votes: npt.NDArray[np.bool_]) -> pa.Table:
    by_text = [
        {
            f"annotator_{number}": [GOEMOTIONS_LABELS[label] for label in np.flatnonzero(vote[row])]
            for number, vote in enumerate(votes, start=1)
        }
        for row in range(len(candidates))
    ]
    columns = {
        "labels": label_lists(majority),
        "confidence": pa.repeat(pa.scalar(1.0, pa.float32()), len(candidates)),
        "human_votes": pa.array([json.dumps(review, ensure_ascii=False) for review in by_text], pa.string()),
    }
    for name, values in columns.items():
        position = candidates.schema.get_field_index(name)
        candidates = candidates.set_column(position, CANDIDATE_SCHEMA.field(name), values)
    return candidates


def _alpha(votes: npt.NDArray[np.bool_]) -> float | None:
    """Of decisions of shape `(num_annotators, ...)`."""
    try:
        import krippendorff
    except ImportError as error:
        raise MissingPackageError('Agreement needs krippendorff: pip install "stacked-emotion[data]"') from error
    decisions = votes.reshape(len(votes), -1)
    if decisions.all() or not decisions.any():
        return None
    positive = decisions.sum(axis=0)
    counts = np.column_stack([len(votes) - positive, positive])
    return round(float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")), 4)
