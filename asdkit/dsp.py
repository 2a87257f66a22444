"""Cancelling far, and the DSP descriptors: far-context ridge residuals, temporal modulation and texture.

near, far : STFTs (n_bins, n_frames) or log-mels (n_mels, n_frames) of the two channels.
windows : (n_windows, n_bands, width). A descriptor is (n_windows, dim).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch

from asdkit.spectrogram import power


def transfer(near: torch.Tensor, far: torch.Tensor, penalty: float = 1e-2) -> torch.Tensor:
    """What of far is heard in near: one complex coefficient per frequency, ``H``.

    ``H = mean_t w near conj(far) / (mean_t w |far|^2 + penalty * mean_tf w |far|^2)``, each frame weighted by ``w``, one over
    the power of near in it: loud frames are the machine's own, far hears them too, and unweighted H would remove the machine.

    Shape: (n_bins, n_frames) complex twice -> (n_bins,) complex.
    """
    far_power, loudness = power(far), power(near).mean(0)
    weights = 1 / (loudness + 1e-3 * loudness.mean() + 1e-20)  # a frame of digital silence does not outweigh all others
    weights = weights / weights.sum()
    far_power, cross = far_power @ weights, (near * far.conj()) @ weights.to(near.dtype)
    ridge = far_power + penalty * far_power.mean()
    return cross / ridge.clamp(min=torch.finfo(ridge.dtype).tiny)


def cancel_far(near: torch.Tensor, far: torch.Tensor, alpha: float = 1.0, penalty: float = 1e-2) -> torch.Tensor:
    """Far-conditioning of the input: ``near - alpha H far``, H of `transfer`, `alpha` in [0, 1]; near where far is silent."""
    return near if alpha == 0 else near.addcmul(transfer(near, far, penalty)[:, None], far, value=-alpha)


def far_context(far: torch.Tensor, context: int) -> torch.Tensor:
    """Each frame with its neighbours. Shape: (n_mels, n_frames) -> ((2 context + 1) n_mels, n_frames)."""
    padded = torch.nn.functional.pad(far[None], (context, context), mode="replicate")[0]
    return torch.cat([padded[:, i : i + far.shape[1]] for i in range(2 * context + 1)])


@dataclass(frozen=True)
class Ridge:
    """Linear prediction of the near log-mel frame from the far log-mel context (the `log-mel` ridge residual)."""

    weights: torch.Tensor  # ((2 context + 1) n_mels, n_mels)
    intercept: torch.Tensor  # (n_mels,)

    def residual(self, near: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
        """Near minus its prediction, dB. Shape: (n_mels, n_frames) twice -> (n_mels, n_frames)."""
        context = (len(self.weights) // len(near) - 1) // 2
        return near - self.weights.T @ far_context(far, context) - self.intercept[:, None]


@dataclass(frozen=True)
class RidgeStatistics:
    """Sums over frames from which a ridge regression is solved; statistics of disjoint clips add up."""

    n: int
    x: torch.Tensor  # (n_x,) sum of the context
    y: torch.Tensor  # (n_mels,) sum of near
    xx: torch.Tensor  # (n_x, n_x)
    xy: torch.Tensor  # (n_x, n_mels)

    @classmethod
    def of(cls, near: torch.Tensor, far: torch.Tensor, context: int) -> Self:
        """Statistics of one clip's log-mels, in double precision."""
        x, y = far_context(far, context).double(), near.double()
        return cls(x.shape[1], x.sum(1), y.sum(1), x @ x.T, x @ y.T)

    def __add__(self, other: Self) -> Self:
        return RidgeStatistics(*(a + b for a, b in zip(vars(self).values(), vars(other).values())))

    def solve(self, penalty: float) -> Ridge:
        """Regression with an intercept; `penalty` is a fraction of the mean variance of the context."""
        mean_x, mean_y = self.x / self.n, self.y / self.n
        cov_x = self.xx / self.n - mean_x[:, None] * mean_x
        cov_xy = self.xy / self.n - mean_x[:, None] * mean_y
        ridge = penalty * cov_x.diagonal().mean() + 1e-9  # dB^2; keeps a constant far channel solvable
        weights = torch.linalg.solve(cov_x + ridge * torch.eye(len(cov_x), dtype=cov_x.dtype), cov_xy)
        return Ridge(weights.float().contiguous(), (mean_y - mean_x @ weights).float())


def statistics(windows: torch.Tensor, with_p95: bool = False) -> torch.Tensor:
    """Mean and standard deviation over time of each band and, with `with_p95`, the 95th percentile: 2 or 3 x n_bands."""
    mean = windows.mean(-1)
    columns = [mean, (windows - mean[..., None]).square_().mean(-1).sqrt()]  # ten times as fast as torch's own std
    if with_p95:
        rank = round(0.95 * (windows.shape[-1] - 1))  # of the sorted frames; no interpolation
        columns.append(torch.from_numpy(np.partition(windows.numpy(), rank, axis=-1)[..., rank]))
    return torch.cat(columns, dim=1)


def modulation_bands(width: int, frame_rate: float, lowest: float = 0.4) -> list[tuple[int, int]]:
    """Octave-like bands of modulation frequency from `lowest` (Hz), as [first, last) bins of a real FFT over `width` frames.

    >>> modulation_bands(80, 31.25)
    [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 41)]
    """
    first, n_bins = max(1, round(lowest * width / frame_rate)), width // 2 + 1
    edges = [first]
    while 2 * edges[-1] < n_bins:
        edges.append(2 * edges[-1])
    return list(zip(edges, edges[1:] + [n_bins]))


def modulation(windows: torch.Tensor, frame_rate: float) -> torch.Tensor:
    """Temporal modulation: power of each band's log envelope in octave-like modulation bands, dB: bands x modulation bands."""
    width = windows.shape[-1]
    centred = (windows - windows.mean(-1, keepdim=True)) * torch.hann_window(width)
    pooled = power(torch.fft.rfft(centred)) @ _pooling(width, frame_rate) / width
    return (10 * (pooled + 1e-3).log10()).flatten(1)  # 1e-3 dB^2: a constant envelope has a finite descriptor


@lru_cache(maxsize=8)
def _pooling(width: int, frame_rate: float) -> torch.Tensor:
    bands = modulation_bands(width, frame_rate)
    pool = torch.zeros(width // 2 + 1, len(bands))
    for i, (first, last) in enumerate(bands):
        pool[first:last, i] = 1 / (last - first)
    return pool


TEXTURE_SCALES = ((1, 2), (2, 1), (2, 2), (2, 4), (4, 2), (4, 4))  # bands, frames of a cell
TEXTURE_BANDS = 16


def texture(windows: torch.Tensor) -> torch.Tensor:
    """Texture: how strongly a spectrogram changes across time and frequency together, at several scales, dB.

    A window is averaged over cells of each scale; the mixed difference of four neighbouring cells (a Haar wavelet, diagonal)
    is blind to steady tones, to level and to clicks that are alike in all bands. Its mean magnitude over time is averaged in
    16 bands: 6 scales x 16. The width is a multiple of 4.
    """
    columns = []
    for bands, frames in TEXTURE_SCALES:
        mixed = _halved(_halved(windows, -2, bands), -1, frames).diff(dim=-2).diff(dim=-1)
        columns.append(torch.nn.functional.adaptive_avg_pool1d(mixed.abs_().mean(-1), TEXTURE_BANDS))
    return torch.cat(columns, dim=1)


def _halved(x: torch.Tensor, axis: int, n: int) -> torch.Tensor:
    """Mean of every `n` neighbours along an axis, n a power of two: faster than a pooling layer."""
    while n > 1:
        even, odd = x.unflatten(axis, (-1, 2)).unbind(axis)
        x, n = (even + odd) / 2, n // 2
    return x
