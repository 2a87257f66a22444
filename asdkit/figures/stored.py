"""Figures of the stored tables of an ablation and of the studies, and which of them the tables suffice for.

rows : DataFrame, rows of ``differences.csv`` of one base and family, fractions; machine "mean" is the mean over machines.
Blue and a circle are real recordings, vermillion and a diamond simulated ones. Bars are 95 % intervals over recordings.
Marks of differences are filled where the interval excludes 0, open where it does not; grey ticks are the machines.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from asdkit.figures import trap
from asdkit.figures.charts import bars
from asdkit.figures.style import DATA, GREY, LINES, LOOKS, canvas, count, error_bars, interval_dot, name_rows, styled

AXES = {  # title, what the axis says
    "noise": ("noise from one place", "machine over noise at the near microphone (dB)"),
    "clips": ("training clips of the masked model, embedding alone", "training clips of the source domain"),
    "steps": ("training of the masked model, embedding alone", "training steps"),
}
DOMAINS = {"source": "source domain", "target": "target domain", "all": "both"}


def all_figures(tables: dict) -> Iterator[tuple[str, str, str, Callable[[], Figure]]]:
    """Name, table, base and drawing function of each figure of tables {name: DataFrame}; of base "report" the forest alone."""
    for base, rows in tables["differences"].groupby("base", sort=False):
        if rows["value"].notna().any():
            yield f"{base}-forest", "differences", base, partial(forest, rows, base)
        if base != "report" and (rows := rows[rows["family"] == "alpha"])["value"].notna().any():
            yield f"{base}-alpha", "differences", base, partial(alpha_curve, rows, base)
    if "trap-sensitivity" in tables:
        base = tables["trap-sensitivity"]["base"].iloc[0]  # the mechanism is of single embeddings: the same in every base
        yield from ((f"{base}-{name}", table, base, draw) for name, table, draw in trap_figures(tables, base))
    if "embedding" in tables:
        rows = tables["embedding"].query("method == 'pca'")
        yield f"{(base := rows['base'].iloc[0])}-embedding-pca", "embedding", base, partial(trap.embedding_map, rows)
    families = {f: (name, rows) for name in ("study", "steps") if name in tables for f, rows in tables[name].groupby("family")}
    for family in (f for f in ("machines", "autoencoder", *AXES) if f in families):
        (table, rows), (draw, named) = families[family], (levels, family) if family in AXES else (forest, "study")
        yield f"study-{family}", table, "study", partial(draw, rows, named)
    for name, draw in (("alarms", alarms), ("speed", speed)):
        if name in tables:
            yield f"study-{name}", name, "study", partial(draw, tables[name])


def trap_figures(tables: dict, base: str) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Name, table and drawing function of the figures of the invariance trap over all machines, for one base."""
    names = ("trap-sensitivity", "trap-curves", "differences")
    mine = [t[(t["base"] == base) & (t["family"] == "objective")] for n in names if (t := tables.get(n)) is not None]
    if len(mine) == len(names) and len(mine[0]):
        yield "trap", names[0], partial(trap.trap_scatter, mine[0], mine[2])
        yield "trap-training", names[1], partial(trap.trap_training, mine[1])


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
    marks, look = (("o", GREY), ("o", "white"), ("|", GREY)), dict(color=GREY, linestyle="", markersize=5.5)
    keys = [Line2D([], [], marker=marker, markerfacecolor=inside, **look) for marker, inside in marks]
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


@styled
def levels(rows: pd.DataFrame, name: str) -> Figure:
    """Omega along the axis of a study, a line a system: the mean over the machines of one kind of data, a panel each.

    `name` is a key of `AXES`, `rows` are its rows of ``study.csv``, fractions; `level` is the step along the axis.
    """
    rows = rows[(rows["machine"] == "mean") & (rows["metric"] == "omega")].sort_values("level", key=pd.to_numeric)
    data, steps = [d for d in DATA if d in set(rows["data"])], list(dict.fromkeys(rows["level"]))
    systems = list(dict.fromkeys(rows["variant"]))
    fig, [axes] = canvas(1.6 + len(data) * (1.2 + 0.5 * len(steps)), 3.6, 1, len(data), sharey=True)
    for ax, kind in zip(axes, data):
        here = rows[rows["data"] == kind]
        ax.axhline(50, color=GREY, linewidth=0.8, linestyle=":")
        ax.grid(axis="y")
        for i, (system, (colour, marker)) in enumerate(zip(systems, LOOKS)):
            mine = here[here["variant"] == system]
            x = [steps.index(s) + 0.09 * (i - (len(systems) - 1) / 2) for s in mine["level"]]
            y = 100 * mine[["value", "value_lo", "value_hi"]]
            error_bars(ax, x, y, marker + "-", colour, markersize=4, capsize=0, elinewidth=1, label=system)
        ax.set_xticks(range(len(steps)), steps)
        ax.set_title(f"{kind}, {count(here['machines'].max(), 'machine')}")
    axes[0].set(xlabel=AXES[name][1], ylabel="Omega (x100)")
    fig.suptitle(AXES[name][0])
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


@styled
def alarms(table: pd.DataFrame) -> Figure:
    """``alarms.csv``: false-alarm rates on normal test clips against those that were requested, by machine and domain."""
    table = table[(table["machine"] != "mean") & (table["clips"] == "normal")]
    machines, requested = list(dict.fromkeys(zip(table["data"], table["machine"]))), sorted(set(table["requested"]))
    x = [0.6 * requested[0], 1.6 * requested[-1]]
    fig, [axes] = canvas(7.2, 3.4, 1, 3, sharey=True)
    for ax, (domain, title) in zip(axes, DOMAINS.items()):
        ax.fill_between(x, [50 * v for v in x], [200 * v for v in x], color="#eeeeee", linewidth=0)
        ax.plot(x, [100 * v for v in x], color=GREY, linewidth=0.9)
        for i, (data, machine) in enumerate(machines):
            mine = table[(table["data"] == data) & (table["machine"] == machine) & (table["domain"] == domain)]
            at, y = mine["requested"] * 1.06 ** (i - (len(machines) - 1) / 2), 100 * mine[["rate", "lo", "hi"]]
            look = dict(markersize=4, elinewidth=1, label=f"{machine}, {data}")
            error_bars(ax, at, y, DATA[data][1], LINES[i % len(LINES)], **look)
        ax.set_xscale("log")
        ax.set_yscale("symlog", linthresh=1)
        ax.set_xticks(requested, [f"{100 * r:g}" for r in requested])
        ax.minorticks_off()
        ax.set_yticks([0, 1, 5, 10, 50, 100], ["0", "1", "5", "10", "50", "100"])
        ax.set(title=title, xlim=x)
    axes[0].set_ylabel("normal test clips that alarm (%)")
    axes[1].set_xlabel("requested rate (%); shaded: within a factor of two")
    fig.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def speed(table: pd.DataFrame) -> Figure:
    """``speed.csv``: seconds of each stage of one machine of full size, a bar for each number of threads."""
    seconds = table.assign(value=table["wall s"], lo=table["wall s"], hi=table["wall s"])
    seconds["system"] = [count(n, "thread") for n in table["threads"]]
    return bars(seconds, "stage", "seconds for one machine of full size", interval="")
