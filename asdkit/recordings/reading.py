"""Read one recording: near and far from a WAV file of two channels, or from two mono files. Bad files are refused.

Whatever a header claims is checked against the size of the file before a sample is read.

samples : (2, n_samples) float32 in [-1, 1] at 16 kHz, 0 near, 1 far.
segment : (start, stop) in seconds of the near file. lag : seconds that the far file is late: far(t + lag) goes with near(t).
pair : two mono files side by side, ``NAME_near.wav`` and ``NAME_far.wav``, known by the path of the near one.
"""

from __future__ import annotations

import os
import struct
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asdkit.recordings.files import InputError

SAMPLE_RATE = 16000  # Hz, DCASE Task 2
HIGHEST_RATE = 384000  # Hz, that is resampled
FORMATS = ("WAV", "WAVEX", "RF64")
BYTES = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1}
MONO_HINT = "NAME_near.wav beside NAME_far.wav, --near-only and `asdkit simulate --sources` make use of mono recordings"
LOUDEST = 1e6  # times full scale; beyond that powers overflow, and it is no sound


@dataclass(frozen=True)
class Reading:
    """How the recordings of one machine are read. Stored with the model, so that all of them are read alike."""

    near: int = 0  # channel at the machine, 0 or 1
    near_only: bool = False  # no far microphone: one channel is enough, and far is silence
    resample: bool = False  # take other rates, from 16 kHz up
    pairs: bool = False  # near and far are two mono files

    def __post_init__(self):
        flags = (self.near_only, self.resample, self.pairs)
        if type(self.near) is not int or self.near not in (0, 1) or any(type(flag) is not bool for flag in flags):
            raise InputError(f"reading: found {self!r}, expected near 0 or 1 and the rest true or false")
        if self.pairs and self.near == 1:
            raise InputError("reading: found near channel 1 for pairs of mono files, expected their names to say which is near")


TWO_CHANNELS = Reading()


def is_far(path: Path) -> bool:
    """Whether a path is the far one of a pair."""
    return path.stem.endswith("_far")


def far_of(path: Path) -> Path:
    """The far file of a pair."""
    return path.with_name(f"{path.stem.removesuffix('_near')}_far{path.suffix}")


def near_of(path: Path) -> Path:
    """The near file of a pair."""
    return path.with_name(f"{path.stem.removesuffix('_far')}_near{path.suffix}") if is_far(path) else path


def read_clip(
    path: str | Path, reading: Reading = TWO_CHANNELS, segment: tuple[float, float] | None = None, lag: float = 0.0
) -> np.ndarray:
    """Read one recording, or a segment (start, stop) of it in seconds: (2, n_samples) float32, near and far.

    `path` is that of a file of two channels, of the near file of a pair (far is `lag` seconds late), or with
    `reading.near_only` of a file whose other channel does not matter: far is silence then. A channel of digital silence is a
    warning: the clip is still scored, but one microphone was not recording. An InputError for an unreadable, empty or truncated
    file, other channels or rates than `reading` says, or samples that are no sound.
    """
    path = Path(path)
    if reading.pairs and not reading.near_only:
        samples = read_pair(path, reading, segment or (max(0.0, -lag), float("inf")), lag)
    else:
        channels = read_channels(path, reading, segment)
        near = channels[min(reading.near, len(channels) - 1)]
        samples = np.stack([near, np.zeros_like(near) if reading.near_only else channels[1 - reading.near]])
    for name, channel in zip(("near",) if reading.near_only else ("near", "far"), samples):
        if not channel.any():
            warnings.warn(f"{path}: the {name} channel is digital silence; expected sound in both", stacklevel=2)
    return samples


def read_pair(path: Path, reading: Reading, segment: tuple[float, float], lag: float) -> np.ndarray:
    """What both files of a pair have of a segment of the near one, (2, n_samples), far taken `lag` seconds later."""
    start, stop = max(segment[0], -lag), segment[1]
    near, far = (read_channels(p, reading, (start + s, stop + s))[0] for p, s in ((path, 0.0), (far_of(path), lag)))
    n = min(len(near), len(far))
    return np.stack([near[:n], far[:n]])


def read_channels(path: Path, reading: Reading, segment: tuple[float, float] | None = None) -> np.ndarray:
    """All channels of one file at 16 kHz, (n_channels, n_samples) float32, or those of a segment of it."""
    with _opened(path, reading) as f:
        start, stop = (0, f.frames) if segment is None else (round(min(s * f.samplerate, f.frames)) for s in segment)
        start = max(0, start)
        f.seek(start)
        short, rate = f.subtype == "PCM_16", f.samplerate
        samples = f.read(max(0, stop - start), "int16" if short else "float32", always_2d=True).T
    if short:  # as libsndfile does it, in a third of the time
        samples = np.multiply(samples, np.float32(2**-15), order="C")
    if not np.isfinite(loudest := float(np.abs(samples).max(initial=0))):
        raise InputError(f"{path}: found samples that are not finite, expected numbers")
    if loudest > LOUDEST:
        raise InputError(f"{path}: found samples up to {loudest:.3g}, expected -1 to 1")
    if rate == SAMPLE_RATE:
        return samples
    import soxr

    return np.ascontiguousarray(soxr.resample(samples.T, rate, SAMPLE_RATE).T)


def duration(path: Path, reading: Reading) -> float:
    """Length of a file in seconds, from its header; refuses what `read_clip` would refuse by the header."""
    with _opened(path, reading) as f:
        return f.frames / f.samplerate


@contextmanager
def _opened(path: Path, reading: Reading):
    """An open sound file with a checked header. What is not a file, like a pipe, is not opened: that could wait forever."""
    import soundfile

    expected = "expected a 16 kHz two-channel WAV file" if reading == TWO_CHANNELS else "expected a WAV file"
    try:
        if not os.path.isfile(path):
            raise InputError(f"{path}: not readable as audio (no such file, or not a file); {expected}")
        with soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path) as f:  # names of any bytes
            _check_header(path, f, reading)
            yield f
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "error_string", error)  # libsndfile's, without the path
        raise InputError(f"{path}: not readable as audio ({reason}); {expected}") from None


def _check_header(path, f, reading: Reading) -> None:
    """Refuse a file by its header; `f` is open."""
    if f.format not in FORMATS or f.subtype not in BYTES:
        raise InputError(f"{path}: found {f.format} {f.subtype}, expected WAV of plain samples")
    if f.frames == 0:
        raise InputError(f"{path}: found no samples; expected a recording")
    size, frames = os.path.getsize(path), f.frames * f.channels * BYTES[f.subtype]
    there, claimed = _data_chunk(path)
    if claimed is None:
        raise InputError(f"{path}: damaged; found no chunk of samples, expected a WAV file")
    if frames > size or claimed > there:
        raise InputError(f"{path}: truncated; found {there} bytes of audio, expected {max(frames, claimed)}")
    several = ((1, 2), "1 or 2") if reading.near_only else ((2,), "2 (near, far)")
    allowed, expected = ((1,), "1, in each of a pair") if reading.pairs else several
    if f.channels not in allowed:
        hint = f"; {MONO_HINT}" if f.channels == 1 else ""
        raise InputError(f"{path}: found {f.channels} channel(s), expected {expected}{hint}")
    highest = HIGHEST_RATE if reading.resample else SAMPLE_RATE
    if not SAMPLE_RATE <= f.samplerate <= highest:
        expected = f"{SAMPLE_RATE} to {highest} Hz" if reading.resample else f"{SAMPLE_RATE} Hz (--resample takes higher ones)"
        raise InputError(f"{path}: found {f.samplerate} Hz, expected {expected}")


def _data_chunk(path) -> tuple[int, int | None]:
    """Bytes behind the header of a WAV file's samples, and how many it claims; None where there is no such header."""
    n_bytes, long = os.path.getsize(path), None  # long: size of the samples in files over 4 GB
    with open(path, "rb") as f:
        order = ">" if f.read(12)[:4] == b"RIFX" else "<"
        for _ in range(1000):  # chunks; a recording has three or four
            if len(header := f.read(8)) < 8:
                break
            name, size = struct.unpack(f"{order}4sI", header)
            start = f.tell()
            if name == b"data":
                return n_bytes - start, long if size == 0xFFFFFFFF and long else size
            if name == b"ds64":
                long = int.from_bytes(f.read(16)[8:], "little")
            f.seek(start + size + size % 2)
        f.seek(0)  # a chunk of another size than it says: libsndfile looks for the next one, too
        before, _, behind = f.read(1 << 16).partition(b"data")
    return n_bytes - len(before) - 8, struct.unpack(f"{order}I", behind[:4])[0] if len(behind) >= 4 else None
