"""The whole method on one screen: `fit` makes a `Detector` of one machine, which scores clips.

recordings -> spectra -> MSM embedding + DSP blocks -> Far-conditioning -> balance -> domain-conditional kNN -> file score.

Nothing here reads a test clip's label, domain or attributes: `Detector.score` is given spectra.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch

from asdkit.blocks import FrontEnd, Spectra, fast_channels, fit_nets, fit_ridges, needs_msm, needs_ridge, read_spectra
from asdkit.conditioning import fit_conditioner
from asdkit.config import Config, part_hash
from asdkit.dsp import Ridge
from asdkit.fusion import Balancer, Scaler, aggregate, balance_scale, fuse
from asdkit.knn import DomainKNN, fit_knn
from asdkit.recordings import Clip, InputError

log = logging.getLogger("asdkit")


@dataclass(frozen=True)
class Detector:
    """A fitted system for one machine."""

    config: Config
    seed: int
    front: FrontEnd
    balancer: Balancer | None
    spaces: dict[str, DomainKNN]  # one for the concatenation, or one a block
    centres: dict[str, float]  # mean and spread of training clips' scores, by space
    widths: dict[str, float]
    threshold: float | None = None  # a score above it is an anomaly; None where the rate cannot be promised

    def score(self, spectra: Spectra) -> float:
        """Anomaly score of one clip from its spectra."""
        return self.score_blocks(self.front.describe(spectra, self.config.test_hop))

    def score_blocks(self, blocks: dict[str, torch.Tensor], recording: int | None = None) -> float:
        """Anomaly score of one clip from its blocks at the test hop."""
        scores = self.space_scores(blocks, recording)
        if len(scores) == 1:
            return next(iter(scores.values()))
        standardised = [(scores[name] - self.centres[name]) / self.widths[name] for name in scores]
        return float(fuse(np.array([standardised]), self.config.fusion)[0])

    def space_scores(self, blocks: dict[str, torch.Tensor], recording: int | None = None) -> dict[str, float]:
        """File score in each space, not yet standardised; `recording` is left out of the banks."""
        windows = self.window_scores(blocks, recording)
        return {name: aggregate(w, self.config.aggregate, self.config.top) for name, w in windows.items()}

    def window_scores(self, blocks: dict[str, torch.Tensor], recording: int | None = None) -> dict[str, torch.Tensor]:
        """Score of each window in each space."""
        if self.config.backend == "value":
            return {name: x[:, 0] for name, x in blocks.items()}
        balanced = self.balancer(blocks)
        return {name: self.spaces[name](x, recording) for name, x in join(balanced, self.config).items()}

    def decide(self, score: float) -> int | None:
        """1 anomaly, 0 normal, None without a threshold."""
        return None if self.threshold is None else int(score > self.threshold)


class Memo:
    """Keeps what systems have in common within one machine, and what it cost, so that each is charged for what it uses."""

    def __init__(self):
        self.values, self.saved = {}, 0.0

    def __call__(self, key: tuple, compute: Callable):
        """The value of `compute()`, made once per key."""
        if key not in self.values:
            start = perf_counter()
            self.values[key] = compute(), perf_counter() - start
        else:
            self.saved += self.values[key][1]
        return self.values[key][0]

    def forget_all_but(self, *kinds: str) -> None:
        """Drop everything whose key does not begin with one of these."""
        self.values = {key: value for key, value in self.values.items() if key[0] in kinds}


@dataclass(frozen=True)
class Fitting:
    """The training clips of one fit, and the memo that fits share."""

    clips: tuple[Clip, ...]
    config: Config
    seed: int
    memo: Memo
    fast: tuple[str, ...]
    description: str = ""

    @property
    def recordings(self) -> np.ndarray:
        """(n_clips,) integer id of each clip's recording."""
        return np.unique([c.recording for c in self.clips], return_inverse=True)[1]

    @property
    def is_target(self) -> np.ndarray:
        """(n_clips,) bool."""
        return np.array([c.domain == "target" for c in self.clips])

    @property
    def key(self) -> tuple:
        """Identifies the clips that things are fitted on."""
        return tuple(c.path for c in self.clips)

    def spectra(self, clip: Clip) -> Spectra:
        """Spectra of one clip, read once."""
        key = ("spectra", clip.path, self.config.ridge_penalty, self.config.width)
        return self.memo(key, lambda: read_spectra(clip, self.config, self.fast))

    def blocks(self, front: FrontEnd, clip: Clip, hop: int, ridge: Ridge | None = None) -> dict[str, torch.Tensor]:
        """Blocks of one clip under this fit."""
        spectra, blocks = self.spectra(clip), {}
        for name in self.config.blocks:
            one = replace(front, config=replace(self.config, blocks=(name,)))
            fitted = (self.seed, self.key) if name.startswith("msm") or name == "ridge" else ()
            key = ("block", name, part_hash(self.config, name), clip.path, hop, ridge is None, *fitted)
            blocks[name] = self.memo(key, lambda one=one, name=name: one.describe(spectra, hop, ridge)[name])
        return blocks


def fit(
    clips: tuple[Clip, ...], config: Config, seed: int = 0, memo: Memo | None = None, fast=None, decide=True, description=""
) -> Detector:
    """Fit one machine on its normal training clips and calibrate its decision.

    Parameters
    ----------
    clips : tuple of Clip
        Training clips; `domain` tells source from target, `recording` siblings.
    config : Config
    seed : int
        Of the networks' weights, the crops and the masks.
    memo : Memo, optional
        Shared between the systems of one machine.
    fast : iterable of str, optional
        Channels whose fast spectra another system sharing the memo needs.
    decide : bool
        Calibrate the decision, which takes one to three more fits.

    Raises
    ------
    InputError
        With fewer than two training clips.
    """
    if len(clips) < 2:
        raise InputError(f"{clips[0].path.parent if clips else 'training'}: found {len(clips)} clip(s), expected at least 2")
    torch.set_num_threads(config.threads)
    clips = tuple(sorted(one_domain_at_least(own_recordings(clips)), key=lambda c: c.path))
    fitting = Fitting(clips, config, seed, memo or Memo(), tuple(fast_channels(config) if fast is None else fast), description)
    detector = fit_uncalibrated(fitting)
    return replace(detector, threshold=calibrate(fitting)) if decide else detector


def fit_uncalibrated(fitting: Fitting) -> Detector:
    """Front end, conditioner, balance, banks and the standardisation of block scores."""
    config, recordings = fitting.config, fitting.recordings
    front, ridges = fit_front(fitting)
    if config.backend == "value":
        return Detector(config, fitting.seed, front, None, {}, {}, {})
    clip_blocks = [fitting.blocks(front, c, config.train_hop, r) for c, r in zip(fitting.clips, ridges)]
    counts = [len(next(iter(blocks.values()))) for blocks in clip_blocks]
    window_recordings = np.repeat(recordings, counts)
    raw = {name: torch.cat([blocks[name] for blocks in clip_blocks]) for name in config.blocks}
    balancer = fit_balancer(fitting, front, raw, window_recordings)
    target = np.repeat(fitting.is_target, counts)
    spaces = {
        name: fit_knn(bank, window_recordings, target, config.k, config.n_0, config.backend)
        for name, bank in join(balancer(raw), config).items()
    }
    detector = Detector(config, fitting.seed, front, balancer, spaces, {}, {})
    return standardise_spaces(detector, fitting, ridges) if len(spaces) > 1 else detector


def fit_front(fitting: Fitting) -> tuple[FrontEnd, list[Ridge | None]]:
    """Networks and ridge; for each training clip the ridge fitted without its fold of recordings."""
    config, scalers, nets, ridge, ridges = fitting.config, {}, (), None, [None] * len(fitting.clips)
    spectra = [fitting.spectra(c) for c in fitting.clips]
    if needs_msm(config):
        key = ("nets", part_hash(config, "nets"), fitting.seed, fitting.key)
        scalers, nets = fitting.memo(key, lambda: fit_nets(spectra, config, fitting.seed, fitting.description))
    if needs_ridge(config):
        folds = fold_recordings(fitting, config.ridge_folds)
        key = ("ridges", part_hash(config, "ridges"), fitting.key)
        ridge, by_fold = fitting.memo(key, lambda: fit_ridges(spectra, folds, config))
        ridges = [by_fold[fold] for fold in folds]
    return FrontEnd(config, scalers, nets, ridge), ridges


def fit_balancer(fitting: Fitting, front: FrontEnd, raw: dict[str, torch.Tensor], recordings: np.ndarray) -> Balancer:
    """z-scores, the Far-conditioner of the MSM block, and the scale of each block."""
    config, conditioner = fitting.config, None
    scalers = {name: Scaler.fit(x) for name, x in raw.items()}
    if "msm" in raw and config.alpha > 0 and config.rank > 0:
        far_front = replace(front, config=replace(config, msm_channel="far", blocks=("msm",)))
        far_fitting = replace(fitting, config=far_front.config)
        far = torch.cat([far_fitting.blocks(far_front, c, config.train_hop)["msm"] for c in fitting.clips])
        conditioner = fit_conditioner(
            scalers["msm"](raw["msm"]), Scaler.fit(far)(far), recordings, config.alpha, config.rank, config.rank_rule,
            config.subspace, config.control, fitting.seed,
        )  # fmt: skip
    balancer = Balancer(scalers, conditioner, dict.fromkeys(raw, 1.0))
    if not config.balance or len(raw) == 1:
        return balancer
    return replace(balancer, scales={name: balance_scale(balancer.conditioned(name, x), recordings) for name, x in raw.items()})


def join(blocks: dict[str, torch.Tensor], config: Config) -> dict[str, torch.Tensor]:
    """The spaces that are searched: all blocks side by side, or each on its own."""
    if config.fusion == "concatenate":
        return {"+".join(blocks): torch.cat(list(blocks.values()), dim=1)}
    return blocks


def standardise_spaces(detector: Detector, fitting: Fitting, ridges: list[Ridge | None]) -> Detector:
    """Mean and spread of training clips' scores in each space, each clip's recording left out, at the test hop."""
    n = len(fitting.clips)
    chosen = np.unique(np.linspace(0, n - 1, min(n, detector.config.standardise_clips)).round().astype(int))
    rows = [
        detector.space_scores(
            fitting.blocks(detector.front, fitting.clips[i], detector.config.test_hop, ridges[i]), fitting.recordings[i]
        )
        for i in chosen
    ]
    scores = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    widths = {name: max(float(x.std()), 1e-9) for name, x in scores.items()}
    return replace(detector, centres={name: float(x.mean()) for name, x in scores.items()}, widths=widths)


def calibrate(fitting: Fitting) -> float | None:
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
    one_fold = 1 / (round(config.holdout * n) + 1) <= config.false_alarm
    n_folds, rounds = (round(1 / config.holdout), 1) if one_fold else (3, 3)
    folds, scores, recordings = fold_recordings(fitting, n_folds), [], []
    for fold in range(rounds):
        rest = replace(fitting, clips=tuple(c for c, f in zip(fitting.clips, folds) if f != fold))
        detector = fit_uncalibrated(rest)
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


def fold_recordings(fitting: Fitting, n_folds: int) -> np.ndarray:
    """(n_clips,) fold of each clip: whole recordings, domains spread evenly, shuffled by a fixed seed."""
    ids = fitting.recordings
    order = np.random.default_rng(0).permutation(ids.max() + 1)
    domain = {i: t for i, t in zip(ids, fitting.is_target)}
    ranked = sorted(order, key=lambda i: domain[i])
    fold = np.empty(len(order), dtype=int)
    fold[ranked] = np.arange(len(ranked)) % n_folds
    return fold[ids]


def own_recordings(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """The clips, each its own recording where all come from one: nothing could be left out otherwise."""
    if len({c.recording for c in clips}) > 1:
        return clips
    warnings.warn(f"{clips[0].path.parent}: all clips are of one recording; each is taken for its own", stacklevel=3)
    return tuple(replace(c, recording=c.name) for c in clips)


def one_domain_at_least(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """The clips, called source where all are target."""
    return clips if any(c.domain != "target" for c in clips) else tuple(replace(c, domain="source") for c in clips)
