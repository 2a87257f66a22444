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

from asdkit.recordings.clips import TABLES, Clip, follows_grammar, machine_folders, parse_name, read_recordings, read_table
from asdkit.recordings.download import Resume, unpack
from asdkit.recordings.files import InputError, write
from asdkit.recordings.reading import read_clip

log = logging.getLogger("asdkit")

# the catalogue

ZENODO = "https://zenodo.org/records"
BY_NC_SA = "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0)"
CITATION = """T. Nishida, N. Harada, D. Takeuchi, D. Niizumi, K. Imoto, K. Dohi, H. Purohit, T. Endo, Y. Kawaguchi:
Description and Discussion on DCASE 2026 Challenge Task 2: Noise-aware Unsupervised Anomalous Sound Detection
for Machine Condition Monitoring. arXiv 2606.01578, 2026."""
RENDER = "`asdkit simulate OUT --sources FOLDER --noise FOLDER` renders mono recordings"
ERRATUM = "dev_ToyCar_r2.zip replaces dev_ToyCar.zip, which was withdrawn: do not use copies of the earlier one"


@dataclass(frozen=True)
class Dataset:
    """One record of the challenge's data."""

    title: str
    record: int  # of Zenodo
    folder: str  # of the official layout
    licence: str
    counts: dict[tuple[str, str | None, int | None], int]  # clips by (split, domain, label)
    archives: dict[str, str]  # zip files by machine

    def terms(self) -> str:
        """Licence and citation, to be shown with the data."""
        doi = f"https://doi.org/10.5281/zenodo.{self.record}"
        return f"{self.title}: {doi}\nlicence: {self.licence}\nplease cite that record and\n{CITATION}"


UNLABELLED = ("test", None, None)  # as keys of `counts`
_TRAIN = {("train", "source", 0): 990, ("train", "target", 0): 10}
_LABELLED_TEST = {("test", domain, label): 50 for domain in ("source", "target") for label in (0, 1)}
_DEVELOPMENT = ("ToyCar", "ToyCarEmu", "bearingEmu", "fan", "gearboxEmu", "sliderEmu", "valveEmu")
_EVALUATION = ("ToyDrone", "ToothBrush", "SewingMachine", "BlowerDustCollector", "Sander")
DATASETS = {  # by the name that `asdkit fetch` takes
    "development": Dataset(
        "DCASE 2026 Task 2 development", 19336329, "dev_data/raw", "see the record", _TRAIN | _LABELLED_TEST,
        {machine: f"dev_{machine}.zip" for machine in _DEVELOPMENT} | {"ToyCar": "dev_ToyCar_r2.zip"},
    ),
    "additional": Dataset(
        "DCASE 2026 Task 2 additional training", 20151556, "eval_data/raw", BY_NC_SA, _TRAIN,
        {machine: f"eval_data_{machine}_train.zip" for machine in _EVALUATION},
    ),
    "evaluation": Dataset(
        "DCASE 2026 Task 2 evaluation", 20437238, "eval_data/raw", BY_NC_SA, {UNLABELLED: 200},
        {machine: f"eval_data_{machine}_test.zip" for machine in _EVALUATION},
    ),
}  # fmt: skip
MD5 = {  # of the archives whose sum was published
    "dev_ToyCar_r2.zip": "353201db217e25377a7e7eccf9c1c8a7",
    "dev_bearingEmu.zip": "82c2d04c5f48d09842152c34ef273667",
    "eval_data_ToyDrone_train.zip": "af3e4040ef7c67d7ee920608d0c38d82",
    "eval_data_ToyDrone_test.zip": "b36102371c188b630d201d443a00bab2",
    "eval_data_ToothBrush_train.zip": "6fa5f81796b5d37b3ed24bb8eff2ea25",
    "eval_data_ToothBrush_test.zip": "987395506fbb48c570d5d26babcab05e",
    "eval_data_SewingMachine_train.zip": "74d08cacba3da88753badd69d19e577b",
    "eval_data_SewingMachine_test.zip": "f0a1a96b48006c301e8cec25e9214046",
    "eval_data_BlowerDustCollector_train.zip": "e79342948772cf51e50ff601cd9621f3",
    "eval_data_BlowerDustCollector_test.zip": "ec90d56f189e84e6430fb2878c59cb84",
    "eval_data_Sander_train.zip": "6cbcfbc65a09c4f3d00b9a55c50502ec",
    "eval_data_Sander_test.zip": "05f81c9a80e91c7b3cea15f8e8559b44",
}

# fetching


def fetch(
    name: str, to: str | Path, machines: list[str] | None = None, base_url: str = ZENODO, download: Resume | None = None
) -> list[Path]:
    """Download, verify and unpack a set of `DATASETS`, or only some of its machines, to the layout above; return their folders.

    What is unpacked already is left alone; a broken download is continued from what is there. An InputError for an unknown set
    or machine, a server that does not deliver, an archive of another checksum or damaged, or a full disk.
    """
    import pooch

    _check_known("set", [name], DATASETS)
    dataset, archives = DATASETS[name], Path(to) / "archives"
    splits = tuple(dict.fromkeys(split for split, *_ in dataset.counts))
    _check_known("machines", machines or (), dataset.archives)
    folders = [Path(to) / dataset.folder / m for m in dataset.archives if not machines or m in machines]
    for folder in folders:
        if all((folder / split).is_dir() for split in splits):
            log.info("%s: there already", folder)
            continue
        sums = _read_checksums(archives)
        url = f"{base_url}/{dataset.record}/files/{dataset.archives[folder.name]}"
        path = _download(url, archives, sums | MD5, download or Resume())
        unpack(path, splits, folder)
        sums[path.name] = pooch.file_hash(str(path), "md5")  # it could be unpacked, and so arrived whole
        write(archives / "checksums.txt", "".join(f"{md5}  {name}\n" for name, md5 in sums.items()))
    return folders


def _check_known(what: str, names, known) -> None:
    if unknown := [n for n in names if n not in known]:
        raise InputError(f"{what}: found {', '.join(unknown)}; expected {', '.join(known)}")


def _download(url: str, folder: Path, sums: dict[str, str], download: Resume) -> Path:
    """The verified archive; downloaded unless it is there."""
    import pooch

    name = url.rsplit("/", 1)[-1]
    md5 = sums.get(name)
    pooch.get_logger().setLevel("WARNING")
    folder.mkdir(parents=True, exist_ok=True)
    if "ToyCar_r2" in name:
        log.info(ERRATUM)
    try:
        return Path(pooch.retrieve(url, md5 and f"md5:{md5}", name, folder, downloader=download))
    except InputError:
        raise
    except ValueError:  # pooch has removed it
        problem = f"found another checksum than that of {'the catalogue' if name in MD5 else 'checksums.txt'}"
        raise InputError(f"{url}: {problem}, expected MD5 {md5}; the download was removed") from None


def _read_checksums(folder: Path) -> dict[str, str]:
    """``checksums.txt`` as {archive: MD5}; empty where there is none."""
    path = folder / "checksums.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        if not re.fullmatch(r"[0-9a-f]{32}  \S+", line):
            raise InputError(f"{path}: found the line {line!r}, expected an MD5 sum, two spaces and the name of an archive")
    return {line[34:]: line[:32] for line in lines}


# checking a folder


@dataclass(frozen=True)
class MachineCheck:
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
    mono = [text for _, text in damaged if "found 1 channel(s)" in text]
    if len(mono) > len(wavs) / 2:  # nothing else is worth saying
        years = "2020" if any(re.match(r"\w+/(normal|anomaly)_id_\d{2}_\d{8}\.wav", text) for text in mono) else "2021 to 2025"
        text = f"found {len(mono)} clips of one channel, as in the Task 2 data of {years}, expected two channels, near and far"
        return MachineCheck(folder, sets, len(wavs), (("mono", f"{text}; {RENDER}"),))
    clips, surplus = _attempt(_read_name, entries, "surplus")
    listed, unreadable = _attempt(lambda path: read_table(path, "file_name"), [folder / "attributes_00.csv"], "damaged")
    _, spoilt = _attempt(lambda path: read_recordings(path.parent), [folder / "recordings_00.csv"], "damaged")
    paths = [Path(name) for rows in listed for (name,) in rows]
    named = {(p.parent.name or ("train" if "_train_" in p.name else "test"), p.name) for p in paths}
    counts = {key: n for name in sets for key, n in DATASETS[name].counts.items()}
    named |= {("test", f"section_00_{i:04d}.wav") for i in range(counts.get(UNLABELLED, 0))}
    findings = (*_compare(counts, named, clips), *surplus, *_twice(clips), *unreadable, *spoilt, *damaged)
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


def _read_name(path: Path) -> Clip:
    if path.is_dir() or path.suffix.lower() != ".wav":
        raise InputError(f"found a {'folder' if path.is_dir() else 'file that is not .wav'}, expected recordings alone")
    clip, split = parse_name(path), path.parent.name
    if split == "train" and clip.label == 1:
        raise InputError("found an anomaly among the training clips, expected normal recordings only")
    if clip.split != split:
        raise InputError(f"found a name of the {clip.split} clips, expected one of the {split} clips")
    return clip


def _compare(counts: dict, named: set[tuple[str, str]], clips: list[Clip]) -> Iterator[tuple[str, str]]:
    """Clips that are there against the names and the published numbers: whole splits, single clips, then kinds of clips."""
    present, absent = {c.split for c in clips}, named - {(c.split, c.name) for c in clips}
    for split in sorted({"train", *(key[0] for key in counts), *(split for split, _ in named)} - present):
        size = max(sum(s == split for s, _ in named), sum(n for key, n in counts.items() if key[0] == split), 1)
        yield "missing", f"{split}: found no clips, expected {size} or more"
    yield from (("missing", f"{split}/{name}") for split, name in sorted(absent) if split in present)
    numbers = Counter(map(_kind, clips))
    explained = Counter(_kind(parse_name(name)) for _, name in absent if follows_grammar(Path(name)))
    for kind in sorted(counts.keys() | numbers.keys(), key=str) if counts else ():
        (split, domain, label), expected = kind, counts.get(kind, 0)
        if split in present and numbers[kind] + explained[kind] != expected:
            what = " ".join(filter(None, (domain, {0: "normal", 1: "anomalous", None: "unlabelled"}[label])))
            text = f"{split}: found {numbers[kind]} {what} clips, expected {expected}"
            yield "missing" if numbers[kind] < expected else "surplus", text


def _kind(clip: Clip) -> tuple[str, str | None, int | None]:
    return clip.split, clip.domain, clip.label


def _twice(clips: list[Clip]) -> Iterator[tuple[str, str]]:
    """Numbers that two clips of the same section, domain and label share."""
    known = {}
    for clip in clips:
        number = re.search(r"_(\d{4})(?=[_.])", clip.name)[1]
        first = known.setdefault((clip.section, *_kind(clip), number), clip)
        if first is not clip:
            yield "surplus", f"{clip.split}/{clip.name}: found the number of {first.name} again, expected each once"
