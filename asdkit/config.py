"""One frozen configuration: every choice the method leaves open, with its default, its meaning and its range.

The defaults are the `asdkit` system. A configuration is varied with `dataclasses.replace`, and identified by its
hash. The names of blocks and back-ends, of `asdkit.blocks.BLOCKS` and `asdkit.knn.BACKENDS`, are checked when it is fitted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from asdkit.recordings import InputError

MANY = 10**9


def option(default, meaning: str, low: float | None = None, high: float | None = None):
    """A field of `Config`: its default, what it means, and the range of a number."""
    return field(default=default, metadata=dict(meaning=meaning, low=low, high=high))


@dataclass(frozen=True)
class Config:
    """All options of one system. Spectrograms are 16 kHz, STFT 1024 / hop 512, 128 mel bands (`asdkit.spectrogram`)."""

    # windows
    width: int = option(80, "frames in a window, a multiple of 8; 80 are 2.56 s", 8, 10_000)
    train_hop: int = option(40, "frames between training and bank windows", 1, MANY)
    test_hop: int = option(40, "frames between the windows of a scored clip", 1, MANY)
    # blocks
    blocks: tuple[str, ...] = option(("msm", "statistics", "texture", "ridge", "modulation"), "what makes the system, in order")
    # Far-conditioning
    conditioning: Literal["input", "subspace"] = option(
        "input", "what alpha acts on: input, near - alpha H far; subspace, the directions of the embedding that far shares"
    )
    alpha: float = option(0.9, "share of far that is cancelled, or of the subspace that is removed; 0 is near itself", 0, 1)
    rank: int = option(8, "directions of the subspace", 0, MANY)
    control: Literal["none", "other-recording", "scrambled-phase", "random", "near-pca"] = option(
        "none", "negative control: far of another recording; H with its phase scrambled; two other subspaces"
    )
    cancel_penalty: float = option(1e-2, "ridge of H, a fraction of the mean far power", 0, MANY)
    # encoder: the masked spectrogram model, or the same network under another objective
    objective: Literal["msm", "autoencoder", "far-to-near", "machine-id", "pseudo-cluster", "sub-cluster-adacos"] = option(
        "msm", "what the network is trained for, see `asdkit.objectives`"
    )
    mask_ratio: float = option(0.6, "share of patches that the objective msm hides", 0, 0.99)
    steps: int = option(300, "gradient steps; 0 leaves the encoder untrained", 0, MANY)
    batch_size: int = option(32, "windows in a batch", 1, MANY)
    learning_rate: float = option(2e-3, "peak of a one-cycle schedule", 1e-12, 10)
    # log-mel ridge
    ridge_penalty: float = option(1e-2, "fraction of the mean variance of the far context", 0, MANY)
    context: int = option(2, "frames of far context on each side", 0, 100)
    ridge_folds: int = option(5, "folds of recordings whose residuals are out of fold", 2, 100)
    # space and kNN
    whiten: bool = option(True, "distances whitened by the variation of normal recordings; else z-scores")
    balance: Literal["dimensions", "blocks", "none"] = option(
        "dimensions", "what weighs the same in distances of held-out recordings: each dimension, each block, or as it comes"
    )
    msm_weight: float = option(0.5, "weight of the embedding beside the other blocks, which weigh 1", 0.001, 100)
    backend: str = option("domain", "how distances to the bank become a score, see `asdkit.knn`")
    k: int = option(1, "neighbours", 1, MANY)
    n_0: float = option(1.0, "recordings' worth of the source in the mean and variance of distances to the target", 0, MANY)
    aggregate: Literal["pooled", "mean", "top", "max"] = option(
        "pooled", "pooled: descriptors are averaged over the windows of a clip, and clips compared; else how window scores are"
    )
    top: float = option(0.1, "share of the windows that aggregate top averages", 1e-9, 1)
    # decision
    false_alarm: float = option(0.1, "requested rate of false alarms on normal recordings", 1e-9, 1)
    # computing
    threads: int = option(1, "threads of torch; floating-point sums depend on it. Machines run in parallel (`jobs`)", 1, 1024)

    def __post_init__(self):
        hints = get_type_hints(Config)
        for each in fields(self):
            value, hint = getattr(self, each.name), hints[each.name]
            _check(each, value, hint)
            if hint is float:  # equal configurations have equal hashes
                object.__setattr__(self, each.name, float(value))
        if self.width % 8:
            raise InputError(f"config: found width = {self.width}, expected a multiple of 8 frames (patches are 16 x 8)")

    @classmethod
    def report(cls) -> Config:
        """The literal reading of the technical report, whatever the defaults become."""
        return cls(**_REPORT)

    def quick(self) -> Config:
        """The same with token training: to see that everything runs, not for results."""
        return replace(self, steps=min(self.steps, 10))

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """Defaults with `values` in their place; InputError on a name that is no option or a value outside its range."""
        if unknown := set(values) - {f.name for f in fields(cls)}:
            raise InputError(f"config: found option {', '.join(sorted(unknown))}; expected names of asdkit.Config")
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """As `from_dict`, from a JSON file."""
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
    width=80, train_hop=40, test_hop=8, blocks=("msm", "ridge", "modulation"), conditioning="subspace", alpha=0.5, rank=8,
    control="none", cancel_penalty=1e-2, objective="msm", mask_ratio=0.6, steps=300, batch_size=32, learning_rate=2e-3,
    ridge_penalty=1e-2, context=2, ridge_folds=5, whiten=False, balance="blocks", msm_weight=1.0, backend="domain", k=3,
    n_0=10.0, aggregate="top", top=0.1, false_alarm=0.1, threads=1,
)  # fmt: skip


def _check(option, value, hint) -> None:
    """Refuse a value of another type, outside the choices or outside the range of an option."""
    low, high = option.metadata["low"], option.metadata["high"]
    if get_origin(hint) is Literal:
        expected, fits = ", ".join(get_args(hint)), value in get_args(hint)
    elif get_origin(hint) is tuple:
        expected, names = "names, each once", value if isinstance(value, tuple | list) else ()
        fits = len(names) > 0 and all(isinstance(v, str) and names.count(v) == 1 for v in names)
    elif low is not None:
        is_number = type(value) in ((int, float) if hint is float else (int,))
        expected, fits = f"a value from {low:g} to {high:g}" if is_number else hint.__name__, is_number and low <= value <= high
    else:
        expected, fits = hint.__name__, type(value) is hint
    if not fits:
        raise InputError(f"config: found {option.name} = {value!r}, expected {expected}")
