"""Other people's mono recordings, played in a room with a near and a far microphone, in the DCASE 2026 layout.

Recordings (wav, flac, ogg, aiff) with `anomaly` in their names are tested only; the normal ones are split between training and
test as wholes. Test recordings are rendered once in each domain. All training clips are rendered in the source domain, and some
of them, evenly spaced, in the target domain too; `recordings_00.csv` says which clips are of one recording. The domains differ
in the noise files (first and second half of the names) and in the level of the noise.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from ..recordings import InputError
from .datasets import is_complete, new_machine, write_clip, write_table
from .machines import SAMPLE_RATE, rms
from .rooms import Layout, Room, draw_room, impulse_responses, play
from .scenes import NEAR_LEVEL, VERSION, stream

SUFFIXES = {".wav", ".flac", ".ogg", ".aif", ".aiff"}
LAYOUT = Layout(far_distance=2.5, reverberation=0.25, loudspeakers=2)
log = logging.getLogger("asdkit")


def render_recordings(
    sources: str | Path, noise: str | Path, out: str | Path, machine: str = "machine", seconds: float = 10.0,
    n_target: int = 10, test_share: float = 0.3, snr_source: tuple[float, float] = (0.0, 8.0),
    snr_target: tuple[float, float] = (-5.0, 3.0), seed: int = 0,
) -> None:  # fmt: skip
    """Render mono recordings of a machine, and of noise, to near and far: `<out>/<machine>`, settled by `seed`.

    What is there of the same recordings and parameters is left alone; anything else there is an InputError, and so is a folder
    without audio or with fewer than two normal recordings.

    Parameters
    ----------
    seconds : float
        Longer recordings are cut into clips of this length (a shorter rest is dropped); shorter ones are kept whole.
    n_target, test_share : int, float
        Training clips of the target domain, at most; share of the normal recordings kept for testing, 0..1.
    snr_source, snr_target : pair of float
        Range of a typical normal recording over the noise at the near microphone, dB.
    """
    recordings, noises = audio_files(sources), audio_files(noise)
    parameters = dict(
        version=VERSION, made_by="render_recordings", seconds=float(seconds), n_target=n_target, test_share=test_share,
        seed=seed, snr_source=list(snr_source), snr_target=list(snr_target), sources=_digest(recordings), noise=_digest(noises),
    )  # fmt: skip
    if not is_complete(Path(out) / machine, parameters):
        train, test = _split(recordings, test_share, stream(seed, machine, 1))
        plan = list(_plan(train, test, seconds, n_target))
        stages = _stages(train, noises, snr_source, snr_target, stream(seed, machine, 2))
        with new_machine(Path(out) / machine, parameters) as folder:
            _write(folder, stages, plan, (seed, machine))


@dataclass(frozen=True)
class Stage:
    """Where and in what noise the recordings of one domain are played."""

    room: Room
    noises: tuple[Path, ...]
    snr: tuple[float, float]  # dB
    level: float  # factor that brings a typical normal recording to `NEAR_LEVEL` at the near microphone

    def render(self, sound: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        """Play `sound` (n_samples,); return the clip (2, n_samples) and the truth about its noise."""
        path, snr = self.noises[rng.integers(len(self.noises))], rng.uniform(*self.snr)
        tape = read_mono(path)
        starts = rng.integers(0, len(tape), len(self.room.loudspeakers))
        stretches = [np.take(tape, np.arange(start, start + len(sound)), mode="wrap") for start in starts]
        noise = play(self.room, np.stack(stretches), first=1)
        # Set against a typical recording, not this one: the level of the noise must not tell a loud fault.
        noise *= NEAR_LEVEL * 10 ** (-snr / 20) / max(rms(noise[0]), 1e-9)
        return play(self.room, self.level * sound[None]) + noise, dict(near_snr_db=round(snr, 2), noise=path.stem)


def _stages(train: list[Path], noises: list[Path], snr_source, snr_target, rng: np.random.Generator) -> dict[str, Stage]:
    """One room; the first half of the noises for the source domain, the second for the target."""
    room, half = draw_room(LAYOUT, rng), len(noises) // 2  # a single noise file serves both domains
    typical = float(np.median([rms(read_mono(path, warn=False)) for path in train]))
    if typical == 0:
        raise InputError(f"{train[0].parent}: most normal recordings are silent; expected sound")
    level = NEAR_LEVEL / typical / float(np.linalg.norm(impulse_responses(room)[0, 0]))
    return {
        "source": Stage(room, tuple(noises[: len(noises) - half]), tuple(snr_source), level),
        "target": Stage(room, tuple(noises[-half:]), tuple(snr_target), level),
    }


def audio_files(folder: str | Path) -> list[Path]:
    """Audio files of a folder, by name."""
    files = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        what = "audio files" if Path(folder).is_dir() else "such folder"
        raise InputError(f"{folder}: found no {what}; expected {', '.join(sorted(SUFFIXES))}")
    return files


def read_mono(path: Path, warn: bool = True) -> np.ndarray:
    """Read a recording (n_samples,), float32, 16 kHz; of several channels the first, with a warning."""
    import soundfile as sf
    import soxr

    sound, rate = sf.read(path, dtype="float32", always_2d=True)
    if not len(sound):
        raise InputError(f"{path}: found no samples; expected a recording")
    if warn and sound.shape[1] > 1:
        warnings.warn(f"{path}: found {sound.shape[1]} channels, expected 1; the first is used", stacklevel=2)
    return soxr.resample(np.ascontiguousarray(sound[:, 0]), rate, SAMPLE_RATE)


def _digest(paths: list[Path]) -> str:
    """Names and contents of files in a line."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return f"{len(paths)} files, sha256 {digest.hexdigest()[:16]}"


def _split(recordings: list[Path], test_share: float, rng: np.random.Generator) -> tuple[list[Path], list[Path]]:
    """Normal recordings to train on; the rest of the normal ones, and all anomalies, to test on."""
    normal = [path for path in recordings if _label(path) == "normal"]
    if len(normal) < 2:
        raise InputError(f"{recordings[0].parent}: found {len(normal)} normal recordings; expected 2 or more")
    n_test = min(max(1, round(test_share * len(normal))), len(normal) - 1)
    kept = {normal[i] for i in rng.permutation(len(normal))[:n_test]}
    return [path for path in normal if path not in kept], [p for p in recordings if p in kept or p not in normal]


Piece = tuple[str, Path, int, int]  # condition, recording, first sample, number of samples


def _plan(train: list[Path], test: list[Path], seconds: float, n_target: int) -> Iterator[Piece]:
    """Yield the clips to render."""
    if seconds <= 0:
        raise InputError(f"clips of {seconds} s are impossible; expected more than 0 s")
    pieces = [piece for path in train for piece in _pieces(path, seconds)]
    yield from (("source_train_normal", *piece) for piece in pieces)
    chosen = np.unique(np.linspace(0, len(pieces) - 1, min(n_target, len(pieces))).round().astype(int))
    yield from (("target_train_normal", *pieces[i]) for i in chosen)
    for domain, path in product(("source", "target"), test):
        yield from ((f"{domain}_test_{_label(path)}", *piece) for piece in _pieces(path, seconds))


def _label(path: Path) -> str:
    return "anomaly" if "anomaly" in path.name.lower() else "normal"


def _pieces(path: Path, seconds: float) -> list[tuple[Path, int, int]]:
    total, length = len(read_mono(path, warn=False)), round(seconds * SAMPLE_RATE)
    return [(path, i * length, length) for i in range(total // length)] or [(path, 0, total)]


def _write(folder: Path, stages: dict[str, Stage], plan: list[Piece], key: tuple[int, str]) -> None:
    """Render and write all clips, then the tables."""
    from tqdm.auto import tqdm

    truth, counts = [], {}
    for index, (condition, path, start, length) in enumerate(tqdm(plan, folder.name, unit="clip")):
        stage = stages[condition.split("_")[0]]
        clip, about_noise = stage.render(read_mono(path)[start : start + length], stream(*key, 3, index))
        if np.abs(clip).max() > 1:
            log.warning("%s: louder than full scale in its clip at %.1f s", path, start / SAMPLE_RATE)
        number = counts[condition] = counts.get(condition, -1) + 1
        name = write_clip(folder, condition, number, "noAttribute", clip)
        truth.append(dict(file_name=name, recording=path.stem, start_s=start / SAMPLE_RATE, **about_noise))
    write_table(folder / "attributes_00.csv", [dict(file_name=row["file_name"]) for row in truth])
    write_table(folder / "recordings_00.csv", [{key: row[key] for key in ("file_name", "recording")} for row in truth])
    write_table(folder / "simulation.csv", truth)
