"""Spectrograms and maps by mel band.

times : (n_frames,) seconds, evenly spaced. Spectrograms are (n_mels, n_frames), dB, of Slaney mel bands from 0 Hz to 8 kHz.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from asdkit.figures.style import BLACK, BLUE, GREY, LINES, SIGNED, SKY, canvas, facets, styled

KHZ = np.array([0.2, 0.5, 1, 2, 4, 7.8])  # named on frequency axes


def mel_ticks(n_mels: int) -> tuple[np.ndarray, list[str]]:
    """Where among the band numbers, from 0, the frequencies of `KHZ` lie, and their names in kHz."""
    from asdkit.spectrogram import hz_to_mel

    bands = hz_to_mel(1000 * KHZ) / hz_to_mel(8000) * (n_mels + 1) - 1
    return bands, [f"{f:g}" for f in KHZ]


def spectrogram(ax, values, times, limits, cmap="magma", interpolation: str | None = None):
    """Draw (n_bands, n_frames) over the centres of the frames, between two limits of the colours. Returns the image."""
    half = (times[-1] - times[0]) / max(len(times) - 1, 1) / 2
    extent = (times[0] - half, times[-1] + half, -0.5, len(values) - 0.5)
    look = dict(origin="lower", aspect="auto", cmap=cmap, interpolation=interpolation, vmin=limits[0], vmax=limits[1])
    return ax.imshow(values, extent=extent, **look)


def level_limits(*levels) -> np.ndarray:
    """Limits of the colours for levels in dB, common to all arrays: all but the outermost."""
    return np.percentile(np.concatenate([np.ravel(x) for x in levels]), [2, 99.8])


@styled
def panels(shown: Mapping[str, np.ndarray], times, signed: Sequence[str] = (), xlabel="time (s)") -> Figure:
    """Spectrograms side by side: levels on one scale, signed differences on another that is symmetric about 0.

    `shown` is {name: (n_mels, n_frames)}, `signed` the names that are differences. Shapes that differ are a ValueError.
    """
    shown = {name: np.asarray(x) for name, x in shown.items()}
    shape = len(next(iter(shown.values()))), len(times)
    if wrong := next((name for name, x in shown.items() if x.shape != shape), None):
        raise ValueError(f"{wrong}: found shape {shown[wrong].shape}, expected {shape}")
    levels = [x for name, x in shown.items() if name not in signed]
    limit = max((np.percentile(np.abs(shown[name]), 99.5) for name in signed), default=0)
    scales = {"level": (level_limits(*levels) if levels else None, "magma"), "difference": ((-limit, limit), SIGNED)}
    fig, axes = facets(len(shown), (1.0, 2.7), (0.5, 2.5), sharex=True, sharey=True)
    for ax, (name, x) in zip(axes.flat, shown.items()):
        kind = "difference" if name in signed else "level"
        image = spectrogram(ax, x, times, *scales[kind])
        ax.set_title(name)
        if levels and signed:
            fig.colorbar(image, ax=ax, label=f"{kind} (dB)", extend="both", aspect=30)
    if not (levels and signed):  # one scale for all
        fig.colorbar(image, ax=axes, label=f"{kind} (dB)", extend="both", pad=0.01, aspect=30)
    axes[0, 0].set_yticks(*mel_ticks(shape[0]))
    fig.supxlabel(xlabel)
    fig.supylabel("mel band centre (kHz)")
    return fig


def clip_panels(near, far, residual, times) -> Figure:
    """Log-mel spectrograms of one clip, (n_mels, n_frames) each: near, far, and near with far cancelled."""
    return panels({"near": near, "far": far, "near, far cancelled": residual}, times)


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

    `logmel` is (n_mels, n_frames); `spans` are {name: (n_windows, 2)}, start and end of each window in seconds.
    """
    fig, axes = canvas(8.0, 4.4, 1 + len(spans), sharex=True, height_ratios=[3, *[1] * len(spans)])
    top, *rest = axes[:, 0]
    image = spectrogram(top, logmel, times, level_limits(logmel))
    top.set_yticks(*mel_ticks(len(logmel)))
    top.set_ylabel("mel band centre (kHz)")
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
def predicted_bands(rows: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], seconds: float) -> Figure:
    """What a masked spectrogram model was shown, and how it predicts the hidden cells of each band to be distributed.

    `rows` are {name: (window, hidden, mean, std)}: window, standardised, and hidden, True where the model did not see, are
    (n_mels, width); it predicts mean and std, (n_mels,). A window lasts `seconds`.
    """
    fig, axes = canvas(9.0, 0.7 + 2.3 * len(rows), len(rows), 3, sharex="col", sharey=True)
    for line, (name, (window, hidden, mean, std)) in zip(axes, rows.items()):
        times, bands = np.linspace(0, seconds, window.shape[1]), np.arange(len(window))
        for ax, panel in zip(line, (window, np.ma.masked_where(hidden, window))):
            image = spectrogram(ax, panel, times, (-2.5, 2.5), interpolation="nearest")
        line[2].fill_betweenx(bands, mean - std, mean + std, color=SKY, alpha=0.5, linewidth=0, label="predicted, mean +- std")
        line[2].plot(mean, bands, color=BLUE, linewidth=1)
        at = np.array([(x[h].mean(), x[h].std(), i) for i, (x, h) in enumerate(zip(window, hidden)) if h.any()]).T
        line[2].errorbar(at[0], at[2], xerr=at[1], fmt=".", color=BLACK, elinewidth=0.4, markersize=3, label="hidden cells")
        line[2].axvline(0, color=GREY, linestyle=":", linewidth=1)
        line[0].set_yticks(*mel_ticks(len(window)))
        line[0].set_ylabel(f"{name}\nmel band centre (kHz)")
    for ax, title in zip(axes[0], ("window", "what the model sees", "its hidden cells, by band")):
        ax.set_title(title)
    fig.colorbar(image, ax=axes[:, 1], label="standard deviations", extend="both", aspect=30)
    for ax, label in zip(axes[-1], ("time (s)", "time (s)", "standard deviations")):
        ax.set_xlabel(label)
    fig.legend(*axes[0, 2].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return fig
