"""Figures: one function each, from tables and arrays to a matplotlib Figure. No score is computed here.

Figures are made without pyplot, so there is nothing to close; a notebook shows them after ``%matplotlib inline``.
"""

from asdkit.figures.clips import _mel_ticks, anomaly_panels, clip_panels
from asdkit.figures.scores import _line_styles, omega_bars, roc, score_histograms
from asdkit.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    HIGHLIGHT,
    LINES,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILLION,
    YELLOW,
    png,
    save,
)  # fmt: skip

__all__ = [
    "_line_styles", "_mel_ticks",  # shared with the other modules of figures
    "BLACK", "BLUE", "GREEN", "GREY", "HIGHLIGHT", "LINES", "ORANGE", "PURPLE", "SKY", "STYLE", "VERMILLION", "YELLOW",
    "anomaly_panels", "clip_panels", "omega_bars", "png", "roc", "save", "score_histograms",
]  # fmt: skip
