"""A fitted model on files: each gets a verdict, a score or the reason why there is none; and a folder that is watched.

Rows are appended to a table one by one, each of them whole: a line that a crash tore is removed when the table is opened again.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch

from asdkit.blocks import Spectra, read_spectra
from asdkit.detector import Detector
from asdkit.recordings import Clip, segments
from asdkit.recordings.reading import InputError, Reading, far_of, is_far, near_of

HEADER = ("file", "score", "decision", "error")
LONGEST = 3600.0  # s that are scored as one
log = logging.getLogger("asdkit")


@dataclass(frozen=True)
class Verdict:
    """What became of one file."""

    file: Path
    score: float | None = None
    decision: int | None = None  # 1 anomaly, 0 normal; None without a threshold
    error: str = ""  # why there is no score


@dataclass(frozen=True)
class Model:
    """A fitted detector and how the recordings of its machine are read."""

    detector: Detector
    reading: Reading

    def spectra(self, path: Path) -> Iterator[tuple[float, Spectra]]:
        """Where each segment of one recording begins (s), and its spectra, one after the other.

        Raises
        ------
        InputError
            A recording that cannot be used, or one of more than an hour.
        """
        clips = segments(Clip(path, reading=self.reading))
        if (seconds := clips[-1].segment[1] if clips[-1].segment else 0.0) > LONGEST:
            raise InputError(f"{path}: found {seconds / 3600:.1f} hours, expected at most {LONGEST / 3600:.0f}")
        for clip in clips:
            yield clip.segment[0] if clip.segment else 0.0, read_spectra(clip, self.detector.config)

    def blocks(self, path: Path) -> dict[str, torch.Tensor]:
        """Blocks of one recording at the test hop, its segments one after the other."""
        front, hop = self.detector.front, self.detector.config.test_hop
        described = [front.describe(spectra, hop) for _, spectra in self.spectra(path)]
        return {name: torch.cat([blocks[name] for blocks in described]) for name in described[0]}

    def judge(self, path: Path) -> Verdict:
        """The verdict on one file, whatever is in it."""
        try:
            score = self.detector.score_blocks(self.blocks(path))
            if not np.isfinite(score):
                raise InputError(f"{path}: found score {score}, expected a number: its sound is like no recording")
        except InputError as error:
            return Verdict(path, error=str(error))
        except Exception as error:  # one file must not keep the others from being scored
            return Verdict(path, error=f"{path}: failed ({error!r})")
        return Verdict(path, score, self.detector.decide(score))

    def recordings(self, paths: Iterable[Path]) -> list[Path]:
        """The paths, each pair once, by its near file."""
        return list(dict.fromkeys(map(near_of, paths))) if self.reading.pairs else list(paths)


def one_line(text: str | Path) -> str:
    """Text that fits in a line of any table: line breaks and bytes that are no UTF-8 are written as escapes."""
    plain = os.fsencode(text).decode("utf-8", "backslashreplace")
    return plain.replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")


def row(*cells) -> str:
    """A line of a table."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([one_line(c) if isinstance(c, str | Path) else c for c in cells])
    return line.getvalue()


def open_table(path: Path) -> set[str]:
    """Make a table of verdicts, or repair the one that is there; returns the files that it has rows of.

    Raises
    ------
    InputError
        Where the file is another table, or cannot be written.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
        lines = content.splitlines(keepends=True)
        while lines and not _is_whole(lines[-1]):
            lines.pop()
        rows = list(csv.reader(io.StringIO(b"".join(lines).decode(errors="replace"))))
        if rows and tuple(rows[0]) != HEADER or (content and not rows and not row(*HEADER).encode().startswith(content)):
            raise InputError(f"{path}: found another table, expected one of {','.join(HEADER)}, or a new file")
        if len(whole := b"".join(lines)) < len(content):
            log.warning("%s: removed a last line that was not whole", path)
            os.truncate(path, len(whole))
        if not rows:
            append(path, row(*HEADER))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); expected a table of verdicts or a new file") from None
    return {r[0] for r in rows[1:]}


def _is_whole(line: bytes) -> bool:
    cells = next(csv.reader([line.decode(errors="replace")]), [])
    return line.endswith(b"\n") and b"\0" not in line and len(cells) == len(HEADER)


def append(path: Path, line: str) -> None:
    """Append a line, and wait until it is on the disk."""
    with path.open("ab") as f:
        f.write(line.encode())
        f.flush()
        os.fsync(f.fileno())


def watch(
    model: Model, folder: Path, table: Path, interval: float = 5.0, once: bool = False, sleep: Callable = time.sleep
) -> Iterator[Verdict]:
    """Score the files of a folder as they appear, each name once, also over restarts; yields each verdict when it is stored.

    Parameters
    ----------
    model : Model
    folder : Path
        Whatever is named ``*.wav`` directly in it is scored; of pairs, when both files are there.
    table : Path
        A row for each file, see `HEADER`; `file` is its name in the folder.
    interval : float
        Seconds between looks, > 0. A file is taken when size and time of change are the same in two looks.
    once : bool
        End after two looks.
    sleep : callable
        Waits for some seconds; for tests.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the one that recordings arrive in")
    done, before = open_table(table), {}
    for look in range(2) if once else count():
        if look:
            sleep(interval)
        now = _look(model, folder, done)
        for path in sorted(p for p in now if before.get(p) == now[p]):
            verdict = model.judge(path)
            if os.path.lexists(path):  # else it has been moved away meanwhile
                append(table, row(path.name, verdict.score, verdict.decision, verdict.error))
                done.add(one_line(path.name))
                yield verdict
        before = now


def _look(model: Model, folder: Path, done: set[str]) -> dict[Path, tuple]:
    """Size and time of change of each recording in a folder that is not done; of pairs those of both files."""
    try:
        with os.scandir(folder) as entries:
            names = {e.name for e in entries if e.name.lower().endswith(".wav") and not e.name.startswith(".")}
    except OSError as error:  # a share that is away for a moment
        warnings.warn(f"{folder}: cannot be listed ({error.strerror}); tried again", stacklevel=2)
        return {}
    paths, pairs = [folder / name for name in names if one_line(name) not in done], model.reading.pairs
    if pairs:
        paths = [p for p in paths if not is_far(p) and (model.reading.near_only or far_of(p).name in names)]
    return {p: (_state(p), _state(far_of(p)) if pairs else ()) for p in paths}


def _state(path: Path) -> tuple:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns
