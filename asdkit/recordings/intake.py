"""From a person's files to clips: pairs are found and aligned, long recordings cut, swapped channels noticed.

Legend
------
recording : a file of two channels, a pair of mono files, or with `Reading.near_only` a mono file; its path is the near one's.
clip : a recording, or a segment of 10 to 20 s of one; the segments of one recording are siblings.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from asdkit.recordings.alignment import (
    EDGE_S,
    MAX_CLOCK_DRIFT,
    MIN_PEAK,
    SEARCH_S,
    Alignment,
    coherence,
    find_lag,
    heard_first,
    look_swapped,
)
from asdkit.recordings.clips import Clip, follows_grammar, index_folder, normal_clips, training_clips, wav_files
from asdkit.recordings.reading import InputError, Reading, duration, far_of, is_far, near_of, read_channels, read_pair

SEGMENT_S = 10.0  # a recording of twice that or more is cut
MIN_COMMON_S = 1.0  # that the files of a pair must have in common
MAX_COMPARED = 20  # clips in which channels are compared
log = logging.getLogger("asdkit")


def read_folder(where, reading: Reading | None = None, domain: str = "source") -> tuple[Clip, ...]:
    """Normal recordings as training clips: pairs aligned, long ones cut.

    Parameters
    ----------
    where : path, Clip, or iterable of them
        A folder, a file, or files; of a pair either file or both. A `Clip` is taken as it is. A folder without recordings
        that holds ``train`` is a machine in the layout of the challenge: its training clips are read, with the domains of
        their names where all of these follow the grammar.
    reading : Reading, optional
        Two channels unless told otherwise, and pairs where a file is named ``NAME_far.wav``.
    domain : str
        "source" or "target", of recordings whose names are not read.

    Raises
    ------
    InputError
        Nothing there, unusable recordings, a file without its partner, or a pair with no sound in common.
    """
    if isinstance(where, str | Path) and Path(where).is_dir():
        clips, given = _clips_of_folder(Path(where), domain), ()
    else:
        items = [where] if isinstance(where, str | Path | Clip) else list(where)
        given = tuple(item for item in items if isinstance(item, Clip))
        paths = [Path(item).absolute() for item in items if not isinstance(item, Clip)]
        clips = _clips_of_files(_with_partners(paths) if reading is None or reading.pairs else paths, domain)
    if not clips and not given:
        raise InputError("recordings: found none, expected a folder, a file, or files")
    reading = reading or Reading(pairs=any(is_far(c.path) for c in clips))
    return given + (_prepare(clips, reading) if clips else ())


def _clips_of_folder(folder: Path, domain: str) -> tuple[Clip, ...]:
    train = folder / "train"
    if not train.is_dir() or _recordings_in(folder):
        return index_folder(folder, domain)
    named = all(map(follows_grammar, _recordings_in(train)))
    domains = "domains from the names" if named else f"all {domain}, names that are not the challenge's"
    log.info("%s: holds no recordings but the folder train, which is read (%s)", folder, domains)
    return training_clips(folder.resolve()) if named else index_folder(train, domain)


def _recordings_in(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.suffix.lower() == ".wav" and not p.name.startswith(".")]


def _with_partners(paths: list[Path]) -> list[Path]:
    """The paths, and of each half of a pair the other half where it lies beside it."""
    partners = [far_of(p) if p.stem.endswith("_near") else near_of(p) for p in paths]
    return [*paths, *(p for p in partners if p.is_file())]


def _clips_of_files(paths: list[Path], domain: str) -> tuple[Clip, ...]:
    """Files as training clips; recordings of several folders are told apart by their folder."""
    folders = dict.fromkeys(p.parent for p in paths)
    clips = [c for folder in folders for c in normal_clips([p for p in dict.fromkeys(paths) if p.parent == folder], domain)]
    if len(folders) > 1:
        clips = [replace(c, recording=str(c.path.parent / c.recording)) for c in clips]
    return tuple(clips)


def holds_pairs(folder: str | Path) -> bool:
    """Whether a folder's recordings are pairs of mono files: one of them is named ``NAME_far.wav``."""
    return any(is_far(p) for p in wav_files(Path(folder)))


def index_recordings(folder: str | Path, reading: Reading, domain: str = "source") -> tuple[Clip, ...]:
    """A folder of normal recordings in any names, as training clips: pairs aligned, long ones cut.

    Raises
    ------
    InputError
        Unusable recordings, a file without its partner, or a pair with no sound in common.
    """
    return _prepare(index_folder(folder, domain), reading)


def _prepare(clips: tuple[Clip, ...], reading: Reading) -> tuple[Clip, ...]:
    """Read as `reading` says, pairs aligned, long ones cut."""
    from tqdm.auto import tqdm

    clips = tuple(replace(clip, reading=reading) for clip in clips)
    clips = _near_ones(clips) if reading.pairs else clips
    if reading.near_only or not reading.pairs:
        return tuple(segment for clip in clips for segment in segments(clip))
    alignments = [align(clip.path, reading) for clip in tqdm(clips, desc="pairs", unit="pair")]
    _log_alignments(clips, alignments)
    return tuple(segment for clip, alignment in zip(clips, alignments) for segment in segments(clip, alignment))


def _log_alignments(clips: tuple[Clip, ...], alignments: list[Alignment]) -> None:
    table = np.array([(1000 * a.lag, a.drift, a.coherence) for a in alignments])
    for clip, numbers in zip(clips, table):
        log.info("%s: lag %.2f ms, drift %.0f ppm, coherence %.2f", clip.name, *numbers)
    quantities = zip(("lag ms", "drift ppm", "coherence"), *np.percentile(table, (50, 0, 100), axis=0))
    spans = [f"{name} {median:.3g} ({low:.3g} to {high:.3g})" for name, median, low, high in quantities]
    log.info("%s: %d pairs; medians and ranges: %s", clips[0].path.parent, len(clips), ", ".join(spans))


def _near_ones(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """The near file of each pair; a file that is of none is refused."""
    paths = {c.path for c in clips}
    for path in sorted(paths):
        partner = near_of(path) if is_far(path) else far_of(path)
        if partner not in paths or partner == path:
            raise InputError(f"{path}: found no {partner.name} beside it, expected NAME_near.wav and NAME_far.wav")
    return tuple(c for c in clips if not is_far(c.path))


def segments(clip: Clip, alignment: Alignment | None = None) -> tuple[Clip, ...]:
    """The clips of one recording: itself or, from 20 s on, equal segments of 10 to 20 s. The files of a pair are aligned.

    Raises
    ------
    InputError
        What the headers are enough to refuse, or a pair with no sound in common.
    """
    if len(clip.files) == 2:
        alignment = alignment or align(clip.path, clip.reading)
        cuts = _cut(*alignment.common)
        return tuple(replace(clip, segment=cut, lag=alignment.at(sum(cut) / 2)) for cut in cuts)
    cuts = _cut(0.0, duration(clip.path, clip.reading))
    return (clip,) if len(cuts) == 1 else tuple(replace(clip, segment=cut) for cut in cuts)


def _cut(start: float, stop: float) -> list[tuple[float, float]]:
    edges = np.linspace(start, stop, max(1, int((stop - start) / SEGMENT_S)) + 1).tolist()
    return list(zip(edges, edges[1:]))


def align(near: Path, reading: Reading) -> Alignment:
    """Lag, drift and coherence of a pair of mono files.

    The lag is found in the first minute, and once more in the first and in the last half (of at most 10 s) of what both
    recorded; drift is the difference over the time between.

    Raises
    ------
    InputError
        Where no peak of these correlations is above chance, or the common segment is shorter than a second.
    """
    far, lengths = far_of(near), (duration(near, reading), duration(far_of(near), reading))
    lag, strength = find_lag(*(read_channels(path, reading, (0.0, SEARCH_S))[0] for path in (near, far)))
    start, stop = max(0.0, -lag), min(lengths[0], lengths[1] - lag)
    if stop - start < MIN_COMMON_S:
        raise InputError(f"{near} and {far}: found {max(0, stop - start):.2f} s in common, expected {MIN_COMMON_S:g} s or more")
    edge = min(EDGE_S, (stop - start) / 2)
    distance = stop - start - edge
    first = _aligned(near, reading, (start, start + edge), lag, 0.001 + MAX_CLOCK_DRIFT * min(SEARCH_S, distance))
    last = _aligned(near, reading, (stop - edge, stop), first[0], 0.001 + MAX_CLOCK_DRIFT * distance)
    if (highest := max(strength, first[1], last[1])) < MIN_PEAK:
        nothing = f"found no sound in common (peak of correlation {highest:.1f} above the rest)"
        raise InputError(f"{near} and {far}: {nothing}, expected recordings of one time and room ({MIN_PEAK:g} or more)")
    drift = 1e6 * (last[0] - first[0]) / distance
    return Alignment((first[0] + last[0]) / 2, drift, (first[2] + last[2]) / 2, (start, stop))


def _aligned(near: Path, reading: Reading, segment: tuple[float, float], lag: float, reach: float) -> tuple[float, ...]:
    """Lag within a segment, looked for within `reach` seconds of `lag`; its strength; the coherence there."""
    late, strength = find_lag(*read_pair(near, reading, segment, lag), reach=reach)
    return lag + late, strength, coherence(*read_pair(near, reading, segment, lag + late))


def check_order(clips: tuple[Clip, ...]) -> None:
    """Warn where far hears first what both microphones hear, in nearly all of some of the clips."""
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), MAX_COMPARED)).round().astype(int))
    firsts = [heard_first(*clips[i].read()) for i in chosen]
    if look_swapped(firsts):
        problem = f"found the far channel to hear first what both hear, in {firsts.count(1)} of {len(firsts)} recordings"
        swap = f"the channels are swapped (--near {1 - clips[0].reading.near}), or the noise is louder than the machine"
        warnings.warn(f"{clips[0].path.parent}: {problem}; either {swap}", stacklevel=2)


def training_record(clips: Iterable[Clip]) -> dict:
    """What a model was fitted on: numbers of clips and recordings, a hash of the files' names and contents, the date (UTC)."""
    clips = tuple(clips)
    digest = hashlib.sha256()
    for path in sorted({path for clip in clips for path in clip.files}):
        with path.open("rb") as f:
            digest.update(f"{path.name}:{hashlib.file_digest(f, 'sha256').hexdigest()}\n".encode(errors="surrogateescape"))
    numbers = dict(clips=len(clips), recordings=len({c.recording for c in clips}))
    return dict(**numbers, sha256=digest.hexdigest(), date=datetime.now(UTC).isoformat(timespec="seconds"))
