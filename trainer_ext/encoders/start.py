# SPDX-License-Identifier: Apache-2.0
"""
A stack that starts as the weighted mean of its encoders' own classifiers.

An encoder that was trained alone has a linear classifier over the mean of its word states. The skip connection hands
the same means to the stack's classifier, so that the weighted mean of the encoders' logits is one choice of its
weights: the stack begins as good as the ensemble that it has to beat, and mixer and Bi-LSTM learn to improve on it.
With a weighted skip connection the meta-learner's weights begin as the same for all words, and learn what each is
worth to which text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import nn

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, label_names

from ..data.batching import LENGTH_COLUMN
from ..data.length_batches import length_batches
from ..evaluation.calibration import sigmoid
from ..evaluation.metrics import check_labels, is_known
from ..precision import autocast

# Of the weight of an encoder at the start: at 0 it could learn nothing.
_LEAST_SHARE = 1e-3

MEAN_STATE: dict[str, Any] = {"mixer": "none", "lstm_num_layers": 0, "pooling": "mean", "skip_connection": False}
"""Fields of a configuration with nothing between the mean of the word states and the classifier."""


def mean_state_classifier(model: Any, labels: Sequence[str], may_lack: bool = False) -> nn.Linear | None:
    """
    The classifier of a model that is one encoder, the mean of its word states and a linear layer, for these labels in
    this order; `None` for any other model. With a skip connection past nothing the layer sees this mean twice: then it
    is a new layer, with the sum of both weights. If the model `may_lack` labels, it is a new layer as well, which
    gives each of these the prior probability of an untrained classifier.
    """
    if not isinstance(model, StackedEmotionForSequenceClassification):
        return None
    known = label_names(model.config)
    if known != list(labels) and not (may_lack and {*known} <= {*labels}):
        return None
    fields = MEAN_STATE.keys() - {"skip_connection"}
    is_plain = all(getattr(model.config, field) == MEAN_STATE[field] for field in fields)
    if not is_plain or len(model.config.encoders) != 1:
        return None
    weight, bias = model.classifier.weight.detach(), model.classifier.bias.detach()
    if model.config.skip_connection:
        pooled, skipped = weight.chunk(2, dim=1)
        weight = pooled + skipped
    elif known == list(labels):
        return model.classifier
    classifier = nn.Linear(weight.shape[1], len(labels))
    places = [list(labels).index(name) for name in known]
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.bias.fill_(model.config.prior_logit)
        classifier.weight[places], classifier.bias[places] = weight, bias
    return classifier


def start_from_classifiers(
    model: StackedEmotionForSequenceClassification,
    classifiers: Mapping[str, nn.Linear],
    rows: datasets.Dataset | None,
    collator: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]],
    batch_size: int = 64,
    precision: str = "fp32",
) -> dict[str, float]:
    """
    Set the model's classifier to the mean of the encoders' classifiers, weighted by [`fit_shares`].

    Args:
        model ([`StackedEmotionForSequenceClassification`]): With the skip connection; without it nothing is changed.
        classifiers (`Mapping[str, nn.Linear]`):
            Encoder to its classifier, on the CPU. An encoder without one gets a share of 0.
        rows ([`datasets.Dataset`], *optional*):
            The validation split with `labels` and `length`; without one, all shares are equal.
        collator (`Callable`): Makes a batch of such rows: the model's inputs, and `labels`.
        batch_size (`int`, *optional*, defaults to 64): Rows per forward pass.
        precision (`str`, *optional*, defaults to `"fp32"`): Of the encoders, a key of `DTYPES`.

    Returns:
        `dict[str, float]`: Encoder to its share; they sum to 1. Empty if nothing was changed.
    """
    names = [name for name in model.config.encoders if name in classifiers]
    if not names or not model.config.skip_connection:
        return {}
    shares = dict.fromkeys(names, 1 / len(names))
    if rows is not None:
        means, labels = _text_means(model, rows, collator, batch_size, precision)
        with torch.inference_mode():
            logits = [classifiers[name](means[name]).numpy() for name in names]
        shares = dict(zip(names, fit_shares(labels, logits).tolist(), strict=True))
    _set_classifier(model, classifiers, shares)
    if model.config.weighted_skip_connection:
        _set_weights(model, shares)
    return shares


@torch.no_grad()
def _set_classifier(
    model: StackedEmotionForSequenceClassification, classifiers: Mapping[str, nn.Linear], shares: Mapping[str, float]
) -> None:
    """The mean of the encoders' classifiers; with a weighted skip connection its shares are the encoders' weights."""
    # On the CPU, as the classifiers are.
    weight, bias = (torch.zeros(value.shape) for value in (model.classifier.weight, model.classifier.bias))
    for name, share in shares.items():
        bias += share * classifiers[name].bias
    for name, share in shares.items():
        single, place = classifiers[name], model.stacked_emotion.skip_places[name]
        if model.config.weighted_skip_connection:
            weight[:, place] = torch.cat([single.weight, (single.bias - bias).unsqueeze(-1)], dim=-1)
        else:
            weight[:, place] = share * single.weight
    model.classifier.load_state_dict({"weight": weight, "bias": bias})


@torch.no_grad()
def _set_weights(model: StackedEmotionForSequenceClassification, shares: Mapping[str, float]) -> None:
    """The meta-learner gives every word these weights; an encoder without a share gets next to nothing."""
    gate: Any = model.stacked_emotion.mixer.gate  # type: ignore[union-attr]
    gate.weight.zero_()
    gate.bias.copy_(torch.tensor([shares.get(name, 0.0) for name in model.config.encoders]).clamp(_LEAST_SHARE).log())


@torch.inference_mode()
def _text_means(
    model: StackedEmotionForSequenceClassification,
    rows: datasets.Dataset,
    collator: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]],
    batch_size: int,
    precision: str,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Each encoder's mean word state for every row, `(num_rows, hidden_size)`, and the labels of the rows."""
    was_training = model.training
    model.eval()
    sizes = model.stacked_emotion.hidden_sizes
    means = torch.zeros(len(rows), sum(sizes))
    labels = torch.zeros(len(rows), model.config.num_labels)
    for indices in length_batches(rows[LENGTH_COLUMN], batch_size):
        batch = collator(rows.select(indices).to_list())
        labels[indices] = batch.pop("labels")
        inputs = {key: value.to(model.device) for key, value in batch.items()}
        with autocast(model.device.type, precision):
            means[indices] = model.stacked_emotion(**inputs).encoder_means.float().cpu()
    model.train(was_training)
    return dict(zip(model.config.encoders, means.split(sizes, dim=1), strict=True)), labels


def fit_shares(labels: npt.ArrayLike, logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """
    Shares of several classifiers in the mean of their logits.

    One logistic regression for all labels, with a slope for each classifier, not below 0, and an intercept for each
    label, of the highest likelihood (stacked regressions with non-negative weights, Breiman, 1996); a convex problem.
    The intercepts, which absorb the shift of the logits by class weights, are not used. Slopes are drawn to their
    mean by the part of their spread that their standard errors explain (James and Stein, 1961, positive part): with
    few samples shares are nearly equal. Shares are these slopes divided by their sum.

    Args:
        labels (`ArrayLike` of shape `(num_samples, num_labels)`): Gold labels in [0, 1], NaN where unknown; the
            likelihood is that of the known ones.
        logits (`ArrayLike` of shape `(num_classifiers, num_samples, num_labels)`): Of every classifier.

    Returns:
        `np.ndarray` of shape `(num_classifiers,)`: Shares, which sum to 1; equal ones where no slope is above 0.
    """
    targets, scores = check_labels(labels), np.asarray(logits, dtype=np.float64)
    known, gold = is_known(targets), np.nan_to_num(targets.astype(np.float64))
    count, num_known = len(scores), max(known.sum(), 1)

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        combined = np.tensordot(parameters[:count], scores, axes=1) + parameters[count:]
        residuals = (sigmoid(combined) - gold) * known
        gradient = np.concatenate([np.tensordot(scores, residuals, axes=2), residuals.sum(axis=0)])
        losses = (np.logaddexp(0.0, combined) - gold * combined) * known
        return losses.mean() * (known.size / num_known), gradient / num_known

    start = np.concatenate([np.full(count, 1 / count), np.zeros(gold.shape[1])])
    bounds = [(0.0, None)] * count + [(None, None)] * gold.shape[1]
    parameters = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    slopes = parameters[:count]
    spread = slopes - slopes.mean()
    if not spread.any():
        return np.full(count, 1 / count)
    probabilities = sigmoid(np.tensordot(slopes, scores, axes=1) + parameters[count:])
    curvature = probabilities * (1.0 - probabilities) * known
    total = np.maximum(curvature.sum(axis=0), np.finfo(np.float64).tiny)
    centred = scores - (curvature * scores).sum(axis=1, keepdims=True) / total
    covariance = np.linalg.pinv(np.einsum("nl,enl,fnl->ef", curvature, centred, centred))
    by_chance = np.trace(covariance) - covariance.mean(axis=0).sum()
    slopes = slopes.mean() + max(0.0, 1.0 - by_chance / (spread**2).sum()) * spread
    return slopes / slopes.sum()


def format_shares(shares: Mapping[str, float]) -> str:
    """Such as `arabert 0.41, marbert 0.59`."""
    return ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
