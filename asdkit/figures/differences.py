"""Differences of Omega within the families of an ablation, in points. No score is computed here.

Legend
------
rows : DataFrame, rows of ``differences.csv`` of one base and family, fractions; machine "mean" is the mean over machines.
Blue and a circle are real recordings, vermillion and a diamond simulated ones. Bars are 95 % intervals over recordings.
Marks are filled where the interval excludes 0, open where it does not; grey ticks are the machines.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from asdkit.figures.style import DATA, GREY, canvas, count, error_bars, interval_dot, name_rows, styled

FAMILIES = {  # title and, where variants are numbers, what the axis says
    "objective": ("training objectives, embedding alone", ""),
    "embedding": ("what of the masked model is scored, alone", ""),
    "mask": ("mask ratio, embedding alone", "mask ratio: share of the patches hidden"),
    "steps": ("training of the masked model, embedding alone", "gradient steps"),
    "blocks": ("blocks dropped", ""),
    "single": ("each block alone", ""),
    "whiten": ("whitening of the blocks", ""),
    "balance": ("balance of the blocks", ""),
    "knn": ("scoring of the neighbours", ""),
    "n_0": ("target shrinkage", "n_0: weight of the source scale (recordings)"),
    "k": ("neighbours", "k: nearest neighbours"),
    "msm-weight": ("weight of the embedding beside the other blocks", "weight of the embedding"),
    "alpha": ("strength of Far-conditioning of the input", "alpha: share of far that is cancelled"),
    "control": ("controls of Far-conditioning of the input", ""),
    "subspace": ("Far-conditioning of the embedding: the subspace removed", ""),
    "aggregate": ("from windows to a file", ""),
    "departures": ("options set back to the report's, one at a time", ""),
    "machines": ("systems on machines that no option was chosen on, and on real ones", ""),
    "autoencoder": ("the official baseline", ""),
}


@styled
def differences_dots(rows: pd.DataFrame, family: str, base: str) -> Figure:
    """Omega of each variant minus that of the family's reference: the mean over machines, and each machine beside it.

    A panel for each kind of data, both on one scale.
    """
    rows, data, reference = _omega(rows)
    rows = rows[rows["variant"] != reference]
    entries = [(None, variant) for variant in dict.fromkeys(rows["variant"])]
    fig = _dots(rows, data, entries, f"Omega minus that of\n“{reference}” (points)")
    fig.suptitle(f"{base}: {FAMILIES.get(family, (family,))[0]}")
    return fig


@styled
def forest(rows: pd.DataFrame, base: str) -> Figure:
    """Every family of a base in one figure, as `differences_dots` draws one: rows are variants below the family's name.

    `rows` are those of ``differences.csv`` of one base. Each family is compared with its own reference, named in its heading.
    """
    omega, data, _ = _omega(rows[rows["variant"] != rows["reference"]])
    entries = []
    for family, mine in omega.groupby("family", sort=False):
        entries += [(family, f"{family} (minus “{mine['reference'].iloc[0]}”)")]
        entries += [(family, variant) for variant in dict.fromkeys(mine["variant"])]
    fig = _dots(omega, data, entries, "Omega minus that of\nthe family's reference (points)")
    fig.suptitle(f"{base}: every option varied, family by family")
    return fig


def _dots(rows, data, entries, xlabel) -> Figure:
    """A row an entry, (family or None, variant); an entry that no row has is a heading."""
    fig, [axes] = canvas(2.4 + 2.5 * len(data), 1.6 + 0.24 * len(entries), 1, len(data), sharex=True, sharey=True)
    for ax, kind in zip(axes, data):
        here, (colour, marker, _) = rows[rows["data"] == kind], DATA[kind]
        ax.axvline(0, color=GREY, linewidth=0.9)
        ax.grid(axis="x")
        for y, (family, variant) in enumerate(entries):
            mine = here[(here["variant"] == variant) & ((here["family"] == family) | (family is None))]
            mean, machines = mine[mine["machine"] == "mean"], 100 * mine.loc[mine["machine"] != "mean", "difference"]
            ax.plot(machines, [y + 0.25] * len(machines), "|", color=GREY, markersize=5, markeredgewidth=1)
            for value, lo, hi in 100 * mean[["difference", "lo", "hi"]].to_numpy():
                interval_dot(ax, y, (value, lo, hi), colour, marker, lo > 0 or hi < 0, linewidth=1.5, size=5.5)
        title = f"{kind}, {count(here.loc[here['machine'] == 'mean', 'machines'].max(), 'machine')}"
        ax.set(title=title, xlabel=xlabel)
    name_rows(axes, [variant for _, variant in entries], margin=0.6)
    names = set(rows["variant"])
    for text, (_, variant) in zip(axes[0].get_yticklabels(), entries):
        text.set_weight("normal" if variant in names else "bold")
    look = dict(color=GREY, linestyle="", markersize=5.5)
    keys = [Line2D([], [], marker="o", **look), Line2D([], [], marker="o", markerfacecolor="white", **look)]
    keys += [Line2D([], [], marker="|", **look)]
    fig.legend(keys, ["interval excludes 0", "interval includes 0", "each machine"], loc="outside lower center", ncols=3)
    return fig


@styled
def differences_curve(rows: pd.DataFrame, family: str, base: str) -> Figure:
    """The same for variants that are numbers: along an axis, a line for each kind of data and a thin one for each machine."""
    rows, data, reference = _omega(rows)
    rows = rows.assign(number=rows["variant"].astype(float))
    numbers = np.sort(rows["number"].unique())
    fig, [[ax]] = canvas(5.4, 3.4)
    ax.axhline(0, color=GREY, linewidth=0.9)
    ax.grid(axis="y")
    for shift, kind in zip((-0.06, 0.06) if len(data) > 1 else (0,), data):
        colour, marker, line = DATA[kind]
        for machine, mine in rows[rows["data"] == kind].sort_values("number").groupby("machine", sort=False):
            x = np.searchsorted(numbers, mine["number"]) + shift
            if machine != "mean":
                ax.plot(x, 100 * mine["difference"], line, color=colour, linewidth=0.6, alpha=0.6)
                continue
            y, label = 100 * mine[["difference", "lo", "hi"]], f"{kind}, {count(mine['machines'].iloc[0], 'machine')}"
            error_bars(ax, x, y, marker + line, colour, markersize=5, capsize=2.5, label=label)
    ax.set_xticks(range(len(numbers)), [f"{n:g}" for n in numbers])
    ax.set(xlabel=FAMILIES[family][1], ylabel=f"Omega minus that at {float(reference):g} (points)")
    ax.set_title(f"{base}: {FAMILIES[family][0]}", fontsize=10)
    ax.plot([], [], color=GREY, linewidth=0.6, label="thin: each machine")
    fig.legend(loc="outside lower center", ncols=3)
    return fig


def _omega(rows):
    """The rows of Omega, which kinds of data there are, and the family's reference."""
    rows = rows[rows["metric"] == "omega"]
    return rows, [d for d in DATA if d in set(rows["data"])], rows["reference"].iloc[0]
