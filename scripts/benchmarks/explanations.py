# SPDX-License-Identifier: Apache-2.0
"""How faithful the words are that are said to have decided, and how long it takes to find them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from hub.model.mini import mini_model
from modeling_stacked_emotion import StaticWordsModel, decision_thresholds, split_words
from modeling_stacked_emotion.explanation_stacked_emotion import explain_texts, leave_out
from modeling_stacked_emotion.text_stacked_emotion import Span, clean_surrogates
from trainer_ext.data.length_batches import length_batches
from trainer_ext.data.loading import iter_texts
from trainer_ext.errors import InputError, reading
from trainer_ext.evaluation.calibration import calibrated_probabilities
from trainer_ext.evaluation.engine import iter_chunks, iter_outputs, prepare
from trainer_ext.evaluation.prediction import load_classifier, predict_logits, predict_probabilities

from .timing import seconds

# Shares of the words that are left out, or kept alone: those of ERASER.
_RATIOS = (0.01, 0.05, 0.1, 0.2, 0.5)
_BATCH_SIZE = 16


class _Case(NamedTuple):
    """A text up to its last word that is read, the words, and a label that is predicted for it."""

    text: str
    words: list[Span]
    label: int


class _Subject(NamedTuple):
    """The model that is explained, as it answers and, for gradients, in fp32."""

    model: PreTrainedModel
    tokenizer: Any
    precision: str

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        return predict_logits(self.model, self.tokenizer, texts, precision=self.precision)


_Method = Callable[[_Subject, Sequence[_Case]], list[np.ndarray]]


def measure(options: argparse.Namespace) -> dict[str, float]:
    """
    Print and return how faithful the words of each method are, for all labels that are predicted for some texts.

    Comprehensiveness is how far the label's probability falls when the words that are said to have decided are left
    out (more is better), sufficiency how far it falls when they alone are kept (less is better); each is the mean over
    the first 1, 5, 10, 20 and 50 % of the words, at least one (DeYoung et al. 2020, ERASER: A Benchmark to Evaluate
    Rationalized NLP Models, section 4.2), then over the labels of a text, then over the texts. Beside it stands the
    difference to attention, or to words by chance for a model without words, with a 95 % interval over the texts. Time
    is that of explaining all texts, in multiples of the time that the model takes to answer them.
    """
    name = options.model or mini_model()
    with reading(f"{name} cannot be loaded"):
        subject = _Subject(*load_classifier(name), options.precision)
    cases = _cases(subject, islice(iter_texts(options.texts), options.num_texts))
    if not cases:
        raise InputError(f"{options.texts}: no text of two words or more has a label over its threshold.")
    texts = list(dict.fromkeys(case.text for case in cases))
    subject.logits(texts)
    forward = seconds(partial(subject.logits, texts))
    scores: dict[str, list[np.ndarray]] = {}
    times = {}
    for title, method in _methods(subject.model).items():
        times[title] = seconds(lambda: scores.update({title: method(subject, cases)})) / forward  # noqa: B023
    values = _faithfulness(subject, cases, scores)
    num_words = np.mean([len(case.words) for case in cases])
    print(f"{len(texts):,} texts, {len(cases):,} labels, {num_words:.1f} words on average\n")
    return _print_table(values, times)


def _methods(model: PreTrainedModel) -> dict[str, _Method]:
    methods: dict[str, _Method] = {
        "leave-one-out": _fall_of_words,
        "gradient, fixed norms": _gradient_with_fixed_norms,
        "gradient x input": _gradient_times_input,
    }
    if _encoders(model):
        if model.base_model.has_word_summands:
            methods["parts of words"] = _parts_of_words
        methods["attention"] = _attention
    return methods | {"random": _chance}


def _encoders(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Our encoders by name; none for models of transformers."""
    encoders = getattr(model.base_model, "encoders", None)
    return dict(encoders.items()) if isinstance(encoders, nn.ModuleDict) else {}


def _cases(subject: _Subject, texts: Iterator[str]) -> list[_Case]:
    chunks = iter_chunks(map(clean_surrogates, texts))
    thresholds = np.asarray(decision_thresholds(subject.model.config))
    cases = []
    for chunk in iter_outputs(subject.model, subject.tokenizer, chunks, precision=subject.precision):
        words = chunk.words if _encoders(subject.model) else map(split_words, chunk.texts)
        is_predicted = calibrated_probabilities(chunk.logits, None) >= thresholds
        for text, spans, labels in zip(chunk.texts, words, is_predicted, strict=True):
            if len(spans) > 1:
                cases += [_Case(text[: spans[-1][1]], spans, label) for label in np.flatnonzero(labels).tolist()]
    return cases


# ------------------------------------------------------------------------------------------------------- methods


def _fall_of_words(subject: _Subject, cases: Sequence[_Case]) -> list[np.ndarray]:
    """How far the logit falls without the word, or without the piece of the text that it is in."""
    words = {case.text: case.words for case in cases}
    texts = list(words)
    explanations = explain_texts(texts, [*words.values()], subject.logits(texts), subject.logits)
    found = dict(zip(texts, explanations, strict=True))
    scores = []
    for text, spans, label in cases:
        pieces, falls = found[text]
        ends = [end for _, end in pieces]
        scores.append(falls[np.searchsorted(ends, [end for _, end in spans]), label])
    return scores


def _attention(subject: _Subject, cases: Sequence[_Case]) -> list[np.ndarray]:
    outputs = _outputs(subject, cases)
    return [outputs[case.text][0] for case in cases]


def _parts_of_words(subject: _Subject, cases: Sequence[_Case]) -> list[np.ndarray]:
    """What each word's states add to the logit: the words that an answer names."""
    outputs = _outputs(subject, cases, name_words=True)
    return [outputs[case.text][1][:, case.label] for case in cases]


def _outputs(subject: _Subject, cases: Sequence[_Case], **options: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each text the attention and the parts of its words."""
    texts = iter_chunks(dict.fromkeys(case.text for case in cases))
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for chunk in iter_outputs(subject.model, subject.tokenizer, texts, precision=subject.precision, **options):
        found |= dict(zip(chunk.texts, zip(chunk.word_attention, chunk.word_parts, strict=True), strict=True))
    return found


def _chance(_: _Subject, cases: Sequence[_Case]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.random(len(case.words)) for case in cases]


def _gradient_times_input(subject: _Subject, cases: Sequence[_Case]) -> list[np.ndarray]:
    """The sum over the tokens of a word of the logit's gradient times the token's embedding, over all encoders."""
    model = prepare(subject.model, "fp32")
    encoders = _encoders(model) or {"": model.base_model}
    embedded: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> Any:
        is_tensor = isinstance(output, torch.Tensor)
        embedded.append((output if is_tensor else output.last_hidden_state).detach().requires_grad_())
        return embedded[-1] if is_tensor else BaseModelOutput(last_hidden_state=embedded[-1])

    scores = [np.zeros(len(case.words) + 1) for case in cases]
    hooks = [_embedding(encoder).register_forward_hook(keep) for encoder in encoders.values()]
    try:
        for rows in length_batches([len(case.text) for case in cases], _BATCH_SIZE):
            embedded.clear()
            own = [cases[row] for row in rows]
            inputs, word_ids = _encode(subject.tokenizer, own, list(encoders))
            logits = model(**{name: values.to(model.device) for name, values in inputs.items()}).logits
            chosen = logits[torch.arange(len(own)), [case.label for case in own]].sum()
            for ids, states, gradients in zip(word_ids, embedded, torch.autograd.grad(chosen, embedded), strict=True):
                of_tokens = (states.detach() * gradients).sum(dim=-1)
                for row, places, values in zip(rows, ids, of_tokens.cpu().numpy(), strict=True):
                    np.add.at(scores[row], places, values)
    finally:
        for hook in hooks:
            hook.remove()
    # The first entry is that of tokens outside of words.
    return [values[1:] for values in scores]


def _gradient_with_fixed_norms(subject: _Subject, cases: Sequence[_Case]) -> list[np.ndarray]:
    """
    The same, with the scales of layer norms taken for constants (Ali et al. 2022, XAI for Transformers: Better
    Explanations through Conservative Propagation, section 4.2). It needs a backward pass for each label.
    """

    def normalized(self: nn.LayerNorm, states: torch.Tensor) -> torch.Tensor:
        centred = states - states.mean(dim=-1, keepdim=True)
        scale = (centred.square().mean(dim=-1, keepdim=True) + self.eps).sqrt().detach()
        return centred / scale * self.weight + self.bias

    with patch.object(nn.LayerNorm, "forward", normalized):
        return _gradient_times_input(subject, cases)


def _embedding(encoder: Any) -> nn.Module:
    """Word vectors are embeddings and nothing else."""
    module: nn.Module = encoder if isinstance(encoder, StaticWordsModel) else encoder.get_input_embeddings()
    return module


def _encode(
    tokenizer: Any, cases: Sequence[_Case], encoders: Sequence[str]
) -> tuple[dict[str, torch.Tensor], list[np.ndarray]]:
    """The inputs of a batch, and for each encoder the word of each token from 1 on, 0 for none."""
    texts = [case.text for case in cases]
    options: dict[str, Any] = {"padding": True, "truncation": True, "return_tensors": "pt"}
    if hasattr(tokenizer, "tokenizers"):
        inputs = tokenizer(texts, **options)
        return dict(inputs), [inputs[f"{name}_word_ids"].numpy() for name in encoders]
    inputs = tokenizer(texts, return_offsets_mapping=True, **options)
    offsets = inputs.pop("offset_mapping").numpy()
    rows = [
        [_word_of(start, end, case.words) for start, end in spans]
        for case, spans in zip(cases, offsets.tolist(), strict=True)
    ]
    return dict(inputs), [np.asarray(rows)]


def _word_of(start: int, end: int, words: Sequence[Span]) -> int:
    """Some tokenizers count the space before a word to its token."""
    return next((place for place, (first, last) in enumerate(words, 1) if start < last and first < end), 0)


# -------------------------------------------------------------------------------------------------- faithfulness


def _faithfulness(
    subject: _Subject, cases: Sequence[_Case], scores: dict[str, list[np.ndarray]]
) -> dict[str, np.ndarray]:
    """Of each method comprehensiveness and sufficiency, `(2, num_texts)`."""
    rests = {title: [_rests(*pair) for pair in zip(cases, own, strict=True)] for title, own in scores.items()}
    texts = {case.text for case in cases}
    texts |= {text for of_method in rests.values() for of_case in of_method for text in of_case}
    ordered = sorted(texts)
    probabilities = predict_probabilities(subject.model, subject.tokenizer, ordered, precision=subject.precision)
    known = dict(zip(ordered, probabilities, strict=True))
    values = {}
    for title, of_method in rests.items():
        of_text: dict[str, list[np.ndarray]] = {}
        for case, of_case in zip(cases, of_method, strict=True):
            left = np.array([known[text][case.label] for text in of_case]).reshape(2, len(_RATIOS))
            of_text.setdefault(case.text, []).append(known[case.text][case.label] - left.mean(axis=1))
        values[title] = np.stack([np.mean(own, axis=0) for own in of_text.values()], axis=1)
    return values


def _rests(case: _Case, scores: np.ndarray) -> list[str]:
    """The text without its first words by score, for each ratio; then the text of these words alone."""
    order = np.argsort(-scores, kind="stable")
    numbers = [math.ceil(ratio * len(order)) for ratio in _RATIOS]
    gone = [*(order[:number] for number in numbers), *(order[number:] for number in numbers)]
    return [leave_out(case.text, [case.words[place] for place in sorted(places)]) for places in gone]


def _print_table(values: dict[str, np.ndarray], times: dict[str, float]) -> dict[str, float]:
    base = "attention" if "attention" in values else "random"
    beside = f"beside {base}"
    print(f"{'':<22}{'comprehensiveness':>18}{beside:>20}{'sufficiency':>14}{beside:>20}{'time':>8}")
    results: dict[str, float] = {}
    for title, own in values.items():
        line = f"{title:<22}"
        for name, width, quality, other in zip(
            ("comprehensiveness", "sufficiency"), (18, 14), own, values[base], strict=True
        ):
            gain = quality - other
            interval = 1.96 * gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else math.nan
            difference = "" if title == base else f"{gain.mean():+.3f} ± {interval:.3f}"
            line += f"{quality.mean():>{width}.3f}{difference:>20}"
            results |= {f"{title}/{name}": float(quality.mean()), f"{title}/{name}_gain": float(gain.mean())}
            results[f"{title}/{name}_gain_interval"] = float(interval)
        results[f"{title}/time"] = times[title]
        print(f"{line}{times[title]:>7.1f}x", flush=True)
    return results
