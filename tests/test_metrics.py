# SPDX-License-Identifier: Apache-2.0
"""Tests of the multi-label metrics against scikit-learn and against values worked out by hand."""

from __future__ import annotations

import ast
import math
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics

from trainer_ext.evaluation import metrics as metrics_module
from trainer_ext.evaluation.metrics import always_frequent_baseline, multilabel_metrics
from trainer_ext.evaluation.metrics_table import format_metrics_table

IntArray = npt.NDArray[np.int64]

LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
PREDICTIONS = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]])


def make_data(
    seed: int, num_samples: int = 80, num_labels: int = 6
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Make labels with all-zero rows, an all-zero and an all-one column, and scores with many ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_samples, num_labels)) < 0.3).astype(np.int64)
    labels[:5] = 0
    labels[:, 0] = 0
    labels[:, 1] = 1
    probabilities = np.round(np.clip(0.2 * labels + 0.7 * rng.random(labels.shape), 0, 1), 1).astype(np.float64)
    probabilities[:, 2] = 0.1  # one label that the threshold 0.5 never predicts
    probabilities[:8, 1] = 0.0
    return labels, probabilities


def sklearn_count_metrics(labels: IntArray, predictions: IntArray, zero_division: float) -> dict[str, float]:
    options = {"zero_division": zero_division}
    expected = {
        "hamming_loss": sklearn.metrics.hamming_loss(labels, predictions),
        "subset_accuracy": sklearn.metrics.accuracy_score(labels, predictions),
        "weighted_f1": sklearn.metrics.f1_score(labels, predictions, average="weighted", **options),
        "micro_jaccard": sklearn.metrics.jaccard_score(labels, predictions, average="micro", **options),
        "samples_jaccard": sklearn.metrics.jaccard_score(labels, predictions, average="samples", zero_division=1.0),
    }
    functions = {
        "f1": sklearn.metrics.f1_score,
        "precision": sklearn.metrics.precision_score,
        "recall": sklearn.metrics.recall_score,
    }
    for name, function in functions.items():
        expected[f"macro_{name}"] = function(labels, predictions, average="macro", **options)
        expected[f"micro_{name}"] = function(labels, predictions, average="micro", **options)
        for index, value in enumerate(function(labels, predictions, average=None, **options)):
            expected[f"{name}/{index}"] = value
    return expected | {f"support/{index}": value for index, value in enumerate(labels.sum(axis=0))}


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_count_metrics_equal_sklearn(seed: int, zero_division: float) -> None:
    labels, probabilities = make_data(seed)
    predictions = (probabilities >= 0.5).astype(np.int64)
    result = multilabel_metrics(labels, predictions=predictions, zero_division=zero_division)
    assert result == pytest.approx(sklearn_count_metrics(labels, predictions, zero_division), abs=1e-12)
    assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("predicted", [[0, 0], [1, 0], [1, 1]])
def test_labels_without_any_positive_equal_sklearn(predicted: list[int], zero_division: float) -> None:
    labels, predictions = np.zeros((3, 2), dtype=int), np.array([predicted] * 3)
    result = multilabel_metrics(labels, predictions=predictions, zero_division=zero_division)
    assert result == pytest.approx(sklearn_count_metrics(labels, predictions, zero_division), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("seed", range(5))
def test_ranking_metrics_equal_sklearn_with_ties(seed: int, dtype: npt.DTypeLike) -> None:
    labels, probabilities = make_data(seed)
    scores = probabilities.astype(dtype)
    result = multilabel_metrics(labels, scores)
    usable = [2, 3, 4, 5]
    roc_auc = [sklearn.metrics.roc_auc_score(labels[:, i], scores[:, i]) for i in usable]
    precision = [sklearn.metrics.average_precision_score(labels[:, i], scores[:, i]) for i in usable]
    assert [result[f"roc_auc/{i}"] for i in usable] == pytest.approx(roc_auc, abs=1e-12)
    assert result["macro_roc_auc"] == pytest.approx(np.mean(roc_auc), abs=1e-12)
    assert result["macro_average_precision"] == pytest.approx(np.mean(precision), abs=1e-12)
    assert "roc_auc/0" not in result
    assert "roc_auc/1" not in result


def test_ranking_metrics_equal_sklearn_without_ties() -> None:
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 2, size=(300, 4))
    probabilities = rng.random(labels.shape)
    result = multilabel_metrics(labels, probabilities)
    assert result["macro_roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, probabilities), abs=1e-12)
    expected = sklearn.metrics.average_precision_score(labels, probabilities)
    assert result["macro_average_precision"] == pytest.approx(expected, abs=1e-12)


def test_ranking_metrics_are_nan_if_no_label_has_both_classes() -> None:
    result = multilabel_metrics([[1, 0], [1, 0]], [[0.2, 0.3], [0.4, 0.1]])
    assert math.isnan(result["macro_roc_auc"])
    assert math.isnan(result["macro_average_precision"])
    assert not [key for key in result if key.startswith("roc_auc/")]


def test_values_worked_out_by_hand() -> None:
    result = multilabel_metrics(LABELS, predictions=PREDICTIONS, label_names=["joy", "fear", "awe"])
    assert result == pytest.approx(
        {
            "macro_f1": (0.8 + 2 / 3 + 0) / 3,
            "micro_f1": 6 / 8,
            "weighted_f1": (0.8 + 2 / 3) / 2,
            "samples_jaccard": (1 + 1 / 2 + 1 / 2 + 1) / 4,
            "micro_jaccard": 3 / 5,
            "hamming_loss": 2 / 12,
            "subset_accuracy": 2 / 4,
            "macro_precision": (2 / 3 + 1 + 0) / 3,
            "macro_recall": (1 + 1 / 2 + 0) / 3,
            "micro_precision": 3 / 4,
            "micro_recall": 3 / 4,
            "f1/joy": 0.8,
            "f1/fear": 2 / 3,
            "f1/awe": 0.0,
            "precision/joy": 2 / 3,
            "precision/fear": 1.0,
            "precision/awe": 0.0,
            "recall/joy": 1.0,
            "recall/fear": 0.5,
            "recall/awe": 0.0,
            "support/joy": 2,
            "support/fear": 2,
            "support/awe": 0,
        }
    )


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
def test_samples_jaccard_counts_empty_rows_as_right(zero_division: float) -> None:
    result = multilabel_metrics(LABELS, predictions=PREDICTIONS, zero_division=zero_division)
    assert result["samples_jaccard"] == pytest.approx(3 / 4)
    theirs = sklearn.metrics.jaccard_score(LABELS, PREDICTIONS, average="samples", zero_division=zero_division)
    assert theirs == pytest.approx((2 + zero_division) / 4)


@pytest.mark.parametrize("zero_division", [0, 1])
def test_zero_division_may_be_an_integer(zero_division: int) -> None:
    result = multilabel_metrics(LABELS, predictions=PREDICTIONS, zero_division=zero_division)
    assert result == multilabel_metrics(LABELS, predictions=PREDICTIONS, zero_division=float(zero_division))
    assert result["macro_f1"] == pytest.approx((0.8 + 2 / 3 + zero_division) / 3)


def test_threshold_is_inclusive_and_per_label() -> None:
    labels, probabilities = [[1, 1], [0, 1]], [[0.5, 0.3], [0.49, 0.2]]
    assert multilabel_metrics(labels, probabilities)["recall/0"] == 1.0
    assert multilabel_metrics(labels, probabilities)["recall/1"] == 0.0
    result = multilabel_metrics(labels, probabilities, thresholds=[0.5, 0.2])
    assert result["subset_accuracy"] == 1.0


def test_scalar_and_vector_thresholds_agree_for_float32_scores() -> None:
    # float32(0.7) is below 0.7, and must be so for both forms of the threshold.
    probabilities = np.full((1, 2), 0.7, dtype=np.float32)
    scalar = multilabel_metrics([[1, 1]], probabilities, thresholds=0.7)
    vector = multilabel_metrics([[1, 1]], probabilities, thresholds=[0.7, 0.7])
    assert scalar["micro_recall"] == vector["micro_recall"] == 0.0


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32])
def test_labels_of_any_type_give_the_same_result(dtype: npt.DTypeLike) -> None:
    expected = multilabel_metrics(LABELS, predictions=PREDICTIONS)
    assert multilabel_metrics(LABELS.astype(dtype), predictions=PREDICTIONS.astype(dtype)) == expected


def test_arguments_are_not_changed() -> None:
    labels, probabilities = make_data(0)
    labels_before, probabilities_before = labels.copy(), probabilities.copy()
    multilabel_metrics(labels, probabilities)
    always_frequent_baseline(labels, labels)
    assert np.array_equal(labels, labels_before)
    assert np.array_equal(probabilities, probabilities_before)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"`labels` must have shape \(num_samples, num_labels\), got \(2,\); pass one row per sample"),
        (np.zeros((0, 3)), r"`labels` must have at least one sample and one label, got shape \(0, 3\)"),
        (np.zeros((3, 0)), r"`labels` must have at least one sample and one label, got shape \(3, 0\)"),
        ([[0, 1, -100]], r"`labels` must lie in \[0, 1\], or be NaN where a label is unknown, got -100; pass multi"),
        ([[0.0, 1.0, math.inf]], r"`labels` must lie in \[0, 1\], or be NaN where a label is unknown, got inf"),
        ([[0.0, 1.0, 1.5]], r"`labels` must lie in \[0, 1\], or be NaN where a label is unknown, got 1\.5"),
    ],
)
def test_invalid_labels_raise(labels: npt.ArrayLike, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multilabel_metrics(labels, predictions=[[0, 1, 0]])


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[0.1, 0.2]], r"`probabilities` must have the shape of `labels`, \(1, 3\), got \(1, 2\)"),
        ([[0.1, 0.2, 1.5]], r"`probabilities` must lie in \[0, 1\] without NaN, got values from 0.1 to 1.5; apply a"),
        ([[-2.0, 0.2, 0.5]], r"got values from -2 to 0.5"),
        ([[0.1, math.nan, 0.5]], r"got values from nan to nan"),
    ],
)
def test_invalid_probabilities_raise(probabilities: npt.ArrayLike, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multilabel_metrics([[0, 1, 0]], probabilities)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([[0, 1], [1, 0]], r"`predictions` must have the shape of `labels`, \(1, 2\), got \(2, 2\)"),
        ([[0.3, 0.9]], r"`predictions` must hold only 0 and 1, got 0\.3"),
        ([[math.nan, 1.0]], r"`predictions` must hold only 0 and 1, got nan"),
        ([0, 1], r"`predictions` must have shape \(num_samples, num_labels\), got \(2,\)"),
    ],
)
def test_invalid_predictions_raise(predictions: npt.ArrayLike, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multilabel_metrics([[0, 1]], predictions=predictions)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ([0.5], r"`thresholds` must be one number or have shape \(2,\), got shape \(1,\)"),
        ([[0.5, 0.5]], r"`thresholds` must be one number or have shape \(2,\), got shape \(1, 2\)"),
        ([0.5, math.nan], r"`thresholds` must lie in \[0, 1\] without NaN, got \[0.5, nan\]"),
        (1.5, r"`thresholds` must lie in \[0, 1\] without NaN, got 1.5"),
    ],
)
def test_invalid_thresholds_raise(thresholds: npt.ArrayLike, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multilabel_metrics([[0, 1]], [[0.1, 0.9]], thresholds=thresholds)


def test_other_invalid_arguments_raise() -> None:
    with pytest.raises(ValueError, match="exactly one of `probabilities` and `predictions`, got none of them"):
        multilabel_metrics(LABELS)
    with pytest.raises(ValueError, match="exactly one of `probabilities` and `predictions`, got both of them"):
        multilabel_metrics(LABELS, PREDICTIONS, PREDICTIONS)
    with pytest.raises(ValueError, match=r"`label_names` must have one name per label \(3\), got 2 names"):
        multilabel_metrics(LABELS, predictions=PREDICTIONS, label_names=["a", "b"])
    with pytest.raises(ValueError, match="`label_names` must be distinct, got 'a' more than once"):
        multilabel_metrics(LABELS, predictions=PREDICTIONS, label_names=["b", "a", "a"])
    with pytest.raises(ValueError, match=r"`zero_division` must lie in \[0, 1\], got nan"):
        multilabel_metrics(LABELS, predictions=PREDICTIONS, zero_division=math.nan)


@pytest.mark.parametrize(
    ("train_labels", "predicted"),
    [
        ([[0, 1, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 0]),  # 1 label per sample
        ([[0, 1, 1], [0, 1, 0]], [0, 1, 1]),  # 1.5 labels per sample, rounded up to 2
        ([[0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]], [0, 0, 1]),  # 0.25 labels per sample, but at least 1
        ([[0, 1, 1], [1, 1, 0], [1, 0, 1]], [1, 1, 0]),  # equally frequent: the lower index first
    ],
)
def test_baseline_predicts_the_most_frequent_train_labels(train_labels: list[list[int]], predicted: list[int]) -> None:
    found = always_frequent_baseline(train_labels, LABELS, label_names=["a", "b", "c"])
    expected = multilabel_metrics(LABELS, predictions=[predicted] * len(LABELS), label_names=["a", "b", "c"])
    assert found.items() >= expected.items()
    # Ranking without knowledge: the share of positives (of the third label there are none), and a half.
    assert found["macro_average_precision"] == pytest.approx(0.5)
    assert found["macro_roc_auc"] == 0.5


def test_baseline_raises_on_invalid_labels() -> None:
    with pytest.raises(ValueError, match="must have the same num_labels, got 2 and 3"):
        always_frequent_baseline([[0, 1]], LABELS)
    with pytest.raises(ValueError, match=r"`train_labels` must lie in \[0, 1\], .* got 2"):
        always_frequent_baseline([[0, 1, 2]], LABELS)


def test_table_shows_results_side_by_side() -> None:
    names = ["joy", "fear", "awe"]
    labels = [[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]]
    probabilities = [[0.9, 0.8, 0.1], [0.2, 0.4, 0.2], [0.1, 0.3, 0.3], [0.3, 0.6, 0.1]]
    tuned = multilabel_metrics(labels, probabilities, thresholds=[0.5, 0.35, 0.5], label_names=names)
    fixed = multilabel_metrics(labels, probabilities, label_names=names)
    baseline = always_frequent_baseline(labels, labels, label_names=names)
    table = format_metrics_table(tuned, names, name="tuned", columns={"0.5": fixed, "baseline": baseline})
    assert table.splitlines() == [
        "metric                   tuned    0.5  baseline",
        "macro_f1                 0.667  0.600     0.286",
        "micro_f1                 1.000  0.857     0.750",
        "weighted_f1              1.000  0.850     0.643",
        "samples_jaccard          1.000  0.750     0.625",
        "micro_jaccard            1.000  0.750     0.600",
        "hamming_loss             0.000  0.083     0.167",
        "subset_accuracy          1.000  0.750     0.500",
        "macro_precision          0.667  0.667     0.250",
        "macro_recall             0.667  0.556     0.333",
        "micro_precision          1.000  1.000     0.750",
        "micro_recall             1.000  0.750     0.750",
        "macro_roc_auc            1.000  1.000     0.500",
        "macro_average_precision  1.000  1.000     0.500",
        "",
        "label  support  precision  recall     f1  roc_auc  f1 (0.5)  f1 (baseline)",
        "fear         3      1.000   1.000  1.000    1.000     0.800          0.857",
        "joy          1      1.000   1.000  1.000    1.000     1.000          0.000",
        "awe          0      0.000   0.000  0.000        -     0.000          0.000",
    ]


def test_table_aligns_by_display_width() -> None:
    # Widths: 4 for two wide characters, 3 for Arabic letters with three vowel marks, 2 for e + combining accent + x.
    names = ["喜び", "فَرَحٌ", "e\u0301x", "plain"]
    metrics = {f"{key}/{name}": 1.0 for name in names for key in ("support", "precision", "recall", "f1")}
    lines = format_metrics_table(metrics, names, num_digits=1).splitlines()
    rows = lines[lines.index("") + 1 :]
    assert [row.split()[0] for row in rows] == ["label", *names]
    gaps = [row[len(name) :].index("1") for row, name in zip(rows[1:], names, strict=True)]
    assert [gap + width for gap, width in zip(gaps, [4, 3, 2, 5], strict=True)] == [13] * 4


def test_table_raises_on_unknown_labels_and_repeated_columns() -> None:
    metrics = multilabel_metrics(LABELS, predictions=PREDICTIONS)
    with pytest.raises(ValueError, match="`metrics` has no 'support/joy'; pass the `label_names`"):
        format_metrics_table(metrics, ["joy"])
    with pytest.raises(ValueError, match="Column names must differ, got 'value' twice"):
        format_metrics_table(metrics, ["0", "1", "2"], columns={"value": metrics})


def test_module_stands_alone() -> None:
    tree = ast.parse(Path(metrics_module.__file__).read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules == {"math", "collections.abc", "typing", "numpy", "numpy.typing"}


def test_degenerate_data_gives_no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        multilabel_metrics(np.zeros((2, 2)), np.zeros((2, 2)))
        multilabel_metrics(np.zeros((2, 2)), predictions=np.zeros((2, 2)))
