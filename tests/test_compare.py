# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.compare: tables from predictions alone, real runs that are not repeated, a kill, bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import fails
from PIL import Image
from recipe_samples import write_recipe
from run_samples import make_variants

from scripts import compare
from scripts._training import load_data
from trainer_ext.comparison import jobs
from trainer_ext.comparison.jobs import Run
from trainer_ext.comparison.plan import field_arguments, load_plan
from trainer_ext.comparison.runs import RunPredictions, mean_predictions
from trainer_ext.comparison.variants import compare_variants
from trainer_ext.errors import InputError
from trainer_ext.evaluation.metrics import multilabel_metrics
from trainer_ext.recipe import ModelArguments, load_recipe

ROOT = Path(compare.__file__).parent.parent
COMPARISONS = sorted((ROOT / "scripts" / "comparisons").glob("*.yaml"))
ENSEMBLES = {"mean": ["plain", "same"], "weighted": {"weighted": ["plain", "better"]}}
FILES = [*(f"comparison.{kind}" for kind in ("md", "csv", "json", "png")), "classes.csv", "classes.png"]


def write_comparison(folder: Path, **values: object) -> Path:
    if not (folder / "recipe.yaml").exists():
        write_recipe(folder, num_train_epochs=1)
    content = {"recipe": "recipe.yaml", "variants": {"plain": {}, "lca": {"correlation_loss": "lca"}}} | values
    path = folder / "comparison.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def write_finished_runs(folder: Path) -> tuple[list[str], dict[str, list[RunPredictions]]]:
    """Finished runs of three variants without their models or data, and the command that compares them."""
    (folder / "recipe.yaml").write_text("train_file: not/there.csv\nprecision: fp32\n", encoding="utf-8")
    variants = make_variants()
    path = write_comparison(folder, variants={name: {} for name in variants}, ensembles=ENSEMBLES)
    for name, runs in variants.items():
        for seed, run in enumerate(runs, start=1):
            # Both names at which finished runs have them.
            file = "cell.npz" if name == "same" else "predictions.npz"
            run.save(folder / "runs" / name / f"seed_{seed}" / file)
    return [str(path), "--no_train", "--output_dir", str(folder / "runs")], variants


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_every_comparison_loads(path: Path, tmp_path: Path) -> None:
    plan = load_plan(path)
    assert len(plan.variants) > 1
    assert [*plan.recipes(["--precision", "fp32"], tmp_path)] == [*plan.variants]


@pytest.mark.parametrize("name", ["stacking", "stacking_arabic"])
def test_ablation_has_every_subset_of_the_encoders(name: str) -> None:
    plan = load_plan(ROOT / "scripts" / "comparisons" / f"{name}.yaml")
    encoders = yaml.safe_load(Path(plan.recipe).read_text(encoding="utf-8"))["encoders"]
    subsets = [fields.get("only_encoders", list(encoders)) for fields in plan.variants.values()]
    assert {frozenset(subset) for subset in subsets} == {
        frozenset(subset)
        for number in range(1, 8)
        for subset in [[encoder for bit, encoder in enumerate(encoders) if number >> bit & 1]]
    }
    assert [ensemble.weighted for ensemble in plan.ensembles.values()] == [False, True]
    for members, _ in plan.ensembles.values():
        assert [plan.variants[member]["only_encoders"] for member in members] == [[name] for name in encoders]


# ----------------------------------------------------------------------------------------------- from finished runs


@pytest.mark.slow
def test_everything_is_made_from_predictions_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, variants = write_finished_runs(tmp_path)
    summary = compare.main(arguments)
    assert "9 runs are finished, 0 to do." in capsys.readouterr().out
    pairs = zip(variants["plain"], variants["same"], strict=True)
    variants["mean"] = [mean_predictions(pair, ModelArguments()) for pair in pairs]
    pairs = zip(variants["plain"], variants["better"], strict=True)
    variants["weighted"] = [mean_predictions(pair, ModelArguments(), weighted=True) for pair in pairs]
    assert summary == compare_variants(variants)
    output = tmp_path / "runs"
    assert json.loads((output / "comparison.json").read_text(encoding="utf-8")) == summary
    with (output / "comparison.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["variant"] for row in rows] == ["plain", "better", "same", "mean", "weighted"]
    assert rows[0]["macro_f1_gain"] == ""
    assert float(rows[1]["macro_f1_p_holm"]) == summary["variants"]["better"]["macro_f1_p_holm"]
    with (output / "classes.csv").open(encoding="utf-8") as stream:
        classes = list(csv.DictReader(stream))
    assert [row["label"] for row in classes] == ["anger", "joy", "fear", "grief", "pride"]
    assert float(classes[3]["mean"]) == summary["labels"]["grief"]["f1"]["mean"]
    table = (output / "comparison.md").read_text(encoding="utf-8")
    assert [line.split(" | ")[0] for line in table.splitlines()[2:6]] == ["| plain", "| better", "| same", "| mean"]
    assert "Holm's" in table
    for name in ("comparison.png", "classes.png"):
        with Image.open(output / name) as image:
            assert min(image.size) > 200
    assert {path.name for path in output.iterdir()} == {*FILES, "plain", "better", "same"}
    before = {name: (output / name).read_bytes() for name in FILES}
    compare.main(arguments)
    assert {name: (output / name).read_bytes() for name in FILES} == before


def test_missing_runs_are_named_and_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, _ = write_finished_runs(tmp_path)
    shutil.rmtree(tmp_path / "runs" / "better")
    (tmp_path / "runs" / "same" / "seed_2" / "cell.npz").unlink()
    summary = compare.main(arguments)
    output_text = capfd.readouterr().out
    assert [line for line in output_text.splitlines() if line.startswith("Missing: ")] == [
        *("Missing: better/seed_1", "Missing: better/seed_2", "Missing: same/seed_2", "Missing: better/seed_3")
    ]
    counts = {name: entry["num_runs"] for name, entry in summary["variants"].items()}
    assert counts == {"plain": 3, "same": 2, "mean": 2}
    shutil.rmtree(tmp_path / "runs" / "plain")
    assert "No run of plain is finished, with which the others are compared" in fails(compare.main, capfd, *arguments)


def test_runs_of_other_settings_are_refused_before_any_is_trained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, _ = write_finished_runs(tmp_path)
    (tmp_path / "runs" / "plain" / "seed_1" / "settings.json").write_text("{}", encoding="utf-8")
    arguments.remove("--no_train")
    assert "plain/seed_1 was begun with other settings" in fails(compare.main, capfd, *arguments, "--seeds", "4")
    assert not (tmp_path / "runs" / "plain" / "seed_4").exists()


def test_all_runs_have_the_same_test_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trained: list[Run] = []
    monkeypatch.setattr(jobs, "train_runs", lambda runs, *options: trained.extend(runs) or ["none trained"])
    write_recipe(tmp_path, test_file=None, test_ratio=0.25)
    path = write_comparison(tmp_path, variants={"plain": {}, "own": {"split_seed": 3}})
    with pytest.raises(SystemExit, match="error: none trained"):
        compare.main([str(path), "--seeds", "2", "--output_dir", str(tmp_path / "runs")])
    recipes = [load_recipe(run.recipe, [*run.overrides, "--output_dir", str(run.folder)]) for run in trained]
    assert [(recipe.training.seed, recipe.data.split_seed) for recipe in recipes] == [(1, 7), (1, 3), (2, 7), (2, 3)]
    first, own, second, _ = (load_data(recipe.data, recipe.training.seed).splits["test"]["text"] for recipe in recipes)
    assert first[:] == second[:] != own[:]


def test_variants_may_have_values_of_any_script() -> None:
    assert field_arguments({"label_weights": {"فرح 😀": 2.0}}) == ["--label_weights", '{"فرح 😀": 2.0}']


# -------------------------------------------------------------------------------------------------------- real runs


@pytest.mark.slow
def test_variants_are_trained_once_and_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_comparison(tmp_path, ensembles={"mean": ["plain", "lca"]})
    output = tmp_path / "runs"
    arguments = [str(path), "--seeds", "2", "--jobs", "2", "--output_dir", str(output)]
    summary = compare.main(arguments)
    output_text = capfd.readouterr().out
    assert "0 runs are finished, 4 to do." in output_text
    assert "4 of 4: " in output_text
    assert list(summary["variants"]) == ["plain", "lca", "mean"]
    for variant in ("plain", "lca"):
        values = []
        for seed in (1, 2):
            run = output / variant / f"seed_{seed}"
            results = json.loads((run / "eval_results.json").read_text(encoding="utf-8"))
            predictions = RunPredictions.load(run / "predictions.npz")
            for split in ("validation", "test"):
                labels, probabilities = (
                    getattr(predictions, f"{split}_{name}") for name in ("labels", "probabilities")
                )
                metrics = multilabel_metrics(labels, probabilities, thresholds=predictions.thresholds)
                for metric in ("macro_f1", "micro_f1", "macro_roc_auc", "macro_average_precision"):
                    assert results[f"{split}_{metric}"] == pytest.approx(metrics[metric], abs=1e-6)
            assert predictions.train_counts.sum() == sum(
                entry["count"] for entry in json.loads((run / "label_statistics.json").read_text())["labels"].values()
            )
            values.append(results["test_macro_f1"])
            assert ("loss/correlation" in (run / "train.log").read_text()) == (variant == "lca")
        assert values[0] != values[1]
        assert summary["variants"][variant]["macro_f1"] == pytest.approx(sum(values) / 2, abs=1e-6)

    stamps = {log: log.stat().st_mtime_ns for log in output.rglob("train.log")}
    assert compare.main(arguments) == summary
    assert "4 runs are finished, 0 to do." in capfd.readouterr().out
    assert {log: log.stat().st_mtime_ns for log in output.rglob("train.log")} == stamps

    # One run from scratch, one of which only the predictions are gone: the same numbers.
    shutil.rmtree(output / "plain" / "seed_2")
    (output / "lca" / "seed_1" / "predictions.npz").unlink()
    assert compare.main(arguments) == summary
    assert (output / "lca" / "seed_1" / "train.log").read_text().count("Results on test") == 1


@pytest.mark.slow
def test_killed_comparison_goes_on_and_ends_as_if_it_had_not_been_killed(tmp_path: Path) -> None:
    write_recipe(
        tmp_path,
        num_train_epochs=8,
        save_strategy="steps",
        save_steps=8,
        eval_strategy="no",
        load_best_model_at_end=False,
        logging_steps=4,
    )
    path = write_comparison(tmp_path, variants={"plain": {}})
    # Two jobs for one run: it gets half of the cores.
    arguments = [str(path), "--seeds", "1", "--jobs", "2", "--output_dir"]
    killed = tmp_path / "killed" / "plain" / "seed_1"
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.compare", *arguments, str(tmp_path / "killed")], cwd=ROOT, env=os.environ
    )
    try:
        deadline = time.monotonic() + 600
        while not any(killed.glob("checkpoints/checkpoint-*/trainer_state.json")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    log = killed / "train.log"
    sizes = [-1, log.stat().st_size]
    # The run ends with its parent, if not at once.
    while sizes[-1] != sizes[-2] and time.monotonic() < deadline:
        time.sleep(1.0)
        sizes.append(log.stat().st_size)
    assert not (killed / "eval_results.json").exists()
    num_logged = log.read_text().count("'loss'")
    summaries = [compare.main([*arguments, str(tmp_path / name)]) for name in ("killed", "whole")]
    assert summaries[0] == summaries[1]
    runs = [
        RunPredictions.load(tmp_path / name / "plain" / "seed_1" / "predictions.npz") for name in ("killed", "whole")
    ]
    np.testing.assert_array_equal(runs[0].test_probabilities, runs[1].test_probabilities)
    whole = (tmp_path / "whole" / "plain" / "seed_1" / "train.log").read_text().count("'loss'")
    assert whole == 16
    assert log.read_text().count("'loss'") < num_logged + whole


# -------------------------------------------------------------------------------------------------------- bad input


def test_a_bad_variant_is_found_before_any_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_comparison(tmp_path, variants={"plain": {}, "bad": {"correlation_los": "lca"}})
    assert "did you mean `correlation_loss`" in fails(compare.main, capfd, path, "--output_dir", tmp_path / "runs")
    path = write_comparison(tmp_path, variants={"plain": {}, "bad": {"only_encoders": ["other"]}})
    error = fails(compare.main, capfd, path, "--output_dir", tmp_path / "runs")
    assert "`only_encoders` must name some of words, bytes, got ['other']" in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"extra": 1}, "`variants` and perhaps `ensembles` and `steps`, and nothing else"),
        ({"steps": ["plain"]}, "`steps` must map names to mappings of fields, got ['plain']"),
        ({"steps": {"lca": {}}}, "'lca' is a variant and a step: give one of them another name"),
        ({"variants": ["plain"]}, "`variants` must map names to mappings of fields, got ['plain']"),
        ({"recipe": "other.yaml"}, "There is no recipe"),
        ({"ensembles": ["plain"]}, "lists of variants, or to `weighted` and a list, got ['plain']"),
        ({"ensembles": {"both": "plain"}}, "or to `weighted` and a list, got {'both': 'plain'}"),
        ({"ensembles": {"both": {"weighted": "plain"}}}, "and a list, got {'both': {'weighted': 'plain'}}"),
        ({"ensembles": {"both": {"wieghted": ["plain"]}}}, "and a list, got {'both': {'wieghted': ['plain']}}"),
        ({"ensembles": {"both": {"weighted": ["lsa"]}}}, "some of the variants plain, lca, got both: ['lsa']"),
        ({"ensembles": {"both": ["plain", "lsa"]}}, "some of the variants plain, lca, got both: ['plain', 'lsa']"),
        ({"ensembles": {"both": []}}, "some of the variants plain, lca, got both: []"),
        ({"ensembles": {"lca": ["plain"]}}, "must have a name of its own"),
    ],
)
def test_a_bad_comparison_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], values: dict[str, Any], message: str
) -> None:
    assert message in fails(compare.main, capfd, write_comparison(tmp_path, **values))


def test_a_comparison_without_a_test_split_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(write_comparison(tmp_path))
    error = fails(compare.main, capfd, path, "--test_file", "null", "--output_dir", tmp_path / "runs")
    assert error == "error: A comparison needs a test split: give a `test_file` or a `test_ratio`."
    assert not (tmp_path / "runs").exists()


def test_variants_may_need_others(tmp_path: Path) -> None:
    encoder = {"architecture": "bert", "tokenizer": "wordpiece", "vocab_size": 200, "num_attention_heads": 2}
    stack = {"encoders": {"words": {"trained": "variant:words"}, "more": encoder}, "seed": 1}
    plan = load_plan(write_comparison(tmp_path, variants={"stack": stack, "words": {"only_encoders": ["words"]}}))
    assert (plan.needs("stack"), plan.needs("words")) == ({"words"}, set())
    recipes = plan.recipes([], tmp_path / "runs")
    _, words, stacked, _ = plan.runs(recipes, ["--precision", "fp32"], tmp_path / "runs", 2)
    assert (str(words), str(stacked)) == ("words/seed_1", "stack/seed_2")
    assert words.overrides == ["--precision", "fp32", "--only_encoders", '["words"]', "--seed", "1"]
    assert (list(words.needs), list(stacked.needs)) == ([], [tmp_path / "runs" / "words" / "seed_2"])
    encoders = {"words": {"trained": str(tmp_path / "runs" / "words" / "seed_2")}, "more": encoder}
    arguments = ["--encoders", json.dumps(encoders), "--seed", "1", "--seed", "2"]
    assert stacked.overrides == ["--precision", "fp32", *arguments]


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"stack": {"x": ["variant:c"]}, "a": {}}, r"stack speaks of the variant 'c'; there are stack, a\.$"),
        ({"a": {"x": "variant:b"}, "b": {"x": "variant:a"}}, r"variants need one another: .*a -> "),
    ],
)
def test_bad_references_are_refused(tmp_path: Path, variants: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_plan(write_comparison(tmp_path, variants=variants))


def test_steps_are_run_and_not_compared(tmp_path: Path) -> None:
    arguments, variants = write_finished_runs(tmp_path)
    needed = {"encoders": {"words": {"trained": "variant:joined"}}}
    path = write_comparison(tmp_path, variants={"plain": {}, "better": needed}, steps={"joined": {"seed": 5}})
    plan = load_plan(path)
    assert (list(plan.variants), plan.needs("better")) == (["plain", "better", "joined"], {"joined"})
    assert list(plan.only(["plain"]).variants) == ["plain"]
    # Its predictions are those of other texts.
    variants["same"][0].save(tmp_path / "runs" / "joined" / "seed_1" / "predictions.npz")
    assert [*compare.main(arguments)["variants"]] == ["plain", "better"]
    assert compare.main([*arguments, "--variants", "joined"]) == {}


def test_a_step_may_have_a_recipe_of_its_own(tmp_path: Path) -> None:
    write_recipe(tmp_path, num_train_epochs=1)
    other = tmp_path / "other"
    other.mkdir()
    write_recipe(other, num_train_epochs=7)
    own = {"recipe": "other/recipe.yaml", "learning_rate": 0.5}
    plan = load_plan(write_comparison(tmp_path, steps={"joined": own}))
    recipes = plan.recipes([], tmp_path)
    assert [recipe.training.num_train_epochs for recipe in recipes.values()] == [1, 1, 7]
    assert recipes["joined"].training.learning_rate == 0.5
    paths = {run.variant: run.recipe for run in plan.runs(recipes, [], tmp_path, 1)}
    assert paths["joined"] == str(other / "recipe.yaml")
    assert paths["plain"] == plan.recipe


def test_named_variants_come_with_what_they_need(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, _ = write_finished_runs(tmp_path)
    counted = compare.main([*arguments, "--variants", "same", "plain"])["variants"]
    assert [*counted] == ["plain", "same", "mean"]
    capfd.readouterr()
    stack = {"encoders": {"words": {"trained": "variant:middle"}}}
    variants = {"plain": {}, "lone": {}, "stack": stack, "middle": {"seed": "variant:last"}, "last": {}}
    path = write_comparison(tmp_path, variants=variants)
    plan = load_plan(path)
    assert [*plan.only(["stack"]).variants] == ["stack", "middle", "last"]
    assert plan.only([*variants]) == plan
    error = fails(compare.main, capfd, path, "--variants", "stack", "stakc")
    assert error == f"error: {path} has no variant 'stakc'; there are plain, lone, stack, middle, last."


def test_other_bad_input_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "There is no comparison nowhere.yaml" in fails(compare.main, capfd, "nowhere.yaml")
    path = str(write_comparison(tmp_path))
    assert "`--seeds` must be an integer of at least 1, got 0" in fails(compare.main, capfd, path, "--seeds", "0")
    assert "`--jobs` must be an integer of at least 1, got 0" in fails(compare.main, capfd, path, "--jobs", "0")
    for seed in (["--seed", "42"], ["--seed=42"]):
        assert "--seed is that of one run, and a comparison has several" in fails(compare.main, capfd, path, *seed)
