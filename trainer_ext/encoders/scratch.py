# SPDX-License-Identifier: Apache-2.0
"""Small encoders made from nothing but texts: for languages without a pretrained one, the quickstart, tests."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedTokenizerFast

from modeling_stacked_emotion.checks_stacked_emotion import check_sizes

from ..errors import InputError, check_integer, reading
from .source import BuildContext, save_encoder

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
TOKENIZERS = ("wordpiece", "bpe", "byte_bpe", "unigram")
# Stands before the first character of each word.
_MARK = "▁"
# Names of the common size fields in architectures that have their own.
_SIZE_NAMES = {
    "distilbert": {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    },
    "modernbert": {
        "hidden_dropout_prob": "mlp_dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    },
}


@dataclass(frozen=True)
class ScratchEncoder:
    """
    A small encoder to be built: its architecture, its size and the kind of its tokenizer.

    All kinds of tokenizer learn their pieces by byte-pair merges, whose ties are broken by character: the same texts
    give the same `tokenizer.json` every time. The library's WordPiece and Unigram trainers depend on hash order.

    Args:
        architecture (`str`, *optional*, defaults to `"bert"`): A `model_type` of transformers, such as `"roberta"`.
        tokenizer (`str`, *optional*, defaults to `"wordpiece"`): `"wordpiece"`, `"bpe"`, `"byte_bpe"` or `"unigram"`.
        vocab_size (`int`, *optional*, defaults to 2000): Most entries of the vocabulary; small corpora give fewer. At
            least 9, for `"byte_bpe"` 261. Characters fill at most half of it: the rarest beyond that are unknown.
        lowercase (`bool`, *optional*, defaults to `True`): Whether the tokenizer folds case.
        hidden_size (`int`, *optional*, defaults to 96): Width, divisible by `num_attention_heads`.
        num_hidden_layers (`int`, *optional*, defaults to 2): Number of layers.
        num_attention_heads (`int`, *optional*, defaults to 4): Number of attention heads in each layer.
        max_tokens (`int`, *optional*, defaults to 128): Longest input in tokens, special tokens included; at least 3.
        dropout (`float`, *optional*, defaults to 0.1): Dropout ratio of hidden states and attention, in `[0, 1)`.

    Raises:
        `InputError`: If a name is not known, or a number is out of its range.
    """

    architecture: str = "bert"
    tokenizer: str = "wordpiece"
    vocab_size: int = 2000
    lowercase: bool = True
    hidden_size: int = 96
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    max_tokens: int = 128
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.tokenizer not in TOKENIZERS:
            raise InputError(f"`tokenizer` must be one of {', '.join(TOKENIZERS)}, got {self.tokenizer!r}.")
        if self.architecture not in CONFIG_MAPPING:
            raise InputError(f"`architecture` must be a model type of transformers, got {self.architecture!r}.")
        # Every byte takes an entry; the mark and a character take two each.
        num_characters = 256 if self.tokenizer == "byte_bpe" else 4
        smallest = {
            "vocab_size": len(SPECIAL_TOKENS) + num_characters,
            "hidden_size": 1,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "max_tokens": 3,
        }
        for name, minimum in smallest.items():
            check_integer(name, getattr(self, name), minimum)
        with reading():
            check_sizes(vars(self))
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"`hidden_size` must be divisible by `num_attention_heads`, "
                f"got {self.hidden_size} and {self.num_attention_heads}."
            )
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout < 1:
            raise InputError(f"`dropout` must be a number from 0 to below 1, got {self.dropout!r}.")

    def __str__(self) -> str:
        return f"a new {self.architecture}, its tokenizer trained on the texts"

    def build(self, context: BuildContext) -> Path:
        """Train the tokenizer on the texts and put random weights beside it; see [`~source.EncoderSource`]."""
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=_train_tokenizer(self, list(context.texts)),
            model_max_length=self.max_tokens,
            **SPECIAL_TOKENS,
        )
        fields: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": 4 * self.hidden_size,
            # RoBERTa's positions start behind its padding id.
            "max_position_embeddings": self.max_tokens + 2,
            "hidden_dropout_prob": self.dropout,
            "attention_probs_dropout_prob": self.dropout,
            "pad_token_id": tokenizer.pad_token_id,
            "cls_token_id": tokenizer.cls_token_id,
            "sep_token_id": tokenizer.sep_token_id,
            "bos_token_id": tokenizer.cls_token_id,
            "eos_token_id": tokenizer.sep_token_id,
        }
        names = _SIZE_NAMES.get(self.architecture, {})
        config = CONFIG_MAPPING[self.architecture](**{names.get(key, key): value for key, value in fields.items()})
        model = AutoModel.from_config(config)
        return save_encoder(model, tokenizer, context.folder)


def _train_tokenizer(spec: ScratchEncoder, texts: list[str]) -> Tokenizer:
    if spec.tokenizer == "byte_bpe":
        tokenizer = _train_byte_bpe(spec, texts)
    elif spec.tokenizer == "wordpiece":
        tokenizer = _train_wordpiece(spec, texts)
    else:
        pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(_MARK), pre_tokenizers.Punctuation()]
        )
        tokenizer = _train_bpe(spec, texts, pre_tokenizer)
        tokenizer.decoder = decoders.Metaspace(_MARK)
        if spec.tokenizer == "unigram":
            tokenizer.model = _unigram_of(tokenizer, texts)
    cls, sep = SPECIAL_TOKENS["cls_token"], SPECIAL_TOKENS["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        special_tokens=[(cls, tokenizer.token_to_id(cls)), (sep, tokenizer.token_to_id(sep))],
    )
    return tokenizer


def _normalizer(spec: ScratchEncoder) -> normalizers.Normalizer:
    lowercase = [normalizers.Lowercase()] if spec.lowercase else []
    return normalizers.Sequence([normalizers.NFKC(), *lowercase])


def _train_byte_bpe(spec: ScratchEncoder, texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer(spec)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _learn_merges(tokenizer, spec, texts, pre_tokenizers.ByteLevel.alphabet())
    return tokenizer


def _train_bpe(spec: ScratchEncoder, texts: list[str], pre_tokenizer: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """Byte-pair merges of characters within the words of `pre_tokenizer`, which begin with the mark."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.normalizer = _normalizer(spec)
    tokenizer.pre_tokenizer = pre_tokenizer
    counts = Counter(char for text in texts for char in tokenizer.normalizer.normalize_str(text) if not char.isspace())
    # Limited here, since the trainer drops any of the equally rare characters.
    limit = (spec.vocab_size - len(SPECIAL_TOKENS)) // 2
    alphabet = sorted({_MARK, *(char for char, _ in counts.most_common(limit - 1))})
    _learn_merges(tokenizer, spec, texts, alphabet)
    return tokenizer


def _learn_merges(tokenizer: Tokenizer, spec: ScratchEncoder, texts: list[str], alphabet: list[str]) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)


def _train_wordpiece(spec: ScratchEncoder, texts: list[str]) -> Tokenizer:
    words = pre_tokenizers.BertPreTokenizer()
    tokenizer = _train_bpe(spec, texts, pre_tokenizers.Sequence([words, pre_tokenizers.Metaspace(_MARK)]))
    special, pieces = _split_vocabulary(tokenizer)
    entries = list(special)
    for piece in pieces:
        if len(piece) == 1:
            entries += [piece, f"##{piece}"]
        else:
            entries.append(piece[1:] if piece.startswith(_MARK) else f"##{piece}")
    # A word of one character is among the characters already.
    kept = list(dict.fromkeys(entries))[: spec.vocab_size]
    vocab = {piece: index for index, piece in enumerate(kept)}
    tokenizer.model = models.WordPiece(vocab, unk_token=SPECIAL_TOKENS["unk_token"])
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _unigram_of(tokenizer: Tokenizer, texts: list[str]) -> models.Unigram:
    """The same pieces, each with the logarithm of its relative frequency in the texts as `tokenizer` segments them."""
    special, pieces = _split_vocabulary(tokenizer)
    counts = Counter(token for text in texts for token in tokenizer.encode(text).tokens)
    # One is added to each count: some pieces are only parts of longer ones.
    total = sum(counts[piece] + 1 for piece in pieces)
    scores = [(piece, math.log((counts[piece] + 1) / total)) for piece in pieces]
    unk_id = special.index(SPECIAL_TOKENS["unk_token"])
    return models.Unigram([*((token, 0.0) for token in special), *scores], unk_id)


def _split_vocabulary(tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """The special tokens and the other entries, both in the order of their ids."""
    vocab = tokenizer.get_vocab()
    tokens = sorted(vocab, key=vocab.__getitem__)
    return tokens[: len(SPECIAL_TOKENS)], tokens[len(SPECIAL_TOKENS) :]
