# SPDX-License-Identifier: Apache-2.0
"""Logits and probabilities for any number of texts, in order, batched by length, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from ..data.batching import length_batches
from ..errors import InputError, reading
from ..loading import check_tokenizer, load_config, load_model, load_tokenizer
from .calibration import calibrated_probabilities

# Texts sorted by length at a time, in batches: enough that a batch holds texts of nearly one length.
_BATCHES_PER_CHUNK = 32


class Prediction(NamedTuple):
    """
    The prediction for one text.

    Attributes:
        text (`str`): The text.
        logits (`np.ndarray` of shape `(num_labels,)`): One logit per label, fp32.
        probabilities (`np.ndarray` of shape `(num_labels,)`): Their sigmoid, fp32.
        words (`list[tuple[int, int]]`): Character spans of the words; empty for models without words.
        word_attention (`list[float]`): Share of each word in the decision; empty for models without words.
    """

    text: str
    logits: np.ndarray
    probabilities: np.ndarray
    words: list[tuple[int, int]]
    word_attention: list[float]


def iter_predictions(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Iterable[str],
    batch_size: int = 64,
    report: Callable[[int], object] | None = None,
) -> Iterator[Prediction]:
    """
    Classify texts one chunk at a time.

    Args:
        model ([`PreTrainedModel`]): A multi-label classifier, ours or any of transformers; put into evaluation mode.
        tokenizer: Its tokenizer.
        texts (`Iterable[str]`): Texts; consumed as the results are.
        batch_size (`int`, *optional*, defaults to 64): Texts per forward pass, at least 1.
        report (`Callable[[int], object]`, *optional*): Told after every forward pass the number of its texts.

    Yields:
        [`Prediction`]: One per text, in the order of the texts.

    Raises:
        `InputError`: If `batch_size` is below 1.
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1, got {batch_size}.")
    model.eval()
    iterator = iter(texts)
    while chunk := list(islice(iterator, batch_size * _BATCHES_PER_CHUNK)):
        predictions: dict[int, Prediction] = {}
        # Negated, so the shortest first: where one batch is not full, it is that of the longest texts.
        for batch in length_batches([-len(text) for text in chunk], batch_size):
            predictions |= zip(batch, _predict(model, tokenizer, [chunk[row] for row in batch]), strict=True)
            if report is not None:
                report(len(batch))
        yield from (predictions[row] for row in range(len(chunk)))


@torch.inference_mode()
def _predict(model: PreTrainedModel, tokenizer: Any, texts: list[str]) -> list[Prediction]:
    has_words = hasattr(tokenizer, "tokenizers")
    if has_words:
        encoded = tokenizer(texts, padding=True, return_words=True)
        words = encoded.pop("words")
        inputs = {key: torch.from_numpy(value).to(model.device) for key, value in encoded.items()}
    else:
        words = [[] for _ in texts]
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
    outputs = model(**inputs)
    logits = outputs.logits.float().cpu().numpy()
    probabilities = calibrated_probabilities(logits, None)
    shares = outputs.word_attention.float().cpu().tolist() if has_words else [[] for _ in texts]
    return [
        # The shares end at the last word that any encoder has a token for: words behind it had none.
        Prediction(text, row, probability, spans, (share + [0.0] * len(spans))[: len(spans)])
        for text, row, probability, spans, share in zip(texts, logits, probabilities, words, shares, strict=True)
    ]


def predict_logits(model: PreTrainedModel, tokenizer: Any, texts: Iterable[str], batch_size: int = 64) -> np.ndarray:
    """The logits of all texts as one array of shape `(num_texts, num_labels)`, fp32."""
    rows = [prediction.logits for prediction in iter_predictions(model, tokenizer, texts, batch_size)]
    return np.stack(rows) if rows else np.zeros((0, model.config.num_labels), dtype=np.float32)


def predict_probabilities(
    model: PreTrainedModel, tokenizer: Any, texts: Iterable[str], batch_size: int = 64
) -> np.ndarray:
    """The sigmoid of `predict_logits`."""
    return calibrated_probabilities(predict_logits(model, tokenizer, texts, batch_size), None)


@torch.inference_mode()
def mean_encoder_weights(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[str], batch_size: int = 64
) -> dict[str, float]:
    """
    How much each encoder counts for a meta-learner: its weight in the mean over all words of the texts.

    Args:
        model, tokenizer: As in [`iter_predictions`].
        texts (`Sequence[str]`): The texts.
        batch_size (`int`, *optional*, defaults to 64): Texts per forward pass.

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
    model.eval()
    total = torch.zeros(len(model.config.encoders), dtype=torch.float64)
    for rows in length_batches([len(text) for text in texts], batch_size):
        encoded = tokenizer([texts[row] for row in rows], padding=True)
        outputs = model(**{key: torch.from_numpy(value).to(model.device) for key, value in encoded.items()})
        # Of a word without a token all weights are 0.
        total += outputs.encoder_weights.double().sum(dim=(0, 1)).cpu()
    if not total.sum():
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
    classifier = load_model(model, config=config)
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
