"""What a good detector should reach, and whether this one does, by the tables of an ablation and of `benchmarks/study.py`.

A goal is a margin, in points (x100) where its text names nothing else. It is *reached* where the paired 95 % interval lies
above the margin, *not reached* where it lies below, else *undecided*. Means are over the machines of one kind of data, or of
both ("all").
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from asdkit.config import Config
from asdkit.experiments.claims import CONTROLS, Gain, difference, mean_rows
from asdkit.experiments.results import GAP
from asdkit.experiments.systems import AUTOENCODER
from asdkit.recordings.files import write

REACHED, MISSED, UNDECIDED = "reached", "not reached", "undecided"
DATA = ("simulated", "real", "all")


class Goal(NamedTuple):
    """A margin, and what is held against it: of several gains the weakest counts."""

    text: str
    margin: float
    measure: Callable[[dict, str], list[Gain]]  # (tables, kind of data) -> gains; none where nothing was measured


def ahead(better: str, worse: tuple[str, ...], family: str, table: str = "study", best=False):
    """Points by which the family's reference is ahead of systems; with `best`, only of the one with the highest mean."""

    def measure(tables, data) -> list[Gain]:
        known = {"differences": tables[table]}
        values = mean_rows(known, "asdkit", data, family, "omega")["value"]
        found = [name for name in worse if name in values.index]
        return difference(known, "asdkit", data, family, better, found and [max(found, key=values.get)] if best else found)

    return measure


def domain_gap(tables, data) -> list[Gain]:
    """Target AUC minus source AUC of the default."""
    t = tables["study"]
    chosen = (t["family"] == "machines") & (t["variant"] == "asdkit") & (t["metric"] == GAP)
    rows = t[chosen & (t["data"] == data) & (t["machine"] == "mean")]
    return [Gain(*(100 * r[c] for c in ("value", "value_lo", "value_hi")), r["seeds"]) for _, r in rows.iterrows()]


def with_far(tables, data) -> list[Gain]:
    """The default minus itself without far, for every machine and surroundings."""
    t = tables["study"]
    chosen = t["family"].isin(("noise-1", "noise-3", "far")) & (t["variant"] == "asdkit") & (t["metric"] == "omega")
    rows = t[chosen & (t["data"] == data) & (t["machine"] != "mean")]
    return [Gain(100 * r["difference"], 100 * r["lo"], 100 * r["hi"], r["seeds"]) for _, r in rows.iterrows()]


def false_alarms(tables, data) -> list[Gain]:
    """How far the mean false-alarm rate over machines is from the one asked for: doublings or halvings, negated.

    A rate below 0.1 % counts as 0.1 %.
    """
    t = tables.get("alarms", pd.DataFrame(columns=["data", "machine", "domain", "clips"]))
    rows = t[(t["data"] == data) & (t["machine"] == "mean") & (t["domain"] == "all") & (t["clips"] == "normal")]
    found = []
    for _, r in rows.iterrows():
        value, *ends = (-abs(np.log2(max(r[c], 1e-3) / r["requested"])) for c in ("rate", "lo", "hi"))
        found.append(Gain(value, min(ends), 0.0 if r["lo"] <= r["requested"] <= r["hi"] else max(ends), r["seeds"]))
    return found


GOALS = (
    Goal("trained MSM over its untrained encoder", 5, ahead("msm", ("msm-untrained",), "msm")),
    Goal("trained MSM over log-mel statistics", 3, ahead("msm", ("logmel-near",), "msm")),
    Goal("Far-conditioning over alpha 0", 3, ahead("far", ("none",), "conditioning", "differences")),
    Goal("Far-conditioning over each of its controls", 3, ahead("far", CONTROLS, "conditioning", "differences")),
    Goal("fusion over the block that is best on the mean", 0, ahead("asdkit", Config().blocks, "machines", best=True)),
    Goal("system over the official autoencoder's better score", 12, ahead("asdkit", AUTOENCODER, "autoencoder", best=True)),
    Goal("system over log-mel statistics", 8, ahead("asdkit", ("logmel-near",), "machines")),
    Goal("target AUC minus source AUC", -5, domain_gap),
    Goal("with far over without, any machine in any noise", -2, with_far),
    Goal("false alarms, doublings or halvings from the rate asked", -1, false_alarms),
)


def verdict(goal: Goal, gains: list[Gain]) -> tuple[Gain, str]:
    """The weakest gain, and whether all reach the margin."""
    weakest = min(gains, key=lambda g: (g.hi >= goal.margin, g.lo))
    if any(g.hi < goal.margin for g in gains):
        return weakest, MISSED
    return weakest, REACHED if all(g.lo >= goal.margin for g in gains) else UNDECIDED


def goals_table(tables: dict) -> pd.DataFrame:
    """One row a goal and kind of data: goal, margin, data, value, lo, hi, comparisons, seeds, verdict."""
    found = []
    for goal in GOALS if "study" in tables else ():
        for data in DATA:
            if gains := goal.measure(tables, data):
                weakest, told = verdict(goal, gains)
                found.append((goal.text, goal.margin, data, *weakest[:3], len(gains), min(g.seeds for g in gains), told))
    return pd.DataFrame(found, columns="goal margin data value lo hi comparisons seeds verdict".split())


def markdown(table: pd.DataFrame) -> str:
    """The goals as a table to read: a row each, a column for each kind of data."""
    lines = [f"| goal | at least | {' | '.join(DATA)} |", "|" + "---|" * (2 + len(DATA))]
    for (goal, margin), rows in table.groupby(["goal", "margin"], sort=False):
        cells = {r["data"]: _cell(r) for _, r in rows.iterrows()}
        lines.append(f"| {goal} | {margin:+g} | {' | '.join(cells.get(data, '') for data in DATA)} |")
    return "\n".join(lines)


def _cell(row) -> str:
    note = f", weakest of {row['comparisons']}" if row["comparisons"] > 1 else ""
    seeds = ", one seed" if row["seeds"] == 1 else ""
    return f"**{row['verdict']}** {row['value']:+z.1f} [{row['lo']:+z.1f}, {row['hi']:+z.1f}]{note}{seeds}"


def alarms_markdown(table: pd.DataFrame) -> str:
    """Per cent of clips that alarm, two columns a requested rate: each machine, and the mean over machines by domain."""
    columns = [(rate, clips) for rate in sorted(set(table["requested"])) for clips in ("normal", "anomalous")]
    heads = [f"asked {100 * rate:g} %" if clips == "normal" else "faults heard" for rate, clips in columns]
    lines = [f"| test clips of | {' | '.join(heads)} |", "|" + "---|" * (1 + len(columns))]
    for (data, machine, domain), rows in table.groupby(["data", "machine", "domain"], sort=False):
        if machine == "mean" or domain == "all":
            per_cent = 100 * rows.set_index(["requested", "clips"])[["rate", "lo", "hi"]]
            told = {column: f"{rate:.1f} [{lo:.1f}, {hi:.1f}]" for column, rate, lo, hi in per_cent.itertuples()}
            where = f"{machine}, {data}" + ("" if domain == "all" else f", {domain} alone")
            lines.append(f"| {where} | {' | '.join(told.get(column, '') for column in columns)} |")
    return "\n".join(lines)


def speed_markdown(table: pd.DataFrame) -> str:
    """Time and memory of one full-size machine, stage by stage."""
    rows = [["" if pd.isna(v) else str(v) for v in row] for row in table.to_numpy()]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(table), ["---"] * len(table.columns), *rows])


def systems_markdown(table: pd.DataFrame) -> str:
    """Omega of every system on every machine of the study "machines", its mean, and the default minus it."""
    t = table[(table["family"] == "machines") & (table["metric"] == "omega")]
    columns = list(dict.fromkeys(zip(t["data"], t["machine"])))
    lines = [f"| system | {' | '.join(f'{m}, {d}' for d, m in columns)} | `asdkit` minus it, {columns[-1][0]} |"]
    lines.append("|" + "---|" * (2 + len(columns)))
    for system, rows in t.groupby("variant", sort=False):
        rows = rows.set_index(["data", "machine"])
        cells = [f"{100 * rows.loc[c, 'value']:.1f}" for c in columns]
        last = rows.loc[columns[-1]]
        minus = (
            ""
            if system == "asdkit"
            else f"{-100 * last['difference']:+z.1f} [{-100 * last['hi']:+z.1f}, {-100 * last['lo']:+z.1f}]"
        )
        lines.append(f"| `{system}` | {' | '.join(cells)} | {minus} |")
    return "\n".join(lines)


def write_goals(tables: dict, out: str | Path) -> pd.DataFrame:
    """Write ``goals.md`` into a folder, where there are tables of the study; return the goals."""
    table = goals_table(tables)
    if not table.empty:
        parts = [markdown(table), systems_markdown(tables["study"])]
        parts += [alarms_markdown(tables["alarms"])] if "alarms" in tables else []
        parts += [speed_markdown(tables["speed"])] if "speed" in tables else []
        note = "Written by `asdkit figures` from the tables of `benchmarks/`, not by hand; rules: `asdkit/goals.py`."
        write(Path(out) / "goals.md", "\n\n".join([*parts, note]) + "\n")
    return table
