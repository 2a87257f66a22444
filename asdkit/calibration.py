"""The decision: a threshold with a promised false-alarm rate, from recordings held out of everything that is fitted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from asdkit.fitting import Fitting, fold_recordings, own_recordings
from asdkit.recordings import Clip, InputError

log = logging.getLogger("asdkit")


def calibrate(fitting: Fitting, fit: Callable) -> float | None:
    """Score that a normal recording exceeds at the requested rate, from recordings held out of everything that is fitted.

    Encoder, ridge and bank are refitted without a fold of recordings and that fold is scored. One fold of a fifth where its
    recordings suffice for the rate; else each recording is held out in turn, in three folds.
    """
    config, n = fitting.config, len(np.unique(fitting.recordings))
    try:
        check_rate(fitting.clips, config.false_alarm)
    except InputError as error:
        log.warning("%s; there will be no decisions", error)
        return None
    n_folds = round(1 / config.holdout)
    one_fold = 1 / (n // n_folds + 1) <= config.false_alarm  # whichever fold: it holds at least so many recordings
    n_folds, rounds = (n_folds, 1) if one_fold else (3, 3)
    folds, scores, recordings = fold_recordings(fitting, n_folds), [], []
    for fold in range(rounds):
        rest = replace(fitting, clips=tuple(c for c, f in zip(fitting.clips, folds) if f != fold))
        detector = fit(rest)
        for clip in (c for c, f in zip(fitting.clips, folds) if f == fold):
            scores.append(detector.score_blocks(rest.blocks(detector.front, clip, config.test_hop)))
            recordings.append(clip.recording)
    return conformal_threshold(np.array(scores), np.array(recordings), config.false_alarm)


def check_rate(clips: tuple[Clip, ...], rate: float) -> None:
    """Refuse a false-alarm rate that so few recordings cannot promise.

    Raises
    ------
    InputError
        For a rate below 1 / (n + 1) with n recordings, or fewer than three recordings.
    """
    n, where = len({c.recording for c in own_recordings(clips)}), clips[0].path.parent
    if n < 3 or rate < 1 / (n + 1):
        needed = max(3, int(np.ceil(1 / rate - 1e-9)) - 1)
        raise InputError(f"{where}: found {n} recordings, expected at least {needed} for a false-alarm rate of {rate:g}")


def conformal_threshold(scores: np.ndarray, recordings: np.ndarray, rate: float) -> float:
    """Smallest threshold that a new normal recording's clips exceed with at most the requested rate.

    Every recording weighs the same, and one more, unseen, weighs on the side of the alarm.

    Parameters
    ----------
    scores : (n_clips,)
        Of held-out normal clips.
    recordings : (n_clips,)
        What each clip was cut from.
    rate : float
        At least 1 / (n_recordings + 1).
    """
    _, codes, counts = np.unique(recordings, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    mass = np.cumsum(1 / counts[codes[order]]) / (len(counts) + 1)
    return float(scores[order][np.searchsorted(mass, 1 - rate - 1e-9)])
