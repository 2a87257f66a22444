"""Fault sensitivity: closed forms for embeddings that are known, and twins that differ in what they say they differ in."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from asdkit.blocks import extract
from asdkit.config import Config
from asdkit.experiments import sensitivity
from asdkit.experiments.sensitivity import displacements, embed, linear_probe
from asdkit.msm import BandWhitening
from asdkit.simulate import Scene, operation, render
from asdkit.space import Scaler
from asdkit.spectrogram import cut_windows, window_starts

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


def test_the_ratio_of_a_linear_embedding_is_its_closed_form_and_none_where_nothing_moves():
    twins, x = known_twins()
    table = sensitivity.sensitivity(displacements(twins, [7 * w @ LINEAR + 3 for w in x]), n_boot=20)
    ratio = np.linalg.norm(FAULT @ LINEAR) / np.linalg.norm(NOISE @ LINEAR)
    noise = table[table["nuisance"] == "noise"].set_index(["fault", "severity"])
    for kind, fault in enumerate(("leak", "squeal"), 1):
        for severity in (0.5, 1.0):
            row = noise.loc[(fault, severity)]
            assert row[["sensitivity", "lo", "hi"]].tolist() == pytest.approx([kind * severity * ratio] * 3)
    assert noise.loc["all", "sensitivity"].item() == pytest.approx(1.125 * ratio)  # mean of 0.5, 1, 1, 2
    blind, deaf = np.eye(3) - np.outer(FAULT, FAULT) / 5, np.array([[1.0], [0], [0]])  # to FAULT, to NOISE
    blind, deaf = (sensitivity.sensitivity(displacements(twins, [w @ a for w in x]), n_boot=20) for a in (blind, deaf))
    np.testing.assert_allclose(blind["sensitivity"], 0, atol=1e-12)
    deaf = deaf.set_index("nuisance")
    assert deaf.loc["noise", "sensitivity"].isna().all() and (deaf.loc["clip", "sensitivity"] > 0).all()


def test_the_interval_is_over_scenes():
    """Sensitivity 1 in half the scenes and 3 in the others: resampled scenes give anything between."""
    twins, x = known_twins(n_scenes=8, faults=("leak",), severities=(1.0,))
    ratio = np.linalg.norm(NOISE) / np.linalg.norm(FAULT)
    for i in range(8):
        x[4 * i + 3] = x[4 * i] + (1 if i < 4 else 3) * ratio * FAULT
    row, again = (sensitivity.sensitivity(displacements(twins, x), n_boot=2000).iloc[0] for _ in range(2))
    assert row["sensitivity"] == pytest.approx(2)
    assert 1.1 < row["lo"] < 1.6 and 2.4 < row["hi"] < 2.9 and again.equals(row)


def test_the_probe_finds_what_can_be_read_and_nothing_else():
    twins, x = known_twins(n_scenes=30, faults=("leak",), severities=(0.0, 1.0), spread=0.2)
    table = linear_probe(twins, x).set_index("severity")
    assert table.loc[1.0, "auc"] > 0.99
    assert abs(table.loc[0.0, "auc"] - 0.5) < 0.2  # a fault of severity 0 is the scene itself
    assert table["uses_labels"].all()


def test_twins_differ_in_what_they_say(fan):
    scene = Scene("fan", seed=3, index=5, seconds=2.0)
    twins = list(sensitivity.twins_of(scene, ["imbalance", "squeal"], [0.5, 1.0]))
    assert [t[:3] for t in twins[:3]] == [("none", "", 0.0), ("noise", "", 0.0), ("clip", "", 0.0)]
    assert [t[:3] for t in twins[3:]] == [("fault", f, s) for f in ("imbalance", "squeal") for s in (0.5, 1.0)]
    assert twins[0][3] == scene and replace(twins[1][3], noise=0) == scene != twins[1][3]
    assert operation(twins[2][3]) != operation(scene) and twins[2][3].fault is None
    assert all(replace(t[3], fault=None, severity=0.0) == scene for t in twins[3:])
    expected = extract(render(Scene("fan", 0, sensitivity.FIRST + 1, seconds=3.0)), Config())["conditioned"]
    assert len(fan[1]) == len(fan[0]) == 10 and torch.equal(fan[1][5]["conditioned"], expected)


def test_embed_whitens_by_the_unchanged_scenes(fan):
    whitening = BandWhitening.fit([s["near"] for s in fan[1]])

    def describe(spectra):
        frames = whitening(spectra["near"])
        x = cut_windows(frames, window_starts(frames.shape[1], 80, 2), 80)
        return torch.cat([3 * x.mean(-1)[:, :5], torch.ones(len(x), 1)], dim=1)

    raw, z = [describe(s) for s in fan[1]], embed(*fan, describe)
    scenes = np.repeat([0, 1], [len(raw[0]), len(raw[5])])
    scaler = Scaler.fit(torch.cat([raw[0], raw[5]]), scenes, np.zeros(len(scenes), dtype=bool))
    np.testing.assert_allclose(z[3], scaler(raw[3]), rtol=1e-3, atol=1e-4)
    assert all(np.allclose(clip[:, 5], 0, atol=1e-5) for clip in z)  # constant: centred, left unscaled
