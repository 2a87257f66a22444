"""Downloads that continue where they broke, and archives that are unpacked with suspicion.

Legend
------
part : ``<archive>.part`` beside the archive, what has arrived of it; kept when a download breaks. ``<archive>.etag`` names
    the version on the server that it is a part of.
"""

from __future__ import annotations

import logging
import re
import shutil
import stat
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from tqdm.auto import tqdm

from asdkit import __version__
from asdkit.recordings import InputError

GB = 1e9
MAX_BYTES = 4 * GB  # unpacked; a machine of the challenge has about 1 GB
MAX_FILES = 20_000
CHUNK = 1 << 15  # bytes
# Zenodo refuses clients without a name; byte ranges of a compressed transfer would count other bytes.
HEADERS = {"User-Agent": f"asdkit/{__version__}", "Accept-Encoding": "identity"}
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}

log = logging.getLogger("asdkit")


class Broken(Exception):
    """A download that stopped before its end and may be continued."""


class BadArchive(InputError):
    """An archive that is damaged, or that cannot be trusted."""


@dataclass(frozen=True)
class Resume:
    """A downloader for pooch that continues what is there, after a break and in a later run.

    Servers that know no byte ranges, or have another version by now, begin anew. What arrives must be a zip archive, or it is
    removed; its checksum is pooch's business.
    """

    timeout: float = 30.0  # s without a byte before the connection counts as broken
    attempts: int = 6  # in a row that bring nothing new
    wait: float = 2.0  # s before the next attempt; doubles with each failure, at most a minute

    def __call__(self, url: str, output_file: str, pooch=None) -> None:
        """Download `url` to `output_file`, by way of the part beside it.

        Raises
        ------
        InputError
            The server refuses, gives up or sends something else than an archive, or the disk is full.
        """
        part = Path(output_file).with_name(url.rsplit("/", 1)[-1] + ".part")
        try:
            self._insist(url, part)
            _check_archive(url, part)
            part.replace(output_file)
        except OSError as error:
            raise InputError(f"{part}: not writable ({error.strerror or error}); expected room for the archive") from None
        _etag_file(part).unlink(missing_ok=True)

    def _insist(self, url: str, part: Path) -> None:
        """Continue until all is there, or nothing new comes any more."""
        from requests import RequestException

        failures, most = 0, _size(part)
        while True:
            try:
                return self._continue(url, part)
            except (RequestException, Broken) as error:
                failures = 0 if _size(part) > most else failures + 1
                most = max(most, _size(part))
                if failures >= self.attempts:
                    raise InputError(f"{url}: broke off {failures} times ({error}); run it again to continue") from None
                log.info("%s: %s; trying again", part.stem, error)
                time.sleep(min(self.wait * 2 ** max(failures - 1, 0), 60))

    def _continue(self, url: str, part: Path) -> None:
        """One request for what is missing."""
        import requests

        start = _size(part)
        with requests.get(url, headers=HEADERS | _range(part, start), stream=True, timeout=self.timeout) as response:
            if response.status_code == 416:
                return _check_complete(part, start, response)
            _check_response(url, response)
            if response.status_code == 206:
                _check_continues(part, start, response)
            else:
                part.unlink(missing_ok=True)
            _receive(response, part)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _etag_file(part: Path) -> Path:
    return part.with_suffix(".etag")


def _range(part: Path, start: int) -> dict[str, str]:
    """Headers that ask for the rest, provided that it is of the same version."""
    if not start:
        return {}
    etag = _etag_file(part).read_text() if _etag_file(part).exists() else ""
    return {"Range": f"bytes={start}-"} | ({"If-Range": etag} if etag else {})


def _check_response(url: str, response) -> None:
    """Refuse what is no archive before it touches the part."""
    code = response.status_code
    if code in TRY_AGAIN:
        raise Broken(f"HTTP {code}")
    if code not in (200, 206):
        raise InputError(f"{url}: found HTTP {code} ({response.reason}), expected an archive; has the record moved?")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise InputError(f"{url}: found a web page, expected an archive; has the record moved?")


def _check_complete(part: Path, start: int, response) -> None:
    """There is nothing behind the part: it is whole, or longer than what the server has."""
    if response.headers.get("Content-Range") != f"bytes */{start}":
        part.unlink()
        raise Broken("the server has fewer bytes than had arrived")


def _check_continues(part: Path, start: int, response) -> None:
    """The bytes must follow on the part and be of its version; else the part is worth nothing."""
    begins = re.match(rf"bytes {start}-", response.headers.get("Content-Range", ""))
    etag = _etag_file(part).read_text() if _etag_file(part).exists() else None
    if not begins or (etag and response.headers.get("ETag", etag) != etag):
        part.unlink()
        raise Broken("the server sent other bytes than it was asked for")


def _receive(response, part: Path) -> None:
    """Write the body behind the part."""
    start = _size(part)
    length = response.headers.get("Content-Length", "")
    expected = int(length) if length.isdecimal() else None
    check_room(part.parent, expected or 0, part.stem)
    etag = response.headers.get("ETag", "")
    _etag_file(part).write_text("" if etag.startswith("W/") else etag)  # a weak one promises nothing of bytes
    bar = tqdm(desc=part.stem, initial=start, total=expected and start + expected, unit="B", unit_scale=True)
    with part.open("ab") as file, bar:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    if expected is not None and _size(part) != start + expected:
        raise Broken(f"found {_size(part)} bytes, expected {start + expected}")


def _check_archive(url: str, part: Path) -> None:
    if not zipfile.is_zipfile(part):
        with part.open("rb") as file:
            begin = file.read(20)
        part.unlink()
        raise InputError(f"{url}: found a file that begins {begin!r}, expected a zip archive; it was removed")


def check_room(folder: Path, n_bytes: float, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Raises
    ------
    InputError
        With fewer than `n_bytes` free where `folder` is.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise InputError(f"{folder}: found {free / GB:.3g} GB free, expected at least {n_bytes / GB:.3g} GB for {what}")


def unpack(archive: str | Path, folder: str | Path, max_bytes: float = MAX_BYTES) -> None:
    """Unpack a zip archive into a folder that does not exist yet, and nothing anywhere else.

    Parameters
    ----------
    archive, folder : path
    max_bytes : float
        Of all files together, as the archive declares them. No file becomes larger than declared.

    Raises
    ------
    BadArchive
        A path that leads outside, a link, too many or too large files, the same file twice, or damage.
    InputError
        A full disk.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with zipfile.ZipFile(archive) as z:
            members = z.infolist()
            _check_members(archive, members, max_bytes)
            folder.mkdir(parents=True)
            check_room(folder, sum(m.file_size for m in members), f"the files of {archive.name}")
            for member in tqdm(members, f"{archive.name}: unpacking", unit="file"):
                _write_member(z, member, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, FileExistsError) as error:
        raise BadArchive(f"{archive}: damaged ({error}); expected a zip archive") from None
    except OSError as error:
        raise InputError(f"{folder}: not writable ({error.strerror or error}); expected room for the files") from None


def _check_members(archive: Path, members: list[zipfile.ZipInfo], max_bytes: float) -> None:
    """All of it before anything is written."""
    for member in members:
        path = PureWindowsPath(member.filename)  # knows both slashes and drives
        if path.anchor or ".." in path.parts:
            raise BadArchive(f"{archive}: found the path {member.filename!r}, expected none that leads outside")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadArchive(f"{archive}: found {member.filename!r}, which is a link or a device, expected files")
    if (total := sum(m.file_size for m in members)) > max_bytes or len(members) > MAX_FILES:
        found, most = f"{len(members)} files of {total / GB:.3g} GB", f"{MAX_FILES} of {max_bytes / GB:.3g} GB"
        raise BadArchive(f"{archive}: found {found}, expected at most {most}")


def _write_member(z: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    path = folder.joinpath(*PureWindowsPath(member.filename).parts)
    if member.is_dir():
        return path.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with z.open(member) as source, path.open("xb") as target:
        shutil.copyfileobj(source, target)  # zipfile reads no more than the member declares, then compares the checksum
