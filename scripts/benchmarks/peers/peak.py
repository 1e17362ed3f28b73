# SPDX-License-Identifier: Apache-2.0
"""How much of the device's fastest matrix product the encoder reaches, and how much all of an answer does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from trainer_ext.evaluation.prediction import predict_probabilities
from trainer_ext.precision import DTYPES, autocast

from ..timing import seconds, synchronize
from .work import Work, print_table

# Rows and columns of the matrices.
_CPU_SIDE, _GPU_SIDE = 2048, 8192
_NUM_TOKENS = 128
# Products and passes that the fastest is taken of, for each round.
_TIMES = 5


def measure(work: Work) -> dict[str, float]:
    """The peak in GFLOP/s for each precision, the encoder's share of it on full batches, and that of an answer."""
    results: dict[str, float] = {}
    rows = []
    texts = work.texts()
    model, tokenizer = work.load(work.linear)
    (encoder,) = model.base_model.encoders.values()
    (own,) = tokenizer.tokenizers.values()
    tokens = min(_NUM_TOKENS, tokenizer.max_tokens)
    ids = torch.full((work.batch_size, tokens), own.unk_token_id or 0, device=model.device)
    lengths = [len(row) for row in own(texts, truncation=True, max_length=tokenizer.max_tokens)["input_ids"]]
    for precision in work.precisions:
        peak = _peak_flops(work, precision)
        passed = _fastest(work, partial(_forward, encoder, ids, precision))
        answered = _fastest(
            work, partial(predict_probabilities, model, tokenizer, texts, precision=precision), times=1
        )
        found = {
            "peak_gflops": peak / 1e9,
            "encoder_share": forward_flops(encoder, [tokens] * work.batch_size) / passed / peak,
            "answer_share": forward_flops(encoder, lengths) / answered / peak,
        }
        results |= {f"peak/{precision}/{name}": value for name, value in found.items()}
        shares = [f"{100 * found[name]:.0f} %" for name in ("encoder_share", "answer_share")]
        rows.append([precision, f"{found['peak_gflops']:,.0f}", *shares])
    titles = ["", "peak, GFLOP/s", f"encoder, {work.batch_size} x {tokens} tokens", "from texts to probabilities"]
    print_table("Share of the fastest matrix product", titles, rows)
    return results


def forward_flops(encoder: nn.Module, lengths: Sequence[int]) -> int:
    """
    Operations of the matrix products of a forward pass, an addition and a multiplication counted each.

    A linear layer takes 2 x its weights per token (Kaplan et al., 2020, Scaling Laws for Neural Language Models, 2.1);
    attention, as scores and as weighted sum, 2 x 2 x tokens² x width in each layer.

    Args:
        encoder (`nn.Module`): An encoder of transformers.
        lengths (`Sequence[int]`): Tokens of each text; padding would be further tokens.
    """
    weights = sum(layer.weight.numel() for layer in encoder.modules() if isinstance(layer, nn.Linear))
    config: Any = encoder.config
    attention = 4 * config.num_hidden_layers * config.hidden_size
    return sum(2 * weights * length + attention * length**2 for length in lengths)


def _peak_flops(work: Work, precision: str) -> float:
    side = _CPU_SIDE if work.device_type == "cpu" else _GPU_SIDE
    first, second = (torch.randn(side, side, device=work.device, dtype=DTYPES[precision]) for _ in range(2))
    return 2 * side**3 / _fastest(work, lambda: torch.mm(first, second))


def _fastest(work: Work, function: Any, times: int = _TIMES) -> float:
    """Seconds of the fastest call, as is meant by a peak; the first one warms up."""

    def run() -> None:
        function()
        synchronize()

    run()
    return min(seconds(run) for _ in range(times * work.rounds))


@torch.inference_mode()
def _forward(encoder: nn.Module, ids: torch.Tensor, precision: str) -> None:
    with autocast(ids.device.type, precision):
        encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
