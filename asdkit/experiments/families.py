"""The named systems of a results table, and the families of an ablation: variants that differ in one choice.

Legend
------
base : "asdkit" (the default configuration) or "report" (its literal reading). family : variants of one base; the first is the
    reference that the others are compared with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from itertools import chain
from typing import NamedTuple

from asdkit.blocks import HOP
from asdkit.config import RECONSTRUCT, Config
from asdkit.objectives import variants
from asdkit.recordings import SAMPLE_RATE, InputError

AUTOENCODER = ("autoencoder-mse", "autoencoder-mahalanobis")  # the official baseline: one training, two scores
REPORT_FAMILIES = (
    "objective", "embedding", "mask", "blocks", "balance", "fusion", "knn", "n_0", "alpha", "conditioning", "conditioning-msm",
    "aggregate",
)  # fmt: skip


def systems(base: Config) -> dict[str, Config]:
    """The rows of a results table: the system itself, the report's, and the controls a reader needs to judge them."""
    objective = base.objective if base.objective in RECONSTRUCT else "msm"
    return {
        "asdkit": base,
        "report": Config.report(),
        "msm": replace(base, blocks=("msm",)),
        "msm-untrained": replace(base, blocks=("msm",), steps=0),
        "msm-residual": replace(base, blocks=("msm-residual",), backend="value", objective=objective),
        "ridge-complex": replace(base, blocks=("ridge-complex",)),
        "ridge-log-mel": replace(base, blocks=("ridge-log-mel",)),
        "texture": replace(base, blocks=("texture",)),
        "modulation": replace(base, blocks=("modulation",)),
        "logmel-near": replace(base, blocks=("logmel",), logmel_channel="near"),
        "logmel-far": replace(base, blocks=("logmel",), logmel_channel="far"),
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

    Families of the encoder score its embedding alone, before Far-conditioning; the others vary the whole system.
    """
    alone = replace(base, blocks=("msm",), objective="msm", alpha=0.0)
    joined = replace(base, fusion="concatenate")
    trap, report = variants(alone), Config.report()
    on = dict(alpha=base.alpha or report.alpha, rank=base.rank or report.rank)
    found = {
        "objective": {"untrained": trap["untrained"], **trap, "log-mel": replace(alone, blocks=("logmel",))},
        "embedding": {"embedding": trap["msm"], "residual": trap["msm-residual"], "untrained": trap["untrained"]},
        "mask": _levels(alone, "mask_ratio", (0.0, 0.3, 0.6, 0.75)),
        "window": {f"{w * HOP / SAMPLE_RATE:g}": _window(base, w) for w in dict.fromkeys((base.width, 40, 80, 160))},
        "hop": _levels(base, "test_hop", (8, 16, 20, 40)),
        "blocks": _without(base),
        "modulation": _choices(replace(base, blocks=("modulation",)), "modulation", ("slow", "fast", "both")),
        "whiten": _whitened(base),
        "balance": {"balanced": replace(joined, balance=True), "not balanced": replace(joined, balance=False)},
        "fusion": {"concatenate": joined, "mean": replace(base, fusion="mean"), "maximum": replace(base, fusion="max")},
        "knn": _choices(base, "backend", ("domain", "pooled", "unscaled", "local-density", "varmin", "minimum")),
        "n_0": _levels(base, "n_0", (0.0, 1.0, 10.0, 100.0)),
        "k": _levels(base, "k", (1, 2, 3, 5, 10)),
        "alpha": _levels(base, "alpha", (0.0, 0.25, 0.5, 0.75, 1.0)),
        "alpha-msm": _levels(replace(alone, alpha=base.alpha), "alpha", (0.0, 0.25, 0.5, 0.75, 1.0)),
        "rank": _levels(replace(base, alpha=on["alpha"]), "rank", (2, 4, 8, 16)),
        "conditioning": _controls(replace(base, **on)),
        "conditioning-msm": _controls(replace(alone, **on)),
        "aggregate": _aggregates(base),
        "departures": {"asdkit": base, **{name: replace(base, **{name: getattr(report, name)}) for name in _departures(base)}},
    }
    return {name: family for name, family in found.items() if len(family) > 1}


def _levels(base, field, values):
    """One variant a value, named by it; the base's own value first."""
    return {f"{v:g}": replace(base, **{field: v}) for v in dict.fromkeys((getattr(base, field), *values))}


def _choices(base, field, values):
    return {value: replace(base, **{field: value}) for value in values}


def _window(base, width):
    return base if width == base.width else replace(base, width=width, train_hop=width // 2)


def _without(base):
    """All blocks; all but one; all but every ridge residual; the encoder alone. Those that leave nothing are left out."""
    dropped = {name: (name,) for name in base.blocks}
    ridges = tuple(b for b in base.blocks if b.startswith("ridge"))
    dropped |= {"ridge": ridges} if ridges else {}
    dropped |= {"DSP": tuple(b for b in base.blocks if b != "msm")} if "msm" in base.blocks else {}
    kept = {name: tuple(b for b in base.blocks if b not in drop) for name, drop in dropped.items()}
    return {"all": base, **{f"without {name}": replace(base, blocks=blocks) for name, blocks in kept.items() if blocks}}


def _whitened(base):
    """As it is; no block; every block; and each on its own."""
    named = {"none": (), "all": base.blocks, **{name: (name,) for name in base.blocks}}
    return {" and ".join(base.whiten) or "none": base, **{name: replace(base, whiten=blocks) for name, blocks in named.items()}}


def _controls(on):
    """Far-conditioning, none, and its negative controls at the same rank and alpha."""
    named = {name: replace(on, control=name) for name in ("random", "near-pca", "other-recording")}
    return {"far": on, "none": replace(on, alpha=0.0), **named}


def _aggregates(base):
    top = replace(base, aggregate="top")
    return {f"top {100 * base.top:g} %": top, **{how: replace(base, aggregate=how) for how in ("mean", "max")}}


def _departures(base):
    """Options in which a configuration differs from the report."""
    report = Config.report()
    return [f.name for f in fields(Config) if getattr(base, f.name) != getattr(report, f.name)]


def plan(bases: dict[str, Config], names: Iterable[str] | None = None, quick: bool = False) -> list[Row]:
    """Every variant of the chosen families of every base; of "report" only the families that its claims ask for.

    Raises
    ------
    InputError
        On an unknown family.
    """
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
