# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.compare: real runs of two variants, nothing repeated, and one clear line for bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from recipe_samples import write_recipe

from scripts import compare
from trainer_ext.recipe import load_recipe

COMPARISONS = sorted((Path(compare.__file__).parent / "comparisons").glob("*.yaml"))


def write_comparison(folder: Path, **values: object) -> Path:
    write_recipe(folder, num_train_epochs=1)
    content = {"recipe": "recipe.yaml", "variants": {"plain": {}, "lca": {"correlation_loss": "lca"}}} | values
    path = folder / "comparison.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def fails(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        compare.main(list(arguments))
    assert stopped.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_every_comparison_loads(path: Path, tmp_path: Path) -> None:
    recipe, variants = compare._load_comparison(path)
    assert len(variants) > 1
    for fields in variants.values():
        load_recipe(recipe, [*compare._arguments(fields), "--output_dir", str(tmp_path), "--precision", "fp32"])


@pytest.mark.slow
def test_variants_are_trained_once_and_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, output = write_comparison(tmp_path), tmp_path / "runs"
    arguments = [str(path), "--seeds", "2", "--jobs", "2", "--output_dir", str(output)]
    summary = compare.main(arguments)
    assert list(summary) == ["plain", "lca"]
    for variant in summary:
        values = []
        for seed in (1, 2):
            run = output / variant / f"seed_{seed}"
            results = json.loads((run / "eval_results.json").read_text(encoding="utf-8"))
            values.append(results["test_macro_f1"])
            assert ("loss/correlation" in (run / "train.log").read_text()) == (variant == "lca")
        assert values[0] != values[1]
        assert summary[variant]["macro_f1"] == pytest.approx(sum(values) / 2, abs=1e-6)
    assert json.loads((output / "comparison.json").read_text(encoding="utf-8")) == json.loads(json.dumps(summary))
    with (output / "comparison.csv").open(encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert [row[0] for row in rows] == ["variant", "plain", "lca"]
    assert (output / "comparison.md").read_text(encoding="utf-8").count("\n") == 4

    stamps = {log: log.stat().st_mtime_ns for log in output.rglob("train.log")}
    capfd.readouterr()
    assert compare.main(arguments) == summary
    assert "4 runs are finished, 0 to do." in capfd.readouterr().out
    assert {log: log.stat().st_mtime_ns for log in output.rglob("train.log")} == stamps


def test_a_bad_variant_is_found_before_any_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_comparison(tmp_path, variants={"plain": {}, "bad": {"correlation_los": "lca"}})
    assert "did you mean `correlation_loss`" in fails(capfd, str(path), "--output_dir", str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_other_bad_input_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "There is no comparison nowhere.yaml" in fails(capfd, "nowhere.yaml")
    assert "--seeds must be at least 1, got 0" in fails(capfd, str(write_comparison(tmp_path)), "--seeds", "0")
    path = write_comparison(tmp_path, extra=1)
    assert "must hold `recipe`, a file beside it, and `variants`" in fails(capfd, str(path))
    path = write_comparison(tmp_path, variants=["plain"])
    assert "`variants` must map names to mappings of fields, got ['plain']" in fails(capfd, str(path))
    path = write_comparison(tmp_path, recipe="other.yaml")
    assert "There is no recipe" in fails(capfd, str(path))
