# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.validation.snippets: a card's blocks run as a stranger would run them, on a Hub of one repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from staged_samples import dataset_folder, metric_folder, model_folder

from hub.validation.snippets import python_blocks, run_snippets
from hub.validation.validate import validate


def run(folder: Path, *blocks: str, repo_type: str = "model", **options: object) -> list[str]:
    text = "# x\n\n" + "\n".join(f"```python\n{block}\n```\n" for block in blocks)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return run_snippets(folder, repo_type, **options)  # type: ignore[arg-type]


def test_python_blocks_are_found_with_their_lines() -> None:
    card = (
        "```python\nx = 1\n```\n```bash\nls\n```\n- item:\n\n  ```py title=a\n  if x:\n      y = 2\n  ```\n"
        "```\nz\n```\n```python-console\nz\n```\n```python\n>>> x\n1\n>>> for i in x:\n...     i\n```\n"
    )
    blocks = python_blocks(card)
    assert blocks[:2] == [(2, "x = 1\n"), (10, "if x:\n    y = 2\n")]
    assert [line for line, _ in blocks] == [2, 10, 20]
    assert [line for line in blocks[2][1].splitlines() if not line.startswith("#")] == ["x", "for i in x:", "    i"]


def test_blocks_run_in_order_in_one_process(tmp_path: Path) -> None:
    assert (
        run(tmp_path, "import os\nx = 1", "assert __name__ == '__main__'\nassert x == 1 and os.listdir() == []") == []
    )
    assert run(tmp_path) == []


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("y = 1\nx + y", "README.md:9: the snippet fails: NameError: name 'x' is not defined"),
        (
            "def f():\n    raise ValueError('two\\nlines')\nf()",
            "README.md:9: the snippet fails: ValueError: two lines",
        ),
        ("a = 1\nb = = 2", "README.md:9: the snippet fails: "),
        ("import json\njson.loads('{')", "README.md:9: the snippet fails: json.decoder.JSONDecodeError: Expecting"),
        ("exit(0)", "README.md:8: the snippet fails: SystemExit: 0"),
        ("import os\nos._exit(3)", "README.md: the snippets end their process with code 3"),
    ],
)
def test_failing_block_is_named_with_its_line(tmp_path: Path, block: str, message: str) -> None:
    (found,) = run(tmp_path, "z = 0", block)
    assert found.startswith(message)
    assert "\n" not in found


def test_blocks_that_do_not_end_are_stopped(tmp_path: Path) -> None:
    assert run(tmp_path, "while True: pass", timeout=2) == ["README.md: the snippets do not end within 2 seconds"]


@pytest.mark.parametrize("package", ["modeling_stacked_emotion", "trainer_ext", "hub", "scripts"])
def test_project_is_not_importable(tmp_path: Path, package: str) -> None:
    (found,) = run(tmp_path, f"import {package}.x")
    assert "ModuleNotFoundError" in found


def test_other_machines_are_out_of_reach(tmp_path: Path) -> None:
    (found,) = run(tmp_path, "import urllib.request\nurllib.request.urlopen('http://example.org')")
    assert "no network while a card is checked, asked for 'example.org'" in found


def test_nothing_of_who_stages_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "mine")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MY_API_KEY", "mine")
    code = "import os\nnames = {name.upper() for name in os.environ}\n"
    foreign = "{'HF_TOKEN', 'HF_HUB_OFFLINE', 'HTTPS_PROXY', 'PYTHONPATH', 'MY_API_KEY'}"
    assert run(tmp_path, f"{code}assert not names & {foreign}, names\nassert 'PATH' in names") == []


DOWNLOADS = """
from pathlib import Path
from huggingface_hub import HfFileSystem, hf_hub_download, model_info, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

for options in ({}, {"revision": "v1.0"}, {"revision": "refs/pr/2"}, {"revision": "a" * 40}):
    assert Path(hf_hub_download("ann/emotions", "deep/er/weights.dat", **options)).read_bytes() == b"0123456789" * 1000
assert Path(hf_hub_download("ann/emotions", "copy.dat")).read_bytes() == b"9876543210" * 1000
folder = Path(snapshot_download("ann/emotions", revision="v2"))
assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["README.md", "copy.dat", "weights.dat"]
assert [entry.rfilename for entry in model_info("ann/emotions").siblings][0] == "README.md"
files = HfFileSystem()
assert files.glob("ann/emotions/**/*.dat") == ["ann/emotions/copy.dat", "ann/emotions/deep/er/weights.dat"]
with files.open("ann/emotions/deep/er/weights.dat") as stream:
    stream.seek(5003)
    assert stream.read(4) == b"3456"
for error, call in (
    (EntryNotFoundError, lambda: hf_hub_download("ann/emotions", "gone.dat")),
    (RepositoryNotFoundError, lambda: model_info("ann/others")),
    (RepositoryNotFoundError, lambda: snapshot_download("ann/emotions", repo_type="dataset")),
):
    try:
        call()
    except error:
        continue
    raise AssertionError(f"{error} expected")
"""
OUTSIDE = """
import os, urllib.error, urllib.request

for path in ("%2e%2e/outside.dat", "deep/../../outside.dat", "link.dat"):
    try:
        urllib.request.urlopen(f"{os.environ['HF_ENDPOINT']}/ann/emotions/resolve/main/{path}")
    except urllib.error.HTTPError as error:
        assert (error.code, error.headers["X-Error-Code"]) == (404, "EntryNotFound")
    else:
        raise AssertionError(path)
"""


def test_hub_client_reads_the_folder_at_every_revision(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "weights.dat").write_bytes(b"0123456789" * 1000)
    (folder / "copy.dat").write_bytes(b"9876543210" * 1000)
    assert run(folder, DOWNLOADS, repo_id="ann/emotions") == []


def test_files_outside_the_folder_are_not_served(tmp_path: Path) -> None:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "outside.dat").write_bytes(b"private")
    (tmp_path / "model" / "link.dat").symlink_to(tmp_path / "outside.dat")
    assert run(tmp_path / "model", OUTSIDE) == []


@pytest.mark.slow
def test_model_loads_by_name(tmp_path: Path, encoder_folders: dict[str, Path]) -> None:
    folder = model_folder(tmp_path / "model", encoder_folders["bert_wp"])
    assert validate(folder, "model", repo_id="ann/emotions") == []
    (found,) = validate(folder, "model", repo_id="ann/others")
    assert found.startswith("README.md:27: the snippet fails: OSError: ann/emotions is not a local folder")


@pytest.mark.slow
def test_data_set_loads_by_name(tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path / "data")
    assert validate(folder, "dataset") == []
    more = "import pandas\nassert len(pandas.read_parquet('hf://datasets/ann/x/train.parquet')) == 2\n"
    more += (
        "from datasets import load_dataset\nrow = next(iter(load_dataset('ann/x', split='train', streaming=True)))\n"
    )
    more += "assert row['text'] == 'so happy'"
    assert run(folder, more, repo_type="dataset", repo_id="ann/x") == []


@pytest.mark.slow
def test_metric_loads_by_name(tmp_path: Path) -> None:
    folder = metric_folder(tmp_path / "metric")
    assert validate(folder, "metric") == []
    code = "import evaluate\nmetric = evaluate.load('ann/emotion_metric', revision='v1')\n"
    code += "assert metric.compute(predictions=[1, 2], references=[1, 3]) == {'matches': 1}"
    assert run(folder, code, repo_type="space", repo_id="ann/emotion_metric") == []
