# SPDX-License-Identifier: Apache-2.0
"""The stacked model: what a row gives whatever stands beside it, the loss, loading and saving, dtypes and devices."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from modeling_stacked_emotion import (
    StackedEmotionConfig,
    StackedEmotionForSequenceClassification,
    StackedEmotionModel,
    StackedEmotionTokenizer,
)
from modeling_stacked_emotion.configuration_stacked_emotion import POOLINGS
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext

Classifier = StackedEmotionForSequenceClassification
Batch = dict[str, torch.Tensor]

TEXTS = [
    "I am so happy today!",
    "no",
    "she loves him, he loves tea ☕ and I can't believe he said that to her... nothing matters any more, never again",
    "أنا سعيد جدا اليوم",
    "the family 👨‍👩‍👧 is together again 🎉",
]
LABELS = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, 1]])
NAMES = ["bert_wp", "electra_uni", "roberta_bb"]
WIDTHS = {"bert_wp": 32, "electra_uni": 40, "roberta_bb": 24}
WITHOUT_WORDS = ["", " ", "\x00\x07\u200e\u200b"]


@pytest.fixture
def batch(tokenizer: StackedEmotionTokenizer) -> Batch:
    return encode(tokenizer, TEXTS)


@pytest.fixture
def saved(model: Classifier, tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    return folder


def encode(tokenizer: StackedEmotionTokenizer, texts: list[str]) -> Batch:
    return dict(tokenizer(texts, padding=True, return_tensors="pt"))


def logits_of(model: Any, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(**batch).logits
    return logits


def aligned(model: torch.nn.Module) -> Any:
    """A copy with its weights at aligned addresses, on which the last bit of a product in MKL depends."""
    return copy.deepcopy(model)


def only(batch: Batch, *names: str) -> Batch:
    """The part of a batch that belongs to some encoders."""
    return {key: value for key, value in batch.items() if key.startswith(names)}


def build(folders: dict[str, Path], **fields: Any) -> Classifier:
    torch.manual_seed(0)
    model = Classifier.from_encoders(folders, num_labels=4, **fields)
    assert isinstance(model, Classifier)
    return model


def assert_near(actual: torch.Tensor, expected: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def training_loss(model: Classifier, batch: Batch) -> torch.Tensor:
    """The model's own loss plus that of the auxiliary classifier, as a training uses them."""
    output = model(**batch, labels=LABELS)
    auxiliary = torch.nn.functional.binary_cross_entropy_with_logits(output.auxiliary_logits, LABELS.float())
    loss: torch.Tensor = output.loss + auxiliary
    return loss


# ---------------------------------------------------------------------------------------------------- outputs


def test_output_shapes_and_types(model: Classifier, tokenizer: StackedEmotionTokenizer, batch: Batch) -> None:
    with torch.no_grad():
        output = model(**batch)
        base = model.stacked_emotion(**batch)
    num_words = [len(words) for words in tokenizer(TEXTS, return_words=True)["words"]]
    shape = (len(TEXTS), max(num_words))
    assert output.loss is None
    assert output.logits.shape == output.auxiliary_logits.shape == (5, 4)
    assert output.pooler_output.shape == (5, 256 + 96)
    assert output.word_attention.shape == shape
    assert output.encoder_weights.shape == (*shape, 3)
    assert base.last_hidden_state.shape == (*shape, 256)
    assert base.meta_state.shape == (5, 128)
    assert base.word_mask.sum(dim=1).tolist() == num_words
    assert base.last_hidden_state[~base.word_mask].abs().sum() == 0
    assert all(value.dtype == torch.float32 for value in output.values())


def test_shares_sum_to_one_over_real_words(
    model: Classifier, tokenizer: StackedEmotionTokenizer, batch: Batch
) -> None:
    with torch.no_grad():
        base = model.stacked_emotion(**batch)
    assert base.word_attention.sum(dim=1).tolist() == pytest.approx([1.0] * 5, abs=1e-6)
    assert base.word_attention[~base.word_mask].abs().sum() == 0
    expected = torch.zeros(base.encoder_weights.shape)
    for row, word, index in torch.cartesian_prod(*(torch.arange(size) for size in expected.shape)).tolist():
        expected[row, word, index] = (batch[f"{NAMES[index]}_word_ids"][row] == word + 1).any()
    assert torch.equal(base.encoder_weights > 0, expected > 0)
    assert_near(base.encoder_weights.sum(dim=-1), expected.amax(dim=-1))


def test_encoder_without_a_token_for_a_word_has_no_weight_there(model: Classifier, batch: Batch) -> None:
    ids = batch["bert_wp_word_ids"]
    batch["bert_wp_word_ids"] = ids.masked_fill(ids == 2, 0)
    with torch.no_grad():
        weights = model(**batch).encoder_weights
    assert weights[0, 1, 0] == 0
    assert weights[0, 1].sum() == pytest.approx(1)
    assert (weights[0, 0] > 0).all()


def test_meta_state_is_the_mean_of_the_mixed_words(model: Classifier, batch: Batch) -> None:
    base = model.stacked_emotion
    assert base.mixer is not None
    with torch.no_grad():
        stack, has_tokens, num_words = base.encode_words(**batch)
        mixed, _ = base.mixer(stack, has_tokens)
        meta_state = base.mix_words(stack, has_tokens, num_words).meta_state
    for row, length in enumerate(num_words.tolist()):
        assert_near(meta_state[row], sum(mixed[row, word] for word in range(length)) / length, atol=1e-6)


def test_word_states_are_the_means_of_the_encoders_own_states(model: Classifier, batch: Batch) -> None:
    with torch.no_grad():
        stack, _, _ = model.stacked_emotion.encode_words(**batch)
        states = stack.split(model.stacked_emotion.hidden_sizes, dim=-1)
        for index, name in enumerate(NAMES):
            hidden = model.stacked_emotion.encoders[name](
                input_ids=batch[f"{name}_input_ids"], attention_mask=batch[f"{name}_attention_mask"]
            ).last_hidden_state
            tokens = (batch[f"{name}_word_ids"][0] == 1).nonzero().flatten().tolist()
            expected = sum(hidden[0, token] for token in tokens) / len(tokens)
            assert_near(states[index][0, 0], expected, atol=1e-6)


def test_return_dict_false_gives_the_same_as_a_tuple(model: Classifier, batch: Batch) -> None:
    with torch.no_grad():
        output = model(**batch, labels=LABELS)
        as_tuple = model(**batch, labels=LABELS, return_dict=False)
        base = model.stacked_emotion(**batch)
        base_tuple = model.stacked_emotion(**batch, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert len(as_tuple) == 7
    assert len(base_tuple) == 7
    assert all(torch.equal(*pair) for pair in zip(as_tuple, output.to_tuple(), strict=True))
    assert all(torch.equal(*pair) for pair in zip(base_tuple, base.to_tuple(), strict=True))
    model.config.return_dict = False
    assert isinstance(model(**batch), tuple)


# ---------------------------------------------------------------------------------------------------- padding


def test_batch_of_one_equals_the_batch(model: Classifier, tokenizer: StackedEmotionTokenizer, batch: Batch) -> None:
    together = logits_of(model, batch)
    for row, text in enumerate(TEXTS):
        assert_near(logits_of(model, encode(tokenizer, [text]))[0], together[row])
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_much_longer_rows_beside_change_nothing(model: Classifier, tokenizer: StackedEmotionTokenizer) -> None:
    alone = logits_of(model, encode(tokenizer, [TEXTS[0]]))[0]
    beside = logits_of(model, encode(tokenizer, ["the sea " * 40, TEXTS[0]]))[1]
    assert_near(beside, alone)


@pytest.mark.parametrize("name", NAMES)
def test_longer_padding_of_one_encoder_changes_nothing(model: Classifier, batch: Batch, name: str) -> None:
    expected = logits_of(model, batch)
    for field in ("input_ids", "attention_mask", "word_ids"):
        batch[f"{name}_{field}"] = torch.nn.functional.pad(batch[f"{name}_{field}"], (0, 50))
    assert_near(logits_of(model, batch), expected)


def test_values_behind_the_mask_change_nothing(model: Classifier, batch: Batch) -> None:
    expected = logits_of(model, batch)
    torch.manual_seed(0)
    for name in NAMES:
        hidden = batch[f"{name}_attention_mask"] == 0
        assert hidden.any()
        for field, highest in (("input_ids", 100), ("word_ids", 200)):
            values = batch[f"{name}_{field}"]
            values[hidden] = torch.randint(0, highest, values.shape)[hidden]
    assert_near(logits_of(model, batch), expected)


@pytest.mark.parametrize("text", WITHOUT_WORDS)
def test_text_without_words_gives_finite_logits_alone_and_in_a_batch(
    model: Classifier, tokenizer: StackedEmotionTokenizer, text: str
) -> None:
    with torch.no_grad():
        output = model(**encode(tokenizer, [text]))
        beside = model(**encode(tokenizer, [TEXTS[2], text]))
    assert output.logits.isfinite().all()
    assert output.encoder_weights.abs().sum() == 0
    assert output.word_attention.tolist() == [[1.0]]
    assert_near(beside.logits[1], output.logits[0])


@pytest.mark.parametrize(
    ("pooling", "lstm_num_layers"),
    [(pooling, layers) for pooling in POOLINGS for layers in (0, 1, 2) if (pooling, layers) != ("last", 0)],
)
def test_every_pooling_and_depth_is_free_of_padding(
    encoder_folders: dict[str, Path],
    tokenizer: StackedEmotionTokenizer,
    batch: Batch,
    pooling: str,
    lstm_num_layers: int,
) -> None:
    model = build(encoder_folders, pooling=pooling, lstm_num_layers=lstm_num_layers, lstm_hidden_size=8)
    width = 16 if lstm_num_layers else 32 + 40 + 24 + 128
    assert model.classifier.in_features == width + 32 + 40 + 24
    together = logits_of(model, batch)
    for row in (1, 3):
        assert_near(logits_of(model, encode(tokenizer, [TEXTS[row]]))[0], together[row])
    loss = model(**encode(tokenizer, [*TEXTS[:2], *WITHOUT_WORDS]), labels=LABELS).loss
    loss.backward()
    assert loss.isfinite()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_the_skip_connection_is_the_mean_of_the_encoders_words(encoder_folders: dict[str, Path], batch: Batch) -> None:
    model = build(encoder_folders, lstm_hidden_size=8).stacked_emotion
    stack, _, num_words = model.encode_words(**batch)
    means = [stack[row, :length].mean(0) for row, length in enumerate(num_words.tolist())]
    pooled = model(**batch).pooler_output
    assert_near(pooled[:, 16:], torch.stack(means))
    model.config.skip_connection = False
    assert torch.equal(model(**batch).pooler_output, pooled[:, :16])
    without = build(encoder_folders, lstm_hidden_size=8, skip_connection=False)
    assert without.classifier.in_features == 16
    assert logits_of(without, batch).isfinite().all()


def test_a_head_without_weights_takes_cached_states(encoder_folders: dict[str, Path], batch: Batch) -> None:
    plain: dict[str, Any] = {"mixer": "none", "lstm_num_layers": 0, "pooling": "mean"}
    model = build(encoder_folders, **plain).stacked_emotion
    with torch.no_grad():
        expected = model(**batch).pooler_output
        names = ("word_states", "has_tokens", "num_words")
        encoded = dict(zip(names, model.encode_words(**batch), strict=True))
        # As in the stage of the head.
        model.encoders = torch.nn.ModuleDict()
        assert not list(model.parameters())
        assert_near(model(**encoded).pooler_output, expected)


def test_a_weighted_skip_connection_weighs_the_encoders_words(encoder_folders: dict[str, Path], batch: Batch) -> None:
    classifier = build(encoder_folders, lstm_hidden_size=8, weighted_skip_connection=True)
    model = classifier.stacked_emotion
    with torch.no_grad():
        stack, _, num_words = model.encode_words(**batch)
        output = model(**batch)
    parts = zip(stack.split(model.hidden_sizes, dim=-1), output.encoder_weights.unbind(dim=-1), strict=True)
    for (states, weights), place in zip(parts, model.skip_places.values(), strict=True):
        for row, length in enumerate(num_words.tolist()):
            weight = weights[row, :length]
            expected = torch.cat([(weight.unsqueeze(-1) * states[row, :length]).mean(0), weight.mean().unsqueeze(0)])
            assert_near(output.pooler_output[row, place], expected)
    together = logits_of(classifier, batch)
    assert together.isfinite().all()
    # Without the mixer's and the Bi-LSTM's part the logits are those of the encoders, weighed text by text, where all
    # words of a text have the same weights.
    with torch.no_grad():
        classifier.classifier.weight[:, :16] = 0.0
        model.mixer.gate.weight.zero_()
        model.mixer.gate.bias.copy_(torch.tensor([0.5, 0.2, 0.3]).log())
        output = classifier(**batch)
        whole = model(**batch).encoder_weights.sum(dim=-1).sum(dim=-1) == num_words
        assert whole.any()
        expected = torch.einsum("n,bnl->bl", torch.tensor([0.5, 0.2, 0.3]), output.encoder_logits)
    assert_near(output.logits[whole], expected[whole], atol=1e-5)


def test_parts_to_keep_together_are_parts_of_the_model(encoder_folders: dict[str, Path]) -> None:
    full = build(encoder_folders).stacked_emotion
    small = build(encoder_folders, mixer="none", lstm_num_layers=0).stacked_emotion
    for model in (full, small):
        assert set(model._no_split_modules) <= {type(module).__name__ for module in model.modules()}
    assert {"BertLayer", "BiLSTM", "MetaLearner", "Pooling"} <= set(full._no_split_modules)
    assert set(full._no_split_modules) - set(small._no_split_modules) == {"BiLSTM", "MetaLearner"}


# ---------------------------------------------------------------------------------------------------- stacks


@pytest.mark.parametrize("names", [["bert_wp"], ["roberta_bb", "electra_uni"], NAMES])
@pytest.mark.parametrize("mixer", ["meta_learner", "none"])
def test_stacks_of_one_two_and_three(
    encoder_folders: dict[str, Path], batch: Batch, names: list[str], mixer: str
) -> None:
    model = build({name: encoder_folders[name] for name in names}, mixer=mixer, lstm_num_layers=0)
    with torch.no_grad():
        output = model(**only(batch, *names))
    assert output.logits.shape == (5, 4)
    width = sum(WIDTHS[name] for name in names)
    if mixer == "none":
        assert (output.auxiliary_logits, output.encoder_weights, model.auxiliary_classifier) == (None, None, None)
        assert output.pooler_output.shape == (5, 2 * width)
    else:
        assert output.auxiliary_logits.shape == (5, 4)
        assert output.encoder_weights.shape[-1] == len(names)
        assert output.pooler_output.shape == (5, 2 * width + 128)


def test_logits_of_an_encoder_alone_are_those_of_a_model_without_the_others(
    encoder_folders: dict[str, Path], batch: Batch
) -> None:
    plain: dict[str, Any] = {"mixer": "none", "lstm_num_layers": 0, "pooling": "mean"}
    stack = build({name: encoder_folders[name] for name in NAMES}, **plain)
    with torch.no_grad():
        output = stack(**only(batch, *NAMES))
        # Of the pooled words and, by the skip connection, the same words once more.
        pooled, skipped = stack.classifier.weight.chunk(2, dim=-1)
        weight = skipped.split([WIDTHS[name] for name in NAMES], dim=-1)
        for index, name in enumerate(NAMES):
            alone = build({name: encoder_folders[name]}, **plain, skip_connection=False)
            alone.classifier.weight.copy_(len(NAMES) * weight[index])
            alone.classifier.bias.copy_(stack.classifier.bias)
            assert_near(output.encoder_logits[:, index], alone(**only(batch, name)).logits, atol=1e-5)
        pooled.zero_()
        output = stack(**only(batch, *NAMES))
    assert_near(output.encoder_logits.mean(dim=1), output.logits, atol=1e-5)


def test_without_skip_connection_no_encoder_has_logits_alone(encoder_folders: dict[str, Path], batch: Batch) -> None:
    model = build(encoder_folders, skip_connection=False)
    with torch.no_grad():
        assert model(**batch).encoder_logits is None


def test_the_order_in_which_encoders_are_named_does_not_matter(encoder_folders: dict[str, Path], batch: Batch) -> None:
    reverse = dict(reversed(encoder_folders.items()))
    assert_near(logits_of(build(encoder_folders), batch), logits_of(build(reverse), batch), atol=1e-6)


ARCHITECTURES = ["bert", "roberta", "distilbert", "electra", "xlm-roberta", "deberta-v2", "modernbert"]


def test_one_stack_of_seven_architectures_trains_saves_and_reloads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kinds = ["wordpiece", "byte_bpe", "bpe", "unigram"]
    specs = {
        architecture.replace("-", "_"): ScratchEncoder(
            architecture, kinds[index % 4], 300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
        )
        for index, architecture in enumerate(ARCHITECTURES)
    }
    folders = {name: spec.build(BuildContext(TEXTS * 3, tmp_path / name)) for name, spec in specs.items()}
    tokenizer = StackedEmotionTokenizer.from_encoders(folders)
    batch = encode(tokenizer, TEXTS)
    model = build(folders).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = training_loss(model, batch)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.6 * losses[0]
    model.eval().save_pretrained(tmp_path / "stack")
    reloaded = Classifier.from_pretrained(tmp_path / "stack")
    expected = logits_of(aligned(model), batch)
    assert torch.equal(logits_of(aligned(reloaded), batch), expected)
    for row, text in enumerate(TEXTS):
        assert_near(logits_of(model, encode(tokenizer, [text]))[0], expected[row])


# ---------------------------------------------------------------------------------------------------- loss, inputs


def test_loss_is_the_mean_over_known_labels(model: Classifier, batch: Batch) -> None:
    labels = 0.75 * LABELS.float()
    labels[0], labels[1, 2] = torch.nan, torch.nan
    output = model(**batch, labels=labels)
    known = ~labels.isnan()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(output.logits[known], labels[known])
    assert_near(output.loss, expected, 1e-6)
    nothing = model(**batch, labels=torch.full_like(labels, torch.nan)).loss
    nothing.backward()
    assert nothing.item() == 0.0
    assert not model.classifier.weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool])
def test_loss_is_binary_cross_entropy_by_hand(model: Classifier, batch: Batch, dtype: torch.dtype) -> None:
    with torch.no_grad():
        output = model(**batch, labels=LABELS.to(dtype))
    terms = []
    for logits, labels in zip(output.logits.tolist(), LABELS.tolist(), strict=True):
        for logit, label in zip(logits, labels, strict=True):
            probability = 1 / (1 + math.exp(-logit))
            terms.append(-math.log(probability if label else 1 - probability))
    assert len(terms) == 20
    assert output.loss.item() == pytest.approx(sum(terms) / 20, rel=1e-5)


@pytest.mark.parametrize("shape", [(5,), (5, 3), (4, 4), (5, 4, 1)])
def test_labels_of_wrong_shape_are_an_error(model: Classifier, batch: Batch, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"`labels` must have shape \(5, 4\), got \(.*\)\. Check `config.num_labels`"):
        model(**batch, labels=torch.zeros(shape))


def test_missing_inputs_are_an_error(model: Classifier, batch: Batch) -> None:
    del batch["bert_wp_word_ids"]
    with pytest.raises(ValueError, match="The inputs lack bert_wp_word_ids: use this model's StackedEmotionTokenizer"):
        model(**batch)


def test_unknown_inputs_are_an_error(model: Classifier, batch: Batch) -> None:
    with pytest.raises(
        TypeError, match="Unexpected inputs input_ids: the encoders of this model are bert_wp, electra"
    ):
        model(**batch, input_ids=batch["bert_wp_input_ids"])


def test_model_without_encoders_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"`config.encoders` is empty: use `from_encoders`"):
        Classifier(StackedEmotionConfig())


# ---------------------------------------------------------------------------------------------------- gradients


def test_every_parameter_gets_a_gradient(model: Classifier, batch: Batch) -> None:
    training_loss(model, batch).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A bias of the keys shifts all scores of a query alike, which attention does not see.
        assert parameter.grad.abs().sum() > 0 or name.endswith("key.bias"), name


def test_gradient_checkpointing_gives_the_same_gradients(model: Classifier, batch: Batch) -> None:
    calls: list[int] = []
    layers = [module for module in model.modules() if type(module).__name__.endswith("Layer")]
    for layer in layers:
        layer.attention.register_forward_hook(lambda *_: calls.append(1))
    gradients, counts = [], []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        model.train().zero_grad()
        calls.clear()
        torch.manual_seed(3)
        training_loss(model, batch).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
        counts.append(len(calls))
    assert counts == [3, 6]
    for plain, checkpointed in zip(*gradients, strict=True):
        assert_near(checkpointed, plain, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- from_encoders


def test_from_encoders_keeps_the_pretrained_weights(model: Classifier, encoder_folders: dict[str, Path]) -> None:
    for name, folder in encoder_folders.items():
        stored = load_file(folder / "model.safetensors")
        loaded = model.stacked_emotion.encoders[name].state_dict()
        assert not [key for key in loaded if "pooler" in key]
        assert {key for key in stored if "pooler" not in key} == set(loaded)
        assert all(torch.equal(loaded[key], stored[key]) for key in loaded)


def test_from_encoders_loads_fp16_weights_as_fp32(encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = AutoModel.from_pretrained(encoder_folders["bert_wp"]).half()
    encoder.save_pretrained(tmp_path / "fp16")
    assert AutoConfig.from_pretrained(tmp_path / "fp16").dtype == torch.float16
    model = build({"small": tmp_path / "fp16", "electra_uni": encoder_folders["electra_uni"]})
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = load_file(tmp_path / "fp16" / "model.safetensors")
    for key, value in model.stacked_emotion.encoders["small"].state_dict().items():
        assert stored[key].dtype == torch.float16
        assert torch.equal(value, stored[key].float())
    model.save_pretrained(tmp_path / "stack")
    reloaded = Classifier.from_pretrained(tmp_path / "stack")
    assert {parameter.dtype for parameter in reloaded.parameters()} == {torch.float32}
    assert "dtype" not in AutoConfig.from_pretrained(tmp_path / "stack").encoders["small"]


def test_from_encoders_reports_missing_weights(encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    AutoModel.from_pretrained(encoder_folders["bert_wp"]).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["embeddings.word_embeddings.weight"]
    del weights["embeddings.LayerNorm.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    expected = r"Encoder 'torn': .* lacks 2 weights of a BertModel, e\.g\. embeddings\.LayerNorm\.bias"
    with pytest.raises(ValueError, match=expected):
        build({"torn": tmp_path})


def test_from_encoders_leaves_heads_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    language_model = BertForMaskedLM(config)
    language_model.save_pretrained(tmp_path)
    encoder = build({"mlm": tmp_path}).stacked_emotion.encoders["mlm"]
    expected = language_model.bert.state_dict()
    assert encoder.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in encoder.state_dict().items())


def test_from_encoders_of_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no_such_encoder"):
        build({"gone": tmp_path / "no_such_encoder"})


def test_from_encoders_gives_evaluation_mode_and_portable_configs(encoder_folders: dict[str, Path]) -> None:
    model = build(encoder_folders)
    assert not [name for name, module in model.named_modules() if module.training]
    for name, folder in encoder_folders.items():
        assert str(folder) not in str(model.config.encoders[name])


def test_from_encoders_of_the_base_model(encoder_folders: dict[str, Path], batch: Batch) -> None:
    torch.manual_seed(0)
    base = StackedEmotionModel.from_encoders(encoder_folders, lstm_hidden_size=8)
    assert isinstance(base, StackedEmotionModel)
    stored = load_file(encoder_folders["bert_wp"] / "model.safetensors")
    key = "embeddings.word_embeddings.weight"
    assert torch.equal(base.encoders["bert_wp"].state_dict()[key], stored[key])
    assert base(**batch).pooler_output.shape == (5, 16 + 96)


# ---------------------------------------------------------------------------------------------------- initial weights


def test_initial_weights_follow_the_seed(encoder_folders: dict[str, Path]) -> None:
    first, second = build(encoder_folders).state_dict(), build(encoder_folders).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    torch.manual_seed(1)
    other = Classifier.from_encoders(encoder_folders, num_labels=4).state_dict()
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize(("fields", "prior"), [({}, 0.05), ({"prior_probability": 0.2}, 0.2)])
def test_untrained_classifiers_give_the_prior(
    encoder_folders: dict[str, Path], fields: dict[str, float], prior: float
) -> None:
    model = build({"bert_wp": encoder_folders["bert_wp"]}, **fields)
    assert model.auxiliary_classifier is not None
    for classifier in (model.classifier, model.auxiliary_classifier):
        assert classifier.bias.sigmoid().tolist() == pytest.approx([prior] * 4, rel=1e-5)


def test_initial_weights_of_the_lstm_are_orthogonal(model: Classifier) -> None:
    assert model.stacked_emotion.bilstm is not None
    for name, parameter in model.stacked_emotion.bilstm.lstm.named_parameters():
        if name.startswith("weight_hh"):
            assert_near(parameter.T @ parameter, torch.eye(128))
        elif name.startswith("bias"):
            assert parameter.abs().sum() == 0


def test_weights_absent_from_a_checkpoint_are_initialised(model: Classifier, saved: Path, batch: Batch) -> None:
    weights = load_file(saved / "model.safetensors")
    absent = [key for key in weights if key.startswith(("classifier", "stacked_emotion.bilstm"))]
    assert len(absent) == 2 + 8
    save_file(
        {key: value for key, value in weights.items() if key not in absent},
        saved / "model.safetensors",
        metadata={"format": "pt"},
    )
    loaded = []
    for _ in range(2):
        torch.manual_seed(5)
        loaded.append(Classifier.from_pretrained(saved, ignore_mismatched_sizes=True).state_dict())
    first, second = loaded
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(bool(value.isfinite().all()) for value in first.values())
    assert first["classifier.weight"].std().item() == pytest.approx(0.02, rel=0.15)
    assert first["classifier.bias"].sigmoid().tolist() == pytest.approx([0.05] * 4, rel=1e-5)
    hidden = first["stacked_emotion.bilstm.lstm.weight_hh_l0"]
    assert_near(hidden.T @ hidden, torch.eye(128))
    kept = "stacked_emotion.mixer.gate.weight"
    assert torch.equal(first[kept], model.state_dict()[kept])


# ---------------------------------------------------------------------------------------------------- saving, loading


@pytest.mark.parametrize("fields", [{}, {"mixer": "none", "lstm_num_layers": 2, "pooling": "max"}])
def test_saved_and_loaded_logits_are_bit_equal(
    encoder_folders: dict[str, Path], batch: Batch, tmp_path: Path, fields: dict[str, Any]
) -> None:
    model = build(encoder_folders, thresholds=[0.1, 0.2, 0.3, 0.4], **fields)
    model.save_pretrained(tmp_path)
    reloaded = Classifier.from_pretrained(tmp_path)
    assert not reloaded.training
    assert torch.equal(logits_of(aligned(reloaded), batch), logits_of(aligned(model), batch))
    assert reloaded.config.thresholds == [0.1, 0.2, 0.3, 0.4]


def test_base_model_saves_and_loads_bit_equal(model: Classifier, batch: Batch, tmp_path: Path) -> None:
    model.stacked_emotion.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = aligned(model.stacked_emotion)(**batch).to_tuple()
        actual = aligned(StackedEmotionModel.from_pretrained(tmp_path))(**batch).to_tuple()
    assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


def test_auto_classes_load_the_right_classes(model: Classifier, saved: Path, batch: Batch) -> None:
    assert type(AutoConfig.from_pretrained(saved)) is StackedEmotionConfig
    classifier = AutoModelForSequenceClassification.from_pretrained(saved)
    assert type(classifier) is Classifier
    assert torch.equal(logits_of(aligned(classifier), batch), logits_of(aligned(model), batch))
    base = AutoModel.from_pretrained(saved)
    assert type(base) is StackedEmotionModel
    with torch.no_grad():
        assert torch.equal(aligned(base)(**batch).pooler_output, aligned(model)(**batch).pooler_output)


def test_classifier_on_a_saved_base_model_keeps_the_base(model: Classifier, batch: Batch, tmp_path: Path) -> None:
    model.stacked_emotion.save_pretrained(tmp_path)
    loaded = Classifier.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(aligned(loaded)(**batch).pooler_output, aligned(model)(**batch).pooler_output)
    assert loaded.classifier.bias.sigmoid().tolist() == pytest.approx([0.05] * loaded.config.num_labels, rel=1e-5)


def test_a_trained_model_is_loaded_for_other_labels(model: Classifier, batch: Batch, tmp_path: Path) -> None:
    model.config.thresholds, model.config.calibration_scale, model.config.calibration_bias = (
        [0.3] * 4,
        [2.0] * 4,
        [1.0] * 4,
    )
    model.save_pretrained(tmp_path)
    labels = {0: "awe", 1: "joy"}
    loaded = Classifier.from_pretrained(tmp_path, id2label=labels, ignore_mismatched_sizes=True)
    assert loaded.config.id2label == labels
    with torch.no_grad():
        outputs, expected = aligned(loaded)(**batch), aligned(model)(**batch)
    assert outputs.logits.shape == (len(expected.logits), 2)
    assert torch.equal(outputs.pooler_output, expected.pooler_output)
    assert loaded.classifier.bias.sigmoid().tolist() == pytest.approx([0.05] * 2, rel=1e-5)


# ---------------------------------------------------------------------------------------------------- dtypes, devices


@pytest.mark.parametrize(("dtype", "atol"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_is_near_fp32(
    model: Classifier, saved: Path, batch: Batch, dtype: torch.dtype, atol: float
) -> None:
    loaded = Classifier.from_pretrained(saved, dtype=dtype)
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    with torch.no_grad():
        output = loaded(**batch, labels=LABELS)
        expected = model(**batch, labels=LABELS)
    assert output.logits.dtype == dtype
    assert output.loss.dtype == output.word_attention.dtype == torch.float32
    assert_near(output.logits.float(), expected.logits, atol)
    assert output.loss.item() == pytest.approx(expected.loss.item(), abs=atol)


def test_autocast_bf16_is_near_fp32_and_trains(model: Classifier, batch: Batch) -> None:
    expected = logits_of(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch, labels=LABELS)
    assert output.logits.dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32
    assert_near(output.logits.detach().float(), expected, 0.05)
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert {gradient.dtype for gradient in gradients.values() if gradient is not None} == {torch.float32}
    embeddings = gradients["stacked_emotion.encoders.bert_wp.embeddings.word_embeddings.weight"]
    assert embeddings is not None
    assert embeddings.abs().sum() > 0


def attention_of(model: Classifier) -> set[str]:
    encoders: Any = model.stacked_emotion.encoders
    return {encoder.config._attn_implementation for encoder in encoders.values()}


def test_attention_implementation_reaches_the_encoders(
    model: Classifier, saved: Path, batch: Batch, encoder_folders: dict[str, Path]
) -> None:
    expected = logits_of(model, batch)
    assert attention_of(model) == {"sdpa"}
    for implementation in ("eager", "sdpa"):
        loaded = Classifier.from_pretrained(saved, attn_implementation=implementation)
        assert attention_of(loaded) == {implementation}
        assert_near(logits_of(loaded, batch), expected)
        built = build(encoder_folders, attn_implementation=implementation)
        assert attention_of(built) == {implementation}
        assert_near(logits_of(built, batch), expected)
    model.set_attn_implementation("eager")
    assert attention_of(model) == {"eager"}
    assert_near(logits_of(model, batch), expected)


SCALE, BIAS = [0.5, 1.0, 2.0, 1.25], [1.0, 0.0, -0.75, 0.1]


@pytest.fixture
def calibrated(model: Classifier) -> Classifier:
    """The model with a calibration."""
    twin = copy.deepcopy(model)
    twin.config.calibration_scale, twin.config.calibration_bias = SCALE, BIAS
    return twin


def test_calibration_scales_and_shifts_the_logits_and_nothing_else(
    model: Classifier, calibrated: Classifier, batch: Batch
) -> None:
    with torch.no_grad():
        before, after = model(**batch), calibrated(**batch, labels=LABELS)
    expected = torch.tensor(SCALE) * before.logits + torch.tensor(BIAS)
    assert torch.equal(after.logits, expected)
    assert torch.equal(after.auxiliary_logits, before.auxiliary_logits)
    assert torch.equal(after.pooler_output, before.pooler_output)
    assert_near(after.loss, torch.nn.functional.binary_cross_entropy_with_logits(expected, LABELS.float()), 1e-7)


def test_identity_calibration_changes_no_bit(model: Classifier, calibrated: Classifier, batch: Batch) -> None:
    calibrated.config.calibration_scale, calibrated.config.calibration_bias = [1.0] * 4, [0.0] * 4
    assert torch.equal(logits_of(calibrated, batch), logits_of(model, batch))


def test_calibration_is_part_of_the_model_in_training_too(
    model: Classifier, calibrated: Classifier, batch: Batch
) -> None:
    """Its loss has the gradient of the calibrated logits: at the classifier's bias, that of the logits times scale."""
    gradient = {}
    for name, classifier in (("before", model), ("after", calibrated)):
        classifier.train()
        torch.manual_seed(0)
        output = classifier(**batch, labels=LABELS)
        output.loss.backward()
        residual = (output.logits.sigmoid() - LABELS).mean(dim=0) / 4
        gradient[name] = (classifier.classifier.bias.grad, residual.detach())
    assert_near(gradient["before"][0], gradient["before"][1], 1e-7)
    assert_near(gradient["after"][0], torch.tensor(SCALE) * gradient["after"][1], 1e-7)
    assert (gradient["after"][1] - gradient["before"][1]).abs().max() > 1e-3


def test_calibration_survives_saving_and_device_maps(calibrated: Classifier, batch: Batch, tmp_path: Path) -> None:
    calibrated.save_pretrained(tmp_path)
    expected = logits_of(aligned(calibrated), batch)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "calibration" in name]
    assert torch.equal(logits_of(aligned(Classifier.from_pretrained(tmp_path)), batch), expected)
    on_disk = {part: "disk" if part == "classifier" else "cpu" for part in PARTS}
    loaded = Classifier.from_pretrained(tmp_path, device_map=on_disk, offload_folder=tmp_path / "offload")
    assert_near(logits_of(loaded, batch), expected, atol=1e-6)


def test_calibration_is_computed_in_fp32(model: Classifier, calibrated: Classifier, batch: Batch) -> None:
    half = logits_of(model.to(torch.bfloat16), batch)
    found = logits_of(calibrated.to(torch.bfloat16), batch)
    assert (half.dtype, found.dtype) == (torch.bfloat16, torch.float32)
    assert_near(found, torch.tensor(SCALE) * half.float() + torch.tensor(BIAS), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "calibrated"])
def test_torch_compile_gives_equal_logits(request: pytest.FixtureRequest, kind: str, batch: Batch) -> None:
    model = request.getfixturevalue(kind)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    assert_near(logits_of(compiled, batch), logits_of(model, batch), atol=1e-6)
    torch._dynamo.reset()


PARTS = [
    *(f"stacked_emotion.encoders.{name}" for name in NAMES),
    *(f"stacked_emotion.{name}" for name in ("mixer", "bilstm", "pooling")),
    "classifier",
    "auxiliary_classifier",
]


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_maps_of_one_device_give_equal_logits(
    model: Classifier, saved: Path, batch: Batch, device_map: Any
) -> None:
    loaded = Classifier.from_pretrained(saved, device_map=device_map)
    assert_near(logits_of(loaded, batch), logits_of(model, batch), atol=1e-3 if torch.cuda.is_available() else 1e-6)


@pytest.mark.parametrize("offloaded", [PARTS[0], "stacked_emotion.bilstm", "stacked_emotion.mixer"])
def test_device_map_with_a_part_on_disk_gives_equal_logits(
    model: Classifier, saved: Path, batch: Batch, tmp_path: Path, offloaded: str
) -> None:
    device_map = {part: "disk" if part == offloaded else "cpu" for part in PARTS}
    loaded = Classifier.from_pretrained(saved, device_map=device_map, offload_folder=tmp_path / "offload")
    on_meta = {name for name, parameter in loaded.named_parameters() if parameter.device.type == "meta"}
    assert on_meta
    assert all(name.startswith(offloaded) for name in on_meta)
    assert_near(logits_of(loaded, batch), logits_of(model, batch), atol=1e-6)


def test_automatic_device_map_keeps_layers_whole(
    encoder_folders: dict[str, Path], batch: Batch, tmp_path: Path
) -> None:
    model = build(encoder_folders, lstm_hidden_size=8)
    model.save_pretrained(tmp_path)
    total = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    expected = logits_of(model, batch)
    for tenths in (7, 9):
        max_memory = {"cpu": total * tenths // 10, "disk": 10 * total}
        loaded = Classifier.from_pretrained(
            tmp_path, device_map="auto", max_memory=max_memory, offload_folder=tmp_path / "offload"
        )
        assert set(loaded.hf_device_map.values()) == {"cpu", "disk"}
        # ELECTRA does not say where it may be split.
        wholes = (".bilstm.", ".mixer.", ".pooling.", ".electra_uni.", ".layer.0.", ".embeddings.")
        assert not [part for part in loaded.hf_device_map if any(whole in part for whole in wholes)]
        assert_near(logits_of(loaded, batch), expected, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("on_cpu", [PARTS[0], "stacked_emotion.mixer", "stacked_emotion.bilstm", "classifier"])
def test_device_map_over_gpu_and_cpu_is_near_the_cpu(
    model: Classifier, saved: Path, batch: Batch, on_cpu: str
) -> None:
    device_map = {part: "cpu" if part == on_cpu else 0 for part in PARTS}
    loaded = Classifier.from_pretrained(saved, device_map=device_map)
    assert_near(logits_of(loaded, batch).cpu(), logits_of(model, batch), atol=1e-3)
