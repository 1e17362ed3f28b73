# SPDX-License-Identifier: Apache-2.0
"""Dropout, norms and attention of a training step in bf16 on a CPU, beside those of torch."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from conftest import CORPUS, stock_classifier
from torch import nn
from torch.nn import functional as F  # noqa: N812

from modeling_stacked_emotion import StackedEmotionTokenizer
from trainer_ext.training.cpu import FewerPasses, attention, dropout, fewer_passes


def in_bf16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_share_and_the_mean(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    # No multiple of 4: a mask is cut from whole numbers of 64 bits.
    values = torch.ones(999, 1001, dtype=dtype, requires_grad=True)
    dropped = dropout(values, 0.1)
    assert (dropped == 0).double().mean().item() == pytest.approx(0.1, abs=1e-3)
    scale = 65_536 / (65_536 - 6554)
    assert dropped.max().item() == pytest.approx(scale, rel=4e-3 if dtype == torch.bfloat16 else 1e-6)
    # Every place of the four in a number of 64 bits, the one with its sign, too.
    places = (dropped.detach().flatten()[: 999 * 1001 // 4 * 4].view(-1, 4) == 0).double().mean(dim=0)
    torch.testing.assert_close(places, torch.full((4,), 0.1, dtype=torch.float64), rtol=0, atol=2e-3)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped)


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.9])
def test_dropout_of_any_ratio(ratio: float) -> None:
    torch.manual_seed(0)
    assert (dropout(torch.ones(1000, 1000), ratio) == 0).double().mean().item() == pytest.approx(ratio, abs=2e-3)


def test_dropout_is_torch_s_where_nothing_or_all_is_dropped() -> None:
    values = torch.rand(3, 5)
    assert torch.equal(dropout(values, 0.5, training=False), values)
    assert torch.equal(dropout(values, 0.0), values)
    assert not dropout(values, 1.0).any()


def test_dropout_draws_from_the_generator_of_torch() -> None:
    values = torch.rand(40, 50)
    torch.manual_seed(3)
    first, second = dropout(values, 0.3), dropout(values, 0.3)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(dropout(values, 0.3), first)
    assert dropout(values, 0.3, inplace=True) is values
    assert torch.equal(values, second)


@pytest.mark.parametrize("is_boolean", [True, False])
def test_attention_equals_that_of_torch(is_boolean: bool) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    mask = torch.arange(7).expand(2, 1, 7, 7) < torch.tensor([7, 4]).view(2, 1, 1, 1)
    if not is_boolean:
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    with in_bf16():
        ours = attention(query, key, value, attn_mask=mask, scale=0.3)
    expected = F.scaled_dot_product_attention(
        *(part.float() for part in (query, key, value)), attn_mask=mask, scale=0.3
    )
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), expected, rtol=0, atol=0.03)
    ours.float().square().sum().backward()
    # Hidden keys have no part in it.
    assert not key.grad[1, :, 4:].any()
    assert key.grad[1, :, :4].any()


def test_attention_that_looks_back_only_is_torch_s() -> None:
    query, key, value = (torch.randn(1, 2, 5, 8, dtype=torch.bfloat16) for _ in range(3))
    with in_bf16():
        ours = attention(query, key, value, is_causal=True)
    assert torch.equal(ours, F.scaled_dot_product_attention(query, key, value, is_causal=True))


def test_layers_of_any_model_meet_them() -> None:
    layer = nn.Sequential(nn.LayerNorm(16), nn.Dropout(0.25))
    values = torch.randn(64, 64, 16)
    torch.manual_seed(1)
    with FewerPasses(), in_bf16():
        ours = layer(values)
    torch.manual_seed(1)
    assert torch.equal(ours, dropout(layer[0](values).bfloat16(), 0.25))
    # Outside of an autocast the type stays.
    with FewerPasses():
        assert layer(values).dtype == torch.float32


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_gradients_of_an_encoder_are_the_same_but_for_rounding(
    tokenizer: StackedEmotionTokenizer, implementation: str
) -> None:
    own = tokenizer.tokenizers["bert_wp"]
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = stock_classifier(own, num_hidden_layers=3, **none)
    model.set_attn_implementation(implementation)
    batch = own(CORPUS[:8], padding=True, return_tensors="pt")
    labels = (torch.arange(32).view(8, 4) % 3 == 0).float()
    gradients = []
    for number_format in (nullcontext(), in_bf16(), FewerPasses()):
        model.zero_grad()
        with number_format, in_bf16() if isinstance(number_format, FewerPasses) else nullcontext():
            model(**batch, labels=labels).loss.backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    exact, stock, ours = gradients
    # As far from fp32 as bf16 is anyway.
    assert (ours - exact).norm() < 2 * (stock - exact).norm()
    assert (ours - exact).norm() < 0.1 * exact.norm()


def test_only_bf16_on_a_cpu_is_trained_by_them() -> None:
    assert isinstance(fewer_passes("cpu", "bf16"), FewerPasses)
    assert not any(isinstance(fewer_passes(*chosen), FewerPasses) for chosen in (("cpu", "fp32"), ("cuda", "bf16")))
