"""DCASE 2026 Challenge Task 2: where its data are, fetching them, and checking a folder of them.

A fetched folder holds ``dev_data/raw/<machine>/{train,test}``, ``eval_data/raw/<machine>/{train,test}``, and ``archives`` with
the zip files and ``checksums.txt`` (MD5 sums, in the form that ``md5sum -c`` reads).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asdkit.recordings.clips import NAME, TABLES, Clip, machine_folders, parse_name, read_recordings, read_table
from asdkit.recordings.download import resume, unpack
from asdkit.recordings.files import InputError, write
from asdkit.recordings.reading import read_clip

log = logging.getLogger("asdkit")

ZENODO = "https://zenodo.org/records"
BY_NC_SA = "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0)"
CITATION = """T. Nishida, N. Harada, D. Takeuchi, D. Niizumi, K. Imoto, K. Dohi, H. Purohit, T. Endo, Y. Kawaguchi:
Description and Discussion on DCASE 2026 Challenge Task 2: Noise-aware Unsupervised Anomalous Sound Detection
for Machine Condition Monitoring. arXiv 2606.01578, 2026."""


@dataclass(frozen=True)
class Dataset:
    """One record of the challenge's data."""

    record: int  # of Zenodo
    folder: str  # of the official layout
    licence: str
    counts: dict[tuple[str, str | None, int | None], int]  # clips by (split, domain, label)
    archives: dict[str, str]  # zip files by machine

    def terms(self) -> str:
        """Licence and citation, to be shown with the data."""
        doi = f"https://doi.org/10.5281/zenodo.{self.record}"
        return f"DCASE 2026 Task 2: {doi}\nlicence: {self.licence}\nplease cite that record and\n{CITATION}"


UNLABELLED = ("test", None, None)  # as keys of `counts`
_TRAIN = {("train", "source", 0): 990, ("train", "target", 0): 10}
_LABELLED_TEST = {("test", domain, label): 50 for domain in ("source", "target") for label in (0, 1)}
_DEVELOPMENT = ("ToyCar", "ToyCarEmu", "bearingEmu", "fan", "gearboxEmu", "sliderEmu", "valveEmu")
_EVALUATION = {  # MD5 sums of the archives of training and of test clips
    "ToyDrone": ("af3e4040ef7c67d7ee920608d0c38d82", "b36102371c188b630d201d443a00bab2"),
    "ToothBrush": ("6fa5f81796b5d37b3ed24bb8eff2ea25", "987395506fbb48c570d5d26babcab05e"),
    "SewingMachine": ("74d08cacba3da88753badd69d19e577b", "f0a1a96b48006c301e8cec25e9214046"),
    "BlowerDustCollector": ("e79342948772cf51e50ff601cd9621f3", "ec90d56f189e84e6430fb2878c59cb84"),
    "Sander": ("6cbcfbc65a09c4f3d00b9a55c50502ec", "05f81c9a80e91c7b3cea15f8e8559b44"),
}
DATASETS = {  # by the name that `asdkit fetch` takes
    "development": Dataset(
        19336329, "dev_data/raw", "see the record", _TRAIN | _LABELLED_TEST,
        {m: f"dev_{m}.zip" for m in _DEVELOPMENT} | {"ToyCar": "dev_ToyCar_r2.zip"},
    ),
    "additional": Dataset(20151556, "eval_data/raw", BY_NC_SA, _TRAIN, {m: f"eval_data_{m}_train.zip" for m in _EVALUATION}),
    "evaluation": Dataset(
        20437238, "eval_data/raw", BY_NC_SA, {UNLABELLED: 200}, {m: f"eval_data_{m}_test.zip" for m in _EVALUATION},
    ),
}  # fmt: skip
MD5 = {  # of the archives whose sum was published
    f"eval_data_{m}_{split}.zip": md5 for m, sums in _EVALUATION.items() for split, md5 in zip(("train", "test"), sums)
} | {"dev_ToyCar_r2.zip": "353201db217e25377a7e7eccf9c1c8a7", "dev_bearingEmu.zip": "82c2d04c5f48d09842152c34ef273667"}


def fetch(name: str, to: str | Path, machines: list[str] | None = None, base_url: str = ZENODO) -> list[Path]:
    """Download, verify and unpack a set of `DATASETS`, or only some of its machines, to the layout above; return their folders.

    What is unpacked already is left alone; a broken download is continued from what is there. An InputError for an unknown set
    or machine, a server that does not deliver, an archive of another checksum or damaged, or a full disk.
    """
    _check_known("set", [name], DATASETS)
    dataset = DATASETS[name]
    _check_known("machines", machines or (), dataset.archives)
    splits = tuple(dict.fromkeys(split for split, *_ in dataset.counts))
    folders = [Path(to) / dataset.folder / m for m in dataset.archives if not machines or m in machines]
    for folder in folders:
        if all((folder / split).is_dir() for split in splits):
            log.info("%s: there already", folder)
        else:
            url = f"{base_url}/{dataset.record}/files/{dataset.archives[folder.name]}"
            _fetch_archive(url, Path(to) / "archives", splits, folder)
    return folders


def _check_known(what: str, names, known) -> None:
    if unknown := [n for n in names if n not in known]:
        raise InputError(f"{what}: found {', '.join(unknown)}; expected {', '.join(known)}")


def _fetch_archive(url: str, archives: Path, splits: tuple[str, ...], folder: Path) -> None:
    """Download, verify and unpack the archive of one machine unless it is there, and record its sum."""
    import pooch

    name, sums = url.rsplit("/", 1)[-1], _read_checksums(archives / "checksums.txt")
    md5 = (sums | MD5).get(name)
    if "ToyCar_r2" in name:
        log.info("dev_ToyCar_r2.zip replaces dev_ToyCar.zip, which was withdrawn: do not use copies of the earlier one")
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(url, md5 and f"md5:{md5}", name, archives, downloader=resume)
    except InputError:
        raise
    except ValueError:  # pooch has removed it
        problem = f"found another checksum than that of {'the catalogue' if name in MD5 else 'checksums.txt'}"
        raise InputError(f"{url}: {problem}, expected MD5 {md5}; the download was removed") from None
    unpack(Path(path), splits, folder)
    sums[name] = pooch.file_hash(path, "md5")  # it could be unpacked, and so arrived whole
    write(archives / "checksums.txt", "".join(f"{md5}  {name}\n" for name, md5 in sums.items()))


def _read_checksums(path: Path) -> dict[str, str]:
    """{archive: MD5}; empty where there is no such file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        if not re.fullmatch(r"[0-9a-f]{32}  \S+", line):
            raise InputError(f"{path}: found the line {line!r}, expected an MD5 sum, two spaces and the name of an archive")
    return {line[34:]: line[:32] for line in lines}


class MachineCheck(NamedTuple):
    """What is wrong in one machine's folder."""

    folder: Path
    sets: tuple[str, ...]  # of `DATASETS` that the machine belongs to; empty for other recordings
    clips: int
    findings: tuple[tuple[str, str], ...]  # "missing", "surplus", "damaged" or "mono", and a sentence


def validate(root: str | Path) -> list[MachineCheck]:
    """Check every machine below a folder (see `index_data`), reading all of its audio: what is missing, surplus or damaged.

    Machines of the challenge are compared with the numbers of clips that were published, others with the names in their
    ``attributes_00.csv``, of which only that column is read. Simulated machines are never taken for the challenge's.
    """
    return [_check_machine(folder) for folder in machine_folders(root)]


def _check_machine(folder: Path) -> MachineCheck:
    from tqdm.auto import tqdm

    others = (folder / "simulation.json").exists() or (folder / "recordings_00.csv").exists()  # the challenge has neither
    sets = () if others else tuple(name for name, d in DATASETS.items() if folder.name in d.archives)
    entries = [p for split in ("train", "test") for p in sorted((folder / split).glob("[!.]*")) if p.name not in TABLES]
    wavs = [p for p in entries if p.is_file() and p.suffix.lower() == ".wav"]
    _, damaged = _attempt(lambda path: read_clip(path).size, tqdm(wavs, desc=folder.name, unit="clip"), "damaged")
    if (n_mono := sum("found 1 channel(s)" in text for _, text in damaged)) > len(wavs) / 2:  # nothing else is worth saying
        problem = f"found {n_mono} clips of one channel, as in the Task 2 data until 2025, expected two channels, near and far"
        hint = "`asdkit simulate OUT --sources FOLDER --noise FOLDER` renders mono recordings"
        return MachineCheck(folder, sets, len(wavs), (("mono", f"{problem}; {hint}"),))
    numbered: dict[tuple, Path] = {}
    clips, surplus = _attempt(lambda path: _read_name(path, numbered), entries, "surplus")
    listed, unreadable = _attempt(lambda path: read_table(path, "file_name"), [folder / "attributes_00.csv"], "damaged")
    _, spoilt = _attempt(lambda path: read_recordings(path.parent), [folder / "recordings_00.csv"], "damaged")
    paths = [Path(name) for rows in listed for (name,) in rows]
    named = {(p.parent.name or ("train" if "_train_" in p.name else "test"), p.name) for p in paths}
    counts = {key: n for name in sets for key, n in DATASETS[name].counts.items()}
    named |= {("test", f"section_00_{i:04d}.wav") for i in range(counts.get(UNLABELLED, 0))}
    absent = named - {(path.parent.name, path.name) for path in entries}
    findings = (*_compare(counts, named, absent, clips), *surplus, *unreadable, *spoilt, *damaged)
    return MachineCheck(folder, sets, len(wavs), findings)


def _attempt(read, paths, kind: str) -> tuple[list, list[tuple[str, str]]]:
    """What `read` makes of the files, and the findings about those that it refuses."""
    results, findings = [], []
    for path in paths:
        try:
            results.append(read(path))
        except InputError as error:
            findings.append((kind, f"{path.parent.name}/{path.name}: {str(error).removeprefix(f'{path}: ')}"))
    return results, findings


def _read_name(path: Path, numbered: dict[tuple, Path]) -> Clip:
    """A clip that may be where it is; `numbered` knows the clips before it by section, domain, label and number."""
    if path.is_dir() or path.suffix.lower() != ".wav":
        raise InputError(f"found a {'folder' if path.is_dir() else 'file that is not .wav'}, expected recordings alone")
    clip, split = parse_name(path), path.parent.name
    if split == "train" and clip.label == 1:
        raise InputError("found an anomaly among the training clips, expected normal recordings only")
    if clip.split != split:
        raise InputError(f"found a name of the {clip.split} clips, expected one of the {split} clips")
    first = numbered.setdefault((clip.section, *_kind(clip), re.search(r"_(\d{4})(?=[_.])", path.name)[1]), path)
    if first is not path:
        raise InputError(f"found the number of {first.name} again, expected each once")
    return clip


def _compare(counts: dict, named: set, absent: set, clips: list[Clip]) -> Iterator[tuple[str, str]]:
    """Clips that are there against the names and the published numbers: whole splits, single clips, then kinds of clips."""
    present = {c.split for c in clips}
    for split in sorted({"train", *(key[0] for key in counts), *(split for split, _ in named)} - present):
        size = max(sum(s == split for s, _ in named), sum(n for key, n in counts.items() if key[0] == split), 1)
        yield "missing", f"{split}: found no clips, expected {size} or more"
    yield from (("missing", f"{split}/{name}") for split, name in sorted(absent) if split in present)
    numbers = Counter(map(_kind, clips))
    explained = Counter(_kind(parse_name(name)) for _, name in absent if NAME.fullmatch(name))
    for kind in sorted(counts.keys() | numbers.keys(), key=str) if counts else ():
        (split, domain, label), expected = kind, counts.get(kind, 0)
        if split in present and numbers[kind] + explained[kind] != expected:
            what = " ".join(filter(None, (domain, {0: "normal", 1: "anomalous", None: "unlabelled"}[label])))
            text = f"{split}: found {numbers[kind]} {what} clips, expected {expected}"
            yield "missing" if numbers[kind] < expected else "surplus", text


def _kind(clip: Clip) -> tuple[str, str | None, int | None]:
    return clip.split, clip.domain, clip.label
