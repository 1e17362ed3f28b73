# SPDX-License-Identifier: Apache-2.0
"""Which word a token belongs to, for the rows of a whole batch at once."""

from itertools import chain

import numpy as np

from .text_stacked_emotion import NormalizedText, Span


class FlatRows:
    """The rows of one encoder, end to end: `ids` and `word_ids` of shape (num_tokens,), `lengths` (batch_size,)."""

    __slots__ = ("ids", "lengths", "word_ids")

    def __init__(self, ids: np.ndarray, word_ids: np.ndarray, lengths: np.ndarray) -> None:
        self.ids = ids
        self.word_ids = word_ids
        self.lengths = lengths

    def replace(self, indices: list[int], other: "FlatRows") -> None:
        """Put the rows of `other` in place of the rows `indices`."""
        for field in ("ids", "word_ids"):
            rows = np.split(getattr(self, field), np.cumsum(self.lengths)[:-1])
            for index, row in zip(
                indices, np.split(getattr(other, field), np.cumsum(other.lengths)[:-1]), strict=True
            ):
                rows[index] = row
            setattr(self, field, np.concatenate(rows))
        self.lengths[indices] = other.lengths

    def take(self, indices: np.ndarray) -> "FlatRows":
        """The rows `indices`, in that order."""
        starts, lengths = (np.cumsum(self.lengths) - self.lengths)[indices], self.lengths[indices]
        shifts = starts - (np.cumsum(lengths) - lengths)
        places = np.arange(int(lengths.sum())) + np.repeat(shifts, lengths)
        return FlatRows(self.ids[places], self.word_ids[places], lengths)


def original_offsets(
    offsets: np.ndarray, row: np.ndarray, normalized: list[NormalizedText]
) -> tuple[np.ndarray, np.ndarray]:
    """
    Starts and ends of the tokens in the original texts; empty tokens stay empty.

    White space in a normalised text may come from anything: from a word that was deleted, from the mark that it was
    put behind. A token starts where its first visible character came from, and is empty if it has none.
    """
    starts, ends = offsets[:, 0], offsets[:, 1]
    if all(item.origin is None for item in normalized):
        return starts, ends
    # All texts on one axis, one space behind each, so that the offset just behind its end exists.
    joined = " ".join([*(item.text for item in normalized), ""])
    sizes = np.array([len(item.text) + 1 for item in normalized])
    base = (np.cumsum(sizes) - sizes)[row]
    origin = np.concatenate(
        [np.arange(len(item.text) + 1) if item.origin is None else np.array([*item.origin, 0]) for item in normalized]
    )
    is_space = np.fromiter(map(str.isspace, joined), bool, len(joined))
    visible = np.where(is_space, len(joined), np.arange(len(joined)))
    next_visible = np.minimum.accumulate(visible[::-1])[::-1]
    first_visible = next_visible[base + starts]
    is_empty = first_visible >= base + ends
    first = origin[np.where(is_empty, base + starts, first_visible)]
    behind_last = origin[base + np.maximum(ends - 1, 0)] + 1
    return first, np.where(is_empty, first, behind_last)


def find_word_ids(
    starts: np.ndarray, ends: np.ndarray, row: np.ndarray, texts: list[str], words: list[list[Span]]
) -> np.ndarray:
    """
    The word of each token, counted from 1 within its text.

    A token belongs to the word its start stands in or, when it starts with white space, to the next word if that
    begins before the token's end; else, and for empty tokens, to none (0).
    """
    num_words = np.array([len(spans) for spans in words])
    if not num_words.sum():
        return np.zeros(len(starts), dtype=np.int64)
    # All texts on one axis, a gap of one between them: a sorted search then serves the whole batch.
    sizes = np.array([len(text) + 1 for text in texts])
    base = np.cumsum(sizes) - sizes
    spans = np.fromiter(chain.from_iterable(chain.from_iterable(words)), np.int64, 2 * int(num_words.sum()))
    spans = spans.reshape(-1, 2) + np.repeat(base, num_words)[:, None]
    word_starts, word_ends = spans[:, 0], spans[:, 1]
    starts, ends = starts + base[row], ends + base[row]
    word = np.searchsorted(word_starts, starts, side="right") - 1
    is_inside = (word >= 0) & (starts < word_ends[word])
    word = np.where(is_inside, word, word + 1)
    begins_within = word_starts[np.minimum(word, len(word_starts) - 1)] < ends
    belongs = (is_inside | ((word < len(word_starts)) & begins_within)) & (starts < ends)
    first_word = np.cumsum(num_words) - num_words
    return np.where(belongs, word - first_word[row] + 1, 0)
