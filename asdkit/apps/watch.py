"""A folder that is watched: each recording that arrives gets a row in a table, once, also over restarts."""

import csv
import io
import os
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from asdkit.detector import Detector, FileResult
from asdkit.recordings import InputError, far_of, is_far

HEADER = ("file", "score", "decision", "error")


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
    """Make a table, or go on with the one that is there; returns the files that it has rows of.

    Another table, or one that cannot be written, is an InputError.
    """
    expected = f"expected a table of {','.join(HEADER)}, or a new file"
    try:
        content = path.read_text(errors="replace") if path.exists() else ""
        rows = list(csv.reader(io.StringIO(content.replace("\0", ""))))
        if rows and tuple(rows[0]) != HEADER:
            raise InputError(f"{path}: found another table, {expected}")
        if not rows:
            append(path, row(*HEADER))
        elif not content.endswith("\n"):  # a line that a crash tore: its file is scored again
            append(path, "\n")
            rows.pop()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); {expected}") from None
    return {r[0] for r in rows[1:] if r}


def append(path: Path, line: str) -> None:
    """Append a line, and wait until it is on the disk."""
    with path.open("ab") as f:
        f.write(line.encode())
        f.flush()
        os.fsync(f.fileno())


def watch(
    detector: Detector, folder: Path, table: Path, interval: float = 5.0, once: bool = False, sleep: Callable = time.sleep
) -> Iterator[FileResult]:
    """Score the files of a folder as they appear, each name once, also over restarts; yields each result when it is stored.

    Whatever is named ``*.wav`` directly in `folder` is scored; of pairs, when both files are there. `table` gets a row each,
    see `HEADER`; its `file` is the name in the folder. A file is taken when its size and time of change are the same in two
    looks, `interval` seconds (> 0) apart; `once` ends after two. `sleep` waits for some seconds; for tests.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the one that recordings arrive in")
    done, before, threshold = open_table(table), {}, detector.decision_threshold()
    for look in range(2) if once else count():
        if look:
            sleep(interval)
        now = _look(detector, folder, done)
        for path in sorted(p for p in now if before.get(p) == now[p]):
            result = detector.score_file(path, threshold)
            if os.path.lexists(path):  # else it has been moved away meanwhile
                append(table, row(path.name, result.score, result.decision, result.reason))
                done.add(one_line(path.name))
                yield result
        before = now


def _look(detector: Detector, folder: Path, done: set[str]) -> dict[Path, tuple]:
    """Size and time of change of each recording in a folder that is not done; of pairs those of both files."""
    try:
        names = {name for name in os.listdir(folder) if name.lower().endswith(".wav") and not name.startswith(".")}
    except OSError as error:  # a share that is away for a moment
        warnings.warn(f"{folder}: cannot be listed ({error.strerror}); tried again", stacklevel=2)
        return {}
    paths, pairs = [folder / name for name in names if one_line(name) not in done], detector.reading.pairs
    if pairs:
        paths = [p for p in paths if not is_far(p) and (detector.reading.near_only or far_of(p).name in names)]
    return {p: (_state(p), _state(far_of(p)) if pairs else ()) for p in paths}


def _state(path: Path) -> tuple:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns
