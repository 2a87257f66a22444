"""One frozen configuration: every choice the method leaves open, with its unit, range and default.

The defaults are the `asdkit` system. `Config.report()` is the literal reading of the technical report. A configuration is
varied with `dataclasses.replace`, stored as JSON, and identified by its hash.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args, get_type_hints

from asdkit.recordings import InputError

Channel = Literal["near", "far", "residual"]
BLOCKS = ("msm", "ridge-complex", "ridge-log-mel", "modulation", "texture", "logmel", "msm-residual")
RECONSTRUCT = ("msm", "autoencoder")  # objectives with a residual of their own


@dataclass(frozen=True)
class Config:
    """All options of one system. Spectrograms are 16 kHz, STFT 1024 / hop 512, 128 mel bands (`asdkit.spectrogram`)."""

    # windows
    width: int = 80  # frames in a window; 2.56 s
    train_hop: int = 40  # frames between training and bank windows
    test_hop: int = 20  # frames between the windows of a scored clip

    # which blocks make the system, in order
    blocks: tuple[str, ...] = ("msm", "ridge-complex", "ridge-log-mel", "texture")  # of BLOCKS
    texture_channel: Channel = "near"
    logmel_channel: Channel = "near"  # of the plain log-mel statistics (a baseline's block)

    # encoder: the masked spectrogram model, or the same network under another objective
    objective: Literal["msm", "autoencoder", "far-to-near", "machine-id", "pseudo-cluster", "sub-cluster-adacos"] = "msm"
    msm_channel: Channel = "near"  # whose embedding is scored; networks are trained on near
    mask_ratio: float = 0.6  # share of patches that "msm" hides, [0, 1)
    bottleneck: int = 128  # units
    steps: int = 50  # gradient steps; 0 leaves the encoder untrained
    batch_size: int = 64  # windows
    learning_rate: float = 2e-3  # peak of a one-cycle schedule

    # DSP descriptors
    ridge_penalty: float = 1e-2  # complex: fraction of the mean far power; log-mel: of the mean variance of the context
    context: int = 2  # frames of far context on each side (log-mel)
    ridge_folds: int = 5  # out-of-fold residuals of training clips (log-mel)
    modulation_channels: tuple[Channel, ...] = ("near", "far")
    modulation: Literal["slow", "fast", "both"] = "slow"  # slow: 1024 / 512, 128 bands; fast: 256 / 128, 32 bands

    # Far-conditioning
    alpha: float = 0.5  # share of the nuisance subspace removed, [0, 1]
    rank: int = 8  # directions; 0 switches conditioning off. With rank_rule "shuffled" the cap
    rank_rule: Literal["fixed", "shuffled"] = "fixed"
    subspace: Literal["pls", "cca"] = "pls"
    control: Literal["none", "random", "near-pca", "other-recording"] = "none"  # negative controls of the subspace

    # fusion and kNN
    whiten: tuple[str, ...] = ("texture",)  # of BLOCKS: those that are whitened, so that distances are Mahalanobis
    fusion: Literal["concatenate", "mean", "max"] = "mean"  # mean, max: of standardised block scores
    balance: bool = True  # divide each block by its median leave-one-recording-out distance
    backend: Literal["domain", "pooled", "unscaled", "local-density", "varmin", "minimum", "value"] = "domain"
    k: int = 3  # neighbours
    n_0: float = 1.0  # recordings; weight of the source scale in the target scale
    standardise_clips: int = 200  # training clips whose scores standardise a block
    aggregate: Literal["top", "mean", "max"] = "mean"
    top: float = 0.1  # share of the windows that "top" averages

    # decision
    false_alarm: float = 0.1  # requested rate on normal recordings
    holdout: float = 0.2  # share of source recordings held out to calibrate; all in turn where those are too few

    # computing
    threads: int = 1  # torch threads; floating-point sums depend on it. Machines run in parallel (`--jobs`)

    def __post_init__(self):
        hints = _hints()
        for field in fields(self):
            value = getattr(self, field.name)
            _check_choice(field.name, value, hints[field.name])
            if hints[field.name] is float:  # equal configurations have equal hashes
                object.__setattr__(self, field.name, float(value))
        _check_ranges(self)

    @classmethod
    def report(cls) -> Config:
        """The literal reading of the technical report, whatever the defaults become."""
        return cls(**_REPORT)

    def without_far(self) -> Config:
        """The same system without a far microphone: nothing of it reads far, and there is no Far-conditioning."""
        blocks = tuple(b for b in self.blocks if b != "ridge-log-mel")
        near = {f.name: ("near",) if f.name.endswith("s") else "near" for f in fields(self) if "_channel" in f.name}
        return replace(self, blocks=blocks, rank=0, **near)

    def quick(self) -> Config:
        """The same with token training: to see that everything runs, not for results."""
        return replace(self, steps=min(self.steps, 10))

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """Defaults with `values` in their place; lists become tuples.

        Raises
        ------
        InputError
            On a name that is no option or a value outside its range.
        """
        if unknown := set(values) - {f.name for f in fields(cls)}:
            raise InputError(f"config: found option {', '.join(sorted(unknown))}; expected names of asdkit.Config")
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Read a JSON file of options; those it does not name keep their defaults."""
        try:
            values = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable as JSON ({error}); expected an object of asdkit.Config options") from None
        if not isinstance(values, dict):
            raise InputError(f"{path}: found {type(values).__name__}, expected an object of asdkit.Config options")
        return cls.from_dict(values)

    def to_dict(self) -> dict:
        """JSON-able dictionary of all options."""
        return json.loads(json.dumps(asdict(self)))

    def hash(self, *names: str) -> str:
        """First 12 hex digits of the SHA-256 of the options (or of those named)."""
        values = self.to_dict()
        text = json.dumps({n: values[n] for n in names or values}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


_REPORT = dict(
    width=80, train_hop=40, test_hop=8, blocks=("msm", "ridge-log-mel", "modulation"),
    texture_channel="near", logmel_channel="near", objective="msm", msm_channel="near", mask_ratio=0.6,
    bottleneck=128, steps=50, batch_size=64, learning_rate=2e-3, ridge_penalty=1e-2, context=2, ridge_folds=5,
    modulation_channels=("near", "far"), modulation="slow", alpha=0.5, rank=8, rank_rule="fixed", subspace="pls",
    control="none", whiten=(), fusion="concatenate", balance=True, backend="domain", k=3, n_0=10.0, standardise_clips=200,
    aggregate="top", top=0.1, false_alarm=0.1, holdout=0.2, threads=1,
)  # fmt: skip


@lru_cache
def _hints() -> dict:
    return get_type_hints(Config)


def _check_choice(name, value, hint):
    if get_args(hint) and hint is not None and getattr(hint, "__origin__", None) is Literal:
        allowed, values = get_args(hint), [value]
    elif name in ("blocks", "whiten"):
        allowed, values = BLOCKS, value
    elif name.endswith("_channels"):
        allowed, values = get_args(Channel), value
    else:
        return _check_type(name, value, hint)
    once = isinstance(values, tuple | list) and all(v in allowed and values.count(v) == 1 for v in values)
    if not once or not (values or name == "whiten"):
        raise InputError(f"config: found {name} = {value!r}, expected {', '.join(allowed)}")


def _check_type(name, value, hint):
    hint = {"int": int, "float": float, "bool": bool}.get(hint, hint)
    accepted = (int, float) if hint is float else hint
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"config: found {name} = {value!r}, expected {hint.__name__}")


_RANGES = {
    "mask_ratio": (0, 0.99), "alpha": (0, 1), "top": (1e-9, 1), "false_alarm": (1e-9, 1), "holdout": (0.01, 0.5),
    "steps": (0, 10**9), "rank": (0, 10**9), "n_0": (0, 10**9), "ridge_penalty": (0, 10**9), "context": (0, 100),
    "learning_rate": (1e-12, 10),
}  # fmt: skip
_AT_LEAST_ONE = ("width", "train_hop", "test_hop", "bottleneck", "batch_size", "k", "standardise_clips", "threads")


def _check_ranges(config):
    for name, (low, high) in {**_RANGES, **{n: (1, 10**9) for n in _AT_LEAST_ONE}, "ridge_folds": (2, 100)}.items():
        if not low <= (value := getattr(config, name)) <= high:
            raise InputError(f"config: found {name} = {value}, expected a value from {low:g} to {high:g}")
    if config.width % 8:
        raise InputError(f"config: found width = {config.width}, expected a multiple of 8 frames (patches are 16 x 8)")
    if config.backend == "value" and tuple(config.blocks) != ("msm-residual",):
        raise InputError(f"config: found backend = 'value' with blocks = {config.blocks!r}, expected ('msm-residual',)")
    if "msm-residual" in config.blocks and config.objective not in RECONSTRUCT:
        expected = ", ".join(RECONSTRUCT)
        raise InputError(f"config: found block msm-residual with objective = {config.objective!r}, expected {expected}")


_ENCODER = (
    "width", "train_hop", "objective", "mask_ratio", "bottleneck", "steps", "batch_size", "learning_rate", "threads",
    "ridge_penalty",
)  # fmt: skip
_RIDGE = ("width", "ridge_penalty", "context", "ridge_folds")
_BLOCK = {
    "msm": (*_ENCODER, "msm_channel"),
    "msm-residual": (*_ENCODER, "msm_channel"),
    "ridge-complex": ("width", "ridge_penalty"),
    "ridge-log-mel": _RIDGE,
    "modulation": ("width", "modulation_channels", "modulation", "ridge_penalty"),
    "texture": ("width", "texture_channel", "ridge_penalty"),
    "logmel": ("width", "logmel_channel", "ridge_penalty"),
}
_SCORING = (
    "fusion", "balance", "backend", "k", "n_0", "standardise_clips", "aggregate", "top", "false_alarm", "holdout",
)  # fmt: skip


@lru_cache(maxsize=1024)
def part_hash(config: Config, part: str) -> str:
    """Identifies what a part of the pipeline depends on, so that systems share what they have in common.

    `part` is "net" (the trained network), "ridges" (the log-mel ridge), the name of a block, or "embedding" (all blocks,
    conditioned; whatever is done with them then).
    """
    config = replace(config, whiten=tuple(b for b in config.blocks if b in config.whiten))
    embedding = (f.name for f in fields(Config) if f.name not in _SCORING)
    return config.hash(*{"net": _ENCODER, "ridges": _RIDGE, "embedding": embedding, **_BLOCK}[part])
