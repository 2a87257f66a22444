"""DCASE 2026 Challenge Task 2: where its data are, fetching them, checking a folder of them, and submissions.

A fetched folder holds ``dev_data/raw/<machine>/{train,test}``, ``eval_data/raw/<machine>/{train,test}``, and ``archives`` with
the zip files and ``checksums.txt`` (MD5 sums, in the form that ``md5sum -c`` reads). A submission is a folder ``<label>`` of
``anomaly_score_<machine>_section_00_test.csv`` (file,score), ``decision_result_<machine>_section_00_test.csv`` (file,0 or
file,1) and ``<label>.meta.yaml``, the form about the system.
"""

from __future__ import annotations

import csv
import logging
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asdkit.recordings.clips import TABLES, Clip, follows_grammar, machine_folders, parse_name, read_recordings, read_table
from asdkit.recordings.download import BadArchive, Resume, unpacked
from asdkit.recordings.files import InputError, new_folder, write
from asdkit.recordings.reading import read_clip

log = logging.getLogger("asdkit")

# the catalogue

ZENODO = "https://zenodo.org/records"
BY_NC_SA = "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0)"
CITATION = """T. Nishida, N. Harada, D. Takeuchi, D. Niizumi, K. Imoto, K. Dohi, H. Purohit, T. Endo, Y. Kawaguchi:
Description and Discussion on DCASE 2026 Challenge Task 2: Noise-aware Unsupervised Anomalous Sound Detection
for Machine Condition Monitoring. arXiv 2606.01578, 2026."""
ERRATUM = "dev_ToyCar_r2.zip replaces dev_ToyCar.zip, which was withdrawn: do not use copies of the earlier one"


@dataclass(frozen=True)
class Dataset:
    """One record of the challenge's data."""

    title: str
    record: int  # of Zenodo
    folder: str  # of the official layout
    licence: str
    counts: dict[tuple[str, str | None, int | None], int]  # clips by (split, domain, label)
    archives: dict[str, tuple[str, str | None]]  # by machine: zip file, and MD5 where it is known

    def terms(self) -> str:
        """Licence and citation, to be shown with the data."""
        doi = f"https://doi.org/10.5281/zenodo.{self.record}"
        return f"{self.title}: {doi}\nlicence: {self.licence}\nplease cite that record and\n{CITATION}"


UNLABELLED = ("test", None, None)
_TRAIN = {("train", "source", 0): 990, ("train", "target", 0): 10}
_LABELLED_TEST = {("test", domain, label): 50 for domain in ("source", "target") for label in (0, 1)}
_DEVELOPMENT = {
    "ToyCar": ("dev_ToyCar_r2.zip", "353201db217e25377a7e7eccf9c1c8a7"),
    "ToyCarEmu": ("dev_ToyCarEmu.zip", None),
    "bearingEmu": ("dev_bearingEmu.zip", "82c2d04c5f48d09842152c34ef273667"),
} | {machine: (f"dev_{machine}.zip", None) for machine in ("fan", "gearboxEmu", "sliderEmu", "valveEmu")}
_EVALUATION = {  # MD5 of the training and of the test archive
    "ToyDrone": ("af3e4040ef7c67d7ee920608d0c38d82", "b36102371c188b630d201d443a00bab2"),
    "ToothBrush": ("6fa5f81796b5d37b3ed24bb8eff2ea25", "987395506fbb48c570d5d26babcab05e"),
    "SewingMachine": ("74d08cacba3da88753badd69d19e577b", "f0a1a96b48006c301e8cec25e9214046"),
    "BlowerDustCollector": ("e79342948772cf51e50ff601cd9621f3", "ec90d56f189e84e6430fb2878c59cb84"),
    "Sander": ("6cbcfbc65a09c4f3d00b9a55c50502ec", "05f81c9a80e91c7b3cea15f8e8559b44"),
}
DATASETS = {  # by the name that `asdkit fetch` takes
    "development": Dataset(
        "DCASE 2026 Task 2 development", 19336329, "dev_data/raw", "see the record", _TRAIN | _LABELLED_TEST, _DEVELOPMENT
    ),
    "additional": Dataset(
        "DCASE 2026 Task 2 additional training", 20151556, "eval_data/raw", BY_NC_SA, _TRAIN,
        {machine: (f"eval_data_{machine}_train.zip", md5) for machine, (md5, _) in _EVALUATION.items()},
    ),
    "evaluation": Dataset(
        "DCASE 2026 Task 2 evaluation", 20437238, "eval_data/raw", BY_NC_SA, {UNLABELLED: 200},
        {machine: (f"eval_data_{machine}_test.zip", md5) for machine, (_, md5) in _EVALUATION.items()},
    ),
}  # fmt: skip

# fetching


def fetch(
    name: str, to: str | Path, machines: list[str] | None = None, base_url: str = ZENODO, download: Resume | None = None
) -> list[Path]:
    """Download, verify and unpack a set of `DATASETS`, or only some of its machines, to the layout above; return their folders.

    What is unpacked already is left alone; a broken download is continued from what is there.

    Raises
    ------
    InputError
        An unknown set or machine, a server that does not deliver, an archive of another checksum or with unsafe contents, or a
        full disk. What was unpacked before stays.
    """
    _check_known("set", [name], DATASETS)
    dataset, archives = DATASETS[name], Path(to) / "archives"
    splits = tuple(dict.fromkeys(split for split, *_ in dataset.counts))
    _check_known("machines", machines or (), dataset.archives)
    folders = [Path(to) / dataset.folder / m for m in dataset.archives if not machines or m in machines]
    for folder in folders:
        if all((folder / split).is_dir() for split in splits):
            log.info("%s: there already", folder)
        else:
            url = f"{base_url}/{dataset.record}/files"
            path = _download(*dataset.archives[folder.name], url, archives, download or Resume())
            _install(path, splits, folder)
            _record_checksum(path)
    return folders


def _check_known(what: str, names, known) -> None:
    if unknown := [n for n in names if n not in known]:
        raise InputError(f"{what}: found {', '.join(unknown)}; expected {', '.join(known)}")


def _download(name: str, md5: str | None, url: str, folder: Path, download: Resume) -> Path:
    """The verified archive; downloaded unless it is there."""
    import pooch

    source, md5 = ("the catalogue", md5) if md5 else ("checksums.txt", _read_checksums(folder).get(name))
    pooch.get_logger().setLevel("WARNING")
    folder.mkdir(parents=True, exist_ok=True)
    if "ToyCar_r2" in name:
        log.info(ERRATUM)
    try:
        return Path(pooch.retrieve(f"{url}/{name}", md5 and f"md5:{md5}", name, folder, downloader=download))
    except InputError:
        raise
    except ValueError:  # pooch has removed it
        problem = f"found another checksum than that of {source}, expected MD5 {md5}"
        raise InputError(f"{url}/{name}: {problem}; the download was removed") from None


def _read_checksums(folder: Path) -> dict[str, str]:
    """``checksums.txt`` as {archive: MD5}; empty where there is none."""
    path = folder / "checksums.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        if not re.fullmatch(r"[0-9a-f]{32}  \S+", line):
            raise InputError(f"{path}: found the line {line!r}, expected an MD5 sum, two spaces and the name of an archive")
    return {line[34:]: line[:32] for line in lines}


def _record_checksum(path: Path) -> None:
    """Note the sum of an archive that could be unpacked, and so arrived whole."""
    import pooch

    known = _read_checksums(path.parent)
    if path.name not in known:
        known[path.name] = pooch.file_hash(str(path), "md5")
        write(path.parent / "checksums.txt", "".join(f"{md5}  {name}\n" for name, md5 in known.items()))


def _install(archive: Path, splits: tuple[str, ...], folder: Path) -> None:
    """Unpack aside, then move what is not there yet: tables first, then whole splits."""
    machine = folder.name
    try:
        with unpacked(archive) as draft:
            if missing := [s for s in splits if not (draft / machine / s).is_dir()]:
                raise BadArchive(f"{archive}: found no {machine}/{missing[0]} in it, expected {machine}/{', '.join(splits)}")
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted((draft / machine).iterdir(), key=lambda p: p.name in splits):
                if not (folder / path.name).exists():
                    path.replace(folder / path.name)
    except BadArchive as error:
        archive.unlink()
        raise InputError(f"{error}; it was removed") from None


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
        hint = "`asdkit simulate OUT --sources FOLDER --noise FOLDER` renders mono recordings"
        return MachineCheck(folder, sets, len(wavs), (("mono", f"{text}; {hint}"),))
    clips, surplus = _attempt(_read_name, entries, "surplus")
    named, spoilt = _read_tables(folder)
    counts = {key: n for name in sets for key, n in DATASETS[name].counts.items()}
    named |= {("test", f"section_00_{i:04d}.wav") for i in range(counts.get(UNLABELLED, 0))}
    findings = (*_compare(counts, named, clips), *surplus, *_twice(clips), *spoilt, *damaged)
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


def _read_tables(folder: Path) -> tuple[set[tuple[str, str]], list[tuple[str, str]]]:
    """(split, file name) of the clips that ``attributes_00.csv`` names, and what is wrong with the tables."""
    try:
        read_recordings(folder)
        paths = [Path(name) for (name,) in read_table(folder / "attributes_00.csv", "file_name")]
    except InputError as error:
        return set(), [("damaged", str(error).removeprefix(f"{folder}/"))]
    except (UnicodeDecodeError, csv.Error) as error:
        return set(), [("damaged", f"{' or '.join(TABLES)}: not readable ({error}), expected a CSV table")]
    return {(p.parent.name or ("train" if "_train_" in p.name else "test"), p.name) for p in paths}, []


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
        split, domain, label = kind
        expected = counts.get(kind, 0)
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


# submissions

KINDS = {  # of tables: what their values look like
    "anomaly_score": (r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", "finite numbers"),
    "decision_result": (r"[01]", "0 or 1"),
}
GRAMMAR = "expected <last name>_<institute>_task2_<1 to 4>"
LABEL = re.compile(r"[A-Za-z-]+_[A-Za-z0-9-]+_task2_[1-4]")
AUTHOR = {"firstname", "lastname", "email", "affiliation"}
METRICS = ("auc_source", "auc_target", "pauc")
TODO = "TODO"  # for what only the authors know; the check reports it
DESCRIPTION = (
    "input_sampling_rate", "data_augmentation", "front_end", "acoustic_features", "embeddings", "machine_learning_method",
    "aggregation_method", "domain_adaptation_method", "domain_generalization_method", "ensemble_method_subsystem_count",
    "decision_making", "attribute_usage", "external_data_usage", "development_data_usage",
)  # fmt: skip


def blank_form(label: str) -> dict:
    """The form about a system, with `TODO` where something must be filled in."""
    affiliation = dict(institution=TODO, department=None, location=TODO)
    author = dict(firstname=TODO, lastname=TODO, email=TODO, corresponding=True, affiliation=affiliation)
    description, complexity = dict.fromkeys(DESCRIPTION), dict(total_parameters=TODO)
    return dict(
        submission=dict(label=label, name=TODO, abbreviation=TODO, authors=[author]),
        system=dict(description=description, complexity=complexity, external_datasets=None, source_code=None),
        results=dict(development_dataset={}),
    )


def fill_form(form: dict, values: dict, place: str = "") -> dict:
    """The form with `values` in their places, in the order of the form; a field that it does not know is a warning."""
    filled = dict(form)
    for key, value in values.items():
        if key not in form and place != "results.development_dataset.":
            warnings.warn(f"{place}{key} is not a field of the form; it is added", stacklevel=2)
        inner = isinstance(form.get(key), dict) and isinstance(value, dict)
        filled[key] = fill_form(form[key], value, f"{place}{key}.") if inner else value
    return filled


def read_form(path: str | Path) -> dict:
    """A YAML or JSON file of the form's structure; an InputError if it is none."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{path}: not readable as YAML or JSON ({problem}); expected fields of the form") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected fields such as submission: {{authors: ...}}")
    return values


def write_submission(out: str | Path, label: str, scores: dict, decisions: dict, form: dict) -> Path:
    """Write a submission, whole or not at all; return its folder ``out/label``, which must not be there. Nothing is uploaded.

    Parameters
    ----------
    label : str
        ``<last name>_<institute>_task2_<1 to 4>``; what is outside this grammar is an InputError.
    scores, decisions : {machine: {file: float}}, {machine: {file: 0 or 1}}
        Of the test clips of the evaluation machines; missing ones are an InputError.
    form : dict
        As `blank_form`, with `fill_form`; its results are `METRICS` of each development machine, percent.
    """
    import yaml

    folder = free_folder(out, label)
    for machine, table in scores.items():
        if bad := [x for x in table.values() if x is None or not math.isfinite(x)]:
            raise InputError(f"{machine}: found {len(bad)} scores that are not numbers, expected {len(table)} that are")
        if None in decisions[machine].values():
            raise InputError(f"{machine}: found no decisions, expected 0 or 1 for each clip; too few recordings?")
    with new_folder(folder) as draft:
        for kind, tables in zip(KINDS, (scores, decisions)):
            for machine, table in tables.items():
                write(draft / f"{kind}_{machine}_section_00_test.csv", "".join(f"{name},{x}\n" for name, x in table.items()))
        write(draft / f"{label}.meta.yaml", yaml.safe_dump(form, sort_keys=False, allow_unicode=True, width=120))
    return folder


def free_folder(out: str | Path, label: str) -> Path:
    """Where a submission of this label goes; an InputError where the label is none, or something is there."""
    if not LABEL.fullmatch(label):
        raise InputError(f"label: found {label}, {GRAMMAR}, such as Name_LAB_task2_1")
    if (folder := Path(out) / label).exists():
        raise InputError(f"{folder}: found a folder or file of that name, expected none; move it or choose another label")
    return folder


def check_submission(folder: str | Path) -> list[str]:
    """What is wrong with a submission, one line each; reads what is on disk, whoever wrote it.

    Checked are the names, that each evaluation machine has a finite score and a decision for each of its 200 clips, and that
    the form is filled. A folder that is not there is an InputError.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a submission")
    label, machines = folder.name, DATASETS["evaluation"].archives
    problems = [] if LABEL.fullmatch(label) else [f"{label}: {GRAMMAR}"]
    files = {f"{kind}_{machine}_section_00_test.csv": KINDS[kind] for machine in machines for kind in KINDS}
    files[f"{label}.meta.yaml"] = ()
    for name in sorted({p.name for p in folder.iterdir()} - files.keys()):
        problems.append(f"{name}: is no part of a submission, expected tables of {', '.join(machines)}")
    for name, values in files.items():
        check = _check_table if values else _check_form
        texts = check(folder / name, *values) if (folder / name).is_file() else ["is missing"]
        problems += [f"{name}: {text}" for text in texts]
    return problems


def _check_table(path: Path, pattern: str, wanted: str) -> list[str]:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.reader(file))
    if bad := [r for r in rows if len(r) != 2]:
        return [f"found the row {','.join(bad[0])!r}, expected two columns"]
    names, n_clips = [name for name, _ in rows], DATASETS["evaluation"].counts[UNLABELLED]
    expected = [f"section_00_{i:04d}.wav" for i in range(n_clips)]
    there = f"found {len(names)} rows and {len(set(names) & set(expected))} of the clips"
    problems = [f"{there}, expected each of {expected[0]} to {expected[-1]} once"] if sorted(names) != expected else []
    bad = [text for _, text in rows if not re.fullmatch(pattern, text)]
    return problems + [f"found {text!r}, expected {wanted}" for text in bad[:1]]


def _check_form(path: Path) -> list[str]:
    try:
        form = read_form(path)
    except InputError as error:
        return [str(error).removeprefix(f"{path}: ")]
    fields, wanted = _fields(form), _fields(blank_form(""))
    if absent := [x for x in wanted if x not in fields and x.rpartition(".")[0] in {"", *fields} and "authors." not in x]:
        return [f"found no {', '.join(absent)}, expected all fields of the form"]
    todo = [place for place, value in fields.items() if str(value).startswith(TODO)]
    problems = [f"found {TODO} in {', '.join(todo)}, expected what only the authors know"] if todo else []
    head, results, machines = form["submission"], form["results"]["development_dataset"], DATASETS["development"].archives
    results, n_parameters = results if isinstance(results, dict) else {}, form["system"]["complexity"]["total_parameters"]
    rules = [
        (head["label"] == path.parent.name, f"label {head['label']}", f"the folder's name {path.parent.name}"),
        (0 < len(str(head["abbreviation"])) <= 10, f"abbreviation {head['abbreviation']!r}", "1 to 10 characters"),
        (_are_authors(head["authors"]), f"authors {head['authors']!r}", f"a list, each with {', '.join(sorted(AUTHOR))}"),
        (isinstance(n_parameters, int) or n_parameters == TODO, f"total_parameters {n_parameters!r}", "a whole number"),
        (set(results) == set(machines), f"results of {', '.join(results) or 'no machine'}", ", ".join(machines)),
        *((_are_percents(x), f"results {x!r} of {m}", f"{', '.join(METRICS)} from 0 to 100") for m, x in results.items()),
    ]
    return problems + [f"found {what}, expected {expected}" for is_good, what, expected in rules if not is_good]


def _fields(value, place: str = "") -> dict:
    """Every field of a form by its place, such as "submission.authors.0.email"."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    fields = {place: value} if place else {}
    for key, inner in items:
        fields |= _fields(inner, f"{place}.{key}" if place else str(key))
    return fields


def _are_authors(value) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(a, dict) and AUTHOR <= a.keys() for a in value)


def _are_percents(value) -> bool:
    return isinstance(value, dict) and all(isinstance(x := value.get(m), int | float) and 0 <= x <= 100 for m in METRICS)
