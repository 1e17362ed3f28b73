# SPDX-License-Identifier: Apache-2.0
"""The loss of distillation: labels where they are known, and the probabilities of a teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ..errors import InputError
from .hybrid import HybridLoss, LossInputs


@dataclass(frozen=True)
class DistillationLoss:
    """
    (1 - w) H + w T^2 BCE(z / T, sigmoid(t / T)), with the hybrid loss H, the logits z and those of the teacher t.

    The second term is that of Hinton et al. (2015, Distilling the Knowledge in a Neural Network), for labels that do
    not exclude each other: T^2 keeps its gradient's size whatever the temperature. It is the mean over the texts and
    all their labels. An unknown label has this term only: H, that of the texts that know a label, counts by the share
    of the cells that are known.

    Args:
        weight (`float`, *optional*, defaults to 0.5): w, in [0, 1].
        temperature (`float`, *optional*, defaults to 1.0): T, above 0.

    Raises:
        `InputError`: If one is out of its range.
    """

    weight: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise InputError(f"`distillation_weight` must be in [0, 1], got {self.weight}.")
        if not self.temperature > 0:
            raise InputError(f"`distillation_temperature` must be above 0, got {self.temperature}.")

    def __call__(
        self, hybrid_loss: HybridLoss, inputs: LossInputs, teacher_logits: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            hybrid_loss ([`HybridLoss`]): The loss of the texts with labels.
            inputs ([`LossInputs`]): The batch, NaN for every unknown label.
            teacher_logits (`torch.Tensor` of shape `(batch_size, num_labels)`): The logits of the teacher.

        Returns:
            `dict[str, torch.Tensor]`: The terms of the hybrid loss and `distillation`, each of shape `()`, whose sum
            is the loss.
        """
        terms = {}
        known = ~inputs.labels.isnan()
        has_labels = known.any(dim=-1)
        if has_labels.any():
            labelled = inputs.map(lambda tensor: tensor[has_labels])
            share = (1 - self.weight) * known.float().mean()
            terms = {name: share * value for name, value in hybrid_loss(labelled).items()}
        soft = torch.sigmoid(teacher_logits / self.temperature)
        distance = binary_cross_entropy_with_logits(inputs.logits.float() / self.temperature, soft)
        return terms | {"distillation": self.weight * self.temperature**2 * distance}
