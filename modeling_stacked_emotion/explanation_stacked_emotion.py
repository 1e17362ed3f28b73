# SPDX-License-Identifier: Apache-2.0
"""The words that decided, found by leaving them out: how far each label's logit falls without a word of the text."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .description_stacked_emotion import name_words
from .text_stacked_emotion import Span, split_words

# Texts without a piece that are asked about for one text.
MAX_PIECES = 32


class Explanation(NamedTuple):
    """
    Which words of a text decided.

    Attributes:
        pieces (`list[tuple[int, int]]`): Character spans of its words, or of runs of words where there are many.
        falls (`np.ndarray` of shape `(num_pieces, num_labels)`):
            How far each logit falls when the piece is left out; negative where the piece speaks against the label.
    """

    pieces: list[Span]
    falls: np.ndarray


def explain_texts(
    texts: Sequence[str],
    words: Sequence[Sequence[Span]],
    logits: np.ndarray,
    answer: Callable[[list[str]], np.ndarray],
    max_pieces: int = MAX_PIECES,
) -> list[Explanation]:
    """
    Ask a model about each text without one of its pieces at a time (Li et al. 2016, Understanding Neural Networks
    through Representation Erasure).

    Args:
        texts (`list[str]`): The texts.
        words (`list[list[tuple[int, int]]]`): For each text the spans of the words that the model reads.
        logits (`np.ndarray` of shape `(num_texts, num_labels)`): The model's for these texts.
        answer (`Callable[[list[str]], np.ndarray]`): Makes of texts their logits, `(number of texts, num_labels)`.
        max_pieces (`int`, *optional*, defaults to 32): The most texts that are asked about for one text.

    Returns:
        `list[Explanation]`: One per text.
    """
    pieces = [group_words(spans, max_pieces) for spans in words]
    variants = [
        # What stands behind the last word that is read would move up into the gap.
        leave_out(text[: spans[-1][1]], [piece])
        for text, spans in zip(texts, pieces, strict=True)
        for piece in spans
    ]
    answers = answer(variants) if variants else logits[:0]
    ends = np.cumsum([len(spans) for spans in pieces], dtype=np.int64)
    return [
        Explanation(spans, own - answers[end - len(spans) : end])
        for spans, own, end in zip(pieces, logits, ends.tolist(), strict=True)
    ]


def group_words(words: Sequence[Span], max_pieces: int = MAX_PIECES) -> list[Span]:
    """
    The pieces of a text that are left out one at a time: its words or, where these are more than `max_pieces`, as many
    runs of neighbouring words, whose lengths differ by one word at most.
    """
    number = min(len(words), max_pieces)
    bounds = [len(words) * index // max(number, 1) for index in range(number + 1)]
    return [(words[first][0], words[end - 1][1]) for first, end in pairwise(bounds)]


def leave_out(text: str, spans: Sequence[Span]) -> str:
    """
    The text without some of its pieces.

    White space on both sides of a gap becomes that on one side, and a space keeps apart what would become one word:
    without its comma "now,please" is "now please".

    Args:
        text (`str`): The text.
        spans (`list[tuple[int, int]]`): Start and end of each piece, in order.
    """
    kept, end = "", 0
    for start, stop in spans:
        kept = _join(kept, text[end:start])
        end = stop
    return _join(kept, text[end:]).rstrip()


def _join(before: str, after: str) -> str:
    if not before or before[-1].isspace():
        return before + after.lstrip()
    is_one_word = after and not after[0].isspace() and len(split_words(before[-1] + after[0])) == 1
    return f"{before} {after}" if is_one_word else before + after


def describe_explanation(
    answer: dict[str, Any],
    labels: Sequence[str],
    explanation: Explanation,
    logit_parts: np.ndarray | None = None,
    encoders: Sequence[str] = (),
    top_words: int = 3,
) -> dict[str, Any]:
    """
    An answer of [`~description_stacked_emotion.describe_emotions`] with reasons.

    Args:
        answer (`dict[str, Any]`): The answer.
        labels (`list[str]` of length `num_labels`): Names of the labels.
        explanation ([`Explanation`]): That of the text.
        logit_parts (`np.ndarray` of shape `(num_encoders + 2, num_labels)`, *optional*):
            Its logits as a sum: the part of each encoder, of the rest of the model, and the bias.
        encoders (`list[str]`, *optional*): Names of these encoders.
        top_words (`int`, *optional*, defaults to 3): How many words to name for each emotion.

    Returns:
        `dict[str, Any]`: The answer, where the `words` of each emotion are those without which its logit falls, with
        `fall` in place of `part`, most telling first; and it has `parts` with `encoders` (name to part), `rest` and
        `bias`, whose sum is the logit, if there are parts.
    """
    emotions = []
    for emotion in answer["emotions"]:
        label = labels.index(emotion["label"])
        falls = explanation.falls[:, label].tolist()
        reason: dict[str, Any] = {"words": name_words(answer["text"], explanation.pieces, falls, "fall", top_words)}
        if logit_parts is not None:
            *own, rest, bias = logit_parts[:, label].tolist()
            reason["parts"] = {"encoders": dict(zip(encoders, own, strict=True)), "rest": rest, "bias": bias}
        emotions.append(emotion | reason)
    return answer | {"emotions": emotions}
