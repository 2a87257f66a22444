"""The whole method on one screen: `fit` makes a `Detector` of one machine, which scores clips.

recordings -> spectra -> MSM embedding + DSP blocks -> Far-conditioning -> balance -> domain-conditional kNN -> file score.

Nothing here reads a test clip's label, domain or attributes: `Detector.score` is given spectra.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from asdkit.blocks import BandScaler, FrontEnd, Spectra, fast_channels, fit_net, fit_ridges, needs_msm, needs_ridge
from asdkit.calibration import calibrate
from asdkit.conditioning import fit_conditioner
from asdkit.config import Config, part_hash
from asdkit.dsp import Ridge
from asdkit.fitting import Fitting, Memo, fold_recordings, one_domain_at_least, own_recordings
from asdkit.knn import DomainKNN, fit_knn
from asdkit.msm import MSM
from asdkit.recordings import Clip, InputError
from asdkit.space import Balancer, Scaler, aggregate, balance_scale, fuse


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


def fit(
    clips: tuple[Clip, ...],
    config: Config,
    seed: int = 0,
    memo: Memo | None = None,
    fast=None,
    decide=True,
    description="",
    others: tuple[tuple[Clip, ...], ...] = (),
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
    others : tuple of tuples of Clip
        Training clips of other machines, which the objectives of `asdkit.objectives.POOLED` tell apart.

    Raises
    ------
    InputError
        With fewer than two training clips.
    """
    if len(clips) < 2:
        raise InputError(f"{clips[0].path.parent if clips else 'training'}: found {len(clips)} clip(s), expected at least 2")
    torch.set_num_threads(config.threads)
    clips = tuple(sorted(one_domain_at_least(own_recordings(clips)), key=lambda c: c.place))
    fast = tuple(fast_channels(config) if fast is None else fast)
    fitting = Fitting(clips, config, seed, memo or Memo(), fast, description, others)
    detector = fit_uncalibrated(fitting)
    return replace(detector, threshold=calibrate(fitting, fit_uncalibrated, fit_front)) if decide else detector


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
    """Network and ridge; for each training clip the ridge fitted without its fold of recordings."""
    config, scalers, net, ridge, ridges = fitting.config, {}, None, None, [None] * len(fitting.clips)
    spectra = [fitting.spectra(c) for c in fitting.clips]
    if needs_msm(config):
        key = ("net", part_hash(config, "net"), fitting.seed, fitting.key)
        scalers, net = fitting.memo(key, lambda: train_net(fitting))
    if needs_ridge(config):
        folds = fold_recordings(fitting, config.ridge_folds)
        key = ("ridges", part_hash(config, "ridges"), fitting.key)
        ridge, by_fold = fitting.memo(key, lambda: fit_ridges(spectra, folds, config))
        ridges = [by_fold[fold] for fold in folds]
    return FrontEnd(config, scalers, net, ridge), ridges


def train_net(fitting: Fitting) -> tuple[dict[str, BandScaler], MSM]:
    """Band scalers and network."""
    scalers, machines = fitting.examples()
    return scalers, fit_net(machines, fitting.config, fitting.seed, fitting.description)


def fit_balancer(fitting: Fitting, front: FrontEnd, raw: dict[str, torch.Tensor], recordings: np.ndarray) -> Balancer:
    """z-scores, the Far-conditioner of the MSM block, and the scale of each block."""
    config, conditioner = fitting.config, None
    scalers = {name: Scaler.fit(x, name in config.whiten) for name, x in raw.items()}
    if "msm" in raw and config.alpha > 0 and config.rank > 0:
        far_front = replace(front, config=replace(config, msm_channel="far", blocks=("msm",)))
        far_fitting = replace(fitting, config=far_front.config)
        far = torch.cat([far_fitting.blocks(far_front, c, config.train_hop)["msm"] for c in fitting.clips])
        z = scalers["msm"](raw["msm"])
        conditioner = fit_conditioner(
            z, Scaler.fit(far)(far), recordings, config.alpha, config.rank, config.rank_rule, config.subspace, config.control,
            fitting.seed,
        )  # fmt: skip
    removed = conditioner.removed_share(z) if conditioner else 0.0
    balancer = Balancer(scalers, conditioner, dict.fromkeys(raw, 1.0), removed)
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
    rows = [
        detector.space_scores(
            fitting.blocks(detector.front, fitting.clips[i], detector.config.test_hop, ridges[i]), fitting.recordings[i]
        )
        for i in standardisation_clips(fitting)
    ]
    normal = {name: centre_and_width(np.array([row[name] for row in rows])) for name in rows[0]}
    centres, widths = ({name: pair[i] for name, pair in normal.items()} for i in (0, 1))
    return replace(detector, centres=centres, widths=widths)


def standardisation_clips(fitting: Fitting) -> np.ndarray:
    """Indices of the training clips whose scores standardise a space."""
    n = len(fitting.clips)
    return np.unique(np.linspace(0, n - 1, min(n, fitting.config.standardise_clips)).round().astype(int))


def centre_and_width(scores: np.ndarray) -> tuple[float, float]:
    """Mean and spread of normal scores; a spread of rounding alone counts as 1."""
    mean, std = float(scores.mean()), float(scores.std())
    return mean, std if std > 1e-6 * abs(mean) else 1.0
