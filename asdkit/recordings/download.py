"""Downloads that continue where they broke, and archives that are unpacked with suspicion; the rest is pooch's.

What has arrived of an archive lies beside it in ``<archive>.part``, and the version that it is of in ``<archive>.etag``.
"""

from __future__ import annotations

import logging
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from asdkit.recordings.files import InputError

MAX_BYTES = 4e9  # unpacked; a machine of the challenge has about 1 GB
MAX_FILES = 20_000
# Zenodo refuses clients without a name; byte ranges of a compressed transfer would count other bytes.
HEADERS = {"User-Agent": "asdkit", "Accept-Encoding": "identity"}
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, FileExistsError, NotADirectoryError)
log = logging.getLogger("asdkit")


class Broken(Exception):
    """A download that stopped before its end and may be continued."""


class BadArchive(InputError):
    """An archive that is damaged, or that cannot be trusted."""


@dataclass(frozen=True)
class Resume:
    """A downloader for pooch that continues what is there, after a break and in a later run.

    Servers that know no byte ranges, or have another version by now, begin anew.
    """

    timeout: float = 30.0  # s without a byte before the connection counts as broken
    attempts: int = 6  # in a row that bring nothing new
    wait: float = 2.0  # s before the next attempt; doubles with each failure, at most a minute

    def __call__(self, url: str, output_file: str, pooch=None) -> None:
        """Download the archive at `url`; an InputError where the server refuses or sends no archive, or the disk is full."""
        partial = Path(output_file).with_name(url.rsplit("/", 1)[-1] + ".part")
        try:
            self._insist(url, partial)
            partial.with_suffix(".etag").unlink(missing_ok=True)
            if not zipfile.is_zipfile(partial):
                with partial.open("rb") as file:
                    begin = file.read(20)
                partial.unlink()
                raise InputError(f"{url}: found a file that begins {begin!r}, expected a zip archive; it was removed")
            partial.replace(output_file)
        except OSError as error:
            raise InputError(f"{partial}: not writable ({error.strerror or error}); expected room for the archive") from None

    def _insist(self, url: str, partial: Path) -> None:
        """Continue until all is there, or nothing new comes any more."""
        from requests import RequestException

        failures, most = 0, _size(partial)
        while True:
            try:
                return _continue(url, partial, self.timeout)
            except (RequestException, Broken) as error:
                failures = 0 if _size(partial) > most else failures + 1
                most = max(most, _size(partial))
                if failures >= self.attempts:
                    raise InputError(f"{url}: broke off {failures} times ({error}); run it again to continue") from None
                log.info("%s: %s; trying again", partial.stem, error)
                time.sleep(min(self.wait * 2 ** max(failures - 1, 0), 60))


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _continue(url: str, partial: Path, timeout: float) -> None:
    """One request for what is missing; what is no archive is refused before it touches the partial file."""
    import requests

    start, etag_file = _size(partial), partial.with_suffix(".etag")
    etag = etag_file.read_text() if start and etag_file.exists() else ""
    wanted = ({"Range": f"bytes={start}-"} if start else {}) | ({"If-Range": etag} if etag else {})
    with requests.get(url, headers=HEADERS | wanted, stream=True, timeout=timeout) as response:
        code, headers = response.status_code, response.headers
        if code in TRY_AGAIN:
            raise Broken(f"HTTP {code}")
        is_page = headers.get("Content-Type", "").startswith("text/html")
        if code not in (200, 206, 416) or is_page:
            sent = "a web page" if code in (200, 206, 416) else f"HTTP {code} ({response.reason})"
            raise InputError(f"{url}: found {sent}, expected an archive; has the record moved?")
        span = headers.get("Content-Range", "")
        if code == 416 and span == f"bytes */{start}":
            return  # all of it had arrived
        if code != 206 or not span.startswith(f"bytes {start}-") or etag not in ("", headers.get("ETag", etag)):
            partial.unlink(missing_ok=True)
            if code != 200:
                raise Broken("the server sent other bytes than it was asked for")
        _receive(response, partial, etag_file)


def _receive(response, partial: Path, etag_file: Path) -> None:
    """Write the body behind what has arrived."""
    from tqdm.auto import tqdm

    start, etag, length = _size(partial), response.headers.get("ETag", ""), int(response.headers.get("Content-Length", 0))
    check_room(partial.parent, length, partial.stem)
    etag_file.write_text("" if etag.startswith("W/") else etag)  # a weak one promises nothing of bytes
    bar = tqdm(desc=partial.stem, initial=start, total=start + length if length else None, unit="B", unit_scale=True)
    with partial.open("ab") as file, bar:
        for chunk in response.iter_content(1 << 15):
            file.write(chunk)
            bar.update(len(chunk))
    if length and _size(partial) != start + length:
        raise Broken(f"found {_size(partial)} bytes, expected {start + length}")


def check_room(folder: Path, n_bytes: float, what: str) -> None:
    """An InputError where the disk of `folder` has fewer than `n_bytes` free."""
    if (free := shutil.disk_usage(folder).free) < n_bytes:
        raise InputError(f"{folder}: found {free / 1e9:.3g} GB free, expected at least {n_bytes / 1e9:.3g} GB for {what}")


@contextmanager
def unpacked(archive: Path, max_bytes: float = MAX_BYTES) -> Iterator[Path]:
    """A temporary folder beside a zip archive that holds all of its files; nothing is written anywhere else.

    An InputError on a full disk; a BadArchive for a path that leads outside, a link, a file that comes twice, damage, or more
    than `max_bytes` in all, as the archive declares them. No file becomes larger than declared.
    """
    from tqdm.auto import tqdm

    folder = archive.with_name(f".{archive.name}-unpacking")
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    try:
        try:
            with zipfile.ZipFile(archive) as z:
                _check_members(archive, z.infolist(), max_bytes)
                folder.mkdir()
                check_room(folder, sum(m.file_size for m in z.infolist()), f"the files of {archive.name}")
                for member in tqdm(z.infolist(), f"{archive.name}: unpacking", unit="file"):
                    z.extract(member, folder)  # reads no more than the member declares, then compares the checksum
        except DAMAGE as error:
            raise BadArchive(f"{archive}: damaged ({error}); expected a zip archive") from None
        except OSError as error:
            raise InputError(f"{folder}: not writable ({error.strerror or error}); expected room for the files") from None
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_members(archive: Path, members: list[zipfile.ZipInfo], max_bytes: float) -> None:
    """All of it before anything is written."""
    for member in members:
        path = PureWindowsPath(member.filename)  # knows both slashes and drives
        if path.anchor or ".." in path.parts:
            raise BadArchive(f"{archive}: found the path {member.filename!r}, expected none that leads outside")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadArchive(f"{archive}: found {member.filename!r}, which is a link or a device, expected files")
    if len({m.filename for m in members}) < len(members):
        raise BadArchive(f"{archive}: found a file twice, expected each once")
    if (total := sum(m.file_size for m in members)) > max_bytes or len(members) > MAX_FILES:
        found, most = f"{len(members)} files of {total / 1e9:.3g} GB", f"{MAX_FILES} of {max_bytes / 1e9:.3g} GB"
        raise BadArchive(f"{archive}: found {found}, expected at most {most}")
