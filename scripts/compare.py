# SPDX-License-Identifier: Apache-2.0
"""
Train the variants of a recipe with several seeds and compare them on the test split.

Usage:
    python -m scripts.compare COMPARISON.yaml [--seeds 3] [--jobs 1] [--field value ...]

COMPARISON.yaml names a recipe and its variants, each a mapping of fields; the first is what the others are compared
with. `--field value` goes to all runs. Every run is a folder `<output_dir>/<variant>/seed_<seed>`; finished runs are
not repeated. Leaves `comparison.md`, `comparison.csv` and `comparison.json` in `output_dir`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scripts._errors import user_errors

_FIRST_SEED = 1


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.compare",
        usage="%(prog)s COMPARISON.yaml [--seeds 3] [--jobs 1] [--field value ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("comparison", metavar="COMPARISON.yaml", help="such as scripts/comparisons/losses.yaml")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant (default: 3)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, the cores shared out (default: 1)")
    parser.add_argument("--output_dir", help="where the runs go (default: outputs/<name of the file>)")
    return parser


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Run what is missing, compare, write; returns the summary of `comparison.json`."""
    options, overrides = make_parser().parse_known_args(argv)

    from trainer_ext.recipe import load_recipe

    with user_errors():
        _check(options)
        recipe_path, variants = _load_comparison(Path(options.comparison))
        output = Path(options.output_dir or f"outputs/{Path(options.comparison).stem}")
        runs = {
            variant: [
                [recipe_path, *overrides, *_arguments(fields), "--seed", str(seed), "--output_dir", str(folder)]
                for seed, folder in _folders(output, variant, options.seeds)
            ]
            for variant, fields in variants.items()
        }
        # A slip in any variant is found before the first one is trained.
        recipes = [load_recipe(arguments[0], arguments[1:]) for cells in runs.values() for arguments in cells[:1]]
    pending = [
        cell for cells in runs.values() for cell in cells if not (Path(cell[-1]) / "eval_results.json").exists()
    ]
    print(f"{sum(map(len, runs.values())) - len(pending)} runs are finished, {len(pending)} to do.", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for number, cell in enumerate(pool.map(lambda cell: _train(cell, options.jobs), pending), start=1):
            print(f"{number} of {len(pending)}: {cell}", flush=True)
    summary = _compare(recipes[0], {variant: [Path(cell[-1]) for cell in cells] for variant, cells in runs.items()})
    _write(output, summary)
    return summary


def _check(options: argparse.Namespace) -> None:
    for name in ("seeds", "jobs"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(options, name)}.")


def _load_comparison(path: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    from trainer_ext.recipe import parse_yaml

    if not path.is_file():
        raise FileNotFoundError(f"There is no comparison {path}.")
    values = parse_yaml(path.read_bytes(), str(path))
    if not isinstance(values, dict) or set(values) != {"recipe", "variants"}:
        raise ValueError(f"{path} must hold `recipe`, a file beside it, and `variants`, and nothing else.")
    variants = values["variants"]
    if not isinstance(variants, dict) or not all(isinstance(fields, dict) for fields in variants.values()):
        raise ValueError(f"{path}: `variants` must map names to mappings of fields, got {variants!r}.")
    return str(path.parent / values["recipe"]), variants


def _arguments(fields: Mapping[str, Any]) -> list[str]:
    return [part for name, value in fields.items() for part in (f"--{name}", json.dumps(value))]


def _folders(output: Path, variant: str, num_seeds: int) -> list[tuple[int, Path]]:
    return [(seed, output / variant / f"seed_{seed}") for seed in range(_FIRST_SEED, _FIRST_SEED + num_seeds)]


def _train(arguments: list[str], num_jobs: int) -> str:
    """One run in a process of its own, so that nothing of one reaches the next; its output goes to `train.log`."""
    folder = Path(arguments[-1])
    folder.mkdir(parents=True, exist_ok=True)
    threads = str(max((os.cpu_count() or 1) // num_jobs, 1))
    log = folder / "train.log"
    with log.open("w", encoding="utf-8") as stream:
        finished = subprocess.run(
            [sys.executable, "-m", "scripts.train", *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": threads},
        )
    if finished.returncode:
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise SystemExit(f"error: {folder} failed; see {log}: {' '.join(last)}")
    return str(folder)


def _compare(recipe: Any, folders: Mapping[str, Sequence[Path]]) -> dict[str, dict[str, Any]]:
    from dataclasses import asdict

    import numpy as np

    from trainer_ext.comparison import compare_variants
    from trainer_ext.data import load_emotion_data

    data = load_emotion_data(**asdict(recipe.data), seed=recipe.training.seed)
    labels = {split: np.asarray(data.splits[split]["labels"], dtype=np.int64) for split in ("train", "test")}
    texts = data.splits["test"]["text"]
    predictions = {variant: np.stack([_predictions(run, texts) for run in runs]) for variant, runs in folders.items()}
    results = {
        variant: [json.loads((run / "eval_results.json").read_text(encoding="utf-8")) for run in runs]
        for variant, runs in folders.items()
    }
    return compare_variants(labels["test"], predictions, results, labels["train"].sum(axis=0))


def _predictions(folder: Path, texts: Sequence[str]) -> Any:
    """What a run's model says of the test texts, `(num_texts, num_labels)`; kept beside it."""
    import numpy as np

    from trainer_ext.prediction import load_classifier, predict_probabilities

    kept = folder / "test_predictions.npy"
    if not kept.exists():
        model, tokenizer = load_classifier(str(folder))
        predictions = predict_probabilities(model, tokenizer, texts) >= np.asarray(model.config.thresholds)
        partial = kept.with_suffix(".partial.npy")
        np.save(partial, predictions)
        partial.replace(kept)
    return np.load(kept)


def _write(output: Path, summary: Mapping[str, Mapping[str, Any]]) -> None:
    from trainer_ext.comparison import comparison_rows

    rows = comparison_rows(summary)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    table = "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]) + "\n"
    sheet = io.StringIO()
    csv.writer(sheet).writerows(rows)
    texts = {
        "comparison.md": table,
        "comparison.csv": sheet.getvalue(),
        "comparison.json": json.dumps(summary, indent=2, ensure_ascii=False) + "\n",
    }
    for name, text in texts.items():
        partial = output / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(output / name)
    print(f"\n{table}\nSaved to {output}.")


if __name__ == "__main__":
    main()
