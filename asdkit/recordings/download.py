"""Downloads that continue where they broke, and archives that are unpacked whole or not at all; the rest is pooch's.

What has arrived of an archive lies beside it in ``<archive>.part``, and the version that it is of in ``<archive>.etag``.
"""

from __future__ import annotations

import logging
import shutil
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from asdkit.recordings.files import InputError

MAX_BYTES = 4e9  # unpacked; a machine of the challenge has about 1 GB
MAX_FILES = 20_000
# Zenodo refuses clients without a name; byte ranges of a compressed transfer would count other bytes.
HEADERS = {"User-Agent": "asdkit", "Accept-Encoding": "identity"}
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
log = logging.getLogger("asdkit")


@dataclass(frozen=True)
class Resume:
    """A downloader for pooch that continues what is there, after a break and in a later run.

    Servers that know no byte ranges, or have another version by now, begin anew.
    """

    timeout: float = 30.0  # s without a byte before the connection counts as broken
    attempts: int = 6  # in a row that bring nothing new
    wait: float = 2.0  # s before the next attempt; doubles with each failure, at most a minute

    def __call__(self, url: str, output_file: str, pooch=None) -> None:
        """Download the file at `url`; an InputError where the server refuses or gives nothing new, or the disk is full."""
        from requests import RequestException

        partial = Path(output_file).with_name(url.rsplit("/", 1)[-1] + ".part")
        failures, most = 0, _size(partial)
        while failures < self.attempts:
            try:
                _continue(url, partial, self.timeout)
                partial.with_suffix(".etag").unlink(missing_ok=True)
                partial.replace(output_file)
                return
            except RequestException as error:
                failures = 0 if _size(partial) > most else failures + 1
                most, problem = max(most, _size(partial)), error
                if failures < self.attempts:
                    log.info("%s: %s; trying again", partial.stem, error)
                    time.sleep(min(self.wait * 2 ** max(failures - 1, 0), 60))
            except OSError as error:
                raise InputError(f"{partial}: not writable ({error.strerror or error}); expected room for it") from None
        raise InputError(f"{url}: broke off {failures} times ({problem}); run it again to continue")


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
            raise requests.RequestException(f"HTTP {code}")
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
                raise requests.RequestException("the server sent other bytes than it was asked for")
        etag = headers.get("ETag", "")
        etag_file.write_text("" if etag.startswith("W/") else etag)  # a weak one promises nothing of bytes
        _append(response, partial)


def _append(response, partial: Path) -> None:
    """Write the body behind what has arrived."""
    from requests import RequestException
    from tqdm.auto import tqdm

    start, length = _size(partial), int(response.headers.get("Content-Length", 0))
    check_room(partial.parent, length, partial.stem)
    bar = tqdm(desc=partial.stem, initial=start, total=start + length if length else None, unit="B", unit_scale=True)
    with partial.open("ab") as file, bar:
        for chunk in response.iter_content(1 << 15):
            bar.update(file.write(chunk))
    if length and _size(partial) != start + length:
        raise RequestException(f"found {_size(partial)} bytes, expected {start + length}")


def check_room(folder: Path, n_bytes: float, what: str) -> None:
    """An InputError where the disk of `folder` has fewer than `n_bytes` free."""
    if (free := shutil.disk_usage(folder).free) < n_bytes:
        raise InputError(f"{folder}: found {free / 1e9:.3g} GB free, expected at least {n_bytes / 1e9:.3g} GB for {what}")


def unpack(archive: Path, wanted: tuple[str, ...], folder: Path, max_bytes: float = MAX_BYTES) -> None:
    """Move what a zip archive holds for the machine `folder` there: files first, then the folders `wanted`.

    What is there is left alone, and nothing is written outside of `folder` and of a draft beside the archive: `zipfile` drops
    what leads outside from a path, and makes no links. An InputError on a full disk, or for an archive that is damaged, lacks
    what is wanted or declares more than `max_bytes`; such an archive is removed. No file becomes larger than declared.
    """
    draft = archive.with_name(f".{archive.name}-unpacking")
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
    try:
        _extract(archive, draft, [f"{folder.name}/{name}/" for name in wanted], max_bytes)
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((draft / folder.name).iterdir(), key=lambda p: p.name in wanted):
            if not (folder / path.name).exists():
                path.replace(folder / path.name)
    except DAMAGE as error:
        archive.unlink()
        raise InputError(f"{archive}: {error}; expected a whole zip archive of one machine; it was removed") from None
    except OSError as error:
        raise InputError(f"{draft}: not writable ({error.strerror or error}); expected room for the files") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _extract(archive: Path, draft: Path, wanted: list[str], max_bytes: float) -> None:
    """Unpack all of it, once its list of files is checked."""
    from tqdm.auto import tqdm

    with zipfile.ZipFile(archive) as z:
        members, total = z.infolist(), sum(m.file_size for m in z.infolist())
        if total > max_bytes or len(members) > MAX_FILES:
            most = f"{MAX_FILES} of {max_bytes / 1e9:.3g} GB"
            raise zipfile.BadZipFile(f"found {len(members)} files of {total / 1e9:.3g} GB, expected at most {most}")
        if missing := [name for name in wanted if not any(m.filename.startswith(name) for m in members)]:
            raise zipfile.BadZipFile(f"found no {missing[0]} in it")
        check_room(archive.parent, total, f"the files of {archive.name}")
        for member in tqdm(members, f"{archive.name}: unpacking", unit="file"):
            z.extract(member, draft)  # reads no more than the member declares, then compares the checksum
