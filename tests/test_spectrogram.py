"""Log-mel against librosa, a tone as oracle, windows against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asdkit import spectrogram
from asdkit.spectrogram import cut_windows, log_mel, mel_filterbank, mel_to_hz, stft, window_starts

RESOLUTIONS = [(1024, 512, 128), (256, 128, 32)]  # n_fft, hop, mel bands
spans = st.tuples(st.integers(0, 1000), st.integers(1, 120), st.integers(1, 100))  # frames beside a window, width, hop


@pytest.fixture(scope="module")
def samples():
    """(2, n_samples) noise, the second channel quieter and ending in digital silence."""
    x = np.random.default_rng(0).normal(size=(2, 20000)) * [[0.1], [1e-3]]
    x[1, 15000:] = 0
    return x.astype(np.float32)


def test_equals_librosa(samples):
    import librosa  # slow, and needed here only

    for n_fft, hop, n_mels in RESOLUTIONS:
        theirs = librosa.filters.mel(sr=16000, n_fft=n_fft, n_mels=n_mels)
        np.testing.assert_allclose(mel_filterbank(n_mels, n_fft).numpy(), theirs, atol=1e-7)
        options = dict(n_fft=n_fft, hop_length=hop, n_mels=n_mels, pad_mode="constant")
        power = librosa.feature.melspectrogram(y=samples.astype(float), sr=16000, **options)
        ours = log_mel(stft(torch.from_numpy(samples), n_fft, hop), n_mels).numpy()
        np.testing.assert_allclose(ours, 10 * np.log10(np.maximum(power, 1e-10)), atol=1e-3)
        assert ours.min() == -100  # digital silence rests on the floor
    hz = np.linspace(0, 8000, 500)
    np.testing.assert_allclose(spectrogram.hz_to_mel(hz), librosa.hz_to_mel(hz), rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(spectrogram.hz_to_mel(hz)), hz, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("hz", [200, 1000, 3000, 7000])
def test_a_tone_lands_in_its_band(hz):
    tone = np.sin(2 * np.pi * hz * np.arange(16000) / 16000).astype(np.float32)
    loudest = log_mel(stft(torch.from_numpy(tone)))[:, 5:-5].mean(1).argmax()
    centres = mel_to_hz(np.linspace(0, spectrogram.hz_to_mel(8000), 130))[1:-1]
    assert abs(loudest.item() - np.abs(centres - hz).argmin()) <= 1


def test_leading_dimensions_are_kept(samples):
    x = torch.from_numpy(samples)
    together = stft(x.reshape(2, 1, -1))
    assert together.shape == (2, 1, 513, 40)
    torch.testing.assert_close(together[1, 0], stft(x[1]))


@settings(deadline=None)
@given(spans)
def test_windows_begin_at_the_start_and_end_at_the_end(span):
    room, width, hop = span
    starts = window_starts(room + width, width, hop)
    steps = np.diff(starts)
    assert starts[0] == 0
    assert starts[-1] == room  # no tail is lost
    assert (steps > 0).all()
    assert np.ptp(steps) <= 1 if len(steps) else room == 0  # evenly spaced
    if room >= hop:
        assert abs(steps.mean() - hop) <= hop / 2


def test_a_clip_of_ten_seconds_has_thirty_windows_at_the_test_hop():
    assert len(window_starts(1 + 160000 // 512, 80, 8)) == 30


def test_a_clip_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="79 frames is shorter than a window of 80"):
        window_starts(79, 80, 8)


def test_cut_windows_equals_slices():
    frames = torch.randn(5, 33, generator=torch.Generator().manual_seed(0))
    starts = window_starts(33, 8, 3)
    naive = torch.stack([frames[:, s : s + 8] for s in starts])
    assert torch.equal(cut_windows(frames, starts, 8), naive)
