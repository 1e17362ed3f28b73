# SPDX-License-Identifier: Apache-2.0
"""Tests of the site, its notebooks, the page of errors, and the workflows that build, test and publish."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer_ext.errors import InputError
from trainer_ext.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class _Loader(yaml.SafeLoader):
    """YAML with mkdocs' tag for what an environment may change: the value is that without one."""


_Loader.add_constructor("!ENV", lambda loader, node: loader.construct_sequence(node)[-1])
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)


# --------------------------------------------------------------------------------------------------------------- pages


def nav_pages(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    entries = entry if isinstance(entry, list) else list(entry.values())
    return [page for part in entries for page in nav_pages(part)]


def test_every_page_is_in_the_navigation_once() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    # The README, and pages that are notebooks.
    pages |= {"index.md", *(f"notebooks/{path.stem}.md" for path in NOTEBOOKS)}
    assert sorted(nav_pages(SITE["nav"])) == sorted(pages)


def test_nothing_is_fetched_from_elsewhere() -> None:
    assert SITE["theme"]["font"] is False
    # With it the theme asks GitHub's API for stars.
    assert "repo_url" not in SITE
    assert not {"analytics", "consent"} & set(SITE["extra"])


@pytest.fixture
def hook() -> dict[str, Any]:
    """The names of docs/site.py, which is not on the path: `docs` is no package."""
    pytest.importorskip("mkdocs")
    names: dict[str, Any] = {"__name__": "site_hook", "__file__": str(DOCS / "site.py")}
    exec(compile((DOCS / "site.py").read_text(encoding="utf-8"), "site.py", "exec"), names)
    return names


def test_links_lead_into_the_site_or_to_the_repository(hook: dict[str, Any]) -> None:
    link = hook["site_link"]
    assert link("docs/data.md", "index.md", "R") == "data.md"
    assert link("docs/data.md", "api/model.md", "R") == "../data.md"
    assert link("README.md", "data.md", "R") == "index.md"
    assert link("docs/notebooks/publish_and_use.ipynb", "explain.md", "R") == "notebooks/publish_and_use.md"
    assert link("scripts/recipes", "data.md", "R") == "R/tree/main/scripts/recipes"
    assert link("scripts/train.py", "data.md", "R") == "R/blob/main/scripts/train.py"


# ----------------------------------------------------------------------------------------------------------- notebooks


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_valid_and_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert {*notebook["metadata"]} == {"kernelspec", "language_info"}
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert set(cell) >= {"cell_type", "id", "metadata", "source"}
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"])
            if not lines.startswith("!"):
                ast.parse(lines)
            for name in re.findall(r"python -m scripts\.(\w+)", lines):
                assert (ROOT / "scripts" / f"{name}.py").is_file(), name


def test_notebooks_begin_alike_and_name_the_repository_of_the_site() -> None:
    assert len(NOTEBOOKS) == 3
    first = {"".join(json.loads(path.read_text(encoding="utf-8"))["cells"][1]["source"]) for path in NOTEBOOKS}
    (code,) = first
    assert f'REPOSITORY = "{SITE["extra"]["repository"]}"' in code
    assert "constraints.txt" in code


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pages_of_notebooks_name_the_repository_of_their_site(hook: dict[str, Any], path: Path) -> None:
    page = hook["notebook_page"](path, "https://github.com/me/mine")
    assert page.count('\nREPOSITORY = "https://github.com/me/mine"\n') == 1
    assert f"(https://colab.research.google.com/github/me/mine/blob/main/docs/notebooks/{path.name})" in page
    assert "<owner>" not in page


def test_a_notebook_finds_its_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "".join(json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"][1]["source"])
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.chdir(DOCS / "notebooks")
    exec(code, {})
    assert Path.cwd() == ROOT
    # Elsewhere it is fetched, then installed.
    monkeypatch.chdir(tmp_path)
    commands: list[list[str]] = []

    def run(command: list[Any], **_: Any) -> None:
        commands.append([*map(str, command)])
        (tmp_path / "stacked-emotion").mkdir(exist_ok=True)

    monkeypatch.setattr(subprocess, "run", run)
    exec(code, {})
    assert [command[0] for command in commands] == ["git", sys.executable]
    assert Path.cwd() == tmp_path / "stacked-emotion"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    # A checkout whose outputs are gone afterwards.
    for name in ("LICENSE", "constraints.txt", "scripts", "hub", "modeling_stacked_emotion", "trainer_ext"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=resources).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    # A command that fails does not stop a notebook.
    assert not re.search(r"^(error:|Traceback)", printed, flags=re.MULTILINE), printed[-3000:]
    results = sorted(tmp_path.glob("outputs/*/eval_results.json"))
    wanted = {"train_on_your_csv": 1, "dialect_from_a_thousand_tweets": 3, "publish_and_use": 0}
    assert len(results) == wanted[path.stem]
    assert path.stem != "publish_and_use" or re.search(r"\d+ to add, 0 to change", printed)


# -------------------------------------------------------------------------------------------------- the page of errors

_LINES = [line or other for line, other in re.findall(
    r"^\| (?:`` ?(.+?) ?``|`(.+?)`) \|", (DOCS / "errors.md").read_text(encoding="utf-8"), flags=re.MULTILINE
)]  # fmt: skip


@cache
def texts_of_the_code() -> frozenset[str]:
    """All texts in the code of at least 8 characters, of those with gaps each part between two gaps."""
    return frozenset(
        node.value
        for package in ("modeling_stacked_emotion", "trainer_ext", "hub", "scripts")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= 8
    )


def written_share(line: str) -> float:
    """The share of a line, without the place before the first colon, that texts of the code make."""
    line = re.sub(r"^[\w.]+(, row \d+)?(, column '\w+')?: ", "", line)
    marks = [False] * len(line)
    for text in texts_of_the_code():
        if (start := line.find(text)) >= 0:
            marks[start : start + len(text)] = [True] * len(text)
    return sum(marks) / len(line)


def test_the_page_has_the_usual_lines() -> None:
    assert len(_LINES) > 60
    assert len({*_LINES}) == len(_LINES)
    for invented in (
        "train.csv, row 3: expected a moon, got a sun; wait for the night",
        "`pooling` must be the best of all, got the worst: leave the pool.",
    ):
        assert written_share(invented) < 0.3


@pytest.mark.parametrize("line", _LINES)
def test_lines_of_the_page_are_in_the_code(line: str) -> None:
    assert written_share(line) > 0.35, line


RECIPE_ERRORS = {
    "There is no recipe": ["my_recipe.yaml"],
    "recipe.yaml: unknown field": ["--learning_rat", "1"],
    "Expected `--field value`": ["learning_rate"],
    "`num_train_epochs` must be": ["--num_train_epochs", "many"],
    "`pooling` must be one of": ["--pooling", "median"],
    "`num_folds` is for": ["--num_folds", "3"],
    "`only_encoders` must name": ["--only_encoders", "[berta]"],
    "`only_sources` names": ["--sources", "{arq: {}, ary: {}}", "--only_sources", "[arqq]"],
    "Only a `teacher` can": ["--unlabelled_file", "posts.txt"],
}


@pytest.mark.parametrize("start", RECIPE_ERRORS)
def test_errors_of_recipes_are_those_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    (line,) = [line for line in _LINES if line.startswith(start)]
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text((ROOT / "scripts/recipes/quickstart.yaml").read_text(encoding="utf-8"))
    given = RECIPE_ERRORS[start]
    path, options = (given[0], []) if given[0].endswith(".yaml") else ("recipe.yaml", given)
    with pytest.raises((InputError, FileNotFoundError)) as raised:
        load_recipe(path, options)
    assert str(raised.value) == line


# ----------------------------------------------------------------------------------------------------------- workflows


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_do_little_and_name_what_they_use(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    # YAML reads the key `on` as true.
    assert workflow[True]
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 180, name
        assert {*job.get("permissions", {})} <= {"id-token", "pages"}, name
        assert {*([job["needs"]] if "needs" in job else [])} <= {*workflow["jobs"]}, name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step.get("uses", "a/b@v1")), step
            # What an outsider may choose, such as the title of a pull request, never becomes part of a command.
            assert "${{" not in step.get("run", ""), step


def test_workflows_test_the_versions_that_are_named() -> None:
    assert {path.stem for path in WORKFLOWS} == {"release", "site", "tests"}
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]
    tested = jobs["quick"]["strategy"]["matrix"]["python"]
    named = [entry.rpartition(" ")[2] for entry in PROJECT["classifiers"] if " :: Python :: 3." in entry]
    assert tested == named
    assert PROJECT["requires-python"] == f">={tested[0]}"
    assert any("lowest-direct" in step.get("run", "") for step in jobs["lowest"]["steps"])
    assert any(step.get("run") == ".ci/run" for step in jobs["everything"]["steps"])


def test_what_builds_the_site_is_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    for entry in PROJECT["optional-dependencies"]["docs"]:
        assert re.split(r"[\[>]", entry)[0] in pinned


# ------------------------------------------------------------------------------------------------------ the built site


@pytest.mark.slow
def test_the_site_builds_strictly_and_asks_nobody_else(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"REPOSITORY_URL": "https://example.org/me/stacked"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for page in nav_pages(SITE["nav"]):
        path = tmp_path / page.removesuffix("index.md").removesuffix(".md") / "index.html"
        html = path.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="([^"]+)"', html)
        loaded += re.findall(r'<link [^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="([^"]+)"', html)
        assert not [link for link in loaded if "//" in link], path
        levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
        assert levels.count(1) == 1, path
        assert all(after <= before + 1 for before, after in pairwise(levels)), path
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="https://example.org/me/stacked/blob/main/scripts/recipes/goemotions_stacked.yaml"' in start
    model = (tmp_path / "api" / "model" / "index.html").read_text(encoding="utf-8")
    assert "from_encoders" in model
    assert "meta_hidden_size" in model
