"""The clips that one machine is fitted on: which belong together, and how they are divided.

Legend
------
recordings : (n_clips,) int id of the recording that each clip was cut from, from 0.
is_target : (n_clips,) bool.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from asdkit.recordings.clips import Clip
from asdkit.recordings.files import InputError


@dataclass(frozen=True)
class TrainingSet:
    """Normal clips of one machine, in an order that does not depend on how they were given; `of` makes one."""

    clips: tuple[Clip, ...]

    @classmethod
    def of(cls, clips: tuple[Clip, ...]) -> TrainingSet:
        """The training set of clips in any order.

        Clips that all come from one recording each become their own recording, with a warning; clips that are all of the
        target domain are called source.

        Raises
        ------
        InputError
            With fewer than two clips.
        """
        if len(clips) < 2:
            folder = clips[0].path.parent if clips else "training"
            raise InputError(f"{folder}: found {len(clips)} clip(s), expected at least 2")
        return cls(tuple(sorted(one_domain_at_least(own_recordings(tuple(clips))), key=lambda c: c.place)))

    @cached_property
    def recordings(self) -> np.ndarray:
        """(n_clips,) integer id of each clip's recording."""
        return np.unique([c.recording for c in self.clips], return_inverse=True)[1]

    @cached_property
    def is_target(self) -> np.ndarray:
        """(n_clips,) bool."""
        return np.array([c.domain == "target" for c in self.clips])

    def folds(self, n_folds: int) -> np.ndarray:
        """(n_clips,) fold of each clip, from 0: whole recordings, domains spread evenly, shuffled by a fixed seed."""
        ids = self.recordings
        order = np.random.default_rng(0).permutation(ids.max() + 1)
        domain = {i: t for i, t in zip(ids, self.is_target)}
        ranked = sorted(order, key=lambda i: domain[i])
        fold = np.empty(len(order), dtype=int)
        fold[ranked] = np.arange(len(ranked)) % n_folds
        return fold[ids]

    def without(self, held_out: np.ndarray) -> TrainingSet:
        """The clips that the mask `held_out`, (n_clips,) bool, leaves; ids of recordings are counted anew."""
        return TrainingSet(tuple(c for c, out in zip(self.clips, held_out, strict=True) if not out))


def own_recordings(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """The clips, each its own recording where all come from one: nothing could be left out otherwise."""
    if len({c.recording for c in clips}) > 1:
        return clips
    warnings.warn(f"{clips[0].path.parent}: all clips are of one recording; each is taken for its own", stacklevel=3)
    return tuple(replace(c, recording=c.name) for c in clips)


def one_domain_at_least(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """The clips, called source where all are target."""
    return clips if any(c.domain != "target" for c in clips) else tuple(replace(c, domain="source") for c in clips)
