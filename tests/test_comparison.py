# SPDX-License-Identifier: Apache-2.0
"""Tests of the comparison: means, gains, intervals and p-values by their definitions, and the rows of the tables."""

from __future__ import annotations

import numpy as np
import pytest
from run_samples import COUNTS, NAMES, make_run, make_variants

from trainer_ext.comparison.report import class_rows, comparison_rows
from trainer_ext.comparison.runs import RunPredictions
from trainer_ext.comparison.variants import SUMMARY, TESTED, Summary, compare_variants
from trainer_ext.evaluation.bootstrap import holm_correction
from trainer_ext.evaluation.metrics import multilabel_metrics

NUM_RESAMPLES = 200


@pytest.fixture(scope="module")
def summary() -> Summary:
    return compare_variants(make_variants(), num_resamples=NUM_RESAMPLES)


def scores_of(run: RunPredictions, rows: np.ndarray | None = None) -> dict[str, float]:
    """The metrics of the test texts or of some of them, and those of the thirds, by the names of the labels."""
    chosen = np.arange(len(run.test_labels)) if rows is None else rows
    metrics = multilabel_metrics(
        run.test_labels[chosen], run.test_probabilities[chosen], thresholds=run.thresholds, label_names=NAMES
    )
    metrics["macro_f1_frequent"] = (metrics["f1/anger"] + metrics["f1/joy"]) / 2
    metrics["macro_f1_rare"] = (metrics["f1/grief"] + metrics["f1/pride"]) / 2
    metrics["frequent_rare_gap"] = metrics["macro_f1_frequent"] - metrics["macro_f1_rare"]
    return metrics


def test_means_and_deviations_over_the_runs(summary: Summary) -> None:
    for name, runs in make_variants().items():
        entry = summary["variants"][name]
        assert entry["num_runs"] == 3
        for metric in (*SUMMARY, *TESTED):
            values = [scores_of(run)[metric] for run in runs]
            assert entry[metric] == pytest.approx(np.mean(values))
            assert entry[f"{metric}_sd"] == pytest.approx(np.std(values, ddof=1))
        for metric in TESTED:
            assert entry[f"{metric}_low"] < entry[metric] < entry[f"{metric}_high"]


def test_gains_are_those_of_a_bootstrap_in_a_loop(summary: Summary) -> None:
    variants = make_variants()
    texts = np.random.default_rng(0).multinomial(200, np.full(200, 1 / 200), size=NUM_RESAMPLES)
    means: dict[str, list[dict[str, float]]] = {}
    for index, (name, runs) in enumerate(variants.items()):
        run_draws = np.random.default_rng([0, index]).multinomial(2, [1 / 3] * 3, NUM_RESAMPLES)
        means[name] = []
        for text_counts, run_counts in zip(texts, run_draws, strict=True):
            rows = np.repeat(np.arange(200), text_counts)
            drawn = [scores_of(runs[run], rows) for run in np.repeat(np.arange(3), run_counts)]
            means[name].append({metric: (drawn[0][metric] + drawn[1][metric]) / 2 for metric in TESTED})
    assert not any(key.endswith(("_gain", "_p")) for key in summary["variants"]["plain"])
    for metric in TESTED:
        p_values = []
        for name in ("better", "same"):
            entry = summary["variants"][name]
            pairs = zip(means[name], means["plain"], strict=True)
            differences = np.array([other[metric] - first[metric] for other, first in pairs])
            assert entry[f"{metric}_gain"] == pytest.approx(entry[metric] - summary["variants"]["plain"][metric])
            ends = [entry[f"{metric}_gain_low"], entry[f"{metric}_gain_high"]]
            np.testing.assert_allclose(ends, np.quantile(differences, [0.025, 0.975]), atol=1e-6)
            smaller = min((differences <= 0).sum(), (differences >= 0).sum())
            p_values.append(min(2 * (1 + smaller) / (1 + NUM_RESAMPLES), 1.0))
            assert entry[f"{metric}_p"] == pytest.approx(p_values[-1])
        corrected = [summary["variants"][name][f"{metric}_p_holm"] for name in ("better", "same")]
        np.testing.assert_allclose(corrected, holm_correction(p_values))
    assert summary["variants"]["better"]["macro_f1_p_holm"] < 0.05 < summary["variants"]["same"]["macro_f1_p_holm"]


def test_labels_are_in_the_order_of_frequency(summary: Summary) -> None:
    labels = summary["labels"]
    assert list(labels) == ["anger", "joy", "fear", "grief", "pride"]
    assert [entry["group"] for entry in labels.values()] == ["frequent", "frequent", "middle", "rare", "rare"]
    variants = make_variants()
    for name, entry in labels.items():
        assert entry["train_count"] == COUNTS[NAMES.index(name)]
        assert entry["support"] == variants["plain"][0].test_labels[:, NAMES.index(name)].sum()
        for variant, runs in variants.items():
            values = [scores_of(run)[f"f1/{name}"] for run in runs]
            assert entry["f1"][variant] == pytest.approx(np.mean(values))


def test_a_variant_against_itself_gains_nothing() -> None:
    runs = make_variants()["plain"]
    entry = compare_variants({"a": runs, "b": runs}, num_resamples=500)["variants"]["b"]
    assert entry["macro_f1_gain"] == 0
    # The runs are drawn for each by itself, as those of another variant would be.
    assert entry["macro_f1_gain_low"] < 0 < entry["macro_f1_gain_high"]
    assert entry["macro_f1_p"] > 0.5
    single = compare_variants({"a": runs[:1], "b": runs[:1]}, num_resamples=50)["variants"]["b"]
    assert (single["macro_f1_gain_low"], single["macro_f1_gain_high"], single["macro_f1_p"]) == (0, 0, 1)
    assert single["macro_f1_sd"] is None


def test_one_run_has_no_deviation() -> None:
    runs = make_variants()["plain"]
    _, once, twice = comparison_rows(compare_variants({"once": runs[:1], "twice": runs[:2]}, num_resamples=9))
    assert "±" not in once[2]
    assert "±" in twice[2]


def test_variants_may_have_different_numbers_of_runs() -> None:
    variants = make_variants()
    summary = compare_variants({"plain": variants["plain"], "better": variants["better"][:1]}, num_resamples=20)
    assert summary["variants"]["better"]["num_runs"] == 1
    assert summary["variants"]["better"]["macro_f1"] == pytest.approx(scores_of(variants["better"][0])["macro_f1"])


def test_rows_of_the_tables(summary: Summary) -> None:
    header, plain, better, same = comparison_rows(summary)
    assert len({len(row) for row in (header, plain, better, same)}) == 1
    entry = summary["variants"]["better"]
    assert plain[:2] == ["plain", "3"]
    assert plain[3:6] == ["–"] * 3
    assert better[2] == f"{entry['macro_f1']:.3f} ± {entry['macro_f1_sd']:.3f}"
    low, high = entry["macro_f1_gain_low"], entry["macro_f1_gain_high"]
    assert better[3] == f"{entry['macro_f1_gain']:+.3f} [{low:+.3f}, {high:+.3f}]"
    assert better[4:6] == [f"{entry['macro_f1_p']:.3f}", f"{entry['macro_f1_p_holm']:.3f}"]
    assert better[header.index("gap")] == f"{entry['frequent_rare_gap']:.3f}"
    assert better[-3] == f"{entry['macro_average_precision']:.3f}"
    assert better[-2].startswith(f"{entry['macro_average_precision_gain']:+.3f} [")
    assert better[-1] == f"{entry['macro_average_precision_p_holm']:.3f}"
    header, *rows = class_rows(summary)
    assert header == ["label", "group", "train_count", "support", "plain", "better", "same"]
    assert rows[0][:3] == ["anger", "frequent", 90]
    assert rows[-1][4:] == list(summary["labels"]["pride"]["f1"].values())


def test_runs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="must have the same test texts"):
        compare_variants({"a": [make_run(1.0, 1)], "b": [make_run(1.0, 2, test_digest=np.array("other"))]})
    run = make_run(1.0, 1)
    single = {name: array[..., :1] for name, array in vars(run).items() if array.ndim}
    with pytest.raises(ValueError, match="need at least 2 labels, got 1"):
        compare_variants({"a": [make_run(1.0, 1, **single)]})
