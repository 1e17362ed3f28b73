# SPDX-License-Identifier: Apache-2.0
"""
A model that answers without torch and transformers, which take longer to start than a text takes to be classified.

Its folder has a graph beside the weights, `model.onnx`, that holds no weights of its own: it reads those of
`model.safetensors`. `python -m scripts.export_onnx` makes it.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .onnx_example import OnnxClassifier

GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "model.safetensors"
# Metadata of the graph: the digest of the files that it was made from.
FINGERPRINT = "stacked_emotion_fingerprint"


def fingerprint(folder: Path) -> str:
    """SHA-256 of the weights and the configuration: another one for other weights, calibration or labels."""
    digest = hashlib.sha256()
    for name in (WEIGHTS_FILE, "config.json"):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def quick_classifier(folder: str | Path) -> OnnxClassifier | None:
    """
    The model in the folder, in fp32, on the CPU; `None` where it has no graph, or a graph of other weights.

    Args:
        folder (`str` or `Path`): The folder of a model; anything else, such as a Hub id, has no graph.
    """
    folder = Path(folder)
    package = find_spec("modeling_stacked_emotion")
    if not (folder / GRAPH_FILE).is_file() or package is None or package.origin is None:
        return None
    try:
        # In the file as it is: a runtime, which could be asked for it, complains first of weights that are not there.
        if fingerprint(folder).encode() not in (folder / GRAPH_FILE).read_bytes():
            return None
        from .onnx_example import OnnxClassifier

        return OnnxClassifier(folder, GRAPH_FILE, Path(package.origin).parent, optimized=False)
    except Exception:
        # No onnxruntime, or a folder that is not whole: loading it with torch names the error.
        return None
