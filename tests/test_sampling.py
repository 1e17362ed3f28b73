# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.sampling: how often the rows of each source come, and in which order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from trainer_ext.data.sampling import SourceSampler, source_sizes
from trainer_ext.errors import InputError

NUM_ROWS = {"large": 80, "small": 20}


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, (80, 20)),
        ({"temperature": 2.0}, (67, 33)),
        ({"temperature": 1e9}, (50, 50)),
        ({"weights": {"small": 4.0}}, (50, 50)),
        ({"weights": {"large": 0.5, "small": 1.0}}, (67, 33)),
    ],
)
def test_sizes_follow_temperature_and_weights(options: dict[str, Any], sizes: tuple[int, int]) -> None:
    assert tuple(source_sizes(NUM_ROWS, **options).values()) == sizes


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"temperature": 0.5}, "`source_temperature` must be at least 1, got 0.5"),
        ({"weights": {"smal": 2.0}}, "no source 'smal' to weigh; the sources are large, small"),
        ({"weights": {"small": 0.0}}, "weight of the source 'small' must be above 0, got 0.0"),
    ],
)
def test_sizes_that_cannot_be(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        source_sizes(NUM_ROWS, **options)


def sampler(**sizes: int) -> SourceSampler:
    sources = ["large"] * 80 + ["small"] * 20
    return SourceSampler(8, list(range(100)), sources, sizes, seed=3)


def test_each_epoch_takes_the_next_rows_of_each_source() -> None:
    rows = sampler(large=60, small=40)
    epochs = []
    for epoch in range(4):
        rows.set_epoch(epoch)
        epochs.append(list(rows))
        assert len(epochs[-1]) == len(rows) == 100
        assert sum(row < 80 for row in epochs[-1]) == 60
        # Twenty small rows, each twice an epoch.
        assert set(Counter(row for row in epochs[-1] if row >= 80).values()) == {2}
    large = Counter(row for epoch in epochs for row in epoch if row < 80)
    assert set(large.values()) == {3}
    assert epochs[0] != epochs[1]


def test_order_follows_from_seed_and_epoch_alone() -> None:
    first, resumed = sampler(large=60, small=40), sampler(large=60, small=40)
    for epoch in range(3):
        first.set_epoch(epoch)
        last = list(first)
    resumed.set_epoch(2)
    assert list(resumed) == last


def test_rows_of_like_length_are_neighbours() -> None:
    rows = list(sampler(large=80, small=20))
    groups = [rows[start : start + 8] for start in range(0, len(rows), 8)]
    assert all(group == sorted(group, reverse=True) for group in groups[1:])


def test_source_may_be_left_out() -> None:
    assert all(row < 80 for row in sampler(large=100, small=0))
