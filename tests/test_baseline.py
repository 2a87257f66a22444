"""The baseline on tiny clips: it learns, hears a tone, repeats itself, scores as the released code defines."""

import numpy as np
import pytest
import torch

from asdkit.experiments import baseline
from asdkit.spectrogram import log_mel, stft


def noise(seed, seconds=1.0, tone=0.0):
    rng = np.random.default_rng(seed)
    n = int(16000 * seconds)
    x = rng.uniform(0.15, 0.25) * rng.normal(size=n) + tone * np.sin(2 * np.pi * 3000 / 16000 * np.arange(n))
    return log_mel(stft(torch.from_numpy(x.astype(np.float32))))


@pytest.fixture(scope="module")
def clips():
    return [noise(seed) for seed in range(24)], ["source"] * 20 + ["target"] * 4


@pytest.fixture(scope="module")
def fitted(clips):
    return baseline.fit(*clips, seed=0, epochs=20)


def test_same_seed_same_scores_and_the_global_state_is_left_alone(clips):
    before = torch.get_rng_state()
    one, same, other = (baseline.fit(*clips, seed=seed, epochs=2) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    sizes = [layer.weight.shape[::-1] for layer in one.network if isinstance(layer, torch.nn.Linear)]
    assert sizes == [(640, 128), *[(128, 128)] * 3, (128, 8), (8, 128), *[(128, 128)] * 3, (128, 640)]
    assert sum(p.numel() for p in one.network.parameters()) == 267_928  # counted by hand: linear layers and normalisation
    assert one.score(noise(50)) == same.score(noise(50)) != other.score(noise(50))


def naive_scores(fitted, logmel):
    """The released definition: a frames x frames matrix of inner products, averaged whole."""
    frames = logmel.T
    vectors = torch.stack([frames[t : t + 5].flatten() for t in range(len(frames) - 4)])
    with torch.no_grad():
        residual = vectors - fitted.network(vectors)
    rows = residual.reshape(-1, 128).double()
    return (residual**2).mean().item(), min((rows @ p @ rows.T).mean().item() for p in fitted.precisions)


def test_scores_follow_the_released_definition_with_and_without_target_clips(clips, fitted):
    source_only = baseline.fit(clips[0], ["source"] * 24, seed=0, epochs=2)
    for each, n in ((fitted, 2), (source_only, 1)):
        assert each.precisions.shape == (n, 128, 128)
        assert each.score(noise(100)) == pytest.approx(naive_scores(each, noise(100)), rel=1e-4)
    short = [*clips[0], noise(70, seconds=0.3)]  # clips may differ in length
    few = baseline.fit(short, ["source"] * 24 + ["target"], seed=0, epochs=2)
    assert np.isfinite([few.score(noise(71)), few.score(noise(71, seconds=2.0))]).all()


def test_precision_inverts_the_covariance_of_training_residuals_and_a_tone_scores_higher(clips, fitted):
    """Against all training vectors, centred once: batches and the held-out tenth move it by some percent."""
    vectors = torch.cat([c.T.unfold(0, 5, 1).transpose(1, 2).flatten(1) for c in clips[0][:20]])
    with torch.no_grad():
        rows = (vectors - fitted.network(vectors)).reshape(-1, 128).double()
    covariance = 5 * torch.cov(rows.T)
    product = torch.trace(covariance @ fitted.precisions[0]) / 128
    assert product == pytest.approx(1, abs=0.1)
    normal, tonal = ([fitted.score(noise(seed, tone=tone)) for seed in range(200, 210)] for tone in (0.0, 0.5))
    assert (np.min(tonal, axis=0) > np.max(normal, axis=0)).all()
