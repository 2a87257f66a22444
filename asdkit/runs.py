"""Run systems over machines and seeds, into a folder that can be continued.

``run.json``                              the version, and whether it was a quick run
``<machine>/parts/<system>-<seed>.json``  scores of one system and seed with its config and hash; a run continues from these
``<machine>/models/<system>-<seed>/``     weights and fitted objects (with the bank for `asdkit` alone)
``<machine>/locks/<seed>``                held by whoever computes these parts, on this computer or another

`asdkit.results` makes ``results.csv``, ``differences.csv``, ``<machine>/scores.csv`` and ``figures`` from the parts.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from tqdm.auto import tqdm

from asdkit import __version__, baseline, fanout
from asdkit.artefacts import save, write_text
from asdkit.blocks import fast_channels
from asdkit.config import Config, systems
from asdkit.fitting import Fitting, Memo
from asdkit.objectives import POOLED
from asdkit.pipeline import Detector, fit
from asdkit.recordings import Clip, InputError, Machine, index_data

AUTOENCODER = ("autoencoder-mse", "autoencoder-mahalanobis")  # one training, two scores
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

    Several of these may run on one `out` at a time, also on several computers: each part is computed once, and each run
    ends when all of its parts are there.

    Parameters
    ----------
    data, out : path
    config : Config, optional
        The `asdkit` system, of which the single blocks are parts.
    names : iterable of str, optional
        Systems, of `asdkit.config.systems` or "autoencoder"; all of the former by default.
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
        Unusable data, an unknown system, an `out` that holds another configuration, or no scheduler that answers.
    """
    if scheduler is not None:  # workers start in folders of their own
        data, out = Path(data).absolute(), Path(out).absolute()
    found = index_data(data, machines)
    run_systems(found, out, choose_systems(config or Config(), names, quick), seeds, jobs, quick, scheduler=scheduler)


def run_systems(
    machines: list[Machine],
    out: str | Path,
    chosen: dict[str, Config | None],
    seeds=(0,),
    jobs=1,
    quick=False,
    decide=True,
    scheduler=None,
) -> None:
    """The same for systems of any names and configurations; without decisions it is two to four times as fast."""
    out, names = Path(out), [m.name for m in machines]
    if len(set(names)) < len(names):
        raise InputError(f"{out}: found machines {', '.join(names)}, expected each name once")
    with fanout.open_pool(jobs, scheduler) as pool:
        open_folder(out, quick)
        check_machines(out, machines, chosen)
        missing = missing_parts(out, machines, chosen, seeds)
        log.info("%d machines, %d systems: %d parts to compute", len(machines), len(chosen), len(missing))
        serial = jobs == 1 and scheduler is None
        with tqdm(total=len(missing), desc="machine x system x seed", disable=not missing) as bar:

            def look():
                left = missing_parts(out, machines, chosen, seeds)
                bar.update(bar.total - len(left) - bar.n)
                return left

            fanout.complete(look, partial(make_tasks, out, machines, chosen, quick, decide, serial), pool)
        check_machines(out, machines, chosen)  # another run may have written


def missing_parts(out: Path, machines: list[Machine], chosen, seeds) -> list[tuple[str, int, str]]:
    """(machine, seed, system) of the parts that are not there, in this order."""
    parts = [(m, s, n) for m in machines for s in sorted(set(seeds)) for n in chosen]
    return [(m.name, s, n) for m, s, n in parts if not _part(out, m, n, s).exists()]


def make_tasks(out: Path, machines: list[Machine], chosen, quick: bool, decide: bool, serial: bool, left):
    """Tasks for the parts that are left: a machine each, whose seeds share its spectra; or, to keep many workers busy, a seed."""
    pooled = any(c and c.objective in POOLED for c in chosen.values())
    for machine in machines:
        others = other_clips(machine, machines) if pooled else ()
        todo = [(seed, name) for m, seed, name in left if m == machine.name]
        shares = [todo] if serial else [[part for part in todo if part[0] == s] for s in sorted({s for s, _ in todo})]
        for share in filter(None, shares):
            yield partial(run_machine, machine, chosen, share, out, quick, decide, serial, others)


def other_clips(machine: Machine, machines: list[Machine]) -> tuple[tuple[Clip, ...], ...]:
    """Training clips of the other machines of a run, machine by machine; only objectives that tell machines apart read them."""
    return tuple(m.train for m in machines if m.name != machine.name)


def choose_systems(config: Config, names: Iterable[str] | None, quick: bool = False) -> dict[str, Config | None]:
    """The systems of a run by name; None in place of a configuration for the autoencoder's two."""
    known = systems(config)
    if quick:
        known = {name: replace(c, steps=min(c.steps, 10), nets=1) for name, c in known.items()}
    if unknown := set(names or ()) - set(known) - {"autoencoder"}:
        raise InputError(f"systems: found {', '.join(sorted(unknown))}; expected {', '.join([*known, 'autoencoder'])}")
    chosen = {name: known[name] for name in names or known if name in known}
    return chosen | (dict.fromkeys(AUTOENCODER) if "autoencoder" in (names or ()) else {})


def open_folder(out: Path, quick: bool) -> None:
    """Make the output folder, or check that the one that is there was written by this version in the same mode."""
    head = {"asdkit": __version__, "quick": quick}
    path, known = out / "run.json", out.exists() and (not out.is_dir() or any(p.name[0] != "." for p in out.iterdir()))
    if not path.is_file():  # looked for after the others: a run that starts at the same time writes it first
        if known:
            raise InputError(f"{out}: found something that is not a run, expected a new or empty folder")
        return write_text(path, json.dumps(head))
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = {}
    for name, expected in head.items():
        if found.get(name) != expected:
            raise InputError(f"{out}: found a run with {name} = {found.get(name)}, expected {expected}; choose another folder")


def check_machines(out: Path, machines: list[Machine], chosen: dict[str, Config | None]) -> None:
    """`check_parts` of every machine."""
    for machine in machines:
        check_parts(out, machine, chosen, other_clips(machine, machines))


def check_parts(out: Path, machine: Machine, chosen: dict[str, Config | None], others=()) -> None:
    """Refuse to continue a run whose parts come from other recordings or from another configuration of the same name."""
    data = fingerprint(machine)
    for path in sorted((out / machine.name / "parts").glob("*.json")):
        part = json.loads(path.read_text())
        if part["data"] != data:
            raise InputError(f"{path}: found scores of other recordings than {machine.folder}; choose another folder")
        if part["system"] in chosen and part["config_hash"] != (expected := config_hash(chosen[part["system"]])):
            found = part["config_hash"]
            raise InputError(f"{path}: found a run with config {found}, expected {expected}; choose another folder")
        if part["system"] in chosen and part.get("others") != others_fingerprint(chosen[part["system"]], others):
            raise InputError(f"{path}: found a network trained with other machines than this run's; choose another folder")


def config_hash(config: Config | None) -> str:
    """Hash of a configuration; the autoencoder has none of its options open."""
    return config.hash() if config else "official"


def fingerprint(machine: Machine) -> str:
    """Hash of the names and sizes of a machine's clips."""
    return _fingerprint(machine.train + machine.test)


def others_fingerprint(config: Config | None, others: tuple[tuple[Clip, ...], ...]) -> str | None:
    """Hash of the names and sizes of the other machines' clips that a network was trained on; None where there were none."""
    return _fingerprint(c for clips in others for c in clips) if config and config.objective in POOLED else None


def _fingerprint(clips: Iterable[Clip]) -> str:
    text = "".join(f"{c.path.parent.name}/{c.name}:{c.path.stat().st_size}\n" for c in clips)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _part(out, machine: Machine, name: str, seed: int) -> Path:
    return Path(out) / machine.name / "parts" / f"{name}-{seed}.json"


def run_machine(
    machine: Machine, chosen: dict[str, Config | None], todo, out: Path, quick: bool, decide: bool, bars=True, others=()
):
    """Compute the parts of one machine, seed by seed, yielding the name of each when it is written.

    Seeds that another process has claimed are passed over.
    """
    if not out.is_dir():
        raise InputError(f"{out}: found no such folder on this computer, expected a file system that all workers share")
    memo = Memo()
    for seed in sorted({s for s, _ in todo}):
        with fanout.claim(out / machine.name / "locks" / str(seed)) as free:
            names = [n for s, n in todo if s == seed and free and not _part(out, machine, n, s).exists()]
            yield from run_seed(machine, chosen, names, seed, memo, out, quick, decide, bars, others)
        memo.forget_all_but("spectra")


def run_seed(machine: Machine, chosen, names, seed: int, memo: Memo, out: Path, quick: bool, decide: bool, bars, others):
    """The parts of one machine and seed, whose lock is held."""
    fast = sorted(set().union(*(fast_channels(c) for c in chosen.values() if c)))
    for name in names:
        _sweep(out / machine.name, f"{name}-{seed}")
    for name in (n for n in names if chosen[n]):
        label = f"{machine.name} {seed}" if bars else ""
        scored = score_machine(machine, chosen[name], seed, memo, fast, decide, label, others)
        write_part(out, machine, name, chosen[name], seed, *scored, others)
        yield name
    if ours := [n for n in names if not chosen[n]]:
        for name, *scored in score_autoencoder(machine, seed, memo, 2 if quick else 100):
            if name in ours:
                write_part(out, machine, name, None, seed, *scored)
                yield name


def _sweep(folder: Path, name: str) -> None:
    """Remove what a killed process was about to write under this name."""
    for path in folder.glob(f"*/.{glob.escape(name)}[-.]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def score_machine(machine: Machine, config: Config, seed: int, memo: Memo, fast, decide: bool, description: str, others=()):
    """Fit one system and score the test clips in the order of their names: (detector, scores, threshold, seconds)."""
    start = perf_counter()
    memo.new_bill()
    detector = fit(machine.train, config, seed, memo, fast, decide, description, others)
    fitting = Fitting(tuple(sorted(machine.train, key=lambda c: c.path)), config, seed, memo, tuple(fast), others=others)
    scores = [detector.score_blocks(fitting.blocks(detector.front, clip, config.test_hop)) for clip in machine.test]
    return detector, scores, detector.threshold, perf_counter() - start + memo.saved


def score_autoencoder(machine: Machine, seed: int, memo: Memo, epochs: int):
    """The official baseline: for each of its two scores (name, model, scores, threshold, seconds).

    Its threshold is the 0.9 quantile of a gamma distribution fitted to the training scores.
    """
    from scipy.stats import gamma

    start, plain = perf_counter(), Config(blocks=("logmel",))
    torch.set_num_threads(plain.threads)
    memo.new_bill()

    def near(clip):
        return Fitting((), plain, seed, memo, ()).spectra(clip)["near", "slow"]

    model = baseline.fit([near(c) for c in machine.train], [c.domain for c in machine.train], seed, epochs)
    train = np.array([model.score(near(c)) for c in machine.train])
    test = np.array([model.score(near(c)) for c in machine.test]).reshape(-1, 2)
    seconds = perf_counter() - start + memo.saved
    for i, name in enumerate(AUTOENCODER):
        yield name, model, test[:, i].tolist(), float(gamma.ppf(0.9, *gamma.fit(train[:, i], floc=0))), seconds


def write_part(out: Path, machine: Machine, name: str, config, seed: int, model, scores, threshold, seconds, others=()) -> None:
    """Write the model, then the part: a part that is there is whole, and so is its model."""
    if isinstance(model, Detector) and name != "asdkit":
        model = without_banks(model)
    save(model, out / machine.name / "models" / f"{name}-{seed}", system=name, seed=seed, machine=machine.name)
    removed = model.balancer.removed if isinstance(model, Detector) and model.balancer else 0.0
    decisions = [None if threshold is None else int(s > threshold) for s in scores]
    part = dict(
        system=name, seed=seed, config_hash=config_hash(config), config=config.to_dict() if config else None,
        data=fingerprint(machine), others=others_fingerprint(config, others), seconds=round(seconds, 2), threshold=threshold,
        near_variance_removed=round(removed, 4), files=[c.name for c in machine.test], scores=scores, decisions=decisions,
    )  # fmt: skip
    write_text(_part(out, machine, name, seed), json.dumps(part))


def without_banks(detector: Detector) -> Detector:
    """The detector with empty banks: what a bank holds is computed again from the training clips when it is needed."""
    spaces = {name: replace(knn, bank=knn.bank[:0], local=knn.local[:0]) for name, knn in detector.spaces.items()}
    return replace(detector, spaces=spaces)
