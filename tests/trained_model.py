# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin with one model, trained once per session by the command; test files name it in `pytest_plugins`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from recipe_samples import write_recipe

from scripts import train


class Trained(NamedTuple):
    """The folder that training left, its eval_results.json, what `main` returned and the folder of the data files."""

    folder: Path
    results: dict[str, float]
    returned: dict[str, float]
    data: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    data = tmp_path_factory.mktemp("trained")
    returned = train.main([str(write_recipe(data))])
    results = json.loads((data / "output" / "eval_results.json").read_text(encoding="utf-8"))
    return Trained(data / "output", results, returned, data)
