# SPDX-License-Identifier: Apache-2.0
"""The packages that the code of a staged folder imports, for those that a stranger would lack."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

# A Gradio Space installs these beside its requirements.txt.
SPACE = {"gradio", "gradio-client", "huggingface-hub", "numpy", "pandas", "pillow"}
# With transformers comes what it needs itself; who reads ONNX files has onnxruntime.
MODEL = {"torch", "transformers", "huggingface-hub", "numpy", "regex", "safetensors", "tokenizers", "onnxruntime"}


def lacking_packages(folder: Path, provided: set[str]) -> set[str]:
    """Imports that are neither in the folder nor in its `requirements.txt` nor come with the kind of repository."""
    required = re.findall(r"^[\w-]+", (folder / "requirements.txt").read_text(), flags=re.MULTILINE)
    imported: set[str] = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
    own = {path.stem for path in folder.glob("*.py")}
    distributions = packages_distributions()
    names = {distributions.get(module, [module])[0] for module in imported - own - sys.stdlib_module_names}
    return {name.lower().replace("_", "-") for name in names} - provided - set(required)
