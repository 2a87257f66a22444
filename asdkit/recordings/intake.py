"""From a person's files to clips: pairs are found and aligned, long recordings cut, swapped channels noticed.

Legend
------
recording : a file of two channels, a pair of mono files, or with `Reading.near_only` a mono file; its path is the near one's.
clip : a recording, or a part of 10 to 20 s of one; the parts of one recording are siblings.
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

from asdkit.recordings import Clip, index_folder, wav_files
from asdkit.recordings.alignment import CHANCE, CLOCKS, NEARBY, SPAN, Alignment, coherence, find_lag, heard_first, look_swapped
from asdkit.recordings.reading import InputError, Reading, duration, far_of, is_far, near_of, read_channels, read_pair

PART = 10.0  # s; a recording of twice that or more is cut
SHORTEST = 1.0  # s that the files of a pair must have in common
LOOKS = 20  # clips in which channels are compared
log = logging.getLogger("asdkit")


def holds_pairs(folder: Path) -> bool:
    """Whether a folder's recordings are pairs of mono files: one of them is named ``NAME_far.wav``."""
    return any(is_far(p) for p in wav_files(Path(folder)))


def index_recordings(folder: Path, reading: Reading, domain: str = "source") -> tuple[Clip, ...]:
    """A folder of normal recordings in any names, as training clips: pairs aligned, long ones cut.

    Raises
    ------
    InputError
        Unusable recordings, a file without its partner, or a pair with no sound in common.
    """
    from tqdm.auto import tqdm

    clips = tuple(replace(clip, reading=reading) for clip in index_folder(folder, domain))
    clips = _near_ones(clips) if reading.pairs else clips
    if reading.near_only or not reading.pairs:
        return tuple(part for clip in clips for part in parts(clip))
    alignments = [align(clip.path, reading) for clip in tqdm(clips, desc="pairs", unit="pair")]
    _report(folder, clips, alignments)
    return tuple(part for clip, alignment in zip(clips, alignments) for part in parts(clip, alignment))


def _report(folder: Path, clips: tuple[Clip, ...], alignments: list[Alignment]) -> None:
    told = np.array([(1000 * a.lag, a.drift, a.coherence) for a in alignments])
    for clip, numbers in zip(clips, told):
        log.info("%s: lag %.2f ms, drift %.0f ppm, coherence %.2f", clip.name, *numbers)
    low, middle, high = np.percentile(told, (0, 50, 100), axis=0)
    what = ("lag ms", "drift ppm", "coherence")
    spans = [f"{name} {m:.3g} ({a:.3g} to {b:.3g})" for name, a, m, b in zip(what, low, middle, high)]
    log.info("%s: %d pairs; medians and ranges: %s", folder, len(clips), ", ".join(spans))


def _near_ones(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """The near file of each pair; a file that is of none is refused."""
    paths = {c.path for c in clips}
    for path in sorted(paths):
        partner = near_of(path) if is_far(path) else far_of(path)
        if partner not in paths or partner == path:
            raise InputError(f"{path}: found no {partner.name} beside it, expected NAME_near.wav and NAME_far.wav")
    return tuple(c for c in clips if not is_far(c.path))


def parts(clip: Clip, alignment: Alignment | None = None) -> tuple[Clip, ...]:
    """The clips of one recording: itself or, from 20 s on, equal parts of 10 to 20 s. The files of a pair are aligned.

    Raises
    ------
    InputError
        What the headers are enough to refuse, or a pair with no sound in common.
    """
    if len(clip.files) == 2:
        alignment = alignment or align(clip.path, clip.reading)
        cuts = _cut(*alignment.common)
        return tuple(replace(clip, part=cut, lag=alignment.at(sum(cut) / 2)) for cut in cuts)
    cuts = _cut(0.0, duration(clip.path, clip.reading))
    return (clip,) if len(cuts) == 1 else tuple(replace(clip, part=cut) for cut in cuts)


def _cut(start: float, stop: float) -> list[tuple[float, float]]:
    edges = np.linspace(start, stop, max(1, int((stop - start) / PART)) + 1).tolist()
    return list(zip(edges, edges[1:]))


def align(near: Path, reading: Reading) -> Alignment:
    """Lag, drift and coherence of a pair of mono files.

    The lag is found in the first minute, and once more in the first and in the last half (of at most 10 s) of what both
    recorded; drift is the difference over the time between.

    Raises
    ------
    InputError
        Where no peak of these correlations is above chance, or the common part is shorter than a second.
    """
    far, lengths = far_of(near), (duration(near, reading), duration(far_of(near), reading))
    lag, strength = find_lag(*(read_channels(path, reading, (0.0, SPAN))[0] for path in (near, far)))
    start, stop = max(0.0, -lag), min(lengths[0], lengths[1] - lag)
    if stop - start < SHORTEST:
        raise InputError(f"{near} and {far}: found {max(0, stop - start):.2f} s in common, expected {SHORTEST:g} s or more")
    span = min(NEARBY, (stop - start) / 2)
    distance = stop - start - span
    first = _aligned(near, reading, (start, start + span), lag, 0.001 + CLOCKS * min(SPAN, distance))
    last = _aligned(near, reading, (stop - span, stop), first[0], 0.001 + CLOCKS * distance)
    if (highest := max(strength, first[1], last[1])) < CHANCE:
        found = f"found no sound in common (peak of correlation {highest:.1f} above the rest)"
        raise InputError(f"{near} and {far}: {found}, expected recordings of one time and room ({CHANCE:g} or more)")
    drift = 1e6 * (last[0] - first[0]) / distance
    return Alignment((first[0] + last[0]) / 2, drift, (first[2] + last[2]) / 2, (start, stop))


def _aligned(near: Path, reading: Reading, part: tuple[float, float], lag: float, reach: float) -> tuple[float, float, float]:
    """Lag within a part, looked for within `reach` seconds of `lag`; its strength; the coherence there."""
    late, strength = find_lag(*read_pair(near, reading, part, lag), reach=reach)
    return lag + late, strength, coherence(*read_pair(near, reading, part, lag + late))


def check_order(clips: tuple[Clip, ...]) -> None:
    """Warn where far hears first what both microphones hear, in nearly all of some of the clips."""
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), LOOKS)).round().astype(int))
    firsts = [heard_first(*clips[i].read()) for i in chosen]
    if look_swapped(firsts):
        found = f"found the far channel to hear first what both hear, in {firsts.count(1)} of {len(firsts)} recordings"
        swap = f"the channels are swapped (--near {1 - clips[0].reading.near}), or the noise is louder than the machine"
        warnings.warn(f"{clips[0].path.parent}: {found}; either {swap}", stacklevel=2)


def training_record(clips: Iterable[Clip]) -> dict:
    """What a model was fitted on: numbers of clips and recordings, a hash of the files' names and contents, the date (UTC)."""
    clips = tuple(clips)
    digest = hashlib.sha256()
    for path in sorted({path for clip in clips for path in clip.files}):
        with path.open("rb") as f:
            digest.update(f"{path.name}:{hashlib.file_digest(f, 'sha256').hexdigest()}\n".encode(errors="surrogateescape"))
    numbers = dict(clips=len(clips), recordings=len({c.recording for c in clips}))
    return dict(**numbers, sha256=digest.hexdigest(), date=datetime.now(UTC).isoformat(timespec="seconds"))
