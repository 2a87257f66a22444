"""When in a recording, in which bands and in which block it departs from healthy sound. Nothing is plotted here.

Legend
------
segments : [(start, spectra)], a recording as it is described: whole from 0 s, or segment after segment where it is long.
window : 2.56 s of it. A moment belongs to the window whose centre is nearest, the ends of a recording to its first and last
    window: a curve has the very values that the file score is made of, and an event is located to within a window.
curves : {block: (n_windows,)}. Standardised block scores where scores are fused, so that 0 is a healthy clip; in one space of
    all blocks, each block's share of the window score.
maps : {block: (n_bands, n_windows)}. Squared distance to the nearest healthy windows, band by band, as a multiple of what
    healthy windows of other recordings have in that band. Blocks of the network have none: an embedding has no bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from asdkit.blocks import HOP, Bands, FeatureExtractor, Spectra, block_bands
from asdkit.config import Config
from asdkit.knn import DomainKNN, distances, evenly_spaced, leave_out, nearest_mean
from asdkit.recordings import SAMPLE_RATE
from asdkit.scorer import Scorer
from asdkit.space import aggregate, top_count
from asdkit.spectrogram import hz_to_mel, mel_to_hz, window_starts

MAX_HEALTHY = 200  # bank windows that say what is usual in a band
SMOOTH = 0.04  # of the bands; so narrow a gap does not end a range of frequencies
JOIN = {"sum": sum, "mean": lambda x: sum(x) / len(x), "max": lambda x: np.max(x, axis=0)}


@dataclass(frozen=True)
class Peak:
    """Where a clip departs most: a time, a range of frequencies, and the blocks that say so."""

    start: float  # s
    end: float
    block: str
    low: float  # Hz; NaN where no block has bands
    high: float
    band_block: str


@dataclass(frozen=True)
class Explanation:
    """One recording, explained. `how` joins the blocks: levels give the file score, curves the score of each window."""

    score: float
    threshold: float | None
    normal: float | None  # level of healthy sound on the axis of the curves; None where nothing says so
    how: str  # "sum", "mean" or "max"
    times: np.ndarray  # (n_windows,) centres, s
    window: float  # s, length of a window
    span: tuple[float, float]  # s, of the recording
    curves: dict[str, np.ndarray]
    levels: dict[str, float]  # of the whole recording, by block
    bands: dict[str, np.ndarray]  # (n_bands,) Hz, of blocks that have bands
    maps: dict[str, np.ndarray]
    near: np.ndarray  # (n_mels, n_frames) log-mel, dB, evenly over the span

    def plot(self, title: str = ""):
        """Draw it (a matplotlib Figure), see `asdkit.figures.anomaly_panels`."""
        import asdkit

        return asdkit.figures.anomaly_panels(self, title)

    def __str__(self) -> str:
        return sentence(self)

    @property
    def edges(self) -> np.ndarray:
        """(n_windows + 1,) s: from where to where a window stands for the recording."""
        return np.concatenate([self.span[:1], (self.times[1:] + self.times[:-1]) / 2, self.span[1:]])

    @property
    def curve(self) -> np.ndarray:
        """(n_windows,) the blocks joined."""
        return JOIN[self.how](list(self.curves.values()))

    @property
    def share(self) -> dict[str, float]:
        """Share of each block in what lies above the healthy level, 0 to 1; a block below it has none."""
        above = {name: max(level, 0.0) for name, level in self.levels.items()}
        total = sum(above.values())
        return {name: level / total if total > 0 else 0.0 for name, level in above.items()}

    @property
    def peak(self) -> Peak:
        """The stretch around the maximum of the curve above half its height, no shorter than a window, and its bands."""
        curve, edges = self.curve, self.edges
        first, last = run_above_half(curve, float(np.median(curve)) if self.normal is None else self.normal)
        middle = (edges[first] + edges[last]) / 2
        start = max(self.span[0], min(edges[first], middle - self.window / 2))
        end = min(self.span[1], max(edges[last], middle + self.window / 2))
        block = max(self.levels, key=self.levels.get)
        return Peak(float(start), float(end), block, *self.peak_bands(first, last))

    def peak_bands(self, first: int, last: int) -> tuple[float, float, str]:
        """Lowest and highest frequency of what stands out in the windows [first, last), and the block that says so."""
        if not self.maps:
            return float("nan"), float("nan"), ""
        block = max(self.maps, key=self.levels.get)
        profile = self.maps[block][:, first:last].mean(1)
        profile = uniform_filter1d(profile, max(1, round(SMOOTH * len(profile))), mode="nearest")
        low, high = self.band_edges(block)[list(run_above_half(profile, 1.0))]
        return float(low), float(high), block

    def band_edges(self, block: str) -> np.ndarray:
        """(n_bands + 1,) Hz: half-way between mel centres, 0 and Nyquist at the ends."""
        mel = hz_to_mel(self.bands[block])
        return mel_to_hz(np.concatenate([[0.0], (mel[1:] + mel[:-1]) / 2, [hz_to_mel(SAMPLE_RATE / 2)]]))


def run_above_half(values: np.ndarray, floor: float) -> tuple[int, int]:
    """[first, last) of the run around the maximum that stays at or above half its height over `floor`."""
    top = int(np.argmax(values))
    below = np.flatnonzero(values < (values[top] + min(floor, values[top])) / 2)
    first = below[below < top].max(initial=-1) + 1
    return int(first), int(below[below > top].min(initial=len(values)))


def sentence(explanation: Explanation) -> str:
    """Decision and peak in plain English."""
    peak, known = explanation.peak, explanation.normal is not None and explanation.threshold is not None
    if known and explanation.score <= min(explanation.normal, explanation.threshold):
        return "Nothing stands out: it is as close to the healthy recordings as they are to each other."
    text = f"Most anomalous {_times(peak, explanation.span[1] - explanation.span[0])}"
    if peak.band_block == peak.block:
        text += f", {_frequencies(peak)}, in {peak.block}"
    else:
        text += f", in {peak.block}" + (f"; {peak.band_block} departs {_frequencies(peak)}" if peak.band_block else "")
    below = explanation.threshold is not None and explanation.score <= explanation.threshold
    return text + (", but within the threshold." if below else ".")


def _times(peak: Peak, duration: float) -> str:
    whole = peak.end - peak.start > 0.95 * duration
    return "throughout" if whole else f"from {peak.start:.1f} to {peak.end:.1f} s"


def _frequencies(peak: Peak) -> str:
    if peak.high - peak.low > 0.75 * SAMPLE_RATE / 2:
        return "in all bands"
    return f"around {peak.low / 1000:.2g} to {peak.high / 1000:.2g} kHz"


@dataclass(frozen=True)
class Explainer:
    """Explains recordings. Made by `fit_explainer`; called on the segments of one."""

    extractor: FeatureExtractor
    scorer: Scorer
    normal: float | None
    healthy: dict[str, np.ndarray]  # {block: (n_bands,)} mean squared distance of healthy windows

    def __call__(self, segments: list[tuple[float, Spectra]], threshold: float | None = None) -> Explanation:
        """Explain the score of one recording.

        Parameters
        ----------
        segments : list of (float, Spectra)
            Where each segment begins, s, and its spectra: ``[(0.0, read_spectra(clip, config))]`` for a clip.
        threshold : float, optional
            Of the decision.
        """
        config = self.scorer.config
        blocks = self.extractor.describe_all((spectra for _, spectra in segments), config.test_hop)
        windows, squared = self.scorer.windows(blocks), band_distances(self.scorer, blocks)
        curves = block_curves(self.scorer, windows, squared)
        hz = {name: bands.hz for name, bands in all_bands(self.scorer).items() if len(bands.hz)}
        return Explanation(
            score=self.scorer(blocks), threshold=threshold, normal=self.normal, how=joined(self.scorer),
            **time_axis(segments, config), curves=curves, levels=block_levels(config, windows, curves), bands=hz,
            maps={name: (squared[name].numpy() / self.healthy[name]).T for name in hz},
            near=np.concatenate([spectra["near", "slow"].numpy() for _, spectra in segments], axis=1),
        )  # fmt: skip


def time_axis(segments: list[tuple[float, Spectra]], config: Config) -> dict:
    """Centres of the windows, their length, and from where to where the recording goes, s."""
    frame, n_frames = HOP / SAMPLE_RATE, [spectra["near", "slow"].shape[1] for _, spectra in segments]
    starts = [start + frame * window_starts(n, config.width, config.test_hop) for (start, _), n in zip(segments, n_frames)]
    span = segments[0][0], segments[-1][0] + frame * (n_frames[-1] - 1)
    return dict(times=np.concatenate(starts) + frame * (config.width - 1) / 2, window=frame * config.width, span=span)


def fit_explainer(extractor: FeatureExtractor, scorer: Scorer) -> Explainer:
    """Gather from the banks what is usual: the window score, and the distance in each band, of healthy windows."""
    normal, healthy = 0.0 if len(scorer.banks) > 1 else None, {}
    for space, knn in scorer.banks.items():
        rows = evenly_spaced(len(knn.bank), MAX_HEALTHY)
        squared = space_distances(scorer, space, knn.bank[rows], knn.recordings[rows])
        healthy |= {name: x.mean(0).clamp(min=1e-6).numpy() for name, x in squared.items()}  # duplicates have distance 0
        if normal is None:
            normal = float(torch.cat([knn(knn.bank[r : r + 1], knn.recordings[r]) for r in rows]).median())
    return Explainer(extractor, scorer, normal, healthy)


def joined(scorer: Scorer) -> str:
    """How blocks make the score: as shares of one distance, or by mean or maximum of their scores."""
    return scorer.config.fusion if len(scorer.banks) > 1 else "sum"


def block_curves(scorer: Scorer, windows: dict, squared: dict) -> dict[str, np.ndarray]:
    """Standardised window scores of each block, or its share of the one score."""
    if len(windows) > 1:
        return {name: ((w - scorer.centres[name]) / scorer.widths[name]).numpy() for name, w in windows.items()}
    (scores,) = windows.values()
    if not squared:
        return {scorer.config.blocks[0]: scores.numpy()}
    total = sum(x.sum(1) for x in squared.values()).clamp(min=1e-30)
    return {name: (scores * x.sum(1) / total).numpy() for name, x in squared.items()}


def block_levels(config: Config, windows: dict, curves: dict[str, np.ndarray]) -> dict[str, float]:
    """What each block adds to the file score: of the same windows where all blocks have one score, else of its own best."""
    if len(windows) > 1:
        return {name: aggregate(torch.from_numpy(c), config.aggregate, config.top) for name, c in curves.items()}
    (scores,) = windows.values()
    best = scores.topk(top_count(len(scores), config.aggregate, config.top)).indices.numpy()
    return {name: float(c[best].mean()) for name, c in curves.items()}


# a distance dealt out to frequency bands: it is a sum over dimensions, and so over bands


def all_bands(scorer: Scorer) -> dict[str, Bands]:
    """The bands of each block of a scorer that has banks."""
    scalers = scorer.space.scalers if scorer.space else {}
    return {name: block_bands(name, scorer.config, len(s.mean)) for name, s in scalers.items()}


def band_distances(scorer: Scorer, blocks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Squared distance to the nearest healthy windows, balanced, dealt out to bands.

    Parameters
    ----------
    scorer : Scorer
    blocks : {name: (n_windows, dim)}
        Of one clip.

    Returns
    -------
    {name: (n_windows, n_bands)}
        Its sum over bands (and blocks, where they share a space) is the mean squared distance to the `k` neighbours of the
        bank, source or target, that gave the score. One band for a block without bands; empty for a back-end without a bank.
    """
    spaces = scorer.space(blocks) if scorer.banks else {}
    return {name: x for space, y in spaces.items() for name, x in space_distances(scorer, space, y).items()}


def space_distances(scorer: Scorer, space: str, x: torch.Tensor, recordings=None) -> dict[str, torch.Tensor]:
    """The same for balanced windows of one space, (n_windows, dim); `recordings` (n_windows,) are left out, each of its own."""
    bands = all_bands(scorer)
    members = [space] if space in bands else list(scorer.config.blocks)
    sizes = [max(1, len(bands[m].hz)) for m in members]
    offsets = np.cumsum([0, *sizes[:-1]])
    index = torch.from_numpy(np.concatenate([bands[m].index + o for m, o in zip(members, offsets)]))
    total = squared_differences(scorer.banks[space], x, index, sum(sizes), recordings)
    return dict(zip(members, total.split(sizes, dim=1)))


def squared_differences(knn: DomainKNN, x: torch.Tensor, index: torch.Tensor, n_bands: int, recordings=None) -> torch.Tensor:
    """Mean over the neighbours of squared differences, summed within bands. Shape: (n, dim) -> (n, n_bands)."""
    d = distances(x, knn.bank, knn.squared)
    d = nearer_bank(knn, d if recordings is None else leave_out(d, recordings, knn.recordings))
    nearest = d.topk(min(knn.k, d.shape[1]), largest=False)
    total, found = x.new_zeros(len(x), n_bands), nearest.values.isfinite()
    for neighbour, there in zip(nearest.indices.T, found.T):
        difference = (x - knn.bank[neighbour]).square() * there[:, None]
        total.index_add_(1, index, difference)
    return total / found.sum(1, keepdim=True).clamp(min=1)


def nearer_bank(knn: DomainKNN, d: torch.Tensor) -> torch.Tensor:
    """Distances with those to the bank, source or target, that did not give the score at infinity."""
    if not {"domain", "unscaled"} & set(knn.backends):
        return d
    scales = (knn.s_source, knn.s_target) if "domain" in knn.backends else (1.0, 1.0)
    is_target = torch.from_numpy(knn.is_target)
    source, target = (nearest_mean(d[:, mask], knn.k) / s for mask, s in zip((~is_target, is_target), scales))
    return d.masked_fill((target < source)[:, None] ^ is_target, torch.inf)
