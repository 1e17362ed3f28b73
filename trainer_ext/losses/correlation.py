# SPDX-License-Identifier: Apache-2.0
"""
Label-correlation terms: labels that occur together in the training split are to be predicted together.

Every class takes logits and labels of shape `(batch_size, num_labels)`, the latter in [0, 1] or NaN where unknown, and
returns one number. The formulas are candidates for the first paper's term, of which only the idea is known.
"""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InputError
from .base import mean_over_known

# Added to a variance of probabilities, so that a label that never changes within a batch has no correlation.
_MIN_VARIANCE = 1e-6


class _CorrelationTerm(nn.Module):
    """A term that knows the label correlations, of shape `(num_labels, num_labels)`, without the diagonal."""

    correlation: torch.Tensor

    def __init__(self, correlation: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("correlation", correlation.float().clone().fill_diagonal_(0.0))


class LaplacianTerm(_CorrelationTerm):
    """
    Probabilities of correlated labels are drawn together, those of labels that avoid each other apart:
    1 / C^2 sum_cd R_cd (p_c - p_d)^2, the mean over the texts; below 0 where the latter weigh more. The graph
    Laplacian of R as regulariser (Belkin, Niyogi and Sindhwani, 2006, Manifold Regularization), over labels in place
    of samples. It needs no label of the batch: R_cd is 0 for labels that no training text knows both of.
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: ARG002  (one signature)
        """*Shape:* two times `(batch_size, num_labels)` to `()`."""
        probabilities = torch.sigmoid(logits)
        correlation = self.correlation.to(logits.dtype)
        degrees = correlation.sum(dim=0) + correlation.sum(dim=1)
        squares = (probabilities**2 @ degrees) - 2.0 * ((probabilities @ correlation) * probabilities).sum(dim=-1)
        return squares.mean() / correlation.numel()


class MatchingTerm(_CorrelationTerm):
    """
    The correlations of the predicted probabilities within the batch match those of the training labels:
    sum over c != d of (corr(P)_cd - R_cd)^2 / C^2, with Pearson's correlation over the texts that know both labels; a
    pair that fewer than two texts know adds 0. After the
    alignment of covariances by Sun and Saenko (2016, Deep CORAL, equation 1), with the labels' matrix as its target.
    The correlation within a batch is off by about 1 / sqrt(batch_size): the term is for batches of hundreds of texts.
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """*Shape:* two times `(batch_size, num_labels)` to `()`."""
        if len(logits) < 2:
            return 0.0 * logits.sum()
        known = ~labels.isnan()
        probabilities, target = torch.sigmoid(logits), self.correlation.to(logits.dtype)
        if known.all():
            centred = probabilities - probabilities.mean(dim=0)
            scaled = centred / (centred.square().mean(dim=0) + _MIN_VARIANCE).sqrt()
            difference = scaled.T @ scaled / len(scaled) - target
        else:
            correlation, is_defined = _pairwise_correlation(probabilities, known.to(logits.dtype))
            difference = (correlation - target) * is_defined
        return (difference - torch.diag(difference.diagonal())).square().mean()


def _pairwise_correlation(probabilities: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Pearson's correlation of the columns over the rows where both are known, and which pairs have two such rows, both
    `(num_labels, num_labels)`.
    """
    counts = known.T @ known
    shared = counts.clamp(min=1.0)
    # Centred twice, by each label's own mean first, so that little is lost to rounding.
    means = (probabilities * known).sum(dim=0) / known.sum(dim=0).clamp(min=1.0)
    centred = (probabilities - means) * known
    # Of the label of the row, over the rows that know that of the column as well.
    pair_means = centred.T @ known / shared
    variances = (centred.square().T @ known / shared - pair_means.square()).clamp(min=0.0) + _MIN_VARIANCE
    covariances = centred.T @ centred / shared - pair_means * pair_means.T
    return covariances / (variances * variances.T).sqrt(), counts >= 2.0


class LCATerm(nn.Module):
    """
    Label-correlation aware term of SpanEmo: the mean over a text's positives a and negatives b of exp(p_b - p_a), the
    mean over the texts; 0 for a text with no positive or no negative (Alhuzali and Ananiadou, 2021, SpanEmo: Casting
    Multi-label Emotion Classification as Span-prediction). It needs no correlation matrix.

    With targets between 0 and 1 a pair has the weight y_a (1 - y_b): (sum of y_a exp(-p_a) / max(1, sum of y_a))
    (sum of (1 - y_b) exp(p_b) / max(1, sum of 1 - y_b)), over the labels that the text knows; texts that know none are
    left out of the mean.
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """*Shape:* two times `(batch_size, num_labels)` to `()`."""
        probabilities = torch.sigmoid(logits)
        positives, negatives = labels.nan_to_num(0.0), (1.0 - labels).nan_to_num(0.0)
        # The mean over pairs is the product of two means.
        low = (negatives * probabilities.exp()).sum(dim=-1) / negatives.sum(dim=-1).clamp(min=1.0)
        high = (positives * (-probabilities).exp()).sum(dim=-1) / positives.sum(dim=-1).clamp(min=1.0)
        return mean_over_known(low * high, (~labels.isnan()).any(dim=-1))


CORRELATION_TERMS = ("none", "laplacian", "matching", "lca")


def make_correlation_term(name: str, correlation: torch.Tensor) -> nn.Module | None:
    """
    Create a correlation term by its name; `None` for `"none"`.

    Args:
        name (`str`): One of `CORRELATION_TERMS`.
        correlation (`torch.Tensor` of shape `(num_labels, num_labels)`): Of the training labels.

    Raises:
        `InputError`: If the name is unknown.
    """
    if name not in CORRELATION_TERMS:
        raise InputError(f"`correlation_loss` must be one of {', '.join(CORRELATION_TERMS)}, got {name!r}.")
    if name == "lca":
        return LCATerm()
    terms = {"laplacian": LaplacianTerm, "matching": MatchingTerm}
    return terms[name](correlation) if name in terms else None
