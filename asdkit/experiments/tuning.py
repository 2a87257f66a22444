"""Tuning the scalar: Omega at every alpha on development machines, and the rules that choose an alpha.

in-sample               best mean Omega of the machines it is quoted on: optimistic
leave-one-machine-out   for each machine the alpha best for the others: what a new machine can expect
label-free              separates held-out normal training clips from the same clips with simulated faults in them

An alpha is fixed for evaluation machines: they are refused. Indices of alphas are positions in `ALPHAS`.
"""

import hashlib
import io
import json
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from asdkit import __version__, metrics
from asdkit.blocks import at_least_a_window, extract
from asdkit.config import Config
from asdkit.detector import Detector, fit_detector
from asdkit.experiments.cache import Cache, CachedDescriber
from asdkit.experiments.maps import aligned, principal_axes
from asdkit.experiments.results import evaluate_clips
from asdkit.experiments.runs import fingerprint, other_clips, others_fingerprint
from asdkit.recordings import DATASETS, InputError, Machine, TrainingSet
from asdkit.recordings.files import write
from asdkit.simulate import GENERIC, RECORD, inject

ALPHAS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
LEVELS_DB = (-20.0, -15.0, -10.0)  # of injected faults, relative to near
CONTROLS = ("none", "other-recording", "scrambled-phase")


@dataclass(frozen=True)
class MachineGrid:
    """One machine at every alpha."""

    labels: np.ndarray  # (n_clips,) of the test clips: 0 normal, 1 anomaly
    domains: np.ndarray  # (n_clips,)
    scores: np.ndarray  # (n_alphas, n_clips)
    thresholds: np.ndarray  # (n_alphas,) above which a clip is called faulty; NaN where none can be promised, and of controls
    points: np.ndarray  # (n_alphas, 3) auc_source, auc_target, pauc
    boots: np.ndarray  # (n_alphas, n_resamples, 3)
    separation: np.ndarray  # (n_alphas,) how far injected faults stand out of held-out training clips, in their spread
    train_map: np.ndarray  # (n_alphas, n_train, 2) principal components in the space of the kNN, see `asdkit.experiments.maps`
    test_map: np.ndarray  # (n_alphas, n_clips, 2)


@dataclass(frozen=True)
class Grid:
    """All machines at every alpha."""

    config: Config
    machines: dict[str, MachineGrid]

    def omegas(self, names) -> np.ndarray:
        """Omega of each machine at each alpha, (n_machines, n_alphas)."""
        return np.array([metrics.omega(self.machines[name].points, axis=-1) for name in names])

    def official(self, names) -> np.ndarray:
        """Official Omega over machines at each alpha, (n_alphas,)."""
        return metrics.omega([self.machines[name].points for name in names], axis=(0, 2))

    def quote(self, picks: dict[str, int]) -> dict[str, tuple[float, float, float]]:
        """Omega with its interval for each machine at the alpha picked for it, and for "all" the official one over them."""
        quotes = {}
        for name, members in ({name: [name] for name in picks} | {"all": list(picks)}).items():
            boots = metrics.omega_samples([self.machines[m].boots[picks[m]] for m in members])
            quotes[name] = metrics.omega([self.machines[m].points[picks[m]] for m in members]), *metrics.interval(boots)
        return quotes

    def table(self):
        """One row a machine and alpha: the metric with its interval, and the separation (DataFrame)."""
        each = product(self.machines.items(), enumerate(ALPHAS))
        rows = [(name, a, *m.points[i], *self.quote({name: i})[name], m.separation[i]) for (name, m), (i, a) in each]
        columns = [*metrics.METRICS, "omega", "omega_lo", "omega_hi", "separation"]
        return pd.DataFrame(rows, columns=["machine", "alpha", *columns])


def position(alpha: float) -> int:
    """Index of the alpha of the grid that is nearest."""
    return int(np.argmin(np.abs(np.array(ALPHAS) - alpha)))


def choose(grid: Grid, names) -> dict[str, dict[str, int]]:
    """For each rule the index of the alpha that it picks for each machine; of equals the smallest alpha.

    "leave-one-machine-out" needs two machines and is absent with one.
    """
    names, curves = list(names), grid.omegas(names)
    separation = np.mean([grid.machines[name].separation for name in names], axis=0)
    chosen = {"in-sample": dict.fromkeys(names, best(curves.mean(0)))}
    if len(names) > 1:
        held_out = [best(np.delete(curves, i, axis=0).mean(0)) for i in range(len(names))]
        chosen["leave-one-machine-out"] = dict(zip(names, held_out))
    return chosen | {"label-free": dict.fromkeys(names, best(separation))}


def best(curve: np.ndarray) -> int:
    """First index within rounding of the maximum."""
    return int(np.argmax(curve >= curve.max() - 1e-9))


def write_choice(path: str | Path, config: Config, alpha: float) -> Path:
    """Write what was chosen for ``asdkit run --config``, with the other options in which `config` differs from the default."""
    chosen, default = replace(config, alpha=alpha).to_dict(), Config().to_dict()
    options = {name: value for name, value in chosen.items() if value != default[name] or name == "alpha"}
    return write(path, json.dumps(options, indent=1) + "\n")


def development(machines: list[Machine]) -> tuple[list[Machine], dict[str, str]]:
    """The machines that can be tuned on, and why the others cannot, by name."""
    rule = "expected a development machine: alpha is chosen on development machines and stays as it is for evaluation machines"
    refused = {}
    for machine in machines:
        labels = {c.label for c in machine.test}
        if machine.name in DATASETS["evaluation"].archives:
            refused[machine.name] = f"{machine.folder}: found an evaluation machine of DCASE 2026, {rule}"
        elif None in labels:
            refused[machine.name] = f"{machine.folder}: found test clips without labels, {rule}"
        elif labels != {0, 1}:
            refused[machine.name] = f"{machine.folder}: found no test clips of both labels, expected them to tune on"
    return [m for m in machines if m.name not in refused], refused


def tune(
    machines: list[Machine], config: Config | None = None, seed: int = 0, folder: str | Path | None = None, progress=True,
    cache: Cache | None = None, stored: str | Path | None = None,
) -> Grid:  # fmt: skip
    """Score every test clip of development machines at each alpha of the grid; the alpha of `config` is not read.

    With a `folder`, each machine's grid is kept there, and those that are there, or in the folder `stored`, are not computed
    again. Calls for several configurations may share the networks in a `cache`. Of a control only the scores are computed.
    An InputError for an evaluation machine or one without labels, or where alpha does not act on the input.
    """
    config, grids = config or Config(), {}
    if config.conditioning != "input":
        raise InputError(f"config: found conditioning = {config.conditioning!r}, expected 'input': that alpha is tuned")
    if reasons := list(development(machines)[1].values()):
        raise InputError(reasons[0])
    label = progress if isinstance(progress, str) else "machine x alpha"
    with tqdm(total=len(machines) * len(ALPHAS), desc=label, disable=not progress) as bar:
        for machine in machines:
            task = machine, config, seed, other_clips(machine, machines)
            paths = [Path(place) / f"{machine.name}-{_key(*task)}.npz" for place in (folder, stored) if place]
            if path := next(filter(Path.is_file, paths), None):
                with np.load(path, allow_pickle=False) as archive:
                    arrays = dict(archive)
                bar.update(len(ALPHAS))
            else:
                arrays = tune_machine(*task, bar, Cache() if cache is None else cache)
                if folder:
                    np.savez_compressed(archive := io.BytesIO(), **arrays)
                    write(paths[0], archive.getvalue())
            grids[machine.name] = measured(machine, **arrays)
    return Grid(config, grids)


def tune_systems(
    machines: list[Machine], systems: dict[str, Config], seed: int = 0, folder=None, stored=None
) -> dict[str, dict[str, Grid]]:
    """Grids by system and by control, of `CONTROLS`; see `tune`. Systems share their networks."""
    cache, grids = Cache(), {}
    for name, config in systems.items():
        variants = {control: replace(config, control=control) for control in CONTROLS}
        grids[name] = {c: tune(machines, v, seed, folder, f"{name}, {c}", cache, stored) for c, v in variants.items()}
    return grids


def measured(machine: Machine, scores: np.ndarray, **arrays) -> MachineGrid:
    """The grid of one machine from what is kept of it: here labels are read, and the metric is computed."""
    points, boots = map(np.array, zip(*(evaluate_clips(machine.name, x, machine.test) for x in scores)))
    labels, domains = np.array([c.label for c in machine.test]), np.array([c.domain for c in machine.test])
    return MachineGrid(labels, domains, scores, points=points, boots=boots, **arrays)


def tune_machine(machine: Machine, config: Config, seed: int, others, bar, cache: Cache) -> dict[str, np.ndarray]:
    """Scores, thresholds, separation and maps (two principal components) of one machine; no label is read."""
    training, whole, columns = TrainingSet.of(machine.train), config.control == "none", []
    held = training.folds(5) == 0
    for alpha in ALPHAS:
        at = replace(config, alpha=alpha, control=config.control if alpha else "none")
        describer, separation = CachedDescriber(at, cache, seed, others=others), np.nan
        if whole:
            separation = _separation(fit_detector(training.without(held), describer), training, held, seed)
        detector = fit_detector(training, describer)
        own = describer.extractors(training)[1]  # training clips are described as in the bank, out of fold
        of_train = [describer.blocks(extractor, c, config.test_hop) for extractor, c in zip(own, training.clips)]
        of_test = [describer.blocks(detector.extractor, c, config.test_hop) for c in machine.test]
        scores, space = [detector.scorer(blocks) for blocks in of_test], detector.scorer.space
        train, test = (np.array([space(b).mean(0).numpy() for b in blocks]) for blocks in (of_train, of_test))
        axes, center = principal_axes(train), train.mean(0)
        threshold = detector.decision_threshold() if whole else np.nan
        columns.append((scores, threshold, separation, (train - center) @ axes, (test - center) @ axes))
        cache.forget("spectra", "block")
        bar.update()
    scores, thresholds, separation, train_map, test_map = (np.array(x, dtype=float) for x in zip(*columns))
    maps = aligned(np.concatenate([train_map, test_map], axis=1)).astype(np.float32)
    train_map, test_map = np.split(maps, [len(machine.train)], axis=1)
    return dict(scores=scores, thresholds=thresholds, separation=separation, train_map=train_map, test_map=test_map)


def _separation(detector: Detector, training: TrainingSet, held: np.ndarray, seed: int) -> float:
    """Median log score of held-out clips with injected faults minus that of the same clips without, over its spread."""
    clean, faulty = [], []
    for i in np.flatnonzero(held):
        clip = training.clips[i]
        samples = at_least_a_window(clip.read(), clip.path, detector.config.width)
        rngs = [np.random.default_rng((seed, i, j)) for j in range(len(GENERIC))]
        injected = [inject(samples, f, LEVELS_DB[(i + j) % len(LEVELS_DB)], rngs[j]) for j, f in enumerate(GENERIC)]
        first, *rest = (detector.score_spectra([extract(x, detector.config)]) for x in (samples, *injected))
        clean.append(first)
        faulty += rest
    clean, faulty = np.log(np.maximum(clean, 1e-9)), np.log(np.maximum(faulty, 1e-9))
    return float((np.median(faulty) - np.median(clean)) / max(clean.std(), 1e-6))


def _key(machine: Machine, config: Config, seed: int, others) -> str:
    """Identifies everything that a machine's grid depends on."""
    neutral = replace(config, alpha=0.0).hash()
    made = (machine.folder / RECORD).read_text() if (machine.folder / RECORD).is_file() else ""
    data = fingerprint(machine.train + machine.test), made, others_fingerprint(config, others)
    depends = [__version__, neutral, seed, ALPHAS, LEVELS_DB, *data]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:12]
