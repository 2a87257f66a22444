"""The systems of a results table by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from asdkit.config import RECONSTRUCT, Config
from asdkit.recordings import InputError

AUTOENCODER = ("autoencoder-mse", "autoencoder-mahalanobis")  # the official baseline: one training, two scores


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
