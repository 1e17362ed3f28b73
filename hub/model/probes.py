# SPDX-License-Identifier: Apache-2.0
"""Probes: short texts that express one emotion each in a way that models miss, and how many of them a model gets."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainer_ext.data.table_files import read_table
from trainer_ext.errors import InputError, reading
from trainer_ext.evaluation.metrics_table import align_rows

from ..languages import known_languages

# In the folder of a model, where `scripts.evaluate_model --probes` was told to write it.
PROBE_RESULTS = "probe_results.json"
_NUM_BEST = 3
_COUNTS = ("num_texts", "num_left_out")


class Probe(NamedTuple):
    """
    One text.

    Args:
        kind (`str`): The difficulty, such as `negation`.
        language (`str`): Its language or the kind of it, such as `Gulf Arabic`.
        code (`str`): The language in two letters.
        text (`str`): The text.
        labels (`list[str]`): Names of the emotion; any of them is right.
        misleading (`list[str]`): Emotions that its words alone would express; none of them is right.
    """

    kind: str
    language: str
    code: str
    text: str
    labels: list[str]
    misleading: list[str]


class ProbeRow(NamedTuple):
    """The results of a kind in a language; a share that no text says anything of is `None`."""

    kind: str
    language: str
    num_texts: int
    num_left_out: int
    found: float | None
    misled: float | None


def read_probes(path: str | os.PathLike[str]) -> list[Probe]:
    """
    Read a file of probes.

    Args:
        path (`str`): A table with the fields of [`Probe`] as columns, several labels divided by spaces.

    Raises:
        `InputError`: If a column is missing, or a text has no label.
    """
    table = read_table(path)
    if missing := [name for name in Probe._fields if name not in table.columns]:
        raise table.header_error(f"expected the columns {', '.join(Probe._fields)}; add {', '.join(missing)}")
    probes = []
    for index, values in enumerate(zip(*map(table.values, Probe._fields), strict=True)):
        kind, language, code, text, labels, misleading = (str(value or "").strip() for value in values)
        if not labels:
            raise table.error("expected the name of an emotion, got none; fill it in", index=index, column="labels")
        probes.append(Probe(kind, language, code, text, labels.split(), misleading.split()))
    return probes


def in_languages(probes: Sequence[Probe], codes: Sequence[str] | None) -> list[Probe]:
    """
    The probes in the languages of a model (BCP 47), or all of them where these are not known.

    Raises:
        `InputError`: If there are none.
    """
    if codes is None:
        return list(probes)
    written = {probe.code for probe in probes}
    if not (known := known_languages(codes, written)):
        raise InputError(f"The probes are in {', '.join(sorted(written))}, the model reads {', '.join(codes)} only.")
    return [probe for probe in probes if probe.code in known]


def probe_results(
    probes: Sequence[Probe], probabilities: np.ndarray, label_names: Sequence[str], thresholds: np.ndarray
) -> dict[str, float]:
    """
    How many probes of every kind and language a model gets.

    Args:
        probes (`Sequence[Probe]` of length `num_texts`): The texts.
        probabilities (`np.ndarray` of shape `(num_texts, num_labels)`): The model's answers.
        label_names (`Sequence[str]` of length `num_labels`): Its labels.
        thresholds (`np.ndarray` of shape `(num_labels,)`): Its thresholds.

    Returns:
        `dict[str, float]`: With `<kind>/<language>/` before each key: `num_texts`; `num_left_out`, of texts with no
        emotion that the model knows, which nothing else counts; `found`, the share of texts with a right label among
        their three most probable ones; `misled`, of those with misleading labels that the model knows, the share with
        one of these at or above its threshold. A share of no text is NaN.
    """
    best = (-probabilities).argsort(axis=1, kind="stable")[:, :_NUM_BEST]
    groups: dict[str, list[int]] = {}
    for index, probe in enumerate(probes):
        groups.setdefault(f"{probe.kind}/{probe.language}", []).append(index)
    results: dict[str, float] = {}
    for group, rows in groups.items():
        found, misled = [], []
        for row in rows:
            right, wrong = (_indices(names, label_names) for names in (probes[row].labels, probes[row].misleading))
            if right:
                found.append(bool({*right} & {*best[row].tolist()}))
            if right and wrong:
                misled.append(bool((probabilities[row, wrong] >= thresholds[wrong]).any()))
        results |= {
            f"{group}/num_texts": float(len(found)),
            f"{group}/num_left_out": float(len(rows) - len(found)),
            f"{group}/found": _share(found),
            f"{group}/misled": _share(misled),
        }
    return results


def _indices(names: Collection[str], label_names: Sequence[str]) -> list[int]:
    return [index for index, label in enumerate(label_names) if label in names]


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers) if answers else math.nan


def read_probe_results(folder: Path) -> dict[str, float] | None:
    """
    The results that lie in a model's folder, if any do.

    Raises:
        `InputError`: If the file is none of [`probe_results`].
    """
    path = folder / PROBE_RESULTS
    if not path.is_file():
        return None
    with reading(f"{path} holds no results of probes"):
        results = json.loads(path.read_text(encoding="utf-8"))
        groups = {key.rpartition("/")[0] for key in results} if isinstance(results, dict) else {""}
        if not {f"{group}/{count}" for group in groups for count in _COUNTS} <= {*results}:
            raise InputError(f"expected {' and '.join(_COUNTS)} of every kind and language")
        probe_rows(results)
    return results


def probe_rows(results: Mapping[str, float]) -> list[ProbeRow]:
    """A row per kind and language that has a text, from [`probe_results`] with or without its NaN."""
    groups = dict.fromkeys(key.rpartition("/")[0] for key in results)
    rows = []
    for group in groups:
        kind, _, language = group.partition("/")
        num_texts, num_left_out = (int(results[f"{group}/{key}"]) for key in _COUNTS)
        shares = (results.get(f"{group}/{key}", math.nan) for key in ("found", "misled"))
        found, misled = (None if math.isnan(share) else share for share in shares)
        rows.append(ProbeRow(kind.replace("_", " "), language, num_texts, num_left_out, found, misled))
    return [row for row in rows if row.num_texts]


def probes_table(results: Mapping[str, float]) -> str:
    """The results of [`probe_results`] as a plain table."""
    rows = [["kind", "language", "texts", "left out", "found", "misled"]]
    for row in probe_rows(results):
        shares = ("-" if share is None else f"{share:.2f}" for share in (row.found, row.misled))
        rows.append([row.kind, row.language, str(row.num_texts), str(row.num_left_out), *shares])
    return "\n".join(align_rows(rows))
