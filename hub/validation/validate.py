# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a staged repository, before anybody sees it."""

from __future__ import annotations

import json
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from trainer_ext.errors import InputError

from .card_checks import CARD_NAME, card_problems, read_metadata
from .private_content import TEXTS, path_problems, secret_problems
from .python_files import defines, import_problems
from .snippets import run_snippets

REPO_TYPES = {"model": "model", "dataset": "dataset", "metric": "space", "demo": "space"}
"""What the Hub calls the repository of a kind."""

_HIDDEN = {".eval_results", ".gitattributes"}
_PICKLES = {".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
_MAX_PLAIN_SIZE = 10 * 2**20
# Beyond that size the Hub wants git LFS, which it uses for these by itself (.gitattributes of a new repository).
_LARGE = (
    *("*.arrow", "*.bz2", "*.gz", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.onnx.data", "*.onnx_data", "*.parquet"),
    *("*.safetensors", "*.tar", "*.xz", "*.zip", "*.zst", "tokenizer.json"),
)


def validate(folder: Path, kind: str, *, repo_id: str | None = None, snippets: bool = True) -> list[str]:
    """
    Look for what must not be published.

    Args:
        folder (`Path`): The staged repository; nothing in it is changed.
        kind (`str`): `model`, `dataset`, `metric` or `demo`.
        repo_id (`str`, *optional*): What the repository will be called: the card's snippets find it by this name only.
        snippets (`bool`, *optional*, defaults to `True`):
            Run the Python blocks of the card, see [`run_snippets`], if nothing else is wrong. Those of a demo are not
            run: they would need the Space.

    Returns:
        `list[str]`: Problems, one clear line each with file and, where there is one, line; empty when all is well.

    Raises:
        ValueError: There is no such kind.
        FileNotFoundError: There is no such folder.
    """
    if kind not in REPO_TYPES:
        raise InputError(f"Expected one of the kinds {', '.join(REPO_TYPES)}, got {kind!r}.")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: stage the {kind} first.")
    if unreadable := list(_unreadable(folder)):
        return unreadable
    checks: tuple[Callable[[Path], Iterable[str]], ...] = (
        _unwanted,
        _pickles,
        partial(import_problems, kind=kind),
        partial(card_problems, kind=kind),
        secret_problems,
        path_problems,
        _OF_KIND[kind],
    )
    problems = [problem for check in checks for problem in check(folder)]
    if problems or not snippets or kind == "demo":
        return problems
    return run_snippets(folder, REPO_TYPES[kind], repo_id=repo_id)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _unreadable(folder: Path) -> Iterator[str]:
    """What the other checks could not read: links, and texts in another encoding."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield f"{name}: is a symbolic link: copy the file"
        elif path.is_file() and path.suffix in TEXTS:
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                yield f"{name}: is not text in UTF-8 ({error})"


def _unwanted(folder: Path) -> Iterator[str]:
    """Hidden files, caches, and what is too large for git."""
    attributes = folder / ".gitattributes"
    lines = attributes.read_text(encoding="utf-8").splitlines() if attributes.is_file() else []
    large = (*_LARGE, *(line.split()[0] for line in lines if "filter=lfs" in line))
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (path.name.startswith(".") and name not in _HIDDEN) or path.name == "__pycache__":
            yield f"{name}: is hidden or a cache: leave it out"
        elif path.is_file() and path.stat().st_size > _MAX_PLAIN_SIZE and not _matches(path.name, large):
            size = path.stat().st_size / 2**20
            yield f"{name}: has {size:,.0f} MiB and an ending that the Hub does not know as large: use .gitattributes"


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _pickles(folder: Path) -> Iterator[str]:
    for name, path in _files(folder):
        if _PICKLES.intersection(suffix.lower() for suffix in path.suffixes):
            yield f"{name}: is a pickle by its name: whoever loads one runs its code; save safetensors"
        elif _is_pickle(path):
            yield f"{name}: holds a pickle: whoever loads one runs its code; save safetensors"


def _is_pickle(path: Path) -> bool:
    """Of any protocol, plain, as arrays of objects or in a zip file, as torch writes it."""
    with path.open("rb") as stream:
        start = stream.read(6)
        stream.seek(0)
        if start == b"\x93NUMPY":
            return _holds_objects(stream)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(".pkl") or _holds_objects(archive.open(name)) for name in archive.namelist())
        try:
            for _ in pickletools.genops(stream):
                pass
        except Exception:
            return False
        # Torch once wrote several into a file. A text may begin like one of the old protocols.
        return start.startswith(b"\x80") or stream.read(1) == b""


def _holds_objects(array: IO[bytes]) -> bool:
    """By the header of a .npy file."""
    start = array.read(2**16)
    return start.startswith(b"\x93NUMPY") and b"|O" in start.partition(b"\n")[0]


def _model(folder: Path) -> Iterator[str]:
    yield from _weights(folder)
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            yield f"{name}: is not JSON ({error})"
            continue
        content = content if isinstance(content, dict) else {}
        yield from _targets(folder, name, content)
        if name == "config.json":
            yield from _config(content)
        missing = {shard for shard in content.get("weight_map", {}).values() if not (folder / shard).is_file()}
        yield from (f"{shard}: is missing, {name} names it" for shard in sorted(missing))
    for name in ("config.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            yield f"{name}: is missing"


def _weights(folder: Path) -> Iterator[str]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        yield "model.safetensors: is missing"
    for path in files:
        try:
            with safe_open(path, framework="numpy") as tensors:
                tensors.keys()
        except SafetensorError as error:
            yield f"{path.name}: is not a complete safetensors file ({error})"


def _config(config: dict[str, Any]) -> Iterator[str]:
    labels = list((config.get("id2label") or {}).values())
    if config.get("problem_type") != "multi_label_classification":
        yield f"config.json: `problem_type` is {config.get('problem_type')!r}, not 'multi_label_classification'"
    if not labels or any(re.fullmatch(r"LABEL_\d+", str(label)) for label in labels):
        yield "config.json: `id2label` does not name the labels"
    thresholds = config.get("thresholds")
    if thresholds is not None and len(thresholds) != len(labels):
        yield f"config.json: has {len(thresholds)} thresholds for {len(labels)} labels"


def _targets(folder: Path, name: str, content: dict[str, Any]) -> Iterator[str]:
    """Custom code that the file names: at its top level only, and in this repository only."""
    for key, reference in _references(content):
        if not defines(folder, reference):
            yield f"{name}: `{key}` names {reference}, a class that no file of this folder has"
    inner = content if "/" in name else [value for key, value in content.items() if key != "auto_map"]
    if '"auto_map":' in json.dumps(inner):
        yield f"{name}: has an `auto_map` inside, which nobody is asked to trust: remove it"


def _references(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in (content.get("auto_map") or {}).items():
        for reference in value if isinstance(value, list) else [value]:
            if reference is not None:
                yield f"auto_map.{key}", reference
    for key, value in content.get("custom_pipelines", {}).items():
        yield f"custom_pipelines.{key}", value.get("impl", "")


def _dataset(folder: Path) -> Iterator[str]:
    if not any(folder.rglob("*.parquet")):
        yield "*.parquet: there is no file of rows"
    for name, path in _files(folder):
        if path.suffix == ".parquet":
            try:
                pq.read_schema(path)
            except (OSError, pa.ArrowException) as error:
                yield f"{name}: is not a complete Parquet file ({error})"
    for config in _configs(folder):
        for pattern in _patterns(config.get("data_files", [])):
            if not any(folder.glob(pattern)):
                name = config.get("config_name", "default")
                yield f"{CARD_NAME}: the configuration {name} names {pattern}, which is not there"


def _patterns(files: Any) -> list[str]:
    """A path, splits with their paths, or lists of them."""
    if isinstance(files, str):
        return [files]
    if isinstance(files, dict):
        return _patterns(files["path"])
    return [pattern for entry in files for pattern in _patterns(entry)]


def _configs(folder: Path) -> list[dict[str, Any]]:
    try:
        return list(read_metadata(folder, "dataset").get("configs", []))
    except (ValueError, TypeError, OSError):
        # Said by the checks of the card.
        return []


def _space(folder: Path) -> Iterator[str]:
    for name in ("app.py", "requirements.txt"):
        if not (folder / name).is_file():
            yield f"{name}: is missing"


_OF_KIND: dict[str, Callable[[Path], Iterator[str]]] = {
    "model": _model,
    "dataset": _dataset,
    "metric": _space,
    "demo": _space,
}
