# SPDX-License-Identifier: Apache-2.0
"""The rows of each epoch where data come from several sources of unlike size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..errors import InputError


def source_sizes(
    num_rows: Mapping[str, int], temperature: float = 1.0, weights: Mapping[str, float] | None = None
) -> dict[str, int]:
    """
    Rows of each source in an epoch, as many in all as there are.

    A source's share is proportional to (weight x rows) ^ (1 / temperature): 1 keeps their sizes, a great temperature
    makes all sources alike (multilingual BERT's exponential smoothing; Conneau et al., 2020, Unsupervised
    Cross-lingual Representation Learning at Scale, section 3.1, with alpha = 1 / temperature).

    Args:
        num_rows (`dict[str, int]`): Rows of each source, by name.
        temperature (`float`, *optional*, defaults to 1.0): At least 1.
        weights (`dict[str, float]`, *optional*): Of some sources, above 0; the others have 1.

    Raises:
        `InputError`: If a value is out of its range, or a weight is for no source.
    """
    weights = weights or {}
    if not temperature >= 1:
        raise InputError(f"`source_temperature` must be at least 1, got {temperature}.")
    for name, weight in weights.items():
        if name not in num_rows:
            raise InputError(f"There is no source {name!r} to weigh; the sources are {', '.join(num_rows)}.")
        if not weight > 0:
            raise InputError(f"The weight of the source {name!r} must be above 0, got {weight}.")
    shares = np.array([(weights.get(name, 1.0) * count) ** (1 / temperature) for name, count in num_rows.items()])
    exact = shares / shares.sum() * sum(num_rows.values())
    sizes = np.floor(exact).astype(int)
    # The rows that rounding leaves go to those that it took most from.
    sizes[np.argsort(sizes - exact, kind="stable")[: sum(num_rows.values()) - sizes.sum()]] += 1
    return dict(zip(num_rows, sizes.tolist(), strict=True))


class SourceSampler(Sampler[int]):
    """
    Rows of several sources, some more often than others, grouped by length.

    A source's rows come in one random order after another, each of all its rows, of which every epoch takes the next
    ones: no row is seen twice before all others were seen once. The order follows from seed and epoch alone, so that
    a run may be resumed anywhere.

    Args:
        batch_size (`int`): Texts to group: those of an optimizer step.
        lengths (`Sequence[int]`): Length of every row.
        sources (`Sequence[str]`): Source of every row.
        sizes (`dict[str, int]`): Rows of each source in an epoch; see [`source_sizes`].
        seed (`int`): Seed of the first epoch; the next one's is 1 higher.
    """

    def __init__(
        self, batch_size: int, lengths: Sequence[int], sources: Sequence[str], sizes: Mapping[str, int], seed: int
    ) -> None:
        self.batch_size, self.lengths, self.sizes, self.seed = batch_size, np.asarray(lengths), sizes, seed
        names = np.asarray(sources)
        self.rows = {name: np.flatnonzero(names == name) for name in sizes}
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(self.sizes.values())

    def __iter__(self) -> Iterator[int]:
        rows = np.concatenate([self._rows_of(name, size) for name, size in self.sizes.items()])
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = get_length_grouped_indices(self.lengths[rows].tolist(), self.batch_size, generator=generator)
        return iter(rows[order].tolist())

    def _rows_of(self, name: str, size: int) -> npt.NDArray[np.int64]:
        """The rows of a source in this epoch."""
        rows = self.rows[name]
        first = self.epoch * size
        passes = range(first // len(rows), (first + size - 1) // len(rows) + 1) if size else range(0)
        index = list(self.rows).index(name)
        orders = [np.random.default_rng((self.seed, index, number)).permutation(rows) for number in passes]
        start = first % len(rows)
        return np.concatenate([*orders, rows[:0]])[start : start + size]
