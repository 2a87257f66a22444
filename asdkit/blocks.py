"""From a clip to blocks of window descriptors: spectra once per clip, then the embedding and the DSP descriptors.

Everything about a block stands in its entry of `BLOCKS`; a new one is an entry more. What a block learns from training clips
is made by a function in `FITTERS`, and applied by a `FeatureExtractor`.

spectra : {channel: (n_bands, n_frames)} log-mel in dB: "near", "far", "conditioned" (near with a share of far cancelled), all
    1024 / 512 with 128 bands; and "conditioned, fast", 256 / 128 with 32 bands, for modulation above 15 Hz.
starts : (n_windows,) first frame of each window. blocks : {name: (n_windows, dim)} of one clip.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from asdkit import dsp
from asdkit.config import Config
from asdkit.msm import N_MELS, BandWhitening, masked_error
from asdkit.objectives import Examples, class_name, train_objective
from asdkit.recordings import SAMPLE_RATE, Clip, InputError, TrainingSet
from asdkit.spectrogram import cut_windows, hz_to_mel, log_mel, mel_to_hz, stft, window_starts

HOP = 512
SPEED = 4  # fast frames per slow frame
FAST = (256, HOP // SPEED, 32)  # n_fft, hop, mel bands
Spectra = dict[str, torch.Tensor]


def extract(samples: np.ndarray, config: Config, rng: np.random.Generator | None = None) -> Spectra:
    """Spectra of one clip, (2, n_samples) float32; `rng` is that of the control "scrambled-phase"."""
    samples = torch.from_numpy(np.ascontiguousarray(samples))
    near, far = stft(samples)
    spectra = {"near": log_mel(near), "far": log_mel(far), "conditioned": log_mel(_conditioned(near, far, config, rng))}
    if "modulation" in config.blocks:
        n_fft, hop, n_mels = FAST
        near, far = stft(samples, n_fft, hop)
        spectra["conditioned, fast"] = log_mel(_conditioned(near, far, config, rng), n_mels)
    return spectra


def _conditioned(near, far, config: Config, rng):
    """near - alpha H far, or near itself where alpha acts on the embedding."""
    alpha = config.alpha if config.conditioning == "input" else 0.0
    if config.control == "scrambled-phase" and alpha > 0:
        rng = np.random.default_rng(0) if rng is None else rng
        phase = torch.from_numpy(np.exp(2j * np.pi * rng.random(len(near))).astype(np.complex64))
        return near - alpha * (phase * dsp.transfer(near, far, config.cancel_penalty))[:, None] * far
    return dsp.cancel_far(near, far, alpha, config.cancel_penalty)


def read_spectra(clip: Clip, config: Config) -> Spectra:
    """Spectra of one clip. One shorter than a window is tiled, with a warning."""
    return extract(at_least_a_window(clip.read(), clip.path, config.width), config)


def at_least_a_window(samples: np.ndarray, path, width: int) -> np.ndarray:
    """The samples (2, n_samples), tiled with a warning where they are shorter than a window of `width` frames."""
    shortest = (width - 1) * HOP
    if samples.shape[1] >= shortest:
        return samples
    seconds, expected = samples.shape[1] / SAMPLE_RATE, shortest / SAMPLE_RATE
    warnings.warn(f"{path}: found {seconds:.2f} s, expected at least a window of {expected:.2f} s; tiled", stacklevel=3)
    return np.tile(samples, -(-shortest // samples.shape[1]))[:, :shortest]


@dataclass(frozen=True)
class Encoder:
    """A network, or any function of windows, and the band whitening of what it reads."""

    whitenings: dict[str, BandWhitening]  # by channel
    net: Callable  # a `asdkit.msm.MSM`, or a callable (n_windows, 128, width) -> (n_windows, dim) of whitened log-mel windows

    def windows(self, spectra: Spectra, starts, channel: str, width: int) -> torch.Tensor:
        """Whitened windows of one channel: (n_windows, 128, width)."""
        return cut_windows(self.whitenings[channel](spectra[channel]), starts, width)

    @torch.no_grad()
    def embed(self, spectra: Spectra, starts, channel: str, width: int) -> torch.Tensor:
        """Embedding of one channel's unmasked windows: (n_windows, dim)."""
        x = self.windows(spectra, starts, channel, width)
        z = torch.as_tensor(getattr(self.net, "embed", self.net)(x), dtype=torch.float32)
        if z.ndim != 2 or len(z) != len(x):
            raise InputError(f"embed: found an array of shape {tuple(z.shape)}, expected ({len(x)}, dim) for as many windows")
        return z


@dataclass(frozen=True)
class Materials:
    """What a fitter is given."""

    training: TrainingSet
    spectra: Sequence[Spectra]  # of each clip
    config: Config
    seed: int = 0
    embed: Callable | None = None  # takes the place of the network
    others: tuple[Examples, ...] = ()  # other machines, for the objectives that tell machines apart
    description: str = ""  # of the progress bar


def make_examples(spectra: Sequence[Spectra], clips: Sequence[Clip], config: Config) -> tuple[dict, Examples]:
    """Band whitenings of the channels of one machine, and what a network sees of its training clips."""
    far = config.conditioning == "subspace" or config.objective == "far-to-near"
    whitenings = {c: BandWhitening.fit([s[c] for s in spectra]) for c in ("conditioned", *["far"] * far)}
    spectrograms = [whitenings["conditioned"](s["conditioned"]) for s in spectra]
    far = [whitenings["far"](s["far"]) for s in spectra] if config.objective == "far-to-near" else []
    return whitenings, Examples(str(clips[0].path.parent), spectrograms, far, [class_name(c) for c in clips])


def network_seed(seed: int) -> int:
    """Seed of a network's weights, crops and masks in a run of this seed."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def fit_encoder(given: Materials) -> tuple[Encoder, None]:
    """Band whitenings, and the network trained on this machine; or the callable that takes its place."""
    whitenings, own = make_examples(given.spectra, given.training.clips, given.config)
    if given.embed is not None:
        return Encoder(whitenings, given.embed), None
    net, _ = train_objective([own, *given.others], given.config, network_seed(given.seed), given.description)
    return Encoder(whitenings, net), None


def fit_ridge(given: Materials) -> tuple[dsp.Ridge, list[dsp.Ridge]]:
    """The log-mel ridge of all clips, and for each training clip the ridge of the clips outside its fold."""
    config, folds, sums = given.config, given.training.folds(given.config.ridge_folds), {}
    for s, fold in zip(given.spectra, folds):
        clip = dsp.RidgeStatistics.of(s["near"], s["far"], config.context)
        sums[fold] = sums[fold] + clip if fold in sums else clip
    rest = [[sums[g] for g in sums if g != fold] or list(sums.values()) for fold in range(int(folds.max()) + 1)]
    whole, *by_fold = [sum(s[1:], s[0]).solve(config.ridge_penalty) for s in [list(sums.values()), *rest]]
    return whole, [by_fold[fold] for fold in folds]


_CLIP = ("width",)  # a shorter clip is tiled to it
_CONDITIONED = SPECTRA_OPTIONS = ("conditioning", "alpha", "control", "cancel_penalty", *_CLIP)
_ENCODER = ("objective", "mask_ratio", "steps", "batch_size", "learning_rate", "threads", *_CONDITIONED)
_RIDGE = ("ridge_penalty", "context", "ridge_folds", *_CLIP)


@dataclass(frozen=True)
class Fitter:
    """How something is learned from the training clips, and the options that it reads."""

    fit: Callable[[Materials], tuple[object, list | None]]  # what is learned; without the fold of each clip where that matters
    options: tuple[str, ...]


FITTERS = {"encoder": Fitter(fit_encoder, _ENCODER), "ridge": Fitter(fit_ridge, _RIDGE)}


@dataclass(frozen=True)
class Bands:
    """Which frequency band each dimension of a block belongs to."""

    hz: np.ndarray  # (n_bands,) centres; empty where a block has no bands
    index: np.ndarray  # (dim,) int


def mel_centres(n_mels: int) -> np.ndarray:
    """(n_mels,) Hz."""
    return mel_to_hz(np.linspace(0, hz_to_mel(SAMPLE_RATE / 2), n_mels + 2)[1:-1])


def banded(n_statistics: int, n_bands: int = 128) -> Callable[[Config], Bands]:
    """Bands of a block that is (statistic x band)."""
    mel = hz_to_mel(mel_centres(N_MELS)).reshape(n_bands, -1)
    return lambda config: Bands(mel_to_hz(mel.mean(1)), np.tile(np.arange(n_bands), n_statistics))


def modulation_axis(config: Config) -> Bands:
    """Bands x modulation bands."""
    n = len(dsp.modulation_bands(SPEED * (config.width - 1), SPEED * SAMPLE_RATE / HOP))
    return Bands(mel_centres(FAST[2]), np.repeat(np.arange(FAST[2]), n))


@dataclass(frozen=True)
class Block:
    """A descriptor of windows."""

    words: str  # what it is, in the words of a method's description
    options: tuple[str, ...]  # of `Config`, that its values depend on
    describe: Callable  # describe(extractor, spectra, starts) -> (n_windows, dim)
    bands: Callable[[Config], Bands | None] = lambda config: None  # None where dimensions have no frequency
    learned: str = ""  # name in `FITTERS` of what it needs; empty where it learns nothing
    far: bool = False  # whether it is nothing without far


@dataclass(frozen=True)
class FeatureExtractor:
    """Describes clips. Made by `asdkit.describer.Describer.extractors`."""

    config: Config
    learned: dict[str, object] = field(default_factory=dict)  # by the names of `FITTERS`

    def describe(self, spectra: Spectra, hop: int, names: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
        """Blocks of one clip (those of the configuration unless named), in one batch of windows `hop` frames apart."""
        starts = window_starts(spectra["near"].shape[1], self.config.width, hop)
        return {name: BLOCKS[name].describe(self, spectra, starts) for name in names or self.config.blocks}

    def describe_all(self, segments: Iterable[Spectra], hop: int) -> dict[str, torch.Tensor]:
        """Blocks of one recording, its segments one after the other."""
        described = [self.describe(spectra, hop) for spectra in segments]
        return {name: torch.cat([blocks[name] for blocks in described]) for name in described[0]}


def _embedding(channel: str) -> Callable:
    return lambda fitted, spectra, starts: fitted.learned["encoder"].embed(spectra, starts, channel, fitted.config.width)


def _windows(channel: str, describe: Callable) -> Callable:
    return lambda fitted, spectra, starts: describe(cut_windows(spectra[channel], starts, fitted.config.width))


@torch.no_grad()
def _msm_residual(extractor, spectra, starts):
    """The model's own residual by band, (n_windows, 128): of the MSM every patch is hidden once, of the autoencoder none."""
    config, encoder = extractor.config, extractor.learned["encoder"]
    x, grid = encoder.windows(spectra, starts, "conditioned", config.width), encoder.net.grid(config.width)
    masks = striped(grid) if config.objective == "msm" else [torch.zeros(1, *grid, dtype=torch.bool)]
    errors = [masked_error(encoder.net, x, hidden.expand(len(x), -1, -1)) for hidden in masks]
    return torch.stack(errors).mean(0)


def striped(grid: tuple[int, int]) -> list[torch.Tensor]:
    """Two masks (1, *grid) that hide every second patch along both axes, each patch in exactly one of them."""
    odd = (torch.arange(grid[0])[:, None] + torch.arange(grid[1])) % 2 == 1
    return [~odd[None], odd[None]]


def _ridge(extractor, spectra, starts):
    residual = extractor.learned["ridge"].residual(spectra["near"], spectra["far"])
    return dsp.statistics(cut_windows(residual, starts, extractor.config.width), with_p95=True)


def _modulation(extractor, spectra, starts):
    width = SPEED * (extractor.config.width - 1)  # never past the end of the clip
    return dsp.modulation(cut_windows(spectra["conditioned, fast"], SPEED * starts, width), SPEED * SAMPLE_RATE / HOP)


_STATISTICS = "mean and standard deviation of log-mel energies"
BLOCKS = {
    "msm": Block("log-mel energies", _ENCODER, _embedding("conditioned"), learned="encoder"),
    "msm-far": Block("log-mel energies of far", _ENCODER, _embedding("far"), learned="encoder", far=True),
    "msm-residual": Block("log-mel energies", _ENCODER, _msm_residual, banded(1), learned="encoder"),
    "statistics": Block(f"{_STATISTICS} of near with far cancelled", _CONDITIONED, _windows("conditioned", dsp.statistics),
                        banded(2)),
    "statistics-near": Block(_STATISTICS, _CLIP, _windows("near", dsp.statistics), banded(2)),
    "statistics-far": Block(f"{_STATISTICS} of far", _CLIP, _windows("far", dsp.statistics), banded(2), far=True),
    "ridge": Block("residuals of near log-mel energies predicted from far ones by ridge regression", _RIDGE, _ridge, banded(3),
                   learned="ridge", far=True),
    "modulation": Block("modulation spectra of log-mel envelopes", _CONDITIONED, _modulation, modulation_axis),
    "texture": Block("spectro-temporal contrast of the log-mel spectrogram at several scales", _CLIP,
                     _windows("near", dsp.texture), banded(len(dsp.TEXTURE_SCALES), dsp.TEXTURE_BANDS)),
}  # fmt: skip


def block_bands(name: str, config: Config, dim: int) -> Bands:
    """Which band each of the `dim` dimensions of a block belongs to, or InputError; one for all where a block has no bands."""
    bands = BLOCKS[name].bands(config) or Bands(np.empty(0), np.zeros(dim, dtype=int))
    if len(bands.index) != dim:
        raise InputError(f"block {name}: found {dim} dimensions, expected {len(bands.index)} over {len(bands.hz)} bands")
    return bands


def without_far(config: Config) -> Config:
    """The same system without a far microphone: near itself in place of the conditioned channel, no block that needs far."""
    return replace(config, blocks=tuple(b for b in config.blocks if not BLOCKS[b].far), conditioning="input", alpha=0.0)
