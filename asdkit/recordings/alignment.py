"""Near and far against each other: the lag between two recorders, the drift of their clocks, which channel hears first.

Legend
------
near, far : (n_samples,) float32 at 16 kHz, of any two lengths.
lag : seconds that far is late: far(t + lag) goes with near(t).
strength : height of the peak of their generalised cross-correlation (GCC-PHAT) over the robust standard deviation of its
    values. Two recordings with nothing in common reach 5 to 9, two of one room 20 and more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asdkit.recordings.reading import SAMPLE_RATE

MIN_PEAK = 12.0  # strength that recordings with nothing in common do not reach
SEARCH_S = 60.0  # s from the start in which the lag is looked for; the recorders were started within half of it
EDGE_S = 10.0  # s, at most, that drift and coherence are read from at either end: clocks that drift blur more than that
MAX_CLOCK_DRIFT = 500e-6  # seconds per second that two clocks may differ
MAX_PATH_DELAY_S = 0.03  # s, 10 m: what sound needs between the microphones, at most


@dataclass(frozen=True)
class Alignment:
    """How the far file of a pair lies to its near file."""

    lag: float  # s, in the middle of what they have in common
    drift: float  # ppm, how much later far is as time goes on
    coherence: float  # mean over frequency of the magnitude-squared coherence, once aligned, 0 to 1
    common: tuple[float, float]  # s of the near file that both recorded

    def at(self, second: float) -> float:
        """Lag at a time of the near file, seconds."""
        return self.lag + 1e-6 * self.drift * (second - sum(self.common) / 2)


def find_lag(near: np.ndarray, far: np.ndarray, reach: float | None = None) -> tuple[float, float]:
    """Lag of far by GCC-PHAT.

    Parameters
    ----------
    near, far : (n_samples,)
    reach : float, optional
        Look only at lags of up to so many seconds; at all by default.

    Returns
    -------
    lag : float
        Seconds; 0 where one of them is silent.
    strength : float
        0 where one of them is silent.
    """
    from scipy import fft

    size = fft.next_fast_len(len(near) + len(far), real=True)
    cross = fft.rfft(far, size) * fft.rfft(near, size).conj()
    r = fft.fftshift(np.abs(fft.irfft(cross / np.maximum(np.abs(cross), np.finfo(np.float32).tiny), size)))
    lags = (np.arange(size) - size // 2) / SAMPLE_RATE
    spread = np.median(r) / 0.6745
    allowed = (lags >= -len(near) / SAMPLE_RATE) & (lags <= len(far) / SAMPLE_RATE)
    if reach is not None:
        allowed &= np.abs(lags) <= reach
    best = int(np.argmax(np.where(allowed, r, -1.0)))
    return (float(lags[best]), float(r[best] / spread)) if spread > 0 else (0.0, 0.0)


def coherence(near: np.ndarray, far: np.ndarray) -> float:
    """Mean over frequency of the magnitude-squared coherence of two aligned signals of one length, 0 to 1."""
    from scipy import signal

    with np.errstate(invalid="ignore", divide="ignore"):  # a silent band has none
        _, squared = signal.coherence(near, far, fs=SAMPLE_RATE, nperseg=min(1024, len(near)))
    return float(np.mean(np.nan_to_num(squared, posinf=0)))


def heard_first(near: np.ndarray, far: np.ndarray) -> int:
    """Which microphone hears first what both hear: 0 near, 1 far, -1 where that cannot be told.

    The machine's sound reaches near first. Noise that is louder than the machine at both microphones may reach far first.
    """
    lag, strength = find_lag(near, far, reach=MAX_PATH_DELAY_S)
    return -1 if strength < MIN_PEAK or lag == 0 else int(lag < 0)


def look_swapped(firsts: list[int]) -> bool:
    """Whether far was `heard_first` in at least four of five clips, of three or more."""
    return len(firsts) >= 3 and sum(first == 1 for first in firsts) >= 0.8 * len(firsts)
