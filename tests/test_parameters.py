# SPDX-License-Identifier: Apache-2.0
"""Tests of encoders, layers and heads: found in many architectures, frozen, and given their learning rates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification, PreTrainedModel

from modeling_stacked_emotion import StackedEmotionForSequenceClassification
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext
from trainer_ext.loading import num_positions
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.layers import (
    count_parameters,
    find_encoders,
    freeze_layers,
    layers_from_top,
    split_encoder,
)
from trainer_ext.training.lora import add_lora
from trainer_ext.training.trainer import StackedEmotionTrainer

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 60,
    "num_labels": 4,
}
# Where the number of a layer stands in the names of its parameters, and how the names of what follows begin.
ARCHITECTURES = {
    "bert": (r"^bert\.encoder\.layer\.(\d+)\.", "bert.pooler."),
    "roberta": (r"^roberta\.encoder\.layer\.(\d+)\.", None),
    "electra": (r"^electra\.encoder\.layer\.(\d+)\.", None),
    "deberta-v2": (r"^deberta\.encoder\.layer\.(\d+)\.", None),
    "modernbert": (r"^model\.layers\.(\d+)\.", "model.final_norm."),
    "distilbert": (r"^distilbert\.transformer\.layer\.(\d+)\.", None),
    "xlnet": (r"^transformer\.layer\.(\d+)\.", None),
    # One group of shared layers.
    "albert": (r"^albert\.encoder\.albert_layer_groups\.(\d+)\.", "albert.pooler."),
}
OTHER_NAMES = {
    "distilbert": {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
    | {"intermediate_size": "hidden_dim"},
    "xlnet": {"hidden_size": "d_model", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
    | {"intermediate_size": "d_inner"},
}


def stock_model(architecture: str, **fields: Any) -> PreTrainedModel:
    names = OTHER_NAMES.get(architecture, {})
    values = SIZES | ({"embedding_size": 8} if architecture in ("electra", "albert") else {})
    values |= dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    values |= {"relative_attention": True, "pos_att_type": ["p2c"]} if architecture == "deberta-v2" else {}
    config = CONFIG_MAPPING[architecture](**{names.get(key, key): value for key, value in (values | fields).items()})
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config)


def stack(folder: Path, corpus: list[str]) -> StackedEmotionForSequenceClassification:
    """A BERT of one layer and a ModernBERT of three, whose last norm follows its layers."""
    sizes: dict[str, Any] = {"vocab_size": 100, "hidden_size": 16, "num_attention_heads": 2}
    encoders = {
        "low": ScratchEncoder("bert", num_hidden_layers=1, **sizes).build(BuildContext(corpus, folder / "low")),
        "high": ScratchEncoder("modernbert", num_hidden_layers=3, **sizes).build(
            BuildContext(corpus, folder / "high")
        ),
    }
    torch.manual_seed(0)
    return StackedEmotionForSequenceClassification.from_encoders(encoders, meta_hidden_size=8, lstm_hidden_size=8)


def distance_in_stack(name: str) -> int | None:
    """By hand: the distance from the top of a parameter of `stack`, None for the head."""
    if not name.startswith("stacked_emotion.encoders."):
        return None
    layer = re.search(r"\.layers?\.(\d+)\.", name)
    if ".low." in name:
        return 0 if layer else 1
    if "final_norm" in name:
        return 0
    return 2 - int(layer.group(1)) if layer else 3


def distance_in_stock(name: str, architecture: str, model: PreTrainedModel) -> int | None:
    pattern, following = ARCHITECTURES[architecture]
    if not name.startswith(f"{model.base_model_prefix}."):
        return None
    num_layers = 1 if architecture == "albert" else 3
    if layer := re.search(pattern, name):
        return num_layers - 1 - int(layer.group(1))
    return 0 if following and name.startswith(following) else num_layers


def found_distances(model: nn.Module) -> dict[str, int | None]:
    """The distance that `layers_from_top` gives each parameter, which may stand in no two layers."""
    layers = layers_from_top(model)
    distances = {id(parameter): distance for distance, layer in enumerate(layers) for parameter in layer}
    assert len(distances) == sum(len(layer) for layer in layers)
    return {name: distances.get(id(parameter)) for name, parameter in model.named_parameters()}


def trainer(model: nn.Module, folder: Path, **options: Any) -> StackedEmotionTrainer:
    arguments = StackedEmotionTrainingArguments(
        str(folder), eval_strategy="no", load_best_model_at_end=False, precision="fp32", **options
    )
    return StackedEmotionTrainer(model=model, args=arguments)


# ------------------------------------------------------------------------------------------------------------ layers


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_of_stock_models_are_found(architecture: str) -> None:
    model = stock_model(architecture)
    expected = {name: distance_in_stock(name, architecture, model) for name, _ in model.named_parameters()}
    assert found_distances(model) == expected
    assert {0, None} < set(expected.values())


def test_layers_of_encoders_of_different_depth_are_aligned_at_the_top(tmp_path: Path, corpus: list[str]) -> None:
    model = stack(tmp_path, corpus)
    found = found_distances(model)
    assert found == {name: distance_in_stack(name) for name, _ in model.named_parameters()}
    assert set(found.values()) == {0, 1, 2, 3, None}
    assert list(find_encoders(model)) == ["high", "low"]


def test_wrappers_are_looked_through(tmp_path: Path) -> None:
    model = stock_model("bert")
    encoder = model.bert
    layers, following = split_encoder(encoder)
    assert layers == list(encoder.encoder.layer)
    assert following == [encoder.pooler]
    arguments = StackedEmotionTrainingArguments(str(tmp_path), precision="fp32", lora_r=2)
    for wrapped in (model, DataParallel(model), torch.compile(model), add_lora(model, arguments)):
        assert find_encoders(wrapped) == {"bert": encoder}


@pytest.mark.parametrize(
    ("architecture", "expected"),
    # The first rows of the table may be those of padding, and of what is before it.
    [("bert", 42), ("distilbert", 42), ("roberta", 41), ("mpnet", 40), ("modernbert", None)],
)
def test_positions_of_stock_encoders(architecture: str, expected: int | None) -> None:
    model = stock_model(architecture, max_position_embeddings=42)
    (encoder,) = find_encoders(model).values()
    assert num_positions(encoder) == expected
    encoder(torch.full((1, expected or 60), 5))
    if expected is not None:
        with pytest.raises((IndexError, RuntimeError)):
            encoder(torch.full((1, expected + 1), 5))


def test_a_model_without_a_base_is_all_head() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    assert find_encoders(model) == {}
    assert layers_from_top(model) == []


def test_an_encoder_without_layers_is_all_embeddings() -> None:
    encoder = nn.Sequential(nn.Embedding(5, 3))
    assert split_encoder(encoder) == ([], [])


def test_several_lists_of_layers_are_an_error() -> None:
    model = stock_model("bart", d_model=16, encoder_layers=1, decoder_layers=1)
    with pytest.raises(ValueError, match=r"^The layers of BartModel cannot be told: expected one list .*, got 2\."):
        layers_from_top(model)


# ---------------------------------------------------------------------------------------------------- learning rates


def rates_and_decay(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, tuple[float, float]]:
    """The learning rate and the weight decay of each parameter, which must be in exactly one group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    pairs = [
        (names[id(parameter)], (group["lr"], group["weight_decay"]))
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


@pytest.mark.parametrize("architecture", ["ours", *ARCHITECTURES])
def test_learning_rates_fall_from_layer_to_layer(architecture: str, tmp_path: Path, corpus: list[str]) -> None:
    model = stack(tmp_path, corpus) if architecture == "ours" else stock_model(architecture)
    options = {"learning_rate": 4e-4, "head_learning_rate": 3e-3, "weight_decay": 0.1}
    optimizer = trainer(model, tmp_path, layerwise_lr_decay=0.5, **options).create_optimizer()
    found = rates_and_decay(optimizer, model)
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        distance = distance_in_stack(name) if architecture == "ours" else distance_in_stock(name, architecture, model)
        assert found[name][0] == (3e-3 if distance is None else 4e-4 * 0.5**distance), name
        if parameter.dim() == 1:
            assert found[name][1] == 0.0
        elif "norm" not in name.lower() and "bias" not in name:
            assert found[name][1] == 0.1
    # The rate that is logged is that of the first group.
    assert optimizer.param_groups[0]["lr"] == 4e-4


def test_an_encoder_may_have_a_learning_rate_of_its_own(tmp_path: Path, corpus: list[str]) -> None:
    model = stack(tmp_path, corpus)
    own, *others = find_encoders(model)
    options = {"learning_rate": 4e-4, "head_learning_rate": 3e-3, "encoder_learning_rates": {own: "2e-3"}}
    found = rates_and_decay(trainer(model, tmp_path, **options).create_optimizer(), model)
    assert {name for name, (rate, _) in found.items() if rate == 2e-3} == {
        name for name, _ in model.named_parameters() if f"encoders.{own}." in name
    }
    assert {rate for name, (rate, _) in found.items() if any(f"encoders.{other}." in name for other in others)} == {
        4e-4
    }
    decaying = rates_and_decay(trainer(model, tmp_path, layerwise_lr_decay=0.5, **options).create_optimizer(), model)
    for name, (rate, _) in decaying.items():
        distance = distance_in_stack(name)
        top = 2e-3 if f"encoders.{own}." in name else 4e-4
        assert rate == (3e-3 if distance is None else top * 0.5**distance), name


def test_without_decay_any_architecture_has_two_learning_rates(tmp_path: Path) -> None:
    model = stock_model("bart", d_model=16, encoder_layers=1, decoder_layers=1)
    options = {"learning_rate": 4e-4, "head_learning_rate": 3e-3}
    found = rates_and_decay(trainer(model, tmp_path, **options).create_optimizer(), model)
    for name, (rate, _) in found.items():
        assert rate == (4e-4 if name.startswith("model.") else 3e-3)


# ---------------------------------------------------------------------------------------------------------- freezing


def frozen_names(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize("num_layers", [2, -1])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_frozen_are_the_embeddings_and_the_lowest_layers(architecture: str, num_layers: int) -> None:
    model = stock_model(architecture)
    most = 1 if architecture == "albert" else 3
    if num_layers > most:
        with pytest.raises(ValueError, match=r"must be at most the layers of an encoder \(albert 1\), got 2\.$"):
            freeze_layers(model, num_layers)
        assert not frozen_names(model)
        return
    freeze_layers(model, num_layers)
    expected = set()
    for name, _ in model.named_parameters():
        distance = distance_in_stock(name, architecture, model)
        if distance is not None and (num_layers == -1 or most - distance <= num_layers):
            expected.add(name)
    assert frozen_names(model) == expected


def test_an_encoder_with_fewer_layers_is_frozen_as_a_whole(tmp_path: Path, corpus: list[str]) -> None:
    model = stack(tmp_path, corpus)
    freeze_layers(model, 2)
    names = {name for name, _ in model.named_parameters() if name.startswith("stacked_emotion.encoders.")}
    assert frozen_names(model) == {name for name in names if ".high." not in name or distance_in_stack(name)}
    with pytest.raises(ValueError, match=r"^`num_frozen_layers` must be .* \(high 3, low 1\), got 4\.$"):
        trainer(model, tmp_path, num_frozen_layers=4)


def test_the_trainer_freezes_and_what_is_trained_is_counted(tmp_path: Path) -> None:
    model = stock_model("roberta")
    everything = sum(parameter.numel() for parameter in model.parameters())
    head = sum(parameter.numel() for parameter in model.classifier.parameters())
    assert count_parameters(model) == (everything, everything)
    frozen = trainer(model, tmp_path, num_frozen_layers=-1)
    assert count_parameters(model) == (head, everything)
    groups = frozen.create_optimizer().param_groups
    assert [group["lr"] for group in groups] == [1e-3, 1e-3]
    assert sum(parameter.numel() for group in groups for parameter in group["params"]) == head
