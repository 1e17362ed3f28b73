# SPDX-License-Identifier: Apache-2.0
"""
Have texts for rare labels written by a chat model, and reviewed by people.

Usage:
    python -m scripts.write_texts generate --base_url URL --model NAME --num_texts 200 --labels grief --output OUT
    python -m scripts.write_texts export --candidates OUT --output TO_REVIEW.csv
    python -m scripts.write_texts review --candidates OUT --votes ANNOTATOR.csv ... --output REVIEWED

`generate` asks any OpenAI-compatible endpoint; replies are kept beside the output, so a run that was stopped goes on
where it was. `export` writes a CSV file to be copied and filled in by each annotator. `review` keeps the texts with a
majority and prints the agreement. OUT and REVIEWED are Parquet files, to be named in `generated_files` of a recipe of
`scripts.build_balanced_dataset`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from ._command import command, command_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("write_texts", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    generate = commands.add_parser("generate", help="have texts written")
    generate.add_argument("--base_url", required=True, help="such as http://localhost:8000/v1")
    generate.add_argument("--model", required=True, help="its name at the endpoint")
    generate.add_argument("--num_texts", required=True, type=int, help="texts per label")
    generate.add_argument("--labels", help="comma-separated; all of the prompts by default")
    generate.add_argument("--prompts", help="YAML file; hub/dataset/prompts/v1.yaml by default")
    generate.add_argument("--temperature", type=float, default=1.0)
    generate.add_argument("--num_per_request", type=int, default=20)
    generate.add_argument("--num_workers", type=int, default=4, help="labels that are asked for at the same time")
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--api_key_variable", default="OPENAI_API_KEY", help="environment variable of the key")
    export = commands.add_parser("export", help="write a CSV file for annotators")
    review = commands.add_parser("review", help="read the annotators' files")
    for voting in (export, review):
        voting.add_argument("--candidates", required=True, metavar="PARQUET", help="the output of `generate`")
    review.add_argument("--votes", required=True, nargs="+", metavar="CSV", help="one file of each annotator")
    for step in (generate, export, review):
        step.add_argument("--output", required=True, help="the file to write")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    options = make_parser().parse_args(argv)
    {"generate": _generate, "export": _export, "review": _review}[options.command](options)


def _generate(options: argparse.Namespace) -> None:
    from hub.dataset.candidates import write_candidates
    from hub.dataset.generation import Endpoint, Prompts, generate_texts

    prompts = Prompts.load(options.prompts) if options.prompts else Prompts.load()
    labels = [name.strip() for name in options.labels.split(",")] if options.labels else list(prompts.labels)
    key = os.environ.get(options.api_key_variable)
    output = Path(options.output)
    texts, report = generate_texts(
        Endpoint(options.base_url, options.model, key, options.temperature),
        prompts,
        dict.fromkeys(labels, options.num_texts),
        output.with_name(f"{output.name}.replies"),
        num_per_request=options.num_per_request,
        seed=options.seed,
        num_workers=options.num_workers,
    )
    write_candidates(output, texts)
    for label, counts in report.items():
        print(f"{label}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


def _export(options: argparse.Namespace) -> None:
    from hub.dataset.candidates import read_candidates
    from hub.dataset.human_review import export_for_review

    candidates = read_candidates(options.candidates)
    export_for_review(candidates, options.output)
    print(f"{candidates.num_rows:,} texts in {options.output}: name a copy after each annotator.")


def _review(options: argparse.Namespace) -> None:
    from hub.dataset.candidates import read_candidates, write_candidates
    from hub.dataset.human_review import import_reviews

    reviewed, report = import_reviews(read_candidates(options.candidates), options.votes)
    write_candidates(options.output, reviewed)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
