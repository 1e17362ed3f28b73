# SPDX-License-Identifier: Apache-2.0
"""
Train a model from a recipe.

Usage:
    python -m scripts.train RECIPE.yaml [--field value ...]
    accelerate launch -m scripts.train RECIPE.yaml [--field value ...]

Leaves in `output_dir` a complete Hub repository (code, weights, tokenizers, configuration with labels and thresholds,
card) and `eval_results.json`. With `lora_r` the adapters are merged into the weights, and also kept in `adapter/`.

A recipe with a `student` in place of `encoders` distils: a single encoder learns from the labels and from the
probabilities of `teacher`, for the training texts and those of `unlabelled_file`. It becomes a stock
`AutoModelForSequenceClassification` that needs no code but that of transformers, its calibration in its weights. The
teacher's logits stay in `teacher_logits/`: a run that was killed goes on from there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ._command import add_output_options, command, command_parser, speaking_as

if TYPE_CHECKING:
    from ._training import TrainingOutcome


def make_parser(with_fields: bool = False) -> argparse.ArgumentParser:
    """The parser; listing the fields imports torch, so only `--help` asks for it."""
    epilog = None
    if with_fields:
        from trainer_ext.fields import format_fields

        epilog = "fields, in the recipe or on the command line:\n" + format_fields()
    parser = command_parser(
        "train",
        "Train a stacked emotion model from a recipe, or a single encoder from a trained model.",
        usage="%(prog)s RECIPE.yaml [--quiet | --json] [--field value ...]",
        epilog=epilog,
        # Fields of the recipe may begin like an option.
        allow_abbrev=False,
    )
    parser.add_argument("recipe", metavar="RECIPE.yaml", help="the recipe, such as scripts/recipes/quickstart.yaml")
    add_output_options(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Train, evaluate, save; returns the results that are in `eval_results.json`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, overrides = make_parser("--help" in arguments or "-h" in arguments).parse_known_args(arguments)
    with speaking_as(options) as print_results:
        results = run(options.recipe, overrides).results
        print_results(results)
    return results


def run(recipe_path: str, overrides: Sequence[str] = ()) -> TrainingOutcome:
    """
    Train, evaluate, save.

    Args:
        recipe_path (`str`): The YAML file.
        overrides (`Sequence[str]`): Fields of the recipe, as `--field value`.

    Raises:
        `InputError`: If the recipe, the data or a model cannot be used.
        `OSError`: If a file cannot be read or written; with a note on how to go on if the disk is full.
    """
    from trainer_ext.recipe import load_recipe
    from trainer_ext.training.paths import RunPaths

    from ._resuming import telling_how_to_go_on
    from ._training import train

    recipe = load_recipe(recipe_path, overrides)
    launcher = ["accelerate", "launch"] if recipe.training.world_size > 1 else ["python"]
    paths = RunPaths(Path(str(recipe.training.output_dir)))
    with telling_how_to_go_on(paths, [*launcher, "-m", "scripts.train", recipe_path, *overrides]):
        return train(recipe, Path(recipe_path).stem)


if __name__ == "__main__":
    main()
