"""What a submission to DCASE 2026 Task 2 consists of, and the check of one; `asdkit.recordings.submission` writes it.

``<label>/anomaly_score_<machine>_section_00_test.csv``     file,score
``<label>/decision_result_<machine>_section_00_test.csv``   file,0 or file,1
``<label>/<label>.meta.yaml``                               the form about the system
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

from asdkit.recordings import InputError
from asdkit.recordings.datasets import DATASETS

LABEL = re.compile(r"(?P<name>[A-Za-z-]+)_(?P<institute>[A-Za-z0-9-]+)_task2_[1-4]")
KINDS = ("anomaly_score", "decision_result")
METRICS = ("auc_source", "auc_target", "pauc")
TODO = "TODO"  # for what only the authors know; the check reports it
DESCRIPTION = (
    "input_sampling_rate", "data_augmentation", "front_end", "acoustic_features", "embeddings", "machine_learning_method",
    "aggregation_method", "domain_adaptation_method", "domain_generalization_method", "ensemble_method_subsystem_count",
    "decision_making", "attribute_usage", "external_data_usage", "development_data_usage",
)  # fmt: skip
AUTHOR = {"firstname", "lastname", "email", "affiliation"}
FORM = {
    "submission": dict.fromkeys(("label", "name", "abbreviation", "authors")),
    "system": {
        "description": dict.fromkeys(DESCRIPTION),
        "complexity": {"total_parameters": None},
        "external_datasets": None,
        "source_code": None,
    },
    "results": {"development_dataset": {}},
}


def evaluation_machines() -> tuple[str, ...]:
    """The machines that a submission is about."""
    return DATASETS["evaluation"].machines


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


def check_submission(folder: str | Path) -> list[str]:
    """What is wrong with a submission, one line each; reads what is on disk, whoever wrote it.

    Checked are the names, that each evaluation machine has a finite score and a decision for each of its 200 clips, and that
    the form is filled.

    Raises
    ------
    InputError
        When there is no such folder.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a submission")
    label = [] if LABEL.fullmatch(folder.name) else [f"{folder.name}: expected <last name>_<institute>_task2_<1 to 4>"]
    meta = f"{folder.name}.meta.yaml"
    tables = {f"{kind}_{machine}_section_00_test.csv": kind for machine in evaluation_machines() for kind in KINDS}
    surplus = {p.name for p in folder.iterdir()} - tables.keys() - {meta}
    wanted = f"expected tables of {', '.join(evaluation_machines())}"
    problems = label + [f"{name}: is no part of a submission, {wanted}" for name in sorted(surplus)]
    for name, kind in tables.items():
        problems += [f"{name}: {text}" for text in _check_table(folder / name, kind)]
    return problems + [f"{meta}: {text}" for text in _check_meta(folder / meta)]


def _check_table(path: Path, kind: str) -> list[str]:
    if not path.is_file():
        return ["is missing"]
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.reader(file))
    if bad := [r for r in rows if len(r) != 2]:
        return [f"found the row {','.join(bad[0])!r}, expected two columns"]
    n_clips = DATASETS["evaluation"].counts["test", None, None]
    names, expected = [name for name, _ in rows], [f"section_00_{i:04d}.wav" for i in range(n_clips)]
    problems = []
    if sorted(names) != expected:
        found = f"found {len(names)} rows and {len(set(names) & set(expected))} of the clips"
        problems.append(f"{found}, expected each of {expected[0]} to {expected[-1]} once")
    good = _is_decision if kind == "decision_result" else _is_score
    if bad := [value for _, value in rows if not good(value)]:
        problems.append(f"found {bad[0]!r}, expected {'0 or 1' if kind == 'decision_result' else 'finite numbers'}")
    return problems


def _is_decision(text: str) -> bool:
    return text in ("0", "1")


def _is_score(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _check_meta(path: Path) -> list[str]:
    if not path.is_file():
        return ["is missing"]
    try:
        form = read_form(path)
    except InputError as error:
        return [str(error).removeprefix(f"{path}: ")]
    if absent := list(_absent(FORM, form, "")):
        return [f"found no {', '.join(absent)}, expected all fields of the form"]
    todo = list(_placeholders(form, ""))
    problems = [f"found {TODO} in {', '.join(todo)}, expected what only the authors know"] if todo else []
    return problems + _check_head(form["submission"], path.parent.name) + _check_numbers(form)


def _absent(wanted: dict, found, place: str) -> Iterator[str]:
    """Fields of the form that are not there."""
    for key, inner in wanted.items():
        if not isinstance(found, dict) or key not in found:
            yield place + key
        elif isinstance(inner, dict):
            yield from _absent(inner, found[key], f"{place}{key}.")


def _placeholders(value, place: str) -> Iterator[str]:
    """Fields that still hold the placeholder."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _placeholders(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, str) and value.startswith(TODO):
        yield place


def _check_head(head: dict, label: str) -> list[str]:
    problems = []
    if head["label"] != label:
        problems.append(f"found label {head['label']}, expected the folder's name {label}")
    if not 0 < len(str(head["abbreviation"])) <= 10:
        problems.append(f"found abbreviation {head['abbreviation']!r}, expected 1 to 10 characters")
    authors = head["authors"] if isinstance(head["authors"], list) else []
    if not authors or any(not isinstance(a, dict) or not AUTHOR <= a.keys() for a in authors):
        problems.append(f"found authors {head['authors']!r}, expected a list, each with {', '.join(sorted(AUTHOR))}")
    return problems


def _check_numbers(form: dict) -> list[str]:
    problems, results = [], form["results"]["development_dataset"] or {}
    n_parameters = form["system"]["complexity"]["total_parameters"]
    if not isinstance(n_parameters, int) and n_parameters != TODO:
        problems.append(f"found total_parameters {n_parameters!r}, expected a whole number")
    development = DATASETS["development"].machines
    if set(results) != set(development):
        problems.append(f"found results of {', '.join(results) or 'no machine'}, expected {', '.join(development)}")
    for machine, values in results.items():
        if not isinstance(values, dict) or not all(_is_percent(values.get(name)) for name in METRICS):
            problems.append(f"found results {values!r} of {machine}, expected {', '.join(METRICS)} from 0 to 100")
    return problems


def _is_percent(value) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 100
