# SPDX-License-Identifier: Apache-2.0
"""The encoders of a model: built from their configurations, loaded with their weights, run."""

import inspect
import os
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput, logging

from .static_words_stacked_emotion import StaticWordsConfig, StaticWordsModel
from .storage_stacked_emotion import not_finite
from .word_parts_stacked_emotion import showing_attention


def encoder_config(entry: dict[str, Any]) -> PreTrainedConfig:
    """The configuration of an encoder from its entry in the model's."""
    # Not through the Auto classes: where two repositories register one name there, the last one wins.
    if entry["model_type"] == StaticWordsConfig.model_type:
        return StaticWordsConfig(**{**entry, "dtype": None})
    return AutoConfig.for_model(**{**entry, "dtype": None})


def build_encoder(config: PreTrainedConfig, attn_implementation: str | None) -> PreTrainedModel:
    """An encoder with weights at random."""
    if isinstance(config, StaticWordsConfig):
        return StaticWordsModel(config)
    return AutoModel.from_config(config, **encoder_arguments(config, attn_implementation))


def encoder_arguments(config: PreTrainedConfig, attn_implementation: str | None) -> dict[str, Any]:
    """How an encoder is built: without its pooler, which nothing trains, and with the attention that was asked for."""
    arguments: dict[str, Any] = {}
    if "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters:
        arguments["add_pooling_layer"] = False
    # sdpa is the default wherever an encoder supports it; passed on, it would be an error for those that do not.
    if attn_implementation not in (None, "sdpa"):
        arguments["attn_implementation"] = attn_implementation
    return arguments


def run_encoder(encoder: Any, ids: torch.Tensor, mask: torch.Tensor, with_attention: bool) -> ModelOutput:
    """The output of an encoder, with the attention of its layers if it is asked for and there is one."""
    if not with_attention:
        return encoder(input_ids=ids, attention_mask=mask)
    with showing_attention(encoder):
        return encoder(input_ids=ids, attention_mask=mask, output_attentions=True)


def load_encoder(name: str, path: str | os.PathLike[str], **arguments: Any) -> PreTrainedModel:
    """One pretrained encoder in fp32. Heads that come with it are left out; weights that do not come are an error."""
    verbosity = logging.get_verbosity()
    # The report of transformers lists the heads left out as a warning; missing weights are checked here.
    logging.set_verbosity_error()
    try:
        encoder, report = AutoModel.from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **arguments
        )
    except (RuntimeError, OSError) as error:
        raise ValueError(f"Encoder {name!r}: {path} cannot be loaded: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"Encoder {name!r}: {path} lacks {len(missing)} weights of a {type(encoder).__name__}, e.g. {missing[0]}."
        )
    if (weight := not_finite(encoder.state_dict())) is not None:
        raise ValueError(f"Encoder {name!r}: {path} has weights that are not finite, e.g. {weight}.")
    return encoder


def portable_dict(config: PreTrainedConfig) -> dict[str, Any]:
    """The encoder's config as a dict, without the dtype it was stored in or the path of a folder on this machine."""
    entry = config.to_dict()
    entry.pop("dtype", None)
    if Path(entry.get("_name_or_path", "")).is_dir():
        del entry["_name_or_path"]
    return entry
