# SPDX-License-Identifier: Apache-2.0
"""The model on Inference Endpoints: texts in, emotions over their thresholds, each with the words for it, out."""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import pipeline

_PARAMETERS = ("threshold", "top_words", "top_k", "source")
# Of one request, so that no one keeps the others waiting.
MAX_TEXTS = 1_000
MAX_CHARACTERS = 1_000_000
_MAX_COUNT = 1_000_000


class EndpointHandler:
    r"""
    Answers requests such as `{"inputs": "what a day!", "parameters": {"top_words": 5}}`.

    Args:
        path (`str`): The folder of this repository.

    Request:
        inputs (`str` or `list[str]`): One text, or at most 1,000 of them; of at most 1,000,000 characters in all.
        threshold (`float`, *optional*): One threshold in [0, 1] for all labels instead of the model's own.
        top_words (`int`, *optional*, defaults to 3): How many words to name, for each emotion and by attention.
        source (`str`, *optional*): Name of a data set whose thresholds are taken, of `source_thresholds` in
            `config.json`.
        top_k (`int`, *optional*): The most emotions to name, best first; all over their thresholds when absent.

    Answer, for a text, or in a list for a list:
        `{"text": ..., "emotions": [{"label", "score", "threshold", "words": [{"word", "start", "end", "part"}, ...]},
        ...], "attention": [{"word", "start", "end", "weight"}, ...]}`, with U+FFFD for lone surrogates, which cannot
        be sent; and `"unfamiliar_script"` for a text mostly in a script that the model was not trained on.
    """

    def __init__(self, path: str = "") -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pipeline = pipeline("emotion-classification", model=path, trust_remote_code=True, device=device)

    def __call__(self, data: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """
        Answer one request.

        Raises:
            `ValueError`: If the request is not one; the server answers with status 400 and the message.
        """
        if not isinstance(data, dict) or "inputs" not in data:
            raise ValueError('The request must be an object with "inputs": a text or a list of texts.')
        texts, parameters = data["inputs"], data.get("parameters") or {}
        _check_texts(texts)
        if not isinstance(parameters, dict):
            raise ValueError(f'"parameters" must be an object, got {_kind(parameters)}.')
        unknown = sorted(set(parameters) - set(_PARAMETERS))
        if unknown:
            raise ValueError(f'"parameters" may hold {", ".join(_PARAMETERS)}; got {unknown[0][:80]}.')
        options: dict[str, Any] = {}
        if parameters.get("threshold") is not None:
            options["threshold"] = _number("threshold", parameters["threshold"])
        if parameters.get("top_words") is not None:
            options["top_words"] = _count("top_words", parameters["top_words"])
        if parameters.get("source") is not None:
            options["source"] = str(parameters["source"])
        top_k = None if parameters.get("top_k") is None else _count("top_k", parameters["top_k"])
        answers = self.pipeline([texts] if isinstance(texts, str) else texts, **options) if texts != [] else []
        for answer in answers:
            answer["emotions"] = answer["emotions"][:top_k]
        return answers[0] if isinstance(texts, str) else answers


def _check_texts(texts: Any) -> None:
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list):
        raise ValueError(f'"inputs" must be a text or a list of texts, got {_kind(texts)}.')
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f'"inputs" must hold texts only, but number {index + 1} is {_kind(text)}.')
    num_characters = sum(map(len, texts))
    if len(texts) > MAX_TEXTS or num_characters > MAX_CHARACTERS:
        raise ValueError(
            f'"inputs" may hold at most {MAX_TEXTS:,} texts with {MAX_CHARACTERS:,} characters in all, got '
            f"{len(texts):,} with {num_characters:,}: send them in parts."
        )


def _number(name: str, value: Any) -> float:
    """A probability; the server hands numbers of the address (`?threshold=0.3`) on as text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise ValueError(f'"{name}" must be a number in [0, 1], got {_shown(value)}.')
    return number


def _count(name: str, value: Any) -> int:
    """A whole number; likewise."""
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else value
    if type(number) is not int or not 0 <= number <= _MAX_COUNT:
        raise ValueError(f'"{name}" must be a whole number from 0 to {_MAX_COUNT:,}, got {_shown(value)}.')
    return number


def _shown(value: Any) -> str:
    """A value of a request in a message, which must stay short."""
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**20):
        return str(value)
    return repr(value) if isinstance(value, str) and len(value) < 80 else _kind(value)


def _kind(value: Any) -> str:
    """The name of its kind in JSON."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
