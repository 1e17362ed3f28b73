# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.quickstart: from a clean copy, without a network, in its two minutes, above the baseline."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import fails

from scripts import quickstart

ROOT = Path(__file__).resolve().parent.parent
# Wall-clock time says more of what else a machine does: two minutes on two cores, counted in seconds of work.
MAX_CPU_SECONDS = 2 * 120


@pytest.mark.slow
@pytest.mark.parametrize(("language", "num_labels"), [("en", 28), ("ar", 11)])
def test_quickstart_from_a_clean_copy(tmp_path: Path, language: str, num_labels: int) -> None:
    # A path that YAML would read as something else if it were not quoted.
    copy = tmp_path / "check out: a #1"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "outputs")
    for name in ("scripts", "hub", "trainer_ext", "modeling_stacked_emotion"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    before = {path for path in copy.rglob("*") if path.suffix != ".pyc"}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.quickstart", "--language", language],
        cwd=copy,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )
    total = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert total.ru_utime + total.ru_stime - used.ru_utime - used.ru_stime < MAX_CPU_SECONDS

    folder = copy / "outputs" / f"quickstart_{language}"
    after = {path for path in copy.rglob("*") if path.suffix != ".pyc" and folder not in path.parents}
    assert after - before == {folder.parent, folder}
    results = json.loads((folder / "eval_results.json").read_text(encoding="utf-8"))
    assert len([key for key in results if key.startswith("test_f1/") and not key.endswith("_at_0.5")]) == num_labels
    assert results["test_macro_f1"] > 2 * results["test_macro_f1_always_frequent"]
    assert results["test_micro_f1"] > results["test_micro_f1_always_frequent"]
    assert results["test_macro_roc_auc"] > 0.65

    said = done.stdout
    assert "macro_f1" in said
    _, _, predictions = said.partition("fresh process that cannot import this project:")
    for sentence in quickstart.SENTENCES[language]:
        assert f"  {sentence}\n    -> " in predictions
    assert any(f" {label} " in predictions for label in ("gratitude", "joy", "love", "sadness", "anger"))
    assert f"Model repository: {folder}" in predictions
    first = {"en": r"thank you, thank you\.\n  gratitude +█", "ar": r"ادعولي\n  fear +█"}
    assert re.search(first[language], predictions)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("language", ["en", "ar"])
def test_sentences_resemble_no_embedded_text(language: str) -> None:
    texts = [
        json.loads(line)["text"].casefold()
        for path in (quickstart.HERE / "data" / quickstart.LANGUAGES[language]).glob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(texts) > 600
    for sentence in quickstart.SENTENCES[language]:
        words = set(sentence.casefold().split())
        shared = [len(words & set(text.split())) / len(words | set(text.split())) for text in texts]
        assert max(shared) < 0.4


def test_recipe_is_run_with_quoted_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr("scripts.train.main", given.append)
    monkeypatch.setattr("subprocess.run", lambda command, **_: given.append(command))
    monkeypatch.setattr("scripts.predict.main", lambda arguments: None)
    quickstart.main(["--language", "ar", "--output_dir", str(tmp_path / "a: b #1")])
    (recipe, *fields), command = given
    assert recipe == str(quickstart.HERE / "recipes" / "quickstart.yaml")
    assert f'--output_dir="{tmp_path}/a: b #1"' in fields
    assert [field for field in fields if "/data/arabic/test.jsonl" in field]
    assert command[3:] == [str(tmp_path / "a: b #1"), *quickstart.SENTENCES["ar"]]
    said = capsys.readouterr().out
    assert said.endswith('python -m scripts.predict "your text"\n')


@pytest.mark.parametrize("language", ["en", "ar"])
def test_the_model_that_ships_reads_the_same_sentences(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, language: str
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr("scripts.train.main", lambda arguments: None)
    monkeypatch.setattr("subprocess.run", lambda command, **_: None)
    monkeypatch.setattr("scripts.predict.main", given.append)
    quickstart.main(["--language", language, "--output_dir", str(tmp_path)])
    assert given == [list(quickstart.SENTENCES[language])]


def test_output_dir_that_is_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    error = fails(quickstart.main, capfd, "--output_dir", tmp_path / "file")
    assert error == f"error: `output_dir` must be a folder, but {tmp_path / 'file'} is a file."
