# SPDX-License-Identifier: Apache-2.0
"""The model card, made from the configuration, the results and the training summary; no number in it is typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from modeling_stacked_emotion import decision_thresholds, label_names
from trainer_ext.errors import InputError

from .encoders import Encoder, find_encoder
from .summary import TrainingSummary

_METRICS = (
    *("macro_f1", "micro_f1", "weighted_f1", "samples_jaccard", "subset_accuracy", "hamming_loss"),
    *("macro_precision", "macro_recall", "macro_roc_auc", "macro_average_precision"),
)
# Metric name here: id of the metric on the Hub, and its name on the model's page.
_HUB_METRICS = {
    "macro_f1": ("f1", "Macro F1"),
    "micro_f1": ("f1", "Micro F1"),
    "samples_jaccard": ("jaccard", "Jaccard, mean over the texts"),
    "subset_accuracy": ("accuracy", "Subset accuracy"),
    "macro_roc_auc": ("roc_auc", "Macro ROC AUC"),
}
_FEW_TEXTS = 30
_WEAK_F1 = 0.4


def render_card(
    config: Any,
    results: Mapping[str, float],
    summary: TrainingSummary,
    location: str,
    *,
    revision: str | None = None,
    languages: Sequence[str] = (),
    license: str | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
    figures: Sequence[str] = (),
    onnx: bool = False,
    with_code: bool = True,
) -> str:
    """
    The text of a model repository's README.md.

    Args:
        config ([`PreTrainedConfig`]): Labels, thresholds, architecture; a [`StackedEmotionConfig`] or a stock one.
        results (`dict[str, float]`): The flat keys of `eval_results.json`.
        summary ([`TrainingSummary`]): What it was made from, and how.
        location (`str`): What the snippets load: the repository's id, or `./my_model` before there is one.
        revision (`str`, *optional*): What the snippets are pinned to; `None` where there is no repository yet.
        languages (`Sequence[str]`, *optional*): Codes of the languages that the model reads.
        license (`str`, *optional*): Licence identifier of the Hub.
        examples (`Sequence[dict]`, *optional*): As [`widget_examples`] gives them.
        figures (`Sequence[str]`, *optional*): Names of the picture files beside the card.
        onnx (`bool`, *optional*, defaults to `False`): Whether ONNX files are beside the weights.
        with_code (`bool`, *optional*, defaults to `True`): Whether the model's code is beside them; a card without
            shows how a checkout of this project loads the model.
    """
    split = results_split(results)
    labels = label_names(config)
    encoders = {key: find_encoder(origin) for key, origin in summary.encoders.items()}
    label_rows = _label_rows(config, labels, results, split)
    tuned = are_tuned(decision_thresholds(config))
    published = revision is not None and with_code
    template = _environment().get_template("card_template.md")
    return template.render(
        metadata=_metadata(config, results, summary, location, languages, license, examples).to_yaml(),
        name=summary.name if revision is None else location.rpartition("/")[2],
        labels=labels,
        architecture=_architecture(config),
        custom_code=is_custom(config),
        with_code=with_code,
        thresholds=getattr(config, "thresholds", None),
        examples=[_example_row(example) for example in examples],
        sentence=examples[0]["text"] if examples else "Thank you so much, I did not see that coming!",
        location=location,
        published=published,
        revision=revision,
        revision_line=f'    revision="{revision}",\n' if published else "",
        revision_item=f'"revision": "{revision}", ' if published else "",
        onnx=onnx,
        encoders=encoders,
        teachers=summary.teachers,
        license=license,
        license_text=_license_text(license, encoders),
        split=split,
        sizes={key: f"{value:,}" for key, value in summary.num_texts.items()},
        sizes_text=", ".join(f"{value:,} {key}" for key, value in summary.num_texts.items()),
        tuned=tuned,
        rows=[
            [f"`{key}`", *_values(results, f"{split}_{key}", tuned)] for key in _METRICS if f"{split}_{key}" in results
        ],
        baseline=_number(results[key]) if (key := f"{split}_macro_f1_always_frequent") in results else None,
        label_rows=[_label_cells(row) for row in label_rows],
        calibration=_calibration(config, results, split),
        thresholds_text=_thresholds_text(tuned, split),
        rare=_names([row[0] for row in label_rows if row[1] < _FEW_TEXTS]),
        few_texts=_FEW_TEXTS,
        weak_f1=_WEAK_F1,
        weak=_names([row[0] for row in label_rows if (row[5] or 0) < _WEAK_F1]),
        figures=figures,
        data=_data(summary),
        language_text=f" Languages: {', '.join(languages)}." if languages else "",
        requirements=_requirements(config),
        duration=_duration(results),
        settings=summary.settings,
        versions=", ".join(f"{package} {version}" for package, version in summary.versions.items()),
    )


def evaluation_entries(
    config: Any, results: Mapping[str, float], summary: TrainingSummary, repo_id: str
) -> list[dict[str, Any]] | None:
    """
    The content of `.eval_results/*.yaml`: macro-F1 on the test split of a data set of the Hub.

    The Hub shows it beside the leaderboard of data sets that are registered as benchmarks
    (https://huggingface.co/docs/hub/eval-results).

    Returns:
        `list[dict]`, *optional*: `None` where the data are files, or nothing was measured on a test split.
    """
    if not summary.dataset or "test_macro_f1" not in results:
        return None
    revision = summary.dataset_revision or ""
    tuned = are_tuned(decision_thresholds(config))
    thresholds = "thresholds per label from the validation split" if tuned else "every threshold 0.5"
    entry = EvalResultEntry(
        dataset_id=summary.dataset,
        task_id=summary.dataset_config or "default",
        value=round(results["test_macro_f1"], 4),
        dataset_revision=revision if re.fullmatch(r"[0-9a-f]{40}", revision) else None,
        source_url=f"https://huggingface.co/{repo_id}",
        source_name="Model card",
        notes=f"macro-F1 on the test split; {thresholds}",
    )
    return eval_result_entries_to_yaml([entry])


def results_split(results: Mapping[str, float]) -> str:
    """The split whose results are reported: `test` if there was one."""
    return "test" if "test_macro_f1" in results else "validation"


def are_tuned(thresholds: Iterable[float]) -> bool:
    """Whether they were chosen on validation data; where nothing was chosen, every threshold is 0.5."""
    return any(threshold != 0.5 for threshold in thresholds)


def is_custom(config: Any) -> bool:
    """Whether the model needs code that transformers does not have."""
    return bool(getattr(config, "auto_map", None))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"cell": _cell, "hub_link": _hub_link, "setting": _setting}
    return environment


def _metadata(
    config: Any,
    results: Mapping[str, float],
    summary: TrainingSummary,
    location: str,
    languages: Sequence[str],
    license: str | None,
    examples: Sequence[Mapping[str, Any]],
) -> ModelCardData:
    encoders = [find_encoder(origin) for origin in summary.encoders.values()]
    base_models = [encoder.origin for encoder in encoders if encoder.on_hub]
    results_list = _model_index(results, summary)
    return ModelCardData(
        language=list(languages) or None,
        license=license,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["emotion", "multi-label", "stacked-emotion", *(["custom_code"] if is_custom(config) else [])],
        base_model=base_models or None,
        # Of several base models the Hub would take it for a merge of their weights.
        base_model_relation="finetune" if base_models else None,
        datasets=[summary.dataset] if summary.dataset else None,
        metrics=sorted({result.metric_type for result in results_list}) or None,
        model_name=location.rpartition("/")[2],
        eval_results=results_list or None,
        widget=[{key: example[key] for key in ("text", "output")} for example in examples] or None,
        **_other_license(license, encoders),
    )


def _model_index(results: Mapping[str, float], summary: TrainingSummary) -> list[EvalResult]:
    split = results_split(results)
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Multi-label emotion classification",
            dataset_type=summary.dataset or "unknown",
            dataset_name=summary.dataset or summary.files.get(split, "Unknown"),
            dataset_config=summary.dataset_config,
            dataset_split=split,
            dataset_revision=summary.dataset_revision,
            metric_type=metric_type,
            metric_name=name,
            metric_value=round(results[f"{split}_{key}"], 4),
        )
        for key, (metric_type, name) in _HUB_METRICS.items()
        if f"{split}_{key}" in results
    ]


def _other_license(license: str | None, encoders: Sequence[Encoder]) -> dict[str, str]:
    """Name and link of a licence that the Hub has no identifier for."""
    if license != "other":
        return {}
    named = [encoder for encoder in encoders if encoder.license == "other"]
    if not named:
        raise InputError(
            "`license` must be an identifier of the Hub; 'other' is for what an encoder's own licence asks."
        )
    return {"license_name": str(named[0].name), "license_link": str(named[0].link)}


def _license_text(license: str | None, encoders: Mapping[str, Encoder]) -> str:
    other = _other_license(license, list(encoders.values()))
    return f"[{other['license_name']}]({other['license_link']})" if other else str(license)


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


def _example_row(example: Mapping[str, Any]) -> dict[str, str]:
    emotions = ", ".join(f"{entry['label']} {entry['score']:.2f}" for entry in example["emotions"])
    return {"text": example["text"], "emotions": emotions or "none over its threshold"}


def _thresholds_text(tuned: bool, split: str) -> str:
    if not tuned:
        return "here 0.5 for every label."
    if split == "validation":
        return "the thresholds were chosen on this very split, so the numbers at them are a little too good."
    return "the thresholds were chosen on the validation split, never on test."


def _calibration(config: Any, results: Mapping[str, float], split: str) -> str:
    key = f"{split}_macro_calibration_error"
    if key not in results:
        return ""
    error = _number(results[key])
    scale = getattr(config, "calibration_scale", None)
    if scale is None and f"{key}_uncalibrated" not in results:
        return f"The probabilities are not calibrated; expected calibration error, mean over the labels: {error}."
    before = _number(results[f"{key}_uncalibrated"]) if f"{key}_uncalibrated" in results else "unknown"
    if scale is None:
        place = "in the model's weights"
    elif any(config.calibration_bias):
        place = "by a scale and a bias per label in `config.json`"
    else:
        place = f"by a scale{' per label' if len(set(scale)) > 1 else ''} in `config.json`"
    return (
        f"The probabilities are calibrated on the validation split, {place}. "
        f"Expected calibration error, mean over the labels: {error}, before calibration {before}."
    )


def _label_rows(config: Any, labels: Sequence[str], results: Mapping[str, float], split: str) -> list[list[Any]]:
    """Label, support, threshold, precision, recall and F1, the most frequent label first."""
    rows = [
        [
            label,
            int(results.get(f"{split}_support/{label}", 0)),
            threshold,
            *(results.get(f"{split}_{key}/{label}") for key in ("precision", "recall", "f1")),
        ]
        for label, threshold in zip(labels, decision_thresholds(config), strict=True)
    ]
    return sorted(rows, key=lambda row: -row[1])


def _label_cells(row: Sequence[Any]) -> list[str]:
    return [_cell(row[0]), *("–" if value is None else _number(value) for value in row[1:])]


def _values(results: Mapping[str, float], key: str, tuned: bool) -> list[str]:
    """At the thresholds, and at 0.5 where they are others."""
    at_default = results.get(f"{key}_at_0.5")
    return [_number(results[key]), *(["–" if at_default is None else _number(at_default)] if tuned else [])]


def _requirements(config: Any) -> str:
    if not is_custom(config):
        return "torch transformers"
    lines = (Path(__file__).parent / "requirements.txt").read_text(encoding="utf-8").split()
    return " ".join(f'"{line}"' for line in lines)


def _data(summary: TrainingSummary) -> str:
    if summary.dataset:
        config = f", configuration `{summary.dataset_config}`" if summary.dataset_config else ""
        revision = f", revision `{summary.dataset_revision}`" if summary.dataset_revision else ""
        return f"[{summary.dataset}](https://huggingface.co/datasets/{summary.dataset}){config}{revision}"
    if "train" in summary.files:
        return f"`{summary.files['train']}`, a file that is not published here"
    return "data that its author has not recorded"


def _duration(results: Mapping[str, float]) -> str:
    if "train_runtime" not in results:
        return ""
    return (
        f" It took {results['train_runtime'] / 60:.1f} minutes, at {results['train_samples_per_second']:,.0f} "
        "texts per second."
    )


def _names(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _hub_link(origin: str, on_hub: bool) -> str:
    return f"[{origin}](https://huggingface.co/{origin})" if on_hub else origin


def _cell(text: str) -> str:
    """Text in a cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _number(value: Any) -> str:
    """A metric with three digits, unless they were all zero."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:g}" if 0 < abs(value) < 0.001 else f"{value:.3f}"


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
