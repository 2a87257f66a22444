"""Domain-conditional k-nearest-neighbour scores with target-domain shrinkage, and the named alternatives.

Legend
------
bank : (n_bank, dim) windows of normal training clips. x : (n_windows, dim) windows to score, higher = more anomalous.
recordings : (n_bank,) integer ids; "leave-one-recording-out" hides from a window every window of its own recording.
is_target : (n_bank,) bool. S and T are the source and the target part of the bank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from asdkit.recordings import InputError

MAX_QUERIES = 2000  # windows from which a median distance is read; more do not move it
N_LOCAL = 4  # neighbours in the local density of a reference


def evenly_spaced(n: int, at_most: int) -> np.ndarray:
    """Indices of at most so many of n things, the first and the last among them.

    >>> evenly_spaced(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(int))


def distances(x: torch.Tensor, y: torch.Tensor, y_squared: torch.Tensor | None = None) -> torch.Tensor:
    """Euclidean distances; those within rounding of zero are zero, so that copies are. Shape: (n, dim), (m, dim) -> (n, m).

    `y_squared`, (m,) the squared length of each y, saves computing it again.
    """
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
    same = torch.from_numpy(rows[:, None] == columns[None])
    return d.masked_fill(same, torch.inf)


def evenly_spaced(n: int, at_most: int) -> np.ndarray:
    """Indices of at most so many of n things, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(int))


def leave_one_recording_out(bank: torch.Tensor, recordings: np.ndarray, k: int) -> torch.Tensor:
    """Mean distance to the k nearest of other recordings, for at most `MAX_QUERIES` evenly spaced windows."""
    rows = evenly_spaced(len(bank), MAX_QUERIES)
    batches = np.array_split(rows, max(1, len(rows) // 256))  # 256 rows at a time: memory grows with the bank only
    squared = bank.square().sum(1)
    return torch.cat(
        [nearest_mean(leave_out(distances(bank[r], bank, squared), recordings[r], recordings), k) for r in batches]
    )


def median_scale(bank: torch.Tensor, recordings: np.ndarray, k: int) -> float:
    """Median leave-one-recording-out distance; NaN for fewer than two recordings, 1 where the median is 0 (duplicates)."""
    if len(bank) == 0 or len(np.unique(recordings)) < 2:
        return float("nan")
    scale = float(leave_one_recording_out(bank, recordings, k).median())
    return scale if scale > 0 else 1.0


def shrink(s_target: float, n_target: int, s_source: float, n_0: float) -> float:
    """Target scale pulled toward the source scale: ``(n_T s_T + n_0 s_S) / (n_T + n_0)``, counted in recordings."""
    if np.isnan(s_target):
        return s_source
    return (n_target * s_target + n_0 * s_source) / (n_target + n_0)


@dataclass(frozen=True)
class DomainKNN:
    """A fitted bank. Made by `fit_knn`; called on the windows of one clip."""

    bank: torch.Tensor
    recordings: np.ndarray
    is_target: np.ndarray
    k: int
    s_source: float
    s_target: float  # after shrinkage
    local: torch.Tensor  # (n_bank,) mean distance of each reference to its neighbours; empty where unused
    slope: float  # of distance on local density (VarMin)
    backends: tuple[str, ...]
    centres: tuple[float, ...] = (0.0,)  # one per back-end: they standardise before the minimum
    widths: tuple[float, ...] = (1.0,)

    @cached_property
    def squared(self) -> torch.Tensor:
        """(n_bank,) squared length of each reference."""
        return self.bank.square().sum(1)

    def __call__(self, x: torch.Tensor, recording: int | None = None) -> torch.Tensor:
        """Window scores; `recording` leaves that recording out of the bank. Shape: (n, dim) -> (n,)."""
        d = distances(x, self.bank, self.squared)
        if recording is not None:
            d = d.masked_fill(torch.from_numpy(self.recordings == recording), torch.inf)
        scores = [(BACKENDS[b](self, d) - c) / w for b, c, w in zip(self.backends, self.centres, self.widths)]
        return torch.stack(scores).amin(0)


def _domain(knn: DomainKNN, d):
    source, target = (nearest_mean(d[:, mask], knn.k) for mask in (~knn.is_target, knn.is_target))
    return torch.minimum(source / knn.s_source, target / knn.s_target)


def _unscaled(knn: DomainKNN, d):
    return torch.minimum(nearest_mean(d[:, ~knn.is_target], knn.k), nearest_mean(d[:, knn.is_target], knn.k))


def _pooled(knn: DomainKNN, d):
    return nearest_mean(d, knn.k)


def _local_density(knn: DomainKNN, d):
    return nearest_mean(d / knn.local, knn.k)


def _varmin(knn: DomainKNN, d):
    return (d - knn.slope * knn.local).amin(1)


BACKENDS = {
    "domain": _domain,  # min(d_S / s_S, d_T / s_T')
    "pooled": _pooled,  # one bank
    "unscaled": _unscaled,  # min(d_S, d_T)
    "local-density": _local_density,  # each distance over the reference's own mean distance to its neighbours
    "varmin": _varmin,  # min_i(d_i - a b_i), b_i the local distance, a = Cov(d, b) / Var(b)
}
MINIMUM = ("domain", "local-density", "varmin")  # the "minimum" back-end standardises these and takes the smallest


def check_backend(name: str) -> None:
    """Refuse a back-end that there is not. "value" is a score without a bank: a block of one number a window."""
    if name not in (known := (*BACKENDS, "minimum", "value")):
        raise InputError(f"config: found backend = {name!r}, expected {', '.join(known)}")


def fit_knn(bank, recordings, is_target, k: int = 3, n_0: float = 10.0, backend: str = "domain") -> DomainKNN:
    """Scales of the two banks and whatever the back-end needs, from training windows alone.

    Parameters
    ----------
    bank : (n_bank, dim) float tensor
    recordings : (n_bank,) int array
    is_target : (n_bank,) bool array
        All False is a normal case: one bank.
    k : int
        Neighbours, 1 to 3 in the report; fewer where a bank holds fewer.
    n_0 : float
        Recordings' worth of source scale in the target scale, >= 0.
    backend : str
        A key of `BACKENDS`, or "minimum".
    """
    if not is_target.any() or is_target.all():
        is_target = np.zeros(len(bank), dtype=bool)
    s_source = median_scale(bank[~is_target], recordings[~is_target], k)
    s_source = 1.0 if np.isnan(s_source) else s_source
    s_target = median_scale(bank[is_target], recordings[is_target], k)
    s_target = shrink(s_target, len(np.unique(recordings[is_target])), s_source, n_0)
    backends = MINIMUM if backend == "minimum" else (backend,)
    local, slope = torch.empty(0), 0.0
    if {"local-density", "varmin"} & set(backends):
        local, slope = local_density(bank, recordings)
    knn = DomainKNN(bank, recordings, is_target, k, s_source, s_target, local, slope, backends)
    return standardise_backends(knn) if len(backends) > 1 else knn


def local_density(bank: torch.Tensor, recordings: np.ndarray) -> tuple[torch.Tensor, float]:
    """Mean distance of each reference to its neighbours in other recordings, and VarMin's slope."""
    b, nearest, index = [], [], []
    for rows in np.array_split(np.arange(len(bank)), max(1, len(bank) // 256)):
        d = leave_out(distances(bank[rows], bank), recordings[rows], recordings)
        b.append(nearest_mean(d, N_LOCAL))
        smallest = d.min(1)
        nearest.append(smallest.values)
        index.append(smallest.indices)
    local, d, b = torch.cat(b), torch.cat(nearest), torch.cat(b)[torch.cat(index)]
    positive = local[local.isfinite() & (local > 0)]
    floor = float(positive.min()) if len(positive) else 1.0
    local = local.clamp(min=floor).nan_to_num(posinf=floor)
    usable = d.isfinite() & b.isfinite()
    d, b = d[usable], b[usable]
    variance = float((b - b.mean()).square().mean()) if len(b) else 0.0
    slope = float(((d - d.mean()) * (b - b.mean())).mean()) / variance if variance > 0 else 0.0
    return local, slope


def standardise_backends(knn: DomainKNN) -> DomainKNN:
    """Centre and width of each back-end's leave-one-recording-out scores, so that their minimum compares like with like."""
    rows = evenly_spaced(len(knn.bank), MAX_QUERIES)
    d = leave_out(distances(knn.bank[rows], knn.bank), knn.recordings[rows], knn.recordings)
    scores = [BACKENDS[b](knn, d) for b in knn.backends]
    scores = [s[s.isfinite()] for s in scores]
    centres = tuple(float(s.mean()) if len(s) else 0.0 for s in scores)
    widths = tuple(float(s.std()) if len(s) > 1 and s.std() > 1e-6 * s.abs().max() else 1.0 for s in scores)
    return replace(knn, centres=centres, widths=widths)
