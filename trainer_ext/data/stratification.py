# SPDX-License-Identifier: Apache-2.0
"""Divides multi-label data into subsets with the same share of every label."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt


def iterative_stratification(labels: npt.ArrayLike, ratios: Sequence[float], seed: int) -> npt.NDArray[np.int64]:
    """Divide rows into subsets that keep the frequency of every label, the rarest labels first.

    Algorithm 1 of Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-label Data" (ECML PKDD 2011): the
    label with the fewest rows left is dealt out, each of its rows to the subset that still wants most of that label,
    then most rows; rows without labels come last. Remaining ties go to the first label or subset.

    Args:
        labels (`array-like` of shape `(num_rows, num_labels)`): The labels, positive from 0.5 on; an unknown one, NaN,
            is not positive.
        ratios (`Sequence[float]`): Size of every subset, relative to their sum; each above 0.
        seed (`int`): Seed of the order in which the rows are dealt out; at least 0.

    Returns:
        `np.ndarray` of shape `(num_rows,)`: The subset of every row, from 0 to `len(ratios) - 1`.
    """
    # As the metrics read targets.
    positive = np.asarray(labels) >= 0.5
    shares = np.asarray(ratios, dtype=np.float64) / np.sum(ratios)
    rng = np.random.default_rng(seed)
    subsets = np.full(len(positive), -1, dtype=np.int64)
    num_left = positive.sum(axis=0)
    label_need = shares[:, None] * num_left
    row_need = (shares * len(positive)).tolist()
    while num_left.any():
        label = int(np.argmin(np.where(num_left > 0, num_left, len(positive) + 1)))
        rows = rng.permutation(np.flatnonzero(positive[:, label] & (subsets < 0)))
        subsets[rows] = _deal_out(len(rows), label_need[:, label].tolist(), row_need)
        for subset in range(len(shares)):
            label_need[subset] -= positive[rows[subsets[rows] == subset]].sum(axis=0)
        num_left -= positive[rows].sum(axis=0)
    rows = rng.permutation(np.flatnonzero(subsets < 0))
    subsets[rows] = _deal_out(len(rows), list(row_need), row_need)
    return subsets


def text_key(text: str) -> str:
    """The same for texts that differ by case and blanks alone."""
    return " ".join(text.split()).casefold()


def divide_texts(
    texts: Sequence[str], labels: npt.NDArray[np.float32], ratios: Sequence[float], seed: int
) -> tuple[npt.NDArray[np.int64], int]:
    """
    Divide rows as [`iterative_stratification`] does, but keep rows of equal texts (whatever case and blanks) together.

    Args:
        texts (`Sequence[str]`): The texts.
        labels (`np.ndarray` of shape `(num_rows, num_labels)`): Their labels, as there.
        ratios (`Sequence[float]`): Size of every subset, relative to their sum; each above 0.
        seed (`int`): Seed of the order in which the texts are dealt out; at least 0.

    Returns:
        `tuple[np.ndarray, int]`: The subset of every row, and how many texts have more than one.
    """
    return divide_groups(list(map(text_key, texts)), labels, ratios, seed)


def divide_groups(
    keys: Sequence[Hashable], labels: npt.NDArray[np.float32], ratios: Sequence[float], seed: int
) -> tuple[npt.NDArray[np.int64], int]:
    """[`divide_texts`] for rows that are equal where their keys are."""
    index: dict[Hashable, int] = {}
    groups = np.array([index.setdefault(key, len(index)) for key in keys])
    if len(index) == len(keys):
        return iterative_stratification(labels, ratios, seed), 0
    joined = np.zeros((len(index), labels.shape[1]), labels.dtype)
    np.fmax.at(joined, groups, labels)
    return iterative_stratification(joined, ratios, seed)[groups], int(np.sum(np.bincount(groups) > 1))


def _deal_out(num_rows: int, need: list[float], row_need: list[float]) -> list[int]:
    """Choose a subset for each of `num_rows` rows; both needs are lowered in place."""
    chosen = []
    for _ in range(num_rows):
        subset = max(range(len(need)), key=lambda subset: (need[subset], row_need[subset]))
        need[subset] -= 1
        row_need[subset] -= 1
        chosen.append(subset)
    return chosen
