# SPDX-License-Identifier: Apache-2.0
"""The evaluation that a model is published with: thresholds chosen on validation, and the metrics of both splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import datasets
import numpy as np

from trainer_ext.data.batching import SOURCE_COLUMN
from trainer_ext.data.loading import EmotionData
from trainer_ext.evaluation.calibration import Calibration, calibrated_probabilities
from trainer_ext.evaluation.engine import prepare
from trainer_ext.evaluation.metrics import always_frequent_baseline
from trainer_ext.evaluation.prediction import SplitOutputs, mean_encoder_weights, predict_outputs
from trainer_ext.evaluation.results import (
    choose_calibration,
    choose_thresholds,
    evaluate_split,
    results_table,
    rules_table,
    threshold_rules,
    uncalibrated_errors,
)
from trainer_ext.evaluation.sources import results_by_source, sources_table, thresholds_by_source
from trainer_ext.recipe import DecisionArguments
from trainer_ext.reports.plots import figure_png
from trainer_ext.reports.reliability import reliability_figure

from .card import are_tuned


class SplitEvaluation(NamedTuple):
    """
    The evaluation of a trained model.

    Args:
        results (`dict[str, float]`): Metrics of validation and test split, as `eval_results.json` has them.
        probabilities (`dict[str, np.ndarray]`): Split to calibrated probabilities, `(num_texts, num_labels)`.
        thresholds (`np.ndarray` of shape `(num_labels,)`): Chosen on the validation split; 0.5 without one.
        source_thresholds (`dict[str, np.ndarray]`): Source to thresholds of its own, where they are asked for.
        calibration ([`Calibration`], *optional*): Fitted on the validation split.
        table (`str`): The results of the test split, or else of the validation split, to be read.
        figures (`dict[str, bytes]`): File name to a picture of the same split.
        precision (`str`): That of the encoders.
    """

    results: dict[str, float]
    probabilities: dict[str, np.ndarray]
    thresholds: np.ndarray
    source_thresholds: dict[str, np.ndarray]
    calibration: Calibration | None
    table: str
    figures: dict[str, bytes]
    precision: str


def evaluate_splits(options: DecisionArguments, data: EmotionData, tokenizer: Any, model: Any) -> SplitEvaluation:
    """
    Evaluate a model that has no calibration yet.

    Args:
        options ([`DecisionArguments`]): How calibration and thresholds are chosen on the validation split.
        data ([`EmotionData`]): The splits; the training labels are for the baseline.
        tokenizer: The model's tokenizer.
        model ([`PreTrainedModel`]): The classifier; answers in the precision that `scripts.predict` takes here.
    """
    names = data.label_names
    splits: list[str] = [split for split in ("validation", "test") if split in data.splits]
    labels = {split: np.asarray(data.splits[split]["labels"], dtype=np.float32) for split in ("train", *splits)}
    prepared = prepare(model)
    precision = str(prepared.prepared_precision)
    outputs = {split: predict_outputs(prepared, tokenizer, data.splits[split]["text"]) for split in splits}
    logits = {split: values.logits for split, values in outputs.items()}
    calibration, thresholds, rules = None, np.full(len(names), 0.5), dict[str, np.ndarray]()
    if "validation" in splits:
        calibration = choose_calibration(labels["validation"], logits["validation"], options.calibration)
    probabilities = {split: calibrated_probabilities(values, calibration) for split, values in logits.items()}
    if "validation" in splits:
        strategy, shrinkage = options.threshold_strategy, options.threshold_shrinkage
        rules = threshold_rules(labels["validation"], probabilities["validation"], strategy, shrinkage)
        thresholds = rules[options.threshold_metric]
    own = _source_thresholds(options, data, labels, probabilities, thresholds)
    results: dict[str, float] = {}
    for split in splits:
        results |= evaluate_split(split, labels[split], probabilities[split], thresholds, names)
        if calibration is not None:
            results |= uncalibrated_errors(split, labels[split], logits[split], names)
        if SOURCE_COLUMN in data.splits[split].column_names:
            sources = data.splits[split][SOURCE_COLUMN][:]
            by_source = {source: own.get(source, thresholds) for source in sources}
            results |= results_by_source(split, sources, labels[split], probabilities[split], by_source, names)
    table, figures = "", dict[str, bytes]()
    if splits:
        split = splits[-1]
        baseline = always_frequent_baseline(labels["train"], labels[split], label_names=names)
        results |= {f"{split}_{key}_always_frequent": baseline[key] for key in ("macro_f1", "micro_f1")}
        origin = "thresholds from validation" if are_tuned(thresholds) else "every threshold 0.5"
        table = f"Results on {split} ({origin}, encoders in {precision}):\n\n"
        table += results_table(split, results, names, baseline)
        if are_tuned(thresholds):
            table += f"\n\n{rules_table(labels[split], probabilities[split], rules)}"
        if SOURCE_COLUMN in data.splits[split].column_names:
            table += f"\n\n{sources_table(split, results)}"
        results |= _encoder_weights(split, data.splits[split], model, outputs[split])
        columns = {"uncalibrated": calibrated_probabilities(logits[split], None)}
        if calibration is not None:
            columns["calibrated"] = probabilities[split]
        figures["reliability.png"] = figure_png(reliability_figure(labels[split], columns), dpi=150)
    return SplitEvaluation(results, probabilities, thresholds, own, calibration, table, figures, precision)


def _encoder_weights(split: str, rows: datasets.Dataset, model: Any, outputs: SplitOutputs) -> dict[str, float]:
    """`<split>_encoder_weight/<encoder>` and `<split>/<source>/encoder_weight/<encoder>`."""
    groups = {f"{split}_": outputs.encoder_weights}
    if SOURCE_COLUMN in rows.column_names:
        sources = np.array(rows[SOURCE_COLUMN][:])
        groups |= {
            f"{split}/{source}/": outputs.encoder_weights[sources == source]
            for source in dict.fromkeys(sources.tolist())
        }
    return {
        f"{prefix}encoder_weight/{name}": weight
        for prefix, weights in groups.items()
        for name, weight in mean_encoder_weights(model, weights).items()
    }


def _source_thresholds(
    options: DecisionArguments,
    data: EmotionData,
    labels: Mapping[str, np.ndarray],
    probabilities: Mapping[str, np.ndarray],
    common: np.ndarray,
) -> dict[str, np.ndarray]:
    """The thresholds of each source with validation texts, if they are asked for."""
    if not options.source_thresholds or "validation" not in probabilities:
        return {}

    def choose(gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        strategy, shrinkage = options.threshold_strategy, options.threshold_shrinkage
        return choose_thresholds(gold, scores, strategy, shrinkage, options.threshold_metric)

    sources = data.splits["validation"][SOURCE_COLUMN][:]
    return thresholds_by_source(sources, labels["validation"], probabilities["validation"], common, choose)
