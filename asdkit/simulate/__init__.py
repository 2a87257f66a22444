"""Simulated near/far recordings in the DCASE 2026 layout, and other people's mono recordings rendered to near and far.

`simulate` (`.datasets`) writes procedural machines (`.machines`) with graded faults (`.faults`), `render_recordings` (`.mono`)
other people's recordings; both play them in a room with a near and a far microphone (`.rooms`). One clip, and counterfactual
pairs of clips that differ in one ingredient, come from `Scene` and `render` (`.scenes`). `.writing` describes a folder.

`VERSION` is frozen: any change to what a seed sounds like raises it, and voids every comparison with earlier numbers.
"""

from .datasets import scenes, simulate
from .mono import render_recordings
from .scenes import MACHINES, VERSION, Mix, Scene, mix, render

__all__ = ["MACHINES", "VERSION", "Mix", "Scene", "mix", "render", "render_recordings", "scenes", "simulate"]
