# SPDX-License-Identifier: Apache-2.0
"""Text as the model sees it: words split once for all encoders, and normalised text that remembers its origin."""

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import regex

Span = tuple[int, int]

# One word is, in this order: a link; a mention or hashtag; a run of letters, digits and marks of one kind of script
# with inner apostrophes, soft hyphens or non-joiners; a single CJK character; an emoji with its joiners, skin tone,
# flag or keycap; a run of the same punctuation mark or symbol ("!!!"). White space and invisible control or format
# characters separate words.
_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_EMOJI_UNIT = r"\p{Extended_Pictographic}[\uFE0F\u200D\p{Emoji_Modifier}\U000E0020-\U000E007F]*"
_WORD = regex.compile(
    rf"""
      (?:https?://|www\.)[^\s<>"]+
    | [@\#][\p{{L}}\p{{M}}\p{{N}}_]+
    | [0-9\#*]\uFE0F?\u20E3
    | \p{{Regional_Indicator}}{{1,2}}
    | {_EMOJI_UNIT}(?:(?<=\u200D){_EMOJI_UNIT})*
    | [{_CJK}]\p{{M}}*
    | [\p{{L}}\p{{M}}\p{{N}}_--[{_CJK}]]+(?:['’\u00AD\u200C][\p{{L}}\p{{M}}\p{{N}}--[{_CJK}]]+)*
    | ([^\s\p{{C}}])\1*
    """,
    regex.VERBOSE | regex.VERSION1,
)
# The same words for ASCII texts; with it, the shipped model tokenises GoEmotions in 10 % less time.
_ASCII_WORD = re.compile(
    r"""(?:https?://|www\.)[^ \t-\r<>"]+|[@#][A-Za-z0-9_]+|[A-Za-z0-9_]+(?:'[A-Za-z0-9]+)*|([!-/:-@\[-^`{-~])\1*"""
)
_SURROGATES = regex.compile(r"[\uD800-\uDFFF]")


def clean_surrogates(text: str) -> str:
    """`text` with every lone surrogate, which no tokenizer can encode, replaced by U+FFFD; the length stays."""
    if text.isascii():
        return text
    return _SURROGATES.sub("\ufffd", text)


def split_words(text: str, max_words: int | None = None) -> list[Span]:
    """
    Split `text` into words: links, mentions, hashtags, words, emoji sequences, CJK characters, punctuation.

    Args:
        text (`str`): Any text, of any number of scripts.
        max_words (`int`, *optional*): Most words; all of them by default.

    Returns:
        `list[tuple[int, int]]`: Start and end of each word as character offsets, in order, never overlapping.
    """
    matches: Iterator[Any] = (_ASCII_WORD if text.isascii() else _WORD).finditer(text)
    return [match.span() for match in islice(matches, max_words)]


@dataclass(frozen=True)
class NormalizedText:
    """
    A normalised text and where each of its characters came from.

    Attributes:
        text (`str`): The text an encoder's tokenizer gets.
        origin (`list[int]` of length `len(text)`, *optional*):
            For each character its offset in the original text; non-decreasing. `None` where nothing has changed.
    """

    text: str
    origin: list[int] | None = None

    def sub(
        self, pattern: regex.Pattern[str], replacement: str | Callable[[regex.Match[str]], str]
    ) -> "NormalizedText":
        """Replace every match of `pattern`; each new character takes the origin of the one it stands for."""
        if pattern.search(self.text) is None:
            return self
        pieces: list[str] = []
        origins: list[int] = []
        position = 0
        origin: Sequence[int] = range(len(self.text)) if self.origin is None else self.origin
        last = len(origin) - 1
        for match in pattern.finditer(self.text):
            new = replacement if isinstance(replacement, str) else replacement(match)
            start, end = match.span()
            pieces += (self.text[position:start], new)
            origins += origin[position:start]
            # Characters inserted between two others take the origin of the second, or of the last one of all.
            final = min(max(end - 1, start), last)
            origins += [origin[min(index, final)] for index in range(start, start + len(new))]
            position = end
        pieces.append(self.text[position:])
        origins += origin[position:]
        return NormalizedText("".join(pieces), origins)


_Rule = tuple[regex.Pattern[str], str | Callable[[regex.Match[str]], str]]


def _twice(match: regex.Match[str]) -> str:
    return match.group(1) * 2


# The conventions of TweetEval (Barbieri et al. 2020): every link becomes "http", every mention "@user". A letter or
# mark repeated more than twice is written twice, so that "sooooo" and "soooooooo" meet in one spelling.
_TWEET_RULES: list[_Rule] = [
    (regex.compile(r"(?:https?://|www\.)\S+"), "http"),
    (regex.compile(r"(?<![\w@])@\w+"), "@user"),
    (regex.compile(r"(\D)\1{2,}"), _twice),
]
# A text without any of these is left as it is by the rules above: asked first, it saves most texts the three searches.
_TWEET_HINT = re.compile(r"://|www\.|@|(.)\1\1", re.DOTALL)

# The rules of AraBERT's authors for its v0.2 models (Antoun et al. 2020 and the notes of their release 1.0, with
# emoji kept as for the Twitter models): entities, diacritics and tatweel, links, e-mail addresses and mentions,
# markup, characters repeated more than twice, white space around everything but letters, digits and brackets and
# between words and numbers, characters outside their vocabulary, surplus white space. Addresses and links are sought
# from the start of a run of their characters only: a long run takes linear time.
_ARABIC_LETTERS = r"\u0621-\u063A\u0641-\u064A"
_ARABERT_KEPT = (
    r"0-9\u0621-\u063A\u0640-\u066C\u0671-\u0674a-zA-Z\[\]!\"#$%'()*+,.:;\-<=·>?@\\^_ـ`{|}~—٪’،؟୍“؛”ۚ»\s«–…‘"
    r"\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}\u200D\u20E3"
)
_ARABERT_RULES: list[_Rule] = [
    (
        regex.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,30});"),
        lambda match: html.unescape(match.group()),
    ),
    (regex.compile(r"[\u064B-\u0652\u0640]+"), ""),
    (regex.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)++"), " [بريد] "),
    (
        regex.compile(
            r"(?:https?://|www\.)\S+"
            r"|(?<![a-zA-Z0-9-]|[a-zA-Z0-9-]\.)[a-zA-Z0-9-]++(?:\.[a-zA-Z0-9-]++)*\.[a-z]{2,6}\b(?:/\S*)?"
        ),
        " [رابط] ",
    ),
    (regex.compile(r"@\w+"), " [مستخدم] "),
    (regex.compile(r"</?[A-Za-z][^<>]*>"), " "),
    (regex.compile(r"(\D)\1{2,}"), _twice),
    (regex.compile(rf"[^0-9\s{_ARABIC_LETTERS}\u0660-\u0669a-zA-Z\[\]]"), lambda match: f" {match.group()} "),
    (regex.compile(rf"(?<=\d)(?=[{_ARABIC_LETTERS}])|(?<=[{_ARABIC_LETTERS}])(?=\d)"), " "),
    (regex.compile(rf"[^{_ARABERT_KEPT}]"), " "),
    (regex.compile(r"\s{2,}|[^\S ]"), " "),
    (regex.compile(r"^\s+|\s+$"), ""),
]

_RULES: dict[str, list[_Rule]] = {"none": [], "tweet": _TWEET_RULES, "arabert": _ARABERT_RULES}
NORMALIZATIONS = tuple(_RULES)


def normalize(text: str, normalization: str) -> NormalizedText:
    """
    Normalise `text` for one encoder.

    Args:
        text (`str`): The text, free of lone surrogates.
        normalization (`str`):
            `"none"`; `"tweet"` (links, mentions, repeated letters); `"arabert"` (as AraBERT v0.2 was trained).

    Returns:
        [`NormalizedText`]: The text with the origin of each of its characters.
    """
    normalized = NormalizedText(text)
    if normalization == "tweet" and _TWEET_HINT.search(text) is None:
        return normalized
    for pattern, replacement in _RULES[normalization]:
        normalized = normalized.sub(pattern, replacement)
    return normalized
