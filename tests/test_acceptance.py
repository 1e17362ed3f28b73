# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.acceptance against plain loops over texts."""

from __future__ import annotations

import math

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
)
from hub.dataset.tweets import TWEET_SCHEMA
from trainer_ext.data.labels import GOEMOTIONS_LABELS

TEACHER = {"teacher": "some/teacher", "teacher_revision": "abc"}
FLAT = [CutOff(0.7)] * 28
CURIOSITY, JOY, SADNESS, NEUTRAL = map(GOEMOTIONS_LABELS.index, ("curiosity", "joy", "sadness", "neutral"))


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
    cut_offs = choose_cut_offs(labels, scores, precision=0.7, least_precision=0.4, min_support=6)
    for label, cut_off in enumerate(cut_offs):
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
    kinds = {(cut_off.value is not None, cut_off.reaches_target) for cut_off in cut_offs}
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


def test_polarity_of_every_emotion() -> None:
    """The groups of the paper: 12 positive, 11 negative, 4 ambiguous, and neutral."""
    assert (len(POSITIVE), len(NEGATIVE)) == (12, 11)
    ambiguous = {"confusion", "curiosity", "realization", "surprise", "neutral"}
    assert {*POSITIVE, *NEGATIVE, *ambiguous} == set(GOEMOTIONS_LABELS)
    negative, neutral, positive = contradicts(np.array([0, 2, 4], dtype=np.int8))
    for label, name in enumerate(GOEMOTIONS_LABELS):
        assert negative[label] == (name in POSITIVE)
        assert positive[label] == (name in NEGATIVE)
        assert neutral[label] == (name not in ambiguous)


def shards(scores: npt.NDArray[np.float16], polarity: list[int]) -> list[tuple[pa.Table, npt.NDArray[np.float16]]]:
    texts = [f"tweet {row}" for row in range(len(polarity))]
    tweets = pa.table([texts, pa.array(polarity, pa.int8())], schema=TWEET_SCHEMA)
    half = len(polarity) // 2
    return [(tweets.slice(0, half), scores[:half]), (tweets.slice(half), scores[half:])]


@pytest.mark.parametrize("check_polarity", [True, False])
def test_accepted_tweets_are_those_of_a_plain_loop(check_polarity: bool) -> None:
    generator = np.random.default_rng(0)
    scores = (generator.random((60, 28)) ** 8).astype(np.float16)
    polarity = generator.choice([0, 2, 4], 60).tolist()
    cut_offs = [CutOff(None if label == 3 else 0.3 + label / 100) for label in range(28)]
    accepted, report = accept_tweets(shards(scores, polarity), cut_offs, **TEACHER, check_polarity=check_polarity)
    rows = accepted.to_pylist()

    expected, num_contradicting, counts = [], 0, np.zeros((3, 28), dtype=int)
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
            if (GOEMOTIONS_LABELS[label] in POSITIVE and polarity[row] != 4)
            or (GOEMOTIONS_LABELS[label] in NEGATIVE and polarity[row] != 0)
        ]
        counts[0, list(values)] += 1
        counts[2, wrong] += check_polarity
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
        ("sentiment140", *TEACHER.values(), "train")
    }
    assert {(row["human_votes"], row["prompt_id"]) for row in rows} == {(None, None)}

    assert (report["tweets"], report["accepted_tweets"]) == (60, len(expected))
    assert report["contradicting_tweets"] == num_contradicting
    assert [entry["reached"] for entry in report["labels"].values()] == counts[0].tolist()
    assert [entry["accepted"] for entry in report["labels"].values()] == counts[1].tolist()
    assert [entry["contradicting"] for entry in report["labels"].values()] == counts[2].tolist()
    assert [entry["value"] for entry in report["labels"].values()] == [cut_off.value for cut_off in cut_offs]


def test_one_contradicting_label_costs_the_tweet() -> None:
    scores = np.zeros((4, 28), dtype=np.float16)
    scores[:, JOY] = 0.9
    scores[1, SADNESS] = 0.8
    scores[2:, CURIOSITY] = 0.75
    rows = accept_tweets(shards(scores, [4, 4, 4, 0]), FLAT, **TEACHER)[0].to_pylist()
    assert [(row["text"], row["labels"]) for row in rows] == [("tweet 0", [JOY]), ("tweet 2", [CURIOSITY, JOY])]
    assert rows[1]["confidence"] == pytest.approx((0.75 - 0.7) / 0.3, abs=1e-6)


def test_neutral_is_accepted_only_alone() -> None:
    scores = np.zeros((3, 28), dtype=np.float16)
    scores[:, NEUTRAL] = 0.9
    scores[1, JOY] = 0.8
    accepted, _ = accept_tweets(shards(scores, [0, 4, 2]), FLAT, **TEACHER)
    assert accepted["labels"].to_pylist() == [[27], [JOY], [27]]


def test_no_tweet_may_be_accepted() -> None:
    accepted, report = accept_tweets(shards(np.zeros((4, 28), dtype=np.float16), [2] * 4), FLAT, **TEACHER)
    assert (accepted.num_rows, report["tweets"], report["accepted_tweets"]) == (0, 4, 0)


def test_easy_label_is_not_accepted_below_its_best_f1() -> None:
    """Eight sure texts would allow four wrong ones at a precision of 0.6."""
    scores = np.linspace(1, 0, 40)[:, None]
    labels = np.zeros((40, 1), dtype=bool)
    labels[:8] = True
    (found,) = choose_cut_offs(labels, scores, precision=0.5, least_precision=0.5, min_support=1)
    assert (found.num_predicted, found.precision) == (8, 1.0)
