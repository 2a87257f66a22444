"""What figures share: colours, the style of a page, axes and marks that several draw, and the bytes of an image.

Colours are Okabe and Ito's but yellow, distinct with any colour vision. Signed differences are drawn from dark (less) to
bright (more), so that a grey print keeps their sign.
"""

import io
from itertools import cycle

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY = "#555555"
HIGHLIGHT = {"asdkit": VERMILLION, "report": BLUE}  # the two systems every table is about; the others are grey
LINES = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE, SKY, BLACK)
DASH = ("-", "--", "-.", ":")
SIGNED = "cividis"  # colour map of differences
LOOKS = ((BLUE, "o"), (VERMILLION, "D"), (GREEN, "s"), (BLACK, "^"))  # colour, marker of systems in order
DATA = {"real": (BLUE, "o", "-"), "simulated": (VERMILLION, "D", "--")}  # colour, marker, line
OBJECTIVES = {  # colour, marker
    "msm": (VERMILLION, "D"), "autoencoder": (ORANGE, "s"), "far-to-near": (GREEN, "^"), "machine-id": (BLUE, "v"),
    "pseudo-cluster": (SKY, "<"), "sub-cluster-adacos": (PURPLE, ">"), "untrained": (GREY, "o"), "log-mel": (BLACK, "P"),
}  # fmt: skip
CLIPS = {  # by split and label: name, colour, marker, size
    ("train", 0): ("normal, training", SKY, ".", 12),
    ("test", 0): ("normal, test", BLUE, "o", 14),
    ("test", 1): ("anomaly, test", VERMILLION, "x", 18),
}
NAMED = {  # what has a colour of its own wherever it is drawn
    "near": BLUE, "far": ORANGE, "machine": GREEN, "noise": GREY, "whitened": VERMILLION, "z-scored": SKY, "standardised": SKY,
    "healthy, source": SKY, "healthy, target": BLUE, "faulty, source": VERMILLION, "faulty, target": PURPLE,
    "healthy test clips": BLUE, "faulty test clips": VERMILLION,
}  # fmt: skip
FILLS = ((VERMILLION, ""), (SKY, "////"), (GREEN, "...."), (ORANGE, "\\\\\\\\"), (BLUE, ""), (PURPLE, "xxxx"))  # of bars
STYLE = {  # DejaVu comes with matplotlib: the same glyphs on every machine
    "font.family": "DejaVu Sans", "font.size": 9, "figure.titlesize": 10, "figure.labelsize": 9, "axes.titlesize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "#dddddd",
    "grid.linewidth": 0.6, "hatch.linewidth": 0.6, "legend.frameon": False, "lines.linewidth": 1.5, "savefig.dpi": 150,
    "svg.hashsalt": "asdkit",
}  # fmt: skip
styled = mpl.rc_context(STYLE)  # decorates every function that draws


def png(fig: Figure) -> bytes:
    """A figure as a PNG. The same figure gives the same bytes: there is no date and no version inside."""
    return _image(fig, "png", ["Software"])


def svg(fig: Figure) -> bytes:
    """A figure as an SVG, text as outlines. The same figure gives the same bytes."""
    return _image(fig, "svg", ["Date", "Creator"])


@styled
def _image(fig: Figure, kind: str, unsaid: list[str]) -> bytes:
    buffer = io.BytesIO()
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # lay out once: every further draw would move things by a hair
    fig.savefig(buffer, format=kind, metadata=dict.fromkeys(unsaid))
    return buffer.getvalue()


def canvas(width: float, height: float, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """A figure of a size in inches and its axes, (rows, columns); `options` are those of `Figure.subplots`."""
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


def facets(n: int, width: tuple[float, float], height: tuple[float, float], **options) -> tuple[Figure, np.ndarray]:
    """A canvas of `n` panels, four side by side at most; of `width` and `height` all margins and a panel, in inches."""
    rows = -(-n // 4)
    columns = -(-n // rows)
    fig, axes = canvas(width[0] + columns * width[1], height[0] + rows * height[1], rows, columns, **options)
    for ax in axes.flat[n:]:
        ax.set_axis_off()
    return fig, axes


def count(n: float, noun: str) -> str:
    """A number and its noun: "1 machine", "3 machines"."""
    return f"{n:g} {noun}{'' if n == 1 else 's'}"


def colours(names, palette=LINES) -> list[str]:
    """A colour for each name: its own in `NAMED`, else the next of a palette that none of the others has."""
    free = cycle([c for c in palette if c not in {NAMED.get(name) for name in names}])
    return [NAMED.get(name) or next(free) for name in names]


def log_ticks(axis) -> None:
    """Make an axis logarithmic, with plain numbers."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axis.set_minor_locator(mpl.ticker.NullLocator())


def name_rows(axes, names, margin: float = 0.5) -> None:
    """Names instead of ticks on the y axis that all axes share, row 0 on top."""
    for ax in np.ravel(axes):
        ax.tick_params(axis="y", length=0)
    np.ravel(axes)[0].set_yticks(range(len(names)), names)
    np.ravel(axes)[0].set_ylim(len(names) - 1 + margin, -margin)


def interval_dot(ax, y: float, values, colour, marker, filled=True, linewidth=1.2, size=5) -> None:
    """A mark in row `y` on a bar; `values` are (value, lo, hi)."""
    value, lo, hi = values
    ax.plot([lo, hi], [y, y], color=colour, linewidth=linewidth, solid_capstyle="butt")
    ax.plot(value, y, marker, color=colour, markersize=size, markerfacecolor=colour if filled else "white")


def error_bars(ax, x, values, fmt, colour, **look) -> None:
    """Marks or a line with error bars; `values`, (n, 3), are (value, lo, hi), and so is `x` where it is not (n,)."""
    value, lo, hi = np.asarray(values, dtype=float).T
    if np.ndim(x) == 2:
        x, left, right = np.asarray(x, dtype=float).T
        look["xerr"] = np.abs([left - x, right - x])
    ax.errorbar(x, value, np.abs([lo - value, hi - value]), fmt=fmt, color=colour, **look)
