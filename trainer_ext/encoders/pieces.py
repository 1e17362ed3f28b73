# SPDX-License-Identifier: Apache-2.0
"""Vocabularies cut down to the pieces that some texts use: WordPiece, Unigram, BPE and whole words."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast as FastTokenizer

from modeling_stacked_emotion.scripts_stacked_emotion import count_scripts, frequent_scripts

from ..errors import InputError

_KINDS = ("WordPiece", "Unigram", "BPE", "WordLevel")
_TEXTS_AT_A_TIME = 1024
_BYTE = re.compile("<0x[0-9A-F]{2}>")


class Vocabulary:
    """
    The vocabulary of a fast tokenizer, to be cut down.

    A text that loses no piece is cut as before. For that some pieces stay that no text has: in BPE those that others
    are merged from; in Unigram one with the lowest score, which sets the cost of an unknown character.

    Args:
        tokenizer: A tokenizer of transformers.
        origin (`str`): Its Hub id or folder, for errors.

    Raises:
        `InputError`: If it is not a fast one, or of another kind.
    """

    def __init__(self, tokenizer: Any, origin: str) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        kind = type(tokenizer).__name__ if backend is None else type(backend.model).__name__
        if backend is None or kind not in _KINDS:
            raise InputError(
                f"{origin}: `vocab_size` needs a fast tokenizer ({', '.join(_KINDS)}), got {kind}; leave it out."
            )
        self.origin = origin
        self._tokenizer = tokenizer
        # Neither pads nor truncates.
        self._parts: dict[str, Any] = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
        self._backend = Tokenizer.from_str(json.dumps(self._parts))
        self._model: dict[str, Any] = self._parts["model"]
        # Whether the characters of the pieces stand for bytes.
        self._has_bytes = "ByteLevel" in json.dumps([self._parts["pre_tokenizer"], self._parts["normalizer"]])
        self._ids: dict[str, int] = self._backend.get_vocab(with_added_tokens=False)
        self._names = {index: piece for piece, index in self._ids.items()}
        self._sources: dict[str, list[str]] = defaultdict(list)
        for left, right in self._model.get("merges", ()):
            self._sources[self._merged(left, right)] += (left, right)

    def choose(self, texts: Iterable[str], vocab_size: int, also: Iterable[int] = ()) -> list[int]:
        """
        The ids that stay, in their order.

        Args:
            texts (`Iterable[str]`): As the encoder reads them; gone through once.
            vocab_size (`int`): Most ids. The special tokens come first, then every byte and every single character,
                except for those of scripts that are rare in the texts, so that no other word is unknown; then the
                pieces of the texts, the most frequent first.
            also (`Iterable[int]`): Further ids that stay.

        Raises:
            `InputError`: If `vocab_size` leaves no room for special tokens and characters.
        """
        counts, scripts = self._count(texts)
        kept = self._special_ids().union(index for index in also if index in self._names)
        for piece in self._ids:
            if self._is_character(piece, scripts):
                kept |= self._needed(piece)
        if vocab_size < len(kept):
            raise InputError(
                f"`vocab_size` must be at least {len(kept)}, the special tokens and characters of {self.origin}, "
                f"got {vocab_size}."
            )
        # A piece is as frequent as all those together that are merged from it.
        totals: Counter[int] = Counter()
        for index in counts.keys() & self._names.keys():
            totals.update(dict.fromkeys(self._needed(self._names[index]), counts[index]))
        for index in sorted(totals, key=lambda index: (-totals[index], index)):
            new = self._needed(self._names[index]) - kept
            if len(kept) + len(new) <= vocab_size:
                kept |= new
        return sorted(kept)

    def cut(self, kept: list[int]) -> FastTokenizer:
        """The tokenizer with the pieces `kept`, ids of [`choose`], numbered anew in their order."""
        places = {old: new for new, old in enumerate(kept)}
        model = self._model | {"vocab": {piece: places[old] for piece, old in self._ids.items() if old in places}}
        if "merges" in model:
            model["merges"] = [pair for pair in model["merges"] if self._merged(*pair) in model["vocab"]]
        if model["type"] == "Unigram":
            model["vocab"] = [entry for index, entry in enumerate(self._model["vocab"]) if index in places]
            model["unk_id"] = places.get(model["unk_id"])
        parts = self._parts | {"model": model}
        parts["added_tokens"] = [token | {"id": places[token["id"]]} for token in parts["added_tokens"]]
        for processor in _processors(parts["post_processor"]):
            for token in processor.get("special_tokens", {}).values():
                token["ids"] = [places[index] for index in token["ids"]]
            for role in processor.keys() & {"cls", "sep"}:
                processor[role][1] = places[processor[role][1]]
        return FastTokenizer(
            tokenizer_object=Tokenizer.from_str(json.dumps(parts)),
            model_max_length=self._tokenizer.model_max_length,
            model_input_names=self._tokenizer.model_input_names,
            **self._tokenizer.special_tokens_map,
        )

    def _count(self, texts: Iterable[str]) -> tuple[Counter[int], list[str]]:
        """How often the texts have each id, and their scripts without the rare ones."""
        counts: Counter[int] = Counter()
        scripts: Counter[str] = Counter()
        iterator = iter(texts)
        while batch := list(islice(iterator, _TEXTS_AT_A_TIME)):
            for encoding in self._backend.encode_batch_fast(batch, add_special_tokens=False):
                counts.update(encoding.ids)
            for text in batch:
                scripts.update(count_scripts(text))
        return counts, frequent_scripts(scripts)

    def _special_ids(self) -> set[int]:
        """The ids that the tokenizer cannot be without."""
        model = self._model
        ids = {token["id"] for token in self._parts["added_tokens"]} | set(self._tokenizer.all_special_ids)
        for processor in _processors(self._parts["post_processor"]):
            ids.update(index for token in processor.get("special_tokens", {}).values() for index in token["ids"])
            ids.update(processor[role][1] for role in processor.keys() & {"cls", "sep"})
        # The unknown token may be an ordinary piece.
        unknown = model["unk_id"] if model["type"] == "Unigram" else self._ids.get(model["unk_token"] or "")
        if unknown is not None:
            ids.add(unknown)
        if model["type"] == "Unigram":
            ids.add(min(range(len(model["vocab"])), key=lambda index: model["vocab"][index][1]))
        if model.get("byte_fallback"):
            ids.update(index for piece, index in self._ids.items() if _BYTE.fullmatch(piece))
        return ids

    def _is_character(self, piece: str, scripts: Collection[str]) -> bool:
        """Whether it is a single byte or a single character, at any place of a word, that is of one of the scripts."""
        prefix, suffix = (self._model.get(key) or "" for key in ("continuing_subword_prefix", "end_of_word_suffix"))
        character = piece.removeprefix(prefix).removesuffix(suffix)
        return len(character) == 1 and (self._has_bytes or count_scripts(character).keys() <= set(scripts))

    def _merged(self, left: str, right: str) -> str:
        """The piece that BPE makes of two."""
        return left + right.removeprefix(self._model.get("continuing_subword_prefix") or "")

    def _needed(self, piece: str) -> set[int]:
        """The id of a piece, and those of the pieces that it is merged from, in every way there is."""
        found, waiting = {piece}, [piece]
        while waiting:
            new = set(self._sources.get(waiting.pop(), ())) - found
            found |= new
            waiting += new
        return {self._ids[part] for part in found}


def _processors(processor: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A post-processor, or the members of a sequence of them."""
    if processor is not None and processor["type"] == "Sequence":
        for member in processor["processors"]:
            yield from _processors(member)
    elif processor is not None:
        yield processor
