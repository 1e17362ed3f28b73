# SPDX-License-Identifier: Apache-2.0
"""The text state as a sum over the words of the text, so that each label's logit is one, too."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

# So much of what a word's state says counts as said by the words that it attended to in the last layer; chosen on
# validation texts (docs/explain.md).
_ATTENDED_SHARE = 0.2


@contextmanager
def showing_attention(encoder: Any) -> Iterator[None]:
    """Within it an encoder computes attention step by step, and so can return it; others have the fused kernel."""
    config = encoder.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before


def attended_words(attention: torch.Tensor, word_ids: torch.Tensor, num_words: int) -> torch.Tensor:
    """
    How much each word attends to each other, tokens outside of words left aside.

    Args:
        attention (`torch.Tensor` of shape `(batch_size, num_heads, seq_len, seq_len)`): That of a layer.
        word_ids (`torch.Tensor` of shape `(batch_size, seq_len)`): Word of each token from 1 on; 0 for none.
        num_words (`int`): Words of the longest text of the batch.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_words, num_words)`: Rows sum to 1; those of words without tokens are
        zero.
    """
    words = torch.arange(1, num_words + 1, device=word_ids.device)
    membership = (word_ids.unsqueeze(1) == words.unsqueeze(-1)).to(attention.dtype)
    between = membership @ attention.mean(dim=1) @ membership.transpose(1, 2)
    return between / between.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(between.dtype).tiny)


def word_summands(
    words: torch.Tensor,
    word_attention: torch.Tensor,
    skipped: Mapping[str, torch.Tensor],
    attended: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """
    What each word adds to the text state.

    Args:
        words (`torch.Tensor` of shape `(batch_size, num_words, hidden_size)`): Word states before the pooling.
        word_attention (`torch.Tensor` of shape `(batch_size, num_words)`): Their shares in it.
        skipped (`dict[str, torch.Tensor]`): Encoder to what its state of each word adds to the place of the encoder
            in the skip connection, `(batch_size, num_words, size of the place)`.
        attended (`dict[str, torch.Tensor]`): Encoder to [`attended_words`] of its last layer; none for encoders
            without attention.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_words, output_size)`: Its sum over the words is the text state.
    """
    summands = [words * word_attention.unsqueeze(-1).to(words.dtype)]
    for name, own in skipped.items():
        if name in attended:
            passed_on = attended[name].transpose(1, 2).to(own.dtype) @ own
            own = (1 - _ATTENDED_SHARE) * own + _ATTENDED_SHARE * passed_on
        summands.append(own)
    return torch.cat(summands, dim=-1)
