# SPDX-License-Identifier: Apache-2.0
"""
One run of a comparison in a process of its own: `python -m scripts._cell RECIPE.yaml [--field value ...]`.

Trains unless that was done, going on from a checkpoint if there is one, and leaves beside the model a [`Cell`], what
the comparison needs of it. It ends when its standard input does: with the process that has started it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import train
from scripts._command import command
from trainer_ext.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from trainer_ext.data.loading import EmotionData
    from trainer_ext.recipe import Recipe


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Leave `eval_results.json` and `cell.npz` in the `output_dir` of the recipe."""
    recipe_path, *overrides = sys.argv[1:] if argv is None else argv

    from trainer_ext.comparison.runs import CELL_FILE
    from trainer_ext.recipe import load_recipe

    recipe = load_recipe(recipe_path, overrides)
    folder = Path(str(recipe.training.output_dir))
    if not (folder / "eval_results.json").exists():
        outcome = train.run(recipe_path, [*overrides, "--resume_from_checkpoint", "true"])
        if outcome.evaluation is not None:
            _write_cell(folder, outcome.data, outcome.evaluation.thresholds, outcome.evaluation.probabilities)
    if not (folder / CELL_FILE).exists():
        _predict(recipe, folder)


def _predict(recipe: Recipe, folder: Path) -> None:
    """The cell of a run that was trained before: the same, to the bit."""
    import numpy as np

    from modeling_stacked_emotion import decision_thresholds
    from scripts._training import load_data
    from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities

    data = load_data(recipe.data, recipe.training.seed)
    model, tokenizer = load_classifier(str(folder))
    batch_size = recipe.training.per_device_eval_batch_size
    probabilities: dict[str, np.ndarray] = {
        split: predict_probabilities(model, tokenizer, data.splits[split]["text"], batch_size)
        for split in ("validation", "test")
        if split in data.splits
    }
    _write_cell(folder, data, np.array(decision_thresholds(model.config)), probabilities)


def _write_cell(
    folder: Path, data: EmotionData, thresholds: np.ndarray, probabilities: Mapping[str, np.ndarray]
) -> None:
    import numpy as np

    from trainer_ext.comparison.runs import CELL_FILE, Cell, split_arrays

    if "test" not in data.splits:
        raise InputError("A comparison needs a test split: give a `test_file`.")
    arrays = {
        "label_names": np.array(data.label_names),
        "train_counts": split_arrays(data, "train")[0].sum(axis=0),
        "thresholds": thresholds,
    }
    nothing = np.zeros((0, len(data.label_names)), dtype=np.float32)
    for split in ("validation", "test"):
        arrays[f"{split}_labels"], arrays[f"{split}_digest"] = split_arrays(data, split)
        arrays[f"{split}_probabilities"] = probabilities.get(split, nothing)
    Cell(**arrays).save(folder / CELL_FILE)


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
