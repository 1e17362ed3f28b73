# SPDX-License-Identifier: Apache-2.0
"""The row that all sources and stages share: a candidate for the balanced data set."""

from __future__ import annotations

import pyarrow as pa

LABEL_NAMES = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire"),
    *("disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy"),
    *("love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise"),
    "neutral",
)
"""The 28 labels of GoEmotions in the order of their official ids (Demszky et al., 2020, GoEmotions)."""

SOURCES = ("goemotions", "written", "generated", "sentiment140")
"""Where a row comes from, the most trusted first: of equal texts the first one stays."""

CANDIDATE_SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        # Sorted ids.
        pa.field("labels", pa.list_(pa.uint8()), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        # 1.0 where people gave the labels, else how far the scores are above their cut-offs, 0 to 1.
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("teacher", pa.string()),
        pa.field("teacher_revision", pa.string()),
        pa.field("teacher_scores", pa.list_(pa.float16(), len(LABEL_NAMES))),
        # JSON: annotator to label names.
        pa.field("human_votes", pa.string()),
        pa.field("prompt_id", pa.string()),
        pa.field("split", pa.string(), nullable=False),
    ]
)
"""A candidate as it stands in the Parquet files of the data set."""
