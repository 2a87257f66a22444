"""Procedural machines: what a fan, gearbox, bearing, slider or valve sounds like, healthy and faulty.

A machine has an *anatomy*, drawn once per seed, and an *operation* (speed, load), drawn once per clip. Both give a `Run`: how
the shaft turned and the healthy sound of it, to which a fault (`asdkit.simulate.faults`) adds a waveform.

n : samples in a clip, at 16 kHz. phase : (n,) revolutions of the shaft. activity : (n,) 0..1, how hard it works.
Sounds are (n,) of unit RMS; level is a matter of the microphones, see `asdkit.simulate.scenes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import fft, signal

from ..recordings import SAMPLE_RATE


class Operation(NamedTuple):
    """What the machine is asked to do in one clip; both values are attributes in the file name."""

    speed: int  # shaft revolutions per minute; for slider and valve strokes per minute
    load: int  # 1 (light) .. 3 (heavy)


class Anatomy(NamedTuple):
    """What is built into one machine and shared by all its clips."""

    elements: int  # blades, teeth or balls
    lines: np.ndarray  # (8,) amplitudes of the harmonics
    modes: np.ndarray  # (5,) Hz, resonances of the body
    ring: float  # Hz, where an impact rings


class Run(NamedTuple):
    """One clip of a machine at work, before any fault."""

    anatomy: Anatomy
    phase: np.ndarray  # (n,) revolutions
    activity: np.ndarray  # (n,) 0..1
    events: np.ndarray  # (m,) samples at which a stroke begins; empty for machines that only turn
    sound: np.ndarray  # (n,) healthy sound, unit RMS


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw the constants of one machine."""
    lines = np.exp(0.5 * rng.standard_normal(8)) / np.arange(1, 9)
    modes = np.geomspace(300, 6000, 5) * rng.uniform(0.8, 1.25, 5)
    return Anatomy(int(rng.integers(7, 13)), lines, modes, float(rng.uniform(2400, 3600)))


def rms(x: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def unit(x: np.ndarray) -> np.ndarray:
    """Scale to unit RMS; silence stays silence."""
    return x / (rms(x) + 1e-10)


def wander(n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Slow random course (n,), unit variance at its knots, `rate` knots per second."""
    knots = rng.standard_normal(max(2, int(np.ceil(n / SAMPLE_RATE * rate)) + 1))
    return np.interp(np.arange(n) * (rate / SAMPLE_RATE), np.arange(len(knots)), knots)


def periodic(phase: np.ndarray, amplitudes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Harmonics 1, 2, ... of `phase` (n,) with random starting angles, read from a table of one period."""
    size = 4096
    angles = 2 * np.pi * rng.random(len(amplitudes))
    spectrum = np.zeros(size // 2 + 1, complex)
    spectrum[1 : len(amplitudes) + 1] = amplitudes * np.exp(1j * angles)
    table = fft.irfft(spectrum, norm="forward")
    return table[(phase * size).astype(np.int64) & (size - 1)]


def shaped_noise(n: int, gain: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise (n,) of unit RMS whose amplitude spectrum is `gain(Hz)`, read on a grid of 8 Hz."""
    spectrum = fft.rfft(rng.standard_normal(n, dtype=np.float32))
    grid = np.linspace(0, SAMPLE_RATE / 2, 1001)
    spectrum *= np.interp(fft.rfftfreq(n, 1 / SAMPLE_RATE), grid, gain(grid)).astype(np.float32)
    return unit(fft.irfft(spectrum, n))


def resonances(freqs: np.ndarray, modes: np.ndarray, q: float = 4.0) -> np.ndarray:
    """Amplitude response of a body with resonances at `modes` (Hz) over a floor."""
    detune = freqs[:, None] / modes - modes / np.maximum(freqs[:, None], 1.0)
    return 0.15 + np.sum(1 / np.sqrt(1 + (q * detune) ** 2), axis=1)


def impacts(n: int, where: np.ndarray, force: np.ndarray, ring: float, decay: float = 0.004) -> np.ndarray:
    """Blows of `force` (m,) at samples `where` (m,), each ringing at `ring` Hz for about `decay` seconds."""
    blows = np.zeros(n)
    inside = (where >= 0) & (where < n)
    np.add.at(blows, where[inside].astype(int), force[inside])
    t = np.arange(int(6 * decay * SAMPLE_RATE)) / SAMPLE_RATE
    return signal.oaconvolve(blows, np.exp(-t / decay) * np.sin(2 * np.pi * ring * t))[:n]


def crossings(phase: np.ndarray) -> np.ndarray:
    """Samples at which `phase` (n,) passes a whole number."""
    return np.flatnonzero(np.diff(np.floor(phase)) > 0)


def shaft(n: int, speed: float, rng: np.random.Generator, jitter: float = 0.004) -> np.ndarray:
    """Phase (n,) of a shaft at `speed` rpm that never turns quite evenly; the clip mean differs by up to 1 %."""
    rate = speed / 60 * (1 + rng.uniform(-0.01, 0.01)) * (1 + jitter * wander(n, 2, rng))
    return rng.random() + np.cumsum(rate) / SAMPLE_RATE


def body_noise(anatomy: Anatomy, operation: Operation, n: int, rng: np.random.Generator) -> np.ndarray:
    """Broad noise coloured by the body: its slope follows the load, its tilt differs a little between clips."""
    slope = 0.75 - 0.1 * operation.load + 0.05 * rng.standard_normal()
    return shaped_noise(n, lambda f: resonances(f, anatomy.modes) / (1 + f / 300) ** slope, rng)


def fan(anatomy: Anatomy, operation: Operation, n: int, rng: np.random.Generator) -> Run:
    """Blade tones, and turbulence that breathes with the blades."""
    phase = shaft(n, operation.speed, rng)
    blades = periodic(phase * anatomy.elements, anatomy.lines, rng) * (1 + 0.15 * wander(n, 3, rng))
    breath = 1 + 0.3 * periodic(phase * anatomy.elements, anatomy.lines[:2], rng)
    air = body_noise(anatomy, operation, n, rng) * breath
    sound = unit(unit(blades) * (0.5 + 0.1 * operation.load) + air)
    return Run(anatomy, phase, np.ones(n), np.array([], int), sound)


def gearbox(anatomy: Anatomy, operation: Operation, n: int, rng: np.random.Generator) -> Run:
    """Mesh tones, modulated once per revolution, over rolling noise."""
    phase = shaft(n, operation.speed, rng)
    teeth = 2 * anatomy.elements + 7
    sidebands = 1 + 0.3 * periodic(phase, anatomy.lines[:3], rng)
    mesh = periodic(phase * teeth, anatomy.lines, rng) * sidebands * (1 + 0.2 * wander(n, 5, rng))
    second = periodic(phase * (teeth * 0.37), anatomy.lines[::-1], rng)
    tones = unit(mesh) + 0.5 * unit(second)
    sound = unit(tones * (0.4 + 0.15 * operation.load) + body_noise(anatomy, operation, n, rng))
    return Run(anatomy, phase, np.ones(n), np.array([], int), sound)


def bearing(anatomy: Anatomy, operation: Operation, n: int, rng: np.random.Generator) -> Run:
    """Rolling noise in the resonances, faint shaft lines, modulated as the balls pass the loaded zone."""
    phase = shaft(n, operation.speed, rng)
    loaded = 1 + 0.1 * operation.load * periodic(phase * 0.4 * anatomy.elements, anatomy.lines[:3], rng)
    rolling = body_noise(anatomy, operation, n, rng) * loaded * (1 + 0.1 * wander(n, 8, rng))
    lines = unit(periodic(phase * 2, anatomy.lines, rng))
    return Run(anatomy, phase, np.ones(n), np.array([], int), unit(rolling + 0.4 * lines))


def strokes(n: int, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Samples at which strokes begin, `speed` per minute, each a little early or late."""
    period = 60 / speed * SAMPLE_RATE
    beats = np.arange(-1, n / period + 2) - rng.random()
    return ((beats + 0.03 * rng.standard_normal(len(beats))) * period).astype(int)


def slider(anatomy: Anatomy, operation: Operation, n: int, rng: np.random.Generator) -> Run:
    """A carriage: it speeds up, runs, brakes and meets the end stop, stroke by stroke."""
    beats = strokes(n, operation.speed, rng)
    stroke = np.interp(np.arange(n), beats, np.arange(len(beats))) % 1
    pace = np.clip(np.minimum(stroke, 0.8 - stroke) / 0.12, 0, 1)
    phase = np.cumsum(pace * 20 * (operation.speed / 40)) / SAMPLE_RATE
    motor = unit(periodic(phase * anatomy.elements, anatomy.lines, rng))
    rail = body_noise(anatomy, operation, n, rng)
    force = (0.6 + 0.2 * operation.load) * np.exp(0.2 * rng.standard_normal(len(beats)))
    stops = impacts(n, beats, 12 * force, anatomy.ring / 3, 0.012)
    sound = unit(pace * (rail + 0.6 * motor) + stops + 0.1 * rail)
    return Run(anatomy, phase, pace, beats, sound)


def valve(anatomy: Anatomy, operation: Operation, n: int, rng: np.random.Generator) -> Run:
    """A solenoid valve: click, flow while it is open, softer click."""
    beats = strokes(n, operation.speed, rng)
    length = (60 / operation.speed * SAMPLE_RATE * rng.uniform(0.35, 0.5, len(beats))).astype(int)
    gate = np.zeros(n + 1)
    np.add.at(gate, np.clip(beats, 0, n), 1)
    np.add.at(gate, np.clip(beats + length, 0, n), -1)
    gate = signal.lfilter([0.005], [1, -0.995], np.clip(np.cumsum(gate[:n]), 0, 1))
    flow = body_noise(anatomy, operation, n, rng) * gate * (1 + 0.15 * wander(n, 12, rng))
    force = np.exp(0.2 * rng.standard_normal(len(beats)))
    clicks = impacts(n, beats, 12 * force, anatomy.ring) + impacts(n, beats + length, 6 * force, anatomy.ring / 2)
    coil = unit(periodic(np.arange(n) * (100 / SAMPLE_RATE), anatomy.lines, rng))
    sound = unit(flow * (0.7 + 0.2 * operation.load) + clicks + 0.15 * coil)
    return Run(anatomy, np.arange(n) * (25 / SAMPLE_RATE), gate, beats, sound)


class Kind(NamedTuple):
    """A kind of machine: how it sounds, what it is asked to do in each domain, what can break and how loudly."""

    run: Callable[[Anatomy, Operation, int, np.random.Generator], Run]
    speeds: dict[str, tuple[int, ...]]  # per domain
    faults: dict[str, float]  # dB over the healthy sound at severity 1


def by_domain(source: tuple, target: tuple) -> dict[str, tuple]:
    """What differs between the domains."""
    return {"source": source, "target": target}


LOADS = by_domain((1, 2), (3,))
# The levels are set so that log-mel statistics with a kNN find most, not all, of the faults.
KINDS: dict[str, Kind] = {
    "fan": Kind(fan, by_domain((1080, 1200, 1320), (960, 1440)),
                dict(imbalance=2, outer_race=0, looseness=-9, squeal=-8, leak=1)),
    "gearbox": Kind(gearbox, by_domain((1500, 1650, 1800), (1350, 1950)),
                    dict(chipped_tooth=-1, misalignment=1, outer_race=-2, looseness=-7, squeal=-11)),
    "bearing": Kind(bearing, by_domain((1200, 1500, 1800), (1000, 2000)),
                    dict(outer_race=-7, imbalance=-4, misalignment=-4, looseness=-10, squeal=-14)),
    "slider": Kind(slider, by_domain((30, 36, 42), (26, 48)),
                   dict(belt_slip=-6, looseness=-6, squeal=-10, chipped_tooth=-6, outer_race=-7)),
    "valve": Kind(valve, by_domain((90, 105, 120), (84, 126)), dict(leak=-8, chatter=-3, looseness=-4, squeal=-4)),
}  # fmt: skip
