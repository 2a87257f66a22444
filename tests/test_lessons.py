"""Lessons: the recordings are made once, found from anywhere, and refused with a sentence; systems are compared in pairs."""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from asdkit.config import Config
from asdkit.experiments import Cache, lessons
from asdkit.recordings import InputError, index_machine
from asdkit.simulate import Scene

SIZES = dict(kind="valve", train=4, target=2, test=4, seconds=3.0)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "home", lambda: tmp_path)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


@pytest.fixture(scope="module")
def valve(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lessons, "home", lambda: tmp_path_factory.getbasetemp())
        return lessons.machine(**SIZES)


def test_a_simulated_machine_is_made_once(elsewhere, monkeypatch):
    first = lessons.machine(**SIZES)
    assert first.folder.is_relative_to(elsewhere / "data" / "lessons") and len(first.train) == 6 and len(first.test) == 16
    (first.folder.parent / ".asdkit-1" / "valve" / "train").mkdir(parents=True)  # the draft of another process
    monkeypatch.setattr("asdkit.simulate.datasets.write_machine", lambda *args: 1 / 0)
    assert lessons.machine(**SIZES) == first
    sizes = {name: value for name, value in SIZES.items() if name != "kind"}
    (made,) = lessons.machines("", ["valve"], **sizes)
    assert made.name == "simulated-valve" and made.train == first.train
    with pytest.raises(ZeroDivisionError):
        lessons.machine(**SIZES | {"train": 5})  # beside it, not in its place


def test_another_process_may_be_quicker(elsewhere, monkeypatch):
    def late(source, destination):
        monkeypatch.setattr(os, "replace", os_replace)
        os_replace(source, destination)
        raise OSError(39, "Directory not empty", str(destination))

    os_replace = os.replace
    monkeypatch.setattr(os, "replace", late)
    assert len(lessons.machine(**SIZES).train) == 6


def test_a_folder_is_found_from_the_notebooks_folder_too(elsewhere, tiny_data, pump):
    for name, target in (("mine", pump), ("unlabelled/train", pump / "train")):
        link = elsewhere / "data" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    assert lessons.machine("data/mine").train == lessons.machine(pump).train
    assert [m.name for m in lessons.machines(tiny_data)] == ["real-pump", "real-valve"]
    with pytest.raises(InputError, match=r"data/yours: no such folder; expected"):
        lessons.machine("data/yours")
    with pytest.raises(InputError, match=r"found pump, valve; expected the folder of one machine, such as .*pump"):
        lessons.machine(tiny_data)
    assert lessons.machine("data/unlabelled", labelled=False).test == ()
    for read in (lessons.machine, lessons.machines):  # labels are asked for where they are needed
        with pytest.raises(InputError, match="found 0 test clips without both labels, expected normal and anomalous ones"):
            read("data/unlabelled")


def test_tables_are_read_from_the_clone_or_made_of_tokens(elsewhere):
    assert lessons.stored_tables() == {}
    sizes = dict(n_source=4, n_target=2, n_test=2, seconds=3.0)
    tables = lessons.token_tables(["valve"], ["n_0"], ["report"], **sizes)
    assert tables["about"]["quick"] and set(tables["differences"]["base"]) == {"report"}
    (elsewhere / "figures" / "tables").mkdir(parents=True)
    with pytest.raises(InputError, match="run `make ablate` first"):
        lessons.stored_tables()
    (elsewhere / "figures" / "tables" / "about.json").write_text('{"quick": false}')
    tables["differences"].to_csv(elsewhere / "figures" / "tables" / "differences.csv", index=False)
    stored = lessons.stored_tables()
    assert stored["about"] == {"quick": False} and stored["differences"].equals(tables["differences"])


def test_truth_is_in_the_order_of_the_clips(valve, pump):
    table = lessons.truth(valve.test[::-1])
    assert table["file"].tolist() == [c.name for c in valve.test[::-1]]
    assert ((table["fault"] != "") == (table["label"] == 1)).all() and (table["severity"] > 0).sum() == 8
    assert {int(name.split("_load_")[1][:-4]) for name in table["file"]} == set(table["load"])
    real = index_machine(pump)
    assert lessons.truth(real.test)["fault"].tolist() == ["any fault" if c.label else "" for c in real.test]


def test_systems_are_compared_in_pairs_and_a_difference_is_put_into_words(valve):
    rng, labels = np.random.default_rng(0), np.array([c.label for c in valve.test])
    scores = {"good": labels + 0.1 * rng.random(16), "chance": rng.random(16), "same": labels + 0.0}
    table = lessons.compare(valve, scores, "good").set_index("system")
    assert table.loc["good", ["omega", "difference", "difference_lo", "difference_hi"]].tolist() == [1, 0, 0, 0]
    assert table.loc["chance", "difference"] == pytest.approx(1 - table.loc["chance", "omega"])


def test_subspaces_of_one_embedding_share_its_network(valve):
    base, cache = replace(Config(), blocks=("msm",), conditioning="subspace", steps=1, rank=2), Cache()
    systems = {"far": base, "random": replace(base, control="random"), "nothing": replace(base, alpha=0.0)}
    _, scores = lessons.score_systems(valve, systems, cache=cache, bars=False)
    assert sum(key[0] == "learned" for key in cache.values) == 1
    assert len({tuple(s) for s in scores.values()}) == 3
    alone = lessons.score_systems(valve, {"far": base}, bars=False)[1]["far"]
    np.testing.assert_array_equal(scores["far"], alone)


def test_a_difference_is_put_into_words():
    row = dict(difference=0.02, difference_lo=0.01, difference_hi=0.04)
    assert lessons.in_words(row) == "+2.0 points of Omega, 95 % interval +1.0 to +4.0, decided on these clips"
    assert lessons.in_words(row | dict(difference_lo=-0.01)).endswith("undecided")


def test_cancelling_far_takes_noise_where_far_hears_the_noise_alone():
    table = lessons.taken_away([Scene("fan", seconds=2.0)], [0.0, 0.9], 0.01).pivot(
        index="alpha", columns="system", values="value"
    )
    np.testing.assert_allclose(table.loc[0.0], 0, atol=1e-3)
    assert table.loc[0.9, "noise"] > 3 > table.loc[0.9, "machine"]


def test_explained_is_a_share_and_adjusted():
    rng = np.random.default_rng(0)
    load, level = rng.integers(1, 4, 400), rng.normal(size=400)
    table = pd.DataFrame({"load": load, "kind": np.array(list("xabc"))[load], "level": level, "constant": 1.0})
    values = np.stack([2 * level + rng.normal(size=400), (load == 2) + 0.0, rng.normal(size=400)], axis=1)
    shares = lessons.explained(values, table)
    assert shares.loc[0, "level"] == pytest.approx(0.8, abs=0.05)
    assert shares.loc[1, "load"] == pytest.approx(1) and shares.loc[1, "kind"] == pytest.approx(1)
    assert shares["constant"].to_numpy() == pytest.approx(0, abs=1e-9)
    assert np.abs(shares.loc[2]).max() < 0.03
    noise = lessons.explained(rng.normal(size=(12, 2000)), pd.DataFrame({"kind": list("aabbccddeeff")}))["kind"]
    assert abs(noise.mean()) < 0.02  # unadjusted: 5 / 11
