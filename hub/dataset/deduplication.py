# SPDX-License-Identifier: Apache-2.0
"""Exact duplicates across all sources, and near duplicates of the texts that models are evaluated on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from trainer_ext.errors import InputError, MissingPackageError

_SHINGLE_SIZE = 5
_NUM_PERMUTATIONS = 160
# 32 bands of 5 values propose a pair of similarity 0.8 with probability 1 - (1 - 0.8^5)^32 > 0.99999, and one of 0.7
# with 0.997 (Leskovec, Rajaraman and Ullman, 2014, Mining of Massive Datasets, section 3.4.2).
_NUM_BANDS = 32
_SEED = 42
# Each is compared with every reference that shares a shingle.
_ROWS_AT_A_TIME = 512

BoolArray = npt.NDArray[np.bool_]
HashArray = npt.NDArray[np.uint64]


def exact_hashes(texts: pa.Array) -> HashArray:
    """
    64-bit hashes by which texts are the same: case and white space aside.

    Among two million texts a collision has a probability of 1e-7.
    """
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"\s+", " ")))
    hashes = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in folded.to_pylist())
    return np.frombuffer(hashes, dtype=np.uint64)


class SeenTexts:
    """The texts so far, as sorted hashes: 8 bytes each."""

    def __init__(self) -> None:
        self._hashes = np.empty(0, dtype=np.uint64)

    def add(self, hashes: HashArray) -> BoolArray:
        """Add texts by their [`exact_hashes`] and say which are new; of equal ones the first is."""
        values, first = np.unique(hashes, return_index=True)
        places = np.searchsorted(self._hashes, values)
        is_known = _contains(self._hashes, values)
        self._hashes = np.insert(self._hashes, places[~is_known], values[~is_known])
        is_new = np.zeros(len(hashes), dtype=np.bool_)
        is_new[first[~is_known]] = True
        return is_new


class EvaluationTexts:
    """
    Finds the texts of validation and test splits, exactly and nearly, among others.

    Nearly: with a Jaccard similarity of shingles of at least `threshold`. Shingles are 5 bytes of the lower-cased
    text in which all but letters, digits and symbols is single spaces. MinHash (Broder, 1997, On the Resemblance and
    Containment of Documents) with locality-sensitive hashing proposes pairs, and their exact similarity decides.

    Args:
        texts (`pa.Array` of strings): The texts of all splits.
        threshold (`float`): Similarity in [0.7, 1] from which a text counts as a near duplicate.

    Raises:
        `MissingPackageError`: If rensa is not installed.
    """

    def __init__(self, texts: pa.Array, threshold: float) -> None:
        self.threshold = threshold
        self._hashes: HashArray = np.sort(exact_hashes(texts))
        words = _words(texts)
        shingles, offsets = _shingles(words.filter(_has_words(words)))
        self._vocabulary, incidence = _incidence(shingles, offsets)
        self._incidence = incidence.tocsc()
        self._sizes = np.diff(incidence.indptr)
        self._index = _import_rensa().RMinHashLSH(threshold, _NUM_PERMUTATIONS, _NUM_BANDS)
        # A query flags rows with at least two candidates, as it expects each row to find itself: all stand in twice.
        signatures = _signatures(shingles, offsets)
        self._index.insert_matrix(signatures, 0)
        self._index.insert_matrix(signatures, len(self._sizes))

    def has_exactly(self, hashes: HashArray) -> BoolArray:
        """Which texts, by their [`exact_hashes`], are among them."""
        return _contains(self._hashes, hashes)

    def has_nearly(self, texts: pa.Array) -> BoolArray:
        """Which texts are near duplicates of one of them; texts without words are not."""
        words = _words(texts)
        is_near = np.array(self._index.query_duplicate_flags_matrix(_signatures(*_shingles(words))), dtype=np.bool_)
        is_near &= _has_words(words)
        proposed = np.flatnonzero(is_near)
        for start in range(0, len(proposed), _ROWS_AT_A_TIME):
            rows = proposed[start : start + _ROWS_AT_A_TIME]
            is_near[rows] = self._similarities(words.take(pa.array(rows))) >= self.threshold
        return is_near

    def _similarities(self, words: pa.Array) -> npt.NDArray[np.float64]:
        """Each text's Jaccard similarity to the most similar reference."""
        vocabulary, incidence = _incidence(*_shingles(words))
        _, columns, own_columns = np.intersect1d(vocabulary, self._vocabulary, assume_unique=True, return_indices=True)
        common = (incidence[:, columns] @ self._incidence[:, own_columns].T).tocoo()
        unions = np.diff(incidence.indptr)[common.row] + self._sizes[common.col] - common.data
        similarities = np.zeros(len(words))
        np.maximum.at(similarities, common.row, common.data / unions)
        return similarities


def keep_new(table: pa.Table, evaluation_texts: EvaluationTexts, seen: SeenTexts) -> tuple[pa.Table, dict[str, int]]:
    """
    Drop the rows that are not worth a label: unusable, from validation or test, or seen before.

    Args:
        table (`pa.Table`): With the column `text` and, where they are known, `labels`.
        evaluation_texts ([`EvaluationTexts`]): The texts of validation and test.
        seen ([`SeenTexts`]): The texts of the tables before; those that are kept are added.

    Returns:
        `tuple[pa.Table, dict[str, int]]`: The rows that stay; and how many were `read`, went for which reason, the
        first that holds, and were `kept`.
    """
    num_read = table.num_rows
    is_usable = pc.not_equal(pc.utf8_trim_whitespace(table["text"]), "")
    if "labels" in table.column_names:
        is_usable = pc.and_(is_usable, pc.greater(pc.list_value_length(table["labels"]), 0))
    table = table.filter(is_usable)
    texts = table["text"].combine_chunks()
    hashes = exact_hashes(texts)
    is_same = evaluation_texts.has_exactly(hashes)
    is_near = evaluation_texts.has_nearly(texts) & ~is_same
    is_kept = ~is_same & ~is_near
    num_apart = int(is_kept.sum())
    is_kept[is_kept] = seen.add(hashes[is_kept])
    num_kept = int(is_kept.sum())
    return table.filter(pa.array(is_kept)), {
        "read": num_read,
        "unusable": num_read - table.num_rows,
        "in_evaluation": int(is_same.sum()),
        "near_evaluation": int(is_near.sum()),
        "duplicate": num_apart - num_kept,
        "kept": num_kept,
    }


def check_apart(training: Mapping[str, pa.Table], evaluation: Iterable[pa.Table]) -> None:
    """
    Refuse training rows whose text is in validation or test, case and white space aside.

    Args:
        training (`Mapping[str, pa.Table]`): Name to rows with the column `text`.
        evaluation (`Iterable[pa.Table]`): Validation and test.

    Raises:
        `InputError`: If a text is in both.
    """
    known = np.concatenate([exact_hashes(table["text"]) for table in evaluation])
    for name, table in training.items():
        shared = np.flatnonzero(np.isin(exact_hashes(table["text"]), known))
        if shared.size:
            raise InputError(
                f"{name} shares {shared.size:,} texts with validation or test, such as "
                f"{table['text'][int(shared[0])].as_py()!r}: a model trained on them would be measured on what it saw."
            )


def _words(texts: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(texts), r"[^\p{L}\p{N}\p{So}]+", " "))


def _has_words(words: pa.Array) -> BoolArray:
    return np.asarray(pc.not_equal(words, "").to_numpy(zero_copy_only=False))


def _shingles(words: pa.Array) -> tuple[HashArray, npt.NDArray[np.int64]]:
    """The shingles of all texts, one after the other and spread over 64 bits, and `len(words) + 1` offsets."""
    # Padded, each text has one at least; copied, so that the buffers begin with the first text.
    padded = pa.concat_arrays([pc.utf8_rpad(words, _SHINGLE_SIZE), pa.array([], pa.string())])
    _, ends, data = padded.buffers()
    starts = np.frombuffer(ends, dtype=np.int32, count=len(padded) + 1).astype(np.int64)
    characters = np.frombuffer(data, dtype=np.uint8, count=starts[-1]).astype(np.uint64)
    num_windows = max(len(characters) - _SHINGLE_SIZE + 1, 0)
    packed = np.zeros(num_windows, dtype=np.uint64)
    for position in range(_SHINGLE_SIZE):
        packed |= characters[position : position + num_windows] << np.uint64(8 * position)
    counts = np.diff(starts) - _SHINGLE_SIZE + 1
    offsets = np.concatenate([[0], np.cumsum(counts)])
    windows = np.arange(offsets[-1]) + np.repeat(starts[:-1] - offsets[:-1], counts)
    return _mix(packed[windows]), offsets


def _mix(values: HashArray) -> HashArray:
    """Spread numbers over 64 bits, one to one (Steele, Lea and Flood, 2014, Fast Splittable Random Generators)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _incidence(shingles: HashArray, offsets: npt.NDArray[np.int64]) -> tuple[HashArray, sparse.csr_array]:
    """The distinct shingles, sorted, and which text has which, `(num_texts, num_shingles)`."""
    vocabulary, columns = np.unique(shingles, return_inverse=True)
    shape = (len(offsets) - 1, len(vocabulary))
    data = np.ones(len(columns), dtype=np.int32)
    # A copy, as the next steps work in place.
    incidence = sparse.csr_array((data, columns, offsets), shape=shape, copy=True)
    incidence.sum_duplicates()
    incidence.data[:] = 1
    return vocabulary, incidence


def _signatures(shingles: HashArray, offsets: npt.NDArray[np.int64]) -> Any:
    rows = offsets.astype(np.uint64)
    return _import_rensa().RMinHash.digest_matrix_from_flat_token_hashes(shingles, rows, _NUM_PERMUTATIONS, _SEED)


def _import_rensa() -> Any:
    try:
        import rensa
    except ImportError as error:
        raise MissingPackageError('Near duplicates need rensa: pip install "stacked-emotion[data]".') from error
    return rensa


def _contains(ordered: HashArray, values: HashArray) -> BoolArray:
    """Which values occur in a sorted array."""
    if len(ordered) == 0:
        return np.zeros(len(values), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[places] == values)
