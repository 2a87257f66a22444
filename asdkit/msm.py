"""Masked spectrogram model (MSM): patchify, mask, encode, decode, loss. Read it top to bottom.

Legend
------
x : (batch, n_mels, width) standardised log-mel windows. Patches are 16 mel bands x 8 frames.
hidden : (batch, n_mels / 16, width / 8) bool, True where a patch is hidden from the encoder.
map : (batch, CHANNELS[-1], n_mels / 16, width / 8) the last convolutional map, one column per patch.
embedding : (batch, bottleneck).

The nearest published relative is SparK (Tian et al., ICLR 2023): mask ratio 0.6, loss on hidden cells only.
"""

from __future__ import annotations

import torch
from torch import nn

PATCH = (16, 8)  # mel bands, frames
N_MELS = 128
CHANNELS = (32, 64, 128, 128)  # of the four convolutions
STRIDES = ((2, 2), (2, 2), (2, 2), (2, 1))  # together one patch


class MSM(nn.Module):
    """Convolutional encoder-decoder through a flat bottleneck.

    Parameters
    ----------
    width : int
        Frames in a window, a multiple of 8.
    bottleneck : int
        Units of the embedding.
    """

    def __init__(self, width: int = 80, bottleneck: int = 128):
        super().__init__()
        self.arguments = dict(width=width, bottleneck=bottleneck)  # what makes another one of this shape
        self.grid = (N_MELS // PATCH[0], width // PATCH[1])
        layers, c_in = [], 1
        for c_out, stride in zip(CHANNELS, STRIDES):
            layers += [nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
            c_in = c_out
        self.encoder = nn.Sequential(*layers)
        n_map = CHANNELS[-1] * self.grid[0] * self.grid[1]
        self.to_bottleneck = nn.Linear(n_map, bottleneck)
        self.from_bottleneck = nn.Sequential(nn.Linear(bottleneck, n_map), nn.ReLU())
        self.to_patches = nn.Conv2d(CHANNELS[-1], PATCH[0] * PATCH[1], 1)  # a cheap decoder: one patch per map column

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct windows. Shape: (batch, n_mels, width) -> the same."""
        return self.decode(self.embed(x))

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Windows from bottleneck vectors. Shape: (batch, bottleneck) -> (batch, n_mels, width)."""
        columns = self.from_bottleneck(latent).view(len(latent), CHANNELS[-1], *self.grid)
        return unpatchify(self.to_patches(columns))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Embedding of unmasked windows. Shape: (batch, n_mels, width) -> (batch, bottleneck)."""
        return self.to_bottleneck(self.encoder(x[:, None]).flatten(1))


def unpatchify(patches: torch.Tensor) -> torch.Tensor:
    """Lay patches out as a spectrogram. Shape: (batch, 16 * 8, rows, columns) -> (batch, 16 rows, 8 columns)."""
    batch, _, rows, columns = patches.shape
    cells = patches.view(batch, *PATCH, rows, columns).permute(0, 3, 1, 4, 2)
    return cells.reshape(batch, rows * PATCH[0], columns * PATCH[1])


def random_hidden(batch: int, grid: tuple[int, int], ratio: float, generator: torch.Generator) -> torch.Tensor:
    """Hide the same number of patches, ``round(ratio * n_patches)``, in every window. Returns (batch, *grid) bool."""
    n = grid[0] * grid[1]
    order = torch.rand(batch, n, generator=generator).argsort(1).argsort(1)
    return (order < round(ratio * n)).view(batch, *grid)


def to_cells(hidden: torch.Tensor) -> torch.Tensor:
    """Spread a patch mask over its spectrogram cells. Shape: (batch, rows, columns) -> (batch, 16 rows, 8 columns)."""
    return hidden.repeat_interleave(PATCH[0], 1).repeat_interleave(PATCH[1], 2)


def masked_error(model: MSM, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each window on its hidden cells; all cells where nothing is hidden. Returns (batch,)."""
    cells = to_cells(hidden)
    squared = (model(x.masked_fill(cells, 0.0)) - x).square()  # 0 is the band's mean: standardised input
    counted = torch.where(cells.any(-1).any(-1)[:, None, None], cells, True)
    return (squared * counted).sum((1, 2)) / counted.sum((1, 2))


@torch.no_grad()
def calibrate_batchnorm(model: nn.Module, batches) -> None:
    """Replace running statistics by those of unmasked windows.

    Training sees windows full of zeros where patches are hidden and scoring does not, so the running statistics of the
    one are wrong for the other. An untrained encoder needs the same pass.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average over the batches
    model.train()
    for x in batches:
        model.encoder(x[:, None])
    model.eval()
