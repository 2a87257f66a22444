"""What figures share: colours, the style of a page, and saving.

Colours are Okabe and Ito's, distinct with any colour vision.
"""

from __future__ import annotations

import io
from pathlib import Path
from uuid import uuid4

import matplotlib as mpl
from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#555555"
HIGHLIGHT = {"asdkit": VERMILLION, "report": BLUE}  # the two systems every table is about; the others are grey
LINES = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE, SKY, BLACK)  # yellow is too light for a line on paper
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "savefig.dpi": 150,
    "svg.hashsalt": "asdkit",
}


def save(fig: Figure, path: str | Path) -> Path:
    """Write a figure as PNG or SVG, by the name's ending.

    The same figure gives the same bytes: there is no date and no version inside. The file is written under a temporary
    name and moved, so that a file of that name is always a whole one.

    Returns
    -------
    Path
        The file.
    """
    path = Path(path)
    metadata = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    if path.suffix not in metadata:
        raise ValueError(f"{path}: found the ending {path.suffix!r}, expected {' or '.join(metadata)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}-{uuid4().hex}{path.suffix}")
    try:
        _write(fig, part, metadata[path.suffix])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def png(fig: Figure) -> bytes:
    """A figure as the bytes of a PNG, the same as `save` writes."""
    buffer = io.BytesIO()
    _write(fig, buffer, {"Software": None})
    return buffer.getvalue()


def _write(fig: Figure, file, metadata: dict) -> None:
    with mpl.rc_context(STYLE):
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # lay out once: every further draw would move things by a hair
        fig.savefig(file, metadata=metadata)
