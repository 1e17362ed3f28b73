# SPDX-License-Identifier: Apache-2.0
"""Checks of numbers and choices, for configurations and tokenizers."""

import re
from collections.abc import Mapping
from typing import Any

# The largest size of each kind that a configuration or tokenizer may name: one beyond would hang the machine or fill
# its memory before the missing weights could be noticed.
MAX_SIZES = {
    **dict.fromkeys(("num_labels", "hidden_size", "embedding_size", "dim", "d_model", "n_embd"), 65_536),
    **dict.fromkeys(("meta_hidden_size", "convolution_hidden_size", "lstm_hidden_size"), 65_536),
    **dict.fromkeys(("num_attention_heads", "n_heads", "type_vocab_size", "convolution_widths"), 65_536),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "n_layer"), 1_024),
    "lstm_num_layers": 16,
    **dict.fromkeys(("intermediate_size", "hidden_dim", "max_words", "max_tokens"), 1_000_000),
    **dict.fromkeys(("vocab_size", "num_ngrams", "max_position_embeddings"), 10_000_000),
    **dict.fromkeys(("min_ngram", "max_ngram"), 40),
}
# An encoder's name becomes a module name, a folder name and the prefix of its batch keys.
_ENCODER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def check_choice(field: str, value: Any, choices: tuple[str, ...]) -> None:
    """`ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{field}` must be one of {', '.join(choices)}, got {value!r}.")


def check_integer(field: str, value: Any, minimum: int) -> None:
    """`TypeError` unless `value` is an integer (true and false are none), `ValueError` below `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{field}` must be an integer, got {value!r}.")
    if value < minimum:
        raise ValueError(f"`{field}` must be at least {minimum}, got {value}.")


def check_flag(field: str, value: Any) -> None:
    """`TypeError` unless `value` is true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"`{field}` must be true or false, got {value!r}.")


def check_sizes(fields: Mapping[str, Any], place: str = "") -> None:
    """
    `ValueError` for a size beyond its maximum in `MAX_SIZES`.

    Args:
        fields (`Mapping[str, Any]`): Of a configuration or tokenizer; those of nested configurations are checked, too.
        place (`str`, *optional*, defaults to `""`): Text before a field's name in a message.
    """
    for name, value in fields.items():
        if isinstance(value, Mapping):
            check_sizes(value, f"{place}{name}.")
            continue
        numbers = value if isinstance(value, list) else [value]
        size = max((number for number in numbers if isinstance(number, int | float)), default=0)
        if size > MAX_SIZES.get(name, size):
            raise ValueError(f"`{place}{name}` must be at most {MAX_SIZES[name]:,}, got {size}.")


def check_encoder_name(name: Any) -> None:
    """`ValueError` unless `name` can be the name of an encoder."""
    if not isinstance(name, str) or not _ENCODER_NAME.fullmatch(name):
        raise ValueError(
            f"An encoder's name must be letters, digits and underscores, starting with a letter, got {name!r}."
        )
