"""Simulated faults injected into recordings of any healthy machine: what a choice without labels is judged by.

Nothing is known of the machine in a recording, so the fault comes from a generic one: a shaft of random speed and resonance.
"""

from __future__ import annotations

import numpy as np

from ..recordings import SAMPLE_RATE, InputError
from .faults import FAULTS
from .machines import Run, draw_anatomy, rms, shaft, unit

GENERIC = ("outer_race", "looseness", "squeal")  # an impact train that rings, bursts at irregular times, a wandering tone
SPEEDS = (600.0, 3000.0)  # rpm
FAR_DB = -15.0  # of the fault at the far microphone, relative to near
FAR_DELAY = 0.006  # s; 2 m of air


def inject(samples: np.ndarray, fault: str, level_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add a simulated fault to a healthy recording: loud at the near microphone, faint and late at the far one.

    Shape: (2, n_samples) float -> (2, n_samples) float32, near and far at 16 kHz. The fault, one of `GENERIC` (another is an
    InputError), has an RMS of `level_db` dB relative to that of the near channel.

    >>> inject(np.ones((2, 16000)), "squeal", -10.0, np.random.default_rng(0)).shape
    (2, 16000)
    """
    if fault not in GENERIC:
        raise InputError(f"fault: found {fault!r}, expected {', '.join(GENERIC)}")
    n = samples.shape[1]
    phase = shaft(n, rng.uniform(*SPEEDS), rng)
    run = Run(draw_anatomy(rng), phase, np.ones(n), np.array([], int), unit(samples[0]))
    near = FAULTS[fault](run, rng) * rms(samples[0]) * 10 ** (level_db / 20)
    late = np.pad(near, (round(FAR_DELAY * SAMPLE_RATE), 0))[:n]
    return (samples + np.stack([near, late * 10 ** (FAR_DB / 20)])).astype(np.float32)
