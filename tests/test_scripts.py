# SPDX-License-Identifier: Apache-2.0
"""Tests of modeling_stacked_emotion.scripts_stacked_emotion: which scripts texts are in."""

from __future__ import annotations

import unicodedata

import pytest

from modeling_stacked_emotion.scripts_stacked_emotion import count_scripts, frequent_scripts, unfamiliar_script


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", {}),
        ("12:30 !!! 😂🏽 \u200d", {}),
        ("I am, too", {"Latin": 6}),
        ("Só ção", {"Latin": 5}),
        # Vowel signs of Arabic are shared with Syriac, its comma with others.
        ("أنا حَزين، ١٢", {"Arabic": 9}),
        ("हिन्दी", {"Devanagari": 6}),
        ("日本語です OK", {"Han": 3, "Hiragana": 2, "Latin": 2}),
        ("Да, so ist es", {"Cyrillic": 2, "Latin": 7}),
        ("ደስ ብሎኛል።", {"Ethiopic": 7}),
        ("ja 😂 😂😂 ja", {"Latin": 4}),
        ("да 😂😂", {"Cyrillic": 2}),
        # Gothic; a letter of mathematics; a private character.
        ("\U00010330\U00010331 \U0001d400 \ue000a", {"Other": 2, "Latin": 1}),
    ],
)
def test_characters_of_each_script(text: str, counts: dict[str, int]) -> None:
    assert count_scripts(text) == counts


def test_scripts_by_their_characters_names() -> None:
    """Against the names of the characters, which begin with the script in these blocks."""
    for script, first, last in [("Arabic", 0x620, 0x64A), ("Greek", 0x3B1, 0x3C9), ("Thai", 0xE01, 0xE2E)]:
        for code in range(first, last + 1):
            # The tatweel is shared.
            if code != 0x640:
                assert unicodedata.name(chr(code)).startswith(script.upper())
                assert count_scripts(chr(code)) == {script: 1}


def test_rare_scripts_are_left_out() -> None:
    assert frequent_scripts({"Latin": 990, "Arabic": 10}) == ["Arabic", "Latin"]
    assert frequent_scripts({"Latin": 991, "Arabic": 9}) == ["Latin"]
    assert frequent_scripts({}) == []


@pytest.mark.parametrize(
    ("text", "scripts", "expected"),
    [
        ("أنا حزين", ["Latin"], "Arabic"),
        ("أنا حزين", ["Arabic", "Latin"], None),
        ("أنا حزين", None, None),
        ("أنا حزين", [], "Arabic"),
        ("أنا حزين OK", ["Latin"], "Arabic"),
        # Half of the letters.
        ("حزين alas", ["Latin"], None),
        ("😂 12", ["Latin"], None),
        ("日本語です OK", ["Latin"], "Han"),
        ("Да да, أنا ok", ["Latin"], "Cyrillic"),
    ],
)
def test_scripts_that_a_model_does_not_know(text: str, scripts: list[str] | None, expected: str | None) -> None:
    assert unfamiliar_script(text, scripts) == expected
