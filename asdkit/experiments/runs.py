"""Run systems over machines and seeds, into a folder that can be continued.

``run.json``                                the version, and whether it was a quick run
``lock``                                    held by the run that writes here; freed when its process ends, however it ends
``<machine>/results/<system>-<seed>.json``  scores and decisions of one system and seed, with its configuration
``<machine>/models/asdkit-<seed>/``         the fitted `asdkit` system

What is left to do is read from the folder. `asdkit.experiments.results` makes tables and figures from the results.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from asdkit import __version__
from asdkit.blocks import read_spectra
from asdkit.calibration import warn_of_few
from asdkit.config import Config
from asdkit.detector import Detector, fit_detector
from asdkit.experiments import baseline
from asdkit.experiments.cache import Cache, CachedDescriber
from asdkit.experiments.families import AUTOENCODER, choose_systems
from asdkit.experiments.parallel import workers
from asdkit.experiments.results import Evaluation, read_results, results_table
from asdkit.objectives import POOLED
from asdkit.recordings import Clip, InputError, Machine, TrainingSet, index_data
from asdkit.recordings.files import write

STORED = "asdkit"  # the system whose model is kept
OWN = ("own", "own-in-asdkit")  # systems with an embedding of one's own
Others = tuple[tuple[Clip, ...], ...]  # training clips of the other machines of a run
log = logging.getLogger("asdkit")


def run(
    data: str | Path, out: str | Path, config: Config | None = None, names: Iterable[str] | None = None,
    seeds: Iterable[int] = (0,), machines: list[str] | None = None, jobs=1, quick=False, scheduler: str | None = None,
) -> None:  # fmt: skip
    """Fit and score systems on every machine below a folder. What `out` already holds is not computed again.

    `config` is the system "asdkit", of which the single blocks are components; `names` are of `asdkit.systems` (all of them by
    default) or "autoencoder", `machines` all by default. `jobs` are processes, each with a machine and seed at a time and one
    machine's spectra in memory; `scheduler` is the address of a Dask scheduler, whose workers see `data` and `out` under the
    same paths, in their place. `quick` is token training, to see whether it works, and not a result. A second run on the same
    `out` waits for the first one to end.

    Unusable data, an unknown system, an `out` of another configuration, no scheduler that answers, or a killed worker are an
    InputError.
    """
    if scheduler is not None:  # workers start in folders of their own
        data, out = Path(data).absolute(), Path(out).absolute()
    chosen = choose_systems(config or Config(), names, quick)
    run_systems(index_data(data, machines), out, chosen, seeds, jobs, quick, scheduler=scheduler)


def run_systems(
    machines: list[Machine], out: str | Path, chosen: dict[str, Config | None], seeds=(0,), jobs=1, quick=False, scheduler=None,
    embed: Callable | None = None, progress=True,
) -> None:  # fmt: skip
    """As `run`, for systems of any names and configurations; those of `OWN` have the embedding `embed`."""
    out, names = Path(out), [m.name for m in machines]
    if len(set(names)) < len(names):
        raise InputError(f"{out}: found machines {', '.join(names)}, expected each name once")
    with workers(jobs, scheduler) as spread:
        open_folder(out, quick)
        with lock_folder(out):
            for path in out.glob("*/*/.*"):  # what a killed process was about to write
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            check_results(out, machines, chosen)
            here = jobs == 1 and scheduler is None
            task = partial(run_machine, chosen, out, quick, embed, here and progress)
            tasks = list(make_tasks(task, out, machines, chosen, seeds, one_process=here))
            n = sum(len(task.keywords["missing"]) for task in tasks)
            log.info("%d machines, %d systems: %d results to compute", len(machines), len(chosen), n)
            with tqdm(total=n, desc="machine x system x seed", disable=not (n and progress)) as bar:
                for n_done in spread(tasks):
                    bar.update(n_done)


def evaluate(
    data: str | Path | list[Machine], systems: Iterable[str] | dict[str, Config] = ("asdkit",), config: Config | None = None,
    embed: Callable | None = None, seeds: Iterable[int] = (0,), jobs=1, progress=True,
):  # fmt: skip
    """Fit and score systems on machines whose test clips have labels; nothing is kept.

    `data` has ``<machine>/{train,test}`` somewhere below, or is a list of machines. `systems` are configurations by name, or
    names of `asdkit.systems`, of which `config` is "asdkit". `embed` is an embedding of one's own, see `asdkit.fit`, and makes
    two more: "own" (it alone, as the block ``msm``) and "own-in-asdkit".

    Returns a DataFrame: machine ("all": the official Omega over machines), system, seed, auc_source, auc_target, pauc, omega,
    omega_lo, omega_hi (95 % interval over recordings), false_alarm, seconds.
    """
    machines, base = data if isinstance(data, list) else index_data(data), config or Config()
    chosen = dict(systems) if isinstance(systems, dict) else choose_systems(base, systems)
    chosen |= dict(zip(OWN, (replace(base, blocks=("msm",)), base))) if embed is not None else {}
    with TemporaryDirectory() as out:
        run_systems(machines, out, chosen, seeds, jobs, embed=embed, progress=progress)
        results = read_results(out)
    keys = [(m.name, name, seed) for m in machines for seed in seeds for name in chosen]
    return results_table(Evaluation({key: results[key] for key in keys}, machines))


def open_folder(out: Path, quick: bool) -> None:
    """Make the output folder, or check that the one that is there was written by this version in the same mode."""
    head, path = {"asdkit": __version__, "quick": quick}, out / "run.json"
    other = out.exists() and (not out.is_dir() or any(p.name[0] != "." for p in out.iterdir()))
    if not path.is_file():  # looked for after the others: a run that starts at the same time writes it first
        if other:
            raise InputError(f"{out}: found something that is not a run, expected a new or empty folder")
        write(path, json.dumps(head))
    try:
        known = json.loads(path.read_text())
    except ValueError:
        known = {}
    for name, expected in head.items():
        if known.get(name) != expected:
            raise InputError(f"{out}: found a run with {name} = {known.get(name)}, expected {expected}; choose another folder")


def lock_folder(out: Path):
    """Hold the folder of a run, as a context; wait while another run holds it."""
    lock = FileLock(out / "lock")
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        log.info("%s: another run is writing there; waiting until it ends", out)
        return lock.acquire()


def check_results(out: Path, machines: list[Machine], chosen: dict[str, Config | None]) -> None:
    """Refuse to continue a run whose results come from other recordings or from another configuration of the same name."""
    for machine, path in [(m, p) for m in machines for p in sorted((out / m.name / "results").glob("*.json"))]:
        result, problem = json.loads(path.read_text()), None
        config, is_chosen = chosen.get(result["system"]), result["system"] in chosen
        if result["data"] != fingerprint(machine.train + machine.test):
            problem = f"scores of other recordings than {machine.folder}"
        elif is_chosen and result["config_hash"] != config_hash(config):
            problem = f"a run with config {result['config_hash']}, expected {config_hash(config)}"
        elif is_chosen and result["others"] != others_fingerprint(config, other_clips(machine, machines)):
            problem = "a network trained with other machines than this run's"
        if problem:
            raise InputError(f"{path}: found {problem}; choose another folder")


def config_hash(config: Config | None) -> str:
    """Hash of a configuration; of the autoencoder, which has no options, a word."""
    return config.hash() if config else "official"


def fingerprint(clips: Iterable[Clip]) -> str:
    """Hash of the names and sizes of clips."""
    text = "".join(f"{c.path.parent.name}/{c.name}:{c.path.stat().st_size}\n" for c in clips)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def others_fingerprint(config: Config | None, others: Others) -> str | None:
    """That of the other machines' clips that a network was trained on; None where there were none."""
    return fingerprint(c for clips in others for c in clips) if config and config.objective in POOLED else None


def other_clips(machine: Machine, machines: list[Machine]) -> Others:
    """Training clips of the other machines of a run; only objectives that tell machines apart read them."""
    return tuple(m.train for m in machines if m.name != machine.name)


def _result_path(out: Path, machine: Machine, name: str, seed: int) -> Path:
    return out / machine.name / "results" / f"{name.replace('/', '%2F')}-{seed}.json"


def make_tasks(task: partial, out: Path, machines, chosen, seeds, one_process: bool) -> Iterator[partial]:
    """A task for each machine, whose seeds share its spectra; several workers get one for each of its seeds."""
    pooled = any(c and c.objective in POOLED for c in chosen.values())
    for machine in machines:
        others = other_clips(machine, machines) if pooled else ()
        wanted = [(seed, name) for seed in sorted(set(seeds)) for name in chosen]
        missing = [(seed, name) for seed, name in wanted if not _result_path(out, machine, name, seed).exists()]
        shares = [missing] if one_process else [[m for m in missing if m[0] == s] for s in dict(missing)]
        yield from (partial(task, machine, others, missing=share) for share in shares if share)


def run_machine(chosen, out: Path, quick: bool, embed, bars: bool, machine: Machine, others: Others, missing):
    """Compute the missing results of one machine, (seed, system) each, and yield after each is written."""
    if not out.is_dir():
        raise InputError(f"{out}: found no such folder on this computer, expected a file system that all workers share")
    cache = Cache()
    for seed, tasks in groupby(sorted(missing, key=lambda task: task[0]), key=lambda task: task[0]):
        for _, name in tasks:
            path, config = _result_path(out, machine, name, seed), chosen[name]
            if path.exists():  # written by a worker that was killed before it was done
                continue
            start, removed = perf_counter(), 0.0
            if config:
                label, network = f"{machine.name} {seed} {name}" if bars else "", embed if name in OWN else None
                detector, scores = score_machine(machine, config, seed, cache, label, others, network)
                threshold, removed = detector.decision_threshold(), detector.scorer.space.removed
            else:
                scores, threshold = score_autoencoder(machine, name, seed, cache, 2 if quick else 100)
            seconds = round(perf_counter() - start, 2)
            if name == STORED:  # before the result: where a result is, its model is whole
                warn_of_few(TrainingSet.of(machine.train), config.false_alarm)
                detector.save(out / machine.name / "models" / f"{name}-{seed}")
            result = dict(
                system=name, seed=seed, config_hash=config_hash(config), config=config.to_dict() if config else None,
                data=fingerprint(machine.train + machine.test), others=others_fingerprint(config, others), seconds=seconds,
                near_variance_removed=round(removed, 4), threshold=threshold, files=[c.name for c in machine.test],
                scores=scores, decisions=[None if threshold is None else int(s > threshold) for s in scores],
            )  # fmt: skip
            write(path, json.dumps(result))
            yield
        cache.forget("learned", "block", "scaler", "autoencoder")


def score_machine(
    machine: Machine, config: Config, seed: int = 0, cache: Cache | None = None, progress="", others=(), embed=None
) -> tuple[Detector, list[float]]:
    """Fit one system and score the test clips in the order of their names."""
    describer = CachedDescriber(config, cache, seed, embed, others, progress)
    detector = fit_detector(TrainingSet.of(machine.train), describer)
    return detector, [detector.scorer(describer.blocks(detector.extractor, clip, config.test_hop)) for clip in machine.test]


def score_autoencoder(machine: Machine, name: str, seed: int, cache: Cache, epochs: int) -> tuple[list[float], float]:
    """One score of the official baseline, and its threshold: the 0.9 quantile of a gamma fitted to the training scores."""
    from scipy.stats import gamma

    plain = Config(blocks=("statistics-near",))
    torch.set_num_threads(plain.threads)

    def both_scores():
        near = [read_spectra(clip, plain)["near"] for clip in (*machine.train, *machine.test)]
        model = baseline.fit(near[: len(machine.train)], [c.domain for c in machine.train], seed, epochs)
        return np.array([model.score(x) for x in near])

    scores = cache(("autoencoder", seed, epochs), both_scores)[:, AUTOENCODER.index(name)]
    train, test = np.split(scores, [len(machine.train)])
    return test.tolist(), float(gamma.ppf(0.9, *gamma.fit(train, floc=0)))
