# SPDX-License-Identifier: Apache-2.0
"""Tests of tokenization_stacked_emotion: every encoder's own ids, words aligned by offsets, limits that hold."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from modeling_stacked_emotion import NORMALIZATIONS, StackedEmotionConfig, StackedEmotionTokenizer
from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates, normalize, split_words
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext

KINDS = {"wp": ("wordpiece", 600), "bpe": ("bpe", 450), "bb": ("byte_bpe", 420), "uni": ("unigram", 350)}
Own = dict[str, PreTrainedTokenizerFast]

TEXTS = [
    "",
    " ",
    " \t\r\n\u00a0\u3000\u2028",
    "I am so happy today!",
    "  leading and trailing  ",
    "a\ttab\nand\r\nlines\n\n",
    "unknown Ωörds ẞ жёлтый ꙮ",
    "الحُبُّ أجملُ ما في الحياةِ",
    "جمـــــيل ـــ جدا",
    "أهلاً وسهلاً، كيف الحال؟",
    "١٢٣ and 456",
    "\u200fأنا سعيد\u200f (very) \u202bيا رب\u202c \u2067x\u2069",
    "I love قهوة in the صباح, really",
    "👨‍👩‍👧 👍🏽👍🏿 🏳️‍🌈 ❤️‍🔥",
    "🇪🇬🇸🇦 1️⃣#️⃣ 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "😂😂😂😂😂",
    "ok😂ok ❤ ❤️ ©️",
    "我很高兴，谢谢！ 日本語 カタカナ ガ 한국어 ᄒ\u1161ᆫ",
    "สวัสดี नमस्ते",
    "see https://example.com/story?id=7&x=%20 now www.x.org",
    "@user_1 and me@home.org #so_happy #تفاؤل",
    "e\u0301te\u0301 a\u0301\u0302\u0303 \u0301\u0301",
    "zero\u200bwidth\u200cjoin\u200dsoft\u00adhyphen\ufeff",
    "nul\x00in\x00\x00 side \x07\x1b[31m\x7f\x85",
    "\x00",
    "lone \ud800 surrogates \udfff\ud83d",
    "\ufffe\uffff\U0010ffff \ue000 \U000f0000",
    "ＦＵＬＬ　ｗｉｄｔｈ！",
    "ﷺ and ﷺﷺ ﬁne ﬃ ½ ㎏ ™ Ⅷ …",
    "x" * 150,
    "so " + "long" * 60 + " word",
    "İstanbul ŉ ΐ ﬆ",
    "##ing </w> Ġa ▁b ▁ [UNK] <unk>",
    "[CLS] hello [SEP] [MASK] [PAD]",
    "wait...what?!?! 10:30 $5.00 C++ ¯\\_(ツ)_/¯",
    "so good good!!!! soooooo",
    "<b>bold</b> &amp; &#1587; <3",
]

FRAGMENTS = [
    *"\u200d\u200f\u00ad\u0301\x00\ufdfa\ufe0f\u20e3\u0640\u0651\ud800\u3000\u0130▁Ġ#@'",
    "happy",
    " سعيد ",
    "👍🏽",
    "👨‍👩‍👧",
    "🇪🇬",
    "1️⃣",
    "https://a.b/c",
    "@x ",
    "&amp;",
    "<br>",
    "ههههه",
    "10س",
    "[SEP]",
    "##ing",
    "</w>",
    "!!!!",
    "我很",
    " ",
    "\n\n",
]
ANY_TEXT = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=10).map("".join)


@pytest.fixture(scope="session")
def own(corpus: list[str], tmp_path_factory: pytest.TempPathFactory) -> Own:
    """Tokenizers of all kinds as their users load them, and two with the habits of BERT and of RoBERTa."""
    root = tmp_path_factory.mktemp("kinds")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    loaded = {}
    for name, (kind, vocab_size) in KINDS.items():
        spec = ScratchEncoder("bert", kind, vocab_size=vocab_size, lowercase=name != "bpe", **sizes)
        loaded[name] = AutoTokenizer.from_pretrained(spec.build(BuildContext(corpus, root / name)))
    # Drops control characters and accents: whole words may vanish.
    loaded["clean"] = AutoTokenizer.from_pretrained(root / "wp")
    loaded["clean"].backend_tokenizer.normalizer = normalizers.BertNormalizer()
    # Leaves the space out of the offsets of a token that starts with it.
    loaded["trim"] = AutoTokenizer.from_pretrained(root / "bb")
    loaded["trim"].backend_tokenizer.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    return loaded


@pytest.fixture(scope="session")
def stacked(own: Own) -> StackedEmotionTokenizer:
    return StackedEmotionTokenizer(own)


@pytest.fixture(scope="session")
def mixed(own: Own) -> StackedEmotionTokenizer:
    return StackedEmotionTokenizer(own, {"wp": "arabert", "bb": "tweet", "uni": "arabert", "trim": "tweet"})


def own_ids(own: Own, name: str, text: str, normalization: str = "none") -> list[int]:
    return own[name](normalize(clean_surrogates(text), normalization).text)["input_ids"]


def naive_word_ids(
    own: Own, name: str, text: str, words: list[tuple[int, int]], normalization: str = "none"
) -> list[int]:
    """The first word that the visible characters of each token overlap, counted from 1; 0 where they overlap none."""
    normalized = normalize(clean_surrogates(text), normalization)
    word_ids = []
    for start, end in own[name](normalized.text, return_offsets_mapping=True)["offset_mapping"]:
        if normalized.origin is not None:
            visible = [i for i in range(start, end) if not normalized.text[i].isspace()]
            start, end = (normalized.origin[visible[0]], normalized.origin[visible[-1]] + 1) if visible else (0, 0)
        overlapping = [index for index, (first, last) in enumerate(words, 1) if max(start, first) < min(end, last)]
        word_ids.append(overlapping[0] if overlapping else 0)
    return word_ids


def check_text(tokenizer: StackedEmotionTokenizer, own: Own, text: str) -> None:
    """An untruncated text has the own ids and the naive words in every encoder, and all fields fit together."""
    encoded = tokenizer(text, truncation=False, return_words=True)
    assert encoded["words"] == split_words(clean_surrogates(text))
    for name, normalization in tokenizer.normalizations.items():
        assert encoded[f"{name}_input_ids"] == own_ids(own, name, text, normalization), name
        assert encoded[f"{name}_word_ids"] == naive_word_ids(own, name, text, encoded["words"], normalization), name
        assert encoded[f"{name}_attention_mask"] == [1] * len(encoded[f"{name}_input_ids"]), name


# ---------------------------------------------------------------------------------------------------- ids and words


@pytest.mark.parametrize("text", TEXTS)
def test_own_ids_and_aligned_words(stacked: StackedEmotionTokenizer, own: Own, text: str) -> None:
    check_text(stacked, own, text)


@pytest.mark.parametrize("text", TEXTS)
def test_own_ids_of_the_normalised_text(mixed: StackedEmotionTokenizer, own: Own, text: str) -> None:
    check_text(mixed, own, text)


@settings(max_examples=120, deadline=None)
@given(ANY_TEXT)
def test_any_text(stacked: StackedEmotionTokenizer, mixed: StackedEmotionTokenizer, own: Own, text: str) -> None:
    check_text(stacked, own, text)
    check_text(mixed, own, text)


@settings(max_examples=40, deadline=None)
@given(st.lists(ANY_TEXT, max_size=6))
def test_a_batch_is_its_texts(mixed: StackedEmotionTokenizer, texts: list[str]) -> None:
    batch = mixed(texts)
    singles = [mixed(text) for text in texts]
    assert set(batch) == set(mixed.model_input_names)
    for key, rows in batch.items():
        assert rows == [single[key] for single in singles]


def test_word_ids_of_a_known_text(stacked: StackedEmotionTokenizer) -> None:
    encoded = stacked("I love قهوة 😂😂", return_words=True)
    assert [("I love قهوة 😂😂"[start:end]) for start, end in encoded["words"]] == ["I", "love", "قهوة", "😂", "😂"]
    for name in stacked.tokenizers:
        word_ids = encoded[f"{name}_word_ids"]
        assert (word_ids[0], word_ids[-1]) == (0, 0)
        assert word_ids == [0, *sorted(word_ids[1:-1]), 0]
    assert set(encoded["bb_word_ids"]) == {0, 1, 2, 3, 4, 5}


def test_a_word_without_tokens_shifts_nothing(own: Own) -> None:
    text = "happy ـــ \u0301 \u0651\u0652 sad"
    tokenizer = StackedEmotionTokenizer(own, {"uni": "arabert"})
    encoded = tokenizer(text, return_words=True)
    assert len(encoded["words"]) == 5
    for name, last in {"wp": "sad", "bb": " sad", "uni": "sad", "clean": "sad"}.items():
        tokens = zip(encoded[f"{name}_input_ids"], encoded[f"{name}_word_ids"], strict=True)
        assert [token for token, word in tokens if word == 5] == own_ids(own, name, last)[1:-1], name
    assert set(encoded["uni_word_ids"]) == {0, 1, 5}
    assert 3 not in encoded["clean_word_ids"]
    assert {1, 2, 3, 4, 5} <= set(encoded["bb_word_ids"])


def test_normalised_white_space_belongs_to_no_word(own: Own) -> None:
    # The space behind "!" is put there by the normalisation, and the token of "sad" begins with it.
    tokenizer = StackedEmotionTokenizer(own, dict.fromkeys(own, "arabert"))
    encoded = tokenizer("!sad ؟happy")
    for name in own:
        for word, text in ((1, "!"), (2, " sad"), (3, " ؟"), (4, " happy")):
            tokens = zip(encoded[f"{name}_input_ids"], encoded[f"{name}_word_ids"], strict=True)
            kept = own[name].decode([token for token, number in tokens if number == word])
            assert kept.strip() == text.strip(), (name, word)


def test_the_state_of_the_users_tokenizers_does_not_matter(own: Own) -> None:
    tokenizer = StackedEmotionTokenizer(own)
    expected = tokenizer("so good, so far")
    own["wp"].backend_tokenizer.enable_truncation(4)
    own["wp"].backend_tokenizer.enable_padding(length=50)
    tokenizer.tokenizers["bb"]("so good", padding="max_length", truncation=True, max_length=3)
    try:
        assert tokenizer("so good, so far").data == expected.data
        assert StackedEmotionTokenizer(own)("so good, so far").data == expected.data
    finally:
        own["wp"].backend_tokenizer.no_truncation()
        own["wp"].backend_tokenizer.no_padding()


# ---------------------------------------------------------------------------------------------------- limits


def check_limits(
    tokenizer: StackedEmotionTokenizer, own: Own, text: str, max_length: int | None = None
) -> tuple[str, bool]:
    """Whatever is kept is a beginning of the text, the same for all encoders; returns it, and whether it was cut."""
    encoded = tokenizer(text, max_length=max_length, return_words=True, return_truncated=True)
    text = clean_surrogates(text)
    limit = max_length or tokenizer.max_tokens
    words = encoded["words"]
    assert len(words) <= tokenizer.max_words
    kept = text
    if encoded["truncated"]:
        # What is kept ends with a whole word, or within the first.
        kept = text[: words[-1][1]] if words else ""
        assert len(kept) < len(text)
        assert words == split_words(kept) or words == [(words[0][0], len(kept))]
    for name, normalization in tokenizer.normalizations.items():
        ids = encoded[f"{name}_input_ids"]
        assert len(ids) <= limit, name
        if words or not encoded["truncated"]:
            assert ids == own_ids(own, name, kept, normalization), name
            assert encoded[f"{name}_word_ids"] == naive_word_ids(own, name, kept, words, normalization), name
    return kept, encoded["truncated"]


def test_limit_in_words(own: Own) -> None:
    tokenizer = StackedEmotionTokenizer(own, max_words=3)
    assert check_limits(tokenizer, own, "one two, three") == ("one two,", True)
    assert check_limits(tokenizer, own, "one two three  ") == ("one two three  ", False)
    assert check_limits(tokenizer, own, "one two three !") == ("one two three", True)


@pytest.mark.parametrize("max_tokens", [8, 9, 12, 20])
def test_limit_in_tokens_is_used_up(own: Own, corpus: list[str], max_tokens: int) -> None:
    tokenizer = StackedEmotionTokenizer(own, max_tokens=max_tokens)
    num_cut = 0
    for text in corpus:
        kept, is_cut = check_limits(tokenizer, own, text)
        words = split_words(text)
        num_kept = len(split_words(kept))
        fits = all(len(own_ids(own, name, text)) <= max_tokens for name in own)
        assert is_cut == (not fits)
        if not is_cut:
            continue
        num_cut += 1
        # Either one more word is too much for some encoder, or not even the first one fits.
        longer = text[: words[num_kept][1]] if kept.endswith(text[slice(*words[num_kept - 1])]) else text
        assert any(len(own_ids(own, name, longer)) > max_tokens for name in own)
    assert num_cut > 10


def test_max_length_of_a_call(stacked: StackedEmotionTokenizer, own: Own) -> None:
    text = "he is proud of his little sister and of his dog"
    _, is_cut = check_limits(stacked, own, text)
    assert not is_cut
    kept, is_cut = check_limits(stacked, own, text, max_length=10)
    assert is_cut
    assert text.startswith(kept)
    assert kept[-1] != " "


def test_one_word_that_alone_is_too_long(own: Own) -> None:
    tokenizer = StackedEmotionTokenizer(own, max_tokens=8)
    kept, is_cut = check_limits(tokenizer, own, "Donaudampfschifffahrt and more")
    assert is_cut
    assert 3 <= len(kept) < 21
    assert "Donaudampfschifffahrt".startswith(kept)


@settings(max_examples=100, deadline=None)
@given(ANY_TEXT, st.integers(8, 14), st.integers(1, 6))
# The first token too many stands for white space at the end, which its offsets are trimmed by.
@example("ههههه00¿\u3000", 8, 2)
def test_limits_hold_for_any_text(own: Own, text: str, max_tokens: int, max_words: int) -> None:
    normalizations = {"wp": "arabert", "trim": "tweet"}
    tokenizer = StackedEmotionTokenizer(own, normalizations, max_words=max_words, max_tokens=max_tokens)
    check_limits(tokenizer, own, text)


def test_cut_texts_of_a_batch_stay_in_their_rows(own: Own) -> None:
    tokenizer = StackedEmotionTokenizer(own, max_tokens=12)
    texts = ["so good", "hope everything turns out well my friend", "", "no", "please stop shouting at me, really now"]
    encoded = tokenizer(texts, return_truncated=True, return_words=True)
    assert encoded["truncated"] == [False, True, False, False, True]
    for index, text in enumerate(texts):
        single = tokenizer(text, return_words=True)
        for key, value in single.items():
            assert encoded[key][index] == value
    padded = tokenizer(texts, padding=True, return_tensors="np")
    assert all(padded[f"{name}_input_ids"].shape[1] <= 12 for name in own)


def test_no_truncation(own: Own) -> None:
    tokenizer = StackedEmotionTokenizer(own, max_words=2, max_tokens=8)
    for truncation in (False, "do_not_truncate"):
        encoded = tokenizer("one two three four five", truncation=truncation, return_truncated=True)
        assert encoded["truncated"] is False
        assert encoded["wp_input_ids"] == own_ids(own, "wp", "one two three four five")
    cut = tokenizer("one two three", truncation="longest_first", return_truncated=True)
    assert cut["truncated"] is True
    assert tokenizer("one two three")["wp_input_ids"] == cut["wp_input_ids"]


def megabyte(kind: str) -> str:
    rng = random.Random(0)
    units = {
        "spaces": " ",
        "newlines": "\n",
        "one word": "a",
        "emoji": "😂",
        "families": "👨‍👩‍👧",
        "one link": "https://" + "a/" * 8,
        "dots": "a.",
        "apostrophes": "a'",
        "mentions": "@",
        "entities": "&amp;",
        "tags": "<a",
        "tatweel": "ـ",
        "diacritics": "\u064e",
        "ligature": "ﷺ",
        "nul": "\x00",
        "surrogates": "\ud800",
        "special": "[SEP]",
        "words": "so good ",
    }
    if kind == "letters":
        return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=1_000_000))
    if kind == "address":
        return megabyte("letters") + "@"
    if kind == "characters":
        return "".join(map(chr, rng.choices(range(0x110000), k=250_000)))
    unit = units[kind]
    return unit * (1_000_000 // len(unit.encode("utf-8", "surrogatepass")))


MEGABYTES = [
    *(
        "spaces",
        "newlines",
        "one word",
        "emoji",
        "families",
        "one link",
        "dots",
        "apostrophes",
        "mentions",
        "entities",
    ),
    *("tags", "tatweel", "diacritics", "ligature", "nul", "surrogates", "special", "words", "letters", "address"),
    "characters",
]


@pytest.mark.parametrize("kind", MEGABYTES)
def test_a_megabyte_takes_no_longer_than_a_page(own: Own, kind: str) -> None:
    text = megabyte(kind)
    tokenizer = StackedEmotionTokenizer(own, {"wp": "arabert", "bpe": "tweet"})
    start = time.process_time()
    encoded = tokenizer(text, return_truncated=True)
    assert time.process_time() - start < 8.0
    assert encoded["truncated"]
    assert all(2 <= len(encoded[f"{name}_input_ids"]) <= 128 for name in own)


def test_a_text_is_looked_at_up_to_100_characters_per_token(own: Own) -> None:
    tokenizer = StackedEmotionTokenizer({"wp": own["wp"]}, {"wp": "tweet"}, max_tokens=8)
    link = "https://" + "x" * 390
    assert check_limits(tokenizer, own, f"{link} {link} so") == (f"{link} {link} so", False)
    # The word that the limit falls in is left out; one that begins the text is cut.
    assert check_limits(tokenizer, own, f"{link} so {link}") == (f"{link} so {link}", False)
    assert check_limits(tokenizer, own, f"{link} so {link}x") == (f"{link} so", True)
    assert check_limits(tokenizer, own, "https://" + "x" * 800) == ("https://" + "x" * 792, True)
    assert check_limits(tokenizer, own, " " * 800 + "so") == ("", True)
    # One that ends before the limit is complete, unless it may go on behind an apostrophe.
    for tail in (" " * 900, "\n" * 900, "\u200b" * 900, " " * 700 + link):
        assert check_limits(tokenizer, own, "so good" + tail) == ("so good", True)
    assert check_limits(tokenizer, own, "so good" + " " * 791 + "I\u200c" + "m") == ("so good", True)


# ---------------------------------------------------------------------------------------------------- padding


def test_every_encoder_is_padded_to_its_own_longest_row(stacked: StackedEmotionTokenizer) -> None:
    texts = ["no", "I am so happy today!", "", "شكرا لك يا صديقي ❤️"]
    rows = stacked(texts)
    padded = stacked(texts, padding=True, return_tensors="np")
    widths = set()
    for name in stacked.tokenizers:
        lengths = [len(row) for row in rows[f"{name}_input_ids"]]
        widths.add(max(lengths))
        for field in ("input_ids", "attention_mask", "word_ids"):
            array = padded[f"{name}_{field}"]
            assert array.shape == (4, max(lengths))
            assert array.dtype == np.int64
            for row, values, length in zip(array.tolist(), rows[f"{name}_{field}"], lengths, strict=True):
                assert row == values + [0] * (max(lengths) - length)
    assert len(widths) > 1


def test_padding_uses_each_encoders_own_padding_id(own: Own) -> None:
    other = StackedEmotionTokenizer(own).tokenizers["uni"]
    other.pad_token = "[MASK]"
    tokenizer = StackedEmotionTokenizer({"wp": own["wp"], "uni": other})
    padded = tokenizer(["no", "so good, so far"], padding=True)
    assert padded["wp_input_ids"][0, -1] == 0
    assert padded["uni_input_ids"][0, -1] == 4
    assert padded["uni_attention_mask"][0, -1] == 0
    assert padded["uni_word_ids"][0, -1] == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "longest"},
        {"padding": "max_length"},
        {"padding": "max_length", "max_length": 40},
        {"pad_to_multiple_of": 8},
        {"padding": "max_length", "max_length": 20, "pad_to_multiple_of": 16},
    ],
)
@pytest.mark.parametrize("return_tensors", [None, "np", "pt"])
def test_pad_equals_padding(
    stacked: StackedEmotionTokenizer, options: dict[str, Any], return_tensors: str | None
) -> None:
    texts = ["no", "I am so happy today!", "", "شكرا لك يا صديقي ❤️"]
    options = {"padding": True, "return_tensors": return_tensors} | options
    expected = stacked(texts, **options)
    padded = [stacked.pad([stacked(text) for text in texts], **options), stacked.pad(stacked(texts), **options)]
    array = torch.Tensor if return_tensors == "pt" else np.ndarray
    for batch in padded:
        assert set(batch) == set(stacked.model_input_names)
        for key, value in expected.items():
            assert isinstance(value, array)
            assert isinstance(batch[key], array)
            assert batch[key].tolist() == value.tolist()
            assert batch[key].dtype == value.dtype


@pytest.mark.parametrize("indices", [[0, 1, 2, 3], [3, 0], [2], [1, 1]])
def test_batches_of_encoded_rows_equal_pad(stacked: StackedEmotionTokenizer, indices: list[int]) -> None:
    texts = ["no", "I am so happy today! " * 20, "", "شكرا لك يا صديقي ❤️"]
    words, rows, truncated = stacked.encode_rows(texts)
    called = stacked(texts, return_words=True, return_truncated=True)
    assert words == called.pop("words")
    assert truncated == called.pop("truncated") == [False, True, False, False]
    batch = stacked.pad_rows(rows, np.array(indices))
    expected = stacked.pad({key: [values[index] for index in indices] for key, values in called.items()})
    assert batch.keys() == expected.keys()
    for key, values in expected.items():
        assert batch[key].tolist() == values.tolist()
        assert batch[key].dtype == values.dtype


@pytest.mark.parametrize("before", [{"padding": True}, {"padding": "max_length"}, {"pad_to_multiple_of": 16}])
@pytest.mark.parametrize("return_tensors", [None, "pt"])
def test_padding_of_before_counts_for_nothing(
    stacked: StackedEmotionTokenizer, before: dict[str, Any], return_tensors: str | None
) -> None:
    texts = ["no", "I am so happy today!", "", "شكرا لك يا صديقي ❤️"]
    expected = stacked(texts, padding=True)
    padded = stacked(texts, **{"padding": True, "return_tensors": return_tensors} | before)
    rows = [{key: values[index] for key, values in padded.items()} for index in range(len(texts))]
    for batch in (stacked.pad(padded), stacked.pad(rows)):
        assert {key: value.tolist() for key, value in batch.items()} == {
            key: value.tolist() for key, value in expected.items()
        }


def test_padded_widths(stacked: StackedEmotionTokenizer) -> None:
    texts = ["no", "I am so happy today!"]
    longest = {name: max(map(len, stacked(texts)[f"{name}_input_ids"])) for name in stacked.tokenizers}
    for options, expected in (
        ({"padding": True}, longest),
        ({"padding": True, "pad_to_multiple_of": 8}, {name: -(-width // 8) * 8 for name, width in longest.items()}),
        ({"padding": "max_length"}, dict.fromkeys(longest, 128)),
        ({"padding": "max_length", "max_length": 50}, dict.fromkeys(longest, 50)),
        ({"padding": "max_length", "max_length": 50, "pad_to_multiple_of": 16}, dict.fromkeys(longest, 64)),
    ):
        batch = stacked(texts, **options)
        assert {name: batch[f"{name}_input_ids"].shape[1] for name in longest} == expected
    # Nothing is cut by padding: rows that truncation did not shorten make the array wider.
    batch = stacked("so good " * 20, padding="max_length", max_length=8, truncation=False, return_tensors="np")
    assert batch["wp_input_ids"].shape == (1, len(stacked("so good " * 20)["wp_input_ids"]))


def test_pad_keeps_other_keys(stacked: StackedEmotionTokenizer) -> None:
    rows = [dict(stacked(text)) | {"labels": [1.0, 0.0], "id": index} for index, text in enumerate(("a", "b c"))]
    batch = stacked.pad(rows, return_tensors="pt")
    assert batch["labels"].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert batch["id"].tolist() == [0, 1]
    assert "labels" in rows[0]
    # The mask is made anew: rows without it, as stored in datasets, are as good.
    for row in rows:
        del row["wp_attention_mask"]
    assert stacked.pad(rows)["wp_attention_mask"].tolist() == batch["wp_attention_mask"].tolist()


def test_saving_publishes_nothing(stacked: StackedEmotionTokenizer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"publishes nothing: call `push_to_hub\(repo_id\)`"):
        stacked.save_pretrained(tmp_path / "saved", push_to_hub=True)
    assert not (tmp_path / "saved").exists()


def test_not_padding(stacked: StackedEmotionTokenizer) -> None:
    texts = ["a", "b c d"]
    expected = stacked(texts).data
    assert stacked(texts, padding="do_not_pad").data == expected
    assert stacked(texts, pad_to_multiple_of=8).data == expected
    assert stacked.pad([stacked(text) for text in texts], padding=False).data == expected
    equal = stacked(["a", "a"], return_tensors="pt", pad_to_multiple_of=8)
    assert equal["wp_input_ids"].shape == (2, len(stacked("a")["wp_input_ids"]))


def test_shapes_of_one_text_and_of_none(stacked: StackedEmotionTokenizer) -> None:
    single = stacked("so good")
    assert all(isinstance(value, list) and isinstance(value[0], int) for value in single.values())
    assert stacked("so good", return_tensors="pt")["wp_input_ids"].tolist() == [single["wp_input_ids"]]
    padded = stacked("so good", padding="max_length", max_length=16)
    assert padded["wp_input_ids"].shape == (16,)
    assert all(value == [] for value in stacked([]).values())
    assert stacked([], padding=True, return_tensors="np")["wp_input_ids"].shape == (0, 1)
    assert stacked(("a", "b")).data == stacked(["a", "b"]).data == stacked(np.array(["a", "b"])).data


def test_words_and_truncation_beside_tensors(stacked: StackedEmotionTokenizer) -> None:
    options = {"padding": True, "return_words": True, "return_truncated": True}
    for return_tensors, kind in ((None, np.ndarray), ("np", np.ndarray), ("pt", torch.Tensor)):
        encoded = stacked(["so good", "no"], return_tensors=return_tensors, **options)
        assert encoded["words"] == [[(0, 2), (3, 7)], [(0, 2)]]
        assert encoded["truncated"] == [False, False]
        assert isinstance(encoded["wp_input_ids"], kind)
    encoded = stacked("so good", return_tensors="pt", **options)
    assert (encoded["words"], encoded["truncated"]) == ([[(0, 2), (3, 7)]], [False])


# ---------------------------------------------------------------------------------------------------- ids to text


def test_decode(stacked: StackedEmotionTokenizer, own: Own) -> None:
    batch = stacked(["I am so happy", "no way"], padding=True, return_tensors="np")
    for name in own:
        texts = stacked.batch_decode(batch[f"{name}_input_ids"], name)
        expected = ["I am so happy", "no way"] if name == "bpe" else ["i am so happy", "no way"]
        assert [text.strip() for text in texts] == expected, name
    assert stacked.batch_decode(batch["wp_input_ids"]) == ["i am so happy", "no way"]
    assert stacked.decode(batch["wp_input_ids"][1], skip_special_tokens=False).startswith("[CLS] no way [SEP] [PAD]")
    assert stacked.decode(stacked("أنا سعيد")["bb_input_ids"], encoder="bb") == "أنا سعيد"


# ---------------------------------------------------------------------------------------------------- disk


def test_round_trip(mixed: StackedEmotionTokenizer, tmp_path: Path) -> None:
    files = mixed.save_pretrained(tmp_path / "saved")
    assert all(Path(file).is_file() for file in files)
    names = {str(Path(file).relative_to(tmp_path / "saved")) for file in files}
    assert {
        "tokenizer_config.json",
        "tokenization_stacked_emotion.py",
        "alignment_stacked_emotion.py",
        "encoding_stacked_emotion.py",
        "text_stacked_emotion.py",
    } <= names
    assert {f"{name}_tokenizer/tokenizer.json" for name in mixed.tokenizers} <= names
    loaded = StackedEmotionTokenizer.from_pretrained(tmp_path / "saved")
    assert list(loaded.tokenizers) == list(mixed.tokenizers)
    assert loaded.normalizations == mixed.normalizations
    assert loaded.normalizations["wp"] == "arabert"
    assert repr(loaded) == repr(mixed)
    assert loaded(TEXTS).data == mixed(TEXTS).data
    # And once more, from what was loaded.
    loaded.save_pretrained(tmp_path / "again")
    assert StackedEmotionTokenizer.from_pretrained(tmp_path / "again")(TEXTS).data == mixed(TEXTS).data


def test_saved_settings_can_be_overridden(own: Own, tmp_path: Path) -> None:
    StackedEmotionTokenizer(own, {"wp": "arabert", "bb": "tweet"}, max_words=50, max_tokens=60).save_pretrained(
        tmp_path / "sub"
    )
    loaded = StackedEmotionTokenizer.from_pretrained(tmp_path, subfolder="sub")
    assert (loaded.max_words, loaded.max_tokens) == (50, 60)
    assert loaded.model_max_length == 60
    loaded = StackedEmotionTokenizer.from_pretrained(
        tmp_path / "sub", normalizations={"bb": "none"}, max_words=9, max_tokens=10, use_fast=True
    )
    assert (loaded.max_words, loaded.max_tokens) == (9, 10)
    assert loaded.normalizations == dict.fromkeys(own, "none") | {"wp": "arabert"}


def test_auto_tokenizer(mixed: StackedEmotionTokenizer, tmp_path: Path) -> None:
    mixed.save_pretrained(tmp_path)
    StackedEmotionConfig().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is StackedEmotionTokenizer
    assert loaded(TEXTS).data == mixed(TEXTS).data
    assert AutoTokenizer.from_pretrained(tmp_path, max_words=5).max_words == 5


# By default, the process of `test_remote_loading` says the same.
@pytest.mark.slow
def test_auto_tokenizer_in_a_process_without_the_project(mixed: StackedEmotionTokenizer, tmp_path: Path) -> None:
    mixed.save_pretrained(tmp_path / "saved")
    script = """
import json, sys
from transformers import AutoTokenizer
try:
    AutoTokenizer.from_pretrained("saved", trust_remote_code=False)
except ValueError as error:
    print(str(error).replace(chr(10), " "))
tokenizer = AutoTokenizer.from_pretrained("saved", trust_remote_code=True)
assert "modeling_stacked_emotion" not in sys.modules
print(json.dumps(tokenizer(json.loads(sys.argv[1])).data))
"""
    texts = [text for text in TEXTS if text.isprintable()]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", script, json.dumps(texts)],
        cwd=tmp_path,
        env=environment | {"HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True,
        text=True,
        check=True,
    )
    refusal, ids = result.stdout.splitlines()
    assert "trust_remote_code" in refusal
    assert json.loads(ids) == mixed(texts).data


def test_from_encoders(encoder_folders: dict[str, Path], tokenizer: StackedEmotionTokenizer) -> None:
    assert list(tokenizer.tokenizers) == list(encoder_folders)
    for name, folder in encoder_folders.items():
        expected = AutoTokenizer.from_pretrained(folder)("I love قهوة ☕")["input_ids"]
        assert tokenizer("I love قهوة ☕")[f"{name}_input_ids"] == expected
    other = StackedEmotionTokenizer.from_encoders(encoder_folders, {"bert_wp": "tweet"}, max_words=7, max_tokens=9)
    assert other.normalizations == {"bert_wp": "tweet", "roberta_bb": "none", "electra_uni": "none"}
    assert (other.max_words, other.max_tokens) == (7, 9)


def test_what_callers_ask_of_a_tokenizer(stacked: StackedEmotionTokenizer) -> None:
    assert stacked.model_input_names[:4] == ["wp_input_ids", "wp_attention_mask", "wp_word_ids", "bpe_input_ids"]
    assert (stacked.padding_side, stacked.truncation_side, stacked.is_fast) == ("right", "right", True)
    assert stacked.pad_token_id == 0
    assert len(stacked) == max(len(tokenizer) for tokenizer in stacked.tokenizers.values())
    assert "wp: 600 tokens, none" in repr(stacked)
    assert "max_words=128, max_tokens=128" in repr(stacked)


# ---------------------------------------------------------------------------------------------------- errors

CALL_ERRORS: list[tuple[Callable[[StackedEmotionTokenizer], Any], type[Exception], str]] = [
    (lambda t: t(None), TypeError, r"`text` must be a string or a list of strings, got NoneType\."),
    (lambda t: t(3), TypeError, r"`text` must be a string or a list of strings, got int\."),
    (lambda t: t({"text": "a"}), TypeError, r"`text` must be a string or a list of strings, got dict\."),
    (lambda t: t(["a", None]), TypeError, r"Text 1 must be a string, got NoneType\."),
    (lambda t: t([b"a"]), TypeError, r"Text 0 must be a string, got bytes\."),
    (lambda t: t("a", max_length=0), ValueError, r"`max_length` must be at least 8, got 0\."),
    (lambda t: t("a", max_length=7), ValueError, r"`max_length` must be at least 8, got 7\."),
    (lambda t: t("a", max_length=9.5), TypeError, r"`max_length` must be an integer, got 9\.5\."),
    (lambda t: t("a", max_length=129), ValueError, r"`max_length` is 129, but encoder 'wp' takes at most 128 tokens"),
    (lambda t: t("a", padding="x"), ValueError, r"`padding` must be .* do_not_pad, longest, max_length, got 'x'\."),
    (lambda t: t("a", padding=None), ValueError, r"`padding` must be a bool or one of .*, got None\."),
    (lambda t: t("a", truncation="x"), ValueError, r"`truncation` must be .*longest_first, only_first, got 'x'\."),
    (lambda t: t(["a", "b c"], return_tensors="np"), ValueError, r"different lengths make no tensor: pass `padding=T"),
    (lambda t: t("a", return_tensors="tf"), ValueError, r"tf is not a valid TensorType"),
    (lambda t: t.pad([]), ValueError, r"There are no rows to pad: expected at least one\."),
    (lambda t: t.pad([{"a": 1}]), ValueError, r"rows to pad lack \['wp_input_ids', 'wp_word_ids'\]: they must come"),
    (lambda t: t.pad([t("a")], padding="x"), ValueError, r"`padding` must be a bool or one of"),
    (lambda t: t.pad([t("a")], max_length=500), ValueError, r"`max_length` is 500, but encoder 'wp'"),
    (
        lambda t: t.pad([t("a"), t("b c")], padding=False, return_tensors="np"),
        ValueError,
        r"different lengths make no tensor",
    ),
    (
        lambda t: t.pad([dict(t("a")) | {"x": [1]}, dict(t("a")) | {"x": [1, 2]}]),
        ValueError,
        r"`x` has values of several shapes: only the tokenizer's own keys are padded\.",
    ),
    (lambda t: t.decode([1], encoder="x"), ValueError, r"`encoder` must be one of \['wp', .*\], got 'x'\."),
]


@pytest.mark.parametrize(("call", "error", "message"), CALL_ERRORS)
def test_errors_of_calls(
    stacked: StackedEmotionTokenizer,
    call: Callable[[StackedEmotionTokenizer], Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(stacked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"normalizations": {"x": "none"}},
            ValueError,
            r"`normalizations` names \['x'\], but the encoders are \['wp'",
        ),
        ({"normalizations": {"wp": "x"}}, ValueError, r"`normalizations\['wp'\]` must be .*tweet, arabert, got 'x'\."),
        ({"max_words": 0}, ValueError, r"`max_words` must be at least 1, got 0\."),
        ({"max_words": "5"}, TypeError, r"`max_words` must be an integer, got '5'\."),
        ({"max_tokens": 7}, ValueError, r"`max_tokens` must be at least 8, got 7\."),
        ({"max_tokens": True}, TypeError, r"`max_tokens` must be an integer, got True\."),
        ({"max_tokens": 129}, ValueError, r"is 129, but encoder 'wp' takes at most 128 tokens\. Lower `max_tokens`\."),
        ({"tokenizers": {}}, ValueError, r"`tokenizers` must name at least one tokenizer, got none\."),
        ({"tokenizers": {"x": object()}}, TypeError, r"Encoder 'x' has no fast tokenizer \(got object\): character"),
    ],
)
def test_errors_of_settings(own: Own, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        StackedEmotionTokenizer(**({"tokenizers": own} | arguments))


def test_errors_of_loading(own: Own, encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere is neither a folder nor the id of a repository\."):
        StackedEmotionTokenizer.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer_config\.json: it is not a saved StackedEmotion"):
        StackedEmotionTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is of a \w+, expected StackedEmotionTokenizer\."):
        StackedEmotionTokenizer.from_pretrained(encoder_folders["bert_wp"])


def test_every_normalisation_is_accepted(own: Own) -> None:
    for normalization in NORMALIZATIONS:
        tokenizer = StackedEmotionTokenizer({"wp": own["wp"]}, {"wp": normalization})
        assert tokenizer.normalizations == {"wp": normalization}
