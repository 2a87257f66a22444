"""Nuisance subspaces: each null keeps what it says and breaks the rest; what was planted is found, and decoded."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from asdkit.blocks import BandScaler, FrontEnd
from asdkit.conditioning import FarConditioner, shared_directions
from asdkit.config import Config
from asdkit.experiments import nuisance
from asdkit.msm import MSM
from asdkit.space import Scaler

N_CLIPS, PER_CLIP, DIM = 60, 5, 12


def planted(per_clip: float, per_window: float, seed=0):
    """Pairs that share one direction that is constant in a clip and one that is not, of these strengths."""
    rng = np.random.default_rng(seed)
    clips = np.repeat(np.arange(N_CLIPS), PER_CLIP)
    shared = np.stack([per_clip * rng.normal(size=N_CLIPS)[clips], per_window * rng.normal(size=len(clips))], axis=1)
    near, far = rng.normal(size=(2, len(clips), DIM))
    near[:, :2] += shared
    far[:, 3:5] += shared
    identity = Scaler(torch.zeros(DIM), torch.ones(DIM))
    return nuisance.Pairs(torch.from_numpy(near), torch.from_numpy(far), clips, clips // 2, (identity, identity))


def counts(pairs, states):
    strengths = shared_directions(pairs.near, pairs.far, "cca")[1]
    return {n: nuisance.n_above(strengths, nuisance.null_strengths(pairs, n, states, n_shuffles=8)) for n in nuisance.NULLS}


def test_partners_share_what_the_null_keeps_and_nothing_more():
    pairs, rng = planted(1, 1), np.random.default_rng(0)
    states = pairs.recordings % 4
    found = {null: nuisance.partners(pairs, null, states, rng) for null in nuisance.NULLS}
    assert sorted(found["windows shuffled"]) == list(range(len(pairs.near)))
    assert (pairs.recordings[found["other recording"]] != pairs.recordings).all()
    assert (pairs.recordings[found["same state"]] != pairs.recordings).all()
    assert (states[found["same state"]] == states).all()
    assert (pairs.clips[found["same clip"]] == pairs.clips).all()
    assert (found["same clip"] != np.arange(len(pairs.near))).all()


def test_states_of_one_recording_are_paired_among_each_other():
    pairs = planted(1, 1)
    states = np.minimum(pairs.recordings, 4)
    partner, alone = nuisance.partners(pairs, "same state", states, np.random.default_rng(0)), states < 4
    assert (nuisance.alone(pairs, states) == alone).all()
    assert (pairs.recordings[partner] != pairs.recordings).all() and (alone[partner] == alone).all()


def test_nulls_tell_a_clip_from_a_moment():
    """What is constant in a clip exceeds every null but the one that stays in the clip."""
    states = np.zeros(N_CLIPS * PER_CLIP, dtype=int)
    assert counts(planted(3, 0), states) == {"windows shuffled": 1, "other recording": 1, "same state": 1, "same clip": 0}
    assert counts(planted(0, 3), states) == dict.fromkeys(nuisance.NULLS, 1)
    assert counts(planted(0, 0), states) == dict.fromkeys(nuisance.NULLS, 0)


def test_the_null_of_a_state_keeps_what_the_state_explains():
    pairs = planted(3, 0)
    states = np.argsort(np.argsort(pairs.near[:, 0].numpy().reshape(N_CLIPS, PER_CLIP).mean(1)))[pairs.clips] // 15
    loose, tight = (nuisance.null_strengths(pairs, n, states, n_shuffles=8).max() for n in ("other recording", "same state"))
    assert tight > loose + 0.1


def test_held_out_correlations_find_the_planted_directions_only():
    correlations = nuisance.held_out_correlations(planted(3, 3), 6)
    assert (correlations[:2] > 0.6).all() and correlations[2:].max() < 0.4


def test_explained_is_a_share_and_adjusted():
    rng = np.random.default_rng(0)
    load, level = rng.integers(1, 4, 400), rng.normal(size=400)
    table = pd.DataFrame({"load": load, "kind": np.array(list("xabc"))[load], "level": level, "constant": 1.0})
    values = np.stack([2 * level + rng.normal(size=400), (load == 2) + 0.0, rng.normal(size=400)], axis=1)
    shares = nuisance.explained(values, table)
    assert shares.loc[0, "level"] == pytest.approx(0.8, abs=0.05)
    assert shares.loc[1, "load"] == pytest.approx(1) and shares.loc[1, "kind"] == pytest.approx(1)
    assert shares["constant"].to_numpy() == pytest.approx(0, abs=1e-9)
    assert np.abs(shares.loc[2]).max() < 0.03
    noise = nuisance.explained(rng.normal(size=(12, 2000)), pd.DataFrame({"kind": list("aabbccddeeff")}))["kind"]
    assert abs(noise.mean()) < 0.02  # unadjusted: 5 / 11
    total = nuisance.explained_in_all(values, table[["level"]])["level"]
    assert total == pytest.approx((shares["level"] * values.var(0)).sum() / values.var(0).sum())


def test_displacement_shares_are_those_of_the_subspace():
    twins = pd.DataFrame(
        [(s, *row) for s in range(3) for row in [("none", "", 0.0), ("noise", "", 0.0), ("fault", "leak", 1.0)]],
        columns=["scene", "change", "fault", "severity"],
    )
    basis = torch.eye(4)[:, :1]
    moved = {"none": np.zeros(4), "noise": np.array([1.0, 0, 0, 0]), "fault": np.array([1.0, 1, 1, 1])}
    embeddings = [np.ones((2, 4)) * s + moved[change] for s, change in zip(twins["scene"], twins["change"])]
    table = nuisance.displacement_shares(twins, embeddings, FarConditioner(torch.zeros(4), basis, 1.0)).set_index("change")
    assert table.loc["noise"].tolist() == [1, 1, 1] and table.loc["leak"].tolist() == pytest.approx([0.25] * 3)


def test_pairs_and_decoded_steps():
    """A step along a direction is the decoder's difference, in the bands' own dB; test windows use the training scalers."""
    torch.manual_seed(0)
    config = replace(Config(), blocks=("msm",), bottleneck=6, width=80, train_hop=40)
    net = MSM(80, 6).eval()
    bands = {c: BandScaler(torch.zeros(128, 1), torch.full((128, 1), 2.0)) for c in ("near", "far")}
    front = FrontEnd(config, bands, net, None)
    spectra = [{(c, "slow"): torch.randn(128, 160) for c in ("near", "far")} for _ in range(4)]
    pairs = nuisance.embed_pairs(front, spectra, list("aabc"))
    assert pairs.near.shape == pairs.far.shape == (12, 6) and pairs.recordings.tolist() == [0] * 6 + [1] * 3 + [2] * 3
    assert pairs.near.mean(0).abs().max() < 1e-4 and pairs.clips.tolist() == sorted([0, 1, 2, 3] * 3)
    again = nuisance.embed_pairs(front, spectra[1:2], ["a"], pairs.scalers)
    torch.testing.assert_close(again.near, pairs.near[3:6])
    one = torch.eye(6)[:, :2]
    found = nuisance.decode_directions(net, pairs, bands["near"], one, size=1.0)
    scaler, spread = pairs.scalers[0], float(pairs.near[:, 1].std())
    step = torch.zeros(1, 6)
    step[0, 1] = spread * scaler.std[1]
    with torch.no_grad():
        expected = 2.0 * (net.decode(scaler.mean + step) - net.decode(scaler.mean - step))
    torch.testing.assert_close(found[1:], expected)
    torch.testing.assert_close(net.decode(net.to_bottleneck(net.encoder(torch.ones(1, 1, 128, 80)).flatten(1))),
                               net(torch.ones(1, 128, 80)))  # fmt: skip
