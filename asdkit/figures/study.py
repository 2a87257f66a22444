"""Figures of `benchmarks/study.py` from its tables. No score is computed here. Bars are 95 % intervals over recordings."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from asdkit.figures.style import BLACK, BLUE, DATA, GREEN, GREY, LINES, VERMILLION, canvas, count, error_bars, styled

AXES = {  # title, what the axis says, metrics
    "noise": ("noise from one place", "machine over noise at the near microphone (dB)", ("omega",)),
    "clips": ("training clips of the masked model, embedding alone", "training clips of the source domain", ("omega",)),
}
WORDS = {"omega": "Omega (x100)", "auc_source": "source AUC (x100)", "auc_target": "target AUC (x100)"}
LOOKS = ((BLUE, "o"), (VERMILLION, "D"), (GREEN, "s"), (BLACK, "^"))  # of the systems in order
DOMAINS = {"source": "source domain", "target": "target domain", "all": "both"}


@styled
def levels(rows: pd.DataFrame, name: str) -> Figure:
    """A line a system along the axis of a study: the mean over the machines of one kind of data, a panel each.

    `name` is a key of `AXES`, `rows` are its rows of ``study.csv``, fractions; `level` is the step along the axis.
    """
    title, axis, metrics = AXES[name]
    rows = rows[rows["machine"] == "mean"]
    panels = [(d, m) for d in ("simulated", "real") if d in set(rows["data"]) for m in metrics]
    systems = list(dict.fromkeys(rows["variant"]))
    rows = rows.sort_values("level", key=lambda level: pd.to_numeric(level, errors="coerce"))  # what is no number comes last
    steps = {d: list(dict.fromkeys(rows.loc[rows["data"] == d, "level"])) for d, _ in panels}
    widths = [len(steps[d]) for d, _ in panels]
    size = 1.6 + sum(1.0 + 0.45 * n for n in widths), 3.6
    fig, [axes] = canvas(*size, 1, len(panels), sharey=True, width_ratios=[1 + n for n in widths])
    for ax, (data, metric), n_steps in zip(axes, panels, widths):
        here = rows[(rows["data"] == data) & (rows["metric"] == metric)]
        ax.axhline(50, color=GREY, linewidth=0.8, linestyle=":")
        ax.grid(axis="y")
        for i, (system, (colour, marker)) in enumerate(zip(systems, LOOKS)):
            mine = here[here["variant"] == system]
            x = [steps[data].index(s) + 0.09 * (i - (len(systems) - 1) / 2) for s in mine["level"]]
            y = 100 * mine[["value", "value_lo", "value_hi"]]
            error_bars(ax, x, y, marker + "-", colour, markersize=4, capsize=0, elinewidth=1, label=system)
        ax.set_xticks(range(n_steps), ["as recorded" if s == "real" else s for s in steps[data]])
        ax.set_xlim(-0.5, n_steps - 0.5)
        of_metric = f": {WORDS[metric]}" if len(metrics) > 1 else ""
        ax.set_title(f"{data}, {count(here['machines'].max(), 'machine')}{of_metric}")
    axes[0].set(xlabel=axis, ylabel=WORDS[metrics[0]] if len(metrics) == 1 else "")
    fig.suptitle(title)
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
    fig.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig
