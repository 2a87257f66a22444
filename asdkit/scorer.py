"""From descriptors to a score: the space and its bank, and a score dealt out to windows and dimensions.

blocks : {name: (n_windows, dim)} of one clip. unit : what is compared with the bank, a clip's mean or a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from asdkit.config import Config
from asdkit.knn import DomainKNN, fit_knn
from asdkit.recordings import TrainingSet
from asdkit.space import Scaler, Space, aggregate, fit_space, unit_rows, units


@dataclass(frozen=True)
class Scorer:
    """Scores clips by their blocks. Made by `fit_scorer`."""

    config: Config
    space: Space
    bank: DomainKNN

    def __call__(self, blocks: dict[str, torch.Tensor], recording: int | None = None) -> float:
        """Anomaly score of one clip from its blocks at the test hop; `recording` is left out of the bank."""
        return aggregate(self.bank(self.units(self.space(blocks)), recording), self.config.aggregate, self.config.top)

    def units(self, x: torch.Tensor) -> torch.Tensor:
        """What is compared of one clip's windows in the space: their mean where they are pooled, else each."""
        return units(x, np.zeros(len(x), dtype=int), self.config)

    def contributions(self, x: torch.Tensor, recordings: np.ndarray | None = None) -> torch.Tensor:
        """The score dealt out to windows and dimensions of the space.

        The distance from a bank vector b to a unit u is ``(u - b) . (u - b) / |u - b|``; each window x of the unit has
        ``(x - b) * (u - b) / |u - b|`` of it. Where windows are pooled, the mean over windows of the sum over dimensions is the
        score of the clip; else a window's sum is its own score. `recordings`, one of each unit, are left out of the bank.

        Shape: (n_windows, dim), the windows of one clip in the space -> the same.
        """
        unit = self.units(x)
        index, weights = self.bank.neighbours(self.bank.distances(unit, recordings))
        total = torch.zeros_like(x)
        for neighbour, weight in zip(index.T, weights.T):
            b = self.bank.bank[neighbour]
            direction = torch.nn.functional.normalize(unit - b, dim=1)
            total += weight[:, None] * (x - b) * direction
        return total


def fit_scorer(
    blocks: Sequence[dict], training: TrainingSet, config: Config, far: Sequence[torch.Tensor] | None = None, seed: int = 0,
    scaler=Scaler.fit,
) -> Scorer:  # fmt: skip
    """Space and bank, not calibrated, from the blocks of each training clip and, if needed, its embedding of far."""
    counts = [len(next(iter(b.values()))) for b in blocks]
    clips = np.repeat(np.arange(len(blocks)), counts)
    recordings, is_target = training.recordings[clips], training.is_target[clips]
    raw = {name: torch.cat([b[name] for b in blocks]) for name in config.blocks}
    space = fit_space(raw, recordings, is_target, config, None if far is None else torch.cat(list(far)), seed, scaler)
    bank, rows = units(space(raw), clips, config), unit_rows(clips, config)
    return Scorer(config, space, fit_knn(bank, recordings[rows], is_target[rows], config.k, config.backend))
