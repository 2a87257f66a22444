"""Reading files: which channel is near, pairs, near alone, other rates; and that no file whatever does harm."""

import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asdkit.recordings.reading import BYTES, InputError, Reading, duration, read_clip

RNG = np.random.default_rng(0)
SOUND = 0.1 * RNG.normal(size=(8000, 2))
NEAR_ONLY = Reading(near_only=True)


def write(path, samples=SOUND, rate=16000, subtype="FLOAT", format="WAV"):
    soundfile.write(path, samples, rate, subtype=subtype, format=format)
    return path


def refused(path, message, reading=Reading(), name=None):  # noqa: B008
    with pytest.raises(InputError, match=message) as error:
        read_clip(path, reading)
    assert (name or str(path)) in str(error.value) and "\n" not in str(error.value)


def test_near_alone_is_near_with_far_silent_and_readings_that_mean_nothing_are_refused(tmp_path):
    stereo, mono = write(tmp_path / "a.wav"), write(tmp_path / "b.wav", SOUND[:, 1])
    for path, reading, channel in ((stereo, NEAR_ONLY, 0), (stereo, replace(NEAR_ONLY, near=1), 1), (mono, NEAR_ONLY, 1)):
        near, far = read_clip(path, reading)
        np.testing.assert_allclose(near, SOUND[:, channel], atol=1e-7)
        assert not far.any()
    for options in (dict(near=2), dict(near=True), dict(near_only="yes"), dict(pairs=None), dict(near=1, pairs=True)):
        with pytest.raises(InputError, match="reading: found .*expected"):
            Reading(**options)


@pytest.mark.parametrize("lag", [0.0, 0.05, -0.05])
def test_a_pair_of_mono_files_is_laid_side_by_side(tmp_path, lag):
    shift, sound, pairs = round(lag * 16000), SOUND[:, 0], Reading(pairs=True)
    near = write(tmp_path / "a_near.wav", sound)
    refused(near, "a_far.wav: not readable as audio", pairs, "a_far.wav")
    write(tmp_path / "a_far.wav")
    refused(near, r"a_far.wav: found 2 channel\(s\), expected 1, in each of a pair", pairs, "a_far.wav")
    write(tmp_path / "a_far.wav", np.r_[np.zeros(shift), sound] if shift > 0 else sound[-shift:])
    samples = read_clip(near, pairs, lag=lag)
    assert samples.shape[1] == 8000 - max(0, -shift)
    np.testing.assert_array_equal(samples[0], samples[1])
    np.testing.assert_array_equal(read_clip(near, pairs, (0.1, 0.2), lag)[1], sound[1600:3200].astype("f4"))


def test_other_rates_are_refused_or_resampled(tmp_path):
    tone = np.sin(2 * np.pi * 1000 * np.arange(48000) / 48000)
    path = write(tmp_path / "a.wav", np.stack([tone, tone], 1), 48000)
    refused(path, r"found 48000 Hz, expected 16000 Hz \(--resample takes higher ones\)")
    near = read_clip(path, Reading(resample=True))[0]
    assert near.shape == (16000,)
    np.testing.assert_allclose(near[500:-500], np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)[500:-500], atol=1e-3)
    assert read_clip(path, Reading(resample=True), (0.25, 0.5)).shape == (2, 4000)
    refused(write(tmp_path / "b.wav", rate=8000), "found 8000 Hz, expected 16000 to", Reading(resample=True))


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    for name in ("pipe", "folder", "dangling", "loop", "x" * 300, "nul\0"):
        refused(tmp_path / f"{name}.wav", "not readable as audio")
    refused(Path("/dev/zero"), "not readable as audio")
    (tmp_path / "a.wav").write_text("no sound")
    refused(tmp_path / "a.wav", r"a.wav: not readable as audio \(Format not recognised.\); expected a 16 kHz two-channel WAV")


@pytest.mark.parametrize(("samples", "options", "says"), [
    (SOUND, dict(format="FLAC", subtype="PCM_16"), "expected WAV of plain samples"),
    (SOUND, dict(format="OGG", subtype="VORBIS"), "expected WAV of plain samples"),
    (SOUND, dict(format="AIFF", subtype="PCM_16"), "expected WAV of plain samples"),
    (SOUND, dict(subtype="IMA_ADPCM"), "expected WAV of plain samples"),
    (SOUND[:, 0], {}, r"found 1 channel\(s\), expected 2 .*near-only.*simulate --sources"),
    (np.tile(SOUND, 2), {}, r"found 4 channel\(s\), expected 2 \(near, far\)$"),
    (SOUND[:0], {}, "found no samples; expected a recording"),
    *((np.r_[SOUND, [[0, x]]], {}, "found samples that are not finite") for x in (np.nan, np.inf, -np.inf)),
    (SOUND + 1e20, {}, "found samples up to 1e.20, expected -1 to 1"),
])  # fmt: skip
def test_other_formats_channels_and_samples_no_microphone_gives_are_refused(tmp_path, samples, options, says):
    refused(write(tmp_path / "a.wav", samples, **options), says)


@pytest.mark.parametrize(("channel", "name"), [(0, "near"), (1, "far")])
def test_digital_silence_is_read_with_a_warning(tmp_path, channel, name):
    path = write(tmp_path / "a.wav", SOUND * (np.arange(2) != channel))
    with pytest.warns(UserWarning, match=f"a.wav: the {name} channel is digital silence"):
        assert read_clip(path)[1 - channel].any()
    with pytest.warns(UserWarning, match="the near channel is digital silence"):
        read_clip(write(tmp_path / "c.wav", 0 * SOUND[:, 0]), NEAR_ONLY)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("lost", [1, 4, 1000])
def test_truncated_files_are_refused(tmp_path, subtype, format, lost):
    path = write(tmp_path / "a.wav", subtype=subtype, format=format)
    n_bytes = 16000 * BYTES[subtype]
    assert read_clip(path).shape == (2, 8000)
    path.write_bytes(path.read_bytes()[:-lost])
    refused(path, f"truncated; found {n_bytes - lost} bytes of audio, expected {n_bytes}")


def test_big_endian_files_chunks_before_the_samples_and_segments_are_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, SOUND, 16000, subtype="PCM_16", endian="BIG")
    np.testing.assert_allclose(read_clip(path), SOUND.T, atol=1e-4)
    content = write(tmp_path / "b.wav", subtype="PCM_16").read_bytes()
    chunk = b"junk" + struct.pack("<I", 9) + b"some data" + b"\0"
    (tmp_path / "b.wav").write_bytes(content[:12] + chunk + content[12:])
    np.testing.assert_allclose(read_clip(tmp_path / "b.wav"), SOUND.T, atol=1e-4)
    (tmp_path / "b.wav").write_bytes(content[:12] + chunk + content[12:-7])
    refused(tmp_path / "b.wav", "truncated; found 31993 bytes of audio, expected 32000")
    np.testing.assert_array_equal(read_clip(path, segment=(0.1, 0.3)), read_clip(path)[:, 1600:4800])
    assert duration(path, Reading()) == 0.5


def test_a_header_of_billions_of_frames_takes_no_memory(tmp_path, monkeypatch):
    """What libsndfile believes is checked against the file's size before anything is read."""

    class Liar(soundfile.SoundFile):
        frames = property(lambda self: 2**40)

        def read(self, *_, **__):
            raise AssertionError("read before it was checked")

    monkeypatch.setattr(soundfile, "SoundFile", Liar)
    refused(write(tmp_path / "a.wav"), "truncated; found .* bytes of audio, expected 8")
