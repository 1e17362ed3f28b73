# SPDX-License-Identifier: Apache-2.0
"""The small model that a checkout of this repository brings along."""

from __future__ import annotations

from pathlib import Path

# Without code: the classes of this project load it. `scripts/recipes/stacked_emotion_mini.yaml` makes it,
# and `scripts.export_onnx` its graph.
MINI_MODEL = Path(__file__).with_name("stacked-emotion-mini")


def mini_model() -> str:
    """
    The folder of the model.

    Raises:
        `FileNotFoundError`: If this is no complete checkout.
    """
    if not (MINI_MODEL / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"There is no model in {MINI_MODEL}, which comes with a checkout of the repository: "
            "check it out again, or name another model with --model."
        )
    return str(MINI_MODEL)
