"""Masked spectrogram model (MSM): masks, encoder, bottleneck, decoder, loss. Read it top to bottom.

x : (batch, n_mels, width) log-mel windows, z-scored by band and whitened across bands by `BandWhitening`.
hidden : (batch, n_mels / 16, width / 8) bool, True where a patch of 16 mel bands x 8 frames is hidden from the encoder.
map : (batch, CHANNELS[-1], ROWS, width / 8) the last convolutional map.
embedding : (batch, 2 * CHANNELS[-1] * ROWS) mean and standard deviation of the map over time: the bottleneck.

The bottleneck says what is in a window and not when, so the decoder has nothing to say about time either: it predicts the
distribution of the hidden cells of each band. The nearest published relative is SparK (Tian et al., ICLR 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

PATCH = (16, 8)  # mel bands, frames
N_MELS = 128
CHANNELS = (16, 32, 16)
KERNELS = (4, 3, 3)
STRIDES = (4, 2, 1)  # the first convolution reads whole tiles of 4 x 4, so that no tile sees both sides of a mask
ROWS = 16  # mel rows of the last map
UNITS = 128  # of the decoder
LOG_VARIANCE = 6.0  # a predicted one stays within +- this; the input has variance 1


@dataclass(frozen=True)
class BandWhitening:
    """z-scores each band, then decorrelates the bands (ZCA): a squared error then learns every direction, not the loudest."""

    mean: torch.Tensor  # (n_mels, 1)
    std: torch.Tensor  # (n_mels, 1)
    matrix: torch.Tensor  # (n_mels, n_mels), symmetric

    @classmethod
    def fit(cls, logmels: Sequence[torch.Tensor], shrinkage: float = 0.03) -> Self:
        """From the frames of all clips, clip by clip; the covariance is shrunk toward its mean variance."""
        n = sum(x.shape[1] for x in logmels)
        mean = sum(x.double().sum(1, keepdim=True) for x in logmels) / n
        covariance = sum((x - mean) @ (x - mean).T for x in map(torch.Tensor.double, logmels)) / n
        std = covariance.diagonal()[:, None].sqrt().clamp(min=1e-3)  # 1e-3 dB: a silent band stays finite
        correlation = covariance / (std * std.T)
        target = correlation.diagonal().mean() * torch.eye(len(std), dtype=std.dtype)
        values, vectors = torch.linalg.eigh((1 - shrinkage) * correlation + shrinkage * target)
        return cls(mean.float(), std.float(), ((vectors * values.clamp(min=1e-6).rsqrt()) @ vectors.T).float())

    def __call__(self, logmel: torch.Tensor) -> torch.Tensor:
        """Shape: (n_mels, n_frames) dB -> (n_mels, n_frames)."""
        return self.matrix @ ((logmel - self.mean) / self.std)


class MSM(nn.Module):
    """Convolutional encoder, bottleneck pooled over time, Gaussian decoder by band."""

    def __init__(self):
        super().__init__()
        self.arguments = {}  # what makes another one of this shape
        layers, c_in = [], 1
        for c_out, kernel, stride in zip(CHANNELS, KERNELS, STRIDES):
            layers += [nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2 if kernel % 2 else 0)]
            layers += [nn.BatchNorm2d(c_out), nn.ReLU()]
            c_in = c_out
        self.encoder = nn.Sequential(*layers[:-2]).to(memory_format=torch.channels_last)  # the last map is linear
        self.dim = 2 * CHANNELS[-1] * ROWS
        self.decoder = nn.Sequential(nn.Linear(self.dim, UNITS), nn.ReLU(), nn.Linear(UNITS, 2 * N_MELS))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Last map. Shape: (batch, n_mels, width) -> (batch, CHANNELS[-1], ROWS, width / 8)."""
        return self.encoder(x[:, None].contiguous(memory_format=torch.channels_last))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Embedding of windows. Shape: (batch, n_mels, width) -> (batch, dim)."""
        features = self.encode(x)
        mean = features.mean(-1)  # torch's own variance is slow; training keeps it, as another rounding trains other weights
        variance = features.var(-1, correction=0) if self.training else (features - mean[..., None]).square().mean(-1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1).flatten(1)  # 1e-5: finite gradient of a silent row

    def decode(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of the cells of each band. Shape: (batch, dim) -> (batch, n_mels) twice."""
        mean, log_variance = self.decoder(embedding).chunk(2, dim=1)
        return mean, log_variance.clamp(-LOG_VARIANCE, LOG_VARIANCE)

    def grid(self, width: int) -> tuple[int, int]:
        """Patches of a window: rows, columns."""
        return N_MELS // PATCH[0], width // PATCH[1]


def random_hidden(batch: int, grid: tuple[int, int], ratio: float, generator: torch.Generator) -> torch.Tensor:
    """Hide the same number of patches, ``round(ratio * n_patches)``, in every window. Returns (batch, *grid) bool."""
    n = grid[0] * grid[1]
    order = torch.rand(batch, n, generator=generator, device=generator.device).argsort(1).argsort(1)
    return (order < round(ratio * n)).view(batch, *grid)


def to_cells(hidden: torch.Tensor) -> torch.Tensor:
    """Spread a patch mask over its spectrogram cells. Shape: (batch, rows, columns) -> (batch, 16 rows, 8 columns)."""
    return hidden.repeat_interleave(PATCH[0], 1).repeat_interleave(PATCH[1], 2)


def masked_error(model: MSM, x: torch.Tensor, hidden: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
    """Twice the negative log likelihood of the hidden cells, mean by band; of all cells where nothing is hidden.

    One prediction serves all cells of a band, so that it takes no more than their number, sum and sum of squares. `target` is
    what is to be restored, `x` by default. Shape: (batch, n_mels, width), (batch, rows, columns) bool -> (batch, n_mels).
    """
    cells = to_cells(hidden)
    mean, log_variance = model.decode(model.embed(x.masked_fill(cells, 0.0)))  # 0 is the band's mean: standardised input
    counted = (cells | ~cells.flatten(1).any(1)[:, None, None]).to(x.dtype)
    target = x if target is None else target
    n, total, squares = counted.sum(2), (counted * target).sum(2), (counted * target.square()).sum(2)
    squared_error = squares - 2 * mean * total + n * mean.square()
    return (squared_error * (-log_variance).exp() + n * log_variance) / n.mean(1, keepdim=True)


@torch.no_grad()
def calibrate_batchnorm(model: MSM, batches) -> None:
    """Replace running statistics by those of unmasked windows; leaves the model in evaluation mode.

    Training sees zeros where patches are hidden and scoring does not. An untrained encoder needs the same pass.
    """
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average over the batches
    model.train()
    for x in batches:
        model.encode(x)
    model.eval()
