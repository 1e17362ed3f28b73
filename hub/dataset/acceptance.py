# SPDX-License-Identifier: Apache-2.0
"""Which of a teacher's labels are believed: cut-offs with a known precision, and the tweet's polarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.evaluation.intervals import wilson_interval

from .candidates import CANDIDATE_SCHEMA, candidate_rows
from .teacher import ScoreArray

POSITIVE = (
    *("admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude", "joy", "love"),
    *("optimism", "pride", "relief"),
)
"""Positive emotions (Demszky et al., 2020, GoEmotions, figure 2)."""

NEGATIVE = (
    *("anger", "annoyance", "disappointment", "disapproval", "disgust", "embarrassment", "fear", "grief"),
    *("nervousness", "remorse", "sadness"),
)
"""Negative emotions (ibid.); the others, confusion, curiosity, realization, surprise and neutral, are ambiguous."""

_NEUTRAL = GOEMOTIONS_LABELS.index("neutral")
# Half the width of an interval in standard errors.
_Z = 1.0

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CutOff:
    """
    From which score on a label is accepted, and how that works on the validation split.

    Attributes:
        value (`float`, *optional*): Lowest accepted score; `None` where the label is never accepted.
        num_predicted (`int`): Validation texts with such a score.
        precision (`float`, *optional*): Share of them that have the label; `None` without any.
        lower_bound (`float`, *optional*): Lower end of that share's Wilson interval.
        reaches_target (`bool`): Whether the lower bound is at least the wanted precision.
    """

    value: float | None
    num_predicted: int = 0
    precision: float | None = None
    lower_bound: float | None = None
    reaches_target: bool = False


def choose_cut_offs(
    labels: BoolArray, scores: npt.ArrayLike, *, precision: float, least_precision: float, min_support: int
) -> list[CutOff]:
    """
    Find each label's lowest cut-off whose precision is high enough.

    It is the lower end of the Wilson interval that has to reach the wanted precision, so that three lucky texts are
    not enough. A label that does not reach it gets the cut-off with the highest lower bound, if that is at least
    `least_precision`. No cut-off is below the one with the best F1: where a label is easy, its many sure texts would
    pay for a long tail of wrong ones. Precisions hold for texts like those of the split; where a teacher's best epoch
    was chosen on it, they are a little too good.

    Args:
        labels (`np.ndarray` of shape `(num_texts, num_labels)`): Gold labels of the validation split.
        scores (`ArrayLike` of shape `(num_texts, num_labels)`): The teacher's scores.
        precision (`float`): Wanted precision, in (0, 1).
        least_precision (`float`): The least lower bound that is accepted, in (0, `precision`].
        min_support (`int`): Texts that a cut-off has to accept, at least 1.

    Returns:
        `list[CutOff]`: One per label.
    """
    columns = zip(labels.T, np.asarray(scores, dtype=np.float64).T, strict=True)
    return [_cut_off(gold, column, precision, least_precision, min_support) for gold, column in columns]


def _cut_off(
    gold: BoolArray, scores: FloatArray, precision: float, least_precision: float, min_support: int
) -> CutOff:
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    num_predicted = np.arange(1, len(ordered) + 1)
    num_right = np.cumsum(gold[order])
    shares = num_right / num_predicted
    bounds, _ = wilson_interval(shares, num_predicted, _Z)
    # Texts of equal score are accepted together.
    is_cut = np.append(ordered[1:] < ordered[:-1], True)
    best_f1 = int(np.argmax(np.where(is_cut, num_right / (num_predicted + gold.sum()), -1.0)))
    is_possible = is_cut & (num_predicted >= min_support) & (num_predicted <= num_predicted[best_f1])
    reaching = np.flatnonzero(is_possible & (bounds >= precision))
    best = reaching[-1] if len(reaching) else int(np.argmax(np.where(is_possible, bounds, -1.0)))
    if not is_possible[best] or bounds[best] < least_precision:
        return CutOff(None)
    return CutOff(
        float(ordered[best]), int(num_predicted[best]), float(shares[best]), float(bounds[best]), len(reaching) > 0
    )


def contradicts(polarity: npt.NDArray[np.int8]) -> BoolArray:
    """
    Which labels contradict each tweet's polarity, `(num_tweets, 28)`.

    Positive emotions contradict the polarities 0 and 2, negative ones 4 and 2; ambiguous ones and neutral none.
    """
    is_positive = np.isin(GOEMOTIONS_LABELS, POSITIVE)
    is_negative = np.isin(GOEMOTIONS_LABELS, NEGATIVE)
    return (is_positive & (polarity[:, None] != 4)) | (is_negative & (polarity[:, None] != 0))


def accept_tweets(
    shards: Sequence[tuple[pa.Table, ScoreArray]],
    cut_offs: Sequence[CutOff],
    *,
    teacher: str,
    teacher_revision: str,
    check_polarity: bool = True,
) -> tuple[pa.Table, dict[str, Any]]:
    """
    Make candidates of the tweets that have believable labels.

    A tweet's labels are those whose scores reach their cut-offs; neutral, which says that there is no emotion, only
    where it is alone. It is accepted if it has any and, with `check_polarity`, none of them contradicts its polarity:
    to drop that label alone would leave a text whose labels are known to be doubtful. Its confidence is how far the
    weakest label is above its cut-off, as a share of the way up to 1.

    Args:
        shards (`Sequence[tuple[pa.Table, np.ndarray]]`): Tables of `TWEET_SCHEMA`, each with its scores.
        cut_offs (`Sequence[CutOff]`): One per label.
        teacher (`str`), teacher_revision (`str`): Who gave the scores.
        check_polarity (`bool`, *optional*, defaults to `True`): See above.

    Returns:
        `tuple[pa.Table, dict[str, Any]]`: The candidates, and a report that JSON can hold: `tweets`,
        `accepted_tweets`, `contradicting_tweets`, and in `labels` per label its [`CutOff`], the tweets whose
        score reaches it (`reached`), those of them whose polarity the label contradicts (`contradicting`), and those
        that are candidates (`accepted`).
    """
    limits = np.array([np.inf if cut_off.value is None else cut_off.value for cut_off in cut_offs])
    tables = [CANDIDATE_SCHEMA.empty_table()]
    counts = {kind: np.zeros(len(cut_offs), dtype=np.int64) for kind in ("reached", "contradicting", "accepted")}
    num_tweets = num_contradicting = 0
    for tweets, scores in shards:
        values = scores.astype(np.float64)
        reached = values >= limits
        reached[:, _NEUTRAL] &= reached.sum(axis=1) == 1
        wrong = reached & contradicts(tweets["polarity"].to_numpy()) & check_polarity
        is_accepted = reached.any(axis=1) & ~wrong.any(axis=1)
        labels = reached[is_accepted]
        tables.append(
            candidate_rows(
                tweets["text"].filter(pa.array(is_accepted)),
                labels,
                "sentiment140",
                confidence=_confidence(values[is_accepted], labels, limits),
                teacher=teacher,
                teacher_revision=teacher_revision,
                teacher_scores=pa.FixedSizeListArray.from_arrays(scores[is_accepted].reshape(-1), len(limits)),
            )
        )
        for kind, rows in (("reached", reached), ("contradicting", wrong), ("accepted", labels)):
            counts[kind] += rows.sum(axis=0)
        num_tweets += tweets.num_rows
        num_contradicting += int(wrong.any(axis=1).sum())
    candidates = pa.concat_tables(tables)
    by_label = {
        name: asdict(cut_off) | {kind: int(totals[label]) for kind, totals in counts.items()}
        for label, (name, cut_off) in enumerate(zip(GOEMOTIONS_LABELS, cut_offs, strict=True))
    }
    return candidates, {
        "tweets": num_tweets,
        "accepted_tweets": candidates.num_rows,
        "contradicting_tweets": num_contradicting,
        "labels": by_label,
    }


def _confidence(values: FloatArray, labels: BoolArray, limits: FloatArray) -> npt.NDArray[np.float32]:
    """How far each row's weakest label is above its cut-off."""
    finite = np.where(np.isfinite(limits), limits, 0.0)
    margins = np.where(labels, (values - finite) / (1 - finite), np.inf)
    return margins.min(axis=1, initial=1.0).astype(np.float32)
