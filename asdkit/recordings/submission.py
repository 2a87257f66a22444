"""From a run to the folder that the challenge takes (see `asdkit.recordings.submission_check`). Nothing is uploaded.

Machines whose test clips have no labels are submitted; those with labels give the form's results on development data.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import warnings
from pathlib import Path

from asdkit.config import Config
from asdkit.recordings import InputError, parse_name
from asdkit.recordings.submission_check import (
    DESCRIPTION,
    KINDS,
    LABEL,
    METRICS,
    TODO,
    check_submission,
    evaluation_machines,
    read_form,
)

__all__ = ["check_submission", "submit"]

_FEATURES = {
    "msm": "log-mel energies",
    "msm-residual": "log-mel energies",
    "ridge-complex": "log-mel energies of the near signal after ridge cancellation of the far one",
    "ridge-log-mel": "residuals of near log-mel energies predicted from far ones by ridge regression",
    "modulation": "modulation spectra of log-mel envelopes",
    "texture": "spectro-temporal contrast of the log-mel spectrogram at several scales",
    "logmel": "mean and standard deviation of log-mel energies",
}


def submit(
    run: str | Path, label: str, out: str | Path, system: str = "asdkit", seed: int = 0, meta: str | Path | None = None
) -> Path:
    """Write one system of a run as a submission, whole or not at all; return its folder.

    Parameters
    ----------
    run : path
        Output folder of `asdkit.experiments.runs.run`.
    label, out : str, path
        ``<last name>_<institute>_task2_<1 to 4>``, and where the folder of that name is made; it must not be there.
    system, seed : str, int
        Which part of the run.
    meta : path, optional
        YAML or JSON with fields that replace those of the form, in its structure.

    Raises
    ------
    InputError
        A label outside the grammar, a run without that part or without unlabelled test clips, scores or decisions that are
        missing, or an unreadable `meta`.
    """
    if not LABEL.fullmatch(label):
        raise InputError(f"label: found {label}, expected <last name>_<institute>_task2_<1 to 4>, such as Name_LAB_task2_1")
    run, folder = Path(run), Path(out) / label
    if folder.exists():
        raise InputError(f"{folder}: found a folder or file of that name, expected none; move it or choose another label")
    parts = _read_run(run, system, seed)
    submitted = {m: p for m, p in parts.items() if None in _labels(p)}
    if not submitted:
        raise InputError(f"{run}: found no machine with unlabelled test clips, expected {', '.join(evaluation_machines())}")
    for machine, part in submitted.items():
        _check_part(run / machine, part)
    first = next(iter(submitted))
    config = Config.from_dict(parts[first]["config"]) if parts[first]["config"] else None
    form = _form(label, system, config, _count_parameters(run / first / "models" / f"{system}-{seed}"), parts)
    _write(folder, submitted, _merged(form, read_form(meta), "") if meta else form)
    return folder


def _read_run(run: Path, system: str, seed: int) -> dict[str, dict]:
    """{machine: part} of one system and seed, all of one configuration."""
    from asdkit.experiments.results import read_results

    try:
        parts, quick = read_results(run), '"quick": true' in (run / "run.json").read_text()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{run}: not readable as a run ({error!r}); expected an output folder of `asdkit run`") from None
    chosen = {m: p for (m, s, n), p in parts.items() if (s, n) == (system, seed)}
    if not chosen:
        found = ", ".join(dict.fromkeys(f"{s} seed {n}" for _, s, n in parts)) or "no results"
        raise InputError(f"{run}: found {found}; expected an output folder of `asdkit run` with {system} seed {seed}")
    if len({p["config_hash"] for p in chosen.values()}) > 1:
        raise InputError(f"{run}: found several configurations of {system}, expected one for all machines")
    if quick:
        warnings.warn(f"{run}: a quick run; its scores are not a result", stacklevel=2)
    return chosen


def _labels(part: dict) -> list[int | None]:
    return [parse_name(name).label for name in part["files"]]


def _check_part(where: Path, part: dict) -> None:
    if bad := [s for s in part["scores"] if s is None or not math.isfinite(s)]:
        raise InputError(f"{where}: found {len(bad)} scores that are not numbers, expected {len(part['files'])} that are")
    if None in part["decisions"]:
        raise InputError(f"{where}: found no decisions, expected 0 or 1 for each clip; too few recordings for a threshold?")


def _count_parameters(model: Path) -> int | None:
    """Weights and biases of the networks of a stored model."""
    from safetensors import safe_open

    if not (model / "tensors.safetensors").is_file():
        return None
    with safe_open(model / "tensors.safetensors", "numpy") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys() if name.endswith((".weight", ".bias"))]
    return sum(map(math.prod, shapes))


def _form(label: str, system: str, config: Config | None, n_parameters: int | None, parts: dict) -> dict:
    """The form, as far as the run can fill it."""
    affiliation = dict(institution=TODO, department=None, location=TODO)
    author = dict(firstname=TODO, lastname=TODO, email=TODO, corresponding=True, affiliation=affiliation)
    head = dict(label=label, name=f"asdkit, {system}", abbreviation=system[:10], authors=[author])
    about = dict.fromkeys(DESCRIPTION) | dict(input_sampling_rate="16 kHz", ensemble_method_subsystem_count=1)
    about |= _describe(config) if config else _describe_baseline()
    complexity = dict(total_parameters=TODO if n_parameters is None else n_parameters)
    system_form = dict(description=about, complexity=complexity, external_datasets=None, source_code=None)
    return dict(submission=head, system=system_form, results=dict(development_dataset=_results(parts)))


def _describe(config: Config) -> dict:
    """A configuration in the words of the form."""
    mahalanobis = "".join(f", Mahalanobis distances of {b}" for b in config.blocks if b in config.whiten)
    knn = f"k-nearest neighbours ({config.backend}){mahalanobis}"
    fused = config.fusion != "concatenate" and len(config.blocks) > 1
    share = f" ({config.top:.0%})" if config.aggregate == "top" else ""
    return dict(
        front_end="far microphone as noise reference" if _hears_far(config) else None,
        acoustic_features="; ".join(dict.fromkeys(_FEATURES[block] for block in config.blocks)),
        machine_learning_method=knn,
        aggregation_method=f"{config.aggregate} of window scores{share}",
        domain_generalization_method=knn,
        ensemble_method_subsystem_count=len(config.blocks) if fused else 1,
        decision_making=f"threshold for {config.false_alarm:.0%} false alarms, from held-out normal recordings",
    ) | (_describe_encoder(config, knn) if _networks(config) else {})


def _networks(config: Config) -> bool:
    return bool({"msm", "msm-residual"} & set(config.blocks))


def _conditioned(config: Config) -> bool:
    return "msm" in config.blocks and config.rank > 0 and config.alpha > 0


def _hears_far(config: Config) -> bool:
    modulated = "modulation" in config.blocks and set(config.modulation_channels) != {"near"}
    return bool({"ridge-complex", "ridge-log-mel"} & set(config.blocks)) or modulated or _conditioned(config)


def _describe_encoder(config: Config, knn: str) -> dict:
    """What the networks add."""
    from asdkit.objectives import POOLED

    network = f"convolutional encoder trained from scratch ({config.objective})"
    far = f"removal of {config.rank} near directions that the far microphone shares (alpha {config.alpha:g})"
    pooled = config.objective in POOLED
    return dict(
        embeddings=network,
        machine_learning_method=f"{network}; {knn}",
        domain_generalization_method=f"{knn}; {far}" if _conditioned(config) else knn,
        attribute_usage="classes of the training clips" if pooled else None,
        development_data_usage="training clips of all machines of the run" if pooled else None,
    )


def _describe_baseline() -> dict:
    return dict(
        acoustic_features="log-mel energies", machine_learning_method="autoencoder (official baseline)",
        aggregation_method="mean", decision_making="0.9 quantile of a gamma distribution fitted to training scores",
    )  # fmt: skip


def _results(parts: dict) -> dict:
    """Official metrics in percent, of every machine whose test clips are labelled."""
    from asdkit import metrics

    results = {}
    for machine, part in parts.items():
        if set(labels := _labels(part)) == {0, 1}:
            found = metrics.evaluate(part["scores"], labels, [parse_name(name).domain for name in part["files"]])
            results[machine] = {name: round(100 * float(found[name]), 2) for name in METRICS}
    return results


def _merged(form: dict, values: dict, place: str) -> dict:
    """The form with `values` in their places, in the order of the form."""
    result = dict(form)
    for key, value in values.items():
        if key not in form and place != "results.development_dataset.":
            warnings.warn(f"meta: {place}{key} is not a field of the form; it is added", stacklevel=2)
        inner = isinstance(form.get(key), dict) and isinstance(value, dict)
        result[key] = _merged(form[key], value, f"{place}{key}.") if inner else value
    return result


def _write(folder: Path, submitted: dict[str, dict], form: dict) -> None:
    import yaml

    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for machine, part in submitted.items():
            for kind, column in zip(KINDS, (part["scores"], part["decisions"])):
                lines = [f"{name},{value}\n" for name, value in zip(part["files"], column)]
                (draft / f"{kind}_{machine}_section_00_test.csv").write_text("".join(lines))
        text = yaml.safe_dump(form, sort_keys=False, allow_unicode=True, width=120)
        (draft / f"{folder.name}.meta.yaml").write_text(text, encoding="utf-8")
        draft.chmod(0o755)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
