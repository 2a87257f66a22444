"""Far-conditioning: a Far-correlated nuisance subspace of the near embedding, attenuated by one scalar.

near, far : (n_windows, dim) embeddings of the same windows, each z-scored by training normals.
recordings : (n_windows,) integer id of the recording a window comes from.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class FarConditioner:
    """``z' = z - alpha (z - mean) basis basis'``."""

    mean: torch.Tensor  # (dim,)
    basis: torch.Tensor  # (dim, k), orthonormal columns
    alpha: float  # [0, 1]; 0 is the identity, 1 removes the subspace

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Attenuate the subspace and touch nothing orthogonal to it. Shape: (n, dim) -> (n, dim)."""
        return z - self.alpha * ((z - self.mean) @ self.basis) @ self.basis.T

    def removed_share(self, z: torch.Tensor) -> float:
        """Share of the variance of `z` that conditioning takes away, 0 to 1. Over-erasure shows here."""
        total, left = ((x - x.mean(0)).square().sum() for x in (z, self(z)))
        return max(0.0, float((total - left) / total.clamp(min=1e-30)))


def fit_conditioner(near, far, recordings, alpha: float, rank: int, control: str = "none", seed: int = 0) -> FarConditioner:
    """Estimate the shared nuisance subspace from normal near/far pairs: left singular directions of their cross-covariance.

    The `control` "random" has a random subspace of the same `rank` in its place, "near-pca" the principal components of near,
    and "other-recording" the directions shared with far of another recording; `seed` is that of the first and the last.
    """
    rng = np.random.default_rng(seed)
    rank = min(rank, near.shape[1], len(near))
    if control == "random":
        basis = torch.from_numpy(rng.standard_normal((near.shape[1], rank))).to(near)
    elif control == "near-pca":
        basis = torch.linalg.svd(near - near.mean(0), full_matrices=False).Vh.T[:, :rank]
    else:
        paired = far if control == "none" else far[other_recording(recordings, rng)]
        basis = shared_directions(near, paired)[0][:, :rank]
    basis = torch.linalg.qr(basis).Q if rank else basis[:, :0]
    return FarConditioner(near.mean(0), basis.contiguous(), alpha)  # as it is stored: products round by memory layout


def shared_directions(near: torch.Tensor, far: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Near-side directions (dim, dim) that covary with far, strongest first; their strengths (dim,)."""
    x, y = near - near.mean(0), far - far.mean(0)
    directions, strengths, _ = torch.linalg.svd(x.T @ y / len(x))
    return directions, strengths


def other_recording(recordings: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each window the index of a window of another recording (its own only where one recording is over half of all)."""
    ids, codes, counts = np.unique(recordings, return_inverse=True, return_counts=True)
    order = np.argsort(rng.permutation(len(ids))[codes], kind="stable")
    partner = np.empty(len(order), dtype=int)
    partner[order] = np.roll(order, counts.max())  # recordings in random order, rotated by the size of the largest
    return partner
