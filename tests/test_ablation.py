"""Ablations: a variant differs in what its name says, nothing is computed twice, and the tables agree with the scores."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import stamps

from asdkit.apps.cli import main
from asdkit.config import Config
from asdkit.experiments import ablation, maps, results, trap
from asdkit.experiments.families import REPORT_FAMILIES, Row, families, plan
from asdkit.recordings import InputError, Machine
from asdkit.simulate import simulate

ALONE = {"blocks", "objective", "steps"}
VARIED = {
    "objective": ALONE, "embedding": ALONE, "mask": {"mask_ratio"}, "blocks": {"blocks"},
    "single": {"blocks"}, "whiten": {"whiten"}, "balance": {"balance"}, "msm-weight": {"msm_weight"}, "knn": {"backend"},
    "n_0": {"n_0"}, "k": {"k"}, "alpha": {"alpha"}, "control": {"alpha", "control"}, "subspace": {"alpha", "control"},
    "aggregate": {"aggregate"},
}  # fmt: skip
BASES = {"asdkit": Config(), "report": Config.report()}


def differing(a, b):
    return {f.name for f in fields(Config) if getattr(a, f.name) != getattr(b, f.name)}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_a_family_changes_what_its_name_says(base):
    found, by_input = families(base), {"alpha", "control"}
    assert found.keys() == VARIED.keys() - (by_input if base.conditioning != "input" else set())
    for family in VARIED.keys() & found.keys():
        reference, *others = found[family].values()
        assert others and all(differing(reference, other) <= VARIED[family] for other in others), family
    for family in {"n_0", "k", "alpha", "blocks", "single"} & found.keys():
        assert next(iter(found[family].values())) == base, family


def test_a_variant_is_what_its_name_says_and_a_plan_has_them_all():
    found = families(Config())
    for family, option in (("mask", "mask_ratio"), ("n_0", "n_0"), ("alpha", "alpha")):
        assert all(getattr(config, option) == float(name) for name, config in found[family].items())
    assert found["control"]["alpha 0"].alpha == 0 == found["subspace"]["none"].alpha and found["control"]["far"] == Config()
    assert all(found["control"][name].control == name for name in ("other-recording", "scrambled-phase"))
    assert found["objective"]["untrained"].steps == 0 and found["objective"]["machine-id"].objective == "machine-id"
    for name, config in found["blocks"].items():
        named = name.removeprefix("without ")
        gone = {b for b in Config().blocks if b == named or (named == "DSP" and b != "msm")}
        assert {*Config().blocks} - {*config.blocks} == gone
    rows = plan(BASES)
    assert {r.family for r in rows if r.base == "report"} <= set(REPORT_FAMILIES)
    assert all((r.config == r.reference_config) >= (r.variant == r.reference) for r in rows)
    assert [r.variant for r in plan(BASES, ["k"])] == [*families(Config())["k"]] + [*families(Config.report())["k"]]
    assert max(r.config.steps for r in plan(BASES, quick=True)) <= 10
    with pytest.raises(InputError, match="found beats; expected objective, embedding"):
        plan(BASES, ["k", "beats"])


@pytest.fixture(scope="module")
def fast(tiny_config):
    return replace(tiny_config, blocks=("statistics",), test_hop=40)


def test_nothing_is_computed_twice(tiny_data, fast, tmp_path):
    def ablate(*more):
        ablation.ablate([tiny_data], tmp_path, {"asdkit": fast}, ["k", "knn", *more], seeds=(0, 1))
        return stamps(tmp_path)

    before = ablate()
    distinct = {c.hash() for family in ("k", "knn") for c in families(fast)[family].values()}
    assert len(list(tmp_path.glob("scores/real-pump/results/*.json"))) == 2 * len(distinct) < 2 * 5  # one reference in both
    assert not list(tmp_path.rglob("models"))
    assert ablate() == before
    assert before.items() < ablate("n_0").items()
    with pytest.raises(InputError, match="expected each name once"):
        ablation.ablate([tiny_data, tiny_data], tmp_path / "out", {"asdkit": fast}, ["k"], (0,))
    assert not (tmp_path / "out" / "tables").exists()


def test_tables_agree_with_the_scores(tiny_data, fast, tmp_path):
    ablation.ablate([tiny_data], tmp_path, {"asdkit": fast}, ["knn"], seeds=(0, 1))
    table = pd.read_csv(tmp_path / "tables" / "ablation.csv")
    assert len(table) == 2 * 2 * 2 and set(table["machine"]) == {"pump", "valve"} and set(table["data"]) == {"real"}
    assert {"seconds", "omega", "auc_target", "config"} <= set(table.columns)
    machines = ablation.gather([tiny_data])
    evaluation = results.Evaluation(results.read_results(tmp_path / "scores"), machines)
    reference = fast.hash()
    expected = results.differences_table(evaluation, reference).set_index(["system", "machine"])
    found = pd.read_csv(tmp_path / "tables" / "differences.csv")
    found = found[(found["metric"] == "omega")].set_index(["variant", "machine"])
    for variant, config in families(fast)["knn"].items():
        for machine in ("pump", "valve", "mean"):
            row = found.loc[variant, machine]
            assert row["reference"] == "domain" and row["seeds"] == 2
            if variant != "domain":
                name = machine if machine == "mean" else f"real-{machine}"
                e = expected.loc[config.hash(), name]
                turned = [-e["difference"], -e["hi"], -e["lo"]]
                assert row[["difference", "lo", "hi"]].tolist() == pytest.approx(turned, abs=2e-5)
    point = table[(table["variant"] == "pooled") & (table["seed"] == 0)]
    assert found.loc[("pooled", "mean"), "value"] == pytest.approx(point["omega"].mean(), abs=2e-5)
    about = json.loads((tmp_path / "tables" / "about.json").read_text())
    assert about["bases"] == {"asdkit": reference} and about["seeds"] == [0, 1]


class MadeUp(results.Evaluation):
    def __init__(self, values):
        self.points = {(m, c, 0): np.full(3, v) for (m, c), v in values.items()}
        self.boots = {key: np.tile(p, (20, 1)) for key, p in self.points.items()}


def test_one_scalar_costs_what_leaving_the_machine_out_loses():
    configs = {a: replace(Config(), alpha=a) for a in (0.0, 0.5, 1.0)}
    omegas = {"real-a": (0.6, 0.68, 0.5), "real-b": (0.6, 0.7, 0.8), "real-c": (0.6, 0.5, 0.5)}
    evaluation = MadeUp({(m, configs[a].hash()): v for m, row in omegas.items() for a, v in zip(configs, row)})
    rows = [Row("asdkit", "alpha", f"{a:g}", c, "0.5", configs[0.5]) for a, c in configs.items()]
    machines = [Machine(name, Path(), (), ()) for name in omegas]
    table = ablation.one_scalar(evaluation, rows, machines, seeds=(0,)).set_index("machine")
    assert table["alpha"].iloc[:3].tolist() == [1.0, 0.0, 0.5]  # where the other two are best together
    assert table["best"].iloc[:3].tolist() == [0.5, 1.0, 0.0]
    assert table["cost"].tolist() == pytest.approx([0.18, 0.2, 0.1, 0.16], abs=1e-5)


def test_machines_without_labels_or_of_one_domain(fast):
    key = fast.hash()
    evaluation = MadeUp({("real-a", key): 0.6, ("real-b", key): 0.8})
    evaluation.points["real-b", key, 0] = np.array([0.8, np.nan, 0.8])
    assert evaluation.samples(key, ["real-a", "real-b"], (0,), "auc_target")[0] == pytest.approx(0.6)
    assert evaluation.samples(key, ["real-b"], (0,), "omega")[0] == pytest.approx(0.8)
    evaluation.results = {("real-0", key, 0): {"seconds": 1.5}}
    row, machine = Row("asdkit", "k", "3", fast, "3", fast), Machine("real-0", Path(), (), ())
    table = ablation.ablation_table(evaluation, [row], [machine], (0,))
    assert table["omega"].isna().all() and table["seconds"].tolist() == [1.5]
    assert ablation.ablation_differences(evaluation, [row], [machine], (0,))["difference"].isna().all()


@pytest.fixture(scope="module")
def fan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, ["fan"], n_source=5, n_target=2, n_test=2, seconds=3.0)
    return folder


@pytest.fixture(scope="module")
def small(tiny_config):
    return replace(tiny_config, steps=2, batch_size=4, blocks=("msm",))


def rows_of(small, *names):
    base = families(small)["objective"]
    return [Row("asdkit", "objective", n, base[n], "untrained", base["untrained"]) for n in names]


def test_the_trap_and_the_map_are_measured_once(fan, small, tmp_path, monkeypatch):
    machines, rows = ablation.gather([fan]), rows_of(small, "untrained", "msm", "log-mel")
    assert [m.name for m in machines] == ["simulated-fan"]
    parts = trap.run(machines, tmp_path, rows, (0,), n_scenes=2, n_points=2)
    before = stamps(tmp_path)
    assert len(parts) == len(before) == 3
    monkeypatch.setattr(trap, "_twins", lambda *_: 1 / 0)
    again = [r._replace(base="report", config=replace(r.config, k=3, aggregate="top")) for r in rows]
    assert trap.run(machines, tmp_path, rows + again, (0,), n_scenes=2, n_points=2) == parts  # scored otherwise, moved alike
    assert stamps(tmp_path) == before
    told = trap.tables(parts, rows, (0,))
    assert told.keys() == {f"trap-{n}" for n in ("sensitivity", "curves", "probe", "ratios")}
    moved = told["trap-sensitivity"]
    assert set(moved["variant"]) == {"untrained", "msm", "log-mel"} and set(moved["nuisance"]) == {"noise", "clip"}
    curve = told["trap-curves"].query("variant == 'msm' and nuisance == 'noise'")
    assert curve["step"].tolist() == [0, 2] and curve["loss"].notna().all()
    moved = moved.query("nuisance == 'noise' and fault == 'all'").set_index("variant")["sensitivity"]
    start, last = curve["sensitivity"]
    assert last == moved["msm"] and moved["untrained"] == pytest.approx(start, rel=0.05)  # one seed is one initial encoder
    ratio = told["trap-ratios"].query("machine == 'fan' and nuisance == 'noise'").set_index(["variant", "reference"])["ratio"]
    assert ratio["msm", "start"] == pytest.approx(last / start, rel=1e-3)
    assert ratio["msm", "untrained"] == pytest.approx(last / moved["untrained"], rel=1e-3)
    table = maps.clip_coordinates(machines, tmp_path, small)
    assert set(table["method"]) == {"pca"} and len(table) == 15
    monkeypatch.setattr(maps, "clip_embeddings", lambda *_: 1 / 0)
    pd.testing.assert_frame_equal(maps.clip_coordinates(machines, tmp_path, small), table)


def test_ablate_and_figures_from_the_command_line(tiny_data, tmp_path, capsys):
    (tmp_path / "c.json").write_text('{"blocks": ["statistics"], "test_hop": 40}')
    run = ["ablate", tiny_data, "--out", tmp_path / "run", "--families", "k", "--bases", "asdkit", "--seeds", 0, "--quick"]
    assert main([str(a) for a in [*run, "--config", tmp_path / "c.json"]]) == 0
    assert "This is not a result" in capsys.readouterr().out
    assert main(["figures", str(tmp_path / "run" / "tables"), "--out", str(tmp_path / "figures")]) == 0
    manifest = json.loads((tmp_path / "figures" / "manifest.json").read_text())
    assert set(manifest["figures"]) == {"asdkit-forest"} and manifest["figures"]["asdkit-forest"]["seeds"] == [0]
    assert "QUICK run" in (tmp_path / "figures" / "claims.md").read_text()
    assert main(["figures", str(tmp_path), "--out", str(tmp_path / "none")]) == 2
    assert "found no tables, expected those of an ablation; run `make ablate` first" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
