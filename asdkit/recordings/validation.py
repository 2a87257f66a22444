"""Whether a folder of recordings is sound: what is missing, what does not belong there, and what is damaged.

Machines of the DCASE 2026 data are compared with the numbers of clips that were published, others with the names in their
``attributes_00.csv``. Only the column with the names is read of it. Simulated machines are never taken for the challenge's.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from asdkit.recordings import LABELS, TABLES, Clip, InputError, machine_folders, parse_name, read_clip, read_recordings
from asdkit.recordings.datasets import DATASETS

SPLITS = ("train", "test")
RENDER = "asdkit simulate OUT --sources FOLDER --noise FOLDER"
_YEAR_2020 = re.compile(r"(normal|anomaly)_id_\d{2}_\d{8}\.wav")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a machine."""

    kind: str  # "missing", "surplus", "damaged" or "mono"
    text: str


@dataclass(frozen=True)
class Report:
    """What was found in one machine's folder."""

    folder: Path
    sets: tuple[str, ...]  # of `asdkit.recordings.datasets.DATASETS` that the machine belongs to; empty for other recordings
    clips: int
    findings: tuple[Finding, ...]


def validate(root: str | Path) -> list[Report]:
    """Check every machine below a folder, reading all of its audio.

    Parameters
    ----------
    root : path
        A folder as `asdkit.recordings.index_data` takes it.

    Raises
    ------
    InputError
        When there is no machine in it, or two of one name.
    """
    folders = machine_folders(root)
    n_clips = {folder: sum(len(_wavs(folder / split)) for split in SPLITS) for folder in folders}
    with tqdm(total=sum(n_clips.values()), desc="clips") as bar:
        return [Report(f, tuple(_sets(f)), n_clips[f], tuple(_findings(f, _sets(f), bar))) for f in folders]


def _sets(folder: Path) -> list[str]:
    """Sets of the challenge that a machine belongs to."""
    others = (folder / "simulation.json").exists() or (folder / "recordings_00.csv").exists()  # the challenge has neither
    return [] if others else [name for name, d in DATASETS.items() if folder.name in d.machines]


def _entries(folder: Path) -> list[Path]:
    """What a split holds, but for hidden files and tables."""
    return sorted(p for p in folder.glob("*") if not p.name.startswith(".") and p.name not in TABLES)


def _wavs(folder: Path) -> list[Path]:
    return [p for p in _entries(folder) if p.is_file() and p.suffix.lower() == ".wav"]


def _findings(folder: Path, sets: list[str], bar) -> list[Finding]:
    wavs = [p for split in SPLITS for p in _wavs(folder / split)]
    mono = [p for p in wavs if _channels(p) == 1]
    if len(mono) > len(wavs) / 2:
        bar.update(len(wavs))
        return [_mono(mono)]
    clips, surplus = _read_names(folder)
    promised, damaged = _read_tables(folder)
    counts = {key: n for name in sets for key, n in DATASETS[name].counts.items()}
    if ("test", None, None) in counts:
        promised |= {("test", f"section_00_{i:04d}.wav") for i in range(counts["test", None, None])}
    absent = promised - {(c.split, c.name) for c in clips}
    missing = _missing(counts, promised, absent, {c.split for c in clips})
    numbers = _compare_counts(counts, clips, absent)
    return [*missing, *numbers, *surplus, *_twice(clips), *damaged, *_damaged(wavs, bar)]


def _channels(path: Path) -> int:
    import soundfile

    try:
        return soundfile.info(path).channels
    except (soundfile.LibsndfileError, OSError):
        return 0


def _mono(mono: list[Path]) -> Finding:
    """Data of an earlier year: nothing else is worth saying."""
    years = "2020" if any(_YEAR_2020.fullmatch(p.name) for p in mono) else "2021 to 2025"
    found = f"found {len(mono)} clips of one channel, as in the Task 2 data of {years}, expected two channels, near and far"
    return Finding("mono", f"{found}; `{RENDER}` renders mono recordings")


def _read_names(folder: Path) -> tuple[list[Clip], list[Finding]]:
    """The clips, and what is no clip or in the wrong place."""
    clips, findings = [], []
    for path in (p for split in SPLITS for p in _entries(folder / split)):
        try:
            clips.append(_read_name(path))
        except InputError as error:
            findings.append(Finding("surplus", f"{path.parent.name}/{path.name}: {str(error).removeprefix(f'{path}: ')}"))
    return clips, findings


def _read_name(path: Path) -> Clip:
    if path.is_dir() or path.suffix.lower() != ".wav":
        raise InputError(f"found a {'folder' if path.is_dir() else 'file that is not .wav'}, expected recordings alone")
    clip = parse_name(path)
    if path.parent.name == "train" and clip.label == LABELS["anomaly"]:
        raise InputError("found an anomaly among the training clips, expected normal recordings only")
    if clip.split != path.parent.name:
        raise InputError(f"found a name of the {clip.split} clips, expected one of the {path.parent.name} clips")
    return clip


def _read_tables(folder: Path) -> tuple[set[tuple[str, str]], list[Finding]]:
    """(split, file name) of the clips that ``attributes_00.csv`` names, and what is wrong with the tables."""
    try:
        read_recordings(folder)
        return _attribute_names(folder / "attributes_00.csv"), []
    except InputError as error:
        return set(), [Finding("damaged", str(error).removeprefix(f"{folder}/"))]
    except (UnicodeDecodeError, csv.Error) as error:
        return set(), [Finding("damaged", f"{' or '.join(TABLES)}: not readable ({error}), expected a CSV table")]


def _attribute_names(table: Path) -> set[tuple[str, str]]:
    if not table.is_file():
        return set()
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if rows and "file_name" not in rows[0]:
        raise InputError(f"{table}: found columns {', '.join(map(str, rows[0]))}; expected file_name,d1p,d1v,...")
    paths = [Path(row["file_name"]) for row in rows]
    return {(p.parent.name or ("train" if "_train_" in p.name else "test"), p.name) for p in paths}


def _missing(counts, promised, absent, present) -> Iterator[Finding]:
    """Splits without any clip in one line, single clips by name."""
    sizes = Counter(split for split, _ in promised) | Counter(_by_split(counts)) | Counter(train=1)
    for split in sorted(sizes.keys() - present):
        yield Finding("missing", f"{split}: found no clips, expected {sizes[split]} or more")
    yield from (Finding("missing", f"{split}/{name}") for split, name in sorted(absent) if split in present)


def _by_split(counts) -> dict[str, int]:
    return {split: sum(n for key, n in counts.items() if key[0] == split) for split in {key[0] for key in counts}}


def _compare_counts(counts, clips: list[Clip], absent) -> Iterator[Finding]:
    """Clips of each kind that no table names, against the published numbers."""
    found, named = Counter(map(_kind, clips)), Counter(_kind(c) for c in _parsed(absent))
    for kind in sorted(counts.keys() | found.keys(), key=str) if counts else ():
        expected, present = counts.get(kind, 0), any(c.split == kind[0] for c in clips)
        if present and found[kind] + named[kind] != expected:
            what = " ".join(filter(None, (kind[1], {0: "normal", 1: "anomalous", None: "unlabelled"}[kind[2]])))
            text = f"{kind[0]}: found {found[kind]} {what} clips, expected {expected}"
            yield Finding("missing" if found[kind] < expected else "surplus", text)


def _kind(clip: Clip) -> tuple[str, str | None, int | None]:
    return clip.split, clip.domain, clip.label


def _parsed(names) -> Iterator[Clip]:
    for _, name in names:
        try:
            yield parse_name(name)
        except InputError:
            pass


def _twice(clips: list[Clip]) -> Iterator[Finding]:
    """Numbers that two clips of the same section, domain and label share."""
    known = {}
    for clip in clips:
        number = re.search(r"_(\d{4})(?=[_.])", clip.name)[1]
        first = known.setdefault((clip.section, *_kind(clip), number), clip)
        if first is not clip:
            yield Finding("surplus", f"{clip.split}/{clip.name}: found the number of {first.name} again, expected each once")


def _damaged(wavs: list[Path], bar) -> Iterator[Finding]:
    """Recordings that no other command would read."""
    for path in wavs:
        try:
            read_clip(path)
        except InputError as error:
            yield Finding("damaged", f"{path.parent.name}/{path.name}: {str(error).removeprefix(f'{path}: ')}")
        bar.update()
