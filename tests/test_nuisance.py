"""What near and far share: each null keeps what it says and breaks the rest; what was planted is found."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from asdkit.blocks import Encoder, FeatureExtractor
from asdkit.conditioning import shared_directions
from asdkit.config import Config
from asdkit.experiments import nuisance
from asdkit.msm import MSM, BandWhitening
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


def counts(pairs):
    strengths = shared_directions(pairs.near, pairs.far)[1].numpy()
    return {null: int((strengths > nuisance.null_strengths(pairs, null, 8).max()).sum()) for null in nuisance.NULLS}


def test_nulls_tell_a_clip_from_a_moment():
    assert counts(planted(3, 0)) == {"windows shuffled": 1, "other recording": 1, "same clip": 0}
    assert counts(planted(0, 3)) == dict.fromkeys(nuisance.NULLS, 1)
    assert counts(planted(0, 0)) == dict.fromkeys(nuisance.NULLS, 0)
    pairs, rng = planted(0, 0), np.random.default_rng(1)  # unrelated, alike within a clip: shuffled windows expect too little
    near, far = (3 * torch.from_numpy(rng.normal(size=(N_CLIPS, DIM)))[pairs.clips] for _ in range(2))
    pairs = replace(pairs, near=pairs.near + near, far=pairs.far + far, recordings=pairs.clips)
    naive, whole = (nuisance.null_strengths(pairs, null, 8)[:, 0] for null in ("windows shuffled", "other recording"))
    assert 1.2 * naive.max() < whole.min()


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


@pytest.mark.parametrize("whiten", [False, True])
def test_pairs_are_scaled_by_training_windows(whiten):
    torch.manual_seed(0)
    config = replace(Config(), blocks=("msm",), conditioning="subspace", whiten=whiten)
    bands = BandWhitening(torch.zeros(128, 1), torch.full((128, 1), 2.0), torch.eye(128))
    extractor = FeatureExtractor(config, {"encoder": Encoder({"conditioned": bands, "far": bands}, MSM().eval())})
    spectra = [{c: torch.randn(128, 160) for c in ("near", "far", "conditioned")} for _ in range(4)]
    pairs = nuisance.embed_pairs(extractor, spectra, list("aabc"), [False] * 4)
    assert pairs.near.shape == pairs.far.shape == (12, MSM().dim)
    assert pairs.recordings.tolist() == [0] * 6 + [1] * 3 + [2] * 3 and pairs.clips.tolist() == sorted([0, 1, 2, 3] * 3)
    assert pairs.near.mean(0).abs().max() < 1e-3 and (pairs.scalers[0].weights is not None) == whiten
    again = nuisance.embed_pairs(extractor, spectra[1:2], ["a"], [False], pairs.scalers)
    torch.testing.assert_close(again.near, pairs.near[3:6], rtol=1e-3, atol=1e-3)
