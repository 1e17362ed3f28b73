# SPDX-License-Identifier: Apache-2.0
"""Tests of tokenising a data set, of padding and of the order by length."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from conftest import CORPUS, ENCODERS
from torch.utils.data import BatchSampler
from transformers import AutoTokenizer

from modeling_stacked_emotion import StackedEmotionTokenizer
from trainer_ext.data.batching import (
    LENGTH_COLUMN,
    EmotionDataCollator,
    EpochLengthGroupedSampler,
    padded_rows,
    tokenize_dataset,
)
from trainer_ext.data.length_batches import length_batches
from trainer_ext.digests import ragged_column

FIELDS = ("input_ids", "attention_mask", "word_ids")


@pytest.fixture
def dataset() -> datasets.Dataset:
    labels = [[float(index % 2), float(index % 3 == 0)] for index in range(len(CORPUS))]
    return datasets.Dataset.from_dict({"id": list(range(len(CORPUS))), "text": CORPUS, "labels": labels})


def test_columns_and_rows_are_those_of_the_tokenizer(
    tokenizer: StackedEmotionTokenizer, dataset: datasets.Dataset
) -> None:
    encoded, num_truncated = tokenize_dataset(dataset, tokenizer)
    columns = {f"{name}_{field}" for name in ENCODERS for field in FIELDS}
    assert set(encoded.column_names) == columns | {"labels", LENGTH_COLUMN}
    assert num_truncated == 0
    for row, text, labels in zip(encoded, CORPUS, dataset["labels"], strict=True):
        single = dict(tokenizer(text))
        assert {key: row[key] for key in single} == single
        assert row["labels"] == labels
        assert row[LENGTH_COLUMN] == max(len(single[f"{name}_input_ids"]) for name in ENCODERS)


def test_number_of_cut_texts(encoder_folders: dict[str, Path], dataset: datasets.Dataset) -> None:
    tokenizer = StackedEmotionTokenizer.from_encoders({"bert_wp": encoder_folders["bert_wp"]}, max_words=4)
    texts = ["one two three four", "one two three four five", "a b c d e f", "hi", ""]
    encoded, num_truncated = tokenize_dataset(datasets.Dataset.from_dict({"text": texts}), tokenizer)
    assert num_truncated == 2
    assert [max(row) for row in encoded["bert_wp_word_ids"]] == [4, 4, 4, 1, 0]


def test_number_of_cut_texts_over_several_batches_of_the_map(encoder_folders: dict[str, Path]) -> None:
    tokenizer = StackedEmotionTokenizer.from_encoders({"bert_wp": encoder_folders["bert_wp"]}, max_words=1)
    texts = ["hi", "hi hi"] * 1100
    _, num_truncated = tokenize_dataset(datasets.Dataset.from_dict({"text": texts}), tokenizer)
    assert num_truncated == 1100


def test_stock_tokenizer(encoder_folders: dict[str, Path], dataset: datasets.Dataset) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"], model_max_length=10)
    encoded, num_truncated = tokenize_dataset(dataset, tokenizer)
    assert {"input_ids", "attention_mask", "labels", LENGTH_COLUMN} <= set(encoded.column_names)
    assert not {"id", "text"} & set(encoded.column_names)
    assert num_truncated == 0
    assert list(encoded["input_ids"]) == tokenizer(CORPUS, truncation=True)["input_ids"]
    assert list(encoded[LENGTH_COLUMN]) == [len(row) for row in encoded["input_ids"]]
    assert max(encoded[LENGTH_COLUMN]) == 10

    batch = EmotionDataCollator(tokenizer)([encoded[index] for index in range(5)])
    longest = max(encoded[LENGTH_COLUMN][:5])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (5, longest)
    assert batch["attention_mask"].sum(dim=1).tolist() == list(encoded[LENGTH_COLUMN][:5])
    assert batch["labels"].tolist() == list(dataset["labels"][:5])
    assert LENGTH_COLUMN not in batch


def test_collator_example(encoder_folders: dict[str, Path]) -> None:
    tokenizer = StackedEmotionTokenizer.from_encoders({"a": encoder_folders["bert_wp"]})
    collator = EmotionDataCollator(tokenizer)
    batch = collator(
        [
            {"a_input_ids": [2, 7, 3], "a_attention_mask": [1, 1, 1], "a_word_ids": [0, 1, 0], "labels": [0.0, 1.0]},
            {"a_input_ids": [2, 3], "a_attention_mask": [1, 1], "a_word_ids": [0, 0], "labels": [1.0, 0.0]},
        ]
    )
    assert batch["a_input_ids"].tolist() == [[2, 7, 3], [2, 3, 0]]
    assert batch["a_attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["a_word_ids"].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert batch["labels"].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert {key: value.dtype for key, value in batch.items()} == {
        **{f"a_{field}": torch.int64 for field in FIELDS},
        "labels": torch.float32,
    }


@pytest.mark.parametrize("multiple", [None, 8])
def test_every_encoder_is_padded_to_its_own_longest_row(
    tokenizer: StackedEmotionTokenizer, dataset: datasets.Dataset, multiple: int | None
) -> None:
    encoded, _ = tokenize_dataset(dataset, tokenizer)
    rows = [encoded[index] for index in (0, 11, 37, 56)]
    batch = EmotionDataCollator(tokenizer, pad_to_multiple_of=multiple)(rows)
    widths = {}
    for name in ENCODERS:
        longest = max(len(row[f"{name}_input_ids"]) for row in rows)
        widths[name] = longest if multiple is None else -(-longest // multiple) * multiple
        assert {batch[f"{name}_{field}"].shape for field in FIELDS} == {(4, widths[name])}
        pad_id = tokenizer.tokenizers[name].pad_token_id
        for row, ids, mask in zip(rows, batch[f"{name}_input_ids"], batch[f"{name}_attention_mask"], strict=True):
            length = len(row[f"{name}_input_ids"])
            assert ids.tolist() == row[f"{name}_input_ids"] + [pad_id] * (widths[name] - length)
            assert mask.tolist() == [1] * length + [0] * (widths[name] - length)
    assert len(set(widths.values())) > 1
    assert batch["labels"].tolist() == [row["labels"] for row in rows]


def test_rows_without_labels(tokenizer: StackedEmotionTokenizer) -> None:
    encoded, _ = tokenize_dataset(datasets.Dataset.from_dict({"text": CORPUS[:3]}), tokenizer)
    batch = EmotionDataCollator(tokenizer)(list(encoded))
    assert set(batch) == set(tokenizer.model_input_names)


def test_integer_labels_become_floats(tokenizer: StackedEmotionTokenizer) -> None:
    batch = EmotionDataCollator(tokenizer)([{**tokenizer("hi"), "labels": [0, 1, 1]}])
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == [[0.0, 1.0, 1.0]]


def test_sampler_is_a_permutation_in_batches_of_like_lengths() -> None:
    lengths = torch.randint(3, 60, (800,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = EpochLengthGroupedSampler(8, lengths, seed=1)
    order = list(sampler)
    assert sorted(order) == list(range(800))
    spreads = [
        max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in BatchSampler(order, 8, False)
    ]
    # Batches at random span about 45 tokens.
    assert sum(spreads) / len(spreads) < 5


def test_order_of_the_sampler_follows_from_seed_and_epoch_alone() -> None:
    lengths = list(range(1, 101))
    first = EpochLengthGroupedSampler(4, lengths, seed=1)
    orders = []
    for epoch in range(3):
        first.set_epoch(epoch)
        orders.append(list(first))
    assert orders[0] != orders[1]
    assert orders[1] != orders[2]

    second = EpochLengthGroupedSampler(4, lengths, seed=1)
    torch.manual_seed(99)
    assert list(second) == orders[0]
    second.set_epoch(2)
    assert list(second) == orders[2]
    assert list(EpochLengthGroupedSampler(4, lengths, seed=5)) != orders[0]


@pytest.mark.parametrize("tokens_per_batch", [None, 40])
def test_batches_hold_rows_of_like_length(tokens_per_batch: int | None) -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 101)
    lengths[7] = 99
    batches = list(length_batches(lengths, 8, tokens_per_batch))
    assert sorted(np.concatenate(batches).tolist()) == list(range(101))
    flat = lengths[np.concatenate(batches)]
    assert (np.diff(flat) <= 0).all()
    assert all(len(batch) <= 8 for batch in batches)
    if tokens_per_batch is not None:
        assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= 40 for batch in batches)
        assert batches[0].tolist() == [7]
    results = np.zeros(101)
    for batch in batches:
        results[batch] = lengths[batch]
    assert (results == lengths).all()
    assert not list(length_batches([], 8, tokens_per_batch))


@pytest.mark.parametrize("padding", [0, 7])
def test_rows_of_a_ragged_column_are_padded_as_in_a_loop(padding: int) -> None:
    lists = [[3, 1], [], [5], [2, 4, 6], []]
    column = ragged_column(datasets.Dataset.from_dict({"ids": lists}), "ids")
    for rows, width in (([3, 0, 1], 3), ([2], 1), ([4, 1], 1)):
        padded = padded_rows(*column, np.array(rows), padding)
        assert padded.tolist() == [lists[row] + [padding] * (width - len(lists[row])) for row in rows]
