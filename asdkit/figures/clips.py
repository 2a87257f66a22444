"""Figures of one clip.

Legend
------
near, far, residual : (n_mels, n_frames) log-mel, dB. times : (n_frames,) seconds.
explanation : what `asdkit.explain` says of a recording.
"""

from __future__ import annotations

from itertools import cycle, islice

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from asdkit.figures.style import BLACK, GREY, LINES, STYLE

KHZ = np.array([0.2, 0.5, 1, 2, 3, 4, 6, 7.8])  # named on frequency axes
HALO = [withStroke(linewidth=2.5, foreground="white")]  # keeps text legible on lines


@mpl.rc_context(STYLE)
def clip_panels(near, far, residual, times) -> Figure:
    """Log-mel spectrograms of one clip: near, far, and near with far cancelled, on one colour scale.

    Parameters
    ----------
    near, far, residual : array_like, (n_mels, n_frames)
        dB; Slaney mel bands from 0 Hz to 8 kHz.
    times : array_like, (n_frames,)
        Frame centres, seconds, evenly spaced.

    Returns
    -------
    Figure
    """
    panels = {"near": np.asarray(near), "far": np.asarray(far), "near, far cancelled": np.asarray(residual)}
    times = np.asarray(times, dtype=float)
    for name, panel in panels.items():
        if panel.ndim != 2 or panel.shape != (len(panels["near"]), len(times)):
            raise ValueError(f"{name}: found shape {panel.shape}, expected ({len(panels['near'])}, {len(times)})")
    n_mels, half = len(panels["near"]), (times[-1] - times[0]) / max(len(times) - 1, 1) / 2
    low, high = np.percentile(np.concatenate([p.ravel() for p in panels.values()]), [2, 99.8])
    fig = Figure(figsize=(9.0, 3.0), layout="constrained")
    axes = fig.subplots(1, 3, sharex=True, sharey=True)
    for ax, (name, panel) in zip(axes, panels.items()):
        extent = (times[0] - half, times[-1] + half, -0.5, n_mels - 0.5)
        image = ax.imshow(panel, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma")
        ax.set(title=name, xlabel="time (s)")
    axes[0].set_ylabel("mel band centre (kHz)")
    axes[0].set_yticks(*_mel_ticks(n_mels))
    fig.colorbar(image, ax=axes, label="level (dB)", extend="both", pad=0.01, aspect=30)
    return fig


@mpl.rc_context(STYLE)
def anomaly_panels(explanation, title="") -> Figure:
    """When, in which bands and in which block a recording departs from healthy sound.

    Parameters
    ----------
    explanation : asdkit.explain.Explanation
    title : str

    Returns
    -------
    Figure
        From top to bottom the near spectrogram, the map of bands over time in the block with bands that stands out most (a
        frame around what the text names), the curve of each block; beside them the mean over the frame, and blocks as bars.
    """
    fig = Figure(figsize=(7.2, 5.6), layout="constrained")
    axes = fig.subplots(3, 2, gridspec_kw={"width_ratios": (3.4, 1), "height_ratios": (1, 1, 1.1)})
    _facts(axes[0, 1], explanation)
    _near(fig, axes[0, 0], explanation)
    _band_map(fig, *axes[1], explanation)
    _curves(axes[2, 0], explanation)
    _bars(axes[2, 1], explanation)
    for ax in axes[:2, 0]:
        ax.tick_params(labelbottom=False)
    for ax in axes[:, 0]:
        ax.set_xlim(*explanation.span)
    fig.suptitle(title, fontsize=10)
    return fig


def _near(fig, ax, explanation) -> None:
    near, (start, end) = explanation.near, explanation.span
    half = (end - start) / max(near.shape[1] - 1, 1) / 2
    low, high = np.percentile(near, [2, 99.8])
    extent = (start - half, end + half, -0.5, len(near) - 0.5)
    image = ax.imshow(near, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma")
    ax.set(title="near microphone", ylabel="frequency (kHz)")
    ax.set_yticks(*_mel_ticks(len(near)))
    fig.colorbar(image, ax=ax, label="level (dB)", extend="both", pad=0.01, aspect=12)


def _facts(ax, explanation) -> None:
    """Score, threshold and decision in words."""
    score, threshold = explanation.score, explanation.threshold
    decision = "no decision" if threshold is None else "anomalous" if score > threshold else "within the threshold"
    known = "" if threshold is None else f"\nthreshold {threshold:.2f}"
    ax.set_axis_off()
    ax.text(0, 1, f"score {score:.2f}{known}", va="top", linespacing=1.4, transform=ax.transAxes)
    ax.text(0, 0.62, decision, va="top", weight="bold", transform=ax.transAxes)


def _band_map(fig, ax, beside, explanation) -> None:
    """Map of the block with bands that stands out most, its peak framed, and what is inside the frame's time by band."""
    peak = explanation.peak
    ax.set(ylabel="frequency (kHz)")
    if not peak.band_block:
        beside.set_axis_off()
        ax.set(title=f"{peak.block} has no bands", yticks=[])
        return
    values, y = explanation.maps[peak.band_block], np.arange(len(explanation.bands[peak.band_block]) + 1) - 0.5
    high = max(4.0, np.percentile(values, 99.5))
    scale = LogNorm(1, high, clip=True)
    image = ax.pcolormesh(explanation.edges, y, values, norm=scale, cmap="OrRd", rasterized=True)
    edges = explanation.band_edges(peak.band_block)
    low_band, high_band, *ticks = np.interp([peak.low, peak.high, *1000 * KHZ], edges, y)
    frame = (peak.start, low_band), peak.end - peak.start, high_band - low_band
    ax.add_patch(Rectangle(*frame, fill=False, edgecolor=BLACK, linewidth=1.2, clip_on=False))
    ax.set_title(f"{peak.band_block}: squared distance to the nearest healthy windows")
    inside = (explanation.times >= peak.start) & (explanation.times <= peak.end)
    beside.stairs(values[:, inside].mean(1), y, orientation="horizontal", fill=True, color=GREY)
    beside.axvline(1, color=BLACK, linestyle=":", linewidth=1)
    beside.set(title="in the frame's time", xlabel="times healthy", xlim=(0, None))
    for panel in (ax, beside):
        panel.set_yticks(ticks, [f"{f:g}" for f in KHZ])
        panel.set_ylim(y[0], y[-1])
    beside.tick_params(labelleft=False)
    bar = fig.colorbar(image, ax=ax, label="times healthy", extend="both", pad=0.01, aspect=12)
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if t <= high]
    bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks], minor=False)
    bar.minorticks_off()


def _curves(ax, explanation) -> None:
    """Each block and, in black, what they make together; where a threshold and the healthy level lie."""
    peak, times = explanation.peak, [explanation.span[0], *explanation.times, explanation.span[1]]
    ax.axvspan(peak.start, peak.end, color=GREY, alpha=0.12, linewidth=0)
    curves = list(explanation.curves.values())
    for values, colour in zip(curves, LINES):
        ax.plot(times, _to_the_ends(values), color=colour, linewidth=1.2)
    if len(curves) > 1:
        ax.plot(times, _to_the_ends(explanation.curve), color=BLACK, linewidth=2)
    marks = [(explanation.normal, "healthy", ":"), (explanation.threshold, "threshold", "--")]
    for va, (level, name, line) in zip(("top", "bottom"), sorted(mark for mark in marks if mark[0] is not None)):
        ax.axhline(level, color=BLACK, linestyle=line, linewidth=1)
        ax.text(0.995, level, name, ha="right", va=va, fontsize=8, transform=ax.get_yaxis_transform(), path_effects=HALO)
    together = f"; black: {explanation.how} of the blocks" if len(curves) > 1 else ""
    ax.set(title=f"score of each window{together}", xlabel="time (s)", ylabel="score")
    ax.margins(y=0.12)


def _to_the_ends(values):
    """A moment belongs to the window whose centre is nearest: the first and the last reach to the ends of the clip."""
    return [values[0], *values, values[-1]]


def _bars(ax, explanation) -> None:
    """Blocks as bars in the colours of their curves."""
    names = list(explanation.levels)
    ax.barh(range(len(names)), list(explanation.levels.values()), color=list(islice(cycle(LINES), len(names))), height=0.35)
    for i, name in enumerate(names):
        place = {"xycoords": ("axes fraction", "data"), "xytext": (2, 8), "textcoords": "offset points", "fontsize": 8}
        ax.annotate(name, (0, i), path_effects=HALO, **place)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set(title="by block, overall", xlabel="score", ylim=(len(names) - 0.5, -0.8), yticks=[])
    ax.spines["left"].set_visible(False)


def _mel_ticks(n_mels, sample_rate=16000):
    """Where in the band numbers the round frequencies lie, and their names in kHz."""
    from asdkit.spectrogram import hz_to_mel

    bands = hz_to_mel(1000 * KHZ) / hz_to_mel(sample_rate / 2) * (n_mels + 1) - 1
    return bands, [f"{f:g}" for f in KHZ]
