# SPDX-License-Identifier: Apache-2.0
"""
A repository loaded, and the Python blocks of its card run, where only the repository is.

Run as a script, this file is the process that does so; it imports nothing of the project.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

_CARD = "README.md"
_BLOCK = re.compile(r"^([ \t]*)```(?:python|py)(?=\s)[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
# Even where the project is installed, a stranger does not have it.
_PROJECT = ("modeling_stacked_emotion", "trainer_ext", "hub", "scripts")
# Of whoever publishes: tokens, caches, proxies and paths.
_PRIVATE = re.compile(r"HF_|HUGGING|TRANSFORMERS_|PYTHONPATH|.*_PROXY$|.*TOKEN|.*SECRET|.*API_KEY", re.IGNORECASE)
_SETTINGS = {"HF_HUB_OFFLINE": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def python_blocks(card: str) -> list[tuple[int, str]]:
    """
    The Python blocks of a card; of interactive sessions (`>>>`) only the lines that are typed.

    Args:
        card (`str`): Markdown.

    Returns:
        `list[tuple[int, str]]`: The line on which the code starts, from 1, and the code.
    """
    blocks = []
    for match in _BLOCK.finditer(card):
        code = textwrap.dedent(match[2])
        code = doctest.script_from_examples(code) if code.lstrip().startswith(">>>") else code
        blocks.append((card.count("\n", 0, match.start(2)) + 1, code))
    return blocks


def run_as_stranger(folder: Path, kind: str, repo_id: str, *, timeout: float = 600) -> list[str]:
    """
    Load the repository, then run the Python blocks of `README.md` in order, all in one new process.

    It is offline, has empty caches and no project. `repo_id` is a path in its working folder, which leads to the
    repository: code that loads the repository by its name loads the folder, at every revision.

    Args:
        folder (`Path`): The staged repository.
        kind (`str`): `model`, `dataset`, `metric`, `demo` or `browser`. Of a demo only the app is imported: the
            blocks of its card need a running Space; of a page for the browser its graph is loaded.
        repo_id (`str`): Such as `user/name`.
        timeout (`float`, *optional*, defaults to 600): In seconds.

    Returns:
        `list[str]`: The failure, in one line; empty when all went well.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        home, work, report = (Path(name) / entry for entry in ("home", "work", "report.txt"))
        repository = work / repo_id
        repository.parent.mkdir(parents=True)
        repository.symlink_to(folder.resolve(), target_is_directory=True)
        environment = {name: value for name, value in os.environ.items() if not _PRIVATE.match(name)}
        try:
            process = subprocess.run(
                [sys.executable, "-P", __file__, kind, repo_id, str(report)],
                cwd=work,
                env=environment | _SETTINGS | {"HF_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [f"{_CARD}: the {kind} and its snippets do not end within {timeout:g} seconds"]
        if report.is_file():
            return [report.read_text(encoding="utf-8")]
        code = process.returncode
        return [f"{_CARD}: the {kind} or its snippets end their process with code {code}"] if code else []


def main(kind: str, repo_id: str, report: str) -> None:
    """Write to the file `report` why loading or a block failed, in one line; nothing when all went well."""
    for name in _PROJECT:
        sys.modules[name] = None  # type: ignore[assignment]
    place, failure = kind, "does not load"
    try:
        _LOADERS[kind](repo_id)
        blocks = [] if kind == "demo" else python_blocks(Path(repo_id, _CARD).read_text(encoding="utf-8"))
        names = {"__name__": "__main__"}
        for line, code in blocks:
            place, failure = f"{_CARD}:{line}", "the snippet fails"
            # Empty lines before it, so that the lines are those of the card.
            exec(compile("\n" * (line - 1) + code, _CARD, "exec"), names)
    except BaseException as error:
        message = " ".join("".join(traceback.format_exception_only(error)).split())
        Path(report).write_text(f"{_place(error, Path(repo_id)) or place}: {failure}: {message}", encoding="utf-8")
        raise


def _load_model(repo_id: str) -> None:
    import transformers
    from transformers import AutoConfig, AutoTokenizer, pipeline

    config = AutoConfig.from_pretrained(repo_id, trust_remote_code=True)
    AutoTokenizer.from_pretrained(repo_id, trust_remote_code=True)
    written = json.loads(Path(repo_id, "config.json").read_text(encoding="utf-8"))
    for name in {"AutoModelForSequenceClassification", *written.get("auto_map", {})} - {"AutoConfig"}:
        model, report = getattr(transformers, name).from_pretrained(
            repo_id, trust_remote_code=True, use_safetensors=True, output_loading_info=True
        )
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"the weights lack {len(missing)} of a {type(model).__name__}, e.g. {missing[0]}")
        for weight, values in model.state_dict().items():
            if not values.isfinite().all():
                raise ValueError(f"the weights of {weight} are not finite")
    for task in ("text-classification", *getattr(config, "custom_pipelines", {})):
        pipeline(task, model=repo_id, trust_remote_code=True)("thank you so much!")


def _load_dataset(repo_id: str) -> None:
    import datasets

    for name in datasets.get_dataset_config_names(repo_id):
        datasets.load_dataset(repo_id, name)


def _load_metric(repo_id: str) -> None:
    import evaluate

    evaluate.load(repo_id)


def _load_demo(repo_id: str) -> None:
    sys.path.insert(0, str(Path(repo_id).absolute()))
    __import__("app")


def _load_browser(repo_id: str) -> None:
    import onnxruntime

    onnxruntime.InferenceSession(Path(repo_id, "model", "model.onnx"), providers=["CPUExecutionProvider"])


_LOADERS = {
    "model": _load_model,
    "dataset": _load_dataset,
    "metric": _load_metric,
    "demo": _load_demo,
    "browser": _load_browser,
}


def _place(error: BaseException, folder: Path) -> str | None:
    """File and line of the card or, if it is not in the card, of the repository's code, of which copies are loaded."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        frames.append((error.filename or "", error.lineno))
    places = [(Path(file).name, line) for file, line in frames if line]
    cards = [place for place in places if place[0] == _CARD]
    codes = [place for place in places if (folder / place[0]).is_file()]
    return next((f"{name}:{line}" for name, line in reversed(cards or codes)), None)


if __name__ == "__main__":
    main(*sys.argv[1:])
