# SPDX-License-Identifier: Apache-2.0
"""The layers over the encoders, each against a plain loop."""

from __future__ import annotations

import math

import pytest
import torch

from modeling_stacked_emotion.layers_stacked_emotion import (
    BiLSTM,
    Convolutions,
    MetaLearner,
    Pooling,
    average_tokens,
)

LENGTHS = [3, 1, 5]


def word_states(width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Random states of three texts of 3, 1 and 5 words, with garbage behind their ends, and the mask."""
    torch.manual_seed(1)
    states = torch.randn(len(LENGTHS), max(LENGTHS), width)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(-1)
    states[~mask] = 1e4
    return states, mask


# ---------------------------------------------------------------------------------------------------- words of tokens


def test_average_tokens_equals_a_loop() -> None:
    torch.manual_seed(0)
    states = torch.randn(3, 7, 4, dtype=torch.float64)
    word_ids = torch.tensor([[0, 1, 1, 2, 4, 4, 0], [0, 0, 0, 0, 0, 0, 0], [0, 3, 2, 3, 3, 0, 0]])
    words, has_tokens = average_tokens(states, word_ids, 5)
    assert words.shape == (3, 5, 4)
    for row in range(3):
        for word in range(1, 6):
            members = [states[row, token] for token in range(7) if word_ids[row, token] == word]
            expected = sum(members) / len(members) if members else torch.zeros(4, dtype=torch.float64)
            torch.testing.assert_close(words[row, word - 1], expected, rtol=0, atol=1e-15)
            assert bool(has_tokens[row, word - 1]) is bool(members)
    assert has_tokens.sum(dim=1).tolist() == [3, 0, 2]


def test_average_tokens_leaves_out_words_beyond_the_batch() -> None:
    states = torch.ones(1, 3, 2)
    words, has_tokens = average_tokens(states, torch.tensor([[1, 2, 3]]), 2)
    assert words.shape == (1, 2, 2)
    assert has_tokens.tolist() == [[True, True]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_average_tokens_keeps_the_dtype(dtype: torch.dtype) -> None:
    states = torch.tensor([[[1.0], [2.0], [6.0]]], dtype=dtype)
    words, _ = average_tokens(states, torch.tensor([[1, 1, 2]]), 2)
    assert words.dtype == dtype
    assert words.flatten().tolist() == [1.5, 6.0]


def test_average_tokens_gives_every_token_its_share_of_the_gradient() -> None:
    states = torch.zeros(1, 4, 1, requires_grad=True)
    words, _ = average_tokens(states, torch.tensor([[0, 1, 1, 2]]), 2)
    words.sum().backward()
    assert states.grad is not None
    assert states.grad.flatten().tolist() == [0.0, 0.5, 0.5, 1.0]


# ---------------------------------------------------------------------------------------------------- convolutions


def test_convolutions_equal_a_loop_over_words() -> None:
    states, mask = word_states()
    mixer = Convolutions(6, 4, [1, 2, 5])
    output = mixer(states, mask)
    assert output.shape == (3, 5, 12)
    for row, length in enumerate(LENGTHS):
        for word in range(max(LENGTHS)):
            expected = torch.zeros(12)
            for part, (width, layer) in enumerate(zip([1, 2, 5], mixer.convolutions, strict=True)):
                total = layer.bias.clone()
                for step in range(width):
                    neighbour = word + step - (width - 1) // 2
                    if 0 <= neighbour < length:
                        total += layer.weight[:, :, step] @ states[row, neighbour]
                if word < length:
                    expected[4 * part : 4 * part + 4] = total.clamp(min=0)
            torch.testing.assert_close(output[row, word], expected, rtol=0, atol=1e-5)


def test_convolutions_do_not_see_padding() -> None:
    states, mask = word_states()
    mixer = Convolutions(6, 4, [2, 3])
    output = mixer(states, mask)
    for row, length in enumerate(LENGTHS):
        alone = mixer(states[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(output[row, :length], alone[0], rtol=0, atol=1e-6)
    states.requires_grad_()
    mixer(states, mask).sum().backward()
    assert states.grad is not None
    assert states.grad[~mask].abs().max() == 0
    assert states.grad[mask].abs().min() > 0


# ---------------------------------------------------------------------------------------------------- meta-learner


def meta_learner() -> tuple[MetaLearner, list[torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    mixer = MetaLearner([3, 5], meta_hidden_size=4)
    states = [torch.randn(2, 3, 3), torch.randn(2, 3, 5)]
    # Both encoders, one alone, the other alone, none.
    has_tokens = torch.tensor(
        [[[True, True], [True, False], [False, True]], [[True, True], [True, True], [False, False]]]
    )
    return mixer, states, has_tokens


def test_meta_learner_weights_sum_to_one_where_there_are_tokens() -> None:
    mixer, states, has_tokens = meta_learner()
    _, weights = mixer(torch.cat(states, dim=-1), has_tokens)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(dim=-1), torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]))
    assert weights[~has_tokens].tolist() == [0.0] * 4
    assert weights[0, 1].tolist() == [1.0, 0.0]
    assert weights[0, 2].tolist() == [0.0, 1.0]


def test_meta_learner_equals_a_loop() -> None:
    mixer, states, has_tokens = meta_learner()
    with torch.no_grad():
        combined, weights = mixer(torch.cat(states, dim=-1), has_tokens)
    for row in range(2):
        for word in range(3):
            stack = torch.cat([state[row, word] for state in states])
            scores = (mixer.gate.weight @ stack + mixer.gate.bias).tolist()
            present = [index for index in range(2) if has_tokens[row, word, index]]
            total = sum(math.exp(scores[index]) for index in present)
            expected = torch.zeros(4)
            for index in present:
                share = math.exp(scores[index]) / total
                assert float(weights[row, word, index]) == pytest.approx(share, abs=1e-6)
                hidden = mixer.norms[index](mixer.projections[index](states[index][row, word]))
                expected = expected + share * torch.nn.functional.gelu(hidden)
            torch.testing.assert_close(combined[row, word], expected, rtol=0, atol=1e-6)


def test_meta_learner_gradients_are_finite_where_no_encoder_has_tokens() -> None:
    mixer, states, _ = meta_learner()
    combined, _ = mixer(torch.cat(states, dim=-1), torch.zeros(2, 3, 2, dtype=torch.bool))
    assert combined.abs().sum() == 0
    combined.sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in mixer.parameters() if parameter.grad is not None)


def test_meta_learner_of_one_encoder_gives_it_all_the_weight() -> None:
    torch.manual_seed(0)
    mixer = MetaLearner([3], meta_hidden_size=4)
    state = torch.randn(1, 2, 3)
    combined, weights = mixer(state, torch.ones(1, 2, 1, dtype=torch.bool))
    assert weights.tolist() == [[[1.0], [1.0]]]
    expected = torch.nn.functional.gelu(mixer.norms[0](mixer.projections[0](state)))
    torch.testing.assert_close(combined, expected, rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- Bi-LSTM


@pytest.mark.parametrize("num_layers", [1, 2])
def test_bilstm_equals_unpadded_runs(num_layers: int) -> None:
    states, mask = word_states()
    states[~mask] = float("nan")
    torch.manual_seed(0)
    bilstm = BiLSTM(6, 4, num_layers, dropout=0.5).eval()
    output = bilstm(states, torch.tensor(LENGTHS))
    assert output.shape == (3, 5, 8)
    for row, length in enumerate(LENGTHS):
        alone, _ = bilstm.lstm(states[row : row + 1, :length])
        torch.testing.assert_close(output[row, :length], alone[0], rtol=0, atol=1e-6)
    assert output[~mask].abs().sum() == 0


@pytest.mark.parametrize("num_layers", [1, 2])
def test_bilstm_in_bf16_learns_as_in_fp32(num_layers: int) -> None:
    torch.manual_seed(0)
    states = torch.randn(len(LENGTHS), max(LENGTHS), 6, requires_grad=True)
    bilstm = BiLSTM(6, 4, num_layers, dropout=0.0)
    outputs, gradients = [], []
    for is_half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            output = bilstm(states, torch.tensor(LENGTHS))
        outputs.append(output.float())
        weights = [states, *bilstm.parameters()]
        gradients.append(torch.autograd.grad(output.float().square().sum(), weights))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=0.02)
    for row, length in enumerate(LENGTHS):
        assert not outputs[1][row, length:].any()
        assert not gradients[1][0][row, length:].any()
    for half, exact in zip(gradients[1], gradients[0], strict=True):
        assert (half - exact).norm() < 0.05 * exact.norm()


def test_bilstm_takes_the_longest_first_as_any_other_order() -> None:
    states, _ = word_states()
    lengths = torch.tensor(LENGTHS)
    torch.manual_seed(0)
    bilstm = BiLSTM(6, 4, 1, dropout=0.0)
    order = lengths.argsort(descending=True)
    assert order.tolist() != list(range(len(LENGTHS)))
    torch.testing.assert_close(
        bilstm(states[order], lengths[order]), bilstm(states, lengths)[order], rtol=0, atol=1e-6
    )


def test_bilstm_keeps_the_width_when_all_texts_are_shorter() -> None:
    bilstm = BiLSTM(6, 4, 1, dropout=0.0)
    assert bilstm(torch.ones(2, 9, 6), torch.tensor([2, 3])).shape == (2, 9, 8)


@pytest.mark.slow
def test_bilstm_is_exported_for_texts_of_any_number_and_length() -> None:
    states, mask = word_states()
    states[~mask] = float("nan")
    bilstm = BiLSTM(6, 4, 2, dropout=0.5).eval()
    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        bilstm, (states, torch.tensor(LENGTHS)), dynamic_shapes=({0: auto, 1: auto}, {0: auto})
    )
    for lengths in ([3, 1, 5], [1, 7], [2, 2, 1, 4]):
        texts = torch.randn(len(lengths), max(lengths), 6)
        expected = bilstm(texts, torch.tensor(lengths))
        torch.testing.assert_close(program.module()(texts, torch.tensor(lengths)), expected, rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- pooling


def test_mean_pooling_equals_a_loop() -> None:
    states, mask = word_states()
    pooled, shares = Pooling(6, "mean")(states, mask)
    for row, length in enumerate(LENGTHS):
        expected = sum(states[row, word] for word in range(length)) / length
        torch.testing.assert_close(pooled[row], expected)
        assert shares[row].tolist() == pytest.approx([1 / length] * length + [0.0] * (5 - length))


def test_max_pooling_equals_a_loop() -> None:
    states, mask = word_states()
    # So that real values are all below zero too.
    states[mask] -= 10
    pooled, shares = Pooling(6, "max")(states, mask)
    for row, length in enumerate(LENGTHS):
        wins = [0] * 5
        for feature in range(6):
            values = [float(states[row, word, feature]) for word in range(length)]
            assert float(pooled[row, feature]) == max(values)
            wins[values.index(max(values))] += 1
        assert shares[row].tolist() == pytest.approx([count / 6 for count in wins])


def test_last_pooling_takes_each_direction_where_it_ends() -> None:
    states, mask = word_states()
    pooled, shares = Pooling(6, "last")(states, mask)
    for row, length in enumerate(LENGTHS):
        assert pooled[row].tolist() == [*states[row, length - 1, :3].tolist(), *states[row, 0, 3:].tolist()]
    assert shares.tolist() == [[0.5, 0, 0.5, 0, 0], [1, 0, 0, 0, 0], [0.5, 0, 0, 0, 0.5]]


def test_attention_pooling_equals_a_loop() -> None:
    states, mask = word_states()
    torch.manual_seed(0)
    pooling = Pooling(6, "attention")
    with torch.no_grad():
        pooled, shares = pooling(states, mask)
    for row, length in enumerate(LENGTHS):
        scores = []
        for word in range(length):
            hidden = torch.tanh(pooling.projection.weight @ states[row, word] + pooling.projection.bias)
            scores.append((pooling.context.weight[0] @ hidden).item())
        exponentials = [math.exp(score) for score in scores]
        expected_shares = [value / sum(exponentials) for value in exponentials]
        assert shares[row].tolist() == pytest.approx(expected_shares + [0.0] * (5 - length), abs=1e-6)
        expected = sum(share * states[row, word] for word, share in enumerate(expected_shares))
        torch.testing.assert_close(pooled[row], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["attention", "mean", "max", "last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pooling_shares_sum_to_one_in_fp32(mode: str, dtype: torch.dtype) -> None:
    states, mask = word_states()
    pooled, shares = Pooling(6, mode).to(dtype)(states.to(dtype), mask)
    assert (pooled.dtype, pooled.shape) == (dtype, (3, 6))
    assert shares.dtype == torch.float32
    assert shares.sum(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-6)
    assert shares[~mask].abs().sum() == 0


@pytest.mark.parametrize("mode", ["attention", "mean", "max", "last"])
def test_pooling_ignores_what_stands_behind_the_mask(mode: str) -> None:
    states, mask = word_states()
    torch.manual_seed(0)
    pooling = Pooling(6, mode)
    other = states.clone()
    other[~mask] = -7.0
    for first, second in zip(pooling(states, mask), pooling(other, mask), strict=True):
        assert torch.equal(first, second)
