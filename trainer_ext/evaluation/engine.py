# SPDX-License-Identifier: Apache-2.0
"""
The way of texts through a model: any number of them, in order, in constant memory, in the number format of the device.

A chunk of texts is tokenised as a whole and cut into batches of like length; the next chunk is tokenised meanwhile, in
a thread of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from modeling_stacked_emotion.explanation_stacked_emotion import MAX_PIECES, Explanation, explain_texts
from modeling_stacked_emotion.text_stacked_emotion import split_words

from ..data.length_batches import length_batches
from ..memory import freed_memory_kept
from ..precision import DTYPES, named_precision

# Texts that are sorted by length at a time: enough that a batch holds texts of nearly one length.
TEXTS_PER_CHUNK = 2048
# Tokens of an encoder's forward pass, padding included: what a CPU's caches hold, more where words are only looked
# up, and what keeps an accelerator busy.
_TOKENS_ON_CPU, _STATIC_TOKENS_ON_CPU, _TOKENS_ELSEWHERE = 2048, 16_384, 32_768

_Model = TypeVar("_Model", bound=PreTrainedModel)
_Report = Callable[[int], object]


class Outputs(NamedTuple):
    """
    The answers of a model for a chunk of texts, in their order.

    Attributes:
        texts (`list[str]`): The texts.
        logits (`np.ndarray` of shape `(num_texts, num_labels)`): fp32.
        words (`list[list[tuple[int, int]]]`): Character spans of each text's words; none for models without words.
        word_attention (`list[np.ndarray]`): For each text the share of each word in its state, `(num_words,)`.
        word_parts (`list[np.ndarray]`): For each text what each word adds to each logit, `(num_words, num_labels)`, if
            that was asked for and the model's pooling is a weighted mean of words; else `num_words` is 0.
        encoder_weights (`list[np.ndarray]`): For each text how much each encoder counts for each word,
            `(num_words, num_encoders)`; `num_encoders` is 0 for models without a meta-learner.
        is_truncated (`list[bool]`): Which texts were cut; nothing is known of it for models without words.
        logit_parts (`list[np.ndarray | None]`): For each text its logits as a sum, `(num_encoders + 2, num_labels)`,
            as of [`StackedEmotionForSequenceClassification.logit_parts`].
        explanations (`list[Explanation]`): Which words of each text decided, if that was asked for; none otherwise.
    """

    texts: list[str]
    logits: np.ndarray
    words: list[list[tuple[int, int]]]
    word_attention: list[np.ndarray]
    word_parts: list[np.ndarray]
    encoder_weights: list[np.ndarray]
    is_truncated: list[bool]
    logit_parts: list[np.ndarray | None]
    explanations: list[Explanation]


class _Tokenized(NamedTuple):
    """A chunk of texts as batches: the places of a batch's texts in the chunk, and the model's inputs."""

    texts: list[str]
    words: list[list[tuple[int, int]]]
    is_truncated: list[bool]
    batches: list[tuple[np.ndarray, dict[str, torch.Tensor]]]


def prepare(model: _Model, precision: str = "auto") -> _Model:
    """
    The model as it answers: in evaluation mode, its encoders in a precision, everything above them in fp32.

    The copy shares with the model all weights that have their type already; the model itself stays as it is. Encoders
    multiply matrices in bf16 or fp16 with sums in fp32; tables of word vectors, mixer, Bi-LSTM, classifier, softmaxes
    and calibration gain nothing by it and stay in fp32.

    In fp32 the probabilities of a text depend by less than 1e-5 on the texts beside it. In bf16 those of the model
    that comes along were, for 500 texts of GoEmotions' test split, off the ones in fp32 by 0.0001 in the mean and
    0.008 at most; allow for 0.03, and the same for other texts beside it. fp16 has three bits more, and a range that
    ends at 65,504.

    Args:
        model ([`PreTrainedModel`]): On its device. One that this function returned, in this precision, is returned.
        precision (`str`, *optional*, defaults to `"auto"`): `"fp32"`, `"bf16"`, `"fp16"`, or the best of the device as
            of [`~trainer_ext.precision.best_precision`].

    Raises:
        `ValueError`: If the model was prepared for another precision.
    """
    chosen = named_precision(precision, model.device.type)
    if (known := getattr(model, "prepared_precision", None)) is not None:
        if known != chosen:
            raise ValueError(
                f"The model was prepared in {known}, and cannot answer in {chosen}: prepare the original."
            )
        return model
    lowered = {id(weight) for encoder in _encoders(model) for weight in encoder.parameters()}
    shared: dict[int, Any] = {}
    for weight in (*model.parameters(), *model.buffers()):
        value = weight.detach()
        if value.is_floating_point():
            value = value.to(DTYPES[chosen] if id(weight) in lowered else torch.float32)
        is_parameter = isinstance(weight, nn.Parameter)
        shared[id(weight)] = nn.Parameter(value, requires_grad=False) if is_parameter else value
    prepared = copy.deepcopy(model, shared).eval()
    if chosen != "fp32":
        for encoder in _encoders(prepared):
            encoder.register_forward_hook(_raise_outputs)
    prepared.prepared_precision = chosen
    return prepared


def _encoders(model: PreTrainedModel) -> list[nn.Module]:
    """The parts that multiply matrices token by token: our encoders, or what other models have below their head."""
    encoders = getattr(model.base_model, "encoders", None)
    if not isinstance(encoders, nn.ModuleDict):
        return [model.base_model]
    return [part for part in encoders.children() if any(isinstance(module, nn.Linear) for module in part.modules())]


def _raise_outputs(module: nn.Module, arguments: Any, outputs: Any) -> None:  # noqa: ARG001
    """A hook: the outputs in fp32, as the layers above want them."""
    for name, value in outputs.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            outputs[name] = value.float()


def iter_outputs(
    model: PreTrainedModel,
    tokenizer: Any,
    chunks: Iterable[list[str]],
    *,
    precision: str = "auto",
    tokens_per_batch: int | None = None,
    report: _Report | None = None,
    name_words: bool = False,
    explain: bool = False,
) -> Iterator[Outputs]:
    """
    Let a model answer chunks of texts.

    While a chunk is computed, the next one is tokenised in a thread, which ends with the iterator. An error of
    `chunks` comes out when everything before it has been answered.

    Args:
        model ([`PreTrainedModel`]): A multi-label classifier, ours or any of transformers; see [`prepare`].
        tokenizer: Its tokenizer.
        chunks (`Iterable[list[str]]`): The texts, as of [`iter_chunks`]; read one chunk ahead of the results.
        precision (`str`, *optional*, defaults to `"auto"`): As of [`prepare`].
        tokens_per_batch (`int`, *optional*): Tokens of a forward pass, padding included, in the encoder that has most;
            a text that has more is a batch by itself. By default 2,048 on the CPU, 16,384 there for static words
            alone, and 32,768 elsewhere.
        report (`Callable[[int], object]`, *optional*): Told after every forward pass the number of its texts.
        name_words (`bool`, *optional*, defaults to `False`): Whether `word_parts` are wanted.
        explain (`bool`, *optional*, defaults to `False`): Whether the model is asked about each text without each of
            its words, too, or without each of 32 runs of them; `report` is then told of texts that are explained.

    Yields:
        [`Outputs`]: One per chunk.

    Raises:
        `ValueError`: If `tokens_per_batch` is below 1.
    """
    if tokens_per_batch is None:
        on_cpu = _TOKENS_ON_CPU if _encoders(model) else _STATIC_TOKENS_ON_CPU
        tokens_per_batch = on_cpu if model.device.type == "cpu" else _TOKENS_ELSEWHERE
    if tokens_per_batch < 1:
        raise ValueError(f"`tokens_per_batch` must be at least 1, got {tokens_per_batch}.")
    prepared = prepare(model, precision)
    iterator, failure = iter(chunks), None
    with freed_memory_kept(model.device.type), ThreadPoolExecutor(1, thread_name_prefix="tokenizing") as pool:

        def begin() -> Any:
            chunk = next(iterator, None)
            return None if chunk is None else pool.submit(_tokenize, tokenizer, chunk, tokens_per_batch)

        present = begin()
        while present is not None:
            try:
                following = begin()
            except Exception as error:
                following, failure = None, error
            outputs = _compute(prepared, present.result(), None if explain else report, name_words)
            if explain:
                outputs = _explained(prepared, tokenizer, outputs, tokens_per_batch, report)
            yield outputs
            present = following
    if failure is not None:
        raise failure


def iter_chunks(texts: Iterable[str], size: int = TEXTS_PER_CHUNK) -> Iterator[list[str]]:
    """The texts in lists of `size`, the last one shorter; those before an error of `texts` come before it."""
    chunk: list[str] = []
    try:
        for text in texts:
            chunk.append(text)
            if len(chunk) == size:
                yield chunk
                chunk = []
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _tokenize(tokenizer: Any, texts: list[str], tokens_per_batch: int) -> _Tokenized:
    if not texts:
        return _Tokenized([], [], [], [])
    if hasattr(tokenizer, "tokenizers"):
        words, encoded, is_truncated = tokenizer.encode_rows(texts)
        lengths = np.max([flat.lengths for flat in encoded.values()], axis=0)
        pad = partial(tokenizer.pad_rows, encoded)
    else:
        words, is_truncated = [[] for _ in texts], [False] * len(texts)
        encoded = tokenizer(texts, truncation=True)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        pad = partial(_pad_lists, tokenizer, encoded)
    batches = []
    for rows in length_batches(lengths, tokens_per_batch=tokens_per_batch):
        batches.append((rows, {key: torch.as_tensor(np.asarray(values)) for key, values in pad(rows).items()}))
    return _Tokenized(texts, words, is_truncated, batches)


def _pad_lists(tokenizer: Any, encoded: Mapping[str, list[Any]], rows: np.ndarray) -> Mapping[str, Any]:
    """The batch of some rows of a tokenizer of transformers."""
    return tokenizer.pad({key: [values[row] for row in rows] for key, values in encoded.items()})


@torch.inference_mode()
def _compute(
    model: PreTrainedModel, chunk: _Tokenized, report: _Report | None = None, name_words: bool = False
) -> Outputs:
    logits = np.zeros((len(chunk.texts), model.config.num_labels), dtype=np.float32)
    attention = [np.zeros(0, dtype=np.float32)] * len(chunk.texts)
    weights = [np.zeros((0, 0), dtype=np.float32)] * len(chunk.texts)
    word_parts = [np.zeros((0, model.config.num_labels), dtype=np.float32)] * len(chunk.texts)
    parts: list[np.ndarray | None] = [None] * len(chunk.texts)
    # Other models have no words, and those that bring older code of their own no parts of words.
    has_parts = getattr(model.base_model, "has_word_summands", False)
    options = {"output_word_parts": True} if name_words and has_parts else {}
    for rows, inputs in chunk.batches:
        outputs = model(**{key: values.to(model.device) for key, values in inputs.items()}, **options)
        logits[rows] = outputs.logits.float().cpu().numpy()
        found_of = {"word_attention": attention, "word_parts": word_parts, "encoder_weights": weights}
        for name, found in found_of.items():
            if (values := getattr(outputs, name, None)) is not None:
                for row, value in zip(rows, values.float().cpu().numpy(), strict=True):
                    found[row] = _of_words(value, len(chunk.words[row]))
        if hasattr(model, "logit_parts") and (values := model.logit_parts(outputs.pooler_output)) is not None:
            for row, value in zip(rows, values.cpu().numpy(), strict=True):
                parts[row] = value
        if report is not None:
            report(len(rows))
    return Outputs(chunk.texts, logits, chunk.words, attention, word_parts, weights, chunk.is_truncated, parts, [])


def _explained(
    model: PreTrainedModel, tokenizer: Any, outputs: Outputs, tokens_per_batch: int, report: _Report | None
) -> Outputs:
    """The outputs with their explanations."""

    def answer(texts: list[str]) -> np.ndarray:
        return _compute(model, _tokenize(tokenizer, texts, tokens_per_batch)).logits

    words = outputs.words if hasattr(tokenizer, "tokenizers") else _read_words(tokenizer, outputs.texts)
    explanations: list[Explanation] = []
    step = TEXTS_PER_CHUNK // MAX_PIECES
    for start in range(0, len(words), step):
        rows = slice(start, start + step)
        explanations += explain_texts(outputs.texts[rows], words[rows], outputs.logits[rows], answer)
        if report is not None:
            report(len(words[rows]))
    return outputs._replace(explanations=explanations)


def _read_words(tokenizer: Any, texts: list[str]) -> list[list[tuple[int, int]]]:
    """The words of each text up to the last token that a tokenizer of transformers keeps."""
    words = [split_words(text) for text in texts]
    if not texts or not tokenizer.is_fast:
        return words
    offsets = tokenizer(texts, truncation=True, return_offsets_mapping=True)["offset_mapping"]
    ends = [max((end for _, end in spans), default=0) for spans in offsets]
    return [[span for span in spans if span[0] < end] for spans, end in zip(words, ends, strict=True)]


def _of_words(values: np.ndarray, num_words: int) -> np.ndarray:
    """The values of a text's words; those of a batch end at the last word that has a token."""
    own = np.zeros((num_words, *values.shape[1:]), dtype=values.dtype)
    own[: len(values)] = values[:num_words]
    return own
