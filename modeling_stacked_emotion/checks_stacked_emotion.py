# SPDX-License-Identifier: Apache-2.0
"""Checks of numbers and choices, for configurations and tokenizers."""

from typing import Any


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
