"""What several test files do with results and folders."""

import os
from pathlib import Path

import soundfile

from asdkit.experiments import results


def contents(out) -> dict:
    """{(machine, system, seed): everything in a result but the time it took}."""
    return {key: {k: v for k, v in r.items() if k != "seconds"} for key, r in results.read_results(out).items()}


def scores_of(detector, recordings) -> dict[str, float]:
    """{file name: score}, in the order of the table."""
    table = detector.score(recordings, progress=False)
    return {Path(file).name: score for file, score in zip(table["file"], table["score"])}


def stamps(folder, pattern="*.json") -> dict[Path, int]:
    """When each file below a folder was written, but for what tells of the whole folder."""
    return {p: p.stat().st_mtime_ns for p in Path(folder).rglob(pattern) if p.name not in ("about.json", "run.json")}


def folders_opened(monkeypatch) -> set[str]:
    """The folders, ``<machine>/<split>``, whose recordings are opened from now on."""
    opened = set()

    class Spy(soundfile.SoundFile):
        def __init__(self, file, *args, **kwargs):
            opened.add("/".join(Path(os.fsdecode(file)).parts[-3:-1]))
            super().__init__(file, *args, **kwargs)

    monkeypatch.setattr(soundfile, "SoundFile", Spy)
    return opened
