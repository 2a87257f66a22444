"""The squared kNN distance dealt out to frequency bands: what each dimension of each block belongs to.

Legend
------
blocks : {name: (n_windows, dim)} of one clip; balanced before distances are taken.
The descriptors are (statistic x band), for texture (scale x band), for modulation (channel x resolution x band x modulation
band): a squared distance is a sum over dimensions, and so over bands. An embedding of the network has no bands; all its
dimensions count as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from asdkit.blocks import HOP, RESOLUTIONS, SPEED
from asdkit.config import Config
from asdkit.detector import Detector, join
from asdkit.dsp import TEXTURE_BANDS, modulation_bands
from asdkit.knn import DomainKNN, distances, leave_out, nearest_mean
from asdkit.recordings import SAMPLE_RATE, InputError
from asdkit.spectrogram import hz_to_mel, mel_to_hz

N_BANDS = {"ridge-complex": 128, "ridge-log-mel": 128, "logmel": 128, "texture": TEXTURE_BANDS}  # (statistic or scale, band)
NO_BANDS = ("msm", "msm-residual")


@dataclass(frozen=True)
class Bands:
    """Which band each dimension of a block belongs to."""

    hz: np.ndarray  # (n_bands,) centres; empty where a block has no bands
    index: np.ndarray  # (dim,) int


def band_distances(detector: Detector, blocks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Squared distance to the nearest healthy windows, balanced, dealt out to bands.

    Parameters
    ----------
    detector : Detector
    blocks : {name: (n_windows, dim)}
        Of one clip.

    Returns
    -------
    {name: (n_windows, n_bands)}
        Its sum over bands (and blocks, where they share a space) is the mean squared distance to the `k` neighbours of the
        bank, source or target, that gave the score. One band for a block without bands; empty for a back-end without a bank.
    """
    if not detector.spaces:
        return {}
    spaces = join(detector.balancer(blocks), detector.config)
    return {name: x for space, y in spaces.items() for name, x in space_distances(detector, space, y).items()}


def space_distances(detector: Detector, space: str, x: torch.Tensor, recordings=None) -> dict[str, torch.Tensor]:
    """The same for balanced windows of one space, (n_windows, dim); `recordings` (n_windows,) are left out, each of its own."""
    bands = all_bands(detector)
    members = [space] if space in bands else list(detector.config.blocks)
    sizes = [max(1, len(bands[m].hz)) for m in members]
    offsets = np.cumsum([0, *sizes[:-1]])
    index = torch.from_numpy(np.concatenate([bands[m].index + o for m, o in zip(members, offsets)]))
    total = squared_differences(detector.spaces[space], x, index, sum(sizes), recordings)
    return dict(zip(members, total.split(sizes, dim=1)))


def squared_differences(knn: DomainKNN, x: torch.Tensor, index: torch.Tensor, n_bands: int, recordings=None) -> torch.Tensor:
    """Mean over the neighbours of squared differences, summed within bands. Shape: (n, dim) -> (n, n_bands)."""
    d = distances(x, knn.bank, knn.squared)
    d = nearer_bank(knn, d if recordings is None else leave_out(d, recordings, knn.recordings))
    nearest = d.topk(min(knn.k, d.shape[1]), largest=False)
    total, found = x.new_zeros(len(x), n_bands), nearest.values.isfinite()
    for neighbour, there in zip(nearest.indices.T, found.T):
        difference = (x - knn.bank[neighbour]).square() * there[:, None]
        total.index_add_(1, index, difference)
    return total / found.sum(1, keepdim=True).clamp(min=1)


def nearer_bank(knn: DomainKNN, d: torch.Tensor) -> torch.Tensor:
    """Distances with those to the bank, source or target, that did not give the score at infinity."""
    if not {"domain", "unscaled"} & set(knn.backends):
        return d
    scales = (knn.s_source, knn.s_target) if "domain" in knn.backends else (1.0, 1.0)
    is_target = torch.from_numpy(knn.is_target)
    source, target = (nearest_mean(d[:, mask], knn.k) / s for mask, s in zip((~is_target, is_target), scales))
    return d.masked_fill((target < source)[:, None] ^ is_target, torch.inf)


def all_bands(detector: Detector) -> dict[str, Bands]:
    """The bands of each block of a detector that has banks."""
    scalers = detector.balancer.scalers if detector.balancer else {}
    return {name: block_bands(name, detector.config, len(s.mean)) for name, s in scalers.items()}


def block_bands(name: str, config: Config, dim: int) -> Bands:
    """Which band each of the `dim` dimensions of a block belongs to.

    Raises
    ------
    InputError
        For a block that is not known here, or one of other dimensions than its bands make.
    """
    if name in NO_BANDS:
        return Bands(np.empty(0), np.zeros(dim, dtype=int))
    if name not in (*N_BANDS, "modulation"):
        known = ", ".join((*N_BANDS, "modulation", *NO_BANDS))
        raise InputError(f"block {name}: found no rule for its bands, expected one of {known}")
    if name == "modulation":
        bands = modulation_axis(config)
    else:
        mel = hz_to_mel(mel_centres(RESOLUTIONS["slow"][2])).reshape(N_BANDS[name], -1)
        bands = Bands(mel_to_hz(mel.mean(1)), np.arange(dim) % len(mel))
    if len(bands.index) != dim or dim % len(bands.hz):
        raise InputError(f"block {name}: found {dim} dimensions, expected {len(bands.index)} over {len(bands.hz)} bands")
    return bands


def modulation_axis(config: Config) -> Bands:
    """Channels x resolutions x bands x modulation bands; a slow band counts for the fast one that is nearest in mel."""
    resolutions = ["slow", "fast"] if config.modulation == "both" else [config.modulation]
    hz, parts = mel_centres(RESOLUTIONS[resolutions[-1]][2]), []
    for resolution in resolutions:
        speed = SPEED if resolution == "fast" else 1
        width = SPEED * (config.width - 1) if resolution == "fast" else config.width
        own = hz_to_mel(mel_centres(RESOLUTIONS[resolution][2]))
        nearest = np.abs(own[:, None] - hz_to_mel(hz)).argmin(1)
        parts.append(np.repeat(nearest, len(modulation_bands(width, speed * SAMPLE_RATE / HOP))))
    return Bands(hz, np.tile(np.concatenate(parts), len(config.modulation_channels)))


def mel_centres(n_mels: int) -> np.ndarray:
    """(n_mels,) Hz."""
    return mel_to_hz(np.linspace(0, hz_to_mel(SAMPLE_RATE / 2), n_mels + 2)[1:-1])
