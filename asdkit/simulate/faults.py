"""Faults: each is a function of a healthy run and returns the waveform that it adds; `inject` adds one to a recording.

`fault(run, rng)` gives (n,) of unit RMS. Which machine can have which fault, and how loud it is at severity 1, stands in
`asdkit.simulate.machines.KINDS`. What is injected into recordings is what a choice without labels is judged by.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import signal

from ..recordings import SAMPLE_RATE, InputError
from .machines import Run, crossings, draw_anatomy, impacts, periodic, resonances, rms, shaft, shaped_noise, unit, wander

GENERIC = ("outer_race", "looseness", "squeal")  # to inject: an impact train that rings, irregular bursts, a wandering tone
FAR_DB = -15.0  # of an injected fault at the far microphone, relative to near


def imbalance(run: Run, rng: np.random.Generator) -> np.ndarray:
    """The mass is off centre: the sound swells once per revolution and the shaft's own lines appear."""
    swell = run.sound * periodic(run.phase, np.ones(1), rng)
    lines = periodic(run.phase, 1 / np.arange(1, 21) ** 0.5, rng) * run.activity
    return unit(0.7 * unit(swell) + unit(lines))


def misalignment(run: Run, rng: np.random.Generator) -> np.ndarray:
    """Shafts at an angle: even harmonics of the shaft, and twice the mesh with sidebands."""
    even = periodic(2 * run.phase, 1 / np.arange(1, 13) ** 0.5, rng)
    mesh = periodic(2 * run.anatomy.elements * run.phase, 1 / np.arange(1, 9), rng)
    return unit(unit(even) + mesh * (1 + 0.7 * periodic(2 * run.phase, np.ones(1), rng)))


def chipped_tooth(run: Run, rng: np.random.Generator) -> np.ndarray:
    """One blow per revolution."""
    where = crossings(run.phase)
    return unit(impacts(len(run.phase), where, np.exp(0.3 * rng.standard_normal(len(where))), run.anatomy.ring / 2))


def outer_race(run: Run, rng: np.random.Generator) -> np.ndarray:
    """A pit in the outer race: a blow for each ball that passes, 0.4 balls per revolution, slipping by 2 %."""
    where = crossings(0.4 * run.anatomy.elements * run.phase)
    where = where + rng.normal(0, 0.02 * np.median(np.diff(where)), len(where)).astype(int)
    return unit(impacts(len(run.phase), where, np.exp(0.3 * rng.standard_normal(len(where))), run.anatomy.ring))


def looseness(run: Run, rng: np.random.Generator) -> np.ndarray:
    """A loose part rattles: blows at irregular times, in bouts, while the machine works."""
    n = len(run.phase)
    bouts = np.clip(0.5 + wander(n, 3, rng), 0, None) * (0.05 + run.activity)
    where = rng.integers(0, n, int(40 * n / SAMPLE_RATE))
    force = bouts[where] * np.exp(0.5 * rng.standard_normal(len(where)))
    high, low = 1.4 * run.anatomy.ring, 0.3 * run.anatomy.ring
    half = len(where) // 2
    ring = impacts(n, where[:half], force[:half], high, 0.006)
    return unit(ring + impacts(n, where[half:], force[half:], low, 0.012))


def squeal(run: Run, rng: np.random.Generator) -> np.ndarray:
    """Dry friction: a narrow tone that wanders, comes and goes with the work."""
    n = len(run.phase)
    pitch = run.anatomy.ring * rng.uniform(0.5, 1.4) * (1 + 0.02 * wander(n, 10, rng))
    tone = periodic(np.cumsum(pitch) / SAMPLE_RATE, np.array([1.0, 0.2]), rng)
    return unit(tone * np.clip(0.3 + wander(n, 2, rng), 0.02, None) * (0.03 + run.activity))


def leak(run: Run, rng: np.random.Generator) -> np.ndarray:
    """Air escapes: a steady hiss, mostly above 2 kHz, that does not care about the strokes."""
    hiss = shaped_noise(len(run.phase), lambda f: 1 / np.sqrt(1 + (2500 / np.maximum(f, 1)) ** 4), rng)
    return unit(hiss * (1 + 0.1 * wander(len(run.phase), 4, rng)))


def belt_slip(run: Run, rng: np.random.Generator) -> np.ndarray:
    """The belt slips where the carriage speeds up: short chirps of scraping noise."""
    n = len(run.phase)
    onset = np.clip(np.gradient(run.activity) * SAMPLE_RATE * 0.1, 0, 1)
    onset = signal.lfilter([0.001], [1, -0.999], onset)
    tone = periodic(np.cumsum(900 + 500 * run.activity) / SAMPLE_RATE, 1 / np.arange(1, 6), rng)
    scrape = shaped_noise(n, lambda f: resonances(f, np.array([1200.0, 2600.0])) - 0.1, rng)
    return unit(onset * (unit(tone) + scrape))


def chatter(run: Run, rng: np.random.Generator) -> np.ndarray:
    """The seat does not close: each stroke is followed by a run of weakening blows."""
    bounce = np.arange(1, 9)
    gaps = rng.uniform(0.012, 0.03, (len(run.events), 1)) * SAMPLE_RATE
    where = run.events[:, None] + gaps * bounce
    force = 0.8**bounce * np.exp(0.3 * rng.standard_normal(where.shape))
    return unit(impacts(len(run.phase), where.ravel(), force.ravel(), 0.8 * run.anatomy.ring))


FAULTS: dict[str, Callable[[Run, np.random.Generator], np.ndarray]] = {
    f.__name__: f for f in (imbalance, misalignment, chipped_tooth, outer_race, looseness, squeal, leak, belt_slip, chatter)
}


def inject(samples: np.ndarray, fault: str, level_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add the fault of a generic machine to a healthy recording: loud at the near microphone, faint and late at the far one.

    Shape: (2, n_samples) float -> (2, n_samples) float32, near and far at 16 kHz. The fault, one of `GENERIC` (another is an
    InputError), has an RMS of `level_db` dB relative to that of the near channel.

    >>> inject(np.ones((2, 16000)), "squeal", -10.0, np.random.default_rng(0)).shape
    (2, 16000)
    """
    if fault not in GENERIC:
        raise InputError(f"fault: found {fault!r}, expected {', '.join(GENERIC)}")
    n = samples.shape[1]
    phase = shaft(n, rng.uniform(600.0, 3000.0), rng)
    run = Run(draw_anatomy(rng), phase, np.ones(n), np.array([], int), unit(samples[0]))
    near = FAULTS[fault](run, rng) * rms(samples[0]) * 10 ** (level_db / 20)
    late = np.pad(near, (round(0.006 * SAMPLE_RATE), 0))[:n]  # 2 m of air
    return (samples + np.stack([near, late * 10 ** (FAR_DB / 20)])).astype(np.float32)
