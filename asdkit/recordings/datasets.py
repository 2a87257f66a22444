"""The data of DCASE 2026 Challenge Task 2: where they are and how to fetch them, how to fetch them.

Layout of a fetched folder: ``dev_data/raw/<machine>/{train,test}``, ``eval_data/raw/<machine>/{train,test}``, and ``archives``
with the zip files and ``checksums.txt`` (MD5 sums, in the form that ``md5sum -c`` reads).
"""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from asdkit.recordings import InputError
from asdkit.recordings.download import BadArchive, Resume, unpack
from asdkit.recordings.files import write

ZENODO = "https://zenodo.org/records"
BY_NC_SA = "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0)"
CITATION = """T. Nishida, N. Harada, D. Takeuchi, D. Niizumi, K. Imoto, K. Dohi, H. Purohit, T. Endo, Y. Kawaguchi:
Description and Discussion on DCASE 2026 Challenge Task 2: Noise-aware Unsupervised Anomalous Sound Detection
for Machine Condition Monitoring. arXiv 2606.01578, 2026."""
CHECKSUMS = "checksums.txt"

log = logging.getLogger("asdkit")


@dataclass(frozen=True)
class Archive:
    """One zip file of a record, with the recordings of one machine."""

    machine: str
    name: str
    md5: str | None = None  # None: not published here; recorded at the first download, and compared from then on
    erratum: str = ""


@dataclass(frozen=True)
class Dataset:
    """One record of the challenge's data."""

    title: str
    record: int  # of Zenodo
    folder: str  # of the official layout
    splits: tuple[str, ...]
    counts: dict[tuple[str, str | None, int | None], int] = field(repr=False)  # clips by (split, domain, label)
    licence: str
    archives: tuple[Archive, ...] = field(repr=False)

    @property
    def machines(self) -> tuple[str, ...]:
        """In the order of the record."""
        return tuple(a.machine for a in self.archives)

    def terms(self) -> str:
        """Licence and citation, to be shown with the data."""
        doi = f"https://doi.org/10.5281/zenodo.{self.record}"
        return f"{self.title}: {doi}\nlicence: {self.licence}\nplease cite that record and\n{CITATION}"


_TRAIN = {("train", "source", 0): 990, ("train", "target", 0): 10}
_LABELLED_TEST = {("test", domain, label): 50 for domain in ("source", "target") for label in (0, 1)}
_UNLABELLED_TEST = {("test", None, None): 200}
_DEVELOPMENT = (
    Archive(
        "ToyCar", "dev_ToyCar_r2.zip", "353201db217e25377a7e7eccf9c1c8a7",
        "dev_ToyCar_r2.zip replaces dev_ToyCar.zip, which was withdrawn: do not use copies of the earlier one",
    ),
    Archive("ToyCarEmu", "dev_ToyCarEmu.zip"),
    Archive("bearingEmu", "dev_bearingEmu.zip", "82c2d04c5f48d09842152c34ef273667"),
    *(Archive(machine, f"dev_{machine}.zip") for machine in ("fan", "gearboxEmu", "sliderEmu", "valveEmu")),
)  # fmt: skip
_EVALUATION = {  # MD5 of the training and of the test archive
    "ToyDrone": ("af3e4040ef7c67d7ee920608d0c38d82", "b36102371c188b630d201d443a00bab2"),
    "ToothBrush": ("6fa5f81796b5d37b3ed24bb8eff2ea25", "987395506fbb48c570d5d26babcab05e"),
    "SewingMachine": ("74d08cacba3da88753badd69d19e577b", "f0a1a96b48006c301e8cec25e9214046"),
    "BlowerDustCollector": ("e79342948772cf51e50ff601cd9621f3", "ec90d56f189e84e6430fb2878c59cb84"),
    "Sander": ("6cbcfbc65a09c4f3d00b9a55c50502ec", "05f81c9a80e91c7b3cea15f8e8559b44"),
}
DATASETS = {
    "development": Dataset(
        "DCASE 2026 Task 2 development", 19336329, "dev_data/raw", ("train", "test"), _TRAIN | _LABELLED_TEST,
        "see the record", _DEVELOPMENT,
    ),
    "additional": Dataset(
        "DCASE 2026 Task 2 additional training", 20151556, "eval_data/raw", ("train",), _TRAIN, BY_NC_SA,
        tuple(Archive(m, f"eval_data_{m}_train.zip", md5[0]) for m, md5 in _EVALUATION.items()),
    ),
    "evaluation": Dataset(
        "DCASE 2026 Task 2 evaluation", 20437238, "eval_data/raw", ("test",), _UNLABELLED_TEST, BY_NC_SA,
        tuple(Archive(m, f"eval_data_{m}_test.zip", md5[1]) for m, md5 in _EVALUATION.items()),
    ),
}  # fmt: skip
"""By the name that ``asdkit fetch`` takes."""


def fetch(
    name: str, to: str | Path, machines: list[str] | None = None, base_url: str = ZENODO, download: Resume | None = None
) -> list[Path]:
    """Download, verify and unpack one set. Machines that are unpacked already are left alone.

    Parameters
    ----------
    name : str
        Of `DATASETS`.
    to : path
        Folder of the layout above. A broken download is continued from what is there.
    machines : list of str, optional
        Only these.
    base_url, download : str, Resume
        Where the records are, and how patient to be with the server.

    Returns
    -------
    list of Path
        The folder of each machine.

    Raises
    ------
    InputError
        An unknown set or machine, a server that does not deliver, an archive of another checksum or with unsafe contents, or a
        full disk. What was unpacked before stays.
    """
    dataset = DATASETS[_known("set", [name], DATASETS)[0]]
    chosen = _known("machines", machines or dataset.machines, dataset.machines)
    to, folders = Path(to), []
    for archive in (a for a in dataset.archives if a.machine in chosen):
        folder = to / dataset.folder / archive.machine
        if all((folder / split).is_dir() for split in dataset.splits):
            log.info("%s: there already", folder)
        else:
            path = _download(archive, f"{base_url}/{dataset.record}/files", to / "archives", download or Resume())
            _install(path, archive.machine, dataset.splits, folder)
            _record_checksum(path)
        folders.append(folder)
    return folders


def _known(what: str, names, known) -> list[str]:
    if unknown := [n for n in names if n not in known]:
        raise InputError(f"{what}: found {', '.join(unknown)}; expected {', '.join(known)}")
    return list(names)


def _download(archive: Archive, url: str, folder: Path, download: Resume) -> Path:
    """The verified archive; downloaded unless it is there."""
    import pooch

    md5, source = (archive.md5, "the catalogue") if archive.md5 else (read_checksums(folder).get(archive.name), CHECKSUMS)
    pooch.get_logger().setLevel("WARNING")
    folder.mkdir(parents=True, exist_ok=True)
    if archive.erratum:
        log.info("%s", archive.erratum)
    try:
        known = f"md5:{md5}" if md5 else None
        return Path(pooch.retrieve(f"{url}/{archive.name}", known, archive.name, folder, downloader=download))
    except InputError:
        raise
    except ValueError:  # pooch has removed it
        found = f"found another checksum than that of {source}, expected MD5 {md5}"
        raise InputError(f"{url}/{archive.name}: {found}; the download was removed") from None


def read_checksums(folder: Path) -> dict[str, str]:
    """``checksums.txt`` as {archive: MD5}; empty where there is none."""
    path = folder / CHECKSUMS
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        if not re.fullmatch(r"[0-9a-f]{32}  \S+", line):
            raise InputError(f"{path}: found the line {line!r}, expected an MD5 sum, two spaces and the name of an archive")
    return {line[34:]: line[:32] for line in lines}


def _record_checksum(path: Path) -> None:
    """Note the sum of an archive that could be unpacked, and so arrived whole."""
    import pooch

    known = read_checksums(path.parent)
    if path.name not in known:
        known[path.name] = pooch.file_hash(str(path), "md5")
        write(path.parent / CHECKSUMS, "".join(f"{md5}  {name}\n" for name, md5 in known.items()))


def _install(archive: Path, machine: str, splits: tuple[str, ...], folder: Path) -> None:
    """Unpack aside, then move what is not there yet: tables first, then whole splits."""
    draft = archive.with_name(f".{archive.name}-unpacking")
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
    try:
        unpack(archive, draft)
        if missing := [s for s in splits if not (draft / machine / s).is_dir()]:
            raise BadArchive(f"{archive}: found no {machine}/{missing[0]} in it, expected {machine}/{', '.join(splits)}")
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((draft / machine).iterdir(), key=lambda p: p.name in splits):
            if not (folder / path.name).exists():
                path.replace(folder / path.name)
    except BadArchive as error:
        archive.unlink()
        raise InputError(f"{error}; it was removed") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
