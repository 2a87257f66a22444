"""Figures of an ablation, one function each, from the tables of `asdkit.ablation`. No score is computed here.

Legend
------
tables : {name: DataFrame}, as `read_tables` gives it. differences : rows of ``differences.csv`` of one base and family.
Blue and a circle are real recordings, vermillion and a diamond simulated ones. Bars are 95 % intervals, over recordings or scenes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asdkit.artefacts import write_text
from asdkit.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, STYLE, VERMILLION, save
from asdkit.recordings import InputError

DATA = {"real": (BLUE, "o", "-"), "simulated": (VERMILLION, "D", "--")}  # colour, marker, line
NUMBERED = {  # families along an axis, and what the axis says
    "alpha": "alpha: share of the nuisance subspace removed",
    "alpha-msm": "alpha: share of the nuisance subspace removed",
    "k": "k: nearest neighbours",
    "mask": "mask ratio: share of the patches hidden",
    "n_0": "n_0: weight of the source scale (recordings)",
    "rank": "rank of the nuisance subspace (directions)",
    "window": "length of a window (s)",
}
TITLES = {
    "objective": "training objectives, embedding alone",
    "embedding": "what of the MSM is scored, alone",
    "mask": "mask ratio, MSM embedding alone",
    "window": "length of a window",
    "blocks": "blocks dropped",
    "balance": "block balance, under concatenation",
    "fusion": "fusion of the blocks",
    "knn": "scoring of the neighbours",
    "n_0": "target shrinkage",
    "k": "neighbours",
    "alpha": "strength of Far-conditioning",
    "alpha-msm": "strength of Far-conditioning, MSM embedding alone",
    "rank": "rank of the conditioned subspace",
    "conditioning": "subspace that is conditioned",
    "conditioning-msm": "subspace that is conditioned, MSM embedding alone",
    "aggregate": "from windows to a file",
    "departures": "options set back to the report's, one at a time",
}
OBJECTIVES = {  # colour, marker
    "msm": (VERMILLION, "D"), "autoencoder": (ORANGE, "s"), "far-to-near": (GREEN, "^"), "machine-id": (BLUE, "v"),
    "pseudo-cluster": (SKY, "<"), "sub-cluster-adacos": (PURPLE, ">"), "untrained": (GREY, "o"), "log-mel": (BLACK, "P"),
}  # fmt: skip


def read_tables(folder: str | Path) -> dict:
    """Every table of a folder by name, and "about": what they were made of.

    Raises
    ------
    InputError
        Where there are none.
    """
    folder = Path(folder)
    if not (folder / "about.json").is_file() or not (folder / "differences.csv").is_file():
        raise InputError(f"{folder}: found no tables of an ablation, expected about.json and CSV files; run `make ablate` first")
    tables = {path.stem: _read(path) for path in sorted(folder.glob("*.csv"))}
    return tables | {"about": json.loads((folder / "about.json").read_text())}


def _read(path):
    return pd.read_csv(path, dtype={"variant": str, "reference": str, "fault": str}, keep_default_na=False, na_values=[""])


def draw_all(tables: dict, out: str | Path) -> list[str]:
    """Draw every figure the tables suffice for, as PNG and SVG, and write ``manifest.json``. Returns their names."""
    out, manifest, about = Path(out), {}, tables["about"]
    for name, table, base, draw in plan(tables):
        figure = draw()
        if about["quick"]:
            figure.text(0.01, 0.01, "QUICK: not a result", color=VERMILLION, fontsize=7)
        for ending in ("png", "svg"):
            save(figure, out / f"{name}.{ending}")
        config = about["bases"].get(base)
        command = "asdkit figures TABLES --out DIR, after asdkit ablate DATA --out DIR"
        manifest[name] = dict(command=command, table=f"{table}.csv", base=base, config=config, seeds=about["seeds"])
    write_text(out / "manifest.json", json.dumps({"about": about, "figures": manifest}, indent=1) + "\n")
    return list(manifest)


def plan(tables: dict) -> Iterator[tuple[str, str, str, Callable[[], Figure]]]:
    """Name, table, base and drawing function of every figure."""
    for (base, family), rows in tables["differences"].groupby(["base", "family"], sort=False):
        kind = differences_curve if family in NUMBERED else differences_dots
        if rows["value"].notna().any():
            yield f"{base}-{family}", "differences", base, partial(kind, rows, family, base)
    for base in dict.fromkeys(tables.get("trap-sensitivity", pd.DataFrame(columns=["base"]))["base"]):
        mine = {name: t[t["base"] == base] for name, t in tables.items() if name.startswith("trap") or name == "differences"}
        trap = {name: t[t["family"] == "objective"] for name, t in mine.items()}
        if not len(trap["trap-sensitivity"]):
            continue
        yield f"{base}-trap", "trap-sensitivity", base, partial(trap_scatter, trap["trap-sensitivity"], trap["differences"])
        yield f"{base}-trap-training", "trap-curves", base, partial(trap_training, trap["trap-curves"])
        yield f"{base}-trap-shares", "trap-shares", base, partial(trap_shares, trap["trap-shares"], trap["trap-probe"])
        for machine, rows in trap["trap-sensitivity"].groupby("machine", sort=False):
            yield f"{base}-trap-faults-{machine}", "trap-sensitivity", base, partial(trap_faults, rows, machine)
    if "embedding" in tables:
        for method, rows in tables["embedding"].groupby("method", sort=False):
            yield f"embedding-{method}", "embedding", tables["embedding"].attrs.get("base", "asdkit"), partial(embedding_map, rows)


# families


@mpl.rc_context(STYLE)
def differences_dots(rows: pd.DataFrame, family: str, base: str) -> Figure:
    """Omega of each variant minus that of the family's reference: the mean over machines, and each machine beside it.

    Parameters
    ----------
    rows : DataFrame
        Of ``differences.csv``: one base and family, fractions.
    family, base : str

    Returns
    -------
    Figure
        A panel for each kind of data. Filled where the interval excludes 0.
    """
    rows = rows[rows["metric"] == "omega"]
    reference = rows["reference"].iloc[0]
    variants = [v for v in dict.fromkeys(rows["variant"]) if v != reference]
    data = [d for d in DATA if d in set(rows["data"])]
    fig = Figure(figsize=(2.2 + 2.4 * len(data), 1.2 + 0.3 * len(variants)), layout="constrained")
    axes = fig.subplots(1, len(data), sharey=True, squeeze=False)[0]
    for ax, kind in zip(axes, data):
        here = rows[(rows["data"] == kind) & (rows["variant"] != reference)]
        ax.axvline(0, color=GREY, linewidth=0.9)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        for y, variant in enumerate(variants):
            _difference_dot(ax, here[here["variant"] == variant], y, *DATA[kind][:2])
        n = here.loc[here["machine"] == "mean", "machines"].max()
        ax.set_title(f"{kind}, {_count(n, 'machine')}")
    axes[0].set_yticks(range(len(variants)), variants)
    axes[0].set_ylim(len(variants) - 0.4, -0.6)
    fig.suptitle(f"{base}: {TITLES.get(family, family)}", fontsize=10)
    fig.supxlabel(f"Omega minus that of “{reference}” (points)", fontsize=9)
    return fig


def _difference_dot(ax, rows, y, colour, marker) -> None:
    machines, mean = rows[rows["machine"] != "mean"], rows[rows["machine"] == "mean"].iloc[0]
    ax.plot(100 * machines["difference"], [y + 0.25] * len(machines), "|", color=GREY, markersize=6, markeredgewidth=1)
    ax.plot(100 * mean[["lo", "hi"]].astype(float), [y, y], color=colour, linewidth=1.5, solid_capstyle="butt")
    decided = mean["lo"] > 0 or mean["hi"] < 0
    face = colour if decided else "white"
    ax.plot(100 * mean["difference"], y, marker, color=colour, markersize=5.5, markerfacecolor=face)


def _count(n, noun) -> str:
    return f"{n:g} {noun}{'' if n == 1 else 's'}"


@mpl.rc_context(STYLE)
def differences_curve(rows: pd.DataFrame, family: str, base: str) -> Figure:
    """The same for variants that are numbers: along an axis, a line for each kind of data and a thin one for each machine."""
    rows = rows[rows["metric"] == "omega"].assign(number=lambda t: t["variant"].astype(float))
    reference, numbers = rows["reference"].iloc[0], np.sort(rows["number"].unique())
    fig = Figure(figsize=(4.6, 3.2), layout="constrained")
    ax = fig.subplots()
    ax.axhline(0, color=GREY, linewidth=0.9)
    ax.grid(axis="y")
    for shift, kind in zip((-0.06, 0.06), [d for d in DATA if d in set(rows["data"])]):
        colour, marker, line = DATA[kind]
        for machine, mine in rows[rows["data"] == kind].sort_values("number").groupby("machine", sort=False):
            x, y = np.searchsorted(numbers, mine["number"]) + shift, 100 * mine["difference"]
            if machine != "mean":
                ax.plot(x, y, line, color=colour, linewidth=0.6, alpha=0.6)
                continue
            off = 100 * np.abs(mine[["lo", "hi"]].to_numpy().T - mine["difference"].to_numpy())
            label = f"{kind}, {_count(mine['machines'].iloc[0], 'machine')}"
            ax.errorbar(x, y, off, fmt=marker + line, color=colour, markersize=5, capsize=2.5, label=label)
    ax.set_xticks(range(len(numbers)), [f"{n:g}" for n in numbers])
    ax.set(xlabel=NUMBERED[family], ylabel=f"Omega minus that at {float(reference):g} (points)")
    ax.set_title(f"{base}: {TITLES[family]}", fontsize=10)
    fig.legend(loc="outside lower center", ncols=2)
    return fig


# the trap


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
    fig = Figure(figsize=(0.6 + 3.1 * len(data), 3.7), layout="constrained")
    axes = fig.subplots(1, len(data), sharex=True, sharey=True, squeeze=False)[0]
    for ax, kind in zip(axes, data):
        ax.axhline(50, color=GREY, linestyle=":", linewidth=1)
        ax.axvline(1, color=GREY, linestyle=":", linewidth=1)
        ax.grid()
        here = omega[omega["data"] == kind].set_index("variant")
        for name, (colour, marker) in OBJECTIVES.items():
            if name in x.index and name in here.index:
                _cross(ax, x.loc[name].to_numpy(), 100 * here.loc[name, ["value", "value_lo", "value_hi"]], colour, marker, name)
        ax.set_title(f"scored on {_count(here['machines'].iloc[0], f'{kind} machine')}")
    _log_ticks(axes[0].xaxis)
    axes[0].set_ylabel("Omega (x100); dotted: chance")
    fig.supxlabel("fault sensitivity: displacement under faults / under other noise, simulated machines", fontsize=9)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
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
    fig = Figure(figsize=(8.4, 0.9 + 0.27 * len(names)), layout="constrained")
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


# embeddings

KINDS = {  # label, colour, marker, size
    ("train", 0): ("normal, training", SKY, ".", 12),
    ("test", 0): ("normal, test", BLUE, "o", 14),
    ("test", 1): ("anomaly, test", VERMILLION, "x", 18),
}


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
    fig = Figure(figsize=(0.3 + 2.4 * columns, 0.7 + 2.4 * depth), layout="constrained")
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
