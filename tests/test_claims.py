"""Claims: every verdict is reachable by the numbers, and each claim reads the comparison that it names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asdkit.config import Config
from asdkit.experiments import claims
from asdkit.experiments.claims import CLAIMS, FAILS, HOLDS, UNDECIDED, Gain, claims_table
from asdkit.experiments.families import plan
from asdkit.experiments.tables import read_tables

ROOT = Path(__file__).parents[1]
BETTER, WORSE, OPEN = (0.05, 0.02, 0.08), (-0.05, -0.08, -0.02), (0.01, -0.02, 0.04)  # variant minus reference: value, lo, hi
BY_NAME = {c.name: c for c in CLAIMS}
EVERY = replace(Config(), blocks=(*Config.report().blocks, "ridge-complex", "texture"))  # every claim can be measured
ROWS = plan({"asdkit": EVERY})


def tables(differences=None, level=(0.6, 0.52, 0.68), ratio=(1.0, 0.9, 1.1), cost=(0.005, 0.001, 0.008), seeds=3):
    """Tables of every family; `differences` {(family, variant): (value, lo, hi)}, others are undecided."""
    rows = [
        (r.base, r.family, data, "mean", r.variant, r.reference, metric, seeds, 2, *level,
         *(differences or {}).get((r.family, r.variant), (0.0, 0.0, 0.0) if r.variant == r.reference else OPEN))
        for r in ROWS for data in ("real", "simulated") for metric in ("omega", "auc_target")
    ]  # fmt: skip
    columns = "base family data machine variant reference metric seeds machines value value_lo value_hi difference lo hi"
    ratios = [
        ("asdkit", family, r.variant, reference, "noise", seeds, "mean", *ratio)
        for family, references in (("objective", ("start", "untrained", "msm")), ("conditioning-msm", ("none",)))
        for r in ROWS
        for reference in references
        if r.family == family
    ]
    heads = "base family variant reference nuisance seeds machine ratio lo hi"
    costs = [("asdkit", data, "mean", seeds, 2, np.nan, np.nan, *cost) for data in ("real", "simulated")]
    return {
        "differences": pd.DataFrame(rows, columns=columns.split()),
        "trap-ratios": pd.DataFrame(ratios, columns=heads.split()),
        "one-scalar": pd.DataFrame(costs, columns="base data machine seeds machines alpha best cost lo hi".split()),
        "about": {"quick": False, "machines": {"real-fan": {}, "simulated-fan": {}}, "seeds": list(range(seeds))},
    }


def verdicts(*names, **options):
    """{(claim, data): verdict} of claims whose name begins with one of these; without those that cannot be measured."""
    told = tables(**options)
    gains = {(c, d): c.measure(told, "asdkit", d) for c in CLAIMS if c.name.startswith(names) for d in ("real", "simulated")}
    return {(c.name, d): claims.verdict(c, g) for (c, d), g in gains.items() if g}


CASES = [  # claim, variants that decide it
    ("msm", "embedding", ["untrained"]),
    ("embedding", "embedding", ["residual"]),
    ("dsp", "blocks", ["without DSP"]),
    ("modulation", "blocks", ["without modulation"]),
    ("ridge", "blocks", ["without ridge"]),
    ("far", "conditioning", ["none", "random", "near-pca", "other-recording"]),
    ("far-msm", "conditioning-msm", ["none", "random", "near-pca", "other-recording"]),
    ("balance", "balance", ["not balanced"]),
    ("concatenate", "fusion", ["mean", "maximum"]),
    ("domain", "knn", ["pooled"]),
    ("shrinkage", "n_0", ["0"]),
]


@pytest.mark.parametrize("name, family, variants", CASES, ids=[c[0] for c in CASES])
def test_every_verdict_of_a_comparison_is_reachable(name, family, variants):
    def found(value):
        return verdicts(name, differences={(family, v): value for v in variants})[name, "real"]

    assert (found(WORSE), found(BETTER), found(OPEN)) == (HOLDS, FAILS, UNDECIDED)
    if len(variants) > 1:  # all are needed, one refutes
        mixed = {(family, v): WORSE for v in variants[1:]}
        assert verdicts(name, differences=mixed)[name, "real"] == UNDECIDED
        assert verdicts(name, differences=mixed | {(family, variants[0]): BETTER})[name, "real"] == FAILS


def test_near_chance_is_an_interval_that_includes_50():
    for level, expected in [((0.55, 0.48, 0.61), HOLDS), ((0.6, 0.52, 0.68), FAILS), ((0.4, 0.3, 0.45), FAILS)]:
        assert {v for _, v in verdicts("chance", level=level).items()} == {expected}


def test_sensitivity_is_told_of_simulated_machines_only():
    for ratio, expected in [((0.7, 0.6, 0.8), HOLDS), ((1.2, 1.1, 1.3), FAILS), ((1.0, 0.9, 1.1), UNDECIDED)]:
        found = verdicts("fall", "less", "msm-moves", "far-moves", ratio=ratio)
        assert {v for (name, _), v in found.items() if name.startswith(("fall", "less"))} == {expected}
        turned = {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}[expected]
        assert found["msm-moves", "simulated"] == found["far-moves", "simulated"] == turned
        assert not any(data == "real" for _, data in found)


def test_one_scalar_is_within_a_point():
    for cost, expected in [((0.005, 0, 0.008), HOLDS), ((0.03, 0.02, 0.04), FAILS), ((0.008, 0, 0.02), UNDECIDED)]:
        assert verdicts("scalar", cost=cost)["scalar", "real"] == expected


def test_two_seeds_decide_nothing():
    assert set(verdicts("", level=(0.55, 0.48, 0.61), seeds=2).values()) == {UNDECIDED}


def test_no_interval_decides_nothing():
    nan = (np.nan, np.nan, np.nan)
    assert verdicts("chance", level=nan)["chance-machine-id", "real"] == UNDECIDED
    assert claims.verdict(BY_NAME["msm"], []) == UNDECIDED


@pytest.mark.parametrize("claim", CLAIMS, ids=[c.name for c in CLAIMS])
def test_every_claim_is_measured(claim):
    depends = claim.name == "mask" and Config().mask_ratio != 0.6
    assert ((claim.name, "simulated") in verdicts(claim.name)) != depends


def test_the_weakest_comparison_is_told():
    table = claims_table(tables(differences={("fusion", "mean"): WORSE, ("fusion", "maximum"): OPEN}))
    row = table.set_index(["claim", "data"]).loc["concatenate", "real"]
    assert row[["value", "lo", "hi"]].tolist() == [-1, -4, 2] and row["comparisons"] == 2


def test_a_negative_sign_turns_the_interval_round():
    assert claims._gain((-0.05, -0.08, -0.02), -100, 3) == pytest.approx(Gain(5, 2, 8, 3))


def test_claims_are_written(tmp_path):
    table = claims.write_claims(tables(level=(0.55, 0.48, 0.61)), tmp_path)
    text = (tmp_path / "claims.md").read_text()
    assert "| machine-ID classification reaches near-chance detection: *Omega of its embedding* |" in text
    assert "real, `asdkit`" in text.splitlines()[0]
    assert "**holds** 55.0 [48.0, 61.0]" in text
    assert "weakest of 4" in text and "3 seed(s)" in text and "QUICK" not in text
    stored = pd.read_csv(tmp_path / "claims.csv")
    assert stored["verdict"].tolist() == table["verdict"].tolist()


def test_readme_tells_the_claims_of_the_stored_tables():
    table = claims_table(read_tables(ROOT / "figures" / "tables"))
    assert claims.markdown(table) in (ROOT / "README.md").read_text()
    assert claims.markdown(table) in (ROOT / "figures" / "claims.md").read_text()
