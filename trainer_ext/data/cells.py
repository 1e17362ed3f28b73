# SPDX-License-Identifier: Apache-2.0
"""The meaning of one field of a table: 0 or 1 in several notations, or a list of labels as people and tools write."""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates

_BINARY = {0: 0, 1: 1, "0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_DECIMAL = re.compile(r"[01]\.0*")
_MISSING = ("", "nan", "null")
_CONSTRUCTORS = ("set", "frozenset", "tuple", "list", "array")
BRACKETED = re.compile(rf"(?:(?:{'|'.join(_CONSTRUCTORS)})(?=\())?[\[({{]")
# An array as numpy writes it has only white space between its elements: to Python `'joy' 'love'` would be one string.
_STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_NUMPY_ELEMENT = rf"(?:{_STRING}|(?:0|[1-9][0-9]*)\.?)"
_NUMPY_LIST = re.compile(rf"\[\s*(?:{_NUMPY_ELEMENT}(?:\s+|(?=\])))*\]", re.DOTALL)


class Notation(NamedTuple):
    """
    How a table writes 0 and 1.

    Args:
        expected (`str`): The two, as error messages name them.
        bits (`dict`): Value to its meaning; words in lower case.
    """

    expected: str
    bits: dict[Any, int]


NUMBERS = Notation("0 or 1", _BINARY)
WORDS = Notation("yes or no", {"no": 0, "n": 0, "yes": 1, "y": 1})
MARKS = Notation("x or nothing", {None: 0, "": 0, **dict.fromkeys(("x", "✓", "✔", "☑"), 1)})


def to_binary(values: list[Any], notation: Notation = NUMBERS) -> npt.NDArray[np.int8]:
    """0 or 1 for every value that means it in a notation, -1 for any other."""
    if set(map(type, values)) & {list, dict}:
        values = ["?" if isinstance(value, list | dict) else value for value in values]
    meaning = {value: _to_bit(value, notation) for value in set(values)}
    return np.fromiter(map(meaning.__getitem__, values), np.int8, len(values))


def _to_bit(value: Any, notation: Notation) -> int:
    if not isinstance(value, str):
        return notation.bits.get(value, -1)
    word = value.strip().lower()
    if notation is NUMBERS and _DECIMAL.fullmatch(word):
        return int(word[0])
    return notation.bits.get(word, -1)


def parse_cell(value: object, separator: str) -> list[Any] | None:
    """The names, ids or numbers of a value; None if it is no list of them."""
    if is_missing(value):
        return []
    if isinstance(value, str):
        text = value.strip()
        if BRACKETED.match(text):
            value = _parse_literal(text)
        else:
            value = text.split() if separator.isspace() else text.split(separator)
    elif isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, dict):
        value = _labels_of_mapping(value)
    if not isinstance(value, list):
        return None
    tokens = [clean_surrogates(token.strip()) if isinstance(token, str) else token for token in value]
    return [token for token in tokens if token == "" or token is None or not is_missing(token)]


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: blank, `nan` or null."""
    if isinstance(value, str):
        return value.strip().lower() in _MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def _labels_of_mapping(value: dict[Any, Any]) -> list[Any] | None:
    """The labels of a 0/1 number per name, or of the choices of Label Studio; None if it is neither."""
    if "choices" in value:
        choices = value["choices"]
        return [choices] if isinstance(choices, str) else choices
    bits = to_binary([0 if bit is None else bit for bit in value.values()])
    return None if -1 in bits else [name for name, bit in zip(value, bits, strict=True) if bit]


def _parse_literal(text: str) -> Any:
    """A list or mapping of constants as JSON, numpy or Python write it; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        if _NUMPY_LIST.fullmatch(text):
            return [ast.literal_eval(element) for element in re.findall(_NUMPY_ELEMENT, text, re.DOTALL)]
        return _constants(ast.parse(text, mode="eval").body, text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _constants(node: ast.expr, text: str) -> list[Any] | dict[Any, Any] | None:
    """The constants of a list, set, tuple or dict; also of one that is made by its name, such as `set()`."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in _CONSTRUCTORS:
            return None
        return _constants(node.args[0], text) if node.args else []
    if isinstance(node, ast.Dict):
        keys, values = ([_value(entry) for entry in entries] for entries in (node.keys, node.values))
        return None if None in keys else dict(zip(keys, values, strict=True))
    # Brackets around one name: a tuple whose comma is missing.
    elements = [node] if isinstance(node, ast.Constant) else getattr(node, "elts", None)
    if elements is None or any(_is_fused(element, text) for element in elements):
        return None
    return [_value(element) for element in elements]


def _value(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _is_fused(node: ast.expr, text: str) -> bool:
    """Whether it is a string of several in a row, between which a comma is missing."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return False
    return re.fullmatch(rf"[A-Za-z]*{_STRING}", ast.get_source_segment(text, node) or "", re.DOTALL) is None
