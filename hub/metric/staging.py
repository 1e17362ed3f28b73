# SPDX-License-Identifier: Apache-2.0
"""Staging of the metric's repository, a Space: the module, the core that it shares with the Trainer, card and app."""

from __future__ import annotations

import shutil
from pathlib import Path
from string import Template

from trainer_ext.errors import InputError

from ..staging import check_empty_folder

_HERE = Path(__file__).resolve().parent
# The very files that the Trainer uses, so that both can only agree.
_CORE = tuple(_HERE.parent.parent / "trainer_ext" / "evaluation" / name for name in ("bootstrap.py", "metrics.py"))
_OWN = tuple(_HERE / name for name in ("app.py", "multilabel_emotion.py", "requirements.txt", "tests.py"))


def stage_metric(folder: Path, *, repo_id: str) -> None:
    """
    Fill `folder` with the files of the metric's Space.

    `evaluate.load` finds the module by the repository's name, so this must end in that of the module.

    Args:
        folder (`Path`): An existing empty folder.
        repo_id (`str`): `user/multilabel_emotion`.

    Raises:
        `FileNotFoundError`: If `folder` does not exist.
        `InputError`: If `folder` is not empty, or `repo_id` has another form.
    """
    user, _, name = repo_id.partition("/")
    if not user or name != "multilabel_emotion":
        raise InputError(f"`repo_id` must be USER/multilabel_emotion, the name of the module, got {repo_id!r}.")
    check_empty_folder(folder)
    for source in (*_OWN, *_CORE):
        shutil.copyfile(source, folder / source.name)
    card = Template((_HERE / "card_template.md").read_text(encoding="utf-8"))
    (folder / "README.md").write_text(card.substitute(repo_id=repo_id), encoding="utf-8")
