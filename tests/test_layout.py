# SPDX-License-Identifier: Apache-2.0
"""Tests of the repository itself: who imports whom, and what the wheel holds."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SIBLINGS = {"modeling_stacked_emotion", "trainer_ext", "hub", "scripts", "tests"}
ALLOWED = {
    "modeling_stacked_emotion": set(),
    "trainer_ext": {"modeling_stacked_emotion"},
    "hub": {"modeling_stacked_emotion", "trainer_ext"},
    "scripts": {"modeling_stacked_emotion", "trainer_ext", "hub"},
}
# From the lowest to the highest; a module may import its own room and those before it.
ROOMS = (
    *("errors", "files", "digests", "precision", "memory", "loading", "data", "evaluation", "losses", "reports"),
    *("training", "encoders", "recipe_file", "recipe", "fields", "stages", "comparison"),
)
COMMANDS = sorted(path.stem for path in (ROOT / "scripts").glob("[a-z]*.py"))


@cache
def repository_files() -> list[Path]:
    """What git tracks or would track; where there is no git, everything but hidden and built files."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        files = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        built = {"outputs", "build", "dist", "__pycache__"}
        files = [
            path
            for path in ROOT.rglob("*")
            if not any(part.startswith(".") or part in built for part in path.relative_to(ROOT).parts)
        ]
    return [path for path in files if path.is_file()]


def modules(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it; relative ones lead to its own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_downwards(package: str) -> None:
    paths = modules(package)
    assert len(paths) > 2
    for path in paths:
        wrong = (imports(path) & SIBLINGS) - ALLOWED[package] - {package}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_rooms_of_the_trainer_import_only_downwards() -> None:
    folder = ROOT / "trainer_ext"
    entries = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert entries - {"__init__"} == set(ROOMS)
    for path in modules("trainer_ext"):
        room = path.relative_to(folder).with_suffix("").parts[0]
        if room == "__init__":
            continue
        levels = len(path.relative_to(folder).parts) - 1
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.level == 0 or node.level > levels):
                name = node.module or ""
                assert name.partition(".")[0] != "trainer_ext", f"{path.name}:{node.lineno} is not relative"
                if node.level > levels:
                    assert ROOMS.index(name.partition(".")[0]) <= ROOMS.index(room), (
                        f"{path.name}:{node.lineno}: {name}"
                    )


def test_modeling_files_import_each_other_in_the_form_that_the_hub_follows() -> None:
    """`from .file import name`, at column 0 or in a function; only then are the files found and saved together."""
    names = {path.stem for path in modules("modeling_stacked_emotion")}
    num_relative = 0
    for path in modules("modeling_stacked_emotion"):
        assert path.parent == ROOT / "modeling_stacked_emotion"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom | ast.Import):
                continue
            assert node.col_offset == 0 or id(node) in inside, f"{path.name}:{node.lineno}"
            assert "modeling_stacked_emotion" not in imports(path), path.name
            if isinstance(node, ast.ImportFrom) and node.level:
                num_relative += 1
                assert node.level == 1
                assert node.module in names, f"{path.name}:{node.lineno}"
    assert num_relative > 8


def test_wheel_holds_the_two_packages_and_no_more() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    setuptools = project["tool"]["setuptools"]
    assert sorted(setuptools["package-data"]) == ["modeling_stacked_emotion", "trainer_ext"]
    for package in setuptools["package-data"]:
        assert setuptools["package-data"][package] == ["py.typed"]
        assert (ROOT / package / "py.typed").is_file()
    # A folder that is not named would be left out of the wheel.
    folders = {path.parent for package in setuptools["package-data"] for path in modules(package)}
    assert sorted(setuptools["packages"]) == sorted(".".join(path.relative_to(ROOT).parts) for path in folders)
    extras = {"data", "demo", "dev", "docs", "metric", "onnx", "test", "vectors"}
    assert set(project["project"]["optional-dependencies"]) == extras
    assert project["project"]["license"] == "Apache-2.0"


def test_wheel_depends_on_what_it_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = project["project"]
    optional = project["optional-dependencies"]
    extras = ("data", "demo", "metric", "onnx", "vectors")
    entries = [*project["dependencies"], *(entry for extra in extras for entry in optional[extra])]
    declared = {re.split(r"[^\w-]", entry)[0].replace("-", "_") for entry in entries}
    declared = {{"pyyaml": "yaml", "scikit_learn": "sklearn"}.get(name, name) for name in declared}
    used = {name for package in ALLOWED for path in modules(package) for name in imports(path)}
    # Named by the benchmark that uses them where they are missing.
    used -= {"model2vec", "sentence_transformers", "playwright"}
    # What transformers' Trainer needs, and what only its own files import, is declared without being imported.
    assert used - set(sys.stdlib_module_names) - SIBLINGS <= declared


def test_every_python_file_begins_with_licence_and_docstring() -> None:
    paths = [path for path in repository_files() if path.suffix == ".py"]
    assert len(paths) > 30
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n"), path
        assert ast.get_docstring(ast.parse(text)), path


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"train", "distill"}))
def test_help_is_quick(command: str) -> None:
    """Whoever asks for help, or mistypes an option, does not wait for torch."""
    code = (
        f"import sys\nfrom scripts import {command}\n"
        f"try:\n    {command}.main(['--help'])\nexcept SystemExit as stopped:\n    assert stopped.code == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m scripts.{command} " in done.stdout
    assert "--help" in done.stdout


def test_help_of_train_lists_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    from scripts import train

    with pytest.raises(SystemExit) as stopped:
        train.main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: python -m scripts.train RECIPE.yaml [--quiet | --json] [--field value ...]")
    for field in ("train_file", "encoders", "head_learning_rate", "threshold_strategy"):
        assert f"--{field}" in said


def test_nothing_speaks_of_the_machine_it_was_written_on() -> None:
    # Put together here, so that this file does not hold them itself.
    private = [f"/{name}/" for name in ("work", "root", "Users")] + [f"/home/{name}/" for name in ("user", "ubuntu")]
    private += [str(ROOT) + os.sep]
    paths = repository_files()
    assert len(paths) > 50
    for path in paths:
        content = path.read_bytes()
        found = [word for word in private if word.encode() in content]
        assert not found, f"{path.relative_to(ROOT)} mentions {found}"
