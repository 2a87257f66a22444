"""Figures of the invariance trap and of embeddings, one each, from the tables of trap and maps in `asdkit.experiments`.

Legend
------
fault sensitivity : displacement of an embedding under faults over its displacement under other noise, on simulated twins.
Every objective has its colour and marker. Bars are 95 % intervals, over scenes (of sensitivity) or recordings (of Omega).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asdkit.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, STYLE, VERMILLION

OBJECTIVES = {  # colour, marker
    "msm": (VERMILLION, "D"), "autoencoder": (ORANGE, "s"), "far-to-near": (GREEN, "^"), "machine-id": (BLUE, "v"),
    "pseudo-cluster": (SKY, "<"), "sub-cluster-adacos": (PURPLE, ">"), "untrained": (GREY, "o"), "log-mel": (BLACK, "P"),
}  # fmt: skip
KINDS = {  # label, colour, marker, size
    ("train", 0): ("normal, training", SKY, ".", 12),
    ("test", 0): ("normal, test", BLUE, "o", 14),
    ("test", 1): ("anomaly, test", VERMILLION, "x", 18),
}


def plan(tables: dict, base: str) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Name, table and drawing function of every figure of the trap for one base."""
    names = ("trap-sensitivity", "trap-curves", "trap-shares", "trap-probe", "differences")
    mine = {n: t[(t["base"] == base) & (t["family"] == "objective")] for n in names if (t := tables.get(n)) is not None}
    if len(mine) < len(names) or mine["trap-sensitivity"].empty:
        return
    moved = mine["trap-sensitivity"]
    yield "trap", names[0], partial(trap_scatter, moved, mine["differences"])
    yield "trap-training", names[1], partial(trap_training, mine["trap-curves"])
    yield "trap-shares", names[2], partial(trap_shares, mine["trap-shares"], mine["trap-probe"])
    for machine, rows in moved.groupby("machine", sort=False):
        yield f"trap-faults-{machine}", names[0], partial(trap_faults, rows, machine)


@mpl.rc_context(STYLE)
def trap_scatter(sensitivity: pd.DataFrame, differences: pd.DataFrame) -> Figure:
    """Fault sensitivity on simulated machines against Omega on simulated and on real ones, by objective.

    Parameters
    ----------
    sensitivity : DataFrame
        Of ``trap-sensitivity.csv``: one base, family "objective".
    differences : DataFrame
        Of ``differences.csv``, the same.
    """
    moved = sensitivity[(sensitivity["fault"] == "all") & (sensitivity["nuisance"] == "noise")]
    x = np.exp(np.log(moved.set_index("variant")[["sensitivity", "lo", "hi"]]).groupby(level=0).mean())
    omega = differences[(differences["machine"] == "mean") & (differences["metric"] == "omega")]
    data = [d for d in ("simulated", "real") if d in set(omega["data"])]
    fig = Figure(figsize=(2.1 + 3.1 * len(data), 3.3), layout="constrained")
    axes = fig.subplots(1, len(data), sharex=True, sharey=True, squeeze=False)[0]
    for ax, kind in zip(axes, data):
        ax.axhline(50, color=GREY, linestyle=":", linewidth=1)
        ax.axvline(1, color=GREY, linestyle=":", linewidth=1)
        ax.grid()
        here = omega[omega["data"] == kind].set_index("variant")
        for name, (colour, marker) in OBJECTIVES.items():
            if name in x.index and name in here.index:
                y = 100 * here.loc[name, ["value", "value_lo", "value_hi"]]
                _cross(ax, x.loc[name].to_numpy(), y, colour, marker, name)
        ax.set_title(f"scored on {here['machines'].iloc[0]} {kind} machine(s)")
    _log_ticks(axes[0].xaxis)
    axes[0].set_ylabel("Omega (x100); dotted: chance")
    fig.supxlabel("fault sensitivity on simulated machines:\ndisplacement under faults / under other noise", fontsize=9)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return fig


def _cross(ax, x, y, colour, marker, label) -> None:
    """A point with intervals both ways; `x` and `y` are (value, lo, hi)."""
    off = [np.abs(np.array([[v[1]], [v[2]]], dtype=float) - v[0]) for v in (list(x), list(y))]
    bars = dict(xerr=off[0], yerr=off[1], elinewidth=1, markersize=6.5, markeredgecolor="white", markeredgewidth=0.5)
    ax.errorbar(list(x)[:1], list(y)[:1], fmt=marker, color=colour, label=label, **bars)


def _log_ticks(axis) -> None:
    """A logarithmic axis with plain numbers."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axis.set_minor_locator(mpl.ticker.NullLocator())


@mpl.rc_context(STYLE)
def trap_training(curves: pd.DataFrame) -> Figure:
    """Training loss above, fault sensitivity below, over steps: a column for each objective. Each line a machine and seed.

    Parameters
    ----------
    curves : DataFrame
        Of ``trap-curves.csv``: one base, family "objective".
    """
    rows = curves[(curves["fault"] == "all") & (curves["nuisance"] == "noise") & (curves["loss"].notna())]
    names = [n for n in OBJECTIVES if n in set(rows["variant"])]
    fig = Figure(figsize=(0.8 + 1.5 * len(names), 3.6), layout="constrained")
    axes = fig.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
    for column, name in zip(axes.T, names):
        colour, mine = OBJECTIVES[name][0], rows[rows["variant"] == name]
        for _, line in mine.groupby(["machine", "seed"]):
            column[0].plot(line["step"], line["loss"] / line["loss"].iloc[0], color=colour, linewidth=0.8, alpha=0.7)
            column[1].plot(line["step"], line["sensitivity"], color=colour, linewidth=0.8, alpha=0.7)
        column[1].plot(*_geometric_mean(mine), color=BLACK, linewidth=2)
        column[0].set_title(name)
        for ax in column:
            ax.grid()
    axes[0, 0].set_ylabel("loss / loss at start")
    axes[1, 0].set_ylabel("fault sensitivity")
    _log_ticks(axes[1, 0].yaxis)
    fig.supxlabel("training step; thin: each simulated machine and seed, black: their geometric mean", fontsize=9)
    return fig


def _geometric_mean(rows):
    mean = np.exp(np.log(rows.set_index("step")["sensitivity"]).groupby(level=0).mean())
    return mean.index.to_numpy(), mean.to_numpy()


@mpl.rc_context(STYLE)
def trap_faults(sensitivity: pd.DataFrame, machine: str) -> Figure:
    """Sensitivity of each objective to each fault of a machine by severity, over noise; means over seeds, with intervals.

    Parameters
    ----------
    sensitivity : DataFrame
        Of ``trap-sensitivity.csv``: one base and machine, family "objective".
    machine : str
    """
    rows = sensitivity[(sensitivity["nuisance"] == "noise") & (sensitivity["fault"] != "all")]
    faults, severities = list(dict.fromkeys(rows["fault"])), np.sort(rows["severity"].unique())
    names = [n for n in OBJECTIVES if n in set(rows["variant"])]
    fig = Figure(figsize=(0.9 + 1.75 * len(faults), 3.2), layout="constrained")
    axes = fig.subplots(1, len(faults), sharey=True, squeeze=False)[0]
    for ax, fault in zip(axes, faults):
        ax.axhline(1, color=GREY, linestyle=":", linewidth=1)
        ax.grid(axis="y")
        for i, name in enumerate(names):
            mean = np.exp(np.log(_of(rows, variant=name, fault=fault)[["sensitivity", "lo", "hi"]]).groupby(level=0).mean())
            x = np.arange(len(severities)) + 0.8 * ((i + 0.5) / len(names) - 0.5)
            y, colour = mean["sensitivity"].to_numpy(), OBJECTIVES[name][0]
            off = np.abs(mean[["lo", "hi"]].to_numpy().T - y)
            ax.errorbar(x, y, off, fmt=OBJECTIVES[name][1], color=colour, markersize=3, elinewidth=0.9, label=name)
        ax.set_title(fault.replace("_", " "))
        ax.set_xticks(range(len(severities)), [f"{s:g}" for s in severities])
        for i in range(1, len(severities)):
            ax.axvline(i - 0.5, color="#dddddd", linewidth=0.6)
    _log_ticks(axes[0].yaxis)
    axes[0].set_ylabel("fault sensitivity;\ndotted: as much as other noise")
    fig.suptitle(f"simulated {machine}", fontsize=10)
    fig.supxlabel("severity of the fault", fontsize=9)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return fig


def _of(rows, variant, fault):
    """The rows of one variant and fault, indexed and sorted by severity."""
    return rows[(rows["variant"] == variant) & (rows["fault"] == fault)].set_index("severity").sort_index()


@mpl.rc_context(STYLE)
def trap_shares(shares: pd.DataFrame, probe: pd.DataFrame) -> Figure:
    """Share of the embedding's variance that faults move, and what a linear probe with labels reads from it.

    Parameters
    ----------
    shares, probe : DataFrame
        Of ``trap-shares.csv`` and ``trap-probe.csv``: one base, family "objective".

    Returns
    -------
    Figure
        Bars are means over machines, seeds, faults and severities; dots each machine.
    """
    panels = {
        "variance that a fault moves (%)": (shares[shares["change"] == "fault"], "share", 100),
        "variance that other noise moves (%)": (shares[shares["change"] == "noise"], "share", 100),
        "AUC of a linear probe with labels\n(analysis only)": (probe, "auc", 1),
    }
    names = [n for n in OBJECTIVES if n in set(shares["variant"])]
    fig = Figure(figsize=(9.2, 0.9 + 0.27 * len(names)), layout="constrained")
    axes = fig.subplots(1, 3, sharey=True)
    for ax, (label, (rows, column, unit)) in zip(axes, panels.items()):
        by_machine = unit * rows.groupby(["variant", "machine"])[column].mean()
        for y, name in enumerate(names):
            colour, values = OBJECTIVES[name][0], by_machine.loc[name]
            ax.barh(y, values.mean(), color=colour, alpha=0.45, edgecolor=colour)
            ax.plot(values, [y] * len(values), "o", color=BLACK, markersize=2.5)
        ax.set_xlabel(label)
        ax.grid(axis="x")
    axes[2].set_xlim(0.5, 1)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    return fig


@mpl.rc_context(STYLE)
def embedding_map(rows: pd.DataFrame) -> Figure:
    """Clips in two dimensions, a panel for each machine; target clips are drawn with a black edge or larger.

    Parameters
    ----------
    rows : DataFrame
        Of ``embedding.csv``, one method.
    """
    machines = list(dict.fromkeys(zip(rows["data"], rows["machine"])))
    depth = -(-len(machines) // 4)
    columns = -(-len(machines) // depth)
    fig = Figure(figsize=(max(0.3 + 2.4 * columns, 6.4), 0.7 + 2.4 * depth), layout="constrained")
    axes = fig.subplots(depth, columns, squeeze=False).ravel()
    for ax, (data, machine) in zip(axes, machines):
        here = rows[(rows["data"] == data) & (rows["machine"] == machine)]
        for (split, label), (name, colour, marker, size) in KINDS.items():
            for domain, scale in (("source", 1), ("target", 2.2)):
                some = here[(here["split"] == split) & (here["label"] == label) & (here["domain"] == domain)]
                style = dict(color=colour, marker=marker, linewidths=0.8, alpha=0.8, label=f"{name}, {domain}")
                ax.scatter(some["x"], some["y"], s=size * scale, **style)
        ax.set(xticks=[], yticks=[], title=f"{data} {machine}")
        ax.set_aspect("equal", adjustable="datalim")
    for ax in axes[len(machines) :]:
        ax.set_axis_off()
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=3)
    method = {"pca": "first two principal components", "umap": "UMAP"}[rows["method"].iloc[0]]
    fig.suptitle(f"MSM embedding, mean over windows: {method}, no unit", fontsize=10)
    return fig
