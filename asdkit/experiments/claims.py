"""The claims of the report's abstract and the goals of a good detector, judged by the tables of an ablation and of `study`.

Margins were fixed before anything was measured. A claim *holds*, and a goal is *reached*, where the paired 95 % interval of
every comparison it needs lies above its margin; it *does not hold* where one lies below. A cost has to lie below its margin,
*near chance* is an interval of Omega that includes 50. All else is *undecided*, and so is a claim with fewer than three seeds.

gain : how far a comparison goes in the direction of its text, with its interval: points of Omega or AUC (x100), or per cent of
    fault sensitivity. Of several gains the weakest is shown. Means are over the machines of one kind of data.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from asdkit.config import Config
from asdkit.experiments.results import GAP
from asdkit.recordings.files import write

RULES = "asdkit/experiments/claims.py"
SEEDS = 3  # with fewer, a claim is undecided
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
REACHED, MISSED = "reached", "not reached"
DATA = ("simulated", "real")
BETTER = "autoencoder-better"  # on each machine the score of the official baseline that has the higher Omega


class Gain(NamedTuple):
    """One comparison: estimate, interval, and of how many seeds."""

    value: float
    lo: float
    hi: float
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """A claim or a goal."""

    name: str
    text: str
    measured: str  # of a claim
    measure: Callable[[dict, str, str], list[Gain]]  # (tables, base, data) -> gains; none where nothing was measured
    margin: float | dict[str, float] = 0.0  # or one for each kind of data
    side: str = "above"  # where every interval has to lie: "above" or "below" the margin, or "around" it
    unit: str = "Omega"
    words: tuple[str, str] = (HOLDS, FAILS)
    min_seeds: int = SEEDS


def outcome(comparison: Comparison, gains: Sequence[Gain]) -> str:
    """One of the comparison's two words, or "undecided"."""
    sign, (yes, no) = -1 if comparison.side == "below" else 1, comparison.words
    bounds = [sorted((sign * (g.lo - comparison.margin), sign * (g.hi - comparison.margin))) for g in gains]
    if not gains or not np.isfinite(bounds).all() or min(g.seeds for g in gains) < comparison.min_seeds:
        return UNDECIDED
    if comparison.side == "around":
        return yes if all(lo <= 0 <= hi for lo, hi in bounds) else no
    return yes if all(lo > 0 for lo, _ in bounds) else no if any(hi < 0 for _, hi in bounds) else UNDECIDED


def weakest(comparison: Comparison, gains: Sequence[Gain]) -> Gain:
    """The gain that speaks least for the text: one that refutes it, or else the one with the lowest limit."""
    if comparison.side == "below":
        return max(gains, key=lambda g: (g.lo > comparison.margin, g.hi))
    return min(gains, key=lambda g: (g.hi >= comparison.margin, g.lo))


def select(table: pd.DataFrame, **wanted) -> pd.DataFrame:
    """Rows in which every named column has the value, or one of a tuple of values."""
    for name, values in wanted.items():
        table = table[table[name].isin(values if isinstance(values, tuple) else (values,))]
    return table


DIFFERENCE, VALUE, GAIN = ("difference", "lo", "hi"), ("value", "value_lo", "value_hi"), ("gain", "gain_lo", "gain_hi")


def gains_of(rows: pd.DataFrame, columns=DIFFERENCE, factor=100, start=0) -> list[Gain]:
    """Stored estimates from `start` on, times a factor; a negative one turns the interval round; none where there are none."""
    if not {*columns} <= {*rows}:
        return []
    values = factor * (rows[list(columns)].astype(float) - start)
    return [Gain(v, min(ends), max(ends), int(n)) for (v, *ends), n in zip(values.to_numpy().tolist(), rows["seeds"])]


def stored(tables, base, data, table: str, columns=DIFFERENCE, factor=100, start=0, machine="mean", **wanted) -> list[Gain]:
    """Rows of a table: of the mean over machines or, where `machine` is "each", of them one by one."""
    rows = tables.get(table, pd.DataFrame())
    if rows.empty or ("data" not in rows and data != "simulated"):  # the trap has no data: it is of simulated machines
        return []
    rows = select(rows, base=base, **({"data": data} if "data" in rows else {}), **wanted)
    return gains_of(rows[(rows["machine"] == "mean") == (machine == "mean")], columns, factor, start)


def difference(tables, base, data, family: str, better, worse, metric="omega", table="differences", best=False) -> list[Gain]:
    """Points by which one side is ahead: `better` or `worse` is the family's reference, the other side some of its variants.

    None stands for the reference, whatever it is. With `best` only that of `worse` with the highest mean counts.
    """
    rows = select(tables[table], base=base, data=data, family=family, metric=metric, machine="mean").set_index("variant")
    reference = None if rows.empty else rows["reference"].iloc[0]
    leads = (better or reference) == reference
    if rows.empty or not (leads or reference in worse):
        return []
    names = [name for name in (worse if leads else (better,)) if name in rows.index]
    names = [max(names, key=rows["value"].get)] if best and names else names
    return gains_of(rows.loc[names], factor=-100 if leads else 100)


def false_alarms(tables, base, data) -> list[Gain]:
    """How far the mean false-alarm rate over machines is from the one asked for in source and target: doublings or halvings,
    negated. A rate below 0.1 % counts as 0.1 %.
    """
    t = tables.get("alarms", pd.DataFrame(columns=["data", "machine", "domain", "clips"]))
    gains = []
    for _, r in select(t, data=data, machine="mean", domain=("source", "target"), clips="normal").iterrows():
        value, *ends = (-abs(np.log2(max(r[c], 1e-3) / r["requested"])) for c in ("rate", "lo", "hi"))
        gains.append(Gain(value, min(ends), 0.0 if r["lo"] <= r["requested"] <= r["hi"] else max(ends), r["seeds"]))
    return gains


CONTROLS = ("other-recording", "scrambled-phase")  # of far cancelled from near
WITHOUT = "all blocks minus those without it"
SUBSPACES = ("random", "near-pca", "other-recording")  # of the report's subspace


def _goal(text, margin, measure, side="above") -> Comparison:
    return Comparison(text, text, "", measure, margin, side, words=(REACHED, MISSED), min_seeds=1)


def _ahead(family, better, *worse, **options):
    return partial(difference, family=family, better=better, worse=worse, **options)


def _of_asdkit(*worse, family="machines", best=False):
    return _ahead(family, "asdkit", *worse, table="study", best=best)


def _sensitivity(variant, *references, lower=False):
    """Fault sensitivity above (or below) that of each reference, per cent."""
    wanted = dict(table="trap-ratios", family="objective", nuisance="noise", variant=variant, reference=references)
    return partial(stored, columns=("ratio", "lo", "hi"), factor=-100 if lower else 100, start=1, **wanted)


def _trapped(objective: str, spoken: str) -> list[tuple]:
    """What the abstract says of one objective."""
    omega = partial(stored, table="differences", columns=VALUE, family="objective", variant=objective, metric="omega")
    collapses = f"{spoken} collapses fault sensitivity"
    return [
        (f"chance-{objective}", f"{spoken} reaches near-chance detection", "Omega of its embedding", omega, 50, "around"),
        (f"fall-{objective}", f"{collapses}: it falls in training",
         "fall of the fault sensitivity of its embedding from the first step to the last",
         _sensitivity(objective, "start", lower=True), 0.0, "above", "%"),
        (f"less-{objective}", f"{collapses}: below untrained and MSM",
         "fault sensitivity of its embedding, below the untrained twin's and the MSM's",
         _sensitivity(objective, "untrained", "msm", lower=True), 0.0, "above", "%"),
    ]  # fmt: skip


CLAIMS = [Comparison(*claim) for claim in (
    *_trapped("machine-id", "machine-ID classification"),
    *_trapped("pseudo-cluster", "pseudo-cluster metric learning"),
    *_trapped("far-to-near", "far-to-near denoising"),
    ("msm", "MSM preserves fault-relevant structure", "MSM embedding minus its untrained twin",
     _ahead("embedding", "embedding", "untrained")),
    ("msm-moves", "MSM preserves fault sensitivity", "fault sensitivity above the untrained twin's",
     _sensitivity("msm", "untrained"), 0.0, "above", "%"),
    ("mask", "60 % masking", "mask ratio 0.6 minus none", _ahead("mask", "0.6", "0")),
    ("embedding", "the embedding, rather than its residual, is scored", "embedding minus residual",
     _ahead("embedding", "embedding", "residual")),
    ("dsp", "DSP descriptors add what learning does not discover", "all blocks minus the MSM alone",
     _ahead("blocks", "all", "without DSP")),
    ("ridge", "the far-context ridge residual adds", WITHOUT, _ahead("blocks", "all", "without ridge")),
    ("modulation", "temporal modulation adds", WITHOUT, _ahead("blocks", "all", "without modulation")),
    ("msm-adds", "the MSM feature adds to the descriptors", WITHOUT, _ahead("blocks", "all", "without msm")),
    ("subspace", "Far-conditioning of the MSM feature helps",
     "embedding with the far subspace attenuated, minus alpha 0 and minus each control",
     _ahead("subspace", "far", "none", *SUBSPACES)),
    ("cancel", "Far-conditioning of the input helps", "system minus alpha 0", _ahead("control", "far", "alpha 0")),
    ("balance", "blocks are balanced", "concatenation with balance minus without",
     _ahead("balance", "balanced", "not balanced")),
    ("domain", "kNN is domain-conditional", "minus pooled kNN, target AUC",
     _ahead("knn", "domain", "pooled", metric="auc_target"), 0.0, "above", "target AUC"),
    ("shrinkage", "with target-domain shrinkage", "minus n_0 = 0, target AUC", _ahead("n_0", None, "0", metric="auc_target"),
     0.0, "above", "target AUC"),
    ("top", "windows are aggregated by a top-10 % mean", "minus the mean and minus the maximum",
     _ahead("aggregate", "top 10 %", "mean", "max")),
    ("scalar", "a single scalar is selected on other machines and fixed",
     "cost against each machine's own best alpha, leaving the machine out",
     partial(stored, table="one-scalar", columns=("cost", "lo", "hi")), 1, "below"),
)]  # fmt: skip

BOTH, ON_ITS_OWN = {"simulated": 12, "real": 6}, {"simulated": 6, "real": 4}
of_machines = partial(stored, table="study", family="machines")
GOALS = [
    _goal("asdkit over log-mel statistics, z-scored", BOTH, _of_asdkit("log-mel")),
    _goal("asdkit over whitened log-mel statistics", {"simulated": -1, "real": 6}, _of_asdkit("log-mel-whitened")),
    _goal("asdkit over the official autoencoder's better score on each machine", BOTH,
          _of_asdkit(BETTER, family="autoencoder")),
    _goal("asdkit over the single block that is best on the mean", 0, _of_asdkit(*Config().blocks, best=True)),
    _goal("worst machine, against z-scored log-mel statistics", -2,
          partial(of_machines, factor=-100, machine="each", variant="log-mel", metric="omega")),
    _goal("trained masked model over its untrained twin, alone", ON_ITS_OWN,
          _ahead("msm", "msm", "msm-untrained", table="study")),
    _goal("trained masked model over z-scored log-mel statistics, alone", ON_ITS_OWN,
          _ahead("msm", "msm", "log-mel", table="study")),
    _goal("the system with the masked model over the system without", 0, _of_asdkit("without-msm")),
    _goal("alpha chosen elsewhere over alpha 0", 2, partial(stored, table="one-scalar", columns=GAIN)),
    _goal("alpha's controls over alpha 0 (at most)", 0.5,
          partial(stored, table="differences", family="control", variant=CONTROLS, metric="omega"), "below"),
    _goal("target AUC minus source AUC", {"simulated": -5, "real": -8},
          partial(of_machines, columns=VALUE, variant="asdkit", metric=GAP)),
    _goal("false alarms: doublings or halvings off the rate asked, negated", -1, false_alarms),
]  # fmt: skip


def claims_table(tables: dict) -> pd.DataFrame:
    """Every claim that the tables of `read_tables` suffice for, with the numbers of its weakest comparison."""
    t = tables["differences"]
    return _judged(CLAIMS, tables, dict.fromkeys(zip(t["base"], t["data"]))).drop(columns=["margin"]).round(3)


def goals_table(tables: dict) -> pd.DataFrame:
    """Every goal on every kind of data: goal, margin, data, value, lo, hi, comparisons, seeds, verdict."""
    pairs = [("asdkit", data) for data in DATA] if "study" in tables else []
    table = _judged(GOALS, tables, pairs).rename(columns={"text": "goal"})
    return table.drop(columns=["claim", "base", "measured", "unit"])


def _judged(comparisons: Iterable[Comparison], tables: dict, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    rows = []
    for c, (base, data) in product(comparisons, pairs):
        c = replace(c, margin=c.margin[data]) if isinstance(c.margin, dict) else c
        if gains := c.measure(tables, base, data):
            head = (c.name, c.text, c.margin, base, data, c.measured, c.unit, *weakest(c, gains)[:3])
            rows.append((*head, len(gains), min(g.seeds for g in gains), outcome(c, gains)))
    return pd.DataFrame(rows, columns="claim text margin base data measured unit value lo hi comparisons seeds verdict".split())


def markdown(corner: str, cells: dict[tuple, str]) -> str:
    """A table of {(row, column): text}, in the order in which they first come; of a column (..., name) the name is shown."""
    rows, columns = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    lines = [[row, *(cells.get((row, column), "") for column in columns)] for row in rows]
    head = [corner, *(column if isinstance(column, str) else column[-1] for column in columns)]
    first, *others = [f"| {' | '.join(line)} |" for line in (head, *lines)]
    return "\n".join([first, "|" + "---|" * len(head), *others])


def claims_markdown(table: pd.DataFrame) -> str:
    """The claims: a row each, with what was measured; a column for each kind of data and base."""
    rows = table.to_dict("records")
    cells = {(f"{r['text']}: *{r['measured']}*", f"{r['data']}, `{r['base']}`"): _outcome_cell(r) for r in rows}
    return markdown("claim: *measured*", cells)


def goals_markdown(table: pd.DataFrame) -> str:
    """The goals: a row each, a column for each kind of data."""
    cells = {(r["goal"], r["data"]): f"{r['margin']:+g}: {_outcome_cell(r)}" for r in table.to_dict("records")}
    return markdown("goal, at least", cells)


def _outcome_cell(row) -> str:
    sign, percent = "" if row.get("claim", "").startswith("chance") else "+", " %" * (row.get("unit") == "%")
    number = f"{row['value']:{sign}z.1f}{percent} [{row['lo']:{sign}z.1f}, {row['hi']:{sign}z.1f}]"
    note = f", weakest of {row['comparisons']}" if row["comparisons"] > 1 else ""
    return f"**{row['verdict']}** {number}{note}" + (", one seed" if row["seeds"] == 1 else "")


def write_claims(tables: dict, out: str | Path) -> pd.DataFrame:
    """Write ``claims.csv`` and ``claims.md`` into a folder; return the table."""
    table, about = claims_table(tables), tables["about"]
    kinds = [f"{sum(name.startswith(data) for name in about['machines'])} {data} machine(s)" for data in table["data"].unique()]
    note = (
        f"Omega and AUC in points (x100), mean over {' and '.join(kinds)} and {len(about['seeds'])} seed(s), "
        "with 95 % intervals over recordings (of fault sensitivity, over scenes). "
        f"Rules and comparisons: `{RULES}`; written by `asdkit figures`, not by hand."
    )
    quick = "**QUICK run: token training. These are not results.**\n\n" if about["quick"] else ""
    write(Path(out) / "claims.csv", table.to_csv(index=False))
    write(Path(out) / "claims.md", f"{quick}{claims_markdown(table)}\n\n{note}\n")
    return table
