"""The grid over machines, the rules on grids whose answer is known, refusals, and what is written."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from asdkit import detector as pipeline
from asdkit import metrics
from asdkit.blocks import read_spectra
from asdkit.config import Config
from asdkit.experiments import tuning
from asdkit.experiments.tuning import ALPHAS, Grid, MachineGrid
from asdkit.recordings import InputError, index_data

N = len(ALPHAS)


def planted(peak: int, separation_peak: int, seed: int = 0, n_clips: int = 8) -> MachineGrid:
    """A machine of rank 2 and 4 whose Omega at rank 4 is highest at one alpha, and whose separation at another."""
    rng = np.random.default_rng(seed)
    hill = lambda top: 0.9 - 0.02 * np.abs(np.arange(N) - top)  # noqa: E731
    points = np.stack([np.full((N, 3), 0.6), np.repeat(hill(peak)[:, None], 3, axis=1)])
    return MachineGrid(
        labels=np.arange(n_clips) % 2, domains=np.array(["source", "target"] * (n_clips // 2)),
        scores=rng.normal(size=(2, N, n_clips)), points=points,
        boots=points[:, :, None] + 0.01 * rng.normal(size=(2, N, 50, 3)),
        removed=np.linspace(0, [0.2, 0.4], N).T, separation=np.stack([hill(0), hill(separation_peak)]),
        train_map=rng.normal(size=(5, 2)), test_map=rng.normal(size=(n_clips, 2)),
    )  # fmt: skip


@pytest.fixture
def grid():
    peaks = {"a": (2, 6), "b": (2, 6), "c": (14, 6)}
    machines = {name: planted(*peak, seed) for seed, (name, peak) in enumerate(peaks.items())}
    return Grid(Config(), (2, 4), machines)


# the rules


def test_rules_pick_what_they_say(grid):
    chosen = tuning.choose(grid, 4, grid.machines)
    assert tuple(chosen) == tuning.RULES
    assert chosen["label-free"] == dict.fromkeys("abc", 6)
    curves = grid.omegas(4, "abc")
    for name, i in chosen["leave-one-machine-out"].items():
        others = [k for k, other in enumerate("abc") if other != name]
        assert i == np.argmax(curves[others].mean(0).round(9))
    assert chosen["in-sample"] == dict.fromkeys("abc", 2)
    assert chosen["leave-one-machine-out"]["c"] == 2  # its own peak, 14, is not seen


def test_the_label_free_rule_reads_no_test_clip(grid):
    blind = {name: replace(m, points=1 - m.points, scores=-m.scores) for name, m in grid.machines.items()}
    chosen = [tuning.choose(g, 4, "abc")["label-free"] for g in (grid, Grid(grid.config, grid.ranks, blind))]
    assert chosen[0] == chosen[1]


def test_one_machine_cannot_be_left_out(grid):
    assert tuple(tuning.choose(grid, 4, ["a"])) == ("in-sample", "label-free")


def test_of_equal_alphas_the_smallest(grid):
    assert tuning.choose(grid, 2, "abc")["in-sample"]["a"] == 0


def test_quotes_are_the_official_numbers(grid):
    picks = dict(a=3, b=3, c=7)
    quote = grid.quote(4, picks)
    points = [grid.machines[name].points[1, i] for name, i in picks.items()]
    assert quote["c"][0] == pytest.approx(metrics.omega(points[2])) and quote["all"][0] == pytest.approx(metrics.omega(points))
    for omega, low, high in quote.values():
        assert low < omega < high
    assert grid.official(4, "abc")[3] == pytest.approx(grid.quote(4, dict.fromkeys("abc", 3))["all"][0])


def test_the_table_has_a_row_for_each_machine_rank_and_alpha(grid):
    table = grid.table()
    assert len(table) == 3 * 2 * N
    row = table.query("machine == 'c' and rank == 4 and alpha == 0.7").iloc[0]
    assert row["omega"] == pytest.approx(0.9) and row["near_variance_removed"] == pytest.approx(0.4 * 14 / 20)


# what is written


def test_a_choice_is_a_configuration(tmp_path):
    config = replace(Config(), steps=7, blocks=("msm", "logmel"))
    path = tuning.write_choice(tmp_path / "deep" / "alpha.json", config, 0.35, 4)
    assert Config.load(path) == replace(config, alpha=0.35, rank=4)
    assert set(json.loads(path.read_text())) == {"steps", "blocks", "alpha", "rank"}


# refusals


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


def test_a_configuration_without_the_conditioned_block_is_refused(tiny_data, tiny_config):
    with pytest.raises(InputError, match="expected msm among them"):
        tuning.tune(index_data(tiny_data), replace(tiny_config, blocks=("logmel",)))


# end to end


@pytest.fixture(scope="module")
def quick(tiny_config):
    return replace(tiny_config, blocks=("msm", "logmel"), fusion="mean", backend="domain")


@pytest.fixture(scope="module")
def tuned(tiny_data, quick, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grids")
    return tuning.tune(index_data(tiny_data), quick, ranks=(1, 3), folder=folder), folder


def test_the_grid_is_what_fit_and_score_give(tuned, tiny_data, quick):
    grid, machine = tuned[0], index_data(tiny_data)[1]
    detector = pipeline.fit(machine.train, replace(quick, alpha=0.3, rank=3), decide=False)
    expected = [detector.score(read_spectra(c, quick)) for c in machine.test]
    np.testing.assert_allclose(grid.machines["valve"].scores[1, tuning.position(0.3)], expected, rtol=1e-4)
    found = metrics.evaluate(expected, [c.label for c in machine.test], [c.domain for c in machine.test])
    assert grid.omegas(3, ["valve"])[0, tuning.position(0.3)] == pytest.approx(found["omega"])


def test_shapes_and_ranges(tuned):
    for m in tuned[0].machines.values():
        n = len(m.labels)
        assert m.scores.shape == (2, N, n) and m.points.shape == (2, N, 3) and m.test_map.shape == (n, 2)
        assert (m.removed[:, 0] == 0).all() and (np.diff(m.removed, axis=1) >= 0).all() and m.removed.max() <= 1
        assert ((m.separation >= 0) & (m.separation <= 1)).all() and m.separation.std(axis=1).max() > 0
        assert np.isfinite(m.train_map).all()


def test_it_continues_where_it_stopped(tuned, tiny_data, quick, monkeypatch):
    grid, folder = tuned
    stored = sorted(folder.iterdir())
    assert len(stored) == 2 and not any(p.name.startswith(".") for p in stored)
    machines, computed = index_data(tiny_data), []
    monkeypatch.setattr(tuning, "tune_machine", lambda m, *_: computed.append(m.name) or grid.machines[m.name])
    stored[0].unlink()
    again = tuning.tune(machines, replace(quick, alpha=0.1), ranks=(1, 3), folder=folder)
    assert computed == ["pump"]
    for field in fields(MachineGrid):
        np.testing.assert_array_equal(getattr(again.machines["valve"], field.name), getattr(grid.machines["valve"], field.name))
    tuning.tune(machines[:1], quick, seed=1, ranks=(1, 3), folder=folder)
    assert computed == ["pump", "pump"]  # another seed is another grid


def test_no_test_file_is_opened_for_the_label_free_rule(tiny_data, quick, monkeypatch):
    machine, opened = index_data(tiny_data)[1], []
    read = tuning.read_clip
    for module in ("experiments.tuning", "recordings.clips"):
        spy = lambda path, *how: opened.append(path.parent.name) or read(path, *how)  # noqa: E731
        monkeypatch.setattr(f"asdkit.{module}.read_clip", spy)
    fitting = tuning.Fitting(machine.train, quick, 0, tuning.Memo(), ())
    from tqdm import tqdm

    found = tuning.separations(fitting, (2,), tqdm(disable=True))
    assert found.shape == (1, N) and set(opened) == {"train"}
