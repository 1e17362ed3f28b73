# SPDX-License-Identifier: Apache-2.0
"""The hybrid loss: base, correlation and contrastive term, each with its weight, as one dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..errors import InputError
from ..evaluation.label_statistics import count_labels, label_correlation
from ..evaluation.metrics import check_labels
from .base import ZLPRLoss, make_base_loss, mean_over_known
from .contrastive import ContrastiveTerm
from .correlation import make_correlation_term


@dataclass(frozen=True)
class LabelStatistics:
    """
    Statistics of the training split that the terms use.

    Args:
        label_counts (`Sequence[float]` of length `num_labels`): Positives of each label: the sum of its known targets.
        num_samples (`Sequence[int]` of length `num_labels`): Texts that know the label.
        class_weights (`np.ndarray` of shape `(num_labels,)`): Weight of each label's positives.
        correlation (`np.ndarray` of shape `(num_labels, num_labels)`): Correlations of the labels.
    """

    label_counts: Sequence[float]
    num_samples: Sequence[int]
    class_weights: npt.NDArray[np.float64]
    correlation: npt.NDArray[np.float64]

    @classmethod
    def from_labels(
        cls, labels: npt.ArrayLike, *, class_weights: npt.ArrayLike | None = None, smoothing: float = 0.0
    ) -> LabelStatistics:
        """
        Count the labels of the training split and correlate them.

        Args:
            labels (`ArrayLike` of shape `(num_samples, num_labels)`): Training labels in [0, 1], NaN where unknown.
            class_weights (`ArrayLike` of shape `(num_labels,)`, *optional*): Weights above 0, such as those of
                [`~trainer_ext.evaluation.label_statistics.compute_class_weights`]; 1 each by default.
            smoothing (`float`, *optional*, defaults to 0.0): Pseudo-samples of [`label_correlation`].

        Raises:
            `InputError`: If an argument has another shape or is out of its range.
        """
        gold = check_labels(labels)
        weights = np.ones(gold.shape[1]) if class_weights is None else np.asarray(class_weights, dtype=np.float64)
        counts, known = count_labels(gold)
        return cls(counts.tolist(), known.astype(int).tolist(), weights, label_correlation(gold, smoothing=smoothing))


@dataclass(frozen=True)
class HybridLossWeights:
    """
    Weight of each term; a term of weight 0 is not computed.

    Raises:
        `InputError`: If a weight is negative, or neither the base nor the contrastive term has any.
    """

    base: float = 1.0
    auxiliary: float = 0.3
    encoder: float = 0.0
    correlation: float = 0.2
    contrastive: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise InputError(f"`{name}_loss_weight` must not be negative, got {value}.")
        if not self.base and not self.contrastive:
            raise InputError("`base_loss_weight` or `contrastive_loss_weight` must be above 0, got 0 for both.")


class LossInputs(NamedTuple):
    """
    A batch as the losses take it.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`): Of the classifier.
        labels (`torch.Tensor` of shape `(batch_size, num_labels)`): In [0, 1], NaN where unknown.
        states (`torch.Tensor` of shape `(batch_size, hidden_size)`, *optional*): Text states.
        auxiliary_logits (`torch.Tensor` of shape `(batch_size, num_labels)`, *optional*): Of a second classifier.
        encoder_logits (`torch.Tensor` of shape `(batch_size, num_encoders, num_labels)`, *optional*):
            Of the classifier for each encoder alone.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    states: torch.Tensor | None = None
    auxiliary_logits: torch.Tensor | None = None
    encoder_logits: torch.Tensor | None = None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> LossInputs:
        """The batch with `function` applied to every tensor that it has."""
        return self._replace(
            **{name: function(tensor) for name, tensor in self._asdict().items() if tensor is not None}
        )


class HybridLoss(nn.Module):
    """
    Weighted sum of a base loss, a label-correlation term and a contrastive term, in fp32.

    - **base**: one of `BASE_LOSSES`, averaged over the known cells, a cell with the label y weighed by
      1 + y (w_c - 1) with the class weight w_c; `"zlpr"` averaged over the texts that know a label.
    - **auxiliary**: the base loss of the `auxiliary_logits`, if the model has any.
    - **encoder**: the base loss of the `encoder_logits`, if the model has any, averaged over its encoders.
    - **correlation**: one of `CORRELATION_TERMS`, see [`LaplacianTerm`], [`MatchingTerm`], [`LCATerm`].
    - **contrastive**: [`ContrastiveTerm`] on the text states.

    Args:
        statistics ([`LabelStatistics`]): Of the training split.
        base (`str`, *optional*, defaults to `"bce"`): Base loss.
        base_options (`dict[str, Any]`, *optional*): Its own arguments, such as `{"gamma": 2.0}`.
        correlation (`str`, *optional*, defaults to `"none"`): Correlation term.
        temperature (`float`, *optional*, defaults to 0.1): Of the contrastive term.
        memory_size (`int`, *optional*, defaults to 0): Texts that the contrastive term remembers.
        weights ([`HybridLossWeights`], *optional*): Weight of each term.

    Example:
    ```python
    >>> statistics = LabelStatistics.from_labels([[1, 0], [1, 1], [0, 1]], class_weights=[1.0, 2.0])
    >>> loss = HybridLoss(statistics, correlation="lca", weights=HybridLossWeights(correlation=0.1))
    >>> terms = loss(LossInputs(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [1.0, 1.0]])))
    >>> sorted(terms)
    ['base', 'correlation']
    ```
    """

    def __init__(
        self,
        statistics: LabelStatistics,
        base: str = "bce",
        base_options: Mapping[str, Any] | None = None,
        correlation: str = "none",
        temperature: float = 0.1,
        memory_size: int = 0,
        weights: HybridLossWeights | None = None,
    ) -> None:
        super().__init__()
        self.statistics = statistics
        self.weights = weights or HybridLossWeights()
        self.base = make_base_loss(base, base_options or {}, statistics.label_counts, statistics.num_samples)
        self.correlation = make_correlation_term(correlation, torch.from_numpy(statistics.correlation))
        self.contrastive = ContrastiveTerm(temperature, memory_size)
        extra = torch.from_numpy(statistics.class_weights).float() - 1.0
        if isinstance(self.base, ZLPRLoss) and extra.any():
            raise InputError('`base_loss` "zlpr" compares the labels of a text: `class_weights` must be "none".')
        self.extra_weights: torch.Tensor
        self.register_buffer("extra_weights", extra)

    @property
    def needs_states(self) -> bool:
        """Whether `forward` needs text states."""
        return self.weights.contrastive > 0

    def forward(self, batch: LossInputs) -> dict[str, torch.Tensor]:
        """
        Returns:
            `dict[str, torch.Tensor]`: Term to its value times its weight, each of shape `()`; the loss is their sum.

        Raises:
            `InputError`: If the labels have another shape than the logits, or the contrastive term lacks `states`.
        """
        if batch.labels.shape != batch.logits.shape:
            raise InputError(
                f"`labels` must have shape {tuple(batch.logits.shape)}, got {tuple(batch.labels.shape)}. "
                "Check `config.num_labels`."
            )
        if self.needs_states and batch.states is None:
            raise InputError("The contrastive term needs `states`: pass text states, or set its weight to 0.")
        with torch.autocast(batch.logits.device.type, enabled=False):
            logits, labels, states, auxiliary_logits, encoder_logits = batch.map(_in_full_precision)
            labels = labels.to(logits.dtype)
            terms = {}
            if self.weights.base:
                terms["base"] = self._base(logits, labels)
            if self.weights.auxiliary and auxiliary_logits is not None:
                terms["auxiliary"] = self._base(auxiliary_logits, labels)
            if self.weights.encoder and encoder_logits is not None:
                single_logits = encoder_logits.unbind(dim=1)
                terms["encoder"] = torch.stack([self._base(single, labels) for single in single_logits]).mean()
            if self.weights.correlation and self.correlation is not None:
                terms["correlation"] = self.correlation(logits, labels)
            if self.weights.contrastive and states is not None:
                terms["contrastive"] = self.contrastive(states, labels)
            return {name: getattr(self.weights, name) * value for name, value in terms.items()}

    def _base(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        losses, known = self.base(logits, labels), ~labels.isnan()
        if isinstance(self.base, ZLPRLoss):
            return mean_over_known(losses, known.any(dim=-1, keepdim=True))
        weights = 1.0 + labels.nan_to_num(0.0) * self.extra_weights.to(losses.dtype)
        return mean_over_known(losses * weights, known)


def _in_full_precision(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
