"""The catalogue, and the whole of `fetch` against a folder served on 127.0.0.1."""

import hashlib
import shutil
import threading
import zipfile
from collections import namedtuple
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asdkit.apps.cli import main
from asdkit.recordings import DATASETS, ZENODO, InputError, fetch
from asdkit.recordings.download import Resume

QUICK = Resume(timeout=10, attempts=2, wait=0.01)
Usage = namedtuple("Usage", "total used free")


class Quiet(SimpleHTTPRequestHandler):
    asked: list[str] = []

    def log_message(self, *_):
        self.asked.append(self.path)


@pytest.fixture
def zenodo(tmp_path, monkeypatch):
    """A folder that is served as the records are: (folder, base URL)."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Quiet.asked.clear()
    folder = tmp_path / "zenodo"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def publish(zenodo, record, name, files, monkeypatch=None):
    """Put an archive on the server; with `monkeypatch` its MD5 becomes the catalogue's."""
    path = zenodo[0] / str(record) / "files" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as z:
        for file, text in files.items():
            z.writestr(file, text)
    if monkeypatch:
        (key,) = (k for k, d in DATASETS.items() if d.record == record)
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        known = {m: (n, md5 if n == name else old) for m, (n, old) in DATASETS[key].archives.items()}
        monkeypatch.setitem(DATASETS, key, replace(DATASETS[key], archives=known))
    return path


def publish_fan(zenodo, sound="sound"):
    files = {"fan/train/a.wav": sound, "fan/test/b.wav": sound, "fan/attributes_00.csv": "", "__MACOSX/fan/._a.wav": "junk"}
    return publish(zenodo, 19336329, "dev_fan.zip", files)


def fetch_fan(zenodo, to, **more):
    return fetch("development", to, ["fan"], zenodo[1], QUICK, **more)


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# the catalogue


def test_the_catalogue_is_complete():
    assert [len(DATASETS[name].archives) for name in ("development", "additional", "evaluation")] == [7, 5, 5]
    assert set(DATASETS["additional"].archives) == set(DATASETS["evaluation"].archives)
    names, sums = zip(*(archive for d in DATASETS.values() for archive in d.archives.values()))
    sums = [md5 for md5 in sums if md5]
    assert len(sums) == len(set(sums)) == 12 and all(len(s) == 32 for s in sums) and len(set(names)) == 17
    assert DATASETS["development"].archives["ToyCar"][0] == "dev_ToyCar_r2.zip"  # the other was withdrawn
    normal = {("train", "source", 0): 990, ("train", "target", 0): 10}
    labelled = {("test", domain, label): 50 for domain in ("source", "target") for label in (0, 1)}
    assert [d.counts for d in DATASETS.values()] == [normal | labelled, normal, {("test", None, None): 200}]
    assert ZENODO == "https://zenodo.org/records"


def test_the_documents_name_every_record_and_machine():
    text = (Path(__file__).parent.parent / "data" / "README.md").read_text()
    for dataset in DATASETS.values():
        assert str(dataset.record) in text and all(machine in text for machine in dataset.archives)


# fetching


def test_a_machine_is_fetched_into_the_official_layout_and_then_left_alone(zenodo, tmp_path):
    publish_fan(zenodo)
    to = tmp_path / "data"
    assert fetch_fan(zenodo, to) == [to / "dev_data/raw/fan"]
    raw = ["dev_data/raw/fan/attributes_00.csv", "dev_data/raw/fan/test/b.wav", "dev_data/raw/fan/train/a.wav"]
    assert files(to) == ["archives/checksums.txt", "archives/dev_fan.zip", *raw]
    (to / "dev_data/raw/fan/train/mine.wav").write_text("mine")
    assert fetch_fan(zenodo, to) == [to / "dev_data/raw/fan"]
    assert Quiet.asked == ["/19336329/files/dev_fan.zip"] and (to / "dev_data/raw/fan/train/mine.wav").exists()


def test_training_and_test_clips_of_an_evaluation_machine_meet(zenodo, tmp_path, monkeypatch):
    train = {"Sander/train/a.wav": "1", "Sander/attributes_00.csv": "of train"}
    publish(zenodo, 20151556, "eval_data_Sander_train.zip", train, monkeypatch)
    test = {"Sander/test/b.wav": "2", "Sander/attributes_00.csv": "of test"}
    publish(zenodo, 20437238, "eval_data_Sander_test.zip", test, monkeypatch)
    for name in ("additional", "evaluation"):
        assert fetch(name, tmp_path, ["Sander"], zenodo[1], QUICK) == [tmp_path / "eval_data/raw/Sander"]
    assert files(tmp_path / "eval_data/raw/Sander") == ["attributes_00.csv", "test/b.wav", "train/a.wav"]
    assert (tmp_path / "eval_data/raw/Sander/attributes_00.csv").read_text() == "of train"


def test_what_a_killed_run_left_is_completed_and_its_draft_removed(zenodo, tmp_path):
    publish_fan(zenodo)
    folder, draft = tmp_path / "dev_data/raw/fan", tmp_path / "archives" / ".dev_fan.zip-unpacking"
    for path in (draft / "fan/train/half.wav", folder / "train/mine.wav"):
        path.parent.mkdir(parents=True)
        path.write_text("")
    fetch_fan(zenodo, tmp_path)
    assert files(folder) == ["attributes_00.csv", "test/b.wav", "train/mine.wav"] and not draft.exists()


# checksums


def test_an_archive_that_is_not_the_published_one_is_removed(zenodo, tmp_path):
    path = publish(zenodo, 20151556, "eval_data_Sander_train.zip", {"Sander/train/a.wav": "wrong"})
    says = f"{path.name}: found another checksum than that of the catalogue, expected MD5 6cbcfbc65a09c4f3d00b9a55c50502ec"
    with pytest.raises(InputError, match=says):
        fetch("additional", tmp_path / "data", ["Sander"], zenodo[1], QUICK)
    assert files(tmp_path / "data") == []


def test_an_unknown_sum_is_recorded_once_and_compared_from_then_on(zenodo, tmp_path):
    path = publish_fan(zenodo)
    (folder,) = fetch_fan(zenodo, tmp_path)
    sums, archive = tmp_path / "archives/checksums.txt", tmp_path / "archives/dev_fan.zip"
    assert sums.read_text() == f"{hashlib.md5(path.read_bytes()).hexdigest()}  dev_fan.zip\n"
    archive.unlink()
    shutil.rmtree(folder / "test")
    publish_fan(zenodo, "another sound")
    with pytest.raises(InputError, match=r"another checksum than that of checksums.txt, expected MD5 \w{32}"):
        fetch_fan(zenodo, tmp_path)
    assert not archive.exists() and not (folder / "test").exists()
    sums.write_text("0123  dev_fan.zip\n")
    with pytest.raises(InputError, match="checksums.txt: found the line .*, expected an MD5 sum"):
        fetch_fan(zenodo, tmp_path)


def test_a_spoilt_archive_on_disk_is_fetched_again(zenodo, tmp_path, monkeypatch):
    path = publish(zenodo, 20437238, "eval_data_Sander_test.zip", {"Sander/test/b.wav": "2"}, monkeypatch)
    spoilt = tmp_path / "archives" / path.name
    spoilt.parent.mkdir()
    spoilt.write_bytes(path.read_bytes()[:-9])
    fetch("evaluation", tmp_path, ["Sander"], zenodo[1], QUICK)
    assert spoilt.read_bytes() == path.read_bytes()


# archives that are not what they should be


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ({"../evil.wav": "", "fan/train/a.wav": "", "fan/test/b.wav": ""}, "expected none that leads outside; it was removed"),
        ({"fan/train/a.wav": ""}, "found no fan/test in it, expected fan/train, test; it was removed"),
        ({"fan/train/a.wav": "damaged", "fan/test/b.wav": ""}, r"damaged \(Bad CRC-32.*it was removed"),
    ],
)
def test_a_wrong_archive_is_removed_and_not_recorded(zenodo, tmp_path, contents, says):
    path = publish(zenodo, 19336329, "dev_fan.zip", contents)
    path.write_bytes(path.read_bytes().replace(b"damaged", b"Damaged"))
    with pytest.raises(InputError, match=says):
        fetch_fan(zenodo, tmp_path / "data")
    assert files(tmp_path / "data") == []


def test_a_full_disk_keeps_the_archive(zenodo, tmp_path, monkeypatch):
    publish_fan(zenodo)
    usage = iter([10**9, 1])
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 0, next(usage)))
    with pytest.raises(InputError, match="expected at least .* for the files of dev_fan.zip"):
        fetch_fan(zenodo, tmp_path / "data")
    assert files(tmp_path / "data") == ["archives/dev_fan.zip"]


# the command


def test_the_command_prints_where_things_are_the_licence_and_the_citation(zenodo, tmp_path, capsys, monkeypatch):
    publish(zenodo, 20437238, "eval_data_Sander_test.zip", {"Sander/test/b.wav": "2"}, monkeypatch)
    arguments = ["fetch", "evaluation", "--to", str(tmp_path), "--machines", "Sander", "--base-url", zenodo[1]]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "eval_data/raw/Sander") in out
    assert "CC BY-NC-SA 4.0" in out and "10.5281/zenodo.20437238" in out and "arXiv 2606.01578" in out


def test_the_erratum_is_said(zenodo, tmp_path, caplog):
    with caplog.at_level("INFO"), pytest.raises(InputError, match="dev_ToyCar_r2.zip: found HTTP 404"):
        fetch("development", tmp_path, ["ToyCar"], zenodo[1], QUICK)
    assert "dev_ToyCar_r2.zip replaces dev_ToyCar.zip" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["training"], "set: found training; expected development, additional, evaluation"),
        (["evaluation", "--machines", "fan"], "machines: found fan; expected ToyDrone, "),
    ],
)
def test_unknown_names_are_refused_before_anything_is_made(tmp_path, capsys, arguments, says):
    assert main(["fetch", *arguments, "--to", str(tmp_path / "data")]) == 2
    out, err = capsys.readouterr()
    assert says in err and not out and not (tmp_path / "data").exists()
