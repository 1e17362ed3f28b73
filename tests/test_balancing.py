# SPDX-License-Identifier: Apache-2.0
"""Tests of the even selection: optimal by enumeration, the goals in their order, one result for any order of rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from balanced_samples import make_table

from hub.dataset.balancing import Pool, Selection, co_occurrence, select_balanced


def make_pool(rows: list[tuple[str, str, float]], sources: tuple[str, ...] = ("human", "teacher")) -> Pool:
    """Rows as (labels as letters from a, source, confidence); the keys are the row numbers."""
    num_labels = max(ord(letter) - ord("a") for labels, _, _ in rows for letter in labels) + 1
    labels = np.array([[chr(ord("a") + i) in row[0] for i in range(num_labels)] for row in rows])
    ids = np.array([sources.index(row[1]) for row in rows], dtype=np.uint8)
    confidence = np.array([row[2] for row in rows], dtype=np.float32)
    return Pool(labels, ids, confidence, np.arange(len(rows), dtype=np.uint64), sources)


def random_pool(seed: int, num_rows: int, num_labels: int, num_sources: int = 2) -> Pool:
    rng = np.random.default_rng(seed)
    labels = rng.random((num_rows, num_labels)) < rng.uniform(0.1, 0.6, num_labels)
    sources = rng.integers(0, num_sources, num_rows).astype(np.uint8)
    confidence = np.where(sources == 0, 1.0, rng.random(num_rows)).astype(np.float32)
    names = tuple(f"source_{index}" for index in range(num_sources))
    return Pool(labels, sources, confidence, rng.permutation(num_rows).astype(np.uint64), names)


def goals_of(pool: Pool, chosen: np.ndarray, target: int) -> list[tuple[int, ...]]:
    """The first goals, in their order, of choices of rows: booleans of shape `(num_choices, num_rows)`."""
    chosen = chosen.astype(int)
    sizes, first = pool.labels.sum(axis=1), pool.sources == 0
    deficits = np.maximum(target - chosen @ pool.labels, 0).sum(axis=1)
    classes = np.clip((1 - pool.confidence) * 10, 0, 9).astype(int)
    goals = [deficits, chosen @ (sizes * ~first), -chosen @ (sizes * first), chosen @ classes]
    return list(zip(*(goal.tolist() for goal in goals), strict=True))


def taken(selection: Selection) -> list[int]:
    return sorted(selection.indices.tolist())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("target", "tolerance"), [(2, 0.5), (3, 0.0), (4, 0.34)])
def test_selection_is_the_best_of_all(seed: int, target: int, tolerance: float) -> None:
    pool = random_pool(seed, num_rows=12, num_labels=3)
    max_count = int((1 + tolerance) * target + 1e-5)
    every = np.array(list(itertools.product([False, True], repeat=12)))
    allowed = every[
        ((every @ pool.labels.astype(int)) <= max_count).all(axis=1) & ~every[:, ~pool.labels.any(axis=1)].any(axis=1)
    ]
    best = min(goals_of(pool, allowed, target))
    selection = select_balanced(pool, target=target, tolerance=tolerance)
    found = goals_of(pool, np.isin(np.arange(12), selection.indices)[None], target)[0]
    gaps = [selection.gaps[name] for name in ("deficit", "after_source_0", "first_source", "confidence")]
    # The bounds hold, and where they are 0 the optimum is reached.
    assert best <= found
    if not any(gaps):
        assert found == best
    assert gaps[0] == 0
    assert selection.counts.tolist() == pool.labels[selection.indices].sum(axis=0).tolist()
    assert selection.counts.max() <= max_count == selection.max_count


@pytest.mark.parametrize("tolerance", [0.0, 0.25, 0.5])
def test_chosen_target_is_the_largest_that_all_labels_reach(tolerance: float) -> None:
    pool = random_pool(7, num_rows=400, num_labels=5)
    selection = select_balanced(pool, tolerance=tolerance)
    assert not selection.deficits.any()
    assert selection.counts.min() == selection.target
    assert selection.counts.max() <= (1 + tolerance) * selection.target
    more = select_balanced(pool, target=selection.target + 1, tolerance=tolerance)
    assert more.deficits.sum() > 0


def test_target_says_which_labels_end() -> None:
    rows = [("a", "human", 1.0)] * 50 + [("b", "human", 1.0)] * 9 + [("c", "teacher", 0.5)] * 7
    selection = select_balanced(make_pool(rows))
    assert (selection.target, selection.max_count, selection.limited_by) == (7, 10, (2,))
    assert selection.counts.tolist() == [10, 9, 7]
    assert selection.supply.tolist() == [50, 9, 7]
    assert select_balanced(make_pool(rows), target=3).limited_by == ()


def test_given_target_leaves_deficits_and_no_copies() -> None:
    rows = [("a", "human", 1.0)] * 50 + [("b", "human", 1.0)] * 4
    selection = select_balanced(make_pool(rows), target=20, tolerance=0.0)
    assert selection.counts.tolist() == [20, 4]
    assert selection.deficits.tolist() == [0, 16]
    assert len(set(taken(selection))) == 24
    assert (selection.copies == 1).all()


def test_copies_come_last_and_are_spread_evenly() -> None:
    rows = [("a", "human", 1.0)] * 8 + [("b", "human", 1.0)] * 2 + [("b", "teacher", 0.1)] * 3
    selection = select_balanced(make_pool(rows), target=8, tolerance=0.0, max_copies=2)
    copies = dict(zip(selection.indices.tolist(), selection.copies.tolist(), strict=True))
    assert selection.counts.tolist() == [8, 8]
    # All five rows of b are used before any is repeated, and then the human ones first.
    assert [copies[row] for row in range(8, 13)] == [2, 2, 2, 1, 1]
    assert sum(copies.values()) == 16
    capped = select_balanced(make_pool(rows), target=80, tolerance=0.0, max_copies=2)
    assert capped.counts.tolist() == [16, 10]


def test_sources_are_used_in_their_order() -> None:
    sources = ("human", "written", "teacher")
    rows = [("a", "human", 1.0)] * 10 + [("b", "human", 1.0)] * 2
    rows += [("b", "teacher", 1.0)] * 9 + [("b", "written", 1.0)] * 3
    selection = select_balanced(make_pool(rows, sources), target=7, tolerance=0.0)
    assert taken(selection)[-7:] == [10, 11, 12, 13, 21, 22, 23]
    swapped = make_pool(rows, ("human", "teacher", "written"))
    assert taken(select_balanced(swapped, target=7, tolerance=0.0))[-7:] == [10, 11, *range(12, 17)]


def test_most_confident_rows_are_taken_first() -> None:
    confidence = [0.31, 0.99, 0.05, 0.72, 0.97, 0.74]
    rows = [("a", "human", 1.0)] * 3 + [("b", "teacher", value) for value in confidence]
    selection = select_balanced(make_pool(rows), target=3, tolerance=0.0)
    # 0.74 before 0.72, although they are of one class.
    assert taken(selection)[3:] == [4, 7, 8]


def test_ties_are_broken_by_the_keys_alone() -> None:
    rows = [("a", "human", 1.0)] * 6
    pool = make_pool(rows)
    assert select_balanced(pool, target=2, tolerance=0.0).indices.tolist() == [0, 1]
    keyed = Pool(pool.labels, pool.sources, pool.confidence, np.uint64([5, 1, 4, 0, 3, 2]), pool.source_names)
    assert select_balanced(keyed, target=2, tolerance=0.0).indices.tolist() == [3, 1]


def test_result_does_not_depend_on_the_order_of_the_rows() -> None:
    pool = random_pool(3, num_rows=600, num_labels=6, num_sources=3)
    expected = select_balanced(pool)
    order = np.random.default_rng(0).permutation(600)
    shuffled = Pool(
        pool.labels[order], pool.sources[order], pool.confidence[order], pool.keys[order], pool.source_names
    )
    found = select_balanced(shuffled)
    # In the same order, too.
    assert order[found.indices].tolist() == expected.indices.tolist()
    assert found.gaps == expected.gaps


def test_pairs_keep_the_cosine_of_the_first_source() -> None:
    # Half of a goes with b; c stands alone and forces the counts down to 40.
    rows = [("ab", "human", 1.0)] * 100 + [("a", "human", 1.0)] * 100 + [("b", "human", 1.0)] * 100
    rows += [("c", "human", 1.0)] * 40
    pool = make_pool(rows)
    selection = select_balanced(pool, tolerance=0.0)
    assert selection.counts.tolist() == [40, 40, 40]
    both = int(pool.labels[selection.indices][:, :2].all(axis=1).sum())
    assert both == 20
    assert co_occurrence(pool.labels)[0, 1] == co_occurrence(pool.labels[selection.indices])[0, 1] == 0.5


def test_co_occurrence_matches_a_naive_loop() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((50, 4)) < [0.5, 0.3, 0.6, 0.0]
    weights = rng.integers(1, 4, 50)
    repeated = np.repeat(labels, weights, axis=0)
    expected = np.zeros((4, 4))
    for i, j in itertools.product(range(3), range(3)):
        both = sum(bool(row[i] and row[j]) for row in repeated)
        expected[i, j] = both / np.sqrt(repeated[:, i].sum() * repeated[:, j].sum())
    assert co_occurrence(labels, weights) == pytest.approx(expected)
    assert co_occurrence(repeated) == pytest.approx(expected)


def test_rows_without_labels_are_never_taken() -> None:
    pool = random_pool(1, num_rows=60, num_labels=3)
    assert (~pool.labels.any(axis=1)).any()
    selection = select_balanced(pool, target=50)
    assert pool.labels[selection.indices].any(axis=1).all()


def test_label_without_candidates_is_a_deficit() -> None:
    rows = [("a", "human", 1.0)] * 8 + [("c", "human", 1.0)] * 5
    selection = select_balanced(make_pool(rows))
    assert (selection.target, selection.limited_by) == (5, (2,))
    assert selection.counts.tolist() == [7, 0, 5]
    assert selection.deficits.tolist() == [0, 5, 0]


def test_candidates_without_labels_are_named() -> None:
    pool = make_pool([("a", "human", 1.0)])
    empty = Pool(pool.labels & False, pool.sources, pool.confidence, pool.keys, pool.source_names)
    with pytest.raises(ValueError, match="Expected candidates with labels to choose the target, got none"):
        select_balanced(empty)


def test_pool_is_made_of_candidates() -> None:
    columns = ("text", "labels", "source", "confidence")
    rows = [("x", [0, 27], "written", 1.0), ("y", [], "goemotions", 1.0), ("😢", [3], "sentiment140", 0.25)]
    table = make_table([dict(zip(columns, row, strict=True)) for row in rows])
    pool = Pool.of(table, seed=1)
    assert [np.flatnonzero(row).tolist() for row in pool.labels] == [[0, 27], [], [3]]
    assert [pool.source_names[index] for index in pool.sources] == ["written", "goemotions", "sentiment140"]
    assert pool.confidence.tolist() == [1.0, 1.0, 0.25]
    assert len(set(pool.keys.tolist())) == 3
    assert Pool.of(table.take([2, 0, 1]), seed=1).keys.tolist() == pool.keys[[2, 0, 1]].tolist()
    assert not set(Pool.of(table, seed=2).keys.tolist()) & set(pool.keys.tolist())
    with pytest.raises(ValueError, match="Expected candidates to select from, got none"):
        Pool.of(table.slice(0, 0), seed=1)
