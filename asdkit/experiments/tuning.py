"""Tuning the scalar: Omega at every alpha and rank on development machines, and the rules that choose an alpha.

`tune` makes the grid, `choose` applies the rules, `write_choice` writes what was chosen. Three rules, side by side:

in-sample               best mean Omega of the machines it is quoted on: optimistic
leave-one-machine-out   for each machine the alpha best for the others: what a new machine can expect
label-free              separates held-out normal training clips from the same clips with simulated faults in them; reads no
                        test clip

An alpha is fixed for evaluation machines: they are refused.

Legend
------
curves : (n_machines, n_alphas). Indices of alphas are positions in `ALPHAS`.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np

from asdkit import __version__, metrics
from asdkit.blocks import at_least_a_window, extract, fast_channels
from asdkit.config import Config
from asdkit.experiments.cache import Cache, CachedDescriber
from asdkit.experiments.results import evaluate_clips
from asdkit.experiments.runs import fingerprint, other_clips, others_fingerprint
from asdkit.experiments.sweep import check_config, sweep
from asdkit.recordings import InputError, Machine, TrainingSet
from asdkit.recordings.files import write
from asdkit.simulate.injection import GENERIC, inject

ALPHAS = tuple(round(i / 20, 2) for i in range(21))
RANKS = (2, 4, 8)
LEVELS_DB = (-25.0, -20.0, -15.0)  # of injected faults, relative to near
EVALUATION = ("BlowerDustCollector", "Sander", "SewingMachine", "ToothBrush", "ToyDrone")  # of DCASE 2026
RULES = ("in-sample", "leave-one-machine-out", "label-free")


@dataclass(frozen=True)
class MachineGrid:
    """One machine at every rank and alpha."""

    labels: np.ndarray  # (n_clips,) of the test clips: 0 normal, 1 anomaly
    domains: np.ndarray  # (n_clips,)
    scores: np.ndarray  # (n_ranks, n_alphas, n_clips)
    points: np.ndarray  # (n_ranks, n_alphas, 3) auc_source, auc_target, pauc
    boots: np.ndarray  # (n_ranks, n_alphas, n_resamples, 3)
    removed: np.ndarray  # (n_ranks, n_alphas) share of the near variance taken away
    separation: np.ndarray  # (n_ranks, n_alphas) AUC of injected against untouched held-out training clips
    train_map: np.ndarray  # (n_train, 2) principal components of the clips' mean embedding, before conditioning
    test_map: np.ndarray  # (n_clips, 2)


@dataclass(frozen=True)
class Grid:
    """All machines at every rank and alpha."""

    config: Config
    ranks: tuple[int, ...]
    machines: dict[str, MachineGrid]

    def omegas(self, rank: int, names) -> np.ndarray:
        """Omega of each machine at each alpha, (n_machines, n_alphas)."""
        at = self.ranks.index(rank)
        return np.array([metrics.omega(self.machines[name].points[at], axis=-1) for name in names])

    def official(self, rank: int, names) -> np.ndarray:
        """Official Omega over machines at each alpha, (n_alphas,)."""
        at = self.ranks.index(rank)
        return metrics.omega([self.machines[name].points[at] for name in names], axis=(0, 2))

    def quote(self, rank: int, picks: dict[str, int]) -> dict[str, tuple[float, float, float]]:
        """Omega with its interval for each machine at the alpha picked for it, and for "all" the official one over them."""
        at = self.ranks.index(rank)
        points = {name: self.machines[name].points[at, i] for name, i in picks.items()}
        boots = {name: self.machines[name].boots[at, i] for name, i in picks.items()}
        groups = {name: [name] for name in picks} | {"all": list(picks)}
        return {
            name: (
                metrics.omega([points[m] for m in members]),
                *metrics.interval(metrics.omega_samples([boots[m] for m in members])),
            )
            for name, members in groups.items()
        }

    def table(self):
        """One row a machine, rank and alpha: the metric with its interval, near variance removed, separation (DataFrame)."""
        import pandas as pd

        rows = []
        for name, m in self.machines.items():
            for r, a in np.ndindex(m.removed.shape):
                omega = self.quote(self.ranks[r], {name: a})[name]
                rows.append((name, self.ranks[r], ALPHAS[a], *m.points[r, a], *omega, m.removed[r, a], m.separation[r, a]))
        columns = [*metrics.METRICS, "omega", "omega_lo", "omega_hi", "near_variance_removed", "separation"]
        return pd.DataFrame(rows, columns=["machine", "rank", "alpha", *columns])


def position(alpha: float) -> int:
    """Index of the alpha of the grid that is nearest."""
    return int(np.argmin(np.abs(np.array(ALPHAS) - alpha)))


# the rules


def choose(grid: Grid, rank: int, names) -> dict[str, dict[str, int]]:
    """For each of `RULES` the index of the alpha that it picks for each machine; of equals the smallest alpha.

    "leave-one-machine-out" needs two machines and is absent with one.
    """
    names, curves = list(names), grid.omegas(rank, names)
    separation = np.mean([grid.machines[name].separation[grid.ranks.index(rank)] for name in names], axis=0)
    chosen = {"in-sample": dict.fromkeys(names, best(curves.mean(0)))}
    if len(names) > 1:
        held_out = [best(np.delete(curves, i, axis=0).mean(0)) for i in range(len(names))]
        chosen["leave-one-machine-out"] = dict(zip(names, held_out))
    return chosen | {"label-free": dict.fromkeys(names, best(separation))}


def best(curve: np.ndarray) -> int:
    """First index within rounding of the maximum."""
    return int(np.argmax(curve >= curve.max() - 1e-9))


def write_choice(path: str | Path, config: Config, alpha: float, rank: int) -> Path:
    """Write what was chosen for ``asdkit run --config``, with the other options in which `config` differs from the default."""
    chosen, default = replace(config, alpha=alpha, rank=rank).to_dict(), Config().to_dict()
    options = {name: value for name, value in chosen.items() if value != default[name] or name in ("alpha", "rank")}
    write(path, json.dumps(options, indent=1) + "\n")
    return Path(path)


# what may be tuned on


def refusal(machine: Machine) -> str | None:
    """Why a machine cannot be tuned on; None where it can."""
    rule = "alpha is chosen on development machines and stays as it is for evaluation machines"
    if machine.name in EVALUATION:
        return f"{machine.folder}: found an evaluation machine of DCASE 2026, expected a development machine: {rule}"
    if any(c.label is None for c in machine.test):
        return f"{machine.folder}: found test clips without labels, expected a development machine: {rule}"
    if {c.label for c in machine.test} != {0, 1}:
        return f"{machine.folder}: found no test clips of both labels, expected normals and anomalies to tune on"
    return None


def development(machines: list[Machine]) -> tuple[list[Machine], dict[str, str]]:
    """The machines that can be tuned on, and why the others cannot, by name."""
    refused = {m.name: reason for m in machines if (reason := refusal(m))}
    return [m for m in machines if m.name not in refused], refused


# the grid


def tune(machines: list[Machine], config: Config, seed: int = 0, ranks=RANKS, folder: str | Path | None = None) -> Grid:
    """Score every test clip at each rank and alpha of the grid.

    Parameters
    ----------
    machines : list of Machine
        Development machines.
    config : Config
        With the block "msm"; its alpha and rank are not read.
    seed : int
        Of networks and injected faults.
    ranks : sequence of int
        Directions of the subspace, each at least 1.
    folder : path, optional
        Keep each machine's grid here, and continue from those that are there.

    Raises
    ------
    InputError
        For an evaluation machine or one without labels, or a configuration that the closed form does not cover.
    """
    from tqdm.auto import tqdm

    for machine in machines:
        if reason := refusal(machine):
            raise InputError(reason)
    check_config(config)
    ranks, grids = tuple(ranks), {}
    with tqdm(total=2 * len(machines) * len(ranks) * len(ALPHAS), desc="machine x rank x alpha") as bar:
        for machine in machines:
            task = machine, config, seed, ranks, other_clips(machine, machines)
            path = folder and Path(folder) / f"{machine.name}-{_key(*task)}.npz"
            grids[machine.name] = _load(path) if path and path.is_file() else tune_machine(*task, bar)
            if path and not path.is_file():
                _store(path, grids[machine.name])
            bar.update(2 * len(ranks) * len(ALPHAS) * len(grids) - bar.n)  # what was there already
    return Grid(config, ranks, grids)


def tune_machine(machine: Machine, config: Config, seed: int, ranks, others, bar) -> MachineGrid:
    """The grid of one machine. Labels are read when all scores are there."""
    import torch

    torch.set_num_threads(config.threads)
    training, cache = TrainingSet.of(machine.train), Cache([config])
    describe = partial(CachedDescriber, cache=cache, seed=seed, others=others, progress=machine.name)
    separation = separations(training, describe, config, seed, ranks, bar)
    describer = describe(config)
    extractor, own = describer.extractors(training)
    blocks = [describer.blocks(extractor, c, config.test_hop) for c in machine.test]
    scores, removed = sweeps(training, describe, config, blocks, ranks, bar)
    evaluated = [[evaluate_clips(machine.name, x, machine.test) for x in of_rank] for of_rank in scores]
    points, boots = (np.array([[pair[i] for pair in of_rank] for of_rank in evaluated]) for i in (0, 1))
    labels, domains = np.array([c.label for c in machine.test]), np.array([c.domain for c in machine.test])
    train = [describer.blocks(e, c, config.train_hop) for e, c in zip(own, training.clips)]
    return MachineGrid(labels, domains, scores, points, boots, removed, separation, *embedding_coordinates(train, blocks))


def sweeps(training: TrainingSet, describe, config: Config, blocks, ranks, bar) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n_ranks, n_alphas, n_clips) and near variance removed (n_ranks, n_alphas)."""
    found = []
    for rank in ranks:
        found.append(sweep(training, describe, config, blocks, ALPHAS, rank))
        bar.update(len(ALPHAS))
    return np.array([scores for scores, _ in found]), np.array([removed for _, removed in found])


def separations(training: TrainingSet, describe, config: Config, seed: int, ranks, bar) -> np.ndarray:
    """AUC of held-out normal training clips with injected faults against the same clips without, (n_ranks, n_alphas)."""
    from sklearn.metrics import roc_auc_score

    held = training.folds(round(1 / config.holdout)) == 0
    rest, blocks, labels = training.without(held), [], []
    extractor = describe(config).extractors(rest)[0]
    for i in np.flatnonzero(held):
        clip = training.clips[i]
        samples = at_least_a_window(clip.read(), clip.path, config.width)
        versions = [samples, *_injected(samples, seed, int(i))]
        blocks += [
            extractor.describe(extract(x, config.ridge_penalty, fast_channels(config)), config.test_hop) for x in versions
        ]
        labels += [0] + [1] * len(GENERIC)
    scores, _ = sweeps(rest, describe, config, blocks, ranks, bar)
    return np.array([[roc_auc_score(labels, x) for x in of_rank] for of_rank in scores])


def _injected(samples: np.ndarray, seed: int, i: int) -> list[np.ndarray]:
    """One clip with each fault; the levels take turns."""
    rngs = [np.random.default_rng((seed, i, j)) for j in range(len(GENERIC))]
    return [inject(samples, f, LEVELS_DB[(i + j) % len(LEVELS_DB)], r) for j, (f, r) in enumerate(zip(GENERIC, rngs))]


def embedding_coordinates(train_blocks, blocks) -> tuple[np.ndarray, np.ndarray]:
    """Training clips and scored clips on the two principal components of the training clips' mean embeddings."""
    from sklearn.decomposition import PCA

    train = np.array([b["msm"].mean(0).numpy() for b in train_blocks])
    centre, spread = train.mean(0), train.std(0) + 1e-6
    pca = PCA(2, svd_solver="full").fit((train - centre) / spread)
    test = np.array([b["msm"].mean(0).numpy() for b in blocks])
    return tuple(pca.transform((x - centre) / spread) for x in (train, test))


def _key(machine: Machine, config: Config, seed: int, ranks, others) -> str:
    """Identifies everything that a machine's grid depends on."""
    neutral = replace(config, alpha=0.0, rank=0).hash()
    settings = [__version__, neutral, seed, ranks, ALPHAS, LEVELS_DB, fingerprint(machine), others_fingerprint(config, others)]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]


def _store(path: Path, grid: MachineGrid) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{f.name: getattr(grid, f.name) for f in fields(grid)})
    write(path, buffer.getvalue())


def _load(path: Path) -> MachineGrid:
    with np.load(path, allow_pickle=False) as arrays:
        return MachineGrid(**arrays)
