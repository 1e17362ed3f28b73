# SPDX-License-Identifier: Apache-2.0
"""
Base losses: one loss for each label's logit on its own.

Every class takes logits and labels of shape `(batch_size, num_labels)` and returns the loss before its reduction: per
cell, of the same shape, or for [`ZLPRLoss`] per text, `(batch_size, 1)`. All but that one are built on the binary
cross-entropy of torch, and equal it to the last bit when their extras are off.

A label y is a target in [0, 1], or NaN where it is not known: the loss of an unknown cell is 0, with a gradient of 0.
The reduction is [`mean_over_known`]: (1 / number of known cells) sum over the known cells, which keeps the graph and
is 0 where no cell is known. For [`ZLPRLoss`] it is the mean over the texts that know a label.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

from ..errors import InputError


def mean_over_known(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """
    The mean of the values that are known; where all are, their mean to the last bit.

    Args:
        values (`torch.Tensor`): 0 where unknown.
        known (`torch.Tensor` of the same shape): Booleans.

    Returns:
        `torch.Tensor` of shape `()`: 0, with a gradient of 0, if no value is known.
    """
    # Two tensors: torch divides a number by a tensor as the product with its reciprocal, which may miss 1.
    return values.mean() * (values.new_full((), known.numel()) / known.sum().clamp(min=1))


class CellLoss(nn.Module):
    """The base of the losses that have a value for each cell."""

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """*Shape:* two times `(batch_size, num_labels)` to the same, 0 where the label is NaN."""
        # The unknown labels become negatives before anything is computed: 0 times NaN is NaN.
        return self.cell_losses(logits, labels.nan_to_num(0.0)) * ~labels.isnan()

    def cell_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The losses of known labels in [0, 1]. *Shape:* two times `(batch_size, num_labels)` to the same."""
        raise NotImplementedError


class BinaryCrossEntropy(CellLoss):
    """-y log p - (1 - y) log(1 - p), with p the sigmoid of the logit."""

    def cell_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """*Shape:* two times `(batch_size, num_labels)` to the same."""
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


class FocalLoss(CellLoss):
    """
    Focal loss: |y - p|^gamma (-y log p - (1 - y) log(1 - p)) (Lin et al., 2017, Focal Loss for Dense Object Detection,
    equation 4; for targets between 0 and 1 Li et al., 2020, Generalized Focal Loss, equation 3, quality focal loss).

    Args:
        gamma (`float`, *optional*, defaults to 2.0): At least 0, which is the binary cross-entropy.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        if not gamma >= 0:
            raise InputError(f"`gamma` must not be negative, got {gamma}.")
        self.gamma = gamma

    def cell_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """*Shape:* two times `(batch_size, num_labels)` to the same."""
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        # As an exponential, the power has a finite gradient where the probability is 0, whatever gamma is.
        distances = F.logsigmoid((1.0 - 2.0 * labels) * logits)
        graded = (labels - torch.sigmoid(logits)).abs().clamp(min=torch.finfo(logits.dtype).eps).log()
        distances = torch.where((labels > 0) & (labels < 1), graded, distances)
        return losses * torch.exp(self.gamma * distances)


class AsymmetricLoss(CellLoss):
    """
    Asymmetric loss: -y (1 - p)^gamma_positive log p - (1 - y) q^gamma_negative log(1 - q) with q = max(p - clip, 0).

    Negatives count less the surer the model is of them, and not at all below `clip` (Ridnik et al., 2021, Asymmetric
    Loss For Multi-Label Classification, equations 4 to 6).

    Args:
        gamma_positive (`float`, *optional*, defaults to 0.0): Focusing of the positives: 0 or at least 1.
        gamma_negative (`float`, *optional*, defaults to 2.0): Focusing of the negatives: 0 or at least 1.
        clip (`float`, *optional*, defaults to 0.05): Probability in [0, 1) under which a negative costs nothing.
    """

    def __init__(self, gamma_positive: float = 0.0, gamma_negative: float = 2.0, clip: float = 0.05) -> None:
        super().__init__()
        for name, value in (("gamma_positive", gamma_positive), ("gamma_negative", gamma_negative)):
            # In between, the gradient is infinite where the probability is 0.
            if value != 0 and not value >= 1:
                raise InputError(f"`{name}` must be 0 or at least 1, got {value}.")
        if not 0.0 <= clip < 1.0:
            raise InputError(f"`clip` must lie in [0, 1), got {clip}.")
        self.gamma_positive, self.gamma_negative, self.clip = gamma_positive, gamma_negative, clip

    def cell_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """*Shape:* two times `(batch_size, num_labels)` to the same."""
        positive, negative = _cross_entropy(logits, 1.0), _cross_entropy(logits, 0.0)
        absence = torch.sigmoid(-logits)
        if self.clip:
            negative = -(absence + self.clip).clamp(max=1.0).log()
        positive = positive * absence**self.gamma_positive
        negative = negative * (torch.sigmoid(logits) - self.clip).clamp(min=0.0) ** self.gamma_negative
        return labels * positive + (1.0 - labels) * negative


class ClassBalancedLoss(CellLoss):
    """
    Binary cross-entropy, each label weighed by the inverse of its effective number of positives:
    w_c (-y log p - (1 - y) log(1 - p)).

    The weights w_c = (1 - beta) / (1 - beta^n_c) are scaled to a mean of 1 (Cui et al., 2019, Class-Balanced Loss
    Based on Effective Number of Samples). Positives and negatives of a label are weighed alike.

    Args:
        label_counts (`Sequence[float]` of length `num_labels`): Positives of each label in the training split, the sum
            of its known targets; below 1 it counts as 1.
        beta (`float`, *optional*, defaults to 0.999): In [0, 1); 0 weighs all labels alike.
    """

    def __init__(self, label_counts: Sequence[float], beta: float = 0.999) -> None:
        super().__init__()
        if not 0.0 <= beta < 1.0:
            raise InputError(f"`beta` must lie in [0, 1), got {beta}.")
        counts = torch.as_tensor(label_counts, dtype=torch.float64).clamp(min=1)
        weights = (1.0 - beta) / (1.0 - beta**counts)
        self.weights: torch.Tensor
        self.register_buffer("weights", (weights / weights.mean()).float())

    def cell_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """*Shape:* two times `(batch_size, num_labels)` to the same."""
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return losses * self.weights.to(losses.dtype)


class DistributionBalancedLoss(CellLoss):
    r"""
    Distribution-balanced loss: weights against the double counting of texts with several labels, and negatives that
    stop pushing once they are right (Wu et al., 2020, Distribution-Balanced Loss for Multi-Label Classification in
    Long-Tailed Datasets; on texts by Huang et al., 2021, Balancing Methods for Multi-label Text Classification with
    Long-Tailed Class Distribution).

    With n_c positives of label c among the N_c texts that know it and u = z - bias_scale log(N_c / n_c - 1):
    w_c (y log(1 + exp(-u)) + (1 - y) / negative_scale log(1 + exp(negative_scale u))), where
    w_c = weight_offset + sigmoid(weight_slope (r_c - weight_center)) and r_c = (1 / n_c) / sum over the labels d that
    the text knows of y_d / n_d, infinite for a text without labels.

    Args:
        label_counts (`Sequence[float]` of length `num_labels`): Positives of each label in the training split, the sum
            of its known targets; below 1 it counts as 1, and from N_c - 1 on as N_c - 1.
        num_samples (`int` or `Sequence[int]` of length `num_labels`): Texts of the training split that know the label.
        rebalance (`bool`, *optional*, defaults to `True`): Off sets every weight w_c to 1.
        weight_offset, weight_slope, weight_center (`float`, *optional*, default to 0.1, 10.0 and 0.2):
            Alpha (at least 0), beta (above 0) and mu of the paper.
        negative_scale (`float`, *optional*, defaults to 2.0): Lambda of the paper, above 0; 1 turns it off.
        bias_scale (`float`, *optional*, defaults to 0.05): Kappa of the paper, at least 0; 0 turns it off.
    """

    def __init__(
        self,
        label_counts: Sequence[float],
        num_samples: int | Sequence[int],
        rebalance: bool = True,
        weight_offset: float = 0.1,
        weight_slope: float = 10.0,
        weight_center: float = 0.2,
        negative_scale: float = 2.0,
        bias_scale: float = 0.05,
    ) -> None:
        super().__init__()
        for name, value in (("negative_scale", negative_scale), ("weight_slope", weight_slope)):
            if not value > 0:
                raise InputError(f"`{name}` must be above 0, got {value}.")
        for name, value in (("bias_scale", bias_scale), ("weight_offset", weight_offset)):
            if not value >= 0:
                raise InputError(f"`{name}` must not be negative, got {value}.")
        self.rebalance, self.negative_scale = rebalance, negative_scale
        self.weight_offset, self.weight_slope, self.weight_center = weight_offset, weight_slope, weight_center
        known = torch.as_tensor(num_samples, dtype=torch.float64)
        most = (known - 1).clamp(min=1)
        positives = torch.as_tensor(label_counts, dtype=torch.float64).clamp(min=1).minimum(most)
        negatives = (known - positives).clamp(min=1)
        self.rarity: torch.Tensor
        self.bias: torch.Tensor
        self.register_buffer("rarity", (1.0 / positives).float())
        self.register_buffer("bias", (bias_scale * (negatives / positives).log()).float())

    def cell_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """*Shape:* two times `(batch_size, num_labels)` to the same."""
        shifted = logits - self.bias.to(logits.dtype)
        negative = _cross_entropy(self.negative_scale * shifted, 0.0) / self.negative_scale
        losses = labels * _cross_entropy(shifted, 1.0) + (1.0 - labels) * negative
        if not self.rebalance:
            return losses
        rarity = self.rarity.to(logits.dtype)
        ratios = rarity / (labels * rarity).sum(dim=-1, keepdim=True)
        return losses * (self.weight_offset + torch.sigmoid(self.weight_slope * (ratios - self.weight_center)))


class ZLPRLoss(nn.Module):
    """
    Zero-bounded log-sum-exp and pairwise rank-based loss: log(1 + sum of (1 - y) exp(z)) + log(1 + sum of y exp(-z)),
    both sums over the labels that the text knows (Su et al., 2022, ZLPR: A Novel Loss for Multi-label Classification,
    whose y are 0 and 1).

    It compares all labels of a text with one another and with the threshold 0, so it has no loss per label; its
    size is that of a sum over labels, not of a mean.
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """*Shape:* two times `(batch_size, num_labels)` to `(batch_size, 1)`, 0 where the text knows no label."""
        zero = logits.new_zeros(len(logits), 1)
        presence, absence = labels.nan_to_num(0.0), (1.0 - labels).nan_to_num(0.0)
        negatives = torch.cat([logits + absence.log(), zero], dim=-1)
        positives = torch.cat([presence.log() - logits, zero], dim=-1)
        return negatives.logsumexp(dim=-1, keepdim=True) + positives.logsumexp(dim=-1, keepdim=True)


def _cross_entropy(logits: torch.Tensor, label: float) -> torch.Tensor:
    """The binary cross-entropy of every logit beside one and the same label."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label), reduction="none")


BASE_LOSSES: dict[str, type[nn.Module]] = {
    "bce": BinaryCrossEntropy,
    "focal": FocalLoss,
    "asymmetric": AsymmetricLoss,
    "class_balanced": ClassBalancedLoss,
    "distribution_balanced": DistributionBalancedLoss,
    "zlpr": ZLPRLoss,
}
# Arguments that come from the training split; all others are options.
_STATISTICS = ("label_counts", "num_samples")
LOSSES_WITH_STATISTICS = ("class_balanced", "distribution_balanced")


def make_base_loss(
    name: str, options: Mapping[str, Any], label_counts: Sequence[float], num_samples: int | Sequence[int]
) -> nn.Module:
    """
    Create a base loss by its name.

    Args:
        name (`str`): A key of `BASE_LOSSES`.
        options (`dict[str, Any]`): Its arguments, without those that come from the training split.
        label_counts (`Sequence[float]` of length `num_labels`): Positives of each label in the training split.
        num_samples (`int` or `Sequence[int]` of length `num_labels`): Texts of the training split that know the label.

    Raises:
        `InputError`: If the name or an option is unknown, or a value is not a number or out of its range.
    """
    if name not in BASE_LOSSES:
        raise InputError(f"`base_loss` must be one of {', '.join(BASE_LOSSES)}, got {name!r}.")
    loss = BASE_LOSSES[name]
    known = inspect.signature(loss).parameters if loss.__init__ is not nn.Module.__init__ else {}
    allowed = [option for option in known if option not in _STATISTICS]
    for option in options:
        if option not in allowed:
            raise InputError(
                f"`base_loss_options` of {name} are {', '.join(allowed) or 'none'}; there is no {option!r}."
            )
        # YAML reads 1e-1 as a word.
        if not isinstance(options[option], int | float) or math.isinf(options[option]):
            raise InputError(f"`base_loss_options`: `{option}` must be a number, got {options[option]!r}.")
    statistics = {"label_counts": label_counts, "num_samples": num_samples}
    return loss(**{key: value for key, value in statistics.items() if key in known}, **options)
