# SPDX-License-Identifier: Apache-2.0
"""
The demo of a trained model, on this machine.

Usage:
    python -m scripts.demo [--model DIR] [--port 7860] [--share false]

Without --model it is the small English one that comes with this repository. A model is loaded by the classes of this
project, or by those of transformers; code that is stored with it is run with --trust_remote_code only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hub.model.mini import mini_model
from trainer_ext.errors import InputError, MissingPackageError, reading

from ._command import add_precision, command, command_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("demo", __doc__)
    parser.add_argument("--model", help="folder of a trained model, or Hub id (default: the one of this repository)")
    parser.add_argument("--revision", help="commit, tag or branch of a model on the Hub")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run the code of a model that is of no known architecture"
    )
    add_precision(parser)
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument(
        "--share", choices=["true", "false"], default="false", help="a public link through Gradio (default: false)"
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Load the model and serve the app until interrupted."""
    options = make_parser().parse_args(argv)
    if options.port is not None and not 1 <= options.port <= 65535:
        raise InputError(f"--port must be in [1, 65535], got {options.port}.")
    name = options.model or mini_model()
    try:
        from hub.demo.analysis import EmotionModel
        from hub.demo.app import launch
    except ModuleNotFoundError as error:
        raise MissingPackageError(f'The demo needs {error.name}: pip install "stacked-emotion[demo]".') from error
    from trainer_ext.loading import load_config

    with reading(f"--model {name} cannot be loaded"):
        if not options.trust_remote_code:
            load_config(name, options.revision)
        model = EmotionModel(name, options.revision, options.trust_remote_code, options.precision)
    launch(model, server_port=options.port, share=options.share == "true")


if __name__ == "__main__":
    main()
