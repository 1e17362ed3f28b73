# SPDX-License-Identifier: Apache-2.0
"""What a training ends with: calibration and thresholds from validation, the results of both splits, the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from hub.model.card import CardContext, are_tuned, render_card
from hub.model.folder import write_model_folder
from hub.model.summary import SUMMARY_NAME, TrainingSummary
from trainer_ext.data.loading import EmotionData
from trainer_ext.evaluation import results as evaluation
from trainer_ext.evaluation.calibration import Calibration, calibrated_probabilities
from trainer_ext.evaluation.metrics import always_frequent_baseline
from trainer_ext.evaluation.prediction import predict_logits
from trainer_ext.recipe import DataArguments, DecisionArguments, TeacherArguments
from trainer_ext.reports.figures import figure_png
from trainer_ext.reports.reliability import reliability_figure

_TEACHING = ("distillation_weight", "distillation_temperature")


class SplitEvaluation(NamedTuple):
    """
    Flat results, files to be saved beside them, the calibrated probabilities of each split, and what was found on the
    validation split.
    """

    results: dict[str, float]
    reports: dict[str, str | bytes]
    probabilities: dict[str, np.ndarray]
    thresholds: np.ndarray
    calibration: Calibration | None


def evaluate_splits(
    options: DecisionArguments, data: EmotionData, tokenizer: Any, model: Any, batch_size: int
) -> SplitEvaluation:
    """Evaluate an uncalibrated model and print the table; without a validation split the thresholds are 0.5."""
    names = data.label_names
    calibration, thresholds = None, np.full(len(names), 0.5)
    results: dict[str, float] = {}
    reports: dict[str, str | bytes] = {}
    found: dict[str, np.ndarray] = {}
    labels = {split: np.asarray(rows["labels"], dtype=np.int64) for split, rows in data.splits.items()}
    for split in ("validation", "test"):
        if split not in data.splits:
            continue
        logits = predict_logits(model, tokenizer, data.splits[split]["text"], batch_size)
        if split == "validation":
            calibration = evaluation.choose_calibration(labels[split], logits, options.calibration)
        probabilities = found[split] = calibrated_probabilities(logits, calibration)
        if split == "validation":
            thresholds = evaluation.choose_thresholds(
                labels[split], probabilities, options.threshold_strategy, options.threshold_shrinkage
            )
        results |= evaluation.evaluate_split(split, labels[split], probabilities, thresholds, names)
        if calibration is not None:
            results |= evaluation.uncalibrated_errors(split, labels[split], logits, names)
        if split == "test" or "test" not in data.splits:
            baseline = always_frequent_baseline(labels["train"], labels[split], label_names=names)
            results |= {f"{split}_{key}_always_frequent": baseline[key] for key in ("macro_f1", "micro_f1")}
            origin = "thresholds from validation" if are_tuned(thresholds) else "every threshold 0.5"
            print(f"\nResults on {split} ({origin}):\n")
            print(evaluation.results_table(split, results, names, baseline))
            columns = {"uncalibrated": calibrated_probabilities(logits, None)}
            if calibration is not None:
                columns["calibrated"] = probabilities
            reports["reliability.png"] = figure_png(reliability_figure(labels[split], columns), dpi=150)
    return SplitEvaluation(results, reports, found, thresholds, calibration)


def summarise(
    name: str,
    source: DataArguments,
    num_texts: Mapping[str, int],
    encoders: Mapping[str, Any],
    settings: Mapping[str, Any],
    distillation: TeacherArguments,
    num_rows: int,
) -> TrainingSummary:
    """What the card says of a training on `num_rows` texts, with labels and without; of a file only its name."""
    files = {split: getattr(source, f"{split}_file") for split in ("train", "validation", "test")}
    files["unlabelled"] = distillation.unlabelled_file
    sizes = dict(num_texts)
    if distillation.unlabelled_file:
        sizes["unlabelled"] = num_rows - sizes["train"]
    used = {key: getattr(distillation, key) for key in _TEACHING} if distillation.teachers else {}
    dataset = source.dataset_name
    if dataset and Path(dataset).exists():
        dataset, files["train"] = None, dataset
    return TrainingSummary(
        name=name,
        encoders={key: _origin(value) for key, value in encoders.items()},
        dataset=dataset,
        dataset_config=source.dataset_config if dataset else None,
        dataset_revision=source.dataset_revision if dataset else None,
        files={split: Path(file).name for split, file in files.items() if file},
        num_texts=sizes,
        settings=dict(settings) | used,
        versions={"transformers": transformers.__version__, "torch": torch.__version__},
        teachers=[_origin(teacher) for teacher in distillation.teachers],
    )


def _origin(encoder: Any) -> str:
    """What the card says that an encoder was started from."""
    origin = str(encoder)
    if isinstance(encoder, dict):
        origins = (encoder.get(key) for key in ("word_vectors", "trained", "pruned"))
        origin = next(filter(None, origins), "from scratch")
    return f"{Path(origin).resolve().name} (not on the Hub)" if Path(origin).exists() else origin


def save_model(
    folder: Path,
    model: Any,
    tokenizer: Any,
    results: Mapping[str, float],
    reports: Mapping[str, str | bytes],
    summary: TrainingSummary,
) -> None:
    """Write the model's folder: code, weights, tokenizers, card, results, summary and reports."""
    files: dict[str, str | bytes] = {
        "README.md": render_card(
            CardContext(model.config, results, summary, f"./{folder.name}", figures=sorted(reports))
        ),
        "eval_results.json": evaluation.results_json(results),
        SUMMARY_NAME: summary.to_json(),
        **reports,
    }
    write_model_folder(folder, model, tokenizer, files)
