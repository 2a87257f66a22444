"""The figure of one explained recording: when, in which bands and in which block it departs from healthy sound."""

from itertools import cycle, islice

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from asdkit.figures.spectrograms import KHZ, level_limits, mel_ticks, spectrogram
from asdkit.figures.style import BLACK, GREY, LINES, canvas, styled

HALO = [withStroke(linewidth=2.5, foreground="white")]  # keeps text legible on lines


@styled
def anomaly_panels(explanation, title="") -> Figure:
    """What an `asdkit.explain.Explanation` says of a recording.

    From top to bottom the near spectrogram, the map of bands over time in the block with bands that stands out most (a
    frame around what the text names), the curve of each block; beside them the mean over the frame, and blocks as bars.
    """
    start, end = explanation.span
    fig, axes = canvas(7.2, 5.6, 3, 2, width_ratios=(3.4, 1), height_ratios=(1, 1, 1.1))
    score, threshold, near = explanation.score, explanation.threshold, explanation.near
    decision = "no decision" if threshold is None else "anomalous" if score > threshold else "within the threshold"
    known = "" if threshold is None else f"\nthreshold {threshold:.2f}"
    axes[0, 1].set_axis_off()
    axes[0, 1].text(0, 1, f"score {score:.2f}{known}", va="top", linespacing=1.4, transform=axes[0, 1].transAxes)
    axes[0, 1].text(0, 0.62, decision, va="top", weight="bold", transform=axes[0, 1].transAxes)
    image = spectrogram(axes[0, 0], near, np.linspace(start, end, near.shape[1]), level_limits(near))
    axes[0, 0].set_yticks(*mel_ticks(len(near)))
    axes[0, 0].set(title="near microphone", ylabel="frequency (kHz)")
    fig.colorbar(image, ax=axes[0, 0], label="level (dB)", extend="both", pad=0.01, aspect=12)
    _band_map(fig, *axes[1], explanation)
    _curves(axes[2, 0], explanation)
    _bars(axes[2, 1], explanation)
    for ax in axes[:2, 0]:
        ax.tick_params(labelbottom=False)
    for ax in axes[:, 0]:
        ax.set_xlim(start, end)
    fig.suptitle(title)
    return fig


def _band_map(fig, ax, beside, explanation) -> None:
    """Map of the block with bands that stands out most, its peak framed, and what is inside the frame's time by band."""
    peak = explanation.peak
    ax.set_ylabel("frequency (kHz)")
    if not peak.band_block:
        beside.set_axis_off()
        ax.set(title=f"{peak.block} has no bands", yticks=[])
        return
    values, y = explanation.maps[peak.band_block], np.arange(len(explanation.bands[peak.band_block]) + 1) - 0.5
    high = max(4.0, np.percentile(values, 99.5))
    image = ax.pcolormesh(explanation.edges, y, values, norm=LogNorm(1, high, clip=True), cmap="OrRd", rasterized=True)
    edges = explanation.band_edges(peak.band_block)
    low_band, high_band, *ticks = np.interp([peak.low, peak.high, *1000 * KHZ], edges, y)
    frame = (peak.start, low_band), peak.end - peak.start, high_band - low_band
    ax.add_patch(Rectangle(*frame, fill=False, edgecolor=BLACK, linewidth=1.2, clip_on=False))
    ax.set_title(f"{peak.band_block}: distance to the nearest healthy recordings")
    inside = (explanation.times >= peak.start) & (explanation.times <= peak.end)
    beside.stairs(values[:, inside].mean(1), y, orientation="horizontal", fill=True, color=GREY)
    beside.axvline(1, color=BLACK, linestyle=":", linewidth=1)
    beside.set(title="in the framed time", xlabel="times healthy", xlim=(0, None))
    for panel in (ax, beside):
        panel.set_yticks(ticks, [f"{f:g}" for f in KHZ])
        panel.set_ylim(y[0], y[-1])
    beside.tick_params(labelleft=False)
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if t <= high]
    look = dict(extend="both", pad=0.01, aspect=12, ticks=ticks, format="%g")
    fig.colorbar(image, ax=ax, label="times healthy", **look).minorticks_off()


def _curves(ax, explanation) -> None:
    """Each block and, in black, what they make together; where a threshold and the healthy level lie."""
    peak, (start, end), curves = explanation.peak, explanation.span, list(explanation.curves.values())
    ax.axvspan(peak.start, peak.end, color=GREY, alpha=0.12, linewidth=0)
    drawn = [(values, dict(color=colour, linewidth=1.2)) for values, colour in zip(curves, LINES)]
    drawn += [(explanation.curve, dict(color=BLACK, linewidth=2))] if len(curves) > 1 else []
    for values, look in drawn:  # a moment belongs to the window whose centre is nearest: the outer ones reach to the ends
        ax.plot([start, *explanation.times, end], [values[0], *values, values[-1]], **look)
    marks = [(explanation.normal, "healthy", ":"), (explanation.threshold, "threshold", "--")]
    for va, (level, name, line) in zip(("top", "bottom"), sorted(mark for mark in marks if mark[0] is not None)):
        ax.axhline(level, color=BLACK, linestyle=line, linewidth=1)
        ax.text(0.995, level, name, ha="right", va=va, fontsize=8, transform=ax.get_yaxis_transform(), path_effects=HALO)
    together = "; black: sum of the blocks" if len(curves) > 1 else ""
    ax.set(title=f"score of each window{together}", xlabel="time (s)", ylabel="score")
    ax.margins(y=0.12)


def _bars(ax, explanation) -> None:
    """Blocks as bars in the colours of their curves."""
    names = list(explanation.levels)
    ax.barh(range(len(names)), list(explanation.levels.values()), color=list(islice(cycle(LINES), len(names))), height=0.35)
    place = {"xycoords": ("axes fraction", "data"), "xytext": (2, 8), "textcoords": "offset points", "fontsize": 8}
    for i, name in enumerate(names):
        ax.annotate(name, (0, i), path_effects=HALO, **place)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set(title="by block, overall", xlabel="score", ylim=(len(names) - 0.5, -0.8), yticks=[])
    ax.spines["left"].set_visible(False)
