# SPDX-License-Identifier: Apache-2.0
"""The stages that lead from raw rows to candidates, one folder of shards each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .acceptance import CutOff, accept_tweets, choose_cut_offs, flat_cut_offs, yield_report
from .arguments import BalancedDatasetArguments
from .deduplication import EvaluationTexts
from .labelling import SCORES_SCHEMA, Scorer, score_shard, scores_array
from .schema import CANDIDATE_SCHEMA, LABEL_NAMES
from .sentiment140 import TWEET_SCHEMA, TweetSource
from .shards import Stage
from .sources import prepare_human, prepare_tweets


class Stages(NamedTuple):
    """
    The folders of the stages.

    Attributes:
        human (`Stage`): Candidates of the sources with human labels.
        tweets (`Stage`): Cleaned tweets.
        validation_scores, tweet_scores (`Stage`): The teacher's scores of validation and of `tweets`.
        accepted (`Stage`): Candidates among the tweets.
    """

    human: Stage
    tweets: Stage
    validation_scores: Stage
    tweet_scores: Stage
    accepted: Stage

    @classmethod
    def of(cls, work: Path) -> Stages:
        """The stages within a folder."""
        schemas = (CANDIDATE_SCHEMA, TWEET_SCHEMA, SCORES_SCHEMA, SCORES_SCHEMA, CANDIDATE_SCHEMA)
        return cls(*(Stage(work / name, schema) for name, schema in zip(cls._fields, schemas, strict=True)))


class Validation(NamedTuple):
    """The official validation split: texts and labels `(num_texts, 28)`."""

    texts: list[str]
    labels: npt.NDArray[np.bool_]


def prepare_sources(
    stages: Stages,
    arguments: BalancedDatasetArguments,
    human: Sequence[pa.Table],
    tweets: TweetSource | None,
    evaluation_texts: Sequence[str],
) -> None:
    """
    Clean and deduplicate all sources; in one process.

    Args:
        stages (`Stages`): `human` and `tweets` are written.
        arguments (`BalancedDatasetArguments`): The recipe.
        human (`Sequence[pa.Table]`): Candidates, see [`human_rows`].
        tweets (`TweetSource`, *optional*): The tweets.
        evaluation_texts (`Sequence[str]`): The texts of validation and test.
    """
    evaluation = EvaluationTexts(pa.array(evaluation_texts, pa.string()), arguments.near_duplicate_threshold)
    key = prepare_human(stages.human, human, evaluation, arguments.shard_size)
    if tweets is not None:
        prepare_tweets(stages.tweets, tweets, stages.human, key, evaluation, arguments.shard_size)


def label_tweets(stages: Stages, scorer: Scorer, shards: Iterable[int]) -> None:
    """Write the scores of these shards of tweets, as far as they are not there."""
    for index in shards:
        score_shard(stages.tweet_scores, index, stages.tweets.read(index)["text"], scorer)


def accept_candidates(
    stages: Stages,
    arguments: BalancedDatasetArguments,
    validation: Validation,
    scorer: Scorer,
    teacher: tuple[str, str],
) -> list[CutOff]:
    """
    Choose the cut-offs and write the candidates among the labelled tweets; in one process.

    Args:
        stages (`Stages`): `validation_scores` and `accepted` are written.
        arguments (`BalancedDatasetArguments`): The recipe.
        validation (`Validation`): What the cut-offs are chosen on.
        scorer (`Scorer`): The teacher that scored the tweets.
        teacher (`tuple[str, str]`): Its name and revision.

    Returns:
        `list[CutOff]`: One per label.
    """
    num_shards = stages.tweets.num_shards() or 0
    stages.tweet_scores.finish(num_shards, scorer.key)
    if arguments.acceptance == "flat":
        cut_offs = flat_cut_offs(arguments.flat_cut_off)
    else:
        score_shard(stages.validation_scores, 0, pa.chunked_array([validation.texts], pa.string()), scorer)
        cut_offs = choose_cut_offs(
            validation.labels,
            scores_array(stages.validation_scores.read(0)),
            precision=arguments.wanted_precision,
            least_precision=arguments.least_precision,
            min_support=arguments.min_support,
        )
    accept_tweets(
        stages.accepted,
        stages.tweets,
        stages.tweet_scores,
        num_shards,
        cut_offs,
        teacher,
        check_polarity=arguments.check_polarity,
    )
    return cut_offs


def candidate_files(stages: Stages, with_tweets: bool) -> list[Path]:
    """The files of all candidates, in `CANDIDATE_SCHEMA`, those with human labels first."""
    parts = [stages.human, stages.accepted] if with_tweets else [stages.human]
    return [stage.path(index) for stage in parts for index in range(stage.num_shards() or 0)]


def sources_report(stages: Stages, with_tweets: bool) -> dict[str, dict[str, int]]:
    """By source: rows read, dropped for each reason, and kept."""
    report: dict[str, dict[str, int]] = {}
    for stage in (stages.human, stages.tweets) if with_tweets else (stages.human,):
        for index in range(stage.num_shards() or 0):
            counts = stage.counts(index)
            totals = report.setdefault(counts.pop("source"), dict.fromkeys(counts, 0))
            for name, count in counts.items():
                totals[name] += count
    return report


def acceptance_report(
    stages: Stages, arguments: BalancedDatasetArguments, cut_offs: Sequence[CutOff], teacher: tuple[str, str]
) -> dict[str, Any]:
    """The teacher, the rule, and per label its cut-off and the tweets it left."""
    rule = {"flat_cut_off": arguments.flat_cut_off}
    if arguments.acceptance == "precision":
        rule = {name: getattr(arguments, name) for name in ("wanted_precision", "least_precision", "min_support")}
    counts = yield_report(stages.accepted)
    labels = counts.pop("labels")
    return {
        "teacher": teacher[0],
        "teacher_revision": teacher[1],
        "acceptance": arguments.acceptance,
        **rule,
        "check_polarity": arguments.check_polarity,
        **counts,
        "labels": {name: asdict(cut_off) | labels[name] for name, cut_off in zip(LABEL_NAMES, cut_offs, strict=True)},
    }
