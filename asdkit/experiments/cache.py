"""What several systems of one machine have in common is computed once: spectra, what is learned, blocks of clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from asdkit.blocks import BLOCKS, FITTERS, FeatureExtractor, Spectra, fast_channels, read_spectra
from asdkit.config import Config
from asdkit.detector import Describer
from asdkit.objectives import POOLED, Examples
from asdkit.recordings import Clip, TrainingSet


class Cache:
    """Values by key, for one machine.

    Parameters
    ----------
    configs : iterable of Config
        Of all systems that will share: a clip's spectra are computed once, with the channels that any of them needs.
    """

    def __init__(self, configs: Iterable[Config] = ()):
        self.values, self.fast = {}, tuple(sorted({channel for c in configs for channel in fast_channels(c)}))

    def __call__(self, key: tuple, compute: Callable):
        """The value of ``compute()``, made once per key."""
        if key not in self.values:
            self.values[key] = compute()
        return self.values[key]

    def forget_all_but(self, *kinds: str) -> None:
        """Drop everything whose key does not begin with one of these."""
        self.values = {key: value for key, value in self.values.items() if key[0] in kinds}


class CachedDescriber(Describer):
    """A `Describer` that shares with others of the same `Cache`."""

    def __init__(self, config: Config, cache: Cache | None = None, seed: int = 0, embed=None, others=(), progress: str = ""):
        super().__init__(config, seed, embed, others, progress)
        self.cache = Cache([config]) if cache is None else cache

    def spectra(self, clip: Clip) -> Spectra:
        fast = tuple(sorted({*self.cache.fast, *fast_channels(self.config)}))
        key = ("spectra", clip.place, self.config.ridge_penalty, self.config.width, fast)
        return self.cache(key, lambda: read_spectra(clip, self.config, fast))

    def examples(self, clips: Sequence[Clip]) -> Examples:
        key = ("spectra", "examples", clips[0].place, self.config.hash("width", "ridge_penalty"))
        return self.cache(key, lambda: super(CachedDescriber, self).examples(clips))

    def learn(self, name: str, training: TrainingSet) -> tuple:
        pooled = tuple(clips[0].place for clips in self.others) if self.config.objective in POOLED else ()
        places = tuple(clip.place for clip in training.clips)
        key = ("learned", name, self.config.hash(*FITTERS[name].options), self.seed, id(self.embed), places, pooled)
        return self.cache(key, lambda: super(CachedDescriber, self).learn(name, training))

    def block(self, name: str, extractor: FeatureExtractor, clip: Clip, hop: int) -> torch.Tensor:
        learned = extractor.learned.get(BLOCKS[name].learned)  # kept by this cache: the same object is the same fit
        key = ("block", name, self.config.hash(*BLOCKS[name].options), clip.place, hop, id(learned))
        return self.cache(key, lambda: super(CachedDescriber, self).block(name, extractor, clip, hop))
