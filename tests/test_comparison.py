# SPDX-License-Identifier: Apache-2.0
"""Tests of the comparison: means, gains with their intervals, and the rows of the table."""

from __future__ import annotations

import numpy as np
import pytest

from trainer_ext.bootstrap import bootstrap_f1
from trainer_ext.comparison import SUMMARY, compare_variants, comparison_rows
from trainer_ext.metrics import multilabel_metrics


def make() -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, list[dict[str, float]]]]:
    generator = np.random.default_rng(3)
    labels = generator.random((200, 5)) < [0.4, 0.3, 0.2, 0.1, 0.05]
    predictions = {
        name: labels ^ (generator.random((2, 200, 5)) < error) for name, error in (("plain", 0.1), ("better", 0.02))
    }
    results = {
        name: [{f"test_{key}": multilabel_metrics(labels, run.astype(float))[key] for key in SUMMARY} for run in runs]
        for name, runs in predictions.items()
    }
    return labels, predictions, results


def test_summary_by_hand() -> None:
    labels, predictions, results = make()
    summary = compare_variants(labels, predictions, results, train_counts=[50, 40, 9, 1, 2], num_rare=2)
    for name in ("plain", "better"):
        values = [result["test_macro_f1"] for result in results[name]]
        assert summary[name]["macro_f1"] == pytest.approx(np.mean(values), abs=1e-6)
        assert summary[name]["macro_f1_sd"] == pytest.approx(np.std(values, ddof=1))
        low, high = summary[name]["macro_f1_interval"]
        assert low < summary[name]["macro_f1"] < high
    assert "macro_f1_gain" not in summary["plain"]
    gain = summary["better"]["macro_f1"] - summary["plain"]["macro_f1"]
    assert summary["better"]["macro_f1_gain"] == pytest.approx(gain)
    assert summary["better"]["macro_f1_gain_interval"][0] > 0
    plain, better = (bootstrap_f1(labels, predictions[name])[0] for name in ("plain", "better"))
    assert summary["better"]["macro_f1_rare_gain"] == pytest.approx((better - plain)[[3, 4]].mean())


def test_a_variant_against_itself_gains_nothing() -> None:
    labels, predictions, results = make()
    summary = compare_variants(
        labels,
        {"a": predictions["plain"], "b": predictions["plain"]},
        {"a": results["plain"], "b": results["plain"]},
        train_counts=[1, 2, 3, 4, 5],
    )
    assert summary["b"]["macro_f1_gain"] == 0
    assert summary["b"]["macro_f1_gain_interval"] == [0, 0]


def test_rows_show_means_deviations_and_gains() -> None:
    labels, predictions, results = make()
    summary = compare_variants(labels, predictions, results, train_counts=[1, 2, 3, 4, 5])
    header, plain, better = comparison_rows(summary)
    assert len(header) == len(plain) == len(better)
    entry = summary["better"]
    assert plain[:2] == ["plain", "2"]
    assert plain[3] == "–"
    assert better[2] == f"{entry['macro_f1']:.3f} ± {entry['macro_f1_sd']:.3f}"
    low, high = entry["macro_f1_gain_interval"]
    assert better[3] == f"{entry['macro_f1_gain']:+.3f} [{low:+.3f}, {high:+.3f}]"
