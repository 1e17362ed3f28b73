# SPDX-License-Identifier: Apache-2.0
"""Tests of the contrastive term: naive loops, the memory, anchors without a partner."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_samples import CASES, LABELS

from trainer_ext.losses.contrastive import ContrastiveTerm, jaccard_similarity

Rows = list[list[float]]
MEMORY_LABELS = torch.tensor([[0, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.float64)


def random_states(num_texts: int, seed: int = 0, hidden_size: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_texts, hidden_size, generator=generator, dtype=torch.float64)


def filled(states: torch.Tensor, labels: torch.Tensor, temperature: float = 0.1) -> ContrastiveTerm:
    """A term in eval mode that remembers just these texts."""
    term = ContrastiveTerm(temperature, memory_size=len(states))
    term.train()(states, labels)
    return term.eval()


def cosine(first: list[float], second: list[float]) -> float:
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return product / math.sqrt(sum(a * a for a in first) * sum(b * b for b in second))


def jaccard(first: list[float], second: list[float]) -> float:
    known = [(a, b) for a, b in zip(first, second, strict=True) if not math.isnan(a + b)]
    either = sum(max(a, b) for a, b in known)
    return sum(min(a, b) for a, b in known) / either if either else 0.0


def by_loop(states: Rows, labels: Rows, temperature: float, num_anchors: int) -> float:
    """The formula; the texts after the first `num_anchors` are partners only."""
    total = 0.0
    for i in range(num_anchors):
        others = [j for j in range(len(states)) if j != i]
        weights = {j: jaccard(labels[i], labels[j]) for j in others}
        if sum(weights.values()) == 0:
            continue
        exponentials = {j: math.exp(cosine(states[i], states[j]) / temperature) for j in others}
        for j in others:
            share = exponentials[j] / sum(exponentials.values())
            total -= weights[j] / sum(weights.values()) * math.log(share)
    return total / num_anchors


# --------------------------------------------------------------------------------------------------------- the formula


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("with_memory", [False, True])
def test_value_is_that_of_the_formula(case: str, temperature: float, with_memory: bool) -> None:
    labels = CASES[case]
    states, past = random_states(len(labels)), random_states(3, seed=1)
    past_labels = MEMORY_LABELS[:, : labels.shape[1]].clone()
    past_labels[1, -1] = math.nan
    term = filled(past, past_labels, temperature) if with_memory else ContrastiveTerm(temperature)
    found = term(states, labels)
    all_states = torch.cat([states, past]) if with_memory else states
    all_labels = torch.cat([labels, past_labels]) if with_memory else labels
    expected = by_loop(all_states.tolist(), all_labels.tolist(), temperature, len(labels))
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_one_label_per_text_gives_the_supervised_contrastive_loss(temperature: float) -> None:
    classes = [0, 1, 0, 2, 1, 0, 3]
    states = random_states(len(classes))
    normal = states / states.norm(dim=-1, keepdim=True)
    expected = 0.0
    for i, own in enumerate(classes):
        positives = [j for j, other in enumerate(classes) if other == own and j != i]
        denominator = sum(math.exp(normal[i] @ normal[a] / temperature) for a in range(len(classes)) if a != i)
        for j in positives:
            expected -= math.log(math.exp(normal[i] @ normal[j] / temperature) / denominator) / len(positives)
    found = ContrastiveTerm(temperature)(states, torch.eye(4, dtype=torch.float64)[classes])
    assert found.item() == pytest.approx(expected / len(classes), rel=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("with_memory", [False, True])
def test_gradient_is_that_of_the_value(case: str, with_memory: bool) -> None:
    labels = CASES[case]
    past = random_states(3, seed=1)
    term = filled(past, MEMORY_LABELS[:, : labels.shape[1]]) if with_memory else ContrastiveTerm()
    states = random_states(len(labels)).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: term(rows, labels), (states,))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("with_memory", [False, True])
def test_value_and_gradient_are_finite(case: str, scale: float, with_memory: bool) -> None:
    labels = CASES[case].float()
    past = random_states(3, seed=1).float()
    term = ContrastiveTerm(0.01)
    if with_memory:
        term = filled(past, MEMORY_LABELS[:, : labels.shape[1]].float(), 0.01)
    states = (scale * random_states(len(labels)).float()).requires_grad_()
    found = term(states, labels)
    found.backward()
    assert found.isfinite()
    assert found >= 0
    assert states.grad.isfinite().all()


# -------------------------------------------------------------------------------------------------------- its anchors


def test_text_without_a_partner_adds_nothing_as_an_anchor() -> None:
    labels = torch.eye(4, dtype=torch.float64)
    states = random_states(4).requires_grad_()
    found = ContrastiveTerm()(states, labels)
    found.backward()
    assert found.item() == 0.0
    assert not states.grad.any()


def test_text_without_a_partner_is_only_a_negative_of_the_others() -> None:
    """The gradient of a lonely text comes from the rows of the others alone."""
    labels = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.float64)
    states = random_states(4).requires_grad_()
    ContrastiveTerm(0.5)(states, labels).backward()
    found = states.grad.clone()
    states.grad = None
    normal = torch.nn.functional.normalize(states, dim=-1)
    value = torch.zeros((), dtype=torch.float64)
    for i, partner in ((0, 1), (1, 0)):
        others = [j for j in range(4) if j != i]
        similarities = normal[others] @ normal[i] / 0.5
        value = value + similarities.logsumexp(dim=0) - normal[partner] @ normal[i] / 0.5
    (value / 4).backward()
    assert torch.allclose(found, states.grad, atol=1e-14)
    assert (found[2:].abs().sum(dim=-1) > 1e-3).all()


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(6)), st.permutations(range(5)))
def test_order_of_texts_and_of_labels_does_not_matter(texts: list[int], names: list[int]) -> None:
    states = random_states(6)
    expected = ContrastiveTerm()(states, LABELS).item()
    assert ContrastiveTerm()(states[texts], LABELS[texts][:, names]).item() == pytest.approx(expected, rel=1e-12)


def test_length_of_the_states_does_not_matter() -> None:
    states = random_states(6)
    expected = ContrastiveTerm()(states, LABELS).item()
    lengths = torch.tensor([[0.1], [1.0], [3.0], [9.0], [30.0], [0.5]])
    assert ContrastiveTerm()(lengths * states, LABELS).item() == pytest.approx(expected, rel=1e-12)


def test_states_of_like_labels_cost_less_when_they_are_close() -> None:
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    term = ContrastiveTerm(0.5)
    assert term(apart, labels).item() == pytest.approx(math.log(1 + 2 * math.exp(-4)), rel=1e-5)
    assert term(apart[[0, 2, 1, 3]], labels).item() == pytest.approx(math.log(2 + math.exp(4)), rel=1e-5)


# -------------------------------------------------------------------------------------------------------------- memory


def test_memory_holds_the_last_texts_the_newest_first() -> None:
    term = ContrastiveTerm(memory_size=5).train()
    states, labels = random_states(8), torch.cat([LABELS, LABELS[:2]])
    normal = torch.nn.functional.normalize(states, dim=-1)
    for start, kept in ((0, [0, 1, 2]), (3, [3, 4, 5, 0, 1]), (6, [6, 7, 3, 4, 5])):
        rows = slice(start, start + 3)
        term(states[rows].requires_grad_(), labels[rows])
        assert torch.equal(term.memory_states, normal[kept])
        assert torch.equal(term.memory_labels, labels[kept])
        assert not term.memory_states.requires_grad


def test_memory_of_fewer_texts_than_a_batch() -> None:
    term = ContrastiveTerm(memory_size=2).train()
    term(random_states(6), LABELS)
    assert torch.equal(term.memory_labels, LABELS[:2])


def test_a_batch_does_not_meet_itself_in_the_memory() -> None:
    states = random_states(6)
    assert ContrastiveTerm(memory_size=9).train()(states, LABELS) == ContrastiveTerm()(states, LABELS)


def test_memory_is_not_filled_in_eval_mode_nor_when_it_is_off() -> None:
    for term in (ContrastiveTerm(memory_size=9).eval(), ContrastiveTerm().train()):
        term(random_states(6), LABELS)
        assert len(term.memory_states) == len(term.memory_labels) == 0
    term = filled(random_states(3), MEMORY_LABELS)
    term(random_states(6, seed=1), LABELS)
    assert torch.equal(term.memory_labels, MEMORY_LABELS)


def test_a_rare_label_meets_its_partner_in_the_memory() -> None:
    states, labels = random_states(1), torch.tensor([[0.0, 0, 0, 1, 0]], dtype=torch.float64)
    assert ContrastiveTerm()(states, labels).item() == 0.0
    assert filled(random_states(3, seed=1), MEMORY_LABELS)(states, labels).item() > 0.1


def test_memory_is_restored_into_a_fresh_term() -> None:
    term = ContrastiveTerm(memory_size=4).train()
    term(random_states(3), LABELS[:3])
    fresh = ContrastiveTerm(memory_size=4).train()
    fresh.load_state_dict(term.state_dict())
    for seed in (1, 2):
        states = random_states(6, seed=seed)
        assert fresh(states, LABELS) == term(states, LABELS)
        assert torch.equal(fresh.memory_states, term.memory_states)
    assert fresh.memory_states.data_ptr() != term.memory_states.data_ptr()


@pytest.mark.parametrize("memory_size", [0, 2])
def test_a_smaller_memory_takes_the_newest_texts_of_a_larger_one(memory_size: int) -> None:
    saved = filled(random_states(3), MEMORY_LABELS).state_dict()
    term = ContrastiveTerm(memory_size=memory_size)
    term.load_state_dict(saved)
    assert torch.equal(term.memory_labels, MEMORY_LABELS[:memory_size])
    assert len(saved["memory_states"]) == 3
    assert torch.isfinite(term(random_states(6), LABELS))


def test_an_unfilled_memory_is_restored() -> None:
    term = ContrastiveTerm(memory_size=4)
    term.load_state_dict(ContrastiveTerm(memory_size=4).state_dict())
    term.train()(random_states(6), LABELS)
    assert len(term.memory_states) == 4


# ------------------------------------------------------------------------------------------------- labels, arguments


def test_jaccard_similarity() -> None:
    found = jaccard_similarity(LABELS, MEMORY_LABELS)
    expected = [[jaccard(first, second) for second in MEMORY_LABELS.tolist()] for first in LABELS.tolist()]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-15)
    assert jaccard_similarity(LABELS, LABELS).diagonal().tolist() == [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"^`contrastive_temperature` must be above 0, got {temperature}\.$"):
        ContrastiveTerm(temperature)


def test_memory_size_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match=r"^`contrastive_memory_size` must not be negative, got -1\.$"):
        ContrastiveTerm(memory_size=-1)
