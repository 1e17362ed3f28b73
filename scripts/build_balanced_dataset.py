# SPDX-License-Identifier: Apache-2.0
"""
Build an even, multi-label data set from GoEmotions, written texts and labelled tweets.

Usage:
    python -m scripts.build_balanced_dataset RECIPE.yaml [--field value ...]
    accelerate launch -m scripts.build_balanced_dataset RECIPE.yaml [--field value ...]

The teacher's scores stay in `<output_dir>/work`: a run that was stopped goes on where it was, with the same result.
Several processes share the labelling. Leaves the data set in `output_dir`: a Parquet file per split, its card, figure
and `report.json`, and `sources.json`: the rows read, dropped and accepted. A card that was edited stays as long as the
data set is the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import MISSING, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from hub.dataset.arguments import BalancedDatasetArguments

from ._command import command, command_parser

# A process whose shards are scored already waits for those of the others.
_PATIENCE = timedelta(hours=12)


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    lines = []
    for entry in fields(BalancedDatasetArguments):
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        default = "outputs/<name of the recipe>" if default is MISSING else default
        lines.append(f"  --{entry.name:<26} {entry.metadata['help'].rstrip('.')}. (default: {default})")
    parser = command_parser(
        "build_balanced_dataset",
        __doc__,
        usage="%(prog)s RECIPE.yaml [--field value ...]",
        epilog="fields, in the recipe or on the command line:\n" + "\n".join(lines),
    )
    parser.add_argument("recipe", metavar="RECIPE.yaml", help="such as scripts/datasets/goemotions_balanced.yaml")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Build the data set; returns the content of `sources.json`."""
    options, overrides = make_parser().parse_known_args(argv)

    import transformers
    from accelerate import PartialState

    from hub.dataset.build import build_balanced_dataset
    from trainer_ext.recipe_file import load_fields

    transformers.logging.disable_progress_bar()
    arguments = load_fields(options.recipe, {"dataset": BalancedDatasetArguments}, overrides)["dataset"]
    state = PartialState(timeout=_PATIENCE)
    report = build_balanced_dataset(arguments, state)
    if state.is_main_process:
        _print(report, Path(arguments.output_dir))
    return report


def _print(report: dict[str, Any], folder: Path) -> None:
    for source, counts in report["sources"].items():
        print(f"{source}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    if "tweets" in report:
        tweets = report["tweets"]
        print(
            f"\n{tweets['accepted_tweets']:,} of {tweets['tweets']:,} tweets accepted, "
            f"{tweets['contradicting_tweets']:,} contradict their polarity.\n\n"
            f"{'label':<15} {'cut-off':>7} {'precision':>9} {'reached':>8} {'accepted':>8}"
        )
        for name, entry in tweets["labels"].items():
            value, precision = ("-" if entry[key] is None else f"{entry[key]:.2f}" for key in ("value", "precision"))
            print(f"{name:<15} {value:>7} {precision:>9} {entry['reached']:>8,} {entry['accepted']:>8,}")
    finished = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    num_rows, ratio = sum(finished["rows"]["train"].values()), finished["ratio"]
    print(
        f"\n{num_rows:,} training rows; target {finished['target']:,} texts per label, most to least frequent label "
        f"{ratio['after']}, before {ratio['before']}."
    )


if __name__ == "__main__":
    main()
