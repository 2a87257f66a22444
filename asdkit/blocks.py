"""From a clip to blocks of window descriptors: spectra once per clip, then the embedding and the DSP descriptors.

Everything about a block stands in its entry of `BLOCKS`; a new one is an entry more. What a block learns from training clips
is made by a function in `FITTERS`, and applied by a `FeatureExtractor`.

Legend
------
spectra : {(channel, resolution): (n_bands, n_frames)} log-mel in dB. Channels near, far, residual (near with far cancelled);
    "slow" is 1024 / 512 with 128 bands, "fast" 256 / 128 with 32 bands, for modulation above 15 Hz.
starts : (n_windows,) first frame of each window. blocks : {name: (n_windows, dim)} of one clip.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from asdkit import dsp
from asdkit.config import Config
from asdkit.knn import check_backend
from asdkit.msm import masked_error
from asdkit.objectives import RECONSTRUCT, Examples, class_name, train_objective
from asdkit.recordings import SAMPLE_RATE, Clip, InputError, TrainingSet
from asdkit.spectrogram import cut_windows, hz_to_mel, log_mel, mel_to_hz, stft, window_starts

HOP = 512
SPEED = 4  # fast frames per slow frame
RESOLUTIONS = {"slow": (1024, HOP, 128), "fast": (256, HOP // SPEED, 32)}  # n_fft, hop, mel bands
CHANNELS = ("near", "far", "residual")
Spectra = dict[tuple[str, str], torch.Tensor]


# spectra of a clip


def extract(samples: np.ndarray, penalty: float, fast: Iterable[str] = ()) -> Spectra:
    """Log-mels of near, far and the far-cancelled residual of one clip.

    Parameters
    ----------
    samples : (2, n_samples) float32
    penalty : float
        Of the complex ridge.
    fast : iterable of str
        Channels wanted at the fast resolution too.
    """
    samples = torch.from_numpy(np.ascontiguousarray(samples))
    wanted = {"slow": CHANNELS, "fast": tuple(fast)}
    spectra = {}
    for resolution, (n_fft, hop, n_mels) in RESOLUTIONS.items():
        if channels := wanted[resolution]:
            near, far = stft(samples, n_fft, hop)
            specs = {"near": near, "far": far}
            if "residual" in channels:
                specs["residual"] = dsp.cancel_far(near, far, penalty)
            spectra |= {(c, resolution): log_mel(specs[c], n_mels) for c in channels}
    return spectra


def fast_channels(config: Config) -> tuple[str, ...]:
    """Channels whose fast spectra a configuration needs."""
    needed = "modulation" in config.blocks and config.modulation != "slow"
    return tuple(sorted(config.modulation_channels)) if needed else ()


def read_spectra(clip: Clip, config: Config, fast: Iterable[str] | None = None) -> Spectra:
    """Read and extract one clip. One shorter than a window is tiled, with a warning.

    Parameters
    ----------
    fast : iterable of str, optional
        Channels wanted at the fast resolution; those that `config` needs by default.
    """
    samples = at_least_a_window(clip.read(), clip.path, config.width)
    return extract(samples, config.ridge_penalty, fast_channels(config) if fast is None else fast)


def at_least_a_window(samples: np.ndarray, path, width: int) -> np.ndarray:
    """The samples, tiled with a warning where they are shorter than a window."""
    shortest = (width - 1) * HOP
    if samples.shape[1] >= shortest:
        return samples
    seconds, expected = samples.shape[1] / SAMPLE_RATE, shortest / SAMPLE_RATE
    warnings.warn(f"{path}: found {seconds:.2f} s, expected at least a window of {expected:.2f} s; tiled", stacklevel=3)
    return np.tile(samples, -(-shortest // samples.shape[1]))[:, :shortest]


# what is learned from training clips


@dataclass(frozen=True)
class BandScaler:
    """Standardises each band of a log-mel by training statistics, (n_mels, 1) each."""

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def fit(cls, logmels: list[torch.Tensor]) -> BandScaler:
        """From the frames of all clips, clip by clip."""
        n = sum(x.shape[1] for x in logmels)
        mean = sum(x.double().sum(1, keepdim=True) for x in logmels) / n
        variance = sum((x.double() - mean).square().sum(1, keepdim=True) for x in logmels) / n
        return cls(mean.float(), variance.sqrt().clamp(min=1e-3).float())  # 1e-3 dB: a silent band stays finite

    def __call__(self, logmel: torch.Tensor) -> torch.Tensor:
        return (logmel - self.mean) / self.std


@dataclass(frozen=True)
class Encoder:
    """A network, or any function of windows, and the band scalers of what it reads.

    `net` is a `asdkit.msm.MSM`, or a callable (n_windows, 128, width) -> (n_windows, dim) of standardised log-mel windows.
    """

    scalers: dict[str, BandScaler]  # by channel
    net: Callable

    def windows(self, spectra: Spectra, starts, channel: str, width: int) -> torch.Tensor:
        """Standardised windows of one channel: (n_windows, 128, width)."""
        return cut_windows(self.scalers[channel](spectra[channel, "slow"]), starts, width)

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
    """What a fitter is given: the training clips and their spectra, the choices, and the clips of other machines."""

    training: TrainingSet
    spectra: Sequence[Spectra]
    config: Config
    seed: int = 0
    embed: Callable | None = None  # takes the place of the network
    others: tuple[Examples, ...] = ()  # of other machines, for the objectives that tell machines apart
    description: str = ""  # of the progress bar


def make_examples(spectra: Sequence[Spectra], clips: Sequence[Clip], config: Config) -> tuple[dict[str, BandScaler], Examples]:
    """Band scalers of every channel of one machine, and what a network sees of its training clips."""
    scalers = {c: BandScaler.fit([s[c, "slow"] for s in spectra]) for c in CHANNELS}
    return scalers, Examples(
        name=str(clips[0].path.parent),
        spectrograms=[scalers["near"](s["near", "slow"]) for s in spectra],
        far=[scalers["far"](s["far", "slow"]) for s in spectra] if config.objective == "far-to-near" else [],
        classes=[class_name(c) for c in clips],
    )


def network_seed(seed: int) -> int:
    """Seed of a network's weights, crops and masks in a run of this seed."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def fit_encoder(given: Materials) -> tuple[Encoder, None]:
    """Band scalers, and the network trained on this machine; or the callable that takes its place."""
    scalers, own = make_examples(given.spectra, given.training.clips, given.config)
    if given.embed is not None:
        return Encoder(scalers, given.embed), None
    machines, seed = [own, *given.others], network_seed(given.seed)
    return Encoder(scalers, train_objective(machines, given.config, seed, given.description)[0]), None


def fit_ridge(given: Materials) -> tuple[dsp.Ridge, list[dsp.Ridge]]:
    """The log-mel ridge of all clips, and for each training clip the ridge of the clips outside its fold."""
    config, folds, sums = given.config, given.training.folds(given.config.ridge_folds), {}
    for s, fold in zip(given.spectra, folds):
        clip = dsp.RidgeStatistics.of(s["near", "slow"], s["far", "slow"], config.context)
        sums[fold] = sums[fold] + clip if fold in sums else clip
    rest = [[sums[g] for g in sums if g != fold] or list(sums.values()) for fold in range(int(folds.max()) + 1)]
    whole, *by_fold = [sum(s[1:], s[0]).solve(config.ridge_penalty) for s in [list(sums.values()), *rest]]
    return whole, [by_fold[fold] for fold in folds]


_SPECTRA = ("width", "ridge_penalty")
_ENCODER = ("train_hop", "objective", "mask_ratio", "bottleneck", "steps", "batch_size", "learning_rate", "threads", *_SPECTRA)
_RIDGE = ("context", "ridge_folds", *_SPECTRA)


@dataclass(frozen=True)
class Fitter:
    """How something is learned from the training clips, and the options that it reads.

    `fit` returns what is learned and, where descriptors of training clips have to be out of fold, what is learned without the
    fold of each training clip; else None.
    """

    fit: Callable[[Materials], tuple[object, list | None]]
    options: tuple[str, ...]


FITTERS = {"encoder": Fitter(fit_encoder, _ENCODER), "ridge": Fitter(fit_ridge, _RIDGE)}


# blocks


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
    mel = hz_to_mel(mel_centres(RESOLUTIONS["slow"][2])).reshape(n_bands, -1)
    return lambda config: Bands(mel_to_hz(mel.mean(1)), np.tile(np.arange(n_bands), n_statistics))


def modulation_axis(config: Config) -> Bands:
    """Channels x resolutions x bands x modulation bands; a slow band counts for the fast one that is nearest in mel."""
    resolutions = ["slow", "fast"] if config.modulation == "both" else [config.modulation]
    hz, index = mel_centres(RESOLUTIONS[resolutions[-1]][2]), []
    for resolution in resolutions:
        speed = SPEED if resolution == "fast" else 1
        width = SPEED * (config.width - 1) if resolution == "fast" else config.width
        own = hz_to_mel(mel_centres(RESOLUTIONS[resolution][2]))
        nearest = np.abs(own[:, None] - hz_to_mel(hz)).argmin(1)
        index.append(np.repeat(nearest, len(dsp.modulation_bands(width, speed * SAMPLE_RATE / HOP))))
    return Bands(hz, np.tile(np.concatenate(index), len(config.modulation_channels)))


def _no_bands(config: Config) -> None:
    """An embedding has no bands: all its dimensions count as one."""


@dataclass(frozen=True)
class Block:
    """A descriptor of windows.

    Parameters
    ----------
    words : str
        What it is, in the words of a method's description.
    options : tuple of str
        The options of `Config` that its values depend on.
    describe : callable
        ``describe(extractor, spectra, starts)`` -> (n_windows, dim).
    bands : callable
        ``bands(config)`` -> `Bands`, or None where dimensions have no frequency.
    learned : str
        Name in `FITTERS` of what it needs; empty where it learns nothing.
    far : str
        Option that makes it read far: a channel, or "always"; empty where it cannot.
    """

    words: str
    options: tuple[str, ...]
    describe: Callable
    bands: Callable[[Config], Bands | None] = _no_bands
    learned: str = ""
    far: str = ""


@dataclass(frozen=True)
class FeatureExtractor:
    """Describes clips. Made by `fit_extractor`."""

    config: Config
    learned: dict[str, object] = field(default_factory=dict)  # by the names of `FITTERS`

    def describe(self, spectra: Spectra, hop: int, names: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
        """Blocks of one clip, computed from a batch of its own windows only.

        Parameters
        ----------
        spectra : dict
        hop : int
            Frames between windows.
        names : iterable of str, optional
            Blocks wanted; those of the configuration by default.
        """
        starts = window_starts(spectra["near", "slow"].shape[1], self.config.width, hop)
        return {name: BLOCKS[name].describe(self, spectra, starts) for name in names or self.config.blocks}

    def describe_all(self, segments: Iterable[Spectra], hop: int) -> dict[str, torch.Tensor]:
        """Blocks of one recording, its segments one after the other."""
        described = [self.describe(spectra, hop) for spectra in segments]
        return {name: torch.cat([blocks[name] for blocks in described]) for name in described[0]}

    def windows(self, spectra: Spectra, starts, channel: str) -> torch.Tensor:
        """Slow windows of one channel, dB: (n_windows, 128, width)."""
        return cut_windows(spectra[channel, "slow"], starts, self.config.width)

    def embed(self, spectra: Spectra, starts, channel: str) -> torch.Tensor:
        """Embedding of one channel: (n_windows, dim)."""
        return self.learned["encoder"].embed(spectra, starts, channel, self.config.width)


def fit_extractor(
    given: Materials, learn: Callable[[str], tuple] | None = None
) -> tuple[FeatureExtractor, list[FeatureExtractor]]:
    """Learn what the blocks of a configuration need.

    Parameters
    ----------
    given : Materials
    learn : callable, optional
        ``learn(name)`` gives what ``FITTERS[name].fit(given)`` would.

    Returns
    -------
    extractor : FeatureExtractor
        For new clips.
    own : list of FeatureExtractor
        For each training clip: one that has not learned from its fold where that matters.
    """
    learn = learn or (lambda name: FITTERS[name].fit(given))
    names = dict.fromkeys(BLOCKS[b].learned for b in given.config.blocks if BLOCKS[b].learned)
    learned = {name: learn(name) for name in names}
    extractor = FeatureExtractor(given.config, {name: whole for name, (whole, _) in learned.items()})
    out_of_fold = {name: each for name, (_, each) in learned.items() if each is not None}
    if not out_of_fold:
        return extractor, [extractor] * len(given.training.clips)
    own = [extractor.learned | {name: each[i] for name, each in out_of_fold.items()} for i in range(len(given.training.clips))]
    return extractor, [replace(extractor, learned=learned) for learned in own]


def _msm(extractor, spectra, starts):
    return extractor.embed(spectra, starts, extractor.config.msm_channel)


def _msm_far(extractor, spectra, starts):
    return extractor.embed(spectra, starts, "far")


@torch.no_grad()
def _msm_residual(extractor, spectra, starts):
    """The model's own residual, (n_windows, 1).

    Of the MSM, each of as many masks as it takes to hide every patch once is applied to every window, so that it is
    deterministic; of the autoencoder nothing is hidden.
    """
    config, encoder = extractor.config, extractor.learned["encoder"]
    x, grid = encoder.windows(spectra, starts, config.msm_channel, config.width), encoder.net.grid
    masks = striped(grid) if config.objective == "msm" else [torch.zeros(1, *grid, dtype=torch.bool)]
    errors = [masked_error(encoder.net, x, hidden.expand(len(x), -1, -1)) for hidden in masks]
    return torch.stack(errors).mean(0)[:, None]


def striped(grid: tuple[int, int], n: int = 2) -> list[torch.Tensor]:
    """Masks (1, *grid) that hide every n-th patch along both axes, each patch in exactly one of them."""
    diagonal = (torch.arange(grid[0])[:, None] + torch.arange(grid[1])) % n
    return [(diagonal == i)[None] for i in range(n)]


def _ridge_complex(extractor, spectra, starts):
    return dsp.statistics(extractor.windows(spectra, starts, "residual"))


def _ridge_log_mel(extractor, spectra, starts):
    residual = extractor.learned["ridge"].residual(spectra["near", "slow"], spectra["far", "slow"])
    return dsp.statistics(cut_windows(residual, starts, extractor.config.width), with_p95=True)


def _modulation(extractor, spectra, starts):
    """Temporal modulation of the chosen channels at the chosen resolutions."""
    config, descriptors = extractor.config, []
    for channel in config.modulation_channels:
        if config.modulation != "fast":
            descriptors.append(dsp.modulation(extractor.windows(spectra, starts, channel), SAMPLE_RATE / HOP))
        if config.modulation != "slow":
            width = SPEED * (config.width - 1)  # never past the end of the clip
            windows = cut_windows(spectra[channel, "fast"], SPEED * starts, width)
            descriptors.append(dsp.modulation(windows, SPEED * SAMPLE_RATE / HOP))
    return torch.cat(descriptors, dim=1)


def _texture(extractor, spectra, starts):
    return dsp.texture(extractor.windows(spectra, starts, extractor.config.texture_channel))


def _logmel(extractor, spectra, starts):
    return dsp.statistics(extractor.windows(spectra, starts, extractor.config.logmel_channel))


BLOCKS = {
    "msm": Block("log-mel energies", (*_ENCODER, "msm_channel"), _msm, learned="encoder", far="msm_channel"),
    "msm-far": Block("log-mel energies of far", _ENCODER, _msm_far, learned="encoder", far="always"),
    "msm-residual": Block(
        "log-mel energies", (*_ENCODER, "msm_channel"), _msm_residual, learned="encoder", far="msm_channel"
    ),
    "ridge-complex": Block(
        "log-mel energies of the near signal after ridge cancellation of the far one", _SPECTRA, _ridge_complex, banded(2),
        far="always",
    ),
    "ridge-log-mel": Block(
        "residuals of near log-mel energies predicted from far ones by ridge regression", _RIDGE, _ridge_log_mel, banded(3),
        learned="ridge", far="always",
    ),
    "modulation": Block(
        "modulation spectra of log-mel envelopes", ("modulation_channels", "modulation", *_SPECTRA), _modulation,
        modulation_axis, far="modulation_channels",
    ),
    "texture": Block(
        "spectro-temporal contrast of the log-mel spectrogram at several scales", ("texture_channel", *_SPECTRA), _texture,
        banded(len(dsp.TEXTURE_SCALES), dsp.TEXTURE_BANDS), far="texture_channel",
    ),
    "logmel": Block(
        "mean and standard deviation of log-mel energies", ("logmel_channel", *_SPECTRA), _logmel, banded(2),
        far="logmel_channel",
    ),
}  # fmt: skip


def block_bands(name: str, config: Config, dim: int) -> Bands:
    """Which band each of the `dim` dimensions of a block belongs to; one for all where a block has no bands.

    Raises
    ------
    InputError
        Where the block's bands make another number of dimensions.
    """
    bands = BLOCKS[name].bands(config) or Bands(np.empty(0), np.zeros(dim, dtype=int))
    if len(bands.index) != dim:
        raise InputError(f"block {name}: found {dim} dimensions, expected {len(bands.index)} over {len(bands.hz)} bands")
    return bands


# configurations and blocks


def check(config: Config) -> Config:
    """The configuration, if its blocks and back-end exist and fit together.

    Raises
    ------
    InputError
    """
    if unknown := [name for name in (*config.blocks, *config.whiten) if name not in BLOCKS]:
        raise InputError(f"config: found block {', '.join(unknown)}, expected {', '.join(BLOCKS)}")
    check_backend(config.backend)
    if config.backend == "value" and tuple(config.blocks) != ("msm-residual",):
        raise InputError(f"config: found backend = 'value' with blocks = {config.blocks!r}, expected ('msm-residual',)")
    if "msm-residual" in config.blocks and config.objective not in RECONSTRUCT:
        expected = ", ".join(RECONSTRUCT)
        raise InputError(f"config: found block msm-residual with objective = {config.objective!r}, expected {expected}")
    return config


def without_far(config: Config) -> Config:
    """The same system without a far microphone: nothing of it reads far, and there is no Far-conditioning."""
    blocks = tuple(b for b in config.blocks if BLOCKS[b].learned != "ridge" and b != "msm-far")
    near = {BLOCKS[b].far for b in BLOCKS} - {"", "always"}
    channels = {name: ("near",) if name.endswith("s") else "near" for name in near}
    return replace(config, blocks=blocks, rank=0, **channels)
