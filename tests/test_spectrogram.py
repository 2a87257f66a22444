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


@settings(deadline=None)
@given(spans)
def test_windows_begin_at_the_start_and_end_at_the_end(span):
    room, width, hop = span
    starts = window_starts(room + width, width, hop)
    steps = np.diff(starts)
    assert starts[0] == 0 and starts[-1] == room and (steps > 0).all()  # no tail is lost
    assert np.ptp(steps) <= 1 if len(steps) else room == 0  # evenly spaced
    if room >= hop:
        assert abs(steps.mean() - hop) <= hop / 2


def test_cut_windows_equals_slices_and_a_clip_shorter_than_a_window_is_refused():
    frames = torch.randn(5, 33, generator=torch.Generator().manual_seed(0))
    starts = window_starts(33, 8, 3)
    assert torch.equal(cut_windows(frames, starts, 8), torch.stack([frames[:, s : s + 8] for s in starts]))
    with pytest.raises(ValueError, match="79 frames is shorter than a window of 80"):
        window_starts(79, 80, 8)
