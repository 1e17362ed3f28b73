# SPDX-License-Identifier: Apache-2.0
"""The predictions of the runs of a comparison on the validation and test texts, without their models."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from ..data.loading import EmotionData
from ..encoders.start import fit_shares
from ..errors import InputError
from ..evaluation.calibration import calibrated_probabilities, mean_logits, probability_logits, weighted_logits
from ..evaluation.label_statistics import count_positives
from ..evaluation.metrics import Labels, check_labels
from ..evaluation.results import choose_calibration, choose_thresholds
from ..files import replacing
from ..recipe import ModelArguments


@dataclass(frozen=True)
class RunPredictions:
    """
    The predictions of one run: all that tables and figures need of it.

    Args:
        label_names (`np.ndarray` of shape `(num_labels,)`): Names.
        train_counts (`np.ndarray` of shape `(num_labels,)`): Training texts with each label.
        thresholds (`np.ndarray` of shape `(num_labels,)`): Chosen on the validation texts.
        test_labels (`np.ndarray` of shape `(num_samples, num_labels)`): Gold labels, boolean, or in [0, 1] with NaN
            where unknown.
        test_probabilities (`np.ndarray` of shape `(num_samples, num_labels)`): As the model gives them, calibrated.
        test_digest (`np.ndarray` of shape `()`): Hash of the test texts and their labels.
        validation_labels, validation_probabilities, validation_digest (`np.ndarray`): Likewise; without texts, of
            shape `(0, num_labels)`, where there is no validation split.
    """

    label_names: npt.NDArray[np.str_]
    train_counts: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float64]
    test_labels: Labels
    test_probabilities: npt.NDArray[np.float32]
    test_digest: npt.NDArray[np.str_]
    validation_labels: Labels
    validation_probabilities: npt.NDArray[np.float32]
    validation_digest: npt.NDArray[np.str_]

    @property
    def test_predictions(self) -> npt.NDArray[np.bool_]:
        """The labels that are predicted for the test texts, `(num_samples, num_labels)`."""
        return self.test_probabilities >= self.thresholds

    @classmethod
    def from_data(
        cls,
        data: EmotionData,
        thresholds: npt.NDArray[np.float64],
        probabilities: Mapping[str, npt.NDArray[np.float32]],
    ) -> RunPredictions:
        """
        Put thresholds and calibrated probabilities, by split, beside the labels of the texts; an [`InputError`] if
        there is no test split.
        """
        if "test" not in data.splits:
            raise InputError("A comparison needs a test split: give a `test_file`.")
        arrays: dict[str, Any] = {}
        for split in ("validation", "test"):
            arrays[f"{split}_labels"], arrays[f"{split}_digest"] = split_arrays(data, split)
            nothing = np.zeros((0, len(data.label_names)), dtype=np.float32)
            arrays[f"{split}_probabilities"] = probabilities.get(split, nothing)
        train_counts = count_positives(split_arrays(data, "train")[0])
        return cls(np.array(data.label_names), train_counts, thresholds, **arrays)

    def save(self, path: Path) -> None:
        """Write all of it or nothing."""
        with replacing(path) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> RunPredictions:
        """Read the file of `save`; an [`InputError`] if it is anything else."""
        try:
            with np.load(path) as file:
                return cls(**file)
        except (TypeError, ValueError, EOFError, BadZipFile) as error:
            raise InputError(
                f"{path} does not hold the predictions of a run ({error}); remove it to have it made anew."
            ) from error


def predictions_file(folder: Path) -> Path:
    """The file of [`RunPredictions`] in a run's folder, be it there or not; finished runs may hold a `cell.npz`."""
    path, other = folder / "predictions.npz", folder / "cell.npz"
    return other if other.exists() and not path.exists() else path


def split_arrays(data: EmotionData, split: str) -> tuple[Labels, npt.NDArray[np.str_]]:
    """Labels of a split, `(num_samples, num_labels)`, and the hash of its texts and labels; of a missing one empty."""
    digest = hashlib.sha256()
    labels: Labels = np.zeros((0, len(data.label_names)), dtype=np.bool_)
    if split in data.splits:
        labels = check_labels(np.asarray(data.splits[split]["labels"], dtype=np.float32))
        for text in data.splits[split]["text"]:
            digest.update(text.encode() + b"\0")
        digest.update(labels.tobytes())
    return labels, np.array(digest.hexdigest())


def mean_predictions(
    runs: Sequence[RunPredictions], options: ModelArguments, *, weighted: bool = False
) -> RunPredictions:
    """
    Several models together, with a calibration and thresholds of their own from the validation texts, as a single
    model has: what a stack of these models has to beat.

    Args:
        runs (`Sequence[RunPredictions]`): On the same texts.
        options ([`ModelArguments`]): `calibration` and the fields of the thresholds are read.
        weighted (`bool`, *optional*, defaults to `False`):
            Whether it is the mean of the logits, with the weights that suit the validation texts best
            ([`~trainer_ext.encoders.start.fit_shares`]), instead of the mean of the probabilities.

    Raises:
        `InputError`: If the runs have different labels or texts, or there are no validation texts to weight them.
    """
    first = runs[0]
    for other in runs[1:]:
        check_same_texts(first, other, ("validation", "test"))
    combine: Callable[[Sequence[npt.NDArray[np.floating]]], npt.NDArray[np.float32]] = mean_logits
    if weighted:
        if not len(first.validation_labels):
            raise InputError("A weighted mean needs a validation split: give the runs one, or take the plain mean.")
        logits = probability_logits([run.validation_probabilities for run in runs])
        combine = partial(weighted_logits, shares=fit_shares(first.validation_labels, logits))
    validation, test = (
        combine([getattr(run, f"{split}_probabilities") for run in runs]) for split in ("validation", "test")
    )
    calibration, thresholds = None, np.full(len(first.label_names), 0.5)
    if len(validation):
        calibration = choose_calibration(first.validation_labels, validation, options.calibration)
    probabilities = {
        f"{split}_probabilities": calibrated_probabilities(logits, calibration)
        for split, logits in (("validation", validation), ("test", test))
    }
    if len(validation):
        thresholds = choose_thresholds(
            first.validation_labels,
            probabilities["validation_probabilities"],
            options.threshold_strategy,
            options.threshold_shrinkage,
            options.threshold_metric,
        )
    return replace(first, thresholds=thresholds, **probabilities)


def check_same_texts(first: RunPredictions, other: RunPredictions, splits: Sequence[str] = ("test",)) -> None:
    """An [`InputError`] unless both runs have the same labels and, in each of the splits, the same texts."""
    if not np.array_equal(first.label_names, other.label_names):
        names, others = first.label_names.tolist(), other.label_names.tolist()
        raise InputError(f"The runs must have the same labels, got {names} and {others}.")
    for split in splits:
        if getattr(first, f"{split}_digest") != getattr(other, f"{split}_digest"):
            raise InputError(
                f"The runs must have the same {split} texts and labels, got different ones: give a `{split}_file` or "
                f"a data set with that split, or one `split_seed` to all runs."
            )
