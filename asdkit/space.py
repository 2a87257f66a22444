"""Blocks made comparable in one space: whitening, one scalar per block, concatenation; and file scores.

Normal recordings vary much along few directions (load, speed, level, noise) and little along most. Divided by this variation,
every direction counts by what is unusual there.

blocks : {name: (n_windows, dim)}. recordings : (n_windows,) integer ids. is_target : (n_windows,) bool.
clips : (n_windows,) index of the clip a window comes from, ascending.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from asdkit.conditioning import FarConditioner, fit_conditioner
from asdkit.config import Config


def whitening(z: torch.Tensor, recordings: np.ndarray, is_target: np.ndarray) -> tuple[torch.Tensor, float]:
    """Symmetric weights ``m^(1/2) C^(-1/2)``, (dim, dim): distances of ``z @ weights`` are Mahalanobis distances; and rho.

    C is the covariance S of z-scored training windows (n_windows, dim) about the mean of their own domain, shrunk toward its
    mean variance m by Ledoit and Wolf's formula (J. Multivariate Analysis 88, 2004) with recordings as the samples, since
    windows of one recording are siblings: ``C = (1 - rho) S + rho m I``, ``rho = min(1, b2 / d2)``, ``d2 = ||S - m I||^2``,
    ``b2 = sum_r (n_r / n)^2 ||S_r - S||^2``, S_r the covariance of recording r about the same means. A single recording gives
    rho 1 and the identity. The symmetric root keeps each feature closest to itself, and so its band.
    """
    x = z.double().clone()
    for rows in (torch.from_numpy(is_target), torch.from_numpy(~is_target)):
        x[rows] -= x[rows].mean(0) if rows.any() else 0.0
    n, dim = x.shape
    ids, index, counts = np.unique(recordings, return_inverse=True, return_counts=True)
    covariance = x.T @ x / n
    mean_variance = float(covariance.diagonal().mean())
    if len(ids) < 2 or mean_variance <= 1e-12:
        return torch.eye(dim, dtype=z.dtype), 1.0
    rho = _shrinkage(x, covariance, mean_variance, index, counts)
    variances, directions = torch.linalg.eigh(covariance)
    variances = ((1 - rho) * variances.clamp(min=0) + rho * mean_variance).clamp(min=1e-6 * mean_variance)
    return ((directions * (mean_variance / variances).sqrt()) @ directions.T).to(z.dtype), rho


def _shrinkage(x, covariance, mean_variance: float, index: np.ndarray, counts: np.ndarray) -> float:
    """rho of `whitening`, from the sum over recordings of ``||S_r||^2 - 2 <S_r, S> + ||S||^2`` without forming any S_r."""
    order = torch.from_numpy(np.argsort(index, kind="stable"))
    grams = (y @ y.T if len(y) < y.shape[1] else y.T @ y for y in x[order].split(counts.tolist()))
    own = sum(float(gram.square().sum()) for gram in grams)
    squared, weights = float(covariance.square().sum()), torch.from_numpy(counts[index]).double()
    cross = float(weights @ ((x @ covariance) * x).sum(1))
    b2 = (own - 2 * cross + float((counts.astype(float) ** 2).sum()) * squared) / len(x) ** 2
    d2 = squared - x.shape[1] * mean_variance**2
    return min(1.0, max(b2, 0.0) / d2) if d2 > 1e-12 * squared else 1.0


@dataclass(frozen=True)
class Scaler:
    """z-score of each feature by training windows, then whitened if asked; a constant feature is centred and left unscaled."""

    mean: torch.Tensor  # (dim,)
    std: torch.Tensor  # (dim,)
    weights: torch.Tensor | None = None  # (dim, dim) whitens z-scores
    rho: float = 0.0  # shrinkage of the covariance, 0 to 1: how little the recordings support it

    @classmethod
    def fit(cls, x: torch.Tensor, recordings: np.ndarray | None = None, is_target: np.ndarray | None = None) -> Self:
        """From training windows (n_windows, dim); whitened where recordings and domains are given."""
        std = x.std(0, correction=0)
        constant = std <= 1e-6 * x.abs().amax(0).clamp(min=1e-6)
        scaler = cls(x.mean(0), torch.where(constant, 1.0, std))
        if recordings is None:
            return scaler
        weights, rho = whitening(scaler(x), recordings, is_target)
        return replace(scaler, weights=weights, rho=rho)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        z = (x - self.mean) / self.std
        return z if self.weights is None else z @ self.weights


@dataclass(frozen=True)
class Space:
    """Makes raw blocks comparable and puts them side by side."""

    scalers: dict[str, Scaler]
    scales: dict[str, float]  # what each block is divided by
    conditioner: FarConditioner | None = None  # of the "msm" block, where alpha acts on the embedding
    removed: float = 0.0  # share of the MSM block's training variance that conditioning takes away

    def __call__(self, blocks: dict[str, torch.Tensor]) -> torch.Tensor:
        """The windows of a clip in the space: (n_windows, sum of dims), in the order of the blocks."""
        return self.balanced(torch.cat([self.conditioned(name, blocks[name]) for name in self.scales], dim=1))

    def balanced(self, x: torch.Tensor) -> torch.Tensor:
        """Blocks side by side, each divided by its scale. Shape: (n, sum of dims) -> the same."""
        parts = (x[:, where] / self.scales[name] for name, where in self.slices().items())
        return torch.cat(list(parts), dim=1)

    def conditioned(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """z-scored (and whitened) and, for "msm", conditioned, but not yet balanced."""
        z = self.scalers[name](x)
        return self.conditioner(z) if name == "msm" and self.conditioner else z

    def slices(self) -> dict[str, slice]:
        """Where each block lies in the space."""
        edges = np.cumsum([0, *(len(self.scalers[name].mean) for name in self.scales)]).tolist()
        return {name: slice(*edge) for name, edge in zip(self.scales, zip(edges, edges[1:]))}


def fit_space(
    blocks, recordings, is_target, config: Config, far: torch.Tensor | None = None, seed: int = 0, scaler=Scaler.fit
) -> Space:
    """Scalers, and the Far-conditioner of the MSM block where there is one, from training windows; not balanced.

    `far` (n_windows, dim) is the embedding of far in the same windows, needed where `conditions_embedding`. `scaler` is
    `Scaler.fit`, or a function that has its values from elsewhere.
    """
    groups = (recordings, is_target) if config.whiten else ()
    scalers, conditioner, removed = {name: scaler(x, *groups) for name, x in blocks.items()}, None, 0.0
    if conditions_embedding(config):
        z, z_far = scalers["msm"](blocks["msm"]), scaler(far, *groups)(far)
        conditioner = fit_conditioner(z, z_far, recordings, config.alpha, config.rank, config.control, seed)
        removed = conditioner.removed_share(z)
    return Space(scalers, dict.fromkeys(blocks, 1.0), conditioner, removed)


def conditions_embedding(config: Config) -> bool:
    """Whether Far-conditioning acts on the embedding, and changes anything."""
    return config.conditioning == "subspace" and "msm" in config.blocks and config.alpha > 0 and config.rank > 0


def units(z: torch.Tensor, clips: np.ndarray, config: Config) -> torch.Tensor:
    """What is compared: the mean of the windows of each clip where they are pooled, else the windows themselves."""
    if config.aggregate != "pooled":
        return z
    counts = np.unique(clips, return_counts=True)[1].tolist()
    return torch.stack([windows.mean(0) for windows in z.split(counts)])


def unit_rows(clips: np.ndarray, config: Config) -> np.ndarray:
    """For each unit the index of a window of it."""
    return np.unique(clips, return_index=True)[1] if config.aggregate == "pooled" else np.arange(len(clips))


def aggregate(scores: torch.Tensor, how: str = "top", top: float = 0.1) -> float:
    """One score per file from its window scores: mean of the highest ``max(1, ceil(top * n))``, mean, or maximum."""
    return float(scores.topk(top_count(len(scores), how, top)).values.mean())


def top_count(n_windows: int, how: str = "top", top: float = 0.1) -> int:
    """How many of the highest window scores make the file score."""
    n = {"top": max(1, int(np.ceil(round(top * n_windows, 9)))), "max": 1}
    return n.get(how, n_windows)
