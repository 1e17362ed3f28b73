# SPDX-License-Identifier: Apache-2.0
"""Which of a teacher's labels are believed: cut-offs with a known precision, and the tweet's polarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainer_ext.errors import InputError
from trainer_ext.evaluation.intervals import wilson_interval

from .labelling import scores_array
from .schema import CANDIDATE_SCHEMA, LABEL_NAMES
from .shards import Stage, digest
from .sources import label_lists

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

# To be raised whenever the rule changes.
_VERSION = 1
_NEUTRAL = LABEL_NAMES.index("neutral")

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CutOff:
    """
    From which score on a label is accepted, and what the validation split says of it.

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
    labels: BoolArray,
    scores: npt.ArrayLike,
    *,
    precision: float,
    least_precision: float,
    min_support: int,
    z: float = 1.0,
) -> list[CutOff]:
    """
    Find each label's lowest cut-off whose precision is high enough.

    What has to reach the wanted precision is the lower end of the Wilson interval (Wilson, 1927, Probable Inference,
    the Law of Succession, and Statistical Inference), so that three lucky texts are not enough. A label that does not
    reach it gets the cut-off with the highest lower bound, if that is at least `least_precision`. No cut-off is below
    the one with the best F1: where a label is easy, its many sure texts would pay for a long tail of wrong ones.
    Precisions hold for texts like those of the split; where a teacher's best epoch was chosen on it, they are a little
    too good.

    Args:
        labels (`np.ndarray` of shape `(num_texts, num_labels)`): Gold labels of the validation split.
        scores (`ArrayLike` of shape `(num_texts, num_labels)`): The teacher's scores.
        precision (`float`): Wanted precision, in (0, 1).
        least_precision (`float`): The least lower bound that is accepted, in (0, `precision`].
        min_support (`int`): Texts that a cut-off has to accept, at least 1.
        z (`float`, *optional*, defaults to 1.0): Half the width of the interval in standard errors.

    Returns:
        `list[CutOff]`: One per label.

    Raises:
        ValueError: An argument is out of its range.
    """
    if not 0 < least_precision <= precision < 1:
        raise InputError(f"Expected 0 < `least_precision` <= `precision` < 1, got {least_precision} and {precision}.")
    if min_support < 1:
        raise InputError(f"`min_support` must be at least 1, got {min_support}.")
    columns = zip(labels.T, np.asarray(scores, dtype=np.float64).T, strict=True)
    return [_cut_off(gold, column, precision, least_precision, min_support, z) for gold, column in columns]


def _cut_off(
    gold: BoolArray, scores: FloatArray, precision: float, least_precision: float, min_support: int, z: float
) -> CutOff:
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    num_predicted = np.arange(1, len(ordered) + 1)
    num_right = np.cumsum(gold[order])
    shares = num_right / num_predicted
    bounds, _ = wilson_interval(shares, num_predicted, z)
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


def flat_cut_offs(value: float) -> list[CutOff]:
    """The same cut-off for all labels; in the paper (arXiv 2511.14073) a score above 0.7."""
    if not 0 < value < 1:
        raise InputError(f"`flat_cut_off` must be between 0 and 1, got {value}.")
    return [CutOff(value)] * len(LABEL_NAMES)


def contradicts(polarity: npt.NDArray[np.int8]) -> BoolArray:
    """
    Which labels contradict each tweet's polarity, `(num_tweets, 28)`.

    Positive emotions contradict the polarities 0 and 2, negative ones 4 and 2; ambiguous ones and neutral none.
    """
    is_positive = np.isin(LABEL_NAMES, POSITIVE)
    is_negative = np.isin(LABEL_NAMES, NEGATIVE)
    return (is_positive & (polarity[:, None] != 4)) | (is_negative & (polarity[:, None] != 0))


def accept_tweets(
    accepted: Stage,
    tweets: Stage,
    scores: Stage,
    num_shards: int,
    cut_offs: Sequence[CutOff],
    teacher: tuple[str, str],
    check_polarity: bool = True,
) -> str:
    """
    Write the candidates among the tweets, shard by shard.

    A tweet's labels are those whose scores reach their cut-offs; neutral, which says that there is no emotion, only
    where it is alone. It is accepted if it has any and, with
    `check_polarity`, none of them contradicts its polarity: to drop that label alone would leave a text whose labels
    are known to be doubtful. Its confidence is how far the weakest label is above its cut-off, as a share of what is
    left up to 1.

    Args:
        accepted (`Stage`): With `CANDIDATE_SCHEMA`.
        tweets, scores (`Stage`): Shards of the tweets and of their scores.
        num_shards (`int`): How many of each.
        cut_offs (`Sequence[CutOff]`): One per label.
        teacher (`tuple[str, str]`): Its name and revision.
        check_polarity (`bool`, *optional*, defaults to `True`): See above.

    Returns:
        `str`: The key of the stage.
    """
    values = [cut_off.value for cut_off in cut_offs]
    keys = [[stage.key(index) for stage in (tweets, scores)] for index in range(num_shards)]
    key = digest(_VERSION, keys, values, teacher, check_polarity)
    limits = np.array([np.inf if value is None else value for value in values])
    for index in range(num_shards):
        shard_key = digest(_VERSION, keys[index], values, teacher, check_polarity)
        if not accepted.has(index, shard_key):
            table, counts = _accept(tweets.read(index), scores.read(index), limits, teacher, check_polarity)
            accepted.write(index, shard_key, table, counts)
    accepted.finish(num_shards, key)
    return key


def _accept(
    tweets: pa.Table, scores: pa.Table, limits: FloatArray, teacher: tuple[str, str], check_polarity: bool
) -> tuple[pa.Table, dict[str, Any]]:
    values = scores_array(scores).astype(np.float64)
    reached = values >= limits
    reached[:, _NEUTRAL] &= reached.sum(axis=1) == 1
    wrong = reached & contradicts(tweets["polarity"].to_numpy()) if check_polarity else np.zeros_like(reached)
    keep = np.asarray(reached.any(axis=1) & ~wrong.any(axis=1))
    counts = {"reached": reached, "contradicting": wrong, "accepted": reached[keep]}
    labels = reached[keep]
    finite = np.where(np.isfinite(limits), limits, 0.0)
    margins = np.where(labels, (values[keep] - finite) / (1 - finite), np.inf)
    kept = tweets.filter(pa.array(keep))
    num_rows = kept.num_rows
    columns = {
        "text": kept["text"],
        "labels": label_lists(labels),
        "source": pa.repeat("sentiment140", num_rows),
        "confidence": pa.array(margins.min(axis=1, initial=1.0), pa.float32()),
        "teacher": pa.repeat(teacher[0], num_rows),
        "teacher_revision": pa.repeat(teacher[1], num_rows),
        "teacher_scores": scores["scores"].filter(pa.array(keep)),
        "human_votes": pa.nulls(num_rows, pa.string()),
        "prompt_id": pa.nulls(num_rows, pa.string()),
        "split": pa.repeat("train", num_rows),
    }
    return pa.table(columns).cast(CANDIDATE_SCHEMA), {
        "tweets": len(keep),
        "accepted_tweets": num_rows,
        "contradicting_tweets": int(wrong.any(axis=1).sum()),
        **{name: found.sum(axis=0).tolist() for name, found in counts.items()},
    }


def yield_report(accepted: Stage) -> dict[str, Any]:
    """
    What acceptance left.

    Returns:
        `dict[str, Any]`: `tweets`, `accepted_tweets`, `contradicting_tweets`, and in `labels` per label the tweets
        with a score up to its cut-off (`reached`), those of them whose polarity it contradicts (`contradicting`), and
        those that are candidates (`accepted`).
    """
    counts = [accepted.counts(index) for index in range(accepted.num_shards() or 0)]
    totals = {name: np.sum([entry[name] for entry in counts], axis=0).tolist() for name in counts[0]}
    kinds = {name: totals.pop(name) for name in ("reached", "contradicting", "accepted")}
    labels = {name: {kind: values[label] for kind, values in kinds.items()} for label, name in enumerate(LABEL_NAMES)}
    return {**totals, "labels": labels}
