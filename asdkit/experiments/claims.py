"""The claims of the report's abstract, and what the tables of an ablation say of each: holds, does not hold, undecided.

The rules were fixed before anything was measured. A claim that something is better *holds* where the paired 95 % interval of
every comparison it needs lies above 0, and *does not hold* where one lies below. *Near chance* holds where Omega's interval
includes 50, and does not where it excludes it. A cost *within one point* holds where its interval lies below one point, and
does not where it lies above. Everything else, and everything with fewer than three seeds, is *undecided*. The verdicts are
about this implementation and these data.

Legend
------
gain : how far a comparison goes in the claim's direction, with its interval: points of Omega or AUC (x100), or per cent of
    fault sensitivity. Of several comparisons the weakest is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from asdkit.recordings.files import write

SEEDS = 3  # fewer decide nothing
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"


class Gain(NamedTuple):
    """One comparison: estimate, interval, and of how many seeds."""

    value: float
    lo: float
    hi: float
    seeds: int


@dataclass(frozen=True)
class Claim:
    """One claim of the abstract."""

    name: str
    text: str  # as the abstract has it, shortened
    measured: str
    unit: str
    measure: Callable[[dict, str, str], list[Gain]]  # (tables, base, data) -> comparisons; none where nothing was measured
    rule: Callable[[list[Gain]], str]


# rules


def above_zero(gains: list[Gain]) -> str:
    """Every interval above 0; one below 0 refutes."""
    if all(g.lo > 0 for g in gains):
        return HOLDS
    return FAILS if any(g.hi < 0 for g in gains) else UNDECIDED


def near_chance(gains: list[Gain]) -> str:
    """Omega's interval includes 50."""
    return HOLDS if all(g.lo <= 50 <= g.hi for g in gains) else FAILS


def within_a_point(gains: list[Gain]) -> str:
    """The interval of a cost lies below one point."""
    if all(g.hi < 1 for g in gains):
        return HOLDS
    return FAILS if any(g.lo > 1 for g in gains) else UNDECIDED


def verdict(claim: Claim, gains: list[Gain]) -> str:
    """The claim's rule, for comparisons that have an interval and enough seeds."""
    known = gains and all(np.isfinite(g[:3]).all() and g.seeds >= SEEDS for g in gains)
    return claim.rule(gains) if known else UNDECIDED


# measures


def difference(tables, base, data, family: str, better, worse, metric="omega") -> list[Gain]:
    """Points by which one side is ahead. `better` or `worse` is the family's reference, the other side some of its variants."""
    rows = mean_rows(tables, base, data, family, metric)
    if rows.empty:
        return []
    lost = better == rows["reference"].iloc[0]
    names = [n for n in (worse if lost else (better,)) if n in rows.index]
    return [_gain(rows.loc[n, ["difference", "lo", "hi"]], -100 if lost else 100, rows.loc[n, "seeds"]) for n in names]


def level(tables, base, data, family: str, variant: str) -> list[Gain]:
    """Omega x100 of one variant, mean over machines."""
    rows = mean_rows(tables, base, data, family, "omega")
    return [_gain(r[["value", "value_lo", "value_hi"]], 100, r["seeds"]) for _, r in rows[rows.index == variant].iterrows()]


def mean_rows(tables, base, data, family, metric):
    """Rows of one family's means over the machines of one kind of data, by variant."""
    t = tables["differences"]
    chosen = (t["base"] == base) & (t["data"] == data) & (t["family"] == family) & (t["metric"] == metric)
    return t[chosen & (t["machine"] == "mean")].set_index("variant")


def _gain(row, sign, seeds) -> Gain:
    """A stored difference in the claim's direction; a negative sign turns the interval round."""
    value, lo, hi = (sign * float(x) for x in row)
    return Gain(value, min(lo, hi), max(lo, hi), int(seeds))


def ratio(tables, base, data, variant: str, references: tuple[str, ...], family="objective", lower=False) -> list[Gain]:
    """Per cent by which the fault sensitivity is above (or below) that of each reference; simulated machines only."""
    if data != "simulated" or "trap-ratios" not in tables:
        return []
    t = tables["trap-ratios"]
    chosen = (t["base"] == base) & (t["family"] == family) & (t["variant"] == variant) & t["reference"].isin(references)
    rows = t[chosen & (t["machine"] == "mean") & (t["nuisance"] == "noise")]
    sign = -100 if lower else 100
    return [_gain(r[["ratio", "lo", "hi"]] - 1, sign, r["seeds"]) for _, r in rows.iterrows()]


def cost(tables, base, data) -> list[Gain]:
    """Points that one alpha for all machines costs."""
    t = tables["one-scalar"]
    rows = t[(t["base"] == base) & (t["data"] == data) & (t["machine"] == "mean")]
    return [_gain(r[["cost", "lo", "hi"]], 100, r["seeds"]) for _, r in rows.iterrows()]


def unconditioned(tables, base, data) -> list[Gain]:
    """Per cent by which conditioning raises the sensitivity to faults over that to noise."""
    return ratio(tables, base, data, "far", ("none",), family="conditioning-msm")


def shrinkage(tables, base, data) -> list[Gain]:
    """Target AUC with shrinkage minus that without."""
    rows = mean_rows(tables, base, data, "n_0", "auc_target")
    return [] if rows.empty else difference(tables, base, data, "n_0", rows["reference"].iloc[0], ("0",), "auc_target")


def top_windows(tables, base, data) -> list[Gain]:
    """The mean of the highest windows minus the mean and the maximum of all."""
    rows = mean_rows(tables, base, data, "aggregate", "omega")
    return [] if rows.empty else difference(tables, base, data, "aggregate", rows["reference"].iloc[0], ("mean", "max"))


def masking(tables, base, data) -> list[Gain]:
    """A mask ratio of 0.6 minus none."""
    rows = mean_rows(tables, base, data, "mask", "omega")
    return [] if rows.empty or rows["reference"].iloc[0] != "0.6" else difference(tables, base, data, "mask", "0.6", ("0",))


# claims

CONTROLS = ("random", "near-pca", "other-recording")
TRAPPED = {
    "machine-id": "machine-ID classification",
    "pseudo-cluster": "pseudo-cluster metric learning",
    "far-to-near": "far-to-near denoising",
}


def _trapped(objective: str, spoken: str) -> list[Claim]:
    """What the abstract says of one objective."""
    omega, moved = "Omega of its embedding", "fault sensitivity of its embedding"
    fall = partial(ratio, variant=objective, references=("start",), lower=True)
    less = partial(ratio, variant=objective, references=("untrained", "msm"), lower=True)
    return [
        Claim(f"chance-{objective}", f"{spoken} reaches near-chance detection", omega, "Omega",
              partial(level, family="objective", variant=objective), near_chance),
        Claim(f"fall-{objective}", f"{spoken} collapses fault sensitivity: it falls in training",
              f"fall of the {moved} from the first step to the last", "%", fall, above_zero),
        Claim(f"less-{objective}", f"{spoken} collapses fault sensitivity: below untrained and MSM",
              f"{moved}, below the untrained twin's and the MSM's", "%", less, above_zero),
    ]  # fmt: skip


def _helps(name, text, measured, unit, measure, **options) -> Claim:
    return Claim(name, text, measured, unit, partial(measure, **options) if options else measure, above_zero)


CLAIMS = [
    *(claim for objective, spoken in TRAPPED.items() for claim in _trapped(objective, spoken)),
    _helps("msm", "MSM preserves fault-relevant structure", "MSM embedding minus its untrained twin", "Omega",
           difference, family="embedding", better="embedding", worse=("untrained",)),
    _helps("msm-moves", "MSM preserves fault sensitivity", "fault sensitivity above the untrained twin's", "%",
           ratio, variant="msm", references=("untrained",)),
    _helps("mask", "60 % masking", "mask ratio 0.6 minus none", "Omega", masking),
    _helps("embedding", "the embedding, rather than its residual, is scored", "embedding minus residual", "Omega",
           difference, family="embedding", better="embedding", worse=("residual",)),
    _helps("dsp", "DSP descriptors add what learning does not discover", "all blocks minus the MSM alone", "Omega",
           difference, family="blocks", better="all", worse=("without DSP",)),
    _helps("ridge", "the far-context ridge residual adds", "all blocks minus those without it", "Omega",
           difference, family="blocks", better="all", worse=("without ridge",)),
    _helps("modulation", "temporal modulation adds", "all blocks minus those without it", "Omega",
           difference, family="blocks", better="all", worse=("without modulation",)),
    _helps("far", "Far-conditioning of the MSM feature helps", "system minus alpha 0, and minus each control",
           "Omega", difference, family="conditioning", better="far", worse=("none", *CONTROLS)),
    _helps("far-msm", "Far-conditioning helps the MSM feature by itself", "the same on the MSM embedding alone", "Omega",
           difference, family="conditioning-msm", better="far", worse=("none", *CONTROLS)),
    _helps("far-moves", "it attenuates shared variation and preserves near-specific variation",
           "fault sensitivity conditioned above unconditioned", "%", unconditioned),
    _helps("balance", "blocks are balanced", "concatenation with balance minus without", "Omega",
           difference, family="balance", better="balanced", worse=("not balanced",)),
    _helps("concatenate", "blocks are concatenated and scored by a single kNN", "minus score fusion by mean, by maximum",
           "Omega", difference, family="fusion", better="concatenate", worse=("mean", "maximum")),
    _helps("domain", "kNN is domain-conditional", "minus pooled kNN, target AUC", "target AUC",
           difference, family="knn", better="domain", worse=("pooled",), metric="auc_target"),
    _helps("shrinkage", "with target-domain shrinkage", "minus n_0 = 0, target AUC", "target AUC", shrinkage),
    _helps("top", "windows are aggregated by a top-10 % mean", "minus the mean and minus the maximum", "Omega", top_windows),
    Claim("scalar", "a single scalar is selected on other machines and fixed",
          "cost against each machine's own best alpha, leaving the machine out", "Omega", cost, within_a_point),
]  # fmt: skip


# tables


def claims_table(tables: dict) -> pd.DataFrame:
    """Every claim on every kind of data and base.

    Parameters
    ----------
    tables : dict
        Of `asdkit.experiments.tables.read_tables`.

    Returns
    -------
    table : DataFrame
        claim, text, base, data, measured, unit, value, lo, hi (of the weakest comparison), comparisons, seeds, verdict. Without
        a row where a claim cannot be measured, such as mechanisms on real recordings.
    """
    rows, t = [], tables["differences"]
    for claim in CLAIMS:
        for base, data in dict.fromkeys(zip(t["base"], t["data"])):
            gains = claim.measure(tables, base, data)
            if gains:
                told = _weakest(gains)
                head = (claim.name, claim.text, base, data, claim.measured, claim.unit)
                rows.append((*head, *np.round(told[:3], 3), len(gains), min(g.seeds for g in gains), verdict(claim, gains)))
    columns = "claim text base data measured unit value lo hi comparisons seeds verdict".split()
    return pd.DataFrame(rows, columns=columns)


def _weakest(gains: list[Gain]) -> Gain:
    """The comparison that speaks least for the claim: one that refutes it, or else the one with the lowest limit."""
    return gains[0] if len(gains) == 1 else min(gains, key=lambda g: (g.hi >= 0, g.lo))


def markdown(table: pd.DataFrame) -> str:
    """The claims as a table to read: a row each, with what was measured; a column for each kind of data and base."""
    columns = list(dict.fromkeys(zip(table["data"], table["base"])))
    lines = [f"| claim: *measured* | {' | '.join(f'{d}, `{b}`' for d, b in columns)} |", "|" + "---|" * (1 + len(columns))]
    for (text, measured), rows in table.groupby(["text", "measured"], sort=False):
        cells = {(r["data"], r["base"]): _cell(r) for _, r in rows.iterrows()}
        lines.append(f"| {text}: *{measured}* | {' | '.join(cells.get(c, '') for c in columns)} |")
    return "\n".join(lines)


def _cell(row) -> str:
    sign, percent = ("" if row["claim"].startswith("chance") else "+"), " %" if row["unit"] == "%" else ""
    number = f"{row['value']:{sign}z.1f}{percent} [{row['lo']:{sign}z.1f}, {row['hi']:{sign}z.1f}]"
    return f"**{row['verdict']}** {number}" + (f", weakest of {row['comparisons']}" if row["comparisons"] > 1 else "")


def write_claims(tables: dict, out: str | Path) -> pd.DataFrame:
    """Write ``claims.csv`` and ``claims.md`` into a folder; return the table."""
    table, about = claims_table(tables), tables["about"]
    n = {data: sum(name.startswith(data) for name in about["machines"]) for data in dict.fromkeys(table["data"])}
    note = (
        "Omega and AUC in points (x100), mean over "
        + " and ".join(f"{count} {data} machine(s)" for data, count in n.items())
        + f" and {len(about['seeds'])} seed(s), with 95 % intervals over recordings (of fault sensitivity, over scenes). "
        "Rules and comparisons: `asdkit/claims.py`; written by `asdkit figures`, not by hand."
    )
    quick = "**QUICK run: token training. These are not results.**\n\n" if about["quick"] else ""
    write(Path(out) / "claims.csv", table.to_csv(index=False))
    write(Path(out) / "claims.md", f"{quick}{markdown(table)}\n\n{note}\n")
    return table
