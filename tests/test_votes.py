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
    with pytest.warns(
        UserWarning,
        match=r"votes.csv: votes on 1 of 2 training texts are their targets, joined by text \(column 'text'\)",
    ):
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


TRAIN = "id,text,joy,fear\nx,we lost,1,0\ny,not voted on,0,1\nq,We  won,0,0\n"


@pytest.mark.filterwarnings("ignore:.*rows of raters:UserWarning")
@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ("id", ["q", "q", "z", "x", "x"]),
        ("comment_id", ["q", "q", "z", "x", "x"]),
        ("text,id", ["[NAME] won,q", "[NAME] won,q", "hm,z", "lost,x", "lost,x"]),
        ("text,id", [",q", ",q", ",z", ",x", ",x"]),
        ("tweet,tweet_id", ["a,q", "b,q", "c,z", "d,x", "e,x"]),
    ],
)
def test_votes_are_joined_by_id_where_no_text_matches(tmp_path: Path, columns: str, rows: list[str]) -> None:
    values = ["1,1,0", "2,1,1", "1,0,1", "1,0,1", "2,0,0"]
    lines = [f"{columns},rater_id,joy,fear", *(f"{row},{votes}" for row, votes in zip(rows, values, strict=True))]
    train, votes = write(tmp_path, "train.csv", TRAIN), write(tmp_path, "votes.csv", "\n".join(lines))
    with pytest.warns(UserWarning, match=r"votes on 2 of 3 training texts are their targets, joined by id \(column '"):
        data = load_emotion_data(train_file=train, votes_file=votes, vote_targets="share")
    np.testing.assert_array_equal(targets(data), [[0, 0.5], [0, 1], [1, 0.5]])


@pytest.mark.filterwarnings("ignore:.*votes are 2 texts:UserWarning")
def test_an_id_of_the_text_comes_before_that_of_the_vote(tmp_path: Path) -> None:
    votes = write_jsonl(
        tmp_path, "v.jsonl", id=[2, 3], text_id=[1, 2], rater_1=["joy", "fear"], rater_2=["joy", "joy"]
    )
    train = write_jsonl(tmp_path, "t.jsonl", id=["1", "2", "3"], text=["a", "b", "c"], labels=[["fear"], ["joy"], []])
    with pytest.warns(UserWarning, match=r"joined by id \(column 'id' to 'id'\)"):
        load_emotion_data(train_file=train, votes_file=votes, vote_targets="share")
    train = write_jsonl(
        tmp_path, "t.jsonl", text_id=["1", "2"], id=[9, 8], text=["a", "b"], labels=[["fear"], ["joy"]]
    )
    with pytest.warns(UserWarning, match=r"joined by id \(column 'text_id' to 'text_id'\)"):
        data = load_emotion_data(train_file=train, votes_file=votes, vote_targets="share")
    np.testing.assert_array_equal(targets(data), [[0, 1], [0.5, 0.5]])


@pytest.mark.filterwarnings("ignore:.*rows of raters:UserWarning")
def test_texts_go_before_ids(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", TRAIN)
    votes = write(tmp_path, "votes.csv", "id,text,rater_id,joy,fear\nx,we won,1,1,1\nx,we won,2,1,1\ny,hm,1,1,1\n")
    with pytest.warns(UserWarning, match=r"votes on 1 of 3 training texts are their targets, joined by text"):
        data = load_emotion_data(train_file=train, votes_file=votes)
    np.testing.assert_array_equal(targets(data), [[1, 0], [0, 1], [1, 1]])


@pytest.mark.filterwarnings("ignore:.*rows of raters:UserWarning")
def test_an_id_of_different_texts_joins_none_of_them(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", "id,text,joy,fear\nx,a,0,0\nx,b,0,0\nx,A,0,0\ny,c,0,0\n,d,0,0\n")
    votes = write(tmp_path, "votes.csv", "id,rater_id,joy,fear\nx,1,1,1\ny,1,1,0\ny,2,1,0\n,1,1,1\n")
    with pytest.warns(UserWarning, match=r"votes on 1 of 5 training texts"):
        data = load_emotion_data(train_file=train, votes_file=votes)
    np.testing.assert_array_equal(targets(data), [[0, 0]] * 3 + [[1, 0], [0, 0]])


@pytest.mark.parametrize(
    ("train", "votes", "problems"),
    [
        (TRAIN, "id,text,joy,fear\nz,a,1,0\n", ["(column 'text'); by id: none of its ids", "(column 'id' to 'id')"]),
        (TRAIN, "id,joy,fear\nz,1,0\n", ["it has no text column (text, tweet,", "by id: none of its ids"]),
        (TRAIN, "text,joy,fear\na,1,0\n", ["is among the training texts", "by id: it has no id column (text_id, "]),
        ("text,joy,fear\na,1,0\n", "id,joy,fear\nz,1,0\n", ["no text column", "train.csv has no id column"]),
    ],
)
def test_both_attempts_to_join_are_named(tmp_path: Path, train: str, votes: str, problems: list[str]) -> None:
    paths = write(tmp_path, "train.csv", train), write(tmp_path, "votes.csv", votes)
    with pytest.raises(InputError, match=message(paths[1], "", "no vote is on a training text; by text: ", *problems)):
        load_emotion_data(train_file=paths[0], votes_file=paths[1])


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
