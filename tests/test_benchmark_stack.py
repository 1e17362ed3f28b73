# SPDX-License-Identifier: Apache-2.0
"""Tests of the benchmark of the stack: both sides do the same work, and the ratios are those of the times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from scripts import benchmark
from scripts.benchmarks import stack

PARTS = ("tokenize", "forward", "training_step")


def make_batches(tokenizer: StackedEmotionTokenizer, texts: list[str]) -> list[dict[str, Any]]:
    """Three batches of four texts."""
    return [dict(tokenizer(group, padding=True, return_tensors="pt")) for group in stack.length_groups(texts, 4, 3)]


@pytest.fixture
def wide(encoder_folders: dict[str, Path]) -> StackedEmotionForSequenceClassification:
    """A model with the benchmark's 28 labels."""
    return StackedEmotionForSequenceClassification.from_encoders(encoder_folders, num_labels=28)


def test_run_prints_and_writes_the_numbers(
    tmp_path: Path, encoder_folders: dict[str, Path], corpus: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(json.dumps({"text": text, "labels": ["joy"]}) + "\n" for text in corpus)
    (tmp_path / "texts.jsonl").write_text(rows, encoding="utf-8")
    encoders = [f"{name}={folder}" for name, folder in encoder_folders.items()]
    small = ["--batch_size", "8", "--num_batches", "2", "--num_texts", "32", "--rounds", "1", "--precision", "fp32"]
    files = ["--texts", str(tmp_path / "texts.jsonl"), "--json", str(tmp_path / "out.json")]
    results = benchmark.main(["stack", "--encoders", *encoders, *small, *files])
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == results
    printed = capsys.readouterr().out
    assert "32 texts, batches of 8, fp32" in printed
    for part in (*PARTS, "epoch"):
        other = "cached" if part == "epoch" else "alone"
        ours, theirs = results[f"{part}_texts_per_second"], results[f"{part}_{other}_texts_per_second"]
        assert results[f"{part}_ratio"] == pytest.approx(theirs / ours)
        assert ours > 0
        assert f"time ratio {results[f'{part}_ratio']:.2f}" in printed


@pytest.mark.slow
def test_run_on_the_encoders_and_texts_that_are_there_without_options() -> None:
    small = ["--batch_size", "4", "--num_batches", "1", "--num_texts", "16", "--rounds", "1", "--precision", "fp32"]
    results = benchmark.main(["stack", *small])
    assert all(results[f"{part}_texts_per_second"] > 0 for part in PARTS)


@pytest.mark.parametrize("pair", [stack.forward_pair, stack._training_pair])
def test_both_sides_give_the_encoders_the_same_batches(
    pair: Any, wide: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, corpus: list[str]
) -> None:
    batches = make_batches(tokenizer, corpus)
    seen: list[tuple[str, tuple[int, ...], bool]] = []
    for name, encoder in stack._parts(wide).items():
        encoder.register_forward_pre_hook(
            lambda module, _, given, name=name: seen.append((name, given["input_ids"].shape, module.training)),
            with_kwargs=True,
        )
    calls = []
    for run in pair(wide, batches, "fp32"):
        run()
        calls.append(sorted(seen))
        seen.clear()
    assert calls[0] == calls[1]
    assert len(calls[0]) == 3 * 3
    assert {is_training for _, _, is_training in calls[0]} == {pair is stack._training_pair}


def test_training_step_of_the_stack_trains_all_of_it(
    wide: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer, corpus: list[str]
) -> None:
    batches = make_batches(tokenizer, corpus)
    before = {name: parameter.clone() for name, parameter in wide.named_parameters()}
    stack._training_pair(wide, batches, "fp32")[0]()
    unchanged = [name for name, parameter in wide.named_parameters() if torch.equal(parameter, before[name])]
    assert unchanged == []


def test_epoch_pair_steps_on_the_same_texts_and_only_the_joint_side_encodes(
    wide: StackedEmotionForSequenceClassification,
    tokenizer: StackedEmotionTokenizer,
    corpus: list[str],
    tmp_path: Path,
) -> None:
    groups = stack.length_groups(corpus, 4, 3)
    joint, cached = stack._epoch_pair(wide, tokenizer, groups, "fp32", tmp_path)
    num_words: list[list[int]] = []
    mix_words = wide.stacked_emotion.mix_words

    def recorded(states: Any, has_tokens: Any, counts: torch.Tensor) -> Any:
        num_words.append(counts.tolist())
        return mix_words(states, has_tokens, counts)

    wide.stacked_emotion.mix_words = recorded
    before = {name: parameter.clone() for name, parameter in wide.named_parameters()}
    cached()
    changed = {name for name, parameter in wide.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {name for name in before if ".encoders." not in name}
    joint()
    changed = {name for name, parameter in wide.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == set(before)
    assert [len(batch) for batch in num_words] == [4] * 6
    assert num_words[:3] == num_words[3:]


def test_batches_are_full_and_spread_over_all_lengths(tokenizer: StackedEmotionTokenizer) -> None:
    texts = ["so " * (1 + 7 * index % 48) for index in range(48)]
    batches = make_batches(tokenizer, texts)
    lengths = [(batch["bert_wp_word_ids"].amax(dim=1)).tolist() for batch in batches]
    # Twelve groups of four texts of like length; the middle one of each third.
    assert lengths == [[9, 10, 11, 12], [25, 26, 27, 28], [41, 42, 43, 44]]


def test_tokenizing_pair_gives_every_tokenizer_every_text(
    encoder_folders: dict[str, Path],
    tokenizer: StackedEmotionTokenizer,
    corpus: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    call = StackedEmotionTokenizer.__call__

    def recorded(self: StackedEmotionTokenizer, texts: list[str], **kwargs: Any) -> Any:
        seen.extend(texts)
        return call(self, texts, **kwargs)

    monkeypatch.setattr(StackedEmotionTokenizer, "__call__", recorded)
    own = [AutoTokenizer.from_pretrained(folder) for folder in encoder_folders.values()]
    for run in stack.tokenize_pair(own, tokenizer, corpus, 4):
        run()
    assert seen == corpus
