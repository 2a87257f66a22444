"""Descriptors against loops, scikit-learn and numpy; physics as oracle: what far predicts goes."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from asdkit import dsp
from asdkit.spectrogram import stft


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive_cancel(near, far, alpha, penalty):
    n_bins, n_frames = near.shape
    power = [np.mean([abs(near[f, t]) ** 2 for f in range(n_bins)]) for t in range(n_frames)]
    weights = np.array([1 / (p + 1e-3 * np.mean(power)) for p in power])
    weights *= n_frames / sum(weights)
    mean_power = sum(weights[t] * abs(far[f, t]) ** 2 for f in range(n_bins) for t in range(n_frames)) / (n_bins * n_frames)
    conditioned = np.empty_like(near)
    for f in range(n_bins):
        cross = sum(weights[t] * near[f, t] * np.conj(far[f, t]) for t in range(n_frames)) / n_frames
        power_f = sum(weights[t] * abs(far[f, t]) ** 2 for t in range(n_frames)) / n_frames
        conditioned[f] = near[f] - alpha * cross / (power_f + penalty * mean_power) * far[f]
    return conditioned


@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("penalty", [0.0, 1e-2, 1.0])
def test_cancel_far_equals_loops(alpha, penalty):
    near, far = noise(5, 7, dtype=torch.complex64), noise(5, 7, seed=1, dtype=torch.complex64)
    near[:, 3] *= 20  # a loud frame weighs less
    expected = naive_cancel(near.numpy().astype(complex), far.numpy().astype(complex), alpha, penalty)
    np.testing.assert_allclose(dsp.cancel_far(near, far, alpha, penalty).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(dsp.cancel_far(near, far, 0.0, penalty), near)


def test_what_far_predicts_is_cancelled_and_the_machine_stays():
    hum, rumble = 0.1 * noise(48000), noise(48000, seed=1)
    filtered = torch.nn.functional.conv1d(rumble[None, None], noise(1, 1, 16, seed=2), padding=8)[0, 0, :48000]
    near, far, in_near = stft(hum + filtered), stft(rumble + 0.1 * hum.roll(40)), stft(filtered)  # far hears a tenth of the hum
    left = dsp.cancel_far(near, far, 1.0, 1e-3) - stft(hum)
    assert 10 * (left.abs().square().sum() / in_near.abs().square().sum()).log10() < -15  # dB of the noise
    half = dsp.cancel_far(near, far, 0.5, 1e-3)
    torch.testing.assert_close(half, (near + dsp.cancel_far(near, far, 1.0, 1e-3)) / 2)


def test_silent_far_removes_nothing_and_levels_do_not_matter():
    near, far = noise(5, 7, dtype=torch.complex64), noise(5, 7, seed=1, dtype=torch.complex64)
    for penalty in (1e-2, 0.0):
        assert torch.equal(dsp.cancel_far(near, torch.zeros_like(near), 1.0, penalty), near)
    torch.testing.assert_close(dsp.cancel_far(near, 1000 * far), dsp.cancel_far(near, far))
    torch.testing.assert_close(dsp.cancel_far(1000 * near, far), 1000 * dsp.cancel_far(near, far))
    assert torch.equal(dsp.cancel_far(torch.zeros_like(near), far), torch.zeros_like(near))
    gap = near.clone()
    gap[:, 2] = 0  # a frame of digital silence does not decide alone
    assert (dsp.transfer(gap, far) - dsp.transfer(gap[:, [0, 1, 3, 4, 5, 6]], far[:, [0, 1, 3, 4, 5, 6]])).abs().max() < 0.9


def naive_context(far, context):
    n_mels, n_frames = far.shape
    stacked = np.empty(((2 * context + 1) * n_mels, n_frames))
    for t in range(n_frames):
        neighbours = [far[:, min(max(t + i, 0), n_frames - 1)] for i in range(-context, context + 1)]
        stacked[:, t] = np.concatenate(neighbours)
    return stacked


@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_ridge_equals_scikit_learn(penalty):
    clips = [(noise(4, n, seed=n), 3 * noise(4, n, seed=n + 1) + 20) for n in (40, 55)]
    first, second = (dsp.RidgeStatistics.of(near, far, context=1) for near, far in clips)
    ridge = (first + second).solve(penalty)
    x = np.concatenate([naive_context(far.double().numpy(), 1) for _, far in clips], axis=1).T
    near = torch.cat([near for near, _ in clips], dim=1)
    absolute = len(x) * penalty * x.var(0).mean()  # scikit-learn counts its penalty against a sum over frames
    theirs = SklearnRidge(alpha=absolute).fit(x, near.T.double().numpy())
    np.testing.assert_allclose(ridge.weights.numpy(), theirs.coef_.T, atol=1e-5)
    np.testing.assert_allclose(ridge.intercept.numpy(), theirs.intercept_, atol=1e-4)
    found = torch.cat([ridge.residual(*clip) for clip in clips], dim=1)
    np.testing.assert_allclose(found.T.numpy(), near.T.numpy() - theirs.predict(x), atol=1e-4)
    near, silent = clips[0][0], torch.full((4, 40), -100.0)  # a constant far channel predicts the mean
    residual = dsp.RidgeStatistics.of(near, silent, context=2).solve(1e-2).residual(near, silent)
    torch.testing.assert_close(residual, near - near.mean(1, keepdim=True), atol=1e-3, rtol=0)


def test_statistics_equal_numpy():
    windows = noise(3, 4, 80)
    x = windows.numpy()
    upper = np.quantile(x, 0.95, axis=-1, method="nearest")
    expected = np.concatenate([x.mean(-1), x.std(-1), upper], axis=1)
    np.testing.assert_allclose(dsp.statistics(windows, with_p95=True).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(dsp.statistics(windows).numpy(), expected[:, :8], atol=1e-5)


@pytest.mark.parametrize(("width", "frame_rate"), [(80, 31.25), (316, 125.0), (8, 31.25)])
def test_modulation_equals_numpy_and_its_bands_tile_the_spectrum(width, frame_rate):
    windows, bands = 5 * noise(2, 3, width) - 40, dsp.modulation_bands(width, frame_rate)
    assert bands[0][0] == max(1, round(0.4 * width / frame_rate)) and bands[-1][1] == width // 2 + 1
    assert all(a < b for a, b in bands) and all(left[1] == right[0] for left, right in zip(bands, bands[1:]))
    x = windows.numpy().astype(float)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    power = np.abs(np.fft.rfft((x - x.mean(-1, keepdims=True)) * hann)) ** 2 / width
    pooled = np.stack([power[..., a:b].mean(-1) for a, b in bands], axis=-1)
    expected = 10 * np.log10(pooled + 1e-3).reshape(2, -1)  # band after band
    np.testing.assert_allclose(dsp.modulation(windows, frame_rate).numpy(), expected, atol=1e-3)
    np.testing.assert_allclose(dsp.modulation(torch.full((2, 3, width), -100.0), frame_rate).numpy(), -30.0)


def naive_texture(window):
    n_bands, width = window.shape
    out = []
    for rows, columns in dsp.TEXTURE_SCALES:
        starts = range(0, n_bands - rows + 1, rows), range(0, width - columns + 1, columns)
        cells = np.array([[window[r : r + rows, c : c + columns].mean() for c in starts[1]] for r in starts[0]])
        mixed = cells[1:, 1:] + cells[:-1, :-1] - cells[1:, :-1] - cells[:-1, 1:]
        strength = np.array([np.mean([abs(x) for x in row]) for row in mixed])
        n = len(strength)
        out += [strength[i * n // 16 : -(-(i + 1) * n // 16)].mean() for i in range(16)]
    return np.array(out)


def test_texture_equals_loops_and_is_blind_to_spectrum_level_and_common_clicks():
    windows, spectrum, envelope = noise(2, 128, 80), noise(128, 1, seed=1), noise(1, 80, seed=2)
    expected = np.stack([naive_texture(w.numpy().astype(float)) for w in windows])
    np.testing.assert_allclose(dsp.texture(windows).numpy(), expected, rtol=1e-4)
    torch.testing.assert_close(
        dsp.texture(windows + 20 * spectrum + 20 * envelope - 7), dsp.texture(windows), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(dsp.texture(2 * windows), 2 * dsp.texture(windows))
