# SPDX-License-Identifier: Apache-2.0
"""Tests of the hybrid loss: its terms, their weights, the class weights, number formats and errors."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_samples import CASES, LABEL_COUNTS, LABELS, NUM_SAMPLES, extreme_logits, random_logits
from torch.nn import functional as F  # noqa: N812  (its usual name)

from trainer_ext.evaluation.label_statistics import label_correlation
from trainer_ext.losses.base import BASE_LOSSES, make_base_loss
from trainer_ext.losses.contrastive import ContrastiveTerm
from trainer_ext.losses.correlation import CORRELATION_TERMS, make_correlation_term
from trainer_ext.losses.hybrid import HybridLoss, HybridLossWeights, LabelStatistics, LossInputs

CLASS_WEIGHTS = np.array([2.0, 0.5, 10.0, 3.0, 1.0])
EVERY_TERM = HybridLossWeights(base=0.9, auxiliary=0.3, encoder=0.6, correlation=0.2, contrastive=0.1)


def statistics(num_labels: int = 5, class_weights: np.ndarray | None = None) -> LabelStatistics:
    matrix = label_correlation(LABELS.numpy(), smoothing=1.0)[:num_labels, :num_labels]
    weights = np.ones(num_labels) if class_weights is None else class_weights
    return LabelStatistics(LABEL_COUNTS[:num_labels], NUM_SAMPLES, weights, matrix)


def inputs(labels: torch.Tensor = LABELS) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, text states, auxiliary logits and those of two encoders."""
    states = random_logits(torch.zeros(len(labels), 7), seed=1)
    encoders = torch.stack([random_logits(labels, seed=seed) for seed in (3, 4)], dim=1)
    return random_logits(labels), states, random_logits(labels, seed=2), encoders


# -------------------------------------------------------------------------------------------------------------- terms


@pytest.mark.parametrize("base", BASE_LOSSES)
@pytest.mark.parametrize("correlation", CORRELATION_TERMS)
def test_terms_are_those_of_their_classes_times_their_weights(base: str, correlation: str) -> None:
    logits, states, auxiliary, encoders = inputs()
    known = statistics()
    loss = HybridLoss(known, base, correlation=correlation, temperature=0.2, weights=EVERY_TERM)
    terms = loss(LossInputs(logits, LABELS, states, auxiliary, encoders))
    plain = make_base_loss(base, {}, LABEL_COUNTS, NUM_SAMPLES)
    expected = {
        "base": 0.9 * plain(logits, LABELS).mean(),
        "auxiliary": 0.3 * plain(auxiliary, LABELS).mean(),
        "encoder": 0.6 * (plain(encoders[:, 0], LABELS).mean() + plain(encoders[:, 1], LABELS).mean()) / 2,
        "contrastive": 0.1 * ContrastiveTerm(0.2)(states, LABELS),
    }
    term = make_correlation_term(correlation, torch.from_numpy(known.correlation))
    if term is not None:
        expected["correlation"] = 0.2 * term(logits, LABELS)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name].shape == ()
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-12)


@pytest.mark.parametrize("name", ["base", "auxiliary", "encoder", "correlation", "contrastive"])
def test_a_term_of_weight_zero_is_left_out(name: str) -> None:
    logits, *others = inputs()
    weights = HybridLossWeights(**{**vars(EVERY_TERM), name: 0.0})
    found = HybridLoss(statistics(), correlation="lca", weights=weights)(LossInputs(logits, LABELS, *others))
    whole = HybridLoss(statistics(), correlation="lca", weights=EVERY_TERM)(LossInputs(logits, LABELS, *others))
    assert found.keys() == whole.keys() - {name}
    assert all(found[key] == whole[key] for key in found)


def test_defaults_are_binary_cross_entropy_of_both_classifiers() -> None:
    logits, _, auxiliary, encoders = inputs()
    loss = HybridLoss(statistics())
    assert not loss.needs_states
    assert set(loss(LossInputs(logits, LABELS))) == {"base"}
    terms = loss(LossInputs(logits, LABELS, None, auxiliary, encoders))
    assert set(terms) == {"base", "auxiliary"}
    assert terms["base"] == F.binary_cross_entropy_with_logits(logits, LABELS)
    assert terms["auxiliary"] == 0.3 * F.binary_cross_entropy_with_logits(auxiliary, LABELS)


def test_a_correlation_term_is_on_as_soon_as_it_is_named() -> None:
    assert set(HybridLoss(statistics(), correlation="laplacian")(LossInputs(random_logits(), LABELS))) == {
        "base",
        "correlation",
    }


def test_integer_labels_are_taken() -> None:
    logits = random_logits()
    loss = HybridLoss(statistics(), correlation="lca")
    assert loss(LossInputs(logits, LABELS.long())) == loss(LossInputs(logits, LABELS))


def test_memory_is_kept_by_the_loss_and_only_filled_in_training_mode() -> None:
    logits, states, *_ = inputs()
    loss = HybridLoss(statistics(), memory_size=4, weights=EVERY_TERM)
    loss.eval()(LossInputs(logits, LABELS, states))
    assert len(loss.contrastive.memory_states) == 0
    loss.train()(LossInputs(logits, LABELS, states))
    fresh = HybridLoss(statistics(), memory_size=4, weights=EVERY_TERM)
    fresh.load_state_dict(loss.state_dict())
    assert torch.equal(fresh.contrastive.memory_states, F.normalize(states, dim=-1)[:4])
    assert fresh(LossInputs(logits, LABELS, states)) == loss(LossInputs(logits, LABELS, states))


# ------------------------------------------------------------------------------------------------------ class weights


def test_the_base_loss_is_the_mean_over_the_known_cells_of_the_batch_each_with_its_weight() -> None:
    labels = CASES["graded labels"]
    logits, _, auxiliary, encoders = inputs(labels)
    loss = HybridLoss(statistics(class_weights=CLASS_WEIGHTS), weights=HybridLossWeights(encoder=1.0))
    terms = loss(LossInputs(logits, labels, auxiliary_logits=auxiliary, encoder_logits=encoders))

    def by_loop(z: torch.Tensor) -> float:
        total, num_known = 0.0, 0
        for row, gold in zip(z.tolist(), labels.tolist(), strict=True):
            for logit, y, weight in zip(row, gold, CLASS_WEIGHTS, strict=True):
                if y == y:
                    p = 1 / (1 + math.exp(-logit))
                    total += (1 + y * (weight - 1)) * (-y * math.log(p) - (1 - y) * math.log(1 - p))
                    num_known += 1
        return total / num_known

    assert terms["base"].item() == pytest.approx(by_loop(logits), rel=1e-6)
    assert terms["auxiliary"].item() == pytest.approx(0.3 * by_loop(auxiliary), rel=1e-6)
    singles = [by_loop(encoders[:, index]) for index in range(2)]
    assert terms["encoder"].item() == pytest.approx(sum(singles) / 2, rel=1e-6)


@pytest.mark.parametrize("base", BASE_LOSSES)
@pytest.mark.parametrize("correlation", ["matching", "lca"])
def test_a_batch_that_knows_nothing_is_a_zero_that_keeps_the_graph(base: str, correlation: str) -> None:
    labels = CASES["nothing known"]
    tensors = [values.requires_grad_() for values in inputs(labels)]
    logits, states, auxiliary, encoders = tensors
    loss = HybridLoss(statistics(), base, correlation=correlation, weights=EVERY_TERM)
    terms = loss(LossInputs(logits, labels, states, auxiliary, encoders))
    assert [value.item() for value in terms.values()] == [0.0] * 5
    torch.stack(list(terms.values())).sum().backward()
    for values in tensors:
        assert values.grad is not None
        assert not values.grad.any()


def test_statistics_count_the_texts_that_know_a_label() -> None:
    rows = [[1, math.nan, 0.5], [math.nan, math.nan, 0.25], [1, 0, 0], [0, 1, math.nan]]
    found = LabelStatistics.from_labels(rows)
    assert (found.label_counts, found.num_samples) == ([2.0, 1.0, 0.75], [3, 2, 3])
    assert np.isfinite(found.correlation).all()
    assert found.correlation[0, 1] == -1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_class_weights_are_those_of_torch(dtype: torch.dtype) -> None:
    logits = torch.cat([random_logits(), extreme_logits(LABELS)]).to(dtype).requires_grad_()
    labels = torch.cat([LABELS, LABELS]).to(dtype)
    results = []
    pos_weight = torch.from_numpy(CLASS_WEIGHTS).to(dtype)
    for value in (
        HybridLoss(statistics(class_weights=CLASS_WEIGHTS))(LossInputs(logits, labels))["base"],
        F.binary_cross_entropy_with_logits(logits, labels, pos_weight=pos_weight),
    ):
        (gradient,) = torch.autograd.grad(value, logits)
        results.append((value, gradient))
    assert results[0][0] == results[1][0]
    assert torch.allclose(results[0][1], results[1][1], rtol=0.0, atol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("base", [name for name in BASE_LOSSES if name != "zlpr"])
def test_class_weights_multiply_the_positives_of_every_base_loss(base: str) -> None:
    logits = random_logits()
    losses = make_base_loss(base, {}, LABEL_COUNTS, NUM_SAMPLES)(logits, LABELS)
    expected = sum(
        losses[row, c].item() * (CLASS_WEIGHTS[c] if LABELS[row, c] else 1.0) for row in range(6) for c in range(5)
    )
    found = HybridLoss(statistics(class_weights=CLASS_WEIGHTS), base)(LossInputs(logits, LABELS))
    assert found["base"].item() == pytest.approx(expected / 30, rel=1e-12)


@pytest.mark.parametrize(
    ("base", "options"),
    [
        ("bce", {}),
        ("focal", {"gamma": 0.0}),
        ("asymmetric", {"gamma_negative": 0.0, "clip": 0.0}),
        ("class_balanced", {"beta": 0.0}),
    ],
)
def test_weights_of_one_change_no_bit(base: str, options: dict[str, Any]) -> None:
    logits = torch.cat([random_logits(), extreme_logits(LABELS)]).float()
    labels = torch.cat([LABELS, LABELS]).float()
    found = HybridLoss(statistics(), base, options)(LossInputs(logits, labels))["base"]
    assert found == F.binary_cross_entropy_with_logits(logits, labels)


# ------------------------------------------------------------------------------------------ gradients, number formats


@pytest.mark.parametrize(
    ("base", "correlation"), [*zip(BASE_LOSSES, 2 * ["laplacian", "matching", "lca"], strict=True)]
)
@pytest.mark.parametrize("memory_size", [0, 3])
def test_gradient_is_that_of_the_value(base: str, correlation: str, memory_size: int) -> None:
    loss = HybridLoss(statistics(), base, correlation=correlation, memory_size=memory_size, weights=EVERY_TERM)
    loss.train()(LossInputs(random_logits(), LABELS, random_logits(torch.zeros(6, 7), seed=3)))
    assert len(loss.contrastive.memory_states) == memory_size
    loss.eval()
    rows = [tensor.requires_grad_() for tensor in inputs()]

    def total(logits: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(loss(LossInputs(logits, LABELS, *others)).values())).sum()

    assert torch.autograd.gradcheck(total, rows)


@pytest.mark.parametrize("base", BASE_LOSSES)
@pytest.mark.parametrize(
    ("dtype", "autocast"),
    [(torch.float32, False), (torch.float32, True), (torch.float16, False), (torch.bfloat16, True)],
)
@pytest.mark.parametrize("case", CASES)
def test_extreme_inputs_have_finite_terms_in_fp32(base: str, dtype: torch.dtype, case: str, autocast: bool) -> None:
    labels = CASES[case]
    correlation = CORRELATION_TERMS[1 + len(case) % 3]
    weights = np.ones(labels.shape[1]) if base == "zlpr" else CLASS_WEIGHTS[: labels.shape[1]]
    loss = HybridLoss(
        statistics(labels.shape[1], weights), base, correlation=correlation, memory_size=3, weights=EVERY_TERM
    )
    rows = [extreme_logits(labels, seed=seed).to(dtype).requires_grad_() for seed in (0, 1)]
    states = (80.0 * random_logits(torch.zeros(len(labels), 7))).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16) if autocast else nullcontext():
        for _ in range(2):
            terms = loss(LossInputs(rows[0], labels.to(dtype), states, rows[1], torch.stack(rows, dim=1)))
    assert len(terms) == 5
    for name, value in terms.items():
        assert value.dtype == torch.float32, name
        assert value.isfinite(), name
    torch.stack(list(terms.values())).sum().backward()
    for tensor in (*rows, states):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.dtype == dtype
    assert loss.contrastive.memory_states.dtype == torch.float32


def test_half_precision_inputs_give_the_value_of_their_fp32_copies() -> None:
    half = [tensor.half() for tensor in inputs()]
    loss = HybridLoss(statistics(class_weights=CLASS_WEIGHTS), correlation="matching", weights=EVERY_TERM)
    expected = loss(LossInputs(half[0].float(), LABELS, *(tensor.float() for tensor in half[1:])))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(LossInputs(half[0], LABELS.bool(), *half[1:])) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(BASE_LOSSES)),
    st.sampled_from(["laplacian", "matching", "lca"]),
    st.integers(1, 4).flatmap(
        lambda size: st.lists(
            st.lists(st.tuples(st.floats(-80, 80, width=32), st.booleans()), min_size=size, max_size=size),
            min_size=1,
            max_size=5,
        )
    ),
)
def test_any_logits_have_finite_terms_and_gradients(
    base: str, correlation: str, rows: list[list[tuple[float, bool]]]
) -> None:
    logits = torch.tensor([[logit for logit, _ in row] for row in rows], requires_grad=True)
    labels = torch.tensor([[float(flag) for _, flag in row] for row in rows])
    loss = HybridLoss(statistics(labels.shape[1]), base, correlation=correlation, weights=EVERY_TERM)
    total = torch.stack(list(loss(LossInputs(logits, labels, logits, logits, logits.unsqueeze(1))).values())).sum()
    total.backward()
    assert total.isfinite()
    assert logits.grad.isfinite().all()


# --------------------------------------------------------------------------------------------------------- statistics


def test_statistics_of_labels() -> None:
    rows = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 0]]
    for labels in (rows, np.array(rows, dtype=np.float32), np.array(rows, dtype=bool)):
        found = LabelStatistics.from_labels(labels, class_weights=[1, 2, 0.5])
        assert (found.label_counts, found.num_samples) == ([3, 3, 0], [4, 4, 4])
        assert found.class_weights.tolist() == [1.0, 2.0, 0.5]
        assert np.array_equal(found.correlation, label_correlation(rows))
    smooth = LabelStatistics.from_labels(rows, smoothing=2.0)
    assert smooth.class_weights.tolist() == [1.0] * 3
    assert np.array_equal(smooth.correlation, label_correlation(rows, smoothing=2.0))


# -------------------------------------------------------------------------------------------------------------- errors


def test_labels_of_another_shape_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^`labels` must have shape \(6, 5\), got \(6, 4\)\. Check `config\.num_"):
        HybridLoss(statistics())(LossInputs(random_logits(), LABELS[:, :4]))


def test_contrastive_term_without_states_is_an_error() -> None:
    loss = HybridLoss(statistics(), weights=EVERY_TERM)
    assert loss.needs_states
    with pytest.raises(ValueError, match=r"^The contrastive term needs `states`: pass text states, or set its weight"):
        loss(LossInputs(random_logits(), LABELS))


@pytest.mark.parametrize("name", ["base", "auxiliary", "encoder", "correlation", "contrastive"])
@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_negative_weights_are_an_error(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^`{name}_loss_weight` must not be negative, got {value}\.$"):
        HybridLossWeights(**{name: value})


def test_weights_that_teach_nothing_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^`base_loss_weight` or `contrastive_loss_weight` must be above 0, got 0 "):
        HybridLossWeights(base=0.0)


def test_bad_labels_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^`labels` must have shape \(num_samples, num_labels\), got \(3,\)"):
        LabelStatistics.from_labels([1, 0, 1])


def test_class_weights_beside_zlpr_are_an_error() -> None:
    HybridLoss(statistics(), "zlpr")
    with pytest.raises(
        ValueError, match=r'^`base_loss` "zlpr" compares the labels .* `class_weights` must be "none"\.$'
    ):
        HybridLoss(statistics(class_weights=CLASS_WEIGHTS), "zlpr")
