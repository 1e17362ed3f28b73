# SPDX-License-Identifier: Apache-2.0
"""Cards from their templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render_template(path: Path, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """
    Fill in a Jinja template; a value that it names and does not get is an error.

    Args:
        path (`Path`): The template.
        filters (`Mapping[str, Callable]`, *optional*): Name in the template to function.
        values: Name in the template to value.
    """
    environment = Environment(
        loader=FileSystemLoader(path.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= dict(filters or {})
    return environment.get_template(path.name).render(values)


def render_space_card(
    path: Path,
    own_metadata: Mapping[str, Any],
    *,
    repo_id: str,
    model_id: str,
    model_revision: str | None,
    **values: Any,
) -> str:
    """
    The card of a Space that shows a model.

    Args:
        path (`Path`): The template.
        own_metadata (`Mapping[str, Any]`): Of this Space, such as `title` and `sdk`; the rest is that of all of them.
        repo_id (`str`): The Space, `owner/name`.
        model_id (`str`): The model, `owner/name`.
        model_revision (`str`, *optional*): Its commit, tag or branch.
        values: Other names in the template to values.
    """
    metadata = {
        **own_metadata,
        "emoji": "💬",
        "colorFrom": "green",
        "colorTo": "blue",
        "license": "apache-2.0",
        "models": [model_id],
        "tags": ["emotion", "multi-label", "stacked-emotion"],
    }
    return render_template(
        path,
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(),
        repo_id=repo_id,
        model_id=model_id,
        revision=f"revision `{model_revision}`" if model_revision else "its latest revision",
        **values,
    )
