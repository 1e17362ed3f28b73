# SPDX-License-Identifier: Apache-2.0
"""Tests of the predictions of runs: they come back as saved; the mean of several is a model like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from run_samples import NAMES, make_run

from trainer_ext.comparison.runs import (
    PREDICTIONS_FILE,
    RunPredictions,
    check_same_texts,
    mean_predictions,
    split_arrays,
)
from trainer_ext.data.loading import EmotionData
from trainer_ext.encoders.start import fit_shares
from trainer_ext.errors import InputError
from trainer_ext.evaluation.calibration import fit_calibration
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.thresholds import tune_thresholds
from trainer_ext.recipe import ModelArguments


def test_saved_predictions_come_back(tmp_path: Path) -> None:
    run = make_run(1.0, 3)
    run.save(tmp_path / PREDICTIONS_FILE)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]
    loaded = RunPredictions.load(tmp_path / PREDICTIONS_FILE)
    for name, array in vars(run).items():
        other = getattr(loaded, name)
        assert other.dtype == array.dtype
        np.testing.assert_array_equal(other, array)


@pytest.mark.parametrize("fields", [{"labels": np.zeros(3)}, {}])
def test_another_file_holds_no_predictions(tmp_path: Path, fields: dict[str, np.ndarray]) -> None:
    path = tmp_path / "predictions.npz"
    np.savez(path, **fields)
    message = r"predictions\.npz does not hold the predictions of a run \(.*\); remove it"
    with pytest.raises(InputError, match=message):
        RunPredictions.load(path)
    for content in (b"no archive", b"PK\x03\x04 an archive that was cut"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            RunPredictions.load(path)


def make_data(texts: list[str], labels: list[list[float]]) -> EmotionData:
    return EmotionData(["joy", "fear"], {"test": Dataset.from_dict({"text": texts, "labels": labels})})


def test_hash_knows_texts_labels_and_their_order() -> None:
    labels, digest = split_arrays(make_data(["a", "bc"], [[1, 0], [0, 1]]), "test")
    assert labels.tolist() == [[True, False], [False, True]]
    for texts, rows in (
        (["ab", "c"], [[1, 0], [0, 1]]),
        (["bc", "a"], [[1, 0], [0, 1]]),
        (["a", "bc"], [[1, 0], [1, 1]]),
    ):
        assert split_arrays(make_data(texts, rows), "test")[1] != digest
    assert split_arrays(make_data(["a", "bc"], [[1, 0], [0, 1]]), "test")[1] == digest
    missing, _ = split_arrays(make_data(["a"], [[1, 0]]), "validation")
    assert missing.shape == (0, 2)


def test_mean_is_calibrated_and_cut_on_the_validation_texts() -> None:
    runs = [make_run(1.5, seed) for seed in (1, 2, 3)]
    mean = mean_predictions(runs, ModelArguments(threshold_shrinkage=5.0))
    average = {
        split: sum(getattr(run, f"{split}_probabilities").astype(np.float64) for run in runs) / 3
        for split in ("validation", "test")
    }
    logits = {split: np.log(values / (1 - values)) for split, values in average.items()}
    scale, bias = fit_calibration(runs[0].validation_labels, logits["validation"], "platt")
    expected = {split: 1 / (1 + np.exp(-(scale * values + bias))) for split, values in logits.items()}
    np.testing.assert_allclose(mean.test_probabilities, expected["test"], atol=1e-5)
    np.testing.assert_allclose(mean.validation_probabilities, expected["validation"], atol=1e-5)
    thresholds = tune_thresholds(runs[0].validation_labels, mean.validation_probabilities, shrinkage=5.0)
    np.testing.assert_allclose(mean.thresholds, thresholds)
    assert mean.test_digest == runs[0].test_digest
    scores = [multilabel_metrics(run.test_labels, run.test_probabilities)["macro_average_precision"] for run in runs]
    together = multilabel_metrics(mean.test_labels, mean.test_probabilities)["macro_average_precision"]
    assert together > max(scores)


def test_weights_are_those_of_the_validation_texts() -> None:
    runs = [make_run(noise, seed) for noise, seed in ((0.5, 1), (2.0, 2))]
    options = ModelArguments(calibration="none")
    mean = mean_predictions(runs, options, weighted=True)
    logits = {
        split: [np.log(values) - np.log1p(-values) for values in parts]
        for split in ("validation", "test")
        for parts in [[getattr(run, f"{split}_probabilities").astype(np.float64) for run in runs]]
    }
    shares = fit_shares(runs[0].validation_labels, logits["validation"])
    assert shares[0] > shares[1] > 0
    expected = 1 / (1 + np.exp(-np.tensordot(shares, logits["test"], axes=1)))
    np.testing.assert_allclose(mean.test_probabilities, expected, atol=1e-5)


def test_mean_without_calibration_is_the_mean() -> None:
    runs = [make_run(1.5, seed) for seed in (1, 2)]
    mean = mean_predictions(runs, ModelArguments(calibration="none", threshold_strategy="none"))
    average = (runs[0].test_probabilities + runs[1].test_probabilities) / 2
    np.testing.assert_allclose(mean.test_probabilities, average, atol=1e-6)
    assert (mean.thresholds == 0.5).all()


def test_mean_of_certain_models_is_finite() -> None:
    sure = make_run(1.0, 1)
    sure = make_run(1.0, 1, test_probabilities=sure.test_labels.astype(np.float32))
    mean = mean_predictions([sure, sure], ModelArguments(calibration="none"))
    np.testing.assert_allclose(mean.test_probabilities, sure.test_labels, atol=1e-6)


def test_mean_without_validation_texts_is_cut_at_one_half() -> None:
    empty = np.zeros((0, len(NAMES)))
    none = {"validation_labels": empty.astype(bool), "validation_probabilities": empty.astype(np.float32)}
    runs = [make_run(1.5, seed, **none) for seed in (1, 2)]
    mean = mean_predictions(runs, ModelArguments())
    average = (runs[0].test_probabilities + runs[1].test_probabilities) / 2
    np.testing.assert_allclose(mean.test_probabilities, average, atol=1e-6)
    assert (mean.thresholds == 0.5).all()
    with pytest.raises(ValueError, match="A weighted mean needs a validation split"):
        mean_predictions(runs, ModelArguments(), weighted=True)


def test_runs_on_other_texts_are_refused() -> None:
    run = make_run(1.0, 1)
    with pytest.raises(ValueError, match=r"must have the same test texts and labels, .* give a `test_file`"):
        check_same_texts(run, make_run(1.0, 1, test_digest=np.array("other")))
    with pytest.raises(ValueError, match="must have the same validation texts"):
        mean_predictions([run, make_run(1.0, 2, validation_digest=np.array("other"))], ModelArguments())
    with pytest.raises(ValueError, match=r"must have the same labels, got \['joy', .*\] and \['a', "):
        check_same_texts(run, make_run(1.0, 1, label_names=np.array([*"abcde"])))
