# SPDX-License-Identifier: Apache-2.0
"""
Train the variants of a recipe with several seeds and compare them on the test split.

Usage:
    python -m scripts.compare COMPARISON.yaml [--variants NAME ...] [--seeds 3] [--jobs N] [--no_train] [--field value]

COMPARISON.yaml names a `recipe`, a file beside it; its `variants`, each a mapping of fields, the first of which the
others are compared with; and, if wanted, `ensembles`, each a list of variants whose probabilities are averaged, seed
by seed. `--field value` goes to all runs. A value `variant:NAME` stands for the folder of another
variant's run with the same seed, which is trained before: `{trained: variant:only_minilm}` is its encoder. A variant
with a `recipe` of its own takes that in place of the common one.
`--variants` leaves all others out, but for those that the named ones need.

Every run is a folder `<output_dir>/<variant>/seed_<seed>`; the comparison needs no more of it than `predictions.npz`.
Finished runs are not repeated, a killed one goes on from its last checkpoint. With the same seed, precision, machine
and number of jobs a run gives the same numbers again. `--no_train` compares finished runs, without models and data.

Leaves in `output_dir` comparison.md, .csv, .json and .png, and classes.csv and .png: the F1 of every label.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_ext.errors import InputError, check_integer

from ._command import add_output_options, command, command_parser, speaking_as

if TYPE_CHECKING:
    from trainer_ext.comparison.variants import Summary


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser(
        "compare",
        __doc__,
        usage="%(prog)s COMPARISON.yaml [--variants NAME ...] [--seeds 3] [--jobs N] [--no_train] [--field value]",
        # Fields of the recipe may begin like an option: `--seed` is not `--seeds`.
        allow_abbrev=False,
    )
    parser.add_argument("comparison", metavar="COMPARISON.yaml", help="such as scripts/comparisons/stacking.yaml")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="only these and what they need (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant (default: 3)")
    parser.add_argument(
        "--jobs", type=int, help="runs at a time, one per GPU, or the cores shared out (default: GPUs, or 1 without)"
    )
    parser.add_argument(
        "--no_train", action="store_true", help="compare finished runs, and name those that are missing"
    )
    parser.add_argument("--output_dir", help="where the runs go (default: outputs/<name of the file>)")
    add_output_options(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> Summary:
    """Train the missing runs, compare, write; returns the content of `comparison.json`, nothing for steps alone."""
    options, overrides = make_parser().parse_known_args(argv)
    with speaking_as(options) as print_results:
        summary = _compare(options, overrides)
        print_results(summary)
    return summary


def _compare(options: argparse.Namespace, overrides: Sequence[str]) -> Summary:
    from trainer_ext.comparison import jobs
    from trainer_ext.comparison.plan import check_test_split, load_plan
    from trainer_ext.comparison.report import write_report
    from trainer_ext.comparison.runs import predictions_file
    from trainer_ext.comparison.variants import compare_variants

    _check(options, overrides)
    plan = load_plan(Path(options.comparison))
    if options.variants:
        plan = plan.only(options.variants)
    output = Path(options.output_dir or f"outputs/{plan.path.stem}")
    recipes = plan.recipes(overrides, output)
    runs = plan.runs(recipes, overrides, output, options.seeds)
    missing = [run for run in runs if not predictions_file(run.folder).exists()]
    if not options.no_train:
        jobs.check_settings(runs)
        check_test_split(recipes)
    print(f"{len(runs) - len(missing)} runs are finished, {len(missing)} to do.", flush=True)
    if options.no_train:
        print("".join(f"Missing: {run}\n" for run in missing), end="", flush=True)
    elif missing:
        num_jobs = options.jobs or len(jobs.gpus()) or 1
        say = partial(print, flush=True)
        if failures := jobs.train_runs(missing, num_jobs, "scripts._train_run", say):
            raise SystemExit("\n".join(f"error: {failure}" for failure in failures))
    if plan.steps.issuperset(plan.variants):
        print(f"Nothing is compared: {', '.join(plan.variants)} are steps. Saved to {output}.")
        return {}
    summary = compare_variants(plan.load_predictions(runs, recipes))
    print(f"\n{write_report(output, summary)}\nSaved to {output}.")
    return summary


def _check(options: argparse.Namespace, overrides: Sequence[str]) -> None:
    if any(part == "--seed" or part.startswith("--seed=") for part in overrides):
        raise InputError("--seed is that of one run, and a comparison has several: give their number as --seeds.")
    check_integer("--seeds", options.seeds, 1)
    if options.jobs is not None:
        check_integer("--jobs", options.jobs, 1)


if __name__ == "__main__":
    main()
