# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.votes: raters' votes become targets, and their agreement is measured."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from emotion_samples import message, write, write_jsonl

from trainer_ext.data.loading import EmotionData, load_emotion_data
from trainer_ext.data.votes import krippendorff_alpha
from trainer_ext.errors import InputError

UNKNOWN = np.nan
LONG = (
    "text_id,text,emotion,Annotator-1,Annotator-2,Annotator-3\n"
    "1,we won,Joy,3,2,0\n"
    "1,we won,Fear,0,0,0\n"
    "2,who is there,Joy,0,0,\n"
    "2,who is there,Fear,1,0,\n"
    "3,hm,Joy,,,\n"
)
ROWS = "text,rater_id,joy,love\na,1,1,0\na,2,1,1\na,3,0,1\na,4,0,1\nb,1,0,0\nb,2,0,1\n"


def targets(data: EmotionData) -> np.ndarray:
    return np.array(data.splits["train"]["labels"][:])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("vote_targets", "max_intensity", "expected"),
    [
        ("majority", None, [[0, 1], [0, 0], [UNKNOWN, UNKNOWN]]),
        ("share", None, [[0, 2 / 3], [0.5, 0], [UNKNOWN, UNKNOWN]]),
        ("share", 3, [[0, 5 / 9], [1 / 6, 0], [UNKNOWN, UNKNOWN]]),
    ],
)
def test_row_per_emotion_with_a_column_per_rater(
    tmp_path: Path, vote_targets: str, max_intensity: float | None, expected: list[list[float]]
) -> None:
    path = write(tmp_path, "a.csv", LONG)
    data = load_emotion_data(train_file=path, vote_targets=vote_targets, max_intensity=max_intensity)
    assert data.label_names == ["Fear", "Joy"]
    assert data.splits["train"]["text"][:] == ["we won", "who is there", "hm"]
    np.testing.assert_allclose(targets(data), np.array(expected), rtol=1e-6)


def test_wrong_vote_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", LONG.replace("3,2,0", "3,two,0"))
    with pytest.raises(InputError, match=message(path, ", row 2, column 'Annotator-2'", "at least 0, got 'two'")):
        load_emotion_data(train_file=path)
    path = write(tmp_path, "b.csv", LONG)
    with pytest.raises(InputError, match=message(path, ", row 2, column 'Annotator-1'", "a number from 0 to 2, got")):
        load_emotion_data(train_file=path, max_intensity=2)


def test_row_per_rater(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", ROWS)
    with pytest.warns(UserWarning, match=r"6 rows of raters are 2 texts, each label with the share of the raters"):
        data = load_emotion_data(train_file=path, vote_targets="share")
    np.testing.assert_array_equal(targets(data), [[0.5, 0.75], [0, 0.5]])
    with pytest.warns(UserWarning, match=r"the labels that most of its raters gave \(no majority agrees on 1 of them"):
        data = load_emotion_data(train_file=path)
    np.testing.assert_array_equal(targets(data), [[0, 1], [0, 0]])
    assert data.agreement == pytest.approx({"joy": 1 / 6, "love": -1 / 4})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_column_per_rater_with_its_labels(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path,
        "a.jsonl",
        text=["a", "b"],
        rater_1=["joy,love", "fear"],
        rater_2=["joy", "none"],
        rater_3=["love", None],
    )
    data = load_emotion_data(train_file=path, vote_targets="share")
    assert data.label_names == ["fear", "joy", "love"]
    np.testing.assert_allclose(targets(data), np.array([[0, 2, 2], [1.5, 0, 0]]) / 3, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*rows of votes:UserWarning")
def test_votes_of_another_file_are_joined_by_text(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", "id,text,joy,fear,awe\nx,We  won,1,0,1\ny,not voted on,0,1,0\n")
    votes = write(tmp_path, "votes.csv", LONG)
    with pytest.warns(UserWarning, match=r"votes.csv: votes on 1 of 2 training texts are their targets"):
        data = load_emotion_data(train_file=train, votes_file=votes, vote_targets="share")
    assert data.label_names == ["joy", "fear", "awe"]
    np.testing.assert_allclose(targets(data), [[2 / 3, 0, 1], [0, 1, 0]], rtol=1e-6)
    assert set(data.agreement) == {"joy", "fear"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_votes_on_other_texts_are_refused(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", "text,joy,fear\nother,1,0\n")
    votes = write(tmp_path, "votes.csv", LONG)
    with pytest.raises(InputError, match=message(votes, "", "none of its texts is among the training texts")):
        load_emotion_data(train_file=train, votes_file=votes)


def naive_alpha(votes: list[list[int]]) -> float:
    """Krippendorff's alpha from the coincidences of pairs of values."""
    coincidences = np.zeros((2, 2))
    for values in votes:
        for first, second in itertools.permutations(values, 2):
            coincidences[first, second] += 1 / (len(values) - 1)
    totals = coincidences.sum(axis=0)
    expected = 2 * totals[0] * totals[1] / (totals.sum() - 1)
    return float(1 - (coincidences[0, 1] + coincidences[1, 0]) / expected)


def test_alpha_equals_the_one_of_coincidences() -> None:
    rng = np.random.default_rng(0)
    votes = [[int(vote) for vote in rng.random(rng.integers(2, 6)) < 0.3] for _ in range(50)]
    given, asked = np.array([[sum(values)] for values in votes]), np.array([[len(values)] for values in votes])
    assert krippendorff_alpha(given, asked) == pytest.approx([naive_alpha(votes)])
    # The first text has one rater only, and counts for nothing.
    alone = krippendorff_alpha([[1], *given.tolist()], [[1], *asked.tolist()])
    assert alone == pytest.approx([naive_alpha(votes)])
    assert krippendorff_alpha([[3], [0]], [[3], [3]]) == pytest.approx([1.0])
    assert np.isnan(krippendorff_alpha([[0], [0]], [[3], [3]])).all()
