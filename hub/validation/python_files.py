# SPDX-License-Identifier: Apache-2.0
"""Whether the Python files of a repository run where only the repository is."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

_WITH_TRANSFORMERS = {
    *("huggingface-hub", "numpy", "packaging", "pyyaml", "regex", "safetensors", "tokenizers", "tqdm"),
    *("torch", "transformers"),
}
# What who uses a repository has by its kind; onnxruntime has who reads ONNX files.
_PROVIDED = {
    "model": _WITH_TRANSFORMERS | {"onnxruntime"},
    "dataset": set(),
    "metric": {"datasets", "evaluate", "huggingface-hub", "numpy"},
    "demo": set(),
}
# A Gradio Space installs these beside its requirements.txt.
_SPACE = {"gradio", "gradio-client", "huggingface-hub", "numpy", "pandas", "pillow"}
# What transformers' scanner takes for an import, in strings and comments as well (`get_relative_imports`, 5.23).
_SCANNED = re.compile(r"^\s*(?:from\s+\.(\S+)\s+import|import\s+\.(\S+)\s*$)", re.MULTILINE)

_Import = ast.Import | ast.ImportFrom


def import_problems(folder: Path, kind: str) -> list[str]:
    """
    Imports that lead out of the folder or that Hub libraries do not follow.

    Allowed are the standard library, `from .file import name`, packages of `requirements.txt` and those that come with
    the kind of repository. A file that is not loaded through another one, such as an app, may import its neighbours
    by their plain names.

    Args:
        folder (`Path`): The staged repository.
        kind (`str`): `model`, `dataset`, `metric` or `demo`.

    Returns:
        `list[str]`: A line each, with file and line number.
    """
    problems = []
    imports: dict[Path, list[_Import]] = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if path.parent != folder:
            problems.append(f"{name}: code in a sub-folder is not loaded from the Hub: move it beside the others")
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            imports[path] = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        except SyntaxError as error:
            problems.append(f"{name}:{error.lineno or 1}: is not Python ({error.msg})")
    loaded = _loaded(imports)
    required = _requirements(folder)
    for path, nodes in imports.items():
        is_app = kind == "demo" or path.name == "app.py"
        packages = required | (_SPACE if is_app else _PROVIDED[kind])
        neighbours = set() if path.stem in loaded else {other.stem for other in imports}
        found = dict(_scanned(path))
        for node in nodes:
            found |= _relative(node) | _absolute(node, packages, neighbours) | _several(node, kind)
        problems += [f"{path.name}:{line}: {said}" for line, said in sorted(found.items())]
    return problems


def defines(folder: Path, reference: str) -> bool:
    """
    Whether a reference such as `modeling_x.XModel` leads to a class of a file in the folder.

    Args:
        folder (`Path`): The staged repository.
        reference (`str`): As in `auto_map`.
    """
    module, _, name = reference.rpartition(".")
    path = folder / f"{module}.py"
    if not module or not path.is_file():
        return False
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except SyntaxError:
        return False
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in body)


def _loaded(imports: dict[Path, list[_Import]]) -> set[str]:
    """The files that import others by `from .file` or are imported so."""
    found = set()
    for path, nodes in imports.items():
        names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level}
        found |= {path.stem, *filter(None, names)} if names else set()
    return found


def _requirements(folder: Path) -> set[str]:
    path = folder / "requirements.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {_distribution(match[0]) for line in lines if (match := re.match(r"[A-Za-z0-9][\w.-]*", line.strip()))}


def _distribution(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _scanned(path: Path) -> Iterator[tuple[int, str]]:
    text = path.read_text(encoding="utf-8")
    for match in _SCANNED.finditer(text):
        name = match[1] or match[2]
        if not path.with_name(f"{name}.py").is_file():
            line = text.count("\n", 0, match.end()) + 1
            yield line, f"reads like an import of .{name}, for which there is no file {name}.py"


def _relative(node: _Import) -> dict[int, str]:
    if not isinstance(node, ast.ImportFrom) or not node.level:
        return {}
    if node.level == 1 and node.module and "." not in node.module:
        return {}
    given = f"from {'.' * node.level}{node.module or ''} import"
    return {node.lineno: f"`{given}` is not followed by the Hub's loaders: write `from .file import name`"}


def _absolute(node: _Import, packages: set[str], neighbours: set[str]) -> dict[int, str]:
    if isinstance(node, ast.ImportFrom):
        names = [] if node.level else [node.module or ""]
    else:
        names = [alias.name for alias in node.names]
    for name in (name.partition(".")[0] for name in names):
        given = {_distribution(entry) for entry in _by_import().get(name, [name])}
        if name not in sys.stdlib_module_names | neighbours and not given & packages:
            return {node.lineno: f"imports {name}, which is neither in the folder nor named in requirements.txt"}
    return {}


@cache
def _by_import() -> Mapping[str, list[str]]:
    return packages_distributions()


def _several(node: _Import, kind: str) -> dict[int, str]:
    """The parser of evaluate 0.4.6 reads the first name of a line only."""
    if kind == "metric" and isinstance(node, ast.Import) and len(node.names) > 1:
        return {node.lineno: "imports several modules on one line, which evaluate does not follow: one line each"}
    return {}
