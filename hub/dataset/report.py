# SPDX-License-Identifier: Apache-2.0
"""The numbers of a balanced data set, from which its card and its figure are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trainer_ext.errors import InputError

from .balancing import Selection, co_occurrence
from .pool import Pool
from .schema import SOURCES

_NUM_PAIRS = 10


def build_report(
    pool: Pool,
    selection: Selection,
    train: pa.Table,
    evaluation: Mapping[str, pa.Table],
    label_names: Sequence[str],
    *,
    settings: Mapping[str, Any],
    original: npt.NDArray[np.int64] | None = None,
    cleaning: Mapping[str, Mapping[str, int]] | None = None,
    yields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Describe a selection; JSON can hold the result.

    Args:
        pool ([`Pool`]): What was selected from.
        selection ([`Selection`]): What was selected.
        train (`pa.Table`): The selected rows, copies included, in [`CANDIDATE_SCHEMA`].
        evaluation (`Mapping[str, pa.Table]`): `validation` and `test`, with the columns `text` and `labels`.
        label_names (`Sequence[str]`): The labels in the order of their ids.
        settings (`Mapping[str, Any]`): The recipe.
        original (`np.ndarray` of shape `(num_labels,)`, *optional*):
            Texts per label of the first source before anything was removed; by default its candidates.
        cleaning (`Mapping[str, Mapping[str, int]]`, *optional*): Source to what was read, removed and kept.
        yields (`Mapping[str, Any]`, *optional*): What acceptance by the teacher's scores left, per label in `labels`.

    Returns:
        `dict[str, Any]`: `ratio` is the most frequent label's count over the least frequent's, `human_label_ratio` the
        share of the labels that people gave, `teachers` the rows whose labels each model gave, `co_occurrence` the
        mean absolute difference of the cosines of all pairs of labels from those of the first source, after the
        selection and of all candidates.

    Raises:
        ValueError: A training text is also in validation or test.
    """
    _check_apart(train, evaluation)
    after = {
        name: selection.copies * (pool.sources[selection.indices] == i) for i, name in enumerate(pool.source_names)
    }
    chosen = pool.labels[selection.indices]
    candidates = {name: pool.sources == i for i, name in enumerate(pool.source_names)}
    before = {name: pool.labels[rows].sum(axis=0) for name, rows in candidates.items()}
    first = before[pool.source_names[pool.sources.min()]] if original is None else original

    def by_label(values: npt.NDArray[np.int64]) -> dict[str, int]:
        return dict(zip(label_names, map(int, values), strict=True))

    return {
        "labels": list(label_names),
        "target": selection.target,
        "max_count": selection.max_count,
        "limited_by": [label_names[label] for label in selection.limited_by],
        "rows": {
            "candidates": {name: int(rows.sum()) for name, rows in candidates.items() if rows.any()},
            "train": {name: int(copies.sum()) for name, copies in after.items() if copies.any()},
            **{split: table.num_rows for split, table in evaluation.items()},
        },
        "copied_rows": int(selection.copies.sum()) - len(selection.copies),
        "counts": {
            "original": by_label(first),
            "candidates": {name: by_label(before[name]) for name, rows in candidates.items() if rows.any()},
            "train": {name: by_label(copies @ chosen) for name, copies in after.items() if copies.any()},
            "train_total": by_label(selection.counts),
            **{split: by_label(_label_counts(table, len(label_names))) for split, table in evaluation.items()},
        },
        "ratio": {"before": _ratio(first), "after": _ratio(selection.counts)},
        "deficits": by_label(selection.deficits),
        "human_label_ratio": _human_label_ratio(train),
        "co_occurrence": _co_occurrence(pool, selection, label_names),
        "gaps": selection.gaps,
        "teachers": _value_counts(train.filter(pc.invert(_is_human(train))), ["teacher", "teacher_revision"]),
        "prompts": _value_counts(train, ["prompt_id"]),
        "cleaning": {source: dict(counts) for source, counts in (cleaning or {}).items()},
        "yields": dict(yields or {}),
        "settings": dict(settings),
    }


def _check_apart(train: pa.Table, evaluation: Mapping[str, pa.Table]) -> None:
    texts = set(train["text"].to_pylist())
    for split, table in evaluation.items():
        shared = texts.intersection(table["text"].to_pylist())
        if shared:
            raise InputError(
                f"Expected no training text in {split}, got {len(shared)}, such as {min(shared)!r}. "
                "Remove the texts of validation and test from all sources before selecting."
            )


def _label_counts(table: pa.Table, num_labels: int) -> npt.NDArray[np.int64]:
    return np.bincount(pc.list_flatten(table["labels"]).to_numpy(), minlength=num_labels)


def _ratio(counts: npt.NDArray[np.int64]) -> float | None:
    """None where a label has no text."""
    return round(float(counts.max() / counts.min()), 4) if counts.min() else None


def _is_human(train: pa.Table) -> pa.ChunkedArray:
    """The first source is labelled by people, other rows only where they carry votes."""
    return pc.or_(pc.equal(train["source"], SOURCES[0]), pc.is_valid(train["human_votes"]))


def _human_label_ratio(train: pa.Table) -> float:
    human = _is_human(train).to_numpy()
    num_labels = pc.list_value_length(train["labels"]).to_numpy()
    return round(float(num_labels[human].sum() / num_labels.sum()), 4)


def _co_occurrence(pool: Pool, selection: Selection, label_names: Sequence[str]) -> dict[str, Any]:
    upper = np.triu_indices(len(label_names), 1)
    first = co_occurrence(pool.labels[pool.sources == pool.sources.min()])[upper]
    train = co_occurrence(pool.labels[selection.indices], selection.copies)[upper]
    largest = np.argsort(-np.abs(train - first), kind="stable")[:_NUM_PAIRS]
    return {
        "train": round(float(np.abs(train - first).mean()), 5),
        "candidates": round(float(np.abs(co_occurrence(pool.labels)[upper] - first).mean()), 5),
        "mean_cosine": round(float(first.mean()), 5),
        "largest": [
            {
                "labels": [label_names[upper[0][pair]], label_names[upper[1][pair]]],
                "first_source": round(float(first[pair]), 4),
                "train": round(float(train[pair]), 4),
            }
            for pair in largest
        ],
    }


def _value_counts(train: pa.Table, columns: list[str]) -> list[dict[str, Any]]:
    """The rows per combination of values, without rows that have none in the first column."""
    counted = train.filter(pc.is_valid(train[columns[0]])).group_by(columns).aggregate([([], "count_all")])
    return counted.rename_columns([*columns, "rows"]).sort_by([(name, "ascending") for name in columns]).to_pylist()
