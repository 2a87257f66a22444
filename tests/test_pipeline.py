"""A whole run on a tiny data set: nothing leaks, `run`, `fit` and `score` agree, and a killed run continues."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import asdkit
from asdkit import __version__
from asdkit import config as config_module
from asdkit.apps.cli import main
from asdkit.config import Config
from asdkit.experiments import results, runs
from asdkit.experiments.families import systems
from asdkit.recordings import index_data

pytestmark = pytest.mark.filterwarnings("ignore:.*hear first what both hear")  # the noise of tiny_data is loud
COLUMNS = "machine,system,seed,auc_source,auc_target,pauc,omega,omega_lo,omega_hi,false_alarm,seconds"
FAST = ["log-mel", "ridge"]  # systems without a network


@pytest.fixture(scope="module", autouse=True)
def small_report():
    """The `report` system with as little training as the tiny configuration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_module, "_REPORT", config_module._REPORT | {"steps": 2, "batch_size": 8, "false_alarm": 0.25})
        yield


def run(data, out, config, names, **options):
    """`asdkit run` without its figures. Returns {(machine, system, seed): result}."""
    runs.run(data, out, config, names, **options)
    results.write_tables(out, index_data(data, options.get("machines")))
    return results.read_results(out)


def scores(found):
    """{(machine, system, seed): {file: score}}."""
    return {key: dict(zip(r["files"], r["scores"])) for key, r in found.items()}


def by_content(scores, folder):
    """The same with what is in a file in place of its name."""
    return {(folder / name).read_bytes(): score for name, score in scores.items()}


@pytest.fixture(scope="module")
def whole(tiny_data, tiny_config, tmp_path_factory):
    """Folder and results of a run of every system but the autoencoder on both machines."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, run(tiny_data, out, tiny_config, None)


@pytest.fixture
def pump(tiny_data, tmp_path):
    """A copy of one machine that may be changed."""
    return Path(shutil.copytree(tiny_data / "dev_data/raw/pump", tmp_path / "data" / "pump"))


@pytest.fixture(scope="module")
def config_file(tiny_config, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.json"
    path.write_text(json.dumps(tiny_config.to_dict()))
    return str(path)


# a whole run


def test_results_table(whole):
    out, stored = whole
    assert (out / "results.csv").read_text().splitlines()[0] == COLUMNS
    table = pd.read_csv(out / "results.csv")
    assert set(table["machine"]) == {"pump", "valve", "all"}
    assert set(table["system"]) == set(systems(Config()))
    assert len(table) == 3 * len(systems(Config())) == 3 * len(stored) // 2
    fractions = table.drop(columns=["machine", "system", "seed", "seconds", "false_alarm"])
    assert ((fractions >= 0) & (fractions <= 1)).all(axis=None)
    assert ((table["omega_lo"] <= table["omega"]) & (table["omega"] <= table["omega_hi"])).mean() > 0.9
    assert (table["seconds"] > 0).all()


def test_all_is_the_harmonic_mean_over_machines(whole):
    table = pd.read_csv(whole[0] / "results.csv").set_index(["system", "machine"])
    values = ["auc_source", "auc_target", "pauc"]
    for system in ("asdkit", "log-mel"):
        rows = table.loc[system].loc[["pump", "valve"], values].to_numpy()
        assert table.loc[(system, "all"), "omega"] == pytest.approx(6 / (1 / np.maximum(rows, 1e-300)).sum(), abs=1e-9)


def test_scores_tables(whole, tiny_data):
    out, stored = whole
    for machine in index_data(tiny_data):
        table = pd.read_csv(out / machine.name / "scores.csv")
        assert list(table.columns) == ["file", "system", "seed", "score", "decision"]
        assert set(table["file"]) == {c.name for c in machine.test}
        assert len(table) == len(systems(Config())) * len(machine.test)
        assert np.isfinite(table["score"]).all()
        for (system, seed), rows in table.groupby(["system", "seed"]):
            result = stored[machine.name, system, seed]
            assert rows["score"].tolist() == result["scores"]
            if result["threshold"] is None:
                assert rows["decision"].isna().all()
            else:
                assert (rows["decision"] == (rows["score"] > result["threshold"])).all()


def test_the_run_says_what_it_was(whole, tiny_config):
    assert json.loads((whole[0] / "run.json").read_text())["asdkit"] == __version__
    for machine in ("pump", "valve"):
        for system, config in systems(tiny_config).items():
            result = whole[1][machine, system, 0]
            assert Config.from_dict(result["config"]) == config and result["config_hash"] == config.hash()
        (model,) = (whole[0] / machine / "models").iterdir()  # of asdkit alone
        assert model.name == "asdkit-0" and asdkit.load(model).config == tiny_config
    assert not [p for p in whole[0].rglob(".*")]  # nothing half-written is left


@pytest.mark.parametrize("system", ["asdkit", "report", "msm-residual", "log-mel-far"])
def test_a_system_scores_alone_as_it_does_among_others(whole, tiny_data, tiny_config, system):
    """What systems share within a run is what they agree on."""
    machine = index_data(tiny_data)[0]
    config = systems(tiny_config)[system]
    detector = asdkit.fit(machine.train, config, progress=False)
    result = whole[1]["pump", system, 0]
    assert detector.score(machine.test, progress=False)["score"].tolist() == result["scores"]
    assert detector.threshold() == result["threshold"]


# no leak


def test_lying_names_of_test_files_change_no_score(whole, pump, tiny_config, tmp_path):
    """Label, domain, attributes and order of the test files lie, and every score stays as it was."""
    truth, test = scores(whole[1]), pump / "test"
    honest = {s: by_content(truth["pump", s, 0], test) for s in ("asdkit", "report")}
    files = sorted(test.iterdir())
    np.random.default_rng(0).shuffle(files)
    for i, path in enumerate(files):
        _, _, domain, _, label, *_ = path.stem.split("_")
        domain, label = ("source" if domain == "target" else "target"), ("normal" if label == "anomaly" else "anomaly")
        path.rename(test / f"section_07_{domain}_test_{label}_{i:04d}_lie_{i}.wav")
    found = scores(run(pump.parent, tmp_path / "out", tiny_config, ["asdkit", "report"]))
    for system in honest:
        assert by_content(found["pump", system, 0], test) == honest[system]


# run, fit and score agree


def read_scores(path):
    with open(path, newline="") as f:
        return {Path(row["file"]).name: float(row["score"]) for row in csv.DictReader(f)}


def test_fit_and_score_equal_run(whole, pump, config_file, tmp_path):
    """Training clips under other names in other folders, the domain given by the folder: the very same scores."""
    for path in sorted((pump / "train").iterdir()):
        folder = tmp_path / ("target" if "target" in path.name else "healthy")
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name.replace("section_00", "day"))
    model, table = tmp_path / "model", tmp_path / "scores.csv"
    fit = ["fit", str(tmp_path / "healthy"), "--target", str(tmp_path / "target"), "--out", str(model), "--config", config_file]
    assert main(fit) == 0
    assert main(["score", str(model), str(pump / "test"), "--out", str(table)]) == 0
    result = whole[1]["pump", "asdkit", 0]
    assert read_scores(table) == dict(zip(result["files"], result["scores"]))
    decisions = pd.read_csv(table)["decision"].astype("Int64").tolist()
    assert decisions == [pd.NA if d is None else d for d in result["decisions"]]


def test_the_model_of_a_run_scores_like_the_run(whole, pump, tmp_path):
    model, table = whole[0] / "pump" / "models" / "asdkit-0", tmp_path / "scores.csv"
    files = sorted(str(p) for p in (pump / "test").iterdir())[::-1]
    assert main(["score", str(model), *files, "--out", str(table)]) == 0
    assert read_scores(table) == scores(whole[1])["pump", "asdkit", 0]


# order, processes, gain


def test_two_jobs_equal_one(whole, tiny_data, tiny_config, tmp_path):
    found = scores(run(tiny_data, tmp_path / "out", tiny_config, ["asdkit"], jobs=2))
    assert len(found) == 2
    assert found == {key: value for key, value in scores(whole[1]).items() if key in found}


# runs continue


def contents(out):
    """{(machine, system, seed): everything in a result but the time it took}."""
    return {key: {k: v for k, v in r.items() if k != "seconds"} for key, r in results.read_results(out).items()}


def test_a_killed_run_continues_where_it_stopped(tiny_data, tiny_config, tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(tiny_data, whole, tiny_config, FAST, seeds=(0, 1))
    calls = []

    def dies(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score_machine(*args)

    score_machine = runs.score_machine
    monkeypatch.setattr(runs, "score_machine", dies)
    with pytest.raises(KeyboardInterrupt):
        runs.run(tiny_data, killed, tiny_config, FAST, seeds=(0, 1))
    written = {p: p.stat().st_mtime_ns for p in killed.rglob("results/*.json")}
    assert len(written) == 2
    run(tiny_data, killed, tiny_config, FAST, seeds=(0, 1))
    assert len(calls) == 3 + 8 - 2  # nothing is computed twice
    assert {p: p.stat().st_mtime_ns for p in written} == written
    assert contents(killed) == contents(whole)
    tables = [pd.read_csv(out / "results.csv").drop(columns="seconds") for out in (killed, whole)]
    pd.testing.assert_frame_equal(*tables)


def test_a_killed_write_leaves_nothing_that_counts(tiny_data, tiny_config, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            runs.run(tiny_data, out, tiny_config, ["log-mel"])
    assert not list(out.rglob("*.json")) and not list(out.rglob(".*"))
    assert len(run(tiny_data, out, tiny_config, ["log-mel"])) == 2


def test_more_seeds_and_systems_are_added_to_a_run(tiny_data, tiny_config, tmp_path):
    out = tmp_path / "out"
    first = run(tiny_data, out, tiny_config, ["log-mel"], machines=["valve"])
    more = run(tiny_data, out, tiny_config, ["log-mel", "log-mel-far"], seeds=(0, 1), machines=["valve"])
    assert more.keys() == {("valve", system, seed) for system in ("log-mel", "log-mel-far") for seed in (0, 1)}
    assert first.items() <= more.items()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_of_the_same_seed_is_the_same(whole, tiny_data, tiny_config, tmp_path, seed):
    found = run(tiny_data, tmp_path / "out", tiny_config, ["msm"], seeds=(seed,), machines=["valve"])
    same = found["valve", "msm", seed]["scores"] == whole[1]["valve", "msm", 0]["scores"]
    assert same == (seed == 0)


# folders as they come


def test_an_unlabelled_test_folder_has_scores_and_no_metric(pump, config_file, tmp_path, capsys):
    for i, path in enumerate(sorted((pump / "test").iterdir())):
        path.rename(path.with_name(f"section_00_{i:04d}.wav"))
    out = tmp_path / "out"
    command = ["run", str(pump.parent), "--out", str(out), "--systems", "asdkit", "log-mel", "--config", config_file]
    assert main(command) == 0
    table = pd.read_csv(out / "results.csv")
    assert table.loc[:, "auc_source":"false_alarm"].isna().all(axis=None)
    rows = pd.read_csv(out / "pump" / "scores.csv")
    assert len(rows) == 2 * 12 and np.isfinite(rows["score"]).all()
    assert "no labels" in capsys.readouterr().out


def test_test_clips_of_one_domain_have_the_metric_of_that_domain(pump, tiny_config, tmp_path):
    for path in (pump / "test").glob("*_target_*"):
        path.unlink()
    found = run(pump.parent, tmp_path / "out", tiny_config, ["log-mel"])
    assert len(found["pump", "log-mel", 0]["scores"]) == 6
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table["auc_target"].isna().all() and table[["auc_source", "omega"]].notna().all(axis=None)


def test_a_machine_without_test_clips_is_fitted(pump, tiny_config, tmp_path):
    shutil.rmtree(pump / "test")
    config = replace(tiny_config, blocks=("statistics",))
    assert run(pump.parent, tmp_path / "out", config, ["asdkit"])["pump", "asdkit", 0]["scores"] == []
    assert (tmp_path / "out" / "pump" / "models" / "asdkit-0" / "model.json").is_file()


# thresholds


def test_fit_refuses_such_a_rate_and_writes_nothing(pump, tmp_path, capsys):
    """12 recordings of the source promise 1 in 13 at best."""
    model, config = tmp_path / "model", tmp_path / "fast.json"
    config.write_text('{"blocks": ["statistics-near"]}')
    command = ["fit", str(pump), "--out", str(model), "--config", str(config), "--false-alarm"]
    assert main([*command, "0.05"]) == 2
    assert "found 12 recordings, expected at least 19 for a false-alarm rate of 0.05" in capsys.readouterr().err
    assert not model.exists()
    assert main([*command, "0.08"]) == 0
    assert "threshold: none" not in capsys.readouterr().out


# evaluate


def test_evaluate_gives_the_table_of_a_run_and_writes_nothing(whole, tiny_data, tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = asdkit.evaluate(tiny_data, ["asdkit", "log-mel"], tiny_config, progress=False)
    stored = pd.read_csv(whole[0] / "results.csv")
    stored = stored[stored["system"].isin(["asdkit", "log-mel"])]
    assert ",".join(table.columns) == COLUMNS and not list(tmp_path.iterdir())
    keys = ["machine", "system", "seed"]
    one, two = (t.drop(columns="seconds").sort_values(keys, ignore_index=True) for t in (table, stored))
    pd.testing.assert_frame_equal(one, two, check_dtype=False)


def test_evaluate_puts_ones_own_embedding_and_systems_beside_the_others(tiny_data, tiny_config):
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
