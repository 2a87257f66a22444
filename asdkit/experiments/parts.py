"""The folder of a run: whether it fits what is to be run, which parts are missing, what killed processes have left in it."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from asdkit import __version__
from asdkit.config import Config
from asdkit.objectives import POOLED
from asdkit.recordings import Clip, InputError, Machine
from asdkit.recordings.files import write


def open_folder(out: Path, quick: bool) -> None:
    """Make the output folder, or check that the one that is there was written by this version in the same mode."""
    head = {"asdkit": __version__, "quick": quick}
    path, known = out / "run.json", out.exists() and (not out.is_dir() or any(p.name[0] != "." for p in out.iterdir()))
    if not path.is_file():  # looked for after the others: a run that starts at the same time writes it first
        if known:
            raise InputError(f"{out}: found something that is not a run, expected a new or empty folder")
        return write(path, json.dumps(head))
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


def other_clips(machine: Machine, machines: list[Machine]) -> tuple[tuple[Clip, ...], ...]:
    """Training clips of the other machines of a run, machine by machine; only objectives that tell machines apart read them."""
    return tuple(m.train for m in machines if m.name != machine.name)


def part_path(out, machine: Machine, name: str, seed: int) -> Path:
    """Where the part of one system and seed is."""
    return Path(out) / machine.name / "parts" / f"{name}-{seed}.json"


def missing_parts(out: Path, machines: list[Machine], chosen, seeds) -> list[tuple[str, int, str]]:
    """(machine, seed, system) of the parts that are not there, in this order."""
    parts = [(m, s, n) for m in machines for s in sorted(set(seeds)) for n in chosen]
    return [(m.name, s, n) for m, s, n in parts if not part_path(out, m, n, s).exists()]


def sweep(folder: Path, name: str) -> None:
    """Remove what a killed process was about to write under this name."""
    for path in folder.glob(f"*/.{glob.escape(name)}[-.]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
