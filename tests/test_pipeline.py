"""The whole pipeline on a tiny data set: nothing leaks, `run`, `fit` and `score` agree, and a killed run continues."""

import csv
import json
import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from asdkit import __version__
from asdkit import config as config_module
from asdkit import detector as pipeline
from asdkit.apps.cli import main
from asdkit.blocks import read_spectra
from asdkit.config import Config
from asdkit.experiments import results, runs
from asdkit.experiments.families import systems
from asdkit.fitting import Memo
from asdkit.recordings import Clip, index_data, index_machine
from asdkit.storage import load

COLUMNS = "machine,system,seed,auc_source,auc_target,pauc,omega,omega_lo,omega_hi,false_alarm,seconds"
FAST = ["logmel-near", "ridge-log-mel"]  # systems without a network


@pytest.fixture(scope="module", autouse=True)
def small_report():
    """The `report` system with as little training as the tiny configuration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_module, "_REPORT", config_module._REPORT | {"steps": 3, "batch_size": 16, "false_alarm": 0.25})
        yield


def run(data, out, config, names, **options):
    """`asdkit run` without its figures. Returns {(machine, system, seed): result}."""
    runs.run(data, out, config, names, **options)
    results.write_tables(out, index_data(data, options.get("machines")))
    return results.read_results(out)


def scores(parts):
    """{(machine, system, seed): {file: score}}."""
    return {key: dict(zip(part["files"], part["scores"])) for key, part in parts.items()}


def by_content(scores, folder):
    """The same with what is in a file in place of its name."""
    return {(folder / name).read_bytes(): score for name, score in scores.items()}


@pytest.fixture(scope="module")
def whole(tiny_data, tiny_config, tmp_path_factory):
    """Folder and parts of a run of every system but the autoencoder on both machines."""
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
    out, parts = whole
    assert (out / "results.csv").read_text().splitlines()[0] == COLUMNS
    table = pd.read_csv(out / "results.csv")
    assert set(table["machine"]) == {"pump", "valve", "all"}
    assert set(table["system"]) == set(systems(Config()))
    assert len(table) == 3 * len(systems(Config())) == 3 * len(parts) // 2
    fractions = table.drop(columns=["machine", "system", "seed", "seconds", "false_alarm"])
    assert ((fractions >= 0) & (fractions <= 1)).all(axis=None)
    assert ((table["omega_lo"] <= table["omega"]) & (table["omega"] <= table["omega_hi"])).mean() > 0.9
    assert (table["seconds"] > 0).all()


def test_all_is_the_harmonic_mean_over_machines(whole):
    table = pd.read_csv(whole[0] / "results.csv").set_index(["system", "machine"])
    values = ["auc_source", "auc_target", "pauc"]
    for system in ("asdkit", "logmel-near"):
        rows = table.loc[system].loc[["pump", "valve"], values].to_numpy()
        assert table.loc[(system, "all"), "omega"] == pytest.approx(6 / (1 / np.maximum(rows, 1e-300)).sum(), abs=1e-9)


def test_scores_tables(whole, tiny_data):
    out, parts = whole
    for machine in index_data(tiny_data):
        table = pd.read_csv(out / machine.name / "scores.csv")
        assert list(table.columns) == ["file", "system", "seed", "score", "decision"]
        assert set(table["file"]) == {c.name for c in machine.test}
        assert len(table) == len(systems(Config())) * len(machine.test)
        assert np.isfinite(table["score"]).all()
        for (system, seed), rows in table.groupby(["system", "seed"]):
            part = parts[machine.name, system, seed]
            assert rows["score"].tolist() == part["scores"]
            if part["threshold"] is None:
                assert rows["decision"].isna().all()
            else:
                assert (rows["decision"] == (rows["score"] > part["threshold"])).all()


def test_the_run_says_what_it_was(whole, tiny_config):
    assert json.loads((whole[0] / "run.json").read_text())["asdkit"] == __version__
    for machine in ("pump", "valve"):
        for system, config in systems(tiny_config).items():
            part = whole[1][machine, system, 0]
            assert Config.from_dict(part["config"]) == config and part["config_hash"] == config.hash()
        (model,) = (whole[0] / machine / "models").iterdir()  # a model that is stored can be loaded
        assert model.name == "asdkit-0" and load(model).config == tiny_config
    assert not [p for p in whole[0].rglob(".*")]  # nothing half-written is left


@pytest.mark.parametrize("system", ["asdkit", "report", "msm-residual", "logmel-far"])
def test_a_system_scores_alone_as_it_does_among_others(whole, tiny_data, tiny_config, system):
    """What systems share within a run is what they agree on."""
    machine = index_data(tiny_data)[0]
    config = systems(tiny_config)[system]
    detector = pipeline.fit(machine.train, config)
    alone = [detector.score(read_spectra(clip, config)) for clip in machine.test]
    part = whole[1]["pump", system, 0]
    assert alone == part["scores"] and detector.threshold == part["threshold"]


def test_systems_that_differ_in_the_penalty_do_not_share_spectra(tiny_data, tiny_config, tmp_path):
    other = replace(tiny_config, ridge_penalty=0.9, blocks=("ridge-complex",))
    machine, memo = index_data(tiny_data)[1], Memo()
    pipeline.fit(machine.train, replace(other, ridge_penalty=0.01), memo=memo)
    shared, alone = pipeline.fit(machine.train, other, memo=memo), pipeline.fit(machine.train, other)
    assert shared.threshold == alone.threshold


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


def test_a_test_clip_is_scored_without_regard_to_the_others(whole, pump, tiny_config, tmp_path):
    for path in sorted((pump / "test").iterdir())[::2]:
        path.unlink()
    found = scores(run(pump.parent, tmp_path / "out", tiny_config, ["asdkit"]))["pump", "asdkit", 0]
    assert len(found) == 6
    assert found.items() <= scores(whole[1])["pump", "asdkit", 0].items()


def test_training_opens_no_file_of_the_test_folder(pump, tiny_config, tmp_path, monkeypatch):
    events = []

    class Spy(soundfile.SoundFile):
        def __init__(self, file, *args, **kwargs):
            events.append(Path(os.fsdecode(file)).parent.name)
            super().__init__(file, *args, **kwargs)

    def fit(*args, **kwargs):
        detector = pipeline.fit(*args, **kwargs)
        events.append("fitted")
        return detector

    monkeypatch.setattr(soundfile, "SoundFile", Spy)
    monkeypatch.setattr(runs, "fit", fit)
    run(pump.parent, tmp_path / "out", tiny_config, ["asdkit"])
    fitted = events.index("fitted")
    assert set(events[:fitted]) == {"train"}
    assert set(events[fitted + 1 :]) == {"test"}


def test_garbage_in_the_test_folder_changes_no_model(whole, pump, tiny_config):
    for path in (pump / "test").iterdir():
        path.write_text("not audio")
    detector = pipeline.fit(index_machine(pump).train, tiny_config)
    assert detector.threshold == whole[1]["pump", "asdkit", 0]["threshold"]


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
    part = whole[1]["pump", "asdkit", 0]
    assert read_scores(table) == dict(zip(part["files"], part["scores"]))
    decisions = pd.read_csv(table)["decision"].astype("Int64").tolist()
    assert decisions == [pd.NA if d is None else d for d in part["decisions"]]


def test_the_model_of_a_run_scores_like_the_run(whole, pump, tmp_path):
    model, table = whole[0] / "pump" / "models" / "asdkit-0", tmp_path / "scores.csv"
    files = sorted(str(p) for p in (pump / "test").iterdir())[::-1]
    assert main(["score", str(model), *files, "--out", str(table)]) == 0
    assert read_scores(table) == scores(whole[1])["pump", "asdkit", 0]


def test_a_short_clip_and_a_silent_channel_are_scored_with_a_warning(whole, tmp_path, capsys):
    samples = 0.1 * np.random.default_rng(0).normal(size=(16000, 2))
    soundfile.write(tmp_path / "short.wav", samples, 16000)
    samples[:, 1] = 0
    soundfile.write(tmp_path / "silent.wav", np.tile(samples, (5, 1)), 16000)
    model = str(whole[0] / "pump" / "models" / "asdkit-0")
    assert main(["score", model, str(tmp_path / "short.wav"), str(tmp_path / "silent.wav")]) == 0
    out, err = capsys.readouterr()
    assert "short.wav: found 1.00 s, expected at least a window of 2.53 s; tiled" in err
    assert "silent.wav: the far channel is digital silence" in err
    assert len(rows := out.splitlines()) == 3
    assert all(np.isfinite(float(row.split(",")[1])) for row in rows[1:])


# order, processes, gain


def test_the_order_of_training_clips_changes_nothing(tiny_data, tiny_config):
    train = index_data(tiny_data)[0].train
    shuffled = tuple(train[i] for i in np.random.default_rng(0).permutation(len(train)))
    one, two = (pipeline.fit(clips, tiny_config) for clips in (train, shuffled))
    assert one.threshold == two.threshold
    assert one.balancer.scales == two.balancer.scales


def test_the_blocks_that_are_named_are_whitened_and_no_others(tiny_data, tiny_config):
    config = replace(tiny_config, blocks=("texture", "logmel"), whiten=("texture",))
    detector = pipeline.fit(index_data(tiny_data)[0].train, config, decide=False)
    assert {name: s.weights is not None for name, s in detector.balancer.scalers.items()} == {"texture": True, "logmel": False}
    bank = detector.spaces["texture"].bank * detector.balancer.scales["texture"]
    variances = torch.linalg.eigvalsh(bank.T.cov(correction=0))  # v / (v + SHRINKAGE) of the z-scores' v
    assert variances[-1] > 0.95 and variances.max() < 1


@pytest.mark.parametrize(("channel", "gain"), [(0, 8.0), (1, 1 / 3)])
def test_one_gain_on_all_clips_of_a_channel_changes_no_ranking(whole, pump, tiny_config, tmp_path, channel, gain):
    for path in pump.rglob("*.wav"):
        samples, rate = soundfile.read(path)
        samples[:, channel] *= gain
        soundfile.write(path, samples, rate, subtype="FLOAT")
    names = ["asdkit", "report"]
    found, truth = scores(run(pump.parent, tmp_path / "out", tiny_config, names)), scores(whole[1])
    for name in names:
        louder, plain = (x["pump", name, 0] for x in (found, truth))
        np.testing.assert_allclose(list(louder.values()), list(plain.values()), rtol=2e-3)
        assert sorted(louder, key=louder.get) == sorted(plain, key=plain.get)


# runs continue


def test_a_killed_write_leaves_nothing_that_counts(tiny_data, tiny_config, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            runs.run(tiny_data, out, tiny_config, ["logmel-near"])
    assert not list(out.rglob("*.json")) and not list(out.rglob(".*"))
    assert len(run(tiny_data, out, tiny_config, ["logmel-near"])) == 2


def test_more_seeds_and_systems_are_added_to_a_run(tiny_data, tiny_config, tmp_path):
    out = tmp_path / "out"
    first = run(tiny_data, out, tiny_config, ["logmel-near"], machines=["valve"])
    more = run(tiny_data, out, tiny_config, ["logmel-near", "logmel-far"], seeds=(0, 1), machines=["valve"])
    assert more.keys() == {("valve", system, seed) for system in ("logmel-near", "logmel-far") for seed in (0, 1)}
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
    command = ["run", str(pump.parent), "--out", str(out), "--systems", "asdkit", "logmel-near", "--config", config_file]
    assert main(command) == 0
    table = pd.read_csv(out / "results.csv")
    assert table.loc[:, "auc_source":"false_alarm"].isna().all(axis=None)
    rows = pd.read_csv(out / "pump" / "scores.csv")
    assert len(rows) == 2 * 12 and np.isfinite(rows["score"]).all()
    assert "no labels" in capsys.readouterr().out


def test_no_target_clips_at_all_is_normal(pump, tiny_config, tmp_path):
    for path in (pump / "train").glob("*_target_*"):
        path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(pump.parent, tmp_path / "out", tiny_config, ["asdkit", *FAST])
    assert all(np.isfinite(part["scores"]).all() for part in found.values())


def test_test_clips_of_one_domain_have_the_metric_of_that_domain(pump, tiny_config, tmp_path):
    for path in (pump / "test").glob("*_target_*"):
        path.unlink()
    found = run(pump.parent, tmp_path / "out", tiny_config, ["logmel-near"])
    assert len(found["pump", "logmel-near", 0]["scores"]) == 6
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table["auc_target"].isna().all() and table[["auc_source", "omega"]].notna().all(axis=None)


def test_a_machine_without_test_clips_is_fitted(pump, tiny_config, tmp_path):
    shutil.rmtree(pump / "test")
    found = run(pump.parent, tmp_path / "out", replace(tiny_config, blocks=("logmel",)), ["asdkit"])
    assert found["pump", "asdkit", 0]["scores"] == []
    assert (tmp_path / "out" / "pump" / "models" / "asdkit-0" / "model.json").is_file()


@pytest.mark.parametrize("fusion", ["concatenate", "mean", "max"])
@pytest.mark.parametrize("backend", ["domain", "minimum"])
def test_identical_training_clips_are_survived(pump, tiny_config, fusion, backend):
    """Digital copies of one clip as the whole training set: no division by zero, and the copy is the most normal clip."""
    train = sorted((pump / "train").iterdir())
    for path in train[1:]:
        shutil.copy(train[0], path)
    config = replace(tiny_config, blocks=("ridge-log-mel", "logmel"), fusion=fusion, backend=backend)
    detector = pipeline.fit(index_machine(pump).train, config)
    copy, *others = (detector.score(read_spectra(Clip(p), config)) for p in [train[0], *(pump / "test").iterdir()])
    assert np.isfinite([copy, *others]).all()
    assert copy <= min(others)


# thresholds


def test_fit_refuses_such_a_rate_and_writes_nothing(pump, config_file, tmp_path, capsys):
    model = tmp_path / "model"
    command = ["fit", str(pump / "train"), "--out", str(model), "--config", config_file, "--false-alarm"]
    assert main([*command, "0.05"]) == 2  # 16 recordings promise 1/17 at best
    assert "found 16 recordings, expected at least 19 for a false-alarm rate of 0.05" in capsys.readouterr().err
    assert not model.exists()
    assert main([*command, "0.06"]) == 0
    assert "threshold: none" not in capsys.readouterr().out
