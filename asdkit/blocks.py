"""From a clip to blocks of window descriptors: spectra once per clip, then the MSM embedding and the DSP blocks.

Legend
------
spectra : {(channel, resolution): (n_bands, n_frames)} log-mel in dB. Channels near, far, residual (near with far cancelled);
    "slow" is 1024 / 512 with 128 bands, "fast" 256 / 128 with 32 bands, for modulation above 15 Hz.
blocks : {name: (n_windows, dim)} of one clip.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from asdkit import dsp
from asdkit.config import Config
from asdkit.msm import MSM, masked_error
from asdkit.objectives import Examples, class_name, train_objective
from asdkit.recordings import SAMPLE_RATE, Clip
from asdkit.spectrogram import cut_windows, log_mel, stft, window_starts

HOP = 512
SPEED = 4  # fast frames per slow frame
RESOLUTIONS = {"slow": (1024, HOP, 128), "fast": (256, HOP // SPEED, 32)}  # n_fft, hop, mel bands
Spectra = dict[tuple[str, str], torch.Tensor]


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
    wanted = {"slow": ("near", "far", "residual"), "fast": tuple(fast)}
    spectra = {}
    for resolution, (n_fft, hop, n_mels) in RESOLUTIONS.items():
        if channels := wanted[resolution]:
            near, far = stft(samples, n_fft, hop)
            specs = {"near": near, "far": far}
            if "residual" in channels:
                specs["residual"] = dsp.cancel_far(near, far, penalty)
            spectra |= {(c, resolution): log_mel(specs[c], n_mels) for c in channels}
    return spectra


def fast_channels(config: Config) -> set[str]:
    """Channels whose fast spectra a configuration needs."""
    return set(config.modulation_channels) if "modulation" in config.blocks and config.modulation != "slow" else set()


def read_spectra(clip: Clip, config: Config, fast: Iterable[str] | None = None) -> Spectra:
    """Read and extract one clip. One shorter than a window is tiled, with a warning.

    Parameters
    ----------
    fast : iterable of str, optional
        Channels wanted at the fast resolution; those that `config` needs by default.
    """
    samples = at_least_a_window(clip.read(), clip.path, config.width)
    return extract(samples, config.ridge_penalty, sorted(fast_channels(config) if fast is None else fast))


def at_least_a_window(samples: np.ndarray, path, width: int) -> np.ndarray:
    """The samples, tiled with a warning where they are shorter than a window."""
    shortest = (width - 1) * HOP
    if samples.shape[1] >= shortest:
        return samples
    found, expected = samples.shape[1] / SAMPLE_RATE, shortest / SAMPLE_RATE
    warnings.warn(f"{path}: found {found:.2f} s, expected at least a window of {expected:.2f} s; tiled", stacklevel=3)
    return np.tile(samples, -(-shortest // samples.shape[1]))[:, :shortest]


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
class FrontEnd:
    """What is fitted before any window is described: band scalers and network of the MSM, the log-mel ridge."""

    config: Config
    scalers: dict[str, BandScaler]  # by channel
    net: MSM | None
    ridge: dsp.Ridge | None

    def describe(self, spectra: Spectra, hop: int, ridge: dsp.Ridge | None = None, names=None) -> dict[str, torch.Tensor]:
        """Blocks of one clip, computed from a batch of its own windows only.

        Parameters
        ----------
        spectra : dict
        hop : int
            Frames between windows.
        ridge : Ridge, optional
            Used in place of the fitted one: out-of-fold residuals of training clips.
        names : iterable of str, optional
            Blocks wanted; those of the configuration by default.
        """
        starts = window_starts(spectra["near", "slow"].shape[1], self.config.width, hop)
        makers = {
            "msm": lambda: self.embed(spectra, starts, self.config.msm_channel),
            "msm-residual": lambda: self.error(spectra, starts),
            "ridge-complex": lambda: dsp.statistics(self.windows(spectra, starts, "residual")),
            "ridge-log-mel": lambda: self.ridge_log_mel(spectra, starts, ridge or self.ridge),
            "modulation": lambda: self.modulation(spectra, starts),
            "texture": lambda: dsp.texture(self.windows(spectra, starts, self.config.texture_channel)),
            "logmel": lambda: dsp.statistics(self.windows(spectra, starts, self.config.logmel_channel)),
        }
        return {name: makers[name]() for name in names or self.config.blocks}

    def windows(self, spectra, starts, channel: str) -> torch.Tensor:
        """Slow windows of one channel, dB: (n_windows, 128, width)."""
        return cut_windows(spectra[channel, "slow"], starts, self.config.width)

    @torch.no_grad()
    def embed(self, spectra, starts, channel: str) -> torch.Tensor:
        """MSM embedding of one channel's unmasked windows: (n_windows, bottleneck)."""
        x = cut_windows(self.scalers[channel](spectra[channel, "slow"]), starts, self.config.width)
        return self.net.embed(x)

    @torch.no_grad()
    def error(self, spectra, starts) -> torch.Tensor:
        """The model's own residual: (n_windows, 1).

        Of the MSM, each of as many masks as it takes to hide every patch once is applied to every window, so that it is
        deterministic; of the autoencoder nothing is hidden.
        """
        channel = self.config.msm_channel
        x = cut_windows(self.scalers[channel](spectra[channel, "slow"]), starts, self.config.width)
        errors = [masked_error(self.net, x, hidden.expand(len(x), -1, -1)) for hidden in self.masks(self.net.grid)]
        return torch.stack(errors).mean(0)[:, None]

    def masks(self, grid: tuple[int, int]) -> list[torch.Tensor]:
        """What is hidden, mask by mask, when the residual is scored: (1, *grid) bool each."""
        return striped(grid) if self.config.objective == "msm" else [torch.zeros(1, *grid, dtype=torch.bool)]

    def ridge_log_mel(self, spectra, starts, ridge) -> torch.Tensor:
        """Mean, standard deviation and 95th percentile over time of the log-mel ridge residual."""
        residual = ridge.residual(spectra["near", "slow"], spectra["far", "slow"])
        return dsp.statistics(cut_windows(residual, starts, self.config.width), upper=True)

    def modulation(self, spectra, starts) -> torch.Tensor:
        """Temporal modulation of the chosen channels at the chosen resolutions."""
        parts = []
        for channel in self.config.modulation_channels:
            if self.config.modulation != "fast":
                parts.append(dsp.modulation(self.windows(spectra, starts, channel), SAMPLE_RATE / HOP))
            if self.config.modulation != "slow":
                width = SPEED * (self.config.width - 1)  # never past the end of the clip
                windows = cut_windows(spectra[channel, "fast"], SPEED * starts, width)
                parts.append(dsp.modulation(windows, SPEED * SAMPLE_RATE / HOP))
        return torch.cat(parts, dim=1)


def striped(grid: tuple[int, int], n: int = 2) -> list[torch.Tensor]:
    """Masks (1, *grid) that hide every n-th patch along both axes, each patch in exactly one of them."""
    diagonal = (torch.arange(grid[0])[:, None] + torch.arange(grid[1])) % n
    return [(diagonal == i)[None] for i in range(n)]


def needs_msm(config: Config) -> bool:
    """Whether any block comes from the masked spectrogram model."""
    return bool({"msm", "msm-residual"} & set(config.blocks))


def needs_ridge(config: Config) -> bool:
    """Whether the log-mel ridge has to be fitted."""
    return "ridge-log-mel" in config.blocks


def make_examples(spectra: list[Spectra], clips: Sequence[Clip], config: Config) -> tuple[dict[str, BandScaler], Examples]:
    """Band scalers of every channel of one machine, and what a network sees of its training clips."""
    scalers = {c: BandScaler.fit([s[c, "slow"] for s in spectra]) for c in ("near", "far", "residual")}
    return scalers, Examples(
        name=str(clips[0].path.parent),
        spectrograms=[scalers["near"](s["near", "slow"]) for s in spectra],
        far=[scalers["far"](s["far", "slow"]) for s in spectra] if config.objective == "far-to-near" else [],
        classes=[class_name(c) for c in clips],
    )


def fit_net(machines: Sequence[Examples], config: Config, seed: int, description: str = "") -> MSM:
    """The network; the first of `machines` is the one that will be scored."""
    return train_objective(machines, config, network_seed(seed), description)[0]


def network_seed(seed: int) -> int:
    """Seed of a network's weights, crops and masks in a run of this seed."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def fit_ridges(spectra: list[Spectra], folds: np.ndarray, config: Config) -> tuple[dsp.Ridge, list[dsp.Ridge]]:
    """The log-mel ridge of all clips, and for each fold the ridge of the clips outside it."""
    sums = {}
    for s, fold in zip(spectra, folds):
        clip = dsp.RidgeStatistics.of(s["near", "slow"], s["far", "slow"], config.context)
        sums[fold] = sums[fold] + clip if fold in sums else clip
    n_folds = int(folds.max()) + 1
    rest = [[sums[g] for g in sums if g != fold] or list(sums.values()) for fold in range(n_folds)]
    solved = [sum(parts[1:], parts[0]).solve(config.ridge_penalty) for parts in [list(sums.values()), *rest]]
    return solved[0], solved[1:]
