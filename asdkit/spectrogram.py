"""STFT, log-mel spectrograms and windows, in torch and equal to librosa's.

samples : (..., n_samples) float32. stft : (..., n_bins, n_frames) complex64. logmel : (..., n_mels, n_frames) float32, dB.
windows : (n_windows, n_mels, width). Hop and width are counted in frames once a spectrogram exists.
"""

from functools import lru_cache

import numpy as np
import torch

FLOOR = 1e-10  # power; -100 dB


def stft(samples: torch.Tensor, n_fft: int = 1024, hop: int = 512) -> torch.Tensor:
    """Short-time Fourier transform, periodic Hann, centred, zero padding: (..., 1 + n_fft // 2, 1 + n_samples // hop)."""
    flat = samples.reshape(-1, samples.shape[-1])
    spec = torch.stft(flat, n_fft, hop, window=_hann(n_fft, flat.device), pad_mode="constant", return_complex=True)
    return spec.reshape(*samples.shape[:-1], *spec.shape[-2:])


@lru_cache(maxsize=8)
def _hann(n_fft: int, device: torch.device) -> torch.Tensor:
    return torch.hann_window(n_fft, device=device)


def hz_to_mel(hz):
    """Slaney's mel scale: linear (200/3 Hz per mel) below 1 kHz, logarithmic above."""
    hz = np.asarray(hz, dtype=float)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def mel_to_hz(mel):
    """Inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=float)
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))


@lru_cache(maxsize=8)
def mel_filterbank(n_mels: int = 128, n_fft: int = 1024, sample_rate: int = 16000) -> torch.Tensor:
    """Triangular mel filters of unit area (Slaney), 0 Hz to Nyquist: (n_mels, 1 + n_fft // 2). Do not write to it."""
    hz = mel_to_hz(np.linspace(0, hz_to_mel(sample_rate / 2), n_mels + 2))
    bins = np.linspace(0, sample_rate / 2, 1 + n_fft // 2)
    rising = (bins - hz[:-2, None]) / (hz[1:-1] - hz[:-2])[:, None]
    falling = (hz[2:, None] - bins) / (hz[2:] - hz[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return torch.from_numpy((triangles * (2 / (hz[2:] - hz[:-2]))[:, None]).astype(np.float32))


def log_mel(spec: torch.Tensor, n_mels: int = 128, sample_rate: int = 16000) -> torch.Tensor:
    """Log-mel spectrogram of an STFT, dB: ``10 log10(max(mel power, 1e-10))``."""
    n_fft = 2 * (spec.shape[-2] - 1)
    low, high = (filters.to(spec.device) for filters in _halves(n_mels, n_fft, sample_rate))
    squared = power(spec)
    mel = torch.cat([low @ squared[..., : low.shape[1], :], high @ squared], dim=-2)
    return mel.clamp_(min=FLOOR).log10_().mul_(10)


@lru_cache(maxsize=8)
def _halves(n_mels: int, n_fft: int, sample_rate: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Filters of the lower half of the mel bands, which take a fifth of the bins, without the others; and of the upper half."""
    low, high = mel_filterbank(n_mels, n_fft, sample_rate).tensor_split(2)
    return low[:, : int(low.any(0).cumsum(0).argmax()) + 1], high


def power(spec: torch.Tensor) -> torch.Tensor:
    """Squared magnitude of an STFT, without the square root of ``abs()``. Shape: (..., n_bins, n_frames) -> the same, real."""
    real, imaginary = torch.view_as_real(spec).square().unbind(-1)  # all at once: numbers side by side are squared faster
    return real + imaginary


def window_starts(n_frames: int, width: int, hop: int) -> np.ndarray:
    """First frames of the windows of one clip: evenly spaced, about `hop` apart, the last aligned to the end of the clip.

    >>> window_starts(313, 80, 40)
    array([  0,  39,  78, 116, 155, 194, 233])
    """
    room = n_frames - width
    if room < 0:
        raise ValueError(f"a clip of {n_frames} frames is shorter than a window of {width}")
    n_hops = max(round(room / hop), min(room, 1))  # a clip just longer than a window has two: its tail counts
    return np.linspace(0, room, n_hops + 1).round().astype(int)


def cut_windows(frames: torch.Tensor, starts: np.ndarray, width: int) -> torch.Tensor:
    """Cut windows out of a spectrogram. Shape: (n_mels, n_frames) -> (n_windows, n_mels, width)."""
    return torch.stack([frames[:, start : start + width] for start in starts.tolist()])
