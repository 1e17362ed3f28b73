# SPDX-License-Identifier: Apache-2.0
"""The model card, made from the configuration, the results and the training summary; no number in it is typed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from modeling_stacked_emotion import decision_thresholds, label_names
from trainer_ext.errors import InputError
from trainer_ext.reports.tables import escape_cell

from ..templates import render_template
from .encoders import Encoder, find_encoder
from .probes import probe_rows
from .summary import TrainingSummary

HERE = Path(__file__).parent

_METRICS = (
    *("macro_f1", "micro_f1", "weighted_f1", "samples_jaccard", "subset_accuracy", "hamming_loss"),
    *("macro_precision", "macro_recall", "macro_roc_auc", "macro_average_precision"),
    *("macro_pearson", "macro_mae"),
)
# Metric name here: id of the metric on the Hub, and its name on the model's page.
_HUB_METRICS = {
    "macro_f1": ("f1", "Macro F1"),
    "micro_f1": ("f1", "Micro F1"),
    "samples_jaccard": ("jaccard", "Jaccard, mean over the texts"),
    "subset_accuracy": ("accuracy", "Subset accuracy"),
    "macro_roc_auc": ("roc_auc", "Macro ROC AUC"),
    "macro_pearson": ("pearsonr", "Pearson's r, mean over the labels"),
}
# Weight from which on a stack is in truth one encoder.
_NEARLY_ALL = 0.95
_FEW_TEXTS = 30
# Of labels in a sentence.
_MAX_NAMES = 20
_WEAK_F1 = 0.4
_TRAINED_ON = "trained on"


class LabelRow(NamedTuple):
    """A label's row in the table of results; a number that was not measured is `None`."""

    label: str
    support: int
    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    pearson: float | None
    mae: float | None


class SourceRow(NamedTuple):
    """A data set's row in the table of several; a number that was not measured is `None`."""

    name: str
    data: str
    language: str | None
    use: str
    num_texts: float | None
    macro_f1: float | None
    micro_f1: float | None
    samples_jaccard: float | None


@dataclass(frozen=True)
class CardContext:
    """
    All that a card is made from; the template asks it for the rest.

    Args:
        config ([`PreTrainedConfig`]): Labels, thresholds, architecture; a [`StackedEmotionConfig`] or a stock one.
        results (`dict[str, float]`): The flat keys of `eval_results.json`.
        summary ([`TrainingSummary`]): The data, the encoders and the settings of the training.
        location (`str`): The name that the snippets load: the repository's id, or `./my_model` before there is one.
        revision (`str`, *optional*): The revision that the snippets pin; `None` where there is no repository yet.
        languages (`Sequence[str]`, *optional*): Codes of the languages that the model reads (BCP 47).
        license (`str`, *optional*): Licence identifier of the Hub.
        examples (`Sequence[dict]`, *optional*): As [`widget_examples`] gives them.
        figures (`Sequence[str]`, *optional*): Names of the picture files beside the card.
        onnx (`bool`, *optional*, defaults to `False`): Whether ONNX files are beside the weights.
        with_code (`bool`, *optional*, defaults to `True`): Whether the model's code is beside them; a card without
            shows how a checkout of this project loads the model.
        page (`str`, *optional*): The Space that runs the model in a browser.
        probes (`dict[str, float]`, *optional*): As [`probe_results`] gives them.
    """

    config: Any
    results: Mapping[str, float]
    summary: TrainingSummary
    location: str
    revision: str | None = None
    languages: Sequence[str] = ()
    license: str | None = None
    examples: Sequence[Mapping[str, Any]] = ()
    figures: Sequence[str] = ()
    onnx: bool = False
    with_code: bool = True
    page: str | None = None
    probes: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The title: the repository's name once there is one."""
        return self.summary.name if self.revision is None else self.location.rpartition("/")[2]

    @property
    def is_published(self) -> bool:
        """Whether the model is loaded from the Hub, with its code."""
        return self.revision is not None and self.with_code

    @property
    def is_custom(self) -> bool:
        """Whether the model needs code that transformers does not have."""
        return is_custom(self.config)

    @property
    def encoders(self) -> dict[str, Encoder]:
        """The encoders that the model was started from."""
        return {key: find_encoder(origin) for key, origin in self.summary.encoders.items()}

    @property
    def other_license(self) -> Encoder | None:
        """The encoder whose licence the model takes over where the Hub has no identifier for it."""
        if self.license != "other":
            return None
        named = [encoder for encoder in self.encoders.values() if encoder.license == "other"]
        if not named:
            raise InputError(
                "`license` must be an identifier of the Hub; 'other' is for what an encoder's own licence asks."
            )
        return named[0]

    @property
    def split(self) -> str:
        """The split whose results are reported: `test` if there was one."""
        return "test" if "test_macro_f1" in self.results else "validation"

    @property
    def scripts(self) -> list[str]:
        """The scripts of the training texts; empty where they were not recorded."""
        return getattr(self.config, "scripts", None) or []

    @property
    def is_tuned(self) -> bool:
        """Whether the thresholds were chosen on validation data."""
        return are_tuned(decision_thresholds(self.config))

    @property
    def shared_threshold(self) -> float | None:
        """The threshold of all labels, where it is one."""
        thresholds = {*decision_thresholds(self.config)}
        return thresholds.pop() if len(thresholds) == 1 else None

    @property
    def tuned_sources(self) -> list[str]:
        """The data sets with thresholds of their own that were chosen on validation data."""
        thresholds = getattr(self.config, "source_thresholds", None) or {}
        return [name for name, values in thresholds.items() if are_tuned(values)]

    @property
    def is_graded(self) -> bool:
        """Whether the gold labels are shares or intensities, which the probabilities are compared with."""
        return self.result("macro_mae") is not None

    @property
    def metrics(self) -> list[str]:
        """The metrics of the whole split that were measured."""
        return [key for key in _METRICS if f"{self.split}_{key}" in self.results]

    @property
    def source_rows(self) -> list[SourceRow]:
        """A row per data set, where there are several."""
        return [
            SourceRow(
                name,
                source["dataset"] or ", ".join(dict.fromkeys(source["files"].values())),
                source["language"],
                "evaluated only" if source["evaluated_only"] else _TRAINED_ON,
                *(self.results.get(f"{self.split}/{name}/{key}") for key in SourceRow._fields[4:]),
            )
            for name, source in self.summary.sources.items()
        ]

    @property
    def trained_languages(self) -> dict[str, list[str]]:
        """The languages of the data sets that it was trained on, each with their names, where these were recorded."""
        languages: dict[str, list[str]] = {}
        for row in self.source_rows:
            if row.language and row.use == _TRAINED_ON:
                languages.setdefault(row.language, []).append(row.name)
        return languages

    @property
    def encoder_weights(self) -> dict[str, dict[str, float]]:
        """
        The mean weight of each encoder over the words of the reported split, and for each data set where there are
        several; empty where nothing weighs the encoders.
        """
        prefixes = {"all texts": f"{self.split}_"} | {name: f"{self.split}/{name}/" for name in self.summary.sources}
        weights = {
            name: {key: self.results.get(f"{prefix}encoder_weight/{key}", math.nan) for key in self.encoders}
            for name, prefix in prefixes.items()
        }
        return {name: row for name, row in weights.items() if row and not any(map(math.isnan, row.values()))}

    @property
    def deciding_encoder(self) -> str | None:
        """The encoder that has nearly all the weight for all texts, if there is one."""
        weights = self.encoder_weights.get("all texts", {})
        return next((name for name, weight in weights.items() if weight > _NEARLY_ALL), None)

    def result(self, key: str) -> float | None:
        """A result on the reported split."""
        value = self.results.get(f"{self.split}_{key}")
        return None if value is None or math.isnan(value) else value

    @property
    def label_rows(self) -> list[LabelRow]:
        """A row per label, the most frequent label first."""
        rows = [
            LabelRow(
                label,
                int(self.result(f"support/{label}") or 0),
                threshold,
                *(self.result(f"{key}/{label}") for key in LabelRow._fields[3:]),
            )
            for label, threshold in zip(label_names(self.config), decision_thresholds(self.config), strict=True)
        ]
        return sorted(rows, key=lambda row: -row.support)

    @property
    def requirements(self) -> str:
        """The packages that the snippets need, as arguments of pip."""
        if not self.is_custom:
            return "torch transformers"
        lines = (HERE / "requirements.txt").read_text(encoding="utf-8").split()
        return " ".join(f'"{line}"' for line in lines)


def render_card(card: CardContext) -> str:
    """The text of a model repository's README.md."""
    return render_template(
        HERE / "card_template.md",
        filters={"cell": escape_cell, "hub_link": _hub_link, "names": _names, "number": _number},
        card=card,
        probe_rows=probe_rows(card.probes),
        metadata=_metadata(card).to_yaml(),
        architecture=_architecture(card.config),
        rare=[row.label for row in card.label_rows if row.support < _FEW_TEXTS],
        few_texts=_FEW_TEXTS,
        weak=[row.label for row in card.label_rows if (row.f1 or 0) < _WEAK_F1],
        weak_f1=_WEAK_F1,
    )


def evaluation_entries(card: CardContext) -> list[dict[str, Any]] | None:
    """
    The content of `.eval_results/*.yaml`: macro-F1 on the test split of a data set of the Hub.

    The Hub shows it beside the leaderboard of data sets that are registered as benchmarks
    (https://huggingface.co/docs/hub/eval-results).

    Returns:
        `list[dict]`, *optional*: `None` where the data are files, or nothing was measured on a test split.
    """
    summary = card.summary
    if not summary.dataset or "test_macro_f1" not in card.results:
        return None
    revision = summary.dataset_revision or ""
    kind = "thresholds per label" if card.shared_threshold is None else "one threshold for all labels"
    thresholds = f"{kind} from the validation split" if card.is_tuned else "every threshold 0.5"
    entry = EvalResultEntry(
        dataset_id=summary.dataset,
        task_id=summary.dataset_config or "default",
        value=round(card.results["test_macro_f1"], 4),
        dataset_revision=revision if re.fullmatch(r"[0-9a-f]{40}", revision) else None,
        source_url=f"https://huggingface.co/{card.location}",
        source_name="Model card",
        notes=f"macro-F1 on the test split; {thresholds}",
    )
    return eval_result_entries_to_yaml([entry])


def are_tuned(thresholds: Iterable[float]) -> bool:
    """Whether thresholds were chosen on validation data; where nothing was chosen, every one is 0.5."""
    return any(threshold != 0.5 for threshold in thresholds)


def is_custom(config: Any) -> bool:
    """Whether the model needs code that transformers does not have."""
    return bool(getattr(config, "auto_map", None))


def _metadata(card: CardContext) -> ModelCardData:
    base_models = [encoder.origin for encoder in card.encoders.values() if encoder.on_hub]
    model_index = _model_index(card)
    other = card.other_license
    return ModelCardData(
        # The Hub knows languages, not their regions.
        language=list(dict.fromkeys(code.partition("-")[0] for code in card.languages)) or None,
        license=card.license,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["emotion", "multi-label", "stacked-emotion", *(["custom_code"] if card.is_custom else [])],
        base_model=base_models or None,
        # Of several base models the Hub would take it for a merge of their weights.
        base_model_relation="finetune" if base_models else None,
        datasets=card.summary.datasets or None,
        metrics=sorted({result.metric_type for result in model_index}) or None,
        model_name=card.location.rpartition("/")[2],
        eval_results=model_index or None,
        widget=[{key: example[key] for key in ("text", "output")} for example in card.examples] or None,
        **({"license_name": str(other.name), "license_link": str(other.link)} if other else {}),
    )


def _model_index(card: CardContext) -> list[EvalResult]:
    summary = card.summary
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Multi-label emotion classification",
            dataset_type=summary.dataset or "unknown",
            dataset_name=summary.dataset or summary.files.get(card.split, "Unknown"),
            dataset_config=summary.dataset_config,
            dataset_split=card.split,
            dataset_revision=summary.dataset_revision,
            metric_type=metric_type,
            metric_name=name,
            metric_value=round(value, 4),
        )
        for key, (metric_type, name) in _HUB_METRICS.items()
        if (value := card.result(key)) is not None
    ]


def _architecture(config: Any) -> str:
    if not is_custom(config):
        name = (config.architectures or [config.model_type])[0]
        return f"A stock `{name}`: one encoder, no code but transformers' own."
    names = [f"`{name}`" for name in config.encoders]
    steps = [
        f"the encoder {names[0]}, averaged per word" if len(names) == 1 else f"{_names(names)}, stacked word by word",
        {
            "meta_learner": "a meta-learner that weighs the encoders word by word",
            "convolutions": f"convolutions over {', '.join(map(str, config.convolution_widths))} words",
            "none": "",
        }[config.mixer],
        f"a Bi-LSTM ({config.lstm_num_layers} x {config.lstm_hidden_size} per direction)"
        if config.lstm_num_layers
        else "",
        f"{config.pooling} pooling",
        "one probability per label",
    ]
    return "Text → " + " → ".join(step for step in steps if step) + "."


def _names(names: Sequence[str]) -> str:
    if len(names) > _MAX_NAMES:
        names = [*names[:_MAX_NAMES], f"{len(names) - _MAX_NAMES} more"]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _hub_link(origin: str, on_hub: bool) -> str:
    return f"[{origin}](https://huggingface.co/{origin})" if on_hub else origin


def _number(value: Any) -> str:
    """A metric with three digits, unless they were all zero."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:g}" if 0 < abs(value) < 0.001 else f"{value:.3f}"
