"""Charts of arrays and small tables, as the notebooks draw them. `reference` is where a thin line lies: chance, or nothing."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asdkit.figures.spectrograms import mel_ticks
from asdkit.figures.style import DASH, FILLS, GREY, SKY, VERMILLION, canvas, colours, log_ticks, name_rows, styled

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@styled
def lines(x, curves: Mapping[str, Sequence], xlabel: str, ylabel: str, log=False, reference=None, **axes) -> Figure:
    """Curves over one axis, (n,), a logarithmic one where `log`: values, (n,), or (value, lo, hi), (n, 3).

    `axes` are more options of `matplotlib.axes.Axes.set`.
    """
    fig, [[ax]] = canvas(7.2, 3.2)
    for (name, values), colour, line, marker in zip(curves.items(), colours(curves), cycle(DASH), MARKERS):
        values = np.asarray(values, dtype=float)
        if values.ndim == 2:
            ax.fill_between(x, values[:, 1], values[:, 2], color=colour, alpha=0.15, linewidth=0)
            values = values[:, 0]
        ax.plot(x, values, line, marker=marker if len(x) < 50 else "", markersize=4, color=colour, label=name)
    if log:
        log_ticks(ax.xaxis)
    if reference is not None:
        ax.axhline(reference, color=GREY, linestyle=":", linewidth=1)
    ax.set(xlabel=xlabel, ylabel=ylabel, **axes)
    ax.grid()
    fig.legend(loc="outside right upper")
    return fig


def bands(profiles: Mapping[str, np.ndarray], ylabel: str, reference: float | None = None) -> Figure:
    """Something by mel band, {name: (n_clips, n_mels)}: median over clips, shaded all but the outer tenths on either side."""
    curves = {name: np.percentile(values, [50, 10, 90], axis=0).T for name, values in profiles.items()}
    n_mels = len(next(iter(curves.values())))
    axes = dict(zip(("xticks", "xticklabels"), mel_ticks(n_mels)), xlim=(0, n_mels - 1))
    return lines(range(n_mels), curves, "mel band centre (kHz)", ylabel, reference=reference, **axes)


@styled
def learning_curve(losses, held_out: Mapping[str, Mapping[int, float]]) -> Figure:
    """Training loss by step, (n_steps,), and the error on held-out windows at some of the steps, {name: {step: error}}.

    Errors are twice the negative log likelihood of hidden cells, as `asdkit.msm.masked_error` has them.
    """
    fig, [[ax]] = canvas(6.4, 3.0)
    ax.plot(np.arange(1, len(losses) + 1), losses, color=GREY, linewidth=1, label="training batches")
    for (name, errors), marker, colour in zip(held_out.items(), MARKERS, colours(held_out)):
        ax.plot(*zip(*errors.items()), "--", marker=marker, markersize=4, color=colour, label=name)
    ax.axhline(1, color=GREY, linestyle=":", label="mean 0, variance 1")
    ax.set(xlabel="training step", ylabel="error on hidden cells\n(-2 log likelihood)")
    fig.legend(loc="outside right upper")
    return fig


def waterfall(strengths, nulls: Mapping[str, np.ndarray]) -> Figure:
    """Strengths of what two channels share, (dim,), over the mean and range of each null's shuffles, (n_shuffles, dim)."""
    curves = {"as recorded": strengths}
    curves |= {f"{name} (largest {x.max():.2f})": np.stack([x.mean(0), x.min(0), x.max(0)], 1) for name, x in nulls.items()}
    n, n_shown = len(strengths), 1 + max(np.flatnonzero(np.asarray(strengths) > 0.02 * max(strengths)))
    axes = dict(xlim=(0.5, n_shown + 0.5), ylim=(0, None))
    return lines(np.arange(1, n + 1), curves, "direction, strongest first", "covariance of near and far", **axes)


@styled
def bars(table: pd.DataFrame, group: str, xlabel: str, reference: float = 0.0, interval: str = "95 % interval") -> Figure:
    """Bars that begin at the reference, with intervals: for each value of the column `group`, from top to bottom, one a system.

    `table` has the columns `group`, system, value, lo, hi; `interval` says what lo and hi are, empty where they are nothing.
    """
    groups, systems = (list(dict.fromkeys(table[column])) for column in (group, "system"))
    thick = 1 / (len(systems) + 1)
    fig, axes = canvas(7.4, 0.9 + 0.2 * len(groups) * (len(systems) + 1))
    ax = axes[0, 0]
    palette = colours(systems, [colour for colour, _ in FILLS])
    for i, (system, colour, (_, hatch)) in enumerate(zip(systems, palette, FILLS)):
        rows, look = table[table["system"] == system], dict(hatch=hatch, edgecolor="black", linewidth=0.5)
        y = np.array([groups.index(g) for g in rows[group]]) + (i - (len(systems) - 1) / 2) * thick
        ax.barh(y, rows["value"] - reference, 0.9 * thick, reference, label=system, color=colour, **look)
        ax.hlines(y, rows["lo"], rows["hi"], color="black", linewidth=1)
    ax.axvline(reference, color=GREY, linewidth=1)
    name_rows(axes, groups)
    ax.set_xlabel(f"{xlabel}; line: {interval}" if interval else xlabel)
    ax.grid(axis="x")
    fig.legend(loc="outside right upper")
    return fig


@styled
def clouds(shown: Mapping[str, tuple[np.ndarray, np.ndarray, float]], names: tuple[str, str]) -> Figure:
    """Points in a plane, a panel each: {title: (healthy, faulty, radius)}, (n, 2) each; `radius` holds 95 % of the healthy."""
    fig, [axes] = canvas(4.0 * len(shown), 3.8, 1, len(shown))
    for ax, (title, (healthy, faulty, radius)) in zip(axes, shown.items()):
        ax.plot(*healthy.T, ".", color=SKY, markersize=5, label="healthy")
        ax.plot(*faulty.T, "X", color=VERMILLION, markersize=9, markeredgecolor="white", label="faulty")
        angle, (x, y) = np.linspace(0, 2 * np.pi, 200), healthy.mean(0)
        ax.plot(x + radius * np.cos(angle), y + radius * np.sin(angle), "--", color=GREY, label="95 % of\nthe healthy")
        ax.set(title=title, xlabel=names[0], ylabel=names[1], aspect="equal")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    return fig


@styled
def shares(table: pd.DataFrame, label: str) -> Figure:
    """A table of shares, 0 to 1, as shaded cells with their numbers."""
    fig, [[ax]] = canvas(1.8 + 0.75 * table.shape[1], 1.1 + 0.27 * len(table))
    ax.imshow(table, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(table.to_numpy()):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.55 else "black", fontsize=8)
    ax.set_xticks(range(table.shape[1]), table.columns, rotation=30, ha="right")
    ax.set_yticks(range(len(table)), table.index)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(label, loc="left")
    return fig
