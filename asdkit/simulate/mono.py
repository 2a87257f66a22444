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
from collections import defaultdict
from functools import partial
from itertools import count, product
from pathlib import Path

import numpy as np

from ..recordings import InputError, wav_files
from .datasets import is_complete, write_machine
from .machines import SAMPLE_RATE, by_domain, rms
from .rooms import Layout, Room, draw_room, impulse_responses, play
from .scenes import NEAR_LEVEL, VERSION, stream

SUFFIXES = (".aif", ".aiff", ".flac", ".ogg", ".wav")
LAYOUT = Layout(2.5, 0.25, 2, snr=by_domain((0.0, 8.0), (-5.0, 3.0)), noise={})  # the SNR is that of a typical normal recording
TEST_SHARE = 0.3  # of the normal recordings
log = logging.getLogger("asdkit")


def render_recordings(
    sources: str | Path, noise: str | Path, out: str | Path, machine: str = "machine", seconds: float = 10.0,
    n_target: int = 10, seed: int = 0,
) -> None:  # fmt: skip
    """Render mono recordings of a machine, and of noise, to near and far: `<out>/<machine>`, settled by `seed`.

    Recordings longer than `seconds` are cut into clips of that length (a shorter rest is dropped), shorter ones are kept whole;
    the target domain has at most `n_target` training clips. What is there of the same recordings and parameters is left alone;
    anything else there is an InputError, and so is a folder without audio or with fewer than two normal recordings.
    """
    recordings, noises = (wav_files(Path(folder), SUFFIXES) for folder in (sources, noise))
    if not recordings or not noises:
        raise InputError(f"{noise if recordings else sources}: found no audio files; expected {', '.join(SUFFIXES)}")
    snr = {f"snr_{domain}": list(limits) for domain, limits in LAYOUT.snr.items()}
    parameters = dict(
        version=VERSION, made_by="render_recordings", seconds=float(seconds), n_target=n_target, test_share=TEST_SHARE,
        seed=seed, **snr, sources=_digest(recordings), noise=_digest(noises),
    )  # fmt: skip
    if seconds <= 0:
        raise InputError(f"clips of {seconds} s are impossible; expected more than 0 s")
    if not is_complete(Path(out) / machine, parameters):
        train, plan = _plan(recordings, seconds, n_target, seed, machine)
        room, half = draw_room(LAYOUT, stream(seed, machine, 2)), len(noises) // 2  # a single noise file serves both domains
        typical = float(np.median([rms(read_mono(path)) for path in train]))
        if typical == 0:
            raise InputError(f"{sources}: most normal recordings are silent; expected sound")
        level = NEAR_LEVEL / typical / float(np.linalg.norm(impulse_responses(room)[0, 0]))
        render = partial(_render, room, level, by_domain(noises[: len(noises) - half], noises[-half:]))
        write_machine(Path(out) / machine, parameters, render, plan)


def _render(
    room: Room, level: float, noises: dict[str, list[Path]], rng: np.random.Generator,
    condition: str, number: int, path: Path, start: int, length: int,
) -> tuple:  # fmt: skip
    """A stretch of a recording as `write_machine` takes it; `level` brings a typical one to `NEAR_LEVEL` at near."""
    domain, sound = condition.split("_")[0], read_mono(path)[start : start + length]
    noise_path, snr = noises[domain][rng.integers(len(noises[domain]))], rng.uniform(*LAYOUT.snr[domain])
    tape = read_mono(noise_path)
    starts = rng.integers(0, len(tape), LAYOUT.loudspeakers)
    noise = play(room, np.stack([np.take(tape, np.arange(s, s + length), mode="wrap") for s in starts]), first=1)
    # Set against a typical recording, not this one: the level of the noise must not tell a loud fault.
    noise *= NEAR_LEVEL * 10 ** (-snr / 20) / max(rms(noise[0]), 1e-9)
    clip = play(room, level * sound[None]) + noise
    if np.abs(clip).max() > 1:
        log.warning("%s: louder than full scale in its clip at %.1f s", path, start / SAMPLE_RATE)
    truth = dict(recording=path.stem, start_s=start / SAMPLE_RATE, near_snr_db=round(snr, 2), noise=noise_path.stem)
    return condition, number, {}, clip, truth


def read_mono(path: Path) -> np.ndarray:
    """Read a recording (n_samples,), float32, 16 kHz; of several channels the first, with a warning."""
    import soundfile as sf
    import soxr

    sound, rate = sf.read(path, dtype="float32", always_2d=True)
    if not len(sound):
        raise InputError(f"{path}: found no samples; expected a recording")
    if sound.shape[1] > 1:
        warnings.warn(f"{path}: found {sound.shape[1]} channels, expected 1; the first is used", stacklevel=1)
    return soxr.resample(np.ascontiguousarray(sound[:, 0]), rate, SAMPLE_RATE)


def _digest(paths: list[Path]) -> str:
    """Names and contents of files in a line."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return f"{len(paths)} files, sha256 {digest.hexdigest()[:16]}"


def _plan(recordings: list[Path], seconds: float, n_target: int, seed: int, machine: str) -> tuple[list[Path], list[tuple]]:
    """Recordings to train on, and the clips: random stream, condition, number in it, recording, first sample, length."""
    labels = {path: "anomaly" if "anomaly" in path.name.lower() else "normal" for path in recordings}
    normal, length = [path for path in recordings if labels[path] == "normal"], round(seconds * SAMPLE_RATE)
    if len(normal) < 2:
        raise InputError(f"{recordings[0].parent}: found {len(normal)} normal recordings; expected 2 or more")
    n_test = min(max(1, round(TEST_SHARE * len(normal))), len(normal) - 1)
    kept = {normal[i] for i in stream(seed, machine, 1).permutation(len(normal))[:n_test]}
    pieces = {}
    for path in recordings:
        total = len(read_mono(path))
        pieces[path] = [(path, i * length, length) for i in range(total // length)] or [(path, 0, total)]
    train = [path for path in normal if path not in kept]
    known = [piece for path in train for piece in pieces[path]]
    chosen = np.unique(np.linspace(0, len(known) - 1, min(n_target, len(known))).round().astype(int))
    clips = [("source_train_normal", *piece) for piece in known] + [("target_train_normal", *known[i]) for i in chosen]
    for domain, path in product(("source", "target"), [p for p in recordings if p in kept or labels[p] == "anomaly"]):
        clips += [(f"{domain}_test_{labels[path]}", *piece) for piece in pieces[path]]
    numbers = defaultdict(count)
    return train, [(stream(seed, machine, 3, i), clip[0], next(numbers[clip[0]]), *clip[1:]) for i, clip in enumerate(clips)]
