# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.cells: what a field means by itself; whole columns are tested with labels and layouts."""

from __future__ import annotations

from typing import Any

import pytest

from trainer_ext.data.cells import MARKS, NUMBERS, WORDS, Notation, parse_cell, to_binary


@pytest.mark.parametrize(
    ("notation", "bits"),
    [
        (NUMBERS, [0, 1, 1, 0, 1, -1, -1, -1, -1, -1, -1, -1]),
        (WORDS, [-1, -1, -1, -1, -1, 1, 0, -1, -1, -1, -1, -1]),
        (MARKS, [-1, -1, -1, -1, -1, -1, -1, 1, 0, 0, -1, -1]),
    ],
)
def test_notations(notation: Notation, bits: list[int]) -> None:
    values = [0, 1.0, True, "0.00", " TRUE", "Yes", "n", "X", " ", None, "2", [1]]
    assert to_binary(values, notation).tolist() == bits


@pytest.mark.parametrize(
    ("value", "separator", "expected"),
    [
        ("joy; love", ";", ["joy", "love"]),
        ("joy  love", " ", ["joy", "love"]),
        ("['joy' 'love']", ",", ["joy", "love"]),
        ("['joy', 'love', 'nan']", ",", ["joy", "love"]),
        ("{'joy', 'joy'}", ",", ["joy", "joy"]),
        ("set()", ",", []),
        ({"joy": 1, "love": None, "fear": "0.0"}, ",", ["joy"]),
        ("NaN", ",", []),
        (float("nan"), ",", []),
        (3, ",", [3]),
        (True, ",", None),
        ("{'joy': 0.5}", ",", None),
        ("(joy", ",", None),
        ("{" * 5000, ",", None),
    ],
)
def test_labels_of_a_field(value: object, separator: str, expected: list[Any] | None) -> None:
    assert parse_cell(value, separator) == expected
