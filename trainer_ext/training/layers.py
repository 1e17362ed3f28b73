# SPDX-License-Identifier: Apache-2.0
"""Which parameters of a classifier are an encoder's, at which depth, and which of them are trained."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest

from accelerate.utils import extract_model_from_parallel
from torch import nn
from transformers.trainer_utils import unwrap_peft_model

from ..errors import InputError


def find_encoders(model: nn.Module) -> dict[str, nn.Module]:
    """
    The encoders of a classifier by name; everything else of it is its head.

    Args:
        model (`nn.Module`): A [`StackedEmotionForSequenceClassification`], whose encoders have names of their own, or
            any `AutoModelForSequenceClassification`, whose base model is its one encoder, named by its attribute
            (`"bert"`). Wrappers of peft, DDP and `torch.compile` are looked through.

    Returns:
        `dict[str, nn.Module]`: Name to encoder; empty for a model without a base model.
    """
    unwrapped = unwrap_peft_model(extract_model_from_parallel(model, keep_torch_compile=False))
    prefix = getattr(unwrapped, "base_model_prefix", "")
    base = getattr(unwrapped, prefix, None)
    encoders = getattr(base, "encoders", None)
    if isinstance(encoders, nn.ModuleDict):
        return dict(encoders.items())
    return {} if base is None else {prefix: base}


def split_encoder(encoder: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """
    The layers of an encoder, from the bottom up, and the modules that follow them, such as a pooler or a last norm.

    The layers are the members of the one `nn.ModuleList` that lies in no other; in ALBERT they are the groups of
    shared layers. The modules that follow are the encoder's own children behind the one with the layers. All the rest
    are the embeddings, relative positions included. An encoder without such a list is all embeddings.

    Raises:
        `InputError`: If there are several such lists, as in XLM or in a model with a decoder.
    """
    lists = list(_outermost_lists(encoder))
    if len(lists) > 1:
        raise InputError(
            f"The layers of {type(encoder).__name__} cannot be told: expected one list of layers, got {len(lists)}. "
            "Layer-wise learning rates, frozen layers and LoRA need another encoder."
        )
    if not lists:
        return [], []
    children = list(encoder.children())
    position = next(index for index, child in enumerate(children) if lists[0] in child.modules())
    return list(lists[0]), children[position + 1 :]


def layers_from_top(model: nn.Module) -> list[list[nn.Parameter]]:
    """
    The parameters of all encoders by their distance from the top.

    First come the top layers with the modules that follow them, last the embeddings; those of an encoder with fewer
    layers are nearer to the top.
    """
    reversed_depths = [_parameters_by_depth(encoder)[::-1] for encoder in find_encoders(model).values()]
    return [list(chain(*layers)) for layers in zip_longest(*reversed_depths, fillvalue=())]


def freeze_layers(model: nn.Module, num_layers: int) -> None:
    """
    Exclude the lower part of every encoder from training, for good.

    Args:
        model (`nn.Module`): The classifier; its head is left as it is.
        num_layers (`int`): Layers to freeze, from the bottom, with the embeddings; all of an encoder that has fewer.
            -1 freezes the encoders as a whole.

    Raises:
        `InputError`: If no encoder has as many layers.
    """
    encoders = find_encoders(model)
    if num_layers == -1:
        for encoder in encoders.values():
            encoder.requires_grad_(False)
        return
    depths = {name: _parameters_by_depth(encoder) for name, encoder in encoders.items()}
    counts = {name: len(layers) - 1 for name, layers in depths.items()}
    if num_layers > max(counts.values(), default=0):
        known = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"`num_frozen_layers` must be at most the layers of an encoder ({known}), got {num_layers}.")
    for layers in depths.values():
        for parameter in chain(*layers[: num_layers + 1]):
            parameter.requires_grad_(False)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """The number of trained parameters and of all, without the copies that peft keeps of modules trained in full."""
    parameters = [value for name, value in model.named_parameters() if ".original_module." not in name]
    return sum(value.numel() for value in parameters if value.requires_grad), sum(map(nn.Parameter.numel, parameters))


def _outermost_lists(module: nn.Module) -> Iterator[nn.ModuleList]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _outermost_lists(child)


def _parameters_by_depth(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Those of the embeddings, then those of each layer; modules behind the layers count with the top one."""
    layers, following = split_encoder(encoder)
    depths = [list(layer.parameters()) for layer in layers]
    if depths:
        depths[-1].extend(parameter for module in following for parameter in module.parameters())
    known = {id(parameter) for layer in depths for parameter in layer}
    return [[parameter for parameter in encoder.parameters() if id(parameter) not in known], *depths]
