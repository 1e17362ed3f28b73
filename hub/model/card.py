# SPDX-License-Identifier: Apache-2.0
"""The model card, made from the configuration and the results; no number in it is typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import yaml

from modeling_stacked_emotion import decision_thresholds

_TEMPLATE = Template((Path(__file__).parent / "card_template.md").read_text(encoding="utf-8"))
_SUMMARY = ("macro_f1", "micro_f1", "samples_jaccard", "hamming_loss", "macro_roc_auc", "macro_average_precision")


def render_card(
    name: str,
    config: Any,
    results: Mapping[str, float],
    encoders: Mapping[str, str],
    data: str,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
) -> str:
    """
    The text of a model repository's README.md.

    Args:
        name (`str`): The model's name.
        config ([`StackedEmotionConfig`]): Labels, thresholds, architecture.
        results (`dict[str, float]`): The flat keys of `eval_results.json`.
        encoders (`dict[str, str]`): Encoder name to what it was started from.
        data (`str`): What the model was trained on, in a few words.
        settings (`dict[str, Any]`): Training settings worth knowing.
        versions (`dict[str, str]`): Package to version.
    """
    split = "test" if "test_macro_f1" in results else "validation"
    metadata = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["emotion", "multi-label", "stacked-emotion", "custom_code"],
        # A folder of this machine means nothing to others.
        "base_model": [path for path in encoders.values() if not Path(path).exists() and "/" in path],
    }
    return _TEMPLATE.substitute(
        metadata=yaml.safe_dump({key: value for key, value in metadata.items() if value}, sort_keys=False).strip(),
        name=name,
        num_encoders=len(encoders),
        encoders="\n".join(f"- `{key}`: {_public(path)}" for key, path in encoders.items()),
        head=f"mixer `{config.mixer}`, Bi-LSTM {config.lstm_num_layers} x {config.lstm_hidden_size} per direction, "
        f"pooling `{config.pooling}`",
        num_labels=config.num_labels,
        labels=", ".join(f"`{label}`" for label in config.labels),
        data=data,
        split=split,
        calibration=_calibration(config, results, split),
        summary=_rows(
            [[key, results.get(f"{split}_{key}"), results.get(f"{split}_{key}_at_0.5")] for key in _SUMMARY]
        ),
        per_label=_rows(_label_rows(config, results, split)),
        settings=_rows(
            [[f"`{key}`", f"{value:g}" if isinstance(value, float) else value] for key, value in settings.items()]
        ),
        versions=", ".join(f"{package} {version}" for package, version in versions.items()),
    )


def _public(path: str) -> str:
    return path if "/" in path and not Path(path).exists() else f"`{Path(path).name}` (not on the Hub)"


def _calibration(config: Any, results: Mapping[str, float], split: str) -> str:
    key = f"{split}_macro_calibration_error"
    error, before = _cell(results.get(key)), _cell(results.get(f"{key}_uncalibrated"))
    if config.calibration_scale is None:
        return f"The probabilities are not calibrated; expected calibration error, mean over the labels: {error}."
    return (
        "The probabilities are calibrated on the validation split, by a scale and a bias per label in `config.json`. "
        f"Expected calibration error, mean over the labels: {error}, before calibration {before}."
    )


def _label_rows(config: Any, results: Mapping[str, float], split: str) -> list[list[Any]]:
    rows = [
        [
            label,
            int(results.get(f"{split}_support/{label}", 0)),
            threshold,
            *(results.get(f"{split}_{key}/{label}") for key in ("precision", "recall", "f1")),
        ]
        for label, threshold in zip(config.labels, decision_thresholds(config), strict=True)
    ]
    return sorted(rows, key=lambda row: -row[1])


def _rows(rows: Sequence[Sequence[Any]]) -> str:
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) and abs(value) >= 0.001 else str(value)
