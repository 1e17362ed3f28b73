# SPDX-License-Identifier: Apache-2.0
"""A stack of encoders beside its encoders called alone, and an epoch of training beside one on cached word states."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.data.batching import EmotionDataCollator, tokenize_dataset
from trainer_ext.data.length_batches import length_batches
from trainer_ext.data.loading import read_file
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext
from trainer_ext.errors import InputError, reading
from trainer_ext.evaluation.prediction import find_device
from trainer_ext.loading import load_tokenizer
from trainer_ext.precision import autocast
from trainer_ext.stages.feature_cache import EncoderFeatures, FeatureCollator, plan_features, write_features
from trainer_ext.stages.staged_training import encoder_classifier, without_encoders
from trainer_ext.training.cpu import fewer_passes

from .timing import chosen_precision, synchronize, take_turns

_NUM_LABELS = 28
_Pair = tuple[Callable[[], None], Callable[[], None]]


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Print and return texts a second of the stack and of the other side in each part, and their ratio of times."""
    transformers.set_seed(0)
    texts = list(read_file(options.texts, label_names=options.label_names)[0]["text"][: options.num_texts])
    with tempfile.TemporaryDirectory() as scratch:
        tokenizers, tokenizer, model = _load(named_encoders(options.encoders, texts, Path(scratch)))
    precision = chosen_precision(options.precision)
    device = find_device()
    model.to(device)
    print(
        f"{len(texts):,} texts, batches of {options.batch_size}, {precision} on {device}, "
        f"{torch.get_num_threads()} threads"
    )
    print("encoders: " + ", ".join(f"{name} {_millions(encoder)} M" for name, encoder in _parts(model).items()))
    print(f"whole model: {_millions(model)} M parameters\n")

    groups = length_groups(texts, options.batch_size, options.num_batches)
    batches = [dict(tokenizer(group, padding=True, return_tensors="pt").to(device)) for group in groups]
    num_batched = options.batch_size * len(batches)
    rounds = options.rounds
    tokenizing = tokenize_pair(tokenizers, tokenizer, texts, options.batch_size)
    training = _training_pair(model, batches, precision)
    results = _compare("tokenize", tokenizing, len(texts), rounds)
    results |= _compare("forward", forward_pair(model, batches, precision), num_batched, rounds)
    results |= _compare("training_step", training, num_batched, rounds)
    with tempfile.TemporaryDirectory() as scratch:
        epochs = _epoch_pair(model, tokenizer, groups, precision, Path(scratch))
        results |= _compare("epoch", epochs, num_batched, rounds, other="cached")
    if options.profile:
        with torch.profiler.profile() as profile:
            training[0]()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))
    return results


def named_encoders(named: list[str] | None, texts: list[str], scratch: Path) -> dict[str, str]:
    """The folders that `--encoders` names; without it three encoders of MiniLM's size with random weights."""
    if named:
        pairs = [entry.partition("=") for entry in named]
        if wrong := [name for name, separator, folder in pairs if not (name and separator and folder)]:
            raise InputError(f"--encoders takes NAME=FOLDER, got {wrong[0]!r}.")
        return {name: folder for name, _, folder in pairs}
    size: dict[str, Any] = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "max_tokens": 512}
    kinds = {"words": ("bert", "wordpiece"), "bytes": ("roberta", "byte_bpe"), "pieces": ("electra", "unigram")}
    return {
        name: str(ScratchEncoder(architecture, tokenizer, 4000, **size).build(BuildContext(texts, scratch / name)))
        for name, (architecture, tokenizer) in kinds.items()
    }


def _load(encoders: dict[str, str]) -> tuple[list[Any], Any, Any]:
    """The encoders' own tokenizers, and the tokenizer and the model of the stack."""
    with reading("the encoders cannot be loaded"):
        own = [load_tokenizer(folder) for folder in encoders.values()]
        tokenizer = StackedEmotionTokenizer.from_encoders(encoders)
        model = StackedEmotionForSequenceClassification.from_encoders(encoders, num_labels=_NUM_LABELS)
    return own, tokenizer, model


def _parts(model: Any) -> dict[str, Any]:
    return dict(model.stacked_emotion.encoders.items())


def _millions(module: Any) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()) / 1e6:.1f}"


def length_groups(texts: list[str], batch_size: int, num_batches: int) -> list[list[str]]:
    """Batches as training makes them: texts of like length together; spread over all lengths, the shortest first."""
    batches = list(length_batches([-len(text) for text in texts], batch_size))
    full = [batch for batch in batches if len(batch) == batch_size] or batches
    step = max(len(full) / num_batches, 1.0)
    chosen = [full[int(index * step + step / 2)] for index in range(min(num_batches, len(full)))]
    return [[texts[row] for row in batch] for batch in chosen]


def tokenize_pair(own: list[Any], tokenizer: Any, texts: list[str], batch_size: int) -> _Pair:
    """All texts through the tokenizer of the stack, and through each of the encoders' own."""
    groups = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]

    def stack() -> None:
        for group in groups:
            tokenizer(group)

    def alone() -> None:
        for encoder_tokenizer in own:
            for group in groups:
                encoder_tokenizer(group, truncation=True, max_length=tokenizer.max_tokens)

    return stack, alone


def forward_pair(model: Any, batches: list[dict[str, Any]], precision: str) -> _Pair:
    """The batches through the stack, and through each of its encoders."""

    def stack() -> None:
        model.eval()
        with torch.inference_mode(), autocast(model.device.type, precision):
            for batch in batches:
                model(**batch)
        synchronize()

    def alone() -> None:
        model.eval()
        with torch.inference_mode(), autocast(model.device.type, precision):
            for batch in batches:
                for name, encoder in _parts(model).items():
                    encoder(input_ids=batch[f"{name}_input_ids"], attention_mask=batch[f"{name}_attention_mask"])
        synchronize()

    return stack, alone


def _training_pair(model: Any, batches: list[dict[str, Any]], precision: str) -> _Pair:
    """
    A step is forward, backward, clipping and AdamW; that of the stack as our Trainer runs it. Alone, the loss is the
    mean of the encoder's states.
    """
    first = next(iter(batches[0].values()))
    labels = (torch.rand(len(first), _NUM_LABELS, device=first.device) < 0.05).float()
    optimizers = {name: torch.optim.AdamW(encoder.parameters(), 1e-6) for name, encoder in _parts(model).items()}
    whole = torch.optim.AdamW(model.parameters(), 1e-6)

    def stack() -> None:
        model.train()
        for batch in batches:
            _training_step(model, batch, labels, whole, precision)
        synchronize()

    def alone() -> None:
        model.train()
        for batch in batches:
            for name, encoder in _parts(model).items():
                with autocast(model.device.type, precision):
                    states = encoder(
                        input_ids=batch[f"{name}_input_ids"], attention_mask=batch[f"{name}_attention_mask"]
                    ).last_hidden_state
                states.float().mean().backward()
                torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
                optimizers[name].step()
                optimizers[name].zero_grad()
        synchronize()

    return stack, alone


def _training_step(model: Any, batch: dict[str, Any], labels: Any, optimizer: Any, precision: str) -> None:
    with fewer_passes(model.device.type, precision), autocast(model.device.type, precision):
        outputs = model(**batch, labels=labels)
        auxiliary = torch.nn.functional.binary_cross_entropy_with_logits(outputs.auxiliary_logits.float(), labels)
    (outputs.loss + auxiliary).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def _epoch_pair(model: Any, tokenizer: Any, groups: list[list[str]], precision: str, folder: Path) -> _Pair:
    """
    Both sides collate, clip the gradients and update by the fused AdamW, as the Trainer does; only the joint one
    encodes. Both see their batches longest text first, as a sampler that groups by length gives them.
    """
    texts = [text for group in groups for text in group]
    labels = (torch.rand(len(texts), _NUM_LABELS) < 0.05).float().tolist()
    rows, _ = tokenize_dataset(datasets.Dataset.from_dict({"text": texts, "labels": labels}), tokenizer)
    features = {}
    for name, encoder in _parts(model).items():
        single = encoder_classifier(model, name, encoder)
        file = plan_features(single, rows, precision, folder, "train")
        write_features(file, single, rows, precision, disable_tqdm=True)
        features[name] = EncoderFeatures([file.path])
    size = len(groups[0])
    num_words = np.max([states.num_words for states in features.values()], axis=0)
    order = np.lexsort((-num_words, np.arange(len(texts)) // size)).tolist()
    rows = rows.select(order)
    numbered = datasets.Dataset.from_dict({"row": order, "labels": rows["labels"]})

    def epoch(rows: Any, collator: Any, optimizer: Any) -> None:
        model.train()
        for start in range(0, len(rows), size):
            # As a data loader fetches them: one by one they would take as long as the head's step.
            batch = collator(rows.__getitems__(list(range(start, start + size))))
            batch = {key: value.to(model.device) for key, value in batch.items()}
            _training_step(model, batch, batch.pop("labels"), optimizer, precision)
        synchronize()

    whole = torch.optim.AdamW(model.parameters(), 1e-6, fused=True)
    with without_encoders(model):
        head = torch.optim.AdamW(model.parameters(), 1e-6, fused=True)

    def cached() -> None:
        with without_encoders(model):
            epoch(numbered, FeatureCollator(features), head)

    return lambda: epoch(rows, EmotionDataCollator(tokenizer), whole), cached


def _compare(part: str, pair: _Pair, num_texts: int, rounds: int, other: str = "alone") -> dict[str, float]:
    """Time the stack and the other side by turns; print and return texts a second and the median ratio of times."""
    for run in pair:
        run()
    turns = take_turns(pair, rounds)
    ours, theirs = turns.per_second(0, num_texts), turns.per_second(1, num_texts)
    ratio, ratios = turns.speedup(1), turns.speedups(1)
    side = {"alone": "encoders alone", "cached": "head on cache "}[other]
    print(
        f"{part:<14} stack {ours:>9,.0f} texts/s   {side} {theirs:>9,.0f} texts/s   "
        f"time ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    return {f"{part}_ratio": ratio, f"{part}_texts_per_second": ours, f"{part}_{other}_texts_per_second": theirs}
