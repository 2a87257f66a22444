"""Claims and goals: every outcome is reachable by the numbers, each reads the rows that it names, and the README shows them."""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asdkit import figures
from asdkit.config import Config
from asdkit.experiments import claims, read_tables, study
from asdkit.experiments.claims import CLAIMS, FAILS, HOLDS, MISSED, REACHED, UNDECIDED, Comparison, Gain, outcome, weakest
from asdkit.experiments.families import plan

ROOT = Path(__file__).parents[1]
BETTER, WORSE, OPEN = (0.05, 0.02, 0.08), (-0.05, -0.08, -0.02), (0.01, -0.02, 0.04)  # variant minus reference: value, lo, hi

ROWS = plan({"asdkit": Config()})


def tables(differences=None, level=(0.6, 0.52, 0.68), ratio=(1.0, 0.9, 1.1), cost=(0.005, 0.001, 0.008), seeds=3):
    """Tables of every family; `differences` {(family, variant): (value, lo, hi)}, others are undecided."""
    rows = [
        (r.base, r.family, data, "mean", r.variant, r.reference, metric, seeds, 2, *level,
         *(differences or {}).get((r.family, r.variant), (0.0, 0.0, 0.0) if r.variant == r.reference else OPEN))
        for r in ROWS for data in ("real", "simulated") for metric in ("omega", "auc_target")
    ]  # fmt: skip
    columns = "base family data machine variant reference metric seeds machines value value_lo value_hi difference lo hi"
    ratios = [
        ("asdkit", r.family, r.variant, reference, "noise", seeds, "mean", *ratio)
        for r in ROWS if r.family == "objective" for reference in ("start", "untrained", "msm")
    ]  # fmt: skip
    heads = "base family variant reference nuisance seeds machine ratio lo hi"
    costs = [("asdkit", data, "mean", seeds, 2, np.nan, np.nan, *cost) for data in ("real", "simulated")]
    return {
        "differences": pd.DataFrame(rows, columns=columns.split()),
        "trap-ratios": pd.DataFrame(ratios, columns=heads.split()),
        "one-scalar": pd.DataFrame(costs, columns="base data machine seeds machines alpha best cost lo hi".split()),
        "about": {"quick": False, "machines": {"real-fan": {}, "simulated-fan": {}}, "seeds": list(range(seeds))},
    }


def outcomes(*names, **options):
    """{(claim, data): outcome} of claims whose name begins with one of these; without those that cannot be measured."""
    made = tables(**options)
    gains = {(c, d): c.measure(made, "asdkit", d) for c in CLAIMS if c.name.startswith(names) for d in ("real", "simulated")}
    return {(c.name, d): outcome(c, g) for (c, d), g in gains.items() if g}


CASES = [  # claim, family, variants that decide it; the first is that of a variant which should be ahead of its reference
    ("cancel", "control", ["far"]), ("msm", "embedding", ["untrained"]), ("embedding", "embedding", ["residual"]),
    ("dsp", "blocks", ["without DSP"]), ("modulation", "blocks", ["without modulation"]),
    ("ridge", "blocks", ["without ridge"]),
    ("msm-adds", "blocks", ["without msm"]), ("subspace", "subspace", ["none", "random", "near-pca", "other-recording"]),
    ("balance", "balance", ["not balanced"]), ("top", "aggregate", ["mean", "max"]), ("domain", "knn", ["pooled"]),
    ("shrinkage", "n_0", ["0"]),
]  # fmt: skip


@pytest.mark.parametrize("name, family, variants", CASES, ids=[c[0] for c in CASES])
def test_every_outcome_of_a_comparison_is_reachable(name, family, variants):
    def found(value):
        return outcomes(name, differences={(family, v): value for v in variants})[name, "real"]

    ahead, behind = (BETTER, WORSE) if name == "cancel" else (WORSE, BETTER)
    assert (found(ahead), found(behind), found(OPEN)) == (HOLDS, FAILS, UNDECIDED)
    if len(variants) > 1:  # all are needed, one refutes
        mixed = {(family, v): WORSE for v in variants[1:]}
        assert outcomes(name, differences=mixed)[name, "real"] == UNDECIDED
        assert outcomes(name, differences=mixed | {(family, variants[0]): BETTER})[name, "real"] == FAILS


LEVELS = [(0.55, 0.48, 0.61), HOLDS, (0.6, 0.52, 0.68), FAILS, (0.4, 0.3, 0.45), FAILS, (np.nan, np.nan, np.nan), UNDECIDED]
COSTS = [(0.005, 0, 0.008), HOLDS, (0.03, 0.02, 0.04), FAILS, (0.008, 0, 0.02), UNDECIDED]


@pytest.mark.parametrize("name, option, values", [("chance", "level", LEVELS), ("scalar", "cost", COSTS)])
def test_near_chance_includes_50_and_one_scalar_is_within_a_point(name, option, values):
    for value, expected in zip(values[::2], values[1::2]):
        assert set(outcomes(name, **{option: value}).values()) == {expected}


def test_every_claim_is_measured_sensitivity_on_simulated_machines_and_two_seeds_decide_nothing():
    found = outcomes("", level=LEVELS[0], seeds=2)
    assert {name for name, data in found if data == "simulated"} == {c.name for c in CLAIMS}
    assert set(found.values()) == {UNDECIDED} == {outcome(CLAIMS[0], [])}
    for ratio, expected in [((0.7, 0.6, 0.8), HOLDS), ((1.2, 1.1, 1.3), FAILS), ((1.0, 0.9, 1.1), UNDECIDED)]:
        turned = {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}[expected]
        found = outcomes("fall", "less", "msm-moves", ratio=ratio)
        assert all(v == (turned if name == "msm-moves" else expected) for (name, _), v in found.items())
        assert {data for _, data in found} == {"simulated"}


def test_claims_are_written(tmp_path):
    made = tables({("aggregate", "mean"): WORSE, ("aggregate", "max"): OPEN}, level=(0.55, 0.48, 0.61))
    table = claims.write_claims(made, tmp_path)
    row = table.set_index(["claim", "data"]).loc["top", "real"]  # the weakest comparison is the one that is told
    assert row[["value", "lo", "hi"]].tolist() == [-1, -4, 2] and row["comparisons"] == 2
    text = (tmp_path / "claims.md").read_text()
    assert "| machine-ID classification reaches near-chance detection: *Omega of its embedding* |" in text
    assert "real, `asdkit`" in text.splitlines()[0]
    assert "**holds** 55.0 [48.0, 61.0]" in text
    assert "weakest of 4" in text and "3 seed(s)" in text and "QUICK" not in text
    assert pd.read_csv(tmp_path / "claims.csv")["verdict"].tolist() == table["verdict"].tolist()


def test_readme_and_figures_tell_what_the_stored_tables_say(tmp_path):
    tables, readme = read_tables(ROOT / "figures" / "tables"), (ROOT / "README.md").read_text()
    claims.write_claims(tables, tmp_path)
    study.write_goals(tables, tmp_path)
    for name in ("claims.md", "claims.csv", "goals.md"):
        assert (tmp_path / name).read_text() == (ROOT / "figures" / name).read_text()
    rows = tables["study"].query("metric == 'omega' and machine == 'mean'")
    rows = rows[(rows["family"] == "machines") | (rows["variant"] == "autoencoder-better")]
    omegas = rows.set_index(["variant", "data"])
    told = re.findall(r"^\| `([a-z-]+)`.*? \| ([\d.]+) \| ([\d.]+) \| (?:(\S+) \[.*\] \| (\S+) \[.*\])?", readme, re.M)
    assert len(told) == 6
    for system, *numbers in told:
        of_each = omegas.loc[system].loc[["simulated", "real"]]
        expected = [f"{100 * v:.1f}" for v in of_each["value"]] + [f"{-100 * v:+.1f}" for v in of_each["difference"]]
        assert [n for n in numbers if n] == expected[: 4 if numbers[-1] else 2]


SYSTEMS = ("asdkit", "log-mel", "log-mel-whitened", "msm", "statistics", "texture", "without-msm")
MEANS = [("simulated", "mean"), ("real", "mean"), ("all", "mean")]
HEAD = "base family data machine variant reference metric seeds machines level".split()


def rows(family, systems, levels=("full",), reference=None, machines=MEANS, metrics=("omega",), **numbers):
    keys = [
        ("asdkit", family, *m, s, reference or systems[0], metric, 3, 2, level)
        for level in levels for m in machines for s in systems for metric in metrics
    ]  # fmt: skip
    told = dict(value=0.7, value_lo=0.6, value_hi=0.8, difference=-0.1, lo=-0.12, hi=-0.09) | numbers
    return pd.DataFrame(keys, columns=HEAD).assign(**told)


@pytest.fixture
def study_tables():
    study = [
        rows("machines", SYSTEMS),
        rows("machines", ("asdkit",), metrics=("auc_target - auc_source",), value=-0.05, value_lo=-0.06, value_hi=-0.04),
        rows("msm", ("msm-untrained", "log-mel"), reference="msm", difference=0.02, lo=0.01, hi=0.03),
        rows("noise", ("near only", "asdkit"), ("-5", "-25", "10")),
    ]
    controls = rows("control", claims.CONTROLS, reference="alpha 0", difference=0.1, lo=0.0, hi=0.2).drop(columns="level")
    gains = pd.DataFrame([("asdkit", "simulated", "mean", 3, 0.04, 0.03, 0.05)])
    gains.columns = "base data machine seeds gain gain_lo gain_hi".split()
    study = pd.concat(study, ignore_index=True)
    return {"study": study, "differences": controls, "one-scalar": gains, "alarms": alarms()}


def alarms():
    sides = product(("fan", "valve", "mean"), ("source", "target", "all"), ("normal", "anomalous"), (0.01, 0.1))
    table = pd.DataFrame(sides, columns="machine domain clips requested".split())
    table = table.assign(level="full", data="simulated", seeds=3, rate=0.08, lo=0.02, hi=0.15)
    table.loc[table["clips"] == "anomalous", "rate"] = 0.7
    return table


def goal(margin):
    return Comparison("", "", "", None, margin, words=(REACHED, MISSED), min_seeds=1)


@pytest.mark.parametrize("gains, expected", [
    ([Gain(6, 5.1, 7, 3)], REACHED), ([Gain(6, 4.9, 7, 3)], UNDECIDED), ([Gain(4, 3, 4.9, 3)], MISSED),
    ([Gain(9, 8, 10, 3), Gain(4, 3, 4.9, 3)], MISSED), ([Gain(9, 8, 10, 3), Gain(6, 4.9, 7, 3)], UNDECIDED),
])  # fmt: skip
def test_a_goal_is_reached_where_every_interval_lies_above_its_margin(gains, expected):
    assert outcome(goal(5), gains) == expected and weakest(goal(5), gains) == gains[-1]


def test_each_goal_reads_its_own_rows(study_tables):
    told = claims.goals_table(study_tables).query("data == 'simulated'").set_index("goal")
    expected = {
        "asdkit over log-mel statistics, z-scored": (10, UNDECIDED),  # of 12 points
        "asdkit over whitened log-mel statistics": (10, REACHED),  # of -1
        "trained masked model over its untrained twin, alone": (-2, MISSED),  # it is behind by 1 to 3
        "alpha chosen elsewhere over alpha 0": (4, REACHED), "alpha's controls over alpha 0 (at most)": (10, UNDECIDED),
        "target AUC minus source AUC": (-5, UNDECIDED),
    }  # fmt: skip
    for goal, (value, verdict) in expected.items():
        assert told.loc[goal, ["value", "verdict"]].tolist() == [pytest.approx(value), verdict], goal
    assert told.loc["asdkit over log-mel statistics, z-scored", ["lo", "hi"]].tolist() == pytest.approx([9, 12])
    assert "asdkit over the official autoencoder's better score on each machine" not in told.index  # not in these tables
    alarms = told.loc["false alarms: doublings or halvings off the rate asked, negated"]  # 8 % [2, 15] for 1 % and for 10 %
    assert alarms[["value", "lo", "hi"]].tolist() == pytest.approx([-3, -np.log2(15), -1]) and alarms["comparisons"] == 4
    rows = study_tables["study"]  # of the blocks the best on the mean counts
    best = (rows["family"] == "machines") & (rows["variant"] == "texture")
    rows.loc[best, ["value", "difference", "lo", "hi"]] = (0.9, 0.02, 0.01, 0.03)
    table = claims.goals_table(study_tables).set_index(["goal", "data"])
    told = table.loc[("asdkit over the single block that is best on the mean", "simulated")]
    assert told["value"] == pytest.approx(-2) and told["verdict"] == MISSED and told["comparisons"] == 1


def test_false_alarms_are_judged_and_told_beside_the_faults_that_are_heard():
    table = alarms().query("machine == 'mean' and domain == 'source' and clips == 'normal' and requested == 0.1")
    kept, silent = (claims.false_alarms({"alarms": table.assign(**rates)}, "asdkit", "simulated") for rates in (
        dict(rate=0.09, lo=0.06, hi=0.15), dict(rate=0.0, lo=0.0, hi=0.0)
    ))  # fmt: skip
    assert kept[0].hi == 0 and outcome(goal(-1), kept) == REACHED
    assert silent[0].lo == pytest.approx(-np.log2(100)) and outcome(goal(-1), silent) == MISSED
    lines = study.alarms_markdown(alarms()).splitlines()
    assert lines[0] == "| test clips of | asked 1 % | faults heard | asked 10 % | faults heard |"
    assert lines[2] == "| fan, simulated |" + 2 * " 8.0 [2.0, 15.0] | 70.0 [2.0, 15.0] |"
    means = [line.split(" | ")[0] for line in lines[4:]]
    assert means == ["| mean, simulated, source alone", "| mean, simulated, target alone", "| mean, simulated"]


def test_goals_are_written_and_drawn_where_there_is_a_study_and_only_there(study_tables, tmp_path):
    assert study.write_goals({"differences": study_tables["differences"]}, tmp_path).empty and not list(tmp_path.iterdir())
    study.write_goals(study_tables, tmp_path)
    text = (tmp_path / "goals.md").read_text()
    assert "**reached** +10.0 [+9.0, +12.0]" in text and "| `texture` | 70.0 | 70.0 | 70.0 | +10.0 [+9.0, +12.0] |" in text
    speed = pd.DataFrame({"threads": [1, 2], "stage": ["read", "read"], "wall s": [1.5, 9.0], "peak GB": [0.5, np.nan]})
    assert study.speed_markdown(speed).splitlines()[2:] == ["| 1 | read | 1.5 | 0.5 |", "| 2 | read | 9.0 |  |"]
    assert study.alarms_markdown(study_tables["alarms"]) in text
    drawn = {name: draw for name, _, base, draw in figures.all_figures(study_tables) if base == "study"}
    assert list(drawn) == ["study-machines", "study-noise", "study-alarms"]
    ax = drawn["study-noise"]().axes[0]  # levels are in the order of their numbers
    assert [t.get_text() for t in ax.get_xticklabels()] == ["-25", "-5", "10"]
    line = next(c for c in ax.containers if c.get_label() == "asdkit").lines[0]
    assert np.allclose(line.get_ydata(), 70) and len(line.get_ydata()) == 3
    for draw in drawn.values():
        assert figures.png(draw()) == figures.png(draw())
