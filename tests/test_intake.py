"""A person's folder: pairs found, aligned or refused; long recordings cut and kept together; what a model was fitted on."""

import logging
import re

import numpy as np
import pytest
import soundfile

from asdkit.recordings import Clip, InputError, Reading, align, check_order, read_folder, segments, training_record

RNG = np.random.default_rng(0)
ROOM = RNG.normal(size=16000 * 50).astype(np.float32)
PAIRS = Reading(pairs=True)


def write(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * samples, 16000, subtype="FLOAT")
    return path


def stereo(path, seconds=2.0):
    samples = ROOM[: round(seconds * 16000)]
    return write(path, np.stack([samples, samples[::-1]], 1))


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


@pytest.mark.parametrize("late", [0.2, 0.0, -0.3])
def test_a_pair_is_aligned_to_the_sample_and_trimmed(tmp_path, late):
    path = pair(tmp_path, "a", late=late)
    found = align(path, PAIRS)
    assert found.lag == pytest.approx(late, abs=1e-6) and found.drift == 0 and found.coherence == pytest.approx(0.8, abs=0.03)
    (clip,) = segments(Clip(path, reading=PAIRS))
    near, far = clip.read()
    assert len(near) == 48000 - max(0, -round(late * 16000)) and np.corrcoef(near, far)[0, 1] > 0.8


def test_drift_is_measured_and_followed(tmp_path):
    path = pair(tmp_path, "a", seconds=45, ppm=60)
    assert align(path, PAIRS).drift == pytest.approx(60, abs=5)
    clips = segments(Clip(path, reading=PAIRS))
    assert len(clips) == 4 and clips[3].lag - clips[0].lag == pytest.approx(60e-6 * 33.75, abs=3e-4)
    assert len({c.name for c in clips}) == len({c.place for c in clips}) == 4 and {c.path for c in clips} == {path}


@pytest.mark.parametrize(("far", "says"), [
    (ROOM[-40000:], "found no sound in common .*expected recordings of one"),
    (0 * ROOM[:40000], "found no sound in common"),
    (ROOM[28000:60000], "found 0.75 s in common, expected 1 s or more"),
])  # fmt: skip
def test_strangers_silence_and_moments_are_refused_with_both_names(tmp_path, far, says):
    write(tmp_path / "a_near.wav", ROOM[:40000])
    write(tmp_path / "a_far.wav", far)
    with pytest.raises(InputError, match=f"a_near.wav and .*a_far.wav: {says}"):
        read_folder(tmp_path)


def test_pairs_are_seen_without_being_told(tmp_path, caplog):
    paths = [pair(tmp_path, name) for name in ("mon", "tue")]
    with caplog.at_level(logging.INFO, "asdkit"):
        clips = read_folder(tmp_path, PAIRS, "target")
    assert [(c.path, c.domain, c.recording) for c in clips] == [(path, "target", path.name) for path in paths]
    assert "mon_near.wav: lag 200.00 ms, drift 0 ppm, coherence 0.8" in caplog.text
    assert "2 pairs; medians and ranges: lag ms 200" in caplog.text
    assert read_folder(tmp_path, domain="target") == clips
    for where in (paths[0], tmp_path / "mon_far.wav", paths[:1], [paths[0], tmp_path / "mon_far.wav"]):
        assert read_folder(where, domain="target") == clips[:1]


def test_a_file_of_no_pair_is_refused_and_near_alone_reads_no_far_file(tmp_path):
    path = pair(tmp_path, "mon")
    far = (tmp_path / "mon_far.wav").read_bytes()
    (tmp_path / "mon_far.wav").write_bytes(b"")
    for pairs in (True, False):
        (clip,) = read_folder(tmp_path if pairs else [path], Reading(near_only=True, pairs=pairs))
        assert clip.files == (path,) and not clip.read()[1].any()
    (tmp_path / "mon_far.wav").write_bytes(far)
    (tmp_path / "mon_far.wav").rename(tmp_path / "tue_far.wav")
    says = "mon_near.wav: found no mon_far.wav beside it, expected NAME_near.wav and NAME_far.wav"
    with pytest.raises(InputError, match=says):
        read_folder(tmp_path)
    (tmp_path / "tue_far.wav").rename(tmp_path / "mon_far.wav")
    stereo(tmp_path / "stereo.wav")
    with pytest.raises(InputError, match="stereo.wav: found no stereo_far.wav"):
        read_folder(tmp_path)


def test_the_training_record_tells_contents_apart(tmp_path):
    path = stereo(tmp_path / "a.wav")
    first, again = (training_record(read_folder(tmp_path)) for _ in range(2))
    assert (first["clips"], first["recordings"]) == (1, 1) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00", first["date"])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert first["sha256"] == again["sha256"] != training_record(read_folder(tmp_path))["sha256"]


@pytest.mark.parametrize(("seconds", "n"), [(3, 1), (19.9, 1), (20, 2), (35, 3), (45.5, 4)])
def test_long_recordings_are_cut_and_stay_one_group(tmp_path, seconds, n):
    path = stereo(tmp_path / "a.wav", seconds)
    clips = read_folder(tmp_path)
    assert len(clips) == n and {c.recording for c in clips} == {"a.wav"}
    np.testing.assert_array_equal(np.concatenate([c.read() for c in clips], axis=1), Clip(path).read())
    assert n == 1 or all(10 <= c.read().shape[1] / 16000 <= 20 for c in clips)


def test_channels_that_look_swapped_are_a_warning(tmp_path):
    for i in range(4):
        write(tmp_path / f"{i}.wav", np.stack([ROOM[i * 9000 :][:32000], ROOM[i * 9000 + 90 :][:32000]], 1))
    warning = r"found the far channel to hear first what both hear, in 4 of 4 recordings; .* swapped \(--near 1\), or the noise"
    with pytest.warns(UserWarning, match=warning):
        check_order(read_folder(tmp_path))
    check_order(read_folder(tmp_path, Reading(near=1)))
    stereo(tmp_path / "other.wav")
    check_order(read_folder(tmp_path)[2:])  # two of three


def test_a_folder_a_file_and_files_are_read_alike(tmp_path, monkeypatch):
    names = ["Monday.WAV", "b.wav", "section_00_source_train_anomaly_0000.wav"]  # not read, though it follows the grammar
    paths = [stereo(tmp_path / name, 25) for name in names]
    (tmp_path / "recordings_00.csv").write_text("file_name,recording\nMonday.WAV,x\nb.wav,x\n")
    clips = read_folder(tmp_path, Reading(), "target")
    assert [c.recording for c in clips] == ["x"] * 4 + names[2:] * 2
    assert {(c.domain, c.label, c.split) for c in clips} == {("target", 0, "train")}
    monkeypatch.chdir(tmp_path)
    for where in (str(tmp_path), ".", paths, [names[0], *paths[1:]], iter(paths), list(clips)):
        assert read_folder(where, domain="target") == clips
    assert read_folder(names[2], domain="target") == read_folder([clips[4], clips[5]]) == clips[4:]
    elsewhere = stereo(tmp_path / "elsewhere" / "b.wav")
    assert len({c.recording for c in read_folder([paths[1], elsewhere])}) == 2  # of one name, and no siblings


def test_the_folder_of_a_machine_is_read_as_its_training_clips(tmp_path, caplog):
    names = [f"section_00_{domain}_train_normal_0000_noAttribute.wav" for domain in ("source", "target")]
    for name in (*(f"train/{name}" for name in names), "test/section_00_source_test_anomaly_0000.wav"):
        stereo(tmp_path / name)
    (tmp_path / "recordings_00.csv").write_text("file_name,recording\n" + "".join(f"train/{name},take\n" for name in names))
    with caplog.at_level(logging.INFO, "asdkit"):
        assert [(c.name, c.domain) for c in read_folder(tmp_path)] == list(zip(names, ("source", "target")))
    assert "holds no recordings but the folder train, which is read (domains from the names)" in caplog.text
    assert [c.recording for c in read_folder(tmp_path / "train")] == ["take", "take"]  # the table lies beside it
    stereo(tmp_path / "train" / "tuesday.wav")
    assert [c.domain for c in read_folder(str(tmp_path), domain="target")] == ["target"] * 3
    stereo(tmp_path / "monday.wav")
    assert [c.name for c in read_folder(tmp_path)] == ["monday.wav"]


@pytest.mark.parametrize(("where", "says"), [
    ("nowhere", "nowhere: not readable as audio"), ([], "recordings: found none, expected a folder, a file, or files"),
    (".", "found no .wav files"), ("nul\0", "not readable as audio"), (["."], "not readable as audio"),
])  # fmt: skip
def test_nothing_to_read_is_said(tmp_path, monkeypatch, where, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says):
        read_folder(where)
