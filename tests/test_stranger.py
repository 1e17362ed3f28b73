# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.validation.stranger: a repository loads, and its card's blocks run, where only the repository is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from staged_samples import dataset_folder, demo_folder, metric_folder, model_folder

from hub.validation.stranger import python_blocks, run_as_stranger

Spoil = Callable[[Path], Any]


def test_python_blocks_are_found_with_their_lines() -> None:
    card = (
        "```python\nx = 1\n```\n```bash\nls\n```\n- item:\n\n  ```py title=a\n  if x:\n      y = 2\n  ```\n"
        "```\nz\n```\n```python-console\nz\n```\n```python\n>>> x\n1\n>>> for i in x:\n...     i\n```\n"
    )
    blocks = python_blocks(card)
    assert blocks[:2] == [(2, "x = 1\n"), (10, "if x:\n    y = 2\n")]
    assert [line for line, _ in blocks] == [2, 10, 20]
    assert [line for line in blocks[2][1].splitlines() if not line.startswith("#")] == ["x", "for i in x:", "    i"]


# ---------------------------------------------------------------------------------- the process, with an app of a demo


def run_app(folder: Path, code: str, **options: float) -> list[str]:
    (folder / "app.py").write_text(code)
    return run_as_stranger(folder, "demo", "ann/demo", **options)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nx + y\n", "app.py:2: does not load: NameError: name 'y' is not defined"),
        ("raise ValueError('two\\nlines')", "app.py:1: does not load: ValueError: two lines"),
        ("import json\n\njson.loads('{')", "app.py:3: does not load: json.decoder.JSONDecodeError: Expecting"),
        ("exit(0)", "app.py:1: does not load: SystemExit: 0"),
        ("import os\nos._exit(3)", "README.md: the demo or its snippets end their process with code 3"),
    ],
)
def test_failures_are_named_with_their_line(tmp_path: Path, code: str, message: str) -> None:
    (problem,) = run_app(tmp_path, code)
    assert problem.startswith(message)
    assert "\n" not in problem


def test_a_process_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    assert run_app(tmp_path, "while True: pass", timeout=2) == [
        "README.md: the demo and its snippets do not end within 2 seconds"
    ]


def test_there_is_only_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "https_proxy", "PYTHONPATH", "MY_API_KEY", "HF_ENDPOINT"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "words.py").write_text("")
    code = """
import os, sys, words
private = {"HF_TOKEN", "HTTPS_PROXY", "PYTHONPATH", "MY_API_KEY", "HF_ENDPOINT"}
assert not {name.upper() for name in os.environ} & private
assert os.environ["HF_HUB_OFFLINE"] == "1" and "PATH" in os.environ
assert os.listdir() == ["ann"] and not os.path.exists(os.environ["HF_HOME"])
for package in ("modeling_stacked_emotion", "trainer_ext", "hub", "scripts"):
    try:
        __import__(package)
    except ModuleNotFoundError:
        continue
    raise AssertionError(package)
"""
    assert run_app(tmp_path, code) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.py", "words.py"]


# ----------------------------------------------------------------------------------------- repositories by their name


def add_blocks(folder: Path, *blocks: str) -> int:
    """The line after the card as it was."""
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card + "".join(f"```python\n{block}\n```\n" for block in blocks))
    return card.count("\n") + 1


def test_a_data_set_loads_and_its_blocks_run_in_order(tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path / "data")
    files = {path: path.read_bytes() for path in folder.iterdir()}
    assert run_as_stranger(folder, "dataset", "ann/emotions") == []
    assert {path: path.read_bytes() for path in folder.iterdir()} == files

    pinned = "rows = load_dataset('ann/emotions', split='train', revision='v1')\nassert __name__ == '__main__'"
    line = add_blocks(folder, pinned, "assert rows[0]['text'] == 'so happy'\nassert not rows\n")
    assert run_as_stranger(folder, "dataset", "ann/emotions") == [
        f"README.md:{line + 6}: the snippet fails: AssertionError"
    ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "train.parquet").write_bytes(b"PAR1"), "dataset: does not load: "),
        (
            lambda folder: (folder / "train.parquet").rename(folder / "test.parquet"),
            "dataset: does not load: FileNotFoundError: Unable to find ",
        ),
    ],
)
def test_defects_of_a_data_set_are_named(tmp_path: Path, spoil: Spoil, message: str) -> None:
    folder = dataset_folder(tmp_path / "data")
    spoil(folder)
    (problem,) = run_as_stranger(folder, "dataset", "ann/emotions")
    assert problem.startswith(message)


@pytest.mark.slow
def test_a_block_that_names_another_repository_or_is_no_python_is_named(tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path / "data")
    (problem,) = run_as_stranger(folder, "dataset", "ann/others")
    assert problem.startswith("README.md:18: the snippet fails: ConnectionError")
    line = add_blocks(folder, "a = 1\nb = = 2")
    (problem,) = run_as_stranger(folder, "dataset", "ann/emotions")
    assert problem.startswith(f"README.md:{line + 2}: the snippet fails: ")


@pytest.mark.slow
def test_a_metric_loads(tmp_path: Path) -> None:
    folder = metric_folder(tmp_path / "metric")
    assert run_as_stranger(folder, "metric", "ann/emotion_metric") == []
    pinned = "metric = evaluate.load('ann/emotion_metric', revision='v1')\n"
    add_blocks(folder, pinned + "assert metric.compute(predictions=[1], references=[1])")
    assert run_as_stranger(folder, "metric", "ann/emotion_metric") == []
    (folder / "emotion_metric.py").write_text("import datasets, evaluate\nfrom .gone import x\n")
    (problem,) = run_as_stranger(folder, "metric", "ann/emotion_metric")
    assert "does not load" in problem


@pytest.mark.slow
def test_a_demo_is_imported(tmp_path: Path) -> None:
    assert run_as_stranger(demo_folder(tmp_path / "demo"), "demo", "ann/demo") == []


def change_json(name: str, **entries: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | entries
        (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return spoil


def trust_in_an_encoder(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["encoders"]["tiny"]["auto_map"] = {"AutoModel": "modeling_other.Other"}
    (folder / "config.json").write_text(json.dumps(config))


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])


def missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def append(name: str, code: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).write_text((folder / name).read_text() + code)

    return spoil


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            change_json("tokenizer_config.json", auto_map={"AutoTokenizer": [None, "tokenization_gone.Tokenizer"]}),
            "model: does not load: OSError: .* have a file named tokenization_gone.py",
        ),
        (trust_in_an_encoder, r"configuration_stacked_emotion.py:\d+: does not load: .* carries `auto_map`"),
        (change_json("config.json", thresholds=[0.5] * 3), r"checks_.*: `thresholds` must have one value per"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model: does not load: .*model.safetensors"),
        (cut_weights, "model: does not load: .*SafetensorError"),
        (missing_shard, "model: does not load: .*model-00002-of-00002.safetensors"),
        (
            lambda folder: (folder / "layers_stacked_emotion.py").unlink(),
            "model: does not load: FileNotFoundError: .*layers_stacked_emotion.py",
        ),
        (
            append("text_stacked_emotion.py", '\nX = """\nfrom .gone import x\n"""\n'),
            "model: does not load: .*gone.py",
        ),
        (append("text_stacked_emotion.py", "\nfrom . import gone\n"), r"text_stacked_emotion.py:\d+: does not load: "),
        (append("text_stacked_emotion.py", "\nimport layers_stacked_emotion\n"), r"text_stacked_emotion.py:\d+: does"),
        (append("README.md", "```python\npipeline(model='ann/others')\n```\n"), r"README.md:\d+: the snippet fails: "),
    ],
)
def test_defects_of_a_model_are_named(
    tmp_path: Path, encoder_folders: dict[str, Path], spoil: Spoil, message: str
) -> None:
    folder = model_folder(tmp_path / "model", encoder_folders["bert_wp"])
    spoil(folder)
    (problem,) = run_as_stranger(folder, "model", "ann/emotions")
    assert re.match(message, problem)


@pytest.mark.slow
def test_a_model_loads_and_its_snippets_run(tmp_path: Path, encoder_folders: dict[str, Path]) -> None:
    folder = model_folder(tmp_path / "model", encoder_folders["bert_wp"])
    assert run_as_stranger(folder, "model", "ann/emotions") == []
