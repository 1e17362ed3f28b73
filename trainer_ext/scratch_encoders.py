# SPDX-License-Identifier: Apache-2.0
"""Small encoders made from nothing but texts: for languages without a pretrained one, the quickstart, tests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedTokenizerFast

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
TOKENIZERS = ("wordpiece", "bpe", "byte_bpe", "unigram")
# How each architecture calls the sizes that all encoders have.
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

    Args:
        architecture (`str`, *optional*, defaults to `"bert"`): A `model_type` of transformers, such as `"roberta"`.
        tokenizer (`str`, *optional*, defaults to `"wordpiece"`): `"wordpiece"`, `"bpe"`, `"byte_bpe"` or `"unigram"`.
        vocab_size (`int`, *optional*, defaults to 2000): Most entries of the vocabulary; small corpora give fewer.
        lowercase (`bool`, *optional*, defaults to `True`): Whether the tokenizer folds case.
        hidden_size, num_hidden_layers, num_attention_heads (`int`): The encoder's size.
        max_tokens (`int`, *optional*, defaults to 128): Longest input in tokens, special tokens included.
        dropout (`float`, *optional*, defaults to 0.1): Dropout ratio of hidden states and attention.
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
            raise ValueError(f"`tokenizer` must be one of {', '.join(TOKENIZERS)}, got {self.tokenizer!r}.")
        if self.architecture not in CONFIG_MAPPING:
            raise ValueError(f"`architecture` must be a model type of transformers, got {self.architecture!r}.")

    def build(self, texts: Iterable[str], folder: str | os.PathLike[str]) -> Path:
        """
        Train the tokenizer on `texts`, put random weights beside it, and save both as any encoder is saved.

        Args:
            texts (`Iterable[str]`): The training texts; nothing else is looked at.
            folder (`str`): Where to write. Seed torch before for the same weights again.

        Returns:
            `Path`: The folder, to be used wherever an encoder's Hub id or folder is expected.
        """
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=_train_tokenizer(self, texts), model_max_length=self.max_tokens, **SPECIAL_TOKENS
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
        AutoModel.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return Path(folder)


def scratch_encoder(spec: Mapping[str, Any], name: str) -> ScratchEncoder:
    """The encoder that a recipe's mapping describes; `name` is for the error if a field is unknown."""
    known = ScratchEncoder.__dataclass_fields__
    if unknown := sorted(set(spec) - set(known)):
        raise ValueError(f"Encoder {name!r}: unknown fields {unknown}; expected some of {', '.join(known)}.")
    return ScratchEncoder(**spec)


def _train_tokenizer(spec: ScratchEncoder, texts: Iterable[str]) -> Tokenizer:
    special = list(SPECIAL_TOKENS.values())
    unk = SPECIAL_TOKENS["unk_token"]
    steps: list[normalizers.Normalizer] = [normalizers.NFKC()]
    if spec.lowercase:
        steps.append(normalizers.Lowercase())
    trainer: trainers.Trainer
    if spec.tokenizer == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=unk))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=spec.vocab_size, special_tokens=special, show_progress=False)
    elif spec.tokenizer == "bpe":
        tokenizer = Tokenizer(models.BPE(unk_token=unk, end_of_word_suffix="</w>"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.BPEDecoder()
        trainer = trainers.BpeTrainer(
            vocab_size=spec.vocab_size, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
        )
    elif spec.tokenizer == "byte_bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=spec.vocab_size,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=spec.vocab_size, special_tokens=special, unk_token=unk, show_progress=False
        )
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.train_from_iterator(texts, trainer)
    cls, sep = SPECIAL_TOKENS["cls_token"], SPECIAL_TOKENS["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        special_tokens=[(cls, tokenizer.token_to_id(cls)), (sep, tokenizer.token_to_id(sep))],
    )
    return tokenizer
