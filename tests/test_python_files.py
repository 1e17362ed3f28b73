# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.validation.python_files: only what the Hub's loaders follow may be imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.validation.python_files import defines, import_problems

HELPER = "VALUE = 1\n"
NOT_FOLLOWED = "is not followed by the Hub's loaders: write `from .file import name`"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "import hub.staging",
            "model.py:3: imports hub, which is neither in the folder nor named in requirements.txt",
        ),
        ("from trainer_ext.evaluation.metrics import x", "model.py:3: imports trainer_ext, which is neither"),
        ("def f():\n    import sklearn", "model.py:4: imports sklearn, which is neither"),
        ("try:\n    import flair\nexcept ImportError:\n    pass", "model.py:4: imports flair, which is neither"),
        ("if TYPE_CHECKING:\n    from peft import LoraConfig", "model.py:4: imports peft, which is neither"),
        ("from . import helper", f"model.py:3: `from . import` {NOT_FOLLOWED}"),
        ("from ..helper import VALUE", f"model.py:3: `from ..helper import` {NOT_FOLLOWED}"),
        ("from .parts.helper import VALUE", f"model.py:3: `from .parts.helper import` {NOT_FOLLOWED}"),
        ("from .gone import x", "model.py:3: reads like an import of .gone, for which there is no file gone.py"),
        ('TEXT = """\n   from .gone import x\n"""', "model.py:4: reads like an import of .gone, for which"),
        # Found in the checkout, but not copied with the file.
        ("import helper", "model.py:3: imports helper, which is neither"),
    ],
)
def test_imports_that_do_not_work_on_the_hub_are_named(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, helper=HELPER, model=f"import torch\nfrom .helper import VALUE\n{line}\n")
    problems = import_problems(tmp_path, "model")
    assert len(problems) == 1, problems
    assert problems[0].startswith(message)


def test_packages_of_the_kind_and_of_the_requirements_may_be_imported(tmp_path: Path) -> None:
    code = "import os, json\nimport numpy as np\nimport torch\nimport yaml\nfrom transformers.utils import logging\n"
    write(tmp_path, helper=HELPER, model=code + "from .helper import VALUE\nimport sklearn.metrics\nimport PIL\n")
    (tmp_path / "requirements.txt").write_text("# needed\nScikit_Learn>=1.7 ; python_version > '3'\n-r x\npillow\n")
    assert import_problems(tmp_path, "model") == []
    names = [problem.partition(" imports ")[2].partition(",")[0] for problem in import_problems(tmp_path, "dataset")]
    assert names == ["numpy", "torch", "yaml", "transformers"]


def test_apps_import_their_neighbours_and_what_a_space_has(tmp_path: Path) -> None:
    write(tmp_path, app="import gradio\nimport metric\nimport evaluate\n", metric="import evaluate\n")
    said = ["app.py:3: imports evaluate, which is neither in the folder nor named in requirements.txt"]
    assert import_problems(tmp_path, "metric") == said
    (tmp_path / "requirements.txt").write_text("evaluate\n")
    assert import_problems(tmp_path, "metric") == []


def test_metric_imports_one_module_per_line(tmp_path: Path) -> None:
    write(tmp_path, metric="import datasets, evaluate\n")
    assert import_problems(tmp_path, "metric") == [
        "metric.py:1: imports several modules on one line, which evaluate does not follow: one line each"
    ]


def test_broken_and_nested_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", helper=HELPER)
    write(tmp_path, model="import torch\nx = = 1\n")
    problems = import_problems(tmp_path, "model")
    assert [problem.partition(" (")[0] for problem in problems] == [
        "model.py:2: is not Python",
        "parts/helper.py: code in a sub-folder is not loaded from the Hub: move it beside the others",
    ]


def test_classes_are_found_by_reference(tmp_path: Path) -> None:
    write(tmp_path, model="import torch\n\nclass Model:\n    class Inner: ...\n\nOther = Model\n", broken="x = = 1\n")
    assert defines(tmp_path, "model.Model")
    for reference in ("model.Inner", "model.Other", "other.Model", "broken.Model", "Model", "", "parts.model.Model"):
        assert not defines(tmp_path, reference), reference
