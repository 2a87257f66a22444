"""A whole run on a tiny data set: nothing leaks, `run`, `fit` and `score` agree, and a killed run continues."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import BRIEF, scores_of

import asdkit
from asdkit import __version__
from asdkit import config as config_module
from asdkit.apps.cli import main
from asdkit.config import Config
from asdkit.experiments import results, runs
from asdkit.experiments.families import systems
from asdkit.recordings import index_data

COLUMNS = "machine,system,seed,auc_source,auc_target,pauc,omega,omega_lo,omega_hi,false_alarm,seconds"


@pytest.fixture(scope="module", autouse=True)
def small_report():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_module, "_REPORT", config_module._REPORT | {"steps": 2, "batch_size": 8, "false_alarm": 0.25})
        yield


def run(data, out, config, names, **options):
    runs.run(data, out, config, names, **options)
    results.write_tables(out, index_data(data, options.get("machines")))
    return results.read_results(out)


def by_name(result):
    return dict(zip(result["files"], result["scores"]))


@pytest.fixture(scope="module")
def whole(tiny_data, tiny_config, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, run(tiny_data, out, tiny_config, None)


def test_the_tables_of_a_run_say_what_it_stored_and_what_it_was(whole, tiny_data, tiny_config, pump):
    out, stored = whole
    for machine in index_data(tiny_data):
        table = pd.read_csv(out / machine.name / "scores.csv")
        assert list(table.columns) == ["file", "system", "seed", "score", "decision"] and np.isfinite(table["score"]).all()
        assert len(table) == len(systems(Config())) * len(machine.test)
        for (system, seed), rows in table.groupby(["system", "seed"]):
            result, config = stored[machine.name, system, seed], systems(tiny_config)[system]
            assert Config.from_dict(result["config"]) == config and result["config_hash"] == config.hash()
            assert rows["score"].tolist() == result["scores"] and set(rows["file"]) == {c.name for c in machine.test}
            decided = result["threshold"] is not None
            expected = (rows["score"] > result["threshold"]).tolist() if decided else []
            assert rows["decision"].dropna().tolist() == expected
        (model,) = (out / machine.name / "models").iterdir()  # of asdkit alone
        assert model.name == "asdkit-0" and asdkit.load(model).config == tiny_config
    assert json.loads((out / "run.json").read_text())["asdkit"] == __version__
    kept = scores_of(asdkit.load(out / "pump/models/asdkit-0"), pump / "test")
    assert kept == by_name(stored["pump", "asdkit", 0]) and not [p for p in out.rglob(".*")]  # nothing half-written is left
    table = pd.read_csv(out / "results.csv")
    assert ",".join(table.columns) == COLUMNS and set(table["machine"]) == {"pump", "valve", "all"}
    assert set(table["system"]) == set(systems(Config()))
    assert len(table) == 3 * len(systems(Config())) == 3 * len(stored) // 2
    fractions = table.drop(columns=["machine", "system", "seed", "seconds", "false_alarm"])
    assert ((fractions >= 0) & (fractions <= 1)).all(axis=None) and (table["seconds"] > 0).all()
    assert ((table["omega_lo"] <= table["omega"]) & (table["omega"] <= table["omega_hi"])).mean() > 0.9
    of_asdkit = table[table["system"] == "asdkit"].set_index("machine")
    values = of_asdkit.loc[["pump", "valve"], ["auc_source", "auc_target", "pauc"]].to_numpy()
    assert of_asdkit.loc["all", "omega"] == pytest.approx(6 / (1 / np.maximum(values, 1e-300)).sum(), abs=1e-9)


@pytest.mark.parametrize("system", ["asdkit", "report", "msm-residual", "log-mel-far"])
def test_a_system_scores_alone_as_it_does_among_others(whole, tiny_data, tiny_config, system):
    machine = index_data(tiny_data)[0]
    config = systems(tiny_config)[system]
    detector = asdkit.fit(machine.train, config, progress=False)
    result = whole[1]["pump", system, 0]
    assert detector.score(machine.test, progress=False)["score"].tolist() == result["scores"]
    assert detector.threshold() == result["threshold"]


def test_lying_names_of_test_files_change_no_score(whole, pump_copy, tiny_config, tmp_path):
    test, names = pump_copy / "test", ["asdkit", "report"]

    def by_content(stored):
        """{system: {what is in a file: score}}."""
        return {s: {(test / n).read_bytes(): x for n, x in by_name(stored["pump", s, 0]).items()} for s in names}

    honest, files = by_content(whole[1]), sorted(test.iterdir())
    np.random.default_rng(0).shuffle(files)
    for i, path in enumerate(files):
        _, _, domain, _, label, *_ = path.stem.split("_")
        domain, label = ("source" if domain == "target" else "target"), ("normal" if label == "anomaly" else "anomaly")
        path.rename(test / f"section_07_{domain}_test_{label}_{i:04d}_lie_{i}.wav")
    assert by_content(run(pump_copy.parent, tmp_path / "out", tiny_config, names)) == honest


def test_fit_and_score_equal_run(whole, pump_copy, tiny_config, tmp_path):
    """Training clips under other names in other folders, the domain given by the folder: the very same scores."""
    for path in sorted((pump_copy / "train").iterdir()):
        folder = tmp_path / ("target" if "target" in path.name else "healthy")
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name.replace("section_00", "day"))
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_config.to_dict()))
    healthy, target, model, table, config = (tmp_path / n for n in ("healthy", "target", "model", "scores.csv", "tiny.json"))
    fit = ["fit", healthy, "--target", target, "--out", model, "--config", config]
    for command in (fit, ["score", model, pump_copy / "test", "--out", table]):
        assert main([str(a) for a in command]) == 0
    result, rows = whole[1]["pump", "asdkit", 0], pd.read_csv(table)
    assert rows["score"].tolist() == result["scores"] and [Path(f).name for f in rows["file"]] == result["files"]
    assert rows["decision"].tolist() == result["decisions"]


def test_more_seeds_and_systems_are_added_to_a_run(whole, tiny_data, tiny_config, tmp_path):
    first = run(tiny_data, tmp_path, tiny_config, ["log-mel"], machines=["valve"])
    more = run(tiny_data, tmp_path, tiny_config, ["log-mel", "msm"], seeds=(0, 1), machines=["valve"])
    assert more.keys() == {("valve", system, seed) for system in ("log-mel", "msm") for seed in (0, 1)}
    assert first.items() <= more.items()
    one, other = (more["valve", "msm", seed]["scores"] for seed in (0, 1))
    assert one == whole[1]["valve", "msm", 0]["scores"] != other  # a run of the same seed is the same


def test_an_unlabelled_test_folder_has_scores_and_no_metric(pump_copy, tmp_path, capsys):
    for i, path in enumerate(sorted((pump_copy / "test").iterdir())):
        path.rename(path.with_name(f"section_00_{i:04d}.wav"))
    out, config = tmp_path / "out", tmp_path / "config.json"
    config.write_text(json.dumps(BRIEF.to_dict()))
    command = ["run", pump_copy.parent, "--out", out, "--systems", "asdkit", "log-mel", "--config", config]
    assert main([str(a) for a in command]) == 0
    assert pd.read_csv(out / "results.csv").loc[:, "auc_source":"false_alarm"].isna().all(axis=None)
    rows = pd.read_csv(out / "pump" / "scores.csv")
    assert len(rows) == 2 * 12 and np.isfinite(rows["score"]).all()
    assert "no labels" in capsys.readouterr().out


def test_test_clips_of_one_domain_have_its_metric_and_none_are_fitted(pump_copy, tmp_path):
    for path in (pump_copy / "test").glob("*_target_*"):
        path.unlink()
    found = run(pump_copy.parent, tmp_path / "out", BRIEF, ["log-mel"])
    assert len(found["pump", "log-mel", 0]["scores"]) == 6
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table["auc_target"].isna().all() and table[["auc_source", "omega"]].notna().all(axis=None)
    shutil.rmtree(pump_copy / "test")
    assert run(pump_copy.parent, tmp_path / "none", BRIEF, ["asdkit"])["pump", "asdkit", 0]["scores"] == []
    assert (tmp_path / "none/pump/models/asdkit-0/model.json").is_file()


def test_evaluate_gives_the_table_of_a_run_and_ones_own_beside_it(whole, tiny_data, tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = asdkit.evaluate(tiny_data, ["asdkit", "log-mel"], tiny_config, progress=False)
    stored = pd.read_csv(whole[0] / "results.csv")
    stored = stored[stored["system"].isin(["asdkit", "log-mel"])]
    assert ",".join(table.columns) == COLUMNS and not list(tmp_path.iterdir())
    keys = ["machine", "system", "seed"]
    one, two = (t.drop(columns="seconds").sort_values(keys, ignore_index=True) for t in (table, stored))
    pd.testing.assert_frame_equal(one, two, check_dtype=False)
    machines = index_data(tiny_data, ["valve"])
    config = replace(tiny_config, blocks=("msm", "texture"))
    mine = {"texture alone": replace(config, blocks=("texture",))}
    table = asdkit.evaluate(machines, mine, config, embed=lambda x: x.mean(2), seeds=(0, 1), progress=False)
    assert list(table["system"].unique()) == ["texture alone", "own", "own-in-asdkit"]
    assert set(zip(table["machine"], table["seed"])) == {(m, seed) for m in ("valve", "all") for seed in (0, 1)}
    assert table.loc[:, "auc_source":"false_alarm"].notna().all(axis=None) and len(table) == 12
    of_machine = table[table["machine"] == "valve"].drop(columns=["machine", "seconds"]).reset_index(drop=True)
    whole = table[table["machine"] == "all"].drop(columns=["machine", "seconds"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(of_machine, whole)  # one machine is all of them
