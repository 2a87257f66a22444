"""Far-conditioning: the guarantee first (the subspace is gone, the rest untouched), then what it finds, then its controls."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from asdkit.conditioning import FarConditioner, fit_conditioner, other_recording, shared_directions

CONTROLS = ["none", "random", "near-pca", "other-recording"]
cases = st.tuples(st.integers(2, 12), st.integers(0, 6), st.integers(0, 2**32 - 1))  # dim, rank, seed


def random_conditioner(dim, rank, alpha, seed):
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dim, min(rank, dim), generator=generator, dtype=torch.double)).Q
    mean = torch.randn(dim, generator=generator, dtype=torch.double)
    return FarConditioner(mean, basis, alpha), torch.randn(9, dim, generator=generator, dtype=torch.double)


@pytest.fixture(scope="module")
def planted():
    """z-scored near and far of 60 recordings x 5 windows that share 3 loud directions, and those directions in near."""
    rng = np.random.default_rng(0)
    recordings = np.repeat(np.arange(60), 5)
    nuisance = 3 * rng.normal(size=(300, 3))
    into_near, into_far = (np.linalg.qr(rng.normal(size=(20, 3)))[0] for _ in range(2))
    near = rng.normal(size=(300, 20)) + nuisance @ into_near.T
    far = rng.normal(size=(300, 20)) + nuisance @ into_far.T
    return torch.from_numpy(near), torch.from_numpy(far), recordings, torch.from_numpy(into_near)


@settings(deadline=None)
@given(cases, st.floats(0, 1))
def test_equals_the_formulas_and_alpha_1_leaves_nothing_of_the_subspace(case, alpha):
    conditioner, z = random_conditioner(*case[:2], alpha, case[2])
    whole = replace(conditioner, alpha=1.0)
    assert ((whole(z) - whole.mean) @ whole.basis).abs().sum() < 1e-10
    assert torch.equal(replace(conditioner, alpha=0.0)(z), z)
    found, inside = conditioner(z), conditioner.basis @ conditioner.basis.T
    eye = torch.eye(case[0], dtype=torch.double)
    torch.testing.assert_close(found @ (eye - inside), z @ (eye - inside), rtol=0, atol=1e-12)  # what is orthogonal stays
    by_matrix = conditioner.mean + (z - conditioner.mean) @ (eye - alpha * inside)
    torch.testing.assert_close(found, by_matrix, rtol=0, atol=1e-12)
    d_u, d_all, d = (torch.cdist(x, x).square() for x in (z @ inside, z, found))
    torch.testing.assert_close(d, d_all - d_u + (1 - alpha) ** 2 * d_u, rtol=0, atol=1e-10)
    centred = z - z.mean(0)
    share = (1 - (1 - alpha) ** 2) * (centred @ inside).square().sum() / centred.square().sum()
    assert conditioner.removed_share(z) == pytest.approx(float(share), abs=1e-12) and 0 <= conditioner.removed_share(z) <= 1


def test_a_shared_nuisance_is_found_and_can_no_longer_be_read(planted):
    near, far, recordings, truth = planted
    fitted = fit_conditioner(near, far, recordings, alpha=1.0, rank=3)
    cxy = (near - near.mean(0)).T @ (far - far.mean(0)) / len(near)
    torch.testing.assert_close(shared_directions(near, far)[1], torch.linalg.svdvals(cxy))
    cosines = torch.linalg.svdvals(fitted.basis.T @ truth)
    assert torch.rad2deg(torch.arccos(cosines.min().clamp(max=1))) < 15  # the largest principal angle
    before, after = (shared_directions(z, far)[1][0] for z in (near, fitted(near)))
    assert after < 0.1 * before and 0.3 < fitted.removed_share(near) < 0.8
    for control in ("random", "other-recording"):
        control = fit_conditioner(near, far, recordings, 1.0, 3, control)
        assert shared_directions(control(near), far)[1][0] > 0.5 * before
    dead = fit_conditioner(near, torch.zeros_like(far), recordings, 1.0, 3)  # a far channel that hears nothing
    assert torch.isfinite(dead(near)).all() and dead.removed_share(torch.ones_like(near)) == 0


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_have_the_same_rank_and_alpha(planted, control):
    near, far, recordings, _ = planted
    fitted, same, other = (fit_conditioner(near, far, recordings, 0.7, 5, control, seed) for seed in (0, 0, 1))
    assert fitted.basis.shape == (20, 5) and fitted.alpha == 0.7
    torch.testing.assert_close(fitted.basis.T @ fitted.basis, torch.eye(5, dtype=torch.double), rtol=0, atol=1e-9)
    nothing, everything = (fit_conditioner(near, far, recordings, 1.0, rank, control) for rank in (0, 50))
    assert nothing.basis.shape == (20, 0) and torch.equal(nothing(near), near) and everything.basis.shape == (20, 20)
    assert torch.equal(fitted.basis, same.basis)
    assert torch.allclose(fitted.basis, other.basis) == (control in ("none", "near-pca"))
    deaf = fit_conditioner(near, far.square(), recordings, 0.7, 5, control, 0)  # another far: two controls never read it
    assert torch.equal(fitted.basis, deaf.basis) == (control in ("random", "near-pca"))
    if control == "near-pca":
        components = torch.from_numpy(PCA(5).fit(near.numpy()).components_)
        torch.testing.assert_close((components @ fitted.basis).abs(), torch.eye(5, dtype=torch.double), rtol=0, atol=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.integers(0, 2**32 - 1))
def test_other_recording_never_pairs_a_recording_with_itself(recordings, seed):
    recordings = np.array(recordings)
    partner = other_recording(recordings, np.random.default_rng(seed))
    assert sorted(partner) == list(range(len(recordings)))  # each window is used once
    if 2 * np.bincount(recordings).max() <= len(recordings):
        assert (recordings[partner] != recordings).all()
