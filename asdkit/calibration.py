"""What held-out recordings say of new healthy ones: the scale of a score, and a threshold with a promised false-alarm rate."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from asdkit.knn import scaled
from asdkit.recordings import InputError, TrainingSet
from asdkit.scorer import Scorer

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


def _n_source(training: TrainingSet) -> int:
    """How many recordings of the source there are."""
    return len(np.unique(training.recordings[~training.is_target]))


def hold_out(training: TrainingSet, nearest: Callable) -> dict[int, torch.Tensor]:
    """Distances of training clips to the bank of the others, by index: all of the target, of the source some hundreds at most.

    Each tenth of the recordings is held out in turn: ``nearest(held, clips)`` gives the distances (n_units, n_parts) of clips,
    by their indices, with whitening, balance and bank made again without the clips of the mask `held`. The network is not
    trained again: a tenth of its clips hardly moves it, while a fit on two thirds of the recordings would find every clip
    farther from them than a new one is. Empty where the source has a single recording.
    """
    if (n := _n_source(training)) < 2:
        return {}
    chosen, folds = training.is_target | (training.folds(max(1, n // MANY)) == 0), training.folds(FOLDS)
    distances = {}
    for fold in np.unique(folds[chosen]):
        clips = np.flatnonzero(chosen & (folds == fold))
        distances |= zip(clips.tolist(), nearest(folds == fold, clips))
    return dict(sorted(distances.items()))


def calibrated(scorer: Scorer, training: TrainingSet, distances: dict[int, torch.Tensor]) -> tuple[Scorer, HeldOut | None]:
    """The scorer on the scale of what was held out, and the scores that thresholds come from, if there are three recordings."""
    if not distances:
        return scorer, None
    units = np.repeat(list(distances), [len(d) for d in distances.values()])
    bank, rows = scorer.bank, torch.cat(list(distances.values()))
    scorer = replace(scorer, bank=scaled(bank, rows, training.recordings[units], training.is_target[units], scorer.config.n_0))
    source = [i for i in distances if not training.is_target[i]]
    held_out = HeldOut(np.array([scorer.score(distances[i]) for i in source]), training.recordings[source])
    return scorer, held_out if held_out.n_source >= FEWEST else None


def conformal_threshold(scores: np.ndarray, recordings: np.ndarray, rate: float) -> float:
    """Smallest threshold that a new normal recording's clips exceed with at most this rate, 1 / (n_recordings + 1) or more.

    Every recording weighs the same, and one more, unseen, weighs on the side of the alarm.
    """
    _, codes, counts = np.unique(recordings, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    mass = np.cumsum(1 / counts[codes[order]]) / (len(counts) + 1)
    return float(scores[order][np.searchsorted(mass, 1 - rate - 1e-9)])
