"""The decision: a threshold with a promised false-alarm rate, from recordings held out of everything that is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asdkit.recordings import InputError, TrainingSet

ENOUGH = 100  # recordings in a fold that is held out alone: they promise 1 %
ROTATED = 3  # folds that are held out in turn where one holds fewer
FEWEST = 3  # recordings of the source that any rate needs


@dataclass(frozen=True)
class HeldOut:
    """Scores of normal clips that nothing was fitted on, and where there is a target as many again that stand for it."""

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
        if rate < 1 / (self.n_source + 1):
            needed = int(np.ceil(1 / rate - 1e-9)) - 1
            counts = f"found {self.n_source} recordings held out, expected at least {needed} for a false-alarm rate of {rate:g}"
            raise InputError(f"{counts}; fit with more recordings, or ask for {self.lowest_rate:g} or more")
        return conformal_threshold(self.scores, self.recordings, rate)


def check_rate(training: TrainingSet, rate: float) -> None:
    """InputError for a rate below 1 / (n + 1) with n recordings of the source, or fewer than three recordings."""
    n, where = _n_source(training), training.clips[0].path.parent
    if n < FEWEST or rate < 1 / (n + 1):
        needed = max(FEWEST, int(np.ceil(1 / rate - 1e-9)) - 1)
        raise InputError(f"{where}: found {n} recordings, expected at least {needed} for a false-alarm rate of {rate:g}")


def _n_source(training: TrainingSet) -> int:
    """How many recordings of the source there are."""
    return len(np.unique(training.recordings[~training.is_target]))


def held_out_folds(training: TrainingSet, share: float) -> tuple[np.ndarray, int]:
    """The round in which each clip is held out, -1 for target clips; and the number of rounds.

    One fold of `share` is held out if it has a hundred recordings; otherwise each of three in turn.
    """
    n_folds = round(1 / share)
    n_folds, n_rounds = (n_folds, 1) if _n_source(training) // n_folds >= ENOUGH else (ROTATED, ROTATED)
    return np.where(training.is_target, -1, training.folds(n_folds)), n_rounds


def hold_out(
    training: TrainingSet, share: float, n_0: float, score: Callable, score_target: Callable
) -> HeldOut | None:
    """Score recordings that were held out of everything: encoder, ridge and bank are fitted again without a fold of them.

    Target recordings are too few for a tail: `like_target` makes of their mean and spread as many scores as there are of the
    source. ``score(rest, held)`` fits on the clips of `rest` and gives the scores of the clips with indices `held`,
    ``score_target()`` those of the target clips. None where the source has fewer than three recordings.
    """
    if _n_source(training) < FEWEST:
        return None
    folds, n_rounds = held_out_folds(training, share)
    rounds = [np.flatnonzero(folds == i) for i in range(n_rounds)]
    rests = [training.without(np.isin(np.arange(len(folds)), held)) for held in rounds]
    scores = np.array([s for rest, held in zip(rests, rounds) for s in score(rest, held)])
    recordings = training.recordings[np.concatenate(rounds)]
    n_source = len(np.unique(recordings))
    if training.is_target.any():
        target = score_target(), training.recordings[training.is_target]
        scores = np.append(scores, like_target(scores, recordings, *target, n_0))
        recordings = np.append(recordings, recordings + recordings.max() + 1)
    return HeldOut(scores, recordings, n_source)


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
