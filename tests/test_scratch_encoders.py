# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.encoders.scratch: what is built from texts alone is an encoder like any other."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from trainer_ext.encoders.scratch import TOKENIZERS, ScratchEncoder
from trainer_ext.encoders.source import BuildContext

TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 350,
    "max_tokens": 32,
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_every_kind_of_tokenizer(tokenizer: str, corpus: list[str], tmp_path: Path) -> None:
    folder = ScratchEncoder("bert", tokenizer, **TINY).build(BuildContext(iter(corpus), tmp_path / tokenizer))
    assert folder == tmp_path / tokenizer
    built = AutoTokenizer.from_pretrained(folder)
    assert 200 < len(built) <= 350
    assert built.convert_tokens_to_ids(SPECIAL) == [0, 1, 2, 3, 4]
    assert (built.pad_token, built.unk_token, built.cls_token, built.sep_token, built.mask_token) == tuple(SPECIAL)
    assert built.model_max_length == 32
    ids = built("I am so happy")["input_ids"]
    assert (ids[0], ids[-1]) == (2, 3)
    assert 1 not in ids
    assert built.decode(ids, skip_special_tokens=True).strip() == "i am so happy"
    # Full-width letters and ligatures are read as their plain forms.
    assert built("Ｉ ａｍ ＳＯ happy")["input_ids"] == ids


def test_the_kinds_are_different(corpus: list[str], tmp_path: Path) -> None:
    tokens = {}
    for kind in TOKENIZERS:
        folder = ScratchEncoder("bert", kind, **TINY).build(BuildContext(corpus, tmp_path / kind))
        tokens[kind] = AutoTokenizer.from_pretrained(folder).tokenize("the families سعيدة")
    assert any(token.startswith("##") for token in tokens["wordpiece"])
    assert any(token.startswith("▁") for token in tokens["bpe"])
    assert any(token.startswith("Ġ") for token in tokens["byte_bpe"])
    assert any(token.startswith("▁") for token in tokens["unigram"])


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "electra", "modernbert", "deberta-v2"])
def test_every_architecture_has_the_size_asked_for(architecture: str, corpus: list[str], tmp_path: Path) -> None:
    spec = ScratchEncoder(architecture, **{**TINY, "num_hidden_layers": 3}, dropout=0.25)
    folder = spec.build(BuildContext(corpus, tmp_path / "encoder"))
    config = AutoConfig.from_pretrained(folder)
    assert config.model_type == architecture
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 3, 2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert config.vocab_size == len(tokenizer)
    assert config.pad_token_id == 0
    encoder = AutoModel.from_pretrained(folder)
    assert any(isinstance(module, torch.nn.Dropout) and module.p == 0.25 for module in encoder.modules())
    # A text of the longest length allowed goes through, in training as in inference.
    inputs = tokenizer("so good " * 40, truncation=True, return_tensors="pt")
    assert inputs["input_ids"].shape == (1, 32)
    hidden = encoder(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    assert hidden.shape == (1, 32, 16)
    assert torch.isfinite(hidden).all()


def test_case_is_kept_where_asked_for(corpus: list[str], tmp_path: Path) -> None:
    folder = ScratchEncoder("bert", "wordpiece", lowercase=False, **TINY).build(
        BuildContext(corpus, tmp_path / "cased")
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("I")["input_ids"] != tokenizer("i")["input_ids"]
    assert tokenizer.decode(tokenizer("I am")["input_ids"], skip_special_tokens=True) == "I am"


BUILD_ALL = """
import json, sys
import torch
from trainer_ext.encoders.scratch import TOKENIZERS, ScratchEncoder
from trainer_ext.encoders.source import BuildContext
texts, sizes = json.load(sys.stdin)
for kind in TOKENIZERS:
    torch.manual_seed(1)
    ScratchEncoder("bert", kind, **sizes).build(BuildContext(texts, f"{sys.argv[1]}/{kind}"))
"""


@pytest.mark.slow
def test_every_process_builds_the_same_files(corpus: list[str], tmp_path: Path) -> None:
    # Many equally rare characters and pairs, more characters than half the vocabulary, and the mark itself.
    texts = [*corpus, *(chr(0x4E00 + 2 * index) + chr(0x4E01 + 2 * index) for index in range(100)), "▁ a▁b"]
    processes = []
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-c", BUILD_ALL, str(tmp_path / hash_seed)]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "TOKENIZERS_PARALLELISM": "true"}
        root = Path(__file__).parents[1]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, cwd=root, text=True))
        pipe = processes[-1].stdin
        assert pipe is not None
        with pipe:
            json.dump([texts, TINY], pipe)
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for kind in TOKENIZERS:
        for name in ("tokenizer.json", "model.safetensors", "config.json"):
            first, second = ((tmp_path / hash_seed / kind / name).read_bytes() for hash_seed in ("1", "2"))
            assert first == second, (kind, name)


def test_another_seed_gives_other_weights_and_the_same_tokenizer(corpus: list[str], tmp_path: Path) -> None:
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        folder = ScratchEncoder("bert", "wordpiece", **TINY).build(BuildContext(corpus, tmp_path / str(seed)))
        weights.append(AutoModel.from_pretrained(folder).get_input_embeddings().weight)
    assert not torch.equal(*weights)
    first, second = ((tmp_path / str(seed) / "tokenizer.json").read_bytes() for seed in (1, 2))
    assert first == second


def tokenizer_json(kind: str, texts: list[str], vocab_size: int, folder: Path) -> Any:
    ScratchEncoder("bert", kind, **{**TINY, "vocab_size": vocab_size}).build(BuildContext(texts, folder))
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def test_bpe_merges_the_most_frequent_pair_first(tmp_path: Path) -> None:
    built = tokenizer_json("bpe", ["ab ab ab", "cb"], 100, tmp_path / "bpe")
    # "ab" stands there three times, all at the beginning of a word; "▁a" and "ab" tie, and"a" comes before "▁".
    assert list(built["model"]["vocab"]) == [*SPECIAL, "a", "b", "c", "▁", "ab", "▁ab", "cb", "▁cb"]
    assert [tuple(merge) for merge in built["model"]["merges"]] == [("a", "b"), ("▁", "ab"), ("c", "b"), ("▁", "cb")]


def test_wordpiece_has_every_character_in_both_forms(tmp_path: Path) -> None:
    built = tokenizer_json("wordpiece", ["ab ab ab", "cb!"], 100, tmp_path / "wordpiece")
    characters = ["!", "##!", "a", "##a", "b", "##b", "c", "##c", "▁", "##▁"]
    assert set(built["model"]["vocab"]) == {*SPECIAL, *characters, "##ab", "ab", "##cb", "cb"}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "wordpiece")
    assert tokenizer.tokenize("AB cab b!!") == ["ab", "c", "##ab", "b", "!", "!"]


def test_unigram_scores_are_relative_frequencies_of_the_segmentation(tmp_path: Path) -> None:
    texts = ["ab ab ab", "cb ca", "ca ba, aab"]
    bpe = tokenizer_json("bpe", texts, 14, tmp_path / "bpe")
    unigram = tokenizer_json("unigram", texts, 14, tmp_path / "unigram")
    segment = AutoTokenizer.from_pretrained(tmp_path / "bpe").tokenize
    counts = Counter(token for text in texts for token in segment(text))
    pieces = list(bpe["model"]["vocab"])[len(SPECIAL) :]
    total = sum(counts[piece] + 1 for piece in pieces)
    assert unigram["model"]["vocab"][: len(SPECIAL)] == [[token, 0.0] for token in SPECIAL]
    for piece, (token, score) in zip(pieces, unigram["model"]["vocab"][len(SPECIAL) :], strict=True):
        assert piece == token
        assert score == pytest.approx(math.log((counts[piece] + 1) / total))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_punctuation_and_white_space_are_never_inside_a_piece(kind: str, corpus: list[str], tmp_path: Path) -> None:
    folder = ScratchEncoder("bert", kind, **TINY).build(BuildContext([*corpus, *["so!\nso!"] * 9], tmp_path / kind))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("so!\nso!") == ["▁so", "!", "▁so", "!"]
    assert tokenizer.decode(tokenizer("so!\n so!")["input_ids"], skip_special_tokens=True) == "so! so!"


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_the_rarest_characters_are_unknown_if_the_vocabulary_is_small(kind: str, tmp_path: Path) -> None:
    # Fourteen entries beside the special tokens: the mark and six characters, the first seen if equally frequent.
    folder = ScratchEncoder("bert", kind, **{**TINY, "vocab_size": 19}).build(
        BuildContext(["hgfedcba", "hgf ab"], tmp_path / kind)
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) <= 19
    known = [character for character in "abcdefgh" if tokenizer.unk_token_id not in tokenizer(character).input_ids]
    assert known == ["a", "b", "e", "f", "g", "h"]


def test_errors_name_what_is_accepted() -> None:
    with pytest.raises(ValueError, match="`tokenizer` must be one of wordpiece, bpe, byte_bpe, unigram, got 'char'"):
        ScratchEncoder(tokenizer="char")
    with pytest.raises(ValueError, match="`architecture` must be a model type of transformers, got 'brt'"):
        ScratchEncoder(architecture="brt")
    with pytest.raises(ValueError, match="`hidden_size` must be divisible by `num_attention_heads`, got 30 and 4"):
        ScratchEncoder(hidden_size=30)


@pytest.mark.parametrize(
    ("field", "value", "minimum"),
    [
        ("vocab_size", 8, 9),
        ("vocab_size", "2000", 9),
        ("hidden_size", 0, 1),
        ("num_hidden_layers", 1.5, 1),
        ("num_attention_heads", True, 1),
        ("max_tokens", 2, 3),
    ],
)
def test_sizes_are_integers_in_their_range(field: str, value: Any, minimum: int) -> None:
    with pytest.raises(ValueError, match=f"`{field}` must be an integer of at least {minimum}, got {value!r}"):
        ScratchEncoder(**{field: value})


def test_bytes_need_an_entry_each(corpus: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`vocab_size` must be an integer of at least 261, got 260"):
        ScratchEncoder(tokenizer="byte_bpe", vocab_size=260)
    folder = ScratchEncoder("bert", "byte_bpe", **{**TINY, "vocab_size": 261}).build(
        BuildContext(corpus, tmp_path / "bytes")
    )
    assert len(AutoTokenizer.from_pretrained(folder)) == 261


@pytest.mark.parametrize("dropout", [-0.1, 1, float("nan"), "0.1", True])
def test_dropout_is_a_ratio(dropout: Any) -> None:
    with pytest.raises(ValueError, match=f"`dropout` must be a number from 0 to below 1, got {dropout!r}"):
        ScratchEncoder(dropout=dropout)
