"""What held-out recordings say of new healthy ones: the scale of a score, and a threshold with a promised false-alarm rate."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch

from asdkit.knn import DomainKNN, moments, scaled
from asdkit.recordings import InputError, TrainingSet
from asdkit.scorer import Scorer
from asdkit.space import aggregate

log = logging.getLogger("asdkit")
FOLDS = 10  # of the recordings, held out in turn
MANY = 200  # recordings of the source that are scored at least, where there are as many
FEWEST = 3  # recordings of the source that any rate needs


@dataclass(frozen=True)
class HeldOut:
    """Scores of normal clips of the source that were held out; the target's are on the same scale (`asdkit.knn.scaled`)."""

    scores: np.ndarray  # (n_clips,)
    recordings: np.ndarray  # (n_clips,) int, what each was cut from

    @property
    def n_source(self) -> int:
        """Recordings."""
        return len(np.unique(self.recordings))

    @property
    def lowest_rate(self) -> float:
        """The lowest rate that can be promised, to a thousandth."""
        return float(np.ceil(1000 / (self.n_source + 1)) / 1000)

    def threshold(self, rate: float) -> float:
        """Score that a normal clip exceeds at this rate, 1 / (n_source + 1) to 1."""
        if not 0 < rate <= 1:
            raise InputError(f"false alarms: found a rate of {rate:g}, expected more than 0 and at most 1")
        if self.n_source < (needed := recordings_needed(rate)):
            counts = f"found {self.n_source} recordings held out, expected at least {needed} for a false-alarm rate of {rate:g}"
            raise InputError(f"{counts}; fit with more recordings, or ask for {self.lowest_rate:g} or more")
        return conformal_threshold(self.scores, self.recordings, rate)


def recordings_needed(rate: float) -> int:
    """How many recordings can promise this rate of false alarms: n promise 1 / (n + 1)."""
    return int(np.ceil(1 / rate - 1e-9)) - 1


def check_rate(training: TrainingSet, rate: float) -> None:
    """InputError for a rate below 1 / (n + 1) with n recordings of the source, or fewer than three recordings."""
    n, needed, where = _n_source(training), max(FEWEST, recordings_needed(rate)), training.clips[0].path.parent
    if n < needed:
        raise InputError(f"{where}: found {n} recordings, expected at least {needed} for a false-alarm rate of {rate:g}")


def warn_of_few(training: TrainingSet, rate: float) -> None:
    """Log where the recordings cannot promise a rate of false alarms."""
    try:
        check_rate(training, rate)
    except InputError as error:
        log.warning("%s; there will be no decisions at this rate", error)


def _n_source(training: TrainingSet) -> int:
    """How many recordings of the source there are."""
    return len(np.unique(training.recordings[~training.is_target]))


class Fold(NamedTuple):
    """What is compared of clips that were held out, and the bank of the others, in a space that is not balanced."""

    clips: np.ndarray  # (n_units,) int, the clip that each is of
    units: torch.Tensor  # (n_units, dim)
    bank: DomainKNN


def hold_out(training: TrainingSet, fit_fold: Callable) -> list[Fold]:
    """Each tenth of the recordings in turn. All clips of the target are measured, and of the source at most some hundreds.

    ``fit_fold(held, clips)`` gives the `Fold` of clips, by their indices, with whitening and bank made again without the clips
    of the mask `held`. The network is not trained again: a tenth of its clips hardly moves it, while a fit on two thirds of
    the recordings would find every clip farther from them than a new one is. Empty where the source has a single recording.
    """
    if (n := _n_source(training)) < 2:
        return []
    chosen, folds = training.is_target | (training.folds(max(1, n // MANY)) == 0), training.folds(FOLDS)
    return [fit_fold(folds == i, np.flatnonzero(chosen & (folds == i))) for i in np.unique(folds[chosen])]


def calibrated(scorer: Scorer, training: TrainingSet, folds: list[Fold]) -> tuple[Scorer, HeldOut | None]:
    """The scorer with scales from what was held out, and the scores for thresholds, if there are three recordings.

    A block is divided by the mean distance, in it alone, of source recordings to the others (and multiplied by the root of its
    dimensions, if those are balanced); then distances to source and target in the whole space are `asdkit.knn.scaled`.
    """
    if not folds:
        return scorer, None
    config, space, clips = scorer.config, scorer.space, np.concatenate([fold.clips for fold in folds])
    recordings, is_target = training.recordings[clips], training.is_target[clips]
    if config.balance != "none" and len(space.scales) > 1:
        alone = {name: _nearest(folds, itemgetter((slice(None), where)))[:, 0] for name, where in space.slices().items()}
        scales = {name: moments(d[~is_target].numpy(), recordings[~is_target])[0] or 1.0 for name, d in alone.items()}
        if config.balance == "dimensions":
            scales = {name: scale / len(space.scalers[name].mean) ** 0.5 for name, scale in scales.items()}
        space = replace(space, scales=scales | ({"msm": scales["msm"] / config.msm_weight} if "msm" in scales else {}))
    bank, nearest = replace(scorer.bank, bank=space.balanced(scorer.bank.bank)), _nearest(folds, space.balanced)
    scorer = replace(scorer, space=space, bank=scaled(bank, nearest, recordings, is_target, config.n_0))
    source = np.unique(clips[~is_target])
    units = scorer.bank.score(nearest)
    scores = np.array([aggregate(units[clips == i], config.aggregate, config.top) for i in source])
    held_out = HeldOut(scores, training.recordings[source])
    return scorer, held_out if held_out.n_source >= FEWEST else None


def _nearest(folds: list[Fold], change: Callable) -> torch.Tensor:
    """Distances of all that was held out to the parts of its bank, (n_units, n_parts), where vectors are changed so."""
    banks = [replace(fold.bank, bank=change(fold.bank.bank)) for fold in folds]
    return torch.cat([bank.nearest(bank.distances(change(fold.units))) for bank, fold in zip(banks, folds)])


def conformal_threshold(scores: np.ndarray, recordings: np.ndarray, rate: float) -> float:
    """Smallest threshold that a new normal recording's clips exceed with at most this rate, 1 / (n_recordings + 1) or more.

    Every recording weighs the same, and one more, unseen, weighs on the side of the alarm.
    """
    _, codes, counts = np.unique(recordings, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    mass = np.cumsum(1 / counts[codes[order]]) / (len(counts) + 1)
    return float(scores[order][np.searchsorted(mass, 1 - rate - 1e-9)])
