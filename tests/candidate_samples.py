# SPDX-License-Identifier: Apache-2.0
"""Candidates for the tests of the balanced data set: a human, a written and a tweeted source, four of 28 labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from hub.dataset.candidates import CANDIDATE_SCHEMA
from trainer_ext.data.labels import GOEMOTIONS_LABELS

ANGER, GRIEF, JOY, NEUTRAL = (GOEMOTIONS_LABELS.index(name) for name in ("anger", "grief", "joy", "neutral"))
REVISION = "0123abcd"


def make_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Candidates from rows without the columns that are missing or 1.0 or `train` in them."""
    defaults = {"source": "goemotions", "confidence": 1.0, "split": "train"}
    return pa.Table.from_pylist([defaults | row for row in rows], schema=CANDIDATE_SCHEMA)


def human(number: int, labels: list[int]) -> dict[str, Any]:
    return {"text": f"human {number}", "labels": labels}


def sample_candidates() -> pa.Table:
    """40 human rows with 3 of grief, 6 written ones, 20 tweets; one of the written ones has votes."""
    rows = [human(i, [NEUTRAL]) for i in range(20)] + [human(20 + i, [JOY]) for i in range(9)]
    rows += [human(29 + i, [ANGER]) for i in range(8)] + [human(37 + i, [ANGER, GRIEF]) for i in range(3)]
    written = [{"text": f"written {i}", "labels": [GRIEF], "source": "written"} for i in range(6)]
    # As a text that a model wrote and people reviewed.
    written[0] |= {"human_votes": '{"ann": ["grief"]}', "teacher": "some-writer"}
    tweets = [
        {
            "text": f"tweet {i}",
            "labels": [GRIEF] if i % 2 else [JOY],
            "source": "sentiment140",
            "confidence": i / 20,
            "teacher": "someone/teacher",
            "teacher_revision": REVISION,
            "teacher_scores": [i / 20] * 28,
        }
        for i in range(20)
    ]
    return make_table([*rows, *written, *tweets])
