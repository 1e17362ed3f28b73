# SPDX-License-Identifier: Apache-2.0
"""
Train the variants of a recipe with several seeds and compare them on the test split.

Usage:
    python -m scripts.compare COMPARISON.yaml [--variants NAME ...] [--seeds 3] [--jobs N] [--no_train] [--field value]

COMPARISON.yaml names a `recipe`, a file beside it; its `variants`, each a mapping of fields, of which the first is
what the others are compared with; and, if wanted, `ensembles`, each a list of variants whose probabilities are
averaged, seed by seed. `--field value` goes to all runs. A value `variant:NAME` stands for the folder of another
variant's run with the same seed, which is trained before: `{trained: variant:only_minilm}` is its encoder.
`--variants` leaves all others out, but for those that the named ones need.

Every run is a folder `<output_dir>/<variant>/seed_<seed>`, in which `cell.npz` is all that the comparison needs of it.
Finished runs are not repeated, a killed one goes on from its last checkpoint. With the same seed, precision, machine
and number of jobs a run gives the same numbers again. `--no_train` compares what is finished, without models and data.

Leaves in `output_dir` comparison.md, .csv, .json and .png, and classes.csv and .png: the F1 of every label.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts._command import command
from scripts._runs import Run, check_settings, gpus, train_runs
from trainer_ext.errors import InputError

if TYPE_CHECKING:
    from trainer_ext.comparison.runs import Cell
    from trainer_ext.comparison.variants import Summary
    from trainer_ext.recipe import Recipe

_FIRST_SEED = 1
_REFERENCE = "variant:"
_NOTES = """
± is the standard deviation over the runs. Gain, change and p compare with the first variant: 95 % percentile
intervals and two-sided p-values of a paired bootstrap over test texts and runs, corrected over the variants by Holm's
method. The frequent and the rare third are the labels with the most and the fewest training texts in the first
variant; the gap is the macro-F1 of the one less that of the other.
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.compare",
        usage="%(prog)s COMPARISON.yaml [--variants NAME ...] [--seeds 3] [--jobs N] [--no_train] [--field value]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Fields of the recipe may begin like an option: `--seed` is not `--seeds`.
        allow_abbrev=False,
    )
    parser.add_argument("comparison", metavar="COMPARISON.yaml", help="such as scripts/comparisons/stacking.yaml")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="only these and what they need (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant (default: 3)")
    parser.add_argument(
        "--jobs", type=int, help="runs at a time, one per GPU, or the cores shared out (default: GPUs, or 1 without)"
    )
    parser.add_argument("--no_train", action="store_true", help="compare what is finished; say what is missing")
    parser.add_argument("--output_dir", help="where the runs go (default: outputs/<name of the file>)")
    return parser


def _check_test_split(recipes: Iterable[Recipe]) -> None:
    """Of files it is known before any training; what a data set of the Hub has is found out when it is loaded."""
    for recipe in recipes:
        data = recipe.data
        if not (data.dataset_name or data.test_file or data.test_ratio):
            raise InputError("A comparison needs a test split: give a `test_file` or a `test_ratio`.")


class _Ensemble(NamedTuple):
    """Variants whose probabilities are averaged, or whose logits are, with weights from the validation split."""

    members: list[str]
    weighted: bool


@dataclass(frozen=True)
class _Comparison:
    """What a COMPARISON.yaml says."""

    recipe: str
    variants: dict[str, dict[str, Any]]
    ensembles: dict[str, _Ensemble]


@command
def main(argv: Sequence[str] | None = None) -> Summary:
    """Run what is missing, compare, write; returns the content of `comparison.json`."""
    options, overrides = make_parser().parse_known_args(argv)

    from trainer_ext.recipe import load_recipe

    _check(options, overrides)
    path = Path(options.comparison)
    comparison = _load_comparison(path)
    output = Path(options.output_dir or f"outputs/{path.stem}")
    needs = {variant: _references(fields) for variant, fields in comparison.variants.items()}
    order = _order(path, needs)
    if options.variants:
        comparison = _only(comparison, options.variants, needs, path)
        order = [variant for variant in order if variant in comparison.variants]
    # A slip in any variant is found before the first one is trained.
    recipes = {
        variant: load_recipe(
            comparison.recipe, [*overrides, *_arguments(fields), "--output_dir", str(output / variant)]
        )
        for variant, fields in comparison.variants.items()
    }
    runs = [
        Run(
            variant,
            seed,
            output / variant / f"seed_{seed}",
            comparison.recipe,
            _overrides(
                overrides,
                _resolve(comparison.variants[variant], output, seed),
                recipes[variant],
                seed,
            ),
            [output / other / f"seed_{seed}" for other in sorted(needs[variant])],
        )
        # Seed by seed: so all variants can be compared early.
        for seed in range(_FIRST_SEED, _FIRST_SEED + options.seeds)
        for variant in order
    ]
    missing = [run for run in runs if not _cell_file(run).exists()]
    if not options.no_train:
        check_settings(runs)
        _check_test_split(recipes.values())
    print(f"{len(runs) - len(missing)} runs are finished, {len(missing)} to do.", flush=True)
    if options.no_train:
        print("".join(f"Missing: {run}\n" for run in missing), end="", flush=True)
    elif missing:
        output.mkdir(parents=True, exist_ok=True)
        if failures := train_runs(missing, options.jobs or len(gpus()) or 1):
            raise SystemExit("\n".join(f"error: {failure}" for failure in failures))
    summary = _compare(runs, comparison.ensembles, recipes)
    _write(output, summary)
    return summary


def _check(options: argparse.Namespace, overrides: Sequence[str]) -> None:
    if any(part == "--seed" or part.startswith("--seed=") for part in overrides):
        raise InputError("--seed is that of one run, and a comparison has several: give their number as --seeds.")
    for name in ("seeds", "jobs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} must be at least 1, got {value}.")


def _load_comparison(path: Path) -> _Comparison:
    from trainer_ext.recipe import parse_yaml

    if not path.is_file():
        raise FileNotFoundError(f"There is no comparison {path}.")
    values = parse_yaml(path.read_bytes(), str(path))
    if not isinstance(values, dict) or values.keys() - {"ensembles"} != {"recipe", "variants"}:
        raise InputError(
            f"{path} must hold `recipe`, a file beside it, `variants` and perhaps `ensembles`, and nothing else."
        )
    variants, ensembles = values["variants"], values.get("ensembles", {})
    if not isinstance(variants, dict) or not all(isinstance(fields, dict) for fields in variants.values()):
        raise InputError(f"{path}: `variants` must map names to mappings of fields, got {variants!r}.")
    return _Comparison(str(path.parent / values["recipe"]), variants, _read_ensembles(path, ensembles, list(variants)))


def _read_ensembles(path: Path, values: Any, variants: Sequence[str]) -> dict[str, _Ensemble]:
    ensembles = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        weighted = isinstance(value, dict) and [*value] == ["weighted"]
        ensembles[name] = _Ensemble(value["weighted"] if weighted else value, weighted)
    if not isinstance(values, dict) or not all(isinstance(members, list) for members, _ in ensembles.values()):
        raise InputError(
            f"{path}: `ensembles` must map names to lists of variants, or to `weighted` and a list, got {values!r}."
        )
    for name, (members, _) in ensembles.items():
        if name in variants or not members or not set(members) <= set(variants):
            raise InputError(
                f"{path}: an ensemble must have a name of its own and consist of some of the variants "
                f"{', '.join(variants)}, got {name}: {members}."
            )
    return ensembles


def _references(value: Any) -> set[str]:
    """The variants that a value speaks of, wherever in it."""
    if isinstance(value, str):
        return {value.removeprefix(_REFERENCE)} if value.startswith(_REFERENCE) else set()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(_references, parts))


def _resolve(value: Any, output: Path, seed: int) -> Any:
    """The value with folders in place of variants."""
    if isinstance(value, dict):
        return {key: _resolve(part, output, seed) for key, part in value.items()}
    if isinstance(value, list):
        return [_resolve(part, output, seed) for part in value]
    if isinstance(value, str) and value.startswith(_REFERENCE):
        return str(output / value.removeprefix(_REFERENCE) / f"seed_{seed}")
    return value


def _order(path: Path, needs: Mapping[str, set[str]]) -> list[str]:
    """The variants, each behind those that it needs."""
    for variant, others in needs.items():
        if unknown := sorted(others - needs.keys()):
            raise InputError(f"{path}: {variant} speaks of the variant {unknown[0]!r}; there are {', '.join(needs)}.")
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise InputError(f"{path}: variants need one another: {' -> '.join(error.args[1])}.") from None


def _only(comparison: _Comparison, names: Sequence[str], needs: Mapping[str, set[str]], path: Path) -> _Comparison:
    """The comparison of the named variants and those that they need, with ensembles of these alone."""
    if unknown := [name for name in names if name not in needs]:
        raise InputError(f"{path} has no variant {unknown[0]!r}; there are {', '.join(needs)}.")
    kept, waiting = set[str](), {*names}
    while waiting:
        kept |= waiting
        waiting = set().union(*(needs[name] for name in waiting)) - kept
    return replace(
        comparison,
        variants={name: fields for name, fields in comparison.variants.items() if name in kept},
        ensembles={name: each for name, each in comparison.ensembles.items() if kept.issuperset(each.members)},
    )


def _arguments(fields: Mapping[str, Any]) -> list[str]:
    return [part for name, value in fields.items() for part in (f"--{name}", json.dumps(value, ensure_ascii=False))]


def _overrides(given: Sequence[str], fields: Mapping[str, Any], recipe: Recipe, seed: int) -> list[str]:
    """What one run changes in the recipe; texts that a ratio divides are divided alike in all runs."""
    is_divided = recipe.data.test_ratio and recipe.data.split_seed is None
    division = ["--split_seed", str(recipe.training.seed)] if is_divided else []
    return [*given, *_arguments(fields), "--seed", str(seed), *division]


def _cell_file(run: Run) -> Path:
    from trainer_ext.comparison.runs import CELL_FILE

    return run.folder / CELL_FILE


def _compare(runs: Sequence[Run], ensembles: Mapping[str, _Ensemble], recipes: Mapping[str, Recipe]) -> Summary:
    from trainer_ext.comparison.runs import Cell, mean_cell
    from trainer_ext.comparison.variants import compare_variants

    cells: dict[str, dict[int, Cell]] = {variant: {} for variant in recipes}
    for run in runs:
        if _cell_file(run).exists():
            cells[run.variant][run.seed] = Cell.load(_cell_file(run))
    first = next(iter(cells))
    if not cells[first]:
        raise InputError(f"No run of {first} is finished, with which the others are compared: leave out `--no_train`.")
    for name, (members, weighted) in ensembles.items():
        options = recipes[members[0]].model
        cells[name] = {
            seed: mean_cell([cells[member][seed] for member in members], options, weighted=weighted)
            for seed in sorted(set.intersection(*(set(cells[member]) for member in members)))
        }
    return compare_variants({name: list(by_seed.values()) for name, by_seed in cells.items() if by_seed})


def _write(output: Path, summary: Summary) -> None:
    from trainer_ext.comparison.figures import draw_classes, draw_gains
    from trainer_ext.comparison.variants import class_rows, comparison_rows
    from trainer_ext.reports.plots import figure_png

    rows = comparison_rows(summary)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    table = "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]) + "\n"
    # The first variant lacks the columns of the gains.
    fields = list(dict.fromkeys(key for entry in summary["variants"].values() for key in entry))
    numbers = [["variant", *fields]]
    numbers += [[name, *(entry.get(key, "") for key in fields)] for name, entry in summary["variants"].items()]
    files = {
        "comparison.md": (table + _NOTES).encode(),
        "comparison.csv": _sheet(numbers),
        "comparison.json": (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode(),
        "comparison.png": figure_png(draw_gains(summary)),
        "classes.csv": _sheet(class_rows(summary)),
        "classes.png": figure_png(draw_classes(summary)),
    }
    for name, content in files.items():
        partial = output / f"{name}.partial"
        partial.write_bytes(content)
        partial.replace(output / name)
    print(f"\n{table}\nSaved to {output}.")


def _sheet(rows: Sequence[Sequence[Any]]) -> bytes:
    sheet = io.StringIO()
    csv.writer(sheet).writerows(rows)
    return sheet.getvalue().encode()


if __name__ == "__main__":
    main()
