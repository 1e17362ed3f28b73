# SPDX-License-Identifier: Apache-2.0
"""Static words from FastText vectors, read from a file or the Hub or trained on texts, cut down to a small table."""

from __future__ import annotations

import gzip
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError
from scipy.sparse import csr_matrix

from modeling_stacked_emotion import StaticWordsConfig, StaticWordsModel, StaticWordsTokenizer, split_words
from modeling_stacked_emotion.checks_stacked_emotion import check_sizes
from modeling_stacked_emotion.static_tokenizer_stacked_emotion import word_ngrams
from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates, normalize

from ..data.loading import read_texts
from ..errors import InputError, MissingPackageError, check_integer, reading
from .source import BuildContext, save_encoder

VECTOR_FILES = (".vec", ".vec.gz", ".bin")
_MIN_NGRAM, _MAX_NGRAM = 3, 5
# Most frequent words that the vectors of n-grams are fitted to.
_NUM_FITTED = 50_000
_FIT_STEPS = 20
_FIT_RIDGE = 0.03
# Rarer words of the corpus are left to their n-grams.
_MIN_COUNT = 2


@dataclass(frozen=True)
class WordVectors:
    """
    Vectors of words.

    Args:
        words (`list[str]`): Most frequent first.
        states (`np.ndarray` of shape `(num_words, hidden_size)`): Their vectors, fp32.
        targets (`np.ndarray` of shape `(num_words, hidden_size)`):
            The mean that the n-grams of each word should have: FastText's own mean of all its n-grams where that is
            known, else the word's vector.
    """

    words: list[str]
    states: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class StaticWords:
    """
    An encoder of static words to be built: where the vectors come from, and how large its table is.

    Args:
        word_vectors (`str`, *optional*): A `.vec`, `.vec.gz` or `.bin` file of FastText, or the Hub id of a repository
            with a `model.bin`, such as `"facebook/fasttext-en-vectors"`. Without it FastText is trained on the texts.
        texts_file (`str`, *optional*): More texts to train FastText on, see [`read_texts`].
        hidden_size (`int`, *optional*, defaults to 300): Width of vectors that are trained.
        num_epochs (`int`, *optional*, defaults to 5): Epochs of training them.
        vocab_size (`int`, *optional*, defaults to 18000): Most words in the table: those that occur at least twice in
            the training texts, then the most frequent ones of the vectors.
        num_ngrams (`int`, *optional*, defaults to 14000): Most n-grams in the table, for all other words.
        lowercase (`bool`, *optional*, defaults to `True`): Whether words are looked up in lower case.
        frozen (`bool`, *optional*, defaults to `False`): Whether the table stays as it is in training.

    Raises:
        `InputError`: If a number is out of its range, or `texts_file` is given with `word_vectors`.
    """

    word_vectors: str | None = None
    texts_file: str | None = None
    hidden_size: int = 300
    num_epochs: int = 5
    vocab_size: int = 18_000
    num_ngrams: int = 14_000
    lowercase: bool = True
    frozen: bool = False

    def __post_init__(self) -> None:
        for name, minimum in {"hidden_size": 1, "num_epochs": 1, "vocab_size": 1, "num_ngrams": 0}.items():
            check_integer(name, getattr(self, name), minimum)
        with reading():
            check_sizes(vars(self))
        if self.word_vectors is not None and self.texts_file is not None:
            raise InputError(
                "Word vectors are trained on `texts_file`, those of `word_vectors` are trained already: "
                f"leave one out, got {self.texts_file} and {self.word_vectors}."
            )

    def __str__(self) -> str:
        return f"word vectors, {self.word_vectors or 'to be trained on the texts'}"

    def build(self, context: BuildContext) -> Path:
        """
        Make the table and its tokenizer; see [`~source.EncoderSource`].

        Raises:
            `ImportError`: If gensim is needed and not installed.
            `FileNotFoundError`: If there is no such file.
            `InputError`: If a file is of another format, or none of its words can be used.
        """
        sentences = [self._split(text, context.normalization) for text in context.texts]
        counts = Counter(chain.from_iterable(sentences))
        frequent = [word for word, count in counts.most_common() if count >= _MIN_COUNT]
        if self.word_vectors is None:
            more_texts = read_texts(self.texts_file) if self.texts_file else []
            sentences += [self._split(text, context.normalization) for text in more_texts]
            vectors = train_word_vectors(sentences, self.hidden_size, self.num_epochs, context.seed)
        else:
            vectors = read_word_vectors(self.word_vectors, frequent, self.vocab_size, self.lowercase)
        table, tokenizer = build_table(vectors, frequent, self.vocab_size, self.num_ngrams, self.lowercase)
        model = StaticWordsModel(
            StaticWordsConfig(vocab_size=len(table), hidden_size=table.shape[1], frozen=self.frozen)
        )
        with torch.no_grad():
            model.table.copy_(torch.from_numpy(table))
        return save_encoder(model, tokenizer, context.folder)

    def _split(self, text: str, normalization: str) -> list[str]:
        text = normalize(clean_surrogates(text), normalization).text
        words = [text[start:end] for start, end in split_words(text)]
        return [word.lower() for word in words] if self.lowercase else words


def train_word_vectors(sentences: list[list[str]], hidden_size: int, num_epochs: int, seed: int) -> WordVectors:
    """
    Train FastText vectors of words by skip-grams, in one thread (Bojanowski et al. 2017).

    Args:
        sentences (`list[list[str]]`): Texts as words.
        hidden_size (`int`): Width of the vectors.
        num_epochs (`int`): Epochs.
        seed (`int`): The same seed gives the same vectors.

    Raises:
        `ImportError`: If gensim is not installed.
        `InputError`: If no word occurs twice.
    """
    fasttext = _gensim_fasttext()
    model = fasttext.FastText(
        vector_size=hidden_size,
        sg=1,
        min_count=_MIN_COUNT,
        min_n=_MIN_NGRAM,
        max_n=_MAX_NGRAM,
        bucket=200_000,
        sample=1e-4,
        workers=1,
        seed=seed,
    )
    model.build_vocab(sentences)
    if not model.wv.index_to_key:
        raise InputError(f"Word vectors need texts with repeated words, got {len(sentences)} texts without any.")
    model.train(sentences, total_examples=len(sentences), epochs=num_epochs)
    return _from_gensim(model.wv, model.wv.index_to_key)


def read_word_vectors(origin: str, corpus_words: Iterable[str], num_words: int, lowercase: bool) -> WordVectors:
    """
    Read word vectors from a `.vec`, `.vec.gz` or `.bin` file or from a repository on the Hub.

    Args:
        origin (`str`): The file, or the Hub id of a repository with a `model.bin`. A `.bin` file is read whole.
        corpus_words (`Iterable[str]`): Words that are read however rare they are.
        num_words (`int`): Most frequent words that are read besides; at least the 50,000 that n-grams are fitted to.
        lowercase (`bool`): Leave out words that are not in lower case.

    Raises:
        `ImportError`: If gensim, which reads `.bin` files, is not installed.
        `FileNotFoundError`: If there is no such file or repository.
        `InputError`: If the file is of another format, or none of its words can be used.
    """
    path = Path(origin)
    if not path.is_file():
        path = _download(origin)
    selection = _Selection(corpus_words, max(num_words, _NUM_FITTED), lowercase)
    if path.suffix == ".bin":
        fasttext = _gensim_fasttext()
        try:
            fasttext_model = fasttext.load_facebook_vectors(str(path))
        except (struct.error, NotImplementedError, EOFError, AssertionError, ValueError) as error:
            raise InputError(f"{origin} is no FastText model: {' '.join(str(error).split())}") from error
        vectors = _from_gensim(fasttext_model, [word for word in fasttext_model.index_to_key if selection.takes(word)])
    else:
        vectors = _read_vec(path, selection)
    if not vectors.words:
        raise InputError(f"{origin} has no word in lower case: set `lowercase: false`.")
    return vectors


class _Selection:
    """The words that are read of a list, most frequent first: the first `num_words`, and those of the corpus."""

    def __init__(self, corpus_words: Iterable[str], num_words: int, lowercase: bool) -> None:
        self.corpus_words = set(corpus_words)
        self.num_left = num_words
        self.lowercase = lowercase

    def takes(self, word: str) -> bool:
        if self.lowercase and word != word.lower():
            return False
        self.num_left -= 1
        return self.num_left >= 0 or word in self.corpus_words


def _download(origin: str) -> Path:
    if origin.lower().endswith(VECTOR_FILES):
        raise FileNotFoundError(f"There is no file {origin} of word vectors.")
    try:
        return Path(hf_hub_download(origin, "model.bin"))
    except HFValidationError as error:
        raise FileNotFoundError(f"{origin} is neither a file of word vectors nor the id of a repository.") from error


def _gensim_fasttext() -> Any:
    try:
        from gensim.models import fasttext
    except ImportError as error:
        raise MissingPackageError(
            'FastText needs gensim to be trained or read from a `.bin` file: pip install "stacked-emotion[vectors]"'
        ) from error
    return fasttext


def _from_gensim(vectors: Any, words: list[str]) -> WordVectors:
    indices = np.array([vectors.key_to_index[word] for word in words], dtype=np.int64)
    states = np.asarray(vectors.vectors[indices], dtype=np.float32)
    targets = states.copy()
    for place, index in enumerate(indices[:_NUM_FITTED]):
        buckets = vectors.buckets_word[index]
        if len(buckets):
            targets[place] = vectors.vectors_ngrams[buckets].mean(axis=0)
    return WordVectors(words, states, targets)


def _read_vec(path: Path, selection: _Selection) -> WordVectors:
    opener: Callable[..., TextIO] = gzip.open if path.suffix == ".gz" else open
    words: list[str] = []
    rows: list[np.ndarray] = []
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as lines:
        hidden_size = None
        for number, line in enumerate(lines, 1):
            word, _, numbers = line.rstrip().partition(" ")
            # The first line of FastText gives the number of words and their width.
            if number == 1 and len(numbers.split()) == 1:
                continue
            if not selection.takes(word):
                continue
            row = _parse_row(path, number, numbers, hidden_size)
            hidden_size = len(row)
            words.append(word)
            rows.append(row)
    states = np.array(rows, dtype=np.float32)
    return WordVectors(words, states, states)


def _parse_row(path: Path, number: int, numbers: str, hidden_size: int | None) -> np.ndarray:
    try:
        row = np.array(numbers.split(" "), dtype=np.float32)
    except ValueError as error:
        raise InputError(f"{path}, line {number}: expected a word and numbers, got {numbers[:40]!r}.") from error
    if len(row) != (hidden_size or len(row)) or not np.isfinite(row).all():
        raise InputError(f"{path}, line {number}: expected {hidden_size} finite numbers, got {len(row)}.")
    return row


def build_table(
    vectors: WordVectors, corpus_words: Iterable[str], vocab_size: int, num_ngrams: int, lowercase: bool = True
) -> tuple[np.ndarray, StaticWordsTokenizer]:
    """
    Cut vectors of words down to a small table.

    A full FastText model has millions of n-grams. Here the n-grams that occur in the most words get new vectors,
    fitted so that their mean over a word is that of FastText (least squares, ridge; after Zhao et al. 2018,
    Generalizing Word Embeddings using Bag of Subwords). The mean of the words, which tells none from another, is
    subtracted from all rows (Mu and Viswanath 2018, All-but-the-Top).

    Args:
        vectors ([`WordVectors`]): The words to choose from.
        corpus_words (`Iterable[str]`): Words that are chosen first, the most frequent first.
        vocab_size (`int`): Most words.
        num_ngrams (`int`): Most n-grams.
        lowercase (`bool`, *optional*, defaults to `True`): Whether the tokenizer is to look words up in lower case.

    Returns:
        The table `(1 + number of words + number of n-grams, hidden_size)`, fp32 with values of fp16, scaled so that
        the entries of its words have a root mean square of 1, and its [`StaticWordsTokenizer`].
    """
    places = {word: index for index, word in enumerate(vectors.words)}
    chosen = dict.fromkeys(chain((word for word in corpus_words if word in places), vectors.words))
    words = list(islice(chosen, vocab_size))
    states = vectors.states[[places[word] for word in words]]
    mean = states.mean(axis=0)
    states = states - mean
    ngrams, ngram_states = _fit_ngrams(vectors.words[:_NUM_FITTED], vectors.targets[:_NUM_FITTED] - mean, num_ngrams)
    table = np.concatenate([np.zeros((1, states.shape[1]), np.float32), states, ngram_states])
    table /= max(float(np.sqrt(np.mean(states**2, dtype=np.float64))), np.finfo(np.float32).tiny)
    table = table.astype(np.float16).astype(np.float32)
    return table, StaticWordsTokenizer(words, ngrams, _MIN_NGRAM, _MAX_NGRAM, lowercase)


def _fit_ngrams(words: list[str], targets: np.ndarray, num_ngrams: int) -> tuple[list[str], np.ndarray]:
    """The n-grams that occur in the most words, and vectors whose mean over a word comes close to its target."""
    all_ngrams = [list(word_ngrams(word, _MIN_NGRAM, _MAX_NGRAM)) for word in words]
    counts = Counter(chain.from_iterable(map(set, all_ngrams)))
    # By count, then alphabetically: the order within a set differs from process to process.
    ngrams = sorted(counts, key=lambda ngram: (-counts[ngram], ngram))[:num_ngrams]
    places = {ngram: index for index, ngram in enumerate(ngrams)}
    known = [[places[ngram] for ngram in parts if ngram in places] for parts in all_ngrams]
    lengths = np.array([len(parts) for parts in known])
    columns = np.fromiter(chain.from_iterable(known), np.int64, int(lengths.sum()))
    shares = np.repeat(1.0 / np.maximum(lengths, 1), lengths).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    means = csr_matrix((shares, columns, starts), shape=(len(words), len(ngrams)))
    return ngrams, _solve_ridge(means, targets)


def _solve_ridge(matrix: csr_matrix, targets: np.ndarray) -> np.ndarray:
    """The x of least |matrix x - targets|^2 + ridge |x|^2, all columns at once by conjugate gradients."""
    transposed = matrix.T.tocsr()
    residual = transposed @ targets
    solution = np.zeros_like(residual)
    direction, squares = residual.copy(), (residual**2).sum(axis=0)
    tiny = np.finfo(np.float32).tiny
    for _ in range(_FIT_STEPS):
        image = transposed @ (matrix @ direction) + _FIT_RIDGE * direction
        step = squares / np.maximum((direction * image).sum(axis=0), tiny)
        solution += step * direction
        residual -= step * image
        previous, squares = squares, (residual**2).sum(axis=0)
        direction = residual + squares / np.maximum(previous, tiny) * direction
    return solution
