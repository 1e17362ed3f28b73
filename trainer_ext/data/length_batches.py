# SPDX-License-Identifier: Apache-2.0
"""Rows in batches of like length, so that little is padded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def length_batches(
    lengths: npt.ArrayLike, batch_size: int | None = None, tokens_per_batch: int | None = None
) -> Iterator[npt.NDArray[np.int64]]:
    """
    Divide rows into batches of like length, so that little is padded.

    The results of a batch go back to their places with `results[batch] = ...`: no order has to be restored.

    Args:
        lengths (`ArrayLike` of shape `(num_rows,)`): Length of each row, such as its tokens;
            negated, the shortest rows come first.
        batch_size (`int`, *optional*): Most rows in a batch.
        tokens_per_batch (`int`, *optional*): Most tokens in a batch, its padding included; a row that has more is a
            batch by itself.

    Yields:
        `np.ndarray`: The indices of a batch's rows, the longest rows first, so that memory is short at once or never.
    """
    known = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-known, kind="stable")
    start = 0
    while start < len(order):
        size = batch_size or len(order)
        if tokens_per_batch is not None:
            size = min(size, max(tokens_per_batch // max(int(known[order[start]]), 1), 1))
        yield order[start : start + size]
        start += size
