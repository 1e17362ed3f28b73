# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs that read their weights from the safetensors file beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

# The types that weights may be stored in, fewest bits first.
_STORED = (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT16, TensorProto.FLOAT)
# Smaller ones, in bytes of fp32, stay in the graph.
_MIN_BYTES = 256


def graph_of_weights(path: Path, weights: Path) -> onnx.ModelProto:
    """
    A graph whose weights are those of another file.

    Each weight of the graph is looked for among the bytes of `weights`, in every dtype that holds its numbers exactly,
    as it is and transposed; where it is there, it becomes a reference (ONNX calls it external data), with a cast to
    fp32 and a transposition that a runtime does once, when it loads the graph. Other weights stay, in the fewest bits.

    Args:
        path (`Path`): An ONNX file in fp32 with its weights in it.
        weights (`Path`): A safetensors file, to be beside the graph.
    """
    model = onnx.load(path)
    content = weights.read_bytes()
    initializers, first = [], []
    for initializer in model.graph.initializer:
        array = numpy_helper.to_array(initializer)
        if array.dtype != np.float32 or array.nbytes < _MIN_BYTES:
            initializers.append(initializer)
            continue
        stored, nodes = _stored(initializer.name, array, content, weights.name)
        initializers.append(stored)
        first += nodes
    nodes = [*first, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:], model.graph.value_info[:]
    model.graph.initializer.extend(initializers)
    model.graph.node.extend(nodes)
    return model


def _stored(name: str, array: np.ndarray, content: bytes, location: str) -> tuple[TensorProto, list[NodeProto]]:
    """The weight `name` as it is stored, and the nodes that turn it into the graph's value of that name."""
    offsets = [(form, content.find(form.numbers.tobytes())) for form in _exact_forms(array)]
    form, offset = next((pair for pair in offsets if pair[1] >= 0), offsets[0])
    steps: list[tuple[str, dict[str, Any]]] = []
    if form.dtype != TensorProto.FLOAT:
        steps.append(("Cast", {"to": TensorProto.FLOAT}))
    if form.is_transposed:
        steps.append(("Transpose", {"perm": [1, 0]}))
    tensor = _tensor(f"{name}.stored" if steps else name, form, offset, location)
    nodes = []
    before = tensor.name
    for step, attributes in steps:
        after = name if step == steps[-1][0] else f"{name}.{step.lower()}"
        nodes.append(helper.make_node(step, [before], [after], **attributes))
        before = after
    return tensor, nodes


class _Form(NamedTuple):
    """A way to store a weight: ONNX's dtype, the numbers in it, and whether they are transposed."""

    dtype: int
    numbers: np.ndarray
    is_transposed: bool


def _exact_forms(array: np.ndarray) -> Iterator[_Form]:
    for dtype in _STORED:
        with np.errstate(over="ignore"):
            numbers = array.astype(helper.tensor_dtype_to_np_dtype(dtype))
        if np.array_equal(numbers.astype(np.float32), array):
            yield _Form(dtype, numbers, False)
            if array.ndim == 2:
                yield _Form(dtype, np.ascontiguousarray(numbers.T), True)


def _tensor(name: str, form: _Form, offset: int, location: str) -> TensorProto:
    numbers = form.numbers
    if offset < 0:
        return helper.make_tensor(name, form.dtype, numbers.shape, numbers.tobytes(), raw=True)
    tensor = TensorProto(name=name, data_type=form.dtype, dims=numbers.shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": offset, "length": numbers.nbytes}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor
