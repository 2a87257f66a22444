"""What the stages of one fit share: its clips and their groups, and a memo of what has been computed already."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter

import numpy as np
import torch

from asdkit.blocks import BandScaler, FrontEnd, Spectra, make_examples, read_spectra
from asdkit.config import Config, part_hash
from asdkit.dsp import Ridge
from asdkit.objectives import POOLED, Examples
from asdkit.recordings import Clip

SLAB = 2**24  # values, 64 MB: more than malloc ever takes from its heap


class Shelf:
    """Memory for spectra that stay. Left between short-lived arrays, each would hold back five times its size of the heap."""

    def __init__(self):
        self.free = torch.empty(0)

    def __call__(self, spectra: Spectra) -> Spectra:
        """A copy on the shelf."""
        return {name: self.keep(x) for name, x in spectra.items()}

    def keep(self, x: torch.Tensor) -> torch.Tensor:
        """A copy of one tensor."""
        size = -(-x.numel() // 16) * 16  # aligned as torch aligns: sums round by it
        if size > len(self.free):
            self.free = torch.empty(max(SLAB, size))
        kept, self.free = self.free[: x.numel()], self.free[size:]
        return kept.view(x.shape).copy_(x)


class Memo:
    """Keeps what systems have in common within one machine, and what it cost, so that each is charged for what it uses."""

    def __init__(self):
        self.values, self.saved, self.used, self.shelf = {}, 0.0, set(), Shelf()

    def new_bill(self) -> None:
        """Begin to count, in `saved`, the seconds that the next system is spared."""
        self.saved, self.used = 0.0, set()

    def __call__(self, key: tuple, compute: Callable):
        """The value of `compute()`, made once per key."""
        if key not in self.values:
            start = perf_counter()
            self.values[key] = compute(), perf_counter() - start
        elif key not in self.used:
            self.saved += self.values[key][1]
        self.used.add(key)
        return self.values[key][0]

    def forget_all_but(self, *kinds: str) -> None:
        """Drop everything whose key does not begin with one of these."""
        self.values = {key: value for key, value in self.values.items() if key[0] in kinds}


@dataclass(frozen=True)
class Fitting:
    """The training clips of one fit, and the memo that fits share."""

    clips: tuple[Clip, ...]
    config: Config
    seed: int
    memo: Memo
    fast: tuple[str, ...]
    description: str = ""
    others: tuple[tuple[Clip, ...], ...] = ()  # training clips of other machines; only `POOLED` objectives read them

    @cached_property
    def recordings(self) -> np.ndarray:
        """(n_clips,) integer id of each clip's recording."""
        return np.unique([c.recording for c in self.clips], return_inverse=True)[1]

    @cached_property
    def is_target(self) -> np.ndarray:
        """(n_clips,) bool."""
        return np.array([c.domain == "target" for c in self.clips])

    @property
    def pooled(self) -> tuple[tuple[Clip, ...], ...]:
        """Training clips of the other machines that the objective reads."""
        return self.others if self.config.objective in POOLED else ()

    @cached_property
    def key(self) -> str:
        """Identifies the clips that things are fitted on."""
        clips = [c for machine in (self.clips, *self.pooled) for c in machine]
        return hashlib.sha256("\n".join(str(c.place) for c in clips).encode()).hexdigest()

    def spectra(self, clip: Clip) -> Spectra:
        """Spectra of one clip, read once."""
        key = ("spectra", clip.place, self.config.ridge_penalty, self.config.width)
        return self.memo(key, lambda: self.memo.shelf(read_spectra(clip, self.config, self.fast)))

    def examples(self) -> tuple[dict[str, BandScaler], list[Examples]]:
        """Band scalers of the machine, and what networks see of its clips and then of each other machine's."""
        scalers, own = make_examples([self.spectra(c) for c in self.clips], self.clips, self.config)
        return scalers, [own, *map(self.examples_of, self.pooled)]

    def examples_of(self, clips: tuple[Clip, ...]) -> Examples:
        """Another machine's; only the channel that networks are trained on is kept."""
        key = ("spectra", "examples", clips[0].place, self.config.hash("width", "ridge_penalty"))
        return self.memo(key, lambda: make_examples([read_spectra(c, self.config, ()) for c in clips], clips, self.config)[1])

    def blocks(self, front: FrontEnd, clip: Clip, hop: int, ridge: Ridge | None = None) -> dict[str, torch.Tensor]:
        """Blocks of one clip under this fit."""
        spectra, blocks = self.spectra(clip), {}
        for name in self.config.blocks:
            fitted = (self.seed, self.key) if name.startswith("msm") or name == "ridge-log-mel" else ()
            key = ("block", name, part_hash(self.config, name), clip.place, hop, ridge is None, *fitted)
            blocks[name] = self.memo(key, lambda name=name: front.describe(spectra, hop, ridge, [name])[name])
        return blocks


def fold_recordings(fitting: Fitting, n_folds: int) -> np.ndarray:
    """(n_clips,) fold of each clip: whole recordings, domains spread evenly, shuffled by a fixed seed."""
    ids = fitting.recordings
    order = np.random.default_rng(0).permutation(ids.max() + 1)
    domain = {i: t for i, t in zip(ids, fitting.is_target)}
    ranked = sorted(order, key=lambda i: domain[i])
    fold = np.empty(len(order), dtype=int)
    fold[ranked] = np.arange(len(ranked)) % n_folds
    return fold[ids]


def own_recordings(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """The clips, each its own recording where all come from one: nothing could be left out otherwise."""
    if len({c.recording for c in clips}) > 1:
        return clips
    warnings.warn(f"{clips[0].path.parent}: all clips are of one recording; each is taken for its own", stacklevel=3)
    return tuple(replace(c, recording=c.name) for c in clips)


def one_domain_at_least(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """The clips, called source where all are target."""
    return clips if any(c.domain != "target" for c in clips) else tuple(replace(c, domain="source") for c in clips)
