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
_FLOAT8_NUMBERS = "float8_numbers"


def graph_of_weights(path: Path, weights: Path) -> onnx.ModelProto:
    """
    A graph whose weights are those of another file.

    Each weight of the graph is looked for among the bytes of `weights`, in every dtype that holds its numbers exactly,
    as it is and transposed; where it is there, it becomes a reference (ONNX calls it external data), with a cast to
    fp32 and a transposition that a runtime does once, when it loads the graph. Of a table in 8
    bits only the rows that are looked up are made fp32. Other weights stay, in the fewest bits.

    Args:
        path (`Path`): An ONNX file in fp32 with its weights in it.
        weights (`Path`): A safetensors file, to be beside the graph.
    """
    model = onnx.load(path)
    content = weights.read_bytes()
    initializers, first = [], []
    # What is looked up in a table of 8 bits, to that table.
    tables: dict[str, str] = {}
    for initializer in model.graph.initializer:
        array = numpy_helper.to_array(initializer)
        if array.dtype != np.float32 or array.nbytes < _MIN_BYTES:
            initializers.append(initializer)
            continue
        stored, nodes = _stored(initializer.name, array, content, weights.name)
        initializers.append(stored)
        lookups = [node for node in model.graph.node if initializer.name in node.input]
        is_table = stored.data_type == TensorProto.FLOAT8E4M3FN and len(nodes) == 1
        if is_table and all(_takes_rows(node, initializer.name) for node in lookups):
            stored.data_type = TensorProto.UINT8
            tables |= {node.output[0]: stored.name for node in lookups}
        else:
            first += nodes
    if tables:
        initializers.append(_float8_numbers())
    nodes = [*first, *(part for node in model.graph.node for part in _decoded_after(node, tables))]
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


def _takes_rows(node: NodeProto, table: str) -> bool:
    """Whether a node looks rows of a table up."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return bool(node.op_type == "Gather" and node.input[0] == table and axis == 0)


def _decoded_after(node: NodeProto, tables: dict[str, str]) -> list[NodeProto]:
    """
    The node; one whose output is among `tables` looks bytes up, and each becomes the number that it stands for: ONNX
    has no lookup in 8-bit floats.
    """
    output = node.output[0]
    if output not in tables:
        return [node]
    lookup = NodeProto()
    lookup.CopyFrom(node)
    lookup.input[0], lookup.output[0] = tables[output], f"{output}.bytes"
    return [
        lookup,
        helper.make_node("Cast", [lookup.output[0]], [f"{output}.codes"], to=TensorProto.INT32),
        helper.make_node("Gather", [_FLOAT8_NUMBERS, f"{output}.codes"], [output]),
    ]


def _float8_numbers() -> TensorProto:
    """The number of each byte; NaN, which no weight is, as it is."""
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN)
    return numpy_helper.from_array(np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32), _FLOAT8_NUMBERS)


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
