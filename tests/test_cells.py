# SPDX-License-Identifier: Apache-2.0
"""Tests of the cells: they come back as they were saved, and the mean of several is a model like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_samples import NAMES, make_cell
from datasets import Dataset

from trainer_ext.comparison.runs import Cell, check_same_texts, mean_cell, split_arrays
from trainer_ext.data.loading import EmotionData
from trainer_ext.encoders.start import fit_shares
from trainer_ext.evaluation.calibration import fit_calibration
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.evaluation.thresholds import tune_thresholds
from trainer_ext.recipe import ModelArguments


def test_saved_cell_comes_back(tmp_path: Path) -> None:
    cell = make_cell(1.0, 3)
    cell.save(tmp_path / "cell.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["cell.npz"]
    loaded = Cell.load(tmp_path / "cell.npz")
    for name, array in vars(cell).items():
        other = getattr(loaded, name)
        assert other.dtype == array.dtype
        np.testing.assert_array_equal(other, array)
    assert (loaded.predictions == (cell.test_probabilities >= cell.thresholds)).all()


@pytest.mark.parametrize("fields", [{"labels": np.zeros(3)}, {}])
def test_another_file_is_no_cell(tmp_path: Path, fields: dict[str, np.ndarray]) -> None:
    path = tmp_path / "cell.npz"
    np.savez(path, **fields)
    with pytest.raises(ValueError, match=r"cell\.npz is no cell of this version \(.*\); remove it"):
        Cell.load(path)
    for content in (b"no archive", b"PK\x03\x04 an archive that was cut"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cell\.npz is no cell of this version \(.*\); remove it"):
            Cell.load(path)


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
    cells = [make_cell(1.5, seed) for seed in (1, 2, 3)]
    mean = mean_cell(cells, ModelArguments(threshold_shrinkage=5.0))
    average = {
        split: sum(getattr(cell, f"{split}_probabilities").astype(np.float64) for cell in cells) / 3
        for split in ("validation", "test")
    }
    logits = {split: np.log(values / (1 - values)) for split, values in average.items()}
    scale, bias = fit_calibration(cells[0].validation_labels, logits["validation"], "platt")
    expected = {split: 1 / (1 + np.exp(-(scale * values + bias))) for split, values in logits.items()}
    np.testing.assert_allclose(mean.test_probabilities, expected["test"], atol=1e-5)
    np.testing.assert_allclose(mean.validation_probabilities, expected["validation"], atol=1e-5)
    thresholds = tune_thresholds(cells[0].validation_labels, mean.validation_probabilities, shrinkage=5.0)
    np.testing.assert_allclose(mean.thresholds, thresholds)
    assert mean.test_digest == cells[0].test_digest
    scores = [
        multilabel_metrics(cell.test_labels, cell.test_probabilities)["macro_average_precision"] for cell in cells
    ]
    together = multilabel_metrics(mean.test_labels, mean.test_probabilities)["macro_average_precision"]
    assert together > max(scores)


def test_weights_are_those_of_the_validation_texts() -> None:
    cells = [make_cell(noise, seed) for noise, seed in ((0.5, 1), (2.0, 2))]
    options = ModelArguments(calibration="none")
    found = mean_cell(cells, options, weighted=True)
    logits = {
        split: [np.log(values) - np.log1p(-values) for values in parts]
        for split in ("validation", "test")
        for parts in [[getattr(cell, f"{split}_probabilities").astype(np.float64) for cell in cells]]
    }
    shares = fit_shares(cells[0].validation_labels, logits["validation"])
    assert shares[0] > shares[1] > 0
    expected = 1 / (1 + np.exp(-np.tensordot(shares, logits["test"], axes=1)))
    np.testing.assert_allclose(found.test_probabilities, expected, atol=1e-5)


def test_mean_without_calibration_is_the_mean() -> None:
    cells = [make_cell(1.5, seed) for seed in (1, 2)]
    mean = mean_cell(cells, ModelArguments(calibration="none", threshold_strategy="none"))
    average = (cells[0].test_probabilities + cells[1].test_probabilities) / 2
    np.testing.assert_allclose(mean.test_probabilities, average, atol=1e-6)
    assert (mean.thresholds == 0.5).all()


def test_mean_of_certain_models_is_finite() -> None:
    sure = make_cell(1.0, 1)
    sure = make_cell(1.0, 1, test_probabilities=sure.test_labels.astype(np.float32))
    mean = mean_cell([sure, sure], ModelArguments(calibration="none"))
    np.testing.assert_allclose(mean.test_probabilities, sure.test_labels, atol=1e-6)


def test_mean_without_validation_texts_is_cut_at_one_half() -> None:
    empty = np.zeros((0, len(NAMES)))
    none = {"validation_labels": empty.astype(bool), "validation_probabilities": empty.astype(np.float32)}
    cells = [make_cell(1.5, seed, **none) for seed in (1, 2)]
    mean = mean_cell(cells, ModelArguments())
    average = (cells[0].test_probabilities + cells[1].test_probabilities) / 2
    np.testing.assert_allclose(mean.test_probabilities, average, atol=1e-6)
    assert (mean.thresholds == 0.5).all()
    with pytest.raises(ValueError, match="A weighted mean needs a validation split"):
        mean_cell(cells, ModelArguments(), weighted=True)


def test_runs_on_other_texts_are_refused() -> None:
    cell = make_cell(1.0, 1)
    with pytest.raises(ValueError, match=r"must have the same test texts and labels, .* give a `test_file`"):
        check_same_texts(cell, make_cell(1.0, 1, test_digest=np.array("other")))
    with pytest.raises(ValueError, match="must have the same validation texts"):
        mean_cell([cell, make_cell(1.0, 2, validation_digest=np.array("other"))], ModelArguments())
    with pytest.raises(ValueError, match=r"must have the same labels, got \['joy', .*\] and \['a', "):
        check_same_texts(cell, make_cell(1.0, 1, label_names=np.array([*"abcde"])))
