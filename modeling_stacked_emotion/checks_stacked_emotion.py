# SPDX-License-Identifier: Apache-2.0
"""Checks of numbers, choices and files, for configurations and tokenizers."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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
# Without one of each nothing can be built.
_AT_LEAST_ONE = ("hidden_size", "dim", "d_model", "n_embd", "num_attention_heads", "n_heads", "vocab_size")
_TOKENIZER_CLASS = "StackedEmotionTokenizer"
_TOKENIZER_SETTINGS = ("encoders", "normalizations", "max_words", "max_tokens")
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
    `ValueError` for a size beyond its maximum in `MAX_SIZES`, and for none where there must be one.

    Args:
        fields (`Mapping[str, Any]`): Of a configuration or tokenizer; those of nested configurations are checked, too.
        place (`str`, *optional*, defaults to `""`): Text before a field's name in a message.
    """
    for name, value in fields.items():
        if isinstance(value, Mapping):
            check_sizes(value, f"{place}{name}.")
            continue
        numbers = value if isinstance(value, list) else [value]
        size = max((number for number in numbers if isinstance(number, int | float)), default=1)
        if size > MAX_SIZES.get(name, size):
            raise ValueError(f"`{place}{name}` must be at most {MAX_SIZES[name]:,}, got {size}.")
        if name in _AT_LEAST_ONE and size < 1:
            raise ValueError(f"`{place}{name}` must be at least 1, got {size}.")


def check_encoder_name(name: Any) -> None:
    """`ValueError` unless `name` can be the name of an encoder."""
    if not isinstance(name, str) or not _ENCODER_NAME.fullmatch(name):
        raise ValueError(
            f"An encoder's name must be letters, digits and underscores, starting with a letter, got {name!r}."
        )


def check_number(field: str, value: Any, is_inside: Callable[[float], bool], expected: str) -> None:
    """`ValueError` unless `value` is a number (true and false are none) within a range, in words `expected`."""
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        number = math.inf
    if not is_inside(number):
        raise ValueError(f"`{field}` must be a number {expected}, got {value!r}.")


def check_label_numbers(
    field: str, values: Any, labels: Sequence[str], is_inside: Callable[[float], bool], expected: str
) -> None:
    """`TypeError` or `ValueError` unless `values` is a list with a number within a range for each label."""
    if not isinstance(values, list):
        raise TypeError(f"`{field}` must be a list of floats, got {type(values).__name__}.")
    if len(values) != len(labels):
        raise ValueError(f"`{field}` must have one value per label ({len(labels)}), got {len(values)}.")
    for label, value in zip(labels, values, strict=True):
        check_number(f"{field}[{label}]", value, is_inside, expected)


def check_thresholds(values: Any, labels: Sequence[str]) -> None:
    """`TypeError` or `ValueError` unless `values` is a list with a number in [0, 1] for each label."""
    check_label_numbers("thresholds", values, labels, lambda value: 0.0 <= value <= 1.0, "in [0, 1]")


def check_vocabulary(name: str, num_ids: int, num_rows: Any) -> None:
    """`ValueError` if a tokenizer gives ids for which the embedding of its encoder has no row."""
    if isinstance(num_rows, int) and num_ids > num_rows:
        raise ValueError(
            f"The tokenizer of {name} has {num_ids} tokens, but the embedding has {num_rows} rows: take the tokenizer "
            f"that the model was trained with, or call `resize_token_embeddings({num_ids})` of the encoder, save it "
            "and train with it."
        )


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; `ValueError` or `TypeError` if it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise TypeError(f"{path} must hold an object, got {type(content).__name__}.")
    return content


def read_tokenizer_settings(path: Path) -> dict[str, Any]:
    """The `tokenizer_config.json` of a tokenizer of several encoders; `ValueError` or `TypeError` if it is not one."""
    settings = read_object(path)
    if (kind := settings.get("tokenizer_class")) != _TOKENIZER_CLASS:
        raise ValueError(f"{path} is of a {kind}, expected {_TOKENIZER_CLASS}.")
    if missing := [name for name in _TOKENIZER_SETTINGS if name not in settings]:
        raise ValueError(f"{path} lacks `{missing[0]}`: save the tokenizer again.")
    for name, kind in {"encoders": list, "normalizations": dict}.items():
        if not isinstance(settings[name], kind):
            raise TypeError(f"{path}: `{name}` must be a {kind.__name__}, got {settings[name]!r}.")
    # Before a folder is named by them.
    for name in settings["encoders"]:
        check_encoder_name(name)
    for name in ("max_words", "max_tokens"):
        check_integer(name, settings[name], minimum=1)
    check_sizes(settings)
    return settings
