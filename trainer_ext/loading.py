# SPDX-License-Identifier: Apache-2.0
"""
The one way to load a configuration, a tokenizer or a model that comes from outside.

Code that lies in a folder or repository is never run and never asked about: `stacked_emotion` has the classes of this
installation, every other architecture those of transformers. Weights are read from safetensors files only, and a model
that lacks one of them, or holds one that is not finite, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.activations import ACT2FN
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME, logging
from transformers.utils.peft_utils import find_adapter_config_file

import modeling_stacked_emotion  # noqa: F401  (registers its classes)
from modeling_stacked_emotion import StaticWordsTokenizer, label_names
from modeling_stacked_emotion.checks_stacked_emotion import (
    check_sizes,
    check_thresholds,
    check_vocabulary,
    read_object,
)
from modeling_stacked_emotion.storage_stacked_emotion import not_finite

from .errors import InputError, reading

_MIN_TOKENS = 8
# Fields that name an activation.
_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation", "activation_function", "classifier_activation")


def load_config(source: str, revision: str | None = None) -> Any:
    """
    The configuration of a model or encoder.

    Args:
        source (`str`): Folder or Hub id.
        revision (`str`, *optional*): Commit, tag or branch on the Hub.

    Raises:
        `InputError`: If there is none, it needs code of its own, or a field is not as the architecture wants it.
    """
    with reading(source):
        config, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
    if not isinstance(config, dict):
        raise InputError(f"{source}: config.json must hold an object, got {type(config).__name__}.")
    kind = config.get("model_type")
    # A list, as the value may be anything that JSON holds, hashable or not.
    if "auto_map" in config and kind not in list(CONFIG_MAPPING):
        raise InputError(
            f"{source} is a model of the type {kind!r}, which needs code of its own: it is not run. "
            "Expected stacked_emotion or an architecture of transformers."
        )
    if kernel := next(_attention_kernels(config), None):
        raise InputError(f"{source}: the attention {kernel!r} of config.json is code of the Hub, which is not run.")
    if "transformers_weights" in config:
        raise InputError(f"{source}: config.json names a file of weights; expected them in {SAFE_WEIGHTS_NAME}.")
    with reading(f"{source}: config.json"):
        check_sizes(config)
        _check_activations(config)
        loaded = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        _check_labels(loaded)
    return loaded


def load_tokenizer(source: str, revision: str | None = None) -> Any:
    """The tokenizer of a model or encoder; arguments and errors as of [`load_config`]."""
    with reading(f"{source}: the tokenizer cannot be loaded"):
        if (settings := Path(source) / "tokenizer_config.json").is_file():
            read_object(settings)
        return AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)


def load_model(
    source: str,
    kind: Any = AutoModelForSequenceClassification,
    *,
    revision: str | None = None,
    may_lack: Callable[[PreTrainedModel, str], bool] = lambda *_: False,
    **options: Any,
) -> Any:
    """
    A model with all of its weights.

    Args:
        source, revision: As in [`load_config`].
        kind (*optional*, defaults to `AutoModelForSequenceClassification`): An Auto class.
        may_lack (`Callable`, *optional*): Whether the model may lack the weight of a name, as a new head does.
        options: Further ones of `from_pretrained`, such as `config` and `dtype`.

    Raises:
        As [`load_config`], and `InputError` if the weights lie in other files than those of safetensors, or outside of
        the folder, or if they are not whole or not finite.
    """
    config = options["config"] if "config" in options else load_config(source, revision)
    _check_files(source, revision)
    _check_size(source, kind, config)
    with reading(source), _without_report():
        model, report = kind.from_pretrained(
            source,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            # Named below.
            ignore_mismatched_sizes=True,
            **options,
        )
    _check_whole(source, model, report, may_lack)
    check_finite(model, source)
    return model


def check_tokenizer(model: PreTrainedModel, tokenizer: Any) -> None:
    """
    Refuse a tokenizer that is not the model's; one of transformers that names no limit gets that of the model.

    Args:
        model ([`PreTrainedModel`]): One of ours or of transformers.
        tokenizer: Its tokenizer.

    Raises:
        `InputError`: If it has other encoders than the model, ids that no embedding has a row for, no padding, or a
            limit beyond the positions of the model.
    """
    encoders = getattr(getattr(model, model.base_model_prefix, None), "encoders", None)
    encoders = dict(encoders.items()) if isinstance(encoders, nn.ModuleDict) else {model.base_model_prefix: model}
    tokenizers = getattr(tokenizer, "tokenizers", {model.base_model_prefix: tokenizer})
    if encoders.keys() != tokenizers.keys():
        raise InputError(
            f"The tokenizer must have the encoders of the model, {', '.join(encoders)}, got {', '.join(tokenizers)}: "
            "use the one that was saved with the model."
        )
    for name, encoder in encoders.items():
        own, limit = tokenizers[name], num_positions(encoder)
        with reading():
            check_vocabulary(name, _num_ids(own), getattr(encoder.config.get_text_config(), "vocab_size", None))
        if own is not tokenizer:
            if limit is not None and tokenizer.max_tokens > limit:
                raise InputError(
                    f"`max_tokens` is {tokenizer.max_tokens}, but encoder {name!r} takes at most {limit} tokens. "
                    "Lower it."
                )
        elif tokenizer.pad_token_id is None:
            raise InputError("The tokenizer has no `pad_token`, which batches of texts need: set one and save it.")
        elif tokenizer.model_max_length < _MIN_TOKENS:
            raise InputError(
                f"The tokenizer's `model_max_length` must be at least {_MIN_TOKENS}, got {tokenizer.model_max_length}."
            )
        elif limit is not None:
            tokenizer.model_max_length = min(tokenizer.model_max_length, limit)


def num_positions(encoder: nn.Module) -> int | None:
    """How many tokens an encoder has learnt positions for; `None` if it has no table of them, and takes any number."""
    tables = (module for name, module in encoder.named_modules() if name.endswith("position_embeddings"))
    table = next((table for table in tables if isinstance(table, nn.Embedding)), None)
    if table is None:
        return None
    # Where the table has a row for padding, as in RoBERTa, positions begin behind it.
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


def check_finite(model: nn.Module, name: str) -> None:
    """
    Refuse a model that would answer NaN.

    Args:
        model (`nn.Module`): Any model.
        name (`str`): Its name in the message.

    Raises:
        `InputError`: If a weight is not finite; the message names the first.
    """
    if (weight := not_finite(model.state_dict())) is not None:
        raise InputError(
            f"{name} has weights that are not finite, e.g. {weight}: its training has diverged. "
            "Train it again with a lower learning rate."
        )


def _num_ids(tokenizer: Any) -> int:
    """The ids that a tokenizer may give; those of special tokens stand in its rules, too."""
    if isinstance(tokenizer, StaticWordsTokenizer):
        return len(tokenizer)
    return max([*tokenizer.get_vocab().values(), *tokenizer("")["input_ids"]], default=-1) + 1


def _check_whole(
    source: str, model: PreTrainedModel, report: Mapping[str, Any], may_lack: Callable[[PreTrainedModel, str], bool]
) -> None:
    kind = type(model).__name__
    if missing := sorted(key for key in report["missing_keys"] if not may_lack(model, key)):
        raise InputError(f"{source} lacks {len(missing)} weights of a {kind}, e.g. {missing[0]}.")
    wrong = sorted(entry for entry in report["mismatched_keys"] if not may_lack(model, entry[0]))
    if wrong:
        weight, stored, expected = wrong[0]
        raise InputError(
            f"{source} has {len(wrong)} weights of another shape than a {kind} of its config.json, e.g. {weight}: "
            f"expected {tuple(expected)}, got {tuple(stored)}."
        )


def _check_files(source: str, revision: str | None) -> None:
    """Refuse files of weights that are pickles, adapters, or outside of a folder; the Hub has no paths outside."""
    if find_adapter_config_file(source, revision=revision) is not None:
        raise InputError(f"{source} holds an adapter (adapter_config.json): merge it into the model and save that.")
    folder = Path(source)
    if not folder.is_dir() or (folder / SAFE_WEIGHTS_NAME).is_file():
        return
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if index.is_file():
        with reading(str(index)):
            content = json.loads(index.read_text(encoding="utf-8"))
        shards = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(shards, dict):
            raise InputError(f"{index} must hold an object with a `weight_map` of weights to files.")
        if outside := [name for name in shards.values() if Path(str(name)).name != name]:
            raise InputError(f"{index} must name files of its folder, got {outside[0]!r}.")
    elif pickles := [name for name in (WEIGHTS_NAME, WEIGHTS_INDEX_NAME) if (folder / name).is_file()]:
        raise InputError(
            f"{source} has its weights in {pickles[0]}, which is not read, since a pickle can run code: expected "
            f"{SAFE_WEIGHTS_NAME}, as `save_pretrained` writes it."
        )


def _check_activations(config: Mapping[str, Any]) -> None:
    """`ValueError` for an activation that transformers does not know, in a config or in those within it."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            _check_activations(value)
        elif name in _ACTIVATIONS and isinstance(value, str) and value not in ACT2FN:
            raise ValueError(f"`{name}` must be an activation of transformers, such as gelu, got {value!r}.")


def _check_labels(config: PreTrainedConfig) -> None:
    """`ValueError` or `TypeError` for labels and thresholds of a classifier that do not belong together."""
    if config.problem_type != "multi_label_classification":
        return
    if sorted(config.id2label) != list(range(config.num_labels)):
        raise ValueError(f"`id2label` must number the labels from 0 without gaps, got {list(config.id2label)}.")
    if not all(isinstance(label, str) for label in config.id2label.values()):
        raise TypeError(f"`id2label` must name every label by a string, got {list(config.id2label.values())}.")
    if (thresholds := getattr(config, "thresholds", None)) is not None:
        check_thresholds(thresholds, label_names(config))


def _check_size(source: str, kind: Any, config: PreTrainedConfig) -> None:
    """Refuse a config of far more weights than the files of a folder hold, before memory is taken for them."""
    folder = Path(source)
    if not folder.is_dir():
        return
    num_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    with reading(source), torch.device("meta"):
        num_weights = sum(weight.numel() for weight in kind.from_config(config, trust_remote_code=False).parameters())
    # A weight has at least a byte; a new head is not in the files.
    if num_bytes and num_weights > 2 * num_bytes + 100_000_000:
        raise InputError(
            f"{source}: config.json describes {num_weights:,} weights, but the files hold at most {num_bytes:,}: they "
            "are of another model."
        )


def _attention_kernels(config: Mapping[str, Any]) -> Iterator[str]:
    """The attentions that a config wants from a repository of the Hub, in it and in the configs within it."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _attention_kernels(value)
        elif "attn_implementation" in name and "/" in str(value):
            yield str(value)


@contextmanager
def _without_report() -> Iterator[None]:
    """Without the report of transformers that lists weights left out of a model, or new in it, as a warning."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
