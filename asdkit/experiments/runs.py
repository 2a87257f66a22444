"""Run systems over machines and seeds, into a folder that can be continued.

``run.json``                                the version, and whether it was a quick run
``lock``                                    held by the run that writes here; freed when its process ends, however it ends
``<machine>/results/<system>-<seed>.json``  scores and decisions of one system and seed, with its configuration
``<machine>/models/asdkit-<seed>/``         the fitted `asdkit` system

What is left to do is read from the folder. `asdkit.experiments.results` makes tables and figures from the results.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from asdkit import __version__
from asdkit.blocks import fast_channels
from asdkit.config import Config
from asdkit.detector import fit
from asdkit.experiments import baseline
from asdkit.experiments.families import AUTOENCODER, choose_systems
from asdkit.experiments.parallel import workers
from asdkit.fitting import Fitting, Memo
from asdkit.objectives import POOLED
from asdkit.recordings import Clip, InputError, Machine, index_data
from asdkit.recordings.files import write
from asdkit.storage import save

STORED = "asdkit"  # the system whose model is kept
Others = tuple[tuple[Clip, ...], ...]  # training clips of the other machines of a run
log = logging.getLogger("asdkit")


def run(
    data: str | Path,
    out: str | Path,
    config: Config | None = None,
    names: Iterable[str] | None = None,
    seeds: Iterable[int] = (0,),
    machines: list[str] | None = None,
    jobs: int = 1,
    quick: bool = False,
    scheduler: str | None = None,
) -> None:
    """Fit and score systems on every machine below a folder. What `out` already holds is not computed again.

    A second run on the same `out` waits for the first one to end.

    Parameters
    ----------
    data, out : path
    config : Config, optional
        The `asdkit` system, of which the single blocks are components.
    names : iterable of str, optional
        Systems, of `asdkit.systems` or "autoencoder"; all of the former by default.
    seeds : iterable of int
    machines : list of str, optional
        Only these.
    jobs : int
        Processes; each takes one machine and seed at a time.
    quick : bool
        Cut training to a token number of steps: for seeing whether it works. Not a result.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers are used in place of processes. They must see `data` and `out` under the
        same paths. Memory is that of one machine's spectra for each worker process, whatever its threads.

    Raises
    ------
    InputError
        Unusable data, an unknown system, an `out` that holds another configuration, no scheduler that answers, or a worker
        that was killed.
    """
    if scheduler is not None:  # workers start in folders of their own
        data, out = Path(data).absolute(), Path(out).absolute()
    indexed = index_data(data, machines)
    run_systems(indexed, out, choose_systems(config or Config(), names, quick), seeds, jobs, quick, scheduler=scheduler)


def run_systems(
    machines: list[Machine], out: str | Path, chosen: dict[str, Config | None], seeds=(0,), jobs=1, quick=False, decide=True,
    scheduler=None,
) -> None:  # fmt: skip
    """The same for systems of any names and configurations; without decisions it takes a half to a quarter of the time."""
    out, names = Path(out), [m.name for m in machines]
    if len(set(names)) < len(names):
        raise InputError(f"{out}: found machines {', '.join(names)}, expected each name once")
    with workers(jobs, scheduler) as spread:
        open_folder(out, quick)
        with lock_folder(out):
            remove_drafts(out)
            check_results(out, machines, chosen)
            tasks = list(make_tasks(out, machines, chosen, seeds, quick, decide, one_process=jobs == 1 and scheduler is None))
            n = sum(len(task.keywords["missing"]) for task in tasks)
            log.info("%d machines, %d systems: %d results to compute", len(machines), len(chosen), n)
            with tqdm(total=n, desc="machine x system x seed", disable=not n) as bar:
                for n_done in spread(tasks):
                    bar.update(n_done)


# the folder


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


def remove_drafts(out: Path) -> None:
    """Remove what a killed process was about to write."""
    for path in out.glob("*/*/.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def check_results(out: Path, machines: list[Machine], chosen: dict[str, Config | None]) -> None:
    """Refuse to continue a run whose results come from other recordings or from another configuration of the same name."""
    for machine in machines:
        for path in sorted((out / machine.name / "results").glob("*.json")):
            result = json.loads(path.read_text())
            if result["data"] != fingerprint(machine):
                raise InputError(f"{path}: found scores of other recordings than {machine.folder}; choose another folder")
            if (system := result["system"]) not in chosen:
                continue
            if (known := result["config_hash"]) != (expected := config_hash(chosen[system])):
                raise InputError(f"{path}: found a run with config {known}, expected {expected}; choose another folder")
            if result["others"] != others_fingerprint(chosen[system], other_clips(machine, machines)):
                raise InputError(f"{path}: found a network trained with other machines than this run's; choose another folder")


def config_hash(config: Config | None) -> str:
    """Hash of a configuration; the autoencoder has none of its options open."""
    return config.hash() if config else "official"


def fingerprint(machine: Machine) -> str:
    """Hash of the names and sizes of a machine's clips."""
    return _fingerprint(machine.train + machine.test)


def others_fingerprint(config: Config | None, others: Others) -> str | None:
    """Hash of the names and sizes of the other machines' clips that a network was trained on; None where there were none."""
    return _fingerprint(c for clips in others for c in clips) if config and config.objective in POOLED else None


def _fingerprint(clips: Iterable[Clip]) -> str:
    text = "".join(f"{c.path.parent.name}/{c.name}:{c.path.stat().st_size}\n" for c in clips)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def other_clips(machine: Machine, machines: list[Machine]) -> Others:
    """Training clips of the other machines of a run; only objectives that tell machines apart read them."""
    return tuple(m.train for m in machines if m.name != machine.name)


def result_path(out: Path, machine: Machine, name: str, seed: int) -> Path:
    """Where the result of one system and seed is."""
    return out / machine.name / "results" / f"{name}-{seed}.json"


# computing


def make_tasks(out: Path, machines, chosen, seeds, quick: bool, decide: bool, one_process: bool) -> Iterator[partial]:
    """A task for each machine, whose seeds share its spectra; several workers get one for each of its seeds."""
    pooled = any(c and c.objective in POOLED for c in chosen.values())
    for machine in machines:
        others = other_clips(machine, machines) if pooled else ()
        wanted = [(seed, name) for seed in sorted(set(seeds)) for name in chosen]
        missing = [(seed, name) for seed, name in wanted if not result_path(out, machine, name, seed).exists()]
        shares = [missing] if one_process else [[m for m in missing if m[0] == s] for s in dict(missing)]
        for share in filter(None, shares):
            yield partial(run_machine, machine, chosen, out, quick, decide, one_process, others, missing=share)


def run_machine(machine: Machine, chosen, out: Path, quick: bool, decide: bool, bars: bool, others: Others, missing):
    """Compute the missing results of one machine, (seed, system) each, and yield after each is written."""
    if not out.is_dir():
        raise InputError(f"{out}: found no such folder on this computer, expected a file system that all workers share")
    fast, memo = sorted(set().union(*(fast_channels(c) for c in chosen.values() if c))), Memo()
    for seed, tasks in groupby(sorted(missing, key=lambda task: task[0]), key=lambda task: task[0]):
        for _, name in tasks:
            if result_path(out, machine, name, seed).exists():  # written by a worker that was killed before it was done
                continue
            if config := chosen[name]:
                label = f"{machine.name} {seed}" if bars else ""
                scored = score_machine(machine, config, seed, memo, fast, decide, label, others)
            else:
                scored = score_autoencoder(machine, name, seed, memo, 2 if quick else 100)
            write_result(out, machine, name, config, seed, others, decide, *scored)
            yield
        memo.forget_all_but("spectra")


def score_machine(machine: Machine, config: Config, seed: int, memo: Memo, fast, decide: bool, description: str, others=()):
    """Fit one system and score the test clips in the order of their names: (detector, scores, threshold, seconds)."""
    start = perf_counter()
    memo.new_bill()
    detector = fit(machine.train, config, seed, memo, fast, decide, description, others)
    fitting = Fitting(tuple(sorted(machine.train, key=lambda c: c.path)), config, seed, memo, tuple(fast), others=others)
    scores = [detector.score_blocks(fitting.blocks(detector.front, clip, config.test_hop)) for clip in machine.test]
    return detector, scores, detector.threshold, perf_counter() - start + memo.saved


def score_autoencoder(machine: Machine, name: str, seed: int, memo: Memo, epochs: int):
    """One of the two scores of the official baseline, as `score_machine` returns it; there is no detector.

    Its threshold is the 0.9 quantile of a gamma distribution fitted to the training scores.
    """
    from scipy.stats import gamma

    start, plain = perf_counter(), Config(blocks=("logmel",))
    torch.set_num_threads(plain.threads)
    memo.new_bill()

    def both_scores():
        clips = [*machine.train, *machine.test]
        near = [Fitting((), plain, seed, memo, ()).spectra(clip)["near", "slow"] for clip in clips]
        model = baseline.fit(near[: len(machine.train)], [c.domain for c in machine.train], seed, epochs)
        return np.array([model.score(x) for x in near])

    scores = memo(("autoencoder", seed, epochs), both_scores)[:, AUTOENCODER.index(name)]
    train, test = np.split(scores, [len(machine.train)])
    threshold = float(gamma.ppf(0.9, *gamma.fit(train, floc=0)))
    return None, test.tolist(), threshold, perf_counter() - start + memo.saved


def write_result(
    out: Path, machine: Machine, name: str, config: Config | None, seed: int, others: Others, decide: bool, model, scores,
    threshold, seconds,
) -> None:  # fmt: skip
    """Write the model, if it is to be kept, then the result: where a result is, its model is whole."""
    if name == STORED and decide:
        save(model, out / machine.name / "models" / f"{name}-{seed}", system=name, seed=seed, machine=machine.name)
    removed = model.balancer.removed if model and model.balancer else 0.0
    decisions = [None if threshold is None else int(s > threshold) for s in scores]
    result = dict(
        system=name, seed=seed, config_hash=config_hash(config), config=config.to_dict() if config else None,
        data=fingerprint(machine), others=others_fingerprint(config, others), seconds=round(seconds, 2), threshold=threshold,
        near_variance_removed=round(removed, 4), files=[c.name for c in machine.test], scores=scores, decisions=decisions,
    )  # fmt: skip
    write(result_path(out, machine, name, seed), json.dumps(result))
