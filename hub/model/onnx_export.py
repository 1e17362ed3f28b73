# SPDX-License-Identifier: Apache-2.0
"""ONNX files of a trained model, for runtimes without torch: in fp32 and int8, or the graph alone."""

from __future__ import annotations

import logging
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import modeling_stacked_emotion
from modeling_stacked_emotion import StackedEmotionForSequenceClassification
from trainer_ext.errors import InputError, MissingPackageError, reading
from trainer_ext.evaluation.prediction import load_classifier
from trainer_ext.files import replacing, scratch_folder

from .quick import FINGERPRINT, GRAPH_FILE, WEIGHTS_FILE, fingerprint

FOLDER = "onnx"
FP32_FILE = "model.onnx"
INT8_FILE = "model_int8.onnx"
EXAMPLE = Path(__file__).with_name("onnx_example.py")
# Files of the model's code that the example imports for any model.
_EXAMPLE_CODE = tuple(
    Path(modeling_stacked_emotion.__file__).with_name(f"{name}_stacked_emotion.py")
    for name in ("checks", "description", "scripts", "text")
)

# How far a logit may be from torch's.
_TOLERANCE = 1e-4
# A file of the format holds 2 GiB at most; beyond that the weights stand in a file of their own.
_MAX_BYTES = 2**31 - 2**24
# Several lengths, several scripts, an empty text; as batches and alone.
_TEXTS = (
    "thank you so much, I did not see that coming!",
    "",
    "شكرا لك يا صديقي ❤️",
    "nobody told me, and now I am scared of what comes next. Why would anyone do this? " * 8,
)
_BATCHES = (_TEXTS[:2], _TEXTS, _TEXTS[:1], _TEXTS[1:2])


def export_onnx(source: Path, target: Path, *, int8: bool = True) -> None:
    """
    Write `onnx/model.onnx`, `onnx/model_int8.onnx` and `onnx_example.py`, which runs them without torch, with the code
    that it needs for any model.

    The inputs are those of the model, int64, with free batch size and lengths; the outputs `logits`, calibrated where
    the model is, and for a stacked model `word_attention` and, where it has them, `word_parts`. The int8 file holds
    the weights of matrix products, of the Bi-LSTM and of embeddings as integers, one scale per output, and computes
    the products in 8 bits (dynamic quantisation). Twice the same model gives the same bytes.

    Args:
        source (`Path`): Folder of a trained model, stacked or any `AutoModelForSequenceClassification`.
        target (`Path`): An existing folder; may be `source`.
        int8 (`bool`, *optional*, defaults to `True`): Whether the int8 file is written, too.

    Raises:
        `MissingPackageError`: If a package of the extra `onnx` is not installed.
        `InputError`: If `source` holds no multi-label classifier, or the logits of the fp32 file are further than 1e-4
            from torch's; nothing is written then.
    """
    with _exported(source, target) as (path, _):
        if int8:
            _write_int8(path, path.with_name(INT8_FILE))
        shutil.rmtree(target / FOLDER, ignore_errors=True)
        path.parent.rename(target / FOLDER)
    shutil.copyfile(EXAMPLE, target / EXAMPLE.name)
    for path in _EXAMPLE_CODE:
        # A model's own code stays.
        if not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)


def write_graph(folder: Path) -> None:
    """
    Write `model.onnx` beside the weights of a trained model: the graph of `onnx/model.onnx`, which reads its weights
    from `model.safetensors`, in the dtype that they have there. With it [`hub.model.quick.quick_classifier`] loads the
    model.

    Args:
        folder (`Path`): Folder of a trained model, its weights in one file.

    Raises:
        As [`export_onnx`].
    """
    with _exported(folder, folder) as (path, check):
        # Needs a package that only those have who write files of ONNX.
        from .onnx_weights import graph_of_weights

        graph = graph_of_weights(path, folder / WEIGHTS_FILE)
        graph.metadata_props.add(key=FINGERPRINT, value=fingerprint(folder))
        # Not within the scratch folder: weights are looked for beside the graph.
        with replacing(folder / GRAPH_FILE) as partial:
            partial.write_bytes(graph.SerializeToString(deterministic=True))
            check(partial)


@contextmanager
def _exported(source: Path, scratch_parent: Path) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """
    The fp32 file, in a folder of its own that is gone afterwards, and the check that a file gives the logits of torch,
    which it has passed.
    """
    _check_packages()
    with reading(f"{source} cannot be exported"):
        model, tokenizer = load_classifier(str(source), "cpu")
    model = model.float()
    with scratch_folder(scratch_parent / FOLDER) as scratch, _quiet():
        batches = [
            dict(tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")) for texts in _BATCHES
        ]
        with torch.inference_mode():
            expected = [model(**batch).logits.numpy() for batch in batches]
        path = scratch / FOLDER / FP32_FILE
        path.parent.mkdir()
        _write_fp32(model, batches[1], path)
        check = partial(_check_parity, batches=batches, expected=expected)
        check(path)
        yield path, check


def _check_packages() -> None:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        if find_spec(name) is None:
            raise MissingPackageError(f"ONNX files need {name}: pip install 'stacked-emotion[onnx]'.")


class _Positional(nn.Module):
    """The model with its inputs in a fixed order, as an exported graph has them."""

    def __init__(self, model: nn.Module, inputs: list[str], outputs: list[str]) -> None:
        super().__init__()
        self.model = model
        self.inputs, self.outputs = inputs, outputs

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        options = {"output_word_parts": True} if "word_parts" in self.outputs else {}
        outputs = self.model(**dict(zip(self.inputs, values, strict=True)), return_dict=True, **options)
        return tuple(outputs[name] for name in self.outputs)


class _OnnxBiLSTM(nn.Module):
    """A [`BiLSTM`] as ONNX has it: with the lengths as an input, where torch packs the sequences."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.hidden_size, self.num_layers = lstm.hidden_size, lstm.num_layers
        for layer in range(lstm.num_layers):
            for name, parts in {"W": ["weight_ih"], "R": ["weight_hh"], "B": ["bias_ih", "bias_hh"]}.items():
                directions = [
                    torch.cat([_onnx_gates(getattr(lstm, f"{part}_l{layer}{direction}")) for part in parts])
                    for direction in ("", "_reverse")
                ]
                self.register_buffer(f"{name}{layer}", torch.stack(directions).detach())

    def forward(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        batch_size, num_words, _ = states.shape
        states = states.transpose(0, 1)
        for layer in range(self.num_layers):
            output = torch.onnx.ops.symbolic(
                "LSTM",
                (states, *(getattr(self, f"{name}{layer}") for name in "WRB"), lengths.to(torch.int32)),
                {"direction": "bidirectional", "hidden_size": self.hidden_size},
                dtype=states.dtype,
                shape=(num_words, 2, batch_size, self.hidden_size),
            )
            states = output.transpose(1, 2).flatten(start_dim=2)
        return states.transpose(0, 1)


def _onnx_gates(parameter: torch.Tensor) -> torch.Tensor:
    """Torch has the input, forget, cell and output gates in this order, ONNX input, output, forget, cell."""
    input_gate, forget, cell, output = parameter.chunk(4)
    return torch.cat([input_gate, output, forget, cell])


def _write_fp32(model: Any, batch: Mapping[str, torch.Tensor], path: Path) -> None:
    outputs = ["logits"]
    if isinstance(model, StackedEmotionForSequenceClassification):
        outputs.append("word_attention")
        base: Any = model.stacked_emotion
        if base.has_word_summands:
            outputs.append("word_parts")
        if base.bilstm is not None:
            base.bilstm = _OnnxBiLSTM(base.bilstm.lstm)
    axes = tuple({0: "batch_size", 1: _length_axis(name)} for name in batch)
    program: Any = torch.onnx.export(
        _Positional(model, list(batch), outputs).eval(),
        tuple(batch.values()),
        input_names=list(batch),
        output_names=outputs,
        dynamic_shapes=(axes,),
        dynamo=True,
        verbose=False,
    )
    # Lines of code that a node comes from, with the paths of this machine.
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    num_bytes = sum(value.nbytes for value in model.state_dict().values())
    program.save(path, external_data=num_bytes > _MAX_BYTES)


def _length_axis(name: str) -> str:
    return re.sub(r"(input_ids|attention_mask|word_ids|token_type_ids)$", "seq_len", name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without advice of torch 2.13 and onnxruntime 1.31 to their developers, and the warning of a cut text."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _check_parity(path: Path, batches: list[dict[str, torch.Tensor]], expected: list[np.ndarray]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch, logits in zip(batches, expected, strict=True):
        actual = session.run(["logits"], {name: value.numpy() for name, value in batch.items()})[0]
        distance = np.abs(actual - logits).max()
        if not distance <= _TOLERANCE:
            raise InputError(
                f"The ONNX file is not the model: logits differ by {distance:.1g}, more than {_TOLERANCE}."
            )


def _write_int8(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    # onnxruntime 1.31 transposes weights under their names; it finds the other shapes by itself.
    del model.graph.value_info[:]
    quantize_dynamic(
        model,
        target,
        # Convolutions are slower in 8 bits.
        op_types_to_quantize=["MatMul", "Gather", "LSTM"],
        per_channel=True,
        # 7 bits of weights: sums of products of 8 bits overflow on processors without VNNI.
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
