# SPDX-License-Identifier: Apache-2.0
"""Tables that the page needs to read texts as Python does: the browser has others, or none."""

from __future__ import annotations

import html
from collections.abc import Iterable
from html.entities import html5
from typing import Any

import regex
from tokenizers import normalizers, pre_tokenizers

# Part of no other character: between two of them, each is by itself.
_BETWEEN = "\N{SNOWMAN}"


def character_classes() -> dict[str, str]:
    """
    The characters that `tokenizers` takes for marks and punctuation, and those that it removes as invisible, each set
    as a class of a regular expression of JavaScript. Its tables are of an older Unicode than those of browsers.
    """
    every = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    options = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)
    return {
        "removed": _class(["\0", *_removed(every, normalizers.BertNormalizer(**options | {"clean_text": True}))]),
        "marks": _class(_removed(every, normalizers.BertNormalizer(**options | {"strip_accents": True}))),
        "punctuation": _class(_punctuation(every)),
    }


def html_entities() -> dict[str, Any]:
    """The names of HTML's characters, without `&`, and the numbers that stand for others or for none."""
    ends = (plane + last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
    numbers = (*range(256), *range(0xFDD0, 0xFDF0), *ends)
    characters = {number: html.unescape(f"&#{number};") for number in numbers}
    return {"names": html5, "numbers": {n: char for n, char in characters.items() if char != chr(n)}}


def _removed(chars: Iterable[str], normalizer: normalizers.Normalizer) -> list[str]:
    chars = [char for char in chars if char != _BETWEEN]
    parts = normalizer.normalize_str(_BETWEEN + _BETWEEN.join(chars) + _BETWEEN).split(_BETWEEN)[1:-1]
    return [char for char, part in zip(chars, parts, strict=True) if not part]


def _punctuation(chars: Iterable[str]) -> list[str]:
    candidates = regex.findall(r"[\p{P}\p{S}\p{M}]", "".join(chars))
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    return [char for char in candidates if len(split(f"{_BETWEEN}{char}")) == 2]


def _class(chars: Iterable[str]) -> str:
    ranges: list[list[int]] = []
    for code in sorted(map(ord, chars)):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(rf"\u{{{first:x}}}-\u{{{last:x}}}" for first, last in ranges) + "]"
