"""Blocks made comparable in one space: z-scores, whitening, Far-conditioning, one scalar per block; and file scores.

Legend
------
blocks : {name: (n_windows, dim)}. recordings : (n_windows,) integer ids. scores : higher = more anomalous.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from asdkit.conditioning import FarConditioner, fit_conditioner
from asdkit.config import Config
from asdkit.knn import median_scale

SHRINKAGE = 0.1  # of a whitened block's covariance; the variance of a z-score is 1. From 0.03 to 0.3 detection is the same


@dataclass(frozen=True)
class Scaler:
    """z-score of each feature by training windows, then whitened if asked; a constant feature is centred and left unscaled."""

    mean: torch.Tensor  # (dim,)
    std: torch.Tensor  # (dim,)
    weights: torch.Tensor | None = None  # (dim, dim) whitens z-scores

    @classmethod
    def fit(cls, x: torch.Tensor, whiten: bool = False) -> Scaler:
        """From training windows (n_windows, dim)."""
        std = x.std(0, correction=0)
        constant = std <= 1e-6 * x.abs().amax(0).clamp(min=1e-6)
        scaler = cls(x.mean(0), torch.where(constant, 1.0, std))
        return replace(scaler, weights=whitening(scaler(x))) if whiten else scaler

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        z = (x - self.mean) / self.std
        return z if self.weights is None else z @ self.weights


def whitening(z: torch.Tensor) -> torch.Tensor:
    """Weights ``(C + SHRINKAGE I)^(-1/2)``, C the covariance of z-scored windows: distances become Mahalanobis distances.

    Features that say the same no longer count as often as they say it. Of all square roots the symmetric one keeps each feature
    closest to what it was, and so its band. Shape: (n_windows, dim) -> (dim, dim).
    """
    variances, directions = torch.linalg.eigh(z.double().T.cov(correction=0))
    return ((directions / (variances.clamp(min=0) + SHRINKAGE).sqrt()) @ directions.T).to(z.dtype)


@dataclass(frozen=True)
class Space:
    """Makes raw blocks comparable: z-scored, some whitened, the MSM block conditioned on far, each divided by its scale."""

    scalers: dict[str, Scaler]
    conditioner: FarConditioner | None  # of the "msm" block
    scales: dict[str, float]
    fusion: str  # "concatenate", or each block is searched on its own
    removed: float = 0.0  # share of the MSM block's training variance that conditioning takes away

    def __call__(self, blocks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What is searched, from the blocks of a clip: all balanced blocks side by side, or each on its own."""
        balanced = self.balanced(blocks)
        return {"+".join(balanced): torch.cat(list(balanced.values()), dim=1)} if self.fusion == "concatenate" else balanced

    def balanced(self, blocks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Balanced blocks of one clip."""
        return {name: self.conditioned(name, x) / self.scales[name] for name, x in blocks.items()}

    def conditioned(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """z-scored (and whitened) and, for "msm", conditioned, but not yet balanced."""
        z = self.scalers[name](x)
        return self.conditioner(z) if name == "msm" and self.conditioner else z


def is_conditioned(config: Config) -> bool:
    """Whether Far-conditioning changes anything."""
    return "msm" in config.blocks and config.alpha > 0 and config.rank > 0


def fit_space(
    blocks: dict[str, torch.Tensor], recordings: np.ndarray, config: Config, far: torch.Tensor | None = None, seed: int = 0
) -> Space:
    """z-scores, the Far-conditioner of the MSM block, and the scale of each block.

    Parameters
    ----------
    blocks : {name: (n_windows, dim)}
        Of all training windows.
    recordings : (n_windows,) int
    config : Config
    far : (n_windows, dim), optional
        The embedding of far in the same windows; needed where `is_conditioned`.
    seed : int
        Of a random control.
    """
    scalers, conditioner, removed = {name: Scaler.fit(x, name in config.whiten) for name, x in blocks.items()}, None, 0.0
    if is_conditioned(config):
        z = scalers["msm"](blocks["msm"])
        conditioner = fit_conditioner(
            z, Scaler.fit(far)(far), recordings, config.alpha, config.rank, config.rank_rule, config.subspace, config.control,
            seed,
        )  # fmt: skip
        removed = conditioner.removed_share(z)
    space = Space(scalers, conditioner, dict.fromkeys(blocks, 1.0), config.fusion, removed)
    if not config.balance or len(blocks) == 1:
        return space
    return replace(space, scales={name: balance_scale(space.conditioned(name, x), recordings) for name, x in blocks.items()})


def balance_scale(z: torch.Tensor, recordings: np.ndarray) -> float:
    """The scalar that a block is divided by: median leave-one-recording-out nearest-neighbour distance of training normals."""
    scale = median_scale(z, recordings, k=1)
    return 1.0 if np.isnan(scale) else scale


def aggregate(scores: torch.Tensor, how: str = "top", top: float = 0.1) -> float:
    """One score per file from its window scores: mean of the highest ``max(1, ceil(top * n))``, mean, or maximum."""
    if how == "mean":
        return float(scores.mean())
    return float(scores.topk(top_count(len(scores), how, top)).values.mean())


def top_count(n_windows: int, how: str = "top", top: float = 0.1) -> int:
    """How many of the highest window scores make the file score."""
    return {"top": max(1, int(np.ceil(round(top * n_windows, 9)))), "mean": n_windows, "max": 1}[how]


def fuse(scores: np.ndarray, how: str) -> np.ndarray:
    """Join standardised block scores. Shape: (n_clips, n_blocks) -> (n_clips,)."""
    return scores.max(1) if how == "max" else scores.mean(1)
