"""Figures of an ablation, one function each, from the tables of `asdkit.experiments.ablation`. No score is computed here.

Legend
------
tables : {name: DataFrame}, as `read_tables` gives it. differences : rows of ``differences.csv`` of one base and family.
Blue and a circle are real recordings, vermillion and a diamond simulated ones. Bars are 95 % intervals over recordings.
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

from asdkit.figures import BLUE, GREY, STYLE, VERMILLION, save
from asdkit.figures import study as study_figures
from asdkit.figures import trap as trap_figures
from asdkit.recordings import InputError
from asdkit.recordings.files import write

DATA = {"real": (BLUE, "o", "-"), "simulated": (VERMILLION, "D", "--")}  # colour, marker, line
NUMBERED = {  # families along an axis, and what the axis says
    "alpha": "alpha: share of the nuisance subspace removed",
    "alpha-msm": "alpha: share of the nuisance subspace removed",
    "k": "k: nearest neighbours",
    "mask": "mask ratio: share of the patches hidden",
    "n_0": "n_0: weight of the source scale (recordings)",
    "rank": "rank of the nuisance subspace (directions)",
    "window": "length of a window (s)",
    "hop": "frames between the windows of a scored clip",
}
TITLES = {
    "objective": "training objectives, embedding alone",
    "embedding": "what of the MSM is scored, alone",
    "mask": "mask ratio, MSM embedding alone",
    "window": "length of a window",
    "hop": "windows of a scored clip",
    "blocks": "blocks dropped",
    "modulation": "resolution of the modulation block, alone",
    "whiten": "blocks that are whitened",
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
    "machines": "systems on machines that no option was chosen on, and on real ones",
    "autoencoder": "the official baseline",
}


def read_tables(folder: str | Path) -> dict:
    """Every table of a folder by name, and "about": what they were made of.

    Raises
    ------
    InputError
        Where there are none.
    """
    folder = Path(folder)
    if not (folder / "about.json").is_file() or not (folder / "differences.csv").is_file():
        raise InputError(f"{folder}: found no tables, expected those of an ablation; run `make ablate` first")
    tables = {path.stem: _read(path) for path in sorted(folder.glob("*.csv"))}
    about = json.loads((folder / "about.json").read_text())
    if (study := folder / "study.json").is_file():  # what the tables of `benchmarks/study.py` are of
        about["bases"] |= json.loads(study.read_text())["bases"]
    return tables | {"about": about}


def _read(path):
    text = dict.fromkeys(("variant", "reference", "fault", "level"), str)
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])


def draw_all(tables: dict, out: str | Path) -> list[str]:
    """Draw every figure the tables suffice for, as PNG and SVG, and write ``manifest.json``. Returns their names."""
    out, manifest, about = Path(out), {}, tables["about"]
    for name, table, base, draw in plan(tables):
        figure = draw()
        if about["quick"]:
            figure.text(0.005, 0.995, "QUICK: not a result", color=VERMILLION, fontsize=6, va="top")
        for ending in ("png", "svg"):
            save(figure, out / f"{name}.{ending}")
        config = about["bases"].get(base)
        command = "asdkit figures TABLES --out DIR, after asdkit ablate DATA --out DIR"
        manifest[name] = dict(command=command, table=f"{table}.csv", base=base, config=config, seeds=about["seeds"])
    write(out / "manifest.json", json.dumps({"about": about, "figures": manifest}, indent=1) + "\n")
    return list(manifest)


def plan(tables: dict) -> Iterator[tuple[str, str, str, Callable[[], Figure]]]:
    """Name, table, base and drawing function of every figure."""
    for (base, family), rows in tables["differences"].groupby(["base", "family"], sort=False):
        kind = differences_curve if family in NUMBERED else differences_dots
        if rows["value"].notna().any():
            yield f"{base}-{family}", "differences", base, partial(kind, rows, family, base)
    if "trap-sensitivity" in tables:
        base = tables["trap-sensitivity"]["base"].iloc[0]  # the mechanism is of single embeddings: the same in every base
        yield from ((f"{base}-{name}", table, base, draw) for name, table, draw in trap_figures.plan(tables, base))
    for method, rows in tables["embedding"].groupby("method", sort=False) if "embedding" in tables else ():
        base = rows["base"].iloc[0]
        yield f"{base}-embedding-{method}", "embedding", base, partial(trap_figures.embedding_map, rows)
    for family in ("machines", "autoencoder"):
        if "study" in tables and len(rows := tables["study"].query("family == @family")):
            yield f"study-{family}", "study", "study", partial(differences_dots, rows, family, "study")
    yield from ((name, table, "study", draw) for name, table, draw in study_figures.plan(tables))


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
    data = [d for d in DATA if d in set(rows["data"])]
    for shift, kind in zip((-0.06, 0.06) if len(data) > 1 else (0,), data):
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
