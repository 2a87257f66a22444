"""A person's folder: pairs found, aligned or refused; long recordings cut and kept together; what a model was fitted on."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from asdkit.recordings import Clip
from asdkit.recordings.intake import align, check_order, holds_pairs, index_recordings, segments, training_record
from asdkit.recordings.reading import InputError, Reading

RNG = np.random.default_rng(0)
ROOM = RNG.normal(size=16000 * 50).astype(np.float32)
PAIRS = Reading(pairs=True)


def write(path, samples, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * samples, rate, subtype="FLOAT")
    return path


def pair(folder, name, seconds=3.0, late=0.2, ppm=0.0):
    """Two recorders in one room: far was started `late` s earlier, its clock is `ppm` fast and it hears more."""
    import soxr

    first = RNG.integers(8000)
    n, start = round(seconds * 16000), 16000 + first
    far = ROOM[start - round(late * 16000) : start + n]
    if ppm:
        far = soxr.resample(far, 16000, 16000 * (1 + 1e-6 * ppm))
    near = write(folder / f"{name}_near.wav", ROOM[start : start + n])
    write(folder / f"{name}_far.wav", far + 0.5 * RNG.normal(size=len(far)))
    return near


# pairs


@pytest.mark.parametrize("late", [0.2, 0.0, -0.3])
def test_a_pair_is_aligned_to_the_sample_and_trimmed(tmp_path, late):
    path = pair(tmp_path, "a", late=late)
    found = align(path, PAIRS)
    assert found.lag == pytest.approx(late, abs=1e-6) and found.drift == 0 and found.coherence == pytest.approx(0.8, abs=0.03)
    (clip,) = segments(Clip(path, reading=PAIRS))
    near, far = clip.read()
    assert len(near) == 48000 - max(0, -round(late * 16000))
    assert np.corrcoef(near, far)[0, 1] > 0.8


def test_drift_is_measured_and_followed(tmp_path):
    path = pair(tmp_path, "a", seconds=45, ppm=60)
    found = align(path, PAIRS)
    assert found.drift == pytest.approx(60, abs=5)
    clips = segments(Clip(path, reading=PAIRS))
    assert len(clips) == 4 and clips[3].lag - clips[0].lag == pytest.approx(60e-6 * 33.75, abs=3e-4)
    lagged = [re.match(r"a_near.wav \d+", c.name) for c in clips]
    assert all(lagged) and len({c.place for c in clips}) == 4 and len({c.path for c in clips}) == 1


def test_strangers_are_refused_with_both_names(tmp_path):
    write(tmp_path / "a_near.wav", ROOM[:40000])
    write(tmp_path / "a_far.wav", ROOM[-40000:])
    with pytest.raises(InputError, match="a_near.wav and .*a_far.wav: found no sound in common .*expected recordings of one"):
        index_recordings(tmp_path, PAIRS)


def test_silence_is_a_stranger(tmp_path):
    write(tmp_path / "a_near.wav", ROOM[:40000])
    write(tmp_path / "a_far.wav", 0 * ROOM[:40000])
    with pytest.raises(InputError, match="found no sound in common"):
        align(tmp_path / "a_near.wav", PAIRS)


def test_an_overlap_of_moments_is_refused(tmp_path):
    write(tmp_path / "a_near.wav", ROOM[:40000])
    write(tmp_path / "a_far.wav", ROOM[28000:60000])
    with pytest.raises(InputError, match="a_near.wav and .*a_far.wav: found 0.75 s in common, expected 1 s or more"):
        align(tmp_path / "a_near.wav", PAIRS)


def test_a_folder_of_pairs(tmp_path, caplog):
    for name in ("mon", "tue"):
        pair(tmp_path, name)
    assert holds_pairs(tmp_path)
    with caplog.at_level(logging.INFO, "asdkit"):
        clips = index_recordings(tmp_path, PAIRS, "target")
    assert [(c.path.name, c.domain, c.recording) for c in clips] == [
        ("mon_near.wav", "target", "mon_near.wav"), ("tue_near.wav", "target", "tue_near.wav"),
    ]  # fmt: skip
    assert "mon_near.wav" in caplog.text and "lag 200.00 ms, drift 0 ppm, coherence 0.8" in caplog.text
    assert "2 pairs; medians and ranges: lag ms 200" in caplog.text


def test_a_file_of_no_pair_is_refused(tmp_path):
    pair(tmp_path, "mon")
    (tmp_path / "mon_far.wav").rename(tmp_path / "tue_far.wav")
    with pytest.raises(
        InputError, match="mon_near.wav: found no mon_far.wav beside it, expected NAME_near.wav and NAME_far.wav"
    ):
        index_recordings(tmp_path, PAIRS)
    (tmp_path / "tue_far.wav").rename(tmp_path / "mon_far.wav")
    write(tmp_path / "stereo.wav", ROOM[:32000].reshape(-1, 2))
    with pytest.raises(InputError, match="stereo.wav: found no stereo_far.wav"):
        index_recordings(tmp_path, PAIRS)


def test_near_alone_of_pairs_reads_no_far_file(tmp_path):
    pair(tmp_path, "mon")
    (tmp_path / "mon_far.wav").write_bytes(b"")
    (clip,) = index_recordings(tmp_path, replace(PAIRS, near_only=True))
    assert clip.files == (clip.path,) and not clip.read()[1].any()


# cutting


@pytest.mark.parametrize(("seconds", "n"), [(3, 1), (19.9, 1), (20, 2), (35, 3), (45.5, 4)])
def test_long_recordings_are_cut_and_stay_one_group(tmp_path, seconds, n):
    samples = ROOM[: round(seconds * 16000)]
    write(tmp_path / "a.wav", np.stack([samples, samples[::-1]], 1))
    clips = index_recordings(tmp_path, Reading())
    assert len(clips) == n and {c.recording for c in clips} == {"a.wav"}
    whole = Clip(tmp_path / "a.wav").read()
    np.testing.assert_array_equal(np.concatenate([c.read() for c in clips], axis=1), whole)
    assert n == 1 or all(10 <= c.read().shape[1] / 16000 <= 20 for c in clips)


def test_siblings_of_the_table_stay_siblings(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.wav", np.stack([ROOM[:400000], ROOM[1:400001]], 1))
    (tmp_path / "recordings_00.csv").write_text("file_name,recording\na.wav,x\nb.wav,x\n")
    clips = index_recordings(tmp_path, Reading())
    assert [c.recording for c in clips] == ["x"] * 4 + ["c.wav"] * 2


# order of channels


def test_channels_that_look_swapped_are_a_warning(tmp_path):
    for i in range(4):
        write(tmp_path / f"{i}.wav", np.stack([ROOM[i * 9000 :][:32000], ROOM[i * 9000 + 90 :][:32000]], 1))
    warning = r"found the far channel to hear first what both hear, in 4 of 4 recordings; .* swapped \(--near 1\), or the noise"
    with pytest.warns(UserWarning, match=warning):
        check_order(index_recordings(tmp_path, Reading()))
    check_order(index_recordings(tmp_path, Reading(near=1)))


# what a model was fitted on


def test_the_training_record_tells_contents_apart(tmp_path):
    path = write(tmp_path / "a.wav", np.stack([ROOM[:32000], ROOM[1:32001]], 1))
    first = training_record(index_recordings(tmp_path, Reading()))
    assert (first["clips"], first["recordings"]) == (1, 1) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00", first["date"])
    again = training_record(index_recordings(tmp_path, Reading()))
    assert first["sha256"] == again["sha256"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert training_record(index_recordings(tmp_path, Reading()))["sha256"] != first["sha256"]
