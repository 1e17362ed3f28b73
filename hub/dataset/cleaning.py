# SPDX-License-Identifier: Apache-2.0
"""Tweets into texts like those of GoEmotions; emoji, "!" and "?" stay, they carry emotion."""

from __future__ import annotations

import html
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

_ENTITY = r"&(?:#\d+|#x[0-9a-fA-F]+|[a-zA-Z]+\d*);"
# Regular expressions of RE2, each with what it is replaced by, in this order.
_REPLACEMENTS = (
    (r"[\p{Z}\p{Cc}\x{fffd}]+", " "),
    (r"(?i)\b(?:https?://|www\.)\S+", " "),
    # Addresses of 2009 without a scheme: bit.ly/x, twitpic.com/x.
    (r"(?i)\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|ly|net|org|me|fm|tv|us|gd|co|uk|de)/\S*", " "),
    # Who answers or passes on names people first; what follows a later "RT @" is not the author's.
    (r"(?i)^(?:[\s.:]*(?:\brt\b[\s:]*)?@\w+[\s:,]*)+", ""),
    (r"(?i)\s+\(?(?:rt|via):?\s+@\w+.*$", ""),
    (r"\B@\w+", "[NAME]"),
    (r"\s+", " "),
)
_SAYS_SOMETHING = r"[\p{L}\p{So}]"


def clean_tweets(texts: pa.Array) -> pa.Array:
    """
    Clean tweets, vectorised.

    Text that was UTF-8 but read as latin-1 is restored; HTML entities become characters; addresses of pages go; names
    at the beginning (an answer, a retweet) and a quoted retweet go; every other `@name` becomes `[NAME]`, as names are
    masked in GoEmotions (Demszky et al., 2020); white space, control and replacement characters become single spaces.

    Args:
        texts (`pa.Array` of strings): Tweets without nulls.

    Returns:
        `pa.Array` of strings: As many texts; without a letter or a symbol such as an emoji a text is empty.
    """
    texts = _map_matching(texts, r"[\x{80}-\x{ff}]", _restore)
    # Twice: the collection escaped "&" of texts that were escaped already.
    texts = _map_matching(texts, _ENTITY, lambda text: html.unescape(html.unescape(text)))
    for pattern, replacement in _REPLACEMENTS:
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    texts = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.match_substring_regex(texts, _SAYS_SOMETHING), texts, "")


def _map_matching(texts: pa.Array, pattern: str, function: Callable[[str], str]) -> pa.Array:
    """Apply a function to the few texts that a pattern matches."""
    matches = pc.match_substring_regex(texts, pattern)
    replaced = [function(text) for text in texts.filter(matches).to_pylist()]
    return pc.replace_with_mask(texts, matches, pa.array(replaced, pa.string())) if replaced else texts


def _restore(text: str) -> str:
    try:
        # Some were read wrongly more than once; each time makes the text shorter.
        while not text.isascii():
            text = text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass
    return text
