# SPDX-License-Identifier: Apache-2.0
"""Codes of languages (BCP 47)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

# The longer code of Arabic, standard Arabic and the dialects with the most speakers.
_ARABIC = ("ara", "arb", "arz", "arq", "ary", "apc", "ajp", "afb", "ars", "acm", "aeb", "ayl", "apd")
_SAME = {"eng": "en"} | dict.fromkeys(_ARABIC, "ar")


def known_languages(codes: Iterable[str], known: Collection[str]) -> list[str]:
    """
    The languages of a model in which something is known.

    Args:
        codes (`Iterable[str]`): Of the model. `pt-BR` counts as `pt`, a dialect of Arabic as `ar`.
        known (`Collection[str]`): Codes of two letters.

    Returns:
        `list[str]`: Those of `known`, each once, in the order of `codes`.
    """
    languages = (code.partition("-")[0] for code in codes)
    return [code for code in dict.fromkeys(_SAME.get(code, code) for code in languages) if code in known]
