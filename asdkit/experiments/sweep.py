"""Scores of one machine at every alpha of a grid, through one closed form.

The projector of Far-conditioning is orthogonal, so a squared distance between windows is a line in ``(1 - alpha)^2``:

    squared(alpha) = (across + (1 - alpha)^2 within) / scale(alpha)^2 + rest

`scale` is the balance of the MSM block; `rest` belongs to the blocks it is concatenated with. Scales of banks and the
standardisation of block scores move with alpha too, and come from train x train distances of the same form. Only the nearest
few distances of each window are kept, so memory stays small: everything after them is what `asdkit.detector` does.

Legend
------
alphas : (n_alphas,) floats in [0, 1]. across, within, rest : (n, m) squared distances outside the subspace, inside it, and in
    other blocks. nearest : (n_alphas, n, n_source + n_target) distances of n windows to their nearest of each domain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from asdkit import knn
from asdkit.config import Config
from asdkit.detector import Detector, centre_and_width, fit_front, fit_uncalibrated, standardisation_clips
from asdkit.fitting import Fitting
from asdkit.knn import BACKENDS, DomainKNN, distances, evenly_spaced, nearest_mean, shrink
from asdkit.recordings import InputError
from asdkit.space import aggregate, fuse

ROWS = 128  # windows at a time: memory grows with the bank only
COLUMNS = 64  # of the bank, in which a minimum is taken first
EXACT = ("domain", "pooled", "unscaled")  # back-ends that read nothing but the nearest distances


def sweep(fitting: Fitting, clip_blocks: list[dict[str, torch.Tensor]], alphas, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of clips at each alpha, as `asdkit.detector.fit` with that alpha and rank would give them.

    Parameters
    ----------
    fitting : Fitting
        Training clips and a configuration with the block "msm".
    clip_blocks : list of dict
        Blocks of the clips to score, at the test hop.
    alphas : (n_alphas,) array_like
        In [0, 1].
    rank : int
        Directions of the subspace, at least 1.

    Returns
    -------
    scores : (n_alphas, n_clips) float64
    removed : (n_alphas,) float64
        Share of the near variance that conditioning takes away.

    Raises
    ------
    InputError
        For a configuration that has no block "msm", or a back-end that the closed form does not cover.
    """
    check_config(fitting.config)
    alphas = np.asarray(alphas, dtype=float)
    detector = fit_uncalibrated(replace(fitting, config=replace(fitting.config, alpha=1.0, rank=rank)))
    search = Search.fit(fitting, detector, alphas)
    scores = search.scores([Windows.of(detector, blocks) for blocks in clip_blocks])
    if len(detector.spaces) > 1:
        scores = fuse_spaces(fitting, detector, search, scores, clip_blocks)
    return scores, (1 - (1 - alphas) ** 2) * detector.balancer.removed


def check_config(config) -> None:
    """Refuse what has no scalar to tune, or what the closed form does not cover."""
    if "msm" not in config.blocks:
        raise InputError(f"config: found blocks = {', '.join(config.blocks)}, expected msm among them: alpha conditions it")
    if config.backend not in EXACT:
        raise InputError(f"config: found backend = {config.backend!r}, expected {', '.join(EXACT)}: others have no closed form")


@dataclass(frozen=True)
class Windows:
    """Windows in the space that holds the MSM block, by what alpha does to them."""

    across: torch.Tensor  # (n, dim) MSM block without the subspace: alpha leaves it alone
    within: torch.Tensor  # (n, rank) its coordinates in the subspace: 1 - alpha of them remains
    rest: torch.Tensor  # (n, others) balanced blocks beside it; no column where each block is searched on its own

    @classmethod
    def of(cls, detector: Detector, blocks: dict[str, torch.Tensor]) -> Windows:
        """From the raw blocks of a clip."""
        balancer, conditioner = detector.balancer, detector.balancer.conditioner
        z = balancer.scalers["msm"](blocks["msm"])
        within = (z - conditioner.mean) @ conditioner.basis
        beside = {n: x for n, x in blocks.items() if n != "msm"} if detector.config.fusion == "concatenate" else {}
        return cls(z - within @ conditioner.basis.T, within, torch.cat([z[:, :0], *balancer(beside).values()], dim=1))

    @classmethod
    def join(cls, parts: list[Windows]) -> Windows:
        """The windows of all clips."""
        return cls(*(torch.cat(tensors) for tensors in zip(*((p.across, p.within, p.rest) for p in parts))))

    def __len__(self) -> int:
        return len(self.across)

    def __getitem__(self, rows) -> Windows:
        return Windows(self.across[rows], self.within[rows], self.rest[rows])

    def squared(self, other: Windows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | float]:
        """across, within and rest to each of the others."""
        rest = distances(self.rest, other.rest).square_() if self.rest.shape[1] else 0.0
        across, within = distances(self.across, other.across), distances(self.within, other.within)
        return across.square_(), within.square_(), rest


@dataclass(frozen=True)
class Search:
    """The bank of that space, and the scales that each alpha gives it."""

    bank: Windows  # source windows, then target windows
    recordings: np.ndarray  # (n_bank,)
    n_source: int
    config: Config
    space: DomainKNN  # neighbours and back-end; its own bank is not used
    alphas: np.ndarray
    scales: np.ndarray  # (n_alphas,) balance of the MSM block
    spaces: tuple[DomainKNN, ...] = ()  # one an alpha, for nearest distances in place of a bank

    @classmethod
    def fit(cls, fitting: Fitting, detector: Detector, alphas: np.ndarray) -> Search:
        """From the training clips; the detector has the same subspace and alpha 1."""
        config, (front, ridges) = fitting.config, fit_front(fitting)
        clips = [fitting.blocks(front, c, config.train_hop, r) for c, r in zip(fitting.clips, ridges)]
        space = next(s for name, s in detector.spaces.items() if "msm" in name.split("+"))
        bank, order = Windows.join([Windows.of(detector, b) for b in clips]), np.argsort(space.is_target, kind="stable")
        n_source = int((~space.is_target).sum())
        search = cls(bank[order], space.recordings[order], n_source, config, space, alphas, np.ones(len(alphas)))
        if config.balance and len(config.blocks) > 1:
            search = replace(search, scales=search.balance(np.argsort(order)))
        return replace(search, spaces=search.scaled())

    def nearest(self, x: Windows, k: int, recordings: np.ndarray | None = None) -> torch.Tensor:
        """Distances to the k nearest windows of each domain at each alpha; `recordings` (n,) are left out, each for its row."""
        parts = []
        for rows in np.array_split(np.arange(len(x)), max(1, -(-len(x) // ROWS))):
            across, within, rest = x[rows].squared(self.bank)
            if recordings is not None:
                across.masked_fill_(torch.from_numpy(recordings[rows][:, None] == self.recordings), torch.inf)
            at = [((across + (1 - a) ** 2 * within) / s**2).add_(rest) for a, s in zip(self.alphas, self.scales)]
            domains = [(d[:, : self.n_source], d[:, self.n_source :]) for d in at]
            parts.append(torch.stack([torch.cat([smallest(d, k) for d in pair], dim=1) for pair in domains]))
        return torch.cat(parts, dim=1).sqrt_()

    def balance(self, places: np.ndarray) -> np.ndarray:
        """Median nearest-neighbour distance of training windows in the MSM block; `places` are those of clip order."""
        alone = replace(self, bank=replace(self.bank, rest=self.bank.rest[:, :0]))
        rows = places[evenly_spaced(len(places), knn.MAX_QUERIES)]
        return medians(alone.nearest(alone.bank[rows], 1, self.recordings[rows]), 1)

    def scaled(self) -> tuple[DomainKNN, ...]:
        """The back-end with the scales of each alpha."""
        n, k = self.n_source, self.space.k
        source = self.median_scale(np.arange(n), slice(0, min(k, n)))
        target = self.median_scale(np.arange(n, len(self.bank)), slice(min(k, n), None))
        source = np.nan_to_num(source, nan=1.0)
        n_target, n_0 = len(np.unique(self.recordings[n:])), self.config.n_0
        is_target = np.repeat([False, True], [min(k, n), min(k, len(self.bank) - n)])
        bare = replace(self.space, bank=self.bank.across[:0], is_target=is_target)
        return tuple(replace(bare, s_source=s, s_target=shrink(t, n_target, s, n_0)) for s, t in zip(source, target))

    def median_scale(self, rows: np.ndarray, columns: slice) -> np.ndarray:
        """`asdkit.knn.median_scale` of one domain at each alpha."""
        if len(np.unique(self.recordings[rows])) < 2:
            return np.full(len(self.alphas), np.nan)
        rows, k = rows[evenly_spaced(len(rows), knn.MAX_QUERIES)], self.space.k
        return medians(self.nearest(self.bank[rows], k, self.recordings[rows])[..., columns], k)

    def scores(self, clips: list[Windows], recordings: np.ndarray | None = None) -> np.ndarray:
        """File scores in this space, (n_alphas, n_clips); `recordings` (n_clips,) are left out, each for its clip."""
        counts, config = [len(c) for c in clips], self.config
        left_out = None if recordings is None else np.repeat(recordings, counts)
        nearest = self.nearest(Windows.join(clips), self.space.k, left_out)
        windows = [BACKENDS[s.backends[0]](s, d).split(counts) for s, d in zip(self.spaces, nearest)]
        return np.array([[aggregate(w, config.aggregate, config.top) for w in at] for at in windows])


def smallest(squared: torch.Tensor, k: int) -> torch.Tensor:
    """The k smallest of each row, as `topk` finds them, three times as fast: they lie in the k blocks of smallest minimum."""
    n, whole = len(squared), squared.shape[1] // COLUMNS * COLUMNS
    if whole < k * COLUMNS:
        return squared.topk(min(k, squared.shape[1]), largest=False).values
    blocks = squared[:, :whole].unflatten(1, (-1, COLUMNS))
    chosen = blocks.amin(2).topk(k, largest=False).indices
    few = blocks[torch.arange(n)[:, None], chosen].flatten(1)
    return torch.cat([few, squared[:, whole:]], dim=1).topk(k, largest=False).values


def medians(nearest: torch.Tensor, k: int) -> np.ndarray:
    """Median distance at each alpha; 1 where it is 0, or where there is nothing to leave in."""
    found = np.array([float(nearest_mean(d, k).median()) for d in nearest])
    return np.where((found > 0) & np.isfinite(found), found, 1.0)


def fuse_spaces(fitting: Fitting, detector: Detector, search: Search, scores: np.ndarray, clip_blocks) -> np.ndarray:
    """Scores of the MSM block, standardised at each alpha, with those of the blocks that alpha leaves alone."""
    front, ridges = fit_front(fitting)
    chosen, hop = standardisation_clips(fitting), fitting.config.test_hop
    windows = [Windows.of(detector, fitting.blocks(front, fitting.clips[i], hop, ridges[i])) for i in chosen]
    normal = [centre_and_width(x) for x in search.scores(windows, fitting.recordings[chosen])]
    others = [name for name in detector.spaces if name != "msm"]
    rows = [detector.space_scores(blocks) for blocks in clip_blocks]
    fixed = [[(row[name] - detector.centres[name]) / detector.widths[name] for name in others] for row in rows]
    moved = [(x - centre) / width for x, (centre, width) in zip(scores, normal)]
    return np.array([fuse(np.column_stack([np.reshape(fixed, (len(x), -1)), x]), fitting.config.fusion) for x in moved])
