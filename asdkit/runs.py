"""Run systems over machines and seeds, into a folder that can be continued.

``run.json``                              the version, and whether it was a quick run
``<machine>/parts/<system>-<seed>.json``  scores of one system and seed with its config and hash; a run continues from these
``<machine>/models/<system>-<seed>/``     weights and fitted objects (with the bank for `asdkit` alone)

`asdkit.results` makes ``results.csv``, ``differences.csv``, ``<machine>/scores.csv`` and ``figures`` from the parts.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from asdkit import __version__, baseline
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
) -> None:
    """Fit and score systems on every machine below a folder. What `out` already holds is not computed again.

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
        Machines at a time, each in a process of its own.
    quick : bool
        Cut training to a token number of steps: for seeing whether it works. Not a result.

    Raises
    ------
    InputError
        Unusable data, an unknown system, or an `out` that holds another configuration.
    """
    found = index_data(data, machines)
    run_systems(found, out, choose_systems(config or Config(), names, quick), seeds, jobs, quick)


def run_systems(
    machines: list[Machine], out: str | Path, chosen: dict[str, Config | None], seeds=(0,), jobs=1, quick=False, decide=True
) -> None:
    """The same for systems of any names and configurations; without decisions it is two to four times as fast, and only scores
    are kept."""
    out, names = Path(out), [m.name for m in machines]
    if len(set(names)) < len(names):
        raise InputError(f"{out}: found machines {', '.join(names)}, expected each name once")
    open_folder(out, quick)
    for machine in machines:
        check_parts(out, machine, chosen, other_clips(machine, machines))
    tasks = [
        (machine, chosen, [(s, n) for s in sorted(set(seeds)) for n in chosen if not _part(out, machine, n, s).exists()])
        for machine in machines
    ]
    total = sum(len(todo) for _, _, todo in tasks)
    log.info("%d machines, %d systems: %d parts to compute", len(machines), len(chosen), total)
    with tqdm(total=total, desc="machine x system x seed", disable=total == 0) as bar:
        if jobs == 1:
            for task in tasks:
                for _ in run_machine(*task, out, quick, decide, True, other_clips(task[0], machines)):
                    bar.update()
        else:
            work = (
                delayed(_all_of)(*task, out, quick, decide, False, other_clips(task[0], machines)) for task in tasks if task[2]
            )
            for n_parts in Parallel(n_jobs=jobs, return_as="generator_unordered")(work):
                bar.update(n_parts)


def other_clips(machine: Machine, machines: list[Machine]) -> tuple[tuple[Clip, ...], ...]:
    """Training clips of the other machines of a run, machine by machine; only objectives that tell machines apart read them."""
    return tuple(m.train for m in machines if m.name != machine.name)


def _all_of(*arguments) -> int:
    return len(list(run_machine(*arguments)))


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
    path = out / "run.json"
    if not path.is_file():
        if out.exists() and (not out.is_dir() or any(p for p in out.iterdir() if not p.name.startswith("."))):
            raise InputError(f"{out}: found something that is not a run, expected a new or empty folder")
        return write_text(path, json.dumps(head))
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = {}
    for name, expected in head.items():
        if found.get(name) != expected:
            raise InputError(f"{out}: found a run with {name} = {found.get(name)}, expected {expected}; choose another folder")


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
    """Compute the parts of one machine, seed by seed, yielding the name of each when it is written."""
    memo = Memo()
    fast = sorted(set().union(*(fast_channels(c) for c in chosen.values() if c)))
    for seed in sorted({s for s, _ in todo}):
        names = [n for s, n in todo if s == seed]
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
        memo.forget_all_but("spectra")


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
    write_text(_part(out, machine, name, seed), json.dumps(part))


def without_banks(detector: Detector) -> Detector:
    """The detector with empty banks: what a bank holds is computed again from the training clips when it is needed."""
    spaces = {name: replace(knn, bank=knn.bank[:0], local=knn.local[:0]) for name, knn in detector.spaces.items()}
    return replace(detector, spaces=spaces)
