# SPDX-License-Identifier: Apache-2.0
"""From texts to probabilities: the ways that users of transformers have, and ours."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, pipeline

from hub.model.onnx_export import FOLDER, INT8_FILE, export_onnx
from trainer_ext.data.length_batches import length_batches
from trainer_ext.errors import reading
from trainer_ext.evaluation.engine import prepare
from trainer_ext.evaluation.prediction import predict_probabilities
from trainer_ext.loading import load_model
from trainer_ext.precision import autocast

from ..onnx import onnx_engine
from ..stack import forward_pair, length_groups, tokenize_pair
from ..timing import Turns, take_turns
from .work import Work, report

PIPELINE_BATCH_SIZE = 32
# Of the parts that run the encoders alone.
_NUM_BATCHES = 4

Side = Callable[[], Any]


def measure(work: Work) -> dict[str, float]:
    """All ways by turns; then the tokenizers and the forward pass beside those of the encoders alone."""
    texts = work.texts()
    with tempfile.TemporaryDirectory() as scratch:
        sides = _sides(work, texts, Path(scratch))
        turns = _turns(list(sides.values()), work.rounds)
    results = report("answers", f"Answers, {len(texts):,} texts", list(sides), turns, len(texts))
    for name, folder in (("one encoder", work.linear), ("stack", work.stack)):
        results |= _beside_encoders(work, name, folder, texts)
    return results


def stock_pipeline(work: Work, batch_size: int = PIPELINE_BATCH_SIZE) -> Any:
    """The pipeline of transformers with the stock model, in fp32, all labels."""
    model, tokenizer = work.load(work.stock)
    options: dict[str, Any] = {"top_k": None, "batch_size": batch_size, "device": torch.device(work.device)}
    return pipeline("text-classification", model=model, tokenizer=tokenizer, **options)


def sorted_loop(model: PreTrainedModel, tokenizer: Any, texts: Sequence[str], batch_size: int, precision: str) -> Any:
    """What a careful user writes: tokenise all, batch by length, give the results their places back."""
    encoded = tokenizer(list(texts), truncation=True)["input_ids"]
    results = np.empty((len(texts), model.config.num_labels), dtype=np.float32)
    with torch.inference_mode(), autocast(model.device.type, precision):
        for rows in length_batches([len(ids) for ids in encoded], batch_size):
            batch = tokenizer.pad({"input_ids": [encoded[row] for row in rows]}, return_tensors="pt")
            results[rows] = model(**batch.to(model.device)).logits.float().sigmoid().cpu().numpy()
    return results


def _sides(work: Work, texts: list[str], scratch: Path) -> dict[str, Side]:
    """The ways by name; the pipeline with batches first, since all others are compared with it."""

    def piped(batch_size: int) -> Side:
        return partial(stock_pipeline(work, batch_size), texts, truncation=True)

    def ours(folder: str, precision: str) -> Side:
        return partial(predict_probabilities, *work.load(folder), texts, precision=precision)

    sides = {f"pipeline, batches of {PIPELINE_BATCH_SIZE}": piped(PIPELINE_BATCH_SIZE), "pipeline": piped(1)}
    stock, tokenizer = work.load(work.stock)
    for precision in work.precisions:
        loop = partial(sorted_loop, stock, tokenizer, texts, work.batch_size, precision)
        sides[f"sorted loop, {precision}"] = loop
    sides |= _gpu_sides(work, tokenizer, texts) if work.device_type == "cuda" else {}
    sides |= _library_sides(work, stock, tokenizer, texts, scratch)
    for precision in work.precisions:
        sides[f"ours, linear layer, {precision}"] = ours(work.linear, precision)
        sides[f"ours, whole head, {precision}"] = ours(work.head, precision)
    for name, folder in work.trained.items():
        sides[f"{name}, {work.best}"] = ours(folder, work.best)
    return sides


def _library_sides(
    work: Work, stock: PreTrainedModel, tokenizer: Any, texts: list[str], scratch: Path
) -> dict[str, Side]:
    """Those of the optional libraries that are installed; a line for each of the others."""
    sides: dict[str, Side] = {}
    num_labels = stock.config.num_labels
    if work.device_type != "cpu":
        print("onnxruntime, int8: left out, its integer products are those of a CPU.")
    elif _is_installed("onnxruntime, int8", "onnxruntime", "onnx", "onnxscript"):
        sides["onnxruntime, int8"] = _onnx_side(work, tokenizer, texts, scratch)
    if _is_installed("sentence-transformers", "sentence_transformers"):
        from sentence_transformers import SentenceTransformer

        embedder = SentenceTransformer(work.stock, device=work.device)
        linear = nn.Linear(embedder.get_embedding_dimension(), num_labels).to(work.device)

        @torch.inference_mode()
        def embedded() -> Any:
            states = embedder.encode(texts, batch_size=work.batch_size, convert_to_tensor=True)
            return linear(states).sigmoid().cpu().numpy()

        sides["sentence-transformers, linear layer, fp32"] = embedded
    if work.model2vec is None:
        print("model2vec: left out, name its folder with --model2vec.")
    elif _is_installed("model2vec", "model2vec"):
        from model2vec import StaticModel

        with reading(work.model2vec):
            static = StaticModel.from_pretrained(work.model2vec)
        head = nn.Linear(static.dim, num_labels)

        @torch.inference_mode()
        def looked_up() -> Any:
            return head(torch.from_numpy(static.encode(texts)).float()).sigmoid().numpy()

        sides["model2vec, linear layer"] = looked_up
    return sides


def _onnx_side(work: Work, tokenizer: Any, texts: list[str], scratch: Path) -> Side:
    """The stock model in 8 bits, dynamically quantised, with as many threads as torch has, on sorted batches."""
    export_onnx(Path(work.stock), scratch)
    engine = onnx_engine(scratch / FOLDER / INT8_FILE, torch.get_num_threads())

    def run() -> None:
        for rows in length_batches([len(text) for text in texts], work.batch_size):
            batch = tokenizer([texts[row] for row in rows], padding=True, truncation=True, return_tensors="pt")
            1 / (1 + np.exp(-engine(dict(batch))))

    return run


def _gpu_sides(work: Work, tokenizer: Any, texts: list[str]) -> dict[str, Side]:
    """The loop in the best precision with other attentions, and compiled."""
    sides: dict[str, Side] = {}

    def loop(model: Any) -> Side:
        return partial(sorted_loop, model, tokenizer, texts, work.batch_size, work.best)

    attentions = ["eager", "sdpa"]
    if _is_installed("flash_attention_2", "flash_attn"):
        attentions.append("flash_attention_2")
    for attention in attentions:
        model = load_model(work.stock, attn_implementation=attention).to(work.device).eval()
        sides[f"sorted loop, {work.best}, {attention}"] = loop(model)
    compiled, _ = work.load(work.stock)
    compiled.compile(dynamic=True)
    return {**sides, f"sorted loop, {work.best}, torch.compile": loop(compiled)}


def _beside_encoders(work: Work, name: str, folder: str, texts: list[str]) -> dict[str, float]:
    """Ours beside the tokenizers and the encoders within it called alone, on the same texts and batches."""
    model, tokenizer = work.load(folder)
    _, alone = tokenize_pair(list(tokenizer.tokenizers.values()), tokenizer, texts, work.batch_size)
    # As the engine reads them: as a whole, into arrays.
    ours: Side = partial(tokenizer.encode_rows, texts)
    sides = ["the tokenizers alone", name]
    turns = _turns([alone, ours], work.rounds)
    results = report(f"tokenising, {name}", f"Tokenising, {name}", sides, turns, len(texts))
    groups = length_groups(texts, work.batch_size, _NUM_BATCHES)
    batches = [dict(tokenizer(group, padding=True, return_tensors="pt").to(model.device)) for group in groups]
    _, alone = forward_pair(model, batches, work.best)
    # As the engine runs it: encoders in that precision as a whole, nothing to cast.
    ours, _ = forward_pair(prepare(model, work.best), batches, "fp32")
    sides = ["the encoders alone", name]
    turns = _turns([alone, ours], work.rounds)
    title = f"Forward pass, {name}, {work.best}"
    return results | report(f"forward, {name}", title, sides, turns, sum(map(len, groups)))


def _turns(runs: Sequence[Side], rounds: int) -> Turns:
    for run in runs:
        run()
    return take_turns(runs, rounds)


def _is_installed(side: str, *packages: str) -> bool:
    missing = [package.replace("_", "-") for package in packages if find_spec(package) is None]
    if missing:
        print(f"{side}: left out, `pip install {' '.join(missing)}` brings it.")
    return not missing
