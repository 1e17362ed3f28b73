# SPDX-License-Identifier: Apache-2.0
"""Tests of the base losses against their formulas, one element at a time, and at their limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from loss_samples import CASES, LABEL_COUNTS, LABELS, NUM_SAMPLES, UNKNOWN, extreme_logits, random_logits
from torch.nn import functional as F  # noqa: N812  (its usual name)

from trainer_ext.losses.base import BASE_LOSSES, make_base_loss, mean_over_known

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("bce", {}),
    ("focal", {}),
    ("focal", {"gamma": 0.5}),
    ("asymmetric", {}),
    ("asymmetric", {"gamma_positive": 1.0, "gamma_negative": 4.0, "clip": 0.2}),
    ("asymmetric", {"gamma_negative": 0.0, "clip": 0.1}),
    ("asymmetric", {"gamma_positive": 3.0, "clip": 0.0}),
    ("class_balanced", {}),
    ("class_balanced", {"beta": 0.9}),
    ("distribution_balanced", {}),
    ("distribution_balanced", {"rebalance": False, "negative_scale": 0.5, "bias_scale": 0.3}),
    ("distribution_balanced", {"weight_offset": 0.3, "weight_slope": 4.0, "weight_center": 0.6}),
    ("zlpr", {}),
]
OFF: list[tuple[str, dict[str, Any]]] = [
    ("focal", {"gamma": 0.0}),
    ("asymmetric", {"gamma_positive": 0.0, "gamma_negative": 0.0, "clip": 0.0}),
    ("class_balanced", {"beta": 0.0}),
    ("distribution_balanced", {"rebalance": False, "negative_scale": 1.0, "bias_scale": 0.0}),
]


def make(name: str, options: dict[str, Any], num_labels: int = 5) -> torch.nn.Module:
    return make_base_loss(name, options, LABEL_COUNTS[:num_labels], NUM_SAMPLES)


# ------------------------------------------------------------------------------------ the formulas, element by element


def sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


def bce(z: list[float], y: list[float], c: int) -> float:
    return -y[c] * math.log(sigmoid(z[c])) - (1 - y[c]) * math.log(1.0 - sigmoid(z[c]))


def focal(z: list[float], y: list[float], c: int, gamma: float = 2.0) -> float:
    return abs(y[c] - sigmoid(z[c])) ** gamma * bce(z, y, c)


def asymmetric(
    z: list[float],
    y: list[float],
    c: int,
    gamma_positive: float = 0.0,
    gamma_negative: float = 2.0,
    clip: float = 0.05,
) -> float:
    p = sigmoid(z[c])
    q = max(p - clip, 0.0)
    positive, negative = -((1 - p) ** gamma_positive) * math.log(p), -(q**gamma_negative) * math.log(1 - q)
    return y[c] * positive + (1 - y[c]) * negative


def class_balanced(z: list[float], y: list[float], c: int, beta: float = 0.999) -> float:
    effective = [(1 - beta ** max(count, 1)) / (1 - beta) for count in LABEL_COUNTS]
    mean = sum(1 / number for number in effective) / len(effective)
    return bce(z, y, c) / effective[c] / mean


def distribution_balanced(
    z: list[float],
    y: list[float],
    c: int,
    rebalance: bool = True,
    weight_offset: float = 0.1,
    weight_slope: float = 10.0,
    weight_center: float = 0.2,
    negative_scale: float = 2.0,
    bias_scale: float = 0.05,
) -> float:
    counts = [min(max(count, 1), NUM_SAMPLES - 1) for count in LABEL_COUNTS]
    u = z[c] - bias_scale * math.log(NUM_SAMPLES / counts[c] - 1)
    negative = math.log(1 + math.exp(negative_scale * u)) / negative_scale
    loss = y[c] * math.log(1 + math.exp(-u)) + (1 - y[c]) * negative
    if not rebalance:
        return loss
    sampled_by_text = sum(share / count for count, share in zip(counts, y, strict=True) if not math.isnan(share))
    ratio = (1 / counts[c]) / sampled_by_text if sampled_by_text else math.inf
    return loss * (weight_offset + sigmoid(weight_slope * (ratio - weight_center)))


def zlpr(z: list[float], y: list[float], c: int) -> float:
    known = [(logit, share) for logit, share in zip(z, y, strict=True) if not math.isnan(share)]
    negatives = sum((1 - share) * math.exp(logit) for logit, share in known)
    positives = sum(share * math.exp(-logit) for logit, share in known)
    return math.log(1 + negatives) + math.log(1 + positives)


FORMULAS: dict[str, Callable[..., float]] = {
    "bce": bce,
    "focal": focal,
    "asymmetric": asymmetric,
    "class_balanced": class_balanced,
    "distribution_balanced": distribution_balanced,
    "zlpr": zlpr,
}


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("case", ["usual", "unknown labels", "graded labels", "nothing known"])
def test_every_element_is_that_of_the_formula(name: str, options: dict[str, Any], case: str) -> None:
    labels = CASES[case]
    logits = random_logits(labels)
    found = make(name, options)(logits, labels)
    assert found.shape == ((len(labels), 1) if name == "zlpr" else labels.shape)
    # What comes of the counts is kept in fp32.
    tolerance = 1e-6 if "balanced" in name else 1e-12
    for row, (z, y) in enumerate(zip(logits.tolist(), labels.tolist(), strict=True)):
        for c in range(found.shape[1]):
            is_unknown = name != "zlpr" and math.isnan(y[c])
            expected = 0.0 if is_unknown else FORMULAS[name](z, y, c, **options)
            assert found[row, c].item() == pytest.approx(expected, rel=tolerance, abs=tolerance), (row, c)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_the_value(name: str, options: dict[str, Any], case: str) -> None:
    labels = CASES[case]
    loss = make(name, options, labels.shape[1])
    logits = random_logits(labels).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, labels).sum(dim=-1), (logits,))


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_have_finite_losses_and_gradients(
    name: str, options: dict[str, Any], case: str, dtype: torch.dtype
) -> None:
    labels = CASES[case].to(dtype)
    logits = extreme_logits(labels).to(dtype).requires_grad_()
    found = make(name, options, labels.shape[1])(logits, labels)
    assert found.dtype == dtype
    assert found.isfinite().all()
    assert (found >= 0).all()
    found.sum().backward()
    assert logits.grad.isfinite().all()


def test_the_mean_is_over_known_cells_and_of_all_cells_to_the_last_bit() -> None:
    values = random_logits(torch.zeros(7, 7)).float().requires_grad_()
    assert torch.equal(mean_over_known(values, torch.ones(7, 7, dtype=torch.bool)), values.mean())
    known = torch.rand(7, 7, generator=torch.Generator().manual_seed(0)) < 0.4
    found = mean_over_known(values * known, known)
    assert found.item() == pytest.approx(values[known].mean().item(), rel=1e-6)
    nothing = mean_over_known(values * 0.0, torch.zeros(7, 7, dtype=torch.bool))
    nothing.backward()
    assert nothing.item() == 0.0
    assert not values.grad.any()


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_the_logits_of_unknown_labels_have_no_influence(name: str, options: dict[str, Any]) -> None:
    logits = random_logits(UNKNOWN).requires_grad_()
    other = torch.where(UNKNOWN.isnan(), extreme_logits(UNKNOWN), logits)
    loss = make(name, options)
    found = loss(logits, UNKNOWN)
    found.sum().backward()
    assert torch.equal(found, loss(other, UNKNOWN))
    assert not logits.grad[UNKNOWN.isnan()].any()
    assert logits.grad[~UNKNOWN.isnan()].any()


def test_distribution_balanced_bias_counts_the_texts_that_know_a_label() -> None:
    loss = make_base_loss("distribution_balanced", {"bias_scale": 1.0}, [2.5, 3.0], [10, 5])
    assert loss.bias.tolist() == pytest.approx([math.log(10 / 2.5 - 1), math.log(5 / 3 - 1)])


# ---------------------------------------------------------------------------------------------------------- extras off


@pytest.mark.parametrize(("name", "options"), OFF)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_extras_it_is_binary_cross_entropy_to_the_last_bit(
    name: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    results = []
    for loss in (make(name, options), make("bce", {})):
        labels = torch.cat([LABELS] * 4).to(dtype)
        logits = torch.cat([random_logits(torch.cat([LABELS] * 2)), extreme_logits(torch.cat([LABELS] * 2))])
        logits = logits.to(dtype).requires_grad_()
        value = loss(logits, labels)
        value.sum().backward()
        results.append((value, logits.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][0], F.binary_cross_entropy_with_logits(logits, labels, reduction="none"))
    assert (results[0][1] - results[1][1]).abs().max() <= torch.finfo(dtype).eps


def test_zlpr_of_one_label_is_binary_cross_entropy() -> None:
    labels = LABELS[:, :1]
    logits = torch.cat([random_logits(labels), extreme_logits(labels)])
    labels = torch.cat([labels, labels])
    assert torch.allclose(make("zlpr", {})(logits, labels), make("bce", {})(logits, labels), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------- properties


def test_asymmetric_loss_ignores_negatives_under_the_clip() -> None:
    loss = make("asymmetric", {"clip": 0.1})
    logits = torch.tensor([[0.02, 0.0999, 0.1001, 0.5]], dtype=torch.float64).logit().requires_grad_()
    found = loss(logits, torch.zeros(1, 4, dtype=torch.float64))
    found.sum().backward()
    for values in (found[0], logits.grad[0]):
        assert values[:2].tolist() == [0.0, 0.0]
        assert (values[2:] > 0).all()


def test_focal_loss_lowers_sure_answers_most() -> None:
    logits, labels = torch.tensor([[0.0, 3.0, 80.0]]), torch.ones(1, 3)
    ratios = make("focal", {})(logits, labels) / make("bce", {})(logits, labels).clamp(min=1e-30)
    assert ratios[0].tolist() == pytest.approx([0.25, sigmoid(-3.0) ** 2, 0.0])


def test_class_balanced_weights_are_higher_the_rarer_a_label_and_one_in_the_mean() -> None:
    weights = make("class_balanced", {}).weights
    assert weights.mean().item() == pytest.approx(1.0)
    assert weights[2] == weights[3] == weights.max()
    assert weights[2] > weights[0] > weights[1] > weights[4]


def test_distribution_balanced_bias_of_a_label_without_positives_or_negatives_is_that_of_one() -> None:
    bias = make("distribution_balanced", {"bias_scale": 2.0}).bias
    assert bias[2:].tolist() == pytest.approx([2 * math.log(99), 2 * math.log(99), -2 * math.log(99)])
    assert bias[1].item() == pytest.approx(2 * math.log(70 / 30))
    single = make_base_loss("distribution_balanced", {}, [1, 0], 1)
    assert single.bias.tolist() == [0.0, 0.0]


def test_distribution_balanced_weights_of_a_text_without_labels_are_the_highest() -> None:
    logits = torch.zeros(2, 5)
    labels = torch.tensor([[0.0] * 5, [0, 0, 0, 0, 1]])
    found = make("distribution_balanced", {"bias_scale": 0.0})(logits, labels)
    assert found[0].tolist() == pytest.approx([1.1 * math.log(2) / 2] * 5)
    # A frequent label alone: the rarer ones weigh as much as it does.
    assert found[1].tolist() == pytest.approx([*[1.1 * math.log(2) / 2] * 4, 1.1 * math.log(2)], rel=1e-3)


def test_zlpr_compares_labels() -> None:
    logits = torch.tensor([[3.0, -3.0]], dtype=torch.float64, requires_grad=True)
    make("zlpr", {})(logits, torch.tensor([[0.0, 1.0]], dtype=torch.float64)).sum().backward()
    assert logits.grad[0, 0].item() == pytest.approx(sigmoid(3.0))
    many = torch.full((1, 50), 3.0, dtype=torch.float64, requires_grad=True)
    make("zlpr", {})(many, torch.zeros(1, 50, dtype=torch.float64)).sum().backward()
    # The negatives of a text share one gradient below 1.
    assert many.grad.sum().item() == pytest.approx(50 * math.exp(3) / (1 + 50 * math.exp(3)))


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("focal", {"gamma": -1.0}, r"`gamma` must not be negative, got -1\.0\."),
        ("focal", {"gamma": math.nan}, r"`gamma` must not be negative, got nan\."),
        ("asymmetric", {"gamma_positive": 0.5}, r"`gamma_positive` must be 0 or at least 1, got 0\.5\."),
        ("asymmetric", {"gamma_negative": -2}, r"`gamma_negative` must be 0 or at least 1, got -2\."),
        ("asymmetric", {"clip": 1.0}, r"`clip` must lie in \[0, 1\), got 1\.0\."),
        ("class_balanced", {"beta": 1.0}, r"`beta` must lie in \[0, 1\), got 1\.0\."),
        ("distribution_balanced", {"negative_scale": 0}, r"`negative_scale` must be above 0, got 0\."),
        ("distribution_balanced", {"weight_slope": -1.0}, r"`weight_slope` must be above 0, got -1\.0\."),
        ("distribution_balanced", {"bias_scale": -0.1}, r"`bias_scale` must not be negative, got -0\.1\."),
        ("distribution_balanced", {"weight_offset": -0.1}, r"`weight_offset` must not be negative, got -0\.1\."),
        ("bce", {"gamma": 1}, r"`base_loss_options` of bce are none; there is no 'gamma'\."),
        ("focal", {"alpha": 1}, r"`base_loss_options` of focal are gamma; there is no 'alpha'\."),
        ("class_balanced", {"label_counts": [1]}, r"`base_loss_options` of class_balanced are beta; there is no .*\."),
        ("hinge", {}, r"`base_loss` must be one of bce, focal, asymmetric, .*, zlpr, got 'hinge'\."),
    ],
)
def test_bad_options_are_an_error(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make(name, options)


@pytest.mark.parametrize("value", ["1e-1", None, [2.0]])
def test_options_that_are_no_numbers_are_an_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^`base_loss_options`: `gamma` must be a number, got .*\.$"):
        make("focal", {"gamma": value})


def test_every_base_loss_has_a_formula_here() -> None:
    assert set(BASE_LOSSES) == set(FORMULAS)
