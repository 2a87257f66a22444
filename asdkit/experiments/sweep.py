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

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from asdkit import knn
from asdkit.config import Config
from asdkit.detector import Describer, fit_detector
from asdkit.knn import BACKENDS, DomainKNN, distances, evenly_spaced, nearest_mean, shrink
from asdkit.recordings import InputError, TrainingSet
from asdkit.scorer import Scorer, centre_and_width
from asdkit.space import aggregate, fuse

ROWS = 128  # windows at a time: memory grows with the bank only
COLUMNS = 64  # of the bank, in which a minimum is taken first
EXACT = ("domain", "pooled", "unscaled")  # back-ends that read nothing but the nearest distances


def sweep(
    training: TrainingSet, describe: Callable[[Config], Describer], config: Config, clip_blocks: list[dict], alphas, rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of clips at each alpha, as `asdkit.detector.fit_detector` with that alpha and rank would give them.

    Parameters
    ----------
    training : TrainingSet
    describe : callable
        ``describe(config)`` makes the describer of a configuration.
    config : Config
        With the block "msm"; its alpha and rank are not read.
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
    check_config(config)
    alphas, describer = np.asarray(alphas, dtype=float), describe(replace(config, alpha=1.0, rank=rank))
    scorer, own = fit_detector(training, describer, decide=False).scorer, describer.extractors(training)[1]
    pairs = list(zip(own, training.clips))
    search = Search.fit(training, scorer, [describer.blocks(*pair, config.train_hop) for pair in pairs], alphas)
    scores = search.scores([Windows.of(scorer, blocks) for blocks in clip_blocks])
    if len(scorer.banks) > 1:
        chosen = evenly_spaced(len(pairs), config.standardise_clips)
        normal = [describer.blocks(*pairs[i], config.test_hop) for i in chosen]
        scores = fuse_spaces(scorer, search, scores, clip_blocks, normal, training.recordings[chosen])
    return scores, (1 - (1 - alphas) ** 2) * scorer.space.removed


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
    def of(cls, scorer: Scorer, blocks: dict[str, torch.Tensor]) -> Windows:
        """From the raw blocks of a clip."""
        space, conditioner = scorer.space, scorer.space.conditioner
        z = space.scalers["msm"](blocks["msm"])
        within = (z - conditioner.mean) @ conditioner.basis
        beside = {n: x for n, x in blocks.items() if n != "msm"} if scorer.config.fusion == "concatenate" else {}
        return cls(z - within @ conditioner.basis.T, within, torch.cat([z[:, :0], *space.balanced(beside).values()], dim=1))

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
    def fit(cls, training: TrainingSet, scorer: Scorer, clips: list[dict[str, torch.Tensor]], alphas: np.ndarray) -> Search:
        """From the blocks of the training clips; the scorer has the same subspace and alpha 1."""
        config, space = scorer.config, next(s for name, s in scorer.banks.items() if "msm" in name.split("+"))
        bank, order = Windows.join([Windows.of(scorer, b) for b in clips]), np.argsort(space.is_target, kind="stable")
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


def fuse_spaces(scorer: Scorer, search: Search, scores: np.ndarray, clip_blocks, normal_blocks, recordings) -> np.ndarray:
    """Scores of the MSM block, standardised at each alpha by normal clips, with those of the blocks that alpha leaves alone."""
    windows = [Windows.of(scorer, blocks) for blocks in normal_blocks]
    normal = [centre_and_width(x) for x in search.scores(windows, recordings)]
    others = [name for name in scorer.banks if name != "msm"]
    rows = [scorer.by_space(blocks) for blocks in clip_blocks]
    fixed = [[(row[name] - scorer.centres[name]) / scorer.widths[name] for name in others] for row in rows]
    moved = [(x - centre) / width for x, (centre, width) in zip(scores, normal)]
    return np.array([fuse(np.column_stack([np.reshape(fixed, (len(x), -1)), x]), scorer.config.fusion) for x in moved])
