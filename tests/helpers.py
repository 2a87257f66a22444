"""What several test files do with results and folders."""

import os
from pathlib import Path

import numpy as np
import soundfile

from asdkit.config import Config
from asdkit.experiments import ALPHAS, MachineGrid, results

# Fits in a blink: log-mel statistics of short windows.
BRIEF = Config(blocks=("statistics-near",), width=8, train_hop=8, test_hop=8, false_alarm=0.25)


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


def made_up_grid(seed: int, n_clips: int, n_train: int, points: np.ndarray | None = None) -> MachineGrid:
    """The grid of a machine of any size: random but for the metrics at each alpha, where these are given."""
    rng, n = np.random.default_rng(seed), len(ALPHAS)
    points = rng.uniform(0.5, 0.9, (n, 3)) if points is None else points
    return MachineGrid(
        labels=np.arange(n_clips) % 2, domains=np.array(["source", "target"] * (n_clips // 2)),
        scores=rng.normal(size=(n, n_clips)), points=points, separation=rng.uniform(size=n), thresholds=rng.normal(size=n),
        boots=np.clip(points[:, None] + rng.normal(0, 0.01, (n, 1000, 3)), 0, 1),
        train_map=rng.normal(size=(n, n_train, 2)), test_map=rng.normal(size=(n, n_clips, 2)),
    )  # fmt: skip
