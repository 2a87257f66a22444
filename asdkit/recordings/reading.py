"""Read one recording: near and far from a WAV file of two channels, or from two mono files. Bad files are refused.

Whatever a header claims is checked against the size of the file before a sample is read.

Legend
------
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

    @property
    def channels(self) -> tuple[int, ...]:
        """Numbers of channels that a file may have."""
        return (1,) if self.pairs else (1, 2) if self.near_only else (2,)


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
    """Read one recording, or a segment of it.

    Parameters
    ----------
    path : path
        Of a file of two channels, of the near file of a pair, or with `reading.near_only` of a mono file.
    segment : (start, stop), optional
        Seconds.
    lag : float
        Seconds that the far file of a pair is late.

    Returns
    -------
    samples : (2, n_samples) float32
        Channel 0 near, 1 far; far is silence with `reading.near_only`.

    Raises
    ------
    InputError
        Unreadable, empty or truncated file, other channels or rates than `reading` says, or samples that are no sound.

    Warns
    -----
    UserWarning
        Digital silence in a channel: the clip is still scored, but one microphone was not recording.
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
        samples, rate = f.read(max(0, stop - start), dtype="float32", always_2d=True).T, f.samplerate
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: found samples that are not finite, expected numbers")
    if samples.size and (loudest := float(np.abs(samples).max())) > LOUDEST:
        raise InputError(f"{path}: found samples up to {loudest:.3g}, expected -1 to 1")
    return samples if rate == SAMPLE_RATE else _resampled(samples, rate)


def duration(path: Path, reading: Reading) -> float:
    """Length of a file in seconds, from its header; refuses what `read_clip` would refuse by the header."""
    with _opened(path, reading) as f:
        return f.frames / f.samplerate


def _resampled(samples, rate):
    import soxr

    return np.ascontiguousarray(soxr.resample(samples.T, rate, SAMPLE_RATE).T)


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
    if f.format not in FORMATS or f.subtype not in BYTES:
        raise InputError(f"{path}: found {f.format} {f.subtype}, expected WAV of plain samples")
    if f.frames == 0:
        raise InputError(f"{path}: found no samples; expected a recording")
    size, claimed = os.path.getsize(path), f.frames * f.channels * BYTES[f.subtype]
    if claimed > size:
        raise InputError(f"{path}: truncated; found {size} bytes, expected {claimed} of audio")
    there, claimed = _data_chunk(path)
    if claimed > there:
        raise InputError(f"{path}: truncated; found {there} bytes of audio, expected {claimed}")
    if f.channels not in reading.channels:
        expected = {(1,): "1, in each of a pair", (1, 2): "1 or 2", (2,): "2 (near, far)"}[reading.channels]
        hint = f"; {MONO_HINT}" if f.channels == 1 else ""
        raise InputError(f"{path}: found {f.channels} channel(s), expected {expected}{hint}")
    if reading.resample and not SAMPLE_RATE <= f.samplerate <= HIGHEST_RATE:
        raise InputError(f"{path}: found {f.samplerate} Hz, expected {SAMPLE_RATE} to {HIGHEST_RATE} Hz")
    if not reading.resample and f.samplerate != SAMPLE_RATE:
        raise InputError(f"{path}: found {f.samplerate} Hz, expected {SAMPLE_RATE} Hz (--resample takes higher ones)")


def _data_chunk(path) -> tuple[int, int]:
    """Bytes behind the header of a WAV file's samples, and how many it claims; (0, 0) where there is no such header."""
    with open(path, "rb") as f:
        order = ">" if f.read(12)[:4] == b"RIFX" else "<"
        long = None  # size of the samples in files over 4 GB
        for _ in range(1000):  # chunks; a recording has three or four
            if len(header := f.read(8)) < 8:
                break
            name, size = struct.unpack(f"{order}4sI", header)
            content = f.tell()
            if name == b"data":
                return os.path.getsize(path) - content, long if size == 0xFFFFFFFF and long else size
            if name == b"ds64":
                long = int.from_bytes(f.read(16)[8:], "little")
            f.seek(content + size + size % 2)
    return 0, 0
