"""Fetching from a server on 127.0.0.1 that does everything wrong, archives that mean harm, and the catalogue."""

import hashlib
import io
import re
import shutil
import stat
import struct
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from asdkit.apps.cli import main
from asdkit.recordings import DATASETS, ZENODO, InputError, fetch
from asdkit.recordings.challenge import MD5
from asdkit.recordings.download import resume, unpack

PART = "dev_fan.zip.part"
Usage = namedtuple("Usage", "total used free")


def zip_bytes(files: dict[str, bytes | str], compression=zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return content.getvalue()


BODY = zip_bytes({"fan/train/a.wav": np.random.default_rng(0).bytes(300_000)})


class Server(ThreadingHTTPServer):
    """Serves `files`, by path; each request takes one behaviour of `script`, and the honest one when it is used up."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.script, self.requests = {"/dev_fan.zip": BODY}, [], []
        self.quit, self.base = threading.Event(), f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""

    def publish(self, record: int, name: str, files: dict, monkeypatch=None) -> bytes:
        """Serve an archive as Zenodo does; with `monkeypatch` its MD5 becomes the catalogue's."""
        content = self.files[f"/{record}/files/{name}"] = zip_bytes(files)
        if monkeypatch:
            monkeypatch.setitem(MD5, name, hashlib.md5(content).hexdigest())
        return content

    def publish_fan(self, sound="sound") -> bytes:
        files = {"fan/train/a.wav": sound, "fan/test/b.wav": sound, "fan/attributes_00.csv": "", "__MACOSX/fan/._a.wav": "junk"}
        return self.publish(19336329, "dev_fan.zip", files)

    def fetch(self, to, name="development", machine="fan"):
        return fetch(name, to, [machine], self.base)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append({"path": self.path} | dict(self.headers))
        self.body = server.files.get(self.path, b"")
        behaviour = server.script.pop(0) if server.script else "honest" if self.path in server.files else "error 404"
        getattr(self, f"be_{behaviour.split()[0]}")(*behaviour.split()[1:])

    def start(self) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(asked[1]) if asked else None

    def head(self, code, length, **headers):
        self.send_response(code)
        for name, value in ({"Content-Length": length} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def be_honest(self, cut="0", stall=""):
        body, start = self.body, self.start()
        if start is not None and start >= len(body):
            return self.head(416, 0, Content_Range=f"bytes */{len(body)}")
        rest = body[start or 0 :]
        span = {} if start is None else {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        self.head(200 if start is None else 206, len(rest), **span)
        self.wfile.write(rest[: int(cut) or None])
        if stall:
            self.wfile.flush()
            self.server.quit.wait(20)

    def be_deaf(self, cut="0"):
        self.head(200, len(self.body))
        self.wfile.write(self.body[: int(cut) or None])

    def be_lost(self):
        self.head(206, 100, Content_Range=f"bytes 7-106/{len(self.body)}")
        self.wfile.write(self.body[7:107])

    def be_lying(self, length):
        """Says another length than it sends, or none, and knows no ranges."""
        self.head(200, None if length == "none" else int(length))
        self.wfile.write(self.body)

    def be_error(self, code):
        self.head(int(code), 4)
        self.wfile.write(b"oops")

    def be_page(self):
        page = b"<!doctype html><title>Please sign in</title>"
        self.head(200, len(page), Content_Type="text/html; charset=utf-8")
        self.wfile.write(page)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, value in dict(TIMEOUT_S=2, ATTEMPTS=3, WAIT_S=0.01).items():
        monkeypatch.setattr(f"asdkit.recordings.download.{name}", value)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.quit.set()
    server.shutdown()
    thread.join()
    server.server_close()


def get(server, folder) -> bytes:
    """Download as pooch would; nothing but the archive is left behind."""
    resume(f"{server.base}/dev_fan.zip", str(folder / "temporary"))
    assert [p.name for p in folder.iterdir()] == ["temporary"]
    return (folder / "temporary").read_bytes()


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_cut_off_in_the_middle_it_goes_on_from_there(server, tmp_path):
    server.script = ["honest 200000", "honest 60000"]
    assert get(server, tmp_path) == BODY
    first, second, third = (r.get("Range", "") for r in server.requests)
    assert first == "" and 0 < int(second[6:-1]) <= 200_000 < int(third[6:-1]) <= 260_000
    assert all(r["Accept-Encoding"] == "identity" and r["User-Agent"].startswith("asdkit") for r in server.requests)


@pytest.mark.parametrize("script", [
    ["honest 40000"] * 7,  # breaks are no failure while something arrives
    ["deaf 200000", "deaf"],  # a server that knows no ranges
    ["honest 200000", "lost"],  # wrong bytes for a range
    [f"lying {len(BODY) + 1000}"],  # the second answer, 416, has nothing of what is missing
    ["lying none"],  # does not say how much will come
    ["honest 200000 stall"],  # a stall is a break
])  # fmt: skip
def test_bad_servers_are_coped_with(server, tmp_path, script):
    server.script = list(script)
    assert get(server, tmp_path) == BODY


def test_a_later_run_goes_on_from_the_part(server, tmp_path):
    server.script = ["honest 200000", *["error 503"] * 3]
    with pytest.raises(InputError, match=r"dev_fan.zip: broke off 3 times \(HTTP 503\); run it again to continue"):
        get(server, tmp_path)
    assert 0 < (tmp_path / PART).stat().st_size <= 200_000
    assert get(server, tmp_path) == BODY and len(server.requests) == 5 and server.requests[4]["Range"]
    (tmp_path / "temporary").unlink()
    (tmp_path / PART).write_bytes(bytes(400_000))  # a part that is longer than the archive is begun anew
    assert get(server, tmp_path) == BODY


def test_a_part_of_another_version_is_noticed_and_removed(server, tmp_path):
    server.publish_fan()
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / PART).write_bytes(bytes(100))
    with pytest.raises(InputError, match="expected a whole zip archive of one machine; it was removed"):
        server.fetch(tmp_path)
    assert files(tmp_path) == [] and server.fetch(tmp_path)


@pytest.mark.parametrize("script", [["deaf 200000"] * 9, [f"lying {len(BODY) + 1000}"] * 9, None])
def test_a_server_that_never_delivers_is_given_up(server, tmp_path, script):
    if script is None:
        server.base = "http://127.0.0.1:9"  # nobody there
    server.script = script or []
    with pytest.raises(InputError, match="broke off 3 times"):
        get(server, tmp_path)
    assert len(server.requests) <= 1 + 3


@pytest.mark.parametrize(("behaviour", "says"), [("page", "a web page"), ("error 403", "HTTP 403"), ("error 404", "HTTP 404")])
def test_a_refusal_is_final_and_spoils_nothing(server, tmp_path, behaviour, says):
    (tmp_path / PART).write_bytes(BODY[:1000])
    server.script = [behaviour]
    with pytest.raises(InputError, match=f"found {says}.*, expected an archive; has the record moved"):
        get(server, tmp_path)
    assert (tmp_path / PART).read_bytes() == BODY[:1000] and len(server.requests) == 1


def test_a_full_disk_and_a_missing_folder_are_noticed_before_the_download(server, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="dev_fan.zip.part: not writable"):
        get(server, tmp_path / "nowhere")
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 10**9, 200_000))
    with pytest.raises(InputError, match="found 0.0002 GB free, expected at least 0.0003 GB for dev_fan.zip"):
        get(server, tmp_path)
    assert not (tmp_path / PART).exists()
    (tmp_path / PART).write_bytes(BODY[:200_000])
    assert get(server, tmp_path) == BODY


def refused(tmp_path, content: bytes, message):
    """Nothing stays, and no traceback reaches the user."""
    path = tmp_path / "dev_fan.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{message}.*; it was removed") as error:
        unpack(path, ("train",), tmp_path / "raw" / "fan")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../../evil.wav", "fan/../../evil.wav", "/evil.wav", "..\\evil.wav", "C:/evil.wav"])
def test_paths_that_lead_outside_write_nothing_there(tmp_path, name):
    path, link = tmp_path / "at/archives/dev_fan.zip", zipfile.ZipInfo("fan/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path.parent.mkdir(parents=True)
    path.write_bytes(zip_bytes({"fan/train/a.wav": b"", name: b"evil", link: "/etc"}))
    unpack(path, ("train",), tmp_path / "at/raw/fan")
    there = [name for name in files(tmp_path) if name != "at/archives/dev_fan.zip"]
    assert all(name.startswith("at/raw/fan/") for name in there) and "at/raw/fan/train/a.wav" in there
    assert not (tmp_path / "at/raw/fan/link").is_symlink() and not Path("/evil.wav").exists()


def test_bombs_and_damage_are_refused_and_a_bomb_that_lies_is_no_larger_than_it_said(tmp_path, monkeypatch):
    monkeypatch.setattr("asdkit.recordings.download.MAX_BYTES", 2e6)
    bomb = zip_bytes({f"fan/train/{i}.wav": bytes(10**6) for i in range(3)}, zipfile.ZIP_DEFLATED)
    refused(tmp_path, bomb, "found files of 0.003 GB, expected at most 0.002 GB")
    refused(tmp_path, b"PK\x03\x04 and nothing more", "File is not a zip file.*expected a whole zip archive of one machine")
    content = bytearray(zip_bytes({"fan/train/a.wav": bytes(10**6)}, zipfile.ZIP_DEFLATED))
    at = content.rindex(b"PK\x01\x02") + 24
    assert struct.unpack_from("<I", content, at)[0] == 10**6
    struct.pack_into("<I", content, at, 500)
    refused(tmp_path, bytes(content), "Bad CRC-32")


def test_the_catalogue_is_complete():
    assert [len(DATASETS[name].archives) for name in ("development", "additional", "evaluation")] == [7, 5, 5]
    assert set(DATASETS["additional"].archives) == set(DATASETS["evaluation"].archives)
    names = {name for d in DATASETS.values() for name in d.archives.values()}
    assert len(names) == 17 and MD5.keys() <= names and len(set(MD5.values())) == 12
    assert DATASETS["development"].archives["ToyCar"] == "dev_ToyCar_r2.zip"  # the other was withdrawn
    normal = {("train", "source", 0): 990, ("train", "target", 0): 10}
    labelled = {("test", domain, label): 50 for domain in ("source", "target") for label in (0, 1)}
    assert [d.counts for d in DATASETS.values()] == [normal | labelled, normal, {("test", None, None): 200}]
    assert ZENODO == "https://zenodo.org/records"
    text = (Path(__file__).parent.parent / "data" / "README.md").read_text()
    assert all(str(d.record) in text and all(machine in text for machine in d.archives) for d in DATASETS.values())


def test_a_machine_is_fetched_into_the_official_layout_and_then_left_alone(server, tmp_path):
    server.publish_fan()
    assert server.fetch(tmp_path) == [tmp_path / "dev_data/raw/fan"]
    assert (tmp_path / "dev_data/raw/fan/train/a.wav").read_text() == "sound"
    raw = ["dev_data/raw/fan/attributes_00.csv", "dev_data/raw/fan/test/b.wav", "dev_data/raw/fan/train/a.wav"]
    assert files(tmp_path) == ["archives/checksums.txt", "archives/dev_fan.zip", *raw]
    (tmp_path / "dev_data/raw/fan/train/mine.wav").write_text("mine")
    assert server.fetch(tmp_path) == [tmp_path / "dev_data/raw/fan"]
    assert [r["path"] for r in server.requests] == ["/19336329/files/dev_fan.zip"]
    assert (tmp_path / "dev_data/raw/fan/train/mine.wav").exists()


def test_training_and_test_clips_of_an_evaluation_machine_meet(server, tmp_path, monkeypatch):
    train = {"Sander/train/a.wav": "1", "Sander/attributes_00.csv": "of train"}
    server.publish(20151556, "eval_data_Sander_train.zip", train, monkeypatch)
    test = {"Sander/test/b.wav": "2", "Sander/attributes_00.csv": "of test"}
    server.publish(20437238, "eval_data_Sander_test.zip", test, monkeypatch)
    for name in ("additional", "evaluation"):
        assert server.fetch(tmp_path, name, "Sander") == [tmp_path / "eval_data/raw/Sander"]
    assert files(tmp_path / "eval_data/raw/Sander") == ["attributes_00.csv", "test/b.wav", "train/a.wav"]
    assert (tmp_path / "eval_data/raw/Sander/attributes_00.csv").read_text() == "of train"
    archive = tmp_path / "archives" / "eval_data_Sander_test.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-9])  # spoilt on disk, it is fetched again
    shutil.rmtree(tmp_path / "eval_data/raw/Sander/test")
    server.fetch(tmp_path, "evaluation", "Sander")
    assert archive.read_bytes() == whole


def test_what_a_killed_run_left_is_completed_and_its_draft_removed(server, tmp_path):
    server.publish_fan()
    folder, draft = tmp_path / "dev_data/raw/fan", tmp_path / "archives" / ".dev_fan.zip-unpacking"
    for path in (draft / "fan/train/half.wav", folder / "train/mine.wav"):
        path.parent.mkdir(parents=True)
        path.write_text("")
    server.fetch(tmp_path)
    assert files(folder) == ["attributes_00.csv", "test/b.wav", "train/mine.wav"] and not draft.exists()


def test_an_archive_that_is_another_lacks_a_split_or_is_missing_leaves_nothing(server, tmp_path, caplog):
    server.publish(20151556, "eval_data_Sander_train.zip", {"Sander/train/a.wav": "wrong"})
    server.publish(19336329, "dev_fan.zip", {"fan/train/a.wav": ""})
    caplog.set_level("INFO")
    for name, machine, says in (
        ("additional", "Sander", "train.zip: found another checksum than that of the catalogue, expected MD5 6cbcfbc65a09c4"),
        ("development", "fan", "found no fan/test/ in it; expected a whole zip archive of one machine; it was removed"),
        ("development", "ToyCar", "dev_ToyCar_r2.zip: found HTTP 404"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            server.fetch(tmp_path, name, machine)
        assert files(tmp_path) == []
    assert "dev_ToyCar_r2.zip replaces dev_ToyCar.zip" in caplog.text  # the erratum


def test_an_unknown_sum_is_recorded_once_and_compared_from_then_on(server, tmp_path):
    md5 = hashlib.md5(server.publish_fan()).hexdigest()
    (folder,) = server.fetch(tmp_path)
    sums, archive = tmp_path / "archives/checksums.txt", tmp_path / "archives/dev_fan.zip"
    assert sums.read_text() == f"{md5}  dev_fan.zip\n"
    archive.unlink()
    shutil.rmtree(folder / "test")
    server.publish_fan("another sound")
    with pytest.raises(InputError, match=f"another checksum than that of checksums.txt, expected MD5 {md5}"):
        server.fetch(tmp_path)
    assert not archive.exists() and not (folder / "test").exists()
    sums.write_text("0123  dev_fan.zip\n")
    with pytest.raises(InputError, match="checksums.txt: found the line .*, expected an MD5 sum"):
        server.fetch(tmp_path)


def test_a_full_disk_keeps_the_archive(server, tmp_path, monkeypatch):
    server.publish_fan()
    usage = iter([10**9, 1])
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 0, next(usage)))
    with pytest.raises(InputError, match="expected at least .* for the files of dev_fan.zip"):
        server.fetch(tmp_path)
    assert files(tmp_path) == ["archives/dev_fan.zip"]


def test_the_command_names_place_licence_and_citation_and_refuses_unknown_names(server, tmp_path, capsys, monkeypatch):
    server.publish(20437238, "eval_data_Sander_test.zip", {"Sander/test/b.wav": "2"}, monkeypatch)
    arguments = ["fetch", "evaluation", "--to", str(tmp_path), "--machines", "Sander", "--base-url", server.base]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for text in (str(tmp_path / "eval_data/raw/Sander"), "CC BY-NC-SA 4.0", "10.5281/zenodo.20437238", "arXiv 2606.01578"):
        assert text in out
    for more, says in (
        (["training"], "set: found training; expected development, additional, evaluation"),
        (["evaluation", "--machines", "fan"], "machines: found fan; expected ToyDrone, "),
    ):
        assert main(["fetch", *more, "--to", str(tmp_path / "data")]) == 2
        assert says in capsys.readouterr().err and not (tmp_path / "data").exists()
