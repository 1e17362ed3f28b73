# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.encoders.pruned: what is left of an encoder does what it did before."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoTokenizer, FunnelConfig

from hub.model.summary import summarise_training
from trainer_ext.encoders.pruned import PrunedEncoder
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext
from trainer_ext.recipe import DataArguments, ModelArguments, Recipe, TeacherArguments
from trainer_ext.training.arguments import StackedEmotionTrainingArguments

ARCHITECTURES = ("bert", "distilbert", "electra", "modernbert")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def originals(corpus: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three layers each; the special tokens stand behind unused ones, as in BERT's own vocabulary."""
    root = tmp_path_factory.mktemp("originals")
    folders = {}
    for architecture in ARCHITECTURES:
        torch.manual_seed(0)
        size: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
        spec = ScratchEncoder(architecture, "wordpiece", vocab_size=400, **size)
        folders[architecture] = spec.build(BuildContext(corpus, root / architecture))
        move_special_tokens(folders[architecture], 20)
    return folders


def move_special_tokens(folder: Path, distance: int) -> None:
    """Put unused pieces between the padding token and the others."""
    path = folder / "tokenizer.json"
    parts = json.loads(path.read_text(encoding="utf-8"))

    def moved(index: int) -> int:
        return index + distance if index else 0

    vocab = {piece: moved(index) for piece, index in parts["model"]["vocab"].items()}
    parts["model"]["vocab"] = vocab | {f"[unused{index}]": index for index in range(1, distance + 1)}
    for token in parts["added_tokens"]:
        token["id"] = moved(token["id"])
    for token in parts["post_processor"]["special_tokens"].values():
        token["ids"] = [moved(index) for index in token["ids"]]
    parts["truncation"] = {"direction": "Right", "max_length": 6, "strategy": "LongestFirst", "stride": 0}
    path.write_text(json.dumps(parts), encoding="utf-8")
    config = AutoConfig.from_pretrained(folder)
    config.vocab_size += distance
    config.cls_token_id = config.bos_token_id = 2 + distance
    config.sep_token_id = config.eos_token_id = 3 + distance
    config.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if "word_embeddings" in name or "tok_embeddings" in name:
            weights[name] = torch.cat([weight[:1], torch.randn(distance, weight.shape[1]), weight[1:]])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def hidden_states(folder: Path, text: str) -> list[torch.Tensor]:
    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(text, return_tensors="pt", max_length=64, truncation=True, return_token_type_ids=False)
    with torch.inference_mode():
        return list(encoder(**inputs, output_hidden_states=True).hidden_states)


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def pieces(folder: Path, text: str) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, max_length=64, truncation=True)["input_ids"]
    return tokenizer.convert_ids_to_tokens(ids)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_of_the_texts_are_the_same(
    architecture: str, originals: dict[str, Path], corpus: list[str], tmp_path: Path
) -> None:
    original = originals[architecture]
    # All layers, and only some texts' pieces.
    folder = PrunedEncoder(str(original), vocab_size=1000).build(BuildContext(corpus[:8], tmp_path / "pruned"))
    assert len(AutoTokenizer.from_pretrained(folder)) < len(AutoTokenizer.from_pretrained(original))
    lower = PrunedEncoder(str(original), num_hidden_layers=2, vocab_size=1000).build(
        BuildContext(corpus[:8], tmp_path / "lower")
    )
    for text in corpus[:8]:
        assert pieces(folder, text) == pieces(original, text)
        before = hidden_states(original, text)
        assert len(before) == 4
        assert same(hidden_states(folder, text), before)
        after = hidden_states(lower, text)
        assert len(after) == 3
        # ModernBERT's last states go through one more norm, that of its end.
        num_same = 2 if architecture == "modernbert" else 3
        assert same(after[:num_same], before[:num_same])
    config = AutoConfig.from_pretrained(lower)
    assert (config.model_type, config.num_hidden_layers) == (architecture, 2)


def test_layers_alone_leave_the_tokenizer_as_it_is(originals: dict[str, Path], tmp_path: Path) -> None:
    original = originals["bert"]
    folder = PrunedEncoder(str(original), num_hidden_layers=1).build(BuildContext([], tmp_path / "pruned"))
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == AutoTokenizer.from_pretrained(original).get_vocab()
    before = load_file(original / "model.safetensors")
    after = load_file(folder / "model.safetensors")
    assert set(before) - set(after) == {name for name in before if "layer.1." in name or "layer.2." in name}
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert {weight.dtype for weight in after.values()} == {torch.float32}


def test_the_most_frequent_pieces_stay(originals: dict[str, Path], corpus: list[str], tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(originals["bert"])
    vocab = tokenizer.get_vocab()
    short = {piece for piece in vocab if len(piece.removeprefix("##")) == 1} | set(SPECIAL)
    counts = Counter(
        piece for text in corpus for piece in tokenizer.tokenize(text, max_length=500) if piece not in short
    )
    frequent = sorted(counts, key=lambda piece: (-counts[piece], vocab[piece]))[:15]
    spec = PrunedEncoder(str(originals["bert"]), vocab_size=len(short) + 15)
    folder = spec.build(BuildContext(iter(corpus), tmp_path / "pruned"))
    kept = AutoTokenizer.from_pretrained(folder)
    # In their order, so that the padding token is still the first.
    in_turn = sorted(short | set(frequent), key=vocab.__getitem__)
    assert kept.convert_ids_to_tokens(list(range(len(kept)))) == in_turn
    assert (kept.pad_token_id, kept.unk_token_id, kept.cls_token_id, kept.sep_token_id) == (0, 1, 2, 3)
    assert kept.model_max_length == tokenizer.model_max_length
    config = AutoConfig.from_pretrained(folder)
    assert (config.vocab_size, config.pad_token_id) == (len(kept), 0)
    assert (config.cls_token_id, config.sep_token_id) == (2, 3)
    # What was left out is spelled with shorter pieces.
    assert kept.unk_token_id not in kept(corpus[:30])["input_ids"][0]
    assert "".join(piece.removeprefix("##") for piece in kept.tokenize("surprise")) == "surprise"


def test_texts_are_counted_as_the_encoder_reads_them(originals: dict[str, Path], tmp_path: Path) -> None:
    spec = PrunedEncoder(str(originals["bert"]), vocab_size=1000)
    texts = ["I love you " * 40 + "the", "@the \ud83d"]
    plain = AutoTokenizer.from_pretrained(spec.build(BuildContext(texts, tmp_path / "plain"))).get_vocab()
    tweets = AutoTokenizer.from_pretrained(
        spec.build(BuildContext(texts[1:], tmp_path / "tweets", normalization="tweet"))
    ).get_vocab()
    # Behind what the tokenizer would cut, and not where a name is read as another word.
    assert "the" in plain
    assert "the" not in tweets


def test_positions_are_counted_from_the_same_padding(corpus: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ScratchEncoder("roberta", "unigram", vocab_size=300, hidden_size=16, num_attention_heads=2, max_tokens=64)
    original = spec.build(BuildContext(corpus, tmp_path / "original"))
    path = original / "tokenizer.json"
    parts = json.loads(path.read_text(encoding="utf-8"))
    # Behind two pieces that are nothing special.
    parts["model"]["vocab"] = [["one", -9.0], ["two", -9.0], *parts["model"]["vocab"]]
    parts["model"]["unk_id"] += 2
    for token in parts["added_tokens"]:
        token["id"] += 2
    for token in parts["post_processor"]["special_tokens"].values():
        token["ids"] = [index + 2 for index in token["ids"]]
    path.write_text(json.dumps(parts), encoding="utf-8")
    names = ("bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id")
    config = AutoConfig.from_pretrained(original, pad_token_id=2, vocab_size=len(parts["model"]["vocab"]))
    config.update(dict(zip(names, (4, 4, 5, 5), strict=True)))
    AutoModel.from_config(config).save_pretrained(original)
    folder = PrunedEncoder(str(original), vocab_size=1000).build(BuildContext(corpus[:8], tmp_path / "pruned"))
    kept = AutoTokenizer.from_pretrained(folder)
    assert len(kept) < len(AutoTokenizer.from_pretrained(original))
    assert kept.convert_ids_to_tokens([0, 1, 2]) == ["one", "two", "[PAD]"]
    assert AutoConfig.from_pretrained(folder).pad_token_id == 2
    for text in corpus[:8]:
        assert same(hidden_states(folder, text), hidden_states(original, text))


def test_the_card_names_its_origin(originals: dict[str, Path], tmp_path: Path) -> None:
    encoders = {"cut": {"pruned": str(originals["bert"])}, "hub": {"pruned": "some/encoder"}}
    training = StackedEmotionTrainingArguments(str(tmp_path), use_cpu=True)
    recipe = Recipe(DataArguments(), ModelArguments(encoders=encoders), TeacherArguments(), training)
    summary = summarise_training(recipe, "recipe", {})
    assert summary.encoders == {"cut": "bert (not on the Hub)", "hub": "some/encoder"}


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("field", ["num_hidden_layers", "vocab_size"])
@pytest.mark.parametrize("value", [0, 2.0, True])
def test_wrong_number(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{field}` must be an integer of at least 1, got {value}"):
        PrunedEncoder("some/encoder", **{field: value})


def test_more_layers_than_there_are(originals: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`num_hidden_layers` must be at most 3, the layers of .*bert, got 4"):
        PrunedEncoder(str(originals["bert"]), num_hidden_layers=4).build(BuildContext([], tmp_path))


def test_layers_that_cannot_be_cut(tmp_path: Path) -> None:
    FunnelConfig().save_pretrained(tmp_path / "funnel")
    with pytest.raises(ValueError, match="the layers of a funnel model cannot be cut; leave `num_hidden_layers` out"):
        PrunedEncoder(str(tmp_path / "funnel"), num_hidden_layers=2).build(BuildContext([], tmp_path / "pruned"))


def test_no_room_for_the_characters(originals: dict[str, Path], corpus: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`vocab_size` must be at least \d+, the special tokens and characters of"):
        PrunedEncoder(str(originals["bert"]), vocab_size=30).build(BuildContext(corpus, tmp_path))


def test_weights_that_are_missing(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = PrunedEncoder(str(originals["bert"])).build(BuildContext([], tmp_path / "copy"))
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of a BertModel, e\.g\. encoder\.layer\.0\.output\.dense"):
        PrunedEncoder(str(folder), num_hidden_layers=1).build(BuildContext([], tmp_path / "pruned"))
