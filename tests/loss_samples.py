# SPDX-License-Identifier: Apache-2.0
"""Logits and labels that the tests of the losses share, with everything in them that data may hold."""

from __future__ import annotations

import torch

NUM_SAMPLES = 100
# Rare, frequent, once, never and always.
LABEL_COUNTS = [9, 30, 1, 0, 100]

LABELS = torch.tensor(
    [
        [1, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 1],
        [0, 1, 0, 0, 0],
        [1, 1, 0, 0, 1],
    ],
    dtype=torch.float64,
)
NAN = float("nan")
# A text that knows no label, a label that one text alone knows, and targets between 0 and 1.
UNKNOWN = torch.tensor(
    [
        [1, NAN, 0, NAN, 1],
        [0, 0, NAN, NAN, 0],
        [NAN, NAN, NAN, NAN, NAN],
        [0, 1, 1, NAN, NAN],
        [NAN, 0, 1, 1, 0],
        [1, 1, 0, NAN, 1],
    ],
    dtype=torch.float64,
)
GRADED = torch.tensor(
    [
        [0.25, NAN, 0, 0.5, 1],
        [0, 0.3, NAN, 0.1, 0],
        [NAN, NAN, NAN, NAN, NAN],
        [0.7, 1, 0.9, NAN, NAN],
        [NAN, 0.05, 0.5, 0.6, 0.2],
    ],
    dtype=torch.float64,
)
# Labels of batches in which something is missing.
CASES = {
    "usual": LABELS,
    "a label that every text has": torch.cat([LABELS, torch.ones(6, 1, dtype=torch.float64)], dim=1)[:, 1:],
    "one text": LABELS[3:4],
    "one text without labels": LABELS[1:2],
    "one label": LABELS[:, :1],
    "no label at all": torch.zeros(4, 5, dtype=torch.float64),
    "all labels": torch.ones(4, 5, dtype=torch.float64),
    "unknown labels": UNKNOWN,
    "graded labels": GRADED,
    "nothing known": torch.full((4, 5), NAN, dtype=torch.float64),
}


def random_logits(labels: torch.Tensor = LABELS, seed: int = 0) -> torch.Tensor:
    """Logits of a few units in float64, of the shape of the labels."""
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randn(labels.shape, generator=generator, dtype=torch.float64)


def extreme_logits(labels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Logits among which are 0, 80 and -80, right and wrong, in float64."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([-80.0, -30.0, -1.0, 0.0, 2.0, 17.0, 80.0], dtype=torch.float64)
    return values[torch.randint(len(values), labels.shape, generator=generator)]
