# SPDX-License-Identifier: Apache-2.0
"""A recipe: one YAML file with the fields of data, model and training, each of which the command line may override."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from itertools import chain
from typing import Any

from modeling_stacked_emotion import WEIGHTS_DTYPES, StackedEmotionConfig
from modeling_stacked_emotion.configuration_stacked_emotion import MIXERS, POOLINGS

from .data.targets import BLANK_LABELS, VOTE_TARGETS
from .errors import InputError, check_choices, check_ranges
from .evaluation.calibration import CALIBRATION_METHODS
from .evaluation.results import THRESHOLD_METRICS, THRESHOLD_STRATEGIES
from .losses.distillation import DistillationLoss
from .recipe_file import make_fields, read_fields, typed_fields
from .training.arguments import STAGED_FIELDS, StackedEmotionTrainingArguments

# Given on the command line, one source takes the place of the other in a recipe.
_ON_THE_HUB = ("dataset_name", "dataset_config", "dataset_revision")
_BESIDE_TRAINING = ("validation_file", "test_file", "languages")
# BCP 47: a language of two or three letters, then perhaps a script, a region and the like.
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass
class SourceArguments:
    """Where the texts and labels come from: the Hub or files, never both. The layouts: `trainer_ext.data`."""

    dataset_name: str | None = field(
        default=None,
        metadata={"help": "Hub id of a data set.", "in_place_of": (*_ON_THE_HUB, "train_file", *_BESIDE_TRAINING)},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of that data set."})
    dataset_revision: str | None = field(
        default=None, metadata={"help": "Revision of that data set: branch, tag or commit."}
    )
    train_file: str | None = field(
        default=None,
        metadata={
            "help": "csv, tsv, jsonl or parquet file to train on.",
            "in_place_of": (*_ON_THE_HUB, *_BESIDE_TRAINING),
        },
    )
    validation_file: str | None = field(
        default=None, metadata={"help": "File that decides on thresholds and the best epoch."}
    )
    test_file: str | None = field(default=None, metadata={"help": "File that the results are reported for."})
    text_column: str | None = field(default=None, metadata={"help": "Column of the texts; found by name if unset."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the labels; found by name if unset."})
    label_names: list[str] | str | None = field(
        default=None, metadata={"help": "Labels in order, or a text file with one a line."}
    )
    label_separator: str | None = field(
        default=None,
        metadata={"help": "Divides the labels of a cell; a comma, semicolon, bar or hash is found if unset."},
    )
    label_map: dict[str, str | None] = field(
        default_factory=dict,
        metadata={"help": "Label of the data to its name in the model; equal names become one, null drops a label."},
    )
    blank_labels: str | None = field(
        default=None,
        metadata={
            "help": "Meaning of a blank among 0 and 1; a column of blanks is unknown in any case.",
            "choices": BLANK_LABELS,
        },
    )
    max_intensity: float | None = field(
        default=None,
        metadata={"help": "Greatest value of labels that are intensities (3 for 0 to 3) or shares (1): it becomes 1."},
    )
    vote_targets: str = field(
        default="majority",
        metadata={"help": "Target of a label that several raters were asked for.", "choices": VOTE_TARGETS},
    )
    votes_file: str | None = field(
        default=None,
        metadata={"help": "Votes of raters on training texts: their targets become those of the votes."},
    )
    train_split: str = field(default="train", metadata={"help": "Name of the training split on the Hub."})
    validation_split: str = field(default="validation", metadata={"help": "Name of the validation split on the Hub."})
    test_split: str = field(default="test", metadata={"help": "Name of the test split on the Hub."})
    validation_ratio: float = field(
        default=0.0, metadata={"help": "Share of the training rows to validate on where there is no such split."}
    )
    test_ratio: float = field(default=0.0, metadata={"help": "Share of the training rows to test on, likewise."})

    def reading(self) -> dict[str, Any]:
        """The arguments of [`load_emotion_data`]."""
        return {entry.name: getattr(self, entry.name) for entry in fields(SourceArguments)}


@dataclass
class DataArguments(SourceArguments):
    """One source of texts and labels, or several."""

    split_seed: int | None = field(
        default=None, metadata={"help": "Seed of the division by these ratios; that of training if unset."}
    )
    sources: dict[str, dict[str, Any]] = field(
        default_factory=dict,
        metadata={
            "help": "Several data sets: name to a mapping of the fields above, of `language`, `weight` and "
            "`evaluated_only`. The fields above are the defaults of all; {source} in them is the name."
        },
    )
    only_sources: list[str] | None = field(
        default=None, metadata={"help": "Names of the sources to take; all of them by default."}
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if unknown := sorted({*(self.only_sources or ())} - {*self.sources}):
            raise InputError(f"`only_sources` names {unknown[0]!r}; the sources are {', '.join(self.sources)}.")
        self.named_sources()

    def named_sources(self) -> dict[str, NamedSourceArguments]:
        """The sources by name."""
        shared = {
            entry.name: getattr(self, entry.name)
            for entry in fields(SourceArguments)
            if getattr(self, entry.name) not in (None, entry.default)
        }
        return {
            name: _source(name, entries, shared)
            for name, entries in self.sources.items()
            if self.only_sources is None or name in self.only_sources
        }

    def languages(self) -> list[str] | None:
        """The languages of the sources that are trained on, each once; `None` where they have none."""
        named = [source.language for source in self.named_sources().values() if not source.evaluated_only]
        return list(dict.fromkeys(filter(None, named))) or None


@dataclass
class NamedSourceArguments(SourceArguments):
    """One of several sources."""

    language: str | None = field(default=None, metadata={"help": "Code of its language, such as ar or arq."})
    weight: float = field(default=1.0, metadata={"help": "How often its rows come, beside those of other sources."})
    evaluated_only: bool = field(
        default=False, metadata={"help": "Whether no row of it is trained on; its labels are those of the others."}
    )

    def __post_init__(self) -> None:
        check_choices(self)


def _source(name: str, entries: Mapping[str, Any], shared: Mapping[str, Any]) -> NamedSourceArguments:
    """A source from its own fields and those that all share."""
    values = {
        key: value.replace("{source}", name) if isinstance(value, str) else value
        for key, value in {**shared, **entries}.items()
    }
    place = f"`sources.{name}`"
    try:
        return NamedSourceArguments(**typed_fields(place, values, {"source": NamedSourceArguments})["source"])
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(place) else f"{place}: {error}") from error


@dataclass
class DecisionArguments:
    """How a trained model's logits become probabilities and decisions, by the validation split."""

    calibration: str = field(
        default="platt",
        metadata={"help": "How logits become probabilities.", "choices": ("none", *CALIBRATION_METHODS)},
    )
    threshold_strategy: str = field(
        default="per_label",
        metadata={"help": "How thresholds are chosen; none is 0.5 for all.", "choices": THRESHOLD_STRATEGIES},
    )
    threshold_shrinkage: float | str = field(
        default=0.0,
        metadata={"help": "Pseudo-positives that draw a rare label's threshold to the global one, or auto."},
    )
    threshold_metric: str = field(
        default="macro_f1",
        metadata={
            "help": "The metric that thresholds maximise on the validation split. micro_f1 and samples_jaccard take "
            "one threshold for all labels, or one per label where that does better on texts it was not chosen on.",
            "choices": THRESHOLD_METRICS,
        },
    )
    source_thresholds: bool = field(
        default=False,
        metadata={"help": "Whether each source has thresholds of its own, beside those of all texts."},
    )

    def __post_init__(self) -> None:
        # Needed only when training is over: too late to hear of a slip.
        check_choices(self)
        check_ranges(self, [("threshold_shrinkage", _is_shrinkage, "a number >= 0 or auto")])
        is_for_f1 = self.threshold_strategy == "expected_f1" or self.threshold_shrinkage
        if self.threshold_metric != "macro_f1" and is_for_f1:
            name, other = (
                ("threshold_shrinkage", "0") if self.threshold_shrinkage else ("threshold_strategy", "per_label")
            )
            raise InputError(
                f"`{name}` {getattr(self, name)} is for `threshold_metric: macro_f1`, got {self.threshold_metric}: "
                f"leave one of them out, or give `--{name} {other}`."
            )


def _is_shrinkage(value: float | str) -> bool:
    return value == "auto" if isinstance(value, str) else value >= 0


def _head_fields() -> Iterator[tuple[str, Any, Any]]:
    """The fields of the config that shape the head, as it declares and describes them; training sets the others."""
    arguments = re.findall(
        r"^    (\w+) \(.*\):\n((?:        .*\n)+)", inspect.getdoc(StackedEmotionConfig) or "", re.M
    )
    meanings = {name: " ".join(text.split()) for name, text in arguments}
    choices: dict[str, dict[str, Any]] = {"mixer": {"choices": MIXERS}, "pooling": {"choices": POOLINGS}}
    for entry in fields(StackedEmotionConfig):
        is_own = entry.name in StackedEmotionConfig.__annotations__
        if is_own and entry.default is not None and entry.name != "initializer_range":
            metadata = {"help": meanings.get(entry.name, ""), **choices.get(entry.name, {})}
            default: Any = {"default": entry.default, "default_factory": entry.default_factory}
            yield entry.name, entry.type, field(metadata=metadata, **default)


HeadArguments: Any = make_dataclass("HeadArguments", _head_fields())


@dataclass
class ModelArguments(HeadArguments, DecisionArguments):
    """The encoders of a stack and the head on them (fields of [`StackedEmotionConfig`]), or the one of a student."""

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
    attn_implementation: str | None = field(
        default=None, metadata={"help": "Attention of the encoders, such as eager or flash_attention_2."}
    )
    languages: list[str] | None = field(
        default=None,
        metadata={"help": "Codes of the languages of the texts, such as [ar, en]; for config.json and the card."},
    )
    weights_dtype: str = field(
        default="float32",
        metadata={"help": "Number format of the stored weights; float8 takes a quarter.", "choices": WEIGHTS_DTYPES},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for code in self.languages or ():
            if not isinstance(code, str) or not _LANGUAGE.fullmatch(code):
                raise InputError(f"`languages` must be codes such as ar, arq or pt-BR, got {code!r}.")
        if self.only_encoders is not None:
            self._leave_out_encoders(self.only_encoders)

    def _leave_out_encoders(self, names: list[str]) -> None:
        if not names or not set(names) <= set(self.encoders):
            raise InputError(f"`only_encoders` must name some of {', '.join(self.encoders)}, got {names}.")
        self.encoders = {name: origin for name, origin in self.encoders.items() if name in names}
        self.normalizations = {name: kind for name, kind in self.normalizations.items() if name in names}

    def config_fields(self) -> dict[str, Any]:
        """Those that are fields of [`StackedEmotionConfig`]."""
        return {entry.name: getattr(self, entry.name) for entry in fields(HeadArguments)}


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
    distillation_temperature: float = field(default=1.0, metadata={"help": "Divisor of the logits of both, above 0."})
    teacher_cache_dir: str | None = field(
        default=None, metadata={"help": "Folder of the teacher's logits; teacher_logits in output_dir if unset."}
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


GROUPS = {
    "data": DataArguments,
    "model": ModelArguments,
    "distillation": TeacherArguments,
    "training": StackedEmotionTrainingArguments,
}


def load_recipe(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """
    Read a recipe: one flat mapping of the fields of [`DataArguments`], [`ModelArguments`], [`TeacherArguments`] and
    [`StackedEmotionTrainingArguments`]. Arguments and errors are those of [`load_fields`].

    Settings of the recipe go with what the command line replaces: `--encoders` drops those of encoders that are no
    longer there, `--training_mode joint` those of the stages. `only_encoders` drops the learning rates of the others.
    """
    arguments, given = read_fields(path, overrides, GROUPS)
    _drop_settings_of_encoders(arguments["model"], arguments["training"], given)
    _drop_settings_of_stages(arguments["training"], given)
    names = frozenset(chain.from_iterable(arguments.values()))
    return Recipe(**make_fields(arguments, GROUPS), given=names)


def _drop_settings_of_encoders(model: dict[str, Any], training: dict[str, Any], given: Mapping[str, Any]) -> None:
    encoders, rates = model.get("encoders", {}), training.get("encoder_learning_rates") or {}
    if "encoders" in given:
        settings = {"normalizations": model.get("normalizations", {}), "encoder_learning_rates": rates}
        for name, entries in settings.items():
            for encoder in entries.keys() - encoders.keys():
                if given.keys().isdisjoint((name, f"{name}.{encoder}")):
                    del entries[encoder]
        if "only_encoders" not in given:
            model["only_encoders"] = [name for name in model.get("only_encoders") or () if name in encoders] or None
    for encoder in encoders.keys() - {*(model.get("only_encoders") or encoders)}:
        rates.pop(encoder, None)


def _drop_settings_of_stages(training: dict[str, Any], given: Mapping[str, Any]) -> None:
    if training.get("training_mode", "joint") != "joint":
        return
    for name in STAGED_FIELDS:
        if training.get(name) is not None:
            if "training_mode" not in given or name in given:
                raise InputError(f"`{name}` is for `training_mode: staged`, got joint: leave it out.")
            del training[name]
