# SPDX-License-Identifier: Apache-2.0
"""
Speed against the alternatives, all of them by turns in one run.

Usage:
    python -m scripts.benchmark stack [--encoders NAME=FOLDER ...] [--texts FILE] [--json OUT]
    python -m scripts.benchmark peers [--only PART,...] [--encoder FOLDER] [--json OUT] [--figures DIR]
    python -m scripts.benchmark models [FOLDER ...] [--texts FILE] [--json OUT]
    python -m scripts.benchmark metric [--json OUT]
    python -m scripts.benchmark onnx MODEL [--texts FILE] [--num_texts N] [--json OUT]
    python -m scripts.benchmark explanations [MODEL] [--texts FILE] [--num_texts N] [--json OUT]
    python -m scripts.benchmark browser [MODEL] [--rounds N] [--json OUT]
    python -m scripts.benchmark labelling TEACHER --tweets FILE [--num_texts N] [--json OUT]
    python -m scripts.benchmark balanced_dataset [NUM_TWEETS ...] [--json OUT]

Timings of a shared machine are noisy: each round times every side, and the median of the rounds' ratios is reported.
Each command has a `--help` of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from trainer_ext.errors import InputError, check_integer
from trainer_ext.files import write_file

from ._command import command, command_parser
from .benchmarks.children import hide_progress
from .benchmarks.peers import PARTS

COMMANDS = {
    "stack": (
        "A stack of encoders beside its encoders called alone on the same batches: tokenising, the forward pass and "
        "the training step; and an epoch of joint training beside one of the head on cached word states, from the "
        "file to the step of the optimizer."
    ),
    "peers": (
        "This project beside the pipeline and the Trainer of transformers, loops by hand, onnxruntime and, where they "
        "are installed, sentence-transformers and model2vec: answers, training, start, scaling, and the share of the "
        "fastest matrix product, as Markdown."
    ),
    "models": (
        "Trained models beside the first of them: size, macro-F1 on the file and as reported, texts a second of "
        "inference (on one core, too) and of training, seconds to the first answer."
    ),
    "metric": "All metrics of 54,263 x 28 values in the core, in scikit-learn and through `evaluate`.",
    "onnx": "Texts a second and macro-F1 of a model in torch (fp32, bf16) and in onnxruntime (fp32, int8).",
    "explanations": (
        "How faithful the words are that are said to have decided, by each way to find them, and how long it takes."
    ),
    "browser": "Megabytes, seconds to load and to answer of the page that runs a model in the browser, in Chromium.",
    "labelling": "Tweets a second of a teacher as it labels the balanced data set, and in the stock pipeline.",
    "balanced_dataset": (
        "The stages of `scripts.build_balanced_dataset` on generated tweets, all but the teacher's forward pass."
    ),
}
_TEXTS = Path(__file__).resolve().parent / "data" / "english" / "train.jsonl"
_SHARED_OPTIONS: dict[str, dict[str, Any]] = {
    "texts": {"default": str(_TEXTS), "metavar": "FILE", "help": "file with texts (default: the embedded ones)"},
    "num_texts": {"type": int, "default": 4096, "metavar": "N", "help": "texts to time (default: %(default)s)"},
    "batch_size": {"type": int, "default": 64, "metavar": "N", "help": "texts per batch (default: %(default)s)"},
    "precision": {
        "default": "auto",
        "choices": ["auto", "fp32", "bf16", "fp16"],
        "help": "number format (default: the best of the device)",
    },
    "encoders": {
        "nargs": "+",
        "metavar": "NAME=FOLDER",
        "help": "encoders to stack (default: three of MiniLM's size with random weights)",
    },
    "label_names": {"metavar": "FILE", "help": "labels of the file with texts, where it has ids only"},
    "rounds": {"type": int, "default": 7, "metavar": "N", "help": "rounds (default: %(default)s)"},
}
_TIMING_OPTIONS = ("texts", "num_texts", "batch_size", "precision", "rounds")
_COUNTS = ("num_texts", "max_texts", "batch_size", "num_batches", "rounds")


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("benchmark", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{" + ",".join(COMMANDS) + "}")

    stack = _add_command(commands, "stack", *_SHARED_OPTIONS)
    stack.add_argument("--num_batches", type=int, default=4, metavar="N", help="batches of a timed round (default: 4)")
    stack.add_argument("--profile", action="store_true", help="print where the training step's time goes")

    _add_peers(commands)

    models = _add_command(commands, "models", *_TIMING_OPTIONS)
    models.add_argument(
        "folders",
        nargs="*",
        metavar="FOLDER",
        help="trained models, folders or Hub ids (default: the one of this repository)",
    )

    _add_command(commands, "metric", "rounds")

    onnx = _add_command(commands, "onnx", "texts", "num_texts", "batch_size", "rounds")
    onnx.add_argument("model", metavar="MODEL", help="folder of a trained model")

    explanations = _add_command(commands, "explanations", "texts", "num_texts", "precision")
    explanations.set_defaults(num_texts=500)
    browser = _add_command(commands, "browser", "rounds")
    for subject in (explanations, browser):
        subject.add_argument("model", nargs="?", metavar="MODEL", help="a model (default: the one of this repository)")

    labelling = _add_command(commands, "labelling", "num_texts", "precision", "rounds")
    labelling.add_argument("teacher", metavar="TEACHER", help="folder or Hub id of the teacher")
    labelling.add_argument("--tweets", required=True, metavar="FILE", help="tweets to label: the Sentiment140 file")

    dataset = _add_command(commands, "balanced_dataset")
    dataset.add_argument(
        "sizes",
        nargs="*",
        type=int,
        default=[100_000, 400_000, 1_600_000],
        metavar="NUM_TWEETS",
        help="numbers of tweets (default: 100000 400000 1600000)",
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Measure and print; returns the numbers."""
    arguments = sys.argv[1:] if argv is None else argv
    _check_command(arguments)
    options = make_parser().parse_args(arguments)
    for name in _COUNTS:
        check_integer(f"--{name}", getattr(options, name, 1), 1)

    hide_progress()
    results: dict[str, float] = import_module(f".benchmarks.{options.command}", __package__).measure(options)
    if options.json:
        write_file(options.json, json.dumps(results, indent=2) + "\n")
    return results


def _add_peers(commands: Any) -> None:
    peers = _add_command(commands, "peers", "num_texts", "batch_size", "rounds", "encoders", "label_names")
    peers.set_defaults(batch_size=32, rounds=3)
    peers.add_argument("--data", **_SHARED_OPTIONS["texts"])
    peers.add_argument("--only", default=",".join(PARTS), metavar="PART,...", help="parts (default: %(default)s)")
    peers.add_argument(
        "--encoder", metavar="FOLDER", help="the encoder of all sides (default: the first of --encoders)"
    )
    peers.add_argument("--model", metavar="FOLDER", help="a trained model to measure as well, beside the shipped one")
    peers.add_argument("--model2vec", metavar="FOLDER", help="a static model of model2vec to measure as well")
    peers.add_argument("--device", help="cpu, cuda ... (default: the accelerator if there is one)")
    peers.add_argument("--max_texts", type=int, default=10_000, metavar="N", help="of scaling (default: %(default)s)")
    peers.add_argument("--figures", metavar="DIR", help="draw the part scaling into this folder, two PNG files")


def _add_command(commands: Any, name: str, *shared: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=COMMANDS[name], description=COMMANDS[name])
    for option in shared:
        parser.add_argument(f"--{option}", **_SHARED_OPTIONS[option])
    parser.add_argument("--json", metavar="OUT", help="write the numbers to this file")
    return parser


def _check_command(arguments: Sequence[str]) -> None:
    """Options without a command, as `--models FOLDER` or `--texts FILE` alone, are an error that names the command."""
    if arguments and (not arguments[0].startswith("-") or arguments[0] in ("-h", "--help")):
        return
    given = {argument.partition("=")[0] for argument in arguments}
    name = next((name for name in COMMANDS if f"--{name}" in given), "stack")
    raise InputError(
        f"Options come after a command, here after `python -m scripts.benchmark {name}`; --help names the others."
    )


if __name__ == "__main__":
    main()
