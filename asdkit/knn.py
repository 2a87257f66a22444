"""Domain-conditional k-nearest-neighbour scores with target-domain shrinkage, and a single bank as the alternative.

bank : (n_bank, dim) vectors of normal training clips, one a clip or one a window. x : (n, dim) vectors to score.
recordings : (n_bank,) integer ids; "leave-one-recording-out" hides from a vector every vector of its own recording.
is_target : (n_bank,) bool. S and T are the source and the target part of the bank.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch


def evenly_spaced(n: int, at_most: int) -> np.ndarray:
    """Indices of at most so many of n things, the first and the last among them: 0, 3, 6, 9 are 4 of 10."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(int))


def distances(x: torch.Tensor, y: torch.Tensor, y_squared: torch.Tensor | None = None) -> torch.Tensor:
    """Euclidean distances; those within rounding of zero are zero, so that copies are. Shape: (n, dim), (m, dim) -> (n, m)."""
    total = x.square().sum(1)[:, None] + (y.square().sum(1) if y_squared is None else y_squared)
    squared = total - 2 * x @ y.T
    return squared.masked_fill_(squared <= 16 * torch.finfo(x.dtype).eps * total, 0).sqrt_()


def nearest_mean(d: torch.Tensor, k: int) -> torch.Tensor:
    """Mean of the k smallest finite distances of each row (fewer where there are fewer; inf where there are none)."""
    smallest = d.topk(min(k, d.shape[1]), largest=False).values
    finite = smallest.isfinite()
    total = smallest.masked_fill(~finite, 0).sum(1)
    return torch.where(finite.any(1), total / finite.sum(1), torch.inf)


def leave_out(d: torch.Tensor, rows: np.ndarray, columns: np.ndarray) -> torch.Tensor:
    """Distances with those between windows of one recording set to infinity."""
    return d.masked_fill(torch.from_numpy(rows[:, None] == columns[None]), torch.inf)


def moments(values: np.ndarray, recordings: np.ndarray) -> tuple[float, float, int]:
    """Mean and variance of the finite values, every recording weighing the same; number of recordings."""
    finite = np.isfinite(values)
    _, codes, counts = np.unique(recordings[finite], return_inverse=True, return_counts=True)
    if len(counts) == 0:
        return 0.0, 0.0, 0
    mean = float(np.average(values[finite], weights=1 / counts[codes]))
    return mean, float(np.average((values[finite] - mean) ** 2, weights=1 / counts[codes])), len(counts)


@dataclass(frozen=True)
class DomainKNN:
    """A fitted bank. Made by `fit_knn`; called on the vectors of one clip."""

    bank: torch.Tensor
    recordings: np.ndarray
    is_target: np.ndarray
    k: int
    backend: str
    slopes: torch.Tensor  # (n_parts,) a distance to a part of the bank scores slope * distance + offset
    offsets: torch.Tensor

    @cached_property
    def squared(self) -> torch.Tensor:
        """(n_bank,) squared length of each reference."""
        return self.bank.square().sum(1)

    @cached_property
    def parts(self) -> torch.Tensor:
        """(n_parts, n_bank) which references belong to each part of the bank."""
        return torch.from_numpy(np.stack(BACKENDS[self.backend](self.is_target)))

    def __call__(self, x: torch.Tensor, recording: int | None = None) -> torch.Tensor:
        """Scores; `recording` leaves that recording out of the bank. Shape: (n, dim) -> (n,)."""
        return self.score(self.nearest(self.distances(x, None if recording is None else np.full(len(x), recording))))

    def distances(self, x: torch.Tensor, recordings: np.ndarray | None = None) -> torch.Tensor:
        """Distances to the bank, (n, n_bank); `recordings` (n,) are left out of it, each for its row."""
        d = distances(x, self.bank, self.squared)
        return d if recordings is None else leave_out(d, recordings, self.recordings)

    def nearest(self, d: torch.Tensor) -> torch.Tensor:
        """Mean distance to the k nearest of each part: (n, n_bank) -> (n, n_parts)."""
        return torch.stack([nearest_mean(d[:, part], self.k) for part in self.parts], dim=1)

    def score(self, nearest: torch.Tensor) -> torch.Tensor:
        """The lowest score that any part gives: (n, n_parts) -> (n,)."""
        return (self.slopes * nearest + self.offsets).amin(1)

    def neighbours(self, d: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a score is made of: the neighbours of each row of distances (n, k), and their weights (n, k).

        A score is the sum of weight times distance, except of a copy; a weight is 0 where there are fewer neighbours.
        """
        nearest = self.nearest(d)
        part = (self.slopes * nearest + self.offsets).argmin(1)
        found = d.masked_fill(~self.parts[part], torch.inf).topk(min(self.k, d.shape[1]), largest=False)
        there = found.values.isfinite()
        total = found.values.masked_fill(~there, 0).sum(1, keepdim=True)
        return found.indices, there * self.score(nearest)[:, None] / torch.where(total > 0, total, torch.inf)


# name -> how a bank is parted, from is_target (n_bank,). Each part has a scale of its own, and the nearest part counts.
BACKENDS = {"domain": lambda is_target: [~is_target, is_target], "pooled": lambda is_target: [np.full(len(is_target), True)]}


def fit_knn(bank, recordings, is_target, k: int = 3, backend: str = "domain") -> DomainKNN:
    """A bank of training clips, whose scores are distances until it is `scaled`; `k` neighbours, where there are as many."""
    n_parts = len(BACKENDS[backend](is_target))
    return DomainKNN(bank, recordings, is_target, k, backend, bank.new_ones(n_parts), bank.new_zeros(n_parts))


def scaled(knn: DomainKNN, nearest: torch.Tensor, recordings, is_target, n_0: float = 10.0) -> DomainKNN:
    """The bank with a scale on which healthy recordings that were held out score 1 on average, in the source and the target.

    A distance d to the source scores ``d / m_S``, m_S the mean of recordings of the source. Distances to the target are moved
    and stretched to the mean and spread of the source: ``1 + (d - m_T) (v_S / v_T)^(1/2) / m_S``. Ten recordings say little of
    a mean and a variance: m_T and v_T are shrunk toward the source's, which count as `n_0` recordings, ``(n_T m_T + n_0 m_S) /
    (n_T + n_0)``, and v_T grows by 1 / n_T for the mean's own error. Every recording weighs the same.

    nearest : (n, n_parts) of held-out vectors, as by `DomainKNN.nearest`. recordings, is_target : (n,) of the same vectors.
    """
    own = zip(nearest.double().numpy().T, BACKENDS[knn.backend](is_target))
    (m_s, v_s, _), *others = [moments(column[part], recordings[part]) for column, part in own]
    unit = m_s if m_s > 0 else 1.0  # recordings that are copies of each other
    slopes, offsets = [1 / unit], [0.0]
    for mean, variance, n in others:
        if n > 0:
            mean, variance = (n * mean + n_0 * m_s) / (n + n_0), (n * variance + n_0 * v_s) / (n + n_0) * (1 + 1 / n)
        else:
            mean, variance = m_s, v_s
        slopes.append((np.sqrt(v_s / variance) if v_s > 0 and variance > 0 else 1.0) / unit)
        offsets.append(m_s / unit - slopes[-1] * mean)
    return replace(knn, slopes=knn.bank.new_tensor(slopes), offsets=knn.bank.new_tensor(offsets))
