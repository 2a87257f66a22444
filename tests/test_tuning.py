"""The grid over machines, the rules on grids whose answer is known, refusals, and what is written."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from helpers import made_up_grid

from asdkit import metrics
from asdkit.config import Config
from asdkit.describer import Describer
from asdkit.detector import fit_detector
from asdkit.experiments import ALPHAS, Grid, MachineGrid, lessons, tuning
from asdkit.experiments.maps import aligned
from asdkit.recordings import Clip, InputError, TrainingSet, index_data

N = len(ALPHAS)
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def planted(peak: int, separation_peak: int, seed: int = 0) -> MachineGrid:
    hills = [0.9 - 0.02 * np.abs(np.arange(N) - top) for top in (peak, separation_peak)]
    return replace(made_up_grid(seed, 8, 5, points=np.repeat(hills[0][:, None], 3, axis=1)), separation=hills[1])


@pytest.fixture
def grid():
    peaks = {"a": (1, 3), "b": (1, 3), "c": (4, 3)}
    return Grid(Config(), {name: planted(*peak, seed) for seed, (name, peak) in enumerate(peaks.items())})


def test_quotes_and_the_table_are_the_official_numbers(grid):
    picks = dict(a=3, b=3, c=5)
    quote, points = grid.quote(picks), [grid.machines[name].points[i] for name, i in picks.items()]
    assert quote["c"][0] == pytest.approx(metrics.omega(points[2])) and quote["all"][0] == pytest.approx(metrics.omega(points))
    assert all(low < omega < high for omega, low, high in quote.values())
    assert grid.official("abc")[3] == pytest.approx(grid.quote(dict.fromkeys("abc", 3))["all"][0])
    row = grid.table().query("machine == 'c' and alpha == 0.9").iloc[0]
    assert len(grid.table()) == 3 * N and row[["omega", "separation"]].tolist() == pytest.approx([0.9, 0.88])


def test_rules_pick_what_they_say(grid):
    chosen, curves = tuning.choose(grid, grid.machines), grid.omegas("abc")
    assert tuple(chosen) == ("in-sample", "leave-one-machine-out", "label-free")
    assert chosen["label-free"] == dict.fromkeys("abc", 3) and chosen["in-sample"] == dict.fromkeys("abc", 1)
    for name, i in chosen["leave-one-machine-out"].items():
        others = [k for k, other in enumerate("abc") if other != name]
        assert i == np.argmax(curves[others].mean(0).round(9))  # "c" does not see its own peak
    assert tuple(tuning.choose(grid, ["a"])) == ("in-sample", "label-free")  # one machine cannot be left out
    blind = {name: replace(m, points=1 - m.points, scores=-m.scores) for name, m in grid.machines.items()}
    assert tuning.choose(Grid(grid.config, blind), "abc")["label-free"] == chosen["label-free"]
    flat = Grid(grid.config, {"a": replace(grid.machines["a"], points=np.full((N, 3), 0.6))})
    assert tuning.choose(flat, "a")["in-sample"]["a"] == 0  # of equal alphas the smallest


def test_a_choice_is_a_configuration(tmp_path):
    config = replace(Config(), steps=7, blocks=("msm", "texture"))
    path = tuning.write_choice(tmp_path / "deep" / "alpha.json", config, 0.25)
    assert Config.load(path) == replace(config, alpha=0.25)
    assert set(json.loads(path.read_text())) == {"steps", "blocks", "alpha"}
    path = tuning.write_choice(tmp_path / "default.json", Config(), Config().alpha)
    assert set(json.loads(path.read_text())) == {"alpha"}


def test_evaluation_machines_are_refused(tiny_data, tiny_config):
    pump, valve = index_data(tiny_data)
    named = replace(pump, name="Sander")
    unlabelled = replace(valve, test=tuple(replace(c, label=None, domain=None) for c in valve.test))
    empty = replace(pump, test=())
    allowed, refused = tuning.development([pump, named, unlabelled])
    assert allowed == [pump] and refused.keys() == {"Sander", "valve"}
    assert "evaluation machine of DCASE 2026" in refused["Sander"] and "without labels" in refused["valve"]
    reasons = ((named, "stays as it is for evaluation machines"), (unlabelled, "without labels"), (empty, "both labels"))
    for machine, why in reasons:
        with pytest.raises(InputError, match=why):
            tuning.tune([machine], tiny_config)
    with pytest.raises(InputError, match="found conditioning = 'subspace', expected 'input'"):
        tuning.tune([pump], replace(tiny_config, conditioning="subspace"))


@pytest.fixture(scope="module")
def quick(tiny_config):
    return replace(tiny_config, blocks=("statistics", "texture"))


@pytest.fixture(scope="module")
def tuned(tiny_data, quick, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grids")
    return tuning.tune(index_data(tiny_data), quick, folder=folder), folder


def test_the_grid_is_what_fit_and_score_give(tuned, tiny_data, quick):
    grid, machine = tuned[0], index_data(tiny_data)[1]
    detector = fit_detector(TrainingSet.of(machine.train), Describer(replace(quick, alpha=0.25)))
    expected = detector.score(machine.test, progress=False)["score"].to_numpy()
    np.testing.assert_allclose(grid.machines["valve"].scores[1], expected, rtol=1e-4)
    result = metrics.evaluate(expected, [c.label for c in machine.test], [c.domain for c in machine.test])
    assert grid.omegas(["valve"])[0, 1] == pytest.approx(result["omega"])
    for m, n_train in zip(grid.machines.values(), (16, 8)):
        n = len(m.labels)
        assert m.scores.shape == (N, n) and m.points.shape == (N, 3) and m.test_map.shape == (N, n, 2)
        assert m.train_map.shape == (N, n_train, 2) and m.separation.shape == (N,)
        assert m.thresholds.shape == (N,)
        assert all(np.isfinite(getattr(m, f.name)).all() for f in fields(m) if f.name != "domains")
        assert (m.separation > 0).all()  # faults were put into the held-out clips
        assert not np.allclose(m.test_map[0], m.test_map[-1]) and (m.scores[0] != m.scores[-1]).all()


def test_it_continues_where_it_stopped(tuned, tiny_data, quick, monkeypatch):
    grid, folder = tuned
    kept = sorted(folder.iterdir())
    assert len(kept) == 2 and not any(p.name.startswith(".") for p in kept)
    machines, computed, names = index_data(tiny_data), [], ("scores", "thresholds", "separation", "train_map", "test_map")
    arrays = lambda m: {name: getattr(grid.machines[m.name], name) for name in names}  # noqa: E731
    monkeypatch.setattr(tuning, "tune_machine", lambda m, *_: computed.append(m.name) or arrays(m))
    kept[0].unlink()
    again = tuning.tune(machines, replace(quick, alpha=0.1), folder=folder)
    assert computed == ["pump"]
    for field in fields(MachineGrid):
        np.testing.assert_array_equal(getattr(again.machines["valve"], field.name), getattr(grid.machines["valve"], field.name))
    tuning.tune(machines[:1], quick, seed=1, folder=folder)
    assert computed == ["pump", "pump"]  # another seed is another grid
    tuning.tune(machines, quick, stored=folder)
    assert computed == ["pump", "pump"] and len(list(folder.iterdir())) == 3  # read where it is stored, nothing is written


def test_another_simulation_with_clips_of_the_same_names_is_another_grid(tiny_data, quick, tmp_path):
    folder = shutil.copytree(tiny_data, tmp_path / "data")
    before, after = (tuning._key(index_data(each)[0], quick, 0, ()) for each in (tiny_data, folder))
    assert before == after
    (index_data(folder)[0].folder / "simulation.json").write_text('{"version": 0}')
    assert tuning._key(index_data(folder)[0], quick, 0, ()) != before


def test_controls_stand_beside_each_system_and_are_near_itself_at_0(tuned, tiny_data, quick, monkeypatch):
    monkeypatch.setattr(tuning, "ALPHAS", (0.0, 0.5))
    systems = {"whole": quick, "alone": replace(quick, blocks=("statistics",))}
    grids = tuning.tune_systems(index_data(tiny_data)[1:], systems)
    assert grids.keys() == systems.keys() and all(tuple(each) == tuning.CONTROLS for each in grids.values())
    whole = {control: grid.machines["valve"] for control, grid in grids["whole"].items()}
    np.testing.assert_allclose(whole["none"].scores, tuned[0].machines["valve"].scores[[0, 2]], rtol=1e-4)
    for control in tuning.CONTROLS[1:]:
        np.testing.assert_array_equal(whole[control].scores[0], whole["none"].scores[0])
        assert not np.allclose(whole[control].scores[1], whole["none"].scores[1])
        assert np.isnan(whole[control].thresholds).all() and np.isnan(whole[control].separation).all()


def test_the_grids_that_ship_are_those_that_the_notebook_looks_for(monkeypatch):
    """Nothing is computed. Where it is, run notebook 09 and copy the grids that it keeps in OUT to notebooks/tuning."""
    notebook = json.loads((NOTEBOOKS / "09_tuning_the_scalar.ipynb").read_text())
    parameters = next(c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    exec("".join(parameters["source"]), values := {})
    sizes = {name: values[name.upper()] for name in ("train", "target", "test", "seconds", "seed")}
    config, shipped = replace(Config(), steps=values["STEPS"]), sorted((NOTEBOOKS / "tuning").glob("*.npz"))
    monkeypatch.setattr(tuning, "tune_machine", lambda *_: pytest.fail("found no stored grid"))
    systems = {"whole": config, "alone": replace(config, blocks=("msm",))}
    machines = [lessons.machine(kind=values["MACHINES"][-1], **sizes)]
    tuning.tune_systems(machines, systems, values["SEED"], stored=NOTEBOOKS / "tuning")
    assert len(shipped) == 2 * len(tuning.CONTROLS) * len(values["MACHINES"])
    assert sum(path.stat().st_size for path in shipped) < 300_000


def test_the_label_free_rule_opens_no_test_file(tuned, tiny_data, quick, monkeypatch):
    machine, read = index_data(tiny_data)[1], Clip.read

    def zeros_of_test_clips(clip):
        return 0 * read(clip) + 1e-3 if clip.split == "test" else read(clip)

    monkeypatch.setattr(Clip, "read", zeros_of_test_clips)
    monkeypatch.setattr(tuning, "ALPHAS", ALPHAS[:1])
    again = tuning.tune([machine], quick).machines["valve"]
    assert np.allclose(again.separation, tuned[0].machines["valve"].separation[:1]) and len(set(again.scores[0])) < 4


def test_the_map_has_training_clips_where_the_bank_has_them(tiny_data, tiny_config, monkeypatch):
    """Described by a ridge that was fitted on them, they would lie far from all that is scored."""
    from sklearn.decomposition import PCA

    monkeypatch.setattr(tuning, "ALPHAS", ALPHAS[:1])
    machine = index_data(tiny_data)[0]
    config = replace(tiny_config, blocks=("ridge",), train_hop=tiny_config.test_hop, alpha=0.0)
    grid = tuning.tune([machine], config, progress=False).machines["pump"]
    bank = fit_detector(TrainingSet.of(machine.train), Describer(config)).scorer.bank.bank
    points = np.random.default_rng(0).normal(size=(20, 2)) * (3, 1)  # maps are turned onto the one before
    turned = [points @ np.array([[c, -s], [s, c]]) * (1, -1) for c, s in ((1, 0), (0, 1), (0.6, 0.8))]
    np.testing.assert_allclose(aligned(np.array(turned)), np.array([turned[0]] * 3), atol=1e-9)
    np.testing.assert_allclose(np.abs(grid.train_map[0]), np.abs(PCA(2).fit_transform(bank.numpy())), rtol=1e-2, atol=1e-2)
