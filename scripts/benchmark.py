# SPDX-License-Identifier: Apache-2.0
"""
What the stack costs beside its encoders called alone, A and B by turns in one run.

Usage:
    python -m scripts.benchmark [--encoders NAME=FOLDER ...] [--texts FILE] [--json OUT]
    python -m scripts.benchmark --models [FOLDER ...] [--texts FILE] [--json OUT]
    python -m scripts.benchmark --balanced_dataset [NUM_TWEETS ...] [--json OUT]
    python -m scripts.benchmark --labelling TEACHER --tweets FILE [--num_texts N] [--json OUT]
    python -m scripts.benchmark --onnx MODEL --texts FILE [--num_texts N] [--json OUT]
    python -m scripts.benchmark --metric [--json OUT]

Four parts, each a ratio of times: tokenising (against the three tokenizers called alone), the forward pass and the
training step (against the three encoders called alone on the same batches), and an epoch of joint training (against
one of the head on cached word states, from the file to the step of the optimizer, on the same texts). Timings
of a shared machine are noisy: each round times both sides, and the median of the rounds' ratios is reported.

With `--models` instead, trained models beside the first of them, by default the one of this repository: size, macro-F1
on the file and as reported, texts a second of inference (on one core, too) and of training, seconds to the first
answer. With `--balanced_dataset`, the stages of
`scripts.build_balanced_dataset` on generated tweets, all but the teacher's forward pass; with `--labelling`, tweets a
second of a teacher there and in the stock pipeline; with `--onnx`, texts a second and macro-F1 of a model in torch
(fp32, bf16) and in onnxruntime (fp32, int8); with `--metric`, all metrics of 54,263 x 28 values in the core, in
scikit-learn and through `evaluate`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hub.model.mini import mini_model
from scripts._command import command
from scripts._timing import seconds
from trainer_ext.errors import InputError

DATASET_SIZES = (100_000, 400_000, 1_600_000)
DEFAULT_TEXTS = Path(__file__).resolve().parent / "data" / "english" / "train.jsonl"


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--encoders",
        nargs="+",
        metavar="NAME=FOLDER",
        help="encoders to stack (default: three of MiniLM's size with random weights)",
    )
    parser.add_argument("--texts", default=str(DEFAULT_TEXTS), help="file with texts (default: the embedded ones)")
    parser.add_argument("--label_names", help="labels of that file, where it has ids only")
    parser.add_argument("--num_texts", type=int, default=4096, help="texts to tokenise (default: 4096)")
    parser.add_argument("--batch_size", type=int, default=64, help="texts per batch (default: 64)")
    parser.add_argument("--num_batches", type=int, default=4, help="batches of a timed round (default: 4)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (default: 7)")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"])
    parser.add_argument("--profile", action="store_true", help="print where the training step's time goes")
    parser.add_argument("--json", metavar="OUT", help="write the numbers to this file")
    parser.add_argument(
        "--models",
        nargs="*",
        metavar="FOLDER",
        help="compare these trained models instead (default: the one of this repository)",
    )
    parser.add_argument(
        "--balanced_dataset",
        nargs="*",
        type=int,
        metavar="NUM_TWEETS",
        help="time the balanced data set instead (default: 100000 400000 1600000)",
    )
    parser.add_argument("--labelling", metavar="TEACHER", help="time labelling by this folder or Hub id instead")
    parser.add_argument("--tweets", metavar="FILE", help="tweets to label: the Sentiment140 file")
    parser.add_argument("--onnx", metavar="MODEL", help="compare this folder's ONNX files with torch instead")
    parser.add_argument("--metric", action="store_true", help="time the metrics instead")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Measure and print; returns the numbers."""
    options = make_parser().parse_args(argv)
    lists = (options.models, options.balanced_dataset)
    if options.labelling or options.onnx or options.metric or any(values is not None for values in lists):
        results = _measure_other(options)
        _write(results, options)
        return results

    import torch
    import transformers

    from trainer_ext.data.loading import read_file
    from trainer_ext.precision import best_precision

    transformers.logging.disable_progress_bar()
    transformers.set_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        texts = read_file(options.texts, label_names=options.label_names)[0]["text"][: options.num_texts]
        encoders = _encoders(options.encoders, list(texts), Path(scratch))
        own_tokenizers, tokenizer, model = _load(encoders)
    precision = best_precision() if options.precision == "auto" else options.precision
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model.to(device)
    threads = torch.get_num_threads()
    print(f"{len(texts):,} texts, batches of {options.batch_size}, {precision} on {device}, {threads} threads")
    print("encoders: " + ", ".join(f"{name} {_millions(encoder)} M" for name, encoder in _parts(model).items()))
    print(f"whole model: {_millions(model)} M parameters\n")

    results = {}
    _report("tokenize", results, *_tokenize_pair(own_tokenizers, tokenizer, list(texts), options), len(texts), options)
    batches = _batches(tokenizer, list(texts), options, device)
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = options.batch_size * len(batches)
    _report("forward", results, *_forward_pair(model, batches, dtype), size, options)
    stack_step, alone_step = _training_pair(model, batches, dtype)
    _report("training_step", results, stack_step, alone_step, size, options)
    with tempfile.TemporaryDirectory() as scratch:
        joint, cached = _epoch_pair(model, tokenizer, _groups(list(texts), options), precision, Path(scratch))
        _report("epoch", results, joint, cached, size, options, other="cached")
    if options.profile:
        with torch.profiler.profile() as profile:
            stack_step()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))
    _write(results, options)
    return results


def _measure_other(options: argparse.Namespace) -> dict[str, float]:
    """What is to be measured instead of the stack; each has a module of its own."""
    if options.metric:
        from scripts._metric_benchmark import measure_metric

        return measure_metric(options.rounds)

    import transformers
    from datasets.utils.logging import disable_progress_bar

    from scripts import _dataset_benchmark, _model_benchmark, _onnx_benchmark
    from trainer_ext.precision import best_precision

    transformers.logging.disable_progress_bar()
    disable_progress_bar()
    sizes = (options.num_texts, options.batch_size)
    if options.onnx:
        return _onnx_benchmark.measure_onnx(options.onnx, options.texts, *sizes, options.rounds)
    if options.balanced_dataset is not None:
        return _dataset_benchmark.measure_stages(options.balanced_dataset or DATASET_SIZES)
    precision = best_precision() if options.precision == "auto" else options.precision
    if options.models is not None:
        models = options.models or [mini_model()]
        return _model_benchmark.measure_models(models, options.texts, *sizes, precision, options.rounds)
    if not options.tweets:
        raise InputError("--labelling needs --tweets, the Sentiment140 file.")
    return _dataset_benchmark.measure_labelling(
        options.labelling, options.tweets, options.num_texts, precision, options.rounds
    )


def _write(results: dict[str, float], options: argparse.Namespace) -> None:
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _encoders(named: list[str] | None, texts: list[str], scratch: Path) -> dict[str, str]:
    from trainer_ext.encoders.scratch import ScratchEncoder
    from trainer_ext.encoders.source import BuildContext

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
    from transformers import AutoTokenizer

    from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer

    tokenizer = StackedEmotionTokenizer.from_encoders(encoders)
    own = [AutoTokenizer.from_pretrained(folder) for folder in encoders.values()]
    return own, tokenizer, StackedEmotionForSequenceClassification.from_encoders(encoders, num_labels=28)


def _parts(model: Any) -> dict[str, Any]:
    return dict(model.stacked_emotion.encoders.items())


def _millions(module: Any) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()) / 1e6:.1f}"


def _batches(tokenizer: Any, texts: list[str], options: argparse.Namespace, device: Any) -> list[dict[str, Any]]:
    return [dict(tokenizer(group, padding=True, return_tensors="pt").to(device)) for group in _groups(texts, options)]


def _groups(texts: list[str], options: argparse.Namespace) -> list[list[str]]:
    """Batches as training makes them: texts of like length together; spread over all lengths."""
    ordered = sorted(texts, key=len)
    groups = [ordered[start : start + options.batch_size] for start in range(0, len(ordered), options.batch_size)]
    groups = [group for group in groups if len(group) == options.batch_size] or [ordered]
    step = max(len(groups) / options.num_batches, 1.0)
    return [groups[int(index * step + step / 2)] for index in range(min(options.num_batches, len(groups)))]


def _tokenize_pair(
    own: list[Any], tokenizer: Any, texts: list[str], options: argparse.Namespace
) -> tuple[Callable[[], None], Callable[[], None]]:
    groups = [texts[start : start + options.batch_size] for start in range(0, len(texts), options.batch_size)]

    def stack() -> None:
        for group in groups:
            tokenizer(group)

    def alone() -> None:
        for each in own:
            for group in groups:
                each(group, truncation=True, max_length=tokenizer.max_tokens)

    return stack, alone


def _forward_pair(
    model: Any, batches: list[dict[str, Any]], dtype: Any
) -> tuple[Callable[[], None], Callable[[], None]]:
    import torch

    def stack() -> None:
        model.eval()
        with torch.inference_mode(), _autocast(batches, dtype):
            for batch in batches:
                model(**batch)
        _synchronize()

    def alone() -> None:
        model.eval()
        with torch.inference_mode(), _autocast(batches, dtype):
            for batch in batches:
                for name, encoder in _parts(model).items():
                    encoder(input_ids=batch[f"{name}_input_ids"], attention_mask=batch[f"{name}_attention_mask"])
        _synchronize()

    return stack, alone


def _training_pair(
    model: Any, batches: list[dict[str, Any]], dtype: Any
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step is forward, backward, clipping and AdamW; alone, the loss is the mean of the encoder's states."""
    import torch

    first = next(iter(batches[0].values()))
    labels = (torch.rand(len(first), 28, device=first.device) < 0.05).float()
    optimizers = {name: torch.optim.AdamW(encoder.parameters(), 1e-6) for name, encoder in _parts(model).items()}
    whole = torch.optim.AdamW(model.parameters(), 1e-6)

    def stack() -> None:
        model.train()
        for batch in batches:
            _training_step(model, batch, labels, whole, dtype)
        _synchronize()

    def alone() -> None:
        model.train()
        for batch in batches:
            for name, encoder in _parts(model).items():
                with _autocast(batches, dtype):
                    states = encoder(
                        input_ids=batch[f"{name}_input_ids"], attention_mask=batch[f"{name}_attention_mask"]
                    ).last_hidden_state
                states.float().mean().backward()
                torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
                optimizers[name].step()
                optimizers[name].zero_grad()
        _synchronize()

    return stack, alone


def _training_step(model: Any, batch: dict[str, Any], labels: Any, optimizer: Any, dtype: Any) -> None:
    import torch

    with _autocast([batch], dtype):
        outputs = model(**batch, labels=labels)
        auxiliary = torch.nn.functional.binary_cross_entropy_with_logits(outputs.auxiliary_logits.float(), labels)
    (outputs.loss + auxiliary).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def _epoch_pair(
    model: Any, tokenizer: Any, groups: list[list[str]], precision: str, folder: Path
) -> tuple[Callable[[], None], Callable[[], None]]:
    """
    Both sides collate, clip the gradients and update by the fused AdamW, as the Trainer does; only the joint one
    encodes. Both see their batches longest text first, as a sampler that groups by length gives them.
    """
    import datasets
    import numpy as np
    import torch

    from trainer_ext.data.batching import EmotionDataCollator, tokenize_dataset
    from trainer_ext.stages.feature_cache import EncoderFeatures, FeatureCollator, plan_features, write_features
    from trainer_ext.stages.staged_training import encoder_classifier, without_encoders

    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    texts = [text for group in groups for text in group]
    labels = (torch.rand(len(texts), 28) < 0.05).float().tolist()
    rows, _ = tokenize_dataset(datasets.Dataset.from_dict({"text": texts, "labels": labels}), tokenizer)
    features = {}
    for name, encoder in _parts(model).items():
        single = encoder_classifier(model, name, encoder)
        file = plan_features(single, rows, precision, folder, "train")
        write_features(file, single, rows, precision, disable_tqdm=True)
        features[name] = EncoderFeatures([file.path])
    size = len(groups[0])
    num_words = np.max([part.num_words for part in features.values()], axis=0)
    order = np.lexsort((-num_words, np.arange(len(texts)) // size)).tolist()
    rows = rows.select(order)
    numbered = datasets.Dataset.from_dict({"row": order, "labels": rows["labels"]})

    def epoch(rows: Any, collator: Any, optimizer: Any) -> None:
        model.train()
        for start in range(0, len(rows), size):
            # As a data loader fetches them: one by one they would take as long as the head's step.
            batch = collator(rows.__getitems__(list(range(start, start + size))))
            batch = {key: value.to(model.device) for key, value in batch.items()}
            _training_step(model, batch, batch.pop("labels"), optimizer, dtype)
        _synchronize()

    whole = torch.optim.AdamW(model.parameters(), 1e-6, fused=True)
    with without_encoders(model):
        head = torch.optim.AdamW(model.parameters(), 1e-6, fused=True)

    def cached() -> None:
        with without_encoders(model):
            epoch(numbered, FeatureCollator(features), head)

    return lambda: epoch(rows, EmotionDataCollator(tokenizer), whole), cached


def _autocast(batches: list[dict[str, Any]], dtype: Any) -> Any:
    import torch

    device = next(iter(batches[0].values())).device
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def _synchronize() -> None:
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _report(
    part: str,
    results: dict[str, float],
    stack: Callable[[], None],
    alone: Callable[[], None],
    num_texts: int,
    options: argparse.Namespace,
    other: str = "alone",
) -> None:
    """Time both sides by turns and print texts/s and the median ratio."""
    stack()
    alone()
    times: list[tuple[float, float]] = [(seconds(stack), seconds(alone)) for _ in range(options.rounds)]
    ratio = statistics.median(ours / theirs for ours, theirs in times)
    ours, theirs = (num_texts / statistics.median(column) for column in zip(*times, strict=True))
    side = {"alone": "encoders alone", "cached": "head on cache "}[other]
    spread = sorted(a / b for a, b in times)
    results |= {f"{part}_ratio": ratio, f"{part}_texts_per_second": ours, f"{part}_{other}_texts_per_second": theirs}
    print(
        f"{part:<14} stack {ours:>9,.0f} texts/s   {side} {theirs:>9,.0f} texts/s   "
        f"time ratio {ratio:.2f} ({spread[0]:.2f} to {spread[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
