# SPDX-License-Identifier: Apache-2.0
"""An `evaluate` metric for multi-label classification, from hard predictions or from probabilities."""

# The siblings lie beside this file once it is staged; a comment on their lines would be read by `evaluate`
# 0.4.6 as a URL to fetch them from.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from inspect import signature
from typing import Any

import datasets
import evaluate
import numpy as np
import numpy.typing as npt

from .bootstrap import bootstrap_metrics, percentile_interval
from .metrics import check_labels, check_probabilities, multilabel_metrics
from .metrics_table import format_metrics_table

_DESCRIPTION = """
Metrics of multi-label classification in one pass: F1, precision, recall, Jaccard index, Hamming loss and subset
accuracy from hard predictions; with probabilities also ROC AUC and average precision, and beside graded gold Pearson's
r and the mean absolute error. Unknown gold labels are left out. Values per label and bootstrap intervals on request.
The definitions are those of scikit-learn.
"""

_INPUTS_DESCRIPTION = """
Args:
    references (`list` of `list` of `float`): Gold labels, one row per sample, a number in [0, 1] per label, NaN where
        it is not known. A graded label is positive from 0.5 on.
    predictions (`list` of `list` of `int`): Predictions of the same shape, 0 or 1. Only in the default configuration.
    prediction_scores (`list` of `list` of `float`): Probabilities of the same shape. Only in the configuration
        "probabilities".
    thresholds (`float` or `list` of `float`, *optional*, defaults to 0.5): A label is predicted where its probability
        is at least the threshold; one for all labels, or one per label. Only used with probabilities.
    label_names (`list` of `str`, *optional*): Names for the keys per label; by default "0", "1", and so on.
    zero_division (`float`, *optional*, defaults to 0.0): The value in [0, 1] of a ratio whose denominator is 0.
    per_label (`bool`, *optional*, defaults to `False`): Add `f1/<label>`, `precision/<label>`, `recall/<label>`,
        `support/<label>` and, with probabilities, `roc_auc/<label>`, beside graded gold `pearson/<label>` and
        `mae/<label>`.
    num_resamples (`int`, *optional*, defaults to 0): With 1 or more, add `<key>_interval`, a list of two ends, for
        every key but the supports and the ranking metrics, from as many bootstrap resamples of the samples.
    confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside the interval.
    bootstrap_seed (`int`, *optional*, defaults to 0): Which resamples.

    The options can also be given to `evaluate.load`, for metrics that are combined; `compute` overrides them.

Returns:
    `dict`: `macro_f1`, `micro_f1`, `weighted_f1`, `samples_jaccard`, `micro_jaccard`, `hamming_loss`,
    `subset_accuracy`, `macro_precision`, `macro_recall`, `micro_precision`, `micro_recall`; with probabilities also
    `macro_roc_auc` and `macro_average_precision`, beside graded gold `macro_pearson` and `macro_mae`; and the keys of
    the options. All but Pearson's r lie in [0, 1]; lower is better for `hamming_loss` and `macro_mae` alone.

Examples:

    >>> metric = evaluate.load("multilabel_emotion")
    >>> results = metric.compute(references=[[1, 0], [1, 1]], predictions=[[1, 0], [0, 1]])
    >>> round(results["macro_f1"], 3), results["hamming_loss"]
    (0.833, 0.25)
"""

_CITATION = """
@article{scikit-learn,
  title = {Scikit-learn: Machine Learning in {P}ython},
  author = {Pedregosa, F. and Varoquaux, G. and Gramfort, A. and Michel, V. and Thirion, B. and Grisel, O. and
            Blondel, M. and Prettenhofer, P. and Weiss, R. and Dubourg, V. and Vanderplas, J. and Passos, A. and
            Cournapeau, D. and Brucher, M. and Perrot, M. and Duchesnay, E.},
  journal = {Journal of Machine Learning Research},
  volume = {12},
  pages = {2825--2830},
  year = {2011}
}
"""

_PREDICTIONS = {"default": "predictions", "probabilities": "prediction_scores"}


@dataclass(frozen=True)
class Options:
    """The options of `load` and `compute`; `_INPUTS_DESCRIPTION` explains them."""

    thresholds: float | Sequence[float] = 0.5
    label_names: Sequence[str] | None = None
    zero_division: float = 0.0
    per_label: bool = False
    num_resamples: int = 0
    confidence: float = 0.95
    bootstrap_seed: int = 0


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS_DESCRIPTION)
class MultilabelEmotion(evaluate.Metric):
    """The metric; it evaluates hard predictions in the configuration "default", else "probabilities"."""

    def __init__(self, config_name: str | None = None, **kwargs: Any) -> None:
        given = {field.name: kwargs.pop(field.name) for field in fields(Options) if field.name in kwargs}
        # The base class takes and forgets unknown options.
        if unknown := kwargs.keys() - signature(evaluate.Metric).parameters.keys():
            raise TypeError(
                f"Unknown option {min(unknown)!r}; the metric's are {[field.name for field in fields(Options)]}."
            )
        self._options = Options(**given)
        super().__init__(config_name, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in _PREDICTIONS:
            raise ValueError(f"The configuration must be one of {list(_PREDICTIONS)}, got {self.config_name!r}.")
        # Floats for all: `datasets` 5.2 would cut 0.7 to an integer of 0, and no check could tell.
        rows = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features({_PREDICTIONS[self.config_name]: rows, "references": rows}),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add a batch of predictions and references."""
        batch = {"predictions": predictions, "references": references, **kwargs}
        if missing := [name for name in self._feature_names() if batch.get(name) is None]:
            raise ValueError(
                f"`{missing[0]}` is missing: the configuration {self.config_name!r} takes {self._feature_names()}; "
                f"the configurations are {list(_PREDICTIONS)}, the second argument of `evaluate.load`."
            )
        evaluate.Metric.add_batch(self, **batch)

    def _compute(
        self,
        *,
        references: list[list[float]],
        predictions: list[list[float]] | None = None,
        prediction_scores: list[list[float]] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        chosen = replace(self._options, **options)
        gold = check_labels(_matrix(references, "references"), "references")
        naming: dict[str, Any] = {"label_names": chosen.label_names, "zero_division": chosen.zero_division}
        if prediction_scores is None:
            predicted = _matrix(predictions or [], "predictions")
            results = multilabel_metrics(gold, predictions=predicted, **naming)
        else:
            scores = check_probabilities(
                _matrix(prediction_scores, "prediction_scores"), gold.shape, "prediction_scores"
            )
            results = multilabel_metrics(gold, scores, thresholds=chosen.thresholds, **naming)
            predicted = scores >= np.asarray(chosen.thresholds)
        if not chosen.per_label:
            results = {key: value for key, value in results.items() if "/" not in key}
        if chosen.num_resamples:
            drawn = {"num_resamples": chosen.num_resamples, "seed": chosen.bootstrap_seed}
            for key, values in bootstrap_metrics(gold, predicted, **naming, **drawn).items():
                if key in results:
                    _, low, high = percentile_interval(results[key], values, chosen.confidence)
                    results[f"{key}_interval"] = [low, high]
        return results

    def table(self, results: dict[str, Any]) -> str:
        """
        Format results as plain text: a row per metric, then a row per label, frequent labels first.

        Args:
            results (`dict`): The results of `compute` with `per_label=True`.
        """
        names = [key.removeprefix("support/") for key in results if key.startswith("support/")]
        if not names:
            raise ValueError("`results` has no values per label; compute it with `per_label=True`.")
        return format_metrics_table(results, names)


def _matrix(rows: list[list[float]], name: str) -> npt.NDArray[np.float64]:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise ValueError(
            f"`{name}` must have one value per label in every row, got rows of {lengths[0]} and of {lengths[-1]}; "
            "turn lists of label ids into rows of 0 and 1."
        )
    return np.asarray(rows, dtype=np.float64)
