"""The decision: a threshold with a promised false-alarm rate, from scores of recordings that were held out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asdkit.recordings import InputError, TrainingSet

FOLDS = 10  # of the recordings, held out in turn
MANY = 200  # recordings of the source that are scored at least, where there are as many
FEWEST = 3  # recordings of the source that any rate needs


@dataclass(frozen=True)
class HeldOut:
    """Scores of normal clips that were held out, and where there is a target as many again that stand for it."""

    scores: np.ndarray  # (n_clips,)
    recordings: np.ndarray  # (n_clips,) int, what each was cut from
    n_source: int  # recordings

    @property
    def lowest_rate(self) -> float:
        """The lowest rate that can be promised, to a thousandth."""
        return float(np.ceil(1000 / (self.n_source + 1)) / 1000)

    def threshold(self, rate: float) -> float:
        """Score that a normal clip exceeds at this rate, 1 / (n_source + 1) to 1, source and target met equally often."""
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


def hold_out(training: TrainingSet, n_0: float, score: Callable) -> HeldOut | None:
    """Score each tenth of the recordings without it: ``score(held, clips)`` gives the scores of clips, by their indices, with
    whitening, balance and bank made again without the clips of the mask `held`.

    The network is not trained again: a tenth of its clips hardly moves it, while a fit on two thirds of the recordings would
    find every clip farther from them than a new one is. Target recordings are too few for a tail: `like_target` makes of their
    mean and spread as many scores as there are of the source. None where the source has fewer than three recordings.
    """
    if (n := _n_source(training)) < FEWEST:
        return None
    chosen, folds = training.is_target | (training.folds(max(1, n // MANY)) == 0), training.folds(FOLDS)
    scores = np.zeros(len(folds))
    for fold in np.unique(folds[chosen]):
        clips = np.flatnonzero(chosen & (folds == fold))
        scores[clips] = score(folds == fold, clips)
    source, target = (np.flatnonzero(chosen & (training.is_target == domain)) for domain in (False, True))
    own, recordings = scores[source], training.recordings[source]
    n_source = len(np.unique(recordings))
    if len(target):
        own = np.append(own, like_target(own, recordings, scores[target], training.recordings[target], n_0))
        recordings = np.append(recordings, recordings + recordings.max() + 1)
    return HeldOut(own, recordings, n_source)


def like_target(source, source_recordings, target, target_recordings, n_0: float) -> np.ndarray:
    """Source scores (n_clips,) moved and stretched to the mean and spread of a new target recording's.

    The shape is the source's, since ten recordings have no tail. The target's variance is shrunk toward the source's, which
    counts as `n_0` recordings, and grows by 1 / n for the mean's own error. Every recording weighs the same.
    """
    (mean, variance, _), (centre, own, n) = _moments(source, source_recordings), _moments(target, target_recordings)
    shrunk = (n * own + n_0 * variance) / (n + n_0) * (1 + 1 / n)
    return centre + (source - mean) * np.sqrt(shrunk / variance if variance > 0 else 1)


def _moments(scores, recordings):
    """Mean and variance of clips, every recording weighing the same; number of recordings."""
    _, codes, counts = np.unique(recordings, return_inverse=True, return_counts=True)
    mean = np.average(scores, weights=1 / counts[codes])
    return mean, np.average((scores - mean) ** 2, weights=1 / counts[codes]), len(counts)


def conformal_threshold(scores: np.ndarray, recordings: np.ndarray, rate: float) -> float:
    """Smallest threshold that a new normal recording's clips exceed with at most this rate, 1 / (n_recordings + 1) or more.

    Every recording weighs the same, and one more, unseen, weighs on the side of the alarm.
    """
    _, codes, counts = np.unique(recordings, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    mass = np.cumsum(1 / counts[codes[order]]) / (len(counts) + 1)
    return float(scores[order][np.searchsorted(mass, 1 - rate - 1e-9)])
