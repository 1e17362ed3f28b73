# SPDX-License-Identifier: Apache-2.0
"""The contrastive term: texts that share labels lie close together."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InputError


class ContrastiveTerm(nn.Module):
    r"""
    Supervised contrastive loss for several labels, positives weighed by the Jaccard similarity of the label sets, of
    those labels that both texts know.

    With text states h normalised to length 1, J_ij the Jaccard similarity of the labels of i and j, and the softmax
    over all j != i: -1/N sum_i (1 / sum_j J_ij) sum_{j != i} J_ij log softmax_j(h_i h_j / temperature). For one label
    per text this is the loss of Khosla et al. (2020, Supervised Contrastive Learning, equation 2) over its number of
    texts; the J_ij are the weights of Lin et al. (2023, An Effective Deployment of Contrastive Learning in Multi-label
    Text Classification, JSCL), scaled here to a sum of 1 for every text. A text that shares no label with any other
    adds 0.

    The memory holds states of earlier batches, without gradient, as further j: there a rare label meets a partner
    (Wang et al., 2020, Cross-Batch Memory for Embedding Learning). It is filled in training mode only, drops its
    oldest texts first, and is part of the `state_dict`, so that a resumed run continues with the same memory.

    Args:
        temperature (`float`, *optional*, defaults to 0.1): Divides the similarities; above 0.
        memory_size (`int`, *optional*, defaults to 0): Texts that are remembered; 0 for none.
    """

    def __init__(self, temperature: float = 0.1, memory_size: int = 0) -> None:
        super().__init__()
        if not temperature > 0:
            raise InputError(f"`contrastive_temperature` must be above 0, got {temperature}.")
        if memory_size < 0:
            raise InputError(f"`contrastive_memory_size` must not be negative, got {memory_size}.")
        self.temperature, self.memory_size = temperature, memory_size
        self.memory_states: torch.Tensor
        self.memory_labels: torch.Tensor
        self.register_buffer("memory_states", torch.zeros(0, 0))
        self.register_buffer("memory_labels", torch.zeros(0, 0))

    def forward(self, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """
        Args:
            states (`torch.Tensor` of shape `(batch_size, hidden_size)`): Text states.
            labels (`torch.Tensor` of shape `(batch_size, num_labels)`): In [0, 1], NaN where unknown.

        Returns:
            `torch.Tensor` of shape `()`.
        """
        states = nn.functional.normalize(states, dim=-1)
        anchors = states / self.temperature
        is_self = torch.eye(len(states), dtype=torch.bool, device=states.device)
        similarities = (anchors @ states.T).masked_fill(is_self, torch.finfo(states.dtype).min)
        weights = jaccard_similarity(labels, labels).masked_fill(is_self, 0.0)
        if len(self.memory_states):
            # A product of its own, so that no gradient of the memory is computed.
            remembered = anchors @ self.memory_states.to(states).T
            similarities = torch.cat([similarities, remembered], dim=1)
            weights = torch.cat([weights, jaccard_similarity(labels, self.memory_labels.to(labels))], dim=1)
        weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        loss = -(weights * similarities.log_softmax(dim=-1)).sum(dim=-1).mean()
        if self.memory_size and self.training:
            self._remember(states.detach(), labels)
        return loss

    def _remember(self, states: torch.Tensor, labels: torch.Tensor) -> None:
        if not len(self.memory_states):
            self.memory_states, self.memory_labels = states[:0], labels[:0]
        self.memory_states = torch.cat([states, self.memory_states])[: self.memory_size]
        self.memory_labels = torch.cat([labels, self.memory_labels])[: self.memory_size]

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *arguments: object) -> None:
        # The memory grows: it takes the size of the loaded one.
        for name in ("memory_states", "memory_labels"):
            if prefix + name in state_dict:
                state_dict[prefix + name] = state_dict[prefix + name][: self.memory_size]
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def jaccard_similarity(labels: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """
    Shared labels divided by all labels of each pair of texts; 0 for two texts without labels.

    Over the labels that both texts know: sum of min(y_i, y_j) / sum of max(y_i, y_j), the generalised Jaccard index
    (Ruzicka, 1958), for 0/1 labels that of the two sets.

    Args:
        labels (`torch.Tensor` of shape `(batch_size, num_labels)`): In [0, 1], NaN where unknown.
        others (`torch.Tensor` of shape `(num_others, num_labels)`): Likewise.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_others)`.
    """
    known, others_known = ((~rows.isnan()).to(rows.dtype) for rows in (labels, others))
    targets, others_targets = labels.nan_to_num(0.0), others.nan_to_num(0.0)
    shared = torch.zeros(len(labels), len(others), dtype=labels.dtype, device=labels.device)
    # One label after the other: all pairs of texts with all labels would be large.
    for target, other in zip(targets.T, others_targets.T, strict=True):
        shared += torch.minimum(target[:, None], other)
    # The larger of two numbers is their sum less the smaller one.
    total = targets @ others_known.T + known @ others_targets.T - shared
    return shared / total.clamp(min=torch.finfo(total.dtype).eps)
