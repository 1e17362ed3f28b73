# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.acceptance against plain loops over texts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from hub.dataset.acceptance import (
    NEGATIVE,
    POSITIVE,
    CutOff,
    accept_tweets,
    choose_cut_offs,
    contradicts,
    flat_cut_offs,
    yield_report,
)
from hub.dataset.labelling import SCORES_SCHEMA
from hub.dataset.schema import CANDIDATE_SCHEMA, LABEL_NAMES
from hub.dataset.sentiment140 import TWEET_SCHEMA
from hub.dataset.shards import Stage

TEACHER = ("some/teacher", "abc")
CURIOSITY, JOY, SADNESS, NEUTRAL = map(LABEL_NAMES.index, ("curiosity", "joy", "sadness", "neutral"))


def bound(num_right: int, num_predicted: int, z: float) -> float:
    """The smaller root p of (share - p)^2 = z^2 p (1 - p) / n, the definition of Wilson's interval."""
    share, factor = num_right / num_predicted, z**2 / num_predicted
    a, b, c = 1 + factor, -(2 * share + factor), share**2
    return (-b - math.sqrt(max(b**2 - 4 * a * c, 0))) / (2 * a)


def expected_cut_off(
    gold: list[bool], scores: list[float], precision: float, least: float, min_support: int
) -> float | None:
    bounds, f1 = {}, {}
    for value in set(scores):
        chosen = [is_right for is_right, score in zip(gold, scores, strict=True) if score >= value]
        f1[value] = sum(chosen) / (len(chosen) + sum(gold))
        if len(chosen) >= min_support:
            bounds[value] = bound(sum(chosen), len(chosen), 1.0)
    lowest = max(value for value in f1 if f1[value] == max(f1.values()))
    bounds = {value: low for value, low in bounds.items() if value >= lowest}
    reaching = [value for value, low in bounds.items() if low >= precision]
    if reaching:
        return min(reaching)
    best = max(bounds, key=lambda value: bounds[value], default=None)
    return best if best is not None and bounds[best] >= least else None


def test_cut_offs_are_those_of_a_plain_loop() -> None:
    generator = np.random.default_rng(0)
    scores = np.round(generator.random((120, 28)), 2).astype(np.float16)
    quality = np.linspace(0, 3, 28)
    labels = generator.random((120, 28)) < scores.astype(np.float64) ** 2 * quality
    found = choose_cut_offs(labels, scores, precision=0.7, least_precision=0.4, min_support=6)
    for label, cut_off in enumerate(found):
        gold, column = labels[:, label].tolist(), scores[:, label].astype(float).tolist()
        value = expected_cut_off(gold, column, 0.7, 0.4, 6)
        assert cut_off.value == value
        if value is None:
            assert cut_off == CutOff(None)
            continue
        chosen = [is_right for is_right, score in zip(gold, column, strict=True) if score >= value]
        assert cut_off.num_predicted == len(chosen) >= 6
        assert cut_off.precision == pytest.approx(sum(chosen) / len(chosen))
        assert cut_off.lower_bound == pytest.approx(bound(sum(chosen), len(chosen), 1.0))
        assert cut_off.reaches_target == (cut_off.lower_bound >= 0.7)
    kinds = {(cut_off.value is not None, cut_off.reaches_target) for cut_off in found}
    assert kinds == {(False, False), (True, False), (True, True)}


def test_label_without_positives_is_never_accepted() -> None:
    scores = np.tile(np.linspace(0, 1, 50)[:, None], (1, 28))
    labels = np.zeros((50, 28), dtype=bool)
    labels[25:, 0] = True
    found = choose_cut_offs(labels, scores, precision=0.6, least_precision=0.3, min_support=1)
    assert found[0].value is not None
    assert found[1:] == [CutOff(None)] * 27
    # Too few texts for the support.
    assert choose_cut_offs(labels, scores, precision=0.6, least_precision=0.3, min_support=51)[0] == CutOff(None)


@pytest.mark.parametrize(
    ("precision", "least", "support", "message"),
    [
        (0.5, 0.6, 1, r"0 < `least_precision` <= `precision` < 1, got 0\.6 and 0\.5"),
        (1.0, 0.6, 1, "got 0.6 and 1.0"),
        (0.5, 0.0, 1, "got 0.0 and 0.5"),
        (0.5, 0.4, 0, "`min_support` must be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range(precision: float, least: float, support: int, message: str) -> None:
    empty: npt.NDArray[np.bool_] = np.zeros((1, 28), dtype=bool)
    with pytest.raises(ValueError, match=message):
        choose_cut_offs(empty, empty, precision=precision, least_precision=least, min_support=support)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_flat_cut_off_out_of_range(value: float) -> None:
    with pytest.raises(ValueError, match="`flat_cut_off` must be between 0 and 1, got"):
        flat_cut_offs(value)


def test_polarity_of_every_emotion() -> None:
    """The groups of the paper: 12 positive, 11 negative, 4 ambiguous, and neutral."""
    assert (len(POSITIVE), len(NEGATIVE)) == (12, 11)
    ambiguous = {"confusion", "curiosity", "realization", "surprise", "neutral"}
    assert {*POSITIVE, *NEGATIVE, *ambiguous} == set(LABEL_NAMES)
    negative, neutral, positive = contradicts(np.array([0, 2, 4], dtype=np.int8))
    for label, name in enumerate(LABEL_NAMES):
        assert negative[label] == (name in POSITIVE)
        assert positive[label] == (name in NEGATIVE)
        assert neutral[label] == (name not in ambiguous)


def stages(folder: Path, scores: npt.NDArray[np.float16], polarity: list[int]) -> tuple[Stage, Stage, Stage]:
    tweets, scored = Stage(folder / "tweets", TWEET_SCHEMA), Stage(folder / "scores", SCORES_SCHEMA)
    half = len(polarity) // 2
    for index, rows in enumerate((slice(0, half), slice(half, None))):
        texts = [f"tweet {row}" for row in range(len(polarity))][rows]
        tweets.write(index, f"t{index}", pa.table({"text": texts, "polarity": pa.array(polarity[rows], pa.int8())}))
        scored.write(index, f"s{index}", pa.table({"scores": scores[rows].tolist()}, schema=SCORES_SCHEMA))
    return Stage(folder / "accepted", CANDIDATE_SCHEMA), tweets, scored


@pytest.mark.parametrize("check_polarity", [True, False])
def test_accepted_tweets_are_those_of_a_plain_loop(tmp_path: Path, check_polarity: bool) -> None:
    generator = np.random.default_rng(0)
    scores = (generator.random((60, 28)) ** 8).astype(np.float16)
    polarity = generator.choice([0, 2, 4], 60).tolist()
    cut_offs = [CutOff(None if label == 3 else 0.3 + label / 100) for label in range(28)]
    accepted, tweets, scored = stages(tmp_path, scores, polarity)
    key = accept_tweets(accepted, tweets, scored, 2, cut_offs, TEACHER, check_polarity=check_polarity)
    assert accepted.num_shards(key) == 2
    rows = [row for index in range(2) for row in accepted.read(index).to_pylist()]

    expected, num_contradicting, counts = [], 0, np.zeros((2, 28), dtype=int)
    for row in range(60):
        values = {
            label: float(scores[row, label])
            for label in range(28)
            if label != 3 and scores[row, label].astype(float) >= 0.3 + label / 100
        }
        if len(values) > 1:
            values.pop(NEUTRAL, None)
        wrong = [
            label
            for label in values
            if (LABEL_NAMES[label] in POSITIVE and polarity[row] != 4)
            or (LABEL_NAMES[label] in NEGATIVE and polarity[row] != 0)
        ]
        counts[0, list(values)] += 1
        num_contradicting += bool(wrong) and check_polarity
        if values and not (wrong and check_polarity):
            counts[1, list(values)] += 1
            margin = min((score - 0.3 - label / 100) / (0.7 - label / 100) for label, score in values.items())
            expected.append((f"tweet {row}", sorted(values), margin, scores[row].tolist()))
    found = [
        (row["text"], row["labels"], pytest.approx(row["confidence"], abs=1e-6), row["teacher_scores"]) for row in rows
    ]
    assert expected == found
    assert 5 < len(expected) < 60
    assert {(row["source"], row["teacher"], row["teacher_revision"], row["split"]) for row in rows} == {
        ("sentiment140", *TEACHER, "train")
    }
    assert {(row["human_votes"], row["prompt_id"]) for row in rows} == {(None, None)}

    report = yield_report(accepted)
    assert (report["tweets"], report["accepted_tweets"]) == (60, len(expected))
    assert report["contradicting_tweets"] == num_contradicting
    assert [entry["reached"] for entry in report["labels"].values()] == counts[0].tolist()
    assert [entry["accepted"] for entry in report["labels"].values()] == counts[1].tolist()


def test_one_contradicting_label_costs_the_tweet(tmp_path: Path) -> None:
    scores = np.zeros((4, 28), dtype=np.float16)
    scores[:, JOY] = 0.9
    scores[1, SADNESS] = 0.8
    scores[2:, CURIOSITY] = 0.75
    accepted, tweets, scored = stages(tmp_path, scores, [4, 4, 4, 0])
    accept_tweets(accepted, tweets, scored, 2, flat_cut_offs(0.7), TEACHER)
    rows = [row for index in range(2) for row in accepted.read(index).to_pylist()]
    assert [(row["text"], row["labels"]) for row in rows] == [("tweet 0", [JOY]), ("tweet 2", [CURIOSITY, JOY])]
    assert rows[1]["confidence"] == pytest.approx((0.75 - 0.7) / 0.3, abs=1e-6)


def test_neutral_is_accepted_only_alone(tmp_path: Path) -> None:
    scores = np.zeros((3, 28), dtype=np.float16)
    scores[:, NEUTRAL] = 0.9
    scores[1, JOY] = 0.8
    accepted, tweets, scored = stages(tmp_path, scores, [0, 4, 2])
    accept_tweets(accepted, tweets, scored, 2, flat_cut_offs(0.7), TEACHER)
    assert [row["labels"] for index in range(2) for row in accepted.read(index).to_pylist()] == [[27], [JOY], [27]]


def test_easy_label_is_not_accepted_below_its_best_f1() -> None:
    """Eight sure texts would allow four wrong ones at a precision of 0.6."""
    scores = np.linspace(1, 0, 40)[:, None]
    labels = np.zeros((40, 1), dtype=bool)
    labels[:8] = True
    (found,) = choose_cut_offs(labels, scores, precision=0.5, least_precision=0.5, min_support=1)
    assert (found.num_predicted, found.precision) == (8, 1.0)


def test_nothing_is_accepted_twice_and_other_cut_offs_are_another_stage(tmp_path: Path) -> None:
    scores = np.full((4, 28), 0.9, dtype=np.float16)
    accepted, tweets, scored = stages(tmp_path, scores, [2, 2, 2, 2])
    key = accept_tweets(accepted, tweets, scored, 2, flat_cut_offs(0.7), TEACHER, check_polarity=False)
    times = [accepted.path(index).stat().st_mtime_ns for index in range(2)]
    assert accept_tweets(accepted, tweets, scored, 2, flat_cut_offs(0.7), TEACHER, check_polarity=False) == key
    assert [accepted.path(index).stat().st_mtime_ns for index in range(2)] == times
    assert accept_tweets(accepted, tweets, scored, 2, flat_cut_offs(0.95), TEACHER, check_polarity=False) != key
    assert [accepted.read(index).num_rows for index in range(2)] == [0, 0]
    assert yield_report(accepted)["accepted_tweets"] == 0
