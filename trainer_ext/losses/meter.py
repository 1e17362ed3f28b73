# SPDX-License-Identifier: Apache-2.0
"""Means of the terms of a loss, for the log."""

from __future__ import annotations

import torch


class TermMeter:
    """Weighted means of the terms of a loss over batches, summed up on the device of the loss."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.weight = 0.0

    def add(self, terms: dict[str, torch.Tensor], weight: float) -> None:
        """
        Add a batch to the means.

        Args:
            terms (`dict[str, torch.Tensor]`): Term to its value for the batch, of shape `()`.
            weight (`float`): How much the batch counts, such as its number of texts.
        """
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + weight * value.detach()
        self.weight += weight

    def means(self, prefix: str = "") -> dict[str, float]:
        """The means of the batches since the last call, under `<prefix><term>`; those before are forgotten."""
        values = {prefix + name: (value / self.weight).item() for name, value in self.sums.items()}
        self.sums, self.weight = {}, 0.0
        return values
