"""What several systems of one machine have in common is computed once: spectra, what is learned, blocks of clips."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np
import torch

from asdkit.blocks import BLOCKS, FITTERS, SPECTRA_OPTIONS, FeatureExtractor, Spectra, at_least_a_window, extract
from asdkit.config import Config
from asdkit.describer import Describer
from asdkit.objectives import POOLED, Examples
from asdkit.recordings import Clip, TrainingSet


class Cache:
    """Values by key, for one machine."""

    def __init__(self):
        self.values = {}

    def __call__(self, key: tuple, compute: Callable):
        """The value of ``compute()``, made once per key."""
        if key not in self.values:
            self.values[key] = compute()
        return self.values[key]

    def forget(self, *kinds: str) -> None:
        """Drop everything whose key begins with one of these."""
        self.values = {key: value for key, value in self.values.items() if key[0] not in kinds}


class CachedDescriber(Describer):
    """A `Describer` that shares with others of the same `Cache`; it knows the negative control "other-recording", too."""

    def __init__(self, config: Config, cache: Cache | None = None, seed: int = 0, embed=None, others=(), progress: str = ""):
        super().__init__(config, seed, embed, others, progress)
        self.cache, self.training = Cache() if cache is None else cache, None
        on_input = config.conditioning == "input"  # else alpha and its control come after everything that is kept here
        self.shared = config if on_input else replace(config, alpha=0.0, control="none")

    def spectra(self, clip: Clip) -> Spectra:
        key = ("spectra", clip.place, self.shared.hash(*SPECTRA_OPTIONS), "modulation" in self.config.blocks)
        return self.cache(key, lambda: self.read(clip))

    def read(self, clip: Clip) -> Spectra:
        """Spectra of a clip; for the control "other-recording" with the far channel of a training clip of another recording."""
        config, rng = self.config, np.random.default_rng(crc32(clip.name.encode()))
        samples = at_least_a_window(clip.read(), clip.path, config.width)
        if config.control == "other-recording" and config.conditioning == "input":
            strangers = [c for c in self.training.clips if c.recording != clip.recording] or self.training.clips
            far = strangers[rng.integers(len(strangers))].read()[1]
            samples = np.stack([samples[0], np.resize(far, samples.shape[1])])
        return extract(samples, config, rng)

    def examples(self, clips: Sequence[Clip]) -> Examples:
        key = ("examples", clips[0].place, self.shared.hash(*SPECTRA_OPTIONS))
        return self.cache(key, lambda: super(CachedDescriber, self).examples(clips))

    def extractors(self, training: TrainingSet):
        self.training = self.training or training
        return super().extractors(training)

    def learn(self, name: str, training: TrainingSet) -> tuple:
        pooled = tuple(clips[0].place for clips in self.others) if self.config.objective in POOLED else ()
        places = tuple(clip.place for clip in training.clips)
        key = ("learned", name, self.shared.hash(*FITTERS[name].options), self.seed, id(self.embed), places, pooled)
        return self.cache(key, lambda: super(CachedDescriber, self).learn(name, training))

    def fit_scaler(self, x: torch.Tensor, *groups: np.ndarray):
        """The scaler of training windows, kept by their content: most systems whiten the same blocks without the same folds."""
        content = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in (x.numpy(), *groups))).digest()
        return self.cache(("scaler", content), lambda: super(CachedDescriber, self).fit_scaler(x, *groups))

    def block(self, name: str, extractor: FeatureExtractor, clip: Clip, hop: int) -> torch.Tensor:
        learned = extractor.learned.get(BLOCKS[name].learned)  # kept by this cache: the same object is the same fit
        key = ("block", name, self.shared.hash(*BLOCKS[name].options), clip.place, hop, id(learned))
        return self.cache(key, lambda: super(CachedDescriber, self).block(name, extractor, clip, hop))
