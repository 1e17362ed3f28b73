# SPDX-License-Identifier: Apache-2.0
"""An answer of the model in words: the labels that reach their thresholds, and for each the words that say so."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from .scripts_stacked_emotion import unfamiliar_script


def describe_emotions(
    text: str,
    labels: Sequence[str],
    probabilities: Sequence[float],
    thresholds: Sequence[float] | float,
    words: Sequence[tuple[int, int]] = (),
    word_parts: Sequence[Sequence[float]] = (),
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
        word_parts (`list[list[float]]`, *optional*):
            For each word the part of each label's logit that it says. More rows than words are padding; the last
            words, if no encoder has a token for them, may be missing and say nothing.
        word_attention (`list[float]`, *optional*): One share per word, likewise.
        top_words (`int`, *optional*, defaults to 3): How many words to name, for each emotion and by attention.
        scripts (`list[str]`, *optional*): Those that the model was trained on; `None` if they are not known.

    Returns:
        `dict[str, Any]`: `text`; `emotions`, the labels at or above their thresholds with `score` and `threshold`,
        best first, and `words`, those that speak for the emotion with `word`, `start`, `end` and `part`, most telling
        first; `attention`, the words that got the most of it, with `weight` in place of `part`; and, for a text that
        is mostly in a script that the model was not trained on, its name as `unfamiliar_script`.
    """
    limits = [thresholds] * len(labels) if isinstance(thresholds, int | float) else thresholds
    # Without words nothing is known of their parts, and where none is to be named nothing has to be.
    parts = zip(*word_parts, strict=True) if word_parts and top_words else repeat((), len(labels))
    emotions: list[dict[str, Any]] = [
        {
            "label": label,
            "score": score,
            "threshold": limit,
            "words": name_words(text, words, own, "part", top_words),
        }
        for label, score, limit, own in zip(labels, probabilities, limits, parts, strict=True)
        if score >= limit
    ]
    answer = {
        "text": text,
        "emotions": sorted(emotions, key=lambda emotion: -emotion["score"]),
        "attention": name_words(text, words, word_attention, "weight", top_words),
    }
    script = unfamiliar_script(text, scripts)
    return answer if script is None else answer | {"unfamiliar_script": script}


def name_words(
    text: str, spans: Sequence[tuple[int, int]], values: Sequence[float], name: str, top_words: int
) -> list[dict[str, Any]]:
    """
    The words of a text with the highest values above 0, highest first.

    Args:
        text (`str`): The text.
        spans (`list[tuple[int, int]]`): Start and end of each word.
        values (`list[float]`): One per word; further ones are padding, and words without one are not named.
        name (`str`): Key of the value.
        top_words (`int`): How many words to name at most.

    Returns:
        `list[dict[str, Any]]`: `word`, `start`, `end` and the value of each.
    """
    above = [place for place, value in enumerate(values[: len(spans)]) if value > 0]
    return [
        {"word": text[slice(*spans[place])], "start": spans[place][0], "end": spans[place][1], name: values[place]}
        for place in sorted(above, key=lambda place: -values[place])[:top_words]
    ]
