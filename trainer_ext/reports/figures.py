# SPDX-License-Identifier: Apache-2.0
"""Figures as files."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_png(figure: Figure, dpi: float | None = None) -> bytes:
    """
    The figure as the bytes of a PNG file, without an empty margin.

    Args:
        figure (`Figure`): Of matplotlib.
        dpi (`float`, *optional*, defaults to the figure's own): Resolution, pixels per inch.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi or figure.dpi, bbox_inches="tight", pad_inches=0.08)
    return buffer.getvalue()
