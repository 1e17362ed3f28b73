# SPDX-License-Identifier: Apache-2.0
"""Tests of the label-correlation terms against their formulas, one pair of labels at a time, and at their limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from loss_samples import CASES, LABELS, extreme_logits, random_logits

from trainer_ext.evaluation.label_statistics import label_correlation
from trainer_ext.losses.correlation import CORRELATION_TERMS, make_correlation_term

NAMES = [name for name in CORRELATION_TERMS if name != "none"]
Rows = list[list[float]]


def correlation(num_labels: int = 5) -> torch.Tensor:
    """Correlations of many random texts, some labels of which come together or avoid each other."""
    generator = np.random.default_rng(0)
    factors = generator.normal(size=(400, 1)) * [1.0, 1.0, -1.0, 0.5, 0.0]
    labels = (factors + generator.normal(size=(400, 5)) > 0.8).astype(int)
    return torch.from_numpy(label_correlation(labels))[:num_labels, :num_labels]


def term(name: str, num_labels: int = 5) -> torch.nn.Module:
    made = make_correlation_term(name, correlation(num_labels))
    assert made is not None
    return made


def probabilities(logits: torch.Tensor) -> Rows:
    return [[1.0 / (1.0 + math.exp(-logit)) for logit in row] for row in logits.tolist()]


# ------------------------------------------------------------------------------------------ the formulas, pair by pair


def laplacian(p: Rows, y: Rows, r: Rows) -> float:
    size = len(r)
    pairs = [(c, d) for c in range(size) for d in range(size)]
    return sum(r[c][d] * (row[c] - row[d]) ** 2 for row in p for c, d in pairs) / size**2 / len(p)


def matching(p: Rows, y: Rows, r: Rows) -> float:
    total, size = 0.0, len(r)
    for c in range(size):
        for d in range(size):
            known = [row for row, gold in zip(p, y, strict=True) if not math.isnan(gold[c] + gold[d])]
            if c != d and len(known) > 1:
                first, second = ([row[label] for row in known] for label in (c, d))
                means = sum(first) / len(known), sum(second) / len(known)
                products = [(a - means[0]) * (b - means[1]) for a, b in zip(first, second, strict=True)]
                variances = [
                    sum((value - mean) ** 2 for value in values) / len(known)
                    for values, mean in zip((first, second), means, strict=True)
                ]
                found = sum(products) / len(known) / math.sqrt((variances[0] + 1e-6) * (variances[1] + 1e-6))
                total += (found - r[c][d]) ** 2
    return total / size**2


def lca(p: Rows, y: Rows, r: Rows) -> float:
    total, num_texts = 0.0, 0
    for row, gold in zip(p, y, strict=True):
        known = [(value, share) for value, share in zip(row, gold, strict=True) if not math.isnan(share)]
        pairs = [a * (1 - b) * math.exp(low - high) for high, a in known for low, b in known]
        weights = max(1.0, sum(a for _, a in known)) * max(1.0, sum(1 - b for _, b in known))
        total += sum(pairs) / weights
        num_texts += bool(known)
    return total / max(num_texts, 1)


FORMULAS: dict[str, Callable[[Rows, Rows, Rows], float]] = {"laplacian": laplacian, "matching": matching, "lca": lca}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_value_is_that_of_the_formula(name: str, case: str) -> None:
    labels = CASES[case]
    logits = random_logits(labels, seed=1)
    matrix = correlation(labels.shape[1])
    found = make_correlation_term(name, matrix)(logits, labels)
    assert found.shape == ()
    # The matrix is kept in fp32.
    assert found.item() == pytest.approx(
        FORMULAS[name](probabilities(logits), labels.tolist(), matrix.tolist()), rel=1e-6, abs=1e-7
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_the_value(name: str, case: str) -> None:
    labels = CASES[case]
    made = term(name, labels.shape[1])
    logits = random_logits(labels, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: made(z, labels), (logits,))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["extreme", "equal", "all but equal"])
def test_value_and_gradient_are_finite(name: str, case: str, kind: str) -> None:
    labels = CASES[case].float()
    logits = extreme_logits(labels).float() if kind == "extreme" else torch.full_like(labels, -3.0)
    if kind == "all but equal":
        logits = logits + 1e-6 * random_logits(labels).float()
    logits = logits.requires_grad_()
    found = term(name, labels.shape[1])(logits, labels)
    found.backward()
    assert found.isfinite()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() < 10.0


# ----------------------------------------------------------------------------------------------------------- laplacian


def test_laplacian_is_zero_for_equal_probabilities() -> None:
    logits = random_logits()[:, :1].expand(-1, 5)
    assert term("laplacian")(logits, LABELS).item() == pytest.approx(0.0, abs=1e-15)
    assert term("laplacian", 1)(random_logits()[:, :1], LABELS[:, :1]).item() == 0.0


def test_laplacian_draws_correlated_labels_together_and_others_apart() -> None:
    made = make_correlation_term("laplacian", torch.tensor([[1.0, 0.5, -0.5], [0.5, 1.0, 0.0], [-0.5, 0.0, 1.0]]))
    logits = torch.tensor([[1.0, 0.0, 0.5]], requires_grad=True)
    value = made(logits, torch.zeros(1, 3))
    value.backward()
    p = [row[0] for row in zip(*probabilities(logits), strict=True)]
    assert value.item() == pytest.approx(((p[0] - p[1]) ** 2 - (p[0] - p[2]) ** 2) / 9, rel=1e-5)
    # A step against the gradient raises the second and lowers the third.
    assert logits.grad[0, 1] < 0 < logits.grad[0, 2]


# ------------------------------------------------------------------------------------------------------------ matching


def test_matching_is_zero_where_the_batch_has_the_correlations() -> None:
    logits = random_logits(torch.zeros(50, 4), seed=3)
    matrix = torch.from_numpy(np.corrcoef(torch.sigmoid(logits).numpy(), rowvar=False))
    assert make_correlation_term("matching", matrix)(logits, torch.zeros(50, 4)).item() < 1e-9
    other = make_correlation_term("matching", -matrix)(logits, torch.zeros(50, 4)).item()
    assert other == pytest.approx(4 * (matrix.square().sum().item() - 4) / 16, rel=1e-3)


def test_matching_of_one_text_has_no_gradient() -> None:
    logits = random_logits(LABELS[:1]).requires_grad_()
    value = term("matching")(logits, LABELS[:1])
    value.backward()
    assert value.item() == 0.0
    assert logits.grad.tolist() == [[0.0] * 5]


def test_matching_knows_neither_the_order_of_the_texts_nor_their_labels() -> None:
    logits = random_logits()
    expected = term("matching")(logits, LABELS).item()
    assert term("matching")(logits.flip(0), 1 - LABELS).item() == pytest.approx(expected, rel=1e-12)


def test_matching_steps_lead_to_the_correlations() -> None:
    target = torch.tensor([[1.0, 0.6, -0.4], [0.6, 1.0, 0.0], [-0.4, 0.0, 1.0]])
    made = make_correlation_term("matching", target)
    logits = random_logits(torch.zeros(40, 3)).float().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        made(logits, torch.zeros(40, 3)).backward()
        optimizer.step()
    found = np.corrcoef(torch.sigmoid(logits.detach()).numpy(), rowvar=False)
    assert np.abs(found - target.numpy()).max() < 0.02


# ----------------------------------------------------------------------------------------------------------------- lca


def test_lca_lies_between_its_best_and_its_worst() -> None:
    sure = 60.0 * (2.0 * LABELS[[0, 2]] - 1.0)
    assert term("lca")(sure, LABELS[[0, 2]]).item() == pytest.approx(math.exp(-1))
    assert term("lca")(-sure, LABELS[[0, 2]]).item() == pytest.approx(math.exp(1))


def test_lca_of_texts_with_no_or_all_labels_is_zero() -> None:
    for labels in (CASES["no label at all"], CASES["all labels"]):
        logits = random_logits(labels).requires_grad_()
        value = term("lca")(logits, labels)
        value.backward()
        assert value.item() == 0.0
        assert not logits.grad.any()


# -------------------------------------------------------------------------------------------------------------- errors


def test_no_correlation_term() -> None:
    assert make_correlation_term("none", correlation()) is None


def test_bad_arguments_are_an_error() -> None:
    message = r"^`correlation_loss` must be one of none, laplacian, matching, lca, got 'graph'\.$"
    with pytest.raises(ValueError, match=message):
        make_correlation_term("graph", correlation())


def test_the_matrix_given_is_left_as_it_is() -> None:
    matrix = correlation()
    made = make_correlation_term("matching", matrix)
    assert matrix.diagonal().tolist() == [1.0] * 5
    assert made.correlation.diagonal().tolist() == [0.0] * 5
