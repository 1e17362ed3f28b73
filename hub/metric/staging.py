# SPDX-License-Identifier: Apache-2.0
"""Staging of the metric's repository, a Space: the module, the core that it shares with the Trainer, card and app."""

from __future__ import annotations

import shutil
from pathlib import Path

from trainer_ext.errors import InputError

from ..templates import render_template

_HERE = Path(__file__).resolve().parent
# The very files that the Trainer uses, so that both can only agree.
_EVALUATION = _HERE.parent.parent / "trainer_ext" / "evaluation"
_CORE = tuple(_EVALUATION / name for name in ("bootstrap.py", "metrics.py", "metrics_table.py"))
_OWN = tuple(_HERE / name for name in ("app.py", "multilabel_emotion.py", "requirements.txt"))


def stage_metric(folder: Path, *, repo_id: str) -> None:
    """
    Fill `folder` with the files of the metric's Space.

    `evaluate.load` finds the module by the repository's name, so this must end in that of the module.

    Args:
        folder (`Path`): An empty folder.
        repo_id (`str`): `user/multilabel_emotion`.

    Raises:
        `InputError`: If `repo_id` has another form.
    """
    user, _, name = repo_id.partition("/")
    if not user or name != "multilabel_emotion":
        raise InputError(f"`repo_id` must be USER/multilabel_emotion, the name of the module, got {repo_id!r}.")
    for source in (*_OWN, *_CORE):
        shutil.copyfile(source, folder / source.name)
    card = render_template(_HERE / "card_template.md", repo_id=repo_id)
    (folder / "README.md").write_text(card, encoding="utf-8")
