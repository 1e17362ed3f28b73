# SPDX-License-Identifier: Apache-2.0
"""
The way of a text into the balanced data set: read, clean, deduplicate, label, accept, select, write.

Only the teacher's scores stay between runs; all else is computed again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from tqdm import tqdm

from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.data.loading import load_emotion_data, read_file
from trainer_ext.errors import InputError
from trainer_ext.precision import named_precision
from trainer_ext.reports.plots import figure_png

from .acceptance import CutOff, accept_tweets, choose_cut_offs
from .arguments import BalancedDatasetArguments
from .balancing import Pool, Selection, select_balanced
from .candidates import CANDIDATE_SCHEMA, SOURCES, candidate_rows, label_matrix, read_candidates
from .deduplication import EvaluationTexts, SeenTexts, check_apart, keep_new
from .report import build_report, draw_label_counts, render_card
from .staging import CARD_NAME, FIGURE_NAME, write_dataset_folder
from .teacher import ScoreArray, Scorer, Teacher, cached_scores, load_teacher
from .tweets import clean_tweets, read_tweets_dataset, read_tweets_file, rebatch

_EVALUATION = ("validation", "test")


class Sources(NamedTuple):
    """
    The rows that people or a writer labelled.

    Attributes:
        human (`list[pa.Table]`): Candidates, each table of one source, GoEmotions first.
        evaluation (`dict[str, pa.Table]`): The official splits `validation` and `test`, in the same form.
    """

    human: list[pa.Table]
    evaluation: dict[str, pa.Table]


class CleanRows(NamedTuple):
    """
    Rows worth a label: none twice, none from validation or test.

    Attributes:
        human (`pa.Table`): In [`CANDIDATE_SCHEMA`].
        tweets (`list[pa.Table]`): In [`TWEET_SCHEMA`], in the shards that are scored together.
        counts (`dict[str, dict[str, int]]`): Source to the counts of [`keep_new`].
    """

    human: pa.Table
    tweets: list[pa.Table]
    counts: dict[str, dict[str, int]]


def build_balanced_dataset(arguments: BalancedDatasetArguments, state: PartialState) -> dict[str, Any]:
    """
    Build the data set of a recipe in `output_dir`.

    Every process reads and cleans all rows, which takes seconds, and scores its share of the tweets, which takes
    minutes; the main process does the rest.

    Args:
        arguments ([`BalancedDatasetArguments`]): The recipe.
        state ([`PartialState`]): The processes.

    Returns:
        `dict[str, Any]`: The content of `sources.json`: by source the rows read, dropped and kept (`sources`), and
        with tweets how they were accepted (`tweets`).
    """
    tables = _open_tweets(arguments)
    teacher = None if tables is None else _load_teacher(arguments, state)
    sources = read_sources(arguments)
    progress = tqdm(tables or (), desc="Reading tweets", disable=tables is None or not state.is_main_process)
    rows = clean_rows(sources, progress, arguments)
    candidates = rows.human
    report: dict[str, Any] = {"sources": rows.counts}
    if teacher is not None:
        validation = sources.evaluation["validation"]
        accepted, report["tweets"] = _label_tweets(rows.tweets, validation, teacher, arguments, state)
        candidates = pa.concat_tables([candidates, accepted])
    if state.is_main_process:
        write_balanced_dataset(
            candidates,
            sources.evaluation,
            arguments,
            original=label_matrix(sources.human[0]).sum(axis=0),
            cleaning=rows.counts,
            yields=report.get("tweets", {}),
            files={"sources.json": (json.dumps(report, indent=2) + "\n").encode()},
        )
    return report


def read_sources(arguments: BalancedDatasetArguments) -> Sources:
    """
    Read all sources but the tweets.

    Raises:
        `InputError`: If GoEmotions has no validation or test split, or a file is not as expected.
    """
    data = load_emotion_data(
        dataset_name=arguments.dataset_name,
        dataset_config=arguments.dataset_config,
        dataset_revision=arguments.dataset_revision,
        train_file=arguments.train_file,
        validation_file=arguments.validation_file,
        test_file=arguments.test_file,
        label_names=GOEMOTIONS_LABELS,
    )
    missing = [split for split in _EVALUATION if split not in data.splits]
    if missing:
        raise InputError(f"GoEmotions needs its {missing[0]} split, which stays as it is: set `{missing[0]}_file`.")
    train, *splits = (
        candidate_rows(data.splits[split]["text"], data.splits[split]["labels"], "goemotions", split)
        for split in ("train", *_EVALUATION)
    )
    human = [train]
    for path in arguments.written_files:
        rows, _ = read_file(path, label_names=GOEMOTIONS_LABELS)
        human.append(candidate_rows(rows["text"], rows["labels"], "written"))
    human += [read_candidates(path) for path in arguments.generated_files]
    return Sources(human, dict(zip(_EVALUATION, splits, strict=True)))


def clean_rows(sources: Sources, tweets: Iterable[pa.Table], arguments: BalancedDatasetArguments) -> CleanRows:
    """
    Drop the texts of validation and test and all that occur twice.

    Texts with human labels stay as they are, tweets are cleaned first. Of equal texts the one from the first of
    `SOURCES` stays, of one source the first.

    Args:
        sources ([`Sources`]): The sources but the tweets.
        tweets (`Iterable[pa.Table]`): In [`TWEET_SCHEMA`].
        arguments ([`BalancedDatasetArguments`]): The recipe.
    """
    texts = pa.concat_tables(sources.evaluation.values())["text"].combine_chunks()
    evaluation_texts = EvaluationTexts(texts, arguments.near_duplicate_threshold)
    seen = SeenTexts()
    counts: dict[str, Counter[str]] = {}

    def keep(table: pa.Table, source: str) -> pa.Table:
        kept, numbers = keep_new(table, evaluation_texts, seen)
        counts.setdefault(source, Counter()).update(numbers)
        return kept

    named = [(table["source"][0].as_py(), table) for table in sources.human if table.num_rows]
    named.sort(key=lambda entry: SOURCES.index(entry[0]))
    human = pa.concat_tables([CANDIDATE_SCHEMA.empty_table(), *(keep(table, source) for source, table in named)])
    shards = []
    for shard in rebatch(tweets, arguments.shard_size):
        cleaned = clean_tweets(shard["text"].combine_chunks())
        shards.append(keep(shard.set_column(0, shard.schema.field("text"), cleaned), "sentiment140"))
    return CleanRows(human, shards, {source: dict(numbers) for source, numbers in counts.items()})


def score_shards(
    shards: Sequence[pa.ChunkedArray], scorer: Scorer, folder: Path, state: PartialState
) -> list[ScoreArray]:
    """The teacher's scores of each shard of texts; every process makes its share of those that are missing."""
    share = shards[state.process_index :: state.num_processes]
    for texts in tqdm(share, desc="Labelling shards", disable=not state.is_main_process):
        cached_scores(texts.to_pylist(), scorer, folder)
    state.wait_for_everyone()
    return [cached_scores(texts.to_pylist(), scorer, folder) for texts in shards]


def _label_tweets(
    tweets: Sequence[pa.Table],
    validation: pa.Table,
    teacher: Teacher,
    arguments: BalancedDatasetArguments,
    state: PartialState,
) -> tuple[pa.Table, dict[str, Any]]:
    """The candidates among the tweets; and the teacher, the rule and the yield per label."""
    is_flat = arguments.acceptance == "flat"
    texts = [table["text"] for table in (tweets if is_flat else [*tweets, validation])]
    scores = score_shards(texts, teacher, Path(arguments.output_dir) / "work" / "scores", state)
    if is_flat:
        cut_offs = [CutOff(arguments.flat_cut_off)] * len(GOEMOTIONS_LABELS)
        rule: dict[str, Any] = {"flat_cut_off": arguments.flat_cut_off}
    else:
        cut_offs = choose_cut_offs(
            label_matrix(validation),
            scores.pop(),
            precision=arguments.wanted_precision,
            least_precision=arguments.least_precision,
            min_support=arguments.min_support,
        )
        rule = {name: getattr(arguments, name) for name in ("wanted_precision", "least_precision", "min_support")}
    candidates, counts = accept_tweets(
        list(zip(tweets, scores, strict=True)),
        cut_offs,
        teacher=teacher.name,
        teacher_revision=teacher.revision,
        check_polarity=arguments.check_polarity,
    )
    return candidates, {
        "teacher": teacher.name,
        "teacher_revision": teacher.revision,
        "acceptance": arguments.acceptance,
        **rule,
        "check_polarity": arguments.check_polarity,
        **counts,
    }


def _open_tweets(arguments: BalancedDatasetArguments) -> Iterator[pa.Table] | None:
    if arguments.tweets_file:
        return read_tweets_file(arguments.tweets_file)
    if arguments.tweets_dataset_name:
        return read_tweets_dataset(arguments.tweets_dataset_name, arguments.tweets_dataset_revision)
    return None


def _load_teacher(arguments: BalancedDatasetArguments, state: PartialState) -> Teacher:
    return load_teacher(
        arguments.teacher,
        revision=arguments.teacher_revision,
        device=state.device,
        precision=named_precision(arguments.precision, state.device.type),
        tokens_per_batch=arguments.tokens_per_batch,
    )


def write_balanced_dataset(
    candidates: pa.Table,
    evaluation: Mapping[str, pa.Table],
    arguments: BalancedDatasetArguments,
    *,
    original: npt.NDArray[np.int64],
    cleaning: Mapping[str, Mapping[str, int]],
    yields: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """
    Select from candidates and write `train.parquet`, `train_augmented.parquet` (all candidates of the first source and
    the rows selected of the others), `validation.parquet`, `test.parquet`, `report.json`, the card and its figure.

    Args:
        candidates (`pa.Table`): In [`CANDIDATE_SCHEMA`].
        evaluation (`Mapping[str, pa.Table]`): `validation` and `test`, likewise.
        arguments ([`BalancedDatasetArguments`]): The recipe.
        original (`np.ndarray` of shape `(num_labels,)`): See [`build_report`].
        cleaning (`Mapping[str, Mapping[str, int]]`): Source to the counts of [`keep_new`].
        yields (`Mapping[str, Any]`): The report of [`accept_tweets`] and its settings; empty without tweets.
        files (`Mapping[str, bytes]`, *optional*): Name to content of further files.

    Returns:
        `dict[str, Any]`: The content of `report.json`.

    Raises:
        `InputError`: If there is no candidate, or a training text is in validation or test.
        `OSError`: If the folder cannot be written.
    """
    pool = Pool.of(candidates, arguments.seed)
    selection = select_balanced(
        pool, target=arguments.target, tolerance=arguments.tolerance, max_copies=arguments.max_copies
    )
    train = selected_rows(candidates, selection)
    splits = {"train": train, "train_augmented": augmented_rows(candidates, train), **evaluation}
    check_apart({name: splits[name] for name in ("train", "train_augmented")}, evaluation.values())
    report = build_report(pool, selection, train, evaluation, original) | {
        "cleaning": cleaning,
        "yields": yields,
        "settings": {name: getattr(arguments, name) for name in ("target", "tolerance", "max_copies", "seed")},
    }
    folder = Path(arguments.output_dir)
    card, figure = render_card(report, folder.name), figure_png(draw_label_counts(report))
    write_dataset_folder(folder, splits, report, {CARD_NAME: card.encode(), FIGURE_NAME: figure, **(files or {})})
    return report


def selected_rows(candidates: pa.Table, selection: Selection) -> pa.Table:
    """
    The chosen candidates in the order of the selection; where a row is taken more than once, a column `copy` counts
    the copies of a text from 0.
    """
    table = candidates.take(np.repeat(selection.indices, selection.copies))
    if selection.copies.max() == 1:
        return table
    firsts = np.cumsum(selection.copies) - selection.copies
    copies = np.arange(len(table)) - np.repeat(firsts, selection.copies)
    return table.append_column("copy", pa.array(copies, pa.int32()))


def augmented_rows(candidates: pa.Table, selected: pa.Table) -> pa.Table:
    """All candidates of the first source, then the rows selected of the others: the gain of that source by them."""
    is_first = pc.field("source") == SOURCES[0]
    is_added = ~is_first & (pc.field("copy") == 0) if "copy" in selected.column_names else ~is_first
    return pa.concat_tables([candidates.filter(is_first), selected.filter(is_added).select(CANDIDATE_SCHEMA.names)])
