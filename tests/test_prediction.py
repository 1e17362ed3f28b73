# SPDX-License-Identifier: Apache-2.0
"""Tests of prediction: order, batching, memory, words, and what may be loaded."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CORPUS, LABELS, stock_classifier
from tokenizers import normalizers
from transformers import AutoTokenizer, BertConfig, PreTrainedModel

from hub.model.mini import mini_model
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.errors import InputError
from trainer_ext.evaluation import engine
from trainer_ext.evaluation.engine import prepare
from trainer_ext.evaluation.prediction import (
    find_device,
    iter_predictions,
    load_classifier,
    mean_encoder_weights,
    predict_logits,
    predict_outputs,
    predict_probabilities,
)

# Very different lengths, in no order.
TEXTS = [CORPUS[0] * 9, "hi", *CORPUS[3:6], "", CORPUS[1] * 5, "😂", CORPUS[40], "a " * 300, CORPUS[7], "ok"]
Setup = tuple[PreTrainedModel, Any]


@pytest.fixture(scope="module")
def stock(encoder_folders: dict[str, Path]) -> Setup:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    return stock_classifier(tokenizer, max_position_embeddings=128).eval(), tokenizer


@pytest.fixture
def ours(model: StackedEmotionForSequenceClassification, tokenizer: StackedEmotionTokenizer) -> Setup:
    return model, tokenizer


@pytest.fixture(params=["ours", "stock"])
def setup(request: pytest.FixtureRequest) -> Setup:
    """A model and its tokenizer: ours, and one of transformers."""
    return request.getfixturevalue(request.param)


def one_by_one(model: PreTrainedModel, tokenizer: Any, texts: list[str]) -> np.ndarray:
    with torch.no_grad():
        rows = [model(**tokenizer([text], truncation=True, return_tensors="pt")).logits[0] for text in texts]
    return torch.stack(rows).sigmoid().numpy()


def counted(texts: list[str] | Iterator[str], taken: list[str]) -> Iterator[str]:
    for text in texts:
        taken.append(text)
        yield text


@pytest.mark.parametrize("tokens_per_batch", [1, 200, None])
def test_order_is_kept_and_the_batches_change_nothing(setup: Setup, tokens_per_batch: int | None) -> None:
    model, tokenizer = setup
    expected = one_by_one(model, tokenizer, TEXTS)
    distances = np.abs(expected[:, None] - expected[None]).max(axis=-1) + np.eye(len(TEXTS))
    assert distances.min() > 1e-4
    options: dict[str, Any] = {"tokens_per_batch": tokens_per_batch, "precision": "fp32"}
    results = list(iter_predictions(model, tokenizer, TEXTS, **options))
    assert [result.text for result in results] == TEXTS
    found = np.stack([result.probabilities for result in results])
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5
    assert np.array_equal(predict_probabilities(model, tokenizer, TEXTS, **options), found)
    logits = np.stack([result.logits for result in results])
    assert logits.dtype == np.float32
    assert np.array_equal(predict_logits(model, tokenizer, TEXTS, **options), logits)
    assert np.abs(1 / (1 + np.exp(-logits.astype(np.float64))) - found).max() < 1e-6


def num_tokenizing() -> int:
    return sum(thread.name.startswith("tokenizing") for thread in threading.enumerate())


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty-four texts are a chunk."""
    monkeypatch.setattr(engine.iter_chunks, "__defaults__", (64,))


@pytest.mark.usefixtures("small_chunks")
def test_order_is_kept_over_several_chunks(stock: Setup) -> None:
    texts = [CORPUS[index % 62] * (1 + index % 2) for index in range(130)]
    found = predict_probabilities(*stock, texts, precision="fp32")
    assert np.abs(found - one_by_one(*stock, texts)).max() < 1e-5


@pytest.mark.usefixtures("small_chunks")
def test_texts_are_read_a_chunk_ahead_and_no_thread_is_left(stock: Setup) -> None:
    taken: list[str] = []
    results = iter_predictions(*stock, counted(itertools.cycle(CORPUS), taken))
    assert len(taken) == 0
    for num_results in range(1, 131):
        assert next(results).text == CORPUS[(num_results - 1) % 62]
        assert len(taken) == 64 * (1 - (-num_results // 64))
    assert num_tokenizing() == 1
    results.close()
    assert num_tokenizing() == 0


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("number", [0, 10, 64, 100, 128])
def test_an_error_of_the_texts_comes_after_the_answers_to_those_before_it(stock: Setup, number: int) -> None:
    def texts() -> Iterator[str]:
        yield from (CORPUS * 3)[:number]
        raise OSError("the disk is gone")

    answered: list[str] = []
    with pytest.raises(OSError, match="the disk is gone"):
        answered.extend(result.text for result in iter_predictions(*stock, texts()))
    assert answered == (CORPUS * 3)[:number]
    assert num_tokenizing() == 0


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
@pytest.mark.usefixtures("small_chunks")
def test_an_error_of_the_tokenizer_or_ctrl_c_comes_out_at_once(
    ours: Setup, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def tokenize(tokenizer: Any, texts: list[str], tokens_per_batch: int) -> Any:
        if len(seen) == 2:
            raise stop
        seen.append(len(texts))
        return real(tokenizer, texts, tokens_per_batch)

    seen: list[int] = []
    real = engine._tokenize
    monkeypatch.setattr(engine, "_tokenize", tokenize)
    answered: list[str] = []
    with pytest.raises(stop):
        answered.extend(result.text for result in iter_predictions(*ours, itertools.cycle(CORPUS)))
    assert len(seen) == 2
    assert num_tokenizing() == 0


def test_every_forward_pass_is_reported(stock: Setup) -> None:
    reported: list[int] = []
    results = list(iter_predictions(*stock, TEXTS, tokens_per_batch=130, report=reported.append))
    assert len(results) == sum(reported) == 12
    assert max(reported) > 1
    lengths = sorted((len(stock[1](text, truncation=True)["input_ids"]) for text in TEXTS), reverse=True)
    for number in reported:
        assert number == 1 or number * lengths[0] <= 130
        lengths = lengths[number:]


# --------------------------------------------------------------------------------------------------------- precision


def test_a_prepared_model_shares_the_weights_and_leaves_the_original_alone(setup: Setup) -> None:
    model, tokenizer = setup
    model.train()
    before = {name: (value.dtype, value.data_ptr()) for name, value in model.state_dict().items()}
    exact, near = prepare(model, "fp32"), prepare(model, "bf16")
    assert model.training
    model.eval()
    assert {name: (value.dtype, value.data_ptr()) for name, value in exact.state_dict().items()} == before
    assert {name: (value.dtype, value.data_ptr()) for name, value in model.state_dict().items()} == before
    assert (exact.training, near.training) == (False, False)
    assert all(parameter.requires_grad for parameter in model.parameters())
    lowered = {name for name, value in near.named_parameters() if value.dtype == torch.bfloat16}
    encoders = ("stacked_emotion.encoders.", "bert.")
    assert lowered == {name for name, _ in model.named_parameters() if name.startswith(encoders)}
    assert prepare(near, "bf16") is near
    with pytest.raises(ValueError, match=r"^The model was prepared in bf16, and cannot answer in fp32: prepare the"):
        predict_probabilities(near, tokenizer, ["hi"], precision="fp32")
    with pytest.raises(ValueError, match=r"^`precision` must be one of auto, fp32, bf16, fp16, got 'int8'\.$"):
        prepare(model, "int8")


@pytest.mark.parametrize(("precision", "limit"), [("bf16", 0.03), ("fp16", 0.004)])
def test_lower_precision_is_near_and_batches_change_no_more(setup: Setup, precision: str, limit: float) -> None:
    exact = predict_probabilities(*setup, TEXTS, precision="fp32")
    for tokens_per_batch in (1, 500):
        found = predict_probabilities(*setup, TEXTS, precision=precision, tokens_per_batch=tokens_per_batch)
        assert found.dtype == np.float32
        assert 0 < np.abs(found - exact).max() < limit


def test_tables_of_words_keep_their_numbers(static_folder: Path) -> None:
    folders = {"words": static_folder}
    model = StackedEmotionForSequenceClassification.from_encoders(folders, id2label=LABELS)
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    exact, near = (predict_logits(model, tokenizer, CORPUS, precision=name) for name in ("fp32", "bf16"))
    assert np.array_equal(exact, near)


@pytest.mark.slow
def test_model_that_comes_along_in_bf16_is_as_near_as_its_docstring_says() -> None:
    model, tokenizer = load_classifier(mini_model(), "cpu")
    texts = [*CORPUS, *(f"{one} {other}" for one, other in itertools.pairwise(CORPUS))]
    exact, near = (predict_probabilities(model, tokenizer, texts, precision=name) for name in ("fp32", "bf16"))
    assert np.abs(exact - near).max() < 0.03
    assert np.abs(exact - near).mean() < 0.001


# ----------------------------------------------------------------------------------------------------------- results


def test_no_texts(setup: Setup) -> None:
    assert list(iter_predictions(*setup, [])) == []
    probabilities = predict_probabilities(*setup, iter(()))
    assert probabilities.shape == (0, 4)
    assert probabilities.dtype == np.float32


def test_words_are_spans_of_the_text_and_share_the_attention(ours: Setup) -> None:
    texts = ["so happy today!", "no", "أنا سعيد 😂"]
    results = list(iter_predictions(*ours, texts))
    words = [[result.text[start:end] for start, end in result.words] for result in results]
    assert words == [["so", "happy", "today", "!"], ["no"], ["أنا", "سعيد", "😂"]]
    for result in results:
        assert len(result.word_attention) == len(result.words)
        assert sum(result.word_attention) == pytest.approx(1.0, abs=1e-5)
    assert results[1].word_attention == [1.0]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_text_without_words(ours: Setup, text: str) -> None:
    result = next(iter_predictions(*ours, [text, "hi"]))
    assert (result.text, result.words, result.word_attention) == (text, [], [])
    assert np.isfinite(result.probabilities).all()


def test_words_without_tokens_have_no_share(encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    bert = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    # As in BERT itself, which drops U+FFFD.
    bert.backend_tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer = StackedEmotionTokenizer({"bert_wp": bert})
    folders = {"bert_wp": encoder_folders["bert_wp"]}
    model = StackedEmotionForSequenceClassification.from_encoders(folders, id2label=LABELS)
    text = "so \ufffd happy \ufffd \ufffd"
    for beside in ([], ["a text of more words than the first one has"]):
        result = next(iter_predictions(model, tokenizer, [text, *beside]))
        assert [text[start:end] for start, end in result.words] == ["so", "\ufffd", "happy", "\ufffd", "\ufffd"]
        assert len(result.word_attention) == 5
        assert result.word_attention[3:] == [0.0, 0.0]
        assert sum(result.word_attention) == pytest.approx(1.0, abs=1e-5)


def test_stock_model_has_no_words(stock: Setup) -> None:
    assert all((result.words, result.word_attention) == ([], []) for result in iter_predictions(*stock, TEXTS))


def test_model_in_training_mode_predicts_without_dropout(setup: Setup) -> None:
    model, tokenizer = setup
    model.eval()
    expected = one_by_one(model, tokenizer, TEXTS)
    model.train()
    assert np.abs(predict_probabilities(model, tokenizer, TEXTS, precision="fp32") - expected).max() < 1e-5
    assert model.training
    model.eval()


@pytest.mark.parametrize("number", [0, -3])
def test_tokens_below_one_are_an_error(stock: Setup, number: int) -> None:
    with pytest.raises(ValueError, match=rf"^`tokens_per_batch` must be at least 1, got {number}\.$"):
        predict_probabilities(*stock, ["hi"], tokens_per_batch=number)


# ----------------------------------------------------------------------------------------------------------- loading


def test_saved_classifier_predicts_the_same(setup: Setup, tmp_path: Path) -> None:
    for part in setup:
        part.save_pretrained(tmp_path)
    model, tokenizer = load_classifier(str(tmp_path), device="cpu")
    assert (type(model), type(tokenizer)) == (type(setup[0]), type(setup[1]))
    assert not model.training
    expected = predict_probabilities(*setup, TEXTS)
    assert np.array_equal(predict_probabilities(model, tokenizer, TEXTS), expected)


def test_code_beside_the_weights_is_not_run(ours: Setup, tmp_path: Path) -> None:
    for part in ours:
        part.save_pretrained(tmp_path)
    files = list(tmp_path.glob("*.py"))
    assert {file.name for file in files} > {"modeling_stacked_emotion.py", "tokenization_stacked_emotion.py"}
    for file in files:
        file.write_text("raise RuntimeError('run')\n", encoding="utf-8")
    model, _ = load_classifier(str(tmp_path), device="cpu")
    assert type(model) is StackedEmotionForSequenceClassification


def test_device_is_the_accelerator_or_as_asked_for(stock: Setup, tmp_path: Path) -> None:
    for part in stock:
        part.save_pretrained(tmp_path)
    default = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    assert default is not None
    assert load_classifier(str(tmp_path))[0].device.type == default.type
    assert load_classifier(str(tmp_path), device="meta")[0].device.type == "meta"


def test_device_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^The device 'abacus' cannot be used \(.*\); leave it out, or use 'cpu'\.$"):
        find_device("abacus")


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        load_classifier(str(tmp_path / "missing"))


def test_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError), match=r"config\.json"):
        load_classifier(str(tmp_path))


@pytest.mark.parametrize("problem_type", [None, "single_label_classification"])
def test_other_classifiers_are_an_error(stock: Setup, tmp_path: Path, problem_type: str | None) -> None:
    for part in stock:
        part.save_pretrained(tmp_path)
    config = BertConfig.from_pretrained(tmp_path)
    config.problem_type = problem_type
    config.save_pretrained(tmp_path)
    expected = r"is no multi-label classifier: its `problem_type` must be 'multi_label_classification', got "
    with pytest.raises(ValueError, match=f"^{tmp_path} {expected}{problem_type!r}" + r"\.$"):
        load_classifier(str(tmp_path))


def test_bare_encoder_is_an_error(encoder_folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="is no multi-label classifier"):
        load_classifier(str(encoder_folders["electra_uni"]))


def test_mean_weights_are_those_of_all_words(ours: Setup, stock: Setup) -> None:
    model, tokenizer = ours
    weights = []
    with torch.no_grad():
        for text in TEXTS:
            weights.append(model(**tokenizer([text], return_tensors="pt")).encoder_weights[0])
    expected = torch.cat(weights).double().sum(dim=0)

    def mean(model: PreTrainedModel, tokenizer: Any, texts: list[str]) -> dict[str, float]:
        return mean_encoder_weights(model, predict_outputs(model, tokenizer, texts, precision="fp32").encoder_weights)

    means = mean(model, tokenizer, TEXTS)
    assert list(means) == list(model.config.encoders)
    assert [*means.values()] == pytest.approx((expected / expected.sum()).tolist(), abs=1e-6)
    assert mean(model, tokenizer, [""]) == {}
    assert mean(*stock, TEXTS) == {}
    # The classifier of a stack at its start takes nothing but the mean states of the encoders.
    with torch.no_grad():
        model.classifier.weight[:, : model.base_model.skip_places[next(iter(means))].start] = 0.0
    assert mean(model, tokenizer, TEXTS) == {}
