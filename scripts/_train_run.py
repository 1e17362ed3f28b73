# SPDX-License-Identifier: Apache-2.0
"""
One run of a comparison in a process of its own: `python -m scripts._train_run RECIPE.yaml [--field value ...]`.

Trains unless that was done, going on from a checkpoint if there is one, and leaves its predictions beside the model.
It ends when its standard input does: with the process that has started it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import train
from ._command import command

if TYPE_CHECKING:
    from trainer_ext.comparison.runs import RunPredictions
    from trainer_ext.recipe import Recipe


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Leave `eval_results.json` and `predictions.npz` in the `output_dir` of the recipe."""
    recipe_path, *overrides = sys.argv[1:] if argv is None else argv

    from trainer_ext.comparison.runs import RunPredictions, predictions_file
    from trainer_ext.recipe import load_recipe

    recipe = load_recipe(recipe_path, overrides)
    folder = Path(str(recipe.training.output_dir))
    path = predictions_file(folder)
    if not (folder / "eval_results.json").exists():
        outcome = train.run(recipe_path, [*overrides, "--resume_from_checkpoint", "true"])
        if outcome.evaluation is not None:
            thresholds, probabilities = outcome.evaluation.thresholds, outcome.evaluation.probabilities
            RunPredictions.from_data(outcome.data, thresholds, probabilities).save(path)
    if not path.exists():
        _predict(recipe, folder).save(path)


def _predict(recipe: Recipe, folder: Path) -> RunPredictions:
    """The predictions of a run that was trained before: the same, to the bit."""
    import numpy as np

    from modeling_stacked_emotion import decision_thresholds
    from trainer_ext.comparison.runs import RunPredictions
    from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities

    from ._training import load_data

    data = load_data(recipe.data, recipe.training.seed)
    model, tokenizer = load_classifier(str(folder))
    probabilities: dict[str, np.ndarray] = {
        split: predict_probabilities(model, tokenizer, data.splits[split]["text"])
        for split in ("validation", "test")
        if split in data.splits
    }
    return RunPredictions.from_data(data, np.array(decision_thresholds(model.config)), probabilities)


def end_with_parent() -> None:
    """End this process when its standard input does, from now on."""

    def watch() -> None:
        # Not `sys.stdin.read`: its lock, held when Python ends, would be a fatal error.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    main()
