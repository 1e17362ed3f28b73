# SPDX-License-Identifier: Apache-2.0
"""Tests of text_stacked_emotion: words of many scripts, and normalised texts that remember where they came from."""

from __future__ import annotations

import time

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modeling_stacked_emotion.text_stacked_emotion import (
    _TWEET_RULES,
    _WORD,
    NORMALIZATIONS,
    NormalizedText,
    clean_surrogates,
    normalize,
    split_words,
)

WORDS = [
    ("", []),
    (" \t\r\n\u00a0\u3000", []),
    ("I can't go", ["I", "can't", "go"]),
    ("don’t 'quote' rock'n'roll", ["don’t", "'", "quote", "'", "rock'n'roll"]),
    ("so, so good!!!", ["so", ",", "so", "good", "!!!"]),
    ("wait...what?!", ["wait", "...", "what", "?", "!"]),
    ("a\ttab\nand line", ["a", "tab", "and", "line"]),
    ("no\u00a0break", ["no", "break"]),
    ("foo_bar 3.5 100% C++", ["foo_bar", "3", ".", "5", "100", "%", "C", "++"]),
    ("see https://a.bc/d?e=f#g now", ["see", "https://a.bc/d?e=f#g", "now"]),
    ("<www.x.org/(1)>", ["<", "www.x.org/(1)", ">"]),
    ("@user_1 thanks #so_happy!", ["@user_1", "thanks", "#so_happy", "!"]),
    ("me@home.org @ # ##", ["me", "@home", ".", "org", "@", "#", "##"]),
    ("@سلمى #تفاؤل", ["@سلمى", "#تفاؤل"]),
    ("الحُبُّ جمـــيل؟", ["الحُبُّ", "جمـــيل", "؟"]),
    ("١٢٣ صباحا، حبيبي", ["١٢٣", "صباحا", "،", "حبيبي"]),
    ("\u200fمرحبا\u200f (hello) \u202bيا\u202c", ["مرحبا", "(", "hello", ")", "يا"]),
    ("love قهوة2go", ["love", "قهوة2go"]),
    ("e\u0301te\u0301 ﬁne ﷺ ＡＢＣ！", ["e\u0301te\u0301", "ﬁne", "ﷺ", "ＡＢＣ", "！"]),
    ("我很高兴 日本語text", ["我", "很", "高", "兴", "日", "本", "語", "text"]),
    ("カタ ดี 안녕 하세요", ["カ", "タ", "ดี", "안녕", "하세요"]),
    ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
    ("zero\u200bwidth soft\u00adhyphen", ["zero", "width", "soft\u00adhyphen"]),
    ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
    ("a\x00b\x07 \ufeff", ["a", "b"]),
    ("\ufffd\ufffd", ["\ufffd\ufffd"]),
    ("ok😂😂", ["ok", "😂", "😂"]),
    ("👨‍👩‍👧👍🏽", ["👨‍👩‍👧", "👍🏽"]),
    ("👩🏽‍❤️‍💋‍👨🏿 🏳️‍🌈", ["👩🏽‍❤️‍💋‍👨🏿", "🏳️‍🌈"]),
    ("🇪🇬🇸🇦🇯", ["🇪🇬", "🇸🇦", "🇯"]),
    (
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f!",
        ["🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "!"],
    ),
    ("1️⃣2️⃣ #️⃣ *️⃣", ["1️⃣", "2️⃣", "#️⃣", "*️⃣"]),
    ("❤️ ❤ ©️ ™️", ["❤️", "❤", "©️", "™️"]),
    ("🤷‍♂️lol :) ¯\\_(ツ)", ["🤷‍♂️", "lol", ":", ")", "¯", "\\", "_", "(", "ツ", ")"]),
]

TWEET = [
    ("plain words, 3 of them", "plain words, 3 of them"),
    ("see https://a.bc/d?e=f now www.x.org", "see http now http"),
    ("@anna and @سلمى_1: hi", "@user and @user: hi"),
    ("me@home.org @@x a@", "me@home.org @@x a@"),
    ("soooooo goood good!!!!", "soo good good!!"),
    ("1000000 ۱۱۱۱", "1000000 ۱۱۱۱"),
    ("ههههههه 😂😂😂😂", "هه 😂😂"),
    ("", ""),
]

ARABERT = [
    ("ولن نبالغ إذا قلنا إن الهاتف في زمننا هذا ضروري", "ولن نبالغ إذا قلنا إن الهاتف في زمننا هذا ضروري"),
    ("الحُبُّ جمـــيل", "الحب جميل"),
    ("ههههههه", "هه"),
    ("يا رب!!!", "يا رب ! !"),
    ("شكراً، يا صديقي؟", "شكرا ، يا صديقي ؟"),
    ("الساعة10صباحا ٢٠ساعة", "الساعة 10 صباحا ٢٠ ساعة"),
    ("10000 ١١١١", "10000 ١١١١"),
    ("[نص] (نص)", "[نص] ( نص )"),
    ("انظر https://t.co/aB1?x=y الان", "انظر [رابط] الان"),
    ("انظر www.x.org وكذلك example.com/a/b", "انظر [رابط] وكذلك [رابط]"),
    ("my-site.co.uk -site.com a..b.com", "[رابط] [رابط] a . . [رابط]"),
    ("راسلني me.you+1@mail.example.com.", "راسلني [بريد] ."),
    ("@ali_1 مرحبا @سلمى", "[مستخدم] مرحبا [مستخدم]"),
    ("سطر<br />آخر <b>مهم</b> 1 < 2", "سطر آخر مهم 1 < 2"),
    ("خبز &amp; ماء &lt;3 &#1587; &nosuch;", "خبز ماء < 3 س nosuch ;"),
    ("سعيد😂😂😂 ❤️", "سعيد 😂 😂 ❤"),
    ("سطر\nآخر\tو  مسافات", "سطر آخر و مسافات"),
    ("\u200fمرحبا\u200f \x00 é 我", "مرحبا"),
    ("", ""),
    (" \n ", ""),
    ("ـــ", ""),
]

FRAGMENTS = [
    "https://a.b/c",
    "@x ",
    "a@b.co",
    "&amp;",
    "&#65;",
    "<br>",
    "ههههه",
    "ـــ",
    "ُّ",
    "10س",
    "س10",
    " ",
    "\n\n\n",
    "👨‍👩‍👧",
    "👍🏽",
    "🇪🇬",
    "1️⃣",
    "ﷺ",
    "!!!!",
    "a.b.com",
    "[x]",
    "\u200f",
    "\x00",
    "'",
    "#tag",
    "我",
]
TEXTS = st.lists(
    st.sampled_from(FRAGMENTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=12
).map("".join)


@pytest.mark.parametrize(("text", "words"), WORDS)
def test_split_words(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words


def test_split_words_stops_at_max_words() -> None:
    assert split_words("one two, three") == [(0, 3), (4, 7), (7, 8), (9, 14)]
    assert split_words("one two, three", max_words=2) == [(0, 3), (4, 7)]
    assert split_words("one two, three", max_words=9) == split_words("one two, three")


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_words_are_ordered_and_leave_only_separators_out(text: str) -> None:
    position = 0
    between = []
    for start, end in split_words(text):
        assert position <= start < end <= len(text)
        between.append(text[position:start])
        position = end
    between.append(text[position:])
    assert regex.fullmatch(r"[\s\p{C}]*", "".join(between))


def test_clean_surrogates_keeps_the_length() -> None:
    assert clean_surrogates("plain") == "plain"
    assert clean_surrogates("a\ud800b\udfff😂") == "a\ufffdb\ufffd😂"
    assert clean_surrogates("سعيد") == "سعيد"


@pytest.mark.parametrize(("text", "expected"), TWEET)
def test_tweet(text: str, expected: str) -> None:
    assert normalize(text, "tweet").text == expected


@pytest.mark.parametrize(("text", "expected"), ARABERT)
def test_arabert(text: str, expected: str) -> None:
    assert normalize(text, "arabert").text == expected


def test_none_changes_nothing() -> None:
    assert NORMALIZATIONS == ("none", "tweet", "arabert")
    assert normalize("@x  ههههه\n", "none") == NormalizedText("@x  ههههه\n", None)
    assert normalize("so good", "tweet").origin is None


def test_origin_of_every_character() -> None:
    normalized = normalize("hi @anna soooo", "tweet")
    assert normalized.text == "hi @user soo"
    assert normalized.origin == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    # A replacement longer than what it stands for never points behind it.
    normalized = normalize("@x ok", "tweet")
    assert (normalized.text, normalized.origin) == ("@user ok", [0, 1, 1, 1, 1, 2, 3, 4])
    # Deleted characters leave a gap, an inserted space takes the place of what follows it.
    normalized = normalize("حُب10", "arabert")
    assert (normalized.text, normalized.origin) == ("حب 10", [0, 2, 3, 3, 4])


def test_sub_at_the_end_and_with_nothing_left() -> None:
    text = NormalizedText("ab")
    assert text.sub(regex.compile("x"), "y") is text
    assert text.sub(regex.compile("$"), "!") == NormalizedText("ab!", [0, 1, 1])
    assert text.sub(regex.compile("ab"), "") == NormalizedText("", [])
    assert text.sub(regex.compile("b"), lambda match: match.group() * 3) == NormalizedText("abbb", [0, 1, 1, 1])


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sampled_from(NORMALIZATIONS))
def test_origin_is_non_decreasing_and_within_the_text(text: str, normalization: str) -> None:
    normalized = normalize(text, normalization)
    if normalized.origin is None:
        assert normalized.text == text
        return
    assert len(normalized.origin) == len(normalized.text)
    assert all(0 <= offset < len(text) for offset in normalized.origin)
    assert normalized.origin == sorted(normalized.origin)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_arabert_leaves_single_spaces_and_no_diacritics(text: str) -> None:
    normalized = normalize(text, "arabert").text
    assert normalized == " ".join(normalized.split())
    assert not regex.search(r"[\u064B-\u0652\u0640&\p{Cc}\p{Co}]", normalized)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize(
    "unit", ["a", "a.", "a-", "A.aa", "a'", " ", "<a", "&a", "@", "a@", "\u0640", "😂", "\n", "!?"]
)
def test_long_texts_take_linear_time(unit: str, normalization: str) -> None:
    # The "@" of an address at the end makes every search for one look at the whole text.
    text = unit * (40_000 // len(unit)) + "@"
    start = time.process_time()
    normalize(text, normalization)
    split_words(text)
    assert time.process_time() - start < 2.0


@settings(max_examples=200, deadline=None)
@given(TEXTS)
@example("\n\n\n")
@example("WWW.x.org www.x http:/x @ 1000 😂😂😂")
def test_a_text_that_the_rules_of_tweets_are_not_tried_on_is_unchanged_by_them(text: str) -> None:
    expected = NormalizedText(text)
    for pattern, replacement in _TWEET_RULES:
        expected = expected.sub(pattern, replacement)
    assert normalize(text, "tweet") == expected


@given(st.text(st.characters(max_codepoint=127)))
@example("http://a.b/c?d <www.x> @me #tag don't _'_ !!?? 5*3\x00\x1c'")
def test_ascii_texts_have_the_words_that_the_general_pattern_finds(text: str) -> None:
    assert split_words(text) == [match.span() for match in _WORD.finditer(text)]
