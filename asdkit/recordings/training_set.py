"""The clips that one machine is fitted on: which belong together, and how they are divided."""

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
        """The training set of clips in any order; fewer than two are an InputError.

        Clips that all come from one recording each become their own recording, with a warning: nothing could be left out
        otherwise. Clips that are all of the target domain are called source.
        """
        folder = clips[0].path.parent if clips else "training"
        if len(clips) < 2:
            raise InputError(f"{folder}: found {len(clips)} clip(s), expected at least 2")
        if len({c.recording for c in clips}) == 1:
            warnings.warn(f"{folder}: all clips are of one recording; each is taken for its own", stacklevel=2)
            clips = [replace(c, recording=c.name) for c in clips]
        if all(c.domain == "target" for c in clips):
            clips = [replace(c, domain="source") for c in clips]
        return cls(tuple(sorted(clips, key=lambda c: c.place)))

    @cached_property
    def recordings(self) -> np.ndarray:
        """(n_clips,) int id of the recording that each clip was cut from, from 0."""
        return np.unique([c.recording for c in self.clips], return_inverse=True)[1]

    @cached_property
    def is_target(self) -> np.ndarray:
        """(n_clips,) bool."""
        return np.array([c.domain == "target" for c in self.clips])

    def folds(self, n_folds: int) -> np.ndarray:
        """(n_clips,) fold of each clip, from 0: whole recordings, domains spread evenly, shuffled by a fixed seed."""
        ids = self.recordings
        order = np.random.default_rng(0).permutation(ids.max() + 1)
        domain = dict(zip(ids, self.is_target))
        fold = np.empty(len(order), dtype=int)
        fold[sorted(order, key=domain.get)] = np.arange(len(order)) % n_folds
        return fold[ids]

    def without(self, held_out: np.ndarray) -> TrainingSet:
        """The clips that the mask `held_out`, (n_clips,) bool, leaves; ids of recordings are counted anew."""
        return TrainingSet(tuple(c for c, out in zip(self.clips, held_out, strict=True) if not out))
