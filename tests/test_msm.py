"""The masked spectrogram model and its training: what is hidden stays hidden, and unmasked windows meet the right BatchNorm."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asdkit import msm
from asdkit.config import Config
from asdkit.msm import MSM, masked_error, random_hidden, to_cells
from asdkit.training import Crops, train_msm

SMALL = Config(width=16, batch_size=16, steps=3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def windows(n, width=16, seed=0):
    return torch.randn(n, 128, width, generator=generator(seed))


def new_model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MSM().eval()


@pytest.fixture(scope="module")
def spectrograms():
    """Clips of one moving bump over mel bands: something to learn."""
    rng = np.random.default_rng(0)
    mel, time = np.arange(128)[:, None], np.arange(60)
    bumps = [np.exp(-(((mel - 64 - 40 * np.sin(time / 9 + phase)) / 12) ** 2)) for phase in rng.uniform(0, 6, 12)]
    x = np.stack(bumps) + 0.1 * rng.normal(size=(12, 128, 60))
    x = (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True)
    return list(torch.from_numpy(x.astype(np.float32)))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 10), st.floats(0, 0.99), st.integers(0, 99))
def test_every_window_hides_as_many_patches_each_its_own_by_seed(rows, columns, ratio, seed):
    hidden = random_hidden(4, (rows, columns), ratio, generator(seed))
    assert hidden.shape == (4, rows, columns)
    assert hidden.sum((1, 2)).tolist() == [round(ratio * rows * columns)] * 4
    assert torch.equal(hidden, random_hidden(4, (rows, columns), ratio, generator(seed)))
    many = random_hidden(2000, (8, 10), 0.6, generator(seed))
    assert len(torch.unique(many[:8].flatten(1), dim=0)) == 8
    assert (many.float().mean(0) - 0.6).abs().max() < 0.06  # no patch is favoured


def test_the_embedding_forgets_when():
    model, x = new_model(), windows(3, 80)
    with torch.no_grad():
        features = model.encode(x)
        assert features.shape == (3, 16, 16, 10) and model.embed(x).shape == (3, model.dim) == (3, 512)
        shuffled = features[..., torch.randperm(10, generator=generator())]
        expected = torch.cat([shuffled.mean(-1), shuffled.std(-1, correction=0)], dim=1).flatten(1)
        torch.testing.assert_close(model.embed(x), expected, atol=1e-3, rtol=1e-3)
        assert model.embed(windows(2, 160)).shape == (2, 512)  # windows of any width have one embedding
        model.encode = lambda _: shuffled
        torch.testing.assert_close(model.embed(x), expected, atol=1e-3, rtol=1e-3)
        assert not torch.allclose(features, shuffled)


def test_hidden_cells_do_not_leak_into_the_prediction():
    model, x, seen = new_model(), windows(4), []
    hidden = random_hidden(4, model.grid(16), 0.6, generator())
    decode = model.decode

    def spy(embedding):
        seen.append(decode(embedding))
        return seen[-1]

    model.decode = spy
    with torch.no_grad():
        masked_error(model, x, hidden)
        masked_error(model, torch.where(to_cells(hidden), 100 * windows(4, seed=1), x), hidden)
        masked_error(model, torch.where(to_cells(hidden), x, windows(4, seed=1)), hidden)  # visible cells do have an effect
    for first, other, third in zip(*seen):
        assert torch.equal(first, other) and not torch.allclose(first, third)


def test_the_error_is_the_gaussian_likelihood_of_the_hidden_cells():
    """Twice the negative logarithm without its constant; weighted so that the mean over bands is the mean over cells."""
    model, x = new_model(), windows(3)
    target = windows(3, seed=5)
    hidden = random_hidden(3, model.grid(16), 0.6, generator())
    hidden[2] = False  # nothing hidden: all cells count
    masked, cells = x.clone(), to_cells(hidden)
    masked[cells] = 0
    with torch.no_grad():
        mean, log_variance = model.decode(model.embed(masked))
        found, restored = masked_error(model, x, hidden), masked_error(model, x, hidden, target)
        assert model.decode(1e6 * torch.randn(4, model.dim))[1].abs().max() <= msm.LOG_VARIANCE  # no cell decides alone
    for y, error in ((x, found), (target, restored)):
        for i in range(3):
            counted = [c for c in np.ndindex(128, 16) if cells[i][c] or i == 2]
            terms = np.zeros(128)
            for band, frame in counted:
                normal = torch.distributions.Normal(mean[i, band], (log_variance[i, band] / 2).exp())
                terms[band] -= 2 * normal.log_prob(y[i, band, frame]).item() + np.log(2 * np.pi)
            assert error[i].mean().item() == pytest.approx(terms.sum() / len(counted), rel=1e-4)
            np.testing.assert_allclose(error[i], terms * 128 / len(counted), rtol=2e-3, atol=1e-3)


@pytest.fixture(scope="module")
def trained(spectrograms):
    config = Config(width=16, batch_size=32)
    return {steps: train_msm(spectrograms, replace(config, steps=steps), seed=0)[0] for steps in (0, 40)}


@pytest.mark.parametrize("steps", [0, 40])
def test_calibrated_batchnorm_agrees_with_unmasked_windows(spectrograms, trained, steps):
    """Training sees windows with holes, scoring whole ones: running statistics have to be those of whole ones."""
    model, x = copy.deepcopy(trained[steps]), Crops(spectrograms, SMALL, seed=1)(512)
    assert not model.training
    for read in (MSM.embed, lambda model, x: model.encoder(x[:, None]).mean(-1).flatten(1)):
        with torch.no_grad():
            scored, batch = read(model.eval(), x), read(model.train(), x)  # and normalised by these very windows
        assert (scored - batch).square().mean().sqrt() < 0.1 * batch.std(0).mean()
