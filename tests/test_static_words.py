# SPDX-License-Identifier: Apache-2.0
"""Tests of static words as an encoder: FastText's rule, frozen tables, fp16 on disk, alone and beside transformers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from modeling_stacked_emotion import (
    StackedEmotionForSequenceClassification,
    StackedEmotionTokenizer,
    StaticWordsConfig,
    StaticWordsModel,
    StaticWordsTokenizer,
    round_weights,
)
from modeling_stacked_emotion.layers_stacked_emotion import average_tokens, mark_words
from trainer_ext.training.layers import count_parameters, freeze_layers

TEXTS = ["I am so happy today!", "unhappily unhappily yours", "", "أنا سعيد جدا اليوم 🎉 xyzzy"]
TABLE = "stacked_emotion.encoders.words.table"


def build(folder: Path, **fields: Any) -> StackedEmotionForSequenceClassification:
    torch.manual_seed(0)
    options: dict[str, Any] = {"mixer": "convolutions", "convolution_hidden_size": 6, "lstm_hidden_size": 8} | fields
    model = StackedEmotionForSequenceClassification.from_encoders({"words": folder}, num_labels=4, **options)
    assert isinstance(model, StackedEmotionForSequenceClassification)
    return model


def frozen_copy(folder: Path, target: Path) -> Path:
    model = StaticWordsModel.from_pretrained(folder)
    tokenizer = StaticWordsTokenizer.from_pretrained(folder)
    frozen = StaticWordsModel(StaticWordsConfig(vocab_size=len(tokenizer), hidden_size=20, frozen=True))
    frozen.load_state_dict(model.state_dict())
    frozen.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


@pytest.fixture
def tokenizer_of(static_folder: Path) -> StackedEmotionTokenizer:
    return StackedEmotionTokenizer.from_encoders({"words": static_folder})


@pytest.fixture
def batch(tokenizer_of: StackedEmotionTokenizer) -> dict[str, torch.Tensor]:
    return dict(tokenizer_of(TEXTS, padding=True, return_tensors="pt"))


def test_a_known_word_has_its_row_and_an_unknown_one_the_mean_of_its_ngrams(
    static_folder: Path, tokenizer_of: StackedEmotionTokenizer, batch: dict[str, torch.Tensor]
) -> None:
    table = load_file(static_folder / "model.safetensors")["table"]
    stack, has_tokens, num_words = build(static_folder).stacked_emotion.encode_words(**batch)
    assert num_words.tolist() == [6, 3, 1, 5]
    static = tokenizer_of.tokenizers["words"]
    for row, text in enumerate(TEXTS):
        for index, word in enumerate(text.replace("!", " !").split()):
            ids = list(static.word_to_ids(word))
            expected = table[ids].mean(dim=0) if ids else torch.zeros(20)
            assert bool(has_tokens[row, index, 0]) is bool(ids) if index < stack.shape[1] else not ids
            torch.testing.assert_close(stack[row, index], expected, rtol=0, atol=1e-6)
    assert len(static.word_to_ids("unhappily")) > 1


@pytest.mark.parametrize("mixer", ["convolutions", "meta_learner", "none"])
@pytest.mark.parametrize("lstm_num_layers", [0, 1])
def test_batch_of_one_equals_the_batch(
    static_folder: Path,
    tokenizer_of: StackedEmotionTokenizer,
    batch: dict[str, torch.Tensor],
    mixer: str,
    lstm_num_layers: int,
) -> None:
    model = build(static_folder, mixer=mixer, lstm_num_layers=lstm_num_layers)
    with torch.no_grad():
        together = model(**batch).logits
        alone = torch.cat([model(**tokenizer_of([t], padding=True, return_tensors="pt")).logits for t in TEXTS])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert together.std(dim=0).min() > 0


def test_the_convolutions_take_the_place_of_the_stack(static_folder: Path, batch: dict[str, torch.Tensor]) -> None:
    model = build(
        static_folder, convolution_widths=[2, 3, 4], lstm_num_layers=0, skip_connection=False
    ).stacked_emotion
    output = model(**batch)
    assert output.last_hidden_state.shape == (4, 6, 18)
    assert output.pooler_output.shape == (4, 18)
    assert output.last_hidden_state[~output.word_mask].abs().max() == 0
    assert output.encoder_weights is None
    stack, _, _ = model.encode_words(**batch)
    torch.testing.assert_close(output.last_hidden_state, model.mixer(stack, output.word_mask))


def test_word_dropout_zeroes_whole_words_in_training_only(static_folder: Path, batch: dict[str, torch.Tensor]) -> None:
    fields: dict[str, Any] = {"mixer": "none", "lstm_num_layers": 0, "dropout": 0.0, "word_dropout": 0.5}
    model = build(static_folder, **fields).stacked_emotion
    stack, has_tokens, _ = model.encode_words(**batch)
    assert torch.equal(model(**batch).last_hidden_state, stack)
    model.train()
    torch.manual_seed(0)
    shares = []
    for _ in range(50):
        states = model(**batch).last_hidden_state
        kept = (states != 0).any(dim=-1)
        assert torch.equal(states[kept], stack[kept])
        shares.append(kept[has_tokens.squeeze(-1)].float().mean())
    assert 0.4 < torch.stack(shares).mean() < 0.6


def test_gradients_reach_the_rows_that_were_used(static_folder: Path, batch: dict[str, torch.Tensor]) -> None:
    model = build(static_folder)
    model(**batch, labels=torch.ones(4, 4)).loss.backward()
    gradient = dict(model.named_parameters())[TABLE].grad
    assert gradient is not None
    used = torch.unique(batch["words_input_ids"][batch["words_attention_mask"].bool()])
    expected = torch.zeros(len(gradient), dtype=torch.bool)
    expected[used] = True
    assert torch.equal(gradient.abs().amax(dim=1) > 0, expected)


def test_a_frozen_table_is_not_trained_and_stays_frozen(
    static_folder: Path, batch: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    folder = frozen_copy(static_folder, tmp_path / "frozen")
    model, tuned = build(folder), build(static_folder)
    table = model.state_dict()[TABLE].clone()
    assert torch.equal(table, tuned.state_dict()[TABLE])
    assert count_parameters(tuned)[0] - count_parameters(model)[0] == table.numel()
    freeze_layers(tuned, -1)
    assert count_parameters(tuned)[0] == count_parameters(model)[0]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.5)
    model.train()(**batch, labels=torch.ones(4, 4)).loss.backward()
    optimizer.step()
    model.save_pretrained(tmp_path / "saved")
    loaded = StackedEmotionForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert TABLE not in dict(loaded.named_parameters())
    assert torch.equal(loaded.state_dict()[TABLE], table)


def test_a_table_is_saved_in_fp16_where_that_loses_nothing(
    static_folder: Path, batch: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    model = build(static_folder)
    for step, dtype in enumerate([torch.float16, torch.float32, torch.float16]):
        if step == 1:
            with torch.no_grad():
                dict(model.named_parameters())[TABLE].mul_(1.0001)
        if step == 2:
            before = model.state_dict()[TABLE].clone()
            round_weights(model)
            assert torch.equal(model.state_dict()[TABLE], before.half().float())
        folder = tmp_path / str(step)
        model.save_pretrained(folder)
        weights = load_file(folder / "model.safetensors")
        assert weights.pop(TABLE).dtype == dtype
        assert {value.dtype for value in weights.values()} == {torch.float32}
        loaded = StackedEmotionForSequenceClassification.from_pretrained(folder)
        assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
        with torch.no_grad():
            assert torch.equal(copy.deepcopy(loaded)(**batch).logits, copy.deepcopy(model)(**batch).logits)


def test_beside_transformers_it_is_one_more_part_of_the_stack(
    static_folder: Path, encoder_folders: dict[str, Path], tmp_path: Path
) -> None:
    folders = {"bert_wp": encoder_folders["bert_wp"], "words": static_folder}
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    torch.manual_seed(0)
    model = StackedEmotionForSequenceClassification.from_encoders(folders, num_labels=4)
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    stack, has_tokens, _ = model.stacked_emotion.encode_words(**batch)
    own = StackedEmotionTokenizer.from_encoders({"words": static_folder})(TEXTS, padding=True, return_tensors="pt")
    words, _, _ = build(static_folder).stacked_emotion.encode_words(**own)
    assert torch.equal(stack[:, : words.shape[1], 32:], words)
    assert has_tokens.shape[-1] == 2
    assert model(**batch).encoder_weights[1, 0].min() > 0
    # "xyzzy" has no n-gram in the table: the other encoder alone counts there.
    assert model(**batch).encoder_weights[3, 5].tolist() == [1.0, 0.0]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    again = dict(AutoTokenizer.from_pretrained(tmp_path)(TEXTS, padding=True, return_tensors="pt"))
    assert all(torch.equal(again[key], batch[key]) for key in batch)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(loaded)(**again).logits, copy.deepcopy(model)(**batch).logits)


def test_auto_classes_load_the_encoder(static_folder: Path) -> None:
    config = AutoConfig.from_pretrained(static_folder)
    assert (type(config), config.hidden_size, config.frozen) == (StaticWordsConfig, 20, False)
    assert type(AutoModel.from_pretrained(static_folder)) is StaticWordsModel
    tokenizer = AutoTokenizer.from_pretrained(static_folder)
    assert isinstance(tokenizer, StaticWordsTokenizer)
    assert len(tokenizer) == config.vocab_size


def test_a_new_table_is_random_and_finite() -> None:
    for frozen in (False, True):
        torch.manual_seed(0)
        table = StaticWordsModel(StaticWordsConfig(vocab_size=200, hidden_size=50, frozen=frozen)).table
        assert 0.09 < table.std().item() < 0.11


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"vocab_size": 0}, ValueError, "`vocab_size` must be at least 1, got 0"),
        ({"hidden_size": True}, TypeError, "`hidden_size` must be an integer, got True"),
        ({"frozen": 1}, TypeError, "`frozen` must be true or false, got 1"),
    ],
)
def test_fields_out_of_range(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        StaticWordsConfig(**fields)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_states_of_words_are_the_means_of_their_rows(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = StaticWordsModel(StaticWordsConfig(vocab_size=9, hidden_size=5)).to(dtype)
    # Words without tokens, tokens without a word, the tokens of a word apart from one another, a text without words.
    ids = torch.tensor([[3, 4, 5, 6, 3], [7, 1, 8, 0, 0], [0, 0, 0, 0, 0]])
    word_ids = torch.tensor([[1, 3, 3, 0, 1], [2, 0, 2, 0, 0], [0, 0, 0, 0, 0]])
    states = model(ids, word_ids=word_ids, num_words=3).last_hidden_state
    expected, has_tokens = average_tokens(model(ids).last_hidden_state, word_ids, 3)
    torch.testing.assert_close(states, expected)
    assert torch.equal(mark_words(word_ids, 3), has_tokens)
    weights = torch.randn(states.shape, dtype=dtype)
    gradients = [torch.autograd.grad((result * weights).sum(), model.table)[0] for result in (states, expected)]
    torch.testing.assert_close(*gradients)
    assert not model(ids[2:], word_ids=word_ids[2:], num_words=1).last_hidden_state.any()


def test_a_model_of_static_words_gives_the_logits_of_averaged_tokens(static_folder: Path) -> None:
    model = build(static_folder).eval()
    tokenizer = StackedEmotionTokenizer.from_encoders({"words": static_folder})
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    encoder = model.stacked_emotion.encoders["words"]
    tokens = encoder(inputs["words_input_ids"]).last_hidden_state
    num_words = inputs["words_word_ids"].amax(dim=1).clamp(min=1)
    stack, has_tokens = average_tokens(tokens, inputs["words_word_ids"], int(num_words.max()))
    averaged = model(word_states=stack, has_tokens=has_tokens.unsqueeze(-1), num_words=num_words)
    torch.testing.assert_close(model(**inputs).logits, averaged.logits)
