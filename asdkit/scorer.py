"""From descriptors to a score: the space, its banks, and what standardises the scores of several spaces.

Legend
------
blocks : {name: (n_windows, dim)} of one clip. Spaces are named by their block, or by all of them joined with "+".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from asdkit.config import Config
from asdkit.knn import DomainKNN, fit_knn
from asdkit.recordings import TrainingSet
from asdkit.space import Space, aggregate, fit_space, fuse


@dataclass(frozen=True)
class Scorer:
    """Scores clips by their blocks. Made by `fit_scorer`."""

    config: Config
    space: Space | None = None
    banks: dict[str, DomainKNN] = field(default_factory=dict)  # one for the concatenation, or one a block
    centres: dict[str, float] = field(default_factory=dict)  # mean and spread of training clips' scores, where there are several
    widths: dict[str, float] = field(default_factory=dict)

    def __call__(self, blocks: dict[str, torch.Tensor], recording: int | None = None) -> float:
        """Anomaly score of one clip from its blocks at the test hop; `recording` is left out of the banks."""
        scores = self.by_space(blocks, recording)
        if len(scores) == 1:
            return next(iter(scores.values()))
        standardised = [(scores[name] - self.centres[name]) / self.widths[name] for name in scores]
        return float(fuse(np.array([standardised]), self.config.fusion)[0])

    def by_space(self, blocks: dict[str, torch.Tensor], recording: int | None = None) -> dict[str, float]:
        """File score in each space, not yet standardised."""
        windows = self.windows(blocks, recording)
        return {name: aggregate(w, self.config.aggregate, self.config.top) for name, w in windows.items()}

    def windows(self, blocks: dict[str, torch.Tensor], recording: int | None = None) -> dict[str, torch.Tensor]:
        """Score of each window in each space."""
        if self.config.backend == "value":
            return {name: x[:, 0] for name, x in blocks.items()}
        return {name: self.banks[name](x, recording) for name, x in self.space(blocks).items()}


def fit_scorer(
    blocks: Sequence[dict[str, torch.Tensor]],
    training: TrainingSet,
    config: Config,
    far: Sequence[torch.Tensor] | None = None,
    seed: int = 0,
) -> Scorer:
    """Space and banks from the blocks of the training clips, at the training hop.

    Parameters
    ----------
    blocks : sequence of {name: (n_windows, dim)}
        One a training clip.
    training : TrainingSet
    config : Config
    far : sequence of (n_windows, dim), optional
        The embedding of far, one a training clip; needed where `asdkit.space.is_conditioned`.
    seed : int
        Of a random control of Far-conditioning.

    Returns
    -------
    Scorer
        One with several banks has to be `standardised`.
    """
    if config.backend == "value":
        return Scorer(config)
    counts = [len(next(iter(b.values()))) for b in blocks]
    recordings, is_target = np.repeat(training.recordings, counts), np.repeat(training.is_target, counts)
    raw = {name: torch.cat([b[name] for b in blocks]) for name in config.blocks}
    space = fit_space(raw, recordings, config, None if far is None else torch.cat(list(far)), seed)
    banks = {
        name: fit_knn(bank, recordings, is_target, config.k, config.n_0, config.backend) for name, bank in space(raw).items()
    }
    return Scorer(config, space, banks)


def standardised(scorer: Scorer, blocks: Sequence[dict[str, torch.Tensor]], recordings: Sequence[int]) -> Scorer:
    """Mean and spread of training clips' scores in each space, each clip's recording left out, at the test hop."""
    rows = [scorer.by_space(b, recording) for b, recording in zip(blocks, recordings)]
    normal = {name: centre_and_width(np.array([row[name] for row in rows])) for name in rows[0]}
    centres, widths = ({name: pair[i] for name, pair in normal.items()} for i in (0, 1))
    return replace(scorer, centres=centres, widths=widths)


def centre_and_width(scores: np.ndarray) -> tuple[float, float]:
    """Mean and spread of normal scores; a spread of rounding alone counts as 1."""
    mean, std = float(scores.mean()), float(scores.std())
    return mean, std if std > 1e-6 * abs(mean) else 1.0
