# SPDX-License-Identifier: Apache-2.0
"""
A trained model as ONNX, in its own folder.

Usage:
    python -m scripts.export_onnx DIR                  model.onnx, a graph that reads the weights of model.safetensors
    python -m scripts.export_onnx DIR --standalone     onnx/, files of their own in fp32 and int8, for other runtimes

With the graph `scripts.predict` answers without importing torch, in a fraction of a second.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from trainer_ext.errors import InputError

from ._command import command, command_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("export_onnx", __doc__)
    parser.add_argument("model", type=Path, metavar="DIR", help="folder of a trained model")
    parser.add_argument("--standalone", action="store_true", help="write files with their weights, in fp32 and int8")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Export; a model that gives other logits as ONNX is refused."""
    options = make_parser().parse_args(argv)
    if not options.model.is_dir():
        raise InputError(f"{options.model} is no folder; give that of a trained model.")
    import transformers

    from hub.model.onnx_export import FOLDER, export_onnx, write_graph
    from hub.model.quick import GRAPH_FILE

    transformers.logging.disable_progress_bar()
    if options.standalone:
        export_onnx(options.model, options.model)
    else:
        write_graph(options.model)
    written = options.model / (FOLDER if options.standalone else GRAPH_FILE)
    size = sum(path.stat().st_size for path in (written.iterdir() if written.is_dir() else [written]))
    print(f"{written}: {size / 1e6:.1f} MB.")


if __name__ == "__main__":
    main()
