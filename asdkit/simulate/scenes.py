"""One clip: scenes, and the counterfactual pairs they give.

A `Scene` is everything that determines one clip. Each ingredient (operation, texture, fault, noise, gain) has a random
stream of its own, derived from the scene, so that changing one ingredient leaves the others as they are:

>>> from dataclasses import replace
>>> scene = Scene("fan", seed=0, index=3, seconds=1.0)
>>> faulty = replace(scene, fault="imbalance", severity=0.5)  # the same clip with the fault
>>> elsewhere = replace(scene, noise=7)  # the same clip in other noise
>>> render(faulty).shape
(2, 16000)

A machine (one seed) has one room and one anatomy for all its clips. Source and target domain differ in speed and load
and in the kind and level of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import numpy as np

from ..recordings import InputError
from .faults import FAULTS
from .machines import KINDS, LOADS, SAMPLE_RATE, Operation, by_domain, draw_anatomy, rms
from .rooms import LAYOUTS, Layout, draw_room, factory_noise, play

VERSION = 1
MACHINES = tuple(KINDS)
GAIN_RANGE = (-5.0, 5.0)  # dB, of a clip
FAULT_SPREAD = 4.0  # dB
NEAR_LEVEL = 0.02  # RMS of machine and noise together at the near microphone, at the lowest SNR and 0 dB gain


@dataclass(frozen=True)
class Scene:
    """Everything that determines one clip."""

    machine: str  # one of MACHINES
    seed: int = 0  # which specimen of the machine, in which room
    index: int = 0  # which clip of it
    domain: str = "source"  # or "target"
    fault: str | None = None  # one of KINDS[machine].faults
    severity: float = 0.0  # 0 (no fault) .. 1
    noise: int = 0  # which stream of noise
    seconds: float = 10.0
    snr: float | None = None  # dB, machine over noise at the near microphone; None: drawn from the machine's range
    loudspeakers: int | None = None  # places that noise comes from, 1 .. 4; None: the machine's own number
    far_distance: float | None = None  # m from the machine to the far microphone; None: the machine's own distance

    def __post_init__(self):
        name, fault, distance = self.machine, self.fault, self.far_distance
        faults = KINDS[name].faults if name in KINDS else ()
        rules = [
            (name in KINDS, f"machine {name!r} is unknown; expected one of {', '.join(MACHINES)}"),
            (self.domain in ("source", "target"), f"domain {self.domain!r} is unknown; expected source or target"),
            (fault in (None, *faults), f"a {name} has no fault {fault!r}; expected one of {', '.join(faults)}"),
            (0 <= self.severity <= 1, f"severity is {self.severity}; expected 0..1"),
            (self.seconds >= 1, f"a clip of {self.seconds} s is too short; expected 1 s or more"),
            (self.loudspeakers in (None, 1, 2, 3, 4), f"found {self.loudspeakers} loudspeakers; expected 1 to 4"),
            (distance is None or 0 < distance <= 3, f"found far {distance} m from the machine; expected over 0 and at most 3"),
        ]  # fmt: skip
        if problems := [problem for is_good, problem in rules if not is_good]:
            raise InputError(problems[0])

    @property
    def layout(self) -> Layout:
        """How the clip is recorded."""
        snr = None if self.snr is None else by_domain((self.snr, self.snr), (self.snr, self.snr))
        changed = dict(snr=snr, loudspeakers=self.loudspeakers, far_distance=self.far_distance)
        return LAYOUTS[self.machine]._replace(**{name: value for name, value in changed.items() if value is not None})

    def rng(self, ingredient: str, *more: int) -> np.random.Generator:
        """The random stream of one ingredient of this clip."""
        return stream(self.seed, self.machine, self.index, crc32(ingredient.encode()), *more)


def stream(seed: int, machine: str, *key: int) -> np.random.Generator:
    """The random stream that belongs to a machine and a key."""
    return np.random.default_rng(np.random.SeedSequence((seed, crc32(machine.encode()), *key)))


@lru_cache(maxsize=64)
def specimen(machine: str, seed: int = 0, loudspeakers: int | None = None, far_distance: float | None = None):
    """The anatomy and the room shared by all clips of one machine and seed: (Anatomy, Room)."""
    layout = Scene(machine, loudspeakers=loudspeakers, far_distance=far_distance).layout
    return draw_anatomy(stream(seed, machine, 1)), draw_room(layout, stream(seed, machine, 2))


def operation(scene: Scene) -> Operation:
    """Speed and load of a clip, drawn from those of its domain."""
    kind, rng = KINDS[scene.machine], scene.rng("operation")
    return Operation(int(rng.choice(kind.speeds[scene.domain])), int(rng.choice(LOADS[scene.domain])))


class Mix(NamedTuple):
    """Machine and noise of a clip as both microphones hear them, and the truth about them."""

    machine: np.ndarray  # (2, n_samples) with the fault, if any
    noise: np.ndarray  # (2, n_samples)
    operation: Operation
    noise_kind: str
    near_snr_db: float  # healthy machine over noise at the near microphone
    gain_db: float


def mix(scene: Scene) -> Mix:
    """Render machine and noise of a clip; `render` adds them up. No two faults of one severity are equally loud."""
    anatomy, room = specimen(scene.machine, scene.seed, scene.loudspeakers, scene.far_distance)
    kind, layout, asked, n = KINDS[scene.machine], scene.layout, operation(scene), round(scene.seconds * SAMPLE_RATE)
    run = kind.run(anatomy, asked, n, scene.rng("texture"))
    healthy = play(room, run.sound[None])
    gain_db = scene.rng("gain").uniform(*GAIN_RANGE)
    loudest = 10 ** (-min(low for low, _ in layout.snr.values()) / 20)
    level = NEAR_LEVEL / np.hypot(1, loudest) * 10 ** (gain_db / 20) / rms(healthy[0])
    rng = scene.rng("noise", scene.noise)
    noise_kind, snr = str(rng.choice(layout.noise[scene.domain])), rng.uniform(*layout.snr[scene.domain])
    noise = play(room, np.stack([factory_noise(noise_kind, n, rng) for _ in room.loudspeakers]), first=1)
    noise *= np.float32(level * rms(healthy[0]) / rms(noise[0]) * 10 ** (-snr / 20))
    machine = np.float32(level) * healthy
    if scene.fault is not None and scene.severity > 0:
        rng = scene.rng("fault", crc32(scene.fault.encode()))
        fault_db = kind.faults[scene.fault] + rng.uniform(-FAULT_SPREAD, FAULT_SPREAD)
        fault = scene.severity * 10 ** (fault_db / 20) * FAULTS[scene.fault](run, rng)
        machine = machine + np.float32(level) * play(room, fault[None])
    return Mix(machine, noise, asked, noise_kind, snr, gain_db)


def render(scene: Scene) -> np.ndarray:
    """Render one clip, (2, n_samples) float32 within -1..1: near and far at 16 kHz."""
    mixed = mix(scene)
    return np.clip(mixed.machine + mixed.noise, -1, 1)
