# SPDX-License-Identifier: Apache-2.0
"""Tests of the feature cache: the same states as the encoders', its keys, its size, and all of a file or nothing."""

from __future__ import annotations

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import LABELS

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.data.batching import EmotionDataCollator, tokenize_dataset
from trainer_ext.stages import feature_cache
from trainer_ext.stages.feature_cache import (
    EncoderFeatures,
    FeatureCollator,
    FeatureFile,
    check_space,
    format_size,
    plan_features,
    write_features,
)

# A word of many tokens, one that some vocabularies do not know, no word at all, more words than others.
TEXTS = ["so happy, at last!", "أنا سعيد ☕ ok", "", "one", "word " * 20, "I'm 😂😂 🤔 incomprehensibilities", "no!"]
GOLD = [[float((index >> label) & 1) for label in range(4)] for index in range(len(TEXTS))]
Model = StackedEmotionForSequenceClassification


def tokenize(tokenizer: StackedEmotionTokenizer, texts: list[str] = TEXTS) -> datasets.Dataset:
    return tokenize_dataset(datasets.Dataset.from_dict({"text": texts, "labels": GOLD[: len(texts)]}), tokenizer)[0]


def single(model: Model, name: str) -> Model:
    """A classifier of one of the model's encoders."""
    config = copy.deepcopy(model.config)
    config.encoders = {name: config.encoders[name]}
    built = Model(config).eval()
    built.stacked_emotion.encoders[name] = model.stacked_emotion.encoders[name]
    return built


def write(model: Model, name: str, rows: datasets.Dataset, folder: Path, **options: Any) -> FeatureFile:
    file = plan_features(single(model, name), rows, "fp32", folder, "train")
    write_features(file, single(model, name), rows, "fp32", disable_tqdm=True, **options)
    return file


def cache(model: Model, rows: datasets.Dataset, folder: Path, **options: Any) -> dict[str, EncoderFeatures]:
    files = {name: write(model, name, rows, folder, **options) for name in model.config.encoders}
    return {name: EncoderFeatures([file.path]) for name, file in files.items()}


def batch_of(features: dict[str, EncoderFeatures], texts: list[int]) -> dict[str, torch.Tensor]:
    return FeatureCollator(features)([{"row": text, "labels": GOLD[text]} for text in texts])


# ------------------------------------------------------------------------------------------------- the same states


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_states_are_those_of_each_text_alone(
    model: Model,
    tokenizer: StackedEmotionTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch_size: int,
) -> None:
    """Whatever the batches are, and however many windows the texts take."""
    monkeypatch.setattr(feature_cache, "_BATCHES_PER_WINDOW", 2)
    features = cache(model, tokenize(tokenizer), tmp_path, batch_size=batch_size)
    for index, text in enumerate(TEXTS):
        with torch.no_grad():
            stack, has_tokens, num_words = model.stacked_emotion.encode_words(**tokenizer([text], return_tensors="pt"))
        states = stack.split(model.stacked_emotion.hidden_sizes, dim=-1)
        for encoder, (entry, expected) in enumerate(zip(features.values(), states, strict=True)):
            count = int(entry.num_words[index])
            assert count <= int(num_words)
            assert entry.word_states(index).dtype == np.float16
            np.testing.assert_allclose(entry.word_states(index), expected[0, :count], rtol=1e-3, atol=1e-3)
            np.testing.assert_array_equal(entry.has_tokens(index), has_tokens[0, :count, encoder])
            # What lies behind has no tokens of this encoder.
            assert not has_tokens[0, count:, encoder].any()


def test_logits_from_the_cache_are_those_of_the_model(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    rows = tokenize(tokenizer)
    features = cache(model, rows, tmp_path)
    texts = [5, 0, 2, 4, 3]
    with torch.no_grad():
        whole = model(**EmotionDataCollator(tokenizer)([rows[text] for text in texts]))
        cached = model(**batch_of(features, texts))
    torch.testing.assert_close(cached.logits, whole.logits, rtol=0, atol=2e-3)
    torch.testing.assert_close(cached.encoder_weights, whole.encoder_weights, rtol=0, atol=2e-3)
    torch.testing.assert_close(cached.loss, whole.loss, rtol=0, atol=1e-3)


def test_logits_are_equal_where_fp16_holds_the_states_exactly(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    # Rounded word states: the mean of a word's tokens is not cached unrounded.
    encode_words = type(model.stacked_emotion)._encode_words

    def rounded(self: Any, *arguments: Any) -> Any:
        stack, *others = encode_words(self, *arguments)
        return stack.half().float(), *others

    rows = tokenize(tokenizer)
    features = cache(model, rows, tmp_path)
    model.stacked_emotion._encode_words = rounded.__get__(model.stacked_emotion)
    inputs = EmotionDataCollator(tokenizer)(list(rows))
    with torch.no_grad():
        assert torch.equal(model(**batch_of(features, list(range(len(TEXTS))))).logits, model(**inputs).logits)


def test_collator_returns_the_arrays_of_its_docstring(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    batch = batch_of(cache(model, tokenize(tokenizer), tmp_path), [2, 0])
    assert batch["word_states"].shape == (2, 6, 32 + 24 + 40)
    assert batch["word_states"].dtype == torch.float16
    # A text without words has one, without tokens.
    assert batch["num_words"].tolist() == [1, 6]
    assert not batch["has_tokens"][0].any()
    assert not batch["word_states"][0].any()
    assert batch["has_tokens"][1].all()
    assert batch["labels"].tolist() == [GOLD[2], GOLD[0]]


def test_files_of_several_parts_are_read_in_the_order_of_the_texts(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    rows = tokenize(tokenizer)
    parts = [np.array([5, 1, 6]), np.array([4, 0, 2, 3])]
    name = "roberta_bb"
    paths = [write(model, name, rows.select(part), tmp_path).path for part in parts]
    whole = EncoderFeatures([write(model, name, rows, tmp_path).path])
    divided = EncoderFeatures(paths, np.concatenate(parts))
    assert len(divided) == len(whole) == len(TEXTS)
    for text in range(len(TEXTS)):
        np.testing.assert_allclose(divided.word_states(text), whole.word_states(text), rtol=2e-3, atol=1e-3)


def test_rows_are_views_of_the_mapped_file(model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    features = cache(model, tokenize(tokenizer), tmp_path)["bert_wp"]
    assert pa.total_allocated_bytes() == before
    states = features.word_states(4)
    assert not states.flags.owndata
    assert not states.flags.writeable
    assert states.base is not None


# ------------------------------------------------------------------------------------------------------- the key


def test_key_changes_with_every_ingredient(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "bert_wp"
    rows = tokenize(tokenizer)

    def key(changed: Model = model, of: datasets.Dataset = rows, precision: str = "fp32") -> str:
        return plan_features(single(changed, name), of, precision, tmp_path, "train").path.name

    first = key()
    other_weights = copy.deepcopy(model)
    with torch.no_grad():
        next(iter(other_weights.stacked_emotion.encoders[name].parameters())).view(-1)[3] += 1e-6
    other_config = copy.deepcopy(model)
    other_config.config.encoders[name]["layer_norm_eps"] = 1e-6
    normalised = StackedEmotionTokenizer(tokenizer.tokenizers, {name: "tweet"})
    short = StackedEmotionTokenizer(tokenizer.tokenizers, max_words=7)
    keys = [
        first,
        key(other_weights),
        key(other_config),
        key(precision="bf16"),
        key(of=tokenize(tokenizer, TEXTS[:-1])),
        key(of=tokenize(tokenizer, [*TEXTS[:-1], "yes!"])),
        key(of=tokenize(tokenizer, TEXTS[::-1])),
        key(of=tokenize(short)),
        key(of=tokenize(normalised, ["@you https://a.b"])),
        key(of=tokenize(tokenizer, ["@you https://a.b"])),
    ]
    monkeypatch.setattr(feature_cache, "FORMAT_VERSION", feature_cache.FORMAT_VERSION + 1)
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_key_stays_when_labels_or_another_encoder_change(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    rows = tokenize(tokenizer)
    first = plan_features(single(model, "bert_wp"), rows, "fp32", tmp_path, "train")
    with torch.no_grad():
        for parameter in model.stacked_emotion.encoders["electra_uni"].parameters():
            parameter.add_(1)
    other = rows.remove_columns("labels").add_column("labels", GOLD[::-1])
    assert plan_features(single(model, "bert_wp"), other, "fp32", tmp_path, "train") == first


# ------------------------------------------------------------------------------------------- size, all or nothing


def test_size_is_announced_as_it_becomes(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path, corpus: list[str]
) -> None:
    texts = (corpus * 4)[:200]
    rows = tokenize_dataset(datasets.Dataset.from_dict({"text": texts, "labels": [GOLD[0]] * 200}), tokenizer)[0]
    file = write(model, "electra_uni", rows, tmp_path)
    num_words = sum(max(row, default=0) for row in rows["electra_uni_word_ids"])
    assert file.num_bytes == num_words * (2 * 40 + 1) + 200 * 16
    # Beyond it there are the schema and the alignment.
    assert 0 <= file.path.stat().st_size - file.num_bytes < 2000


def test_disk_that_is_too_small_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [FeatureFile(tmp_path / name, 700_000) for name in "ab"]
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_400_000))
    check_space(files, tmp_path / "not" / "there")
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_390_000))
    message = (
        r"^The feature cache needs 1\.4 MB, but \S+there has 1\.4 MB free: set `feature_cache_dir` to .*`max_words`\.$"
    )
    with pytest.raises(ValueError, match=message):
        check_space(files, tmp_path / "not" / "there")


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1250, "1.2 kB"), (3e9, "3.0 GB"), (2e15, "2,000.0 TB")],
)
def test_sizes_are_readable(num_bytes: float, text: str) -> None:
    assert format_size(int(num_bytes)) == text


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_writing_leaves_nothing(
    model: Model,
    tokenizer: StackedEmotionTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    monkeypatch.setattr(feature_cache, "_BATCHES_PER_WINDOW", 1)
    encode_words, calls = type(model.stacked_emotion).encode_words, []

    def broken(self: Any, **inputs: torch.Tensor) -> Any:
        calls.append(inputs)
        if len(calls) == 3:
            raise error
        return encode_words(self, **inputs)

    monkeypatch.setattr(type(model.stacked_emotion), "encode_words", broken)
    with pytest.raises(error):
        write(model, "bert_wp", tokenize(tokenizer), tmp_path, batch_size=1)
    assert list(tmp_path.iterdir()) == []


def test_of_two_runs_that_share_the_cache_one_writes(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, encode, begun = tokenize(tokenizer), feature_cache._encode, []

    def slow(*arguments: Any) -> Any:
        begun.append(arguments)
        time.sleep(0.5)
        return encode(*arguments)

    monkeypatch.setattr(feature_cache, "_encode", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(write, model, "bert_wp", rows, tmp_path) for _ in range(2))
        assert first.result() == second.result()
    assert len(begun) == 1
    assert list(tmp_path.iterdir()) == [first.result().path]


def test_what_a_killed_run_left_is_removed_and_not_taken_for_complete(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path
) -> None:
    rows = tokenize(tokenizer)
    planned = plan_features(single(model, "bert_wp"), rows, "fp32", tmp_path, "train")
    partial = tmp_path / f".{planned.path.name}.partial"
    other = tmp_path / ".another-train-0.arrow.partial"
    for path in (partial, other):
        path.write_bytes(b"half a file")
    assert not planned.path.exists()
    assert write(model, "bert_wp", rows, tmp_path) == planned
    assert sorted(tmp_path.iterdir()) == sorted([planned.path, other])


def test_states_beyond_fp16_are_an_error(model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path) -> None:
    norm = model.stacked_emotion.encoders["bert_wp"].encoder.layer[-1].output.LayerNorm
    with torch.no_grad():
        norm.bias.fill_(70_000)
    message = r"^Encoder 'bert_wp' has word states beyond the range of fp16 \(65,504\)"
    with pytest.raises(ValueError, match=message):
        write(model, "bert_wp", tokenize(tokenizer), tmp_path)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize("key", ["has_tokens", "num_words"])
def test_word_states_without_the_rest_are_an_error(
    model: Model, tokenizer: StackedEmotionTokenizer, tmp_path: Path, key: str
) -> None:
    batch = batch_of(cache(model, tokenize(tokenizer), tmp_path), [0])
    del batch[key]
    with pytest.raises(ValueError, match=f"`word_states` comes with .* check {key}"):
        model(**batch)


def test_word_states_of_another_width_are_an_error(model: Model) -> None:
    inputs = {"has_tokens": torch.ones(1, 2, 3, dtype=torch.bool), "num_words": torch.tensor([2])}
    with pytest.raises(ValueError, match=r"`word_states` must have a width of 96, .* \[32, 40, 24\], got 95\.$"):
        model(word_states=torch.zeros(1, 2, 95), **inputs)


def test_labels_of_the_fixture_are_as_many_as_those_of_the_model() -> None:
    assert len(GOLD[0]) == len(LABELS)
