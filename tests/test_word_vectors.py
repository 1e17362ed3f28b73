# SPDX-License-Identifier: Apache-2.0
"""Tests of word_vectors: files of FastText, vectors trained on texts, and the small table made of them."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from scipy.sparse import csr_matrix

from modeling_stacked_emotion import StaticWordsConfig, StaticWordsTokenizer
from modeling_stacked_emotion.static_tokenizer_stacked_emotion import word_ngrams
from trainer_ext.encoders import static_words as module
from trainer_ext.encoders.source import BuildContext
from trainer_ext.encoders.static_words import (
    StaticWords,
    WordVectors,
    build_table,
    read_word_vectors,
    train_word_vectors,
)

SYLLABLES = ["sad", "joy", "fear", "ang", "lov", "ful", "ness", "er", "ing", "ly", "un", "re"]


def made_up_vectors(num_words: int = 600, hidden_size: int = 12) -> WordVectors:
    """Words of syllables whose vectors are the means of random vectors of their n-grams."""
    generator = np.random.default_rng(0)
    words: list[str] = []
    while len(words) < num_words:
        word = "".join(generator.choice(SYLLABLES, size=3))
        if word not in words:
            words.append(word)
    ngrams = sorted({part for word in words for part in word_ngrams(word, 3, 5)})
    states = dict(zip(ngrams, generator.normal(size=(len(ngrams), hidden_size)), strict=True))
    means = np.array([np.mean([states[part] for part in word_ngrams(word, 3, 5)], axis=0) for word in words])
    return WordVectors(words, means.astype(np.float32), means.astype(np.float32))


def write_vec(path: Path, vectors: dict[str, list[float]], header: bool = True) -> Path:
    lines = [f"{word} {' '.join(map(str, row))} \n" for word, row in vectors.items()]
    text = "".join([f"{len(vectors)} {len(next(iter(vectors.values())))}\n"] * header + lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


# ---------------------------------------------------------------------------------------------------- the table


def test_table_holds_the_words_of_the_corpus_then_the_most_frequent() -> None:
    vectors = made_up_vectors()
    corpus = [vectors.words[300], "not-there", vectors.words[2]]
    table, tokenizer = build_table(vectors, corpus, vocab_size=10, num_ngrams=50)
    first = [vectors.words[300], vectors.words[2], *vectors.words[:2], *vectors.words[3:9]]
    assert tokenizer.words == first
    assert len(tokenizer.ngrams) == 50
    assert table.shape == (61, 12)
    assert np.array_equal(table, table.astype(np.float16).astype(np.float32))
    states = np.array([vectors.states[vectors.words.index(word)] for word in first])
    states -= states.mean(axis=0)
    np.testing.assert_allclose(table[1:11], states / np.sqrt(np.mean(states**2)), rtol=1e-3, atol=1e-4)
    assert np.sqrt(np.mean(table[1:11] ** 2)) == pytest.approx(1.0, abs=1e-3)


def test_ngrams_are_those_of_most_words_with_ties_by_alphabet() -> None:
    words = ["aab", "aac", "baab"]
    states = np.eye(3, 4, dtype=np.float32)
    _, tokenizer = build_table(WordVectors(words, states, states), [], 3, 4)
    # "<aa" and "aab" are in two words, as are "ab>" and "aab>"; all others in one.
    assert tokenizer.ngrams == ["<aa", "aab", "aab>", "ab>"]


def test_ngrams_of_unseen_words_come_close_to_their_vectors() -> None:
    vectors = made_up_vectors()
    table, tokenizer = build_table(
        WordVectors(vectors.words[:500], vectors.states[:500], vectors.targets[:500]), [], 100, 10_000
    )
    mean = vectors.states[:100].mean(axis=0)
    cosines = []
    for word, vector in zip(vectors.words[500:], vectors.states[500:] - mean, strict=True):
        ids = list(tokenizer.word_to_ids(word))
        assert len(ids) > 5
        state = table[ids].mean(axis=0)
        cosines.append(state @ vector / np.linalg.norm(state) / np.linalg.norm(vector))
    assert np.mean(cosines) > 0.9
    few, small = build_table(vectors, [], 100, 40)
    assert len(small.ngrams) == 40
    assert np.isfinite(few).all()


def test_conjugate_gradients_equal_the_solution_of_the_normal_equations() -> None:
    generator = np.random.default_rng(0)
    dense = generator.random((30, 8)) * (generator.random((30, 8)) < 0.5)
    targets = generator.normal(size=(30, 3))
    expected = np.linalg.solve(dense.T @ dense + module._FIT_RIDGE * np.eye(8), dense.T @ targets)
    np.testing.assert_allclose(module._solve_ridge(csr_matrix(dense), targets), expected, atol=1e-8)
    assert module._solve_ridge(csr_matrix(dense), np.zeros((30, 3))).tolist() == np.zeros((8, 3)).tolist()


def test_one_word_alone_gives_a_finite_table() -> None:
    states = np.ones((1, 4), dtype=np.float32)
    table, tokenizer = build_table(WordVectors(["so"], states, states), ["so"], 5, 0)
    assert (table.tolist(), tokenizer.words, tokenizer.ngrams) == ([[0.0] * 4] * 2, ["so"], [])


# ---------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["words.vec", "words.vec.gz"])
@pytest.mark.parametrize("header", [True, False])
def test_vec_files_are_read_up_to_the_last_wanted_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, header: bool
) -> None:
    monkeypatch.setattr(module, "_NUM_FITTED", 2)
    content = {"The": [9.0, 9.0], "the": [1.0, 2.0], "é": [3.0, 4.0], "rare": [5.0, 6.0], "wanted": [7.0, 8.0]}
    path = write_vec(tmp_path / name, content, header)
    vectors = read_word_vectors(str(path), ["wanted", "missing"], 1, lowercase=True)
    assert vectors.words == ["the", "é", "wanted"]
    assert vectors.states.tolist() == vectors.targets.tolist() == [[1.0, 2.0], [3.0, 4.0], [7.0, 8.0]]
    assert read_word_vectors(str(path), [], 3, lowercase=False).words == ["The", "the", "é"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("2 3\na 1 2 3\nb 1 2\n", r"line 3: expected 3 finite numbers, got 2"),
        ("a 1 2 3\nb 1 nan 3\n", r"line 2: expected 3 finite numbers, got 3"),
        ("a 1 2 3\nb one two\n", r"line 2: expected a word and numbers, got 'one two'"),
        ("A 1 2\n", r"has no word in lower case: set `lowercase: false`"),
        ("", r"has no word in lower case: set `lowercase: false`"),
    ],
)
def test_damaged_vec_files_are_an_error(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "damaged.vec"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_word_vectors(str(path), [], 10, lowercase=True)


def test_missing_files_and_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file .*gone\.vec of word vectors"):
        read_word_vectors(str(tmp_path / "gone.vec"), [], 10, lowercase=True)
    with pytest.raises(FileNotFoundError, match="neither a file of word vectors nor the id of a repository"):
        read_word_vectors("no//such", [], 10, lowercase=True)


# ---------------------------------------------------------------------------------------------------- gensim


def test_trained_vectors_are_those_of_fasttext_and_follow_the_seed(corpus: list[str]) -> None:
    pytest.importorskip("gensim")
    sentences = [text.lower().split() for text in corpus] * 3
    first, second, other = (train_word_vectors(sentences, 10, 2, seed) for seed in (1, 1, 2))
    assert first.words == second.words == other.words
    assert set(first.words) == {word for words in sentences for word in words}
    assert first.states.shape == (len(first.words), 10)
    assert np.array_equal(first.states, second.states)
    assert not np.array_equal(first.states, other.states)
    # A word's vector has a part of its own beside its n-grams.
    assert not np.allclose(first.states, first.targets)


def test_words_must_occur_twice() -> None:
    pytest.importorskip("gensim")
    with pytest.raises(ValueError, match="need texts with repeated words, got 1 texts without any"):
        train_word_vectors([["one", "two"]], 10, 1, 0)


def test_bin_files_give_the_vectors_of_fasttext(corpus: list[str], tmp_path: Path) -> None:
    fasttext = pytest.importorskip("gensim.models.fasttext")
    sentences = [text.lower().split() for text in corpus] * 3
    model = fasttext.FastText(sentences, vector_size=10, min_count=2, bucket=500, epochs=1, workers=1)
    fasttext.save_facebook_model(model, str(tmp_path / "model.bin"))
    vectors = read_word_vectors(str(tmp_path / "model.bin"), [], 10, lowercase=True)
    assert vectors.words == model.wv.index_to_key
    for index, word in enumerate(vectors.words[:20]):
        np.testing.assert_allclose(vectors.states[index], model.wv[word], atol=1e-6)
        np.testing.assert_allclose(
            vectors.targets[index], model.wv.vectors_ngrams[model.wv.buckets_word[index]].mean(axis=0), atol=1e-6
        )
    (tmp_path / "damaged.bin").write_bytes(b"no model at all")
    with pytest.raises(ValueError, match=r"damaged\.bin is no FastText model"):
        read_word_vectors(str(tmp_path / "damaged.bin"), [], 10, lowercase=True)


def test_without_gensim_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(ImportError, match=r'pip install "stacked-emotion\[vectors\]"'):
        train_word_vectors([["a", "a"]], 10, 1, 0)


# ---------------------------------------------------------------------------------------------------- the encoder


def test_an_encoder_from_a_file_is_saved_as_any_is(tmp_path: Path, corpus: list[str]) -> None:
    vec = write_vec(tmp_path / "words.vec", {"so": [1.0, 2.0], "rare": [3.0, 4.0], "happy": [5.0, 7.0]})
    folder = StaticWords(str(vec), vocab_size=2, num_ngrams=5).build(BuildContext(corpus, tmp_path / "encoder"))
    config = StaticWordsConfig.from_pretrained(folder)
    assert (config.vocab_size, config.hidden_size) == (8, 2)
    assert load_file(folder / "model.safetensors")["table"].shape == (8, 2)
    tokenizer = StaticWordsTokenizer.from_pretrained(folder)
    # "happy" is in the corpus once only.
    assert (tokenizer.words, tokenizer.lowercase) == (["so", "rare"], True)


def test_an_encoder_from_texts_alone_is_the_same_every_time(tmp_path: Path, corpus: list[str]) -> None:
    pytest.importorskip("gensim")
    more = tmp_path / "more.txt"
    more.write_text("unseen words\nunseen words @friend\n", encoding="utf-8")
    spec = StaticWords(texts_file=str(more), hidden_size=8, num_epochs=1, num_ngrams=30)
    folders = [
        spec.build(BuildContext(corpus, tmp_path / name, normalization="tweet", seed=3))
        for name in ("first", "second")
    ]
    for name in ("model.safetensors", "vocabulary.json", "config.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    words = StaticWordsTokenizer.from_pretrained(folders[0]).words
    assert {"unseen", "@user", "so"} < set(words)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 0}, "`hidden_size` must be an integer of at least 1, got 0"),
        ({"num_epochs": 1.5}, r"`num_epochs` must be an integer of at least 1, got 1\.5"),
        ({"vocab_size": True}, "`vocab_size` must be an integer of at least 1, got True"),
        ({"num_ngrams": -1}, "`num_ngrams` must be an integer of at least 0, got -1"),
        ({"word_vectors": "a.vec", "texts_file": "b.txt"}, r"leave one out, got b\.txt and a\.vec"),
    ],
)
def test_fields_out_of_range(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StaticWords(**fields)
