"""Figures of the notebooks: one function each, from arrays and tables; no score is computed here.

Signed differences are drawn from dark (less) to bright (more), so that a grey print keeps their sign.

Legend
------
times : (n_frames,) seconds. Spectrograms are (n_mels, n_frames), dB, of Slaney mel bands from 0 Hz to 8 kHz.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asdkit.figures import BLUE, GREEN, GREY, LINES, ORANGE, PURPLE, SKY, STYLE, VERMILLION, _line_styles, _mel_ticks

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FILLS = ((VERMILLION, ""), (SKY, "////"), (GREEN, "...."), (ORANGE, "\\\\\\\\"), (BLUE, ""), (PURPLE, "xxxx"))
SIGNED = "cividis"


@mpl.rc_context(STYLE)
def coherence(hz, values, floor: float, line_hz: Sequence[float] = ()) -> Figure:
    """Magnitude-squared coherence of near and far: median and middle half of the clips.

    Parameters
    ----------
    hz : (n_bins,)
    values : (n_clips, n_bins), 0 to 1
    floor : float
        What unrelated channels give on average, dashed.
    line_hz : sequence of float
        Frequencies to mark.
    """
    low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
    fig = Figure(figsize=(7.2, 2.8), layout="constrained")
    ax = fig.subplots()
    ax.fill_between(np.asarray(hz) / 1000, low, high, color=SKY, alpha=0.5, linewidth=0, label="middle half of the clips")
    ax.plot(np.asarray(hz) / 1000, middle, color=BLUE, linewidth=1, label="median clip")
    ax.axhline(floor, color=GREY, linestyle="--", linewidth=1, label="unrelated channels")
    for f in line_hz:
        ax.plot(f / 1000, 1.03, "v", color=VERMILLION, markersize=4, clip_on=False)
    ax.set(xlabel="frequency (kHz)", ylabel="coherence of near and far", xlim=(0, hz[-1] / 1000), ylim=(0, 1))
    fig.legend(loc="outside right upper")
    return fig


@mpl.rc_context(STYLE)
def bands(profiles: Mapping[str, np.ndarray], ylabel: str, reference: float | None = None) -> Figure:
    """Something by mel band: median over clips and, shaded, all but the outer tenths on either side.

    Parameters
    ----------
    profiles : dict of str to (n_clips, n_mels)
    ylabel : str
    reference : float, optional
        A dashed line.
    """
    fig = Figure(figsize=(7.2, 3.0), layout="constrained")
    ax = fig.subplots()
    for (name, values), (line, colour) in zip(profiles.items(), _line_styles(len(profiles))):
        low, middle, high = np.percentile(values, [10, 50, 90], axis=0)
        ax.fill_between(np.arange(len(middle)), low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(middle, line, color=colour, label=name)
    if reference is not None:
        ax.axhline(reference, color=GREY, linestyle=":", linewidth=1)
    ax.set_xticks(*_mel_ticks(len(middle)))
    ax.set(xlabel="mel band centre (kHz)", ylabel=ylabel, xlim=(0, len(middle) - 1))
    ax.grid(axis="y")
    fig.legend(loc="outside right upper")
    return fig


@mpl.rc_context(STYLE)
def windows(logmel, times, spans: Mapping[str, np.ndarray]) -> Figure:
    """One log-mel spectrogram, and where windows lie on it.

    Parameters
    ----------
    logmel : (n_mels, n_frames)
    times : (n_frames,)
    spans : dict of str to (n_windows, 2)
        Start and end of each window, seconds.
    """
    fig = Figure(figsize=(8.0, 4.4), layout="constrained")
    top, *rest = fig.subplots(1 + len(spans), 1, sharex=True, height_ratios=[3, *[1] * len(spans)])
    image = _spectrogram(top, logmel, times, "magma", np.percentile(logmel, [2, 99.8]))
    top.set_yticks(*_mel_ticks(len(logmel)))
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


def _spectrogram(ax, panel, times, cmap, limits):
    half = (times[-1] - times[0]) / max(len(times) - 1, 1) / 2
    extent = (times[0] - half, times[-1] + half, -0.5, len(panel) - 0.5)
    return ax.imshow(
        panel, origin="lower", aspect="auto", extent=extent, cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest"
    )


@mpl.rc_context(STYLE)
def panels(shown: Mapping[str, np.ndarray], times, signed: Sequence[str] = ()) -> Figure:
    """Spectrograms side by side: levels on one scale, signed differences on another.

    Parameters
    ----------
    shown : dict of str to (n_mels, n_frames)
    times : (n_frames,)
    signed : sequence of str
        Keys of `shown` that are differences.
    """
    levels = np.percentile(np.stack([x for name, x in shown.items() if name not in signed]), [2, 99.8])
    limit = max((np.percentile(np.abs(shown[name]), 99.5) for name in signed), default=0)
    fig = Figure(figsize=(1.2 + 2.7 * len(shown), 3.0), layout="constrained")
    axes = fig.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (name, panel) in zip(axes, shown.items()):
        cmap, limits = (SIGNED, (-limit, limit)) if name in signed else ("magma", levels)
        image = _spectrogram(ax, panel, times, cmap, limits)
        ax.set(title=name, xlabel="time (s)")
        fig.colorbar(image, ax=ax, label="difference (dB)" if name in signed else "level (dB)", extend="both", aspect=30)
    axes[0].set_yticks(*_mel_ticks(len(panel)))
    axes[0].set_ylabel("mel band centre (kHz)")
    return fig


@mpl.rc_context(STYLE)
def reconstruction(rows: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], seconds: float) -> Figure:
    """What a masked spectrogram model was shown, what it made of it, and what it missed.

    Parameters
    ----------
    rows : dict of str to (window, hidden, restored)
        (n_mels, width) each, standardised; `hidden` is True where the model did not see.
    seconds : float
        Length of a window.
    """
    fig = Figure(figsize=(9.0, 0.7 + 1.9 * len(rows)), layout="constrained")
    axes = fig.subplots(len(rows), 4, sharex=True, sharey=True, squeeze=False)
    for line, (name, (window, hidden, restored)) in zip(axes, rows.items()):
        times = np.linspace(0, seconds, window.shape[1])
        for ax, panel in zip(line, (window, np.ma.masked_where(hidden, window), restored)):
            ax.set_facecolor("white")
            image = _spectrogram(ax, panel, times, "magma", (-2.5, 2.5))
        missed = _spectrogram(line[3], window - restored, times, SIGNED, (-2.5, 2.5))
        line[0].set_ylabel(f"{name}\nmel band centre (kHz)")
        line[0].set_yticks(*_mel_ticks(len(window)))
    for ax, title in zip(axes[0], ("window", "what the model sees", "what it restores", "window minus restored")):
        ax.set_title(title)
    fig.supxlabel("time (s)", fontsize=9)
    fig.colorbar(image, ax=axes[:, 2], label="standard deviations", extend="both", aspect=30)
    fig.colorbar(missed, ax=axes[:, 3], label="standard deviations", extend="both", aspect=30)
    return fig


@mpl.rc_context(STYLE)
def learning_curve(losses, held_out: Mapping[str, Mapping[int, float]], floor: float = 1.0) -> Figure:
    """Training loss by step, and the error on held-out windows at some of the steps.

    Parameters
    ----------
    losses : (n_steps,)
    held_out : dict of str to {step: error}
    floor : float
        The error of the band's mean, dashed.
    """
    fig = Figure(figsize=(6.4, 3.0), layout="constrained")
    ax = fig.subplots()
    ax.plot(np.arange(1, len(losses) + 1), losses, color=GREY, linewidth=1, label="training batches")
    for (name, errors), marker, colour in zip(held_out.items(), MARKERS, LINES):
        ax.plot(list(errors), list(errors.values()), "--", marker=marker, markersize=4, color=colour, label=name)
    ax.axhline(floor, color=GREY, linestyle=":", label="the mean of the band")
    ax.set(xlabel="training step", ylabel="error on hidden cells\n(band variance = 1)", ylim=(0, None))
    fig.legend(loc="outside right upper")
    return fig


def embedding_map(coordinates: np.ndarray, table: pd.DataFrame, colour: str, title: str = ""):
    """Scatter of two coordinates of every clip, to be hovered over: the file, and all else the table says.

    Parameters
    ----------
    coordinates : (n_clips, 2)
    table : DataFrame
        A row a clip, with a column ``file``.
    colour : str
        Column that colours and marks the clips: groups.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    import plotly.express as px

    shown = table.assign(**{"component 1": coordinates[:, 0], "component 2": coordinates[:, 1]})
    hover = {name: name != "file" for name in table} | {"component 1": False, "component 2": False}
    arguments = dict(color=colour, symbol=colour, hover_name="file", hover_data=hover, color_discrete_sequence=list(LINES))
    figure = px.scatter(shown, "component 1", "component 2", title=title, template="simple_white", **arguments)
    return figure.update_traces(marker_size=8, marker_opacity=0.75).update_layout(width=820, height=520)


@mpl.rc_context(STYLE)
def modulation_maps(maps: Mapping[str, np.ndarray], edges: Sequence[tuple[float, float]], minus: str = "") -> Figure:
    """Temporal modulation by mel band and modulation band and, with `minus`, what each differs by from that one.

    Parameters
    ----------
    maps : dict of str to (n_mels, n_modulation_bands), dB
    edges : sequence of (lowest, highest)
        Of the modulation bands, Hz.
    minus : str
        A key of `maps`: it is drawn as it is, the others as differences from it.
    """
    base = maps.get(minus, 0)
    panels = {name: x if name == minus or not minus else x - base for name, x in maps.items()}
    fig = Figure(figsize=(1.2 + 2.5 * len(panels), 3.4), layout="constrained")
    axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    signed = [np.abs(x).max() for name, x in panels.items() if minus and name != minus]
    for ax, (name, panel) in zip(axes, panels.items()):
        plain = name == minus or not minus
        limits = np.percentile(base if minus else np.stack(list(panels.values())), [1, 99])
        low, high = limits if plain else (-max(signed), max(signed))
        image = ax.imshow(panel, origin="lower", aspect="auto", cmap="magma" if plain else SIGNED, vmin=low, vmax=high)
        ax.set_xticks(range(len(edges)), [f"{low:.2g}-{high:.2g}" for low, high in edges], rotation=90)
        ax.set_title(name if plain else f"{name}\nminus {minus}")
        fig.colorbar(image, ax=ax, label="dB", aspect=30)
    axes[0].set_yticks(*_mel_ticks(len(panel)))
    axes[0].set_ylabel("mel band centre (kHz)")
    fig.supxlabel("modulation frequency (Hz)", fontsize=9)
    return fig


@mpl.rc_context(STYLE)
def bars(table: pd.DataFrame, group: str, xlabel: str, reference: float = 0.0, interval: str = "95 % interval") -> Figure:
    """Bars with intervals, for each group one a system.

    Parameters
    ----------
    table : DataFrame
        `group`, system, value, lo, hi.
    group : str
        Column whose values are the groups, drawn from top to bottom in the order they come in.
    reference : float
        Where the bars begin: chance, or nothing.
    interval : str
        What lo and hi are; empty where they are nothing.
    """
    groups, systems = (list(dict.fromkeys(table[column])) for column in (group, "system"))
    fig = Figure(figsize=(7.4, 0.9 + 0.2 * len(groups) * (len(systems) + 1)), layout="constrained")
    ax = fig.subplots()
    for i, (system, (colour, hatch)) in enumerate(zip(systems, FILLS)):
        rows = table[table["system"] == system]
        y = np.array([groups.index(g) for g in rows[group]]) + (i - (len(systems) - 1) / 2) / (len(systems) + 1)
        ax.barh(
            y, rows["value"] - reference, 0.9 / (len(systems) + 1), reference, color=colour, hatch=hatch,
            edgecolor="black", linewidth=0.5, label=system,
        )  # fmt: skip
        ax.hlines(y, rows["lo"], rows["hi"], color="black", linewidth=1)
    ax.axvline(reference, color=GREY, linewidth=1)
    ax.set_yticks(range(len(groups)), groups)
    ax.tick_params(axis="y", length=0)
    ax.set(xlabel=f"{xlabel}; line: {interval}" if interval else xlabel, ylim=(len(groups) - 0.5, -0.5))
    ax.grid(axis="x")
    fig.legend(loc="outside right upper")
    return fig


@mpl.rc_context(STYLE)
def waterfall(strengths, nulls: Mapping[str, np.ndarray], ylabel="canonical correlation") -> Figure:
    """Strengths of the shared directions, strongest first, over what each null gives.

    Parameters
    ----------
    strengths : (dim,)
    nulls : dict of str to (n_shuffles, dim)
        Drawn as the range of the shuffles.
    """
    order, shown = np.arange(1, len(strengths) + 1), max(np.flatnonzero(np.asarray(strengths) > 0.02 * max(strengths)))
    fig = Figure(figsize=(7.2, 3.4), layout="constrained")
    ax = fig.subplots()
    ax.bar(order, strengths, width=1.0, color="#cccccc", edgecolor="white", linewidth=0.3, label="as recorded")
    for (name, null), (line, colour) in zip(nulls.items(), _line_styles(len(nulls))):
        ax.fill_between(order, null.min(0), null.max(0), color=colour, alpha=0.25, linewidth=0)
        ax.plot(order, null.mean(0), line, color=colour, label=f"{name} (largest {null.max():.2f})")
    ax.set(xlabel="direction, strongest first", ylabel=ylabel, xlim=(0.5, shown + 1.5), ylim=(0, None))
    fig.legend(loc="outside right upper")
    return fig


@mpl.rc_context(STYLE)
def decoded(differences: Mapping[str, np.ndarray], seconds: float) -> Figure:
    """Differences of log-mel windows, each on a scale of its own that is symmetric about 0 and named in its title.

    Parameters
    ----------
    differences : dict of str to (n_mels, width), dB
    seconds : float
        Length of a window.
    """
    columns = min(4, len(differences))
    depth = -(-len(differences) // columns)
    fig = Figure(figsize=(1.0 + 2.0 * columns, 0.5 + 2.2 * depth), layout="constrained")
    axes = fig.subplots(depth, columns, sharex=True, sharey=True, squeeze=False)
    for ax, (name, panel) in zip(axes.flat, differences.items()):
        limit = max(float(np.percentile(np.abs(panel), 99.5)), 1e-9)
        image = _spectrogram(ax, panel / limit, np.linspace(0, seconds, panel.shape[1]), SIGNED, (-1, 1))
        ax.set_title(f"{name}\n$\\pm$ 1 is {limit:.2g} dB")
    for ax in axes.flat[len(differences) :]:
        ax.set_axis_off()
    axes[0, 0].set_yticks(*_mel_ticks(len(panel)))
    fig.supxlabel("time (s)", fontsize=9)
    fig.supylabel("mel band centre (kHz)", fontsize=9)
    fig.colorbar(image, ax=axes, label="difference over the panel's own scale", aspect=30, extend="both")
    return fig


@mpl.rc_context(STYLE)
def shares(table: pd.DataFrame, label: str) -> Figure:
    """A table of shares, 0 to 1, as shaded cells with their numbers."""
    fig = Figure(figsize=(1.8 + 0.75 * table.shape[1], 1.1 + 0.27 * len(table)), layout="constrained")
    ax = fig.subplots()
    ax.imshow(table, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(table.to_numpy()):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.55 else "black", fontsize=8)
    ax.set_xticks(range(table.shape[1]), table.columns, rotation=30, ha="right")
    ax.set_yticks(range(len(table)), table.index)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(label, loc="left")
    return fig


@mpl.rc_context(STYLE)
def lines(x, curves: Mapping[str, Sequence], xlabel: str, ylabel: str, log=False, reference: float | None = None) -> Figure:
    """Curves over one axis.

    Parameters
    ----------
    x : (n,)
    curves : dict of str to (n,) or (n, 3)
        Values or, with their intervals, (value, lo, hi).
    log : bool
        Logarithmic x axis.
    reference : float, optional
        A dotted line.
    """
    fig = Figure(figsize=(7.2, 3.2), layout="constrained")
    ax = fig.subplots()
    for (name, values), (line, colour), marker in zip(curves.items(), _line_styles(len(curves)), MARKERS):
        values = np.asarray(values, dtype=float)
        if values.ndim == 2:
            ax.fill_between(x, values[:, 1], values[:, 2], color=colour, alpha=0.12, linewidth=0)
            values = values[:, 0]
        ax.plot(x, values, line, marker=marker, markersize=4, color=colour, label=name)
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    if reference is not None:
        ax.axhline(reference, color=GREY, linestyle=":", linewidth=1)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid()
    fig.legend(loc="outside right upper")
    return fig
