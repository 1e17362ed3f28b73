# SPDX-License-Identifier: Apache-2.0
"""The model behind the demo: texts in, emotions and words out; texts are checked before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from modeling_stacked_emotion.description_stacked_emotion import describe_emotions
from modeling_stacked_emotion.explanation_stacked_emotion import Explanation
from modeling_stacked_emotion.scripts_stacked_emotion import unfamiliar_script
from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates
from trainer_ext.evaluation.engine import Outputs, iter_chunks, iter_outputs, prepare

MAX_CHARACTERS = 5_000
MAX_ROWS = 1_000
_MAX_MESSAGE = 500


class InputError(ValueError):
    """Input of the user that cannot be used; the message says why and how to mend it, in one line."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= _MAX_MESSAGE else f"{line[:_MAX_MESSAGE]} …")


class Emotion(NamedTuple):
    """One label of one text: its probability, and the threshold at or above which it is predicted."""

    label: str
    score: float
    threshold: float

    @property
    def is_predicted(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.score >= self.threshold


class Word(NamedTuple):
    """A word: character offsets, its share in the decision and, if there are several, the share of each encoder."""

    start: int
    end: int
    attention: float
    encoder_weights: list[float]


class Analysis(NamedTuple):
    """
    The answer of the model for one text.

    Attributes:
        text (`str`): The text.
        emotions (`list[Emotion]` of length `num_labels`): In the order of the labels.
        words (`list[Word]`): In the order of the text; empty for models without words.
        is_truncated (`bool`): Whether the end was too long for the model to be read.
        unfamiliar_script (`str`, *optional*): The script of the text, if the model was not trained on it.
        explanation ([`Explanation`], *optional*): Which words decided, if that was asked for.
        logit_parts (`np.ndarray` of shape `(num_encoders + 2, num_labels)`, *optional*): The logits as a sum: the part
            of each encoder, of the rest of the model, and the bias.
        word_parts (`list[list[float]]`): For each word what it adds to each logit; empty where that is not known.
    """

    text: str
    emotions: list[Emotion]
    words: list[Word]
    is_truncated: bool
    unfamiliar_script: str | None = None
    explanation: Explanation | None = None
    logit_parts: np.ndarray | None = None
    word_parts: Sequence[Sequence[float]] = ()

    @property
    def predicted(self) -> list[Emotion]:
        """The emotions at or above their thresholds, best first."""
        return sorted((emotion for emotion in self.emotions if emotion.is_predicted), key=lambda e: -e.score)


class EmotionModel:
    """
    A multi-label classifier with its tokenizer, loaded with the code that is stored with it.

    Args:
        source (`str`): Folder or Hub id.
        revision (`str`, *optional*): Commit, tag or branch of weights, code and tokenizer on the Hub.
        trust_remote_code (`bool`, *optional*, defaults to `True`): Whether its code is run; otherwise classes are used
            that transformers knows or that have been registered with it.
        precision (`str`, *optional*, defaults to `"auto"`): As of [`~trainer_ext.evaluation.engine.prepare`].

    Raises:
        `OSError`: If there is no such model.
        [`InputError`]: If it is not a multi-label classifier, or its weights are not whole or not finite.
    """

    def __init__(
        self, source: str, revision: str | None = None, trust_remote_code: bool = True, precision: str = "auto"
    ) -> None:
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision or "main"}
        self.source = source
        model, report = AutoModelForSequenceClassification.from_pretrained(
            source, use_safetensors=True, output_loading_info=True, **options
        )
        _check_weights(source, model, report["missing_keys"])
        self.config = model.config
        if self.config.problem_type != "multi_label_classification":
            raise InputError(
                f"{source} is no multi-label classifier: its `problem_type` must be 'multi_label_classification', "
                f"got {self.config.problem_type!r}."
            )
        self.precision, self.model = precision, prepare(model, precision)
        self.tokenizer = AutoTokenizer.from_pretrained(source, **options)
        self.labels = [self.config.id2label[index] for index in range(self.config.num_labels)]
        self.thresholds = getattr(self.config, "thresholds", None) or [0.5] * len(self.labels)
        self.languages = getattr(self.config, "languages", None)
        self.scripts = getattr(self.config, "scripts", None)
        self.encoders = list(getattr(self.config, "encoders", None) or [])

    def analyse(
        self, texts: Sequence[str], report: Callable[[int, int], object] | None = None, *, explain: bool = False
    ) -> list[Analysis]:
        """
        Classify texts.

        Args:
            texts (`Sequence[str]`): Any number.
            report (`Callable[[int, int], object]`, *optional*): Told after each batch how many of how many are done.
            explain (`bool`, *optional*, defaults to `False`): Whether to find the words that decided, which takes up
                to 32 times as long.

        Returns:
            `list[Analysis]`: One per text, in their order.
        """
        num_done = 0

        def count(number: int) -> None:
            nonlocal num_done
            num_done += number
            if report is not None:
                report(num_done, len(texts))

        options: dict[str, Any] = {"precision": self.precision, "report": count}
        options |= {"name_words": True, "explain": explain}
        outputs = iter_outputs(self.model, self.tokenizer, iter_chunks(texts), **options)
        return [analysis for chunk in outputs for analysis in self._analyses(chunk)]

    def _analyses(self, outputs: Outputs) -> list[Analysis]:
        probabilities = (1 / (1 + np.exp(-outputs.logits.astype(np.float64)))).tolist()
        return [
            Analysis(
                text,
                [Emotion(*values) for values in zip(self.labels, scores, self.thresholds, strict=True)],
                _words(spans, shares.tolist(), weights.tolist()),
                is_truncated,
                unfamiliar_script(text, self.scripts),
                explanation,
                parts,
                word_parts.tolist(),
            )
            for text, scores, spans, shares, word_parts, weights, is_truncated, parts, explanation in zip(
                outputs.texts,
                probabilities,
                outputs.words,
                outputs.word_attention,
                outputs.word_parts,
                outputs.encoder_weights,
                outputs.is_truncated,
                outputs.logit_parts,
                outputs.explanations or repeat(None, len(outputs.texts)),
                strict=True,
            )
        ]


def _check_weights(source: str, model: Any, missing: Iterable[str]) -> None:
    """Refuse a model that would answer by chance, or NaN."""
    if first := min(missing, default=None):
        raise InputError(f"{source} lacks weights of a {type(model).__name__}, e.g. {first}.")
    for name, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise InputError(f"{source} has weights that are not finite, e.g. {name}.")


def _words(spans: list[tuple[int, int]], shares: list[float], weights: list[list[float]]) -> list[Word]:
    """The words of one text; the weights of a single encoder, or of none, say nothing."""
    return [
        Word(*span, share, weight if len(weight) > 1 else [])
        for span, share, weight in zip(spans, shares, weights or [[]] * len(spans), strict=True)
    ]


def to_json(analysis: Analysis) -> dict[str, Any]:
    """The API's answer for one text: as the model's pipeline, and `probabilities`."""
    labels, scores, thresholds = zip(*analysis.emotions, strict=True)
    spans = [(word.start, word.end) for word in analysis.words]
    shares = [word.attention for word in analysis.words]
    unfamiliar = {"unfamiliar_script": analysis.unfamiliar_script} if analysis.unfamiliar_script else {}
    described = (analysis.text, labels, scores, thresholds, spans, analysis.word_parts, shares)
    answer = describe_emotions(*described, top_words=len(spans))
    return answer | {"probabilities": dict(zip(labels, scores, strict=True)), **unfamiliar}


def check_text(text: Any, name: str = "The text") -> str:
    """
    The text, if it is one, with lone surrogates, which cannot be sent back, as U+FFFD.

    Args:
        text: Anything.
        name (`str`, *optional*, defaults to `"The text"`): Its name in messages.

    Raises:
        [`InputError`]: If it is no string, is blank or is longer than `MAX_CHARACTERS`.
    """
    if not isinstance(text, str):
        raise InputError(f"{name} must be a string, got {type(text).__name__}.")
    if not text.strip():
        raise InputError(f"{name} is empty: type or paste a sentence.")
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{name} has {len(text):,} characters: at most {MAX_CHARACTERS:,} are accepted.")
    return clean_surrogates(text)


def check_texts(texts: Any) -> list[str]:
    """
    The texts of a list, each as of [`check_text`].

    Raises:
        [`InputError`]: If it is no list, is empty or holds more than `MAX_ROWS` or a text that is not as expected.
    """
    if not isinstance(texts, list) or not texts:
        raise InputError("The texts must be a list of at least one string.")
    check_number(len(texts), "The list")
    return [check_text(text, f"Text {number}") for number, text in enumerate(texts, start=1)]


def check_number(number: int, name: str) -> None:
    """
    Refuse more texts than `MAX_ROWS`.

    Raises:
        [`InputError`]: If there are more.
    """
    if number > MAX_ROWS:
        raise InputError(f"{name} has {number:,} texts: at most {MAX_ROWS:,} are accepted at once.")
