# SPDX-License-Identifier: Apache-2.0
"""
The even selection: which candidates make a data set with about the same count of every label.

Rows with the same labels, source and class of confidence are interchangeable but for their exact confidence. So the
selection is an integer program over groups of rows, with one count per group, and stays small however many candidates
there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from trainer_ext.errors import InputError

from .candidates import SOURCES, label_matrix

_NUM_CLASSES = 10
"""Classes of confidence. Within a class the most confident rows are taken first."""
_TOLERANCE = 1e-5
_CO_OCCURRENCE_GAP = 0.01


@dataclass(frozen=True)
class Pool:
    """
    The candidates as the selection sees them: about 40 bytes a row, without their texts.

    Args:
        labels (`np.ndarray` of shape `(num_rows, num_labels)`): Booleans.
        sources (`np.ndarray` of shape `(num_rows,)`): Ids in `source_names`.
        confidence (`np.ndarray` of shape `(num_rows,)`): 0 to 1.
        keys (`np.ndarray` of shape `(num_rows,)`): Seeded hashes of the texts: they break ties and shuffle the rows.
        source_names (`tuple[str, ...]`): The sources in the order in which they are to be used.
    """

    labels: npt.NDArray[np.bool_]
    sources: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    keys: npt.NDArray[np.uint64]
    source_names: tuple[str, ...]

    @classmethod
    def of(cls, candidates: pa.Table, seed: int) -> Pool:
        """
        Read candidates.

        Args:
            candidates (`pa.Table`): In [`CANDIDATE_SCHEMA`].
            seed (`int`): Seed of the hashes, at least 0.

        Raises:
            `InputError`: If there is no candidate.
        """
        if not candidates.num_rows:
            raise InputError("Expected candidates to select from, got none. Check the sources and what was accepted.")
        salt = seed.to_bytes(8, "little")
        texts = candidates["text"].to_pylist()
        digests = b"".join(blake2b(text.encode(), digest_size=8, salt=salt).digest() for text in texts)
        return cls(
            label_matrix(candidates),
            pc.index_in(candidates["source"], pa.array(SOURCES)).to_numpy().astype(np.uint8),
            candidates["confidence"].to_numpy(),
            np.frombuffer(digests, dtype="<u8").astype(np.uint64),
            SOURCES,
        )


@dataclass(frozen=True)
class Selection:
    """
    The chosen rows and how even they are.

    Args:
        indices (`np.ndarray` of shape `(num_selected,)`):
            Row numbers in the pool, in the order of the seeded hashes: a shuffle that no order of the input changes.
        copies (`np.ndarray` of shape `(num_selected,)`): How often each row is taken; 1 unless copies are allowed.
        counts (`np.ndarray` of shape `(num_labels,)`): Rows per label, copies included.
        supply (`np.ndarray` of shape `(num_labels,)`): Candidates per label.
        target (`int`): The count that every label is to reach.
        max_count (`int`): The count that no label exceeds.
        limited_by (`tuple[int, ...]`):
            Of a target that was chosen here, the labels of which all candidates are used. Empty where it was given.
        gaps (`dict[str, float]`):
            How far each goal may be from its optimum, the goals before it granted, in the goal's own unit: a proven
            bound from the linear relaxation, 0 where the optimum is reached. For `co_occurrence` relative.
    """

    indices: npt.NDArray[np.int64]
    copies: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    supply: npt.NDArray[np.int64]
    target: int
    max_count: int
    limited_by: tuple[int, ...]
    gaps: dict[str, float]

    @property
    def deficits(self) -> npt.NDArray[np.int64]:
        """How many rows each label lacks to the target, of shape `(num_labels,)`."""
        return np.maximum(self.target - self.counts, 0)


def select_balanced(
    pool: Pool, *, target: int | None = None, tolerance: float = 0.5, max_copies: int = 1
) -> Selection:
    """
    Select rows so that every label has between `target` and `(1 + tolerance) * target` of them.

    The goals, each sought among the best selections for those before it:

    1. `deficit`: as few rows as possible lacking to the target, summed over the labels;
    2. `copies`: as few repeated rows as possible, where they are allowed;
    3. `after_<source>`: as few labels as possible from the sources after the first, then after the second, ...;
    4. `first_source`: as many labels as possible from the first source, up to the largest count;
    5. `confidence`: the most confident rows, in ten classes, and within a group of equal rows exactly;
    6. `co_occurrence`: for each pair of labels, the count that it would have if the cosine n_ij / sqrt(n_i n_j) were
       that of the first source. The cosine does not change where rows of labels are thinned out independently.

    Goals 1 to 5 are solved as linear programs. Since all their coefficients are integers, a variable with a reduced
    cost of 1 or more cannot move in an integer optimum of the same value (Wolsey, Integer Programming, 1998), so it
    is fixed; an integer program over the others follows (HiGHS). Where integers cost more than the relaxation, the
    difference is in `gaps`.

    Args:
        pool ([`Pool`]): The candidates. Rows without labels are never selected.
        target (`int`, *optional*):
            The count to be reached. By default the largest that all labels with candidates reach, so that the most
            frequent of them has at most `1 + tolerance` times as many rows as the least frequent.
        tolerance (`float`, *optional*, defaults to 0.5): At least 0.
        max_copies (`int`, *optional*, defaults to 1): How often a row may be taken where a label ends.

    Raises:
        `InputError`: If no candidate has a label and no target is given.
    """
    groups = _Groups.of(pool)
    supply = pool.labels.sum(axis=0, dtype=np.int64)
    chosen = target or _largest_target(groups, tolerance, max_copies, supply)
    while True:
        max_count = int((1 + tolerance) * chosen + _TOLERANCE)
        amounts, gaps = _solve(groups, _goals(groups, max_copies, pool.source_names), chosen, max_count, max_copies)
        indices, copies = _take_rows(pool, groups, amounts)
        counts = (groups.labels * amounts[:, None]).sum(axis=0)
        # The relaxation that gave the target can promise a row that integers cannot keep.
        if target is not None or counts[supply > 0].min() >= chosen or chosen == 1:
            break
        chosen -= 1
    ends = (supply > 0) & (supply * max_copies <= chosen)
    limited_by = () if target is not None else tuple(np.flatnonzero(ends).tolist())
    return Selection(indices, copies, counts, supply, chosen, max_count, limited_by, gaps)


def co_occurrence(
    labels: npt.NDArray[np.bool_], weights: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float64]:
    """
    The cosine n_ij / sqrt(n_i n_j) of each pair of labels, of shape `(num_labels, num_labels)`; 0 without rows.

    Ochiai, A. (1957), "Zoogeographical studies on the soleoid fishes found in Japan and its neighbouring regions".

    Args:
        labels (`np.ndarray` of shape `(num_rows, num_labels)`): Booleans.
        weights (`np.ndarray` of shape `(num_rows,)`, *optional*): How often each row counts.
    """
    rows = sparse.csr_array(labels, dtype=np.float64)
    weighted = rows if weights is None else rows.multiply(weights[:, None]).tocsr()
    both = (rows.T @ weighted).toarray()
    norms = np.sqrt(np.outer(np.diag(both), np.diag(both)))
    return np.divide(both, norms, out=np.zeros_like(both), where=norms > 0)


@dataclass(frozen=True)
class _Groups:
    labels: npt.NDArray[np.int64]
    sources: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int64]
    group_of_row: npt.NDArray[np.int64]
    natural: npt.NDArray[np.float64]

    @classmethod
    def of(cls, pool: Pool) -> _Groups:
        packed = np.packbits(pool.labels, axis=1)
        classes = np.clip((1 - pool.confidence) * _NUM_CLASSES, 0, _NUM_CLASSES - 1).astype(np.uint8)
        columns = np.ascontiguousarray(np.column_stack([pool.sources, packed, classes]))
        keys = columns.view(np.dtype((np.void, columns.shape[1]))).ravel()
        _, first, group_of_row, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        labels = pool.labels[first].astype(np.int64)
        natural = co_occurrence(pool.labels[pool.sources == pool.sources.min()])
        usable = np.where(labels.any(axis=1), sizes, 0)
        return cls(labels, pool.sources[first], classes[first], usable, group_of_row, natural)


def _largest_target(groups: _Groups, tolerance: float, max_copies: int, supply: npt.NDArray[np.int64]) -> int:
    """The largest T that allows counts from T to (1 + tolerance) T, from one linear program with T as a variable."""
    if not supply.any():
        raise InputError("Expected candidates with labels to choose the target, got none. Check what was accepted.")
    num_groups, num_labels = groups.labels.shape
    counts = sparse.csr_array(groups.labels.T.astype(np.float64))
    ones = np.ones((num_labels, 1))
    present = (supply > 0).astype(np.float64)[:, None]
    solution = _solved(
        linprog,
        np.append(np.zeros(num_groups), -1.0),
        A_ub=sparse.block_array([[-counts, present], [counts, -(1 + tolerance) * ones]], format="csr"),
        b_ub=np.zeros(2 * num_labels),
        bounds=np.column_stack([np.zeros(num_groups + 1), np.append(groups.sizes * max_copies, supply.max())]),
    )
    return max(int(-solution.fun + _TOLERANCE), 1)


def _goals(groups: _Groups, max_copies: int, source_names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """The costs of all variables (rows, copies of rows, deficits of labels), the most important goal first."""
    num_groups, num_labels = groups.labels.shape
    zeros, no_deficit = np.zeros(num_groups), np.zeros(num_labels)
    sizes = groups.labels.sum(axis=1)
    sources = np.unique(groups.sources)
    goals = {"deficit": np.concatenate([zeros, zeros, no_deficit + 1])}
    if max_copies > 1:
        goals["copies"] = np.concatenate([zeros, zeros + 1, no_deficit])
    for source in sources[:-1]:
        later = sizes * (groups.sources > source)
        goals[f"after_{source_names[source]}"] = np.concatenate([later, later, no_deficit])
    first = sizes * (groups.sources == sources[0])
    goals["first_source"] = np.concatenate([-first, zeros, no_deficit])
    goals["confidence"] = np.concatenate([groups.classes, groups.classes, no_deficit])
    return goals


def _solve(
    groups: _Groups, goals: dict[str, npt.NDArray[np.float64]], target: int, max_count: int, max_copies: int
) -> tuple[npt.NDArray[np.int64], dict[str, float]]:
    """How many rows of each group, copies included, and the gaps."""
    num_groups, num_labels = groups.labels.shape
    counts = sparse.csr_array(groups.labels.T.astype(np.float64))
    costs = np.stack(list(goals.values()))
    # Each line of `matrix` is at most its limit: counts from below and above, then the goals in their order.
    matrix = sparse.vstack(
        [
            sparse.hstack([-counts, -counts, -sparse.eye_array(num_labels)]),
            sparse.hstack([counts, counts, sparse.csr_array((num_labels, num_labels))]),
            sparse.csr_array(costs),
        ],
        format="csr",
    )
    limits = np.repeat([-target, max_count], num_labels).astype(np.float64)
    lower = np.zeros(matrix.shape[1])
    upper = np.concatenate([groups.sizes, groups.sizes * (max_copies - 1), np.full(num_labels, target)]).astype(float)
    for cost in costs:
        bounds = np.column_stack([lower, upper])
        solution = _solved(linprog, cost, A_ub=matrix[: len(limits)], b_ub=limits, bounds=bounds)
        limits = np.append(limits, np.ceil(solution.fun - _TOLERANCE))
        fixed = np.abs(solution.lower.marginals + solution.upper.marginals) > 1 - _TOLERANCE
        # With free deficits there is always a solution in integers: to round down whatever is not fixed.
        fixed[2 * num_groups :] = False
        lower[fixed] = upper[fixed] = np.rint(solution.x[fixed])
    amounts, excess = _to_integers(matrix, limits, lower, upper, len(costs), 2 * num_groups)
    limits[-len(costs) :] += excess
    amounts, gap = _to_natural(groups, matrix, limits, lower, upper, amounts)
    gaps = dict(zip([*goals, "co_occurrence"], [*excess, gap], strict=True))
    return amounts[:num_groups] + amounts[num_groups:], gaps


def _to_integers(
    matrix: Any, limits: npt.NDArray, lower: npt.NDArray, upper: npt.NDArray, num_goals: int, num_amounts: int
) -> tuple[npt.NDArray[np.int64], list[float]]:
    """The integers that exceed the limits of the goals least, a goal tenfold the next one; and by how much."""
    num_variables = matrix.shape[1]
    slack = sparse.vstack([sparse.csr_array((len(limits) - num_goals, num_goals)), -sparse.eye_array(num_goals)])
    solution = _solved(
        milp,
        np.append(np.zeros(num_variables), 10.0 ** np.arange(num_goals - 1, -1, -1)),
        integrality=np.ones(num_variables + num_goals),
        constraints=LinearConstraint(sparse.hstack([matrix, slack], format="csr"), -np.inf, limits),
        bounds=Bounds(np.append(lower, np.zeros(num_goals)), np.append(upper, np.full(num_goals, np.inf))),
    )
    return _integers(solution.x[:num_amounts]), (np.rint(solution.x[num_variables:]) + 0.0).tolist()


def _to_natural(
    groups: _Groups, matrix: Any, limits: npt.NDArray, lower: npt.NDArray, upper: npt.NDArray, amounts: npt.NDArray
) -> tuple[npt.NDArray[np.int64], float]:
    """Of the integers within the limits, those whose counts of pairs are nearest to the natural ones (sum of |.|)."""
    first, second = np.triu_indices(groups.labels.shape[1], 1)
    counts = groups.labels.T @ (amounts[: len(groups.labels)] + amounts[len(groups.labels) :])
    natural = groups.natural[first, second] * np.sqrt(counts[first] * counts[second])
    pairs = sparse.csr_array((groups.labels[:, first] * groups.labels[:, second]).T.astype(np.float64))
    num_variables, num_pairs = matrix.shape[1], len(natural)
    num_deficits = num_variables - len(amounts)
    either = sparse.eye_array(num_pairs)
    result = milp(
        np.append(np.zeros(num_variables), np.ones(2 * num_pairs)),
        integrality=np.append(np.ones(num_variables), np.zeros(2 * num_pairs)),
        constraints=[
            LinearConstraint(
                sparse.hstack([matrix, sparse.csr_array((len(limits), 2 * num_pairs))], format="csr"), -np.inf, limits
            ),
            LinearConstraint(
                sparse.hstack(
                    [pairs, pairs, sparse.csr_array((num_pairs, num_deficits)), either, -either], format="csr"
                ),
                natural,
                natural,
            ),
        ],
        bounds=Bounds(np.append(lower, np.zeros(2 * num_pairs)), np.append(upper, np.full(2 * num_pairs, np.inf))),
        # A limit of time would make the result depend on the machine.
        options={"mip_rel_gap": _CO_OCCURRENCE_GAP, "node_limit": 1000},
    )
    if result.x is None:
        # A distance is never negative, so this much is proven without any solution.
        return amounts, 1.0
    return _integers(result.x[: len(amounts)]), float(result.mip_gap)


def _solved(solver: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The solution; a failure of the solver is a defect, since lacking rows are always allowed."""
    result = solver(*args, **kwargs)
    if not result.success:
        raise RuntimeError(f"HiGHS found no selection: {result.message}")
    return result


def _integers(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.rint(values).astype(np.int64)


def _take_rows(
    pool: Pool, groups: _Groups, amounts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows of each group and their copies: the most confident first, then by hash."""
    order = np.lexsort((pool.keys, -pool.confidence, groups.group_of_row))
    group = groups.group_of_row[order]
    sizes = np.bincount(group)
    rank = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[group]
    whole, rest = np.divmod(amounts, sizes)
    copies = whole[group] + (rank < rest[group])
    taken = copies > 0
    indices, copies = order[taken], copies[taken]
    shuffled = np.argsort(pool.keys[indices], kind="stable")
    return indices[shuffled], copies[shuffled]
