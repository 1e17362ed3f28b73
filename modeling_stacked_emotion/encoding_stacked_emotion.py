# SPDX-License-Identifier: Apache-2.0
"""From texts to the rows of every encoder: the part of the tokenizer that needs neither torch nor transformers."""

from collections.abc import Mapping
from itertools import chain

import numpy as np
from tokenizers import Tokenizer

from .alignment_stacked_emotion import FlatRows, find_word_ids, original_offsets
from .checks_stacked_emotion import check_choice
from .static_tokenizer_stacked_emotion import StaticWordsTokenizer
from .text_stacked_emotion import NORMALIZATIONS, NormalizedText, Span, normalize, split_words

# The fields an encoder has in a batch; all of them are padded with zeros but the ids.
FIELDS = ("input_ids", "attention_mask", "word_ids")
# Characters of a text that are read per token of the limit: no word of a natural text is longer, and a megabyte in one
# piece takes no longer than a page.
_CHARACTERS_PER_TOKEN = 100


class TextEncoder:
    """
    Tokenises texts with several tokenizers and says which word each token belongs to.

    Args:
        tokenizers (`dict[str, tokenizers.Tokenizer]`):
            Encoder name to tokenizer, which neither pads nor truncates, or to a [`StaticWordsTokenizer`].
        normalizations (`dict[str, str]`): Encoder name to normalisation, `"none"` where it is not named.

    Raises:
        `ValueError`: If an encoder or a normalisation is unknown.
    """

    def __init__(
        self, tokenizers: Mapping[str, Tokenizer | StaticWordsTokenizer], normalizations: Mapping[str, str]
    ) -> None:
        self.tokenizers = tokenizers
        self.normalizations = dict.fromkeys(tokenizers, "none") | dict(normalizations)
        if unknown := set(self.normalizations) - set(tokenizers):
            raise ValueError(f"`normalizations` names {sorted(unknown)}, but the encoders are {list(tokenizers)}.")
        for name, normalization in self.normalizations.items():
            check_choice(f"normalizations[{name!r}]", normalization, NORMALIZATIONS)
        # Static words are not counted: each is a word or a part of one.
        self._counted = {
            name: tokenizer
            for name, tokenizer in tokenizers.items()
            if not isinstance(tokenizer, StaticWordsTokenizer)
        }

    def encode(
        self, texts: list[str], max_words: int, max_tokens: int | None
    ) -> tuple[list[list[Span]], dict[str, FlatRows], list[bool]]:
        """
        Word spans, per encoder the ids and word ids, and which texts were cut to stay within both limits.

        Args:
            texts (`list[str]`): Free of lone surrogates.
            max_words (`int`): Words kept of a text.
            max_tokens (`int`, *optional*): Tokens kept of a text, special tokens included; `None` cuts nothing.
        """
        if max_tokens is None:
            words = [split_words(text) for text in texts]
            return words, {name: self._align(name, texts, words) for name in self.tokenizers}, [False] * len(texts)
        kept, words = _cut_to_words(texts, max_words, _CHARACTERS_PER_TOKEN * max_tokens)
        rows = {name: self._align(name, kept, words) for name in self.tokenizers}
        lengths = np.array([rows[name].lengths for name in self._counted]).reshape(len(self._counted), len(texts))
        too_long = np.flatnonzero((lengths > max_tokens).any(axis=0)).tolist()
        if too_long:
            for index in too_long:
                kept[index], words[index] = self._cut_to_tokens(kept[index], words[index], max_tokens)
            cut, cut_words = [kept[index] for index in too_long], [words[index] for index in too_long]
            for name, flat in rows.items():
                flat.replace(too_long, self._align(name, cut, cut_words))
        return words, rows, [len(after) < len(before) for before, after in zip(texts, kept, strict=True)]

    def _cut_to_tokens(self, text: str, words: list[Span], max_tokens: int) -> tuple[str, list[Span]]:
        """
        The longest beginning of `text` that every encoder keeps in `max_tokens`, and its words: whole ones or, where
        not even the first one fits, that word's beginning.
        """
        while text:
            overflow = [
                start for name in self._counted if (start := self._overflow(name, text, max_tokens)) is not None
            ]
            if not overflow:
                break
            cut = min(*overflow, len(text) - 1)
            whole = [span for span in words if span[1] <= cut]
            if whole:
                cut = whole[-1][1]
            words = whole or [(start, cut) for start, _ in words[:1] if start < cut]
            text = text[:cut]
        return text, words

    def _overflow(self, name: str, text: str, max_tokens: int) -> int | None:
        """Offset in `text` of the first token beyond the limit, or `None` if all fit."""
        normalized = normalize(text, self.normalizations[name])
        tokenizer = self._counted[name]
        encoding = tokenizer.encode(normalized.text)
        num_special = tokenizer.num_special_tokens_to_add(is_pair=False)
        if len(encoding.ids) <= max_tokens:
            return None
        offsets = [
            span for span, special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True) if not special
        ]
        start, end = offsets[max_tokens - num_special]
        token = normalized.text[start:end]
        if not token.isspace():
            start += len(token) - len(token.lstrip())
        # Trimmed offsets of trailing white space point behind the last character.
        if start >= len(normalized.text):
            return len(text)
        return start if normalized.origin is None else normalized.origin[start]

    def _align(self, name: str, texts: list[str], words: list[list[Span]]) -> FlatRows:
        """Tokenise `texts` for one encoder; each token belongs to the word its first visible character stands in."""
        normalized = [normalize(text, self.normalizations[name]) for text in texts]
        tokenizer = self.tokenizers[name]
        if isinstance(tokenizer, StaticWordsTokenizer):
            return _align_static(tokenizer, normalized, texts, words)
        ids, offsets, lengths = _encode_batch(tokenizer, [item.text for item in normalized])
        row = np.repeat(np.arange(len(texts)), lengths)
        starts, ends = original_offsets(offsets, row, normalized)
        return FlatRows(ids, find_word_ids(starts, ends, row, texts, words), lengths)


def _align_static(
    tokenizer: StaticWordsTokenizer, normalized: list[NormalizedText], texts: list[str], words: list[list[Span]]
) -> FlatRows:
    """The rows of static words: where normalisation has changed nothing, a text's words are known already."""
    # A text of one word may be cut within it, and then consist of several.
    is_known = [item.origin is None and len(spans) > 1 for item, spans in zip(normalized, words, strict=True)]
    own_words = [
        spans if known else split_words(item.text)
        for item, spans, known in zip(normalized, words, is_known, strict=True)
    ]
    ids, counts, lengths = tokenizer.encode_words([item.text for item in normalized], own_words)
    num_words = np.array([len(spans) for spans in own_words])
    row = np.repeat(np.arange(len(texts)), num_words)
    word_ids = np.arange(1, len(row) + 1) - (np.cumsum(num_words) - num_words)[row]
    changed = [index for index, known in enumerate(is_known) if not known]
    if changed:
        normalized, own_words = [normalized[index] for index in changed], [own_words[index] for index in changed]
        texts, words = [texts[index] for index in changed], [words[index] for index in changed]
        spans = np.array(list(chain.from_iterable(own_words)), dtype=np.int64).reshape(-1, 2)
        within = np.repeat(np.arange(len(changed)), num_words[changed])
        starts, ends = original_offsets(spans, within, normalized)
        word_ids[~np.array(is_known)[row]] = find_word_ids(starts, ends, within, texts, words)
    return FlatRows(ids, np.repeat(word_ids, counts), lengths)


def pad_rows(
    rows: Mapping[str, FlatRows], pad_ids: Mapping[str, int], width: int = 1, multiple: int = 1
) -> dict[str, np.ndarray]:
    """
    The batch of the rows, `<encoder>_<field>` to an array `(batch_size, seq_len)`.

    Args:
        rows (`dict[str, FlatRows]`): Encoder name to its rows, as [`TextEncoder`] returns them.
        pad_ids (`dict[str, int]`): Encoder name to the id behind a text's end.
        width, multiple (`int`, *optional*, defaults to 1): `seq_len` is that of each encoder's longest row, `width`
            at least, rounded up to a `multiple`.
    """
    data = {}
    for name, flat in rows.items():
        longest = int(flat.lengths.max(initial=width))
        longest = -(-longest // multiple) * multiple
        mask = np.arange(longest) < flat.lengths[:, None]
        for field, values, fill in zip(FIELDS, (flat.ids, None, flat.word_ids), (pad_ids[name], 0, 0), strict=True):
            if values is None:
                data[f"{name}_{field}"] = mask.astype(np.int64)
                continue
            padded = np.full(mask.shape, fill, dtype=np.int64)
            padded[mask] = values
            data[f"{name}_{field}"] = padded
    return data


def _cut_to_words(texts: list[str], max_words: int, max_characters: int) -> tuple[list[str], list[list[Span]]]:
    """Each text up to the end of its last word within both limits, with the spans of the words kept."""
    kept, words = [], []
    for text in texts:
        is_cut = len(text) > max_characters
        head = text[:max_characters] if is_cut else text
        spans = split_words(head, max_words + 1)
        # The last word may go on behind the cut, also with an apostrophe in between. If it is the only word, its
        # beginning is kept.
        goes_on = is_cut and len(spans) > 1 and spans[-1][1] >= len(head) - 1 and not head[-1].isspace()
        if goes_on or len(spans) > max_words:
            is_cut = True
            spans.pop()
        kept.append(text[: spans[-1][1] if spans else 0] if is_cut else text)
        words.append(spans)
    return kept, words


def _encode_batch(tokenizer: Tokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids `(num_tokens,)`, character offsets `(num_tokens, 2)` and the number of tokens of each text."""
    encodings = tokenizer.encode_batch(texts)
    lengths = np.fromiter((len(encoding) for encoding in encodings), dtype=np.int64, count=len(encodings))
    total = int(lengths.sum())
    ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int64, total)
    offsets = np.fromiter(
        chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings)), np.int64, 2 * total
    ).reshape(total, 2)
    return ids, offsets, lengths
