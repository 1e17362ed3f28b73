# SPDX-License-Identifier: Apache-2.0
"""Logits and probabilities for any number of texts, in order, and the classifiers that give them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from modeling_stacked_emotion.explanation_stacked_emotion import Explanation

from ..errors import InputError, reading
from ..loading import check_tokenizer, load_config, load_model, load_tokenizer
from .calibration import calibrated_probabilities
from .engine import TEXTS_PER_CHUNK, Outputs, iter_chunks, iter_outputs
from .processes import Processes


class Prediction(NamedTuple):
    """
    The prediction for one text.

    Attributes:
        text (`str`): The text.
        logits (`np.ndarray` of shape `(num_labels,)`): One logit per label, fp32.
        probabilities (`np.ndarray` of shape `(num_labels,)`): Their sigmoid, fp32.
        words (`list[tuple[int, int]]`): Character spans of the words; empty for models without words.
        word_attention (`list[float]`): Share of each word in the text state; empty for models without words.
        word_parts (`list[list[float]]`): For each word what it adds to each logit; empty where that is not asked for
            or not known.
        logit_parts (`np.ndarray` of shape `(num_encoders + 2, num_labels)`, *optional*): The logits as a sum, as of
            [`StackedEmotionForSequenceClassification.logit_parts`].
        explanation ([`Explanation`], *optional*): Which words decided, if that was asked for.
    """

    text: str
    logits: np.ndarray
    probabilities: np.ndarray
    words: list[tuple[int, int]]
    word_attention: list[float]
    word_parts: list[list[float]]
    logit_parts: np.ndarray | None
    explanation: Explanation | None


class SplitOutputs(NamedTuple):
    """
    The outputs of a model for all texts of a split, in their order.

    Attributes:
        logits (`np.ndarray` of shape `(num_texts, num_labels)`): fp32.
        encoder_weights (`np.ndarray` of shape `(num_texts, num_encoders)`): How much each encoder counts for a text,
            summed over its words; `num_encoders` is 0 for models without a meta-learner.
    """

    logits: np.ndarray
    encoder_weights: np.ndarray


def iter_predictions(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    precision: str = "auto",
    tokens_per_batch: int | None = None,
    report: Callable[[int], object] | None = None,
    processes: Processes | None = None,
    name_words: bool = False,
    explain: bool = False,
) -> Iterator[Prediction]:
    """
    Classify texts one chunk at a time.

    Args:
        model ([`PreTrainedModel`]): A multi-label classifier, ours or any of transformers; stays as it is.
        tokenizer: Its tokenizer.
        texts (`Iterable[str]`): Texts; read at most two chunks of 2,048 ahead of the results, by each process.
        precision, tokens_per_batch, report: As of [`~trainer_ext.evaluation.engine.iter_outputs`].
        processes ([`Processes`], *optional*): Those that share the texts of the main one, each with the model and the
            same arguments; the others have no texts of their own, and no results.
        name_words, explain (`bool`, *optional*, defaults to `False`): As of
            [`~trainer_ext.evaluation.engine.iter_outputs`].

    Yields:
        [`Prediction`]: One per text, in the order of the texts.
    """
    options: dict[str, Any] = {"precision": precision, "tokens_per_batch": tokens_per_batch}
    options |= {"name_words": name_words, "explain": explain}
    for chunk in _outputs(model, tokenizer, texts, processes=processes, report=report, **options):
        probabilities = calibrated_probabilities(chunk.logits, None)
        shares = (attention.tolist() for attention in chunk.word_attention)
        parts = (of_words.tolist() for of_words in chunk.word_parts)
        explanations = chunk.explanations or repeat(None, len(chunk.texts))
        columns = (chunk.texts, chunk.logits, probabilities, chunk.words, shares, parts, chunk.logit_parts)
        yield from map(Prediction, *columns, explanations)


def predict_outputs(model: PreTrainedModel, tokenizer: Any, texts: Iterable[str], **options: Any) -> SplitOutputs:
    """The outputs for all texts; arguments as of [`iter_predictions`]."""
    logits, weights = [np.zeros((0, model.config.num_labels), dtype=np.float32)], []
    for chunk in _outputs(model, tokenizer, texts, **options):
        logits.append(chunk.logits)
        weights += [values.sum(axis=0, dtype=np.float64) for values in chunk.encoder_weights]
    return SplitOutputs(np.concatenate(logits), np.stack(weights) if weights else np.zeros((0, 0)))


def _outputs(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    processes: Processes | None = None,
    report: Callable[[int], object] | None = None,
    **options: Any,
) -> Iterator[Outputs]:
    """The outputs for the texts, and in a process that is not the main one none."""
    if processes is None:
        yield from iter_outputs(model, tokenizer, iter_chunks(texts), report=report, **options)
        return
    chunks = processes.deal(iter_chunks(texts, processes.size * TEXTS_PER_CHUNK))
    outputs = iter_outputs(model, tokenizer, chunks, report=report, **options)
    try:
        for own in outputs:
            for rank, chunk in enumerate(processes.collect(own)):
                if rank and report is not None:
                    report(len(chunk.texts))
                yield chunk
    except (GeneratorExit, Exception):
        # The others wait for their turn: they are told that there is nothing more.
        processes.close()
        for own in outputs:
            processes.collect(own)
        raise


def predict_logits(model: PreTrainedModel, tokenizer: Any, texts: Iterable[str], **options: Any) -> np.ndarray:
    """The logits of all texts, `(num_texts, num_labels)`, fp32; arguments as of [`iter_predictions`]."""
    return predict_outputs(model, tokenizer, texts, **options).logits


def predict_probabilities(model: PreTrainedModel, tokenizer: Any, texts: Iterable[str], **options: Any) -> np.ndarray:
    """The sigmoid of [`predict_logits`]."""
    return calibrated_probabilities(predict_logits(model, tokenizer, texts, **options), None)


def mean_encoder_weights(model: PreTrainedModel, weights: np.ndarray) -> dict[str, float]:
    """
    How much each encoder counts for a meta-learner: its weight in the mean over all words of some texts.

    Args:
        model ([`PreTrainedModel`]): The classifier.
        weights (`np.ndarray` of shape `(num_texts, num_encoders)`): Of these texts, as [`SplitOutputs`] has them.

    Returns:
        `dict[str, float]`: Encoder to its weight; they sum to 1. Empty for a model without a meta-learner or whose
        classifier makes no use of it, as where a stack starts, and for texts without words.
    """
    if getattr(model.config, "mixer", None) != "meta_learner" or len(model.config.encoders) < 2:
        return {}
    if model.config.skip_connection and not model.config.weighted_skip_connection:
        beside = min(place.start for place in model.base_model.skip_places.values())
        if not model.classifier.weight[:, :beside].any():
            return {}
    # Of a word without a token all weights are 0.
    total = weights.sum(axis=0)
    if not total.any():
        return {}
    return dict(zip(model.config.encoders, (total / total.sum()).tolist(), strict=True))


def load_classifier(model: str, device: str | torch.device | None = None) -> tuple[PreTrainedModel, Any]:
    """
    A saved multi-label classifier and its tokenizer, ready to predict.

    Args:
        model (`str`): Folder or Hub id; one of ours or any `AutoModelForSequenceClassification`.
        device (`str` or `torch.device`, *optional*): Such as `"cpu"`; see [`find_device`].

    Raises:
        `InputError`: If there is no such model, it is not a multi-label classifier, is not whole or cannot be trusted
            (see [`~trainer_ext.loading.load_model`]), or if there is no such device.
    """
    # First of all: other models have a tokenizer and weights that fail in less telling ways.
    config = load_config(model)
    problem_type = config.problem_type
    if problem_type != "multi_label_classification":
        raise InputError(
            f"{model} is no multi-label classifier: its `problem_type` must be 'multi_label_classification', "
            f"got {problem_type!r}."
        )
    target = find_device(device)
    tokenizer = load_tokenizer(model)
    classifier = load_model(model, config=config, dtype=torch.float32)
    with reading(model):
        check_tokenizer(classifier, tokenizer)
    return classifier.to(target).eval(), tokenizer


def find_device(device: str | torch.device | None = None) -> torch.device:
    """
    The device of that name; by default the accelerator if there is one, else the CPU.

    Raises:
        `InputError`: If it cannot be used on this machine.
    """
    if device is None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # AssertionError: torch was built without it.
        reason = str(error).splitlines()[0]
        raise InputError(f"The device '{device}' cannot be used ({reason}); leave it out, or use 'cpu'.") from error
