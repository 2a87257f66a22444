"""Spectrograms and maps by mel band.

Legend
------
times : (n_frames,) seconds, evenly spaced. Spectrograms are (n_mels, n_frames), dB, of Slaney mel bands from 0 Hz to 8 kHz.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from asdkit.figures.style import LINES, SIGNED, canvas, facets, level_limits, mel_axis, mel_ticks, spectrogram, styled


@styled
def panels(shown: Mapping[str, np.ndarray], times, signed: Sequence[str] = (), xlabel="time (s)", unit="dB") -> Figure:
    """Spectrograms side by side: levels on one scale, signed differences on another that is symmetric about 0.

    Parameters
    ----------
    shown : dict of str to (n_mels, n_frames)
    times : (n_frames,)
    signed : sequence of str
        Keys of `shown` that are differences.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    shown = {name: np.asarray(x) for name, x in shown.items()}
    shape = len(next(iter(shown.values()))), len(times)
    if wrong := next((name for name, x in shown.items() if x.shape != shape), None):
        raise ValueError(f"{wrong}: found shape {shown[wrong].shape}, expected {shape}")
    levels = [x for name, x in shown.items() if name not in signed]
    limit = max((np.percentile(np.abs(shown[name]), 99.5) for name in signed), default=0)
    scales = {"level": (level_limits(*levels) if levels else None, "magma"), "difference": ((-limit, limit), SIGNED)}
    rows, columns = facets(len(shown))
    fig, axes = canvas(1.0 + 2.7 * columns, 0.5 + 2.5 * rows, rows, columns, sharex=True, sharey=True)
    for ax, (name, x) in zip(axes.flat, shown.items()):
        kind = "difference" if name in signed else "level"
        image = spectrogram(ax, x, times, *scales[kind])
        ax.set_title(name)
        if levels and signed:
            fig.colorbar(image, ax=ax, label=f"{kind} ({unit})", extend="both", aspect=30)
    if not (levels and signed):  # one scale for all
        fig.colorbar(image, ax=axes, label=f"{kind} ({unit})", extend="both", pad=0.01, aspect=30)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    axes[0, 0].set_yticks(*mel_ticks(shape[0]))
    fig.supxlabel(xlabel)
    fig.supylabel("mel band centre (kHz)")
    return fig


def clip_panels(near, far, residual, times) -> Figure:
    """Log-mel spectrograms of one clip, (n_mels, n_frames) each: near, far, and near with far cancelled."""
    return panels({"near": near, "far": far, "near, far cancelled": residual}, times)


def decoded(differences: Mapping[str, np.ndarray], seconds: float) -> Figure:
    """Differences of log-mel windows of a length, {name: (n_mels, width)} in dB, each on a scale that its title names."""
    limits = {name: max(float(np.percentile(np.abs(x), 99.5)), 1e-9) for name, x in differences.items()}
    shown = {f"{name}\n$\\pm$ 1 is {limits[name]:.2g} dB": x / limits[name] for name, x in differences.items()}
    times = np.linspace(0, seconds, len(next(iter(differences.values())).T))
    return panels(shown, times, list(shown), unit="the panel's own scale")


def modulation_maps(maps: Mapping[str, np.ndarray], edges: Sequence[tuple[float, float]], minus: str) -> Figure:
    """Temporal modulation, {name: (n_mels, n_modulation_bands)} in dB: one map as it is, and what the others differ by.

    `edges` are the lowest and highest frequency of the modulation bands, Hz; `minus` is the key of the map to subtract.
    """
    others = {f"{name}\nminus {minus}": x - maps[minus] for name, x in maps.items() if name != minus}
    fig = panels({minus: maps[minus]} | others, range(len(edges)), list(others), "modulation frequency (Hz)")
    for ax in fig.axes[: len(maps)]:
        ax.set_xticks(range(len(edges)), [f"{low:.2g}-{high:.2g}" for low, high in edges], rotation=90)
    return fig


@styled
def windows(logmel, times, spans: Mapping[str, np.ndarray]) -> Figure:
    """One log-mel spectrogram, and where windows lie on it.

    Parameters
    ----------
    logmel : (n_mels, n_frames)
    times : (n_frames,)
    spans : dict of str to (n_windows, 2)
        Start and end of each window, seconds.
    """
    fig, axes = canvas(8.0, 4.4, 1 + len(spans), sharex=True, height_ratios=[3, *[1] * len(spans)])
    top, *rest = axes[:, 0]
    image = spectrogram(top, logmel, times, level_limits(logmel))
    mel_axis(top, len(logmel))
    fig.colorbar(image, ax=top, label="level (dB)", pad=0.01)
    for ax, (name, span), colour in zip(rest, spans.items(), LINES):
        for i, (start, end) in enumerate(span):
            ax.plot([start, end], [-i, -i], color=colour, linewidth=max(0.7, 14 / len(span)), solid_capstyle="butt")
        ax.set_yticks([])
        ax.set_title(f"{name}: {len(span)}", loc="left")
        ax.spines["left"].set_visible(False)
    rest[-1].set_xlabel("time (s)")
    return fig


@styled
def reconstruction(rows: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], seconds: float) -> Figure:
    """What a masked spectrogram model was shown, what it made of it, and what it missed.

    Parameters
    ----------
    rows : dict of str to (window, hidden, restored)
        (n_mels, width) each, standardised; `hidden` is True where the model did not see.
    seconds : float
        Length of a window.
    """
    fig, axes = canvas(9.0, 0.7 + 1.9 * len(rows), len(rows), 4, sharex=True, sharey=True)
    looks = [dict(limits=(-2.5, 2.5), cmap=cmap, interpolation="nearest") for cmap in ("magma", "magma", "magma", SIGNED)]
    for line, (name, (window, hidden, restored)) in zip(axes, rows.items()):
        shown, times = np.ma.masked_where(hidden, window), np.linspace(0, seconds, window.shape[1])
        for ax, panel, look in zip(line, (window, shown, restored, window - restored), looks):
            spectrogram(ax, panel, times, **look)
        mel_axis(line[0], len(window), f"{name}\nmel band centre (kHz)")
    for ax, title in zip(axes[0], ("window", "what the model sees", "what it restores", "window minus restored")):
        ax.set_title(title)
    for column in axes.T[2:]:
        fig.colorbar(column[0].images[0], ax=column, label="standard deviations", extend="both", aspect=30)
    fig.supxlabel("time (s)")
    return fig
