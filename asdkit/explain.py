"""When in a recording, in which bands and in which block it departs from healthy sound. Nothing is plotted here.

Legend
------
parts : [(start, spectra)], a recording as it is described: whole from 0 s, or part after part where it is long.
window : 2.56 s of it. A moment belongs to the window whose centre is nearest, the ends of a recording to its first and last
    window: a curve has the very values that the file score is made of, and an event is located to within a window.
curves : {block: (n_windows,)}. Standardised block scores where scores are fused, so that 0 is a healthy clip; in one space of
    all blocks, each block's share of the window score.
maps : {block: (n_bands, n_windows)}. Squared distance to the nearest healthy windows, band by band, as a multiple of what
    healthy windows of other recordings have in that band. Blocks of the network have none: an embedding has no bands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from asdkit.bands import all_bands, band_distances, space_distances
from asdkit.blocks import HOP, Spectra
from asdkit.config import Config
from asdkit.detector import Detector
from asdkit.recordings import SAMPLE_RATE
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
    """Explains recordings. Made by `fit_explainer`; called on the parts of one."""

    detector: Detector
    normal: float | None
    healthy: dict[str, np.ndarray]  # {block: (n_bands,)} mean squared distance of healthy windows

    def __call__(self, parts: Iterable[tuple[float, Spectra]]) -> Explanation:
        """Explain the score of one recording.

        Parameters
        ----------
        parts : iterable of (float, Spectra)
            Where each part begins, s, and its spectra: ``[(0.0, read_spectra(clip, config))]`` for a clip,
            `asdkit.apps.verdicts.Model.spectra` for a file.
        """
        detector, config, parts = self.detector, self.detector.config, list(parts)
        described = [detector.front.describe(spectra, config.test_hop) for _, spectra in parts]
        blocks = {name: torch.cat([x[name] for x in described]) for name in described[0]}
        windows, squared = detector.window_scores(blocks), band_distances(detector, blocks)
        curves = block_curves(detector, windows, squared)
        hz = {name: bands.hz for name, bands in all_bands(detector).items() if len(bands.hz)}
        return Explanation(
            score=detector.score_blocks(blocks), threshold=detector.threshold, normal=self.normal, how=joined(detector),
            **time_axis(parts, config), curves=curves, levels=block_levels(config, windows, curves), bands=hz,
            maps={name: (squared[name].numpy() / self.healthy[name]).T for name in hz},
            near=np.concatenate([spectra["near", "slow"].numpy() for _, spectra in parts], axis=1),
        )  # fmt: skip


def time_axis(parts: list[tuple[float, Spectra]], config: Config) -> dict:
    """Centres of the windows, their length, and from where to where the recording goes, s."""
    frame, n_frames = HOP / SAMPLE_RATE, [spectra["near", "slow"].shape[1] for _, spectra in parts]
    starts = [start + frame * window_starts(n, config.width, config.test_hop) for (start, _), n in zip(parts, n_frames)]
    span = parts[0][0], parts[-1][0] + frame * (n_frames[-1] - 1)
    return dict(times=np.concatenate(starts) + frame * (config.width - 1) / 2, window=frame * config.width, span=span)


def fit_explainer(detector: Detector) -> Explainer:
    """Gather from the banks what is usual: the window score, and the distance in each band, of healthy windows.

    Raises
    ------
    InputError
        For a block whose dimensions are not known to be bands or something else.
    """
    normal, healthy = 0.0 if len(detector.spaces) > 1 else None, {}
    for space, knn in detector.spaces.items():
        rows = np.unique(np.linspace(0, len(knn.bank) - 1, min(len(knn.bank), MAX_HEALTHY)).round().astype(int))
        squared = space_distances(detector, space, knn.bank[rows], knn.recordings[rows])
        healthy |= {name: x.mean(0).clamp(min=1e-6).numpy() for name, x in squared.items()}  # duplicates have distance 0
        if normal is None:
            normal = float(torch.cat([knn(knn.bank[r : r + 1], knn.recordings[r]) for r in rows]).median())
    return Explainer(detector, normal, healthy)


def joined(detector: Detector) -> str:
    """How blocks make the score: as shares of one distance, or by mean or maximum of their scores."""
    return detector.config.fusion if len(detector.spaces) > 1 else "sum"


def block_curves(detector: Detector, windows: dict, squared: dict) -> dict[str, np.ndarray]:
    """Standardised window scores of each block, or its share of the one score."""
    if len(windows) > 1:
        return {name: ((w - detector.centres[name]) / detector.widths[name]).numpy() for name, w in windows.items()}
    (scores,) = windows.values()
    if not squared:
        return {detector.config.blocks[0]: scores.numpy()}
    total = sum(x.sum(1) for x in squared.values()).clamp(min=1e-30)
    return {name: (scores * x.sum(1) / total).numpy() for name, x in squared.items()}


def block_levels(config: Config, windows: dict, curves: dict[str, np.ndarray]) -> dict[str, float]:
    """What each block adds to the file score: of the same windows where all blocks have one score, else of its own best."""
    if len(windows) > 1:
        return {name: aggregate(torch.from_numpy(c), config.aggregate, config.top) for name, c in curves.items()}
    (scores,) = windows.values()
    best = scores.topk(top_count(len(scores), config.aggregate, config.top)).indices.numpy()
    return {name: float(c[best].mean()) for name, c in curves.items()}
