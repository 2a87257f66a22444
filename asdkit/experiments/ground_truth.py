"""The challenge's published ground truth: labels and domains of test clips whose names hide them.

Somewhere below a folder are ``ground_truth_data`` and ``ground_truth_domain``, each with a table
``ground_truth_<machine>_section_00_test.csv`` of two columns without a header: the file name, and 0 normal or 1 anomaly, or
0 source or 1 target. It is joined to scores that are written: nothing that fits or scores sees it.
"""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asdkit.recordings import InputError, Machine

MEANING = {"data": (0, 1), "domain": ("source", "target")}  # of the values 0 and 1


def find_truth(folder: str | Path, machines: Sequence[Machine]) -> dict[str, dict[str, Path]]:
    """{machine: {"data", "domain": table}} of the machines with unlabelled test clips; nothing is opened.

    InputError where there is none, where a table is missing, or where it is there twice.
    """
    hidden = [m.name for m in machines if any(c.label is None for c in m.test)]
    if not hidden:
        raise InputError(f"{folder}: found no machine with unlabelled test clips, expected one that needs its truth")
    return {name: {kind: _table(Path(folder), name, kind) for kind in MEANING} for name in hidden}


def _table(folder: Path, machine: str, kind: str) -> Path:
    parent, name = f"ground_truth_{kind}", f"ground_truth_{machine}_section_00_test.csv"
    paths = [p for p in sorted(folder.rglob(name)) if parent in p.relative_to(folder).parts]
    if len(paths) != 1:
        raise InputError(f"{folder}: found {len(paths)} files {parent}/{name} somewhere below, expected one")
    return paths[0]


def with_truth(machines: Sequence[Machine], folder: str | Path) -> list[Machine]:
    """The machines, with label and domain of each test clip that has none; InputError also for a table that lacks a clip."""
    tables = {name: {kind: _read(path, kind) for kind, path in t.items()} for name, t in find_truth(folder, machines).items()}
    return [_joined(m, Path(folder), tables[m.name]) if m.name in tables else m for m in machines]


def _joined(machine: Machine, folder: Path, tables: dict[str, dict]) -> Machine:
    for kind, table in tables.items():
        if missing := [c.name for c in machine.test if c.name not in table]:
            counts = f"found no {kind} of {len(missing)} test clips of {machine.name}, such as {missing[0]}"
            raise InputError(f"{folder}: {counts}; expected all {len(machine.test)}")
    labels, domains = tables.values()
    return replace(machine, test=tuple(replace(c, label=labels[c.name], domain=domains[c.name]) for c in machine.test))


def _read(path: Path, kind: str) -> dict:
    """{file name: label or domain}."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as f:
        rows = [row for row in csv.reader(f) if row]
    if bad := [row for row in rows if len(row) != 2 or row[1].strip() not in ("0", "1")]:
        raise InputError(f"{path}: found the row {','.join(bad[0])!r}, expected a file name and 0 or 1")
    return {Path(name).name: MEANING[kind][int(value)] for name, value in rows}
