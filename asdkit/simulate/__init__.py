"""Simulated recordings of a near and a far microphone, in the DCASE 2026 layout.

`simulate` writes data sets of procedural machines with graded faults, `render_recordings` plays other people's mono recordings
in a room, and `inject` adds a fault to any recording. One clip, and pairs of clips that differ in one ingredient, come from a
`Scene` and `render`. `VERSION` is frozen: a change to what a seed sounds like raises it and voids every earlier number.
"""

import sys
from types import ModuleType

from .datasets import CONDITION_SPAN, RECORD, scenes, simulate
from .faults import FAR_DB, FAULTS, GENERIC, inject
from .machines import KINDS, rms
from .mono import read_mono, render_recordings
from .rooms import LAYOUTS, factory_noise, impulse_responses
from .scenes import MACHINES, VERSION, Mix, Scene, mix, operation, render, specimen

__all__ = [
    "CONDITION_SPAN", "FAR_DB", "FAULTS", "GENERIC", "KINDS", "LAYOUTS", "MACHINES", "RECORD", "VERSION", "Mix", "Scene",
    "factory_noise", "impulse_responses", "inject", "mix", "operation", "read_mono", "render", "render_recordings", "rms",
    "scenes", "simulate", "specimen",
]  # fmt: skip


class CallableRoom(ModuleType):
    """The room is called as its function `simulate` is: ``asdkit.simulate("data/demo", ["fan"])``."""

    def __call__(self, *args, **options):
        return simulate(*args, **options)


sys.modules[__name__].__class__ = CallableRoom
