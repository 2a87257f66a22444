"""Downloads that continue where they broke, and archives that are unpacked whole or not at all; the rest is pooch's."""

from __future__ import annotations

import logging
import shutil
import time
import zipfile
import zlib
from pathlib import Path

from asdkit.recordings.files import InputError

MAX_BYTES = 4e9  # unpacked; a machine of the challenge has about 1 GB
TIMEOUT_S = 30.0  # without a byte before the connection counts as broken
ATTEMPTS = 6  # in a row that bring nothing new
WAIT_S = 1.0  # before the next attempt; doubles with each failure, at most a minute
# Zenodo refuses clients without a name; byte ranges of a compressed transfer would count other bytes.
HEADERS = {"User-Agent": "asdkit", "Accept-Encoding": "identity"}
log = logging.getLogger("asdkit")


def resume(url: str, output_file: str, pooch=None) -> None:
    """A downloader for pooch that continues what is there, ``<archive>.part``, after a break and in a later run.

    Servers that know no byte ranges begin anew; a rest of another version is for the checksum to notice. An InputError where
    the server refuses or gives nothing new, or the disk is full.
    """
    from requests import RequestException

    partial = Path(output_file).with_name(url.rsplit("/", 1)[-1] + ".part")
    failures, most = 0, _size(partial)
    while True:
        try:
            _continue(url, partial)
            partial.replace(output_file)
            return
        except RequestException as error:
            failures, most = 0 if _size(partial) > most else failures + 1, max(most, _size(partial))
            if failures == ATTEMPTS:
                raise InputError(f"{url}: broke off {failures} times ({error}); run it again to continue") from None
            log.info("%s: %s; trying again", partial.stem, error)
            time.sleep(min(WAIT_S * 2**failures, 60))
        except OSError as error:
            raise InputError(f"{partial}: not writable ({error.strerror or error}); expected room for it") from None


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _continue(url: str, partial: Path) -> None:
    """One request for what is missing; what is no archive is refused before it touches the partial file."""
    import requests
    from tqdm.auto import tqdm

    start = _size(partial)
    wanted = {"Range": f"bytes={start}-"} if start else {}
    with requests.get(url, headers=HEADERS | wanted, stream=True, timeout=TIMEOUT_S) as response:
        code, headers = response.status_code, response.headers
        if code in (408, 425, 429) or code >= 500:
            raise requests.RequestException(f"HTTP {code}")
        is_page = headers.get("Content-Type", "").startswith("text/html")
        if code not in (200, 206, 416) or is_page:
            sent = "a web page" if code in (200, 206, 416) else f"HTTP {code} ({response.reason})"
            raise InputError(f"{url}: found {sent}, expected an archive; has the record moved?")
        if code != 200 and not headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            partial.unlink(missing_ok=True)
            raise requests.RequestException("the server sent other bytes than it was asked for")
        start, length = start if code == 206 else 0, int(headers.get("Content-Length", 0))
        check_room(partial.parent, length, partial.stem)
        bar = tqdm(desc=partial.stem, initial=start, total=start + length or None, unit="B", unit_scale=True)
        with partial.open("ab" if start else "wb") as file, bar:
            for chunk in response.iter_content(1 << 15):
                bar.update(file.write(chunk))


def check_room(folder: Path, n_bytes: float, what: str) -> None:
    """An InputError where the disk of `folder` has fewer than `n_bytes` free."""
    if (free := shutil.disk_usage(folder).free) < n_bytes:
        raise InputError(f"{folder}: found {free / 1e9:.3g} GB free, expected at least {n_bytes / 1e9:.3g} GB for {what}")


def unpack(archive: Path, wanted: tuple[str, ...], folder: Path) -> None:
    """Move what a zip archive holds for the machine `folder` there: files first, then the folders `wanted`.

    What is there is left alone, and nothing is written outside of `folder` and of a draft beside the archive: `zipfile` drops
    what leads outside from a path, makes no links, and reads no more of a file than is declared. An InputError on a full disk,
    or for an archive that is damaged, lacks what is wanted or declares more than `MAX_BYTES`; such an archive is removed.
    """
    from tqdm.auto import tqdm

    draft = archive.with_name(f".{archive.name}-unpacking")
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
    try:
        with zipfile.ZipFile(archive) as z:
            if (total := sum(member.file_size for member in z.infolist())) > MAX_BYTES:
                raise zipfile.BadZipFile(f"found files of {total / 1e9:.3g} GB, expected at most {MAX_BYTES / 1e9:.3g} GB")
            check_room(archive.parent, total, f"the files of {archive.name}")
            for member in tqdm(z.infolist(), f"{archive.name}: unpacking", unit="file"):
                z.extract(member, draft)
        if missing := [name for name in wanted if not (draft / folder.name / name).is_dir()]:
            raise zipfile.BadZipFile(f"found no {folder.name}/{missing[0]}/ in it")
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((draft / folder.name).iterdir(), key=lambda p: p.name in wanted):
            if not (folder / path.name).exists():
                path.replace(folder / path.name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        archive.unlink()
        raise InputError(f"{archive}: {error}; expected a whole zip archive of one machine; it was removed") from None
    except OSError as error:
        raise InputError(f"{draft}: not writable ({error.strerror or error}); expected room for the files") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
