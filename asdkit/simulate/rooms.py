"""Rooms with a near and a far microphone, and the noise of the neighbours.

The machine stands somewhere off the middle of a shoebox room, the near microphone 0.25 m from it, the far one further away;
noise comes from loudspeakers in the corners. Everything reaches both microphones, the machine too. As a reference for the noise
far is useful for fan and gearbox (one loudspeaker, a dry room, far 3 m away), nearly useless for the slider (two noises, more
echo), and harmful if subtracted for bearing and valve (0.6 and 0.8 m away: it hears the machine).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import fft

from .machines import SAMPLE_RATE, by_domain, impacts, periodic, resonances, shaped_noise, unit, wander

NEAR_DISTANCE = 0.25  # m


class Layout(NamedTuple):
    """How a machine is recorded, whatever the seed."""

    far_distance: float  # m from the machine
    reverberation: float  # s, time to decay by 60 dB
    loudspeakers: int  # 1..4, in corners
    snr: dict[str, tuple[float, float]]  # per domain: dB over the noise, near
    noise: dict[str, tuple[str, ...]]  # per domain: kinds of noise


LAYOUTS: dict[str, Layout] = {
    "fan": Layout(3.0, 0.15, 1, by_domain((-8, -2), (-10, -4)), by_domain(("ventilation", "compressor"), ("press",))),
    "gearbox": Layout(3.0, 0.15, 1, by_domain((-6, 0), (-8, -2)), by_domain(("traffic", "press"), ("ventilation",))),
    "bearing": Layout(0.6, 0.3, 2, by_domain((0, 6), (-3, 3)), by_domain(("ventilation", "air"), ("compressor",))),
    "slider": Layout(2.0, 0.25, 2, by_domain((-2, 5), (-4, 3)), by_domain(("compressor", "traffic"), ("ventilation",))),
    "valve": Layout(0.8, 0.4, 2, by_domain((0, 6), (-1, 5)), by_domain(("ventilation", "press"), ("traffic",))),
}


class Room(NamedTuple):
    """A shoebox room; lengths and positions in m, the reverberation time in s. Hashable, the key of the cache."""

    size: tuple[float, float, float]
    reverberation: float
    machine: tuple[float, float, float]
    near: tuple[float, float, float]
    far: tuple[float, float, float]
    loudspeakers: tuple[tuple[float, float, float], ...]


def draw_room(layout: Layout, rng: np.random.Generator) -> Room:
    """Draw a room for a layout: the machine near the middle, the loudspeakers in random corners."""
    size = rng.uniform((6.0, 5.0, 2.8), (8.0, 6.5, 3.5))
    machine = np.array([*(size[:2] * rng.uniform(0.42, 0.58, 2)), 1.0])
    angle = rng.uniform(0, 2 * np.pi)
    turned = angle + rng.uniform(-0.5, 0.5)
    toward_near, toward_far = (np.array([np.cos(a), np.sin(a), 0.0]) for a in (angle, turned))
    far = np.clip(machine + layout.far_distance * toward_far + (0, 0, 0.3), 0.3, size - 0.3)
    corners = [(x, y, 1.5) for x in (0.4, size[0] - 0.4) for y in (0.4, size[1] - 0.4)]
    chosen = rng.permutation(4)[: layout.loudspeakers]
    points = [machine, machine + NEAR_DISTANCE * toward_near, far, *(corners[i] for i in chosen)]
    machine, near, far, *loudspeakers = (tuple(float(round(c, 3)) for c in point) for point in points)
    return Room(tuple(float(round(c, 3)) for c in size), layout.reverberation, machine, near, far, tuple(loudspeakers))


@lru_cache(maxsize=32)
def impulse_responses(room: Room) -> np.ndarray:
    """Impulse responses of a room by the image source method, (1 + n_loudspeakers, 2, n_taps) float32.

    They lead from the machine and each loudspeaker to the near and the far microphone.
    """
    import pyroomacoustics as pra

    absorption, order = pra.inverse_sabine(room.reverberation, room.size)
    box = pra.ShoeBox(room.size, fs=SAMPLE_RATE, materials=pra.Material(absorption), max_order=min(order, 20))
    for position in (room.machine, *room.loudspeakers):
        box.add_source(position)
    box.add_microphone_array(np.array([room.near, room.far]).T)
    box.compute_rir()
    responses = np.zeros((1 + len(room.loudspeakers), 2, int(room.reverberation * SAMPLE_RATE)), np.float32)
    for source, microphone in np.ndindex(responses.shape[:2]):
        taps = box.rir[microphone][source][: responses.shape[2]]
        responses[source, microphone, : len(taps)] = taps
    return responses


@lru_cache(maxsize=32)
def _transfer(room: Room, size: int) -> np.ndarray:
    """Spectra of the impulse responses, (1 + n_loudspeakers, 2, size // 2 + 1)."""
    return fft.rfft(impulse_responses(room), size)


def play(room: Room, sounds: np.ndarray, first: int = 0) -> np.ndarray:
    """What near and far hear of sounds played in a room; the reverberation after the end is cut off.

    Shape: (n_sources, n_samples) -> (2, n_samples) float32. Source `first` plays the first sound: 0 is the machine, 1 the first
    loudspeaker.
    """
    n = sounds.shape[-1]
    size = fft.next_fast_len(n + int(room.reverberation * SAMPLE_RATE) - 1, real=True)
    transfer = _transfer(room, size)[first : first + len(sounds)]
    spectra = fft.rfft(np.asarray(sounds, np.float32), size)
    return fft.irfft(np.einsum("sf,smf->mf", spectra, transfer), size)[:, :n]


class Noise(NamedTuple):
    """A kind of noise; ranges are drawn per loudspeaker and clip."""

    tilt: tuple[float, float]  # dB per octave above 200 Hz
    hump: tuple[float, float]  # Hz, centre of a broad resonance
    swell: tuple[float, float] = (0.1, 2.0)  # depth, changes per second
    hum: float = 0.0  # level of mains harmonics
    knocks: float = 0.0  # knocks per second


NOISES: dict[str, Noise] = {
    "ventilation": Noise((-5, -3), (300, 700)),
    "traffic": Noise((-8, -5), (150, 500), swell=(0.4, 0.7)),
    "compressor": Noise((-6, -4), (500, 1200), hum=0.6, swell=(0.2, 6.0)),
    "press": Noise((-6, -4), (400, 1000), knocks=2.0),
    "air": Noise((-3, -1), (1500, 4000), swell=(0.3, 1.5)),
}


def factory_noise(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (n,) of one kind, unit RMS."""
    noise = NOISES[kind]
    exponent, hump = rng.uniform(*noise.tilt) / 6.02, rng.uniform(*noise.hump)
    x = shaped_noise(n, lambda f: (1 + f / 200) ** exponent * (0.7 + 2 * resonances(f, np.array([hump]), q=1)), rng)
    depth, rate = noise.swell
    x *= np.exp(depth * wander(n, rate, rng))
    if noise.hum:
        mains = np.arange(n) * (rng.uniform(48, 52) / SAMPLE_RATE)
        x += noise.hum * unit(periodic(mains, 1 / np.arange(1, 13), rng))
    if noise.knocks:
        where = rng.integers(0, n, rng.poisson(noise.knocks * n / SAMPLE_RATE))
        x += 4 * impacts(n, where, rng.uniform(0.3, 1, len(where)), rng.uniform(300, 900), 0.02)
    return unit(x)
