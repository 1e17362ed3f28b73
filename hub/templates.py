# SPDX-License-Identifier: Apache-2.0
"""Cards from their templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
