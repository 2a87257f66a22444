"""The named systems of a results table, and the families of an ablation: variants of one base that differ in one choice.

base : "asdkit" (the default configuration) or "report" (its literal reading).
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from asdkit.config import Config
from asdkit.recordings import InputError

AUTOENCODER = ("autoencoder-mse", "autoencoder-mahalanobis")  # the official baseline: one training, two scores
REPORT_FAMILIES = ("blocks", "balance", "knn", "n_0", "subspace", "aggregate")
OBJECTIVES = ("msm", "autoencoder", "far-to-near", "machine-id", "pseudo-cluster", "sub-cluster-adacos")


def systems(base: Config) -> dict[str, Config]:
    """The rows of a results table: the system itself, the report's, and the controls a reader needs to judge them.

    log-mel: mean and standard deviation of near log-mels, z-scored; log-mel-whitened: the same, whitened; log-mel-far: of far.
    msm-untrained: the encoder with random weights; msm-residual: what the masked model misses, in place of its embedding.
    without-msm, alpha-0: the system without the masked model, and without far cancelled. Others: single blocks.
    """
    rest = tuple(b for b in base.blocks if b != "msm") or ("statistics",)
    near, msm = replace(base, blocks=("statistics-near",)), replace(base, blocks=("msm",))
    return {
        "asdkit": base,
        "report": Config.report(),
        "log-mel": replace(near, whiten=False),
        "log-mel-whitened": near,
        "log-mel-far": replace(base, blocks=("statistics-far",)),
        "msm": msm,
        "msm-untrained": replace(msm, steps=0),
        **{name: replace(base, blocks=(name,)) for name in ("msm-residual", "statistics", "texture", "ridge", "modulation")},
        "without-msm": replace(base, blocks=rest),
        "alpha-0": replace(base, conditioning="input", alpha=0.0),
    }


def choose_systems(config: Config, names: Iterable[str] | None = None, quick: bool = False) -> dict[str, Config | None]:
    """The named systems, all by default; None in place of a configuration for the autoencoder's two."""
    known = {name: c.quick() if quick else c for name, c in systems(config).items()}
    if unknown := set(names or ()) - set(known) - {"autoencoder"}:
        raise InputError(f"systems: found {', '.join(sorted(unknown))}; expected {', '.join([*known, 'autoencoder'])}")
    chosen = {name: known[name] for name in names or known if name in known}
    return chosen | (dict.fromkeys(AUTOENCODER) if "autoencoder" in (names or ()) else {})


class Row(NamedTuple):
    """One variant of a plan, and the reference of its family."""

    base: str
    family: str
    variant: str
    config: Config
    reference: str  # the family's first variant
    reference_config: Config

    @property
    def systems(self) -> tuple[str, str]:
        """What the variant and its reference are called in a run: the hashes of their configurations."""
        return self.config.hash(), self.reference_config.hash()


def families(base: Config) -> dict[str, dict[str, Config]]:
    """Variants of one configuration by family; the first of a family is what the others are compared with.

    The families objective, embedding, mask and subspace score the encoder's embedding alone; the others vary the system.
    """
    alone = replace(base, blocks=("msm",), objective="msm")
    shared = replace(alone, conditioning="subspace", alpha=0.5)
    other = "dimensions" if base.balance == "blocks" else "blocks"
    untrained, residual = replace(alone, steps=0), replace(alone, blocks=("msm-residual",))
    members = {
        "objective": {
            "untrained": untrained, **{name: replace(alone, objective=name) for name in OBJECTIVES},
            "log-mel": replace(alone, blocks=("statistics",)),
        },
        "embedding": {"embedding": alone, "residual": residual, "untrained": untrained},
        "mask": _levels(alone, "mask_ratio", (0.0, 0.3, 0.6, 0.8)),
        "blocks": _without(base),
        "single": {"all": base, **{name: replace(base, blocks=(name,)) for name in base.blocks}},
        "whiten": {"whitened": replace(base, whiten=True), "z-scored": replace(base, whiten=False)},
        "balance": {
            "balanced": base, f"by {other}": replace(base, balance=other), "not balanced": replace(base, balance="none"),
        },
        "knn": {name: replace(base, backend=name) for name in ("domain", "pooled")},
        "n_0": _levels(base, "n_0", (0.0, 1.0, 10.0)),
        "k": _levels(base, "k", (1, 3, 5)),
        "msm-weight": _levels(base, "msm_weight", (0.25, 0.5, 1.0)),
        "alpha": _levels(base, "alpha", (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)),
        "control": {
            "alpha 0": replace(base, alpha=0.0), "far": base,
            **{name: replace(base, control=name) for name in ("other-recording", "scrambled-phase")},
        },
        "subspace": {
            "far": shared, "none": replace(shared, alpha=0.0),
            **{name: replace(shared, control=name) for name in ("random", "near-pca", "other-recording")},
        },
        "aggregate": {"top 10 %": replace(base, aggregate="top")}
        | {how: replace(base, aggregate=how) for how in ("pooled", "mean", "max")},
    }  # fmt: skip
    if base.conditioning != "input":
        members = {name: family for name, family in members.items() if name not in ("alpha", "control")}
    return {name: family for name, family in members.items() if len(family) > 1}


def _levels(base, field, values):
    """One variant a value, named by it; the base's own value first."""
    return {f"{v:g}": replace(base, **{field: v}) for v in dict.fromkeys((getattr(base, field), *values))}


def _without(base):
    """All blocks; all but one; all but those that need no learning. Those that leave nothing are left out."""
    dropped = {name: (name,) for name in base.blocks}
    dropped |= {"DSP": tuple(b for b in base.blocks if b != "msm")} if "msm" in base.blocks else {}
    kept = {name: tuple(b for b in base.blocks if b not in drop) for name, drop in dropped.items()}
    return {"all": base, **{f"without {name}": replace(base, blocks=blocks) for name, blocks in kept.items() if blocks}}


def plan(bases: dict[str, Config], names: Iterable[str] | None = None, quick: bool = False) -> list[Row]:
    """Every variant of the chosen families of every base (an InputError names those there are); of "report", by default, only
    the families that its claims ask for."""
    known = {base: families(config) for base, config in bases.items()}
    every = list(dict.fromkeys(chain.from_iterable(known.values())))
    if unknown := set(names or ()) - set(every):
        raise InputError(f"families: found {', '.join(sorted(unknown))}; expected {', '.join(every)}")
    rows = []
    for base, of_base in known.items():
        for family in (f for f in of_base if f in (names or (REPORT_FAMILIES if base == "report" else every))):
            configs = {v: c.quick() if quick else c for v, c in of_base[family].items()}
            first = next(iter(configs.items()))
            rows += [Row(base, family, *each, *first) for each in configs.items()]
    return rows
