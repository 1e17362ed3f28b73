# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.deduplication against sets and plain loops."""

from __future__ import annotations

import random
import re
import sys

import numpy as np
import pyarrow as pa
import pytest

from hub.dataset.deduplication import EvaluationTexts, SeenTexts, exact_hashes

WORDS = [
    "so",
    "happy",
    "about",
    "the",
    "exam",
    "my",
    "sister",
    "never",
    "again",
    "😂",
    "what",
    "lovely",
    "night",
    "ünïted",
]


def shingles(text: str) -> set[bytes]:
    """The shingles as documented, of a text with words."""
    words = re.sub(r"[^\w😂]+|_+", " ", text.lower()).strip().ljust(5).encode()
    return {words[start : start + 5] for start in range(len(words) - 4)}


def similarity(text: str, references: list[str]) -> float:
    own = shingles(text)
    return max(len(own & shingles(other)) / len(own | shingles(other)) for other in references)


def sentences(num_texts: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(1, 9))) for _ in range(num_texts)]


def changed(texts: list[str], seed: int) -> list[str]:
    """Each text with up to three words, marks or capitals more."""
    generator = random.Random(seed)
    return [
        f"{text.title()}{'!' * (index % 3)} {' '.join(generator.choices(WORDS, k=index % 4))}".strip()
        for index, text in enumerate(texts)
    ]


def test_same_text_has_the_same_hash_case_and_space_aside() -> None:
    same = exact_hashes(pa.array(["So  happy!", "so happy!", " so\tHAPPY! ", "SO HAPPY!"]))
    assert len(set(same.tolist())) == 1
    others = exact_hashes(pa.array(["so happy", "so happy!!", "so happy! 😂", "", "sohappy!"]))
    assert len({*others.tolist(), int(same[0])}) == 6
    sliced = pa.array(["x", "so happy!", "y"]).slice(1, 1)
    assert exact_hashes(sliced).tolist() == [int(same[0])]


def test_seen_texts_are_what_a_set_would_say() -> None:
    generator = np.random.default_rng(0)
    seen, expected = SeenTexts(), set()
    for size in (0, 1, 50, 200, 200):
        hashes = generator.integers(0, 300, size).astype(np.uint64)
        found = seen.add(hashes)
        for value, is_new in zip(hashes.tolist(), found.tolist(), strict=True):
            assert is_new == (value not in expected)
            expected.add(value)
    assert len(expected) > 100


@pytest.mark.parametrize("threshold", [0.7, 0.8, 1.0])
def test_near_duplicates_are_those_of_a_plain_loop(threshold: float) -> None:
    references = sentences(150, 0)
    texts = [*changed(references, 1), *sentences(150, 2)]
    found = EvaluationTexts(pa.array(references), threshold).has_nearly(pa.array(texts))
    expected = [similarity(text, references) >= threshold for text in texts]
    assert 30 < sum(expected) < 290
    # Pairs that the index does not propose would be lost: at these sizes there is none.
    assert found.tolist() == expected


def test_case_marks_and_space_make_no_difference_to_near_duplicates_but_words_do() -> None:
    evaluation = EvaluationTexts(pa.array(["Thank you, so much!", "lol", "😂😂", "?!", "ok 👍"]), 0.8)
    texts = ["thank you so MUCH", "LOL!!!", "loll", "😂😂.", "😂", "...", "", "?!", "thank him so much", "OK, 👍!"]
    near = evaluation.has_nearly(pa.array(texts)).tolist()
    assert near == [True, True, False, True, False, False, False, False, False, True]
    same = evaluation.has_exactly(exact_hashes(pa.array(["?!", "LOL", "lol!", "thank you, so  much!"]))).tolist()
    assert same == [True, True, False, True]


def test_many_proposed_texts_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    references = sentences(60, 0)
    texts = pa.array(changed(references, 1))
    evaluation = EvaluationTexts(pa.array(references), 0.8)
    at_once = evaluation.has_nearly(texts)
    monkeypatch.setattr("hub.dataset.deduplication._ROWS_AT_A_TIME", 7)
    assert evaluation.has_nearly(texts).tolist() == at_once.tolist()
    assert at_once.sum() > 14


def test_no_texts_are_no_duplicates() -> None:
    evaluation = EvaluationTexts(pa.array(["a text"]), 0.8)
    assert evaluation.has_nearly(pa.array([], pa.string())).tolist() == []
    assert evaluation.has_exactly(exact_hashes(pa.array([], pa.string()))).tolist() == []


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(ImportError, match=r'pip install "stacked-emotion\[data\]"'):
        EvaluationTexts(pa.array(["a"]), 0.8)
