# SPDX-License-Identifier: Apache-2.0
"""Configuration of the stacked multi-label emotion classifier."""

import math
from collections.abc import Callable
from dataclasses import field
from typing import Any, ClassVar

import numpy as np
from torch.nn import ModuleDict
from transformers import CONFIG_MAPPING, PreTrainedConfig

from .checks_stacked_emotion import (
    check_choice,
    check_encoder_name,
    check_flag,
    check_integer,
    check_label_numbers,
    check_number,
    check_sizes,
    check_thresholds,
)
from .static_words_stacked_emotion import StaticWordsConfig

MIXERS = ("meta_learner", "convolutions", "none")
POOLINGS = ("attention", "mean", "max", "last")

AUTO_MAP = {
    "AutoConfig": "configuration_stacked_emotion.StackedEmotionConfig",
    "AutoModel": "modeling_stacked_emotion.StackedEmotionModel",
    "AutoModelForSequenceClassification": "modeling_stacked_emotion.StackedEmotionForSequenceClassification",
}
CUSTOM_PIPELINES = {
    "emotion-classification": {
        "impl": "pipeline_stacked_emotion.StackedEmotionPipeline",
        "pt": ["AutoModelForSequenceClassification"],
        "type": "text",
    }
}

# Fields tied to the saved label set; dropped when it changes.
_LABEL_FIELDS = (
    *("id2label", "label2id", "thresholds", "source_thresholds", "class_weights", "label_correlation"),
    *("calibration_scale", "calibration_bias"),
)


class StackedEmotionConfig(PreTrainedConfig):
    r"""
    Configuration of a [`StackedEmotionModel`]: the encoders that are stacked and the layers on the stack.

    Args:
        encoders (`dict[str, dict]`, *optional*):
            Encoder name to the encoder's own configuration as a dict (`config.to_dict()`, with `model_type`). One or
            more, stacked in the order of their names, whatever order they are given in. Names are identifiers such as
            `marbert`. A configuration that carries `auto_map` is refused: the encoders never run remote code. The
            `model_type` is one of transformers or `static_words` ([`StaticWordsConfig`]).
        mixer (`str`, *optional*, defaults to `"meta_learner"`):
            Layer over the stack: `"meta_learner"` (its output is concatenated with the stack), `"convolutions"` (their
            output takes the place of the stack) or `"none"`.
        meta_hidden_size (`int`, *optional*, defaults to 128):
            Width of the meta-learner's output.
        convolution_widths (`list[int]`, *optional*, defaults to `[1, 2, 3]`):
            How many neighbouring words the convolutions see, each width once.
        convolution_hidden_size (`int`, *optional*, defaults to 128):
            Channels of the convolution of each width.
        lstm_hidden_size (`int`, *optional*, defaults to 128):
            Width of the Bi-LSTM per direction; its output is twice as wide.
        lstm_num_layers (`int`, *optional*, defaults to 1):
            Layers of the Bi-LSTM; 0 leaves it out.
        pooling (`str`, *optional*, defaults to `"attention"`):
            How word states become one text state: `"attention"`, `"mean"`, `"max"` or `"last"`.
        skip_connection (`bool`, *optional*, defaults to `True`):
            Whether the classifier also gets the mean of the encoders' word states, past mixer and Bi-LSTM. Without it
            everything that the encoders know has to pass through a Bi-LSTM that starts at random.
        weighted_skip_connection (`bool`, *optional*, defaults to `False`):
            Whether the skip connection weighs each encoder's word states by the meta-learner's weights, and hands on
            these weights, too: where encoders know different languages, each text is read by the one that knows it.
        dropout (`float`, *optional*, defaults to 0.1):
            Dropout ratio in [0, 1) before the Bi-LSTM, between its layers and before the classifiers.
        word_dropout (`float`, *optional*, defaults to 0.0):
            Ratio in [0, 1) of whole words that are zeroed in training, for all encoders at once.
        prior_probability (`float`, *optional*, defaults to 0.05):
            The probability in (0, 1) that an untrained classifier gives to every label, by its bias
            -log((1 - p) / p) (Lin et al. 2017, Focal Loss for Dense Object Detection, section 4.1).
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the initial weights of linear layers.
        thresholds (`list[float]`, *optional*):
            One probability in [0, 1] per label, in the order of `id2label`: a label is predicted at or above it.
            0.5 each when absent.
        source_thresholds (`dict[str, list[float]]`, *optional*):
            Thresholds for texts of one of the data sets that the model was trained on, by its name.
        class_weights (`list[float]`, *optional*):
            For the record: the weight that the positives of each label had in the training loss.
        label_correlation (`list[list[float]]`, *optional*):
            For the record: the correlations of the labels in the training split, `(num_labels, num_labels)`.
        calibration_scale, calibration_bias (`list[float]`, *optional*):
            One number per label each, scales above 0, so that no ranking changes; both or neither. A classifier's
            logits become scale * logit + bias: Platt scaling, or temperature scaling by 1 / scale with biases of 0.
        languages (`list[str]`, *optional*):
            Codes of the languages of the training texts (BCP 47), such as `ar`, `arq` or `pt-BR`.
        scripts (`list[str]`, *optional*):
            Names of the scripts of the training texts, such as `Arabic` or `Latin`
            ([`~scripts_stacked_emotion.frequent_scripts`]).
        kwargs:
            Fields of [`PreTrainedConfig`], above all `id2label` or `num_labels`.

    Raises:
        `ValueError`, `TypeError`: At construction and at saving, for every field out of its range.
    """

    model_type = "stacked_emotion"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "auxiliary_logits",
        "encoder_logits",
        "pooler_output",
        "word_attention",
        "encoder_weights",
        "word_parts",
    ]

    encoders: dict[str, dict[str, Any]] | None = None
    mixer: str = "meta_learner"
    meta_hidden_size: int = 128
    convolution_widths: list[int] = field(default_factory=lambda: [1, 2, 3])
    convolution_hidden_size: int = 128
    lstm_hidden_size: int = 128
    lstm_num_layers: int = 1
    pooling: str = "attention"
    skip_connection: bool = True
    weighted_skip_connection: bool = False
    dropout: float = 0.1
    word_dropout: float = 0.0
    prior_probability: float = 0.05
    initializer_range: float = 0.02
    thresholds: list[float] | None = None
    source_thresholds: dict[str, list[float]] | None = None
    class_weights: list[float] | None = None
    label_correlation: list[list[float]] | None = None
    calibration_scale: list[float] | None = None
    calibration_bias: list[float] | None = None
    languages: list[str] | None = None
    scripts: list[str] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.problem_type = "multi_label_classification"
        # The base class makes a label of each.
        check_sizes({"num_labels": kwargs.get("num_labels") or len(self.id2label or ())})
        _check_id2label(self.id2label, kwargs.get("num_labels"))
        super().__post_init__(**kwargs)
        self.label2id = {label: index for index, label in self.id2label.items()}
        # Always the flat names: a repository's code stays beside its weights, wherever it was loaded from.
        self.auto_map = dict(AUTO_MAP)
        self.custom_pipelines = {task: dict(entry) for task, entry in CUSTOM_PIPELINES.items()}
        self.validate()
        if self.encoders is not None:
            # JSON files of transformers are sorted by key: a saved order would be another one when loaded.
            self.encoders = {name: _with_integer_ids(entry) for name, entry in sorted(self.encoders.items())}

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """
        The base class's. With `id2label` or `num_labels` of another number of labels, the fields that were saved for
        the old labels are dropped: so a trained model is loaded for labels of one's own
        (`ignore_mismatched_sizes=True`).
        """
        num_saved = len(config_dict.get("id2label") or ())
        id2label = kwargs.pop("id2label", None)
        num_labels = kwargs.get("num_labels") if id2label is None else len(id2label)
        if num_saved and num_labels not in (None, num_saved):
            config_dict = {field: value for field, value in config_dict.items() if field not in _LABEL_FIELDS}
        if id2label is not None:
            config_dict = {**config_dict, "id2label": id2label}
        return super().from_dict(config_dict, **kwargs)

    @property
    def prior_logit(self) -> float:
        """The logit of `prior_probability`."""
        return -math.log((1 - self.prior_probability) / self.prior_probability)

    @property
    def labels(self) -> list[str]:
        """Label names in the order of the logits."""
        return label_names(self)

    def validate(self) -> None:
        """Check every field; raises `ValueError` or `TypeError` with the expected value and the one got."""
        super().validate()
        check_sizes({**vars(self), "num_labels": len(self.id2label)})
        if self.encoders is not None:
            _check_encoders(self.encoders)
        check_choice("mixer", self.mixer, MIXERS)
        check_choice("pooling", self.pooling, POOLINGS)
        check_integer("meta_hidden_size", self.meta_hidden_size, minimum=1)
        _check_widths(self.convolution_widths)
        check_integer("convolution_hidden_size", self.convolution_hidden_size, minimum=1)
        check_integer("lstm_hidden_size", self.lstm_hidden_size, minimum=1)
        check_integer("lstm_num_layers", self.lstm_num_layers, minimum=0)
        check_flag("skip_connection", self.skip_connection)
        check_flag("weighted_skip_connection", self.weighted_skip_connection)
        if self.weighted_skip_connection and not (self.skip_connection and self.mixer == "meta_learner"):
            raise ValueError(
                '`weighted_skip_connection` needs `skip_connection` and the weights of the `mixer` "meta_learner".'
            )
        if self.pooling == "last" and not self.lstm_num_layers:
            raise ValueError('`pooling` "last" reads the ends of the Bi-LSTM: `lstm_num_layers` must be at least 1.')
        check_number("dropout", self.dropout, lambda value: 0.0 <= value < 1.0, "in [0, 1)")
        check_number("word_dropout", self.word_dropout, lambda value: 0.0 <= value < 1.0, "in [0, 1)")
        check_number("prior_probability", self.prior_probability, lambda value: 0.0 < value < 1.0, "in (0, 1)")
        check_number("initializer_range", self.initializer_range, lambda value: 0.0 < value < math.inf, "above 0")
        self._check_labels()
        if self.thresholds is not None:
            check_thresholds(self.thresholds, self.labels)
        if not isinstance(self.source_thresholds, dict | None):
            raise TypeError(f"`source_thresholds` must map data sets to thresholds, got {self.source_thresholds!r}.")
        for values in (self.source_thresholds or {}).values():
            check_thresholds(values, self.labels)
        self._check_label_numbers("calibration_scale", lambda value: 0.0 < value < math.inf, "above 0 and finite")
        self._check_label_numbers("calibration_bias", math.isfinite, "that is finite")
        self._check_label_numbers("class_weights", lambda value: 0.0 < value < math.inf, "above 0 and finite")
        if (self.calibration_scale is None) != (self.calibration_bias is None):
            raise ValueError(
                "`calibration_scale` and `calibration_bias` belong together: set both or neither, "
                f"got {self.calibration_scale} and {self.calibration_bias}."
            )
        shape = (self.num_labels, self.num_labels)
        if self.label_correlation is not None and np.shape(self.label_correlation) != shape:
            raise ValueError(f"`label_correlation` must have shape {shape}, got {np.shape(self.label_correlation)}.")
        _check_names("languages", self.languages)
        _check_names("scripts", self.scripts)

    def _check_labels(self) -> None:
        if sorted(self.id2label) != list(range(len(self.id2label))) or not self.id2label:
            raise ValueError(
                f"`id2label` must number the labels from 0 without gaps, got the ids {list(self.id2label)}."
            )
        if len(set(self.id2label.values())) != len(self.id2label):
            raise ValueError(f"`id2label` must name every label once, got {list(self.id2label.values())}.")

    def _check_label_numbers(self, field: str, is_inside: Callable[[float], bool], expected: str) -> None:
        if (values := getattr(self, field)) is not None:
            check_label_numbers(field, values, self.labels, is_inside, expected)


def label_names(config: PreTrainedConfig) -> list[str]:
    """The labels in the order of the logits; of a stock config as well."""
    return [config.id2label[index] for index in range(config.num_labels)]


def decision_thresholds(config: PreTrainedConfig, source: str | None = None) -> list[float]:
    """
    The threshold of every label: the config's own, or 0.5 each where, as in stock configs, there are none; those for
    texts of a `source` that has its own.

    Raises:
        `ValueError`: If there is no such source.
    """
    if source is not None:
        sources = getattr(config, "source_thresholds", None) or {}
        if source not in sources:
            raise ValueError(f"`source` must be one of {', '.join(sources) or 'none'}, got {str(source)[:80]!r}.")
        return list(sources[source])
    return getattr(config, "thresholds", None) or [0.5] * config.num_labels


def _check_id2label(id2label: Any, num_labels: int | None) -> None:
    """Check the ids before the base class makes integers of them; in JSON they are strings."""
    if id2label is None:
        return
    if not isinstance(id2label, dict):
        raise TypeError(f"`id2label` must be a dict of id to label, got {type(id2label).__name__}.")
    if not all(str(index).isdecimal() for index in id2label):
        raise ValueError(f"`id2label` must number the labels from 0 without gaps, got the ids {list(id2label)}.")
    if not all(isinstance(label, str) for label in id2label.values()):
        raise TypeError(f"`id2label` must name every label by a string, got {list(id2label.values())}.")
    if num_labels not in (None, len(id2label)):
        raise ValueError(f"`num_labels` is {num_labels}, but `id2label` names {len(id2label)} labels: pass only one.")


def _with_integer_ids(entry: dict[str, Any]) -> dict[str, Any]:
    """An encoder's configuration with ids of labels that are integers also where they come from JSON."""
    id2label = entry.get("id2label")
    if not isinstance(id2label, dict) or not all(str(index).isdecimal() for index in id2label):
        return entry
    return {**entry, "id2label": {int(index): label for index, label in id2label.items()}}


def _check_encoders(encoders: Any) -> None:
    if not isinstance(encoders, dict):
        raise TypeError(f"`encoders` must be a dict of name to configuration, got {type(encoders).__name__}.")
    if not encoders:
        raise ValueError("`encoders` must name at least one encoder, got an empty dict.")
    for name, entry in encoders.items():
        check_encoder_name(name)
        if hasattr(ModuleDict, name):
            raise ValueError(f"An encoder cannot be called {name!r}: torch.nn.ModuleDict has a member of that name.")
        if not isinstance(entry, dict):
            raise TypeError(f"`encoders[{name!r}]` must be a dict (`config.to_dict()`), got {type(entry).__name__}.")
        if "auto_map" in entry:
            raise ValueError(f"`encoders[{name!r}]` carries `auto_map`: encoders with remote code are not accepted.")
        # A list, as the value may be anything that JSON holds, hashable or not.
        if entry.get("model_type") not in [StaticWordsConfig.model_type, *CONFIG_MAPPING]:
            raise ValueError(
                f"`encoders[{name!r}]` needs a `model_type` that transformers knows, "
                f"or {StaticWordsConfig.model_type}, got {entry.get('model_type')!r}."
            )
        if entry.get("is_encoder_decoder"):
            raise ValueError(
                f"`encoders[{name!r}]` is an encoder-decoder ({entry['model_type']}): use an encoder-only model."
            )


def _check_names(field: str, names: Any) -> None:
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TypeError(f"`{field}` must be a list of strings, got {names!r}.")


def _check_widths(widths: Any) -> None:
    if not isinstance(widths, list) or not all(type(width) is int and width >= 1 for width in widths):
        raise ValueError(f"`convolution_widths` must be a list of integers of at least 1, got {widths!r}.")
    if not widths or len(set(widths)) < len(widths):
        raise ValueError(f"`convolution_widths` must name at least one width and each once, got {widths}.")
