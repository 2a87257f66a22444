"""File names, folders, recordings, samples; every bad input by the error or the warning it gets."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asdkit.recordings import Clip, InputError, index_data, index_folder, index_machine, parse_name, read_clip

SOUND = 0.1 * np.random.default_rng(0).normal(size=(1600, 2))
NORMAL = "section_00_source_train_normal_{:04d}_noAttribute.wav".format


def write(path, samples=SOUND, rate=16000, subtype="PCM_16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype, format="WAV")
    return path


def touch(path):
    """A file whose content indexing must not look at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.fixture
def machine(tmp_path):
    """A machine of three training and two test clips, empty files all of them."""
    for i in range(3):
        touch(tmp_path / "fan" / "train" / NORMAL(i))
    for label in ("normal", "anomaly"):
        touch(tmp_path / "fan" / "test" / f"section_00_target_test_{label}_0000_spd_3.wav")
    return tmp_path / "fan"


def refused(path, message):
    """The clip is refused in one line that names the file."""
    with pytest.raises(InputError, match=message) as error:
        read_clip(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


# names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (NORMAL(12), ("00", "source", "train", 0, "noAttribute")),
        ("section_02_target_test_anomaly_0003_A_1_m-n_3.wav", ("02", "target", "test", 1, "A_1_m-n_3")),
        ("section_00_source_test_normal_0000.wav", ("00", "source", "test", 0, "")),
        ("section_00_0007.wav", ("00", None, "test", None, "")),
    ],
)
def test_names_of_the_grammar(name, expected):
    assert parse_name(f"a/b/{name}") == Clip(Path("a/b") / name, *expected, recording=name)


@pytest.mark.parametrize(
    "name",
    [
        "fan.wav", "section_0_0007.wav", "section_00_0007.flac", "section_00_00071.wav", "xsection_00_0007.wav",
        "section_00_0007.wav.bak", "section_00_0007_a.wav", "section_00_middle_train_normal_0000.wav",
        "section_00_source_train_normal_0000noAttribute.wav",
    ],
)  # fmt: skip
def test_names_outside_the_grammar(name):
    with pytest.raises(InputError, match=r"outside the grammar; expected section_<ss>_"):
        parse_name(name)


@given(st.text("abc_-. é9", max_size=20), st.sampled_from(["source", "target"]), st.sampled_from(["normal", "anomaly"]))
def test_attributes_are_kept_as_they_are(attributes, domain, label):
    clip = parse_name(f"section_00_{domain}_test_{label}_0001_{attributes}.wav")
    assert (clip.attributes, clip.domain, clip.label) == (attributes, domain, int(label == "anomaly"))


# folders


def test_index_opens_no_file_and_sorts_by_name(machine):
    found = index_machine(machine)
    assert (found.name, found.folder) == ("fan", machine)
    assert [c.name for c in found.train] == [NORMAL(i) for i in range(3)]
    assert [(c.label, c.domain) for c in found.test] == [(1, "target"), (0, "target")]
    assert [c.recording for c in found.train] == [c.name for c in found.train]


@pytest.mark.parametrize("below", ["", "fan", "dev_data/raw/fan"])
def test_layouts(machine, tmp_path, below):
    root = tmp_path / "data"
    shutil.copytree(machine, root / below)
    name = Path(below).name or "data"
    assert [m.name for m in index_data(root)] == [name]
    assert len(index_data(root)[0].train) == 3


def test_one_machine_is_found_from_inside_its_folder(machine, monkeypatch):
    monkeypatch.chdir(machine)
    assert [m.name for m in index_data(".")] == ["fan"]


def test_machines_come_in_order_and_can_be_chosen(machine, tmp_path):
    shutil.copytree(machine, tmp_path / "eval" / "bearing")
    assert [m.name for m in index_data(tmp_path)] == ["bearing", "fan"]
    assert [m.name for m in index_data(tmp_path, ["fan"])] == ["fan"]
    with pytest.raises(InputError, match="found bearing, fan; expected also pump"):
        index_data(tmp_path, ["fan", "pump"])


def test_two_machines_of_one_name_are_refused(machine, tmp_path):
    shutil.copytree(machine, tmp_path / "eval" / "fan")
    with pytest.raises(InputError, match="found machine fan in two places"):
        index_data(tmp_path)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        index_data(tmp_path / "nowhere")
    with pytest.raises(InputError, match="found no machine; expected <machine>/train"):
        index_data(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        index_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="found no .wav files"):
        index_folder(tmp_path)


def test_a_machine_without_training_clips_is_refused(machine, tmp_path):
    shutil.rmtree(machine / "train")
    (machine / "train").mkdir()
    with pytest.raises(InputError, match="fan: found no training clips; expected .wav files in .*train"):
        index_data(tmp_path)


def test_a_machine_without_a_training_folder_is_refused_not_skipped(machine, tmp_path):
    shutil.copytree(machine / "test", tmp_path / "pump" / "test")
    with pytest.raises(InputError, match="pump: found no training clips"):
        index_data(tmp_path)
    assert [m.name for m in index_data(tmp_path, ["fan"])] == ["fan"]


def test_a_machine_without_test_clips_is_normal(machine):
    shutil.rmtree(machine / "test")
    assert index_machine(machine).test == ()


def test_an_anomaly_among_the_training_clips_is_refused(machine):
    touch(machine / "train" / "section_00_source_train_anomaly_0009.wav")
    with pytest.raises(InputError, match="train_anomaly_0009.wav: found an anomaly among the training clips"):
        index_machine(machine)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_name_outside_the_grammar_is_refused(machine, split):
    touch(machine / split / "healthy.wav")
    with pytest.raises(InputError, match=f"{split}/healthy.wav: the name is outside the grammar"):
        index_machine(machine)


def test_other_files_are_ignored_with_a_warning_and_hidden_ones_without(machine):
    touch(machine / "train" / ".DS_Store")
    index_machine(machine)
    touch(machine / "train" / "notes.txt")
    with pytest.warns(UserWarning, match=r"train: ignored 1 file\(s\) that are not .wav, such as notes.txt"):
        assert len(index_machine(machine).train) == 3


# recordings_00.csv


def csv_text(machine, prefix="fan/"):
    rows = [f"{prefix}train/{NORMAL(i)},take{i // 2}" for i in range(3)]
    return "\n".join(["file_name,recording", *rows, f"{prefix}test/section_00_target_test_normal_0000_spd_3.wav,take0"])


@pytest.mark.parametrize("prefix", ["fan/", "", "./"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_siblings_come_from_the_table(machine, prefix, encoding):
    (machine / "recordings_00.csv").write_text(csv_text(machine, prefix), encoding=encoding)
    found = index_machine(machine)
    assert [c.recording for c in found.train] == ["take0", "take0", "take1"]
    assert [c.recording for c in found.test] == [found.test[0].name, "take0"]  # unknown: its own


def test_a_table_without_its_columns_is_refused(machine):
    (machine / "recordings_00.csv").write_text("file,take\na.wav,1\n")
    with pytest.raises(InputError, match="recordings_00.csv: found columns file, take; expected file_name,recording"):
        index_machine(machine)


def test_a_row_that_is_too_short_is_refused(machine):
    (machine / "recordings_00.csv").write_text(f"recording,file_name\ntake0,train/{NORMAL(0)}\ntake1\n")
    with pytest.raises(InputError, match="recordings_00.csv: .*expected"):
        index_machine(machine)


def test_a_folder_of_any_names(tmp_path, machine):
    touch(tmp_path / "healthy" / "Monday.WAV")
    touch(tmp_path / "healthy" / NORMAL(0).replace("source", "target"))
    clips = index_folder(tmp_path / "healthy", "target")
    assert [(c.name, c.domain, c.label, c.split) for c in clips] == [
        ("Monday.WAV", "target", 0, "train"), (NORMAL(0).replace("source", "target"), "target", 0, "train"),
    ]  # fmt: skip
    assert [c.recording for c in clips] == [c.name for c in clips]
    (machine / "recordings_00.csv").write_text(csv_text(machine))
    assert [c.recording for c in index_folder(machine / "train")] == ["take0", "take0", "take1"]


def test_a_table_in_the_folder_itself(tmp_path):
    for name in ("a.wav", "b.wav"):
        touch(tmp_path / name)
    (tmp_path / "recordings_00.csv").write_text("file_name,recording\na.wav,x\nb.wav,x\n")
    assert [c.recording for c in index_folder(tmp_path)] == ["x", "x"]


# samples


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_reads_near_and_far(tmp_path, subtype):
    samples = read_clip(write(tmp_path / "a.wav", subtype=subtype))
    assert samples.shape == (2, 1600) and samples.dtype == np.float32
    np.testing.assert_allclose(samples, SOUND.T, atol=1e-4)


def test_other_channels_and_rates_are_refused(tmp_path):
    refused(write(tmp_path / "mono.wav", SOUND[:, 0]), r"found 1 channel\(s\), expected 2 .*near-only.*simulate --sources")
    refused(write(tmp_path / "four.wav", np.tile(SOUND, 2)), r"found 4 channel\(s\), expected 2 \(near, far\)$")
    refused(write(tmp_path / "rate.wav", rate=44100), "found 44100 Hz, expected 16000 Hz")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("lost", [1, 4, 1000])
def test_truncated_files_are_refused(tmp_path, subtype, lost):
    path = write(tmp_path / "a.wav", subtype=subtype)
    path.write_bytes(path.read_bytes()[:-lost])
    refused(path, "truncated; found .* bytes of audio, expected")


@pytest.mark.parametrize("kept", [0, 3, 12, 30, 44])
def test_files_cut_inside_the_header_are_refused(tmp_path, kept):
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "expected a")


def test_empty_text_and_missing_files_are_refused(tmp_path):
    refused(write(tmp_path / "empty.wav", SOUND[:0]), "found no samples, expected|found no samples; expected")
    (tmp_path / "text.wav").write_text("not audio at all")
    refused(tmp_path / "text.wav", "not readable as audio")
    refused(tmp_path / "nowhere.wav", "not readable as audio")
    (tmp_path / "folder.wav").mkdir()
    refused(tmp_path / "folder.wav", "not readable as audio")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
    broken = SOUND.copy()
    broken[700, 1] = value
    refused(write(tmp_path / "a.wav", broken, subtype="FLOAT"), "found samples that are not finite")


@pytest.mark.parametrize(("channel", "name"), [(0, "near"), (1, "far")])
def test_digital_silence_is_read_with_a_warning(tmp_path, channel, name):
    silent = SOUND.copy()
    silent[:, channel] = 0
    path = write(tmp_path / "a.wav", silent)
    with pytest.warns(UserWarning, match=f"a.wav: the {name} channel is digital silence"):
        assert read_clip(path)[1 - channel].any()


def test_a_header_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    path = write(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", struct.unpack("<I", content[at : at + 4])[0] + 400)
    path.write_bytes(content)
    refused(path, "truncated; found 6400 bytes of audio, expected 6800")
