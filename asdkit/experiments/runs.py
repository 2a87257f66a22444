"""Run systems over machines and seeds, into a folder that can be continued.

``run.json``                              the version, and whether it was a quick run
``<machine>/parts/<system>-<seed>.json``  scores of one system and seed with its config and hash; a run continues from these
``<machine>/models/<system>-<seed>/``     weights and fitted objects (with the bank for `asdkit` alone)
``<machine>/locks/<seed>``  held by whoever computes these parts, on this computer or another

`results` makes ``results.csv``, ``differences.csv``, ``<machine>/scores.csv`` and ``figures`` from the parts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from tqdm.auto import tqdm

from asdkit.blocks import fast_channels
from asdkit.config import Config, systems
from asdkit.detector import Detector, fit
from asdkit.experiments import baseline, fanout
from asdkit.experiments.parts import (
    check_machines,
    config_hash,
    fingerprint,
    missing_parts,
    open_folder,
    other_clips,
    others_fingerprint,
    part_path,
    sweep,
)
from asdkit.fitting import Fitting, Memo
from asdkit.objectives import POOLED
from asdkit.recordings import InputError, Machine, index_data
from asdkit.recordings.files import write
from asdkit.storage import save

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
    machines: list[Machine], out: str | Path, chosen: dict[str, Config | None], seeds=(0,), jobs=1, quick=False, decide=True,
    scheduler=None,
) -> None:  # fmt: skip
    """The same for systems of any names and configurations; without decisions it is two to four times as fast, and only scores
    are kept."""
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


def make_tasks(out: Path, machines: list[Machine], chosen, quick: bool, decide: bool, serial: bool, left):
    """Tasks for the parts that are left: a machine each, whose seeds share its spectra, or a seed each to keep workers busy."""
    pooled = any(c and c.objective in POOLED for c in chosen.values())
    for machine in machines:
        others = other_clips(machine, machines) if pooled else ()
        todo = [(seed, name) for m, seed, name in left if m == machine.name]
        shares = [todo] if serial else [[part for part in todo if part[0] == s] for s in sorted({s for s, _ in todo})]
        for share in filter(None, shares):
            yield partial(run_machine, machine, chosen, share, out, quick, decide, serial, others)


def choose_systems(config: Config, names: Iterable[str] | None, quick: bool = False) -> dict[str, Config | None]:
    """The systems of a run by name; None in place of a configuration for the autoencoder's two."""
    known = systems(config)
    if quick:
        known = {name: c.quick() for name, c in known.items()}
    if unknown := set(names or ()) - set(known) - {"autoencoder"}:
        raise InputError(f"systems: found {', '.join(sorted(unknown))}; expected {', '.join([*known, 'autoencoder'])}")
    chosen = {name: known[name] for name in names or known if name in known}
    return chosen | (dict.fromkeys(AUTOENCODER) if "autoencoder" in (names or ()) else {})


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
            names = [n for s, n in todo if s == seed and free and not part_path(out, machine, n, s).exists()]
            yield from run_seed(machine, chosen, names, seed, memo, out, quick, decide, bars, others)
        memo.forget_all_but("spectra")


def run_seed(machine: Machine, chosen, names, seed: int, memo: Memo, out: Path, quick: bool, decide: bool, bars, others):
    """The parts of one machine and seed, whose lock is held."""
    fast = sorted(set().union(*(fast_channels(c) for c in chosen.values() if c)))
    for name in names:
        sweep(out / machine.name, f"{name}-{seed}")
    for name in (n for n in names if chosen[n]):
        label = f"{machine.name} {seed}" if bars else ""
        scored = score_machine(machine, chosen[name], seed, memo, fast, decide, label, others)
        write_part(out, machine, name, chosen[name], seed, *scored, others, keep=decide)
        yield name
    if ours := [n for n in names if not chosen[n]]:
        for name, *scored in score_autoencoder(machine, seed, memo, 2 if quick else 100):
            if name in ours:
                write_part(out, machine, name, None, seed, *scored)
                yield name


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


def write_part(
    out: Path, machine: Machine, name: str, config, seed: int, model, scores, threshold, seconds, others=(), keep=True
) -> None:
    """Write the model, if it is to be kept, then the part: a part that is there is whole, and so is its model."""
    if isinstance(model, Detector) and name != "asdkit":
        model = without_banks(model)
    if keep:
        save(model, out / machine.name / "models" / f"{name}-{seed}", system=name, seed=seed, machine=machine.name)
    removed = model.balancer.removed if isinstance(model, Detector) and model.balancer else 0.0
    decisions = [None if threshold is None else int(s > threshold) for s in scores]
    part = dict(
        system=name, seed=seed, config_hash=config_hash(config), config=config.to_dict() if config else None,
        data=fingerprint(machine), others=others_fingerprint(config, others), seconds=round(seconds, 2), threshold=threshold,
        near_variance_removed=round(removed, 4), files=[c.name for c in machine.test], scores=scores, decisions=decisions,
    )  # fmt: skip
    write(part_path(out, machine, name, seed), json.dumps(part))


def without_banks(detector: Detector) -> Detector:
    """The detector with empty banks: what a bank holds is computed again from the training clips when it is needed."""
    spaces = {name: replace(knn, bank=knn.bank[:0], local=knn.local[:0]) for name, knn in detector.spaces.items()}
    return replace(detector, spaces=spaces)
