# SPDX-License-Identifier: Apache-2.0
"""LoRA on the encoders through peft, with the head trained in full."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from ..errors import InputError
from ..files import replacing_folder
from .arguments import StackedEmotionTrainingArguments
from .layers import find_encoders, split_encoder


def add_lora(model: PreTrainedModel, args: StackedEmotionTrainingArguments) -> PeftModel:
    """
    Low-rank adapters on the encoders (Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models").

    The adapters sit on all linear layers of the encoders' blocks, those of the feed-forward network included
    (Dettmers et al., 2023, "QLoRA", find that adapters on attention alone do not reach full fine-tuning). The head,
    and modules behind the blocks of an encoder, such as BERT's pooler, are trained in full and saved with them.
    Everything else is frozen. The adapters want a `learning_rate` about ten times that of full fine-tuning (Schulman
    et al., 2025, "LoRA Without Regret").

    Args:
        model ([`PreTrainedModel`]): Our classifier or any `AutoModelForSequenceClassification`, in fp32; it is
            changed in place.
        args ([`StackedEmotionTrainingArguments`]): `lora_r`, `lora_alpha`, `lora_dropout`, `lora_target_modules`.

    Returns:
        [`PeftModel`]: To be trained in place of the model; its checkpoints hold the adapters and the head alone.

    Raises:
        `InputError`: If an entry of `lora_target_modules` is no linear layer of any encoder.
    """
    config = LoraConfig(
        r=args.lora_r,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=_target_modules(model, args.lora_target_modules),
        modules_to_save=_modules_to_save(model),
    )
    with warnings.catch_warnings():
        # peft 0.21 asks for `is_gradient_checkpointing`, which transformers 5.23 has given another name.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)


def merge_lora(model: nn.Module) -> nn.Module:
    """
    The model without peft, the adapters added to the weights; its parameters may all be trained again.

    A model without adapters is returned as it is.

    Raises:
        `ValueError`: From peft, if an adapter holds NaN or infinite values.
    """
    if not isinstance(model, PeftModel):
        return model
    merged: nn.Module = model.merge_and_unload(safe_merge=True)
    return merged.requires_grad_(True)


def save_adapter(model: PeftModel, folder: str | os.PathLike[str]) -> Path:
    """
    Write adapters and head to `folder`, to be loaded by `PeftModel.from_pretrained(model, folder)` onto a model that
    is built on the same encoders; all of it or nothing.
    """
    target = Path(folder)
    with replacing_folder(target) as partial:
        model.save_pretrained(partial)
        # A form with nothing filled in.
        (partial / "README.md").unlink()
    return target


def _target_modules(model: nn.Module, suffixes: Sequence[str] | None) -> list[str]:
    """The paths of the linear layers in the encoders' blocks, of those that end with one of the `suffixes` if any."""
    layers = [layer for encoder in find_encoders(model).values() for layer in split_encoder(encoder)[0]]
    linear = {id(module) for layer in layers for module in layer.modules() if isinstance(module, nn.Linear)}
    names = [name for name, module in model.named_modules() if id(module) in linear]
    if suffixes is None:
        return names
    for suffix in suffixes:
        if not any(f".{name}".endswith(f".{suffix}") for name in names):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in names}))
            raise InputError(
                f"`lora_target_modules`: no linear layer of the encoders is named {suffix!r}; they are {known}."
            )
    return [name for name in names if any(f".{name}".endswith(f".{suffix}") for suffix in suffixes)]


def _modules_to_save(model: nn.Module) -> list[str]:
    """The paths of the modules that are trained in full: all but the encoders up to their last layer."""
    adapted = set()
    for encoder in find_encoders(model).values():
        _, following = split_encoder(encoder)
        adapted |= {id(parameter) for parameter in encoder.parameters()}
        adapted -= {id(parameter) for module in following for parameter in module.parameters()}
    names = list(_modules_in_full(model, adapted))
    for name, module in model.named_modules():
        # peft takes whatever ends so, at no dot even.
        if name.endswith(tuple(names)) and any(id(parameter) in adapted for parameter in module.parameters()):
            raise InputError(f"The encoder at {name!r} is named like a part of the head: give it another name.")
    return names


def _modules_in_full(module: nn.Module, adapted: set[int], path: str = "") -> Iterator[str]:
    """The paths of the largest modules with parameters of which none is in `adapted`."""
    for name, child in module.named_children():
        parameters = {id(parameter) for parameter in child.parameters()}
        if parameters and not parameters & adapted:
            yield path + name
        elif parameters - adapted:
            yield from _modules_in_full(child, adapted, f"{path}{name}.")
