# SPDX-License-Identifier: Apache-2.0
"""The answers of a model: by its graph where the texts are few, which starts at once, else by torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from trainer_ext.errors import InputError, reading

from .quick import quick_classifier


class Classifier(NamedTuple):
    """
    A model that is ready to answer.

    Attributes:
        labels (`list[str]`): The labels, in the order of the model.
        thresholds (`list[float]` of length `num_labels`): The thresholds of the model.
        answers (`Callable`): Makes of texts one answer for each, in order, as of
            [`~modeling_stacked_emotion.description_stacked_emotion.describe_emotions`] with all labels: whatever
            their thresholds, which are 0 there.
        scores (`Callable`): Makes of texts the probabilities of each, `(num_labels,)`, and its script if the model was
            not trained on it, else `None`; in less time than answers.
    """

    labels: list[str]
    thresholds: list[float]
    answers: Callable[[Iterable[str]], Iterator[dict[str, Any]]]
    scores: Callable[[Iterable[str]], Iterator[tuple[Sequence[float], str | None]]]


def load_answers(
    model: str,
    device: str | None = None,
    *,
    are_few: bool,
    precision: str = "auto",
    top_words: int = 3,
    source: str | None = None,
    explain: bool = False,
    **options: Any,
) -> Classifier:
    """
    Load a model to answer.

    Args:
        model (`str`): Folder of a model, or Hub id.
        device (`str`, *optional*): Such as `"cpu"`, where torch is to answer; by default the accelerator, if any.
        are_few (`bool`): Whether so few texts will come that torch is not worth the seconds that it takes to start.
        precision (`str`, *optional*, defaults to `"auto"`): As of [`~trainer_ext.evaluation.engine.prepare`]; the
            graph is one in fp32.
        top_words (`int`, *optional*, defaults to 3): How many words to name, for each emotion and by attention.
        source (`str`, *optional*): Name of a data set, for its thresholds.
        explain (`bool`, *optional*, defaults to `False`): Whether words are left out, and encoders are named, as of
            [`~modeling_stacked_emotion.explanation_stacked_emotion.describe_explanation`]; torch answers then.
        options: `tokens_per_batch`, `report` and `processes`, where torch is to answer, as of
            [`~trainer_ext.evaluation.prediction.iter_predictions`].

    Raises:
        `InputError`: If the model or the device cannot be used.
    """
    may_be_quick = are_few and not explain and device is None and precision in ("auto", "fp32")
    quick = quick_classifier(model) if may_be_quick else None
    if quick is None:
        options |= {"precision": precision, "explain": explain}
        return _load_torch(model, device, top_words, source, options)
    labels, thresholds = quick.labels, quick.thresholds
    if source is not None:
        if source not in quick.source_thresholds:
            known = ", ".join(quick.source_thresholds) or "none"
            raise InputError(f"`source` must be one of {known}, got {source!r}.")
        thresholds = quick.source_thresholds[source]

    def answers(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
        for text in texts:
            yield from quick([text], 0.0, top_words)
            if report := options.get("report"):
                report(1)

    def scores(texts: Iterable[str]) -> Iterator[tuple[Sequence[float], str | None]]:
        for answer in answers(texts):
            found = {emotion["label"]: emotion["score"] for emotion in answer["emotions"]}
            yield [found[label] for label in labels], answer.get("unfamiliar_script")

    limits = thresholds if isinstance(thresholds, list) else [thresholds] * len(labels)
    return Classifier(labels, limits, answers, scores)


def _load_torch(
    name: str, device: str | None, top_words: int, source: str | None, options: dict[str, Any]
) -> Classifier:
    import transformers

    from modeling_stacked_emotion import decision_thresholds, label_names
    from modeling_stacked_emotion.description_stacked_emotion import describe_emotions
    from modeling_stacked_emotion.explanation_stacked_emotion import describe_explanation
    from modeling_stacked_emotion.scripts_stacked_emotion import unfamiliar_script
    from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates
    from trainer_ext.evaluation.prediction import find_device, iter_predictions, load_classifier

    transformers.logging.disable_progress_bar()
    usable = find_device(device)
    with reading(f"--model {name} cannot be loaded"):
        model, tokenizer = load_classifier(name, usable)
    labels, scripts = label_names(model.config), getattr(model.config, "scripts", None)
    encoders = list(getattr(model.config, "encoders", None) or ())

    def answers(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
        cleaned = map(clean_surrogates, texts)
        predictions = iter_predictions(model, tokenizer, cleaned, name_words=top_words > 0, **options)
        for text, _, scores, words, shares, word_parts, parts, explanation in predictions:
            described = (words, word_parts, shares, top_words, scripts)
            answer = describe_emotions(text, labels, scores.tolist(), 0.0, *described)
            if explanation is not None:
                answer = describe_explanation(answer, labels, explanation, parts, encoders, top_words)
            yield answer

    def scores(texts: Iterable[str]) -> Iterator[tuple[Sequence[float], str | None]]:
        for prediction in iter_predictions(model, tokenizer, map(clean_surrogates, texts), **options):
            yield prediction.probabilities.tolist(), unfamiliar_script(prediction.text, scripts)

    with reading():
        thresholds = decision_thresholds(model.config, source)
    return Classifier(labels, thresholds, answers, scores)
