"""Differences of Omega within the families of an ablation, in points. No score is computed here.

rows : DataFrame, rows of ``differences.csv`` of one base and family, fractions; machine "mean" is the mean over machines.
Blue and a circle are real recordings, vermillion and a diamond simulated ones. Bars are 95 % intervals over recordings.
Marks are filled where the interval excludes 0, open where it does not; grey ticks are the machines.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from asdkit.figures.style import DATA, GREY, canvas, count, error_bars, interval_dot, name_rows, styled


@styled
def forest(rows: pd.DataFrame, base: str) -> Figure:
    """Omega of each variant minus that of its family's reference: the mean over machines, and each machine beside it.

    `rows` are those of ``differences.csv`` of one base; variants are below their family's name, which says the reference. A
    panel for each kind of data, all on one scale.
    """
    omega = rows[(rows["metric"] == "omega") & (rows["variant"] != rows["reference"])]
    data = [d for d in DATA if d in set(omega["data"])]
    entries = []  # a row each, (family, variant); one that no row has is a heading
    for family, mine in omega.groupby("family", sort=False):
        entries += [(family, f"{family} (minus “{mine['reference'].iloc[0]}”)")]
        entries += [(family, variant) for variant in dict.fromkeys(mine["variant"])]
    fig, [axes] = canvas(2.4 + 2.5 * len(data), 1.6 + 0.24 * len(entries), 1, len(data), sharex=True, sharey=True)
    for ax, kind in zip(axes, data):
        here = omega[omega["data"] == kind]
        ax.axvline(0, color=GREY, linewidth=0.9)
        ax.grid(axis="x")
        for y, (family, variant) in enumerate(entries):
            _dot(ax, y, here[(here["variant"] == variant) & (here["family"] == family)], *DATA[kind][:2])
        title = f"{kind}, {count(here.loc[here['machine'] == 'mean', 'machines'].max(), 'machine')}"
        ax.set(title=title, xlabel="Omega minus that of\nthe family's reference (points)")
    name_rows(axes, [variant for _, variant in entries], margin=0.6)
    for text in axes[0].get_yticklabels():
        text.set_weight("normal" if text.get_text() in set(omega["variant"]) else "bold")
    look = dict(color=GREY, linestyle="", markersize=5.5)
    keys = [Line2D([], [], marker="o", **look), Line2D([], [], marker="o", markerfacecolor="white", **look)]
    keys += [Line2D([], [], marker="|", **look)]
    fig.legend(keys, ["interval excludes 0", "interval includes 0", "each machine"], loc="outside lower center", ncols=3)
    fig.suptitle(f"{base}: {' and '.join(omega['family'].unique()) if omega['family'].nunique() < 3 else 'options varied'}")
    return fig


def _dot(ax, y: int, rows: pd.DataFrame, colour: str, marker: str) -> None:
    """One variant on one kind of data."""
    mean, machines = rows[rows["machine"] == "mean"], 100 * rows.loc[rows["machine"] != "mean", "difference"]
    ax.plot(machines, [y + 0.25] * len(machines), "|", color=GREY, markersize=5, markeredgewidth=1)
    for value, lo, hi in 100 * mean[["difference", "lo", "hi"]].to_numpy():
        interval_dot(ax, y, (value, lo, hi), colour, marker, lo > 0 or hi < 0, linewidth=1.5, size=5.5)


@styled
def alpha_curve(rows: pd.DataFrame, base: str) -> Figure:
    """Omega along alpha minus that of the base: a line for each kind of data, and a thin one for each machine."""
    rows = rows[rows["metric"] == "omega"].assign(number=rows["variant"].astype(float)).sort_values("number")
    numbers, data = rows["number"].unique(), [d for d in DATA if d in set(rows["data"])]
    fig, [[ax]] = canvas(5.4, 3.4)
    ax.axhline(0, color=GREY, linewidth=0.9)
    ax.grid(axis="y")
    for shift, kind in zip((-0.06, 0.06) if len(data) > 1 else (0,), data):
        colour, marker, line = DATA[kind]
        for machine, mine in rows[rows["data"] == kind].groupby("machine", sort=False):
            x, y = np.searchsorted(numbers, mine["number"]) + shift, 100 * mine[["difference", "lo", "hi"]]
            if machine == "mean":
                label = f"{kind}, {count(mine['machines'].iloc[0], 'machine')}"
                error_bars(ax, x, y, marker + line, colour, markersize=5, capsize=2.5, label=label)
            else:
                ax.plot(x, y["difference"], line, color=colour, linewidth=0.6, alpha=0.6)
    ax.set_xticks(range(len(numbers)), [f"{n:g}" for n in numbers])
    ylabel = f"Omega minus that at {float(rows['reference'].iloc[0]):g} (points)"
    ax.set(xlabel="alpha: share of far that is cancelled", ylabel=ylabel)
    ax.set_title(f"{base}: strength of Far-conditioning of the input", fontsize=10)
    ax.plot([], [], color=GREY, linewidth=0.6, label="thin: each machine")
    fig.legend(loc="outside lower center", ncols=3)
    return fig
