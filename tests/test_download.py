"""Downloads from a server that does everything wrong, on 127.0.0.1, and archives that mean harm."""

import io
import re
import stat
import struct
import threading
import zipfile
from collections import namedtuple
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from asdkit.recordings import InputError
from asdkit.recordings.download import BadArchive, Resume, unpacked

QUICK = Resume(timeout=10, attempts=3, wait=0.01)
Usage = namedtuple("Usage", "total used free")


def zip_bytes(files: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return content.getvalue()


BODY = zip_bytes({"fan/train/a.wav": np.random.default_rng(0).bytes(300_000)})
OTHER = zip_bytes({"fan/train/a.wav": np.random.default_rng(1).bytes(290_000)})


class Server(ThreadingHTTPServer):
    """Serves `body`; each request takes one behaviour of `script`, and the honest one when it is used up."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.script, self.requests, self.quit = BODY, '"1"', [], [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/dev_fan.zip"

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        behaviour = server.script.pop(0) if server.script else "honest"
        getattr(self, f"be_{behaviour.split()[0]}")(*behaviour.split()[1:])

    def start(self) -> int | None:
        """The first byte that is wanted and may be had."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fresh = self.headers.get("If-Range", self.server.etag) == self.server.etag
        return int(asked[1]) if asked and fresh else None

    def head(self, code, length, **headers):
        self.send_response(code)
        for name, value in ({"Content-Length": length, "ETag": self.server.etag} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def be_honest(self, cut="0", stall=""):
        body, start = self.server.body, self.start()
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
        """Knows no ranges."""
        self.head(200, len(self.server.body))
        self.wfile.write(self.server.body[: int(cut) or None])

    def be_lost(self):
        """Sends the wrong bytes for a range."""
        self.head(206, 100, Content_Range=f"bytes 7-106/{len(self.server.body)}")
        self.wfile.write(self.server.body[7:107])

    def be_lying(self, length):
        """Says another length than it sends, and knows no ranges."""
        self.head(200, int(length))
        self.wfile.write(self.server.body)

    def be_endless(self):
        """Does not say how much will come."""
        self.head(200, None)
        self.wfile.write(self.server.body)

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
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.quit.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def part(tmp_path):
    return tmp_path / "dev_fan.zip.part"


def get(server, folder, resume=QUICK) -> bytes:
    """Download as pooch would; nothing but the archive is left behind."""
    resume(server.url, str(folder / "temporary"))
    assert [p.name for p in folder.iterdir()] == ["temporary"]
    return (folder / "temporary").read_bytes()


def ranges(server) -> list[str]:
    return [r.get("Range", "") for r in server.requests]


# servers


def test_one_request_where_nothing_goes_wrong(server, tmp_path):
    assert get(server, tmp_path) == BODY
    assert len(server.requests) == 1 and "Range" not in server.requests[0]
    assert server.requests[0]["User-Agent"].startswith("asdkit")
    assert server.requests[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', None])
def test_cut_off_in_the_middle_it_goes_on_from_there(server, tmp_path, etag):
    server.etag, server.script = etag, ["honest 200000", "honest 60000"]
    assert get(server, tmp_path) == BODY
    first, second, third = ranges(server)
    assert first == "" and 0 < int(second[6:-1]) <= 200_000 < int(third[6:-1]) <= 260_000
    assert [r.get("If-Range") for r in server.requests[1:]] == [etag if etag == '"1"' else None] * 2


@pytest.mark.parametrize(
    "script",
    [
        ["honest 40000"] * 7,  # breaks are no failure while something arrives
        ["deaf 200000", "deaf"],  # a server that knows no ranges
        ["honest 200000", "lost"],  # wrong bytes for a range
        [f"lying {len(BODY) + 1000}"],  # the second answer, 416, says that nothing is missing
        ["endless"],
    ],
)
def test_bad_servers_are_coped_with(server, tmp_path, script):
    server.script = script
    assert get(server, tmp_path) == BODY


def test_a_stall_is_a_break(server, tmp_path):
    server.script = ["honest 200000 stall"]
    assert get(server, tmp_path, replace(QUICK, timeout=0.4)) == BODY
    assert len(server.requests) >= 2 and server.requests[1]["Range"]


@pytest.mark.parametrize("changed", [False, True])
def test_a_later_run_goes_on_from_the_part_unless_the_version_is_another(server, tmp_path, part, changed):
    server.script = ["honest 200000", *["error 503"] * 3]
    with pytest.raises(InputError, match=r"dev_fan.zip: broke off 3 times \(HTTP 503\); run it again to continue"):
        get(server, tmp_path)
    assert 0 < part.stat().st_size <= 200_000
    server.requests.clear()
    if changed:
        server.body, server.etag = OTHER, '"2"'
    assert get(server, tmp_path) == server.body
    assert ranges(server) != [""] and len(server.requests) == 1


def test_a_part_that_is_whole_is_not_asked_for_again(server, tmp_path, part):
    part.write_bytes(BODY)
    assert get(server, tmp_path) == BODY
    part.write_bytes(BODY + b"more than there is")
    assert get(server, tmp_path) == BODY


@pytest.mark.parametrize("script", [["deaf 200000"] * 9, [f"lying {len(BODY) + 1000}"] * 9])
def test_a_server_that_never_delivers_is_given_up(server, tmp_path, script):
    server.script = script
    with pytest.raises(InputError, match="broke off 3 times"):
        get(server, tmp_path)
    assert len(server.requests) <= 1 + QUICK.attempts


def test_nobody_there(server, tmp_path):
    with pytest.raises(InputError, match="broke off 3 times"):
        QUICK("http://127.0.0.1:9/dev_fan.zip", str(tmp_path / "temporary"))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("page", "found a web page, expected an archive; has the record moved"),
        ("error 403", "found HTTP 403 .*has the record moved"),
        ("error 404", "found HTTP 404 .*has the record moved"),
    ],
)
def test_a_refusal_is_final_and_spoils_nothing(server, tmp_path, part, script, says):
    part.write_bytes(BODY[:1000])
    server.script = [script]
    with pytest.raises(InputError, match=says):
        get(server, tmp_path)
    assert part.read_bytes() == BODY[:1000] and len(server.requests) == 1


@pytest.mark.parametrize(("body", "script"), [(b"<html>not what you wanted</html>", []), (BODY, ["lying 100000"])])
def test_what_is_no_archive_is_removed(server, tmp_path, body, script):
    server.body, server.script = body, script
    with pytest.raises(InputError, match=r"begins b'.*', expected a zip archive; it was removed"):
        get(server, tmp_path)
    assert not list(tmp_path.iterdir())


# the disk


def test_a_full_disk_is_noticed_before_the_download_of_what_is_missing(server, tmp_path, part, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 10**9, 200_000))
    with pytest.raises(InputError, match="found 0.0002 GB free, expected at least 0.0003 GB for dev_fan.zip"):
        get(server, tmp_path)
    assert not part.exists()
    part.write_bytes(BODY[:200_000])
    assert get(server, tmp_path) == BODY


def test_a_folder_that_cannot_be_written_to(server, tmp_path):
    with pytest.raises(InputError, match="dev_fan.zip.part: not writable"):
        QUICK(server.url, str(tmp_path / "nowhere" / "temporary"))


# archives


def archive(tmp_path, content: bytes):
    path = tmp_path / "dev_fan.zip"
    path.write_bytes(content)
    return path


def refused(path, message, **options):
    """Nothing stays, nothing is written elsewhere, and no traceback reaches the user."""
    before = set(path.parent.parent.rglob("*"))
    with pytest.raises(BadArchive, match=message) as error, unpacked(path, **options):
        raise AssertionError("unpacked")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert set(path.parent.parent.rglob("*")) == before


def test_an_archive_is_unpacked_as_it_is(tmp_path):
    files = {"fan/train/a.wav": b"one", "fan/test/b.wav": b"two", "fan/attributes_00.csv": b""}
    path = archive(tmp_path, zip_bytes(files, zipfile.ZIP_DEFLATED))
    with unpacked(path) as out:
        assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == files
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["fan/../../evil.wav", "/evil.wav", "..\\evil.wav", "C:/evil.wav"])
def test_paths_that_lead_outside_are_refused(tmp_path, name):
    path = archive(tmp_path, zip_bytes({"fan/train/a.wav": b"", name: b"evil"}))
    refused(path, "expected none that leads outside")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    member = zipfile.ZipInfo("fan/train")
    member.external_attr = (kind | 0o777) << 16
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as z:
        z.writestr(member, "/etc")
    refused(archive(tmp_path, content.getvalue()), "'fan/train', which is a link or a device")


def test_bombs_are_refused_before_anything_is_written(tmp_path):
    path = archive(tmp_path, zip_bytes({f"fan/{i}.wav": bytes(10**6) for i in range(3)}, zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 20_000
    refused(path, "found 3 files of 0.003 GB, expected at most 20000 of 0.002 GB", max_bytes=2e6)


def test_a_bomb_that_lies_about_its_size_is_no_larger_than_it_said(tmp_path):
    content = bytearray(zip_bytes({"fan/a.wav": bytes(10**6)}, zipfile.ZIP_DEFLATED))
    at = content.rindex(b"PK\x01\x02") + 24
    assert struct.unpack_from("<I", content, at)[0] == 10**6
    struct.pack_into("<I", content, at, 500)
    path = archive(tmp_path, bytes(content))
    refused(path, "damaged", max_bytes=1000)


def test_damage_is_found(tmp_path):
    content = bytearray(zip_bytes({"fan/train/a.wav": b"sound" * 100}))
    content[content.index(b"sound") + 7] ^= 1
    refused(archive(tmp_path, bytes(content)), r"damaged \(Bad CRC-32")
    refused(archive(tmp_path, b"PK\x03\x04 and nothing more"), "damaged")


def test_a_file_that_comes_twice_is_refused(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as z, pytest.warns(UserWarning, match="Duplicate name"):
        z.writestr("fan/a.wav", "one")
        z.writestr("fan/a.wav", "two")
    refused(archive(tmp_path, content.getvalue()), "found a file twice")


def test_a_full_disk_is_noticed_before_unpacking(tmp_path, monkeypatch):
    path = archive(tmp_path, zip_bytes({"fan/a.wav": bytes(10**6)}, zipfile.ZIP_DEFLATED))
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 10**9, 10**5))
    with pytest.raises(InputError, match="expected at least 0.001 GB for the files of dev_fan.zip"):
        with unpacked(path):
            raise AssertionError("unpacked")
    assert list(tmp_path.iterdir()) == [path]
