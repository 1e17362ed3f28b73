# SPDX-License-Identifier: Apache-2.0
"""The plan of a comparison, read from COMPARISON.yaml: its variants, its ensembles, and the runs that they need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..recipe import Recipe, load_recipe
from ..recipe_file import read_yaml
from .jobs import Run
from .runs import RunPredictions, mean_predictions, predictions_file

_FIRST_SEED = 1
_REFERENCE = "variant:"


class Ensemble(NamedTuple):
    """Variants whose probabilities are averaged, or whose logits are, with weights from the validation split."""

    members: list[str]
    weighted: bool


@dataclass(frozen=True)
class ComparisonPlan:
    """
    The content of a COMPARISON.yaml.

    Args:
        path (`Path`): The file.
        recipe (`str`): Path of the recipe.
        variants (`dict[str, dict[str, Any]]`): Name to the fields in which it differs from the recipe; the others are
            compared with the first. `variant:NAME` in a value stands for the folder of another variant's run; a
            `recipe` of its own, beside the file, takes the place of the common one.
        ensembles (`dict[str, Ensemble]`): Name to its members.
        steps (`frozenset[str]`, *optional*): Those of the variants that others need and that are not compared, as
            their labels or texts are others.
    """

    path: Path
    recipe: str
    variants: dict[str, dict[str, Any]]
    ensembles: dict[str, Ensemble]
    steps: frozenset[str] = frozenset()

    def needs(self, variant: str) -> set[str]:
        """The variants to which its fields refer."""
        return _references(self.variants[variant])

    def only(self, names: Sequence[str]) -> ComparisonPlan:
        """
        The plan of the named variants and those that they need, with ensembles of these alone.

        Raises:
            `InputError`: If there is no such variant.
        """
        if unknown := [name for name in names if name not in self.variants]:
            raise InputError(f"{self.path} has no variant {unknown[0]!r}; there are {', '.join(self.variants)}.")
        kept, waiting = set[str](), {*names}
        while waiting:
            kept |= waiting
            waiting = set().union(*map(self.needs, waiting)) - kept
        return replace(
            self,
            variants={name: fields for name, fields in self.variants.items() if name in kept},
            ensembles={
                name: ensemble for name, ensemble in self.ensembles.items() if kept.issuperset(ensemble.members)
            },
        )

    def recipe_of(self, variant: str) -> str:
        """The path of its recipe."""
        own = self.variants[variant].get("recipe")
        return self.recipe if own is None else str(self.path.parent / str(own))

    def recipes(self, overrides: Sequence[str], folder: Path) -> dict[str, Recipe]:
        """The recipe of each variant, so that a slip in any of them is known before the first one is trained."""
        return {
            variant: load_recipe(
                self.recipe_of(variant), [*overrides, *field_arguments(fields), "--output_dir", str(folder / variant)]
            )
            for variant, fields in self.variants.items()
        }

    def runs(self, recipes: Mapping[str, Recipe], overrides: Sequence[str], folder: Path, num_seeds: int) -> list[Run]:
        """The runs of all variants, of which `recipes` has the recipes, in `<folder>/<variant>/seed_<seed>`."""
        # Seed by seed: so all variants can be compared early.
        return [
            Run(
                variant,
                seed,
                folder / variant / f"seed_{seed}",
                self.recipe_of(variant),
                [
                    *overrides,
                    *field_arguments(_resolve(fields, folder, seed)),
                    *("--seed", str(seed)),
                    *_division(recipes[variant]),
                ],
                [folder / other / f"seed_{seed}" for other in sorted(_references(fields))],
            )
            for seed in range(_FIRST_SEED, _FIRST_SEED + num_seeds)
            for variant, fields in self.variants.items()
        ]

    def load_predictions(self, runs: Sequence[Run], recipes: Mapping[str, Recipe]) -> dict[str, list[RunPredictions]]:
        """
        The predictions of the finished runs of each variant and of the ensembles; without those that have none.

        Raises:
            `InputError`: If no run of the first variant is finished.
        """
        by_seed: dict[str, dict[int, RunPredictions]] = {name: {} for name in self.variants if name not in self.steps}
        for run in runs:
            if run.variant in by_seed and (path := predictions_file(run.folder)).exists():
                by_seed[run.variant][run.seed] = RunPredictions.load(path)
        first = next(iter(by_seed))
        if not by_seed[first]:
            raise InputError(
                f"No run of {first} is finished, with which the others are compared: leave out `--no_train`."
            )
        for name, (members, weighted) in self.ensembles.items():
            options = recipes[members[0]].model
            by_seed[name] = {
                seed: mean_predictions([by_seed[member][seed] for member in members], options, weighted=weighted)
                for seed in sorted(set.intersection(*(set(by_seed[member]) for member in members)))
            }
        return {name: list(predictions.values()) for name, predictions in by_seed.items() if predictions}


def load_plan(path: Path) -> ComparisonPlan:
    """
    Read a COMPARISON.yaml.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `InputError`: If it is no comparison, or its variants refer to unknown ones or to one another in a circle.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no comparison {path}.")
    values = read_yaml(path)
    if not isinstance(values, dict) or values.keys() - {"ensembles", "steps"} != {"recipe", "variants"}:
        raise InputError(
            f"{path} must hold `recipe`, a file beside it, `variants` and perhaps `ensembles` and `steps`, and "
            "nothing else."
        )
    variants, steps = (_read_runs(path, values, kind) for kind in ("variants", "steps"))
    if both := sorted(variants.keys() & steps.keys()):
        raise InputError(f"{path}: {both[0]!r} is a variant and a step: give one of them another name.")
    _check_references(path, variants | steps)
    ensembles = _read_ensembles(path, values.get("ensembles", {}), list(variants))
    recipe = str(path.parent / values["recipe"])
    return ComparisonPlan(path, recipe, variants | steps, ensembles, frozenset(steps))


def _read_runs(path: Path, values: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    runs = values.get(kind, {})
    if not isinstance(runs, dict) or not all(isinstance(fields, dict) for fields in runs.values()):
        raise InputError(f"{path}: `{kind}` must map names to mappings of fields, got {runs!r}.")
    return runs


def _read_ensembles(path: Path, values: Any, variants: Sequence[str]) -> dict[str, Ensemble]:
    ensembles = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        weighted = isinstance(value, dict) and [*value] == ["weighted"]
        ensembles[name] = Ensemble(value["weighted"] if weighted else value, weighted)
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


def _check_references(path: Path, variants: Mapping[str, Any]) -> None:
    needs = {variant: _references(fields) for variant, fields in variants.items()}
    for variant, others in needs.items():
        if unknown := sorted(others - needs.keys()):
            raise InputError(f"{path}: {variant} speaks of the variant {unknown[0]!r}; there are {', '.join(needs)}.")
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise InputError(f"{path}: variants need one another: {' -> '.join(error.args[1])}.") from None


def _references(value: Any) -> set[str]:
    """The variants to which a value refers, wherever in it."""
    if isinstance(value, str):
        return {value.removeprefix(_REFERENCE)} if value.startswith(_REFERENCE) else set()
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(_references, values))


def _resolve(value: Any, folder: Path, seed: int) -> Any:
    """The value with folders in place of variants."""
    if isinstance(value, dict):
        return {key: _resolve(entry, folder, seed) for key, entry in value.items()}
    if isinstance(value, list):
        return [_resolve(entry, folder, seed) for entry in value]
    if isinstance(value, str) and value.startswith(_REFERENCE):
        return str(folder / value.removeprefix(_REFERENCE) / f"seed_{seed}")
    return value


def field_arguments(fields: Mapping[str, Any]) -> list[str]:
    """Fields of a recipe, all but the name of the recipe itself, as command-line arguments."""
    pairs = (
        (f"--{name}", json.dumps(value, ensure_ascii=False)) for name, value in fields.items() if name != "recipe"
    )
    return [argument for pair in pairs for argument in pair]


def _division(recipe: Recipe) -> list[str]:
    """The argument by which texts that a ratio divides are divided alike in all runs."""
    is_divided = recipe.data.test_ratio and recipe.data.split_seed is None
    return ["--split_seed", str(recipe.training.seed)] if is_divided else []


def check_test_split(recipes: Mapping[str, Recipe]) -> None:
    """
    Look for a test split before any training; only loading tells which splits a data set of the Hub has.

    Raises:
        `InputError`: If a recipe names neither a data set of the Hub nor a test file or ratio.
    """
    for recipe in recipes.values():
        data = recipe.data
        if not (data.dataset_name or data.test_file or data.test_ratio):
            raise InputError("A comparison needs a test split: give a `test_file` or a `test_ratio`.")
