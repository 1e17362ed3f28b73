# SPDX-License-Identifier: Apache-2.0
"""Tests of static_tokenizer: one id for a known word, the n-grams of an unknown one, and words as all encoders."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from modeling_stacked_emotion import StackedEmotionTokenizer, StaticWordsTokenizer, split_words
from modeling_stacked_emotion import static_tokenizer_stacked_emotion as module
from modeling_stacked_emotion.static_tokenizer_stacked_emotion import word_ngrams
from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates, normalize
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext

TEXTS = [
    "I am so happy today!",
    "",
    " \t\n",
    "SOOOOO happpy @friend https://example.com/x?y=1 #blessed!!!",
    "the family 👨‍👩‍👧 is together again 🎉 zzz",
    "أنا سعيد جدا اليوم",
    "I can't believe unbelievable beliefs, can't you?",
    "lone \ud800 surrogate and ẞtraße",
    "İstanbul'da ﬁne ½",
]


@pytest.fixture
def static(static_folder: Path) -> StaticWordsTokenizer:
    return StaticWordsTokenizer.from_pretrained(static_folder)


def naive_ids(tokenizer: StaticWordsTokenizer, word: str) -> list[int]:
    """By the definition, without cache or index."""
    word = word.lower()
    if word in tokenizer.words:
        return [1 + tokenizer.words.index(word)]
    word = word[:40]
    ids = []
    for size in (3, 4, 5):
        for start in range(len(word) + 3 - size):
            piece = f"<{word}>"[start : start + size]
            if piece in tokenizer.ngrams:
                ids.append(1 + len(tokenizer.words) + tokenizer.ngrams.index(piece))
    return ids


def test_ids_and_words_are_those_of_the_definition(static: StaticWordsTokenizer) -> None:
    tokenizer = StackedEmotionTokenizer({"static": static})
    encoded = tokenizer(TEXTS, return_words=True)
    counts = set()
    for text, words, ids, word_ids in zip(
        TEXTS, encoded["words"], encoded["static_input_ids"], encoded["static_word_ids"], strict=True
    ):
        clean = clean_surrogates(text)
        assert words == split_words(clean)
        expected = [naive_ids(static, clean[start:end]) for start, end in words]
        counts |= {len(part) for part in expected}
        assert ids == [index for part in expected for index in part]
        assert word_ids == [number for number, part in enumerate(expected, 1) for _ in part]
    # Words without any n-gram, known ones, unknown ones.
    assert {0, 1} < counts


def naive_rows(tokenizer: StaticWordsTokenizer, text: str, normalization: str) -> tuple[list[int], list[int]]:
    """Ids and word ids word by word: a word of the normalised text is that in which its first character was."""
    normalized = normalize(text, normalization)
    words = split_words(text)
    ids, word_ids = [], []
    for start, end in split_words(normalized.text):
        place = start if normalized.origin is None else normalized.origin[start]
        last = end - 1 if normalized.origin is None else normalized.origin[end - 1]
        inside = [number for number, span in enumerate(words, 1) if span[0] <= place < span[1]]
        behind = [number for number, span in enumerate(words, 1) if place < span[0] <= last]
        part = naive_ids(tokenizer, normalized.text[start:end])
        ids += part
        word_ids += [next(iter(inside + behind), 0)] * len(part)
    return ids, word_ids


@pytest.mark.parametrize("normalization", ["none", "tweet", "arabert"])
def test_texts_that_are_normalised_and_others_share_a_batch(static: StaticWordsTokenizer, normalization: str) -> None:
    generator = random.Random(0)
    pieces = ["so", "happy", "unhappily", "soooo", "!!!!", "@me", "https://x.y", " ", "  ", "'", "سعيد", "x.y", "000"]
    texts = [*map(clean_surrogates, TEXTS), "happy", "!!!", "https://x.y"]
    texts += ["".join(generator.choices(pieces, k=generator.randint(1, 8))) for _ in range(200)]
    encoded = StackedEmotionTokenizer({"static": static}, {"static": normalization})(texts)
    changed = {normalize(text, normalization).origin is not None for text in texts}
    assert changed == ({False} if normalization == "none" else {False, True})
    for text, *rows in zip(texts, encoded["static_input_ids"], encoded["static_word_ids"], strict=True):
        assert tuple(rows) == naive_rows(static, text, normalization), text


def test_a_repeated_ngram_counts_as_often_as_it_occurs() -> None:
    tokenizer = StaticWordsTokenizer(["so"], ["hah", "aha", "<ha"])
    assert tokenizer.word_to_ids("hahaha") == (4, 2, 3, 2, 3)
    assert tokenizer.word_to_ids("SO") == (1,)
    assert StaticWordsTokenizer(["so"], ["OO>"], lowercase=False).word_to_ids("SOO") == (2,)


def test_of_a_long_word_only_the_beginning_is_looked_at() -> None:
    assert list(word_ngrams("sad", 3, 4)) == ["<sa", "sad", "ad>", "<sad", "sad>"]
    assert list(word_ngrams("x", 3, 5)) == ["<x>"]
    assert len(list(word_ngrams("ab" * 5_000, 3, 5))) == 40 + 39 + 38


def test_full_cache_is_emptied_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHE_SIZE", 2)
    tokenizer = StaticWordsTokenizer(["a", "b", "c"], ["<d>"])
    assert [tokenizer.word_to_ids(word) for word in "abcdabcd"] == [(1,), (2,), (3,), (4,)] * 2
    assert len(tokenizer._cache) <= 2


@pytest.mark.parametrize("normalization", ["none", "tweet", "arabert"])
def test_tokens_belong_to_the_words_of_the_original_text(static: StaticWordsTokenizer, normalization: str) -> None:
    tokenizer = StackedEmotionTokenizer({"static": static}, {"static": normalization})
    text = "so unbelievable @someone soooooo happy"
    encoded = tokenizer(text, return_words=True)
    words = [text[start:end] for start, end in encoded["words"]]
    of_word = {number: [] for number in range(1, len(words) + 1)}
    for index, number in zip(encoded["static_input_ids"], encoded["static_word_ids"], strict=True):
        of_word[number].append(index)
    known = {"happy", "so", "unbelievable"}
    assert all(of_word[number] == naive_ids(static, word) for number, word in enumerate(words, 1) if word in known)
    assert len(of_word[words.index("unbelievable") + 1]) > 1
    stretched = of_word[words.index("soooooo") + 1]
    assert stretched == naive_ids(static, "soo" if normalization != "none" else "soooooo")


def test_beside_an_encoder_both_have_the_same_words_and_only_its_tokens_are_limited(
    static: StaticWordsTokenizer, tokenizer: StackedEmotionTokenizer
) -> None:
    both = StackedEmotionTokenizer({"bert_wp": tokenizer.tokenizers["bert_wp"], "static": static}, max_tokens=16)
    alone = StackedEmotionTokenizer({"bert_wp": tokenizer.tokenizers["bert_wp"]}, max_tokens=16)
    texts = [*TEXTS, "unhappily thankfulness weatherman somethings flights", "so happy " * 30]
    encoded, expected = (one(texts, return_words=True, return_truncated=True) for one in (both, alone))
    for key in ("bert_wp_input_ids", "bert_wp_word_ids", "words", "truncated"):
        assert encoded[key] == expected[key]
    assert max(map(len, encoded["static_input_ids"][:-1])) > 16
    assert encoded["truncated"][-1]
    for words, numbers in zip(encoded["words"], encoded["static_word_ids"], strict=True):
        assert set(numbers) <= set(range(1, len(words) + 1))


def test_alone_only_the_number_of_words_limits_a_text(static: StaticWordsTokenizer) -> None:
    tokenizer = StackedEmotionTokenizer({"static": static}, max_words=20, max_tokens=8)
    encoded = tokenizer(["unhappily " * 20, "so " * 21], return_truncated=True)
    assert encoded["truncated"] == [False, True]
    assert [max(row) for row in encoded["static_word_ids"]] == [20, 20]
    assert len(encoded["static_input_ids"][0]) > 40


def test_rows_are_padded_with_zeros(static: StaticWordsTokenizer) -> None:
    tokenizer = StackedEmotionTokenizer({"static": static})
    batch = tokenizer(["so happy today", "", "so"], padding=True, return_tensors="np")
    assert batch["static_attention_mask"].tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert (batch["static_input_ids"] > 0).astype(int).tolist() == batch["static_attention_mask"].tolist()
    rows = [tokenizer(text) for text in ("so happy today", "", "so")]
    padded = tokenizer.pad(rows, return_tensors="np")
    assert all(np.array_equal(padded[key], batch[key]) for key in batch)


def test_saved_and_loaded_it_gives_the_same(static: StaticWordsTokenizer, tmp_path: Path) -> None:
    tokenizer = StackedEmotionTokenizer({"static": static}, {"static": "tweet"}, max_words=9)
    files = tokenizer.save_pretrained(tmp_path)
    assert {str(tmp_path / "static_tokenizer" / name) for name in ("tokenizer_config.json", "vocabulary.json")} < set(
        files
    )
    for loaded in (StackedEmotionTokenizer.from_pretrained(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert isinstance(loaded.tokenizers["static"], StaticWordsTokenizer)
        assert repr(loaded) == repr(tokenizer)
        assert dict(loaded(TEXTS)) == dict(tokenizer(TEXTS))


def test_decoding_gives_words_and_ngrams() -> None:
    tokenizer = StackedEmotionTokenizer({"static": StaticWordsTokenizer(["so", "sad"], ["<go"])})
    assert tokenizer.batch_decode([[1, 2, 0], [3, 0, 0]]) == ["so sad", "<go"]
    assert tokenizer.decode([1, 0, 2], skip_special_tokens=False) == "so  sad"
    assert len(tokenizer) == 4


def test_it_finds_the_same_words_as_a_rust_tokenizer_in_random_texts(
    static: StaticWordsTokenizer, tmp_path: Path, corpus: list[str]
) -> None:
    folder = ScratchEncoder("bert", "byte_bpe", vocab_size=300).build(BuildContext(corpus, tmp_path))
    bytes_tokenizer = StackedEmotionTokenizer.from_encoders({"bytes": folder}).tokenizers["bytes"]
    everything = StaticWordsTokenizer(sorted({chr(code) for code in range(33, 1000)}), ["<a"], 1, 1)
    tokenizer = StackedEmotionTokenizer({"bytes": bytes_tokenizer, "static": everything})
    generator = random.Random(0)
    pieces = [chr(code) for code in range(33, 1000)] + [" "] * 400
    texts = ["".join(generator.choices(pieces, k=30)) for _ in range(50)]
    encoded = tokenizer(texts, return_words=True)
    for text, words, numbers, of_bytes in zip(
        texts, encoded["words"], encoded["static_word_ids"], encoded["bytes_word_ids"], strict=True
    ):
        single = {number for number, (start, end) in enumerate(words, 1) if end - start == 1 and text[start].islower()}
        assert single <= set(numbers) <= set(of_bytes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "at least one entry and none twice, got 0 words, 0 different, and 0 n-grams, 0 different"),
        ((["a", "a"], []), "got 2 words, 1 different, and 0 n-grams"),
        ((["a"], ["<b", "<b"]), "and 2 n-grams, 1 different"),
        ((["a"], [], 4, 3), "`min_ngram` must be from 1 to `max_ngram`, got 4 and 3"),
        ((["a"], [], 0, 3), "`min_ngram` must be at least 1, got 0"),
    ],
)
def test_vocabularies_that_cannot_be(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StaticWordsTokenizer(*arguments)


def test_folder_without_a_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "StaticWordsTokenizer"}))
    with pytest.raises(FileNotFoundError, match=r"has no vocabulary\.json: it holds no saved StaticWordsTokenizer"):
        StaticWordsTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("file", "field", "value", "message"),
    [
        ("tokenizer_config.json", "max_ngram", 10**9, "`max_ngram` must be at most 40"),
        ("vocabulary.json", "words", "joy", "`words` must be a list of strings"),
    ],
)
def test_a_damaged_folder_is_refused(
    static_folder: Path, tmp_path: Path, file: str, field: str, value: object, message: str
) -> None:
    copy = shutil.copytree(static_folder, tmp_path / "static")
    content = json.loads((copy / file).read_text(encoding="utf-8"))
    assert field in content
    (copy / file).write_text(json.dumps(content | {field: value}), encoding="utf-8")
    with pytest.raises((TypeError, ValueError), match=message):
        StaticWordsTokenizer.from_pretrained(copy)
