"""Fault sensitivity: closed forms for embeddings that are known, and twins that differ in what they say they differ in."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from asdkit import detector as pipeline
from asdkit.blocks import BandScaler, FrontEnd, extract, make_examples
from asdkit.config import Config
from asdkit.experiments import sensitivity
from asdkit.experiments.sensitivity import displacements, embed, linear_probe, variance_shares
from asdkit.objectives import train_objective
from asdkit.recordings import Clip, index_data
from asdkit.simulate import Scene, render
from asdkit.simulate.scenes import operation

LINEAR = np.random.default_rng(9).normal(size=(3, 5))  # a known embedding: x -> x A
FAULT, NOISE = np.array([1.0, 2.0, 0.0]), np.array([0.0, 0.5, -1.0])  # what the changes add to x


def known_twins(n_scenes=6, seed=0, faults=("leak", "squeal"), severities=(0.5, 1.0), windows=4, spread=1.0):
    """Twins of random scenes x: noise adds NOISE, a fault severity times FAULT (twice that for the second kind)."""
    rng, rows, x = np.random.default_rng(seed), [], []
    for i in range(n_scenes):
        scene = spread * rng.normal(size=(windows, 3))
        rows += [(i, "none", "", 0.0), (i, "noise", "", 0.0), (i, "clip", "", 0.0)]
        x += [scene, scene + NOISE, spread * rng.normal(size=(windows, 3))]
        for kind, fault in enumerate(faults, 1):
            for severity in severities:
                rows.append((i, "fault", fault, severity))
                x.append(scene + kind * severity * FAULT)
    return pd.DataFrame(rows, columns=["scene", "change", "fault", "severity"]), x


@pytest.fixture(scope="module")
def fan():
    return sensitivity.render_counterfactuals("fan", n_scenes=2, faults=["imbalance"], severities=(0.5, 1.0), seconds=3.0)


# closed forms


def test_the_ratio_of_a_linear_embedding_is_its_closed_form():
    twins, x = known_twins()
    table = sensitivity.sensitivity(displacements(twins, [w @ LINEAR for w in x]), n_boot=20)
    ratio = np.linalg.norm(FAULT @ LINEAR) / np.linalg.norm(NOISE @ LINEAR)
    noise = table[table["nuisance"] == "noise"].set_index(["fault", "severity"])
    for kind, fault in enumerate(("leak", "squeal"), 1):
        for severity in (0.5, 1.0):
            row = noise.loc[(fault, severity)]
            assert row[["sensitivity", "lo", "hi"]].tolist() == pytest.approx([kind * severity * ratio] * 3)
    assert noise.loc["all", "sensitivity"].item() == pytest.approx(1.125 * ratio)  # mean of 0.5, 1, 1, 2


def test_an_invariant_embedding_does_not_move_and_one_that_hears_only_the_fault_has_no_ratio():
    twins, x = known_twins()
    blind = [w @ (np.eye(3) - np.outer(FAULT, FAULT) / 5) for w in x]  # FAULT projected out
    table = sensitivity.sensitivity(displacements(twins, blind), n_boot=20)
    np.testing.assert_allclose(table["sensitivity"], 0, atol=1e-12)
    deaf = [w @ np.array([[1.0], [0], [0]]) for w in x]  # NOISE is 0 there
    table = sensitivity.sensitivity(displacements(twins, deaf), n_boot=20).set_index("nuisance")
    assert table.loc["noise", "sensitivity"].isna().all() and (table.loc["clip", "sensitivity"] > 0).all()


def test_the_ratio_does_not_change_with_scale_rotation_and_shift():
    twins, x = known_twins()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    one, two = (sensitivity.sensitivity(displacements(twins, z), 20) for z in (x, [7 * w @ rotation + 3 for w in x]))
    pd.testing.assert_frame_equal(one, two)


def test_the_interval_is_over_scenes():
    """Sensitivity 1 in half the scenes and 3 in the others: resampled scenes give anything between."""
    twins, x = known_twins(n_scenes=8, faults=("leak",), severities=(1.0,))
    ratio = np.linalg.norm(NOISE) / np.linalg.norm(FAULT)
    for i in range(8):
        x[4 * i + 3] = x[4 * i] + (1 if i < 4 else 3) * ratio * FAULT
    row = sensitivity.sensitivity(displacements(twins, x), n_boot=2000).iloc[0]
    assert row["sensitivity"] == pytest.approx(2)
    assert 1.1 < row["lo"] < 1.6 and 2.4 < row["hi"] < 2.9
    again = sensitivity.sensitivity(displacements(twins, x), n_boot=2000).iloc[0]
    assert again.equals(row)


def test_variance_shares_equal_their_closed_form():
    twins, x = known_twins(n_scenes=400, faults=("leak",), severities=(1.0, 0.0), windows=10)
    table = variance_shares(twins, x).set_index(["change", "severity"])
    moved = FAULT @ FAULT / 4
    expected = moved / (3 + moved)  # three dimensions of variance 1
    assert table.loc[("fault", 1.0), "share"].item() == pytest.approx(expected, rel=0.05)
    assert table.loc[("fault", 1.0), "common"].item() == pytest.approx(table.loc[("fault", 1.0), "share"].item())
    assert table.loc[("fault", 0.0), "share"].item() == 0
    assert table.loc[("clip", 0.0), "share"].item() == pytest.approx(0.5, abs=0.02)  # unrelated
    assert table.loc[("clip", 0.0), "common"].item() == pytest.approx(0, abs=0.01)


def test_the_probe_finds_what_can_be_read_and_nothing_else():
    twins, x = known_twins(n_scenes=30, faults=("leak",), severities=(0.0, 1.0), spread=0.2)
    table = linear_probe(twins, x).set_index("severity")
    assert table.loc[1.0, "auc"] > 0.99
    assert abs(table.loc[0.0, "auc"] - 0.5) < 0.2  # a fault of severity 0 is the scene itself
    assert table["uses_labels"].all()


# twins


def test_twins_differ_in_what_they_say():
    scene = Scene("fan", seed=3, index=5, seconds=2.0)
    twins = list(sensitivity.twins_of(scene, ["imbalance", "squeal"], [0.5, 1.0]))
    assert [t[:3] for t in twins[:3]] == [("none", "", 0.0), ("noise", "", 0.0), ("clip", "", 0.0)]
    assert [t[:3] for t in twins[3:]] == [("fault", f, s) for f in ("imbalance", "squeal") for s in (0.5, 1.0)]
    assert twins[0][3] == scene
    assert replace(twins[1][3], noise=0) == scene != twins[1][3]
    assert operation(twins[2][3]) != operation(scene) and twins[2][3].fault is None
    assert all(replace(t[3], fault=None, severity=0.0) == scene for t in twins[3:])


def test_rendered_twins(fan):
    assert fan.twins.value_counts("change").to_dict() == {"fault": 4, "none": 2, "noise": 2, "clip": 2}
    assert len(fan.spectra) == len(fan.twins) == 10
    expected = extract(render(Scene("fan", 0, sensitivity.FIRST + 1, seconds=3.0)), 1e-2)["near", "slow"]
    assert torch.equal(fan.spectra[5]["near", "slow"], expected)


# embedding


def test_embed_standardises_by_the_unchanged_scenes(fan):
    scaler = BandScaler.fit([s["near", "slow"] for s in fan.spectra])
    function = lambda x: torch.cat([3 * x.mean(-1), torch.ones(len(x), 1)], dim=1)  # noqa: E731
    describe = sensitivity.describe_windows(function, scaler, hop=4)
    raw, z = embed(fan, describe, standardise=False), embed(fan, describe)
    normal = np.concatenate([raw[0], raw[5]])
    expected = (raw[3][:, :128] - normal[:, :128].mean(0)) / normal[:, :128].std(0)
    np.testing.assert_allclose(z[3][:, :128], expected, rtol=1e-4, atol=1e-6)
    assert all((clip[:, 128] == 0).all() for clip in z)  # constant: centred, left unscaled


def test_a_front_end_and_its_network_describe_alike(fan):
    config = Config(bottleneck=8, steps=0)
    spectra = list(fan.spectra[:3])
    scalers, own = make_examples(spectra, [Clip(path) for path in _paths()], config)
    net = train_objective([own], config, 0)[0]
    front = sensitivity.describe_front(FrontEnd(config, scalers, net, None), hop=4)
    function = sensitivity.describe_windows(net.embed, scalers["near"], hop=4)
    torch.testing.assert_close(front(spectra[0]), function(spectra[0]))


def _paths():
    from pathlib import Path

    return [Path(f"fan/train/{i}.wav") for i in range(3)]


def test_a_detector_describes_what_its_knn_sees(tiny_data, tiny_config, fan):
    config = replace(tiny_config, blocks=("msm",), steps=1)
    detector = pipeline.fit(index_data(tiny_data)[0].train, config, decide=False)
    z = sensitivity.describe_detector(detector)(fan.spectra[0])
    expected = detector.balancer(detector.front.describe(fan.spectra[0], config.train_hop))["msm"]
    assert torch.equal(z, expected) and z.shape[1] == 16


def over_training(machines, scalers, config, counterfactuals, n_points=8, span=5):
    """Loss and fault sensitivity at each moment."""
    losses, embeddings = sensitivity.embeddings_over_training(machines, scalers, config, counterfactuals, 0, n_points)
    tables = {n: sensitivity.sensitivity(displacements(counterfactuals.twins, z), 10) for n, z in embeddings.items()}
    return pd.concat([t.assign(step=n, loss=sensitivity.loss_around(losses, n, span)) for n, t in tables.items()])


@pytest.mark.parametrize("objective", ["msm", "sub-cluster-adacos"])
def test_sensitivity_over_training(fan, objective):
    config = Config(objective=objective, bottleneck=8, steps=6, batch_size=8, train_hop=7)
    spectra = list(fan.spectra[:3])
    scalers, own = make_examples(spectra, [Clip(path) for path in _paths()], config)
    machines = [own, replace(own, name="other")]
    table = over_training(machines, scalers, config, fan, n_points=3, span=1)
    assert sorted(set(table["step"])) == [0, 3, 6] and len(table) == 3 * 2 * 3
    model, losses = train_objective(machines, config, 0)
    by_step = table.groupby("step")["loss"].first()
    assert by_step.tolist() == pytest.approx([losses[0], np.mean(losses[2:4]), losses[5]])
    last = sensitivity.describe_front(FrontEnd(config, scalers, model, None))
    expected = sensitivity.sensitivity(displacements(fan.twins, embed(fan, last)), 10)
    found = table[table["step"] == 6].drop(columns=["step", "loss"]).reset_index(drop=True)
    assert found["sensitivity"].tolist() == pytest.approx(expected["sensitivity"].tolist(), rel=0.2)


def test_an_untrained_network_has_no_loss(fan):
    config = Config(bottleneck=8, steps=0)
    scalers, own = make_examples(list(fan.spectra[:3]), [Clip(path) for path in _paths()], config)
    table = over_training([own], scalers, config, fan)
    assert set(table["step"]) == {0} and table["loss"].isna().all()
