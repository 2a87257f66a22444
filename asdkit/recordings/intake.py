"""From a person's files to clips: pairs are found and aligned, long recordings cut, swapped channels noticed.

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

from asdkit.recordings.alignment import Alignment, align, far_is_first
from asdkit.recordings.clips import NAME, Clip, read_recordings, training_clips, wav_files
from asdkit.recordings.files import InputError
from asdkit.recordings.reading import Reading, duration, far_of, is_far, near_of

SEGMENT_S = 10.0  # a recording of twice that or more is cut
MAX_COMPARED = 20  # clips in which channels are compared
log = logging.getLogger("asdkit")


def read_folder(where, reading: Reading | None = None, domain: str = "source") -> tuple[Clip, ...]:
    """Normal recordings in any names as training clips: pairs aligned, long ones cut.

    `where` is a folder, a file, or files (of a pair either or both), or clips, which are taken as they are. A folder without
    recordings that holds ``train`` is a machine in the layout of the challenge: its training clips are read, with the domains
    of their names where all of these follow the grammar, else `domain`. Siblings come from ``recordings_00.csv`` beside the
    recordings. `reading` is of two channels by default, and of pairs where a file is named ``NAME_far.wav``.

    Nothing there, unusable recordings, a file without its partner, or a pair with no sound in common are an InputError.
    """
    if isinstance(where, str | Path) and Path(where).is_dir():
        clips, given = _clips_of_folder(Path(where), domain), ()
    else:
        items = [where] if isinstance(where, str | Path | Clip) else list(where)
        given = tuple(item for item in items if isinstance(item, Clip))
        paths = [Path(item).absolute() for item in items if not isinstance(item, Clip)]
        if reading is None or reading.pairs:  # of each half of a pair the other half, where it lies beside it
            partners = [far_of(p) if p.stem.endswith("_near") else near_of(p) for p in paths]
            paths += [p for p in partners if p.is_file()]
        clips = _clips_of_files(paths, domain)
    if not clips and not given:
        raise InputError("recordings: found none, expected a folder, a file, or files")
    reading = reading or Reading(pairs=any(is_far(c.path) for c in clips))
    return given + (_prepare(clips, reading) if clips else ())


def _clips_of_folder(folder: Path, domain: str) -> tuple[Clip, ...]:
    folder, train = folder.resolve(), folder.resolve() / "train"
    if train.is_dir() and not any(p.suffix.lower() == ".wav" for p in folder.glob("[!.]*")):
        named = all(NAME.fullmatch(p.name) for p in train.glob("[!.]*") if p.suffix.lower() == ".wav")
        domains = "domains from the names" if named else f"all {domain}, names that are not the challenge's"
        log.info("%s: holds no recordings but the folder train, which is read (%s)", folder, domains)
        if named:
            return training_clips(folder)
        folder = train
    if not (files := wav_files(folder)):
        raise InputError(f"{folder}: found no .wav files; expected recordings of the healthy machine")
    return _clips_of_files(files, domain)


def _clips_of_files(paths: list[Path], domain: str) -> tuple[Clip, ...]:
    """Files as training clips; their names are not read. Recordings of several folders are told apart by their folder."""
    clips, folders = [], dict.fromkeys(p.parent for p in paths)
    for folder in folders:
        rows = (read_recordings(folder) or read_recordings(folder.parent)).items()  # the latter: of a machine's train folder
        siblings = {name: recording for (split, name), recording in rows if split in ("", folder.name)}
        for path in (p for p in dict.fromkeys(paths) if p.parent == folder):
            recording = siblings.get(path.name, path.name)
            recording = str(folder / recording) if len(folders) > 1 else recording
            clips.append(Clip(path, domain=domain, split="train", label=0, recording=recording))
    return tuple(clips)


def _prepare(clips: tuple[Clip, ...], reading: Reading) -> tuple[Clip, ...]:
    """Read as `reading` says, pairs aligned, long ones cut."""
    from tqdm.auto import tqdm

    clips = tuple(replace(clip, reading=reading) for clip in clips)
    clips = _near_ones(clips) if reading.pairs else clips
    alignments = [None] * len(clips)
    if reading.pairs and not reading.near_only:
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

    An InputError for what the headers are enough to refuse, or a pair with no sound in common.
    """
    if len(clip.files) == 2:
        alignment = alignment or align(clip.path, clip.reading)
        return tuple(replace(clip, segment=cut, lag=alignment.at(sum(cut) / 2)) for cut in _cut(*alignment.common))
    cuts = _cut(0.0, duration(clip.path, clip.reading))
    return (clip,) if len(cuts) == 1 else tuple(replace(clip, segment=cut) for cut in cuts)


def _cut(start: float, stop: float) -> list[tuple[float, float]]:
    edges = np.linspace(start, stop, max(1, int((stop - start) / SEGMENT_S)) + 1).tolist()
    return list(zip(edges, edges[1:]))


def check_order(clips: tuple[Clip, ...]) -> None:
    """Warn where far hears first what both microphones hear, in at least four of five of some clips, three or more."""
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), MAX_COMPARED)).round().astype(int))
    n_first = sum(far_is_first(*clips[i].read()) for i in chosen)
    if len(chosen) >= 3 and n_first >= 0.8 * len(chosen):
        problem = f"found the far channel to hear first what both hear, in {n_first} of {len(chosen)} recordings"
        swap = f"the channels are swapped (--near {1 - clips[0].reading.near}), or the noise is louder than the machine"
        warnings.warn(f"{clips[0].path.parent}: {problem}; either {swap}", stacklevel=2)


def training_record(clips: Iterable[Clip]) -> dict:
    """What a model was fitted on: numbers of clips and recordings, a hash of the files' names and contents, the date (UTC)."""
    clips = tuple(clips)
    digest = hashlib.sha256()
    for path in sorted({path for clip in clips for path in clip.files}):
        with path.open("rb") as f:
            digest.update(f"{path.name}:{hashlib.file_digest(f, 'sha256').hexdigest()}\n".encode(errors="surrogateescape"))
    n_recordings, date = len({c.recording for c in clips}), datetime.now(UTC).isoformat(timespec="seconds")
    return dict(clips=len(clips), recordings=n_recordings, sha256=digest.hexdigest(), date=date)
