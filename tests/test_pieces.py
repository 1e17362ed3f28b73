# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.encoders.pieces: every kind of vocabulary, cut down for texts in three languages."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from trainer_ext.encoders.pieces import Vocabulary
from trainer_ext.encoders.scratch import SPECIAL_TOKENS, TOKENIZERS, ScratchEncoder
from trainer_ext.encoders.source import BuildContext

TEXTS = {
    "ar": ["أنا سعيد جدا بهذا اليوم الجميل 😂", "لماذا أنت حزين يا صديقي؟", "هذا الظلم يغضبني كثيرا!!"],
    "en": ["I am so happy about this lovely day 😂", "why are you sad, my friend?", "this makes me really angry!!"],
    "ha": ["Ina jin daɗi sosai a wannan rana 😂", "me ya sa kake baƙin ciki, abokina?", "wannan ya ɓata mini rai!!"],
}
# Words that the vocabularies have and the texts have not, and words that neither has.
OTHERS = ["خائف من الامتحان غدا", "afraid of tomorrow's examination 😡", "tsoro na jarrabawa gobe", "страх экзамена Ж"]
UNSEEN = ["بسكويت طازج", "fresh biscuits 😡", "biskit mai ƙamshi"]


def fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **SPECIAL_TOKENS)


@cache
def original(kind: str, behind: int = 0) -> PreTrainedTokenizerFast:
    """A tokenizer of all the texts; the special tokens stand behind that many of the other pieces."""
    texts = [*(text for texts in TEXTS.values() for text in texts), *OTHERS] * 2
    size = {"vocab_size": 900, "hidden_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1}
    spec = ScratchEncoder(tokenizer=kind, lowercase=False, **size)
    with TemporaryDirectory() as folder:
        path = spec.build(BuildContext(texts, folder)) / "tokenizer.json"
        parts = json.loads(path.read_text(encoding="utf-8"))
    vocab = parts["model"]["vocab"]
    names = [piece for piece, _ in vocab] if kind == "unigram" else sorted(vocab, key=vocab.__getitem__)
    scores = dict(vocab)
    turned = [*names[5 : 5 + behind], *names[:5], *names[5 + behind :]]
    places = {name: index for index, name in enumerate(turned)}
    parts["model"]["vocab"] = [[name, scores[name]] for name in turned] if kind == "unigram" else places
    if kind == "unigram":
        parts["model"]["unk_id"] = places["[UNK]"]
    for token in parts["added_tokens"]:
        token["id"] = places[token["content"]]
    for name, token in parts["post_processor"]["special_tokens"].items():
        token["ids"] = [places[name]]
    return fast(Tokenizer.from_str(json.dumps(parts)))


def cut(tokenizer: PreTrainedTokenizerFast, texts: list[str], vocab_size: int = 10**6) -> PreTrainedTokenizerFast:
    vocabulary = Vocabulary(tokenizer, "origin")
    return vocabulary.cut(vocabulary.choose(iter(texts), vocab_size))


def pieces(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("languages", [("ar",), ("en", "ha"), ("ar", "en", "ha")])
def test_texts_are_cut_as_before(kind: str, languages: tuple[str, ...]) -> None:
    before = original(kind, behind=100)
    texts = [text for language in languages for text in TEXTS[language]]
    after = cut(before, texts)
    assert len(after) < len(before)
    assert all(pieces(after, text) == pieces(before, text) for text in texts)
    # In their order, densely.
    names = after.convert_ids_to_tokens(list(range(len(after))))
    assert names == sorted(names, key=before.get_vocab().__getitem__)
    assert set(SPECIAL_TOKENS.values()) < set(names)
    assert after.special_tokens_map == before.special_tokens_map
    for token in ("pad", "unk", "cls", "sep"):
        assert names[getattr(after, f"{token}_token_id")] == f"[{token.upper()}]"
    assert pieces(after, "")[:1] == ["[CLS]"]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_no_other_word_of_these_scripts_is_unknown(kind: str) -> None:
    before = original(kind)
    after = cut(before, [text for texts in TEXTS.values() for text in texts])
    for text in [*OTHERS[:3], *UNSEEN]:
        unknown = [pieces(tokenizer, text).count("[UNK]") for tokenizer in (before, after)]
        assert unknown[1] == unknown[0], text
    for text in OTHERS[:2]:
        assert "[UNK]" not in pieces(after, text)
    # No text has 😡, which is of no script; none is in Cyrillic letters, but bytes are of no script either.
    assert ("[UNK]" in pieces(after, "Ж")) == (kind != "byte_bpe")
    assert "[UNK]" not in pieces(before, "Ж")


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_size_is_kept_to(kind: str) -> None:
    before = original(kind)
    texts = [text for texts in TEXTS.values() for text in texts]
    smallest, largest = len(cut(before, [" ".join(text) for text in texts])), len(cut(before, texts))
    for share in (0.2, 0.7):
        vocab_size = smallest + int(share * (largest - smallest))
        after = cut(before, texts, vocab_size)
        assert len(after) == vocab_size
        assert "[UNK]" not in pieces(after, " ".join(texts))
    # Never without its parts.
    merges = json.loads(after.backend_tokenizer.to_str())["model"].get("merges", [])
    made = {left + right for left, right in merges}
    if "bpe" in kind:
        assert all(piece in made or len(piece) == 1 or piece in SPECIAL_TOKENS.values() for piece in after.get_vocab())


def test_a_script_of_a_few_characters_stays_with_these_only() -> None:
    characters = "abcδεжз😀😡"
    vocab = {name: index for index, name in enumerate(["[UNK]", *characters, *(f"##{c}" for c in characters)])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordPiece(vocab, unk_token="[UNK]")), unk_token="[UNK]"
    )
    texts = ["a" * 50] * 5
    assert cut(tokenizer, [*texts, "δ", "б"]).get_vocab().keys() == {
        "[UNK]",
        *"abc😀😡δ",
        *(f"##{c}" for c in "abc😀😡"),
    }
    assert {"ε", "##ε"} < cut(tokenizer, [*texts, "δδδ"]).get_vocab().keys()


def test_an_unknown_character_costs_as_much_as_before() -> None:
    vocab = [("[UNK]", 0.0), ("cd", -20.0), ("ef", -20.0), ("def", -5.0), ("rare", -40.0), ("other", -30.0)]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(vocab, 0)), unk_token="[UNK]")
    after = cut(tokenizer, ["cdef", "def"])
    assert after.tokenize("cdef") == tokenizer.tokenize("cdef") == ["cd", "ef"]
    assert after.get_vocab() == {"[UNK]": 0, "cd": 1, "ef": 2, "def": 3, "rare": 4}


def test_bytes_that_stand_in_for_characters_stay() -> None:
    vocab = [("[UNK]", 0.0), *((f"<0x{byte:02X}>", -9.0) for byte in range(256)), ("a", -1.0), ("bc", -2.0)]
    model = models.Unigram(vocab, 0, byte_fallback=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="[UNK]")
    after = cut(tokenizer, ["a"])
    assert after.get_vocab().keys() == tokenizer.get_vocab().keys() - {"bc"}
    assert after.tokenize("é") == ["<0xC3>", "<0xA9>"]


def test_merges_of_prefixed_pieces() -> None:
    vocab = {name: index for index, name in enumerate(["[UNK]", "s", "##a", "##d", "sa", "sad", "##ad", "sb"])}
    merges = [("##a", "##d"), ("s", "##a"), ("s", "##ad")]
    model = models.BPE(vocab, merges, unk_token="[UNK]", continuing_subword_prefix="##")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="[UNK]")
    after = cut(tokenizer, ["sad"])
    assert after.get_vocab() == {"[UNK]": 0, "s": 1, "##a": 2, "##d": 3, "sad": 4, "##ad": 5}
    assert after.tokenize("sad") == ["sad"]
    assert after.tokenize("sa") == ["s", "##a"]


def test_whole_words() -> None:
    vocab = {"[UNK]": 3, "sad": 0, "happy": 7, "angry": 9}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    after = cut(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]"), ["angry sad"])
    assert after.get_vocab() == {"sad": 0, "[UNK]": 1, "angry": 2}


@pytest.mark.parametrize(
    "processor",
    [
        processors.BertProcessing(("[SEP]", 103), ("[CLS]", 102)),
        processors.RobertaProcessing(("[SEP]", 103), ("[CLS]", 102)),
        processors.Sequence(
            [
                processors.ByteLevel(),
                processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 102), ("[SEP]", 103)]),
            ]
        ),
    ],
    ids=lambda processor: type(processor).__name__,
)
def test_every_post_processor_follows(processor: Any) -> None:
    before = deepcopy(original("bpe", behind=100))
    before.backend_tokenizer.post_processor = processor
    assert pieces(before, "sad")[:: len(pieces(before, "sad")) - 1] == ["[CLS]", "[SEP]"]
    after = cut(before, TEXTS["en"])
    assert after.cls_token_id < 102
    assert pieces(after, TEXTS["en"][0]) == pieces(before, TEXTS["en"][0])
    # Applied twice: the first cut has changed nothing of the original.
    assert pieces(cut(before, TEXTS["en"]), "sad") == pieces(after, "sad")


def test_tokens_behind_the_vocabulary() -> None:
    before = deepcopy(original("unigram"))
    before.add_tokens(["@user"])
    after = cut(before, ["why @user"])
    assert after.convert_tokens_to_ids("@user") == len(after) - 1
    assert pieces(after, "why @user") == pieces(before, "why @user")


class SlowTokenizer:
    """Has no tokenizer of the library behind it."""


def test_other_kind_of_tokenizer() -> None:
    with pytest.raises(ValueError, match=r"origin: `vocab_size` needs a fast tokenizer \(WordPiece, .*, got SlowTok"):
        Vocabulary(SlowTokenizer(), "origin")
