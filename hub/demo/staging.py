# SPDX-License-Identifier: Apache-2.0
"""The files of the demo Space."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trainer_ext.errors import InputError, MissingPackageError

from ..templates import render_space_card

HERE = Path(__file__).resolve().parent
_CODE = (
    *(HERE / name for name in ("app.py", "analysis.py", "pages.py", "text_files.py")),
    HERE.parent / "languages.py",
    HERE.parent.parent / "modeling_stacked_emotion" / "description_stacked_emotion.py",
    HERE.parent.parent / "modeling_stacked_emotion" / "explanation_stacked_emotion.py",
    HERE.parent.parent / "modeling_stacked_emotion" / "scripts_stacked_emotion.py",
    HERE.parent.parent / "trainer_ext" / "data" / "headers.py",
    HERE.parent.parent / "trainer_ext" / "data" / "length_batches.py",
    HERE.parent.parent / "trainer_ext" / "evaluation" / "engine.py",
    HERE.parent.parent / "trainer_ext" / "evaluation" / "label_order.py",
    HERE.parent.parent / "trainer_ext" / "memory.py",
    HERE.parent.parent / "trainer_ext" / "precision.py",
    HERE.parent.parent / "modeling_stacked_emotion" / "text_stacked_emotion.py",
)
# An import of one of these files, which lie beside each other in the Space.
_IMPORT = re.compile(
    rf"^from (?:trainer_ext|modeling_stacked_emotion)?[\w.]*\.({'|'.join(path.stem for path in _CODE)}) import",
    flags=re.MULTILINE,
)
# Packages that the app and the code of the models import.
PACKAGES = ("gradio", "numpy", "regex", "scipy", "torch", "transformers")


def stage_demo(folder: Path, *, repo_id: str, model_id: str, model_revision: str | None = None) -> None:
    """
    Fill an empty folder with the demo Space of a model.

    The packages are pinned to the versions that are installed here. Nothing is fetched.

    Args:
        folder (`Path`): An empty folder.
        repo_id (`str`): The Space, `owner/name`.
        model_id (`str`): The model on the Hub, `owner/name`.
        model_revision (`str`, *optional*): Its commit, tag or branch; `main` by default.

    Raises:
        `MissingPackageError`: If a package whose version is needed is not installed.
        `InputError`: If the revision is not as described.
    """
    if model_revision is not None and model_revision.split() != [model_revision]:
        raise InputError(f"`model_revision` must be a commit, tag or branch, got {model_revision!r}.")
    versions = _installed_versions()
    files = {
        "README.md": _card(repo_id, model_id, model_revision, versions["gradio"]),
        **{path.name: _IMPORT.sub(r"from \1 import", path.read_text(encoding="utf-8")) for path in _CODE},
        "style.css": (HERE / "style.css").read_text(encoding="utf-8"),
        "demo.json": json.dumps({"model_id": model_id, "model_revision": model_revision}, indent=2) + "\n",
        "requirements.txt": "".join(f"{package}=={number}\n" for package, number in versions.items()),
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8", newline="\n")


def _installed_versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            # A build's own suffix, as of torch for the CPU, is on no index.
            versions[package] = version(package).partition("+")[0]
        except PackageNotFoundError as error:
            raise MissingPackageError(
                f'{package} is not installed, so its version is unknown: pip install "stacked-emotion[demo]".'
            ) from error
    return versions


def _card(repo_id: str, model_id: str, model_revision: str | None, sdk_version: str) -> str:
    own = {
        "title": "Emotions in text",
        "sdk": "gradio",
        "sdk_version": sdk_version,
        "app_file": "app.py",
        "short_description": "Emotions of texts, several at once",
    }
    return render_space_card(
        HERE / "card_template.md", own, repo_id=repo_id, model_id=model_id, model_revision=model_revision
    )
