# SPDX-License-Identifier: Apache-2.0
"""The names of the model's inputs, which are those of its encoders."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any

import torch


class NamedInputs:
    """
    A method whose signature, asked of a model, names the inputs of the model's encoders before `**inputs`: the Trainer
    removes the columns of a data set that the signature of `forward` does not name.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __get__(self, model: Any, owner: type | None = None) -> Callable[..., Any]:
        if model is None:
            return self.function
        if torch.compiler.is_compiling():
            return functools.partial(self.function, model)
        return MethodType(_with_inputs(self.function, tuple(model.config.encoders)), model)


@functools.lru_cache
def _with_inputs(function: Callable[..., Any], encoders: tuple[str, ...]) -> Callable[..., Any]:
    @functools.wraps(function)
    def named(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    signature = inspect.signature(function)
    *others, rest = signature.parameters.values()
    inputs = [rest.replace(name=name, kind=rest.KEYWORD_ONLY, default=None) for name in input_names(encoders)]
    named.__signature__ = signature.replace(parameters=[*others, *inputs, rest])  # type: ignore[attr-defined]
    return named


def input_names(encoders: Iterable[str]) -> list[str]:
    """The inputs that a tokenizer makes for these encoders."""
    return [f"{name}_{field}" for name in encoders for field in ("input_ids", "attention_mask", "word_ids")]


def check_inputs(inputs: Mapping[str, Any], encoders: list[str]) -> None:
    """
    Raises:
        `ValueError`: If an input of an encoder is missing.
        `TypeError`: If there is one more.
    """
    expected = {*input_names(encoders)}
    if missing := sorted(expected - inputs.keys()):
        raise ValueError(f"The inputs lack {', '.join(missing)}: use this model's StackedEmotionTokenizer.")
    if unknown := sorted(inputs.keys() - expected):
        raise TypeError(
            f"Unexpected inputs {', '.join(unknown)}: the encoders of this model are {', '.join(encoders)}."
        )
