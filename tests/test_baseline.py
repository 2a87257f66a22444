"""The baseline on tiny clips: it learns, hears a tone, repeats itself, scores as the released code defines."""

import numpy as np
import pytest
import torch

from asdkit.experiments import baseline
from asdkit.spectrogram import log_mel, stft


def noise(seed, seconds=1.0, tone=0.0):
    """Log-mel of white noise near 0 dB in every band, where the network starts; optionally with a 3 kHz tone."""
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


def naive_scores(fitted, logmel):
    """The released definition: a frames x frames matrix of inner products, averaged whole."""
    frames = logmel.T
    vectors = torch.stack([frames[t : t + 5].flatten() for t in range(len(frames) - 4)])
    with torch.no_grad():
        residual = vectors - fitted.network(vectors)
    rows = residual.reshape(-1, 128).double()
    return (residual**2).mean().item(), min((rows @ p @ rows.T).mean().item() for p in fitted.precisions)


def test_architecture():
    network = baseline.build_network(640, torch.Generator())
    sizes = [layer.weight.shape[::-1] for layer in network if isinstance(layer, torch.nn.Linear)]
    assert sizes == [(640, 128), *[(128, 128)] * 3, (128, 8), (8, 128), *[(128, 128)] * 3, (128, 640)]
    assert sum(p.numel() for p in network.parameters()) == 267_928  # counted by hand: linear layers and normalisation
    assert network(torch.zeros(3, 640)).shape == (3, 640)


def test_vectors_do_not_span_clips():
    clips = [torch.arange(7.0).expand(2, 7), 100 + torch.arange(6.0).expand(2, 6)]
    starts, is_target = baseline._index_vectors(clips, ["source", "target"])
    assert starts.tolist() == [0, 1, 2, 7, 8] and is_target.tolist() == [False] * 3 + [True] * 2
    vectors = baseline.stack_frames(torch.cat([c.T for c in clips]), starts)
    assert vectors[2].tolist() == [2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    assert vectors[3, ::2].tolist() == [100, 101, 102, 103, 104]


def test_scores_follow_the_released_definition(fitted):
    logmel = noise(100)
    assert fitted.precisions.shape == (2, 128, 128)
    assert fitted.score(logmel) == pytest.approx(naive_scores(fitted, logmel), rel=1e-4)


def test_a_tone_scores_higher(fitted):
    normal = np.array([fitted.score(noise(seed)) for seed in range(200, 210)])
    tonal = np.array([fitted.score(noise(seed, tone=0.5)) for seed in range(200, 210)])
    assert (tonal.min(axis=0) > normal.max(axis=0)).all()


def test_precision_inverts_the_covariance_of_training_residuals(clips, fitted):
    """Against all training vectors, centred once: batches and the held-out tenth move it by some percent."""
    vectors = torch.cat([c.T.unfold(0, 5, 1).transpose(1, 2).flatten(1) for c in clips[0][:20]])
    with torch.no_grad():
        rows = (vectors - fitted.network(vectors)).reshape(-1, 128).double()
    covariance = 5 * torch.cov(rows.T)
    product = torch.trace(covariance @ fitted.precisions[0]) / 128
    assert product == pytest.approx(1, abs=0.1)


def test_same_seed_same_scores_and_the_global_state_is_left_alone(clips):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    fits = [baseline.fit(*clips, seed=seed, epochs=2) for seed in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    scores = [f.score(noise(50)) for f in fits]
    assert scores[0] == scores[1] and scores[0] != scores[2]
    assert fits[0].losses == fits[1].losses


def test_without_target_clips_there_is_one_covariance(clips):
    source_only = baseline.fit(clips[0], ["source"] * 24, seed=0, epochs=2)
    assert source_only.precisions.shape == (1, 128, 128)
    assert source_only.score(noise(60)) == pytest.approx(naive_scores(source_only, noise(60)), rel=1e-4)


def test_one_short_target_clip_gives_finite_scores(clips):
    short = [*clips[0], noise(70, seconds=0.3)]
    few = baseline.fit(short, ["source"] * 24 + ["target"], seed=0, epochs=2)
    assert np.isfinite(few.score(noise(71))).all()
    assert np.isfinite(few.score(noise(71, seconds=2.0))).all()  # clips may differ in length
