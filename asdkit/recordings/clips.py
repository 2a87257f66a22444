"""Recordings: find them, read their names, tell which belong together.

clip : one WAV file, two channels, 0 near (at the machine), 1 far (in the room); or a pair of files, or a segment of either.
recording : the session a clip was cut from. Clips of one recording are siblings, and whatever is left out, is left out by
    recording. Without ``recordings_00.csv`` each clip is its own recording.
"""

from __future__ import annotations

import csv
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asdkit.recordings.files import InputError
from asdkit.recordings.reading import TWO_CHANNELS, Reading, far_of, read_clip

LABELS = {"normal": 0, "anomaly": 1}
TABLES = ("recordings_00.csv", "attributes_00.csv")  # may lie among the recordings
GRAMMAR = "section_<ss>_<source|target>_<train|test>_<normal|anomaly>_<nnnn>[_<attributes>].wav or section_<ss>_<nnnn>.wav"
NAME = re.compile(r"section_(\d{2})(?:_(source|target)_(train|test)_(normal|anomaly))?_\d{4}(?(2)(?:_(.*))?)\.wav")


@dataclass(frozen=True)
class Clip:
    """One file and what its name says of it. Scoring reads its samples only."""

    path: Path
    section: str = "00"
    domain: str | None = None  # "source", "target"; None where the name hides it
    split: str | None = None  # "train", "test"
    label: int | None = None  # 0 normal, 1 anomaly; None where the name hides it
    attributes: str = ""
    recording: str = ""  # group of siblings; the file name where unknown
    reading: Reading = TWO_CHANNELS
    segment: tuple[float, float] | None = None  # seconds, of a recording that was cut
    lag: float = 0.0  # seconds that the far file of a pair is late

    @property
    def name(self) -> str:
        """File name without its folder, and which segment of it."""
        return self.path.name if self.segment is None else "{} {:.3f}-{:.3f} s".format(self.path.name, *self.segment)

    @property
    def place(self) -> tuple:
        """Where its samples lie: what clips are told apart and sorted by."""
        return self.path, self.segment or ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, or the two of a pair."""
        return (self.path, far_of(self.path)) if self.reading.pairs and not self.reading.near_only else (self.path,)

    def read(self) -> np.ndarray:
        """Its samples, (2, n_samples); see `asdkit.recordings.read_clip`."""
        return read_clip(self.path, self.reading, self.segment, self.lag)


@dataclass(frozen=True)
class Machine:
    """The clips of one machine, each list sorted by file name."""

    name: str
    folder: Path
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]


def parse_name(path: str | Path) -> Clip:
    """Read section, domain, split, label and attributes from a DCASE file name; the file is not opened.

    An InputError when the name is outside the grammar of the DCASE 2021-2026 data.
    """
    path = Path(path)
    if not (match := NAME.fullmatch(path.name)):
        raise InputError(f"{path}: the name is outside the grammar; expected {GRAMMAR}")
    section, domain, split, label, attributes = match.groups()
    return Clip(path, section, domain, split or "test", LABELS.get(label), attributes or "", path.name)


def wav_files(folder: Path, suffixes: tuple[str, ...] = (".wav",)) -> list[Path]:
    """WAV files directly in a folder, sorted by name; what else is not hidden and no table is ignored with a warning."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of {', '.join(suffixes)} recordings")
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".") and p.name not in TABLES)
    if others := [p.name for p in files if p.suffix.lower() not in suffixes]:
        problem = f"ignored {len(others)} file(s) that are not {', '.join(suffixes)}, such as {others[0]}"
        warnings.warn(f"{folder}: {problem}", stacklevel=2)
    return [p for p in files if p.suffix.lower() in suffixes]


def read_recordings(machine_folder: Path) -> dict[tuple[str, str], str]:
    """``recordings_00.csv`` as {(split folder, file name): recording}; empty where there is none."""
    rows = read_table(machine_folder / "recordings_00.csv", "file_name,recording")
    return {(Path(name).parent.name, Path(name).name): recording for name, recording in rows}


def read_table(table: Path, columns: str) -> list[tuple[str, ...]]:
    """Some columns of a CSV table, row by row; no rows without a table. An InputError where columns or cells are missing."""
    if not table.is_file():
        return []
    try:
        with table.open(newline="", encoding="utf-8-sig") as f:
            rows, names = list(csv.DictReader(f)), columns.split(",")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not readable ({error}); expected a CSV table") from None
    if rows and not set(names) <= rows[0].keys():
        raise InputError(f"{table}: found columns {', '.join(map(str, rows[0]))}; expected {columns}")
    if any(row[name] is None for row in rows for name in names):
        raise InputError(f"{table}: found a row that is too short; expected {columns} in each")
    return [tuple(row[name] for name in names) for row in rows]


def index_machine(folder: str | Path) -> Machine:
    """List the training and test clips of ``<machine>/{train,test}``. No audio file is opened.

    An InputError without training clips, with a name outside the grammar, or with an anomaly among the training clips.
    """
    folder = Path(folder)
    return Machine(folder.name, folder, training_clips(folder), _named_clips(folder, "test"))


def training_clips(folder: Path) -> tuple[Clip, ...]:
    """The training clips of ``<machine>/train``, see `index_machine`; their domains are those of their names."""
    clips, recordings = _named_clips(folder, "train"), read_recordings(folder)
    if not clips:
        raise InputError(f"{folder}: found no training clips; expected .wav files in {folder / 'train'}")
    if recordings and not {("train", c.name) for c in clips} & recordings.keys():
        table = folder / "recordings_00.csv"
        warnings.warn(f"{table}: names none of the training clips; each is taken for its own recording", stacklevel=3)
    if anomalies := [c for c in clips if c.label == LABELS["anomaly"]]:
        raise InputError(f"{anomalies[0].path}: found an anomaly among the training clips; expected normal recordings only")
    return clips


def _named_clips(folder: Path, split: str) -> tuple[Clip, ...]:
    """Clips of one split by their names; none where there is no such folder."""
    recordings = read_recordings(folder)
    clips = [parse_name(p) for p in wav_files(folder / split)] if (folder / split).is_dir() else []
    return tuple(replace(c, recording=recordings.get((split, c.name), c.name)) for c in clips)


def index_data(root: str | Path, machines: list[str] | None = None) -> list[Machine]:
    """All machines below a folder, or only those named, in order of name: see `machine_folders` and `index_machine`.

    An InputError when the folder does not exist, holds no machine or two of one name, or lacks one named.
    """
    folders = machine_folders(root)
    if missing := set(machines or []) - {p.name for p in folders}:
        raise InputError(f"{root}: found {', '.join(p.name for p in folders)}; expected also {', '.join(sorted(missing))}")
    return [index_machine(p) for p in folders if not machines or p.name in machines]


def machine_folders(root: str | Path) -> list[Path]:
    """Folders of the machines below a folder, resolved, in order of name; hidden folders hold drafts and are left out.

    A machine is what holds a ``train`` folder, or ``test`` with recordings: in the official layout
    (``dev_data/raw/<machine>``), in a plain one (``<machine>``), or the folder itself.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected one that holds <machine>/train and <machine>/test")
    splits = [p for p in root.rglob("train") if p.is_dir()] + [p for p in root.rglob("test") if any(p.glob("*.wav"))]
    seen = [p for p in splits if not any(name.startswith(".") for name in p.relative_to(root).parts)]
    folders = sorted({p.parent.resolve() for p in seen}, key=lambda p: p.name)
    names = [p.name for p in folders]
    if not folders:
        raise InputError(f"{root}: found no machine; expected <machine>/train with .wav files somewhere below")
    if twice := {n for n in names if names.count(n) > 1}:
        raise InputError(f"{root}: found machine {', '.join(sorted(twice))} in two places; expected each name once")
    return folders
