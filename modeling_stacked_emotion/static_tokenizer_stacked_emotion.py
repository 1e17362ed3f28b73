# SPDX-License-Identifier: Apache-2.0
"""Tokens of static words: a known word is one, an unknown word is its character n-grams."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .checks_stacked_emotion import check_flag, check_integer, check_sizes, read_object
from .text_stacked_emotion import Span

_CONFIG_FILE = "tokenizer_config.json"
_VOCABULARY_FILE = "vocabulary.json"
# Characters of a word that are looked up; the rest of a longer one is ignored.
_MAX_CHARACTERS = 40
# Most words whose ids are remembered.
_CACHE_SIZE = 100_000


class _Cache(dict[str, tuple[int, ...]]):
    """Words to their ids, found when they are first asked for; emptied when it is full."""

    def __init__(self, find: Callable[[str], tuple[int, ...]]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= _CACHE_SIZE:
            self.clear()
        ids = self[word] = self._find(word)
        return ids


class StaticWordsTokenizer:
    r"""
    Splits a text into words and gives each word its ids in the table of a [`StaticWordsModel`].

    A word of the vocabulary has one id. Any other word has the ids of those of its n-grams, taken from `<word>` as in
    FastText, that are in the vocabulary, a repeated one as often as it occurs; a word without any has no id at all.
    Id 0 is padding; the words follow, then the n-grams.

    Args:
        words (`list[str]`): The vocabulary; in lower case if `lowercase`.
        ngrams (`list[str]`): Character n-grams, `<` and `>` standing for the word's ends.
        min_ngram, max_ngram (`int`, *optional*, defaults to 3 and 5): Their lengths.
        lowercase (`bool`, *optional*, defaults to `True`): Whether words are looked up in lower case.

    Raises:
        `ValueError`: If there is no entry, an entry twice, or the lengths are no range.
        `TypeError`: If an argument is of another type.

    Example:
    ```python
    >>> tokenizer = StaticWordsTokenizer(["so", "happy"], ["<sa", "sad", "<ha"])
    >>> tokenizer.encode_words(["So sad"], [[(0, 2), (3, 6)]])
    (array([1, 3, 4]), array([1, 2]), array([3]))
    ```
    """

    # Only the number of words limits a text.
    model_max_length = int(1e30)
    pad_token_id = 0

    def __init__(
        self,
        words: Sequence[str],
        ngrams: Sequence[str],
        min_ngram: int = 3,
        max_ngram: int = 5,
        lowercase: bool = True,
    ) -> None:
        for field, entries in (("words", words), ("ngrams", ngrams)):
            if isinstance(entries, str) or not all(isinstance(entry, str) for entry in entries):
                raise TypeError(f"`{field}` must be a list of strings.")
        for field, size in (("min_ngram", min_ngram), ("max_ngram", max_ngram)):
            check_integer(field, size, minimum=1)
            check_sizes({field: size})
        check_flag("lowercase", lowercase)
        if not 1 <= min_ngram <= max_ngram:
            raise ValueError(f"`min_ngram` must be from 1 to `max_ngram`, got {min_ngram} and {max_ngram}.")
        self.words, self.ngrams = list(words), list(ngrams)
        self.min_ngram, self.max_ngram = min_ngram, max_ngram
        self.lowercase = lowercase
        self._word_ids = {word: index for index, word in enumerate(self.words, 1)}
        self._ngram_ids = {ngram: index for index, ngram in enumerate(self.ngrams, 1 + len(self.words))}
        num_different = len(self._word_ids), len(self._ngram_ids)
        if not any(num_different) or num_different != (len(self.words), len(self.ngrams)):
            raise ValueError(
                "`words` and `ngrams` must hold at least one entry and none twice, got "
                f"{len(self.words)} words, {num_different[0]} different, "
                f"and {len(self.ngrams)} n-grams, {num_different[1]} different."
            )
        self._cache = _Cache(self._find_ids)

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the words that were looked up: `datasets` finds the same fingerprint before and after a call."""
        return type(self), (self.words, self.ngrams, self.min_ngram, self.max_ngram, self.lowercase)

    def __len__(self) -> int:
        return 1 + len(self.words) + len(self.ngrams)

    def word_to_ids(self, word: str) -> tuple[int, ...]:
        """The ids of one word: one, several, or none."""
        return self._cache[word]

    def _find_ids(self, word: str) -> tuple[int, ...]:
        if self.lowercase:
            word = word.lower()
        index = self._word_ids.get(word)
        if index is not None:
            return (index,)
        indices = map(self._ngram_ids.get, word_ngrams(word, self.min_ngram, self.max_ngram))
        return tuple(index for index in indices if index is not None)

    def encode_words(
        self, texts: Sequence[str], words: Sequence[Sequence[Span]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """
        The tokens of texts whose words are known, end to end.

        Args:
            texts (`Sequence[str]`): The texts.
            words (`Sequence[Sequence[Span]]`): For each text the character spans of its words.

        Returns:
            Ids `(num_tokens,)`, the number of tokens of each word `(num_words,)` and of each text `(batch_size,)`.
        """
        ids = [self._cache[text[start:end]] for text, spans in zip(texts, words, strict=True) for start, end in spans]
        counts = np.fromiter(map(len, ids), np.int64, len(ids))
        sums = np.concatenate([[0], np.cumsum(counts)])
        lengths = np.diff(sums[np.cumsum([0, *map(len, words)])])
        return np.fromiter(chain.from_iterable(ids), np.int64, int(sums[-1])), counts, lengths

    def batch_decode(
        self, sequences: Sequence[Sequence[int]] | np.ndarray, skip_special_tokens: bool = True
    ) -> list[str]:
        """The words and n-grams of rows of ids, a space between them; padding is empty or left out."""
        entries = ["", *self.words, *self.ngrams]
        return [" ".join(entries[index] for index in row if index or not skip_special_tokens) for row in sequences]

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write `tokenizer_config.json` and `vocabulary.json`; returns their paths."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "tokenizer_class": type(self).__name__,
            "min_ngram": self.min_ngram,
            "max_ngram": self.max_ngram,
            "lowercase": self.lowercase,
        }
        contents = {_CONFIG_FILE: config, _VOCABULARY_FILE: {"words": self.words, "ngrams": self.ngrams}}
        for name, content in contents.items():
            (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return tuple(str(folder / name) for name in contents)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **_: Any) -> "StaticWordsTokenizer":
        """Load a saved tokenizer; raises `FileNotFoundError` if `folder` holds none."""
        if not cls.is_saved_in(folder):
            raise FileNotFoundError(f"{folder} has no {_VOCABULARY_FILE}: it holds no saved StaticWordsTokenizer.")
        config, vocabulary = (read_object(Path(folder) / name) for name in (_CONFIG_FILE, _VOCABULARY_FILE))
        config.pop("tokenizer_class", None)
        return cls(**vocabulary, **config)

    @staticmethod
    def is_saved_in(folder: str | os.PathLike[str]) -> bool:
        """Whether a folder holds a tokenizer of this class."""
        return (Path(folder) / _VOCABULARY_FILE).is_file()


def word_ngrams(word: str, min_ngram: int, max_ngram: int) -> Iterator[str]:
    """The n-grams of `<word>`, from the shortest to the longest; of a very long word those of its beginning."""
    marked = f"<{word[:_MAX_CHARACTERS]}>"
    for size in range(min_ngram, max_ngram + 1):
        for start in range(len(marked) - size + 1):
            yield marked[start : start + size]
