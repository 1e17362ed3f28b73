# SPDX-License-Identifier: Apache-2.0
"""Static words as an encoder: a table with one state per word or character n-gram."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput

from .checks_stacked_emotion import check_flag, check_integer, check_sizes


class StaticWordsConfig(PreTrainedConfig):
    r"""
    Configuration of a [`StaticWordsModel`].

    Args:
        vocab_size (`int`, *optional*, defaults to 1): Rows of the table: padding, words, n-grams.
        hidden_size (`int`, *optional*, defaults to 300): Width of the table.
        frozen (`bool`, *optional*, defaults to `False`): Whether the table stays as it is in training.
        kwargs: Fields of [`PreTrainedConfig`].

    Raises:
        `ValueError`: If a size is below 1 or beyond its maximum.
        `TypeError`: If a size is not an integer, or `frozen` not a bool.
    """

    model_type = "static_words"

    vocab_size: int = 1
    hidden_size: int = 300
    frozen: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for field in ("vocab_size", "hidden_size"):
            check_integer(field, getattr(self, field), minimum=1)
        check_sizes(vars(self))
        check_flag("frozen", self.frozen)


class StaticWordsModel(PreTrainedModel):
    """
    A table of word vectors in the place of an encoder.

    A word of the vocabulary is one token, any other word the tokens of its character n-grams, whose mean is its state
    (Bojanowski et al. 2017, Enriching Word Vectors with Subword Information). A frozen table is a buffer: it has no
    gradient, whatever is trained around it.
    """

    config_class = StaticWordsConfig
    base_model_prefix = "static_words"

    def __init__(self, config: StaticWordsConfig) -> None:
        super().__init__(config)
        table = torch.empty(config.vocab_size, config.hidden_size)
        if config.frozen:
            self.register_buffer("table", table)
        else:
            self.table = nn.Parameter(table)
        self.post_init()

    # The parent asks the first parameter: a frozen table is none.
    @property
    def dtype(self) -> torch.dtype:
        """That of the table."""
        return self.table.dtype

    @property
    def device(self) -> torch.device:
        """That of the table."""
        return self.table.device

    def _init_weights(self, module: nn.Module) -> None:
        init.normal_(module.table, std=0.1)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,  # noqa: ARG002
        word_ids: torch.Tensor | None = None,
        num_words: int = 1,
    ) -> BaseModelOutput:
        """
        Args:
            input_ids (`torch.Tensor` of shape `(batch_size, seq_len)`): Rows of the table.
            attention_mask (`torch.Tensor` of shape `(batch_size, seq_len)`, *optional*): Not used: no token sees
                another one.
            word_ids (`torch.Tensor` of shape `(batch_size, seq_len)`, *optional*): Word of each token from 1 to
                `num_words`, or 0 for none: the states are those of words then, the mean of each word's rows.
            num_words (`int`, *optional*, defaults to 1): Words of the longest text of the batch.

        Returns:
            [`BaseModelOutput`]: `last_hidden_state` of shape `(batch_size, seq_len, hidden_size)` or, with `word_ids`,
            `(batch_size, num_words, hidden_size)`, zero for a word without tokens.
        """
        if word_ids is None:
            return BaseModelOutput(last_hidden_state=nn.functional.embedding(input_ids, self.table))
        is_token = word_ids > 0
        first = num_words * torch.arange(len(word_ids), device=word_ids.device).unsqueeze(-1)
        places, order = (first + word_ids - 1)[is_token].sort(stable=True)
        counts = torch.bincount(places, minlength=len(word_ids) * num_words)
        # Sums the rows of each word where it reads them: no state of a token is written, and padding costs nothing.
        states = nn.functional.embedding_bag(
            input_ids[is_token][order], self.table, counts.cumsum(0) - counts, mode="mean"
        )
        return BaseModelOutput(last_hidden_state=states.view(len(word_ids), num_words, -1))
