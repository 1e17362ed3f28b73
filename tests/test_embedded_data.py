# SPDX-License-Identifier: Apache-2.0
"""Tests of the embedded texts: label sets, counts, no text twice, and a statement whose numbers are the files'."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from modeling_stacked_emotion import split_words
from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.data.loading import load_emotion_data

DATA = Path(__file__).resolve().parent.parent / "scripts" / "data"
README = (DATA / "README.md").read_text(encoding="utf-8")
SPLITS = ("train", "validation", "test")
LANGUAGES = ("english", "arabic")
# The 11 emotions of SemEval-2018 task 1 E-c.
SEMEVAL_LABELS = (
    *("anger", "anticipation", "disgust", "fear", "joy", "love", "optimism", "pessimism", "sadness", "surprise"),
    "trust",
)
LABELS = {"english": set(GOEMOTIONS_LABELS), "arabic": set(SEMEVAL_LABELS)}


@cache
def rows_of(language: str, split: str) -> list[dict[str, Any]]:
    lines = (DATA / language / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def all_rows(language: str) -> list[dict[str, Any]]:
    return [row for split in SPLITS for row in rows_of(language, split)]


def label_counts(language: str) -> Counter[str]:
    return Counter(label for row in all_rows(language) for label in row["labels"])


def readme_row(language: str) -> list[str]:
    (line,) = [line for line in README.splitlines() if line.startswith(f"| `{language}/`")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def integers(text: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]


@pytest.mark.parametrize(("language", "smallest"), [("english", 40), ("arabic", 25)])
def test_every_label_has_enough_texts(language: str, smallest: int) -> None:
    counts = label_counts(language)
    assert set(counts) == LABELS[language]
    assert min(counts.values()) >= smallest


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_split_has_every_label(language: str) -> None:
    for split in SPLITS:
        assert {label for row in rows_of(language, split) for label in row["labels"]} == LABELS[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_rows_are_well_formed(language: str) -> None:
    for row in all_rows(language):
        assert list(row) == ["text", "labels"]
        assert row["text"] == row["text"].strip()
        assert 3 <= len(row["text"].split()) <= 45
        assert len(row["labels"]) == len(set(row["labels"])) <= 4
        assert "neutral" not in row["labels"] or row["labels"] == ["neutral"]
    if language == "english":
        assert all(row["labels"] for row in all_rows(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_occurs_twice(language: str) -> None:
    def key(text: str) -> str:
        folded = unicodedata.normalize("NFKC", text).casefold()
        return " ".join("".join(" " if unicodedata.category(c)[0] in "PSZC" else c for c in folded).split())

    counts = Counter(key(row["text"]) for row in all_rows(language))
    assert [text for text, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_no_templates(language: str) -> None:
    """No four first or last words open or close more than a handful of texts."""
    texts = [[row["text"][a:b].casefold() for a, b in split_words(row["text"])] for row in all_rows(language)]
    for part in (slice(None, 4), slice(-4, None)):
        ((_, most),) = Counter(tuple(words[part]) for words in texts if len(words) >= 8).most_common(1)
        assert most <= 5


def test_scripts_are_those_of_the_languages() -> None:
    def share_of_arabic(language: str) -> float:
        letters = [c for row in all_rows(language) for c in row["text"] if c.isalpha()]
        return sum("\u0600" <= c <= "\u06ff" for c in letters) / len(letters)

    assert share_of_arabic("english") < 0.001
    assert share_of_arabic("arabic") > 0.95


@pytest.mark.parametrize("language", LANGUAGES)
def test_statement_has_the_numbers_of_the_files(language: str) -> None:
    _, _, sizes, labels = readme_row(language)
    assert integers(sizes) == [len(rows_of(language, split)) for split in SPLITS]
    counts = label_counts(language)
    smallest = re.search(r"at least (\d+) texts each", labels)
    assert smallest is not None
    assert int(smallest.group(1)) == min(counts.values())
    assert len(counts) in integers(labels)
    for label, count in re.findall(r"(grief|relief|pride) (\d+)", labels):
        assert counts[label] == int(count)


def test_statement_has_the_shares_of_the_files() -> None:
    several = {
        language: round(100 * sum(len(row["labels"]) > 1 for row in all_rows(language)) / len(all_rows(language)))
        for language in LANGUAGES
    }
    statement = " ".join(README.split())
    found = re.search(
        r"(\d+) % of the English and (\d+) % of the Arabic texts carry several labels; `neutral` stands alone, "
        r"and (\d+) Arabic texts carry none",
        statement,
    )
    assert found is not None
    without = sum(not row["labels"] for row in all_rows("arabic"))
    assert [int(number) for number in found.groups()] == [several["english"], several["arabic"], without]


@pytest.mark.parametrize("language", LANGUAGES)
def test_trainer_reads_them_whole(language: str) -> None:
    files = {f"{split}_file": DATA / language / f"{split}.jsonl" for split in SPLITS}
    data = load_emotion_data(**files)
    assert data.label_names == sorted(LABELS[language])
    for split in SPLITS:
        rows = rows_of(language, split)
        assert list(data.splits[split]["text"]) == [row["text"] for row in rows]
        assert sum(map(sum, data.splits[split]["labels"])) == sum(len(row["labels"]) for row in rows)
