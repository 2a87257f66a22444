"""From a run to the folder that the DCASE 2026 challenge takes, and the check of such a folder. Nothing is uploaded.

A submission is a folder ``<label>`` of ``anomaly_score_<machine>_section_00_test.csv`` (file,score) and
``decision_result_<machine>_section_00_test.csv`` (file,0 or file,1) of the machines whose test clips have no labels, and of
``<label>.meta.yaml``, the form about the system, with the results on development machines.
"""

import csv
import math
import re
import warnings
from pathlib import Path

from asdkit import metrics
from asdkit.blocks import BLOCKS
from asdkit.config import Config
from asdkit.experiments.results import read_results
from asdkit.objectives import POOLED
from asdkit.recordings import DATASETS, InputError, parse_name
from asdkit.recordings.files import new_folder, write
from asdkit.space import conditions_embedding

KINDS = {  # of tables: where a run has their values, and what these look like
    "anomaly_score": ("scores", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", "finite numbers"),
    "decision_result": ("decisions", r"[01]", "0 or 1"),
}
GRAMMAR = "expected <last name>_<institute>_task2_<1 to 4>"
LABEL = re.compile(r"[A-Za-z-]+_[A-Za-z0-9-]+_task2_[1-4]")
CLIPS = [f"section_00_{i:04d}.wav" for i in range(200)]
TODO = "TODO"  # for what only the authors know; the check reports it
AUTHOR = ("firstname", "lastname", "email", "affiliation")
DESCRIPTION = (
    "input_sampling_rate", "data_augmentation", "front_end", "acoustic_features", "embeddings", "machine_learning_method",
    "aggregation_method", "domain_adaptation_method", "domain_generalization_method", "ensemble_method_subsystem_count",
    "decision_making", "attribute_usage", "external_data_usage", "development_data_usage",
)  # fmt: skip
FIELDS = (  # of the form, by their places: what they look like
    (r"submission\.abbreviation", r".{1,10}", "1 to 10 characters"),
    (r"system\.complexity\.total_parameters", rf"\d+|{TODO}", "a whole number"),
    (r"results\.development_dataset\.\w+\.\w+", r"100(\.0*)?|\d\d?(\.\d*)?", "0 to 100"),
)
BASELINE = dict(
    acoustic_features="log-mel energies", machine_learning_method="autoencoder (official baseline)",
    aggregation_method="mean", decision_making="0.9 quantile of a gamma distribution fitted to training scores",
)  # fmt: skip


def submit(
    run: str | Path, label: str, out: str | Path, system: str = "asdkit", seed: int = 0, meta: str | Path | None = None
) -> Path:
    """Write one system of a run as a submission, whole or not at all; return its folder.

    `label` is ``<last name>_<institute>_task2_<1 to 4>``, the name of the new folder in `out`. `meta` is YAML or
    JSON with fields that replace those of the form, in its structure. A run without these results, unlabelled test clips,
    scores or decisions is an InputError, and so is an unreadable `meta`.
    """
    import yaml

    if not LABEL.fullmatch(label):
        raise InputError(f"label: found {label}, {GRAMMAR}, such as Name_LAB_task2_1")
    if (folder := Path(out) / label).exists():
        raise InputError(f"{folder}: found a folder or file of that name, expected none; move it or choose another label")
    run, values = Path(run), _read_form(meta) if meta else {}
    results = _read_run(run, system, seed)
    submitted, machines = {m: r for m, r in results.items() if None in _labels(r)}, DATASETS["evaluation"].archives
    if not submitted:
        raise InputError(f"{run}: found no machine with unlabelled test clips, expected {', '.join(machines)}")
    for machine, r in submitted.items():
        if bad := [x for x in r["scores"] if x is None or not math.isfinite(x)]:
            raise InputError(f"{machine}: found {len(bad)} scores that are not numbers, expected {len(r['scores'])} that are")
        if None in r["decisions"]:
            raise InputError(f"{machine}: found no decisions, expected 0 or 1 for each clip; too few recordings?")
    machine, config = next((machine, r["config"]) for machine, r in submitted.items())
    description = describe(Config.from_dict(config)) if config else BASELINE
    n_parameters = _count_parameters(run / machine / "models" / f"{system}-{seed}")
    development = {m: _official_metrics(r) for m, r in results.items() if set(_labels(r)) == {0, 1}}
    form = _fill(_form(label, system, description, n_parameters, development), values)
    with new_folder(folder) as draft:
        for machine, r in submitted.items():
            for kind, (key, *_) in KINDS.items():
                rows = "".join(f"{name},{x}\n" for name, x in zip(r["files"], r[key]))
                write(draft / f"{kind}_{machine}_section_00_test.csv", rows)
        write(draft / f"{label}.meta.yaml", yaml.safe_dump(form, sort_keys=False, allow_unicode=True, width=120))
    return folder


def _read_run(run: Path, system: str, seed: int) -> dict[str, dict]:
    """{machine: result} of one system and seed, all of one configuration."""
    try:
        results, quick = read_results(run), '"quick": true' in (run / "run.json").read_text()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{run}: not readable as a run ({error!r}); expected an output folder of `asdkit run`") from None
    chosen = {m: result for (m, s, n), result in results.items() if (s, n) == (system, seed)}
    if not chosen:
        there = ", ".join(dict.fromkeys(f"{s} seed {n}" for _, s, n in results)) or "no results"
        raise InputError(f"{run}: found {there}; expected an output folder of `asdkit run` with {system} seed {seed}")
    if len({result["config_hash"] for result in chosen.values()}) > 1:
        raise InputError(f"{run}: found several configurations of {system}, expected one for all machines")
    if quick:
        warnings.warn(f"{run}: a quick run; its scores are not a result", stacklevel=3)
    return chosen


def _labels(result: dict) -> list[int | None]:
    return [parse_name(name).label for name in result["files"]]


def _official_metrics(result: dict) -> dict[str, float]:
    """In percent, of labelled test clips."""
    values = metrics.evaluate(result["scores"], _labels(result), [parse_name(name).domain for name in result["files"]])
    return {name: round(100 * float(values[name]), 2) for name in metrics.METRICS}


def _count_parameters(model: Path) -> int | str:
    """Weights and biases of the networks of a stored model."""
    from safetensors import safe_open

    if not (model / "tensors.safetensors").is_file():
        return TODO
    with safe_open(model / "tensors.safetensors", "numpy") as tensors:
        names = [name for name in tensors.keys() if name.endswith((".weight", ".bias"))]
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)


def describe(config: Config) -> dict:
    """A configuration in the words of the form."""
    blocks, embedded = [BLOCKS[name] for name in config.blocks], conditions_embedding(config)
    cancelled = config.conditioning == "input" and config.alpha > 0 and any("alpha" in block.options for block in blocks)
    hears_far = cancelled or embedded or any(block.far for block in blocks)
    learned = any(block.learned == "encoder" for block in blocks)
    encoder = f"convolutional encoder trained from scratch ({config.objective})" if learned else None
    pooled = encoder and config.objective in POOLED
    knn = f"k-nearest neighbours ({config.backend})"
    knn += ", distances whitened by the variation of normal recordings" * config.whiten
    far = f"; removal of {config.rank} near directions that the far microphone shares (alpha {config.alpha:g})"
    windows = f"{config.aggregate} of window scores" + f" ({config.top:.0%})" * (config.aggregate == "top")
    return dict(
        front_end=("far cancelled from near" if cancelled else "far microphone as reference") if hears_far else None,
        acoustic_features="; ".join(dict.fromkeys(block.words for block in blocks)),
        embeddings=encoder,
        machine_learning_method=f"{encoder}; {knn}" if encoder else knn,
        aggregation_method="mean of window descriptors" if config.aggregate == "pooled" else windows,
        domain_generalization_method=knn + far * embedded,
        decision_making=f"threshold for {config.false_alarm:.0%} false alarms, from held-out normal recordings",
        attribute_usage="classes of the training clips" if pooled else None,
        development_data_usage="training clips of all machines of the run" if pooled else None,
    )


def _form(label: str, system: str, description: dict, n_parameters: int | str, results: dict) -> dict:
    """The form about a system, with `TODO` where something must be filled in."""
    affiliation = dict(institution=TODO, department=None, location=TODO)
    author = dict(firstname=TODO, lastname=TODO, email=TODO, corresponding=True, affiliation=affiliation)
    described = dict(input_sampling_rate="16 kHz", ensemble_method_subsystem_count=1) | description
    description, complexity = dict.fromkeys(DESCRIPTION) | described, dict(total_parameters=n_parameters)
    return dict(
        submission=dict(label=label, name=f"asdkit, {system}", abbreviation=system[:10], authors=[author]),
        system=dict(description=description, complexity=complexity, external_datasets=None, source_code=None),
        results=dict(development_dataset=results),
    )


def _fill(form: dict, values: dict, place: str = "") -> dict:
    """The form with `values` in their places, in the order of the form; a field that it does not know is a warning."""
    filled = dict(form)
    for key, value in values.items():
        if key not in form and place != "results.development_dataset.":
            warnings.warn(f"{place}{key} is not a field of the form; it is added", stacklevel=2)
        inner = isinstance(form.get(key), dict) and isinstance(value, dict)
        filled[key] = _fill(form[key], value, f"{place}{key}.") if inner else value
    return filled


def _read_form(path: str | Path) -> dict:
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
    the form is filled. A folder that is not there is an InputError.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a submission")
    machines = DATASETS["evaluation"].archives
    files = {f"{kind}_{machine}_section_00_test.csv": rule for machine in machines for kind, (_, *rule) in KINDS.items()}
    files[f"{folder.name}.meta.yaml"] = ()
    problems = [] if LABEL.fullmatch(folder.name) else [f"{folder.name}: {GRAMMAR}"]
    for name in sorted({p.name for p in folder.iterdir()} - files.keys()):
        problems.append(f"{name}: does not belong to a submission, expected tables of {', '.join(machines)}")
    for name, rule in files.items():
        check = _check_table if rule else _check_form
        flaws = check(folder / name, *rule) if (folder / name).is_file() else ["is missing"]
        problems += [f"{name}: {flaw}" for flaw in flaws]
    return problems


def _check_table(path: Path, pattern: str, wanted: str) -> list[str]:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.reader(file))
    if bad := [row for row in rows if len(row) != 2]:
        return [f"found the row {','.join(bad[0])!r}, expected two columns"]
    names = [name for name, _ in rows]
    there = f"found {len(names)} rows and {len({*names} & {*CLIPS})} of the clips"
    flaws = [f"{there}, expected each of {CLIPS[0]} to {CLIPS[-1]} once"] if sorted(names) != CLIPS else []
    bad = [value for _, value in rows if not re.fullmatch(pattern, value)]
    return flaws + [f"found {value!r}, expected {wanted}" for value in bad[:1]]


def _check_form(path: Path) -> list[str]:
    try:
        form = _read_form(path)
    except InputError as error:
        return [str(error).removeprefix(f"{path}: ")]
    fields, label, machines = _fields(form), path.parent.name, DATASETS["development"].archives
    blank = _form(label, "", {}, TODO, {machine: dict.fromkeys(metrics.METRICS) for machine in machines})
    n_authors = sum(re.fullmatch(r"submission\.authors\.\d+", place) is not None for place in fields)
    blank["submission"]["authors"] = [dict.fromkeys(AUTHOR)] * max(1, n_authors)
    if absent := [place for place in _fields(blank) if place not in fields and place.rpartition(".")[0] in {"", *fields}]:
        return [f"found no {', '.join(absent)}, expected all fields of the form"]
    todo = [place for place, value in fields.items() if str(value).startswith(TODO)]
    flaws = [f"found {TODO} in {', '.join(todo)}, expected what only the authors know"] if todo else []
    for places, pattern, words in (*FIELDS, (r"submission\.label", re.escape(label), f"the folder's name {label}")):
        bad = [x for x in fields if re.fullmatch(places, x) and not re.fullmatch(pattern, str(fields[x]))]
        flaws += [f"found {fields[place]!r} in {place}, expected {words}" for place in bad]
    return flaws


def _fields(value, place: str = "") -> dict:
    """Every field of a form by its place, such as "submission.authors.0.email"."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    fields = {place: value} if place else {}
    for key, inner in items:
        fields |= _fields(inner, f"{place}.{key}" if place else str(key))
    return fields
