# SPDX-License-Identifier: Apache-2.0
"""An answer of the model in words: the labels that reach their thresholds, and the words that counted most."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

from .scripts_stacked_emotion import unfamiliar_script


def describe_emotions(
    text: str,
    labels: Sequence[str],
    probabilities: Sequence[float],
    thresholds: Sequence[float] | float,
    words: Sequence[tuple[int, int]] = (),
    word_attention: Sequence[float] = (),
    top_words: int = 3,
    scripts: Sequence[str] | None = None,
) -> dict[str, Any]:
    """
    Describe the outputs of a model for one text.

    Args:
        text (`str`): The text.
        labels (`list[str]` of length `num_labels`): Names of the labels.
        probabilities (`list[float]` of length `num_labels`): One per label.
        thresholds (`list[float]` of length `num_labels`, or `float`): One per label, or one for all of them.
        words (`list[tuple[int, int]]`, *optional*): Character spans of the words; none for models without words.
        word_attention (`list[float]`, *optional*):
            One share per word. Longer rows are padding; the last words, if no encoder has a token for them, may be
            missing and have no share.
        top_words (`int`, *optional*, defaults to 3): How many words to name.
        scripts (`list[str]`, *optional*): Those that the model was trained on; `None` if they are not known.

    Returns:
        `dict[str, Any]`: `text`; `emotions`, the labels at or above their thresholds with `score` and `threshold`,
        best first; `words` with `start`, `end` and `weight`, best first; and, for a text that is mostly in a script
        that the model was not trained on, its name as `unfamiliar_script`.
    """
    limits = [thresholds] * len(labels) if isinstance(thresholds, int | float) else thresholds
    emotions: list[dict[str, Any]] = [
        {"label": label, "score": score, "threshold": limit}
        for label, score, limit in zip(labels, probabilities, limits, strict=True)
        if score >= limit
    ]
    weighted: list[dict[str, Any]] = [
        {"word": text[start:end], "start": start, "end": end, "weight": weight}
        for (start, end), weight in zip(words, chain(word_attention, repeat(0.0)), strict=False)
    ]
    answer = {
        "text": text,
        "emotions": sorted(emotions, key=lambda emotion: -emotion["score"]),
        "words": sorted(weighted, key=lambda word: -word["weight"])[:top_words],
    }
    script = unfamiliar_script(text, scripts)
    return answer if script is None else answer | {"unfamiliar_script": script}
