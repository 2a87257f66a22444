"""z-scores, whitening, balance, aggregation, fusion: each against its formula, and constant features."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asdkit.conditioning import FarConditioner
from asdkit.config import Config
from asdkit.knn import leave_one_recording_out
from asdkit.space import SHRINKAGE, Scaler, Space, aggregate, balance_scale, fit_space, fuse


@pytest.mark.parametrize(("n_windows", "n_averaged"), [(1, 1), (9, 1), (10, 1), (11, 2), (30, 3), (31, 4), (100, 10)])
def test_top_tenth_counts_windows(n_windows, n_averaged):
    scores = torch.randperm(n_windows, generator=torch.Generator().manual_seed(0)).double()
    assert aggregate(scores) == pytest.approx(np.sort(scores.numpy())[-n_averaged:].mean())
    assert aggregate(scores, "max") == n_windows - 1 and aggregate(scores, "mean") == (n_windows - 1) / 2


def test_scaler_equals_scikit_learn():
    from sklearn.preprocessing import StandardScaler

    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 7 - 40
    np.testing.assert_allclose(Scaler.fit(x)(x).numpy(), StandardScaler().fit_transform(x.numpy()), atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1 / 3, -100.0, 1e4, 1e-7])
def test_scaler_centres_a_constant_feature_and_leaves_its_scale(value):
    x = torch.full((1001, 2), value)
    x[:, 1] = torch.randn(1001, generator=torch.Generator().manual_seed(0))
    scaler = Scaler.fit(x)
    assert scaler.std[0] == 1
    assert scaler(x)[:, 0].abs().max() <= 1e-5 * max(1, abs(value))
    moved = x + torch.tensor([1.0, 0.0])
    assert scaler(moved)[:, 0].mean().item() == pytest.approx(1, abs=1e-2)  # a fault there is seen, not blown up


def test_distances_of_a_whitened_block_are_mahalanobis():
    from scipy.spatial.distance import mahalanobis

    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    x = 3 * x + torch.stack([x[:, 0], x[:, 0], x[:, 1], x[:, 4], x[:, 2]], dim=1)  # features that say the same
    z = Scaler.fit(x)(x).double().numpy()
    inverse = np.linalg.inv(np.cov(z.T, bias=True) + SHRINKAGE * np.eye(5))
    white = Scaler.fit(x, whiten=True)(x)
    for i, j in [(0, 1), (2, 200), (299, 5)]:
        assert (white[i] - white[j]).norm().item() == pytest.approx(mahalanobis(z[i], z[j], inverse), rel=1e-4)


def test_windows_that_are_all_the_same_whiten_to_zero():
    x = torch.full((10, 3), 7.0)
    assert torch.equal(Scaler.fit(x, whiten=True)(x), torch.zeros(10, 3))


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 100), st.integers(0, 99))
def test_after_balance_the_median_distance_is_one(gain, seed):
    rng = np.random.default_rng(seed)
    recordings = np.repeat(np.arange(6), 3)
    z = torch.from_numpy(gain * rng.normal(size=(18, 5)))
    balanced = z / balance_scale(z, recordings)
    assert leave_one_recording_out(balanced, recordings, 1).median().item() == pytest.approx(1)


def test_balance_of_one_recording_or_of_duplicates_changes_nothing():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    assert balance_scale(z, np.zeros(6, dtype=int)) == 1
    assert balance_scale(z[:1].expand(6, -1), np.arange(6)) == 1


def test_the_msm_block_alone_is_conditioned_and_each_is_balanced():
    generator = torch.Generator().manual_seed(0)
    blocks = {name: torch.randn(7, 3, generator=generator) for name in ("msm", "ridge")}
    basis = torch.tensor([[1.0], [0.0], [0.0]])
    scalers = {name: Scaler.fit(x) for name, x in blocks.items()}
    space = Space(scalers, FarConditioner(torch.zeros(3), basis, 1.0), {"msm": 2.0, "ridge": 4.0}, "mean")
    balanced = space(blocks)
    assert balanced["msm"][:, 0].abs().max() == 0
    torch.testing.assert_close(balanced["msm"][:, 1:], scalers["msm"](blocks["msm"])[:, 1:] / 2)
    torch.testing.assert_close(balanced["ridge"], scalers["ridge"](blocks["ridge"]) / 4)
    (joined,) = (joint := replace(space, fusion="concatenate")(blocks)).values()
    assert list(joint) == ["msm+ridge"] and torch.equal(joined, torch.cat(list(balanced.values()), dim=1))


def test_the_blocks_that_are_named_are_whitened_and_no_others():
    blocks = {name: torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) for name in ("texture", "logmel")}
    space = fit_space(blocks, np.repeat(np.arange(12), 5), Config(blocks=("texture", "logmel"), whiten=("texture",)))
    assert {name: s.weights is not None for name, s in space.scalers.items()} == {"texture": True, "logmel": False}


def test_fuse():
    scores = np.array([[1.0, 3.0], [5.0, -1.0]])
    assert fuse(scores, "mean").tolist() == [2, 2]
    assert fuse(scores, "max").tolist() == [3, 5]
