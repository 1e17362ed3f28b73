# SPDX-License-Identifier: Apache-2.0
"""
Build an even, multi-label data set from GoEmotions, written texts and labelled tweets.

Usage:
    python -m scripts.build_balanced_dataset RECIPE.yaml [--field value ...]
    accelerate launch -m scripts.build_balanced_dataset RECIPE.yaml [--field value ...]

Stages keep their shards in `<output_dir>/work`: a run that was stopped goes on where it was, with the same result.
Several processes share the labelling. Leaves the data set in `output_dir`: a Parquet file per split, its card, figure
and `report.json`, and `sources.json`: what was read, dropped and accepted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hub.dataset.arguments import BalancedDatasetArguments
from scripts._command import command
from trainer_ext.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from hub.dataset.candidates import Stages, Validation
    from hub.dataset.labelling import Teacher
    from hub.dataset.sentiment140 import TweetSource

# The others wait while one process cleans millions of rows.
_PATIENCE = timedelta(hours=12)


class _Inputs(NamedTuple):
    """What is read before any stage: candidates with human labels, GoEmotions first, and the official splits."""

    human: list[pa.Table]
    validation: Validation
    evaluation: dict[str, pa.Table]


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    lines = []
    for entry in fields(BalancedDatasetArguments):
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        default = "outputs/<name of the recipe>" if default is MISSING else default
        lines.append(f"  --{entry.name:<26} {entry.metadata['help'].rstrip('.')}. (default: {default})")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.build_balanced_dataset",
        usage="%(prog)s RECIPE.yaml [--field value ...]",
        description=__doc__,
        epilog="fields, in the recipe or on the command line:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE.yaml", help="such as scripts/datasets/goemotions_balanced.yaml")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the stages that are not done; returns what is in `sources.json`."""
    options, overrides = make_parser().parse_known_args(argv)

    import transformers
    from accelerate import PartialState

    from hub.dataset.candidates import Stages
    from trainer_ext.recipe import load_fields

    transformers.logging.disable_progress_bar()
    groups = {"dataset": BalancedDatasetArguments}
    arguments: BalancedDatasetArguments = load_fields(options.recipe, groups, overrides)["dataset"]
    state = PartialState(timeout=_PATIENCE)
    stages = Stages.of(Path(arguments.output_dir) / "work")
    return _build(arguments, stages, state)


def _build(arguments: BalancedDatasetArguments, stages: Stages, state: Any) -> dict[str, Any]:
    from hub.dataset.candidates import accept_candidates, acceptance_report, label_tweets, prepare_sources
    from hub.dataset.candidates import sources_report as summarise
    from hub.dataset.shards import write_text

    tweets = _open_tweets(arguments)
    teacher = None if tweets is None else _load_teacher(arguments, state)
    if state.is_main_process:
        inputs = _read_inputs(arguments)
        with_progress = tweets and tweets._replace(tables=_progress(tweets.tables, "Reading tweets"))
        texts = [text for rows in inputs.evaluation.values() for text in rows["text"].to_pylist()]
        prepare_sources(stages, arguments, inputs.human, with_progress, texts)
    state.wait_for_everyone()
    report: dict[str, Any] = {}
    if teacher is not None:
        shards = range(state.process_index, stages.tweets.num_shards() or 0, state.num_processes)
        label_tweets(stages, teacher, _progress(shards, "Labelling shards", disable=not state.is_main_process))
        state.wait_for_everyone()
    if not state.is_main_process:
        return report
    report["sources"] = summarise(stages, with_tweets=teacher is not None)
    if teacher is not None:
        names = (teacher.name, teacher.revision)
        cut_offs = accept_candidates(stages, arguments, inputs.validation, teacher, names)
        report["tweets"] = acceptance_report(stages, arguments, cut_offs, names)
    write_text(Path(arguments.output_dir) / "sources.json", json.dumps(report, indent=2) + "\n")
    _print(report)
    _finish(arguments, stages, inputs, report)
    return report


def _read_inputs(arguments: BalancedDatasetArguments) -> _Inputs:
    import numpy as np

    from hub.dataset.candidates import Validation
    from hub.dataset.schema import LABEL_NAMES
    from hub.dataset.sources import human_rows, read_candidates
    from trainer_ext.data.loading import load_emotion_data, read_file

    data = load_emotion_data(
        dataset_name=arguments.dataset_name,
        dataset_config=arguments.dataset_config,
        dataset_revision=arguments.dataset_revision,
        train_file=arguments.train_file,
        validation_file=arguments.validation_file,
        test_file=arguments.test_file,
        label_names=LABEL_NAMES,
    )
    missing = [split for split in ("validation", "test") if split not in data.splits]
    if missing:
        raise InputError(f"GoEmotions needs its {missing[0]} split, which stays as it is: set `{missing[0]}_file`.")
    parts = [("goemotions", data.splits["train"])]
    parts += [("written", read_file(path, label_names=LABEL_NAMES)[0]) for path in arguments.written_files]
    human = [human_rows(rows["text"], np.asarray(rows["labels"], dtype=bool), source) for source, rows in parts]
    human += [read_candidates(path) for path in arguments.generated_files]
    evaluation = {
        split: human_rows(rows["text"], np.asarray(rows["labels"], dtype=bool), "goemotions", split)
        for split, rows in data.splits.items()
        if split != "train"
    }
    validation = data.splits["validation"]
    labels = np.asarray(validation["labels"], dtype=bool)
    return _Inputs(human, Validation(list(validation["text"]), labels), evaluation)


def _finish(arguments: BalancedDatasetArguments, stages: Stages, inputs: _Inputs, report: dict[str, Any]) -> None:
    import numpy as np

    from hub.dataset.candidates import candidate_files
    from hub.dataset.finishing import write_balanced_dataset
    from hub.dataset.schema import LABEL_NAMES

    finished = write_balanced_dataset(
        arguments.output_dir,
        candidate_files(stages, with_tweets="tweets" in report),
        inputs.evaluation,
        name=Path(arguments.output_dir).name,
        target=arguments.target,
        tolerance=arguments.tolerance,
        max_copies=arguments.max_copies,
        seed=arguments.seed,
        original=np.bincount(inputs.human[0]["labels"].combine_chunks().flatten(), minlength=len(LABEL_NAMES)),
        cleaning=report["sources"],
        yields=report.get("tweets"),
    )
    num_rows, ratio = sum(finished["rows"]["train"].values()), finished["ratio"]
    print(
        f"\n{num_rows:,} training rows; target {finished['target']:,} texts per label, most to least frequent label "
        f"{ratio['after']}, before {ratio['before']}."
    )


def _open_tweets(arguments: BalancedDatasetArguments) -> TweetSource | None:
    from hub.dataset.sentiment140 import open_tweets_dataset, open_tweets_file

    if arguments.tweets_file:
        return open_tweets_file(arguments.tweets_file)
    if arguments.tweets_dataset_name:
        return open_tweets_dataset(arguments.tweets_dataset_name, arguments.tweets_dataset_revision)
    return None


def _load_teacher(arguments: BalancedDatasetArguments, state: Any) -> Teacher:
    from hub.dataset.labelling import load_teacher
    from trainer_ext.precision import best_precision

    precision = arguments.precision
    if precision == "auto":
        precision = best_precision(use_cpu=state.device.type == "cpu")
    return load_teacher(
        arguments.teacher,
        revision=arguments.teacher_revision,
        device=state.device,
        precision=precision,
        tokens_per_batch=arguments.tokens_per_batch,
    )


def _progress(items: Iterable[Any], title: str, disable: bool = False) -> Iterator[Any]:
    from tqdm import tqdm

    # A generator, so that nothing is shown of what a finished stage does not read.
    yield from tqdm(items, desc=title, disable=disable)


def _print(report: dict[str, Any]) -> None:
    for source, counts in report["sources"].items():
        print(f"{source}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    if "tweets" not in report:
        return
    tweets = report["tweets"]
    print(
        f"\n{tweets['accepted_tweets']:,} of {tweets['tweets']:,} tweets accepted, "
        f"{tweets['contradicting_tweets']:,} contradict their polarity.\n\n"
        f"{'label':<15} {'cut-off':>7} {'precision':>9} {'reached':>8} {'accepted':>8}"
    )
    for name, entry in tweets["labels"].items():
        value, precision = (f"{entry[key]:.2f}" if entry[key] is not None else "-" for key in ("value", "precision"))
        print(f"{name:<15} {value:>7} {precision:>9} {entry['reached']:>8,} {entry['accepted']:>8,}")


if __name__ == "__main__":
    main()
