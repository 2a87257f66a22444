"""Figures of the invariance trap and of embeddings, from the tables of an ablation. No score is computed here.

fault sensitivity : displacement of an embedding under faults over its displacement under other noise, on simulated twins.
sensitivity, curves : DataFrames, ``trap-sensitivity.csv`` and so on: of one base, family "objective".
Every objective has its colour and marker. Bars are 95 % intervals, over scenes (of sensitivity) or recordings (of Omega).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asdkit.figures.style import BLACK, CLIPS, GREY, OBJECTIVES, canvas, count, error_bars, facets, log_ticks, styled

INTERVAL = ["sensitivity", "lo", "hi"]


@styled
def trap_scatter(sensitivity: pd.DataFrame, differences: pd.DataFrame) -> Figure:
    """Fault sensitivity on simulated machines against Omega on simulated and on real ones, by objective.

    `differences` are the rows of ``differences.csv`` of the same base and family.
    """
    moved = sensitivity[(sensitivity["fault"] == "all") & (sensitivity["nuisance"] == "noise")]
    moved = _geometric_mean(moved.set_index("variant")[INTERVAL])
    omega = differences[(differences["machine"] == "mean") & (differences["metric"] == "omega")]
    data = [d for d in ("simulated", "real") if d in set(omega["data"])]
    fig, [axes] = canvas(2.1 + 3.1 * len(data), 3.3, 1, len(data), sharex=True, sharey=True)
    for ax, kind in zip(axes, data):
        ax.axhline(50, color=GREY, linestyle=":", linewidth=1)
        ax.axvline(1, color=GREY, linestyle=":", linewidth=1)
        ax.grid()
        here = omega[omega["data"] == kind].set_index("variant")
        for name in (name for name in OBJECTIVES if name in moved.index and name in here.index):
            colour, marker = OBJECTIVES[name]
            look = dict(elinewidth=1, markersize=6.5, markeredgecolor="white", markeredgewidth=0.5, label=name)
            y = 100 * here.loc[[name], ["value", "value_lo", "value_hi"]]
            error_bars(ax, moved.loc[[name]], y, marker, colour, **look)
        ax.set_title("scored on " + count(here["machines"].iloc[0], f"{kind} machine"))
    log_ticks(axes[0].xaxis)
    axes[0].set_ylabel("Omega (x100); dotted: chance")
    fig.supxlabel("fault sensitivity on simulated machines:\ndisplacement under faults / under other noise")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return fig


def _geometric_mean(rows):
    """Of all rows with the same index, column by column."""
    return np.exp(np.log(rows).groupby(level=0).mean())


@styled
def trap_training(curves: pd.DataFrame) -> Figure:
    """Training loss above, fault sensitivity below, over steps: a column for each objective. Each line a machine and seed."""
    rows = curves[(curves["fault"] == "all") & (curves["nuisance"] == "noise") & (curves["loss"].notna())]
    names = [n for n in OBJECTIVES if n in set(rows["variant"])]
    fig, axes = canvas(0.8 + 1.5 * len(names), 3.6, 2, len(names), sharex=True, sharey="row")
    for column, name in zip(axes.T, names):
        mine, look = rows[rows["variant"] == name], dict(color=OBJECTIVES[name][0], linewidth=0.8, alpha=0.7)
        for _, line in mine.groupby(["machine", "seed"]):
            column[0].plot(line["step"], line["loss"] / line["loss"].iloc[0], **look)
            column[1].plot(line["step"], line["sensitivity"], **look)
        column[1].plot(_geometric_mean(mine.set_index("step")["sensitivity"]), color=BLACK, linewidth=2)
        column[0].set_title(name)
        for ax in column:
            ax.grid()
    axes[0, 0].set_ylabel("loss / loss at start")
    axes[1, 0].set_ylabel("fault sensitivity")
    log_ticks(axes[1, 0].yaxis)
    fig.supxlabel("training step; thin: each simulated machine and seed, black: their geometric mean")
    return fig


@styled
def trap_faults(sensitivity: pd.DataFrame, machine: str) -> Figure:
    """Sensitivity of each objective to each fault of a machine by severity, over noise; means over seeds, with intervals."""
    rows = sensitivity[(sensitivity["nuisance"] == "noise") & (sensitivity["fault"] != "all")]
    faults, severities = list(dict.fromkeys(rows["fault"])), np.sort(rows["severity"].unique())
    names = [n for n in OBJECTIVES if n in set(rows["variant"])]
    fig, [axes] = canvas(0.9 + 1.75 * len(faults), 3.2, 1, len(faults), sharey=True)
    for ax, fault in zip(axes, faults):
        ax.axhline(1, color=GREY, linestyle=":", linewidth=1)
        ax.grid(axis="y")
        for i, name in enumerate(names):
            mine = rows[(rows["variant"] == name) & (rows["fault"] == fault)].set_index("severity")
            y, (colour, marker) = _geometric_mean(mine.sort_index()[INTERVAL]), OBJECTIVES[name]
            x = np.arange(len(severities)) + 0.8 * ((i + 0.5) / len(names) - 0.5)
            error_bars(ax, x, y, marker, colour, markersize=3, elinewidth=0.9, label=name)
        ax.set_title(fault.replace("_", " "))
        ax.set_xticks(range(len(severities)), [f"{s:g}" for s in severities])
        for i in range(1, len(severities)):
            ax.axvline(i - 0.5, color="#dddddd", linewidth=0.6)
    log_ticks(axes[0].yaxis)
    axes[0].set_ylabel("fault sensitivity;\ndotted: as much as other noise")
    fig.suptitle(f"simulated {machine}")
    fig.supxlabel("severity of the fault")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return fig


@styled
def embedding_map(rows: pd.DataFrame) -> Figure:
    """Clips in two dimensions, a panel for each machine; target clips are larger. Rows "pca" of ``embedding.csv``."""
    machines = list(rows.groupby(["data", "machine"], sort=False))
    fig, axes = facets(len(machines), (0.3, 2.4), (0.7, 2.4))
    fig.set_figwidth(max(6.4, fig.get_figwidth()))  # the legend's
    for ax, (names, here) in zip(axes.flat, machines):
        for (split, label), (name, colour, marker, size) in CLIPS.items():
            for domain, scale in (("source", 1), ("target", 2.2)):
                some = here[(here["split"] == split) & (here["label"] == label) & (here["domain"] == domain)]
                look = dict(color=colour, marker=marker, linewidths=0.8, alpha=0.8, label=f"{name}, {domain}")
                ax.scatter(some["x"], some["y"], s=size * scale, **look)
        ax.set(xticks=[], yticks=[], title=" ".join(names))
        ax.set_aspect("equal", adjustable="datalim")
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    fig.suptitle("MSM embedding, mean over windows: first two principal components, no unit")
    return fig
