"""From a run to the folder that the DCASE 2026 challenge takes, and the check of such a folder. Nothing is uploaded.

A submission is a folder ``<label>`` of ``anomaly_score_<machine>_section_00_test.csv`` (file,score) and
``decision_result_<machine>_section_00_test.csv`` (file,0 or file,1) of the machines whose test clips have no labels, and of
``<label>.meta.yaml``, the form about the system, with the results on development machines.
"""

import json
import re
import warnings
from itertools import product
from pathlib import Path

import pandas as pd
import yaml
from safetensors.numpy import load_file

from asdkit import metrics
from asdkit.blocks import BLOCKS
from asdkit.config import Config
from asdkit.experiments.results import read_results
from asdkit.recordings import DATASETS, InputError, parse_name
from asdkit.recordings.files import new_folder, write

EVALUATION, DEVELOPMENT = (tuple(DATASETS[name].archives) for name in ("evaluation", "development"))  # machines
LABEL, GRAMMAR = r"[A-Za-z-]+_[A-Za-z0-9-]+_task2_[1-4]", "expected <last name>_<institute>_task2_<1 to 4>"
CLIPS = [f"section_00_{i:04d}.wav" for i in range(200)]
TABLES = {  # where a run has their values, what these look like, and in words
    "anomaly_score": ("scores", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", "finite numbers"),
    "decision_result": ("decisions", "[01]", "0 or 1"),
}
FORM = """
submission: {label: , name: , abbreviation: , authors: [{firstname: TODO, lastname: TODO, email: TODO, corresponding: true,
  affiliation: {institution: TODO, department: , location: TODO}}]}
system: {complexity: {total_parameters: TODO}, external_datasets: , source_code: , description: {
  input_sampling_rate: 16 kHz, data_augmentation: , front_end: , acoustic_features: , embeddings: , aggregation_method: ,
  machine_learning_method: TODO, domain_adaptation_method: , domain_generalization_method: , decision_making: ,
  ensemble_method_subsystem_count: 1, attribute_usage: , external_data_usage: , development_data_usage: }}
results: {development_dataset: {}}
"""  # TODO: what only the authors know


def submit(
    run: str | Path, label: str, out: str | Path, system: str = "asdkit", seed: int = 0, meta: str | Path | None = None
) -> Path:
    """Write one system of a run as a submission, whole or not at all; return its folder, `label` in `out`.

    `meta` is YAML or JSON with fields that replace those of the form, in its structure. A run without these results, unlabelled
    test clips, scores or decisions, and an unreadable `meta` are an InputError.
    """
    run, folder, values = Path(run), Path(out) / label, _read_form(meta) if meta else {}
    if not re.fullmatch(LABEL, label):
        raise InputError(f"label: found {label}, {GRAMMAR}, such as Name_LAB_task2_1")
    if folder.exists():
        raise InputError(f"{folder}: found a folder or file of that name, expected none; move it or choose another label")
    results = _read_run(run, system, seed)
    submitted = {machine: r for machine, r in results.items() if any(parse_name(name).label is None for name in r["files"])}
    if not submitted:
        raise InputError(f"{run}: found no machine with unlabelled test clips, expected {', '.join(EVALUATION)}")
    model = run / next(iter(submitted)) / "models" / f"{system}-{seed}" / "tensors.safetensors"
    form = _fill(_fill(yaml.safe_load(FORM), _about(label, system, results, model)), values)
    with new_folder(folder) as draft:
        for (machine, r), (kind, (key, pattern, words)) in product(submitted.items(), TABLES.items()):
            if bad := [x for x in r[key] if not re.fullmatch(pattern, str(x))]:
                raise InputError(f"{machine}: found {len(bad)} {key} such as {bad[0]}, expected {words}")
            rows = "".join(f"{name},{x}\n" for name, x in zip(r["files"], r[key]))
            write(draft / f"{kind}_{machine}_section_00_test.csv", rows)
        write(draft / f"{label}.meta.yaml", yaml.safe_dump(form, sort_keys=False, allow_unicode=True, width=120))
    return folder


def _read_run(run: Path, system: str, seed: int) -> dict[str, dict]:
    """{machine: result} of one system and seed, all of one configuration."""
    try:
        stored, quick = read_results(run), json.loads((run / "run.json").read_text())["quick"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{run}: not readable as a run ({error!r}); expected an output folder of `asdkit run`") from None
    results = {machine: r for (machine, *key), r in stored.items() if key == [system, seed]}
    if (n := len({r["config_hash"] for r in results.values()})) != 1:
        raise InputError(f"{run}: found {n} configurations of {system} seed {seed}, expected one, of all machines of a run")
    if quick:
        warnings.warn(f"{run}: a quick run; its scores are not a result", stacklevel=3)
    return results


def _about(label: str, system: str, results: dict[str, dict], model: Path) -> dict:
    """What a run can fill in of the form; metrics are in percent."""
    development, config = {}, next(r["config"] for r in results.values())
    for machine, r in results.items():
        labels, domains = zip(*[(clip.label, clip.domain) for clip in map(parse_name, r["files"])])
        if {*labels} == {0, 1}:
            values = metrics.evaluate(r["scores"], labels, domains)
            development[machine] = {name: round(100 * float(values[name]), 2) for name in metrics.METRICS}
    about = dict(description=describe(Config.from_dict(config))) if config else {}
    if model.is_file():
        networks = [x.size for name, x in load_file(model).items() if name.endswith((".weight", ".bias"))]
        about["complexity"] = dict(total_parameters=sum(networks))
    names = dict(label=label, name=f"asdkit, {system}", abbreviation=system[:10])
    return dict(submission=names, system=about, results=dict(development_dataset=development))


def describe(config: Config) -> dict:
    """A configuration in the words of the form."""
    blocks = [BLOCKS[name] for name in config.blocks]
    options = ("conditioning", "alpha", "whiten", "backend", "k", "aggregate", "objective")
    cancelled = config.conditioning == "input" and config.alpha > 0 and any("alpha" in block.options for block in blocks)
    return dict(
        front_end=f"far cancelled from near, alpha {config.alpha:g}" if cancelled else None,
        aggregation_method=f"{config.aggregate} over the windows of a clip",
        domain_generalization_method="target-domain shrinkage of distances" if config.backend == "domain" else None,
        acoustic_features="; ".join(dict.fromkeys(block.words for block in blocks)),
        embeddings="convolutional encoder trained from scratch" if any(b.learned == "encoder" for b in blocks) else None,
        machine_learning_method="k-nearest neighbours; " + ", ".join(f"{name} {getattr(config, name)}" for name in options),
        decision_making=f"threshold for {config.false_alarm:.0%} false alarms, from held-out normal recordings",
    )


def _fill(form: dict, values: dict, place: str = "") -> dict:
    """The form with `values` in their places, in the order of the form; a field that it does not know is a warning."""
    for key in [key for key in values if key not in form and place != "results.development_dataset."]:
        warnings.warn(f"{place}{key} is not a field of the form; it is added", stacklevel=2)
    inner = [key for key, value in values.items() if isinstance(value, dict) and isinstance(form.get(key), dict)]
    return form | values | {key: _fill(form[key], values[key], f"{place}{key}.") for key in inner}


def _read_form(path: str | Path) -> dict:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        values = str(error)
    if isinstance(values, dict):
        return values
    problem = " ".join(str(values).split())[:300]
    raise InputError(f"{path}: found {problem}, expected YAML or JSON with fields such as submission: {{authors: ...}}")


def check_submission(folder: str | Path) -> list[str]:
    """What is wrong with the files of a submission, whoever wrote it, one line each; InputError where there is no folder."""
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a submission")
    files = {f"{kind}_{machine}_section_00_test.csv": _check_table for machine, kind in product(EVALUATION, TABLES)}
    files, there = files | {f"{folder.name}.meta.yaml": _check_form}, {path.name for path in folder.iterdir()}
    problems = [] if re.fullmatch(LABEL, folder.name) else [f"{folder.name}: {GRAMMAR}"]
    problems += [f"{name}: is surplus, expected tables of {', '.join(EVALUATION)}" for name in sorted(there - files.keys())]
    for name, check in files.items():
        problems += [f"{name}: {flaw}" for flaw in (check(folder / name) if name in there else ["is missing"])]
    return problems


def _check_table(path: Path) -> list[str]:
    _, pattern, words = next(rule for kind, rule in TABLES.items() if path.name.startswith(kind))
    rows = [line.partition(",")[::2] for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    names = [name for name, _ in rows]
    there = f"found {len(names)} rows and {len({*names} & {*CLIPS})} of the clips"
    flaws = [f"{there}, expected each of {CLIPS[0]} to {CLIPS[-1]} once"] if sorted(names) != CLIPS else []
    bad = [value for _, value in rows if not re.fullmatch(pattern, value)]
    return flaws + [f"found {value!r}, expected {words}" for value in bad[:1]]


def _check_form(path: Path) -> list[str]:
    try:
        form, blank, label = _read_form(path), yaml.safe_load(FORM), path.parent.name
    except InputError as error:
        return [str(error).removeprefix(f"{path}: ")]
    blank["results"]["development_dataset"] = dict.fromkeys(DEVELOPMENT, dict.fromkeys(metrics.METRICS))
    fields, expected = (pd.json_normalize(each, sep=".").to_dict("list") for each in (form, blank))
    if absent := [place for place in expected if not any(f"{name}.".startswith(f"{place}.") for name in fields)]:
        return [f"found no {', '.join(absent[:9])}, expected all fields of the form"]
    about, authors = form["submission"], form["submission"]["authors"]
    whole = {"firstname", "lastname", "email", "affiliation"}
    bad = [x for x in (authors if isinstance(authors, list) else [authors]) if not isinstance(x, dict) or whole - x.keys()]
    flaws = [f"found the author {author}, expected firstname, lastname, email and affiliation" for author in bad]
    for place, (value,) in fields.items():
        if place.startswith("results.development_dataset.") and not (isinstance(value, int | float) and 0 <= value <= 100):
            flaws.append(f"found {value!r} in {place}, expected 0 to 100")
    if not isinstance(n := form["system"]["complexity"]["total_parameters"], int) and n != "TODO":
        flaws.append(f"found {n!r} in system.complexity.total_parameters, expected a whole number")
    if todo := [line.strip(" -") for line in path.read_text(encoding="utf-8").splitlines() if "TODO" in line]:
        flaws.append(f"found {', '.join(todo)}; expected what only the authors know")
    if about["label"] != label or not 1 <= len(str(about["abbreviation"])) <= 10:
        there = f"found label {about['label']} and abbreviation {about['abbreviation']}"
        flaws.append(f"{there}, expected the folder's name and 1 to 10 characters")
    return flaws
