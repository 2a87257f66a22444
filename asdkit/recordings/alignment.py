"""Near and far against each other: the lag between two recorders, the drift of their clocks, which channel hears first.

near, far : (n_samples,) float32 at 16 kHz, of any two lengths.
lag : seconds that far is late: far(t + lag) goes with near(t).
strength : height of the peak of their generalised cross-correlation (GCC-PHAT) over the robust standard deviation of its
    values. Two recordings with nothing in common reach 5 to 9, two of one room 20 and more.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from asdkit.recordings.files import InputError
from asdkit.recordings.reading import SAMPLE_RATE, Reading, duration, far_of, read_channels, read_pair

MIN_PEAK = 12.0  # strength that recordings with nothing in common do not reach
MIN_COMMON_S = 1.0  # that the files of a pair must have in common
SEARCH_S = 60.0  # s from the start in which the lag is looked for; the recorders were started within half of it
EDGE_S = 10.0  # s, at most, that drift and coherence are read from at either end: clocks that drift blur more than that
MAX_CLOCK_DRIFT = 500e-6  # seconds per second that two clocks may differ
MAX_PATH_DELAY_S = 0.03  # s, 10 m: what sound needs between the microphones, at most


class Alignment(NamedTuple):
    """How the far file of a pair lies to its near file."""

    lag: float  # s, in the middle of what they have in common
    drift: float  # ppm, how much later far is as time goes on
    coherence: float  # mean over frequency of the magnitude-squared coherence, once aligned, 0 to 1
    common: tuple[float, float]  # s of the near file that both recorded

    def at(self, second: float) -> float:
        """Lag at a time of the near file, seconds."""
        return self.lag + 1e-6 * self.drift * (second - sum(self.common) / 2)


def align(near: Path, reading: Reading) -> Alignment:
    """Lag, drift and coherence of a pair of mono files.

    The lag is measured in the first minute, and once more in the first and in the last half (of at most 10 s) of what both
    recorded; drift is the difference over the time between. An InputError where no peak of these correlations is above chance,
    or what they have in common is shorter than a second.
    """
    far, lengths = far_of(near), (duration(near, reading), duration(far_of(near), reading))
    lag, strength = find_lag(*(read_channels(path, reading, (0.0, SEARCH_S))[0] for path in (near, far)))
    start, stop = max(0.0, -lag), min(lengths[0], lengths[1] - lag)
    if stop - start < MIN_COMMON_S:
        raise InputError(f"{near} and {far}: found {max(0, stop - start):.2f} s in common, expected {MIN_COMMON_S:g} s or more")
    edge = min(EDGE_S, (stop - start) / 2)
    distance = stop - start - edge
    first = _align_within(near, reading, (start, start + edge), lag, 0.001 + MAX_CLOCK_DRIFT * min(SEARCH_S, distance))
    last = _align_within(near, reading, (stop - edge, stop), first[0], 0.001 + MAX_CLOCK_DRIFT * distance)
    if (highest := max(strength, first[1], last[1])) < MIN_PEAK:
        nothing = f"found no sound in common (peak of correlation {highest:.1f} above the rest)"
        raise InputError(f"{near} and {far}: {nothing}, expected recordings of one time and room ({MIN_PEAK:g} or more)")
    drift = 1e6 * (last[0] - first[0]) / distance
    return Alignment((first[0] + last[0]) / 2, drift, (first[2] + last[2]) / 2, (start, stop))


def _align_within(near: Path, reading: Reading, segment: tuple[float, float], lag: float, reach: float) -> tuple[float, ...]:
    """Lag within a segment, looked for within `reach` seconds of `lag`; its strength; the coherence there."""
    late, strength = find_lag(*read_pair(near, reading, segment, lag), reach=reach)
    return lag + late, strength, coherence(*read_pair(near, reading, segment, lag + late))


def find_lag(near: np.ndarray, far: np.ndarray, reach: float = np.inf) -> tuple[float, float]:
    """Lag of far by GCC-PHAT, at most `reach` seconds, and its strength; both are 0 where one of them is silent."""
    from scipy import fft

    size = fft.next_fast_len(len(near) + len(far), real=True)
    cross = fft.rfft(far, size) * fft.rfft(near, size).conj()
    r = fft.fftshift(np.abs(fft.irfft(cross / np.maximum(np.abs(cross), np.finfo(np.float32).tiny), size)))
    lags = (np.arange(size) - size // 2) / SAMPLE_RATE
    spread = np.median(r) / 0.6745
    allowed = (lags >= -len(near) / SAMPLE_RATE) & (lags <= len(far) / SAMPLE_RATE) & (np.abs(lags) <= reach)
    best = int(np.argmax(np.where(allowed, r, -1.0)))
    return (float(lags[best]), float(r[best] / spread)) if spread > 0 else (0.0, 0.0)


def coherence(near: np.ndarray, far: np.ndarray) -> float:
    """Mean over frequency of the magnitude-squared coherence of two aligned signals of one length, 0 to 1."""
    from scipy import signal

    with np.errstate(invalid="ignore", divide="ignore"):  # a silent band has none
        _, squared = signal.coherence(near, far, fs=SAMPLE_RATE, nperseg=min(1024, len(near)))
    return float(np.mean(np.nan_to_num(squared, posinf=0)))


def far_is_first(near: np.ndarray, far: np.ndarray) -> bool:
    """Whether far hears first what both hear: channels that are swapped, or noise that is louder than the machine at both."""
    lag, strength = find_lag(near, far, reach=MAX_PATH_DELAY_S)
    return strength >= MIN_PEAK and lag < 0
