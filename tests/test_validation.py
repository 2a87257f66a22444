"""What `asdkit validate` finds in a folder: missing, surplus and damaged files, and data of earlier years."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from asdkit.apps.cli import main
from asdkit.recordings import DATASETS, validate

SOUND = 0.1 * np.random.default_rng(0).normal(size=(160, 2))
SMALL = {990: 9, 10: 3, 50: 4, 200: 7}  # clips of the challenge's machines here; test_download.py checks the real numbers


@pytest.fixture(autouse=True, scope="module")
def small_sets():
    with pytest.MonkeyPatch.context() as patch:
        for name, d in DATASETS.items():
            patch.setitem(DATASETS, name, replace(d, counts={key: SMALL[n] for key, n in d.counts.items()}))
        yield


def names(counts):
    for (split, domain, label), n in counts.items():
        for i in range(n):
            about = f"{domain}_{split}_{('normal', 'anomaly')[label]}_{i:04d}_noAttribute" if domain else f"{i:04d}"
            yield f"{split}/section_00_{about}.wav"


def make(folder, files, sound=SOUND, table=True):
    first = None
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if first is None:
            soundfile.write(path, sound, 16000)
            first = path.read_bytes()
        path.write_bytes(first)
    if table:
        rows = "".join(f"{folder.name}/{name}\n" for name in files if "_train_" in name)
        (folder / "attributes_00.csv").write_text("file_name\n" + rows)
    return folder


@pytest.fixture(scope="module")
def originals(small_sets, tmp_path_factory):
    root = tmp_path_factory.mktemp("originals")
    make(root / "fan", list(names(DATASETS["development"].counts)))
    make(root / "Sander", list(names(DATASETS["additional"].counts | DATASETS["evaluation"].counts)))
    return root


@pytest.fixture
def fan(originals, tmp_path):
    return shutil.copytree(originals / "fan", tmp_path / "data" / "fan")


@pytest.fixture
def pump(tmp_path):
    """A machine that the challenge does not know."""
    counts = {("train", "source", 0): 4, ("train", "target", 0): 2, ("test", "source", 0): 2, ("test", "source", 1): 2}
    return make(tmp_path / "data" / "pump", list(names(counts)))


def findings(folder):
    (check,) = validate(folder)
    return list(check.findings)


def clip(folder, split="train", number=0, domain="source", label="normal"):
    return folder / split / f"section_00_{domain}_{split}_{label}_{number:04d}_noAttribute.wav"


def test_complete_machines_are_clean_and_others_of_their_names_are_not_taken_for_the_challenges(originals, fan):
    checks = validate(originals)
    assert [(c.folder.name, c.sets, c.clips, c.findings) for c in checks] == [
        ("Sander", ("additional", "evaluation"), 19, ()), ("fan", ("development",), 28, ()),
    ]  # fmt: skip
    shutil.copy(clip(fan), clip(fan, number=9))
    assert findings(fan) == [("surplus", "train: found 10 source normal clips, expected 9")]
    for sign in ("simulation.json", "recordings_00.csv"):
        (fan / sign).write_text("")
        assert [(c.sets, c.findings) for c in validate(fan)] == [((), ())]
        (fan / sign).unlink()


def test_missing_clips_are_named_where_a_table_names_them_else_counted(fan, originals, tmp_path):
    clip(fan, number=7).unlink()
    assert findings(fan) == [("missing", f"train/{clip(fan, number=7).name}")]
    for number in (2, 3):
        clip(fan, "test", number, label="anomaly").unlink()
    (fan / "attributes_00.csv").unlink()
    assert findings(fan) == [
        ("missing", "test: found 2 source anomalous clips, expected 4"),
        ("missing", "train: found 8 source normal clips, expected 9"),
    ]
    folder = shutil.copytree(originals / "Sander", tmp_path / "Sander")
    (folder / "test" / "section_00_0006.wav").unlink()
    assert findings(folder) == [("missing", "test/section_00_0006.wav")]  # known by its number
    shutil.rmtree(folder / "test")
    assert findings(folder) == [("missing", "test: found no clips, expected 7 or more")]


def test_other_machines_are_held_to_their_table_where_they_have_one(pump):
    for prefix in ("pump/train/", "train/", "./pump/train/", ""):
        (pump / "attributes_00.csv").write_text(f"file_name,d1p,d1v\n{prefix}{clip(pump, number=9).name},spd,3\n")
        assert findings(pump) == [("missing", f"train/{clip(pump, number=9).name}")]
    (pump / "attributes_00.csv").unlink()
    assert findings(pump) == []
    shutil.rmtree(pump / "train")
    assert findings(pump) == [("missing", "train: found no clips, expected 1 or more")]
    shutil.rmtree(pump / "test")
    make(pump, ["train/section_00_source_train_normal_0000.wav"], table=False)
    assert findings(pump) == []


@pytest.mark.parametrize(("table", "text", "says"), [
    ("attributes_00.csv", b"name\na.wav\n", "attributes_00.csv: found columns name; expected file_name"),
    ("attributes_00.csv", b"d1p,file_name\nspd\n", "attributes_00.csv: found a row that is too short"),
    ("attributes_00.csv", b"file_name\n\xff\xfe\n", "not readable"),
    ("recordings_00.csv", b"file,take\na.wav,1\n", "recordings_00.csv: found columns file, take; expected file_name,rec"),
])  # fmt: skip
def test_tables_that_cannot_be_read(pump, table, text, says):
    (pump / table).write_bytes(text)
    ((kind, problem),) = findings(pump)
    assert kind == "damaged" and says in problem


@pytest.mark.parametrize(("name", "says"), [
    ("train/notes.txt", "found a file that is not .wav, expected recordings alone"),
    ("train/healthy.wav", "the name is outside the grammar; expected section_"),
    ("train/section_00_source_train_anomaly_0100.wav", "found an anomaly among the training clips"),
    ("train/section_00_source_test_normal_0100.wav", "found a name of the test clips, expected one of the train clips"),
    ("test/section_00_source_train_normal_0100.wav", "found a name of the train clips, expected one of the test clips"),
    ("train/section_00_source_train_normal_0001_spd_3.wav", "found the number of section_00_source_train_normal_0001_"),
])  # fmt: skip
def test_files_that_do_not_belong_there_and_hidden_ones_and_tables_that_do(pump, name, says):
    (pump / "train" / ".DS_Store").write_text("")
    (pump / "train" / "recordings_00.csv").write_text("")
    assert clip(pump, domain="target").exists() and clip(pump).exists()  # the same number
    shutil.copy(clip(pump), pump / name)
    assert [(kind, text.partition(": ")[0]) for kind, text in findings(pump)] == [("surplus", name)]
    assert says in findings(pump)[0][1]
    (pump / name).unlink()
    (pump / "train" / "more").mkdir()
    assert findings(pump) == [("surplus", "train/more: found a folder, expected recordings alone")]


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda p: p.write_bytes(p.read_bytes()[:-5]), "truncated; found 635 bytes of audio, expected 640"),
    (lambda p: p.write_text("not audio"), "not readable as audio"),
    (lambda p: soundfile.write(p, SOUND[:, 0], 16000), "found 1 channel(s), expected 2"),
    (lambda p: soundfile.write(p, SOUND * np.nan, 16000, subtype="FLOAT"), "not finite"),
])  # fmt: skip
def test_damaged_clips(pump, spoil, says):
    bad = clip(pump, "test", 1, label="anomaly")
    spoil(bad)
    ((kind, text),) = findings(pump)
    assert kind == "damaged" and text.startswith(f"test/{bad.name}: ") and says in text


@pytest.mark.parametrize("files", [
    [f"train/section_00_source_train_normal_{i:04d}.wav" for i in range(4)],  # as in 2021 to 2025
    [f"train/normal_id_00_{i:08d}.wav" for i in range(3)] + ["test/anomaly_id_00_00000000.wav"],  # as in 2020
])  # fmt: skip
def test_mono_data_point_to_the_renderer(tmp_path, files):
    make(tmp_path / "fan", files, SOUND[:, 0], table=False)
    ((kind, text),) = findings(tmp_path)
    assert kind == "mono" and "4 clips of one channel, as in the Task 2 data until 2025, expected two" in text
    assert "`asdkit simulate OUT --sources FOLDER --noise FOLDER`" in text


def test_the_command_says_what_it_found_and_how_it_ends(pump, tmp_path, capsys):
    shutil.copytree(pump, pump.parent / ".draft" / "pump")  # no machine
    assert main(["validate", str(tmp_path / "data")]) == 0
    assert capsys.readouterr().out == "pump: 10 clips, no finding(s)\n"
    clip(pump).unlink()
    assert main(["validate", str(tmp_path / "data")]) == 1
    assert f"pump: 9 clips, 1 finding(s)\n  missing train/{clip(pump).name}\n" == capsys.readouterr().out
    for folder in (tmp_path / "nowhere", tmp_path / "data" / "pump" / "test"):
        assert main(["validate", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert not out and "no such folder" in err and "found no machine" in err
