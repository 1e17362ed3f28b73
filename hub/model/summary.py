# SPDX-License-Identifier: Apache-2.0
"""Data, encoders and settings of a training, as `training_summary.json` in the model's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from trainer_ext.errors import InputError
from trainer_ext.recipe import Recipe, SourceArguments

SUMMARY_NAME = "training_summary.json"

# Fields of a recipe that the card shows, in this order: those that the model, the mode and the teacher make use of.
_SETTINGS = (
    *("max_tokens", "training_mode", "num_train_epochs", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "learning_rate", "head_learning_rate", "weight_decay", "warmup_steps", "lora_r"),
    *("precision", "base_loss", "class_weights", "correlation_loss", "contrastive_loss_weight", "seed"),
    *("head_num_train_epochs", "num_folds", "polish_num_train_epochs", "weights_dtype"),
    *("distillation_weight", "distillation_temperature"),
)
_OF_A_STACK = ("training_mode", "lora_r", "weights_dtype")
_OF_STAGES = ("head_num_train_epochs", "num_folds", "polish_num_train_epochs")
_OF_TEACHING = ("distillation_weight", "distillation_temperature")


@dataclass(frozen=True)
class TrainingSummary:
    """
    Facts for the card. It is published: file names without folders, Hub ids, no path of a machine.

    Attributes:
        name (`str`): The recipe's or the folder's name.
        encoders (`dict[str, str]`): Encoder name to Hub id, or to a few words such as `from scratch`.
        dataset (`str`, *optional*): Hub id of the data set.
        dataset_config (`str`, *optional*): Its configuration.
        dataset_revision (`str`, *optional*): Its branch, tag or commit.
        files (`dict[str, str]`): Split to file name, where the data are files.
        num_texts (`dict[str, int]`): Split to number of texts.
        settings (`dict[str, Any]`): Training settings worth knowing.
        versions (`dict[str, str]`): Package to version.
        teachers (`list[str]`): The models that this one was distilled from, in a few words or by Hub id.
        sources (`dict[str, dict]`): Name to `dataset`, `dataset_config`, `dataset_revision`, `files`, `language` and
            `evaluated_only`, where there are several data sets; those above are empty then.
        agreement (`dict[str, float]`): Krippendorff's alpha by label, where several raters gave the training labels.
        warnings (`list[str]`): Things that went wrong in the training.
    """

    name: str
    encoders: dict[str, str] = field(default_factory=dict)
    dataset: str | None = None
    dataset_config: str | None = None
    dataset_revision: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    num_texts: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    teachers: list[str] = field(default_factory=list)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def datasets(self) -> list[str]:
        """The Hub ids of all data sets that were trained on."""
        trained = [source["dataset"] for source in self.sources.values() if not source["evaluated_only"]]
        return list(dict.fromkeys(filter(None, [self.dataset, *trained])))

    def to_json(self) -> str:
        """The content of `training_summary.json`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def read_summary(folder: Path) -> TrainingSummary:
    """
    Read `training_summary.json`; a folder without one has only its name.

    Raises:
        `InputError`: If the file is not such a summary.
    """
    path = folder / SUMMARY_NAME
    if not path.is_file():
        return TrainingSummary(folder.resolve().name)
    try:
        return TrainingSummary(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} is not the summary of a training: {error}. Train again, or delete it.") from error


def summarise_training(
    recipe: Recipe,
    name: str,
    num_texts: Mapping[str, int],
    agreement: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
    evaluation_precision: str = "fp32",
) -> TrainingSummary:
    """
    The summary of a training; of a file or folder it has only the name.

    Args:
        recipe ([`Recipe`]): Its recipe.
        name (`str`): The recipe's name.
        num_texts (`Mapping[str, int]`): Split, or `unlabelled`, to its number of texts.
        agreement (`Mapping[str, float]`, *optional*): Agreement of the raters, by label.
        warnings (`Sequence[str]`, *optional*): Things that went wrong.
        evaluation_precision (`str`, *optional*, defaults to `"fp32"`): That of the encoders in the evaluation.
    """
    model, distillation = recipe.model, recipe.distillation
    sources = {
        name: _data(source) | {"language": source.language, "evaluated_only": source.evaluated_only}
        for name, source in recipe.data.named_sources().items()
    }
    data = {"files": {}} if sources else _data(recipe.data)
    if distillation.unlabelled_file:
        data["files"]["unlabelled"] = Path(distillation.unlabelled_file).name
    encoders = {"student": model.student} if model.student else model.encoders
    return TrainingSummary(
        name=name,
        encoders={key: _origin(encoder) for key, encoder in encoders.items()},
        **data,
        num_texts=dict(num_texts),
        settings=_settings(recipe) | {"evaluation_precision": evaluation_precision},
        versions={"transformers": transformers.__version__, "torch": torch.__version__},
        teachers=[_origin(teacher) for teacher in distillation.teachers],
        sources=sources,
        agreement=dict(agreement or {}),
        warnings=list(warnings),
    )


def _data(source: SourceArguments) -> dict[str, Any]:
    """The fields of a summary that say where texts and labels come from."""
    files = {split: getattr(source, f"{split}_file") for split in ("train", "validation", "test")}
    files["votes"] = source.votes_file
    dataset = source.dataset_name
    if dataset and Path(dataset).exists():
        dataset, files["train"] = None, dataset
    return {
        "dataset": dataset,
        "dataset_config": source.dataset_config if dataset else None,
        "dataset_revision": source.dataset_revision if dataset else None,
        "files": {split: Path(file).name for split, file in files.items() if file},
    }


def _settings(recipe: Recipe) -> dict[str, Any]:
    unused = {*_OF_A_STACK} if recipe.model.student else {"max_tokens"}
    if recipe.training.training_mode != "staged":
        unused |= {*_OF_STAGES}
    if not recipe.distillation.teachers:
        unused |= {*_OF_TEACHING}
    fields = vars(recipe.training) | vars(recipe.model) | vars(recipe.distillation)
    return {name: fields[name] for name in _SETTINGS if name not in unused}


def _origin(encoder: Any) -> str:
    """The Hub id that an encoder or teacher was started from, or a few words."""
    origin = str(encoder)
    if isinstance(encoder, dict):
        origins = (encoder.get(key) for key in ("word_vectors", "trained", "pruned"))
        origin = next(filter(None, origins), "from scratch")
    return f"{Path(origin).resolve().name} (not on the Hub)" if Path(origin).exists() else origin
