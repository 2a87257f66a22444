"""The decision: a threshold with a promised false-alarm rate, from recordings held out of everything that is fitted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from asdkit.fitting import Fitting, fold_recordings, one_domain_at_least, own_recordings
from asdkit.recordings import Clip, InputError

log = logging.getLogger("asdkit")


def calibrate(fitting: Fitting, fit: Callable, fit_front: Callable) -> float | None:
    """Score that a normal clip exceeds at the requested rate, where source and target are met equally often.

    Source recordings are held out of everything: encoder, ridge and bank are refitted without a fold of them, and that fold is
    scored. One fold of a fifth where its recordings suffice for the rate; else each recording is held out in turn, in three
    folds. Target recordings are too few for that: each is left out of its ridge and of the bank, and `like_target` makes of
    their mean and spread as many scores as there are of the source.

    Parameters
    ----------
    fitting : Fitting
    fit, fit_front : callable
        Of a fitting: the detector; its front end and each training clip's ridge.
    """
    config, source = fitting.config, ~fitting.is_target
    try:
        check_rate(fitting.clips, config.false_alarm)
    except InputError as error:
        log.warning("%s; there will be no decisions", error)
        return None
    n, n_folds = len(np.unique(fitting.recordings[source])), round(1 / config.holdout)
    one_fold = 1 / (n // n_folds + 1) <= config.false_alarm  # whichever fold: it holds at least so many recordings
    n_folds, rounds = (n_folds, 1) if one_fold else (3, 3)
    folds = np.where(source, fold_recordings(fitting, n_folds), -1)
    scores, recordings = np.array([]), fitting.recordings[[i for f in range(rounds) for i in np.flatnonzero(folds == f)]]
    for fold in range(rounds):
        rest = replace(fitting, clips=tuple(c for c, f in zip(fitting.clips, folds) if f != fold))
        detector, held = fit(rest), (c for c, f in zip(fitting.clips, folds) if f == fold)
        scores = np.append(scores, [detector.score_blocks(rest.blocks(detector.front, c, config.test_hop)) for c in held])
        if fold == 0 and rest.is_target.any():
            target = _left_out(detector, rest, fit_front(rest)[1]), rest.recordings[rest.is_target]
    if not source.all():
        scores = np.append(scores, like_target(scores, recordings, *target, config.n_0))
        recordings = np.append(recordings, recordings + recordings.max() + 1)
    return conformal_threshold(scores, recordings, config.false_alarm)


def _left_out(detector, fitting, ridges):
    """Scores of the target clips, each's recording left out of its ridge and of the bank."""
    hop, rows = fitting.config.test_hop, np.flatnonzero(fitting.is_target)
    blocks = (fitting.blocks(detector.front, fitting.clips[i], hop, ridges[i]) for i in rows)
    return np.array([detector.score_blocks(b, fitting.recordings[i]) for i, b in zip(rows, blocks)])


def like_target(source, source_recordings, target, target_recordings, n_0: float) -> np.ndarray:
    """Source scores moved and stretched to the mean and spread of a new target recording's.

    The shape is the source's, since ten recordings have no tail. Their variance is shrunk toward the source's as the target
    scale of the kNN is, and grows by 1 / n for the mean's own error. Every recording weighs the same.

    Parameters
    ----------
    source, target : (n_clips,) array
        Scores of normal clips.
    source_recordings, target_recordings : (n_clips,) int array
    n_0 : float
        Recordings' worth of source variance, >= 0.

    Returns
    -------
    (n_source_clips,) array
    """
    (mean, variance, _), (centre, own, n) = _moments(source, source_recordings), _moments(target, target_recordings)
    shrunk = (n * own + n_0 * variance) / (n + n_0) * (1 + 1 / n)
    return centre + (source - mean) * np.sqrt(shrunk / variance if variance > 0 else 1)


def _moments(scores, recordings):
    """Mean and variance of clips, every recording weighing the same; number of recordings."""
    _, codes, counts = np.unique(recordings, return_inverse=True, return_counts=True)
    mean = np.average(scores, weights=1 / counts[codes])
    return mean, np.average((scores - mean) ** 2, weights=1 / counts[codes]), len(counts)


def check_rate(clips: tuple[Clip, ...], rate: float) -> None:
    """Refuse a false-alarm rate that so few recordings of the source cannot promise.

    Raises
    ------
    InputError
        For a rate below 1 / (n + 1) with n recordings, or fewer than three recordings.
    """
    known = one_domain_at_least(own_recordings(clips))
    n, where = len({c.recording for c in known if c.domain != "target"}), clips[0].path.parent
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
