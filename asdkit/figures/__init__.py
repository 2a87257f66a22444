"""Figures: one function each, from tables and arrays to a matplotlib Figure. No score is computed and no file is written here.

`spectrograms` and `charts` draw what notebooks show, `scores` a run, `explanation` one recording; `trap` and `stored` draw
stored tables, and `all_figures` says which of their figures the tables suffice for. `style` is what all share.
There is no pyplot and nothing to close; a notebook shows figures after ``%matplotlib inline``, `png` and `svg` give bytes.
"""

from asdkit.figures.charts import bands, bars, clouds, learning_curve, lines, shares, waterfall
from asdkit.figures.explanation import anomaly_panels
from asdkit.figures.scores import omega_bars, roc, score_histograms
from asdkit.figures.spectrograms import clip_panels, mel_ticks, modulation_maps, panels, predicted_bands, windows
from asdkit.figures.stored import all_figures, alpha_curve, forest, trap_figures
from asdkit.figures.style import BLACK, GREY, LINES, NAMED, OBJECTIVES, SIGNED, SKY, VERMILLION, png, svg
from asdkit.figures.trap import trap_faults

__all__ = [
    "BLACK", "GREY", "LINES", "NAMED", "OBJECTIVES", "SIGNED", "SKY", "VERMILLION", "all_figures", "alpha_curve",
    "anomaly_panels", "bands", "bars", "clip_panels", "clouds", "forest", "learning_curve", "lines", "mel_ticks",
    "modulation_maps", "omega_bars", "panels", "png", "predicted_bands", "roc", "score_histograms", "shares", "svg",
    "trap_faults", "trap_figures", "waterfall", "windows",
]  # fmt: skip
