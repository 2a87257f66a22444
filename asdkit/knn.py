"""Domain-conditional k-nearest-neighbour scores with target-domain shrinkage, and a single bank as the alternative.

bank : (n_bank, dim) vectors of normal training clips, one a clip or one a window. x : (n, dim) vectors to score.
recordings : (n_bank,) integer ids; "leave-one-recording-out" hides from a vector every vector of its own recording.
is_target : (n_bank,) bool. S and T are the source and the target part of the bank.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

MAX_QUERIES = 2000  # windows from which a median distance is read; more do not move it


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


def leave_one_recording_out(bank: torch.Tensor, recordings: np.ndarray, k: int) -> torch.Tensor:
    """Mean distance to the k nearest of other recordings, for at most `MAX_QUERIES` evenly spaced windows."""
    rows = evenly_spaced(len(bank), MAX_QUERIES)
    batches = np.array_split(rows, max(1, len(rows) // 256))  # 256 rows at a time: memory grows with the bank only
    squared = bank.square().sum(1)
    others = (leave_out(distances(bank[r], bank, squared), recordings[r], recordings) for r in batches)
    return torch.cat([nearest_mean(d, k) for d in others])


def median_scale(bank: torch.Tensor, recordings: np.ndarray, k: int, unknown: float = 1.0) -> float:
    """Median leave-one-recording-out distance; 1 where it is 0 (duplicates), and `unknown` for fewer than two recordings."""
    if len(bank) == 0 or len(np.unique(recordings)) < 2:
        return unknown
    scale = float(leave_one_recording_out(bank, recordings, k).median())
    return scale if scale > 0 else 1.0


def shrink(s_target: float, n_target: int, s_source: float, n_0: float) -> float:
    """Target scale pulled toward the source scale: ``(n_T s_T + n_0 s_S) / (n_T + n_0)``, counted in recordings."""
    return s_source if np.isnan(s_target) else (n_target * s_target + n_0 * s_source) / (n_target + n_0)


@dataclass(frozen=True)
class DomainKNN:
    """A fitted bank. Made by `fit_knn`; called on the vectors of one clip."""

    bank: torch.Tensor
    recordings: np.ndarray
    is_target: np.ndarray
    k: int
    s_source: float
    s_target: float  # after shrinkage
    backend: str

    @cached_property
    def squared(self) -> torch.Tensor:
        """(n_bank,) squared length of each reference."""
        return self.bank.square().sum(1)

    def distances(self, x: torch.Tensor, recordings: np.ndarray | None = None) -> torch.Tensor:
        """Distances to the bank, (n, n_bank); `recordings` (n,) are left out of it, each for its row."""
        d = distances(x, self.bank, self.squared)
        return d if recordings is None else leave_out(d, recordings, self.recordings)

    def __call__(self, x: torch.Tensor, recording: int | None = None) -> torch.Tensor:
        """Scores; `recording` leaves that recording out of the bank. Shape: (n, dim) -> (n,)."""
        d = self.distances(x, None if recording is None else np.full(len(x), recording))
        counted, scale = BACKENDS[self.backend](self, d)
        return nearest_mean(counted, self.k) / scale

    def neighbours(self, d: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a score is made of: the neighbours of each row of distances (n, k), and their weights (n, k).

        A score is the sum of weight times distance; a weight is 0 where there are fewer neighbours.
        """
        counted, scale = BACKENDS[self.backend](self, d)
        nearest = counted.topk(min(self.k, d.shape[1]), largest=False)
        there = nearest.values.isfinite()
        return nearest.indices, there / there.sum(1, keepdim=True).clamp(min=1) / scale[:, None]


def _domain(knn: DomainKNN, d: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearer domain, each in its own scale: the score is min(d_S / s_S, d_T / s_T)."""
    is_target = torch.from_numpy(knn.is_target)
    scales = d.new_tensor([knn.s_source, knn.s_target])
    source, target = (nearest_mean(d[:, mask], knn.k) for mask in (~is_target, is_target))
    nearer = (target / scales[1] < source / scales[0]).long()  # 1 for the target
    return d.masked_fill(nearer[:, None] != is_target, torch.inf), scales[nearer]


# name -> function of a bank and distances (n, n_bank): those that count, infinite where one does not, and their scale (n,).
# A score is the mean of the k smallest that count over the scale.
BACKENDS = {"domain": _domain, "pooled": lambda knn, d: (d, d.new_ones(len(d)))}


def fit_knn(bank, recordings, is_target, k: int = 3, n_0: float = 10.0, backend: str = "domain") -> DomainKNN:
    """A bank of training clips and the scales of its two domains; one bank where all are of one domain.

    `k` neighbours, fewer where a bank holds fewer; `n_0`, 0 or more, recordings' worth of source scale in that of the target.
    """
    if not is_target.any() or is_target.all():
        is_target = np.zeros(len(bank), dtype=bool)
    s_source = median_scale(bank[~is_target], recordings[~is_target], k)
    s_target = median_scale(bank[is_target], recordings[is_target], k, unknown=float("nan"))
    s_target = shrink(s_target, len(np.unique(recordings[is_target])), s_source, n_0)
    return DomainKNN(bank, recordings, is_target, k, s_source, s_target, backend)
