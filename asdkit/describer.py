"""Clips are described: a `Describer` reads them, learns from training clips, and makes blocks of clips."""

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from tqdm.auto import tqdm

from asdkit.blocks import BLOCKS, FITTERS, FeatureExtractor, Materials, Spectra, make_examples, read_spectra
from asdkit.config import Config
from asdkit.knn import BACKENDS
from asdkit.objectives import POOLED, RECONSTRUCT, Examples
from asdkit.recordings import Clip, InputError, TrainingSet
from asdkit.space import Scaler


class Describer:
    """Reads clips, learns from training clips, describes clips. `asdkit.experiments` has one that shares between systems.

    `others` are the training clips of each other machine, for the objectives that tell machines apart; `progress` is the label
    of the progress bars, none where it is empty; all else is as in `asdkit.fit`.
    """

    def __init__(self, config: Config, seed: int = 0, embed: Callable | None = None, others=(), progress: str = ""):
        self.config, self.seed, self.embed, self.progress = check(config), seed, embed, progress
        self.others = others if config.objective in POOLED else ()
        self.kept = {}

    fit_scaler = staticmethod(Scaler.fit)  # of one block's training windows, as `fit_space` asks for it

    def bar_and_trim(self, items: Iterable, what: str) -> Iterator:
        """The items, with a progress bar where there is a label; memory that they leave free is given back on the way."""
        for i, item in enumerate(tqdm(items, f"{self.progress}: {what}", leave=False, disable=not self.progress)):
            yield item
            if i % 32 == 0:
                trim_heap()

    def spectra(self, clip: Clip) -> Spectra:
        """Spectra of a training clip, read once."""
        if clip.place not in self.kept:
            self.kept[clip.place] = read_spectra(clip, self.config)
        return self.kept[clip.place]

    def examples(self, clips: Sequence[Clip]) -> Examples:
        """What a network sees of another machine."""
        return make_examples([read_spectra(c, self.config) for c in clips], clips, self.config)[1]

    def learn(self, name: str, training: TrainingSet) -> tuple:
        """What one of `asdkit.blocks.FITTERS` learns from the training clips."""
        spectra = [self.spectra(c) for c in self.bar_and_trim(training.clips, "read")]
        others = tuple(map(self.examples, self.others))
        label = f"{self.progress}: train" if self.progress else ""
        return FITTERS[name].fit(Materials(training, spectra, self.config, self.seed, self.embed, others, label))

    def extractors(self, training: TrainingSet) -> tuple[FeatureExtractor, list[FeatureExtractor]]:
        """One for new clips, and for each training clip its own, which has not learned from its fold where that matters."""
        names = dict.fromkeys(BLOCKS[b].learned for b in self.config.blocks if BLOCKS[b].learned)
        learned = {name: self.learn(name, training) for name in names}
        extractor = FeatureExtractor(self.config, {name: whole for name, (whole, _) in learned.items()})
        own = [{name: each[i] for name, (_, each) in learned.items() if each} for i in range(len(training.clips))]
        return extractor, [replace(extractor, learned=extractor.learned | each) for each in own]

    def block(self, name: str, extractor: FeatureExtractor, clip: Clip, hop: int) -> torch.Tensor:
        """One block of one clip, (n_windows, dim); one that learns nothing is described once, whatever is held out."""
        key = name, clip.place, hop
        if key in self.kept:
            return self.kept[key]
        block = extractor.describe(self.spectra(clip), hop, [name])[name]
        if not BLOCKS[name].learned:
            self.kept[key] = block
        return block

    def blocks(self, extractor: FeatureExtractor, clip: Clip, hop: int) -> dict[str, torch.Tensor]:
        """All blocks of one clip."""
        return {name: self.block(name, extractor, clip, hop) for name in self.config.blocks}


def check(config: Config) -> Config:
    """The configuration, if its blocks and back-end exist and fit together; else InputError."""
    if unknown := [name for name in config.blocks if name not in BLOCKS]:
        raise InputError(f"config: found block {', '.join(unknown)}, expected {', '.join(BLOCKS)}")
    if config.backend not in BACKENDS:
        raise InputError(f"config: found backend = {config.backend!r}, expected {', '.join(BACKENDS)}")
    if "msm-residual" in config.blocks and config.objective not in RECONSTRUCT:
        expected = ", ".join(RECONSTRUCT)
        raise InputError(f"config: found block msm-residual with objective = {config.objective!r}, expected {expected}")
    return config


def trim_heap() -> None:
    """Give freed memory back where the C library (glibc) keeps it: between the spectra of many clips, twice their size."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
