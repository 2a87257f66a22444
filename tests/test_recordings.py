"""File names, folders, recordings; every bad input by the error or the warning it gets."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asdkit.recordings import Clip, InputError, index_data, index_machine, parse_name

NORMAL = "section_00_source_train_normal_{:04d}_noAttribute.wav".format


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


@pytest.fixture
def machine(tmp_path):
    for i in range(3):
        touch(tmp_path / "fan" / "train" / NORMAL(i))
    for label in ("normal", "anomaly"):
        touch(tmp_path / "fan" / "test" / f"section_00_target_test_{label}_0000_spd_3.wav")
    return tmp_path / "fan"


@pytest.mark.parametrize(("name", "expected"), [
    (NORMAL(12), ("00", "source", "train", 0, "noAttribute")),
    ("section_02_target_test_anomaly_0003_A_1_m-n_3.wav", ("02", "target", "test", 1, "A_1_m-n_3")),
    ("section_00_source_test_normal_0000.wav", ("00", "source", "test", 0, "")),
    ("section_00_0007.wav", ("00", None, "test", None, "")),
])  # fmt: skip
def test_names_of_the_grammar(name, expected):
    assert parse_name(f"a/b/{name}") == Clip(Path("a/b") / name, *expected, recording=name)


@pytest.mark.parametrize("name", [
    "fan.wav", "section_0_0007.wav", "section_00_0007.flac", "section_00_00071.wav", "xsection_00_0007.wav",
    "section_00_0007.wav.bak", "section_00_0007_a.wav", "section_00_middle_train_normal_0000.wav",
    "section_00_source_train_normal_0000noAttribute.wav",
])  # fmt: skip
def test_names_outside_the_grammar(name):
    with pytest.raises(InputError, match=r"outside the grammar; expected section_<ss>_"):
        parse_name(name)


@given(st.text("abc_-. é9", max_size=20), st.sampled_from(["source", "target"]), st.sampled_from(["normal", "anomaly"]))
def test_attributes_are_kept_as_they_are(attributes, domain, label):
    clip = parse_name(f"section_00_{domain}_test_{label}_0001_{attributes}.wav")
    assert (clip.attributes, clip.domain, clip.label) == (attributes, domain, int(label == "anomaly"))


def test_index_opens_no_file_and_sorts_by_name(machine):
    found = index_machine(machine)
    assert (found.name, found.folder) == ("fan", machine)
    assert [c.name for c in found.train] == [c.recording for c in found.train] == [NORMAL(i) for i in range(3)]
    assert [(c.label, c.domain) for c in found.test] == [(1, "target"), (0, "target")]
    touch(machine / "train" / ".DS_Store")  # hidden files are ignored without a warning
    assert index_machine(machine) == found
    touch(machine / "train" / "notes.txt")
    with pytest.warns(UserWarning, match=r"train: ignored 1 file\(s\) that are not .wav, such as notes.txt"):
        assert index_machine(machine) == found


def test_layouts_are_seen_and_machines_come_in_order_and_can_be_chosen(machine, tmp_path_factory, tmp_path, monkeypatch):
    for below in ("", "fan", "dev_data/raw/fan"):
        root = tmp_path_factory.mktemp("data")
        shutil.copytree(machine, root / below, dirs_exist_ok=True)
        monkeypatch.chdir(root)
        for data in (root, "."):
            assert [(m.name, len(m.train)) for m in index_data(data)] == [(Path(below).name or root.name, 3)]
    (tmp_path / "empty").mkdir()
    shutil.copytree(machine, tmp_path / "eval" / "bearing")
    assert [m.name for m in index_data(tmp_path)] == ["bearing", "fan"]
    assert [m.name for m in index_data(tmp_path, ["fan"])] == ["fan"]
    shutil.copytree(machine, tmp_path / "more" / "fan")
    for folder, chosen, says in (
        ("eval", ["bearing", "pump"], "found bearing; expected also pump"), ("", None, "found machine fan in two places"),
        ("nowhere", None, "nowhere: no such folder"), ("empty", None, "found no machine; expected <machine>/train"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            index_data(tmp_path / folder, chosen)


def test_a_machine_needs_training_clips_of_the_grammar_that_are_normal_and_no_test_clips(machine, tmp_path):
    shutil.copytree(machine / "test", tmp_path / "pump" / "test")
    with pytest.raises(InputError, match="pump: found no training clips; expected .wav files in .*train"):
        index_data(tmp_path)  # refused, not skipped
    for name, says in (
        ("train/healthy.wav", "the name is outside the grammar"), ("test/healthy.wav", "the name is outside the grammar"),
        ("train/section_00_source_train_anomaly_0009.wav", "found an anomaly among"),
    ):  # fmt: skip
        touch(machine / name)
        with pytest.raises(InputError, match=f"{name}: {says}"):
            index_machine(machine)
        (machine / name).unlink()
    shutil.rmtree(machine / "test")
    assert [m.test for m in index_data(tmp_path, ["fan"])] == [()]


@pytest.mark.parametrize("prefix", ["fan/", "", "./"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_siblings_come_from_the_table(machine, prefix, encoding):
    rows = [f"{prefix}train/{NORMAL(i)},take{i // 2}" for i in range(3)]
    rows.append(f"{prefix}test/section_00_target_test_normal_0000_spd_3.wav,take0")
    (machine / "recordings_00.csv").write_text("\n".join(["file_name,recording", *rows]), encoding=encoding)
    found = index_machine(machine)
    assert [c.recording for c in found.train] == ["take0", "take0", "take1"]
    assert [c.recording for c in found.test] == [found.test[0].name, "take0"]  # unknown: its own
    for text in ("file,take\na.wav,1\n", "recording,file_name\ntake0,train/a.wav\ntake1\n"):
        (machine / "recordings_00.csv").write_text(text)
        with pytest.raises(InputError, match="recordings_00.csv: found .*; expected file_name,recording"):
            index_machine(machine)
