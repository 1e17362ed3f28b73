# SPDX-License-Identifier: Apache-2.0
"""A recipe: one YAML file with the fields of data, model and training, each of which the command line may override."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from modeling_stacked_emotion import WEIGHTS_DTYPES

from .errors import InputError
from .evaluation.calibration import CALIBRATION_METHODS
from .evaluation.results import THRESHOLD_STRATEGIES
from .losses.distillation import DistillationLoss
from .training.arguments import StackedEmotionTrainingArguments

# Given on the command line, one source takes the place of the other in a recipe.
_ON_THE_HUB = ("dataset_name", "dataset_config", "dataset_revision")
_BESIDE_TRAINING = ("validation_file", "test_file")


@dataclass
class DataArguments:
    """Where the texts and labels come from: the Hub or files, never both. The layouts: `trainer_ext.data`."""

    dataset_name: str | None = field(
        default=None,
        metadata={"help": "Hub id of a data set.", "in_place_of": (*_ON_THE_HUB, "train_file", *_BESIDE_TRAINING)},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Its configuration."})
    dataset_revision: str | None = field(default=None, metadata={"help": "Its revision (branch, tag or commit)."})
    train_file: str | None = field(
        default=None,
        metadata={
            "help": "csv, tsv, jsonl or parquet file to train on.",
            "in_place_of": (*_ON_THE_HUB, *_BESIDE_TRAINING),
        },
    )
    validation_file: str | None = field(default=None, metadata={"help": "File for thresholds and the best epoch."})
    test_file: str | None = field(default=None, metadata={"help": "File for the numbers that are reported."})
    text_column: str | None = field(default=None, metadata={"help": "Column of the texts; found by name if unset."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the labels; found if unset."})
    label_names: list[str] | str | None = field(
        default=None, metadata={"help": "Labels in order, or a text file with one a line."}
    )
    train_split: str = field(default="train", metadata={"help": "Name of the training split on the Hub."})
    validation_split: str = field(default="validation", metadata={"help": "Name of the validation split on the Hub."})
    test_split: str = field(default="test", metadata={"help": "Name of the test split on the Hub."})
    validation_ratio: float = field(
        default=0.0, metadata={"help": "Share of the training rows to validate on where there is no such split."}
    )
    test_ratio: float = field(default=0.0, metadata={"help": "Share of the training rows to test on, likewise."})
    split_seed: int | None = field(
        default=None, metadata={"help": "Seed of that division; that of training if unset."}
    )


@dataclass
class DecisionArguments:
    """How probabilities and decisions are made of a trained model's logits, on the validation split."""

    calibration: str = field(
        default="platt",
        metadata={"help": "platt, temperature_per_label, temperature or none; fitted on the validation split."},
    )
    threshold_strategy: str = field(
        default="per_label", metadata={"help": f"{', '.join(THRESHOLD_STRATEGIES)} (0.5)."}
    )
    threshold_shrinkage: float | str = field(
        default=0.0,
        metadata={"help": "Pseudo-positives that draw a rare label's threshold to the global one, or auto."},
    )

    def __post_init__(self) -> None:
        # Needed only when training is over: too late to hear of a slip.
        if self.calibration not in ("none", *CALIBRATION_METHODS):
            raise InputError(
                f"`calibration` must be one of none, {', '.join(CALIBRATION_METHODS)}, got {self.calibration!r}."
            )
        if self.threshold_strategy not in THRESHOLD_STRATEGIES:
            raise InputError(
                f"`threshold_strategy` must be one of {', '.join(THRESHOLD_STRATEGIES)}, "
                f"got {self.threshold_strategy!r}."
            )
        shrinkage = self.threshold_shrinkage
        if shrinkage != "auto" and (isinstance(shrinkage, str) or not shrinkage >= 0):
            raise InputError(f"`threshold_shrinkage` must be a number >= 0 or auto, got {shrinkage}.")


@dataclass
class ModelArguments(DecisionArguments):
    """The encoders of a stack and the head on them, see [`StackedEmotionConfig`]; or the one encoder of a student."""

    encoders: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "Name to Hub id, folder or .vec file, or to a mapping: an encoder to be made."},
    )
    student: str | dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "In place of encoders, to learn from a teacher: Hub id or folder of one encoder, or a mapping."
        },
    )
    only_encoders: list[str] | None = field(
        default=None, metadata={"help": "Names of the encoders to stack; all of them by default."}
    )
    normalizations: dict[str, str] = field(
        default_factory=dict, metadata={"help": "Encoder name to none, tweet or arabert."}
    )
    max_words: int = field(default=128, metadata={"help": "Words kept of a text."})
    max_tokens: int = field(default=128, metadata={"help": "Tokens kept of a text, by every encoder."})
    mixer: str = field(default="meta_learner", metadata={"help": "meta_learner, convolutions or none."})
    meta_hidden_size: int = field(default=128, metadata={"help": "Width of the meta-learner."})
    convolution_widths: list[int] = field(
        default_factory=lambda: [1, 2, 3], metadata={"help": "How many words each convolution sees."}
    )
    convolution_hidden_size: int = field(default=128, metadata={"help": "Channels of each convolution."})
    lstm_hidden_size: int = field(default=128, metadata={"help": "Width of the Bi-LSTM per direction."})
    lstm_num_layers: int = field(default=1, metadata={"help": "Layers of the Bi-LSTM; 0 leaves it out."})
    pooling: str = field(default="attention", metadata={"help": "attention, mean, max or last."})
    skip_connection: bool = field(default=True, metadata={"help": "Lead the encoders' mean to the classifier, too."})
    dropout: float = field(default=0.1, metadata={"help": "Dropout ratio of the head."})
    word_dropout: float = field(default=0.0, metadata={"help": "Ratio of words that are zeroed in training."})
    prior_probability: float = field(default=0.05, metadata={"help": "Probability an untrained classifier gives."})
    attn_implementation: str | None = field(
        default=None, metadata={"help": "Attention of the encoders, such as eager or flash_attention_2."}
    )
    weights_dtype: str = field(
        default="float32", metadata={"help": "What the weights are stored in: float32, or float8 for a quarter."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights_dtype not in WEIGHTS_DTYPES:
            raise InputError(
                f"`weights_dtype` must be one of {', '.join(WEIGHTS_DTYPES)}, got {self.weights_dtype!r}."
            )
        if self.only_encoders is not None:
            self._leave_out_encoders(self.only_encoders)

    def _leave_out_encoders(self, names: list[str]) -> None:
        if not names or not set(names) <= set(self.encoders):
            raise InputError(f"`only_encoders` must name some of {', '.join(self.encoders)}, got {names}.")
        self.encoders = {name: origin for name, origin in self.encoders.items() if name in names}
        self.normalizations = {name: kind for name, kind in self.normalizations.items() if name in names}


@dataclass
class TeacherArguments:
    """Trained models to learn from, besides the labels. See [`DistillationLoss`]."""

    teacher: str | list[str] | None = field(
        default=None,
        metadata={"help": "Folder of a trained model to learn from; of several the mean of their probabilities."},
    )
    unlabelled_file: str | None = field(
        default=None,
        metadata={"help": "Texts without labels: a txt file with one a line, csv, tsv, jsonl or parquet."},
    )
    distillation_weight: float = field(
        default=0.5, metadata={"help": "Share of the teacher in the loss, in [0, 1]; the labels have the rest."}
    )
    distillation_temperature: float = field(
        default=1.0, metadata={"help": "What the logits of both are divided by, above 0."}
    )
    teacher_cache_dir: str | None = field(
        default=None, metadata={"help": "Folder of the teacher's logits (default: teacher_logits in output_dir)."}
    )

    def __post_init__(self) -> None:
        self.create_loss()
        if self.unlabelled_file and not self.teacher:
            raise InputError("Only a `teacher` can make use of `unlabelled_file`: give one, or leave it out.")

    @property
    def teachers(self) -> list[str]:
        """All of them."""
        return [self.teacher] if isinstance(self.teacher, str) else self.teacher or []

    def create_loss(self) -> DistillationLoss:
        """The loss of these arguments; raises `ValueError` for one out of its range."""
        return DistillationLoss(self.distillation_weight, self.distillation_temperature)


@dataclass(frozen=True)
class Recipe:
    """The groups of fields, checked and complete, and the names of those that are given rather than left out."""

    data: DataArguments
    model: ModelArguments
    distillation: TeacherArguments
    training: StackedEmotionTrainingArguments
    given: frozenset[str] = frozenset()


class _Loader(yaml.SafeLoader):
    """Only `true` and `false` are booleans, as in YAML 1.2: in `eval_strategy: no` stands a word."""


_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("^(?:true|false)$", re.IGNORECASE), list("tTfF"))

# Fields of transformers that most runs set; `--help` shows them beside our own.
COMMON_FIELDS = (
    *("output_dir", "num_train_epochs", "max_steps", "gradient_accumulation_steps", "lr_scheduler_type", "seed"),
    *("activation_checkpointing", "resume_from_checkpoint", "report_to", "bf16", "fp16", "use_cpu"),
)
# Fields with a value of another type that may also be true or false.
_ALSO_FLAGS = ("resume_from_checkpoint",)
_GROUPS = {
    "data": DataArguments,
    "model": ModelArguments,
    "distillation": TeacherArguments,
    "training": StackedEmotionTrainingArguments,
}


def load_recipe(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """
    Read a recipe: one flat mapping of the fields of [`DataArguments`], [`ModelArguments`], [`TeacherArguments`] and
    [`StackedEmotionTrainingArguments`]. Arguments and errors are those of [`load_fields`].
    """
    values = _read_values(path, _GROUPS, overrides)
    return Recipe(**_fill_groups(path, _GROUPS, values), given=frozenset(values))


def load_fields(path: str, groups: Mapping[str, type], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """
    Read dataclasses from one flat mapping.

    Args:
        path (`str`): The YAML file. A field `output_dir` that it lacks becomes `outputs/<name of the file>`.
        groups (`dict[str, type]`): The dataclasses by a name; of two with the same field the first has it.
        overrides (`list[str]`): `--field value` or `--field=value` in YAML's own notation; `--encoders.bert PATH` sets
            one entry of a mapping, a flag without a value is true. A field whose metadata say what it is `in_place_of`
            removes these from the recipe: `--train_file PATH` the recipe's `dataset_name`.

    Returns:
        `dict[str, Any]`: An instance of each dataclass, by its name.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If it is no mapping, or for an unknown field or a value of another type; in one line.
    """
    return _fill_groups(path, groups, _read_values(path, groups, overrides))


def _read_values(path: str, groups: Mapping[str, type], overrides: Sequence[str]) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no recipe {path}.")
    values = parse_yaml(file.read_bytes(), path)
    if not isinstance(values, dict):
        raise InputError(f"{path} must be a mapping of fields, got {type(values).__name__}.")
    values.setdefault("output_dir", f"outputs/{file.stem}")
    named = _apply_overrides(values, overrides)
    _drop_replaced(values, named, groups)
    return values


def _fill_groups(path: str, groups: Mapping[str, type], values: Mapping[str, Any]) -> dict[str, Any]:
    # The first last: `label_names` are the names of the labels, not of the model's inputs as in transformers.
    in_turn = reversed([*groups.items()])
    known = {name: (group, annotation) for group, cls in in_turn for name, annotation in _annotations(cls).items()}
    arguments: dict[str, dict[str, Any]] = {group: {} for group in groups}
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else "; `--help` lists them all."
            raise InputError(f"{path}: unknown field `{name}`{hint}")
        group, annotation = known[name]
        arguments[group][name] = _checked(name, annotation, value)
    return {group: cls(**arguments[group]) for group, cls in groups.items()}


def _apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> set[str]:
    """Change the values; returns the names of the options."""
    named = set()
    position = 0
    while position < len(overrides):
        option = overrides[position]
        if not option.startswith("--"):
            raise InputError(f"Expected `--field value`, got {option!r}.")
        name, has_value, text = option[2:].partition("=")
        named.add(name)
        position += 1
        if not has_value:
            if position < len(overrides) and not overrides[position].startswith("--"):
                text = overrides[position]
                position += 1
            else:
                text = "true"
        *parents, last = name.split(".")
        target = values
        for parent in parents:
            if not isinstance(target.setdefault(parent, {}), dict):
                raise InputError(f"`--{name}`: `{parent}` is not a mapping.")
            target = target[parent]
        # A path may hold what YAML takes for a comment or a mapping.
        is_plain = not text.startswith(tuple("{['\"")) and (" #" in text or ": " in text)
        target[last] = text if is_plain else parse_yaml(text, f"The value of `--{name}`")
    return named


def _drop_replaced(values: dict[str, Any], named: set[str], groups: Mapping[str, type]) -> None:
    # What is named stays, and two sources are one too many: their reader says so.
    for each in chain.from_iterable(map(fields, groups.values())):
        if each.name in named and values[each.name] is not None:
            for other in {*each.metadata.get("in_place_of", ())} - named:
                values.pop(other, None)


def parse_yaml(text: str | bytes, source: str) -> Any:
    """A YAML text in the notation of recipes; `source` names it in the `ValueError` of a text that is none."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not YAML: {' '.join(str(error).split())}") from error


def _annotations(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {
        entry.name: hints[entry.name] | bool if entry.name in _ALSO_FLAGS else hints[entry.name]
        for entry in fields(cls)
        if entry.init
    }


def _checked(name: str, annotation: Any, value: Any) -> Any:
    """The value in the field's type: YAML reads `1e-4` as a string, and `7` where a float is meant as an integer."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kinds = [get_origin(member) or member for member in members]
    if float in kinds and type(value) in (int, str):
        try:
            return float(value)
        except ValueError:
            pass
    # Not `isinstance`: a boolean would pass for an integer.
    if type(value) in kinds:
        return value
    if str in kinds and type(value) in (int, float):
        return str(value)
    raise InputError(f"`{name}` must be of type {inspect.formatannotation(annotation)}, got {value!r}.")


def format_fields() -> str:
    """Every field with its default and meaning, for `--help`; of those of transformers only what most runs set."""
    lines = []
    shown = {*StackedEmotionTrainingArguments.__annotations__, *COMMON_FIELDS}
    num_hidden = len(StackedEmotionTrainingArguments.__dataclass_fields__.keys() - shown)
    for group, cls in _GROUPS.items():
        lines.append(f"\n{group}:")
        for entry in fields(cls):
            if group == "training" and entry.name not in shown:
                continue
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            meaning = str(entry.metadata.get("help", "")).partition(". ")[0].rstrip(".")
            lines.append(f"  --{entry.name:<28} {meaning}. (default: {default})")
    lines.append(f"  ... and the {num_hidden} other fields of transformers.TrainingArguments.")
    return "\n".join(lines)
