"""z-scores, whitening, balance and aggregation: each against its formula, and what has no variance."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from asdkit.conditioning import FarConditioner
from asdkit.space import Scaler, Space, aggregate, whitening


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def naive_whitening(z, recordings, is_target):
    """The covariance of each recording is formed, and a root taken of their shrunk sum."""
    x, n, dim = z.astype(float).copy(), len(z), z.shape[1]
    for domain in (False, True):
        rows = is_target == domain
        x[rows] -= x[rows].mean(0) if rows.any() else 0
    s = sum(np.outer(row, row) for row in x) / n
    m, b2 = np.trace(s) / dim, 0.0
    for r in set(recordings):
        own = x[recordings == r]
        s_r = sum(np.outer(row, row) for row in own) / len(own)
        b2 += (len(own) / n) ** 2 * ((s_r - s) ** 2).sum() / dim
    rho = min(1.0, b2 / (((s - m * np.eye(dim)) ** 2).sum() / dim))
    values, vectors = np.linalg.eigh((1 - rho) * s + rho * m * np.eye(dim))
    return vectors @ np.diag(np.sqrt(m / values)) @ vectors.T, rho


@pytest.mark.parametrize("n_target", [0, 3])
@pytest.mark.parametrize("dim", [4, 40])  # fewer and more than a recording has windows
def test_whitening_equals_a_naive_version(dim, n_target):
    rng = np.random.default_rng(dim)
    recordings = rng.permutation(np.repeat(np.arange(12), [1, 2, 3, 9, 5, 4, 6, 7, 8, 2, 3, 1]))
    is_target = recordings < n_target
    z = rng.normal(size=(51, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=(12, dim))[recordings]
    z[is_target] += 9
    weights, rho = whitening(torch.from_numpy(z), recordings, is_target)
    expected, expected_rho = naive_whitening(z, recordings, is_target)
    assert rho == pytest.approx(expected_rho) and 0.01 < rho < 0.9
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["single clips", "some constant", "all constant", "wide", "one a domain", "copies"])
def test_whitening_of_degenerate_blocks_keeps_distances(kind):
    n, dim = (9, 200) if kind == "wide" else (30, 6)
    x, recordings, is_target = normal(n, dim).float(), np.arange(n) // 3, np.zeros(n, dtype=bool)
    if kind == "single clips":
        recordings = np.arange(n)
    if kind.endswith("constant"):
        x[:, : 3 if kind == "some constant" else dim] = 7.0
    if kind == "one a domain":
        recordings, is_target = np.arange(n) // 15, np.arange(n) >= 15
    if kind == "copies":
        x = x[:3].repeat(n // 3, 1)
    scaler = Scaler.fit(x, recordings, is_target)
    new = x[:5] + normal(5, dim, seed=1).float()
    assert torch.isfinite(scaler(new)).all() and 0 <= scaler.rho <= 1
    moved = (scaler(new) - scaler(x[:5])).norm(dim=1)
    assert (moved > 0.1).all() and (moved < 1e4).all()  # also where training never varied
    assert kind != "all constant" or torch.equal(scaler(x), torch.zeros(n, dim))
    one = np.zeros(50, dtype=int)  # one recording, or duplicates, say nothing of others
    weights, rho = whitening(normal(50, 3), one, one.astype(bool))
    assert torch.equal(weights, torch.eye(3, dtype=torch.double)) and rho == 1


@pytest.mark.parametrize("value", [0.0, 1 / 3, -100.0, 1e4, 1e-7])
def test_scaler_equals_scikit_learn_and_leaves_the_scale_of_a_constant_feature(value):
    x = torch.full((1001, 2), value)
    x[:, 1] = 7 * normal(1001) - 40
    scaler = Scaler.fit(x)
    np.testing.assert_allclose(scaler(x)[:, 1:].numpy(), StandardScaler().fit_transform(x[:, 1:].numpy()), atol=1e-4)
    assert scaler.std[0] == 1 and scaler(x)[:, 0].abs().max() <= 1e-5 * max(1, abs(value))
    moved = x + torch.tensor([1.0, 0.0])
    assert scaler(moved)[:, 0].mean().item() == pytest.approx(1, abs=1e-2)  # a fault there is seen, not blown up


def test_the_msm_block_alone_is_conditioned_and_each_is_balanced():
    blocks = {name: normal(7, 3, seed=i).float() for i, name in enumerate(("msm", "ridge"))}
    basis = torch.tensor([[1.0], [0.0], [0.0]])
    scalers = {name: Scaler.fit(x) for name, x in blocks.items()}
    space = Space(scalers, {"msm": 2.0, "ridge": 4.0}, FarConditioner(torch.zeros(3), basis, 1.0))
    found = space(blocks)
    assert found[:, 0].abs().max() == 0
    torch.testing.assert_close(found[:, 1:3], scalers["msm"](blocks["msm"])[:, 1:] / 2)
    torch.testing.assert_close(found[:, 3:], scalers["ridge"](blocks["ridge"]) / 4)


@pytest.mark.parametrize(("n_windows", "n_averaged"), [(1, 1), (9, 1), (10, 1), (11, 2), (30, 3), (31, 4), (100, 10)])
def test_top_tenth_counts_windows(n_windows, n_averaged):
    scores = torch.randperm(n_windows, generator=torch.Generator().manual_seed(0)).double()
    assert aggregate(scores) == pytest.approx(np.sort(scores.numpy())[-n_averaged:].mean())
    assert aggregate(scores, "max") == n_windows - 1 and aggregate(scores, "mean") == (n_windows - 1) / 2
