"""Writing a machine's folder in the DCASE 2026 layout: all of it or nothing.

A folder `<machine>/` holds `train/`, `test/`, `attributes_00.csv` and, beside what the challenge gives,
`simulation.csv` (the truth about every file, for analysis only) and `simulation.json` (version and parameters).
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..recordings import InputError
from .machines import SAMPLE_RATE

RECORD = "simulation.json"


def is_complete(folder: Path, parameters: dict) -> bool:
    """Whether `folder` was written with `parameters`; a folder of anything else is an InputError."""
    if not folder.exists():
        return False
    if not (folder / RECORD).is_file():
        raise InputError(f"{folder}: holds no {RECORD}; expected a folder that does not exist or one written by asdkit")
    found = json.loads((folder / RECORD).read_text())
    if found == parameters:
        return True
    keys = [key for key in {**parameters, **found} if found.get(key) != parameters.get(key)]
    was, want = (", ".join(f"{key} {each.get(key)}" for key in keys) for each in (found, parameters))
    raise InputError(f"{folder}: found {was}; expected {want}; remove the folder or choose another")


@contextmanager
def new_machine(folder: Path, parameters: dict) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends, and nothing if it is interrupted.

    A process that is killed outright leaves a hidden `.asdkit-*` folder behind, which may be removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".asdkit-", dir=folder.parent, ignore_cleanup_errors=True) as temporary:
        draft = Path(temporary) / folder.name
        for split in ("train", "test"):
            (draft / split).mkdir(parents=True)
        yield draft
        (draft / RECORD).write_text(json.dumps(parameters, indent=2) + "\n")
        os.replace(draft, folder)


def write_clip(folder: Path, condition: str, number: int, attributes: str, clip: np.ndarray) -> str:
    """Write a clip (2, n_samples) as PCM-16; return its name as tables give it, `<machine>/<split>/<file>`.

    `condition` is `<domain>_<split>_<label>`.
    """
    import soundfile as sf

    name = f"{condition.split('_')[1]}/section_00_{condition}_{number:04d}_{attributes}.wav"
    sf.write(folder / name, np.clip(clip, -1, 1).T, SAMPLE_RATE, subtype="PCM_16")
    return f"{folder.name}/{name}"


def write_table(path: Path, rows: list[dict]) -> None:
    """Write rows, all with the keys of the first, as CSV, in the order of the file names."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(sorted(rows, key=lambda row: row["file_name"]))
