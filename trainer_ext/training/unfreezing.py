# SPDX-License-Identifier: Apache-2.0
"""Gradual unfreezing: the head alone is trained first, then one layer more of every encoder, from the top."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import InputError
from .layers import layers_from_top


class GradualUnfreezingCallback(TrainerCallback):
    """
    Gradual unfreezing (Howard and Ruder, 2018, "Universal Language Model Fine-tuning for Text Classification").

    In epoch `e`, a fraction, the uppermost `floor(e / unfreeze_every)` layers of every encoder are trained, the
    embeddings counting as the lowest; the head is trained from the start. Until its turn comes, a layer gets no update
    at all: it has no part in the norm that gradients are clipped to, no weight decay and no moments, so that its
    first step is the first of Adam. What is trained follows from the epoch alone, so a resumed run needs no state.

    The optimizer must hold the parameters already: the Trainer makes it before the training begins. In one process
    what is frozen costs no backward pass. DDP expects gradients of all that it was built with: there they are computed
    and zeroed before they are summed up. Sharded parameters (FSDP, DeepSpeed) are not supported.

    Args:
        unfreeze_every (`float`): Epochs, or a fraction of one, from layer to layer; above 0.
    """

    def __init__(self, unfreeze_every: float) -> None:
        if not unfreeze_every > 0:
            raise InputError(f"`unfreeze_every` must be above 0, got {unfreeze_every}.")
        self.unfreeze_every = unfreeze_every
        self._num_unfrozen = 0
        self._layers: list[list[nn.Parameter]] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Find the layers; what is frozen for good stays so."""
        # A run that was interrupted may have left layers frozen.
        self.on_train_end(args, state, control)
        layers = layers_from_top(kwargs["model"])
        self._layers = [[parameter for parameter in layer if parameter.requires_grad] for layer in layers]
        if args.world_size > 1:
            self._hooks = [
                parameter.register_hook(partial(self._mask, distance))
                for distance, layer in enumerate(self._layers)
                for parameter in layer
            ]

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Unfreeze what the epoch says."""
        # The epoch is a sum of fractions: what is an integer on paper may be a little less.
        self._num_unfrozen = int(state.epoch / self.unfreeze_every + 1e-6)
        if args.world_size == 1:
            for distance, layer in enumerate(self._layers):
                for parameter in layer:
                    parameter.requires_grad_(distance < self._num_unfrozen)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the optimizer no gradient of what is frozen: it would decay the weights even at a gradient of zero."""
        for layer in self._layers[self._num_unfrozen :]:
            for parameter in layer:
                parameter.grad = None

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the model as it was found."""
        for hook in self._hooks:
            hook.remove()
        for layer in self._layers:
            for parameter in layer:
                parameter.requires_grad_(True)

    def _mask(self, distance: int, gradient: torch.Tensor) -> torch.Tensor:
        return gradient if distance < self._num_unfrozen else torch.zeros_like(gradient)
