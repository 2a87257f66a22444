"""Figures of `benchmarks/study.py`, one function each, from its tables. No score is computed here.

Legend
------
study : rows like those of ``differences.csv``, of one study (`family`), with the step along its axis in `level`.
alarms : one row a machine, domain, label of the clips and requested rate. Bars are 95 % intervals over recordings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from asdkit.figures import BLACK, BLUE, GREEN, GREY, LINES, STYLE, VERMILLION

AXES = {  # title, what the axis says, metrics
    "noise-1": ("noise from one place", "machine over noise at the near microphone (dB)", ("omega",)),
    "noise-3": ("noise from three places", "machine over noise at the near microphone (dB)", ("omega",)),
    "far": ("the far microphone comes closer", "from the machine to the far microphone (m); near: 0.25 m", ("omega",)),
    "targets": ("target clips, and their scale", "training clips of the target domain", ("auc_source", "auc_target")),
    "steps": ("training of the masked model, embedding alone", "steps of 64 windows", ("omega",)),
    "clips": ("training clips of the masked model, embedding alone", "training clips of the source domain", ("omega",)),
}
WORDS = {"omega": "Omega (x100)", "auc_source": "source AUC (x100)", "auc_target": "target AUC (x100)"}
LOOKS = ((BLUE, "o"), (VERMILLION, "D"), (GREEN, "s"), (BLACK, "^"))  # of the systems in order


def plan(tables: dict) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Name, table and drawing function of every figure of the studies that are there."""
    study = tables.get("study", pd.DataFrame({"family": []}))
    for name in (name for name in AXES if name in set(study["family"])):
        yield f"study-{name}", "study", partial(levels, study[study["family"] == name], name)
    if "alarms" in tables:
        yield "study-alarms", "alarms", partial(alarms, tables["alarms"])


@mpl.rc_context(STYLE)
def levels(rows: pd.DataFrame, name: str) -> Figure:
    """A line a system along the axis of a study: the mean over the machines of one kind of data, a panel each.

    Parameters
    ----------
    rows : DataFrame
        One study, fractions.
    name : str
        A key of `AXES`.
    """
    title, axis, metrics = AXES[name]
    rows = rows[rows["machine"] == "mean"]
    panels = [(d, m) for d in ("simulated", "real") if d in set(rows["data"]) for m in metrics]
    steps = {d: sorted(set(rows.loc[rows["data"] == d, "level"]), key=_number) for d, _ in panels}
    fig = Figure(figsize=(1.6 + sum(1.0 + 0.45 * len(steps[d]) for d, _ in panels), 3.6), layout="constrained")
    axes = fig.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=[1 + len(steps[d]) for d, _ in panels])[0]
    systems = list(dict.fromkeys(rows["variant"]))
    for ax, (data, metric) in zip(axes, panels):
        here = rows[(rows["data"] == data) & (rows["metric"] == metric)]
        ax.axhline(50, color=GREY, linewidth=0.8, linestyle=":")
        ax.grid(axis="y")
        for i, system in enumerate(systems):
            _line(ax, here[here["variant"] == system].set_index("level"), steps[data], i, len(systems))
        ax.set_xticks(range(len(steps[data])), ["as recorded" if s == "real" else s for s in steps[data]])
        ax.set_xlim(-0.5, len(steps[data]) - 0.5)
        n = int(here["machines"].max())
        ax.set_title(f"{data}, {n} machine{'s' * (n > 1)}" + (f": {WORDS[metric]}" if len(metrics) > 1 else ""))
    if len(metrics) == 1:
        axes[0].set_ylabel(WORDS[metrics[0]])
    fig.suptitle(title, fontsize=10)
    axes[0].set_xlabel(axis)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def _number(level: str) -> float:
    try:
        return float(level)
    except ValueError:
        return float("inf")


def _line(ax, rows, steps, i, n) -> None:
    known = [s for s in steps if s in rows.index]
    x = [steps.index(s) + 0.09 * (i - (n - 1) / 2) for s in known]
    y = 100 * rows.loc[known, ["value", "value_lo", "value_hi"]].to_numpy().T
    off = [y[0] - y[1], y[2] - y[0]]
    label = rows["variant"].iloc[0]
    ax.errorbar(x, y[0], off, fmt=LOOKS[i][1] + "-", color=LOOKS[i][0], markersize=4, capsize=0, elinewidth=1, label=label)


@mpl.rc_context(STYLE)
def alarms(table: pd.DataFrame) -> Figure:
    """False-alarm rates on normal test clips against those that were requested, by machine and domain.

    Parameters
    ----------
    table : DataFrame
        ``alarms.csv``.
    """
    table = table[(table["machine"] != "mean") & (table["clips"] == "normal")]
    domains, machines = ("source", "target", "all"), list(dict.fromkeys(zip(table["data"], table["machine"])))
    fig = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = fig.subplots(1, 3, sharey=True)
    requested = sorted(set(table["requested"]))
    for ax, domain in zip(axes, domains):
        x = [0.6 * requested[0], 1.6 * requested[-1]]
        ax.fill_between(x, [50 * v for v in x], [200 * v for v in x], color="#eeeeee", linewidth=0)
        ax.plot(x, [100 * v for v in x], color=GREY, linewidth=0.9)
        for i, (data, machine) in enumerate(machines):
            mine = table[(table["data"] == data) & (table["machine"] == machine) & (table["domain"] == domain)]
            at = mine["requested"] * 1.06 ** (i - (len(machines) - 1) / 2)
            y = 100 * mine[["rate", "lo", "hi"]].to_numpy().T
            look = dict(fmt="o" if data == "real" else "D", color=LINES[i % len(LINES)], markersize=4, elinewidth=1)
            ax.errorbar(at, y[0], [y[0] - y[1], y[2] - y[0]], label=f"{machine}, {data}", **look)
        ax.set_xscale("log")
        ax.set_yscale("symlog", linthresh=1)
        ax.set_xticks(requested, [f"{100 * r:g}" for r in requested])
        ax.minorticks_off()
        ax.set_yticks([0, 1, 5, 10, 50, 100], ["0", "1", "5", "10", "50", "100"])
        ax.set_title({"source": "source domain", "target": "target domain", "all": "both"}[domain])
        ax.set_xlim(*x)
    axes[0].set_ylabel("normal test clips that alarm (%)")
    axes[1].set_xlabel("requested rate (%); shaded: within a factor of two")
    fig.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig
