"""When in a recording, in which bands and in which block it departs from healthy sound.

segments : [(start, spectra)], a recording as it is described: whole from 0 s, or segment after segment where it is long.
curves : {block: (n_windows,)}. The share of each window and block in the distance to the nearest healthy recordings
    (`asdkit.scorer.Scorer.contributions`); summed over blocks and averaged over windows they are the file score. A moment
    belongs to the window whose centre is nearest: an event is located to within a window.
maps : {block: (n_bands, n_windows)}. The same by band, as a multiple of what healthy recordings have in that band;
    the blocks of the network have none.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from asdkit.blocks import HOP, Bands, FeatureExtractor, Spectra, block_bands
from asdkit.config import Config
from asdkit.knn import evenly_spaced
from asdkit.recordings import SAMPLE_RATE
from asdkit.scorer import Scorer
from asdkit.space import top_count
from asdkit.spectrogram import hz_to_mel, mel_to_hz, window_starts

MAX_HEALTHY = 200  # bank vectors that say what is usual in a band
SMOOTH = 0.04  # of the bands; so narrow a gap does not end a range of frequencies


@dataclass(frozen=True)
class Peak:
    """Where a clip departs most: a time, a range of frequencies, and the blocks that say so."""

    start: float  # s
    end: float
    block: str
    low: float  # Hz; NaN where no block has bands, and band_block is empty
    high: float
    band_block: str


@dataclass(frozen=True)
class Explanation:
    """One recording, explained: levels of the blocks sum to the file score, curves to the score of each window."""

    score: float
    threshold: float | None
    times: np.ndarray  # (n_windows,) centres, s
    window: float  # s, length of a window
    span: tuple[float, float]  # s, of the recording
    curves: dict[str, np.ndarray]
    levels: dict[str, float]  # of the whole recording, by block
    bands: dict[str, np.ndarray]  # (n_bands,) Hz, of blocks that have bands
    maps: dict[str, np.ndarray]
    near: np.ndarray  # (n_mels, n_frames) log-mel, dB, evenly over the span
    normal: float = 1.0  # score of healthy recordings, on the mean of those that were held out

    def plot(self, title: str = ""):
        """Draw it: a matplotlib Figure."""
        import asdkit

        return asdkit.figures.anomaly_panels(self, title)

    def __str__(self) -> str:
        """Decision and peak in plain English."""
        peak, threshold = self.peak, self.threshold
        if threshold is not None and self.score <= min(self.normal, threshold):
            return "Nothing stands out: it is as close to the healthy recordings as they are to each other."
        whole = peak.end - peak.start > 0.95 * (self.span[1] - self.span[0])
        when = "throughout" if whole else f"from {peak.start:.1f} to {peak.end:.1f} s"
        all_bands = peak.high - peak.low > 0.75 * SAMPLE_RATE / 2
        bands = "in all bands" if all_bands else f"around {peak.low / 1000:.2g} to {peak.high / 1000:.2g} kHz"
        is_normal = threshold is not None and self.score <= threshold
        where = "Not an anomaly, its score is within the threshold. It departs most" if is_normal else "Most anomalous"
        if peak.band_block == peak.block:
            return f"{where} {when}, {bands}, in {peak.block}."
        return f"{where} {when}, in {peak.block}" + (f"; {peak.band_block} departs {bands}." if peak.band_block else ".")

    @property
    def edges(self) -> np.ndarray:
        """(n_windows + 1,) s: from where to where a window stands for the recording."""
        return np.concatenate([self.span[:1], (self.times[1:] + self.times[:-1]) / 2, self.span[1:]])

    @property
    def curve(self) -> np.ndarray:
        """(n_windows,) all blocks together."""
        return sum(self.curves.values())

    @property
    def share(self) -> dict[str, float]:
        """Share of each block in the sum of the levels above 0."""
        above = {name: max(level, 0.0) for name, level in self.levels.items()}
        total = sum(above.values())
        return {name: level / total if total > 0 else 0.0 for name, level in above.items()}

    @property
    def peak(self) -> Peak:
        """The stretch around the maximum of the curve above half its height, no shorter than a window, and its bands."""
        curve, edges = self.curve, self.edges
        first, last = run_above_half(curve, self.normal)
        middle = (edges[first] + edges[last]) / 2
        start = float(max(self.span[0], min(edges[first], middle - self.window / 2)))
        end = float(min(self.span[1], max(edges[last], middle + self.window / 2)))
        block = max(self.levels, key=self.levels.get)
        if not self.maps:
            return Peak(start, end, block, float("nan"), float("nan"), "")
        band_block = max(self.maps, key=self.levels.get)
        profile = self.maps[band_block][:, first:last].mean(1)
        profile = uniform_filter1d(profile, max(1, round(SMOOTH * len(profile))), mode="nearest")
        low, high = self.band_edges(band_block)[list(run_above_half(profile, 1.0))]
        return Peak(start, end, block, float(low), float(high), band_block)

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


@dataclass(frozen=True)
class Explainer:
    """Explains recordings. Made by `fit_explainer`; called on the segments of one."""

    extractor: FeatureExtractor
    scorer: Scorer
    healthy: dict[str, np.ndarray]  # {block: (n_bands,)} what healthy recordings have in a band

    def __call__(self, segments: list[tuple[float, Spectra]], threshold: float | None = None) -> Explanation:
        """Explain the score of one recording: ``[(0.0, read_spectra(clip, config))]`` for a clip."""
        config = self.scorer.config
        blocks = self.extractor.describe_all((spectra for _, spectra in segments), config.test_hop)
        contributions = self.scorer.contributions(self.scorer.space(blocks))
        by_block = {name: contributions[:, where] for name, where in self.scorer.space.slices().items()}
        curves = {name: x.sum(1).numpy() for name, x in by_block.items()}
        best = torch.from_numpy(sum(curves.values())).topk(top_count(len(contributions), config.aggregate, config.top)).indices
        bands = _all_bands(self.scorer)
        return Explanation(
            score=self.scorer(blocks), threshold=threshold, **_time_axis(segments, config), curves=curves,
            levels={name: float(c[best.numpy()].mean()) for name, c in curves.items()},
            bands={name: b.hz for name, b in bands.items()},
            maps={name: (_by_band(by_block[name], b) / self.healthy[name]).T for name, b in bands.items()},
            near=np.concatenate([spectra["near"].numpy() for _, spectra in segments], axis=1),
        )  # fmt: skip


def _time_axis(segments: list[tuple[float, Spectra]], config: Config) -> dict:
    """times, window and span of an `Explanation`."""
    frame, n_frames = HOP / SAMPLE_RATE, [spectra["near"].shape[1] for _, spectra in segments]
    starts = [start + frame * window_starts(n, config.width, config.test_hop) for (start, _), n in zip(segments, n_frames)]
    span = segments[0][0], segments[-1][0] + frame * (n_frames[-1] - 1)
    return dict(times=np.concatenate(starts) + frame * (config.width - 1) / 2, window=frame * config.width, span=span)


def fit_explainer(extractor: FeatureExtractor, scorer: Scorer) -> Explainer:
    """Gather from the bank what is usual in each band of healthy recordings, each left out."""
    bank, healthy = scorer.bank, {}
    rows = evenly_spaced(len(bank.bank), MAX_HEALTHY)
    each = [scorer.contributions(bank.bank[r : r + 1], bank.recordings[r : r + 1]) for r in rows]
    contributions = torch.cat(each).clamp(min=0)
    for name, bands in _all_bands(scorer).items():
        healthy[name] = _by_band(contributions[:, scorer.space.slices()[name]], bands).mean(0).clip(min=1e-6)
    return Explainer(extractor, scorer, healthy)


def _all_bands(scorer: Scorer) -> dict[str, Bands]:
    """The bands of each block that has bands."""
    slices = scorer.space.slices()
    bands = {name: block_bands(name, scorer.config, where.stop - where.start) for name, where in slices.items()}
    return {name: b for name, b in bands.items() if len(b.hz)}


def _by_band(x: torch.Tensor, bands: Bands) -> np.ndarray:
    """Dimensions summed within bands. Shape: (n, dim) -> (n, n_bands)."""
    return x.new_zeros(len(x), len(bands.hz)).index_add_(1, torch.from_numpy(bands.index), x).numpy()
