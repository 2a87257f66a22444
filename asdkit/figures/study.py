"""Figures of `asdkit.experiments.study` from its tables. No score is computed here. Bars are 95 % intervals over recordings."""

import pandas as pd
from matplotlib.figure import Figure

from asdkit.figures.charts import bars
from asdkit.figures.style import BLACK, BLUE, DATA, GREEN, GREY, LINES, VERMILLION, canvas, count, error_bars, styled

AXES = {  # title, what the axis says
    "noise": ("noise from one place", "machine over noise at the near microphone (dB)"),
    "clips": ("training clips of the masked model, embedding alone", "training clips of the source domain"),
}
LOOKS = ((BLUE, "o"), (VERMILLION, "D"), (GREEN, "s"), (BLACK, "^"))  # of the systems in order
DOMAINS = {"source": "source domain", "target": "target domain", "all": "both"}


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
